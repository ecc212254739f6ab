//! Copies the last outputs of a run out of the store, under names that people can read:
//! `results/PIPELINE/NODE/FILE`. Copies only, written only when changed: editing one never reaches the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pru_flow_cache::{ActionResult, Digest, How, LocalStore};

use crate::diverged;
use crate::execute::workspace::Workspace;
use crate::graph::{Graph, GraphNode, NodeId};
use crate::sources::Outside;

/// Files beyond this are left in the store (`pru-flow get` fetches them).
const COPY_BYTES_MAX: u64 = 16 << 20;

/// A copied output.
pub struct Copied {
    /// Where it lies.
    pub path: PathBuf,
    /// Its text, when it is a Markdown table to be shown.
    pub markdown: Option<String>,
}

/// The nodes whose outputs a run is for: wanted nodes that no other wanted node reads.
#[must_use]
pub fn last_nodes(graph: &Graph, wanted: &[bool]) -> Vec<NodeId> {
    let consumers = graph.consumers();
    let ids = graph.order.iter().copied().filter(|id| wanted[*id]);
    ids.filter(|id| !consumers[*id].iter().any(|consumer| wanted[*consumer])).collect()
}

/// Copies the single-file outputs of a node into `folder`, if it has any (training may have diverged), and names those
/// that lie in the project, at `root`.
///
/// # Errors
/// When a file cannot be read from the store or written.
pub fn copy(
    store: &LocalStore,
    (root, folder): (&Path, &Path),
    node: &GraphNode,
    result: &ActionResult,
) -> Result<Vec<Copied>, String> {
    let mut copied = Vec::new();
    if diverged::reason(result).is_some() {
        return Ok(copied);
    }
    for output in &node.outputs {
        if let Some(path) = &output.path {
            // It lies where people look for it.
            let path = root.join(path);
            let markdown = is_markdown(&path).then(|| std::fs::read_to_string(&path).unwrap_or_default());
            copied.push(Copied { path, markdown });
            continue;
        }
        let Some(stored) = result.outputs.get(&output.name).filter(|stored| !stored.folder) else { continue };
        let [file] = stored.files.as_slice() else { continue };
        if file.bytes > COPY_BYTES_MAX {
            continue;
        }
        let path = folder.join(folder_name(&node.name)).join(&output.file_name);
        let same = std::fs::read(&path).is_ok_and(|bytes| Digest::of(&bytes) == file.digest);
        if !same {
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
            store.restore(result, &file.digest, &path, How::Copy).map_err(|e| e.to_string())?;
        }
        let markdown = is_markdown(&path).then(|| std::fs::read_to_string(&path).unwrap_or_default());
        copied.push(Copied { path, markdown });
    }
    Ok(copied)
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Writes what a pipeline publishes, as far as there are results: only what differs from what lies there.
///
/// # Errors
/// When something cannot be read from the store or written.
pub fn publish(
    graph: &Graph,
    workspace: &Workspace,
    (store, outside): (&LocalStore, &Outside),
    results: &[Option<Arc<ActionResult>>],
) -> Result<Vec<Copied>, String> {
    let mut written = Vec::new();
    for one in &graph.publish {
        let Some(result) = results[one.producer].as_deref().filter(|result| diverged::reason(result).is_none()) else {
            continue;
        };
        // What was there by another hand is kept in the store's folder.
        workspace.place((store, outside), &one.path, (result, &one.output), false)?;
        written.push(Copied { path: workspace.path(&one.path), markdown: None });
    }
    Ok(written)
}

/// A node's name as the name of one folder: whatever its coordinates hold, it leads nowhere else.
fn folder_name(node: &str) -> String {
    const BYTES_MAX: usize = 200;
    let plain = |c: char| c != '/' && !c.is_control();
    let name: String = node.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if name == node && name.len() <= BYTES_MAX {
        return name;
    }
    let cut = (0..=BYTES_MAX.min(name.len())).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}-{}", &name[..cut], Digest::of(node.as_bytes()).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_results_has_the_node_s_name_and_lies_where_it_should_whatever_the_coordinates_hold() {
        assert_eq!(folder_name("relearn[method=pru,seed=7]"), "relearn[method=pru,seed=7]");
        let long = format!("a[x={}]", "\u{e4}".repeat(300));
        for name in ["a[x=\"../../y\"]", "a[x=\"b/c\"]", "a[x=\"\n\"]", &long] {
            let folder = folder_name(name);
            assert_eq!(Path::new(&folder).components().count(), 1, "{folder}");
            assert!(folder.len() < 255, "{folder}");
        }
        assert_ne!(folder_name("a[x=\"b/c\"]"), folder_name("a[x=\"b_c\"]"), "two nodes, two folders");
        assert_ne!(folder_name("a[x=\"b/c\"]"), folder_name("a[x=\"b\nc\"]"), "two nodes, two folders");
    }
}
