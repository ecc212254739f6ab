//! Values of an axis from a file, read while a pipeline is expanded: `{file: seeds.csv, column: seed}`.
//!
//! By its ending: `.json`, `.yaml` and `.yml` hold a list, or a mapping from labels to attributes, as the pipeline would;
//! `.csv` and `.tsv` a table with a header, of which `column` gives the values and the other columns their attributes; any
//! other file a value a line. A path starts at the project's root, or in the current folder if `--set` gave it. Problems are
//! told at their lines in the file. Knows nothing of cells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scalar;
use crate::import::read_file;
use crate::problem::{Problem, Problems, SourceText, Span, TextId, suggest};
use crate::recipe::Bases;
use crate::yaml::{self, Key, Node, Value};

/// A larger file is data, not a list of cells.
const BYTES_MAX: u64 = 64 << 20;

/// Files that were read for their values.
pub struct ValueFiles<'a> {
    bases: &'a Bases,
    source: &'a mut SourceText,
    texts: BTreeMap<PathBuf, Option<TextId>>,
    /// By path and column: `None` for what cannot be told, which is a problem already.
    values: BTreeMap<(PathBuf, Option<String>), Option<Arc<Node>>>,
}

/// Whether the values of an axis are those of a file: labels have attributes, and no single value.
#[must_use]
pub fn is_file(axis: &Node) -> bool {
    axis.get("file").is_some_and(|file| file.scalar_text().is_some() || file.value == Value::Wrong)
}

impl<'a> ValueFiles<'a> {
    /// No file yet. What is read is added to `source`.
    #[must_use]
    pub fn new(bases: &'a Bases, source: &'a mut SourceText) -> Self {
        Self { bases, source, texts: BTreeMap::new(), values: BTreeMap::new() }
    }

    /// The files that were read.
    #[must_use]
    pub fn read(self) -> Vec<PathBuf> {
        self.texts.into_keys().collect()
    }

    /// The values that `axis` names, a list or a mapping.
    pub(super) fn values(&mut self, axis: &Node, problems: &mut Problems) -> Option<Arc<Node>> {
        let Value::Map(entries) = &axis.value else { return None };
        for (key, _) in entries.iter().filter(|(key, _)| !["file", "column"].contains(&key.text.as_str())) {
            let problem = Problem::new(format!("unknown field `{}` of values from a file", key.text), key.span);
            problems.push(problem.help(suggest(&key.text, "fields", ["file", "column"])));
        }
        let file = axis.get("file")?;
        let column = axis.get("column");
        if column.is_some_and(|column| column.value == Value::Wrong) {
            return None;
        }
        let path = self.bases.resolve(&file.scalar_text()?, file.from_command_line());
        let key = (path, column.and_then(Node::scalar_text));
        if let Some(known) = self.values.get(&key) {
            return known.clone();
        }
        let values = self.text(&key.0, file, problems).and_then(|id| {
            let TextId::File(index) = id else { return None };
            let text = &self.source.files.get(index)?.text;
            let read = Reading { path: &key.0, text, id, file, column };
            read.values(problems)
        });
        let values = values.map(Arc::new);
        self.values.insert(key, values.clone());
        values
    }

    fn text(&mut self, path: &Path, file: &Node, problems: &mut Problems) -> Option<TextId> {
        if let Some(known) = self.texts.get(path) {
            return *known;
        }
        let shown = file.scalar_text().unwrap_or_default();
        let large = std::fs::metadata(path).is_ok_and(|found| found.len() > BYTES_MAX);
        let read = if large {
            Err(std::io::Error::other(format!("it is larger than {} MiB", BYTES_MAX >> 20)))
        } else {
            read_file(path, shown.clone(), self.source, problems)
        };
        let id = read.unwrap_or_else(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
                _ => error.to_string(),
            };
            let base = if file.from_command_line() { &self.bases.current } else { &self.bases.root };
            let problem = file.problem(format!("cannot read the values in `{shown}`: {reason}"));
            problems.push(problem.help(format!("its path starts in `{}`", base.display())));
            None
        });
        self.texts.insert(path.to_owned(), id);
        id
    }
}

/// A file that is being read.
struct Reading<'r> {
    path: &'r Path,
    text: &'r str,
    id: TextId,
    /// Where the pipeline names the file and the column.
    file: &'r Node,
    column: Option<&'r Node>,
}

