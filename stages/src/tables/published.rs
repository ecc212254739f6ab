//! The figures that the paper prints (`published.yaml`), looked up by table, setting, forget set, method, epoch and metric.
//!
//! Knows nothing of our results.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::metrics::Metric;

/// All that the paper prints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Published {
    /// What was unlearned where, by name.
    pub settings: BTreeMap<String, Setting>,
    /// Its tables, by name.
    pub tables: BTreeMap<String, Table>,
    /// Seconds of unlearning by setting and method, read off a chart.
    times: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A data set and a network of the paper, and what a run of ours needs to be comparable with them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setting {
    /// As its facts name the data set.
    pub dataset: String,
    /// Official number of training images.
    pub train: usize,
    /// Official number of test images.
    pub test: usize,
    /// As a checkpoint's metadata names the architecture.
    pub network: String,
    /// Entries of that metadata which a network of full size has.
    pub size: BTreeMap<String, f64>,
    /// Trials that the means are over; none where the paper does not say.
    pub trials: Option<u32>,
    /// The classes that were forgotten in turn.
    pub forget_classes: Vec<u32>,
}

/// One table of the paper.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// What it shows.
    pub title: String,
    /// Its methods in the paper's order.
    pub columns: Vec<String>,
    #[serde(default)]
    caveats: Vec<Caveat>,
    figures: Vec<Figures>,
}

/// What a reader must know beside the figures of one setting, or of all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Caveat {
    setting: Option<String>,
    text: String,
}

/// The figures of one setting and forget set: by epoch, in the order of the columns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    setting: String,
    forget_set: String,
    #[serde(rename = "A_r")]
    retain: BTreeMap<u32, Vec<Option<f64>>>,
    #[serde(rename = "A_f")]
    forget: BTreeMap<u32, Vec<Option<f64>>>,
}

/// Where a figure stands in its table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// A name of [`Published::settings`].
    pub setting: &'a str,
    /// `d_f` or `d_new_f`; without it, that on which all of the table's forget sets agree.
    pub forget_set: Option<&'a str>,
    /// One of the table's columns.
    pub method: &'a str,
    /// Epochs of relearning.
    pub epoch: u32,
    /// `A_f` or `A_r`; the paper prints nothing else.
    pub metric: Metric,
}

/// The paper's figures.
pub(super) fn published() -> &'static Published {
    static PUBLISHED: LazyLock<Published> = LazyLock::new(|| {
        serde_yaml::from_str(include_str!("published.yaml")).expect("the file is part of the program; a test reads it")
    });
    &PUBLISHED
}

/// Seconds that unlearning took the paper's authors, on a machine that they do not name: read off the bars of the
/// supplement's Figure S1, so that no more than one digit is certain.
#[must_use]
pub fn seconds_of_unlearning(setting: &str, method: &str) -> Option<f64> {
    published().times.get(setting)?.get(method).copied()
}

impl Table {
    /// The figure in percent, where the paper prints one.
    pub(super) fn figure(&self, place: Place<'_>) -> Option<f64> {
        let column = self.columns.iter().position(|column| column == place.method)?;
        let of_setting = |figures: &&Figures| {
            figures.setting == place.setting && place.forget_set.is_none_or(|wanted| wanted == figures.forget_set)
        };
        let mut found = self.figures.iter().filter(of_setting).map(|figures| {
            let by_epoch = match place.metric {
                Metric::Forget => &figures.forget,
                Metric::Retain => &figures.retain,
                Metric::Overall | Metric::ForgetOverOriginal => return None,
            };
            by_epoch.get(&place.epoch).and_then(|row| row.get(column).copied().flatten())
        });
        let first = found.next()??;
        found.all(|other| other == Some(first)).then_some(first)
    }

    /// The settings that it has figures of.
    pub(super) fn settings(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.figures.iter().map(|figures| figures.setting.as_str()).collect();
        names.dedup();
        names
    }

