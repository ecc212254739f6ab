//! What a row of `tables/measures` is: a number from a run's file, or one derived from several and from another method's
//! run of the same trial and class.
//!
//! Knows nothing of grids and texts around them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::{Fields, Path};
use super::slices;
use super::statistics::mean;

pub(super) type Slice<'a> = slices::Slice<'a, Fields>;
pub(super) type Section<'a> = slices::Section<'a, Fields>;

/// More decimals than this are noise.
const DECIMALS_MAX: u8 = 12;

/// A row, or several where its field has a `*`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Path of a number in the files: `linear.forget`, `fitted_on.0` (a place in a list), `epochs[epoch=10].forget` (the
    /// element whose `epoch` is 10), `blocks[conv1.0].cka` (a name with dots), `blocks.*.cka` and `tensors.*.relative` (a
    /// row for each, named by its key, or by its `name`, `epoch` or place in a list), `tensors.*[kind=extractor].relative`
    /// (of these, some). A truth counts as 1 or 0.
    #[serde(default)]
    pub field: Option<String>,
    /// Computed from several numbers instead, within each trial and class.
    #[serde(default)]
    pub derived: Option<Derived>,
    /// What the row is called; `*` stands for the name of what the field's `*` went through. Without it the field's path,
    /// or the derived measure's name.
    #[serde(default)]
    pub label: Option<String>,
    /// Decimals that text shows.
    #[serde(default = "three")]
    pub decimals: u8,
    /// Show in percent.
    #[serde(default)]
    pub percent: bool,
    /// Makes one number of all that the field leads to.
    #[serde(default)]
    pub over: Option<Over>,
    /// The column that a derived measure compares with; by default `original` for `selectivity`, `retrain` for the others.
    #[serde(default)]
    pub reference: Option<String>,
    /// Path of the accuracy on the forgotten class, for derived measures.
    #[serde(default = "forget")]
    pub forget: String,
    /// Path of the accuracy on the remaining classes, for derived measures.
    #[serde(default = "retain")]
    pub retain: String,
}

const fn three() -> u8 {
    3
}

fn forget() -> String {
    "forget".to_owned()
}

fn retain() -> String {
    "retain".to_owned()
}

/// A measure of several numbers. `d` is a method's value less that of the reference's run of the same trial and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Derived {
    /// `(1 - |d A_f|) (1 - |d A_r|)` against the retrained network, 1 where both agree: "tug of war" (Zhao et al., "What
    /// Makes Unlearning Hard and What to Do About It", `NeurIPS` 2024). Theirs is of the forget, retain and test sets; ours
    /// is of test accuracies alone, so of two factors.
    Tow,
    /// `(|d A_f| + |d A_r|) / 2` against the retrained network: the "average gap" (Fan et al., `SalUn`, ICLR 2024), of
    /// test accuracies alone.
    AverageGap,
    /// `(-d A_f) - (-d A_r)` against the original network: how much more accuracy the forgotten class lost than the others.
    Selectivity,
    /// `A_r (1 - A_f)`, which needs no reference (Kodge et al., "Deep Unlearning", TMLR 2024).
    RetainTimesForgotten,
    /// The field over the reference's, as the anamnesis index is of relearn times; no value where that is 0.
    Ratio,
}

/// How many numbers become one; no value where one of them has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Their unweighted mean.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

impl Over {
    fn of(self, values: &[f64]) -> Option<f64> {
        match self {
            Self::Mean => mean(values).map(|mean| mean.value),
            Self::Min => values.iter().copied().reduce(f64::min),
            Self::Max => values.iter().copied().reduce(f64::max),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Mean => "the mean",
            Self::Min => "the smallest",
            Self::Max => "the largest",
        }
    }
}

