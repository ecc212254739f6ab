//! The order in which the nodes of a graph can run; or, when there is none, which stages wait for each other in a
//! circle. Knows nodes by their numbers and who reads whom, and nothing else of them.

use std::collections::BTreeSet;

use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::graph::NodeId;
use crate::problem::{Problem, Problems, Span};

/// What the order of a node depends on.
pub struct Ordered<'a> {
    /// Its stage, and where that stands.
    pub stage: (&'a str, Span),
    /// Its producers, each once, in ascending order.
    pub producers: Vec<NodeId>,
    /// Producers with the places of the references that name them.
    pub read_at: &'a [(NodeId, Span)],
}

/// Producers first, else the order of the file, so that plans read like the pipeline. Cycles are told.
#[must_use]
pub fn order(nodes: &[Ordered<'_>], problems: &mut Problems) -> Vec<NodeId> {
    let mut graph: DiGraph<NodeId, ()> = DiGraph::new();
    let indices: Vec<NodeIndex> = (0..nodes.len()).map(|id| graph.add_node(id)).collect();
    for (id, node) in nodes.iter().enumerate() {
        for producer in &node.producers {
            graph.add_edge(indices[*producer], indices[id], ());
        }
    }
    if toposort(&graph, None).is_ok() {
        return file_order(nodes);
    }
    let mut told: Vec<Vec<&str>> = Vec::new();
    for component in tarjan_scc(&graph) {
        let ids: Vec<NodeId> = component.iter().map(|index| graph[*index]).collect();
        let cyclic = ids.len() > 1 || graph.contains_edge(component[0], component[0]);
        if cyclic {
            report_cycle(nodes, &ids, &mut told, problems);
        }
    }
    Vec::new()
}

fn file_order(nodes: &[Ordered<'_>]) -> Vec<NodeId> {
    let mut waiting: Vec<usize> = nodes.iter().map(|node| node.producers.len()).collect();
    let mut consumers = vec![Vec::new(); nodes.len()];
    for (id, node) in nodes.iter().enumerate() {
        for producer in &node.producers {
            consumers[*producer].push(id);
        }
    }
    let mut ready: BTreeSet<NodeId> = (0..nodes.len()).filter(|id| waiting[*id] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(id) = ready.pop_first() {
        order.push(id);
        for &consumer in &consumers[id] {
            waiting[consumer] -= 1;
            if waiting[consumer] == 0 {
                ready.insert(consumer);
            }
        }
    }
    order
}

/// Walks from consumer to producer inside the component until a node comes again.
fn report_cycle<'a>(
    nodes: &[Ordered<'a>],
    component: &[NodeId],
    told: &mut Vec<Vec<&'a str>>,
    problems: &mut Problems,
) {
    let next = |id: NodeId| nodes[id].producers.iter().copied().find(|producer| component.contains(producer));
    let mut path = vec![component.iter().copied().min().unwrap_or(component[0])];
    while let Some(producer) = next(path[path.len() - 1]) {
        if let Some(at) = path.iter().position(|id| *id == producer) {
            path.drain(..at);
            break;
        }
        path.push(producer);
    }
    path.reverse();
    // It is told from the stage that stands first in the file.
    let first = path.iter().enumerate().min_by_key(|(_, id)| **id).map_or(0, |(at, _)| at);
    path.rotate_left(first);
    let stages: Vec<&'a str> = path.iter().map(|id| nodes[*id].stage.0).collect();
    let mut sorted = stages.clone();
    sorted.sort_unstable();
    if told.contains(&sorted) {
        return;
    }
    told.push(sorted);
    let names: Vec<&str> = stages.iter().chain(stages.first()).copied().collect();
    let message = format!("the stages form a cycle: {}", names.join(" -> "));
    let mut problem = Problem::new(message, nodes[path[0]].stage.1);
    for (producer, consumer) in path.iter().zip(path.iter().cycle().skip(1)) {
        let reads = nodes[*consumer].read_at.iter().find(|(id, _)| id == producer);
        if let Some((_, span)) = reads {
            let [producer, consumer] = [producer, consumer].map(|id| nodes[*id].stage.0);
            problem = problem.also(*span, format!("`{consumer}` reads `{producer}`"));
        }
    }
    problems.push(problem.help("remove one of these inputs"));
}
