//! `${...}` in a pipeline: puts params, matrix coordinates and results of stages in place of their names.
//!
//! A value that is one `${...}` as a whole keeps its type; inside a longer text the value's own text is put in. What is
//! no dotted path is an expression (see `expression`): `${params.epochs * 2}`.
//! References may be nested: `${params.${matrix.setting}.lr}`.
//! `$${` stands for a literal `${`. A param is put in as it is, but for references to results of stages in it.
//! Knows nothing of stages but the names of their results.

mod lookup;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::expression::{Outcome, Told, evaluate};
pub use crate::placeholders::{Part, refers_to_results, split};
use crate::placeholders::{is_part_of_name, is_path};
use crate::problem::{Problem, Problems, Span, did_you_mean, suggest};
use crate::yaml::{Node, Value};

use lookup::Lookup;

/// The value of a cell on one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinate {
    /// The axis.
    pub axis: Arc<str>,
    /// A single value: what the node's name shows, and `${matrix.AXIS}` stands for.
    pub value: Node,
    /// A mapping: what `${matrix.AXIS.NAME}` stands for.
    pub attributes: Option<Arc<Node>>,
}

/// What names mean at one place of a pipeline.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    params: &'a Arc<Node>,
    matrix: Option<&'a [Coordinate]>,
    later: Option<&'a Later<'a>>,
    results: Results<'a>,
    /// Params within params that are being put in.
    depth: usize,
}

/// What stands for `${stages.tune.outputs.settings.lr}`.
#[derive(Clone, Copy)]
pub enum Results<'a> {
    /// Nothing may: what stands here decides which nodes there are, or how they are connected.
    Refused,
    /// [`Value::Awaited`]; what is asked for is noted.
    Noted(&'a RefCell<Vec<Awaited>>),
    /// These values, by reference.
    Known(&'a BTreeMap<String, Value>),
}

/// A result of a stage that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Awaited {
    /// The reference without `${` and `}`, all that was nested in it put in.
    pub reference: String,
    /// Where it is used, and where it was written. It has no value.
    pub at: Node,
}

/// Params that name each other deeper than this go round in a circle.
const DEPTH_MAX: usize = 16;

/// Names of a command's own artifacts: `${inputs.x}` and `${outputs.y}` stand for paths that are not known yet.
#[derive(Debug)]
pub struct Later<'a> {
    /// Names under `inputs:`.
    pub inputs: Vec<&'a str>,
    /// Names under `outputs:`.
    pub outputs: Vec<&'a str>,
}

impl<'a> Scope<'a> {
    /// The names of these params, and of the coordinates of a cell in declaration order of the axes (`None` where
    /// there is no matrix). Results of stages are refused.
    #[must_use]
    pub const fn new(params: &'a Arc<Node>, matrix: Option<&'a [Coordinate]>) -> Self {
        Self { params, matrix, later: None, results: Results::Refused, depth: 0 }
    }

    /// The same names, of which some are put in only when a command runs: until then their references stay, and every
    /// other `${` stays escaped.
    #[must_use]
    pub const fn with_later(self, later: &'a Later<'a>) -> Self {
        Self { later: Some(later), ..self }
    }

    /// The same names, and results of stages.
    #[must_use]
    pub const fn with_results(self, results: Results<'a>) -> Self {
        Self { results, ..self }
    }

    /// `node` with every reference in it replaced; what cannot be is told in `problems` and becomes [`Value::Wrong`].
    #[must_use]
    pub fn fill(&self, node: &Node, problems: &mut Problems) -> Node {
        match &node.value {
            Value::Text(text) if text.contains("${") => self.fill_text(node, text, problems),
            Value::List(items) => {
                let items = items.iter().map(|item| self.fill(item, problems)).collect();
                Node { value: Value::List(items), ..*node }
            }
            Value::Map(entries) => {
                let entries = entries.iter().map(|(k, v)| (k.clone(), self.fill(v, problems))).collect();
                Node { value: Value::Map(entries), ..*node }
            }
            _ => node.clone(),
        }
    }

