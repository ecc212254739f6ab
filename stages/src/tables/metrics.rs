//! What a table can show of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value of one run after some epochs of relearning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Metric {
    /// Accuracy on the forgotten class.
    #[serde(rename = "A_f")]
    Forget,
    /// Accuracy on the remaining classes.
    #[serde(rename = "A_r")]
    Retain,
    /// Accuracy on all classes.
    #[serde(rename = "A_o")]
    Overall,
    /// `A_f` divided by that of the column `original` after the same epoch; only where there is such a column.
    #[serde(rename = "A_f/orig")]
    ForgetOverOriginal,
}

impl Metric {
    /// Its name, as params write it and plain text prints it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forget => "A_f",
            Self::Retain => "A_r",
            Self::Overall => "A_o",
            Self::ForgetOverOriginal => "A_f/orig",
        }
    }

    /// Its symbol in LaTeX.
    pub(super) const fn latex(self) -> &'static str {
        match self {
            Self::Forget => "$A_f$",
            Self::Retain => "$A_r$",
            Self::Overall => "$A_o$",
            Self::ForgetOverOriginal => "$A_f / A_f^{\\mathrm{orig}}$",
        }
    }

    /// What it is of, for a sentence; none of the quotient, which has one of its own.
    pub(super) const fn of(self) -> Option<&'static str> {
        match self {
            Self::Forget => Some("of the forgotten class"),
            Self::Retain => Some("of the remaining classes"),
            Self::Overall => Some("of all"),
            Self::ForgetOverOriginal => None,
        }
    }
}

/// What is wrong with a list of metrics.
pub(super) fn check(metrics: &[Metric], problems: &mut Vec<(&'static str, String)>) {
    if metrics.is_empty() {
        problems.push(("metrics", "at least one is needed".to_owned()));
    }
    if let Some(twice) = metrics.iter().enumerate().find(|(place, one)| metrics[..*place].contains(one)) {
        problems.push(("metrics", format!("`{}` is named twice", twice.1.name())));
    }
}

/// `A_f of the forgotten class, A_r of the remaining classes`.
pub(super) fn described(metrics: &[Metric]) -> String {
    let words = metrics.iter().filter_map(|metric| Some(format!("{} {}", metric.name(), metric.of()?)));
    words.collect::<Vec<_>>().join(", ")
}
