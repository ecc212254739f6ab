//! What the words of shell texts may stand for. Follows no branch and no order: a variable may hold any value that the
//! texts give it anywhere, so that more is found than one run would use, never less. Knows nothing of programs.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::syntax::{Piece, Simple, Text, Word};

/// Values that one word may have before it counts as unknown.
const VALUES_MAX: usize = 16;
/// Words that are looked into for the values of one command; scripts of people need some hundreds.
const STEPS_MAX: u32 = 20_000;
/// Stands for an unquoted `*` in a value; no text that a program can be given holds it.
pub const STAR: char = '\u{1}';
/// Stands for an unquoted `?`.
pub const ANY: char = '\u{2}';

/// What a word stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg<'t> {
    /// This text.
    One(Cow<'t, str>),
    /// One of these.
    Several(Vec<String>),
    /// What only a run can tell.
    Unknown {
        /// As it is written, or nearly.
        shown: String,
        /// Whether what it stands for is looked at elsewhere: the words that a script is given, files that the
        /// pipeline gives.
        elsewhere: bool,
    },
}

impl<'t> Arg<'t> {
    /// The text, when there is only one.
    pub fn one(&self) -> Option<&str> {
        if let Self::One(text) = self { Some(text) } else { None }
    }

    /// All that it may be; nothing when that is unknown.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::One(text) => (Some(text.as_ref()), &[][..]),
            Self::Several(all) => (None, all.as_slice()),
            Self::Unknown { .. } => (None, &[][..]),
        };
        one.into_iter().chain(several.iter().map(String::as_str))
    }

    fn of(mut values: Vec<Cow<'t, str>>, word: impl FnOnce() -> String) -> Self {
        let mut seen = BTreeSet::new();
        values.retain(|value| seen.insert(value.clone()));
        match values.len() {
            0 => Self::unknown(word()),
            1 => Self::One(values.remove(0)),
            2..=VALUES_MAX => Self::Several(values.into_iter().map(Cow::into_owned).collect()),
            _ => Self::unknown(word()),
        }
    }

    fn unknown(shown: String) -> Self {
        Self::Unknown { shown, elsewhere: false }
    }

    fn map(self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::One(text) => Self::One(Cow::Owned(change(&text))),
            Self::Several(all) => Self::Several(all.iter().map(|text| change(text)).collect()),
            unknown @ Self::Unknown { .. } => unknown,
        }
    }
}

/// Where texts of the shell run.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The project's root.
    pub root: &'a Path,
    /// The folders in which they may run, the first one surely.
    pub folders: &'a [PathBuf],
    /// The environment's variables: one that is not there is not set.
    pub variables: &'a BTreeMap<String, String>,
    /// Names of variables that are set, and whose values are not looked at.
    pub hidden: &'a BTreeSet<String>,
    /// What the texts that run these give to variables; nothing for one whose value is not known.
    pub outer: &'a BTreeMap<String, Vec<String>>,
}

/// The values of words in texts that run together.
pub struct Values<'t> {
    setting: Setting<'t>,
    /// The files that the texts are in.
    files: &'t [Option<PathBuf>],
    /// Each assignment, with its text's index.
    assigned: BTreeMap<&'t str, Vec<(usize, &'t Word<'t>)>>,
    known: RefCell<BTreeMap<&'t str, Arg<'t>>>,
    /// Variables whose values are being found out.
    asked: RefCell<BTreeSet<&'t str>>,
    steps: Cell<u32>,
}

