//! What nodes of the same kind took before: the median of the durations in the store's records. Knows nothing of what
//! would run.

use std::collections::BTreeMap;

use pru_flow_cache::ActionResult;

use crate::graph::GraphNode;

/// Durations in seconds by kind of node.
#[derive(Default)]
pub struct Durations(BTreeMap<String, Vec<f64>>);

impl Durations {
    /// Adds what a record says.
    pub fn add(&mut self, result: &ActionResult) {
        let Some(seconds) = result.measurements.get("wall_seconds") else { return };
        let stage = result.node.split('[').next().unwrap_or("");
        self.0.entry(kind(&result.action.stage, stage)).or_default().push(*seconds);
    }

    /// The median of what nodes like this one took; the lower one of two.
    #[must_use]
    pub fn median(&self, node: &GraphNode) -> Option<f64> {
        let work = node.described.work.stage().map_or(COMMAND, |def| def.name);
        let mut all = self.0.get(&kind(work, &node.stage))?.clone();
        all.sort_by(f64::total_cmp);
        all.get((all.len() - 1) / 2).copied()
    }
}

/// What an action's stage is called when it is a command.
const COMMAND: &str = "command";

/// A built-in stage's kind is its name. All commands have one name, so theirs is that of their stage in the pipeline,
/// whether or not the pipeline is imported.
fn kind(work: &str, stage: &str) -> String {
    if work == COMMAND { format!("{COMMAND} {}", stage.rsplit('.').next().unwrap_or(stage)) } else { work.to_owned() }
}
