//! From what a command runs to all that its code is: goes through programs, scripts and the scripts that these run, in
//! whatever language, and collects files, programs, Pythons and doubts. Everything that it looks at is noted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::follow::{Start, follow};
use super::language::{self, Language};
use super::programs::{Located, Search};
use super::python::environment::Environment;
use super::python::interpreter::Asker;
use super::python::modules::Roots;
use super::python::places::ComputedPath;
use super::python::syntax::{self, Order, UNKNOWN};
use super::runs::{Line, Place, Run, Runs, Site, Starts, What, read};
use super::seen::{Eyes, Witnesses, plain};
use super::shell::values::Setting;
use super::wrappers::Via;
use super::{CodeError, CommandCode, Essence, Look, Program, Warning};

/// Scripts of the shell that one command may run, each counted once for each way in which it is run.
const SCRIPTS_MAX: usize = 1000;
/// What to do about what cannot be followed.
const NAME_IT: &str = "name what it needs under `code:`";

/// A script of the shell, the folders in which it may run, and the values of variables that it is given.
type Read = (PathBuf, Vec<PathBuf>, BTreeMap<String, Vec<String>>);

/// Walks through the code of one command.
pub(super) struct Walk<'w> {
    look: &'w Look<'w>,
    root: &'w Path,
    /// The variables that count.
    variables: &'w BTreeMap<String, String>,
    /// Variables that are set, and whose values do not count.
    hidden: &'w BTreeSet<String>,
    /// All that the command will see, for a Python that is asked.
    all_variables: &'w BTreeMap<String, String>,
    eyes: Eyes<'w>,
    files: BTreeSet<PathBuf>,
    programs: BTreeSet<Program>,
    pythons: BTreeMap<PathBuf, Arc<Environment>>,
    warnings: BTreeSet<Warning>,
    /// Pythons that were not found, and why.
    missing: Vec<String>,
    error: Option<CodeError>,
    /// Scripts of the shell that were read, and in which circumstances.
    scripts: HashSet<Read>,
    /// Programs in Python that were followed.
    followed: HashSet<(PathBuf, Vec<PathBuf>)>,
    /// Commands in Python code that were looked at.
    ordered: HashSet<Place>,
    /// Whether the walk is in the command itself, not in a script of it.
    is_top: bool,
}

impl<'w> Walk<'w> {
    pub fn new(look: &'w Look<'w>, essence: &'w Essence) -> Self {
        let counting = essence.counting();
        Self {
            look,
            root: &essence.root,
            variables: &counting.set,
            hidden: &counting.hidden,
            all_variables: &essence.variables.all,
            eyes: Eyes::new(&look.disk),
            files: BTreeSet::new(),
            programs: BTreeSet::new(),
            pythons: BTreeMap::new(),
            warnings: BTreeSet::new(),
            missing: Vec::new(),
            error: None,
            scripts: HashSet::new(),
            followed: HashSet::new(),
            ordered: HashSet::new(),
            is_top: true,
        }
    }

    /// All code of a command that runs `runs`, and what that depends on. Of a command without a shell (`direct`) the
    /// program must be there.
    pub fn command(mut self, runs: &Runs, direct: bool) -> (Result<CommandCode, CodeError>, Witnesses) {
        if let Some(run) = runs.all.iter().find(|run| direct && run.sure) {
            self.must_be_there(runs, run);
        }
        self.runs(runs);
        if let (None, true, Some(missing)) = (&self.error, self.pythons.is_empty(), self.missing.first()) {
            self.error =
                Some(CodeError { message: missing.clone(), help: python_help(&self.search(runs), &mut self.eyes) });
        }
        let code = CommandCode {
            programs: self.programs.into_iter().collect(),
            files: self.files.into_iter().collect(),
            pythons: self.pythons.into_values().collect(),
            warnings: self.warnings.into_iter().collect(),
        };
        (self.error.map_or(Ok(code), Err), self.eyes.seen)
    }

