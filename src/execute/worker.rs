//! Worker processes: started when first needed, used again while they behave, given one stage at a time.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pru_flow_stages::io::{Attempt, StageEvent};
use pru_flow_stages::protocol::{BUILD_ID, Failure, FailureKind, FromWorker, Hello, ToWorker, receive, send};

use super::running::Running;
use super::watcher::{Watcher, kill_group};
use crate::graph::Device;

/// How long a worker may take to load libtorch, from a slow disk too.
const GREETING: Duration = Duration::from_mins(2);

/// How long a worker that is of no use any more may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

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

/// A worker process that is up.
pub struct Worker {
    child: Child,
    socket: UnixStream,
    watcher: Arc<Watcher>,
    hello: Hello,
}

impl Worker {
    /// Where a node that asks for `device` computes.
    #[must_use]
    pub fn device(&self, device: Device) -> String {
        match device {
            Device::Auto if self.hello.cuda_devices > 0 => "cuda:0".to_owned(),
            Device::Auto | Device::Cpu => "cpu".to_owned(),
            Device::Cuda(index) => format!("cuda:{index}"),
        }
    }

    /// Waits for the end of a worker that is of no use any more; kills it when it does not end by itself.
    fn end(&mut self) -> String {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let start = Instant::now();
        while start.elapsed() < LAST_WORDS {
            match self.child.try_wait() {
                Ok(Some(status)) => return describe(status),
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Err(_) => break,
            }
        }
        kill_group(self.child.id(), rustix::process::Signal::KILL);
        let _ = self.child.wait();
        "it did not end by itself, and was killed".to_owned()
    }
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
        let worker = self.start(None)?;
        let hello = worker.hello.clone();
        self.keep(worker);
        Ok(hello)
    }

    fn keep(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    /// An idle worker, or a new one; `running` can kill it from now on.
    ///
    /// # Errors
    /// When it cannot be started or was built from other sources.
    pub fn take(&self, running: &Running) -> Result<Worker, String> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut worker) = idle else { return self.start(Some(running)) };
            // One that died while it had nothing to do is no reason for this node to fail.
            if matches!(worker.child.try_wait(), Ok(None)) {
                running.set_starting(worker.child.id(), worker.socket.try_clone().map_err(|e| e.to_string())?);
                return Ok(worker);
            }
        }
    }

    /// Runs one stage and waits for its end.
    ///
    /// # Errors
    /// The stage's failure, or how the worker died.
    pub fn run(
        &self,
        mut worker: Worker,
        attempt: &Attempt,
        running: &Running,
        mut on: impl FnMut(StageEvent),
    ) -> Result<(), Failure> {
        let failed = |message: String| Failure { kind: FailureKind::Failed, message };
        let result = converse(&mut worker, attempt, running, &mut on);
        running.clear();
        match result {
            Ok(None) => {
                self.keep(worker);
                Ok(())
            }
            Ok(Some(failure)) => {
                // After a failure the worker's state is unknown (a CUDA context may be broken): it is not used again.
                if matches!(failure.kind, FailureKind::Cancelled | FailureKind::Diverged) {
                    self.keep(worker);
                }
                Err(failure)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(failed(format!("the worker process ended: {}", worker.end())))
            }
            Err(error) => Err(failed(format!("the worker process cannot be understood ({error}): {}", worker.end()))),
        }
    }

    fn start(&self, running: Option<&Running>) -> Result<Worker, String> {
        let cannot = |error: io::Error| format!("the worker {} cannot be started: {error}", self.program.display());
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        let words = self.folder.join("worker.log");
        let log = File::options().create(true).append(true).open(&words).map_err(cannot)?;
        let begin = log.metadata().map_err(cannot)?.len();
        let mut command = Command::new(&self.program);
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log)
            // f32 never means TF32, on whatever device: the arithmetic is part of the key.
            .env("NVIDIA_TF32_OVERRIDE", "0")
            .env_remove("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
            .env_remove("ONEDNN_DEFAULT_FPMATH_MODE")
            .process_group(0);
        let child = command.spawn().map_err(cannot)?;
        // The command holds the other end of the socket: it must be closed here, so that a worker's death is seen.
        drop(command);
        let nothing = Hello { build_id: String::new(), libtorch: String::new(), cuda_devices: 0 };
        let mut worker = Worker { child, socket: ours, watcher: Arc::clone(&self.watcher), hello: nothing };
        self.watcher.add(worker.child.id()).map_err(cannot)?;
        if let Some(running) = running {
            running.set_starting(worker.child.id(), worker.socket.try_clone().map_err(cannot)?);
        }
        worker.socket.set_read_timeout(Some(GREETING)).map_err(cannot)?;
        let received = receive::<FromWorker>(&mut worker.socket);
        worker.socket.set_read_timeout(None).map_err(cannot)?;
        let problem = match received {
            Ok(Some(FromWorker::Hello(hello))) => {
                worker.hello = check(&self.program, hello)?;
                return Ok(worker);
            }
            Ok(Some(_)) => "it does not greet".to_owned(),
            Ok(None) => "it ended".to_owned(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                format!("it says nothing for {} s", GREETING.as_secs())
            }
            Err(error) => format!("it does not greet: {error}"),
        };
        let (status, said) = (worker.end(), super::logs::log_tail_from(&words, begin, 5));
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        Err(format!("the worker {} did not come up ({problem}; {status}){said}", self.program.display()))
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
    if hello.libtorch != engine && !hello.libtorch.starts_with(&format!("{engine}.")) {
        return Err(format!(
            "the worker runs on libtorch {}, and results are keyed for {engine}; set LIBTORCH to a libtorch {engine}",
            hello.libtorch
        ));
    }
    Ok(hello)
}

fn converse(
    worker: &mut Worker,
    attempt: &Attempt,
    running: &Running,
    on: &mut impl FnMut(StageEvent),
) -> io::Result<Option<Failure>> {
    let group = worker.child.id();
    let socket = &mut worker.socket;
    // A worker that died while idle is noticed here, or below as the end of what it says.
    send(socket, &ToWorker::Run(Box::new(attempt.clone()))).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::from(io::ErrorKind::UnexpectedEof),
        _ => error,
    })?;
    // Only from here on can it be asked to stop: that message must come after this one.
    running.set_worker(group, socket.try_clone()?);
    loop {
        match receive::<FromWorker>(socket)? {
            Some(FromWorker::Event(event)) => on(event),
            Some(FromWorker::Done(failure)) => return Ok(failure),
            Some(FromWorker::Hello(_)) => return Err(io::Error::other("a second greeting")),
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
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
