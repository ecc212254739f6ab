//! Runs nodes: each on a thread of its own, in-process, in a worker or as a command; checks its inputs before, its
//! sources after, and publishes its outputs. Tells the coordinator everything through one channel.
//!
//! Knows nothing of the graph or of who waits for whom.

pub mod command;
pub mod confine;
mod diverged;
pub mod installed;
pub mod logs;
mod path_lock;
pub mod preview;
pub mod running;
pub mod stray;
pub mod watcher;
pub mod worker;
pub mod workspace;

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pru_flow_cache::{Action, ActionInput, ActionKey, ActionResult, Digest, Finished, LocalStore, Put, Verdict};
use pru_flow_stages::io::{Attempt, Input, InputFile, Progress, StageEvent, StageIo};
use pru_flow_stages::protocol::{Failure, FailureKind, Hello};
use pru_flow_stages::{StageDef, StageError};

pub use logs::{log_path, log_tail};

use crate::command_code::NodeCode;
use crate::environments;
use crate::graph::{Device, NodeId, Output, Work};
use crate::keying::{Given, GivenInputs};
use crate::sources::{Found, Outside};
use running::Running;
use watcher::Watcher;
use worker::WorkerPool;
use workspace::Workspace;

/// Lines of a log that a failure shows.
const LOG_TAIL_LINES: usize = 20;

/// A node that is to run.
pub struct Task {
    /// The node.
    pub id: NodeId,
    /// Its name, for provenance.
    pub name: String,
    /// Its full description.
    pub action: Action,
    /// That description's digest.
    pub key: ActionKey,
    /// What it does.
    pub work: Work,
    /// Artifacts by port.
    pub inputs: GivenInputs,
    /// Files from outside.
    pub sources: Vec<Found>,
    /// The code of a command.
    pub code: Option<NodeCode>,
    /// Texts of what is installed for its Python, by their digests.
    pub environments: Vec<(Digest, String)>,
    /// What it must write.
    pub outputs: Vec<Output>,
    /// Threads to compute with.
    pub threads: u32,
    /// Where it is to run.
    pub device: Device,
    /// Whether nothing else of this run runs beside it.
    pub exclusive: bool,
    /// Whether the new record takes the place of one whose outputs are damaged.
    pub replace: bool,
}

impl Task {
    /// Whether a port takes the artifacts of many nodes: the key holds their coordinates, and those of no other port.
    fn gathers(&self, port: &str) -> bool {
        matches!(self.action.inputs.get(port), Some(ActionInput::Gather(_)))
    }
}

/// What the coordinator hears.
pub enum Message {
    /// A running node is this far.
    Progress(NodeId, Progress),
    /// A node has ended.
    Finished(NodeId, Outcome, Duration),
    /// Something that the user should know.
    Note(String),
    /// The process got this signal.
    Signal(i32),
}

/// How a node ended.
pub enum Outcome {
    /// Its result is durable.
    Done(Done),
    /// It failed: the reason, and the end of its log.
    Failed(String, String),
    /// It was stopped on request.
    Stopped,
    /// It did not start: stored outputs of these producers are missing or damaged.
    Damaged(Vec<NodeId>),
}

/// A node that ran to its end.
pub struct Done {
    /// The record that its key has from now on.
    pub result: Arc<ActionResult>,
    /// Outputs in which an earlier record, which stays, differs: the stage is not deterministic.
    pub differing: Vec<String>,
}

/// Starts nodes and stops them.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<LocalStore>,
    outside: Arc<Outside>,
    workspace: Arc<Workspace>,
    logs: PathBuf,
    messages: Sender<Message>,
    running: Mutex<BTreeMap<NodeId, Arc<Running>>>,
    watcher: OnceLock<Result<Arc<Watcher>, String>>,
    workers: OnceLock<Result<WorkerPool, String>>,
    machine: String,
}

