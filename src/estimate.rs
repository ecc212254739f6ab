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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandWork;
    use crate::graph::{Described, Work};
    use crate::problem::Span;
    use pru_flow_cache::{Action, Value, WriterId};

    fn ran(stage: &str, node: &str, seconds: f64) -> ActionResult {
        let action = Action {
            stage: stage.to_owned(),
            version: 1,
            toolchain: BTreeMap::new(),
            params: Value::Null,
            sources: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        let writer: WriterId = "me".parse().unwrap();
        let mut result = ActionResult::new(action, node, writer).unwrap();
        result.measurements.insert("wall_seconds".to_owned(), seconds);
        result
    }

    fn node(stage: &str, work: Work) -> GraphNode {
        GraphNode {
            stage: stage.to_owned(),
            coordinates: Vec::new(),
            name: stage.to_owned(),
            described: Described::of(work),
            inputs: BTreeMap::new(),
            outputs: Vec::new(),
            span: Span::file(0, 0),
            imported: false,
            unfit: Vec::new(),
        }
    }

    #[test]
    fn a_stage_takes_the_median_of_what_it_took_and_a_command_that_of_its_namesakes() {
        let mut durations = Durations::default();
        for (stage, node, seconds) in [
            ("data/glyphs", "a[s=1]", 100.0),
            ("data/glyphs", "paper.b", 1.0),
            ("data/glyphs", "c", 3.0),
            ("data/split", "a", 50.0),
            ("command", "make[x=1]", 7.0),
            ("command", "paper.make[x=1]", 9.0),
            ("command", "other", 1000.0),
        ] {
            durations.add(&ran(stage, node, seconds));
        }
        let builtin = |name: &str| Work::Builtin {
            def: pru_flow_stages::find(name).unwrap(),
            params: serde_json::Value::Null,
            unkeyed_params: Vec::new(),
            forget_class: None,
        };
        let command = || Work::Command(std::sync::Arc::new(CommandWork::shell("true")));
        assert_eq!(durations.median(&node("anything", builtin("data/glyphs"))), Some(3.0));
        assert_eq!(durations.median(&node("a", builtin("data/split"))), Some(50.0));
        assert_eq!(durations.median(&node("a", builtin("data/import"))), None);
        assert_eq!(durations.median(&node("beyond.make", command())), Some(7.0), "the lower one of two");
        assert_eq!(durations.median(&node("made", command())), None);
    }
}
