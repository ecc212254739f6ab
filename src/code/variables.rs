//! The variables that a command sees, and which of them can decide what its code is. Knows nothing of how they are used.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Variables that decide where programs and modules are looked for.
const DECIDING: [&str; 14] = [
    "PATH",
    "PYTHONPATH",
    "HOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "MAMBA_ROOT_PREFIX",
    "UV_PROJECT_ENVIRONMENT",
    "PYENV_VERSION",
    "PYENV_ROOT",
    "PYENV_DIR",
    "PYTHONHOME",
    "PYTHONUSERBASE",
    "PYTHONNOUSERSITE",
    "PYTHONPLATLIBDIR",
];

/// All variables that a command will see, those of `env:` among them: one that is not here is not set. Make it once for
/// all commands that see the same.
#[derive(Debug, Default)]
pub struct Variables {
    pub(super) all: BTreeMap<String, String>,
    python: Counting,
    shell: Counting,
}

/// Those that count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counting {
    pub set: BTreeMap<String, String>,
    /// Names of those that are set and are not looked at.
    pub hidden: BTreeSet<String>,
    /// Of both.
    pub digest: u64,
}

impl Counting {
    fn new(set: BTreeMap<String, String>, hidden: BTreeSet<String>) -> Self {
        let mut hasher = DefaultHasher::new();
        (&set, &hidden).hash(&mut hasher);
        Self { set, hidden, digest: hasher.finish() }
    }
}

impl Variables {
    /// These variables.
    #[must_use]
    pub fn new(all: BTreeMap<String, String>) -> Self {
        let pairs = |counts: &dyn Fn(&str, &str) -> bool| {
            let counting = all.iter().filter(|(name, value)| counts(name, value));
            counting.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let decides = |name: &str| DECIDING.contains(&name);
        let python = Counting::new(pairs(&|name, _| decides(name)), BTreeSet::new());
        let hidden = all.iter().filter(|(name, value)| !decides(name) && !may_matter(value));
        let hidden = hidden.map(|(name, _)| name.clone()).collect();
        let shell = Counting::new(pairs(&|name, value| decides(name) || may_matter(value)), hidden);
        Self { all, python, shell }
    }

    /// Those that count; a script of the shell may use any, but for numbers.
    pub(super) fn counting(&self, shell: bool) -> &Counting {
        if shell { &self.shell } else { &self.python }
    }
}

/// Whether a variable with this value may name a program or file: numbers, which differ from node to node, do not.
pub(super) fn may_matter(value: &str) -> bool {
    value.bytes().any(|b| b.is_ascii_alphabetic() && b != b'e') && value.len() < 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_count_and_what_decides_where_to_look_always_does() {
        let pairs = [("PATH", "1"), ("SEED", "3"), ("LR", "1e-3"), ("SCRIPT", "x.py"), ("EMPTY", "")];
        let variables = Variables::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let names = |shell| variables.counting(shell).set.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(false), ["PATH"]);
        assert_eq!(names(true), ["PATH", "SCRIPT"]);
        assert_eq!(variables.counting(true).hidden.iter().collect::<Vec<_>>(), ["EMPTY", "LR", "SEED"]);
    }
}
