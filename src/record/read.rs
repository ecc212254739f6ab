//! A run as it was recorded: in short from the first and the last line, or whole. A run that was cut off, even within
//! a line, is read as far as it goes and is told from one that still goes on.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pru_flow_cache::{ActionKey, Digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::node_list::{self, ListedNode};
use super::{EVENTS, RUNS};
use crate::problem::suggest;
use crate::run::Totals;
use crate::selector::Selector;

/// The newest schema of events that is read.
const SCHEMA: u32 = 1;
/// Bytes at the end of a record that hold its last line; that of a run that ended is far shorter.
const TAIL_BYTES: u64 = 4096;

/// What was run, and where: the first line of a record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Start {
    schema: u32,
    /// When.
    pub time: Timestamp,
    /// The run's name.
    pub run_id: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// How many nodes it was to make sure of.
    pub nodes: usize,
    /// The pipeline's file, as it was named.
    #[serde(default)]
    pub file: Option<String>,
    /// The command line after the program's name.
    #[serde(default)]
    pub command: Vec<String>,
    /// The `--set` arguments.
    #[serde(default)]
    pub set: Vec<String>,
    /// The nodes that were asked for; none for all.
    #[serde(default)]
    pub targets: Vec<String>,
    /// The commit that the checkout stood on.
    #[serde(default)]
    pub commit: Option<String>,
    /// The host's name.
    #[serde(default)]
    pub host: Option<String>,
    /// What kind of machine it is.
    #[serde(default)]
    pub machine: Option<String>,
    /// The engine's version and build.
    #[serde(default)]
    pub version: Option<String>,
    /// Nodes at once.
    #[serde(default)]
    pub jobs: Option<usize>,
    /// Cores in all.
    #[serde(default)]
    pub cpus: Option<u32>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, or when it was asked to.
    Ended {
        /// The exit code; not known of a run of an older version.
        exit: Option<u8>,
    },
    /// It goes on.
    Running,
    /// It was killed, or the machine went down.
    CutOff,
}

impl Ending {
    /// `exit code 0`, `still running`, `cut off`.
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Self::Ended { exit: Some(code) } => format!("exit code {code}"),
            Self::Ended { exit: None } => "ended".to_owned(),
            Self::Running => "still running".to_owned(),
            Self::CutOff => "cut off: killed, or the machine went down".to_owned(),
        }
    }
}

/// A run in short.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was run.
    pub start: Start,
    /// How it ended.
    pub ending: Ending,
    /// Counts; of a run that did not end as far as its record goes.
    pub totals: Totals,
    /// What it took; of a run that did not end the time of its last event.
    pub wall: Duration,
    folder: PathBuf,
    node_list: Option<Digest>,
}

/// How a node of a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeEnd {
    /// It ran, and its result is in the store.
    Executed,
    /// Its result was in the store.
    Cached,
    /// Its training diverged.
    Diverged,
    /// It failed.
    Failed,
    /// A node that it needs failed.
    Skipped,
    /// The run was stopped.
    Cancelled,
    /// It began, and nothing tells how it ended.
    #[serde(skip_deserializing)]
    Unfinished,
}

impl NodeEnd {
    /// The word that is shown.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Cached => "cached",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Unfinished => "unfinished",
        }
    }
}

/// A stretch of time in which a node ran, from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its begin.
    pub begin: Duration,
    /// How long it took.
    pub wall: Duration,
}

impl Stretch {
    /// Its end.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.begin + self.wall
    }
}

/// A node of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunNode {
    /// Its name.
    pub name: String,
    /// Its key, where it had one.
    pub key: Option<ActionKey>,
    /// How it ended, the last time that it did.
    pub end: NodeEnd,
    /// Places of the nodes that it reads; none where the run did not end.
    pub producers: Vec<usize>,
    /// When it ran: not at all, once, or again as its outputs were lost.
    pub stretches: Vec<Stretch>,
    /// Why it failed, diverged or was skipped.
    pub reason: Option<String>,
    /// The end of its log, where it failed.
    pub log_tail: Option<String>,
}

