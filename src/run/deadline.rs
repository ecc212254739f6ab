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
}

impl Deadline {
    pub(super) fn of(policy: &Policy) -> Self {
        Self { started: Instant::now(), timeout: policy.timeout, asked: None, killed: false }
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
