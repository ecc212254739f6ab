//! Worker processes: started when first needed, used again while they behave, given one stage at a time.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use pru_flow_stages::io::{Attempt, StageEvent};
use pru_flow_stages::protocol::{BUILD_ID, Failure, FailureKind, FromWorker, Hello, ToWorker, receive, send};

use super::Running;
use super::watcher::{Watcher, kill_group};

/// The worker's file name.
pub const PROGRAM: &str = "pru-flow-torch";

/// Workers of one run.
pub struct WorkerPool {
    program: PathBuf,
    /// Where a worker's first words go, before it has a node's log.
    folder: PathBuf,
    watcher: Arc<Watcher>,
    idle: Mutex<Vec<Worker>>,
}

struct Worker {
    child: Child,
    socket: UnixStream,
    watcher: Arc<Watcher>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends when the socket closes; one that hangs is killed.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        kill_group(self.child.id(), rustix::process::Signal::KILL);
        let _ = self.child.wait();
        self.watcher.remove(self.child.id());
    }
}

/// Where the worker lies: `PRU_FLOW_WORKER`, or beside this program.
///
/// # Errors
/// When there is none, with how to build it.
pub fn find_program() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("PRU_FLOW_WORKER") {
        let path = PathBuf::from(path);
        let told = format!("PRU_FLOW_WORKER names {}, which is no file", path.display());
        return if path.is_file() { Ok(path) } else { Err(told) };
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|folder| folder.join(PROGRAM)));
    match beside {
        Some(path) if path.is_file() => Ok(path),
        _ => Err(format!("the worker `{PROGRAM}` is not beside pru-flow; build both with `cargo xtask build`")),
    }
}

impl WorkerPool {
    /// Workers are started from `program`; `folder` takes what they print before their first node.
    #[must_use]
    pub fn new(program: PathBuf, folder: PathBuf, watcher: Arc<Watcher>) -> Self {
        Self { program, folder, watcher, idle: Mutex::new(Vec::new()) }
    }

    /// What the worker says of itself: starts one, which stays for the first node.
    ///
    /// # Errors
    /// When it cannot be started or was built from other sources.
    pub fn hello(&self) -> Result<Hello, String> {
        let (worker, hello) = self.start()?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        Ok(hello)
    }

    /// Runs one stage and waits for its end.
    ///
    /// # Errors
    /// The stage's failure, or how the worker died.
    pub fn run(&self, attempt: &Attempt, running: &Running, mut on: impl FnMut(StageEvent)) -> Result<(), Failure> {
        let failed = |message: String| Failure { kind: FailureKind::Failed, message };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => self.start().map_err(failed)?.0,
        };
        let handle = worker.socket.try_clone().map_err(|e| failed(e.to_string()))?;
        running.set_worker(worker.child.id(), handle);
        let result = converse(&mut worker.socket, attempt, &mut on);
        running.clear();
        match result {
            Ok(None) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                Ok(())
            }
            Ok(Some(failure)) => {
                // After a panic the worker's state is unknown: it is not used again.
                if failure.kind != FailureKind::Panicked {
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                }
                Err(failure)
            }
            Err(error) => Err(failed(end_of(&mut worker, &error))),
        }
    }

    fn start(&self) -> Result<(Worker, Hello), String> {
        let cannot = |error: io::Error| format!("the worker {} cannot be started: {error}", self.program.display());
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        let words = self.folder.join("worker.log");
        let log = File::options().create(true).append(true).open(&words).map_err(cannot)?;
        let mut command = Command::new(&self.program);
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log)
            .process_group(0);
        let child = command.spawn().map_err(cannot)?;
        // The command holds the other end of the socket: it must be closed here, so that a worker's death is seen.
        drop(command);
        self.watcher.add(child.id()).map_err(cannot)?;
        let mut worker = Worker { child, socket: ours, watcher: Arc::clone(&self.watcher) };
        match receive::<FromWorker>(&mut worker.socket) {
            Ok(Some(FromWorker::Hello(hello))) => check(&self.program, hello).map(|hello| (worker, hello)),
            Ok(_) | Err(_) => {
                let status = worker.child.wait().map(describe).unwrap_or_default();
                let said = super::log_tail(&words, 5);
                Err(format!("the worker {} did not come up ({status}): {said}", self.program.display()))
            }
        }
    }
}

fn check(program: &Path, hello: Hello) -> Result<Hello, String> {
    let engine = pru_flow_stages::Tool::Libtorch.fingerprint().1;
    if hello.build_id != BUILD_ID {
        return Err(format!(
            "the worker {} was built from other sources than this pru-flow ({} and {BUILD_ID}); run `cargo xtask build`",
            program.display(),
            hello.build_id
        ));
    }
    if !hello.libtorch.starts_with(engine) {
        return Err(format!(
            "the worker runs on libtorch {}, and results are keyed for {engine}; set LIBTORCH to a libtorch {engine}",
            hello.libtorch
        ));
    }
    Ok(hello)
}

fn converse(
    socket: &mut UnixStream,
    attempt: &Attempt,
    on: &mut impl FnMut(StageEvent),
) -> io::Result<Option<Failure>> {
    send(socket, &ToWorker::Run(Box::new(attempt.clone())))?;
    loop {
        match receive::<FromWorker>(socket)? {
            Some(FromWorker::Event(event)) => on(event),
            Some(FromWorker::Done(failure)) => return Ok(failure),
            Some(FromWorker::Hello(_)) => return Err(io::Error::other("a second greeting")),
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}

fn end_of(worker: &mut Worker, error: &io::Error) -> String {
    let _ = worker.socket.shutdown(std::net::Shutdown::Both);
    match worker.child.wait() {
        Ok(status) => format!("the worker process ended: {}", describe(status)),
        Err(_) => format!("the worker process ended: {error}"),
    }
}

/// How a process ended, in words.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "killed by SIGKILL, perhaps by the system for want of memory".to_owned(),
        (None, Some(signal)) => {
            let name = match signal {
                6 => "SIGABRT",
                11 => "SIGSEGV",
                15 => "SIGTERM",
                4 => "SIGILL",
                7 => "SIGBUS",
                8 => "SIGFPE",
                2 => "SIGINT",
                _ => "signal",
            };
            if name == "signal" { format!("killed by signal {signal}") } else { format!("killed by {name}") }
        }
        (None, None) => "ended in an unknown way".to_owned(),
    }
}
