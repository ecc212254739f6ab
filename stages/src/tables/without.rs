//! Means with some values left out: settings that were tuned on one class should not be judged by it alone.
//!
//! Knows nothing of what a run measured.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::document::{Grid, Part};
use super::frame;
use super::layout::Layout;
use super::slices::{Section, describe};

/// Values left out of a second block of means, one on each of some axes: `{class: 0}`. Of two, runs with either are left
/// out. The axes are among those that are averaged over, or that of the trials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Without(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Without {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Coordinates are text; a class is written as a number.
        let values = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
        let text = |(axis, value): (String, serde_json::Value)| match value {
            serde_json::Value::String(text) => Ok((axis, text)),
            serde_json::Value::Number(number) => Ok((axis, number.to_string())),
            other => Err(D::Error::custom(format!("`{axis}` is {other}; one value of that axis was expected"))),
        };
        values.into_iter().map(text).collect::<Result<_, _>>().map(Self)
    }
}

impl JsonSchema for Without {
    fn schema_name() -> Cow<'static, str> {
        "Without".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object", "additionalProperties": {"type": ["string", "number"]}})
    }

    fn inline_schema() -> bool {
        true
    }
}

impl Without {
    pub(super) fn check(&self, layout: &Layout, problems: &mut Vec<(&'static str, String)>) {
        for axis in self.0.keys().filter(|axis| **axis != layout.trials && !layout.average.contains(axis)) {
            let known: Vec<&str> = layout.average.iter().chain([&layout.trials]).map(String::as_str).collect();
            let known = known.join("`, `");
            problems.push(("without", format!("`{axis}` is not averaged over: `{known}` are")));
        }
    }

    /// `class 0 and seed 7`.
    fn name(&self) -> String {
        self.0.iter().map(|(axis, value)| format!("{axis} {value}")).collect::<Vec<_>>().join(" and ")
    }

    /// The grid of what is left, made of it, a caption and the coordinate of its figures; or why there is none. Nothing
    /// where nothing is to be left out.
    pub(super) fn parts<'r, T>(
        &self,
        layout: &Layout,
        section: &Section<'r, T>,
        grid: impl Fn(&Section<'r, T>, String, (String, String)) -> Grid,
    ) -> Vec<Part> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (name, rest) = (self.name(), section.without(&self.0));
        if !rest.changed {
            return vec![Part::Note(format!("No run here has {name}: the means above are those without."))];
        }
        let Some(left) = rest.section else {
            return vec![Part::Note(format!("Without {name} nothing is left."))];
        };
        let averaged = frame::averaged(layout, &left);
        let averaged = if averaged.is_empty() { averaged } else { format!(", {averaged}") };
        let out: Vec<(String, String)> = self.0.clone().into_iter().collect();
        let at = ("without".to_owned(), describe(&out));
        let mut parts = vec![Part::Grid(grid(&left, format!("Without {name}{averaged}"), at))];
        let nothing = |rows| Part::Note(format!("{}: without {name} nothing is left.", layout.row_name(rows)));
        parts.extend(rest.emptied.iter().map(|rows| nothing(rows)));
        parts
    }
}