impl Executor {
    /// An executor that publishes to `store` and keeps logs in `logs`.
    #[must_use]
    pub fn new(
        store: Arc<LocalStore>,
        outside: Arc<Outside>,
        workspace: Arc<Workspace>,
        logs: PathBuf,
        messages: Sender<Message>,
    ) -> Self {
        let shared = Shared {
            store,
            outside,
            workspace,
            logs,
            messages,
            running: Mutex::new(BTreeMap::new()),
            watcher: OnceLock::new(),
            workers: OnceLock::new(),
            machine: machine(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts a node; a [`Message::Finished`] tells its end.
    pub fn start(&self, task: Task) {
        let shared = Arc::clone(&self.shared);
        let running = Arc::new(Running::default());
        shared.running.lock().unwrap_or_else(PoisonError::into_inner).insert(task.id, Arc::clone(&running));
        let (id, messages) = (task.id, self.shared.messages.clone());
        let run = move || {
            let start = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| shared.run(&task, &running)));
            let outcome = outcome.unwrap_or_else(|panic| {
                let reason = format!("a panic, which is a bug of pru-flow: {}", panic_text(&*panic));
                Outcome::Failed(reason, String::new())
            });
            shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            let messages = shared.messages.clone();
            // Before the last message: after it the program may end, and what this holds is to be cleaned up by then.
            drop(shared);
            // The coordinator is gone only when the program ends.
            let _ = messages.send(Message::Finished(id, outcome, start.elapsed()));
        };
        if let Err(error) = std::thread::Builder::new().spawn(run) {
            let outcome = Outcome::Failed(format!("no thread can be started: {error}"), String::new());
            let _ = messages.send(Message::Finished(id, outcome, Duration::ZERO));
        }
    }

    /// Asks a node, or everything that runs, to stop.
    pub fn ask_stop(&self, only: Option<NodeId>) {
        self.each_running(only, Running::ask_stop);
    }

    /// Kills the process that runs a node, or all of them.
    pub fn kill(&self, only: Option<NodeId>) {
        self.each_running(only, Running::kill);
    }

    fn each_running(&self, only: Option<NodeId>, what: fn(&Running)) {
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().filter(|(id, _)| only.is_none_or(|only| only == **id)).for_each(|(_, running)| what(running));
    }

    /// What a worker says of itself.
    ///
    /// # Errors
    /// When there is none that fits.
    pub fn hello(&self) -> Result<Hello, String> {
        self.shared.workers()?.hello()
    }
}

impl Shared {
    fn watcher(&self) -> Result<&Arc<Watcher>, String> {
        let watcher = self.watcher.get_or_init(|| {
            Watcher::start().map(Arc::new).map_err(|e| format!("the process watcher cannot be started: {e}"))
        });
        watcher.as_ref().map_err(Clone::clone)
    }

    fn workers(&self) -> Result<&WorkerPool, String> {
        let workers = self.workers.get_or_init(|| {
            let watcher = Arc::clone(self.watcher()?);
            Ok(WorkerPool::new(worker::find_program()?, self.logs.clone(), watcher))
        });
        workers.as_ref().map_err(Clone::clone)
    }

    fn run(&self, task: &Task, running: &Running) -> Outcome {
        let damaged = self.damaged_inputs(task);
        if !damaged.is_empty() {
            return Outcome::Damaged(damaged);
        }
        let log = log_path(&self.logs, &task.key);
        let started = jiff::Timestamp::now();
        let clock = Instant::now();
        let result = self.in_workspace(task, |shared| {
            let attempted = shared.attempt(task, running, &log)?;
            shared.check_sources(task)?;
            shared.publish(task, attempted, started, clock.elapsed())
        });
        match result {
            Ok(done) => Outcome::Done(done),
            Err(Failure { kind: FailureKind::Cancelled, .. }) => Outcome::Stopped,
            Err(_) if running.was_stopped() => Outcome::Stopped,
            Err(failure) => {
                let tail = log_tail(&log, LOG_TAIL_LINES);
                logs::append(&log, &format!("failed: {}", failure.message));
                Outcome::Failed(failure.message, tail)
            }
        }
    }

    /// Producers whose stored outputs, as far as this node needs them, are missing or not what they should be.
    fn damaged_inputs(&self, task: &Task) -> Vec<NodeId> {
        let mut damaged = Vec::new();
        for given in task.inputs.values().flatten() {
            let bad = given.files.iter().any(|file| {
                let inline = given.result.inline.contains_key(&file.digest);
                !inline && !matches!(self.store.verify(&file.digest), Ok(Verdict::Good))
            });
            if bad && !damaged.contains(&given.producer) {
                damaged.push(given.producer);
            }
        }
        damaged
    }

