//! What names stand for: params, coordinates and their attributes by dotted paths, for texts and for expressions.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Coordinate, Scope};
use crate::expression::{Looked, Names, Told};
use crate::problem::{Problems, suggest};
use crate::yaml::{Key, Node, Value};

impl<'a> Scope<'a> {
    /// A param; `step_to` hears the way to it.
    pub(super) fn param(&self, path: &str, step_to: &mut dyn FnMut(usize)) -> Result<&'a Node, Told> {
        walk(self.params, path, step_to, &|known| match known {
            Ok((part, known)) => (format!("unknown param `params.{path}`"), suggest(part, "params", known)),
            Err((part, kind)) => (format!("`params.{path}`: {kind} has no `{part}`"), "shorten the path".to_owned()),
        })
    }

    /// A coordinate, or an attribute of one.
    pub(super) fn coordinate(&self, path: &str) -> Result<Node, Told> {
        let (axis, attribute) = path.split_once('.').map_or((path, None), |(axis, rest)| (axis, Some(rest)));
        let found = self.axis(axis)?;
        match (attribute, &found.attributes) {
            (None, _) => Ok(found.value.clone()),
            (Some(attribute), Some(attributes)) => Self::attribute(found, attributes, attribute, &mut |_| ()).cloned(),
            (Some(attribute), None) => Err((
                format!("`matrix.{path}`: the values of the axis `{axis}` are single ones, without attributes"),
                format!("give them some: `{axis}: {{first: {{{attribute}: ...}}, second: {{{attribute}: ...}}}}`"),
            )),
        }
    }

    fn axis(&self, axis: &str) -> Result<&'a Coordinate, Told> {
        let Some(coordinates) = self.matrix else {
            return Err((format!("`matrix.{axis}`: there is no matrix here"), "add `matrix:` to the stage".to_owned()));
        };
        // Which axes a `zip` or `sweep` would have given cannot be told when something is wrong with it.
        let untold =
            |known: &&Coordinate| known.value.value == Value::Wrong && ["zip", "sweep"].contains(&&*known.axis);
        let found = coordinates.iter().find(|known| *known.axis == *axis);
        found.or_else(|| coordinates.iter().find(untold)).ok_or_else(|| {
            let mut help = suggest(axis, "axes", coordinates.iter().map(|known| &*known.axis));
            if coordinates.iter().any(|known| known.attributes.is_some()) {
                help.push_str(&format!("; for cells without it: `${{matrix.{axis} | default(0)}}`"));
            }
            (format!("unknown matrix axis `{axis}`"), help)
        })
    }

    fn attribute<'n>(
        of: &Coordinate,
        attributes: &'n Node,
        path: &str,
        step_to: &mut dyn FnMut(usize),
    ) -> Result<&'n Node, Told> {
        let value = of.value.scalar_text().unwrap_or_default();
        walk(attributes, path, step_to, &|known| match known {
            Ok((part, known)) => {
                let message = format!("`matrix.{}` is `{value}`, which has no attribute `{path}`", of.axis);
                (message, suggest(part, "attributes", known))
            }
            Err((part, kind)) => {
                let message = format!("`matrix.{}.{path}`: {kind} has no `{part}`", of.axis);
                (message, "shorten the path".to_owned())
            }
        })
    }
}

/// What is not there at a step of a path: a field, with those that are; or anything at all, below this kind of value.
type NotThere<'w> = Result<(&'w str, Vec<&'w str>), (&'w str, &'static str)>;

