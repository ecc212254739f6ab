//! Values in the JSON outputs of finished nodes, and the work of nodes that wait for such values. Also the bytes of any
//! stored output. Reads the store; changes nothing and runs nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use pru_flow_cache::{ActionResult, LocalStore, Output as StoredOutput, OutputFile, Store, Verdict};
use serde_json::Value as Json;

use crate::diverged;
use crate::graph::{Described, Graph, NeededResult, NodeId, Work};
use crate::problem::{Problem, Problems, suggest};
use crate::written::settle;
use crate::yaml::{Node, Value};

/// A value that a node was given by another one.
#[derive(Clone, Debug)]
pub struct KnownValue {
    /// As it is named in the pipeline: `stages.tune.outputs.settings.lr`.
    pub reference: String,
    /// Where that stands.
    pub at: Node,
    /// The node that made it.
    pub producer: NodeId,
    /// The output that holds it.
    pub output: String,
    /// The value.
    pub value: Value,
}

/// Why the work of a node is not known.
#[derive(Clone, Debug)]
pub enum Unknown {
    /// This node has no result yet.
    Waits(NodeId),
    /// The stored output of this node is missing or damaged.
    Damaged(NodeId),
    /// The values do not fit.
    Wrong(Problems),
}

/// What a node does, with the values that it depends on.
///
/// # Errors
/// When they are not there, or do not fit.
pub fn describe<'g>(
    graph: &'g Graph,
    id: NodeId,
    results: &[Option<Arc<ActionResult>>],
    store: Option<&LocalStore>,
) -> Result<(Cow<'g, Described>, Vec<KnownValue>), Unknown> {
    let described = &graph.nodes[id].described;
    let Work::Waiting(waiting) = &described.work else { return Ok((Cow::Borrowed(described), Vec::new())) };
    let mut known = Vec::with_capacity(waiting.results.len());
    let mut problems = Problems::default();
    for needed in &waiting.results {
        let (Some(result), Some(store)) = (&results[needed.producer], store) else {
            return Err(Unknown::Waits(needed.producer));
        };
        match read_value(graph, needed, store, result) {
            Ok(value) => known.push(value),
            Err(Unread::Damaged) => return Err(Unknown::Damaged(needed.producer)),
            Err(Unread::Problem(problem)) => problems.push(problem),
        }
    }
    let values: BTreeMap<String, Value> =
        known.iter().map(|known| (known.reference.clone(), known.value.clone())).collect();
    let mut wrong = Problems::default();
    // What lacks a value would only repeat what is told of it.
    let mut described = problems.is_empty().then(|| (waiting.describe)(&values, &mut wrong)).flatten();
    if let Some(described) = described.as_mut().filter(|_| !graph.paths.is_empty()) {
        let node_of = |id: NodeId| &graph.nodes[id];
        settle((&node_of, id), described, &graph.paths, &graph.root, &mut wrong);
    }
    for problem in &wrong {
        problems.push(with_origin(problem.clone(), graph, &known));
    }
    match described {
        Some(described) if problems.is_empty() => Ok((Cow::Owned(described), known)),
        _ => Err(Unknown::Wrong(problems)),
    }
}

/// Says under the caret where a wrong value comes from.
fn with_origin(problem: Problem, graph: &Graph, known: &[KnownValue]) -> Problem {
    let is_place = |span| problem.span == Some(span) || problem.also.iter().any(|(place, _)| *place == span);
    match known.iter().find(|known| is_place(known.at.span)) {
        Some(known) if problem.label.is_none() => {
            let label = known.in_words(graph);
            problem.label(label)
        }
        _ => problem,
    }
}

impl KnownValue {
    /// `0.001, from settings of tune[setting=mnist]`.
    #[must_use]
    pub fn in_words(&self, graph: &Graph) -> String {
        let value = Node::new(self.value.clone(), self.at.span).to_json();
        format!("{value}, from {} of {}", self.output, graph.nodes[self.producer].name)
    }
}

enum Unread {
    Damaged,
    Problem(Problem),
}

fn read_value(
    graph: &Graph,
    needed: &NeededResult,
    store: &LocalStore,
    result: &ActionResult,
) -> Result<KnownValue, Unread> {
    let NeededResult { reference, at, producer, output, path } = needed;
    let what = format!("the output `{output}` of {}", graph.nodes[*producer].name);
    let wrong = |message: String, help: String| Unread::Problem(at.problem(message).help(help));
    let look = format!("look at it: `pru-flow get PIPELINE '{}:{output}' --to -`", graph.nodes[*producer].name);
    let stored = result.outputs.get(output).ok_or_else(|| wrong(format!("{what} is not there"), look.clone()))?;
    if let Some(reason) = diverged::reason(result) {
        let help = "choose settings with which it does not, or leave out what reads it".to_owned();
        return Err(wrong(format!("{what} is not there, as its training diverged ({reason})"), help));
    }
    let bytes = read_output(store, result, stored).map_err(|unreadable| match unreadable {
        Unreadable::Damaged => Unread::Damaged,
        Unreadable::Other(reason) => wrong(format!("{what} cannot be read: {reason}"), look.clone()),
    })?;
    let json: Json =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("{what} is no JSON: {error}"), look.clone()))?;
    let found = at_path(&json, path).map_err(|(message, help)| wrong(format!("{what} {message}"), help))?;
    let value = scalar(found).map_err(|kind| {
        let place = if path.is_empty() { what.clone() } else { format!("`{path}` in {what}") };
        let fields = found.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let help = match fields.clone().next() {
            Some(_) => suggest("", "fields", fields.collect::<Vec<_>>()),
            None => look.clone(),
        };
        wrong(format!("{place} is {kind}, not a single value"), help)
    })?;
    let (reference, at, output) = (reference.clone(), at.clone(), output.clone());
    Ok(KnownValue { reference, at, producer: *producer, output, value })
}