    fn fill_text(&self, node: &Node, text: &str, problems: &mut Problems) -> Node {
        let wrong = Node { value: Value::Wrong, ..*node };
        let parts = match split(text) {
            Ok(parts) => parts,
            Err(message) => {
                problems.push(Problem::new(message, node.span).help("write `$${` for a literal `${`"));
                return wrong;
            }
        };
        if let [Part::Reference(path)] = parts.as_slice() {
            if self.is_later(path) {
                return if self.later_exists(path, node, problems) { node.clone() } else { wrong };
            }
            let Some(found) = self.look_up(path, node, problems) else { return wrong };
            let origin = found.origin;
            return Node { value: self.kept_value(found).value, span: node.span, origin };
        }
        let mut out = String::new();
        let mut origin = node.origin;
        let (mut ok, mut awaited) = (true, false);
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => out.push_str(&self.kept(literal)),
                Part::Reference(path) if self.is_later(path) => {
                    ok &= self.later_exists(path, node, problems);
                    out.push_str(&format!("${{{path}}}"));
                }
                Part::Reference(path) => match self.spliced(path, node, problems) {
                    Some(found) => {
                        if index == 0 {
                            origin = found.origin;
                        }
                        awaited |= found.value == Value::Awaited;
                        out.push_str(&self.kept(&found.scalar_text().unwrap_or_default()));
                    }
                    None => ok = false,
                },
            }
        }
        match (ok, awaited) {
            (true, true) => Node { value: Value::Awaited, ..*node },
            (true, false) => Node { value: Value::Text(out), span: node.span, origin },
            (false, _) => wrong,
        }
    }

    /// A value to be put inside a text, which only a single value can.
    fn spliced(&self, path: &str, node: &Node, problems: &mut Problems) -> Option<Node> {
        let found = self.look_up(path, node, problems)?;
        let fits = found.scalar_text().is_some() || found.value == Value::Awaited;
        if !fits && found.value != Value::Wrong {
            let message = format!("`${{{path}}}` is {}, which cannot stand inside a text", found.kind());
            let problem = Problem::new(message, node.span).also(found.origin, "its value");
            problems.push(problem.help("only a single value can; a text that is one `${...}` as a whole takes any"));
        }
        Some(found).filter(|_| fits)
    }

    /// Text that comes to stand in the result: escaped as long as references are left in it.
    fn kept(&self, text: &str) -> String {
        if self.later.is_some() { text.replace("${", "$${") } else { text.to_owned() }
    }

    fn kept_value(&self, node: Node) -> Node {
        let value = match node.value {
            Value::Text(text) => Value::Text(self.kept(&text)),
            Value::List(items) => Value::List(items.into_iter().map(|item| self.kept_value(item)).collect()),
            value => value,
        };
        Node { value, ..node }
    }

    fn is_later(&self, path: &str) -> bool {
        self.later.is_some() && matches!(path.split('.').next(), Some("inputs" | "outputs"))
    }

    fn later_exists(&self, path: &str, node: &Node, problems: &mut Problems) -> bool {
        let Some(later) = self.later else { return false };
        let (first, name) = path.split_once('.').unwrap_or((path, ""));
        let known = if first == "inputs" { &later.inputs } else { &later.outputs };
        let there = known.contains(&name);
        if !there {
            let what = first.trim_end_matches('s');
            let help = suggest(name, first, known.iter().copied());
            problems.push(Problem::new(format!("this command has no {what} `{name}`"), node.span).help(help));
        }
        there
    }

    fn look_up(&self, inner: &str, at: &Node, problems: &mut Problems) -> Option<Node> {
        let plain = Scope { later: None, results: Results::Refused, ..*self };
        let nested = inner.contains("${");
        let shape = if nested { Cow::Owned(without_nested(inner)) } else { Cow::Borrowed(inner) };
        if is_path(&shape) {
            if !nested {
                return self.look_up_path(inner, at, problems);
            }
            let path = plain.fill_text(at, inner, problems);
            let path = path.scalar_text().filter(|path| !path.contains("${"))?;
            return self.look_up_path(&path, at, problems);
        }
        let expression = if nested { plain.with_names(inner, at, problems)? } else { inner.to_owned() };
        self.compute(&expression, at, problems)
    }

    /// An expression with the references in it put in, which must be parts of names.
    fn with_names(&self, inner: &str, at: &Node, problems: &mut Problems) -> Option<String> {
        let mut out = String::new();
        for part in split(inner).ok()? {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Reference(nested) => {
                    let found = self.look_up(nested, at, problems)?;
                    let text = found.scalar_text().filter(|text| is_part_of_name(text));
                    let Some(text) = text else {
                        let shown = found.scalar_text().unwrap_or_else(|| found.kind().to_owned());
                        let message = format!("`${{{nested}}}` is `{shown}`, which is no part of a name");
                        let help = format!("outside names an expression takes it without `${{}}`: `{nested}`");
                        problems.push(Problem::new(message, at.span).help(help));
                        return None;
                    };
                    out.push_str(&text);
                }
            }
        }
        Some(out)
    }

    fn compute(&self, expression: &str, at: &Node, problems: &mut Problems) -> Option<Node> {
        let (noted, told) = (RefCell::default(), RefCell::default());
        let results = match self.results {
            Results::Noted(_) => Results::Noted(&noted),
            others => others,
        };
        let names = Lookup { scope: Scope { later: None, results, ..*self }, at, told: &told };
        match evaluate(expression, at, &names) {
            Outcome::Value(node) => Some(node),
            Outcome::Awaited => {
                if let Results::Noted(all) = self.results {
                    all.borrow_mut().append(&mut noted.borrow_mut());
                }
                Some(Node { value: Value::Awaited, ..*at })
            }
            Outcome::Wrong => {
                problems.extend(told.into_inner());
                None
            }
            Outcome::Problem((message, help)) => {
                problems.push(at.problem(message).help(help));
                None
            }
        }
    }

    fn look_up_path(&self, path: &str, at: &Node, problems: &mut Problems) -> Option<Node> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let result = match first {
            "params" => self.param(rest, &mut |_| ()).map(|found| self.param_value(found, at.span, problems)),
            // An attribute may refer to results, as a param may.
            "matrix" if rest.contains('.') => {
                self.coordinate(rest).map(|found| self.param_value(&found, at.span, problems))
            }
            "matrix" => self.coordinate(rest),
            "stages" => self.result(path, at),
            "inputs" | "outputs" => Err((
                format!("`${{{path}}}` is a path that only a command knows, while it runs"),
                "connect stages under `inputs:`, as in `model: original.model`".to_owned(),
            )),
            _ => {
                let near = did_you_mean(first, ["params", "matrix", "stages"]);
                let help = "names begin with `params.`, `matrix.` or `stages.`, as in `${params.epochs}`";
                Err((
                    format!("`${{{path}}}` begins with an unknown name"),
                    near.map_or_else(|| help.to_owned(), |near| format!("{near} {help}")),
                ))
            }
        };
        match result {
            Ok(node) => Some(node),
            Err((message, help)) => {
                problems.push(at.problem(message).help(help));
                None
            }
        }
    }

    /// What stands for a result of a stage.
    fn result(&self, reference: &str, at: &Node) -> Result<Node, Told> {
        let value = match self.results {
            Results::Refused => {
                return Err((
                    format!("`${{{reference}}}` is known only when that stage has run, and is used here before"),
                    "it may stand as a value, or in one, under `with:` and in `command:`".to_owned(),
                ));
            }
            Results::Noted(noted) => {
                let at = Node { value: Value::Null, ..*at };
                noted.borrow_mut().push(Awaited { reference: reference.to_owned(), at });
                Value::Awaited
            }
            Results::Known(values) => values.get(reference).cloned().ok_or_else(|| {
                // All that is asked for was noted before, and read.
                let message = format!("`${{{reference}}}` was not asked for before, which is a bug");
                (message, "please report it with the pipeline".to_owned())
            })?,
        };
        Ok(Node { value, ..*at })
    }

    /// A param as it is put in at `span`: in texts that refer to results of stages, these are put in.
    fn param_value(&self, param: &Node, span: Span, problems: &mut Problems) -> Node {
        let value = match &param.value {
            Value::Text(text) if refers_to_results(text) => {
                let here = Node { value: Value::Null, span, origin: param.origin };
                if self.depth == DEPTH_MAX {
                    let problem = here.problem("params name each other in a circle");
                    problems.push(problem.help("give one of them a plain value"));
                    return Node { value: Value::Wrong, ..here };
                }
                let inner = Scope { later: None, depth: self.depth + 1, ..*self };
                return inner.fill_text(&here, text, problems);
            }
            Value::List(items) => {
                Value::List(items.iter().map(|item| self.param_value(item, item.span, problems)).collect())
            }
            Value::Map(entries) => {
                let value = |node: &Node, problems: &mut Problems| self.param_value(node, node.span, problems);
                Value::Map(entries.iter().map(|(key, node)| (key.clone(), value(node, problems))).collect())
            }
            value => value.clone(),
        };
        Node { value, ..*param }
    }
}

