//! What was found, in a file from run to run: what files of Python import, and what Pythons answered. A digest stands
//! before it, and it holds only for the code that found it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::python::interpreter::{Interpreters, KeptAnswer};
use super::python::syntax::Module;
use super::seen::Identity;

/// The code that finds what is kept: another version of it may find something else.
const FOUND_BY: [&str; 7] = [
    include_str!("kept.rs"),
    include_str!("seen.rs"),
    include_str!("python/syntax.rs"),
    include_str!("python/places.rs"),
    include_str!("python/environment.rs"),
    include_str!("python/interpreter.rs"),
    include_str!("python/ask.py"),
];
/// Files of Python that are kept; beyond, some are read again in every run.
const MODULES_MAX: usize = 50_000;

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Digest of [`FOUND_BY`].
    version: String,
    pub modules: Vec<KeptModule>,
    pub interpreters: Vec<KeptAnswer>,
}

/// What a file imports.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptModule {
    pub path: PathBuf,
    pub identity: Identity,
    pub seen_ns: i64,
    pub module: Module,
}

fn version() -> String {
    blake3::hash(FOUND_BY.concat().as_bytes()).to_hex().to_string()
}

impl Kept {
    /// What there is to keep, but for files that have gone.
    pub fn new(
        modules: impl Iterator<Item = (PathBuf, Identity, i64, Arc<Module>)>,
        interpreters: &Interpreters,
    ) -> Self {
        let settled = modules.filter(|(_, identity, seen_ns, _)| identity.is_settled(*seen_ns));
        let mut modules: Vec<KeptModule> = settled
            .filter(|(path, ..)| path.exists())
            .map(|(path, identity, seen_ns, module)| KeptModule {
                path,
                identity,
                seen_ns,
                module: Module::clone(&module),
            })
            .collect();
        modules.sort_by(|a, b| a.path.cmp(&b.path));
        modules.truncate(MODULES_MAX);
        Self { version: version(), modules, interpreters: interpreters.to_keep() }
    }

    /// What the file holds, if it is whole and of this version.
    pub fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (digest, body) = text.split_once('\n')?;
        if blake3::hash(body.as_bytes()).to_hex().as_str() != digest {
            tracing::debug!("{} is damaged; it is made anew", path.display());
            return None;
        }
        serde_json::from_str(body).ok().filter(|kept: &Self| kept.version == version())
    }

    /// Writes it, in one step, unless the file holds the very same.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let body = serde_json::to_string(self).map_err(io::Error::other)?;
        let text = format!("{}\n{body}", blake3::hash(body.as_bytes()).to_hex());
        if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // Several processes may write at once: the last one wins, and none sees a half of it.
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let written = fs::File::create(&new).and_then(|mut file| file.write_all(text.as_bytes()));
        let renamed = written.and_then(|()| fs::rename(&new, path));
        if renamed.is_err() {
            let _ = fs::remove_file(&new);
        }
        renamed
    }
}
