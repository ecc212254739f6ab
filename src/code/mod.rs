//! What of a command's code enters its key: the programs that it runs, the scripts and the local files that these
//! import, and what is installed for its Python. Found without running any of it.
//!
//! ```text
//! text or words --runs--> programs, Pythons, scripts --walk--> CommandCode: files, programs, Pythons, warnings
//!   shell: syntax, values    finder, wrappers             |  ^
//!                                      follow: imports ---+  +--- programs: the PATH, uv, conda, pyenv
//! ```
//!
//! Too much is safe, too little is not: where only a run can tell, everything that it may use counts, and what cannot
//! be found at all is named in a warning. Knows nothing of graphs, pipelines or the store; the caller hashes the files.
//!
//! **Looks.** All is remembered, from call to call and, for what Python told and what files import, from run to run. A
//! [`Look`] is one moment: within one, nothing is looked at twice. So a look that is shared is fast, and a new one sees
//! every change.

mod finder;
mod follow;
mod kept;
mod language;
mod programs;
mod python;
mod runs;
mod seen;
mod shell;
#[cfg(test)]
mod tests;
mod variables;
mod walk;
mod wrappers;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub use language::Language;
pub use python::environment::{Environment, differences};
pub use runs::Line;
pub use variables::Variables;

use kept::Kept;
use python::interpreter::Interpreters;
use python::syntax::{self, Module};
use runs::{Place, Runs, Site};
use seen::{Disk, Eyes, Identity, Memo, Witnesses, now_ns};
use shell::values::Setting;
use variables::Counting;
use walk::Walk;

/// A command whose code is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// What is run.
    pub line: Line<'a>,
    /// The project's root: programs that lie in it are followed when they are scripts.
    pub root: &'a Path,
    /// The folder that it runs in.
    pub folder: &'a Path,
    /// The variables that it will see.
    pub variables: &'a Arc<Variables>,
    /// Files that its words name and that are no code, such as its outputs.
    pub not_code: &'a [PathBuf],
}

/// The code of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandCode {
    /// Programs that are told by their content. None for shells, for what only runs another program (`nice`), and for
    /// Python, which is told by version and distributions: the same on every machine.
    pub programs: Vec<Program>,
    /// The scripts and all local files that they may load: absolute paths, sorted, each once.
    pub files: Vec<PathBuf>,
    /// The Pythons that it runs.
    pub pythons: Vec<Arc<Environment>>,
    /// What could not be followed.
    pub warnings: Vec<Warning>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// As it is written in the command.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// Something that could not be followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The file; `None` for the command itself.
    pub file: Option<PathBuf>,
    /// The line in that file.
    pub line: Option<usize>,
    /// What it is, without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// A command that cannot run: a program is not there, or does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CodeError {
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// Finds the code of commands, and remembers it. Any number of threads may use one.
#[derive(Debug)]
pub struct CodeReader {
    kept_in: Option<PathBuf>,
    looks: AtomicU64,
    commands: Memo<Essence, Arc<Entry>>,
    /// What files of Python import, with the moment at which they were read.
    modules: Memo<PathBuf, Parsed>,
    interpreters: Interpreters,
    /// Whether what was kept has been read.
    restored: OnceLock<()>,
    /// Whether a file was read that is not among what was kept.
    has_read: AtomicBool,
}

/// What a file imports, and which file that was.
type Parsed = (Identity, i64, Arc<Module>);

/// All that decides the code of a command, as far as its text and variables go.
#[derive(Clone, Debug)]
struct Essence {
    root: PathBuf,
    runs: Runs,
    variables: Arc<Variables>,
    /// Whether a script of the shell may be run, to which more variables count.
    shell: bool,
    /// Whether it runs without a shell.
    direct: bool,
}

impl Essence {
    fn counting(&self) -> &Counting {
        self.variables.counting(self.shell)
    }
}

impl PartialEq for Essence {
    fn eq(&self, other: &Self) -> bool {
        let rest = |of: &Self| (of.shell, of.direct);
        rest(self) == rest(other)
            && self.runs == other.runs
            && self.root.as_os_str() == other.root.as_os_str()
            && (Arc::ptr_eq(&self.variables, &other.variables) || self.counting() == other.counting())
    }
}

impl Eq for Essence {}

impl Hash for Essence {
    /// Of what differs from stage to stage; the rest is compared.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.runs.all.hash(state);
        self.runs.folders.first().map(|folder| folder.as_os_str()).hash(state);
        self.counting().digest.hash(state);
    }
}

/// The code of a command, and what that depends on.
#[derive(Debug)]
struct Entry {
    code: Result<Arc<CommandCode>, CodeError>,
    witnesses: Witnesses,
    seen_ns: i64,
    /// The last look in which the witnesses held.
    checked: AtomicU64,
}

/// One moment, at which all is looked at at most once.
#[derive(Debug)]
pub struct Look<'r> {
    reader: &'r CodeReader,
    number: u64,
    seen_ns: i64,
    disk: Disk,
}