/// A reference with `x` in the place of every one that is nested in it: its shape.
fn without_nested(inner: &str) -> String {
    let part = |part: &Part<'_>| match part {
        Part::Literal(literal) => (*literal).to_owned(),
        Part::Reference(_) => "x".to_owned(),
    };
    // What is wrong with it is told where it is filled.
    split(inner).map_or_else(|_| "x".to_owned(), |parts| parts.iter().map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn fill(params: &str, text: &str) -> Result<Node, Problems> {
        let params = Arc::new(parse(params).unwrap());
        let matrix = [Coordinate { axis: "class".into(), value: parse("3").unwrap(), attributes: None }];
        let scope = Scope::new(&params, Some(&matrix));
        let mut problems = Problems::default();
        let filled = scope.fill(&parse(text).unwrap(), &mut problems);
        problems.into_result(filled)
    }

    fn fill_command(params: &str, text: &str) -> Result<Node, Problems> {
        let params = Arc::new(parse(params).unwrap());
        let later = Later { inputs: vec!["x"], outputs: vec!["y"] };
        let scope = Scope::new(&params, None).with_later(&later);
        let mut problems = Problems::default();
        let filled = scope.fill(&Node::new(Value::Text(text.to_owned()), Span::file(0, 0)), &mut problems);
        problems.into_result(filled)
    }

    /// What a command sees of `text` once its paths are put in.
    fn told_later(text: &str) -> String {
        let path = |part: &Part<'_>| match part {
            Part::Literal(literal) => (*literal).to_owned(),
            Part::Reference(path) => format!("<{path}>"),
        };
        split(text).unwrap().iter().map(path).collect()
    }

    #[test]
    fn a_whole_reference_keeps_its_type_and_a_spliced_one_becomes_text() {
        assert_eq!(fill("a: {lr: 1e-4}", "'${params.a.lr}'").unwrap().value, Value::Float(1e-4));
        assert_eq!(fill("c3: {lr: 5}", "'${params.c${matrix.class}.lr}'").unwrap().value, Value::Int(5));
        assert_eq!(fill("a: 7", "'x-${params.a}-${matrix.class}'").unwrap().value, Value::Text("x-7-3".into()));
        assert_eq!(fill("a: [1, 2]", "'${params.a}'").unwrap().kind(), "a list");
        assert_eq!(fill("a: 1", "'$${params.a}'").unwrap().value, Value::Text("${params.a}".into()));
    }

    #[test]
    fn a_command_keeps_its_own_references_and_nothing_else_turns_into_one() {
        for (params, text, seen) in [
            ("a: 1", "cat ${inputs.x} ${params.a}", "cat <inputs.x> 1"),
            ("a: 1", "${outputs.y}", "<outputs.y>"),
            ("a: 1", "echo $${HOME} ${inputs.x}", "echo ${HOME} <inputs.x>"),
            ("a: '${inputs.x}'", "echo ${params.a}", "echo ${inputs.x}"),
            ("a: '${inputs.x}'", "${params.a}", "${inputs.x}"),
            ("a: '$${'", "x${params.a}", "x$${"),
        ] {
            let filled = fill_command(params, text).unwrap();
            assert_eq!(told_later(&filled.scalar_text().unwrap()), seen, "{text}");
        }
        let problems = fill_command("a: 1", "cat ${inputs.xx}").unwrap_err();
        assert_eq!(problems.iter().next().unwrap().help.as_deref(), Some("did you mean `x`?"));
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is_near() {
        let problems = fill("epochs: 1", "'${params.epoch}'").unwrap_err();
        assert_eq!(problems.iter().next().unwrap().help.as_deref(), Some("did you mean `epochs`?"));
        for bad in [
            "'${params.x'",
            "'${params.${matrix.clas}.x}'",
            "'${}'",
            "'${env.HOME}'",
            "'${matrix.clas}'",
            "'${params.epochs.x}'",
        ] {
            assert_eq!(fill("epochs: 1", bad).unwrap_err().iter().count(), 1, "{bad}");
        }
    }
}
