//! Ours beside the paper's: which figure belongs to a cell, and whether the two can be compared at all.
//!
//! They can where ours were made as the paper's were: its network at full width, the whole official data, every class that
//! it forgot, and at least three trials of each. Everywhere else the difference is shown with what it lacks, and no mark.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measured::Measured;
use super::metrics::Metric;
use super::published::{Place, Setting, Table, published};
use super::slices::Column;
use super::statistics::{Mean, t_975};
use crate::data::facts::Origin;

/// Fewer trials tell too little of their spread.
const TRIALS_MIN: usize = 3;
/// Half a unit of the last decimal that most of the paper's tables print, in percent points.
const ROUNDING: f64 = 0.05;

/// Which of the paper's figures to show beside ours.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Against {
    /// `table1` to `table5`, `supplement_table3`, `supplement_table5` or `supplement_table6`.
    pub table: String,
    /// The paper's setting of every run, such as `mnist-allcnn`; else the axis `axis` tells.
    #[serde(default)]
    pub setting: Option<String>,
    /// The axis whose values name settings.
    #[serde(default = "setting")]
    pub axis: String,
    /// The paper's settings by value on that axis, where they differ.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The forget set of columns that are undivided: `d_f` or `d_new_f`; without it, figures on which all that the table
    /// has agree.
    #[serde(default)]
    pub forget_set: Option<String>,
    /// The forget sets by value on `layout.within`, where they differ.
    #[serde(default)]
    pub forget_sets: BTreeMap<String, String>,
    /// The paper's columns by ours, where they differ.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

fn setting() -> String {
    "setting".to_owned()
}

impl Against {
    /// Names that the paper's table does not have.
    pub(super) fn check(&self, problems: &mut Vec<(&'static str, String)>) {
        let Some(table) = published().tables.get(&self.table) else {
            let known = published().tables.keys().map(String::as_str).collect::<Vec<_>>();
            problems.push(("published.table", unknown(&self.table, &known)));
            return;
        };
        let columns: Vec<&str> = table.columns.iter().map(String::as_str).collect();
        let named = [
            ("published.setting", self.setting.iter().collect::<Vec<_>>(), table.settings()),
            ("published.settings", self.settings.values().collect(), table.settings()),
            ("published.forget_set", self.forget_set.iter().collect(), table.forget_sets()),
            ("published.forget_sets", self.forget_sets.values().collect(), table.forget_sets()),
            ("published.columns", self.columns.values().collect(), columns),
        ];
        for (field, values, known) in named {
            for value in values.into_iter().filter(|value| !known.contains(&value.as_str())) {
                problems.push((field, unknown(value, &known)));
            }
        }
    }

    fn table(&self) -> Option<&'static Table> {
        published().tables.get(&self.table)
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    format!("the paper has no `{name}` here: {}", known.join(", "))
}

/// Compares cells with the paper's figures.
pub(super) struct Comparer<'a> {
    against: &'a Against,
    table: &'static Table,
}

/// The paper's figure beside ours.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    /// In percent.
    pub published: f64,
    /// Ours less it, in percent points; none where we have no value.
    pub difference: Option<f64>,
    /// None where we have no value.
    pub mark: Option<Mark>,
    /// What ours were made with, or what bound the mark is from.
    pub reason: String,
}

/// Whether ours agrees with the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Within,
    Outside,
    NotComparable,
}

impl Mark {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Outside => "outside",
            Self::NotComparable => "not comparable",
        }
    }
}

/// Our side of a comparison.
pub(super) struct Ours<'a> {
    /// The setting's value on the axis of settings.
    pub setting: Option<&'a str>,
    pub column: &'a Column,
    pub epoch: u32,
    pub metric: Metric,
    /// In percent; over complete trials alone.
    pub mean: Option<Mean>,
    /// The runs that the mean is over.
    pub runs: Vec<&'a Measured>,
}

impl<'a> Comparer<'a> {
    /// None without a reference to the paper's tables; params are checked before.
    pub(super) fn new(against: Option<&'a Against>) -> Option<Self> {
        let against = against?;
        Some(Self { against, table: against.table()? })
    }

    /// The axis whose values name settings.
    pub(super) fn axis(&self) -> &str {
        &self.against.axis
    }

    /// The paper's name of a setting.
    pub(super) fn setting<'b>(&'b self, ours: Option<&'b str>) -> Option<&'b str> {
        let named = ours.map(|ours| self.against.settings.get(ours).map_or(ours, String::as_str));
        self.against.setting.as_deref().or(named)
    }