impl<'t> Values<'t> {
    /// Of texts that run together, each in one of `files`, or in none.
    pub fn new(texts: &'t [Text<'t>], files: &'t [Option<PathBuf>], setting: Setting<'t>) -> Self {
        let mut assigned: BTreeMap<&str, Vec<(usize, &Word)>> = BTreeMap::new();
        for (index, text) in texts.iter().enumerate() {
            every(&text.commands, &mut |command| {
                for (name, word) in &command.assigned {
                    assigned.entry(name).or_default().push((index, word));
                }
            });
        }
        Self { setting, files, assigned, known: RefCell::default(), asked: RefCell::default(), steps: Cell::new(0) }
    }

    /// The variables that the texts give values to.
    pub fn assigned(&self) -> impl Iterator<Item = &'t str> {
        self.assigned.keys().copied()
    }

    /// The words of a command of text `index`. One that is a variable alone, unquoted, is as many words as its value
    /// has.
    pub fn args(&self, index: usize, words: &'t [Word<'t>]) -> Vec<Arg<'t>> {
        let mut args = Vec::with_capacity(words.len());
        for word in words {
            let alone = matches!(word, Word::Made(pieces) if matches!(pieces.as_slice(), [Piece::Variable { quoted: false, .. } | Piece::Default { .. }]));
            match self.word(index, word) {
                Arg::One(text) if alone && (text.is_empty() || text.contains(char::is_whitespace)) => {
                    args.extend(text.split_whitespace().map(|part| Arg::One(Cow::Owned(part.to_owned()))));
                }
                arg => args.push(arg),
            }
        }
        args
    }

    /// What a word of text `index` may stand for.
    pub fn word(&self, index: usize, word: &'t Word<'t>) -> Arg<'t> {
        let pieces = match word {
            Word::Plain(text) => return Arg::One(Cow::Borrowed(text)),
            Word::Made(pieces) => pieces,
        };
        // Variables made of variables may be made of very many.
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS_MAX {
            return Arg::unknown(shown(pieces));
        }
        let mut values: Vec<Cow<'t, str>> = vec![Cow::Borrowed("")];
        for piece in pieces {
            let more = match self.piece(index, piece) {
                Arg::One(text) => vec![text],
                Arg::Several(all) => all.into_iter().map(Cow::Owned).collect(),
                Arg::Unknown { elsewhere, .. } => return Arg::Unknown { shown: shown(pieces), elsewhere },
            };
            if values.len() * more.len() > VALUES_MAX {
                return Arg::unknown(shown(pieces));
            }
            let joined = values.iter().flat_map(|value| {
                more.iter()
                    .map(move |more| if value.is_empty() { more.clone() } else { Cow::Owned(format!("{value}{more}")) })
            });
            values = joined.collect();
        }
        Arg::of(values, || shown(pieces))
    }

    fn piece(&self, index: usize, piece: &'t Piece<'t>) -> Arg<'t> {
        match piece {
            Piece::Text(text) => Arg::One(Cow::Borrowed(text)),
            Piece::Glob(c) => Arg::One(Cow::Borrowed(if *c == '*' { "\u{1}" } else { "\u{2}" })),
            Piece::Variable { name, .. } => self.variable(index, name),
            Piece::Folder(name) => self.variable(index, name).map(parent),
            Piece::Default { name, word } => match (self.variable(index, name), self.word(index, word)) {
                // What a script is given is looked at where it is given.
                (Arg::Unknown { elsewhere: true, .. }, default) => default,
                (unknown @ Arg::Unknown { .. }, _) | (_, unknown @ Arg::Unknown { .. }) => unknown,
                (known, default) => {
                    let all = known.all().filter(|value| !value.is_empty());
                    let all = all.chain(default.all()).map(|value| Cow::Owned(value.to_owned())).collect();
                    Arg::of(all, || format!("${{{name}}}"))
                }
            },
            Piece::Output(commands) => {
                self.output(index, commands).unwrap_or_else(|| Arg::unknown("$(...)".to_owned()))
            }
            Piece::Unknown(text) => Arg::unknown((*text).to_owned()),
        }
    }

    fn variable(&self, index: usize, name: &'t str) -> Arg<'t> {
        let elsewhere = |elsewhere| Arg::Unknown { shown: format!("${name}"), elsewhere };
        match name {
            "0" | "BASH_SOURCE" => match &self.files[index] {
                Some(file) => Arg::One(Cow::Owned(file.display().to_string())),
                None => Arg::One(Cow::Borrowed("sh")),
            },
            "PWD" => self.folders(),
            "OLDPWD" | "RANDOM" | "SECONDS" | "LINENO" | "PPID" | "UID" | "HOSTNAME" => elsewhere(false),
            // Of the pipeline, filled in before the run.
            _ if name.contains('.') => elsewhere(true),
            _ if name.starts_with(|c: char| !(c.is_ascii_alphabetic() || c == '_')) => elsewhere(true),
            _ => self.named(name),
        }
    }

    /// The values of a variable that has a name.
    pub fn named(&self, name: &'t str) -> Arg<'t> {
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        let outer = self.setting.outer.get(name);
        let is_unknown = outer.map_or(self.setting.hidden.contains(name), Vec::is_empty);
        if is_unknown && !self.assigned.contains_key(name) {
            return Arg::unknown(format!("${name}"));
        }
        let outer = outer.into_iter().flatten().chain(self.setting.variables.get(name));
        let mut values: Vec<Cow<'t, str>> = outer.map(|value| Cow::Borrowed(value.as_str())).collect();
        let assigned = self.assigned.get(name).map_or(&[][..], Vec::as_slice);
        // One that is made of itself (`PATH=x:$PATH`) is made of what it was before.
        if !assigned.is_empty() && self.asked.borrow_mut().insert(name) {
            for (index, word) in assigned {
                match self.word(*index, word) {
                    Arg::One(text) => values.push(text),
                    Arg::Several(all) => values.extend(all.into_iter().map(Cow::Owned)),
                    Arg::Unknown { elsewhere, .. } => {
                        self.asked.borrow_mut().remove(name);
                        let unknown = Arg::Unknown { shown: format!("${name}"), elsewhere };
                        self.known.borrow_mut().insert(name, unknown.clone());
                        return unknown;
                    }
                }
            }
            self.asked.borrow_mut().remove(name);
        }
        if values.is_empty() {
            values.push(Cow::Borrowed(""));
        }
        let found = Arg::of(values, || format!("${name}"));
        // What was found while others were being asked may lack theirs.
        if self.asked.borrow().is_empty() {
            self.known.borrow_mut().insert(name, found.clone());
        }
        found
    }

    fn folders(&self) -> Arg<'t> {
        let folders = self.setting.folders.iter().map(|folder| Cow::Owned(folder.display().to_string()));
        Arg::of(folders.collect(), || "$PWD".to_owned())
    }

    /// What commands write, when they are of the few that find paths.
    fn output(&self, index: usize, commands: &'t [Simple<'t>]) -> Option<Arg<'t>> {
        let args: Vec<Vec<Arg>> = commands.iter().map(|command| self.args(index, &command.words)).collect();
        let last = args.last()?;
        let operands = |args: &[Arg<'t>]| -> Vec<Arg<'t>> {
            args[1..].iter().filter(|arg| !arg.one().is_some_and(|arg| arg.starts_with('-'))).cloned().collect()
        };
        let (name, given) = (last.first()?.one()?, operands(last));
        let only = || if given.len() == 1 { given.first().cloned() } else { None };
        match (args.as_slice(), name) {
            ([_], "pwd") => Some(self.folders()),
            ([into, _], "pwd") if into.first()?.one()? == "cd" => operands(into).first().cloned(),
            ([_], "dirname") => only().map(|arg| arg.map(parent)),
            ([_], "basename") => {
                let suffix = given.get(1).and_then(Arg::one).unwrap_or_default().to_owned();
                let cut = move |path: &str| {
                    let name = path.rsplit('/').next().unwrap_or(path);
                    name.strip_suffix(suffix.as_str()).unwrap_or(name).to_owned()
                };
                given.first().cloned().map(|arg| arg.map(cut))
            }
            ([_], "realpath" | "readlink" | "echo" | "which" | "command") => only(),
            ([one], "git") if one[1..].iter().filter_map(Arg::one).eq(["rev-parse", "--show-toplevel"]) => {
                Some(Arg::One(Cow::Owned(self.setting.root.display().to_string())))
            }
            _ => None,
        }
    }
}

