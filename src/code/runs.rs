//! What a command line, or a script of the shell, runs: programs, and scripts with their language. Reads the files that
//! texts source; what it names is looked for on the disk elsewhere, but for words that may or may not be scripts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::finder::{Finder, Given, Source};
use super::language::Language;
use super::seen::{Eyes, plain};
use super::shell::syntax::{Lines, Text, parse};
use super::shell::values::{Arg, Setting, Values, every};
use super::variables::may_matter;
use super::wrappers::Via;

/// A command, as it will be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line<'a> {
    /// A text for `sh -c`.
    Shell(&'a str),
    /// A program and its words, without a shell.
    Words(&'a [String]),
}

/// Where in a text something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    /// The file; `None` for the command itself.
    pub file: Option<PathBuf>,
    /// The line, counted from 1.
    pub line: usize,
}

/// One thing that is run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Run {
    pub what: What,
    /// What chooses the program, in place of the PATH alone.
    pub via: Option<Via>,
    /// Whether it is run for certain: a word of a program that nobody knows may only look like it.
    pub sure: bool,
    pub place: Place,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum What {
    /// A program, by its name or path.
    Program(String),
    /// Python, by its name or path, with what it starts.
    Python { program: String, starts: Starts },
    /// A script, by its path as written, that a program of this language was given.
    Script { path: String, language: Language },
    /// A file that is there and looks like a script.
    Mentioned(PathBuf),
    /// A module of Python that a launcher was given.
    Module(String),
}

/// What Python starts with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Starts {
    Script(String),
    Module(String),
    Code(String),
    /// Nothing that can be told.
    Nothing,
}

/// All that texts run, and in which circumstances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Runs {
    /// In the order of `What`: programs and Pythons before the scripts that may be theirs. Each once.
    pub all: Vec<Run>,
    /// The folders in which something may be run, the first one surely.
    pub folders: Vec<PathBuf>,
    /// Values that the texts give to `PATH`.
    pub paths: Vec<String>,
    /// Environments that they activate.
    pub activated: BTreeSet<Via>,
    /// Values that they give to `PYTHONPATH`.
    pub python_paths: BTreeSet<String>,
    /// Values that they give to variables, where a script of the shell is run that may use them; none for one whose
    /// value is not known.
    pub variables: BTreeMap<String, Vec<String>>,
    /// Files that they source.
    pub sourced: BTreeSet<PathBuf>,
    /// What cannot be told, and where.
    pub doubts: BTreeSet<(Place, String)>,
}

impl Runs {
    /// Whether a script of the shell may be among what is run.
    pub fn may_run_shell(&self) -> bool {
        self.all.iter().any(|run| match &run.what {
            What::Script { language, .. } => *language == Language::Shell,
            What::Mentioned(_) | What::Program(_) => true,
            What::Python { .. } | What::Module(_) => false,
        })
    }

    /// Takes over what holds for all that the texts run which run these.
    pub fn inherit(&mut self, outer: &Self) {
        self.activated.extend(outer.activated.iter().cloned());
        self.python_paths.extend(outer.python_paths.iter().cloned());
        self.paths.extend(outer.paths.iter().cloned());
    }
}

/// Where a command runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub setting: Setting<'a>,
    /// Files that are no code, whatever their names.
    pub not_code: &'a [PathBuf],
}

/// Texts that are read for one command; more is no script of anybody's.
const TEXTS_MAX: usize = 100;
/// Folders in which one command may run.
const FOLDERS_MAX: usize = 16;

/// What `line` runs, which begins at `place`.
pub(super) fn read(line: Line<'_>, place: &Place, site: Site<'_>, eyes: &mut Eyes<'_>) -> Runs {
    let (words, mut sources) = match line {
        Line::Words(words) => (words, Vec::new()),
        Line::Shell(text) => (&[][..], vec![Source { place: place.clone(), text: Cow::Borrowed(text) }]),
    };
    loop {
        let files: Vec<Option<PathBuf>> = sources.iter().map(|source| source.place.file.clone()).collect();
        let texts: Vec<Text> = sources.iter().map(|source| parse(&source.text)).collect();
        let (mut runs, more) = read_once((words, place), &sources, &texts, &files, site, eyes);
        let more: Vec<Source> = more.into_iter().filter(|more| !sources.contains(more)).collect();
        if more.is_empty() {
            runs.all.sort_unstable();
            return runs;
        }
        if sources.len() + more.len() > TEXTS_MAX {
            let doubt = format!("more than {TEXTS_MAX} texts of the shell are read by one command");
            runs.doubts.insert((place.clone(), doubt));
            runs.all.sort_unstable();
            return runs;
        }
        sources.extend(more);
    }
}

