//! Files beside `dvc.yaml`: values for templates, params, and how DVC is configured. Reads each of them once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::data::{OptionStyle, as_dvc_reads, from_json, from_toml};
use super::paths::Place;
use super::reader::Told;
use crate::problem::{Problems, SourceFile, SourceText, Span, TextId};
use crate::yaml::{self, Node, Value};

/// The project's files, as far as an import looks at them.
#[derive(Debug)]
pub(super) struct Files {
    /// The root of the project.
    pub root: PathBuf,
    /// The texts that were read, for the places of problems.
    pub source: SourceText,
    /// What was read, by path from the root.
    values: BTreeMap<String, Result<Node, Unread>>,
}

/// Why there are no values of a file.
#[derive(Clone, Debug)]
pub(super) enum Unread {
    /// The end of a sentence that begins with its name.
    Because(String),
    /// It is wrong in itself, which has been told.
    Told,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, source: SourceText::default(), values: BTreeMap::new() }
    }

    /// Takes a text among those that were read.
    pub(super) fn add(&mut self, name: String, text: String) -> TextId {
        self.source.files.push(SourceFile { name, text });
        TextId::File(self.source.files.len() - 1)
    }

    /// Where `place` lies on this machine; `None` for what is on another.
    pub(super) fn path(&self, place: &Place) -> Option<PathBuf> {
        match place {
            Place::Inside(path) => Some(self.root.join(path)),
            Place::Root => Some(self.root.clone()),
            Place::Outside(path) => Some(PathBuf::from(path)),
            Place::Remote(_) => None,
        }
    }

    pub(super) fn exists(&self, place: &Place) -> bool {
        self.path(place).is_some_and(|path| path.exists())
    }

    /// The mapping in a file of values, YAML unless its name says otherwise.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn values(&mut self, place: &Place, told: &mut Told) -> Result<Node, Unread> {
        let shown = match place {
            Place::Inside(path) | Place::Outside(path) | Place::Remote(path) => path.clone(),
            Place::Root => ".".to_owned(),
        };
        if let Some(known) = self.values.get(&shown) {
            return known.clone();
        }
        let read = self.path(place).ok_or_else(|| Unread::Because("is on another machine".to_owned()));
        let read = read.and_then(|path| self.read(&path, &shown, told));
        self.values.insert(shown, read.clone());
        read
    }

    fn read(&mut self, path: &Path, shown: &str, told: &mut Told) -> Result<Node, Unread> {
        let because = |why: String| Unread::Because(why);
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("").to_owned();
        if extension == "py" {
            return Err(because("is Python, of which no values are read here".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => because("is not there".to_owned()),
            _ => because(format!("cannot be read: {error}")),
        })?;
        let id = self.add(shown.to_owned(), text.clone());
        let at = Span::new(id, 0, 0);
        let node = match extension.as_str() {
            "json" => serde_json::from_str(&text)
                .map(|json| from_json(json, at))
                .map_err(|error| because(format!("is no JSON: {error}")))?,
            "toml" => toml::from_str(&text)
                .map(|toml| from_toml(toml::Value::Table(toml), at))
                .map_err(|error| because(format!("is no TOML: {}", error.message())))?,
            _ => read_yaml(&text, id, told)?,
        };
        match node.value {
            Value::Map(_) => Ok(node),
            Value::Null => Ok(Node { value: Value::Map(Vec::new()), ..node }),
            _ => Err(because(format!("holds {}, not a mapping", node.kind()))),
        }
    }
}

/// How DVC puts mappings into commands here, by the nearest `.dvc/config` and `.dvc/config.local`.
pub(super) fn option_style(folder: &Path) -> OptionStyle {
    let mut style = OptionStyle::default();
    let Some(dvc) = folder.ancestors().map(|folder| folder.join(".dvc")).find(|dvc| dvc.is_dir()) else {
        return style;
    };
    for name in ["config", "config.local"] {
        let text = std::fs::read_to_string(dvc.join(name)).unwrap_or_default();
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            match line.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
                Some(("bool", value)) if section == "[parsing]" => {
                    style.bool_optional = value == "boolean_optional";
                }
                Some(("list", value)) if section == "[parsing]" => style.list_append = value == "append",
                _ => {}
            }
        }
    }
    style
}

/// A text that is YAML all over. A bad value in it matters only where it is used: until then it is noted.
fn read_yaml(text: &str, id: TextId, told: &mut Told) -> Result<Node, Unread> {
    let mut problems = Problems::default();
    match yaml::read(text, id, &mut problems) {
        Some(node) => {
            told.notes.extend(problems);
            Ok(as_dvc_reads(node, text))
        }
        None => {
            told.problems.extend(problems);
            Err(Unread::Told)
        }
    }
}