impl Derived {
    const fn name(self) -> &'static str {
        match self {
            Self::Tow => "ToW",
            Self::AverageGap => "average gap",
            Self::Selectivity => "selectivity",
            Self::RetainTimesForgotten => "A_r (1 - A_f)",
            Self::Ratio => "ratio",
        }
    }

    /// The column that it compares with unless params name another.
    const fn usual_reference(self) -> Option<&'static str> {
        match self {
            Self::Tow | Self::AverageGap | Self::Ratio => Some("retrain"),
            Self::Selectivity => Some("original"),
            Self::RetainTimesForgotten => None,
        }
    }

    /// Of `A_f` and `A_r`, its own and the reference's.
    fn of(self, [forget, retain]: [f64; 2], reference: Option<[f64; 2]>) -> Option<f64> {
        if self == Self::RetainTimesForgotten {
            return Some(retain * (1.0 - forget));
        }
        let [forget, retain] = reference.map(|[f, r]| [forget - f, retain - r])?;
        match self {
            Self::Tow => Some((1.0 - forget.abs()) * (1.0 - retain.abs())),
            Self::AverageGap => Some(f64::midpoint(forget.abs(), retain.abs())),
            Self::Selectivity => Some(retain - forget),
            Self::RetainTimesForgotten | Self::Ratio => None,
        }
    }

    /// In words; `reference` is printed.
    fn explained(self, reference: &str) -> String {
        match self {
            Self::Tow => format!("(1 - |d A_f|) (1 - |d A_r|) on test accuracies, d the difference from {reference}"),
            Self::AverageGap => {
                format!("the mean of |d A_f| and |d A_r| on test accuracies, d the difference from {reference}")
            }
            Self::Selectivity => format!("what A_f lost against {reference} less what A_r lost, on test accuracies"),
            Self::RetainTimesForgotten => "A_r (1 - A_f) on test accuracies".to_owned(),
            Self::Ratio => format!("the value over that of {reference}"),
        }
    }
}

impl Measure {
    /// Its name; of many rows with the `*`.
    pub(super) fn name(&self) -> &str {
        let own = self.label.as_deref().or_else(|| self.derived.map(Derived::name));
        own.or(self.field.as_deref()).unwrap_or_default()
    }

    /// What is wrong with it, in words.
    fn problems(&self) -> Vec<String> {
        let (mut problems, derived) = (Vec::new(), self.derived);
        let mut wrong = |is: bool, why: &str| {
            if is {
                problems.push(why.to_owned());
            }
        };
        let of_field = derived.is_none_or(|derived| derived == Derived::Ratio);
        wrong(of_field && self.field.is_none(), "a `field` is needed, or what it is `derived` from");
        wrong(!of_field && self.field.is_some(), "is derived from `forget` and `retain`, not from a `field`");
        wrong(!of_field && self.over.is_some(), "`over` is of a `field`");
        let compares = derived.is_some_and(|derived| derived.usual_reference().is_some());
        wrong(!compares && self.reference.is_some(), "compares with nothing: set the table's `reference`");
        wrong(self.decimals > DECIMALS_MAX, "has more than 12 decimals");
        let accuracies = [&self.forget, &self.retain].into_iter().filter(|_| !of_field);
        let parsed: Vec<_> = self.field.iter().chain(accuracies).map(|path| Path::parse(path)).collect();
        let many = |path: &Result<Path, String>| path.as_ref().is_ok_and(Path::has_names);
        wrong(!of_field && parsed.iter().any(many), "`forget` and `retain` lead to one number each");
        problems.extend(parsed.into_iter().filter_map(Result::err));
        problems
    }
}

/// What is wrong with a list of measures.
pub(super) fn check(measures: &[Measure], problems: &mut Vec<(&'static str, String)>) {
    if measures.is_empty() {
        problems.push(("measures", "at least one is needed".to_owned()));
    }
    for (place, measure) in measures.iter().enumerate() {
        let name = measure.name();
        problems.extend(measure.problems().into_iter().map(|why| ("measures", format!("`{name}`: {why}"))));
        if measures[..place].iter().any(|other| other.name() == name) {
            problems.push(("measures", format!("two are called `{name}`: give one a `label`")));
        }
    }
}

/// A measure with its paths read.
#[derive(Clone)]
pub(super) struct Quantity<'a> {
    pub measure: &'a Measure,
    source: Source,
    /// What the field's `*` went through; empty without.
    name: String,
}

#[derive(Clone)]
enum Source {
    Field(Path),
    Ratio(Path),
    Accuracies(Derived, [Path; 2]),
}

impl<'a> Quantity<'a> {
    /// # Errors
    /// When a path is none.
    pub(super) fn new(measure: &'a Measure) -> Result<Self, String> {
        let field = || Path::parse(measure.field.as_deref().unwrap_or_default());
        let source = match measure.derived {
            None => Source::Field(field()?),
            Some(Derived::Ratio) => Source::Ratio(field()?),
            Some(derived) => {
                Source::Accuracies(derived, [Path::parse(&measure.forget)?, Path::parse(&measure.retain)?])
            }
        };
        Ok(Self { measure, source, name: String::new() })
    }