/// A run, whole.
#[derive(Clone, Debug)]
pub struct Run {
    /// In short.
    pub summary: Summary,
    /// Params by import, after `--set`.
    pub params: BTreeMap<String, Value>,
    /// Its nodes: each after all that it reads where the run ended; else those that ran, in the order of their begin.
    pub nodes: Vec<RunNode>,
    /// What the user was told.
    pub notes: Vec<String>,
    listed: bool,
}

/// The last line of the record of a run that ended.
#[derive(Deserialize)]
struct Finish {
    event: String,
    executed: usize,
    cached: usize,
    #[serde(default)]
    diverged: usize,
    failed: usize,
    skipped: usize,
    wall_ms: u64,
    #[serde(default)]
    exit: Option<u8>,
    #[serde(default)]
    node_list: Option<Digest>,
}

/// Any other line.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "event")]
    kind: String,
    time: Timestamp,
    #[serde(default)]
    node: Option<String>,
    #[serde(default)]
    key: Option<ActionKey>,
    #[serde(default)]
    outcome: Option<NodeEnd>,
    #[serde(default)]
    wall_ms: u64,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    because: Option<String>,
    #[serde(default)]
    log_tail: Option<String>,
    #[serde(default)]
    cached_so_far: usize,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(default)]
    params: BTreeMap<String, Value>,
}

impl Summary {
    /// Reads a run of a store in short.
    ///
    /// # Errors
    /// A sentence on why it cannot be read.
    pub fn read(store_folder: &Path, id: &str) -> Result<Self, String> {
        let folder = store_folder.join(RUNS).join(id);
        let path = folder.join(EVENTS);
        let unreadable = |error: io::Error| format!("the record of the run {id} cannot be read: {error}");
        let file = File::open(&path).map_err(unreadable)?;
        let mut reader = BufReader::new(file);
        let start = read_start(&mut reader).map_err(unreadable)?.map_err(|why| format!("the run {id} {why}"))?;
        let mut file = reader.into_inner();
        match last_line(&mut file).map_err(unreadable)?.as_deref().and_then(finish) {
            Some(finish) => {
                let Finish { executed, cached, diverged, failed, skipped, wall_ms, exit, node_list, .. } = finish;
                let totals = Totals { executed, cached, diverged, failed, skipped };
                let (ending, wall) = (Ending::Ended { exit }, Duration::from_millis(wall_ms));
                Ok(Self { start, ending, totals, wall, folder, node_list })
            }
            None => {
                let ending = if is_held(&file) { Ending::Running } else { Ending::CutOff };
                let events = Events::read(&path, start.time).map_err(unreadable)?;
                let (totals, wall) = (events.totals(), events.wall);
                Ok(Self { start, ending, totals, wall, folder, node_list: None })
            }
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.start.run_id
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// A sentence on why it cannot be read.
    pub fn whole(self) -> Result<Run, String> {
        let unreadable = |error: io::Error| format!("the record of the run {} cannot be read: {error}", self.id());
        let path = self.folder.join(EVENTS);
        let mut first = String::new();
        File::open(&path).and_then(|file| BufReader::new(file).read_line(&mut first)).map_err(unreadable)?;
        let Params { params } = serde_json::from_str(&first).unwrap_or_default();
        let events = Events::read(&path, self.start.time).map_err(unreadable)?;
        let store_folder = self.folder.ancestors().nth(2).unwrap_or(&self.folder);
        let listed = self.node_list.and_then(|digest| node_list::read(store_folder, &digest)).unwrap_or_default();
        let (notes, is_listed) = (events.notes.clone(), !listed.is_empty());
        Ok(Run { nodes: events.merged(listed), summary: self, params, notes, listed: is_listed })
    }
}

impl Run {
    /// Whether it is known of each node what it reads: only of runs that ended.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// The one node that a name on the command line means.
    ///
    /// # Errors
    /// A sentence on what there is instead.
    pub fn node(&self, name: &str) -> Result<&RunNode, String> {
        if let Some(node) = self.nodes.iter().find(|node| node.name == name) {
            return Ok(node);
        }
        let selector = Selector::parse(name, ':')?;
        let of_stage = self.nodes.iter().filter_map(|node| {
            let own = Selector::parse(&node.name, ':').ok().filter(|own| own.stage == selector.stage)?;
            let coordinates: Vec<(String, String)> =
                own.axes.into_iter().map(|(axis, value)| (axis, value.unwrap_or_else(|| "*".to_owned()))).collect();
            Some((node, selector.matches(&coordinates)))
        });
        let of_stage: Vec<(&RunNode, bool)> = of_stage.collect();
        let matching: Vec<&RunNode> = of_stage.iter().filter(|(_, matches)| *matches).map(|(node, _)| *node).collect();
        let some = |nodes: &mut dyn Iterator<Item = &RunNode>| {
            nodes.take(5).map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        match matching.as_slice() {
            [one] => Ok(one),
            [] if of_stage.is_empty() => {
                let mut stages: Vec<&str> = self.nodes.iter().filter_map(|node| node.name.split('[').next()).collect();
                stages.dedup();
                Err(format!(
                    "no stage `{}` in that run; {}",
                    selector.stage,
                    suggest(&selector.stage, "stages", stages)
                ))
            }
            [] => Err(format!(
                "no cell of `{}` in that run matches; there are {}",
                selector.stage,
                some(&mut of_stage.iter().map(|(node, _)| *node))
            )),
            several => Err(format!(
                "`{name}` names {} nodes of that run: {}; name one",
                several.len(),
                some(&mut several.iter().copied())
            )),
        }
    }
}

/// The first line, or what is wrong with it.
fn read_start(reader: &mut impl BufRead) -> io::Result<Result<Start, String>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Ok(Err("was cut off before it began".to_owned()));
    }
    Ok(match serde_json::from_str::<Start>(&line) {
        Ok(start) if start.schema <= SCHEMA => Ok(start),
        Ok(_) => Err("was recorded by a newer version of pru-flow".to_owned()),
        Err(error) => Err(format!("has a record that is damaged: {error}")),
    })
}

/// The last whole line, if it is short.
fn last_line(file: &mut File) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let Some(whole) = text.strip_suffix('\n') else { return Ok(None) };
    Ok(whole.rsplit_once('\n').map(|(_, last)| last.to_owned()))
}

