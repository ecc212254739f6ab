//! Writes down a run while it goes on: what was run, every node that ran, and how it ended.
//!
//! A node that ran stands in the file before anything that depends on that is told. Cached nodes do not stand there one
//! by one: their keys are in the list of nodes that is written at the end.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pru_flow_cache::ActionKey;
use pru_flow_stages::protocol::BUILD_ID;
use serde_json::{Map, Value, json};

use super::{EVENTS, RUNS, commit, node_list};
use crate::graph::Graph;
use crate::problem::SourceText;
use crate::report::json::{JsonLines, totals_fields};
use crate::run::{Ended, Observer, RunEnd};

/// What is run, and where.
pub struct About<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Its file, as it was named.
    pub file: &'a Path,
    /// The project's root.
    pub root: &'a Path,
    /// The `--set` arguments.
    pub set: &'a [String],
    /// The nodes that were asked for.
    pub targets: &'a [String],
    /// Params by import, after `--set`.
    pub params: &'a [(String, Value)],
    /// Nodes at once.
    pub jobs: usize,
    /// Cores in all.
    pub cpus: u32,
}

/// Records a run.
pub struct Recorder {
    store_folder: PathBuf,
    folder: PathBuf,
    id: String,
    about: Value,
    events: JsonLines<File>,
    cached: usize,
}

impl Recorder {
    /// Makes the record of a run in the store's folder. Problems have their places in `source`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(store_folder: &Path, about: &About, source: SourceText) -> io::Result<Self> {
        let runs = store_folder.join(RUNS);
        fs::create_dir_all(&runs)?;
        let (id, folder) = fresh_folder(&runs)?;
        let file = File::options().append(true).create_new(true).open(folder.join(EVENTS))?;
        // Held until this process ends, however it does: so others know that the run goes on. Where a file system knows
        // no locks, a run that goes on looks like one that was cut off.
        if let Err(error) = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive) {
            tracing::debug!("the record of this run is not locked: {error}");
        }
        let events = JsonLines::new(file, &id, about.pipeline, source);
        let store_folder = store_folder.to_owned();
        Ok(Self { store_folder, folder, about: described(&id, about), id, events, cached: 0 })
    }

    /// The run's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Writes how it ended, with its nodes.
    pub fn close(mut self, graph: &Graph, wanted: &[bool], end: &RunEnd, exit: u8) {
        let list = node_list::of_graph(graph, wanted, |id| end.results[id].as_ref().map(|result| result.key));
        let list = node_list::write(&self.store_folder, &list);
        let list = list.inspect_err(|error| tracing::warn!("the nodes of this run are not recorded: {error}"));
        let mut fields = totals_fields(&end.totals, end.wall);
        fields["exit"] = json!(exit);
        fields["signal"] = json!(end.signal);
        fields["node_list"] = json!(list.ok().map(|digest| digest.to_string()));
        self.events.write("run_finished", fields);
    }

    /// Leaves nothing: the run was refused before it began.
    pub fn discard(self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!("{} is left: {error}", self.folder.display());
        }
    }
}

/// A folder that no other run has: its name is the time and this process.
fn fresh_folder(runs: &Path) -> io::Result<(String, PathBuf)> {
    let base = format!("{}-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"), std::process::id());
    for attempt in 1_u32.. {
        // In containers that share a store many processes have the same number.
        let id = if attempt == 1 { base.clone() } else { format!("{base}-{attempt}") };
        let folder = runs.join(&id);
        match fs::create_dir(&folder) {
            Ok(()) => return Ok((id, folder)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

fn described(id: &str, about: &About) -> Value {
    let params: Map<String, Value> = about.params.iter().cloned().collect();
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    json!({
        "run_id": id,
        "pipeline": about.pipeline,
        "file": about.file.display().to_string(),
        "command": words.collect::<Vec<String>>(),
        "set": about.set,
        "targets": about.targets,
        "commit": commit::of(about.root),
        "host": rustix::system::uname().nodename().to_string_lossy(),
        "machine": crate::execute::machine(),
        "version": format!("{} {BUILD_ID}", env!("CARGO_PKG_VERSION")),
        "jobs": about.jobs,
        "cpus": about.cpus,
        "params": params,
    })
}

impl Observer for Recorder {
    fn started(&mut self, nodes: usize) {
        let mut fields = self.about.take();
        fields["nodes"] = json!(nodes);
        self.events.write("run_started", fields);
    }

    fn node_started(&mut self, name: &str, key: &ActionKey) {
        self.events.node_started(name, key);
    }

    fn node_finished(&mut self, name: &str, key: Option<&ActionKey>, ended: &Ended, wall: Duration) {
        if matches!(ended, Ended::Cached | Ended::Diverged { cached: true, .. }) {
            self.cached += 1;
            return;
        }
        let mut fields = self.events.finished_fields(name, key, ended, wall);
        // All that a run which is cut off tells of them.
        fields["cached_so_far"] = json!(self.cached);
        self.events.write("node_finished", fields);
    }

    fn note(&mut self, text: &str) {
        self.events.note(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_one_moment_have_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let names: std::collections::BTreeSet<String> =
            (0..20).map(|_| fresh_folder(folder.path()).unwrap().0).collect();
        assert_eq!(names.len(), 20);
    }
}
