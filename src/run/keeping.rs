//! What a run does with outputs beside making them: which nodes run although they have a result, which outputs go when
//! their last consumer has run, and which come back to their paths in the project.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pru_flow_cache::{ActionResult, Digest, Maintain, Store};
use rayon::prelude::*;

use super::{Coordinator, Ended};
use crate::diverged;
use crate::graph::{Graph, GraphNode, NodeId};
use crate::keep::is_unkept;

/// Why a node runs although there is a record of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bypass {
    /// The outputs that it names are missing or damaged.
    Lost,
    /// The user asked for it.
    Asked,
    /// Its stage runs in every run.
    Always,
}

impl Bypass {
    /// What the user is told.
    pub(super) fn note(self, node: &GraphNode) -> Option<String> {
        let name = &node.name;
        match self {
            Self::Lost if node.outputs.iter().any(|output| !output.keep) => {
                Some(format!("the outputs of {name} were not kept, and are needed: it runs again"))
            }
            Self::Lost => Some(format!("the stored outputs of {name} are missing or damaged: it runs again")),
            Self::Asked => Some(format!("{name} runs again, as asked")),
            Self::Always => None,
        }
    }
}

/// Nodes that are to run in any case.
pub(super) fn anew(graph: &Graph, wanted: &[bool], force: &BTreeSet<NodeId>) -> BTreeMap<NodeId, Bypass> {
    let always = (0..graph.nodes.len()).filter(|id| wanted[*id] && graph.nodes[*id].described.policy.always);
    let mut anew: BTreeMap<NodeId, Bypass> = always.map(|id| (id, Bypass::Always)).collect();
    anew.extend(force.iter().filter(|id| wanted[**id]).map(|id| (*id, Bypass::Asked)));
    anew
}

/// Outputs that go when their last consumer has run.
pub(super) struct Keeping {
    /// Consumers in this run of the nodes that have such outputs.
    consumers: BTreeMap<NodeId, Vec<NodeId>>,
    /// Content that other results have and keep; found out when something is first to go.
    kept: Option<HashSet<Digest>>,
}

impl Keeping {
    pub(super) fn new(graph: &Graph, wanted: &[bool]) -> Self {
        let mut consumers = BTreeMap::new();
        if graph.nodes.iter().any(has_unkept) {
            let all = graph.consumers();
            for id in (0..graph.nodes.len()).filter(|id| wanted[*id] && has_unkept(&graph.nodes[*id])) {
                let own: Vec<NodeId> = all[id].iter().copied().filter(|consumer| wanted[*consumer]).collect();
                // What nothing here needs is what the run is for.
                if !own.is_empty() {
                    consumers.insert(id, own);
                }
            }
        }
        Self { consumers, kept: None }
    }
}

fn has_unkept(node: &GraphNode) -> bool {
    node.outputs.iter().any(|output| !output.keep)
}

fn digests(result: &ActionResult, unkept: bool) -> impl Iterator<Item = Digest> + '_ {
    let outputs = result.outputs.iter().filter(move |(name, _)| is_unkept(result, name) == unkept);
    outputs.flat_map(|(_, output)| output.files.iter().map(|file| file.digest))
}

impl Coordinator<'_> {
    /// Drops what is not kept of the producers of a node that has ended, when it was their last consumer.
    pub(super) fn drop_unkept(&mut self, consumer: NodeId) {
        if self.keeping.consumers.is_empty() {
            return;
        }
        for producer in self.graph.producers(consumer) {
            let Some(consumers) = self.keeping.consumers.get(&producer) else { continue };
            let done =
                |id: &NodeId| matches!(self.ended[*id], Some(Ended::Executed | Ended::Cached | Ended::Diverged { .. }));
            if consumers.iter().all(done) {
                self.drop_outputs(producer);
            }
        }
    }

    fn drop_outputs(&mut self, id: NodeId) {
        let Some(result) = self.results[id].clone() else { return };
        for output in self.graph.nodes[id].outputs.iter().filter(|output| !output.keep) {
            if let Some(path) = &output.path {
                self.workspace.drop_output(path, (&result, &output.name), &self.outside);
            }
        }
        let mut gone: Vec<Digest> =
            digests(&result, true).filter(|digest| !result.inline.contains_key(digest)).collect();
        gone.retain(|digest| self.store.local_path(digest).is_some_and(|path| path.exists()));
        if gone.is_empty() {
            return;
        }
        let kept = self.kept();
        gone.retain(|digest| !kept.contains(digest));
        for digest in gone {
            if let Err(error) = self.store.delete_blob(&digest) {
                tracing::debug!("{digest} stays: {error}");
            }
        }
    }

    /// Content that any result has and keeps, those of this run included.
    fn kept(&mut self) -> HashSet<Digest> {
        let store = &self.store;
        let kept = self.keeping.kept.get_or_insert_with(|| {
            let records = store.records().map(|records| records.map(|entry| entry.result).collect());
            let records: Vec<ActionResult> = records.unwrap_or_default();
            records.iter().flat_map(|result| digests(result, false)).collect()
        });
        kept.extend(self.results.iter().flatten().flat_map(|result| digests(result, false)));
        kept.clone()
    }

    /// Brings outputs back to their paths in the project, where they are missing or changed.
    pub(super) fn restore_outputs(&mut self) {
        let graph = self.graph;
        let results = self.results.iter().enumerate().filter_map(|(id, result)| Some((id, result.as_deref()?)));
        let there = results.filter(|(_, result)| diverged::reason(result).is_none());
        let wanted: Vec<_> = there
            .flat_map(|(id, result)| graph.nodes[id].outputs.iter().map(move |output| (result, output)))
            .filter(|(_, output)| output.path.is_some() && output.keep)
            .collect();
        let (workspace, store, outside) = (&self.workspace, &self.store, &self.outside);
        let place = |(result, output): &(&ActionResult, &crate::graph::Output)| {
            let path = output.path.as_deref().unwrap_or(std::path::Path::new(""));
            workspace.place((store, outside), path, (result, &output.name), output.hard_link)
        };
        for outcome in wanted.par_iter().map(place).collect::<Vec<_>>() {
            match outcome {
                Ok(notes) => notes.iter().for_each(|note| self.observer.note(note)),
                Err(problem) => self.observer.note(&format!("an output is not at its path: {problem}")),
            }
        }
    }
}