/// The value at a dotted path; `step_to` hears the number of the item at every step. Something wrong ends it.
fn walk<'n>(
    root: &'n Node,
    path: &str,
    step_to: &mut dyn FnMut(usize),
    told: &dyn Fn(NotThere<'_>) -> Told,
) -> Result<&'n Node, Told> {
    let mut node = root;
    for part in path.split('.') {
        let (step, next) = match &node.value {
            Value::Wrong => break,
            Value::Map(entries) => match entries.iter().position(|(key, _)| key.text == part) {
                Some(step) => (step, &entries[step].1),
                None => {
                    let known: Vec<&str> = entries.iter().map(|(key, _)| key.text.as_str()).collect();
                    let minus = part.split_once('-').is_some_and(|(before, _)| known.contains(&before));
                    let (message, help) = told(Ok((part, known)));
                    let help =
                        if minus { "a minus has spaces around it, or it belongs to the name".to_owned() } else { help };
                    return Err((message, help));
                }
            },
            Value::List(items) => match part.parse::<usize>().ok().and_then(|step| Some((step, items.get(step)?))) {
                Some(found) => found,
                None => return Err(told(Err((part, node.kind())))),
            },
            _ => return Err(told(Err((part, node.kind())))),
        };
        step_to(step);
        node = next;
    }
    Ok(node)
}

/// The names that an expression may use.
pub(super) struct Lookup<'l> {
    pub(super) scope: Scope<'l>,
    /// The text with the expression.
    pub(super) at: &'l Node,
    /// What is wrong with what was looked up.
    pub(super) told: &'l RefCell<Problems>,
}

impl Lookup<'_> {
    fn of_value(node: Node) -> Looked {
        match node.value {
            Value::Wrong => Looked::Wrong,
            Value::Awaited => Looked::Awaited,
            Value::List(_) | Value::Map(_) => Looked::Tree(Arc::new(node), Vec::new()),
            _ => Looked::Value(node),
        }
    }

    fn in_tree(&self, root: &Arc<Node>, steps: Vec<usize>, found: Result<&Node, Told>) -> Looked {
        match found {
            Err(told) => Looked::Missing(told),
            Ok(Node { value: Value::List(_) | Value::Map(_), .. }) => Looked::Tree(Arc::clone(root), steps),
            Ok(node) => Self::of_value(self.settled(node)),
        }
    }

    fn matrix(&self, path: &str) -> Looked {
        let (axis, attribute) = path.split_once('.').map_or((path, None), |(axis, rest)| (axis, Some(rest)));
        let found = match self.scope.axis(axis) {
            Ok(found) => found,
            Err(told) => return Looked::Missing(told),
        };
        match (attribute, &found.attributes) {
            (Some(attribute), Some(attributes)) => {
                let mut steps = Vec::new();
                let node = Scope::attribute(found, attributes, attribute, &mut |step| steps.push(step));
                self.in_tree(attributes, steps, node)
            }
            _ => self.scope.coordinate(path).map_or_else(Looked::Missing, Self::of_value),
        }
    }

    /// All coordinates, as a mapping.
    fn whole_matrix(&self) -> Looked {
        let Some(coordinates) = self.scope.matrix else {
            return Looked::Missing((
                "`matrix`: there is no matrix here".to_owned(),
                "add `matrix:` to the stage".to_owned(),
            ));
        };
        let entry =
            |known: &Coordinate| (Key { text: known.axis.to_string(), span: known.value.span }, known.value.clone());
        let value = Value::Map(coordinates.iter().map(entry).collect());
        Looked::Tree(Arc::new(Node { value, ..*self.at }), Vec::new())
    }
}

impl Names for Lookup<'_> {
    fn look_up(&self, path: &str) -> Looked {
        match path.split_once('.').unwrap_or((path, "")) {
            ("params", "") => Looked::Tree(Arc::clone(self.scope.params), Vec::new()),
            ("params", rest) => {
                let mut steps = Vec::new();
                let node = self.scope.param(rest, &mut |step| steps.push(step));
                self.in_tree(self.scope.params, steps, node)
            }
            ("matrix", "") => self.whole_matrix(),
            ("matrix", rest) => self.matrix(rest),
            ("stages", "") => Looked::Refused((
                "`stages` names no output of a stage".to_owned(),
                "write `stages.STAGE.outputs.OUTPUT.FIELD`".to_owned(),
            )),
            _ => self.scope.result(path, self.at).map_or_else(Looked::Refused, Self::of_value),
        }
    }

    fn settled(&self, param: &Node) -> Node {
        self.scope.param_value(param, self.at.span, &mut self.told.borrow_mut())
    }
}
