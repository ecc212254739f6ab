//! A run: the coordinator owns all state, obeys the scheduler, hears the executor through one channel, and tells an
//! [`Observer`] what happens. Decides nothing about order and does no work of a node itself.

mod before;
mod deadline;
mod keeping;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use pru_flow_cache::{ActionKey, ActionResult, LocalStore, Store};
use pru_flow_stages::io::Progress;

use crate::diverged;
use crate::execute::workspace::Workspace;
use crate::execute::{Executor, Message, Outcome, Task};
use crate::graph::{Described, Device, Graph, NodeId};
use crate::plan::{At, Resolved, Unresolved, resolve};
use crate::problem::{Problem, Problems};
use crate::project::Project;
use crate::results::last_nodes;
use crate::schedule::{Command, Event, Need, Scheduler};
use crate::sources::Outside;
use crate::values::Unknown;
use before::{check_devices, check_limits, check_sources, limits, need, needs_worker};
use deadline::Deadline;
use keeping::{Bypass, Keeping, anew};

/// How long a node is given to stop before its process is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How long a killed node is given to be gone before the run ends without it: work inside this process cannot be
/// killed, and ends with it.
const ABANDON: Duration = Duration::from_secs(2);

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Nodes at once.
    pub jobs: usize,
    /// Cores in all.
    pub cpus: u32,
    /// Overrides where nodes run.
    pub device: Option<Device>,
    /// Whether the first failure stops the run.
    pub fail_fast: bool,
    /// Nodes that run although they have a result, which is replaced.
    pub force: BTreeSet<NodeId>,
    /// How much of a resource of the user's own there is, before what the pipeline says.
    pub limits: BTreeMap<String, u32>,
}

/// How a node ended, as told to the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ran, and its result is durable.
    Executed,
    /// Its result was in the store.
    Cached,
    /// Its training diverged, or that of a node that it reads: it has marks in the place of outputs, for this reason, from
    /// this run or an earlier one.
    Diverged {
        /// Which node diverged, unless it is this one, and how.
        reason: String,
        /// Whether the result was in the store.
        cached: bool,
    },
    /// It failed: reason, end of its log.
    Failed(String, String),
    /// It failed before it ran: values that it takes from other nodes do not fit.
    Refused(Problems),
    /// A producer (this one) failed.
    Skipped(String),
    /// The run was stopped.
    Cancelled,
}

impl Ended {
    /// The end of a node that has this result.
    fn with(result: &ActionResult, cached: bool) -> Self {
        match diverged::reason(result) {
            Some(reason) => Self::Diverged { reason: reason.to_owned(), cached },
            None if cached => Self::Cached,
            None => Self::Executed,
        }
    }

    /// The word in events.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Cached => "cached",
            Self::Diverged { .. } => "diverged",
            Self::Failed(..) | Self::Refused(_) => "failed",
            Self::Skipped(_) => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes that ran.
    pub executed: usize,
    /// Nodes whose result was in the store.
    pub cached: usize,
    /// Nodes among these without outputs, as a training diverged.
    pub diverged: usize,
    /// Nodes that failed.
    pub failed: usize,
    /// Nodes that were skipped or cancelled.
    pub skipped: usize,
}

impl Totals {
    fn of(ended: &[Option<Ended>]) -> Self {
        let mut totals = Self::default();
        for ended in ended.iter().flatten() {
            totals.diverged += usize::from(matches!(ended, Ended::Diverged { .. }));
            match ended {
                Ended::Executed | Ended::Diverged { cached: false, .. } => totals.executed += 1,
                Ended::Cached | Ended::Diverged { cached: true, .. } => totals.cached += 1,
                Ended::Failed(..) | Ended::Refused(_) => totals.failed += 1,
                Ended::Skipped(_) | Ended::Cancelled => totals.skipped += 1,
            }
        }
        totals
    }
}

