//! How often and how long a stage may run: `always:`, `retries:`, `timeout:` and `priority:` as written -> [`Policy`].
//! None of it enters a key.

use std::time::Duration;

use crate::pipeline::PolicyFields;
use crate::problem::Problems;
use crate::template::Scope;
use crate::yaml::{Node, Value};

/// How often and how long a node may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether it runs in every run.
    pub always: bool,
    /// How often it is tried again when it has failed.
    pub retries: u32,
    /// When it is stopped, and has failed.
    pub timeout: Option<Duration>,
    /// Of nodes that could run, those of the highest priority go first.
    pub priority: i64,
}

/// More tries than this are a mistake.
const RETRIES_MAX: i64 = 1000;

/// Reads the fields of a stage for one cell.
#[must_use]
pub fn read(fields: &PolicyFields, scope: &Scope<'_>, problems: &mut Problems) -> Policy {
    let mut policy = Policy::default();
    if let Some((node, value)) = filled(fields.always.as_ref(), scope, problems) {
        match value {
            Value::Bool(always) => policy.always = always,
            _ => tell(&node, "`always` is true or false", "always: true", problems),
        }
    }
    if let Some((node, value)) = filled(fields.retries.as_ref(), scope, problems) {
        match value {
            Value::Int(n) if (0..=RETRIES_MAX).contains(&n) => policy.retries = n as u32,
            _ => tell(&node, "`retries` is a whole number from 0 to 1000", "retries: 2", problems),
        }
    }
    if let Some((node, value)) = filled(fields.priority.as_ref(), scope, problems) {
        match value {
            Value::Int(n) => policy.priority = n,
            _ => tell(&node, "`priority` is a whole number", "priority: 5", problems),
        }
    }
    if let Some((node, _)) = filled(fields.timeout.as_ref(), scope, problems) {
        policy.timeout = node.scalar_text().as_deref().and_then(duration);
        if policy.timeout.is_none() {
            tell(
                &node,
                "`timeout` is a time",
                "timeout: 30min (or 90s, 2h, 1h 30m; a plain number is seconds)",
                problems,
            );
        }
    }
    policy
}

fn filled(node: Option<&Node>, scope: &Scope<'_>, problems: &mut Problems) -> Option<(Node, Value)> {
    let filled = scope.fill(node?, problems);
    let value = filled.value.clone();
    (value != Value::Wrong).then_some((filled, value))
}

fn tell(node: &Node, message: &str, help: &str, problems: &mut Problems) {
    problems.push(node.problem(message).help(help));
}

/// A time above zero: `90`, `1.5`, `90s`, `30min`, `1h 30m`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => text.parse::<jiff::SignedDuration>().ok()?.as_secs_f64(),
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        for (text, seconds) in
            [("90", 90.0), ("0.5", 0.5), ("90s", 90.0), ("30min", 1800.0), ("1h 30m", 5400.0), ("2 hours", 7200.0)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "0", "-1", "x", "5 apples", "inf", "nan", "-3s", "1e300"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