fn finish(line: &str) -> Option<Finish> {
    serde_json::from_str::<Finish>(line).ok().filter(|finish| finish.event == "run_finished")
}

/// Whether the process that writes it still lives.
fn is_held(file: &File) -> bool {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // A run that begins waits for the lock.
            let _ = flock(file, FlockOperation::Unlock);
            false
        }
        Err(error) => error == rustix::io::Errno::WOULDBLOCK,
    }
}

/// What the lines between the first and the last tell.
#[derive(Default)]
struct Events {
    nodes: Vec<RunNode>,
    places: HashMap<String, usize>,
    cached: usize,
    notes: Vec<String>,
    wall: Duration,
}

impl Events {
    fn read(path: &Path, start: Timestamp) -> io::Result<Self> {
        let mut events = Self::default();
        let text = fs::read(path)?;
        // A line that was cut off, or is of a newer version, tells nothing.
        for line in text.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty()) {
            if let Ok(event) = serde_json::from_slice::<Event>(line) {
                events.add(event, start);
            }
        }
        Ok(events)
    }

    fn add(&mut self, event: Event, start: Timestamp) {
        let at = Duration::try_from(event.time.duration_since(start)).unwrap_or_default();
        self.wall = self.wall.max(at);
        match (event.kind.as_str(), event.node) {
            ("node_started", Some(name)) => {
                let node = self.node(name);
                node.key = event.key;
                node.end = NodeEnd::Unfinished;
                node.stretches.push(Stretch { begin: at, wall: Duration::ZERO });
            }
            ("node_finished", Some(name)) => {
                self.cached = self.cached.max(event.cached_so_far);
                let node = self.node(name);
                node.key = event.key.or(node.key);
                if let Some(stretch) = node.stretches.last_mut().filter(|_| node.end == NodeEnd::Unfinished) {
                    // Whole milliseconds by the node's own clock; the events tell the rest.
                    let wall = Duration::from_millis(event.wall_ms);
                    let between = at.saturating_sub(stretch.begin);
                    stretch.wall = between.clamp(wall, wall + Duration::from_micros(999));
                }
                node.end = event.outcome.unwrap_or(NodeEnd::Unfinished);
                node.reason = event.reason.or(event.because.map(|producer| format!("needs {producer}")));
                node.log_tail = event.log_tail.filter(|text| !text.is_empty());
            }
            ("note", _) => self.notes.extend(event.text),
            _ => {}
        }
    }

    fn node(&mut self, name: String) -> &mut RunNode {
        let next = self.nodes.len();
        let place = *self.places.entry(name.clone()).or_insert(next);
        if place == next {
            self.nodes.push(unseen(name, None, Vec::new()));
        }
        &mut self.nodes[place]
    }

    /// Counts of a run that did not end.
    fn totals(&self) -> Totals {
        let count = |ends: &[NodeEnd]| self.nodes.iter().filter(|node| ends.contains(&node.end)).count();
        let listed = count(&[NodeEnd::Cached]);
        Totals {
            executed: count(&[NodeEnd::Executed, NodeEnd::Diverged]),
            cached: self.cached.max(listed),
            diverged: count(&[NodeEnd::Diverged]),
            failed: count(&[NodeEnd::Failed]),
            skipped: count(&[NodeEnd::Skipped, NodeEnd::Cancelled]),
        }
    }

    /// The nodes of the list with what became of them; without a list, those of the events.
    fn merged(mut self, listed: Vec<ListedNode>) -> Vec<RunNode> {
        if listed.is_empty() {
            return self.nodes;
        }
        let node = |ListedNode { name, key, producers }| match self.places.get(&name) {
            Some(place) => {
                let seen = &mut self.nodes[*place];
                let seen = std::mem::replace(seen, unseen(String::new(), None, Vec::new()));
                RunNode { key: key.or(seen.key), producers, ..seen }
            }
            None => {
                // One that never had its turn has no key.
                let end = if key.is_some() { NodeEnd::Cached } else { NodeEnd::Cancelled };
                RunNode { end, ..unseen(name, key, producers) }
            }
        };
        listed.into_iter().map(node).collect()
    }
}