    /// The forget sets that it has figures of.
    pub(super) fn forget_sets(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.figures.iter().map(|figures| figures.forget_set.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What is to be said beside the figures of these settings.
    pub(super) fn caveats<'a>(&'a self, settings: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let told = |caveat: &&Caveat| caveat.setting.as_deref().is_none_or(|one| settings.contains(&one));
        self.caveats.iter().filter(told).map(|caveat| caveat.text.as_str())
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "figures are typed as the paper prints them")]
mod tests {
    use super::*;

    const ALLCNN: [&str; 2] = ["mnist-allcnn", "cifar10-allcnn"];
    const SETTINGS: [&str; 3] = ["mnist-allcnn", "cifar10-allcnn", "cifar10-resnet18"];

    fn look_up(
        table: &str,
        setting: &str,
        forget_set: Option<&str>,
        method: &str,
        epoch: u32,
        metric: Metric,
    ) -> Option<f64> {
        published().tables[table].figure(Place { setting, forget_set, method, epoch, metric })
    }

    fn forget(table: &str, setting: &str, method: &str, epoch: u32) -> f64 {
        look_up(table, setting, None, method, epoch, Metric::Forget).expect("the paper prints it")
    }

    fn retain(table: &str, setting: &str, method: &str, epoch: u32) -> f64 {
        look_up(table, setting, None, method, epoch, Metric::Retain).expect("the paper prints it")
    }

    #[test]
    fn every_row_has_a_figure_for_every_column_and_every_accuracy_is_one() {
        let mut figures = 0;
        for (name, table) in &published().tables {
            for block in &table.figures {
                assert!(published().settings.contains_key(&block.setting), "{name}: {}", block.setting);
                assert!(["d_f", "d_new_f"].contains(&block.forget_set.as_str()), "{name}: {}", block.forget_set);
                assert!(block.retain.keys().eq(block.forget.keys()), "{name}, {}", block.setting);
                for row in block.retain.values().chain(block.forget.values()) {
                    assert_eq!(row.len(), table.columns.len(), "{name}, {}", block.setting);
                    assert!(row.iter().flatten().all(|figure| (0.0..=100.0).contains(figure)), "{name}: {row:?}");
                    figures += row.iter().flatten().count();
                }
            }
            for caveat in &table.caveats {
                let known = caveat.setting.as_deref().is_none_or(|one| table.settings().contains(&one));
                assert!(known, "{name}: {caveat:?}");
            }
        }
        // 7 x 2 x 6 + 2 x (7 x 6 x 3) + 5 x 8 x 3 + (6 + 5 x 3) x 2 + 2 x 8 x 2 + 7 x 2 x 3 + 7 x 6 x 3.
        assert_eq!(figures, 84 + 252 + 120 + 42 + 32 + 42 + 126);
    }

    #[test]
    fn anchors_are_where_the_paper_has_them() {
        let d_new_f = Some("d_new_f");
        let one = |table, setting, set, method, epoch, metric| look_up(table, setting, set, method, epoch, metric);
        assert_eq!(one("table1", "mnist-allcnn", Some("d_f"), "unroll_of", 0, Metric::Retain), Some(24.08));
        assert_eq!(one("table1", "cifar10-resnet18", d_new_f, "boundary_expand", 0, Metric::Forget), Some(17.41));
        assert_eq!(forget("table2", "mnist-allcnn", "pru", 10), 2.7);
        assert_eq!(forget("table3", "cifar10-allcnn", "boundary_shrink", 5), 60.8);
        assert_eq!(forget("table4", "cifar10-allcnn", "without_L_p", 1), 72.7);
        assert_eq!(retain("table5", "cifar10-vit_b_16", "retrain", 0), 94.73);
        assert_eq!(one("table5", "cifar10-vit_b_16", None, "retrain", 1, Metric::Forget), None);
        assert_eq!(forget("supplement_table3", "cifar10-resnet18", "pru_d_new_f_parameters", 10), 7.4);
        assert_eq!(forget("supplement_table5", "cifar100-allcnn", "unroll_of", 0), 55.88);
        assert_eq!(forget("supplement_table6", "kuzushiji_mnist-allcnn", "boundary_expand", 10), 82.3);
        assert_eq!(published().settings["cifar100-allcnn"].forget_classes, [45, 18, 13, 33, 12, 59, 58, 79, 41, 5]);
        assert_eq!(published().settings["cifar10-vit_b_16"].trials, None);
    }