    fn must_be_there(&mut self, runs: &Runs, run: &Run) {
        let What::Program(name) = &run.what else { return };
        if self.search(runs).program(&mut self.eyes, name, run.via.as_ref()) == Located::Nowhere {
            let (message, help) = if name.contains('/') {
                (
                    format!("there is no program at `{name}`"),
                    "a path starts at the folder that the command runs in".to_owned(),
                )
            } else {
                let help = "install it, or write its path; a list of words is run without a shell, whose own commands \
                            (`cd`, `source`) need a text";
                (format!("the program `{name}` is not on the PATH"), help.to_owned())
            };
            self.error = Some(CodeError { message, help });
        }
    }

    fn search<'s>(&self, runs: &'s Runs) -> Search<'s>
    where
        'w: 's,
    {
        Search { runs, variables: self.variables }
    }

    /// Where texts run that `runs` leads to.
    fn setting<'s>(&self, runs: &'s Runs) -> Setting<'s>
    where
        'w: 's,
    {
        Setting {
            root: self.root,
            folders: &runs.folders,
            variables: self.variables,
            hidden: self.hidden,
            outer: &runs.variables,
        }
    }

    fn warn(&mut self, place: &Place, message: String, help: &str) {
        let line = place.file.is_some().then_some(place.line);
        let warning = Warning { file: place.file.clone(), line, message, help: help.to_owned() };
        self.warnings.insert(warning);
    }

    fn runs(&mut self, runs: &Runs) {
        self.files.extend(runs.sourced.iter().cloned());
        for (place, doubt) in &runs.doubts {
            self.warn(place, doubt.clone(), NAME_IT);
        }
        for run in &runs.all {
            if let Some(lock) = run.via.as_ref().and_then(|via| self.search(runs).lock(&mut self.eyes, via)) {
                self.files.insert(lock);
            }
            match &run.what {
                What::Program(name) => self.program(runs, run, name),
                What::Python { program, starts } => self.python(runs, run, program, starts),
                What::Script { path, language } => self.named_script(runs, run, path, *language),
                What::Mentioned(path) => self.script(runs, run, path, None),
                What::Module(name) => self.follow(runs, &Start::Module(name.clone()), None, &run.place),
            }
        }
    }

    fn program(&mut self, runs: &Runs, run: &Run, name: &str) {
        let path = match self.search(runs).program(&mut self.eyes, name, run.via.as_ref()) {
            Located::At(path) => path,
            Located::Nowhere => return,
            Located::Unclear(why) => return self.warn(&run.place, why, LOCK_IT),
        };
        let lines = self.eyes.first_lines(&path);
        let is_own = path.starts_with(self.root);
        match language::by_shebang(&lines) {
            Some(Language::Python) => self.program_in_python(runs, run, &path, &lines),
            Some(language) if is_own => self.script(runs, run, &path, Some(language)),
            _ => {
                self.programs.insert(Program { name: name.to_owned(), path });
            }
        }
    }

    /// A program that is a script of Python: one of the project, or one that a distribution brings.
    fn program_in_python(&mut self, runs: &Runs, run: &Run, path: &Path, lines: &str) {
        let interpreter = language::shebang(lines).and_then(|words| words.first().map(|word| (*word).to_owned()));
        let interpreter = interpreter.unwrap_or_default();
        let environment = self.interpreter(runs, run, &interpreter);
        // What a distribution brings is told by its version; its first line is true on one machine only.
        let of_distribution = Path::new(&interpreter).parent() == path.parent()
            || environment.as_ref().is_some_and(|(python, _)| python.parent() == path.parent());
        let is_named = self.files.contains(path);
        self.follow(
            runs,
            &Start::File(path.to_owned()),
            environment.as_ref().map(|(_, environment)| &**environment),
            &run.place,
        );
        if of_distribution && !is_named {
            self.files.remove(path);
        }
    }

    /// The environment of an interpreter, and where that is.
    fn interpreter(&mut self, runs: &Runs, run: &Run, name: &str) -> Option<(PathBuf, Arc<Environment>)> {
        let path = match self.search(runs).program(&mut self.eyes, name, run.via.as_ref()) {
            Located::At(path) => path,
            Located::Unclear(why) => {
                self.warn(&run.place, why, LOCK_IT);
                return None;
            }
            Located::Nowhere => {
                let what = if name.contains('/') { "there is no Python at" } else { "there is no program" };
                let end = if name.contains('/') { "" } else { " on the PATH" };
                let message = format!("{what} `{name}`{end}");
                match (run.sure, self.is_top) {
                    (true, true) => self.missing.push(message),
                    (true, false) => self.warn(
                        &run.place,
                        message,
                        "its version and what is installed for it are not part of the key",
                    ),
                    (false, _) => {}
                }
                return None;
            }
        };
        let asker = Asker {
            folder: runs.folders.first().map_or(self.root, PathBuf::as_path),
            variables: self.all_variables,
            disk: &self.look.disk,
            look: self.look.number,
            seen_ns: self.look.seen_ns,
        };
        match self.look.reader.interpreters().environment(&path, asker, &mut self.eyes) {
            Ok(environment) => {
                self.pythons.insert(path.clone(), Arc::clone(&environment));
                Some((path, environment))
            }
            Err(error) if run.sure => {
                self.error.get_or_insert(error);
                None
            }
            Err(_) => None,
        }
    }

    fn python(&mut self, runs: &Runs, run: &Run, program: &str, starts: &Starts) {
        let environment = self.interpreter(runs, run, program).map(|(_, environment)| environment);
        let environment = environment.as_deref();
        match starts {
            Starts::Nothing => {}
            Starts::Module(name) => self.follow(runs, &Start::Module(name.clone()), environment, &run.place),
            Starts::Code(code) => {
                let module = Arc::new(syntax::read(code.as_bytes()));
                self.follow(runs, &Start::Code(module), environment, &run.place);
            }
            Starts::Script(script) => {
                let paths: Vec<PathBuf> = runs.folders.iter().map(|folder| plain(&folder.join(script))).collect();
                let there: Vec<PathBuf> = paths.into_iter().filter(|path| self.eyes.identity(path).is_some()).collect();
                if there.is_empty() {
                    let message = format!("`{script}` is run, and is not there yet");
                    self.warn(&run.place, message, "if another stage makes it, give it as an input");
                }
                for path in there {
                    if self.eyes.is_folder(&path) {
                        let main = path.join("__main__.py");
                        if self.eyes.is_file(&main) {
                            self.follow(runs, &Start::File(main), environment, &run.place);
                        }
                    } else {
                        self.uv_script(run, &path);
                        self.follow(runs, &Start::File(path), environment, &run.place);
                    }
                }
            }
        }
    }

    /// A script that names its own dependencies gets an environment of its own from `uv run`.
    fn uv_script(&mut self, run: &Run, path: &Path) {
        if !matches!(run.via, Some(Via::Uv(_))) {
            return;
        }
        let text = self.eyes.bytes(path).unwrap_or_default();
        if !text.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_end() == b"# /// script") {
            return;
        }
        let mut lock = path.to_owned().into_os_string();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        if self.eyes.is_file(&lock) {
            self.files.insert(lock);
        } else {
            let message = "names its dependencies itself, and their versions are chosen when it runs".to_owned();
            let place = Place { file: Some(path.to_owned()), line: 1 };
            self.warn(&place, message, "`uv lock --script FILE` fixes them");
        }
    }

    /// A script that an interpreter was given, by its path as written: in the folders, or for a shell on the PATH.
    fn named_script(&mut self, runs: &Runs, run: &Run, script: &str, language: Language) {
        let mut there = Vec::new();
        for folder in &runs.folders {
            let path = plain(&folder.join(script));
            if self.eyes.is_file(&path) {
                there.push(path);
            }
        }
        if there.is_empty()
            && language == Language::Shell
            && !script.contains('/')
            && let Located::At(path) = self.search(runs).program(&mut self.eyes, script, run.via.as_ref())
        {
            there.push(path);
        }
        if there.is_empty() {
            self.warn(
                &run.place,
                format!("`{script}` is run, and is not there yet"),
                "if another stage makes it, give it as an input",
            );
        }
        for path in there {
            self.script(runs, run, &path, Some(language));
        }
    }

    /// A script that is there.
    fn script(&mut self, runs: &Runs, run: &Run, path: &Path, language: Option<Language>) {
        let lines = self.eyes.first_lines(path);
        let language = language.or_else(|| language::by_name(path)).or_else(|| language::by_shebang(&lines));
        match language {
            Some(Language::Python) => {
                if self.pythons.is_empty() {
                    let interpreter =
                        language::shebang(&lines).and_then(|words| words.first().map(|word| (*word).to_owned()));
                    let maybe = Run { sure: false, ..run.clone() };
                    if interpreter.and_then(|name| self.interpreter(runs, &maybe, &name)).is_none() {
                        let message = format!("which Python runs `{}` cannot be told", path.display());
                        self.warn(
                            &run.place,
                            message,
                            "its version and what is installed for it are not part of the key",
                        );
                    }
                }
                self.follow(runs, &Start::File(path.to_owned()), None, &run.place);
            }
            Some(Language::Shell) => self.shell_script(runs, path),
            Some(Language::Other(name)) => {
                self.files.insert(path.to_owned());
                let message = format!("is {name}, whose imports are not followed");
                self.warn(&Place { file: Some(path.to_owned()), line: 1 }, message, "name them under `code:`");
            }
            Some(Language::Alone) | None => {
                self.files.insert(path.to_owned());
            }
        }
    }

    fn shell_script(&mut self, runs: &Runs, path: &Path) {
        self.files.insert(path.to_owned());
        let key = (path.to_owned(), runs.folders.clone(), runs.variables.clone());
        if self.scripts.len() >= SCRIPTS_MAX || !self.scripts.insert(key) {
            return;
        }
        let place = Place { file: Some(path.to_owned()), line: 1 };
        let Some(text) = self.eyes.bytes(path).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return self.warn(&place, "cannot be read as text; what it runs is not known".to_owned(), NAME_IT);
        };
        let setting = self.setting(runs);
        let mut inner = read(Line::Shell(&text), &place, Site { setting, not_code: &[] }, &mut self.eyes);
        inner.inherit(runs);
        for (name, values) in &runs.variables {
            inner.variables.entry(name.clone()).or_insert_with(|| values.clone());
        }
        let was_top = std::mem::replace(&mut self.is_top, false);
        self.runs(&inner);
        self.is_top = was_top;
    }

    /// Follows a program in Python; without an environment of its own, in those of all Pythons that were found.
    fn follow(&mut self, runs: &Runs, start: &Start, environment: Option<&Environment>, place: &Place) {
        let firsts: Vec<PathBuf> = match start {
            Start::File(path) => vec![folder_of(path)],
            Start::Module(_) | Start::Code(_) => runs.folders.clone(),
        };
        let own: Vec<Arc<Environment>> = match environment {
            Some(_) => Vec::new(),
            None => self.pythons.values().cloned().collect(),
        };
        let environments: Vec<&Environment> = environment.into_iter().chain(own.iter().map(Arc::as_ref)).collect();
        for first in firsts {
            let roots = self.roots(runs, first, &environments);
            if let Start::File(path) = start {
                let all = roots.ordered.iter().chain(&roots.added).chain(roots.linked.values().flatten());
                if !self.followed.insert((path.clone(), all.cloned().collect())) {
                    continue;
                }
            }
            let reader = self.look;
            let read = |path: &Path, eyes: &mut Eyes<'_>| reader.module(path, eyes);
            let followed = follow(start, roots, &runs.folders, &mut self.eyes, &read);
            self.files.extend(followed.files);
            for (at, doubt) in followed.doubts {
                self.warn(if at.file.is_some() { &at } else { place }, doubt, NAME_IT);
            }
            for (at, order) in followed.commands {
                self.order(runs, &at, &order);
            }
        }
    }

    fn roots(&mut self, runs: &Runs, first: PathBuf, environments: &[&Environment]) -> Roots {
        let mut roots = Roots { ordered: vec![first], ..Roots::default() };
        let listed = |path: &str, folder: &Path| -> Vec<PathBuf> {
            path.split(':').map(|entry| plain(&folder.join(entry))).collect()
        };
        let given = self.variables.get("PYTHONPATH").map(String::as_str).filter(|path| !path.is_empty());
        for (index, folder) in runs.folders.iter().enumerate() {
            let into = if index == 0 { &mut roots.ordered } else { &mut roots.added };
            into.extend(given.map(|path| listed(path, folder)).unwrap_or_default());
            roots
                .added
                .extend(runs.python_paths.iter().filter(|path| !path.is_empty()).flat_map(|path| listed(path, folder)));
        }
        for environment in environments {
            roots.ordered.extend(environment.roots.iter().cloned());
            for (name, paths) in &environment.linked {
                roots.linked.entry(name.clone()).or_default().extend(paths.iter().cloned());
            }
        }
        let mut seen = HashSet::new();
        roots.ordered.retain(|folder| seen.insert(folder.clone()));
        roots.added.retain(|folder| seen.insert(folder.clone()));
        roots
    }

    /// A command that Python code runs. Nobody can tell whether it runs, so that nothing in it must be there.
    fn order(&mut self, runs: &Runs, place: &Place, order: &Order) {
        if !self.ordered.insert(place.clone()) {
            return;
        }
        let folder = runs.folders.first().map_or(self.root, PathBuf::as_path).to_owned();
        let setting = self.setting(runs);
        let site = Site { setting, not_code: &[] };
        let inner = match order {
            Order::Shell(text) => read(Line::Shell(text), place, site, &mut self.eyes),
            Order::Words(words) => {
                let text = |word: &Option<ComputedPath>| match word {
                    None => UNKNOWN.to_owned(),
                    Some(word) => match word.as_text() {
                        Some(text) => text.to_owned(),
                        None => word
                            .path(place.file.as_deref(), &folder)
                            .map_or_else(|| UNKNOWN.to_owned(), |path| path.display().to_string()),
                    },
                };
                let words: Vec<String> = words.iter().map(text).collect();
                read(Line::Words(&words), place, site, &mut self.eyes)
            }
        };
        let mut maybe = Runs { doubts: BTreeSet::new(), ..inner };
        maybe.inherit(runs);
        // The Python that runs the code runs what it starts: `sys.executable`.
        let python = self.pythons.keys().next().map(|path| path.display().to_string());
        maybe.all =
            std::mem::take(&mut maybe.all).into_iter().filter_map(|run| ordered(run, python.as_deref())).collect();
        let was_top = std::mem::replace(&mut self.is_top, false);
        self.runs(&maybe);
        self.is_top = was_top;
    }
}

