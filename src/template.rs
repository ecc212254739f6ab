//! `${...}` in a pipeline: puts params and matrix coordinates in place of their names.
//!
//! A value that is one `${...}` as a whole keeps its type; inside a longer text the value's own text is put in.
//! `$${` stands for a literal `${`. Knows nothing of stages.

use crate::problem::{Problem, Problems, suggest};
use crate::yaml::{Node, Value};

/// What names mean at one place of a pipeline.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The pipeline's params.
    pub params: &'a Node,
    /// Coordinates of the cell, in declaration order of the axes; `None` where there is no matrix.
    pub matrix: Option<&'a [(String, Node)]>,
    /// First words that are left as they are, to be put in when a command runs (`inputs`, `outputs`).
    pub later: &'a [&'a str],
}

impl Scope<'_> {
    /// `node` with every reference in it replaced; problems go to `problems` and leave the text as it was.
    #[must_use]
    pub fn fill(&self, node: &Node, problems: &mut Problems) -> Node {
        let mut filled = match &node.value {
            Value::Text(text) if text.contains("${") => self.fill_text(node, text, problems),
            Value::List(items) => {
                let items = items.iter().map(|item| self.fill(item, problems)).collect();
                Node { value: Value::List(items), ..node.clone() }
            }
            Value::Map(entries) => {
                let entries = entries.iter().map(|(k, v)| (k.clone(), self.fill(v, problems))).collect();
                Node { value: Value::Map(entries), ..node.clone() }
            }
            _ => node.clone(),
        };
        filled.span = node.span;
        filled
    }

    fn fill_text(&self, node: &Node, text: &str, problems: &mut Problems) -> Node {
        let parts = match split(text) {
            Ok(parts) => parts,
            Err(message) => {
                problems.push(Problem::new(message, node.span).help("write `$${` for a literal `${`"));
                return node.clone();
            }
        };
        if let [Part::Reference(path)] = parts.as_slice() {
            if self.is_later(path) {
                return node.clone();
            }
            return self.look_up(path, node, problems).unwrap_or_else(|| node.clone());
        }
        let mut out = String::new();
        let mut from_command_line = node.from_command_line;
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Reference(path) if self.is_later(path) => out.push_str(&format!("${{{path}}}")),
                Part::Reference(path) => {
                    let Some(found) = self.look_up(path, node, problems) else { continue };
                    let Some(text) = found.scalar_text() else {
                        let message = format!("`${{{path}}}` is {}, which cannot stand inside a text", found.kind());
                        problems.push(Problem::new(message, node.span));
                        continue;
                    };
                    from_command_line |= index == 0 && found.from_command_line;
                    out.push_str(&text);
                }
            }
        }
        Node { value: Value::Text(out), span: node.span, from_command_line }
    }

    fn is_later(&self, path: &str) -> bool {
        let first = path.split('.').next().unwrap_or(path);
        self.later.contains(&first)
    }

    fn look_up(&self, path: &str, at: &Node, problems: &mut Problems) -> Option<Node> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let result = match first {
            "params" => self.param(rest),
            "matrix" => self.coordinate(rest),
            _ => Err((
                format!("`${{{path}}}` begins with an unknown name"),
                "names begin with `params.` or `matrix.`, as in `${params.epochs}`".to_owned(),
            )),
        };
        match result {
            Ok(node) => Some(node),
            Err((message, help)) => {
                problems.push(Problem::new(message, at.span).help(help));
                None
            }
        }
    }

    fn param(&self, path: &str) -> Result<Node, (String, String)> {
        let mut node = self.params;
        for part in path.split('.') {
            let Value::Map(entries) = &node.value else {
                return Err((
                    format!("`params.{path}`: {} has no `{part}`", node.kind()),
                    "shorten the path".to_owned(),
                ));
            };
            node = node.get(part).ok_or_else(|| {
                let known = entries.iter().map(|(k, _)| k.text.as_str());
                (format!("unknown param `params.{path}`"), suggest(part, "declared", known))
            })?;
        }
        Ok(node.clone())
    }

    fn coordinate(&self, axis: &str) -> Result<Node, (String, String)> {
        let Some(coordinates) = self.matrix else {
            return Err((format!("`matrix.{axis}`: there is no matrix here"), "add `matrix:` to the stage".to_owned()));
        };
        coordinates.iter().find(|(name, _)| name == axis).map(|(_, value)| value.clone()).ok_or_else(|| {
            let known = coordinates.iter().map(|(name, _)| name.as_str());
            (format!("unknown matrix axis `{axis}`"), suggest(axis, "axes", known))
        })
    }
}

/// A piece of a text with references.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text as it is.
    Literal(&'a str),
    /// The path between `${` and `}`.
    Reference(&'a str),
}

/// Splits a text at its references.
///
/// # Errors
/// A `${` without its `}`, or with nothing between them.
pub fn split(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${` is a literal: keep the first `$` out and the rest in.
            if at > 1 {
                parts.push(Part::Literal(&rest[..at - 1]));
            }
            parts.push(Part::Literal(&rest[at..at + 2]));
            rest = &rest[at + 2..];
            continue;
        }
        if at > 0 {
            parts.push(Part::Literal(&rest[..at]));
        }
        let inner = &rest[at + 2..];
        let end = inner.find('}').ok_or_else(|| "`${` without its `}`".to_owned())?;
        let path = inner[..end].trim();
        if path.is_empty() {
            return Err("`${}` names nothing".to_owned());
        }
        parts.push(Part::Reference(path));
        rest = &inner[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn fill(params: &str, text: &str) -> Result<Node, Problems> {
        let params = parse(params).unwrap();
        let matrix = [("class".to_owned(), parse("3").unwrap())];
        let scope = Scope { params: &params, matrix: Some(&matrix), later: &["inputs"] };
        let mut problems = Problems::default();
        let filled = scope.fill(&parse(text).unwrap(), &mut problems);
        problems.into_result(filled)
    }

    #[test]
    fn a_whole_reference_keeps_its_type_and_a_spliced_one_becomes_text() {
        assert_eq!(fill("a: {lr: 1e-4}", "'${params.a.lr}'").unwrap().value, Value::Float(1e-4));
        assert_eq!(fill("a: 7", "'x-${params.a}-${matrix.class}'").unwrap().value, Value::Text("x-7-3".into()));
        assert_eq!(fill("a: [1, 2]", "'${params.a}'").unwrap().kind(), "a list");
        assert_eq!(fill("a: 1", "'$${params.a}'").unwrap().value, Value::Text("${params.a}".into()));
        assert_eq!(fill("a: 1", "'cat ${inputs.x}'").unwrap().value, Value::Text("cat ${inputs.x}".into()));
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is_near() {
        let problems = fill("epochs: 1", "'${params.epoch}'").unwrap_err();
        assert_eq!(problems.iter().next().unwrap().help.as_deref(), Some("did you mean `epochs`?"));
        for bad in ["'${params.x'", "'${}'", "'${env.HOME}'", "'${matrix.clas}'", "'${params.epochs.x}'"] {
            assert_eq!(fill("epochs: 1", bad).unwrap_err().iter().count(), 1, "{bad}");
        }
    }
}
