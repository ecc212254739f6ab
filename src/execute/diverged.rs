//! Nodes whose training diverged, and those that read what should have come of it: a mark stands for every output.

use std::path::Path;

use pru_flow_stages::diverged::{MARK, is_mark};

use super::{Task, output_path};
use crate::diverged::reason;
use crate::graph::Work;

/// What a node cannot be computed from: a mark at a port that takes one artifact. A stage that gathers runs without.
pub(super) fn input_of(task: &Task) -> Option<String> {
    let is_stage = matches!(task.work, Work::Builtin { .. });
    let needed = task.inputs.iter().filter(|(port, _)| !(is_stage && task.gathers(port)));
    let mut given = needed.flat_map(|(_, given)| given);
    let result = &given.find(|given| given.files.iter().any(|file| is_mark(&file.digest)))?.result;
    let why = reason(result).unwrap_or_default();
    // From node to node the reason stays the first one.
    Some(if why.contains(CAUSED) { why.to_owned() } else { format!("{}{CAUSED}{why}", result.node) })
}

/// Between the node that diverged and how.
const CAUSED: &str = " diverged: ";

/// Puts a mark in the place of every output, whatever is there.
pub(super) fn mark_outputs(task: &Task, folder: &Path) -> std::io::Result<()> {
    for output in &task.outputs {
        let path = output_path(task, folder, output);
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?;
        }
        let file = if output.folder == Some(true) { path.join("diverged.json") } else { path };
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, MARK)?;
    }
    Ok(())
}