/// The folder in which Python looks first: that of a script, behind a link.
fn folder_of(path: &Path) -> PathBuf {
    let lies = path.parent().unwrap_or(path).to_owned();
    if path.is_symlink() {
        let real = path.canonicalize().ok().and_then(|real| real.parent().map(Path::to_owned));
        return real.unwrap_or(lies);
    }
    lies
}

/// What to do where an environment cannot be told.
const LOCK_IT: &str = "name a lock file: `environment: {lock: uv.lock}`";

/// What is run by code, as something that may run.
fn ordered(run: Run, python: Option<&str>) -> Option<Run> {
    let what = match run.what {
        What::Python { program, starts } => {
            let program = if language::is_python(&program) { python.unwrap_or(&program).to_owned() } else { program };
            What::Python { program, starts }
        }
        // Programs are run for many reasons: to ask git for a version, to see what graphics card there is.
        What::Program(_) => return None,
        other => other,
    };
    Some(Run { what, sure: false, ..run })
}

fn python_help(search: &Search<'_>, eyes: &mut Eyes<'_>) -> String {
    let other =
        ["python3", "python"].into_iter().find(|name| matches!(search.program(eyes, name, None), Located::At(_)));
    match other {
        Some(other) => format!("there is `{other}`"),
        None => "install Python, or write the path of the one that is meant".to_owned(),
    }
}
