//! What a run would do, without doing it: each node `cached`, `run`, `fails`, or `unknown` as long as what it waits
//! for has not run. Reads the store and the sources and changes nothing.

use std::borrow::Cow;
use std::sync::Arc;

use pru_flow_cache::{Action, ActionKey, ActionResult, LocalStore, StatCache, Store, StoreError};
use serde::Serialize;

use crate::graph::{Described, Graph, NodeId};
use crate::history::{History, in_one_line};
use crate::keying;
use crate::problem::Problems;
use crate::sources::{Found, Missing, find_all};
use crate::values::{self, KnownValue};

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
    /// It would fail at once: values that it takes from other nodes do not fit.
    Fails,
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
    /// Values that it takes from other nodes, as far as they are known.
    pub values: Vec<KnownValue>,
    /// What is wrong with these.
    pub problems: Problems,
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
pub struct Resolved<'g> {
    /// What the node does.
    pub described: Cow<'g, Described>,
    /// Values that it takes from other nodes.
    pub values: Vec<KnownValue>,
    /// The description.
    pub action: Action,
    /// Its digest.
    pub key: ActionKey,
    /// Artifacts by port.
    pub inputs: keying::GivenInputs,
    /// Files from outside.
    pub sources: Vec<Found>,
}

/// Why a node has no key.
#[derive(Clone, Debug)]
pub enum Unresolved {
    /// Values that it takes from other nodes are not there, or do not fit.
    Values(values::Unknown),
    /// A producer has no result, a file is missing, a port does not fit.
    Other(String),
}

/// Computes a node's key from the results of its producers and the files it reads.
///
/// # Errors
/// Why not.
pub fn resolve<'g>(
    graph: &'g Graph,
    id: NodeId,
    results: &[Option<Arc<ActionResult>>],
    (store, stat): (Option<&LocalStore>, &StatCache),
) -> Result<Resolved<'g>, Unresolved> {
    let (described, values) = values::describe(graph, id, results, store).map_err(Unresolved::Values)?;
    let key = || -> Result<_, String> {
        let inputs = keying::given(graph, id, &described.work, results)?;
        let sources = find_all(&described.sources, stat).map_err(|missing| Missing::in_one_line(&missing))?;
        let action = keying::action(&graph.nodes[id], &described.work, &inputs, &sources)?;
        let key = action.key().map_err(|e| e.to_string())?;
        Ok((action, key, inputs, sources))
    };
    let (action, key, inputs, sources) = key().map_err(Unresolved::Other)?;
    Ok(Resolved { described, values, action, key, inputs, sources })
}

impl PlannedNode {
    fn without_key(graph: &Graph, id: NodeId, unresolved: Unresolved) -> Self {
        let name = |id: NodeId| &graph.nodes[id].name;
        let mut problems = Problems::default();
        let (status, why) = match unresolved {
            Unresolved::Values(values::Unknown::Waits(producer)) => {
                (Status::Unknown, format!("waits for {}", name(producer)))
            }
            Unresolved::Values(values::Unknown::Damaged(producer)) => {
                (Status::Unknown, format!("waits for {}, whose stored output is missing or damaged", name(producer)))
            }
            Unresolved::Values(values::Unknown::Wrong(wrong)) => {
                let first = wrong.iter().next().map_or(String::new(), |problem| problem.message.clone());
                problems = wrong;
                (Status::Fails, first)
            }
            Unresolved::Other(why) => (Status::Unknown, why),
        };
        Self { id, status, action: None, key: None, why, values: Vec::new(), problems }
    }
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
        let resolved = match resolve(graph, id, &results, (store, stat)) {
            Ok(resolved) => resolved,
            Err(unresolved) => {
                nodes.push(PlannedNode::without_key(graph, id, unresolved));
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
        let (action, key, values) = (Some(resolved.action), Some(resolved.key), resolved.values);
        nodes.push(PlannedNode { id, status, action, key, why, values, problems: Problems::default() });
    }
    Ok(Plan { nodes, results })
}
