//! One small process per run that outlives `pru-flow` by a moment: when its pipe closes, however `pru-flow` ended, it
//! kills every process group that was not taken off its list. So not even `kill -9` leaves a child behind.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process_group};

/// The hidden subcommand that the watcher runs as.
pub const SUBCOMMAND: &str = "__watch";

/// The engine's end.
pub struct Watcher {
    pipe: Mutex<ChildStdin>,
    // Dropped after the pipe: it then ends by itself.
    _child: Child,
}

impl Watcher {
    /// Starts the process.
    ///
    /// # Errors
    /// When this program cannot be started again.
    pub fn start() -> io::Result<Self> {
        let mut child = super::this_program()
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal goes to the foreground group only.
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().ok_or_else(|| io::Error::other("the watcher has no pipe"))?;
        Ok(Self { pipe: Mutex::new(pipe), _child: child })
    }

    /// Puts a process group on the list; it is not to do anything before this returns.
    ///
    /// # Errors
    /// When the watcher is gone.
    pub fn add(&self, group: u32) -> io::Result<()> {
        self.write(&format!("+{group}\n"))
    }

    /// Takes a process group off the list, as all of it has ended.
    pub fn remove(&self, group: u32) {
        // A watcher that is gone has nothing to forget.
        let _ = self.write(&format!("-{group}\n"));
    }

    fn write(&self, line: &str) -> io::Result<()> {
        self.pipe.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write_all(line.as_bytes())
    }
}

/// The watcher's own main.
pub fn watch() {
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let (sign, number) = line.split_at(usize::from(!line.is_empty()));
        let Ok(group) = number.parse::<i32>() else { continue };
        if sign == "+" {
            groups.insert(group);
        } else {
            groups.remove(&group);
        }
    }
    for group in groups {
        kill_group(group.unsigned_abs(), Signal::KILL);
    }
}

/// Sends a signal to a process group; one that has ended is no error.
pub fn kill_group(group: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}
