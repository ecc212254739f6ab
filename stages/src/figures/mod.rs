//! Figures over many nodes, as SVG and as PNG of the same, with what is drawn as CSV.
//!
//! A figure gathers artifacts with the coordinates of the nodes that made them, sorts and averages them as tables do
//! ([`crate::tables`]), and draws. From below: text and shapes ([`svg`], [`font`], [`picture`]), axes and marks ([`scale`],
//! [`style`], [`panel`]), a sheet that they follow each other on ([`sheet`]), and one file for each figure. Methods differ
//! by colour, marker and dashes together; more than can be told apart in one panel are shown in several. What is missing is
//! written into the figure. Nothing holds a date, a path or a font of the machine: equal inputs give equal bytes.

mod blocks;
mod data;
mod font;
mod panel;
pub mod parameter_change;
pub mod perception;
mod picture;
pub mod predictions;
pub mod relearning;
mod scale;
mod sheet;
mod style;
mod svg;
pub mod times;
pub mod trade_off;

pub use sheet::Drawing;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Tool};
use crate::tables::Layout;

const SVG: OutputPort = OutputPort::file("svg", "figure.svg", "the figure, for pages and print");
const PNG: OutputPort = OutputPort::file("png", "figure.png", "the same in pixels, 300 an inch");
const DATA: OutputPort = OutputPort::file("data", "data.csv", "a line for each mark of the figure, unrounded");

/// What decides a picture's bytes.
const TOOLS: &[Tool] = &[Tool::SvgRenderer];

/// Which runs are drawn where, for figures that average over nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Panels {
    /// The axis with one panel for each value; every other axis that takes several values splits the figure into sections.
    pub columns: String,
    /// Panels that come first, in this order, even when there is no run of them; the others follow in order of appearance.
    pub order: Vec<String>,
    /// Printed names, by value on an axis.
    pub labels: BTreeMap<String, String>,
}

impl Default for Panels {
    fn default() -> Self {
        let Layout { columns, order, labels, .. } = Layout::default();
        Self { columns, order, labels }
    }
}

impl Panels {
    /// The same as a table's, without anything to average over.
    fn layout(&self) -> Layout {
        Layout {
            columns: self.columns.clone(),
            order: self.order.clone(),
            labels: self.labels.clone(),
            average: Vec::new(),
            trials: String::new(),
            ..Layout::default()
        }
    }
}

/// Methods that all others are compared with, drawn in black in every panel.
fn usual_references() -> Vec<String> {
    ["original", "retrain"].map(str::to_owned).to_vec()
}