/// The value at a dotted path; numbers count the items of lists. Else what is not there, and what is near.
fn at_path<'a>(json: &'a Json, path: &str) -> Result<&'a Json, (String, String)> {
    let mut at = json;
    for part in path.split('.').filter(|_| !path.is_empty()) {
        let next = match at {
            Json::Object(map) => map.get(part),
            Json::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        at = next.ok_or_else(|| {
            let help = match at {
                Json::Object(map) => suggest(part, "fields", map.keys().map(String::as_str)),
                Json::Array(items) => format!("it is a list of {} there, counted from 0", items.len()),
                other => format!("it is `{other}` there: shorten the path"),
            };
            (format!("has no `{path}`"), help)
        })?;
    }
    Ok(at)
}

/// A single value as a pipeline would have written it; else what it is.
fn scalar(json: &Json) -> Result<Value, &'static str> {
    match json {
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Number(number) => {
            let float = || number.as_f64().filter(|value| value.is_finite() && !number.is_u64()).map(Value::Float);
            number.as_i64().map(Value::Int).or_else(float).ok_or("too large a number")
        }
        Json::Null => Err("nothing (`null`)"),
        Json::Array(_) => Err("a list"),
        Json::Object(_) => Err("a mapping"),
    }
}

/// Why a stored output cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Its bytes are missing or not what they should be: its node can make them again.
    Damaged,
    /// Another reason.
    Other(String),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged => f.write_str("the stored output is missing or damaged; run again"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// Reads the stored bytes of one output of a result.
///
/// # Errors
/// When the output is no single file, or its bytes are missing or damaged.
pub fn read_output(store: &LocalStore, result: &ActionResult, output: &StoredOutput) -> Result<Vec<u8>, Unreadable> {
    let [file] = output.files.as_slice() else { return Err(Unreadable::Other("it is a folder".to_owned())) };
    if output.folder {
        return Err(Unreadable::Other("it is a folder".to_owned()));
    }
    read_bytes(store, result, file)
}

/// Reads the stored bytes of one file of a result.
///
/// # Errors
/// When they are missing or damaged.
pub fn read_bytes(store: &LocalStore, result: &ActionResult, file: &OutputFile) -> Result<Vec<u8>, Unreadable> {
    if let Some(bytes) = result.inline.get(&file.digest) {
        return Ok(bytes.clone());
    }
    let other = |error: &dyn std::fmt::Display| Unreadable::Other(error.to_string());
    match store.verify(&file.digest).map_err(|e| other(&e))? {
        Verdict::Good => {}
        Verdict::Missing | Verdict::Damaged => return Err(Unreadable::Damaged),
    }
    let mut bytes = Vec::new();
    let mut blob = store.open_blob(&file.digest, None).map_err(|e| other(&e))?;
    blob.read_to_end(&mut bytes).map_err(|e| other(&e))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_value_is_found_along_its_path_and_anything_else_is_named() {
        let json: Json = serde_json::from_str(
            r#"{"lr": 1e-4, "n": 3, "on": true, "how": "x", "deep": {"list": [5, {"a": 6}]}, "no": null,
                "huge": 18446744073709551615, "text.dot": 1}"#,
        )
        .unwrap();
        let read = |path: &str| at_path(&json, path).map_err(|(message, _)| message).map(scalar);
        assert_eq!(read("lr"), Ok(Ok(Value::Float(1e-4))));
        assert_eq!(read("n"), Ok(Ok(Value::Int(3))));
        assert_eq!(read("on"), Ok(Ok(Value::Bool(true))));
        assert_eq!(read("how"), Ok(Ok(Value::Text("x".into()))));
        assert_eq!(read("deep.list.1.a"), Ok(Ok(Value::Int(6))));
        assert_eq!(read("deep.list"), Ok(Err("a list")));
        assert_eq!(read("no"), Ok(Err("nothing (`null`)")));
        assert_eq!(read("huge"), Ok(Err("too large a number")));
        assert_eq!(read(""), Ok(Err("a mapping")));
        for missing in ["l", "deep.list.2", "deep.list.x", "n.x", "deep.", "text.dot"] {
            assert!(read(missing).is_err(), "{missing}");
        }
        assert_eq!(at_path(&json, "lrr").unwrap_err().1, "did you mean `lr`?");
    }
}
