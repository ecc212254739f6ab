//! Temporary folders and who owns them: a process names its folder after itself, so that the next one can tell
//! whether it is still alive. No lock file: what a killed process leaves behind is found and removed.
//!
//! Knows nothing of what lies in the folders.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::fs::{Fs, Kind, random_hex};
use crate::stat_index::now_ns;

/// Age after which the leftover of a process that we cannot see (on another host, in another container, before
/// the last boot) is removed.
pub const ABANDONED: Duration = Duration::from_hours(7 * 24);

/// A name in `tmp/` that no other process and no other call has: `<pid>-<start>-<host>-<random>`.
pub(crate) fn fresh_name() -> io::Result<String> {
    Ok(format!("{}-{}", Owner::ours(), random_hex(6)?))
}

/// A process, told apart from a later one with the same pid by its start time, and from one on another host or
/// before the last boot by the boot's id and the pid namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    start: u64,
    host: String,
}

/// Stands for a host that cannot be told: its processes are never taken for dead.
const UNKNOWN_HOST: &str = "unknown";

impl Owner {
    fn ours() -> &'static Self {
        static OURS: OnceLock<Owner> = OnceLock::new();
        OURS.get_or_init(|| {
            let pid = std::process::id();
            Self { pid, start: start_time(pid).unwrap_or(0), host: host() }
        })
    }

    /// The owner in a name that [`fresh_name`] made.
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let owner = Self {
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
            host: parts.next()?.to_owned(),
        };
        (parts.next().is_some() && parts.next().is_none()).then_some(owner)
    }

    /// Whether the process is surely gone, surely there (`Some`), or cannot be seen from here (`None`).
    fn is_dead(&self) -> Option<bool> {
        let ours = Self::ours();
        if self.host != ours.host || self.host == UNKNOWN_HOST || ours.start == 0 {
            return None;
        }
        Some(start_time(self.pid) != Some(self.start))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.pid, self.start, self.host)
    }
}

/// When a process began, in ticks since boot; `None` when there is no such process or no `/proc`.
fn start_time(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything; the 22nd is the start.
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn host() -> String {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(mut boot), Ok(namespace)) => {
            boot.extend_from_slice(namespace.as_os_str().as_encoded_bytes());
            crate::Digest::of(&boot).short()
        }
        _ => UNKNOWN_HOST.to_owned(),
    }
}

/// Removes from `tmp` what dead processes left there. Never fails: what cannot be removed stays.
pub(crate) fn remove_leftovers(fs: &dyn Fs, tmp: &Path) {
    for name in fs.list(tmp).unwrap_or_default() {
        let path = tmp.join(&name);
        let owner = name.to_str().and_then(Owner::parse);
        let dead = match owner.as_ref().and_then(Owner::is_dead) {
            Some(dead) => dead,
            None => newest_ns(fs, &path).is_some_and(|newest| {
                now_ns().saturating_sub(newest) > i64::try_from(ABANDONED.as_nanos()).unwrap_or(i64::MAX)
            }),
        };
        if !dead {
            continue;
        }
        let removed = match fs.stat(&path) {
            Ok(stat) if stat.kind == Kind::Folder => fs.remove_tree(&path),
            Ok(_) => fs.remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => tracing::debug!("removed what a dead process left in {}", path.display()),
            Err(error) => tracing::debug!("cannot remove {}: {error}", path.display()),
        }
    }
}

/// The time of the newest change at or below `path`; `None` when that cannot be told.
fn newest_ns(fs: &dyn Fs, path: &Path) -> Option<i64> {
    let stat = fs.stat(path).ok()?;
    let mut newest = stat.modified_ns.max(stat.changed_ns);
    if stat.kind == Kind::Folder {
        for name in fs.list(path).ok()? {
            newest = newest.max(newest_ns(fs, &path.join(name))?);
        }
    }
    Some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn only_what_a_dead_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let tmp = folder.path();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ours = Owner::ours();
        child.wait().unwrap();
        let dead = format!("{}-1-{}-aa", child.id(), ours.host);
        let reused_pid = format!("{}-{}-{}-aa", ours.pid, ours.start + 1, ours.host);
        let live = fresh_name().unwrap();
        let other_host = format!("{}-1-0123456789ab-aa", child.id());
        let stranger = "not-ours".to_owned();
        let kept = format!("kept-{}", crate::Digest::of(b"an action"));
        for name in [&dead, &reused_pid, &live, &other_host, &stranger, &kept] {
            std::fs::create_dir_all(tmp.join(name).join("out")).unwrap();
        }
        let dead_file = format!("{}-1-{}-bb", child.id(), ours.host);
        std::fs::write(tmp.join(&dead_file), "x").unwrap();
        remove_leftovers(&RealFs, tmp);
        for (name, stays) in [
            (dead, false),
            (dead_file, false),
            (reused_pid, false),
            (live, true),
            (other_host, true),
            (stranger, true),
            (kept, true),
        ] {
            assert_eq!(tmp.join(&name).exists(), stays, "{name}");
        }
    }

    #[test]
    fn a_name_tells_its_owner() {
        let name = fresh_name().unwrap();
        let owner = Owner::parse(&name).unwrap();
        assert_eq!(&owner, Owner::ours());
        assert_eq!(owner.is_dead(), Some(false));
        assert_ne!(name, fresh_name().unwrap());
        for bad in ["", "1", "1-2-h", "x-2-h-r", "1-2-h-r-s"] {
            assert_eq!(Owner::parse(bad), None, "{bad}");
        }
    }
}
