//! A command as a node knows it: what is run, where, with which variables, and what of the project it says that it
//! reads. Values are filled in; only `${inputs.x}` and `${outputs.y}` still stand in the line. Runs nothing.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum CommandLine {
    /// Run by `sh -c`.
    Shell(String),
    /// Run directly.
    Words(Vec<String>),
}

/// What a command node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandWork {
    /// The program and its arguments.
    pub line: CommandLine,
    /// Where it runs, from the project's root; empty for the root itself.
    pub cwd: PathBuf,
    /// Inputs that are files from outside: the names of these sources, in order, by port.
    pub files: BTreeMap<String, Vec<String>>,
    /// Variables that it is given. Their values are keyed by digest.
    pub env: BTreeMap<String, String>,
    /// Variables that it inherits, which are not keyed.
    pub pass_env: Vec<String>,
    /// What of its code is part of its key.
    pub code: Code,
    /// Whether the lock file of its Python environment, a source, stands for the installed distributions.
    pub locked_environment: bool,
    /// What may be read and written beside what is declared.
    pub sandbox: Sandbox,
}

/// Variables that a command inherits; all others are cleared, as they are not part of the key. What these hold is not
/// either: a command's result must not depend on them.
const INHERITED: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "VIRTUAL_ENV", "CONDA_PREFIX"];

/// Variables that every command is given: `sort` and `date` are to say the same everywhere, and so are the sets of
/// Python; and Python is not to take the bytecode of a file that was edited within the same second for its own.
const FIXED: [(&str, &str); 4] =
    [("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("PYTHONHASHSEED", "0"), ("PYTHONDONTWRITEBYTECODE", "1")];

impl CommandWork {
    /// The variables that it is given, but for those of `pass_env`.
    #[must_use]
    pub fn variables(&self) -> BTreeMap<String, String> {
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        let fixed = FIXED.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let own = self.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        inherited.chain(fixed).chain(own).collect()
    }

    /// A text for the shell, run in the project's root, of which nothing more is said.
    #[must_use]
    pub fn shell(text: &str) -> Self {
        Self {
            line: CommandLine::Shell(text.to_owned()),
            cwd: PathBuf::new(),
            files: BTreeMap::new(),
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            code: Code::Followed,
            locked_environment: false,
            sandbox: Sandbox::Off,
        }
    }
}

/// How the code of a command is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// From the scripts that the command names along what they import.
    Followed,
    /// It is listed under `code:`.
    Listed,
}

/// What is done about undeclared reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sandbox {
    /// Nothing.
    #[default]
    Off,
    /// Undeclared writes are told after the run.
    Warn,
    /// They are prevented.
    Enforce,
}

/// Whether what is written as an input is a file and not an output of a stage: it has a `/` before any `[`.
#[must_use]
pub fn names_a_file(text: &str) -> bool {
    text.split('[').next().is_some_and(|before| before.contains('/'))
}

/// `path` without `.` and `..`, as far as that can be told from its text.
#[must_use]
pub fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// A path inside the project, from its root.
///
/// # Errors
/// Why it is none.
pub fn path_in_project(text: &str) -> Result<PathBuf, &'static str> {
    let path = plain(Path::new(text));
    let mut parts = path.components();
    match parts.next() {
        None => Err("is the project itself"),
        Some(Component::Normal(first)) if first == ".pru-flow" || first == ".git" => Err("is not for outputs"),
        Some(Component::Normal(_)) => Ok(path),
        Some(_) => Err("is not a path in the project"),
    }
}

/// The way from the folder `from` to `to`, both from the project's root and plain.
#[must_use]
pub fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let mut way: PathBuf = from.components().skip(shared).map(|_| "..").collect();
    way.extend(to.components().skip(shared));
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_with_a_slash_before_its_cell_is_a_file() {
        for file in ["./a", "data/a.csv", "/abs/a", "../a"] {
            assert!(names_a_file(file), "{file}");
        }
        for reference in ["a", "a.csv", "a[x=b/c].out", "paper.split.train"] {
            assert!(!names_a_file(reference), "{reference}");
        }
    }

    #[test]
    fn outputs_lie_in_the_project_and_nowhere_else() {
        for (text, path) in [("a", "a"), ("./a/b", "a/b"), ("a/../b", "b"), ("a//b/", "a/b")] {
            assert_eq!(path_in_project(text), Ok(PathBuf::from(path)), "{text}");
        }
        for text in ["", ".", "/tmp/a", "../a", "a/../../b", "a/..", ".git/x", ".pru-flow/results"] {
            assert!(path_in_project(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_way_between_two_folders_of_a_project() {
        for (from, to, way) in [("", "a/b", "a/b"), ("src", "a", "../a"), ("a/b", "a/c/d", "../c/d"), ("a", "a", ".")] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(way), "{from} {to}");
        }
    }
}