    /// The paths that it reads.
    pub(super) fn paths(&self) -> &[Path] {
        match &self.source {
            Source::Field(path) | Source::Ratio(path) => std::slice::from_ref(path),
            Source::Accuracies(_, paths) => paths,
        }
    }

    /// The column that it compares with itself.
    pub(super) fn reference(&self) -> Option<&'a str> {
        let usual = self.measure.derived?.usual_reference()?;
        Some(self.measure.reference.as_deref().unwrap_or(usual))
    }

    /// A row's label; `printed` gives a name's printed form.
    pub(super) fn label(&self, printed: impl Fn(&str) -> String) -> String {
        let label = self.measure.name();
        if self.name.is_empty() {
            label.to_owned()
        } else if label.contains('*') {
            label.replacen('*', &printed(&self.name), 1)
        } else {
            format!("{label} {}", printed(&self.name))
        }
    }

    /// What it is, in words: `AUC is auc`; `printed` gives a column's printed name.
    pub(super) fn explained(&self, printed: impl Fn(&str) -> String) -> String {
        let (name, path) = (self.measure.name(), self.paths()[0].text());
        let over = self.measure.over.map_or_else(String::new, |over| format!("{} over ", over.word()));
        let reference = self.reference().map(printed).unwrap_or_default();
        let [forget, retain] = [&self.measure.forget, &self.measure.retain];
        match &self.source {
            Source::Field(_) if name == path && over.is_empty() => String::new(),
            Source::Field(_) => format!("{name} is {over}{path}"),
            Source::Ratio(_) => format!("{name} is {over}{path}, {}", Derived::Ratio.explained(&reference)),
            Source::Accuracies(derived, _) => {
                format!("{name} is {} (A_f: {forget}, A_r: {retain})", derived.explained(&reference))
            }
        }
    }

    /// Itself, or one for each name that the runs of a slice have; itself, too, where there is no run yet.
    pub(super) fn in_slice(&self, slice: &Slice) -> Vec<Self> {
        let path = &self.paths()[0];
        if self.measure.over.is_some() || !path.has_names() {
            return vec![self.clone()];
        }
        let mut names: Vec<String> = Vec::new();
        for run in all_runs(slice) {
            for found in run.at(path).iter().filter(|found| !found.name.is_empty()) {
                if !names.contains(&found.name) {
                    names.push(found.name.clone());
                }
            }
        }
        if names.is_empty() {
            return vec![self.clone()];
        }
        names.into_iter().map(|name| Self { name, ..self.clone() }).collect()
    }

    /// Its value in one run; none where the run, the reference's or a number is not there.
    pub(super) fn value(&self, slice: &Slice, column: usize, trial: usize, member: usize) -> Option<f64> {
        let run = slice.run(column, trial, member)?;
        let base = || slice.run(self.base(slice, column)?, trial, member);
        match &self.source {
            Source::Field(path) => self.number(run, path),
            Source::Ratio(path) => {
                let base = self.number(base()?, path).filter(|base| *base != 0.0)?;
                Some(self.number(run, path)? / base)
            }
            Source::Accuracies(derived, [forget, retain]) => {
                let both = |run: &Fields| Some([self.number(run, forget)?, self.number(run, retain)?]);
                derived.of(both(run)?, base().and_then(both))
            }
        }
    }

    fn number(&self, run: &Fields, path: &Path) -> Option<f64> {
        let found = run.at(path);
        match self.measure.over {
            None => found.iter().find(|found| found.name == self.name)?.value,
            Some(over) => over.of(&found.iter().map(|found| found.value).collect::<Option<Vec<f64>>>()?),
        }
    }

    /// The column that it compares this one with; none where it compares with none.
    pub(super) fn base(&self, slice: &Slice, column: usize) -> Option<usize> {
        base(slice, self.reference()?, column)
    }

    /// What is wrong with what the runs have, so that it has no value at all, in words.
    ///
    /// # Errors
    /// When the path leads nowhere in every run, to several numbers that are to be one, or to no accuracy.
    pub(super) fn check_runs(&self, runs: &[(&slices::Coordinates, &Fields)]) -> Result<(), String> {
        for path in self.paths() {
            if let Some(end) = runs.first().and_then(|(_, first)| first.lost(path))
                && runs.iter().all(|(_, run)| run.at(path).is_empty())
            {
                return Err(format!("no artifact has `{}`: {end}", path.text()));
            }
            for (coordinates, run) in runs {
                self.check_run(path, run.at(path))
                    .map_err(|why| format!("[{}]: {why}", slices::describe(coordinates)))?;
            }
        }
        Ok(())
    }

    fn check_run(&self, path: &Path, found: &[super::fields::Found]) -> Result<(), String> {
        let twice = |place: usize| found[..place].iter().any(|other| other.name == found[place].name);
        if self.measure.over.is_none() && (0..found.len()).any(twice) {
            return Err(format!(
                "`{}` leads to several numbers of one name: say what is taken `over` them",
                path.text()
            ));
        }
        let is_accuracy = matches!(self.source, Source::Accuracies(..));
        match found.iter().filter_map(|found| found.value).find(|value| !(0.0..=1.0).contains(value)) {
            Some(value) if is_accuracy => Err(format!("`{}` is {value}; 0 to 1 was expected", path.text())),
            _ => Ok(()),
        }
    }
}