fn unseen(name: String, key: Option<ActionKey>, producers: Vec<usize>) -> RunNode {
    let end = NodeEnd::Unfinished;
    RunNode { name, key, end, producers, stretches: Vec::new(), reason: None, log_tail: None }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A node: its name, its begin and time in ms where it ran, and what it reads.
    pub(in crate::record) type Ran<'a> = (&'a str, Option<(u64, u64)>, &'a [usize]);

    /// A run of these nodes that took a second.
    pub(in crate::record) fn run(nodes: &[Ran]) -> Run {
        let ms = Duration::from_millis;
        let nodes: Vec<RunNode> = nodes
            .iter()
            .map(|(name, ran, producers)| RunNode {
                end: if ran.is_some() { NodeEnd::Executed } else { NodeEnd::Cached },
                stretches: ran.iter().map(|(begin, wall)| Stretch { begin: ms(*begin), wall: ms(*wall) }).collect(),
                ..unseen((*name).to_owned(), None, producers.to_vec())
            })
            .collect();
        let line = r#"{"schema": 1, "time": "2026-01-01T00:00:00Z", "run_id": "r", "pipeline": "p", "nodes": 1}"#;
        let summary = Summary {
            start: serde_json::from_str(line).unwrap(),
            ending: Ending::Ended { exit: Some(0) },
            totals: Totals::default(),
            wall: ms(1000),
            folder: PathBuf::new(),
            node_list: None,
        };
        Run { summary, params: BTreeMap::new(), nodes, notes: Vec::new(), listed: true }
    }
}