fn read_once<'t>(
    (words, place): (&'t [String], &Place),
    sources: &[Source<'_>],
    texts: &'t [Text<'t>],
    files: &'t [Option<PathBuf>],
    site: Site<'t>,
    eyes: &mut Eyes<'_>,
) -> (Runs, Vec<Source<'static>>) {
    let folders = folders(sources, texts, &Values::new(texts, files, site.setting), site.setting.folders, eyes);
    let values = Values::new(texts, files, Setting { folders: &folders, ..site.setting });
    let mut finder = Finder::new(site.not_code, &folders, texts, eyes);
    if !words.is_empty() {
        finder.place = place.clone();
        let args: Vec<Arg> = words.iter().map(|word| given(word)).collect();
        finder.command(&args, None);
    }
    for (index, text) in texts.iter().enumerate() {
        finder.shell = true;
        let source = &sources[index];
        let lines = Lines::of(&source.text);
        every(&text.commands, &mut |command| {
            let line = source.place.line + lines.before(command.at);
            finder.place = Place { file: source.place.file.clone(), line };
            let args = values.args(index, &command.words);
            let input = command.input.as_ref().map(|input| Given::of(input, text, |word| values.word(index, word)));
            finder.command(&args, input.as_ref());
        });
    }
    let (mut runs, more) = finder.into_runs();
    let runs_shell = runs.may_run_shell();
    for name in values.assigned() {
        let value = values.named(name);
        match name {
            "PATH" => runs.paths.extend(value.all().map(str::to_owned)),
            "PYTHONPATH" => {
                if let Arg::Unknown { .. } = value {
                    let doubt = "what `PYTHONPATH` is set to cannot be told".to_owned();
                    runs.doubts.insert((place.clone(), doubt));
                }
                runs.python_paths.extend(value.all().map(str::to_owned));
            }
            _ if runs_shell => {
                let all = value.all().map(|value| may_matter(value).then(|| value.to_owned()));
                let all: Option<Vec<String>> = all.collect();
                runs.variables.insert(name.to_owned(), all.unwrap_or_default());
            }
            _ => {}
        }
    }
    runs.folders = folders;
    (runs, more)
}

/// A word of a command without a shell; placeholders of the pipeline are filled in before the run.
fn given(word: &str) -> Arg<'_> {
    if word.contains("${") {
        Arg::Unknown { shown: word.to_owned(), elsewhere: true }
    } else {
        Arg::One(Cow::Borrowed(word))
    }
}

/// The folders that the texts change to, beside those in which they begin.
fn folders<'t>(
    sources: &[Source<'_>],
    texts: &'t [Text<'t>],
    values: &Values<'t>,
    first: &[PathBuf],
    eyes: &mut Eyes<'_>,
) -> Vec<PathBuf> {
    let mut folders = first.to_vec();
    // Most texts change to none.
    let may_change =
        |(index, _): &(usize, &Text)| ["cd", "pushd"].iter().any(|name| sources[*index].text.contains(name));
    for (index, text) in texts.iter().enumerate().filter(may_change) {
        every(&text.commands, &mut |command| {
            let args = values.args(index, &command.words);
            if !matches!(args.first().and_then(Arg::one), Some("cd" | "pushd")) {
                return;
            }
            let target = args[1..].iter().find(|arg| !arg.one().is_some_and(|arg| arg.starts_with('-')));
            for target in target.into_iter().flat_map(Arg::all) {
                for folder in folders.clone() {
                    let folder = plain(&folder.join(target));
                    if folders.len() < FOLDERS_MAX && !folders.contains(&folder) && eyes.is_folder(&folder) {
                        folders.push(folder);
                    }
                }
            }
        });
    }
    folders
}
