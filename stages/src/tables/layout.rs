//! Params that the tables share: which axis of the matrix plays which part, and how its values are printed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::slices::{Axes, Column};

/// Which axis plays which part. An axis that is named nowhere and takes several values splits the table into sections.
/// A run that lacks an axis stands for all its values: an original network does not depend on the forget data.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Layout {
    /// The axis with one column for each value.
    pub columns: String,
    /// An axis that divides the columns, as `D_f | D_new_f` does; a run without it has its column undivided.
    pub within: Option<String>,
    /// Axes whose values follow each other down the rows of one grid.
    pub rows: Vec<String>,
    /// Columns that come first, in this order, even when there is no run of them; the others follow in order of appearance.
    pub order: Vec<String>,
    /// Printed names, by value on an axis.
    pub labels: BTreeMap<String, String>,
    /// Axes averaged over within a trial, unweighted.
    pub average: Vec<String>,
    /// The axis of the trials.
    pub trials: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            columns: "method".to_owned(),
            within: None,
            rows: Vec::new(),
            order: Vec::new(),
            labels: BTreeMap::new(),
            average: vec!["class".to_owned()],
            trials: "seed".to_owned(),
        }
    }
}

impl Layout {
    /// What is wrong with it: an axis has one role.
    pub(crate) fn check(&self, problems: &mut Vec<(&'static str, String)>) {
        let mut taken: Vec<(&str, &str)> = vec![(&self.columns, "columns")];
        let others = std::iter::once(("layout.trials", &self.trials, "trials"))
            .chain(self.within.iter().map(|axis| ("layout.within", axis, "parts of columns")))
            .chain(self.rows.iter().map(|axis| ("layout.rows", axis, "rows")))
            .chain(self.average.iter().map(|axis| ("layout.average", axis, "means")));
        for (field, axis, role) in others {
            match taken.iter().find(|(name, _)| name == axis) {
                Some((_, other)) => problems.push((field, format!("`{axis}` is already the axis of the {other}"))),
                None => taken.push((axis, role)),
            }
        }
        if let Some((_, twice)) = self.order.iter().enumerate().find(|(at, one)| self.order[..*at].contains(one)) {
            problems.push(("layout.order", format!("`{twice}` is named twice")));
        }
    }

    pub(crate) fn axes(&self) -> Axes<'_> {
        Axes {
            columns: &self.columns,
            within: self.within.as_deref(),
            rows: &self.rows,
            average: &self.average,
            trials: &self.trials,
            order: &self.order,
        }
    }

    /// The printed name of a value.
    pub(crate) fn label<'a>(&'a self, value: &'a str) -> &'a str {
        self.labels.get(value).map_or(value, String::as_str)
    }

    /// The printed name of a column: `PRU`, `PRU, D_f`.
    pub(crate) fn column_name(&self, column: &Column) -> String {
        let name = self.label(&column.value);
        column.within.as_ref().map_or_else(|| name.to_owned(), |part| format!("{name}, {}", self.label(part)))
    }

    /// The printed names of row values: `MNIST, AllCNN`.
    pub(crate) fn row_name(&self, rows: &[(String, String)]) -> String {
        rows.iter().map(|(_, value)| self.label(value)).collect::<Vec<_>>().join(", ")
    }
}