/// Hears what happens in a run.
pub trait Observer {
    /// The run begins with this many nodes.
    fn started(&mut self, _nodes: usize) {}
    /// A node begins to run.
    fn node_started(&mut self, _name: &str, _key: &ActionKey) {}
    /// A running node is this far.
    fn progress(&mut self, _name: &str, _progress: &Progress) {}
    /// A node has ended; an executed one is durable.
    fn node_finished(&mut self, _name: &str, _key: Option<&ActionKey>, _ended: &Ended, _wall: Duration) {}
    /// Something that the user should know, in a sentence.
    fn note(&mut self, _text: &str) {}
    /// The run is over.
    fn finished(&mut self, _totals: &Totals, _wall: Duration) {}
}

/// What a run left.
pub struct RunEnd {
    /// Counts.
    pub totals: Totals,
    /// Results by node.
    pub results: Vec<Option<Arc<ActionResult>>>,
    /// The signal that stopped the run.
    pub signal: Option<i32>,
    /// Time from first to last.
    pub wall: Duration,
}

/// Runs the `wanted` nodes of a project.
///
/// # Errors
/// What is wrong before anything runs: missing sources, a device that is not there.
pub fn run(
    project: &Project,
    wanted: &[bool],
    (store, outside): (Arc<LocalStore>, Arc<Outside>),
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<RunEnd, Problems> {
    let graph = &project.graph;
    let (sender, receiver) = channel();
    let logs = project.logs();
    std::fs::create_dir_all(&logs).map_err(|e| Problems::one(Problem::of_file(format!("{}: {e}", logs.display()))))?;
    let workspace = Arc::new(Workspace::open(&project.root, store.root()));
    let executor =
        Executor::new(Arc::clone(&store), Arc::clone(&outside), Arc::clone(&workspace), logs, sender.clone());
    check_sources(graph, wanted, &outside)?;
    check_devices(graph, wanted, options, &executor)?;
    let limits = limits(graph, options);
    check_limits(graph, wanted, &limits)?;
    forward_signals(sender);
    let needs: Vec<Need> = graph.nodes.iter().map(|node| need(&node.described, options)).collect();
    let producers = (0..graph.nodes.len()).map(|id| graph.producers(id)).collect();
    let scheduler = Scheduler::new(producers, &needs, &graph.order, wanted, limits, options.fail_fast);
    let count = wanted.iter().filter(|w| **w).count();
    let mut last = vec![false; graph.nodes.len()];
    for id in last_nodes(graph, wanted) {
        last[id] = true;
    }
    for (last, node) in last.iter_mut().zip(&graph.nodes) {
        *last |= node.outputs.iter().any(|output| output.path.is_some() && output.keep);
    }
    let mut coordinator = Coordinator {
        graph,
        store,
        outside,
        options,
        executor,
        observer,
        scheduler,
        results: vec![None; graph.nodes.len()],
        resolved: (0..graph.nodes.len()).map(|_| None).collect(),
        keys: vec![None; graph.nodes.len()],
        ended: vec![None; graph.nodes.len()],
        last,
        bypass: vec![None; graph.nodes.len()],
        anew: anew(graph, wanted, &options.force),
        keeping: Keeping::new(graph, wanted),
        workspace,
        running: BTreeMap::new(),
        computing: BTreeMap::new(),
        held: Vec::new(),
        released: Vec::new(),
        signal: None,
        deadline: None,
        killed: None,
    };
    let start = Instant::now();
    coordinator.observer.started(count);
    coordinator.drive(&receiver);
    coordinator.restore_outputs();
    let wall = start.elapsed();
    let totals = Totals::of(&coordinator.ended);
    coordinator.observer.finished(&totals, wall);
    Ok(RunEnd { totals, results: coordinator.results, signal: coordinator.signal, wall })
}

fn forward_signals(sender: Sender<Message>) {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    // A limit on the size of files is to be an error of the stage that meets it, and not the end of this process.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGXFSZ]) else {
        tracing::warn!("signals cannot be handled; Ctrl-C ends the run at once, and nothing finished is lost");
        return;
    };
    std::thread::spawn(move || {
        for signal in signals.forever().filter(|signal| *signal != SIGXFSZ) {
            if sender.send(Message::Signal(signal)).is_err() {
                return;
            }
        }
    });
}

