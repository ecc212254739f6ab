//! When a running node is to be stopped: by its own timeout, first asked and then killed.

use std::time::{Duration, Instant};

use super::{Coordinator, GRACE};
use crate::policy::Policy;

/// What is done about a node that runs.
pub(super) struct Deadline {
    started: Instant,
    timeout: Option<Duration>,
    /// When it was asked to stop for this.
    asked: Option<Instant>,
    killed: bool,
    /// When it began, in the time of the project's files; `None` where its writes are not watched.
    pub(super) begin_ns: Option<i64>,
}

impl Deadline {
    pub(super) fn of(policy: &Policy, begin_ns: Option<i64>) -> Self {
        Self { started: Instant::now(), timeout: policy.timeout, asked: None, killed: false, begin_ns }
    }

    /// The timeout, if the node was asked to stop for it.
    pub(super) fn passed(&self) -> Option<Duration> {
        self.asked.and(self.timeout)
    }
}

impl Coordinator<'_> {
    /// Asks nodes to stop that run longer than they may, and kills those that do not.
    pub(super) fn stop_late_ones(&mut self) {
        for (id, deadline) in &mut self.running {
            let Some(timeout) = deadline.timeout else { continue };
            match deadline.asked {
                None if deadline.started.elapsed() >= timeout => {
                    deadline.asked = Some(Instant::now());
                    self.executor.ask_stop(Some(*id));
                }
                Some(asked) if asked.elapsed() >= GRACE && !deadline.killed => {
                    deadline.killed = true;
                    self.executor.kill(Some(*id));
                }
                _ => {}
            }
        }
    }
}