    /// What is to be said beside the figures of these settings.
    pub(super) fn caveats(&self, settings: &[&str]) -> Vec<String> {
        self.table.caveats(settings).map(str::to_owned).collect()
    }

    /// What the paper's table shows.
    pub(super) fn title(&self) -> &'static str {
        &self.table.title
    }

    /// The paper's figure beside ours, where it prints one.
    pub(super) fn compare(&self, ours: &Ours) -> Option<Comparison> {
        let setting = self.setting(ours.setting)?;
        let column = &ours.column.value;
        let part = ours.column.within.as_ref();
        let part = part.map(|part| self.against.forget_sets.get(part).unwrap_or(part));
        let place = Place {
            setting,
            forget_set: part.or(self.against.forget_set.as_ref()).map(String::as_str),
            method: self.against.columns.get(column).unwrap_or(column),
            epoch: ours.epoch,
            metric: ours.metric,
        };
        let published = self.table.figure(place)?;
        let Some(mean) = ours.mean else {
            return Some(Comparison { published, difference: None, mark: None, reason: String::new() });
        };
        let difference = mean.value - published;
        let conditions = Self::conditions(setting_of(setting)?, ours, mean.n);
        let (mark, reason) = match conditions.bound(mean) {
            Some(bound) if difference.abs() <= bound => (Mark::Within, format!("within {bound:.2} points")),
            Some(bound) => (Mark::Outside, format!("more than {bound:.2} points apart")),
            None => (Mark::NotComparable, conditions.describe()),
        };
        Some(Comparison { published, difference: Some(difference), mark: Some(mark), reason })
    }

    fn conditions<'r>(setting: &'static Setting, ours: &Ours<'r>, trials: usize) -> Conditions<'r> {
        let entry = |name: &str| -> BTreeSet<Option<String>> {
            ours.runs.iter().map(|run| run.model.get(name).cloned()).collect()
        };
        Conditions {
            setting,
            networks: entry("architecture"),
            sizes: setting.size.keys().map(|name| (name.as_str(), entry(name))).collect(),
            origins: ours.runs.iter().map(|run| run.origin.as_ref()).collect(),
            tested: ours.runs.iter().filter_map(|run| run.tested).collect(),
            classes: ours.runs.iter().map(|run| run.forget_class).collect(),
            trials,
        }
    }
}

fn setting_of(name: &str) -> Option<&'static Setting> {
    published().settings.get(name)
}

/// What our runs were made with, where something is not told: none.
struct Conditions<'a> {
    setting: &'static Setting,
    networks: BTreeSet<Option<String>>,
    sizes: BTreeMap<&'static str, BTreeSet<Option<String>>>,
    origins: BTreeSet<Option<&'a Origin>>,
    /// Numbers of test images.
    tested: BTreeSet<usize>,
    classes: BTreeSet<Option<u32>>,
    trials: usize,
}

