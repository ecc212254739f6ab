//! What a run would do, without doing it: each node `cached`, `run`, or `unknown` as long as what it waits for has
//! not run. Reads the store and the sources and changes nothing.

use std::sync::Arc;

use pru_flow_cache::{Action, ActionKey, ActionResult, LocalStore, StatCache, Store, StoreError};
use serde::Serialize;

use crate::graph::{Graph, NodeId};
use crate::history::{History, in_one_line};
use crate::keying;
use crate::sources::{Found, Missing, find_all};

/// What would become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its result is in the store.
    Cached,
    /// It would run.
    Run,
    /// Its key depends on something that is not there yet.
    Unknown,
}

/// A node of a plan.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    /// The node.
    pub id: NodeId,
    /// What would become of it.
    pub status: Status,
    /// Its action, where that is known.
    pub action: Option<Action>,
    /// Its key, where that is known.
    pub key: Option<ActionKey>,
    /// Why, in a few words.
    pub why: String,
}

/// A plan, with the results that were found on the way.
pub struct Plan {
    /// Nodes in topological order.
    pub nodes: Vec<PlannedNode>,
    /// Results by node.
    pub results: Vec<Option<Arc<ActionResult>>>,
}

/// A node's key and description.
#[derive(Clone)]
pub struct Resolved {
    /// The description.
    pub action: Action,
    /// Its digest.
    pub key: ActionKey,
    /// Artifacts by port.
    pub inputs: keying::GivenInputs,
    /// Files from outside.
    pub sources: Vec<Found>,
}

/// Computes a node's key from the results of its producers and the files it reads.
///
/// # Errors
/// Why not: a producer without result, a missing file, a port that does not fit.
pub fn resolve(
    graph: &Graph,
    id: NodeId,
    results: &[Option<Arc<ActionResult>>],
    stat: &StatCache,
) -> Result<Resolved, String> {
    let node = &graph.nodes[id];
    let inputs = keying::given(graph, id, results)?;
    let sources = find_all(&node.sources, stat).map_err(|missing| Missing::in_one_line(&missing))?;
    let action = keying::action(node, &inputs, &sources)?;
    let key = action.key().map_err(|e| e.to_string())?;
    Ok(Resolved { action, key, inputs, sources })
}

/// Plans the `wanted` nodes; without a store nothing is cached.
///
/// # Errors
/// When the store cannot be read.
pub fn plan(graph: &Graph, wanted: &[bool], store: Option<&LocalStore>, stat: &StatCache) -> Result<Plan, StoreError> {
    let mut results: Vec<Option<Arc<ActionResult>>> = vec![None; graph.nodes.len()];
    let mut nodes = Vec::new();
    let mut history = None;
    for &id in graph.order.iter().filter(|id| wanted[**id]) {
        let resolved = match resolve(graph, id, &results, stat) {
            Ok(resolved) => resolved,
            Err(why) => {
                nodes.push(PlannedNode { id, status: Status::Unknown, action: None, key: None, why });
                continue;
            }
        };
        let found = match store {
            Some(store) => store.get_results(&[resolved.key])?.pop().flatten(),
            None => None,
        };
        let (status, why) = match found {
            Some(result) => {
                results[id] = Some(Arc::new(result));
                (Status::Cached, "its result is in the store".to_owned())
            }
            None => {
                if let (None, Some(store)) = (&history, store) {
                    history = Some(History::read(store)?);
                }
                let nearest = history.as_ref().and_then(|h| h.nearest(&resolved.action, &graph.nodes[id].name));
                (
                    Status::Run,
                    nearest.map_or_else(|| "never run".to_owned(), |(_, d)| format!("changed: {}", in_one_line(&d))),
                )
            }
        };
        nodes.push(PlannedNode { id, status, action: Some(resolved.action), key: Some(resolved.key), why });
    }
    Ok(Plan { nodes, results })
}