    fn attempt(&self, task: &Task, running: &Running, log: &Path) -> Result<Attempted, Failure> {
        let cannot = |what: &str, error: &dyn std::fmt::Display| failed(format!("{what}: {error}"));
        let folder = self.store.attempt_folder().map_err(|e| cannot("no folder for the attempt", &e))?;
        let folder = AttemptFolder { path: folder, store: Arc::clone(&self.store) };
        if let Some(parent) = log.parent() {
            std::fs::create_dir_all(parent).map_err(|e| cannot("the folder of logs", &e))?;
        }
        File::create(log).map_err(|e| cannot(&format!("the log {}", log.display()), &e))?;
        let mut attempted =
            Attempted { folder, measurements: BTreeMap::new(), device: "cpu".to_owned(), diverged: None };
        let computed = match diverged::input_of(task) {
            Some(reason) => Err(Failure { kind: FailureKind::Diverged, message: reason }),
            None => self.compute(task, running, log, &mut attempted),
        };
        match computed {
            Ok(()) => {}
            Err(Failure { kind: FailureKind::Diverged, message }) => {
                logs::append(log, &format!("diverged: {message}"));
                diverged::mark_outputs(task, &attempted.folder.path).map_err(|e| cannot("writing the outputs", &e))?;
                attempted.diverged = Some(message);
            }
            Err(failure) => return Err(failure),
        }
        Ok(attempted)
    }

    /// Runs what the node does.
    fn compute(&self, task: &Task, running: &Running, log: &Path, attempted: &mut Attempted) -> Result<(), Failure> {
        let Attempted { folder, measurements, device, .. } = attempted;
        let mut on = |event: StageEvent| match event {
            StageEvent::Progress(progress) => {
                logs::append(log, &progress.to_string());
                drop(self.messages.send(Message::Progress(task.id, progress)));
            }
            StageEvent::Measured { name, value } => drop(measurements.insert(name, value)),
        };
        match &task.work {
            Work::Builtin { def, .. } if def.needs_worker() => {
                let workers = self.workers().map_err(failed)?;
                let worker = workers.take(running).map_err(failed)?;
                *device = worker.device(task.device);
                let attempt = describe(&self.store, task, &folder.path, device, log)?;
                workers.run(worker, &attempt, running, &mut on)
            }
            Work::Builtin { def, .. } => {
                let attempt = describe(&self.store, task, &folder.path, device, log)?;
                run_here(def, &attempt, &running.stopped(), &mut on)
            }
            Work::Waiting(_) => Err(failed("started before its params were known, which is a bug".to_owned())),
            Work::Command(work) => self.run_command(task, work, &folder.path, log, running),
        }
    }

    /// What the key was computed from must still be there: else the result would be filed under the wrong key.
    fn check_sources(&self, task: &Task) -> Result<(), Failure> {
        if let Some(found) = task.sources.iter().find(|found| !self.outside.is_unchanged(found)) {
            let path = found.path.display();
            return Err(failed(format!(
                "{path} changed while the stage ran; its result is not cached: run again, and if the stage itself \
                 writes there, let it write to `${{outputs.NAME}}`"
            )));
        }
        if task.code.as_ref().is_some_and(|code| !code.is_unchanged(&self.outside.code)) {
            return Err(failed(
                "its code, or what is installed for its Python, changed while the stage ran; its result is not cached: \
                 run again"
                    .to_owned(),
            ));
        }
        self.check_placed(task)
    }

