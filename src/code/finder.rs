//! Finds the programs and scripts in the words of commands: what stands behind `nice`, what Python is given, which
//! words are scripts. Knows the options of programs that run others, and nothing of imports.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::language::{self, Language};
use super::runs::{Place, Run, Runs, Starts, What};
use super::seen::{Eyes, plain};
use super::shell::syntax::{Input, Text, Word};
use super::shell::values::{ANY, Arg, STAR};
use super::wrappers::{Via, unwrap};

/// A text of the shell, and where its first line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    pub place: Place,
    pub text: Cow<'a, str>,
}

/// What a program reads as its standard input.
pub(super) enum Given<'t> {
    File(Arg<'t>),
    Text(&'t str),
}

impl<'t> Given<'t> {
    /// What `input` is, in a text whose words stand for what `word` says.
    pub fn of(input: &'t Input<'t>, text: &Text<'t>, word: impl Fn(&'t Word<'t>) -> Arg<'t>) -> Self {
        match input {
            Input::File(file) => Self::File(word(file)),
            Input::Here(index) => Self::Text(text.here[*index]),
        }
    }
}

/// Commands of the shell itself; those that only show or test their words come first.
const BUILTINS: [&str; 50] = [
    "echo",
    "printf",
    "test",
    "[",
    ":",
    "true",
    "false",
    "cd",
    "pushd",
    "popd",
    "dirs",
    "pwd",
    "exit",
    "return",
    "set",
    "unset",
    "shift",
    "export",
    "declare",
    "local",
    "readonly",
    "typeset",
    "alias",
    "unalias",
    "read",
    "mapfile",
    "readarray",
    "getopts",
    "let",
    "jobs",
    "bg",
    "fg",
    "wait",
    "kill",
    "disown",
    "umask",
    "ulimit",
    "shopt",
    "hash",
    "type",
    "times",
    "break",
    "continue",
    "caller",
    "enable",
    "bind",
    "help",
    "history",
    "suspend",
    "logout",
];
/// Programs that run a script or, with `-m`, a module in the Python that they belong to.
const LAUNCHERS: [&str; 12] = [
    "torchrun",
    "accelerate",
    "deepspeed",
    "horovodrun",
    "coverage",
    "kernprof",
    "mprof",
    "scalene",
    "viztracer",
    "debugpy",
    "ipython",
    "composer",
];
/// Programs that take orders from the file behind `-f`.
const ORDERED_BY_FILE: [&str; 8] = ["awk", "gawk", "mawk", "nawk", "sed", "gsed", "jq", "psql"];
/// Programs that run others in an image.
const CONTAINERS: [&str; 8] =
    ["docker", "podman", "nerdctl", "apptainer", "singularity", "shifter", "enroot", "udocker"];
/// Where `make` finds its orders when it is not told.
const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];
/// Files that one pattern (`steps/*.sh`) may name.
const MATCHES_MAX: usize = 1000;

pub(super) struct Finder<'t, 'e, 'd> {
    /// Where the command stands that is read.
    pub place: Place,
    /// Whether a shell runs it, so that its own commands count.
    pub shell: bool,
    not_code: &'t [PathBuf],
    folders: &'e [PathBuf],
    functions: BTreeSet<&'t str>,
    eyes: &'e mut Eyes<'d>,
    via: Option<Via>,
    /// Whether what is found is run for certain.
    sure: bool,
    found: Runs,
    more: Vec<Source<'static>>,
}

