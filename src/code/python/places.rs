//! Paths that Python code computes from `__file__` and texts, as far as that can be told without running it:
//! `os.path.join(os.path.dirname(__file__), "..")`, `Path(__file__).parent / "src"`. Looks at no disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tree_sitter::Node;

use crate::code::seen::plain;

/// A path that is computed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ComputedPath {
    /// Whether it starts at the file that it stands in; else at the working folder.
    from_file: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Step {
    /// `os.path.dirname(...)`, `.parent`.
    Up,
    /// `os.path.join(..., text)`, `/ text`.
    Into(String),
    /// `os.path.abspath(...)`, `.resolve()`: `..` is taken away.
    Plain,
}

impl ComputedPath {
    fn file() -> Self {
        Self { from_file: true, steps: Vec::new() }
    }

    fn text(text: String) -> Self {
        Self { from_file: false, steps: vec![Step::Into(text)] }
    }

    /// The name of Python's own program, where code asks for it.
    pub fn python() -> Self {
        Self::text("python".to_owned())
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The text, when it is nothing else.
    pub fn as_text(&self) -> Option<&str> {
        match self.steps.as_slice() {
            [Step::Into(text)] if !self.from_file => Some(text),
            _ => None,
        }
    }

    /// The path in a file and a working folder; `None` when there is no file to start at.
    pub fn path(&self, file: Option<&Path>, folder: &Path) -> Option<PathBuf> {
        let mut path = if self.from_file { file?.to_owned() } else { folder.to_owned() };
        for step in &self.steps {
            match step {
                Step::Up => {
                    path.pop();
                }
                Step::Into(text) => path.push(text),
                Step::Plain => path = plain(&path),
            }
        }
        Some(plain(&path))
    }
}

/// Deeper expressions are no paths of anybody's.
const DEPTH_MAX: usize = 40;

/// Names that a file gives exactly one value, and the nodes of these values.
pub type Names<'t> = HashMap<&'t str, Option<Node<'t>>>;

/// Reads expressions of one text.
#[derive(Clone, Copy)]
pub struct Expressions<'t, 'n> {
    pub text: &'t [u8],
    pub names: &'n Names<'t>,
}

impl<'t> Expressions<'t, '_> {
    /// The text of a node.
    pub fn text_of(&self, node: Node<'t>) -> &'t str {
        node.utf8_text(self.text).unwrap_or_default()
    }

    /// What stands behind a name that has one value only, or in brackets; else the node itself.
    pub fn behind(&self, node: Node<'t>) -> Node<'t> {
        let mut node = node;
        for _ in 0..DEPTH_MAX {
            let next = match node.kind() {
                "identifier" => self.names.get(self.text_of(node)).copied().flatten(),
                "parenthesized_expression" => node.named_child(0),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node
    }

    /// The value of a literal text.
    pub fn literal(&self, node: Node<'t>) -> Option<String> {
        let (text, whole) = self.start(node, 0)?;
        whole.then_some(text)
    }

    /// How the value of a text begins, and whether that is all of it: of `f"models.{name}"`, `models.`.
    pub fn beginning(&self, node: Node<'t>) -> Option<(String, bool)> {
        self.start(node, 0)
    }

    fn start(&self, node: Node<'t>, depth: usize) -> Option<(String, bool)> {
        if depth == DEPTH_MAX {
            return None;
        }
        let node = self.behind(node);
        match node.kind() {
            "string" => self.string(node),
            "concatenated_string" => {
                let mut cursor = node.walk();
                let parts: Vec<Node> =
                    node.named_children(&mut cursor).filter(|part| part.kind() == "string").collect();
                let mut all = String::new();
                for part in parts {
                    let (text, whole) = self.string(part)?;
                    all.push_str(&text);
                    if !whole {
                        return Some((all, false));
                    }
                }
                Some((all, true))
            }
            "binary_operator" => {
                let (left, right) = (node.child_by_field_name("left")?, node.child_by_field_name("right")?);
                let (text, whole) = self.start(left, depth + 1)?;
                match self.text_of(node.child_by_field_name("operator")?) {
                    "+" if whole => match self.start(right, depth + 1) {
                        Some((more, whole)) => Some((text + &more, whole)),
                        None => Some((text, false)),
                    },
                    "+" => Some((text, false)),
                    "%" => Some((text.split('%').next()?.to_owned(), false)),
                    _ => None,
                }
            }
            "call" => {
                let function =
                    node.child_by_field_name("function").filter(|function| function.kind() == "attribute")?;
                let is_format = self.text_of(function.child_by_field_name("attribute")?) == "format";
                let (text, _) = self.start(function.child_by_field_name("object").filter(|_| is_format)?, depth + 1)?;
                Some((text.split('{').next()?.to_owned(), false))
            }
            _ => None,
        }
    }

    fn string(&self, node: Node<'t>) -> Option<(String, bool)> {
        let mut cursor = node.walk();
        let mut text = String::new();
        let mut raw = false;
        for part in node.named_children(&mut cursor) {
            match part.kind() {
                "string_start" => {
                    let prefix = self.text_of(part).to_ascii_lowercase();
                    raw = prefix.contains('r');
                    if prefix.contains('b') {
                        return None;
                    }
                }
                "string_content" => {
                    let content = self.text_of(part);
                    // Names and paths need no escapes; `\n` in a text for the shell would be another text.
                    if content.contains('\\') && !raw {
                        return None;
                    }
                    text.push_str(content);
                }
                "interpolation" => return Some((text, false)),
                _ => {}
            }
        }
        Some((text, true))
    }

    /// A path that an expression computes.
    pub fn place(&self, node: Node<'t>) -> Option<ComputedPath> {
        self.place_at(node, 0)
    }

    fn place_at(&self, node: Node<'t>, depth: usize) -> Option<ComputedPath> {
        if depth == DEPTH_MAX {
            return None;
        }
        let node = self.behind(node);
        let deeper = |node: Option<Node<'t>>| self.place_at(node?, depth + 1);
        match node.kind() {
            "identifier" if self.text_of(node) == "__file__" => Some(ComputedPath::file()),
            "string" | "concatenated_string" => self.literal(node).map(ComputedPath::text),
            "attribute" => match self.text_of(node.child_by_field_name("attribute")?) {
                "parent" => Some(deeper(node.child_by_field_name("object"))?.then(Step::Up)),
                "curdir" => Some(ComputedPath::text(".".to_owned())),
                "pardir" => Some(ComputedPath::text("..".to_owned())),
                _ => None,
            },
            "subscript" => {
                let parents = node.child_by_field_name("value").filter(|value| value.kind() == "attribute")?;
                let of = parents.child_by_field_name("attribute").is_some_and(|name| self.text_of(name) == "parents");
                let count: usize = self.text_of(node.child_by_field_name("subscript")?).parse().ok().filter(|_| of)?;
                let place = deeper(parents.child_by_field_name("object"))?;
                (count < DEPTH_MAX).then(|| (0..=count).fold(place, |place, _| place.then(Step::Up)))
            }
            "binary_operator" => {
                let right = node.child_by_field_name("right")?;
                let place = deeper(node.child_by_field_name("left"))?;
                match self.text_of(node.child_by_field_name("operator")?) {
                    "/" => Some(place.then(Step::Into(self.text_or_name(right)?))),
                    "+" => {
                        let text = self.literal(right)?;
                        Some(place.then(Step::Into(text.strip_prefix('/')?.to_owned())))
                    }
                    _ => None,
                }
            }
            "call" => self.call(node, depth),
            _ => None,
        }
    }

    /// A literal, or `os.pardir`.
    fn text_or_name(&self, node: Node<'t>) -> Option<String> {
        let named = || match self.text_of(node).rsplit('.').next()? {
            "pardir" => Some("..".to_owned()),
            "curdir" => Some(".".to_owned()),
            _ => None,
        };
        self.literal(node).or_else(named)
    }

    fn call(&self, node: Node<'t>, depth: usize) -> Option<ComputedPath> {
        let function = node.child_by_field_name("function")?;
        let (object, name) = match function.kind() {
            "attribute" => (function.child_by_field_name("object"), function.child_by_field_name("attribute")?),
            _ => (None, function),
        };
        let args = arguments(node);
        let first = || self.place_at(*args.first()?, depth + 1);
        // Of `path.parent.resolve()` the path is what is called; of `os.path.abspath(path)` it is what is given.
        let called = || self.place_at(object?, depth + 1);
        match (self.text_of(name), args.len()) {
            ("dirname", 1) => Some(first()?.then(Step::Up)),
            ("abspath" | "realpath" | "normpath", 1) => Some(first()?.then(Step::Plain)),
            ("str" | "fspath" | "Path" | "PurePath" | "PosixPath", 1) => first(),
            ("Path" | "getcwd", 0) => Some(ComputedPath::text(".".to_owned())),
            ("cwd", 0) if object.is_some_and(|object| self.text_of(object).ends_with("Path")) => {
                Some(ComputedPath::text(".".to_owned()))
            }
            ("resolve" | "absolute", 0) => Some(called()?.then(Step::Plain)),
            ("as_posix" | "__str__" | "__fspath__", 0) => called(),
            ("join" | "Path", 2..) => self.joined(first()?, &args[1..]),
            ("joinpath", 1..) => self.joined(called()?, &args),
            _ => None,
        }
    }

    fn joined(&self, place: ComputedPath, parts: &[Node<'t>]) -> Option<ComputedPath> {
        parts.iter().try_fold(place, |place, part| Some(place.then(Step::Into(self.text_or_name(*part)?))))
    }
}

/// The arguments of a call that have no name.
pub fn arguments(call: Node<'_>) -> Vec<Node<'_>> {
    let Some(list) = call.child_by_field_name("arguments").filter(|list| list.kind() == "argument_list") else {
        return Vec::new();
    };
    let mut cursor = list.walk();
    let given =
        list.named_children(&mut cursor).filter(|child| !matches!(child.kind(), "keyword_argument" | "comment"));
    given.collect()
}

/// The argument of a call that is given by name.
pub fn named_argument<'t>(call: Node<'t>, name: &str, text: &[u8]) -> Option<Node<'t>> {
    let list = call.child_by_field_name("arguments")?;
    let mut cursor = list.walk();
    let named = |child: &Node<'t>| {
        let known = child.child_by_field_name("name").and_then(|name| name.utf8_text(text).ok());
        child.kind() == "keyword_argument" && known == Some(name)
    };
    let found = list.named_children(&mut cursor).find(named);
    found?.child_by_field_name("value")
}