    fn publish(
        &self,
        task: &Task,
        attempted: Attempted,
        started: jiff::Timestamp,
        wall: Duration,
    ) -> Result<Done, Failure> {
        let Attempted { folder, mut measurements, device, diverged } = attempted;
        let mut outputs = BTreeMap::new();
        for output in &task.outputs {
            let path = match &output.path {
                // A mark in the place of an output stays in the store.
                Some(path) if diverged.is_none() => self.workspace.path(path),
                _ => output_path(task, &folder.path, output),
            };
            let is_folder = path.is_dir();
            if path.symlink_metadata().is_err() || output.folder.is_some_and(|folder| folder != is_folder) {
                return Err(failed(format!("the declared output `{}` was not written", output.name)));
            }
            outputs.insert(output.name.clone(), (is_folder, path));
        }
        for (digest, text) in &task.environments {
            environments::write(self.store.root(), digest, text);
        }
        measurements.insert("wall_seconds".to_owned(), wall.as_secs_f64());
        let code = format!("pru-flow {} {}", env!("CARGO_PKG_VERSION"), pru_flow_stages::protocol::BUILD_ID);
        let mut provenance = BTreeMap::from([
            ("machine".to_owned(), self.machine.clone()),
            ("device".to_owned(), device),
            ("threads".to_owned(), task.threads.to_string()),
            // Only such times can be compared: beside other nodes a node is slower.
            ("exclusive".to_owned(), task.exclusive.to_string()),
            ("code".to_owned(), code),
            ("started_unix_ms".to_owned(), started.as_millisecond().to_string()),
        ]);
        provenance.extend(crate::keep::entry(&task.outputs));
        provenance.extend(diverged.map(crate::diverged::entry));
        let finished = Finished { action: task.action.clone(), node: task.name.clone(), measurements, provenance };
        let put = if task.replace { Put::Replace } else { Put::IfAbsent };
        let published = self.store.publish(&outputs, finished, put).map_err(|e| failed(e.to_string()))?;
        for (output, path) in task.outputs.iter().filter_map(|output| Some((output, output.path.as_ref()?))) {
            self.workspace.note_restorable(&published.result, &output.name);
            // A result that was there before may have other bytes; it is put in place at the end of the run.
            if output.hard_link && published.new {
                self.workspace.link(&self.store, path, (&published.result, &output.name)).map_err(failed)?;
            }
        }
        Ok(Done { result: Arc::new(published.result), differing: published.differing })
    }
}

/// What a node left that ran to its end.
struct Attempted {
    folder: AttemptFolder,
    measurements: BTreeMap<String, f64>,
    /// `cpu` or `cuda:<i>`.
    device: String,
    /// Why its outputs are marks.
    diverged: Option<String>,
}

/// Removed with all that is in it when the attempt is over.
struct AttemptFolder {
    path: PathBuf,
    store: Arc<LocalStore>,
}

impl Drop for AttemptFolder {
    fn drop(&mut self) {
        self.store.remove_attempt(&self.path);
    }
}

/// What a stage is given: the artifacts and sources of its action, and nothing else.
///
/// # Errors
/// When an artifact is not in the store any more, or the node is a command.
pub fn describe(store: &LocalStore, task: &Task, folder: &Path, device: &str, log: &Path) -> Result<Attempt, Failure> {
    let Work::Builtin { def, params, .. } = &task.work else {
        return Err(failed("a command is no stage, which is a bug".to_owned()));
    };
    let mut inputs = BTreeMap::new();
    for (port, artifacts) in &task.inputs {
        let gather = task.gathers(port);
        let given = artifacts.iter().map(|given| input(store, given, gather)).collect::<Result<Vec<_>, _>>()?;
        inputs.insert(port.clone(), given);
    }
    Ok(Attempt {
        stage: def.name.to_owned(),
        params: params.clone(),
        inputs,
        sources: task.sources.iter().map(|found| (found.name.clone(), found.path.clone())).collect(),
        folder: folder.to_owned(),
        kept: store.kept_folder(&task.key),
        device: device.to_owned(),
        threads: task.threads,
        log: log.to_owned(),
    })
}

fn input(store: &LocalStore, given: &Given, gather: bool) -> Result<Input, Failure> {
    let mut files = Vec::with_capacity(given.files.len());
    for file in &given.files {
        let path = store.materialise(&given.result, &file.digest).map_err(|e| failed(e.to_string()))?;
        files.push(InputFile::new(&file.name, file.digest, path));
    }
    Ok(Input { coordinates: if gather { given.coordinates.clone() } else { Vec::new() }, files })
}

fn failed(message: String) -> Failure {
    Failure { kind: FailureKind::Failed, message }
}

/// Runs a stage in this process, in a thread pool of its declared size.
fn run_here(
    def: &StageDef,
    attempt: &Attempt,
    cancelled: &Arc<AtomicBool>,
    on: &mut (impl FnMut(StageEvent) + Send),
) -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(attempt.threads as usize).build();
    let pool = pool.map_err(|e| failed(format!("no threads: {e}")))?;
    let result = catch_unwind(AssertUnwindSafe(|| {
        pool.install(|| -> Result<(), StageError> {
            let mut io = StageIo::new(attempt, Arc::clone(cancelled), on)?;
            (def.run)(&attempt.params, &mut io)
        })
    }));
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::from(error)),
        Err(panic) => Err(failed(format!("the stage panicked, which is a bug: {}", panic_text(&*panic)))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// This program, to be started again as a small process of its own: the one that runs, even when its file has been
/// replaced since.
fn this_program() -> Command {
    let itself = Path::new("/proc/self/exe");
    let path = if itself.exists() { Ok(itself.to_owned()) } else { std::env::current_exe() };
    let mut command = Command::new(path.unwrap_or_else(|_| PathBuf::from("pru-flow")));
    command.arg0("pru-flow");
    command
}

/// Where in the attempt's folder an output is written: a command's has the name that it knows.
fn output_path(task: &Task, folder: &Path, output: &Output) -> PathBuf {
    let path = folder.join("out").join(&output.name);
    if matches!(task.work, Work::Command(_)) { path.join(&output.file_name) } else { path }
}

/// What kind of machine this is: part of a result's provenance.
#[must_use]
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    format!("{} {}, {}", std::env::consts::OS, std::env::consts::ARCH, model.unwrap_or("unknown processor"))
}
