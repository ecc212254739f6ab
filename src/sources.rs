//! Files from outside: which of a node's candidates is there, and the digest of its content, or of the one value in it
//! that is read.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pru_flow_cache::{Digest, StatCache};
use serde_json::Value;

use crate::code::{CodeReader, Variables};
use crate::command::CommandWork;
use crate::graph::ExternalFile;

/// All that is known of files outside the store. Any number of threads may use one.
#[derive(Debug)]
pub struct Outside {
    /// Their digests.
    pub stat: StatCache,
    /// The code of commands.
    pub code: CodeReader,
    /// The variables of commands, by what they add to those that all have.
    variables: Mutex<HashMap<BTreeMap<String, String>, Arc<Variables>>>,
    /// What could not be followed in it, each told once: whether it has been.
    doubts: Mutex<BTreeMap<String, bool>>,
    /// Files of which single values are read, by path and content.
    parsed: Mutex<HashMap<(PathBuf, Digest), Arc<Value>>>,
}

/// A file or folder from outside, as found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name under which the key lists it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its content, or that of the value.
    pub digest: Digest,
    /// The value in it that is read, where it is not all of it, and its path.
    pub value: Option<(String, Value)>,
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

impl Found {
    /// What is installed for a Python, which is no file.
    #[must_use]
    pub fn environment(name: String, digest: Digest) -> Self {
        Self { name, path: PathBuf::new(), digest, value: None }
    }

    /// Whether it is a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }
}

impl Outside {
    /// A file or folder, as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn found(&self, name: String, path: &Path) -> Result<Found, Missing> {
        let (digest, value) = self.content(path, None)?;
        Ok(Found { name, path: path.to_owned(), digest, value })
    }

    /// The variables that a command sees, but for those that it inherits unkeyed.
    #[must_use]
    pub fn variables(&self, work: &CommandWork) -> Arc<Variables> {
        let mut known = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(variables) = known.get(&work.env) {
            return Arc::clone(variables);
        }
        let variables = Arc::new(Variables::new(work.variables()));
        known.insert(work.env.clone(), Arc::clone(&variables));
        variables
    }

    /// Notes what could not be followed.
    pub fn doubt(&self, doubts: impl Iterator<Item = String>) {
        let mut known = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        for doubt in doubts {
            known.entry(doubt).or_insert(false);
        }
    }

    /// What could not be followed, and was not told yet.
    #[must_use]
    pub fn untold_doubts(&self) -> Vec<String> {
        let mut known = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = known.iter_mut().filter(|(_, told)| !**told);
        untold
            .map(|(doubt, told)| {
                *told = true;
                doubt.clone()
            })
            .collect()
    }

    /// Writes what is remembered for the next run. All of it is an index: without it the next run reads more, and that is
    /// all.
    pub fn save(&self) {
        if let Err(error) = self.stat.save() {
            tracing::debug!("the digests of outside files are not remembered: {error}");
        }
        if let Err(error) = self.code.save() {
            tracing::debug!("what code imports is not remembered: {error}");
        }
    }

    /// What is remembered in a store's folder.
    #[must_use]
    pub fn load(store: &Path) -> Self {
        Self {
            stat: StatCache::load(store),
            code: CodeReader::new(Some(store.join("index/code"))),
            variables: Mutex::default(),
            doubts: Mutex::default(),
            parsed: Mutex::default(),
        }
    }

    /// Finds and hashes all files that a node reads from outside.
    ///
    /// # Errors
    /// All that is missing or unreadable, with what to put where.
    pub fn find_all(&self, files: &[ExternalFile]) -> Result<Vec<Found>, Vec<Missing>> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for file in files {
            match self.find(file) {
                Ok(one) => found.extend(one),
                Err(one) => missing.push(one),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(missing) }
    }

    fn find(&self, file: &ExternalFile) -> Result<Option<Found>, Missing> {
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
                let (digest, value) = self.content(path, file.value.as_deref())?;
                Ok(Some(Found { name: file.name.clone(), path: path.clone(), digest, value }))
            }
            (None, None) => Ok(None),
            (None, Some(hint)) => {
                let path = file.candidates.first().map(|path| path.display().to_string()).unwrap_or_default();
                Err(Missing { message: format!("{path} is missing"), help: Some(hint.clone()) })
            }
        }
    }

    /// The digest of all of a file or folder, or of one value in it.
    fn content(&self, path: &Path, value: Option<&str>) -> Result<(Digest, Option<(String, Value)>), Missing> {
        let wrong = |message: String, help: Option<String>| Missing { message, help };
        let digest = self.stat.digest_source(path).map_err(|error| wrong(error.to_string(), None))?;
        let Some(at) = value else { return Ok((digest, None)) };
        let all = self.parsed(path, digest).map_err(|why| wrong(why, Some("it is named under `reads:`".to_owned())))?;
        let found = nearest(&all, at).map_err(|known| {
            let message = format!("{} has no value `{at}`", path.display());
            wrong(message, Some(crate::problem::suggest(at.rsplit('.').next().unwrap_or(at), "values there", known)))
        })?;
        let digest = Digest::of(found.to_string().as_bytes());
        Ok((digest, Some((at.to_owned(), found.clone()))))
    }

    /// Whether a file from outside is still as it was found.
    #[must_use]
    pub fn is_unchanged(&self, found: &Found) -> bool {
        if !found.is_file() {
            return true;
        }
        let at = found.value.as_ref().map(|(at, _)| at.as_str());
        self.content(&found.path, at).is_ok_and(|(digest, _)| digest == found.digest)
    }

    fn parsed(&self, path: &Path, digest: Digest) -> Result<Arc<Value>, String> {
        let known = |map: &HashMap<_, Arc<Value>>| map.get(&(path.to_owned(), digest)).cloned();
        if let Some(value) = known(&self.parsed.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(value);
        }
        let value = Arc::new(parse(path)?);
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(parsed.entry((path.to_owned(), digest)).or_insert(value)))
    }
}

/// Reads a YAML, JSON or TOML file.
fn parse(path: &Path) -> Result<Value, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let parsed = match extension.to_ascii_lowercase().as_str() {
        "json" => serde_json::from_str(&text).map_err(|error| error.to_string()),
        "toml" => toml::from_str(&text).map_err(|error| error.message().to_owned()),
        "yaml" | "yml" => match crate::yaml::parse(&text) {
            Ok(node) => Ok(node.to_json()),
            Err(problems) => Err(problems.iter().next().map_or_else(String::new, |first| first.message.clone())),
        },
        _ => Err("values are read of YAML, JSON and TOML".to_owned()),
    };
    parsed.map_err(|why| format!("cannot read values of {name}: {why}"))
}

/// The value at a dotted path; else what there is where it ends.
fn nearest<'v>(all: &'v Value, path: &str) -> Result<&'v Value, Vec<&'v str>> {
    let mut value = all;
    for part in path.split('.') {
        let next = match value {
            Value::Object(map) => map.get(part),
            Value::Array(list) => part.parse::<usize>().ok().and_then(|index| list.get(index)),
            _ => None,
        };
        let known =
            || -> Vec<&str> { value.as_object().map_or_else(Vec::new, |map| map.keys().map(String::as_str).collect()) };
        value = next.ok_or_else(known)?;
    }
    Ok(value)
}
