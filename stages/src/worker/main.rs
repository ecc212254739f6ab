//! `pru-flow-torch`: runs stages that compute with libtorch, one at a time, as the engine says.
//!
//! Standard input is the socket to the engine. Standard output and error go to the log of the node that runs, since
//! libtorch prints. When the engine is gone the worker ends at once. Knows nothing of pipelines, keys or stores.

mod cuda;
mod memory;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use pru_flow_stages::StageError;
use pru_flow_stages::io::{Attempt, StageIo};
use pru_flow_stages::protocol::{BUILD_ID, Failure, FailureKind, FromWorker, Hello, ToWorker, receive, send};

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("pru-flow-torch is started by pru-flow; it takes no arguments (try `pru-flow doctor`)");
        return ExitCode::from(2);
    }
    // Before any call of libtorch, so that its CUDA part registers itself.
    let cuda = cuda::load();
    match serve(&cuda) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pru-flow-torch: {error}; it is started by pru-flow with a socket as its standard input");
            ExitCode::from(2)
        }
    }
}

fn serve(cuda: &Result<(), String>) -> io::Result<()> {
    let socket = take_socket()?;
    let mut writer = socket.try_clone()?;
    if let Err(reason) = cuda {
        eprintln!("CUDA is not used: {reason}");
    }
    let hello = Hello {
        build_id: BUILD_ID.to_owned(),
        libtorch: libtorch_version(),
        cuda_devices: u32::try_from(tch::Cuda::device_count()).unwrap_or(0),
    };
    send(&mut writer, &FromWorker::Hello(hello))?;
    let writer = Arc::new(Mutex::new(writer));
    let cancelled = Arc::new(AtomicBool::new(false));
    let attempts = listen(socket, Arc::clone(&cancelled));
    for attempt in attempts {
        let failure = run(&attempt, &cancelled, &writer);
        say(&writer, &FromWorker::Done(failure))?;
    }
    Ok(())
}

/// Standard input as a socket; afterwards descriptor 0 is `/dev/null`, so that nothing else reads from the engine.
fn take_socket() -> io::Result<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Not a socket: an error here instead of at the first message.
    socket.local_addr()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

/// Reads messages on a thread of its own, so that a cancellation is seen while a stage runs.
fn listen(mut socket: UnixStream, cancelled: Arc<AtomicBool>) -> Receiver<Attempt> {
    let (sender, attempts) = channel();
    std::thread::spawn(move || {
        loop {
            match receive::<ToWorker>(&mut socket) {
                Ok(Some(ToWorker::Run(attempt))) => {
                    // Here, and not where it starts: a cancellation that follows at once must not be undone.
                    cancelled.store(false, Ordering::Relaxed);
                    if sender.send(*attempt).is_err() {
                        return;
                    }
                }
                Ok(Some(ToWorker::Cancel)) => cancelled.store(true, Ordering::Relaxed),
                // The engine is gone, perhaps killed: nobody waits for what runs here.
                Ok(None) | Err(_) => std::process::exit(0),
            }
        }
    });
    attempts
}

fn run(attempt: &Attempt, cancelled: &Arc<AtomicBool>, writer: &Arc<Mutex<UnixStream>>) -> Option<Failure> {
    if let Err(error) = redirect(&attempt.log) {
        let message = format!("the log {} cannot be written: {error}", attempt.log.display());
        return Some(Failure { kind: FailureKind::Failed, message });
    }
    let result = catch_unwind(AssertUnwindSafe(|| -> Result<(), StageError> {
        let def = pru_flow_stages::find(&attempt.stage)
            .ok_or_else(|| StageError::failed(format!("this worker has no stage `{}`", attempt.stage)))?;
        let events = Arc::clone(writer);
        let watched = memory::forget_peak();
        let mut io = StageIo::new(attempt, Arc::clone(cancelled), move |event| {
            // A lost engine is noticed by the listening thread.
            let _ = say(&events, &FromWorker::Event(event));
        })?;
        (def.run)(&attempt.params, &mut io)?;
        io.measure_reads((def.forget_class)(&attempt.params));
        if let Some(bytes) = memory::peak_bytes().filter(|_| watched) {
            io.measure("peak_memory_bytes", bytes as f64);
        }
        Ok(())
    }));
    match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Failure::from(error)),
        Err(panic) => Some(Failure { kind: FailureKind::Panicked, message: panic_message(&*panic) }),
    }
}

fn say(writer: &Mutex<UnixStream>, message: &FromWorker) -> io::Result<()> {
    let mut socket = writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    send(&mut *socket, message)
}

fn redirect(log: &Path) -> io::Result<()> {
    let file = File::options().create(true).append(true).open(log)?;
    rustix::stdio::dup2_stdout(&file)?;
    rustix::stdio::dup2_stderr(&file)?;
    Ok(())
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    // libtorch adds its own C++ stack to the message; the log keeps all of it.
    text.unwrap_or("no message").lines().take(3).collect::<Vec<_>>().join(" ")
}

/// The version of the libtorch that the loader found: from `build-version` or, in a Python package, `version.py`.
fn libtorch_version() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let library =
        maps.lines().filter_map(|line| line.split_whitespace().last()).find(|p| p.contains("libtorch_cpu.so"));
    let root = library.and_then(|path| Path::new(path).parent()?.parent());
    let read = |name: &str| root.and_then(|root| std::fs::read_to_string(root.join(name)).ok());
    let from_python = || {
        let text = read("version.py")?;
        let line = text.lines().find(|line| line.starts_with("__version__"))?;
        line.split(['\'', '"']).nth(1).map(str::to_owned)
    };
    let version = read("build-version").map(|text| text.trim().to_owned()).or_else(from_python);
    version.unwrap_or_else(|| "of unknown version".to_owned())
}