/// Every command, those in words among them.
pub fn every<'t>(commands: &'t [Simple<'t>], look: &mut impl FnMut(&'t Simple<'t>)) {
    for command in commands {
        look(command);
        every(&command.beside, look);
        for word in command.words.iter().chain(command.assigned.iter().map(|(_, word)| word)) {
            every_in_word(word, look);
        }
    }
}

fn every_in_word<'t>(word: &'t Word<'t>, look: &mut impl FnMut(&'t Simple<'t>)) {
    let Word::Made(pieces) = word else { return };
    for piece in pieces {
        match piece {
            Piece::Output(commands) => every(commands, look),
            Piece::Default { word, .. } => every_in_word(word, look),
            _ => {}
        }
    }
}

/// The folder that a path lies in, as `dirname` says it.
fn parent(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((folder, _)) => folder.to_owned(),
        None => ".".to_owned(),
    }
}

/// A word nearly as it was written.
fn shown(pieces: &[Piece]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.to_string(),
        Piece::Glob(c) => c.to_string(),
        Piece::Variable { name, .. } => format!("${name}"),
        Piece::Default { name, .. } | Piece::Folder(name) => format!("${{{name}}}"),
        Piece::Output(_) => "$(...)".to_owned(),
        Piece::Unknown(text) => (*text).to_owned(),
    };
    pieces.iter().map(piece).collect()
}
