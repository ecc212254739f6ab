//! Texts of DVC as texts of ours: values named again where they can be, and everything that our templates would read
//! escaped.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use super::axes::Matrix;
use super::context::From;
use super::data::expressed;
use super::paths::Place;
use super::resolve::{Edge, Part, Text};
use crate::command::plain;
use crate::problem::TextId;
use crate::shell::quote;
use crate::yaml::{Node, Value};

/// Values of all stages, and which of them are named.
#[derive(Debug)]
pub(super) struct Globals {
    /// All of them: a mapping.
    root: Node,
    used: RefCell<BTreeSet<Vec<String>>>,
}

impl Globals {
    pub(super) fn new(root: Node) -> Self {
        Self { root, used: RefCell::default() }
    }

    /// The name of a value that is the same for us as for DVC; it is used then. `None` where there is none.
    pub(super) fn name(&self, way: &[String]) -> Option<String> {
        let mut node = &self.root;
        for step in way {
            let is_name = step.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
            node = match &node.value {
                _ if !is_name => return None,
                // A list is given as a whole.
                Value::List(items) if is_expressed(node) => items.get(step.parse::<usize>().ok()?)?,
                Value::Map(_) => node.get(step)?,
                _ => return None,
            };
        }
        if !is_expressed(node) {
            return None;
        }
        self.used.borrow_mut().insert(way.to_vec());
        Some(format!("params.{}", way.join(".")))
    }

    /// The values that were named, as params: a mapping.
    pub(super) fn params(&self) -> Node {
        let used = self.used.borrow();
        let ways: Vec<&[String]> = used.iter().map(Vec::as_slice).collect();
        kept(&self.root, &ways)
    }

    /// Whether one of them stands in a file beside the `dvc.yaml`.
    pub(super) fn are_copies(&self) -> bool {
        fn copied(node: &Node) -> bool {
            match &node.value {
                Value::Map(entries) => entries.iter().any(|(_, node)| copied(node)),
                Value::List(items) => items.iter().any(copied),
                _ => node.span.text != TextId::File(0),
            }
        }
        copied(&self.params())
    }
}

/// Whether it can be given as a param: single values, without a `${` in them.
fn is_expressed(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.iter().all(is_expressed),
        Value::Map(_) | Value::Wrong | Value::Awaited => false,
        value => expressed(value).is_some_and(|value| !matches!(&value, Value::Text(text) if text.contains("${"))),
    }
}

/// What of a value lies on these ways.
fn kept(node: &Node, ways: &[&[String]]) -> Node {
    let value = match &node.value {
        Value::Map(entries) => {
            let mut all = Vec::new();
            for (key, inner) in entries {
                let further: Vec<&[String]> = ways
                    .iter()
                    .filter_map(|way| way.split_first())
                    .filter(|(first, _)| **first == key.text)
                    .map(|(_, rest)| rest)
                    .collect();
                if !further.is_empty() {
                    all.push((key.clone(), kept(inner, &further)));
                }
            }
            Value::Map(all)
        }
        Value::List(items) => Value::List(items.iter().map(|item| kept(item, &[])).collect()),
        value => expressed(value).unwrap_or(Value::Null),
    };
    Node { value, ..*node }
}

/// A text that is put together of parts.
pub(super) struct Renderer<'a> {
    pub globals: &'a Globals,
    /// The matrix whose coordinates can be named.
    pub matrix: Option<&'a Matrix>,
}

impl Renderer<'_> {
    /// The text of these parts. In one for the shell, a value is named only if it needs no quotes: ours are quoted, and
    /// DVC's are not.
    pub(super) fn text(&self, parts: &[Part], for_shell: bool) -> String {
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Ours(reference) => out.push_str(reference),
                Part::Literal(text) => out.push_str(&escaped(text)),
                Part::Value { text, from, .. } => {
                    // Behind a `$` the reference would be read as an escaped one.
                    let may = !out.ends_with('$') && (!for_shell || needs_no_quotes(text));
                    let name = if may { self.name(from) } else { None };
                    out.push_str(&name.unwrap_or_else(|| escaped(text)));
                }
            }
        }
        out
    }

    /// The folder in which a stage runs, from the root, whose file lies in `folder`: `filled` when all is put in.
    pub(super) fn folder(&self, wdir: &Text, folder: &str, filled: &str) -> String {
        let text = self.text(&wdir.parts, false);
        if text == escaped(&wdir.filled()) { escaped(filled) } else { joined(&escaped(folder), &text) }
    }

    /// A path of the project from its root, as a stage in `cwd` writes it.
    pub(super) fn path(&self, edge: &Edge, cwd: &str) -> String {
        let text = self.text(&edge.text.parts, false);
        let filled = edge.text.filled();
        let named =
            text != escaped(&filled) && !filled.starts_with('/') || cwd.contains("${") && !filled.starts_with('/');
        match &edge.place {
            Place::Inside(path) if !named => escaped(path),
            Place::Inside(_) => joined(cwd, &text),
            Place::Root => ".".to_owned(),
            Place::Outside(path) | Place::Remote(path) => escaped(path),
        }
    }

    /// The same for an input that is a file: written so that it is read as one.
    pub(super) fn input(&self, edge: &Edge, cwd: &str) -> String {
        match &edge.place {
            Place::Inside(_) => format!("./{}", self.path(edge, cwd)),
            _ if edge.text.filled().starts_with('/') => self.text(&edge.text.parts, false),
            _ => joined(cwd, &self.text(&edge.text.parts, false)),
        }
    }

    fn name(&self, from: &From) -> Option<String> {
        let named = match from {
            From::Params(way) => self.globals.name(way)?,
            From::Item(way) => return self.matrix?.name(way),
            From::Key => return Some(self.matrix?.key()),
            From::Here => return None,
        };
        Some(format!("${{{named}}}"))
    }
}

/// `path` in the folder `folder`; steps up are taken as far as no name stands before them.
fn joined(folder: &str, path: &str) -> String {
    let path = path.trim_end_matches('/');
    let whole = if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") };
    let behind_a_name = whole.find("${").is_some_and(|at| whole[at..].contains("../"));
    if behind_a_name { whole } else { plain(Path::new(&whole)).to_string_lossy().into_owned() }
}

pub(super) fn needs_no_quotes(text: &str) -> bool {
    quote(text) == text
}

/// `text` so that our templates read nothing in it.
pub(super) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}