impl Conditions<'_> {
    fn is_network(&self) -> bool {
        self.networks.iter().eq([&Some(self.setting.network.clone())])
    }

    /// The entries in which some network is not of full size, or does not tell.
    fn sizes_off(&self) -> impl Iterator<Item = (&'static str, &BTreeSet<Option<String>>)> {
        let is_full = |name: &str, values: &BTreeSet<Option<String>>| {
            let full = self.setting.size[name];
            let equals = |value: &Option<String>| value.as_ref().is_some_and(|text| text.parse() == Ok(full));
            !values.is_empty() && values.iter().all(equals)
        };
        self.sizes.iter().map(|(name, values)| (*name, values)).filter(move |(name, values)| !is_full(name, values))
    }

    fn is_official(&self) -> bool {
        let Setting { dataset, train, test, .. } = self.setting;
        let whole = |own: &Origin| own.official && (&own.dataset, &own.train, &own.test) == (dataset, train, test);
        let all = self.origins.iter().all(|own| own.is_some_and(whole));
        all && !self.origins.is_empty() && self.tested.iter().all(|n| n == test)
    }

    fn has_every_class(&self) -> bool {
        self.classes == self.setting.forget_classes.iter().map(|class| Some(*class)).collect()
    }

    /// The largest difference within which ours agrees with the paper's, in percent points: t(n-1, 0.975) s
    /// sqrt(1/n + 1/m) + 0.05, with s the deviation of our n trials and m the paper's trials, whose spread it does not
    /// state and which is taken to be as ours. None where the two cannot be compared.
    fn bound(&self, mean: Mean) -> Option<f64> {
        let comparable =
            self.is_network() && self.sizes_off().next().is_none() && self.is_official() && self.has_every_class();
        if !comparable || mean.n < TRIALS_MIN {
            return None;
        }
        let (theirs, spread) = (f64::from(self.setting.trials?), mean.deviation?);
        Some(t_975(mean.n - 1) * spread * (1.0 / mean.n as f64 + 1.0 / theirs).sqrt() + ROUNDING)
    }

    /// Width, data and n, whichever of them it is that makes the comparison impossible.
    fn describe(&self) -> String {
        let listed = |values: &BTreeSet<Option<String>>| {
            let words: Vec<&str> = values.iter().map(|value| value.as_deref().unwrap_or("unknown")).collect();
            words.join(" and ")
        };
        let sizes: Vec<String> = self.sizes_off().map(|(name, values)| format!("{name} {}", listed(values))).collect();
        let mut text = if sizes.is_empty() { "full width".to_owned() } else { sizes.join(", ") };
        if !self.is_network() {
            text.push_str(&format!(" of {} (the paper's network: {})", listed(&self.networks), self.setting.network));
        }
        text.push_str(&format!("; data {}", self.data()));
        let (trials, classes) = (self.trials, self.classes.len());
        let paper = self.setting.forget_classes.len();
        text.push_str(&format!("; n = {trials} trial{} of {classes} class", if trials == 1 { "" } else { "s" }));
        text.push_str(if classes == 1 { "" } else { "es" });
        if !self.has_every_class() {
            text.push_str(&format!(" (the paper's: {paper})"));
        }
        if self.setting.trials.is_none() {
            text.push_str("; the paper does not state its trials");
        }
        text
    }

    fn data(&self) -> String {
        let described = self.origins.iter().map(|own| match own {
            None => "unknown".to_owned(),
            Some(own) => {
                let which = if own.official { "official" } else { "not official" };
                format!("{} {which}, {} + {} images", own.dataset, own.train, own.test)
            }
        });
        let mut text = described.collect::<Vec<_>>().join(" and ");
        if self.tested.iter().any(|n| *n != self.setting.test) {
            let tested: Vec<String> = self.tested.iter().map(usize::to_string).collect();
            text.push_str(&format!(", tested on {} of {}", tested.join(" and "), self.setting.test));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(table: &str) -> Against {
        serde_json::from_value(serde_json::json!({ "table": table })).unwrap()
    }

    fn measured(class: u32, width: &str, network: &str) -> Measured {
        let model = [("architecture", network), ("width", width)];
        let model = model.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let origin = Some(origin("mnist", true, 60_000));
        Measured { forget_class: Some(class), model, origin, tested: Some(10_000), points: Vec::new() }
    }

    fn origin(dataset: &str, official: bool, train: usize) -> Origin {
        Origin { dataset: dataset.to_owned(), official, train, test: 10_000 }
    }

    /// PRU on MNIST after unlearning with `D_f`: published `A_r` 84.98. Ours: mean, deviation 1, n trials.
    fn compared(runs: &[Measured], mean: f64, n: usize) -> Comparison {
        let against = against("table1");
        let comparer = Comparer::new(Some(&against)).unwrap();
        let column = Column { value: "pru".to_owned(), within: Some("d_f".to_owned()) };
        let mean = Mean { value: mean, deviation: Some(1.0), half_width: None, n };
        let ours = Ours {
            setting: Some("mnist-allcnn"),
            column: &column,
            epoch: 0,
            metric: Metric::Retain,
            mean: Some(mean),
            runs: runs.iter().collect(),
        };
        comparer.compare(&ours).unwrap()
    }

    fn ten(width: &str) -> Vec<Measured> {
        (0..10).map(|class| measured(class, width, "all_cnn")).collect()
    }

    /// 4.302652729696142 * sqrt(1/3 + 1/5) + 0.05 = 3.1922 (scipy).
    #[test]
    fn the_bound_is_that_of_the_decisions() {
        let below = compared(&ten("1"), 84.98 + 3.192, 3);
        assert_eq!((below.mark, below.published), (Some(Mark::Within), 84.98));
        assert!((below.difference.unwrap() - 3.192).abs() < 1e-9);
        let above = compared(&ten("1.0"), 84.98 - 3.193, 3);
        assert_eq!((above.mark, above.reason.as_str()), (Some(Mark::Outside), "more than 3.19 points apart"));
        // 2.776445105197793 * sqrt(1/5 + 1/5) + 0.05 = 1.8060.
        assert_eq!(compared(&ten("1"), 84.98 + 1.805, 5).mark, Some(Mark::Within));
        assert_eq!(compared(&ten("1"), 84.98 + 1.807, 5).mark, Some(Mark::Outside));
    }

    #[test]
    fn whatever_differs_from_the_paper_takes_the_mark_away_and_is_told() {
        let reason = |runs: &[Measured], n| {
            let one = compared(runs, 84.98, n);
            assert_eq!(one.mark, Some(Mark::NotComparable), "{}", one.reason);
            one.reason
        };
        let data = "data mnist official, 60000 + 10000 images";
        assert_eq!(reason(&ten("0.25"), 3), format!("width 0.25; {data}; n = 3 trials of 10 classes"));
        assert_eq!(reason(&ten("1"), 2), format!("full width; {data}; n = 2 trials of 10 classes"));
        let nine = reason(&ten("1")[..9], 3);
        assert_eq!(nine, format!("full width; {data}; n = 3 trials of 9 classes (the paper's: 10)"));
        let with = |origin: Option<Origin>| {
            let mut runs = ten("1");
            runs[7].origin = origin;
            reason(&runs, 3)
        };
        let (one_untold, mnist) = (with(None), "mnist official, 60000 + 10000 images");
        assert_eq!(one_untold, format!("full width; data unknown and {mnist}; n = 3 trials of 10 classes"));
        for other in [origin("cifar10", true, 60_000), origin("mnist", false, 60_000), origin("mnist", true, 10_000)] {
            let which = if other.official { "official" } else { "not official" };
            let expected = format!("{} {which}, {} + 10000 images", other.dataset, other.train);
            assert!(with(Some(other)).contains(&expected), "{expected}");
        }
        let mut tested = ten("1");
        tested[4].tested = Some(500);
        assert!(reason(&tested, 3).contains("tested on 500 and 10000 of 10000"));
        let mut network = ten("1");
        network[0].model.insert("architecture".to_owned(), "resnet18".to_owned());
        assert!(reason(&network, 3).starts_with("full width of all_cnn and resnet18 (the paper's network: all_cnn)"));
        let mut untold = ten("1");
        untold[9].model.clear();
        assert!(reason(&untold, 3).starts_with("width unknown and 1 of unknown and all_cnn"));
    }

    #[test]
    fn a_paper_that_does_not_state_its_trials_cannot_be_agreed_with() {
        let against = against("table5");
        let comparer = Comparer::new(Some(&against)).unwrap();
        let mut runs: Vec<Measured> = (0..10).map(|class| measured(class, "1", "vit_b_16")).collect();
        let sizes = [("image_size", "224"), ("patch", "16"), ("layers", "12"), ("heads", "12"), ("mlp", "3072")];
        for run in &mut runs {
            run.origin = Some(origin("cifar10", true, 50_000));
        }
        for (name, size) in sizes.into_iter().chain([("dim", "768")]) {
            for run in &mut runs {
                _ = run.model.insert(name.to_owned(), size.to_owned());
            }
        }
        let column = Column { value: "pru".to_owned(), within: None };
        let ours = Ours {
            setting: Some("cifar10-vit_b_16"),
            column: &column,
            epoch: 1,
            metric: Metric::Forget,
            mean: Some(Mean { value: 6.9, deviation: Some(1.0), half_width: None, n: 5 }),
            runs: runs.iter().collect(),
        };
        let one = comparer.compare(&ours).unwrap();
        assert_eq!((one.published, one.mark), (6.9, Some(Mark::NotComparable)));
        assert!(one.reason.starts_with("full width; data cifar10 official"), "{}", one.reason);
        assert!(one.reason.ends_with("the paper does not state its trials"), "{}", one.reason);
        assert_eq!(comparer.compare(&Ours { epoch: 4, ..ours }), None);
    }

    #[test]
    fn names_that_the_paper_does_not_have_are_told() {
        let problems = |json: serde_json::Value| {
            let mut problems = Vec::new();
            serde_json::from_value::<Against>(json).unwrap().check(&mut problems);
            problems
        };
        let table = problems(serde_json::json!({"table": "table9"}));
        assert!(table[0].1.starts_with("the paper has no `table9` here: supplement_table3"), "{table:?}");
        let more = problems(serde_json::json!({"table": "table2", "setting": "mnist", "forget_set": "d_new_f",
            "columns": {"pru_as_published": "PRU"}, "settings": {"mnist": "mnist-allcnn"}}));
        let fields: Vec<&str> = more.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, ["published.setting", "published.forget_set", "published.columns"]);
    }
}
