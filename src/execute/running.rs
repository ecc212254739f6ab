//! The process that runs a node, as far as it must be reached from outside its thread: to ask it to stop, or to kill it.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pru_flow_stages::protocol::{ToWorker, send};
use rustix::process::Signal;

use super::watcher::kill_group;

/// How a running node can be reached from outside its thread.
#[derive(Default)]
pub struct Running {
    process: Mutex<Option<Process>>,
    stopped: Arc<AtomicBool>,
}

enum Process {
    /// A worker that runs nothing yet.
    Starting {
        group: u32,
        socket: UnixStream,
    },
    Worker {
        group: u32,
        socket: UnixStream,
    },
    Command {
        group: u32,
    },
}

impl Running {
    fn set(&self, process: Option<Process>) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
        // A stop that came before the process was known.
        if self.was_stopped() {
            self.ask_stop();
        }
    }

    pub(super) fn set_starting(&self, group: u32, socket: UnixStream) {
        self.set(Some(Process::Starting { group, socket }));
    }

    pub(super) fn set_worker(&self, group: u32, socket: UnixStream) {
        self.set(Some(Process::Worker { group, socket }));
    }

    pub(super) fn set_command(&self, group: u32) {
        self.set(Some(Process::Command { group }));
    }

    pub(super) fn clear(&self) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Becomes true when it is asked to stop.
    pub(super) fn stopped(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopped)
    }

    pub(super) fn was_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn ask_stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        match &mut *self.process.lock().unwrap_or_else(PoisonError::into_inner) {
            // A worker that does not listen is killed when its time is up.
            Some(Process::Worker { socket, .. }) => drop(send(socket, &ToWorker::Cancel)),
            // There is nothing to finish, and a message must not come between the parts of another.
            Some(Process::Starting { group, socket }) => kill_worker(*group, socket),
            Some(Process::Command { group }) => kill_group(*group, Signal::TERM),
            None => {}
        }
    }

    pub(super) fn kill(&self) {
        match &*self.process.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Process::Starting { group, socket } | Process::Worker { group, socket }) => {
                kill_worker(*group, socket);
            }
            Some(Process::Command { group }) => kill_group(*group, Signal::KILL),
            None => {}
        }
    }
}

fn kill_worker(group: u32, socket: &UnixStream) {
    kill_group(group, Signal::KILL);
    let _ = socket.shutdown(Shutdown::Both);
}
