//! Files from outside: which of a node's candidates is there, and the digest of its content.

use std::path::PathBuf;

use pru_flow_cache::{Digest, StatCache};

use crate::graph::ExternalFile;

/// A file or folder from outside, as found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name under which the key lists it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its content.
    pub digest: Digest,
}

/// Finds and hashes all files that a node reads from outside.
///
/// # Errors
/// What is missing or unreadable, with what to put where.
pub fn find_all(files: &[ExternalFile], cache: &StatCache) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for file in files {
        match find(file, cache) {
            Ok(Some(one)) => found.push(one),
            Ok(None) => {}
            Err(message) => missing.push(message),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(missing.join("; ")) }
}

fn find(file: &ExternalFile, cache: &StatCache) -> Result<Option<Found>, String> {
    let there = file.candidates.iter().find(|path| match &file.hint {
        Some(_) => path.exists(),
        // A word of a command: only a plain file counts.
        None => path.is_file(),
    });
    match (there, &file.hint) {
        (Some(path), _) => {
            let digest = cache.digest_source(path).map_err(|error| error.to_string())?;
            Ok(Some(Found { name: file.name.clone(), path: path.clone(), digest }))
        }
        (None, None) => Ok(None),
        (None, Some(hint)) => {
            let path = file.candidates.first().map(|path| path.display().to_string()).unwrap_or_default();
            Err(format!("missing {path} ({hint})"))
        }
    }
}