impl Reading<'_> {
    fn values(&self, problems: &mut Problems) -> Option<Node> {
        let ending = self.path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let separator = match ending.as_str() {
            "csv" => Some(b','),
            "tsv" => Some(b'\t'),
            _ => None,
        };
        if let (Some(column), None) = (self.column, separator) {
            let problem = column.problem("only a table (`.csv`, `.tsv`) has columns");
            problems.push(problem.help("remove `column`"));
            return None;
        }
        let values = match (separator, ending.as_str()) {
            (Some(separator), _) => self.table(separator, problems)?,
            (None, "json" | "yaml" | "yml") => self.tree(problems)?,
            _ => self.lines(),
        };
        let empty = match &values {
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            _ => false,
        };
        if empty {
            let shown = self.file.scalar_text().unwrap_or_default();
            problems.push(self.file.problem(format!("`{shown}` holds no value")).help("an axis has at least one"));
            return None;
        }
        Some(Node { value: values, span: self.file.span, origin: self.span(0, 0) })
    }

    const fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.id, start, end)
    }

    fn tree(&self, problems: &mut Problems) -> Option<Value> {
        let root = yaml::read(self.text, self.id, problems)?;
        match root.value {
            Value::List(_) | Value::Map(_) => Some(root.value),
            Value::Wrong => None,
            _ => {
                let problem = root.problem(format!("a list of values was expected, not {}", root.kind()));
                problems.push(problem.help("[1, 2, 3]"));
                None
            }
        }
    }

    /// A value a line; empty lines are none.
    fn lines(&self) -> Value {
        let mut start = 0;
        let mut values = Vec::new();
        for line in self.text.split_inclusive('\n') {
            let text = line.trim_start_matches('\u{feff}').trim();
            let at = start + line.find(text).unwrap_or(0);
            start += line.len();
            if !text.is_empty() {
                values.push(Node::new(scalar(text), self.span(at, at + text.len())));
            }
        }
        Value::List(values)
    }

    /// The values of a column; with attributes, when there are other columns.
    fn table(&self, separator: u8, problems: &mut Problems) -> Option<Value> {
        let text = self.text.trim_start_matches('\u{feff}');
        let skipped = self.text.len() - text.len();
        let mut reader =
            csv::ReaderBuilder::new().delimiter(separator).trim(csv::Trim::All).from_reader(text.as_bytes());
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => {
                problems.push(self.broken(&error, skipped));
                return None;
            }
        };
        let at = self.column_at(&header, problems)?;
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    problems.push(self.broken(&error, skipped));
                    return None;
                }
            };
            let start = skipped + record.position().map_or(0, |position| position.byte() as usize);
            let span = self.line(start);
            let value = record.get(at).unwrap_or_default();
            if value.is_empty() {
                let column = header.get(at).unwrap_or_default();
                let problem = Problem::new(format!("there is no value in the column `{column}`"), span);
                problems.push(problem.help("every row has one"));
                continue;
            }
            if header.len() == 1 {
                values.push(Node::new(scalar(value), span));
                continue;
            }
            let others = header.iter().zip(&record).enumerate().filter(|(index, _)| *index != at);
            let attribute =
                |name: &str, text: &str| (Key { text: name.to_owned(), span }, Node::new(scalar(text), span));
            let attributes = others.map(|(_, (name, text))| attribute(name, text)).collect();
            labels.push((Key { text: value.to_owned(), span }, Node::new(Value::Map(attributes), span)));
        }
        Some(if header.len() == 1 { Value::List(values) } else { Value::Map(labels) })
    }

    fn column_at(&self, header: &csv::StringRecord, problems: &mut Problems) -> Option<usize> {
        let names: Vec<&str> = header.iter().collect();
        let Some(column) = self.column else {
            if names.len() == 1 {
                return Some(0);
            }
            let shown = self.file.scalar_text().unwrap_or_default();
            let example = names.first().unwrap_or(&"NAME");
            let problem = self.file.problem(format!("`{shown}` has {} columns", names.len()));
            problems
                .push(problem.help(format!("say which one has the values: `{{file: {shown}, column: {example}}}`")));
            return None;
        };
        let name = column.scalar_text().unwrap_or_default();
        let found = names.iter().position(|known| *known == name);
        if found.is_none() {
            let problem = column.problem(format!("no column `{name}`")).also(self.line(0), "the header");
            problems.push(problem.help(suggest(&name, "columns", names)));
        }
        found
    }

    /// The line that begins at a place, or before the first character that is no line break.
    fn line(&self, start: usize) -> Span {
        let rest = self.text.get(start..).unwrap_or("");
        let start = start + rest.len() - rest.trim_start().len();
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        self.span(start, start + line.trim_end().len())
    }

    fn broken(&self, error: &csv::Error, skipped: usize) -> Problem {
        let start = skipped + error.position().map_or(0, |position| position.byte() as usize);
        let (message, help) = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => (
                format!("this row has {len} columns, and those before it {expected_len}"),
                "a value with a comma in it stands in double quotes",
            ),
            _ => (format!("this is no table: {error}"), "a table begins with the names of its columns"),
        };
        Problem::new(message, self.line(start)).help(help)
    }
}