fn all_runs<'s>(slice: &'s Slice<'s>) -> impl Iterator<Item = &'s Fields> {
    let (columns, trials, members) = (slice.columns.len(), slice.trials.len(), slice.members.len());
    let places = (0..columns).flat_map(move |column| (0..trials).map(move |trial| (column, trial)));
    places.flat_map(move |(column, trial)| (0..members).filter_map(move |member| slice.run(column, trial, member)))
}

/// The column of a reference beside another: divided alike, or undivided.
pub(super) fn base(slice: &Slice, reference: &str, column: usize) -> Option<usize> {
    let own = &slice.columns[column].within;
    let among = |within: &Option<String>| {
        slice.columns.iter().position(|other| other.value == reference && other.within == *within)
    };
    among(own).or_else(|| among(&None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A_f` .1 and `A_r` .8 against .3 and .9.
    #[test]
    fn derived_measures_follow_their_formulas() {
        let of = |derived: Derived| derived.of([0.1, 0.8], Some([0.3, 0.9])).unwrap();
        assert!((of(Derived::Tow) - 0.8 * 0.9).abs() < 1e-12);
        assert!((of(Derived::AverageGap) - 0.15).abs() < 1e-12);
        assert!((of(Derived::Selectivity) - (0.2 - 0.1)).abs() < 1e-12);
        assert!((of(Derived::RetainTimesForgotten) - 0.8 * 0.9).abs() < 1e-12);
        assert_eq!(Derived::Tow.of([0.1, 0.8], None), None);
        assert_eq!(Derived::RetainTimesForgotten.of([0.25, 0.5], None), Some(0.375));
    }

    #[test]
    fn a_measure_is_of_a_field_or_derived_and_compares_only_where_it_can() {
        let problems = |json: serde_json::Value| {
            let mut problems = Vec::new();
            check(&[serde_json::from_value(json).unwrap()], &mut problems);
            problems.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>()
        };
        let one = |json: serde_json::Value| {
            let found = problems(json);
            assert_eq!(found.len(), 1, "{found:?}");
            found[0].clone()
        };
        assert!(one(serde_json::json!({})).contains("a `field` is needed"));
        assert!(one(serde_json::json!({"derived": "ratio"})).contains("a `field` is needed"));
        assert!(one(serde_json::json!({"derived": "tow", "field": "x"})).contains("not from a `field`"));
        assert!(one(serde_json::json!({"field": "x", "reference": "retrain"})).contains("compares with nothing"));
        assert!(one(serde_json::json!({"derived": "tow", "forget": "a.*"})).contains("one number each"));
        assert!(one(serde_json::json!({"derived": "tow", "over": "max"})).contains("`over` is of a `field`"));
        assert!(one(serde_json::json!({"field": "a[b"})).contains("a bracket has no end"));
        assert!(one(serde_json::json!({"field": "a", "decimals": 13})).contains("more than 12"));
        assert!(problems(serde_json::json!({"derived": "selectivity", "reference": "retrain"})).is_empty());
    }
}
