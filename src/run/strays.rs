//! `sandbox: warn`: when commands ran, and what they wrote beside their outputs: looked for once, at the end of a run.

use std::collections::HashSet;
use std::path::Path;

use super::Coordinator;
use crate::command::Sandbox;
use crate::execute::stray::{FileClock, Ran, Search, warning};
use crate::graph::{Graph, NodeId, Work};

/// The commands of a run that are watched.
pub(super) struct Watched {
    clock: Option<FileClock>,
    ran: Vec<Ran>,
}

fn is_watched(graph: &Graph, id: NodeId) -> bool {
    match &graph.nodes[id].described.work {
        Work::Command(work) => work.sandbox == Sandbox::Warn,
        // It is described only when it runs; what it is then does not change whether the clock is needed.
        Work::Waiting(waiting) => waiting.stage.is_none(),
        Work::Builtin { .. } => false,
    }
}

impl Watched {
    /// Starts the clock, if anything is to be watched.
    pub(super) fn new(graph: &Graph, wanted: &[bool], root: &Path, store: &Path) -> Self {
        let any = (0..graph.nodes.len()).any(|id| wanted[id] && is_watched(graph, id));
        let clock = any.then(|| FileClock::start(root, store));
        let clock = clock.and_then(|clock| {
            clock.inspect_err(|error| tracing::warn!("undeclared writes cannot be found: {error}")).ok()
        });
        Self { clock, ran: Vec::new() }
    }

    /// Now, in the time of the project's files.
    pub(super) fn now_ns(&self) -> Option<i64> {
        self.clock.as_ref().map(FileClock::now_ns)
    }
}

impl Coordinator<'_> {
    /// Notes that a command ran that is watched.
    pub(super) fn note_ran(&mut self, id: NodeId, begin_ns: Option<i64>) {
        if let (Some(start_ns), Some(end_ns)) = (begin_ns, self.watched.now_ns()) {
            self.watched.ran.push(Ran { node: self.graph.nodes[id].name.clone(), start_ns, end_ns });
        }
    }

    /// Tells what was written though nobody declares it.
    pub(super) fn tell_strays(&mut self) {
        let Some(clock) = self.watched.clock else { return };
        let published = self.graph.publish.iter().map(|publish| publish.path.clone());
        let declared: HashSet<_> = self.graph.paths.keys().cloned().chain(published).collect();
        let skipped = [self.store.root().to_owned()];
        let search = Search { root: &self.graph.root, skipped: &skipped, declared: &declared };
        if let Some(text) = warning(&search.strays(&clock, &self.watched.ran)) {
            self.observer.note(&text);
        }
    }
}