struct Coordinator<'a> {
    graph: &'a Graph,
    store: Arc<LocalStore>,
    outside: Arc<Outside>,
    options: &'a RunOptions,
    executor: Executor,
    observer: &'a mut dyn Observer,
    scheduler: Scheduler,
    results: Vec<Option<Arc<ActionResult>>>,
    /// Nodes that were resolved and are about to run.
    resolved: Vec<Option<Resolved<'a>>>,
    keys: Vec<Option<ActionKey>>,
    /// How each node ended, the last time that it did: one whose outputs were lost ends twice.
    ended: Vec<Option<Ended>>,
    /// Nodes whose outputs the run is for, or lie in the project: a hit must have them.
    last: Vec<bool>,
    /// Nodes that run although there is a record.
    bypass: Vec<Option<Bypass>>,
    /// Nodes that are still to run in any case.
    anew: BTreeMap<NodeId, Bypass>,
    keeping: Keeping,
    workspace: Arc<Workspace>,
    /// Nodes that run, and when they are to be stopped.
    running: BTreeMap<NodeId, Deadline>,
    /// Keys that are being computed, and by which node.
    computing: BTreeMap<ActionKey, NodeId>,
    /// Nodes that wait until another one (the first) has computed the key of both.
    held: Vec<(NodeId, NodeId)>,
    /// Held nodes that are to look again.
    released: Vec<NodeId>,
    signal: Option<i32>,
    deadline: Option<Instant>,
    killed: Option<Instant>,
}

