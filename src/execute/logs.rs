//! Logs of nodes: where they lie, the engine's own lines in them, and their ends as text that is safe to show. What a
//! stage prints goes there without passing through here.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use pru_flow_cache::ActionKey;

/// Where the log of the node with this key lies.
#[must_use]
pub fn log_path(logs: &Path, key: &ActionKey) -> PathBuf {
    let name = key.to_string();
    logs.join(&name[..2]).join(format!("{name}.log"))
}

/// The last lines of a log, with control characters made harmless; empty when there is none.
#[must_use]
pub fn log_tail(path: &Path, lines: usize) -> String {
    log_tail_from(path, 0, lines)
}

/// As [`log_tail`], of what was written beyond the first `begin` bytes.
pub(super) fn log_tail_from(path: &Path, begin: u64, lines: usize) -> String {
    const BYTES: u64 = 16 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES).max(begin)))?;
        let mut bytes = Vec::new();
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let clean: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let all: Vec<&str> = clean.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Adds a line of the engine's: how far the stage is, or why it failed. A log that cannot be written is no reason for
/// a stage to fail.
pub(super) fn append(path: &Path, line: &str) {
    let written = File::options().append(true).create(true).open(path).and_then(|mut log| writeln!(log, "{line}"));
    if let Err(error) = written {
        tracing::debug!("{}: {error}", path.display());
    }
}