impl CodeReader {
    /// A reader that takes what earlier runs found from the file `kept_in`, if there is one. The file is only an index:
    /// a damaged one, or one of another version, is as good as none, and deleting it costs time.
    #[must_use]
    pub fn new(kept_in: Option<PathBuf>) -> Self {
        Self {
            kept_in,
            looks: AtomicU64::new(0),
            commands: Memo::default(),
            modules: Memo::default(),
            interpreters: Interpreters::default(),
            restored: OnceLock::new(),
            has_read: AtomicBool::new(false),
        }
    }

    /// A look at the disk as it is from now on.
    #[must_use]
    pub fn look(&self) -> Look<'_> {
        self.look_at(now_ns())
    }

    fn look_at(&self, seen_ns: i64) -> Look<'_> {
        let number = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        Look { reader: self, number, seen_ns, disk: Disk::default() }
    }

    /// Writes what was found into the file that it is kept in, for the next run; nothing when there is nothing new.
    ///
    /// # Errors
    /// When the file, or the folder that it lies in, cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let is_new = self.has_read.load(Ordering::Relaxed) || self.interpreters.has_asked();
        let Some(path) = self.kept_in.as_deref().filter(|_| is_new) else { return Ok(()) };
        let modules = self.modules.to_vec().into_iter();
        Kept::new(
            modules.map(|(path, (identity, seen_ns, module))| (path, identity, seen_ns, module)),
            &self.interpreters,
        )
        .write(path)
    }

    fn restore(&self) {
        self.restored.get_or_init(|| {
            let Some(kept) = self.kept_in.as_deref().and_then(Kept::read) else { return };
            for module in kept.modules {
                self.modules.set(module.path, (module.identity, module.seen_ns, Arc::new(module.module)));
            }
            kept.interpreters.into_iter().for_each(|answer| self.interpreters.restore(answer));
        });
    }

    fn interpreters(&self) -> &Interpreters {
        self.restore();
        &self.interpreters
    }
}

impl Look<'_> {
    /// The code of a command.
    ///
    /// # Errors
    /// When its program or its Python is not there, or the Python does not answer.
    pub fn of_command(&self, command: &Command<'_>) -> Result<Arc<CommandCode>, CodeError> {
        let essence = self.essence(command);
        if let Some(entry) = self.reader.commands.get(&essence).filter(|entry| self.holds(entry)) {
            return entry.code.clone();
        }
        let (code, witnesses) = Walk::new(self, &essence).command(&essence.runs, essence.direct);
        let code = code.map(Arc::new);
        let entry =
            Entry { code: code.clone(), witnesses, seen_ns: self.seen_ns, checked: AtomicU64::new(self.number) };
        self.reader.commands.set(essence, Arc::new(entry));
        code
    }

    /// Reads the command's words, on which many commands that differ in numbers agree.
    fn essence(&self, command: &Command<'_>) -> Essence {
        let (folders, hidden, outer) = ([command.folder.to_owned()], BTreeSet::new(), BTreeMap::new());
        let variables = &command.variables.all;
        let setting = Setting { root: command.root, folders: &folders, variables, hidden: &hidden, outer: &outer };
        let site = Site { setting, not_code: command.not_code };
        let place = Place { file: None, line: 1 };
        let runs = runs::read(command.line, &place, site, &mut Eyes::new(&self.disk));
        Essence {
            root: command.root.to_owned(),
            shell: runs.may_run_shell(),
            runs,
            variables: Arc::clone(command.variables),
            direct: matches!(command.line, Line::Words(_)),
        }
    }

    fn holds(&self, entry: &Entry) -> bool {
        if entry.checked.load(Ordering::Relaxed) >= self.number {
            return true;
        }
        let holds = entry.witnesses.still_hold(&self.disk, entry.seen_ns);
        if holds {
            entry.checked.fetch_max(self.number, Ordering::Relaxed);
        }
        holds
    }

    /// What a file of Python imports.
    fn module(&self, path: &Path, eyes: &mut Eyes<'_>) -> Arc<Module> {
        self.reader.restore();
        let identity = eyes.identity(path);
        if let (Some((known, seen_ns, module)), Some(identity)) = (self.reader.modules.get(path), identity)
            && known == identity
            && (identity.is_settled(seen_ns) || seen_ns == self.seen_ns)
        {
            return module;
        }
        let module = match eyes.bytes(path) {
            Ok(text) => syntax::read(&text),
            Err(error) => {
                let doubt = (1, format!("cannot be read ({error}); what it imports is not known"));
                Module { doubts: [doubt].into(), ..Module::default() }
            }
        };
        let module = Arc::new(module);
        if let Some(identity) = identity {
            self.reader.modules.set(path.to_owned(), (identity, self.seen_ns, Arc::clone(&module)));
            self.reader.has_read.store(true, Ordering::Relaxed);
        }
        module
    }
}
