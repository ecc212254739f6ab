//! Outputs that are not kept (`keep: false`): they go when their last consumer has run, and are made again on need.
//! Which outputs of a result these are stands in its provenance, so that nobody else's content goes with them.

use pru_flow_cache::ActionResult;

use crate::graph::Output;

/// The entry of a result's provenance that lists them.
const UNKEPT: &str = "unkept";

/// The entry for a result with these outputs, if it needs one.
#[must_use]
pub fn entry(outputs: &[Output]) -> Option<(String, String)> {
    let names: Vec<&str> = outputs.iter().filter(|output| !output.keep).map(|output| output.name.as_str()).collect();
    (!names.is_empty()).then(|| (UNKEPT.to_owned(), names.join(",")))
}

/// Whether an output of a result may go.
#[must_use]
pub fn is_unkept(result: &ActionResult, output: &str) -> bool {
    result.provenance.get(UNKEPT).is_some_and(|names| names.split(',').any(|name| name == output))
}