    /// The paper prints the same runs in several tables: a column or row that slipped would break one of these.
    #[test]
    fn tables_that_print_the_same_runs_agree() {
        for setting in SETTINGS {
            for epoch in [1, 5, 10] {
                for value in [forget, retain] {
                    for reference in ["original", "retrain"] {
                        assert_eq!(
                            value("table2", setting, reference, epoch),
                            value("table3", setting, reference, epoch)
                        );
                    }
                    assert_eq!(value("table2", setting, "pru", epoch), value("table4", setting, "pru", epoch));
                }
                assert_eq!(forget("table2", setting, "retrain", epoch), 0.0);
            }
            for (metric, shown) in [(Metric::Retain, retain as fn(_, _, _, _) -> _), (Metric::Forget, forget)] {
                let first = look_up("table1", setting, Some("d_f"), "pru", 0, metric).unwrap();
                assert!((first - shown("table4", setting, "pru", 0)).abs() < 0.051, "{setting}: {first}");
            }
        }
        for setting in ["cifar10-allcnn", "cifar10-resnet18"] {
            for (epoch, value) in
                [1, 5, 10].into_iter().flat_map(|epoch| [(epoch, forget as fn(_, _, _, _) -> _), (epoch, retain)])
            {
                let again = value("supplement_table3", setting, "pru_d_f_parameters", epoch);
                assert_eq!(value("table3", setting, "pru", epoch), again, "{setting}, {epoch}");
            }
        }
    }

    #[test]
    fn the_recorded_contradictions_are_in_the_figures_and_told_beside_them() {
        let d_new_f = Some("d_new_f");
        assert_eq!(look_up("table1", ALLCNN[1], d_new_f, "pru", 0, Metric::Forget), Some(0.09));
        assert_eq!(forget("supplement_table3", ALLCNN[1], "pru_d_f_parameters", 0), 0.9);
        assert!(forget("table3", ALLCNN[0], "boundary_shrink", 10) > forget("table3", ALLCNN[0], "original", 10));
        let told = |table: &str, setting: &str| published().tables[table].caveats(&[setting]).count();
        assert_eq!([told("table1", ALLCNN[1]), told("table1", ALLCNN[0])], [1, 0]);
        assert_eq!([told("supplement_table3", ALLCNN[1]), told("table3", ALLCNN[0])], [1, 1]);
        assert_eq!([told("table4", ALLCNN[0]), told("supplement_table5", "cifar100-allcnn")], [1, 1]);
    }

    #[test]
    fn the_times_of_the_chart_are_of_known_settings_and_methods() {
        let methods = ["retrain", "unroll", "boundary_shrink", "boundary_expand", "pru"];
        assert_eq!(SETTINGS.map(|setting| seconds_of_unlearning(setting, "pru")), [24.0, 20.0, 30.0].map(Some));
        assert!(published().times.keys().all(|setting| SETTINGS.contains(&setting.as_str())));
        for times in published().times.values() {
            assert_eq!(times.len(), methods.len());
            assert!(methods.iter().all(|method| (1.0..=times["retrain"]).contains(&times[*method])), "{times:?}");
        }
        assert_eq!(seconds_of_unlearning("mnist-allcnn", "unroll_of"), None);
    }

    #[test]
    fn without_a_forget_set_only_what_both_agree_on_is_given() {
        let of = |method| look_up("table1", "mnist-allcnn", None, method, 0, Metric::Retain);
        assert_eq!(of("original"), Some(99.40));
        assert_eq!(of("pru"), None);
        assert_eq!(of("bn_only"), None);
        let overall = look_up("table1", "mnist-allcnn", None, "original", 0, Metric::Overall);
        assert_eq!(overall, None);
    }
}
