//! What is wrong with a pipeline, each problem with its place in the text; all of a file are collected and shown
//! together. Rendering happens at the edge, in `report`.

use std::collections::HashSet;

/// A text that a user wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TextId {
    /// A file: 0 is the pipeline's, the others are those that it imports, in the order in which they were read.
    File(usize),
    /// The `--set` argument with this index.
    Argument(usize),
}

/// The texts that places are in.
#[derive(Clone, Debug, Default)]
pub struct SourceText {
    /// The pipeline's file, and those that it imports.
    pub files: Vec<SourceFile>,
    /// The `--set` arguments.
    pub arguments: Vec<String>,
}

/// A file of a pipeline.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its name as the user typed it, or as it is reached from there.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl SourceText {
    /// The name of the pipeline's own file.
    #[must_use]
    pub fn name(&self) -> &str {
        self.files.first().map_or("", |file| file.name.as_str())
    }
}

/// A place: bytes `start..end` of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The text.
    pub text: TextId,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// A place in a text.
    #[must_use]
    pub const fn new(text: TextId, start: usize, end: usize) -> Self {
        Self { text, start, end }
    }

    /// A place in the pipeline's own file.
    #[must_use]
    pub const fn file(start: usize, end: usize) -> Self {
        Self::new(TextId::File(0), start, end)
    }

    /// Whether it is in a `--set` argument.
    #[must_use]
    pub const fn is_argument(self) -> bool {
        matches!(self.text, TextId::Argument(_))
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// Where; `None` when it concerns the file as a whole.
    pub span: Option<Span>,
    /// What stands there, in few words.
    pub label: Option<String>,
    /// Other places that belong to it.
    pub also: Vec<(Span, String)>,
    /// What to type next.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(message: impl Into<String>, span: Span) -> Self {
        Self { message: message.into(), span: Some(span), label: None, also: Vec::new(), help: None }
    }

    /// A problem of the file as a whole.
    pub fn of_file(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, label: None, also: Vec::new(), help: None }
    }

    /// Words under the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Another place that belongs to the problem.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }

    /// What to type next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As [`Self::help`], or unchanged.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
}

/// Problems in the order in which they were found, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    /// The same problems, to know at once whether one is there.
    told: HashSet<Problem>,
}

impl Problems {
    /// A single problem.
    #[must_use]
    pub fn one(problem: Problem) -> Self {
        let mut problems = Self::default();
        problems.push(problem);
        problems
    }

    /// Adds a problem, unless the very same is there (a stage's cells repeat what is wrong with the stage).
    pub fn push(&mut self, problem: Problem) {
        if self.told.insert(problem.clone()) {
            self.list.push(problem);
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        other.list.into_iter().for_each(|problem| self.push(problem));
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// `value` when nothing is wrong.
    ///
    /// # Errors
    /// The problems, if there are any.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The problems in the order of the file.
    #[must_use]
    pub fn sorted(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| problem.span);
        self.list
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// `did you mean` for a name among those that exist, when one is near: by a few letters, or as the other's initials
/// (`learning_rate` and `lr`).
#[must_use]
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    let distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        if initials(&lower) == candidate || initials(&candidate) == lower {
            return 1;
        }
        strsim::damerau_levenshtein(&lower, &candidate)
    };
    let nearest = known
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .min_by_key(|(distance, candidate)| (*distance, candidate.len().abs_diff(name.len())))?;
    let (distance, candidate) = nearest;
    (distance <= 1.max(name.chars().count() / 3)).then(|| format!("did you mean `{candidate}`?"))
}

/// The first letters of a name of several words.
fn initials(name: &str) -> String {
    let words: Vec<&str> = name.split(['_', '-']).collect();
    if words.len() < 2 { String::new() } else { words.iter().filter_map(|word| word.chars().next()).collect() }
}

/// [`did_you_mean`], or the list of what exists.
#[must_use]
pub fn suggest<'a>(name: &str, what: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    did_you_mean(name, known.clone()).unwrap_or_else(|| {
        let all: Vec<String> = known.into_iter().map(|k| format!("`{k}`")).collect();
        if all.is_empty() { format!("there are no {what} here") } else { format!("{what}: {}", all.join(", ")) }
    })
}
