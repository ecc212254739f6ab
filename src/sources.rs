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

/// A file from outside that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is wrong, with the path.
    pub message: String,
    /// What to put where.
    pub help: Option<String>,
}

impl Missing {
    /// All of them in one line.
    #[must_use]
    pub fn in_one_line(all: &[Self]) -> String {
        let mut text: Vec<&str> = all.iter().map(|missing| missing.message.as_str()).collect();
        text.extend(all.first().and_then(|missing| missing.help.as_deref()));
        text.join("; ")
    }
}

/// Finds and hashes all files that a node reads from outside.
///
/// # Errors
/// All that is missing or unreadable, with what to put where.
pub fn find_all(files: &[ExternalFile], cache: &StatCache) -> Result<Vec<Found>, Vec<Missing>> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for file in files {
        match find(file, cache) {
            Ok(one) => found.extend(one),
            Err(one) => missing.push(one),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(missing) }
}

fn find(file: &ExternalFile, cache: &StatCache) -> Result<Option<Found>, Missing> {
    let there = file.candidates.iter().find(|path| match &file.hint {
        Some(_) => path.exists(),
        // A word of a command may be anything: files count, and folders, but not devices or pipes.
        None => path.is_file() || file.folders && path.is_dir(),
    });
    match (there, &file.hint) {
        // It changes with every run of that project; to leave it out of the key in silence would be worse.
        (Some(path), None) if path.join(".pru-flow").exists() => Err(Missing {
            message: format!("{} holds a store (.pru-flow), so its content can be part of no key", path.display()),
            help: Some("name the files and folders in it that the command reads".to_owned()),
        }),
        (Some(path), _) => {
            let digest = cache.digest_source(path);
            let digest = digest.map_err(|error| Missing { message: error.to_string(), help: None })?;
            Ok(Some(Found { name: file.name.clone(), path: path.clone(), digest }))
        }
        (None, None) => Ok(None),
        (None, Some(hint)) => {
            let path = file.candidates.first().map(|path| path.display().to_string()).unwrap_or_default();
            Err(Missing { message: format!("{path} is missing"), help: Some(hint.clone()) })
        }
    }
}
