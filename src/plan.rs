//! What a run would do, without doing it: each node `cached`, `run`, `fails`, or `unknown` as long as what it waits
//! for has not run. Reads the store and the sources and changes nothing.

use std::borrow::Cow;
use std::sync::Arc;

use pru_flow_cache::{Action, ActionKey, ActionResult, Digest, LocalStore, Store, StoreError};
use rayon::prelude::*;
use serde::Serialize;

use crate::code::Look;
use crate::command_code::{Keyed, NodeCode};
use crate::graph::{Described, Graph, NodeId, Work};
use crate::history::{History, in_one_line};
use crate::keying;
use crate::problem::Problems;
use crate::sources::{Found, Missing, Outside};
use crate::values::{self, KnownValue};

/// What would become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// It cannot run: a reference fits no cell, its own or that of a node that it needs.
    Broken,
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
    /// All results of the store, read when something is not cached.
    pub history: Option<History>,
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
    /// The code of a command.
    pub code: Option<NodeCode>,
    /// Texts of what is installed for its Python, by their digests.
    pub environments: Vec<(Digest, String)>,
}

/// Where keys are looked up, and what they are computed from.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// Results.
    pub store: Option<&'a LocalStore>,
    /// Files.
    pub outside: &'a Outside,
    /// Code, at one moment.
    pub look: &'a Look<'a>,
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
    at: At<'_>,
) -> Result<Resolved<'g>, Unresolved> {
    let At { store, outside, look } = at;
    let (described, values) = values::describe(graph, id, results, store).map_err(Unresolved::Values)?;
    let key = || -> Result<_, String> {
        let inputs = keying::given(graph, id, &described.work, results)?;
        let mut sources = outside.find_all(&described.sources).map_err(|missing| Missing::in_one_line(&missing))?;
        let (mut code, mut keyed) = (None, Keyed::default());
        if let Work::Command(work) = &described.work {
            let in_words = |missing: Missing| Missing::in_one_line(&[missing]);
            let found = NodeCode::find(graph, id, (work, &described.sources), (outside, look)).map_err(in_words)?;
            outside.doubt(found.warnings(work, &graph.nodes[id].stage));
            keyed = found.keyed(work, &sources, outside).map_err(in_words)?;
            code = Some(found);
        }
        sources.append(&mut keyed.sources);
        let action = keying::action(&graph.nodes[id], &described.work, &inputs, &sources, keyed.tools)?;
        let key = action.key().map_err(|e| e.to_string())?;
        Ok((action, key, inputs, sources, code, keyed.environments))
    };
    let (action, key, inputs, sources, code, environments) = key().map_err(Unresolved::Other)?;
    Ok(Resolved { described, values, action, key, inputs, sources, code, environments })
}

impl PlannedNode {
    fn broken(graph: &Graph, id: NodeId, by: NodeId) -> Self {
        let mut problems = Problems::default();
        let unfit = &graph.nodes[id].unfit;
        for unfit in unfit {
            problems.push(unfit.problem.clone());
        }
        let needs = || format!("needs {}, which cannot run", graph.nodes[by].name);
        let why = unfit.first().map_or_else(needs, |unfit| unfit.problem.message.clone());
        Self { id, status: Status::Broken, action: None, key: None, why, values: Vec::new(), problems }
    }

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

/// With so many results of other nodes a node is compared that never ran itself: enough to see what was changed last,
/// and few enough for thousands of new nodes. `explain` compares with all.
const COMPARED: usize = 8;

/// Plans the `wanted` nodes; without a store nothing is cached.
///
/// # Errors
/// When the store cannot be read.
pub fn plan(graph: &Graph, wanted: &[bool], store: Option<&LocalStore>, outside: &Outside) -> Result<Plan, StoreError> {
    let look = outside.code.look();
    let at = At { store, outside, look: &look };
    let mut results: Vec<Option<Arc<ActionResult>>> = vec![None; graph.nodes.len()];
    let mut nodes: Vec<Option<PlannedNode>> = graph.nodes.iter().map(|_| None).collect();
    let broken = graph.broken_by();
    for level in levels(graph, wanted) {
        // What is read of the store and of files takes most of the time, and nodes of one level do not need each other.
        let planned = level.par_iter().map(|&id| match broken[id] {
            Some(by) => Ok((PlannedNode::broken(graph, id, by), None)),
            None => plan_one(graph, id, &results, at),
        });
        let planned: Vec<(PlannedNode, Option<ActionResult>)> = planned.collect::<Result<_, StoreError>>()?;
        for (node, result) in planned {
            let id = node.id;
            results[id] = result.map(Arc::new);
            nodes[id] = Some(node);
        }
    }
    let mut nodes: Vec<PlannedNode> = graph.order.iter().filter_map(|id| nodes[*id].take()).collect();
    let history = match store.filter(|_| nodes.iter().any(|node| node.status != Status::Cached)) {
        Some(store) => Some(History::read(store, &results)?),
        None => None,
    };
    if let Some(history) = &history {
        nodes.par_iter_mut().filter(|node| node.status == Status::Run).for_each(|node| {
            let name = &graph.nodes[node.id].name;
            let nearest = node.action.as_ref().and_then(|action| history.nearest(action, name, COMPARED));
            if let Some((_, differences)) = nearest {
                node.why = format!("changed: {}", in_one_line(&differences));
            }
        });
    }
    Ok(Plan { nodes, results, history })
}

/// The wanted nodes by the length of the longest way that leads to them.
fn levels(graph: &Graph, wanted: &[bool]) -> Vec<Vec<NodeId>> {
    let mut level_of = vec![0; graph.nodes.len()];
    let mut levels: Vec<Vec<NodeId>> = Vec::new();
    for &id in graph.order.iter().filter(|id| wanted[**id]) {
        let level = graph.producers(id).into_iter().map(|producer| level_of[producer] + 1).max().unwrap_or(0);
        level_of[id] = level;
        levels.resize_with(levels.len().max(level + 1), Vec::new);
        levels[level].push(id);
    }
    levels
}

/// Plans a node whose producers were planned; gives its result if there is one.
fn plan_one(
    graph: &Graph,
    id: NodeId,
    results: &[Option<Arc<ActionResult>>],
    at: At<'_>,
) -> Result<(PlannedNode, Option<ActionResult>), StoreError> {
    let Resolved { action, key, values, .. } = match resolve(graph, id, results, at) {
        Ok(resolved) => resolved,
        Err(unresolved) => return Ok((PlannedNode::without_key(graph, id, unresolved), None)),
    };
    let found = match at.store {
        Some(store) => store.get_results(&[key])?.pop().flatten(),
        None => None,
    };
    let (status, why) = match &found {
        Some(_) => (Status::Cached, "its result is in the store"),
        None => (Status::Run, "never run"),
    };
    let (action, key, problems) = (Some(action), Some(key), Problems::default());
    Ok((PlannedNode { id, status, action, key, why: why.to_owned(), values, problems }, found))
}