impl Coordinator<'_> {
    fn drive(&mut self, receiver: &Receiver<Message>) {
        let commands = self.scheduler.begin();
        self.obey(commands);
        while !(self.scheduler.is_over() && self.running.is_empty()) {
            match receiver.recv_timeout(Duration::from_millis(200)) {
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // After every message: a node that reports without pause must not put this off.
            self.stop_late_ones();
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.kill();
            }
            if self.killed.is_some_and(|since| since.elapsed() >= ABANDON) {
                break;
            }
        }
        for id in std::mem::take(&mut self.running).into_keys() {
            self.end(id, &Ended::Cancelled, Duration::ZERO);
        }
    }

    fn kill(&mut self) {
        self.killed.get_or_insert_with(Instant::now);
        self.executor.kill(None);
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Progress(id, progress) => self.observer.progress(&self.graph.nodes[id].name, &progress),
            Message::Finished(id, outcome, wall) => self.finished(id, outcome, wall),
            Message::Note(note) => self.observer.note(&note),
            Message::Signal(signal) => self.stop(signal),
        }
    }

    fn stop(&mut self, signal: i32) {
        if self.signal.is_some() {
            self.observer.note("stopping at once");
            self.kill();
            return;
        }
        self.signal = Some(signal);
        self.deadline = Some(Instant::now() + GRACE);
        if !self.running.is_empty() {
            let (n, s) = (self.running.len(), GRACE.as_secs());
            let stages = if n == 1 { "1 node was".to_owned() } else { format!("{n} nodes were") };
            self.observer.note(&format!("stopping: {stages} asked to stop (at most {s} s; again to stop at once)"));
        }
        self.executor.ask_stop(None);
        let commands = self.scheduler.on(Event::Stop);
        self.obey(commands);
    }

    /// Obeys commands, and those that follow from them.
    fn obey(&mut self, commands: Vec<Command>) {
        let mut queue = std::collections::VecDeque::from(commands);
        loop {
            let released = self.released.pop().map(|id| Command::Resolve { id, replace: false });
            let Some(command) = released.or_else(|| queue.pop_front()) else { return };
            match command {
                Command::Resolve { id, replace } => {
                    let event = self.resolve(id, replace);
                    if !self.hold(id, &event) {
                        queue.extend(self.scheduler.on(event));
                    }
                }
                Command::Start { id, replace } => {
                    if let Err(event) = self.start(id, replace) {
                        queue.extend(self.scheduler.on(event));
                    }
                }
                Command::Skip(id, because) => {
                    let because = self.graph.nodes[because].name.clone();
                    self.end(id, &Ended::Skipped(because), Duration::ZERO);
                }
                Command::GiveUp(id, because) => {
                    let because = &self.graph.nodes[because].name;
                    let reason = format!("the stored outputs of {because} are damaged each time they are read");
                    self.end(id, &Ended::Failed(format!("{reason}; check the disk"), String::new()), Duration::ZERO);
                }
                Command::Cancel(id) => self.end(id, &Ended::Cancelled, Duration::ZERO),
            }
        }
    }

    /// With `replace` the outputs that the node's record names are damaged: only another key can be a hit.
    fn resolve(&mut self, id: NodeId, replace: bool) -> Event {
        let outside = Arc::clone(&self.outside);
        // A look of its own: what was edited since the last one counts.
        let look = outside.code.look();
        let at = At { store: Some(&self.store), outside: &outside, look: &look };
        let resolved = resolve(self.graph, id, &self.results, at);
        outside.untold_doubts().iter().for_each(|doubt| self.observer.note(doubt));
        let resolved = match resolved {
            Ok(resolved) => resolved,
            Err(unresolved) => return self.unresolved(id, unresolved),
        };
        if let Cow::Owned(described) = &resolved.described {
            self.scheduler.revise(id, &need(described, self.options));
        }
        let same = self.keys[id] == Some(resolved.key);
        if !same {
            self.release(id);
        }
        self.keys[id] = Some(resolved.key);
        let key = resolved.key;
        self.resolved[id] = Some(resolved);
        if replace && same {
            return Event::Miss(id);
        }
        let found = self.store.get_results(&[key]);
        match found.map(|mut found| found.pop().flatten()) {
            Ok(Some(_)) if self.anew.contains_key(&id) => {
                self.bypass[id] = self.anew.get(&id).copied();
                Event::Miss(id)
            }
            Ok(Some(result)) if self.last[id] && !self.has_outputs(&result) => {
                self.bypass[id] = Some(Bypass::Lost);
                Event::Miss(id)
            }
            Ok(Some(result)) => {
                let ended = Ended::with(&result, true);
                self.results[id] = Some(Arc::new(result));
                self.end(id, &ended, Duration::ZERO);
                Event::Hit(id)
            }
            Ok(None) => Event::Miss(id),
            Err(error) => {
                self.end(id, &Ended::Failed(error.to_string(), String::new()), Duration::ZERO);
                Event::Unresolvable(id)
            }
        }
    }

    fn unresolved(&mut self, id: NodeId, unresolved: Unresolved) -> Event {
        let ended = match unresolved {
            Unresolved::Values(Unknown::Damaged(producer)) => return Event::Damaged(id, vec![producer]),
            Unresolved::Values(Unknown::Wrong(problems)) => Ended::Refused(problems),
            Unresolved::Values(Unknown::Waits(producer)) => {
                let name = &self.graph.nodes[producer].name;
                Ended::Failed(format!("resolved before {name}, which is a bug"), String::new())
            }
            Unresolved::Other(why) => Ended::Failed(why, String::new()),
        };
        self.end(id, &ended, Duration::ZERO);
        Event::Unresolvable(id)
    }

    /// Two nodes of one key are one computation: the second waits for the first and then looks again.
    fn hold(&mut self, id: NodeId, event: &Event) -> bool {
        let (Event::Miss(_), Some(key)) = (event, self.keys[id]) else { return false };
        let first = *self.computing.entry(key).or_insert(id);
        if first != id {
            self.held.push((first, id));
        }
        first != id
    }

    /// The node no longer computes its key, whatever came of it.
    fn release(&mut self, id: NodeId) {
        let Some(key) = self.keys[id].filter(|key| self.computing.get(key) == Some(&id)) else { return };
        self.computing.remove(&key);
        let freed = self.held.iter().filter(|(first, _)| *first == id).map(|(_, second)| *second);
        self.released.extend(freed);
        self.held.retain(|(first, _)| *first != id);
    }

    /// No consumer checks the outputs of the last nodes, and they are what the run is for.
    fn has_outputs(&self, result: &ActionResult) -> bool {
        self.store.unusable(result).is_ok_and(|bad| bad.is_empty())
    }

    fn start(&mut self, id: NodeId, replace: bool) -> Result<(), Event> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let bypass = self.bypass[id].or(replace.then_some(Bypass::Lost));
        let Some(resolved) = self.resolved[id].clone() else {
            self.end(
                id,
                &Ended::Failed("started before it was resolved, which is a bug".into(), String::new()),
                Duration::ZERO,
            );
            return Err(Event::Failed(id));
        };
        if let Some(text) = bypass.and_then(|bypass| bypass.note(node)) {
            self.observer.note(&text);
        }
        self.observer.node_started(&node.name, &resolved.key);
        tracing::info!(node = %node.name, key = %resolved.key, "start");
        let Described { work, resources, device, policy, .. } = resolved.described.into_owned();
        self.running.insert(id, Deadline::of(&policy));
        self.executor.start(Task {
            id,
            name: node.name.clone(),
            action: resolved.action,
            key: resolved.key,
            inputs: resolved.inputs,
            sources: resolved.sources,
            code: resolved.code,
            environments: resolved.environments,
            outputs: node.outputs.clone(),
            threads: resources.cpus,
            exclusive: resources.exclusive,
            device: if needs_worker(&work) { self.options.device.unwrap_or(device) } else { Device::Cpu },
            work,
            replace: bypass.is_some(),
        });
        Ok(())
    }

    fn finished(&mut self, id: NodeId, outcome: Outcome, wall: Duration) {
        let timed_out = self.running.remove(&id).and_then(|deadline| deadline.passed());
        let outcome = match (outcome, timed_out) {
            // It was asked to stop for this, and not by the user.
            (Outcome::Stopped, Some(after)) if self.signal.is_none() => Outcome::Failed(
                format!("it ran longer than its timeout of {} s, and was stopped", after.as_secs_f64()),
                String::new(),
            ),
            (outcome, _) => outcome,
        };
        let event = match outcome {
            Outcome::Done(done) => {
                if !done.differing.is_empty() {
                    let name = &self.graph.nodes[id].name;
                    let outputs = done.differing.join(", ");
                    let text = "is not deterministic: an earlier result differs and stays; both are kept";
                    self.observer.note(&format!("{name} {text} (outputs: {outputs})"));
                }
                self.anew.remove(&id);
                let ended = Ended::with(&done.result, false);
                self.results[id] = Some(done.result);
                self.end(id, &ended, wall);
                Event::Executed(id)
            }
            Outcome::Failed(reason, log) => {
                match self.scheduler.tries(id) {
                    (now, most) if now < most => {
                        let name = &self.graph.nodes[id].name;
                        self.observer
                            .note(&format!("{name} failed, and is tried again ({now} of {most} tries): {reason}"));
                        self.release(id);
                    }
                    _ => self.end(id, &Ended::Failed(reason, log), wall),
                }
                Event::Failed(id)
            }
            Outcome::Stopped => {
                self.end(id, &Ended::Cancelled, wall);
                Event::Stopped(id)
            }
            Outcome::Damaged(producers) => Event::Damaged(id, producers),
        };
        let commands = self.scheduler.on(event);
        self.obey(commands);
    }

    fn end(&mut self, id: NodeId, ended: &Ended, wall: Duration) {
        self.ended[id] = Some(ended.clone());
        self.release(id);
        self.drop_unkept(id);
        self.observer.node_finished(&self.graph.nodes[id].name, self.keys[id].as_ref(), ended, wall);
    }
}
