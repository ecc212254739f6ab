//! Takes files that lie in the project for the results of their nodes: made before there was a pipeline, or by hand. The
//! node's key is computed as for a run; nothing is run.

use std::collections::BTreeMap;
use std::sync::Arc;

use pru_flow_cache::{ActionResult, Finished, LocalStore, Put, Store, StoreError};

use crate::execute::workspace::Workspace;
use crate::graph::{GraphNode, NodeId};
use crate::keep;
use crate::plan::{At, Unresolved, resolve};
use crate::project::Project;
use crate::sources::Outside;
use crate::values::Unknown;

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// Its outputs are its result now.
    Taken,
    /// It has a result.
    There,
    /// Why not.
    Not(String),
}

/// Adopts the outputs of the nodes that were asked for, in place of what results they have; with none asked for, those
/// of all nodes that have no result and whose outputs are there. Gives each node that was looked at, in order.
///
/// # Errors
/// When the store cannot be read or written.
pub fn adopt(
    project: &Project,
    asked: &[NodeId],
    store: &Arc<LocalStore>,
    outside: &Outside,
) -> Result<Vec<(String, Adopted)>, StoreError> {
    let graph = &project.graph;
    let wanted = graph.closure(asked);
    let workspace = Workspace::open(&project.root, store.root());
    let mut results: Vec<Option<Arc<ActionResult>>> = vec![None; graph.nodes.len()];
    let (mut told, look) = (Vec::new(), outside.code.look());
    for &id in graph.order.iter().filter(|id| wanted[**id]) {
        let node = &graph.nodes[id];
        let is_asked = asked.contains(&id);
        let resolved = match resolve(graph, id, &results, At { store: Some(store), outside, look: &look }) {
            Ok(resolved) => resolved,
            Err(unresolved) => {
                if is_asked || asked.is_empty() {
                    told.push((node.name.clone(), Adopted::Not(why(project, unresolved))));
                }
                continue;
            }
        };
        let there = store.get_results(&[resolved.key])?.pop().flatten();
        let outcome = match (there, place(node, &workspace)) {
            (Some(there), _) if !is_asked => {
                results[id] = Some(Arc::new(there));
                Adopted::There
            }
            (_, Err(why)) => Adopted::Not(why),
            (_, Ok(_)) if !is_asked && !asked.is_empty() => Adopted::Not("was not asked for".to_owned()),
            (_, Ok(outputs)) => {
                let finished = Finished {
                    action: resolved.action,
                    node: node.name.clone(),
                    measurements: BTreeMap::new(),
                    provenance: provenance(node),
                };
                let published = store.publish(&outputs, finished, Put::Replace)?;
                for name in outputs.keys() {
                    workspace.note_restorable(&published.result, name);
                }
                results[id] = Some(Arc::new(published.result));
                Adopted::Taken
            }
        };
        if is_asked || asked.is_empty() {
            told.push((node.name.clone(), outcome));
        }
    }
    Ok(told)
}

type Places = BTreeMap<String, (bool, std::path::PathBuf)>;

/// Where the outputs of a node lie, if all are there.
fn place(node: &GraphNode, workspace: &Workspace) -> Result<Places, String> {
    let mut places = Places::new();
    for output in &node.outputs {
        let Some(path) = &output.path else {
            return Err(format!("its output `{}` has no path in the project", output.name));
        };
        let full = workspace.path(path);
        match full.metadata() {
            Ok(stat) => drop(places.insert(output.name.clone(), (stat.is_dir(), full))),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(places)
}

fn provenance(node: &GraphNode) -> BTreeMap<String, String> {
    let mut provenance = BTreeMap::from([
        ("committed".to_owned(), "by hand: its node was not run".to_owned()),
        ("started_unix_ms".to_owned(), jiff::Timestamp::now().as_millisecond().to_string()),
    ]);
    provenance.extend(keep::entry(&node.outputs));
    provenance
}

fn why(project: &Project, unresolved: Unresolved) -> String {
    let name = |id: NodeId| &project.graph.nodes[id].name;
    match unresolved {
        Unresolved::Other(why) => why,
        Unresolved::Values(Unknown::Waits(id)) => format!("waits for {}", name(id)),
        Unresolved::Values(Unknown::Damaged(id)) => {
            format!("the stored outputs of {} are missing or damaged", name(id))
        }
        Unresolved::Values(Unknown::Wrong(problems)) => {
            problems.iter().next().map_or_else(String::new, |problem| problem.message.clone())
        }
    }
}