impl<'t, 'e, 'd> Finder<'t, 'e, 'd> {
    pub fn new(not_code: &'t [PathBuf], folders: &'e [PathBuf], texts: &'t [Text<'t>], eyes: &'e mut Eyes<'d>) -> Self {
        let functions = texts.iter().flat_map(|text| text.functions.iter().copied()).collect();
        let (place, found, more) = (Place { file: None, line: 1 }, Runs::default(), Vec::new());
        Self { place, shell: false, not_code, folders, functions, eyes, via: None, sure: true, found, more }
    }

    /// What was found, and the texts that are to be read as well.
    pub fn into_runs(self) -> (Runs, Vec<Source<'static>>) {
        (self.found, self.more)
    }

    /// What a command runs.
    pub fn command(&mut self, args: &[Arg], input: Option<&Given>) {
        let Some((program, rest)) = args.split_first() else { return };
        match program {
            Arg::One(name) => self.named(name, rest, input),
            Arg::Several(all) => {
                for value in all {
                    let mut words = value.split_whitespace().map(|word| Arg::One(Cow::Borrowed(word)));
                    let Some(Arg::One(name)) = words.next() else { continue };
                    let rest: Vec<Arg> = words.chain(rest.iter().cloned()).collect();
                    self.named(&name, &rest, input);
                }
            }
            Arg::Unknown { shown, elsewhere } => {
                if !elsewhere {
                    self.doubt(format!("`{shown}` is run, and what it stands for cannot be told"));
                }
                self.scan(rest);
            }
        }
    }

    fn doubt(&mut self, message: String) {
        self.found.doubts.insert((self.place.clone(), message));
    }

    fn push(&mut self, what: What) {
        let run = Run { what, via: self.via.clone(), sure: self.sure, place: self.place.clone() };
        if !self.found.all.contains(&run) {
            self.found.all.push(run);
        }
    }

    fn read_also(&mut self, text: &str) {
        self.more.push(Source { place: self.place.clone(), text: Cow::Owned(text.to_owned()) });
    }

    /// What the program `name` with the words `rest` runs.
    fn named(&mut self, name: &str, rest: &[Arg], input: Option<&Given>) {
        let base = name.rsplit('/').next().unwrap_or(name);
        if self.shell && name == base && self.own_command(base, rest) {
            return;
        }
        if language::is_python(base) {
            self.python(name, rest, input);
        } else if let Some(own) = unwrap(base, rest) {
            for (_, value) in own.assigned.iter().filter(|(name, _)| *name == "PYTHONPATH") {
                self.found.python_paths.insert((*value).to_owned());
            }
            let before = self.via.clone();
            self.via = own.via.or(before.clone());
            match &rest[own.own..] {
                _ if own.nothing => {}
                inner if own.text.is_some() => {
                    let words =
                        own.text.unwrap_or_default().split_whitespace().map(|word| Arg::One(Cow::Borrowed(word)));
                    let all: Vec<Arg> = words.chain(inner.iter().cloned()).collect();
                    self.inner(&all, input);
                }
                inner if own.module => self.module_of_runner(inner),
                inner => self.inner(inner, input),
            }
            self.via = before;
        } else if language::of_interpreter(base) == Some(Language::Shell) {
            self.shell(rest, input);
        } else {
            self.program(name, base, rest);
        }
    }

    /// The command behind a wrapper; `uv run x.py` and the like run scripts too.
    fn inner(&mut self, inner: &[Arg], input: Option<&Given>) {
        let is_script =
            |arg: &Arg| arg.one().is_some_and(|word| language::by_name(Path::new(word)) == Some(Language::Python));
        match inner.first() {
            Some(first) if self.via.is_some() && is_script(first) => self.python("python", inner, input),
            _ => self.command(inner, input),
        }
    }

    fn module_of_runner(&mut self, inner: &[Arg]) {
        if let Some((module, rest)) = inner.split_first() {
            let starts = module.one().map_or(Starts::Nothing, |module| Starts::Module(module.to_owned()));
            self.push(What::Python { program: "python".to_owned(), starts });
            self.scan(rest);
        }
    }

    /// Commands of the shell itself.
    fn own_command(&mut self, name: &str, rest: &[Arg]) -> bool {
        match name {
            "." | "source" => self.source(rest),
            "eval" => {
                let words: Option<Vec<&str>> = rest.iter().map(Arg::one).collect();
                match words {
                    Some(words) => self.read_also(&words.join(" ")),
                    None if rest.iter().any(|arg| matches!(arg, Arg::Unknown { elsewhere: true, .. })) => {}
                    None => self.doubt("what `eval` runs cannot be told".to_owned()),
                }
            }
            "trap" => {
                if let Some(text) = rest.first().and_then(Arg::one).filter(|text| text.contains(' ')) {
                    self.read_also(text);
                }
            }
            _ if self.functions.contains(name) => self.scan(rest),
            _ => return BUILTINS.contains(&name),
        }
        true
    }

    fn source(&mut self, rest: &[Arg]) {
        let Some(file) = rest.first() else { return };
        if let Arg::Unknown { shown, elsewhere } = file {
            if !elsewhere {
                self.doubt(format!("`{shown}` is sourced, and what it stands for cannot be told"));
            }
            return;
        }
        for name in file.all().flat_map(|name| self.matches(name)).collect::<Vec<_>>() {
            if let Some(folder) = name.strip_suffix("/activate") {
                // It sets the PATH and says where it lies, which is no part of any result.
                self.found.activated.insert(Via::Environment(format!("{folder}/..")));
                continue;
            }
            if name == "activate" {
                let environment = rest.get(1).and_then(Arg::one).unwrap_or("base");
                self.found.activated.insert(Via::Environment(environment.to_owned()));
                continue;
            }
            if name.ends_with("/conda.sh") || name.ends_with("/mamba.sh") {
                continue;
            }
            let paths: Vec<PathBuf> = self.folders.iter().map(|folder| plain(&folder.join(&name))).collect();
            match paths.into_iter().find(|path| self.eyes.is_file(path)) {
                Some(path) => self.source_file(path),
                None => self.doubt(format!("`{name}` is sourced, and there is no such file")),
            }
        }
    }

    fn source_file(&mut self, path: PathBuf) {
        match self.eyes.bytes(&path).map(String::from_utf8) {
            Ok(Ok(text)) => {
                let place = Place { file: Some(path.clone()), line: 1 };
                self.more.push(Source { place, text: Cow::Owned(text) });
            }
            _ => self.doubt(format!("`{}` is sourced, and cannot be read as text", path.display())),
        }
        self.found.sourced.insert(path);
    }

    /// What Python with these words starts.
    fn python(&mut self, program: &str, rest: &[Arg], input: Option<&Given>) {
        let push = |finder: &mut Self, starts| finder.push(What::Python { program: program.to_owned(), starts });
        let mut at = 0;
        while let Some(arg) = rest.get(at) {
            let Some(word) = arg.one().filter(|word| word.len() > 1 && word.starts_with('-')) else { break };
            at += 1;
            if word.starts_with("--") {
                at += usize::from(word == "--check-hash-based-pycs");
                continue;
            }
            let takes = |c: &(usize, char)| "cmWX".contains(c.1);
            let Some((index, letter)) = word.char_indices().skip(1).find(takes) else { continue };
            let joined = &word[index + 1..];
            let value = if joined.is_empty() { rest.get(at) } else { None };
            at += usize::from(value.is_some());
            if letter == 'W' || letter == 'X' {
                continue;
            }
            let all: Vec<&str> = value.map_or_else(|| vec![joined], |value| value.all().collect());
            if let Some(Arg::Unknown { shown, elsewhere: false }) = value {
                self.doubt(format!("`{program}` runs `{shown}`, and what it stands for cannot be told"));
            }
            for text in &all {
                let text = (*text).to_owned();
                push(self, if letter == 'c' { Starts::Code(text) } else { Starts::Module(text) });
            }
            if all.is_empty() {
                push(self, Starts::Nothing);
            }
            if letter == 'm' {
                self.modules(&rest[at..]);
            }
            return self.scan_words(&rest[at..]);
        }
        match rest.get(at) {
            Some(arg) if arg.one() != Some("-") => {
                let all: Vec<String> = arg.all().flat_map(|path| self.matches(path)).collect();
                if let Arg::Unknown { shown, elsewhere: false } = arg {
                    self.doubt(format!("`{program}` runs `{shown}`, and what it stands for cannot be told"));
                }
                if all.is_empty() {
                    push(self, Starts::Nothing);
                }
                for path in all {
                    push(self, Starts::Script(path));
                }
                self.scan_words(&rest[at + 1..]);
            }
            _ => {
                match input {
                    Some(Given::Text(code)) => push(self, Starts::Code((*code).to_owned())),
                    Some(Given::File(file)) => {
                        push(self, Starts::Nothing);
                        self.mention(file);
                    }
                    None => push(self, Starts::Nothing),
                }
                self.scan_words(rest.get(at + 1..).unwrap_or_default());
            }
        }
    }

    /// What a shell with these words runs.
    fn shell(&mut self, rest: &[Arg], input: Option<&Given>) {
        let mut at = 0;
        while let Some(word) =
            rest.get(at).and_then(Arg::one).filter(|word| word.len() > 1 && word.starts_with(['-', '+']))
        {
            at += 1;
            if word.starts_with("--") {
                at += usize::from(["--rcfile", "--init-file"].contains(&word));
            } else if word.contains('c') {
                match rest.get(at) {
                    Some(Arg::Unknown { elsewhere: true, .. }) | None => {}
                    Some(Arg::Unknown { shown, .. }) => {
                        self.doubt(format!("a shell runs `{shown}`, and what it stands for cannot be told"));
                    }
                    Some(text) => text.all().for_each(|text| self.read_also(text)),
                }
                return self.scan_words(rest.get(at + 1..).unwrap_or_default());
            } else {
                at += usize::from(word.ends_with('o'));
            }
        }
        match rest.get(at) {
            Some(script) => {
                if let Arg::Unknown { shown, elsewhere: false } = script {
                    self.doubt(format!("a shell runs `{shown}`, and what it stands for cannot be told"));
                }
                for path in script.all().flat_map(|path| self.matches(path)).collect::<Vec<_>>() {
                    self.push(What::Script { path, language: Language::Shell });
                }
                self.scan(&rest[at + 1..]);
            }
            None => match input {
                Some(Given::Text(text)) => self.read_also(text),
                Some(Given::File(file)) => self.mention(file),
                None => {}
            },
        }
    }

    /// Any other program.
    fn program(&mut self, name: &str, base: &str, rest: &[Arg]) {
        if ["conda", "mamba", "micromamba"].contains(&base) && rest.first().and_then(Arg::one) == Some("activate") {
            let environment = rest.get(1).and_then(Arg::one).unwrap_or("base");
            self.found.activated.insert(Via::Environment(environment.to_owned()));
            return;
        }
        self.push(What::Program(name.to_owned()));
        if CONTAINERS.contains(&base)
            && rest.iter().any(|arg| arg.one().is_some_and(|word| word == "run" || word == "exec"))
        {
            if !rest.iter().any(|arg| arg.one().is_some_and(|word| Path::new(word).extension() == Some("sif".as_ref())))
            {
                self.doubt(format!("what `{base}` runs lies in an image that is no part of the key"));
            }
            return self.scan_words(rest);
        }
        if LAUNCHERS.contains(&base) {
            self.modules(rest);
        }
        if ORDERED_BY_FILE.contains(&base) {
            for pair in rest.windows(2).filter(|pair| matches!(pair[0].one(), Some("-f" | "--file" | "--from-file"))) {
                for path in pair[1].all() {
                    self.push(What::Script { path: path.to_owned(), language: Language::Alone });
                }
            }
        }
        if let Some(language) = language::of_interpreter(base) {
            self.orders(language, rest);
        }
        self.scan(rest);
    }

    /// The script that an interpreter is given, whatever its name.
    fn orders(&mut self, language: Language, rest: &[Arg]) {
        if language == Language::Other("Make") {
            return self.makefile(rest);
        }
        let script = rest.iter().find(|arg| !arg.one().is_some_and(|word| word.starts_with('-')));
        for path in script.into_iter().flat_map(Arg::all) {
            if self.folders.iter().any(|folder| self.eyes.is_file(&folder.join(path))) {
                self.push(What::Script { path: path.to_owned(), language });
            }
        }
    }

    fn makefile(&mut self, rest: &[Arg]) {
        let value = |names: &[&str]| {
            let pair = rest.windows(2).find(|pair| pair[0].one().is_some_and(|word| names.contains(&word)));
            pair.and_then(|pair| pair[1].one())
        };
        let folder = value(&["-C", "--directory"]).unwrap_or(".");
        let paths: Vec<String> = match value(&["-f", "--file", "--makefile"]) {
            Some(file) => vec![format!("{folder}/{file}")],
            None => MAKEFILES.iter().map(|name| format!("{folder}/{name}")).collect(),
        };
        for path in paths {
            if self.folders.iter().any(|folder| self.eyes.is_file(&plain(&folder.join(&path)))) {
                self.push(What::Script { path, language: Language::Other("Make") });
            }
        }
    }

    /// Modules that a launcher is given: `-m name`.
    fn modules(&mut self, rest: &[Arg]) {
        for pair in rest.windows(2).filter(|pair| matches!(pair[0].one(), Some("-m" | "--module"))) {
            pair[1].all().for_each(|name| self.push(What::Module(name.to_owned())));
        }
    }

    /// Words of a program that nobody knows: it may run the program that one of them names.
    fn scan(&mut self, rest: &[Arg]) {
        for (index, arg) in rest.iter().enumerate() {
            let base = arg.one().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
            let is_shell = language::of_interpreter(base) == Some(Language::Shell) && !rest[index + 1..].is_empty();
            if language::is_python(base) || is_shell {
                let before = std::mem::replace(&mut self.sure, false);
                self.named(arg.one().unwrap_or_default(), &rest[index + 1..], None);
                self.sure = before;
                return;
            }
            self.mention(arg);
        }
    }

    fn scan_words(&mut self, rest: &[Arg]) {
        for arg in rest {
            self.mention(arg);
        }
    }

    /// A word that is a script if a file is there that looks like one.
    fn mention(&mut self, arg: &Arg) {
        for word in arg.all() {
            let value = word.split_once('=').map(|(_, value)| value);
            for word in [Some(word), value].into_iter().flatten().filter(|word| may_be_script(word)) {
                for path in self.matches(word) {
                    self.mention_path(&path);
                }
            }
        }
    }

    fn mention_path(&mut self, word: &str) {
        for folder in self.folders {
            let path = plain(&folder.join(word));
            let Some(identity) = self.eyes.identity(&path).filter(|identity| identity.file) else { continue };
            let is_script = language::by_name(&path).is_some()
                || identity.executable && language::by_shebang(&self.eyes.first_lines(&path)).is_some();
            if is_script && !self.not_code.contains(&path) {
                self.push(What::Mentioned(path));
            }
        }
    }

    /// The paths that a word with `*` or `?` in it matches; any other word is itself.
    fn matches(&mut self, word: &str) -> Vec<String> {
        if !word.contains([STAR, ANY]) {
            return vec![word.to_owned()];
        }
        let mut found = Vec::new();
        for folder in self.folders {
            let mut reached = vec![if word.starts_with('/') { PathBuf::from("/") } else { folder.clone() }];
            for part in word.split('/').filter(|part| !part.is_empty()) {
                reached = reached.into_iter().flat_map(|folder| self.step(&folder, part)).take(MATCHES_MAX).collect();
            }
            found.extend(reached.into_iter().map(|path| path.display().to_string()));
        }
        found
    }

    fn step(&mut self, folder: &Path, part: &str) -> Vec<PathBuf> {
        if !part.contains([STAR, ANY]) {
            return vec![plain(&folder.join(part))];
        }
        let Some(listing) = self.eyes.listing(folder) else { return Vec::new() };
        let matching = listing.all().filter(|(name, _)| !name.starts_with('.') && is_match(part, name));
        matching.map(|(name, _)| folder.join(name)).collect()
    }
}

/// Whether a word may name a script: by its extension, or as a path without one.
fn may_be_script(word: &str) -> bool {
    if word.starts_with('-') {
        return false;
    }
    let name = word.rsplit('/').next().unwrap_or(word);
    match name.rsplit_once('.') {
        Some(_) => language::by_name(Path::new(name)).is_some(),
        None => word.len() > name.len() && !name.is_empty(),
    }
}

/// Whether a name matches a pattern.
fn is_match(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // The last star, and where what it stands for ends so far.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(&STAR) => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == ANY || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, end)) => {
                    star = Some((at, end + 1));
                    (p, n) = (at + 1, end + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == STAR)
}
