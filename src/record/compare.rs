//! Two runs side by side: params, metrics, nodes that only one of them has, and in which fields the keys of the others
//! differ.

use std::collections::{BTreeMap, BTreeSet};

use pru_flow_cache::{ActionKey, ActionResult, Difference, LocalStore, Store, StoreError};
use rayon::prelude::*;
use serde_json::{Number, Value};

use super::metrics;
use super::read::{NodeEnd, Run, RunNode};

/// A value in both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `relearn.lr` of a param, `train[seed=7]:metrics.loss` of a metric.
    pub name: String,
    /// In the first run.
    pub before: Option<Value>,
    /// In the second.
    pub after: Option<Value>,
}

/// A node whose key differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The node.
    pub node: String,
    /// In which fields, or why that is not known.
    pub fields: Result<Vec<Difference>, String>,
}

/// Two runs side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Params, by name.
    pub params: Vec<Row>,
    /// Metrics, by name.
    pub metrics: Vec<Row>,
    /// Nodes whose key differs, in the order of the second run.
    pub keys: Vec<KeyChange>,
    /// Nodes that only the first run has.
    pub only_before: Vec<String>,
    /// Nodes that only the second run has.
    pub only_after: Vec<String>,
}

/// Compares two runs. Of values only those that differ, or `all`.
///
/// # Errors
/// When the store cannot be read.
pub fn compare(before: &Run, after: &Run, store: Option<&LocalStore>, all: bool) -> Result<Comparison, StoreError> {
    let (old, new) = (by_name(before), by_name(after));
    let key = |nodes: &ByName, name: &str| nodes.get(name).and_then(|node| node.key);
    // Nodes of one key have the same metrics: these need not be read to know that.
    let read = |node: &&RunNode| all || key(&old, &node.name) != key(&new, &node.name);
    let results = read_results(before.nodes.iter().chain(&after.nodes).filter(read), store)?;
    let mut keys = Vec::new();
    for node in &after.nodes {
        if let Some(earlier) = old.get(node.name.as_str()).filter(|earlier| earlier.key != node.key) {
            keys.push(KeyChange { node: node.name.clone(), fields: fields(earlier, node, &results) });
        }
    }
    let measured: Measured = match store {
        Some(store) => results.par_iter().map(|(key, result)| (*key, metrics::of(store, result))).collect(),
        None => Measured::new(),
    };
    let only = |run: &Run, other: &ByName| {
        let missing = run.nodes.iter().filter(|node| !other.contains_key(node.name.as_str()));
        missing.map(|node| node.name.clone()).collect()
    };
    Ok(Comparison {
        params: rows(params_of(&before.params), params_of(&after.params), all),
        metrics: rows(metrics_of(before, &measured), metrics_of(after, &measured), all),
        keys,
        only_before: only(before, &new),
        only_after: only(after, &old),
    })
}

type ByName<'a> = BTreeMap<&'a str, &'a RunNode>;
type Results = BTreeMap<ActionKey, ActionResult>;
type Measured = BTreeMap<ActionKey, BTreeMap<String, Number>>;

fn by_name(run: &Run) -> ByName<'_> {
    run.nodes.iter().map(|node| (node.name.as_str(), node)).collect()
}

/// The results of nodes, as far as the store has them.
///
/// # Errors
/// When it cannot be read.
pub fn read_results<'a>(
    nodes: impl Iterator<Item = &'a RunNode>,
    store: Option<&LocalStore>,
) -> Result<BTreeMap<ActionKey, ActionResult>, StoreError> {
    let Some(store) = store else { return Ok(Results::new()) };
    let keys: Vec<ActionKey> = nodes.filter_map(|node| node.key).collect::<BTreeSet<_>>().into_iter().collect();
    let found: Vec<Option<ActionResult>> = keys
        .par_iter()
        .map(|key| Ok(store.get_results(&[*key])?.pop().flatten()))
        .collect::<Result<_, StoreError>>()?;
    Ok(found.into_iter().flatten().map(|result| (result.key, result)).collect())
}

/// In which fields the actions of a node differ.
fn fields(before: &RunNode, after: &RunNode, results: &Results) -> Result<Vec<Difference>, String> {
    let action = |node: &RunNode, run: &str| {
        let result = node.key.and_then(|key| results.get(&key));
        result.map(|result| &result.action).ok_or_else(|| match (node.key, node.end) {
            (None, _) => format!("it had no key in the {run} run"),
            (_, NodeEnd::Failed) => format!("it failed in the {run} run, which leaves no record to compare"),
            _ => format!("the record of the {run} run is not in the store any more"),
        })
    };
    Ok(action(before, "first")?.diff(action(after, "second")?))
}

/// Params by dotted path, those of imports below the import's name; a list is one value.
#[must_use]
pub fn params_of(params: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (import, params) in params {
        flatten(import, params, &mut flat);
    }
    flat
}

fn flatten(path: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() || path.is_empty() => {
            for (name, inner) in fields {
                flatten(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, inner, flat);
            }
        }
        other => drop(flat.insert(path.to_owned(), other.clone())),
    }
}

fn metrics_of(run: &Run, measured: &Measured) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for node in &run.nodes {
        let metrics = node.key.and_then(|key| measured.get(&key));
        for (name, number) in metrics.into_iter().flatten() {
            all.insert(format!("{}:{name}", node.name), Value::Number(number.clone()));
        }
    }
    all
}

fn rows(mut before: BTreeMap<String, Value>, mut after: BTreeMap<String, Value>, all: bool) -> Vec<Row> {
    let names: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    let rows = names.into_iter().map(|name| {
        let (before, after) = (before.remove(&name), after.remove(&name));
        Row { name, before, after }
    });
    rows.filter(|row| all || row.before != row.after).collect()
}

impl Row {
    /// The difference of two numbers, with its sign.
    #[must_use]
    pub fn change(&self) -> Option<String> {
        let (before, after) = (self.before.as_ref()?, self.after.as_ref()?);
        if let (Some(before), Some(after)) = (before.as_i64(), after.as_i64()) {
            return Some(format!("{:+}", i128::from(after) - i128::from(before)));
        }
        let change = after.as_f64()? - before.as_f64()?;
        // More digits would show what rounding does, and nothing else.
        let digits = match change.abs() {
            size if !(1e-4..1e6).contains(&size) => return Some(format!("{change:+.3e}")),
            size => (5.0 - size.log10().floor()).clamp(0.0, 9.0) as usize,
        };
        let text = format!("{change:+.digits$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn params_are_flat_by_dotted_path_and_lists_are_one_value() {
        let params = BTreeMap::from([
            (String::new(), json!({"lr": 0.1, "a": {"b": [1, 2], "c": {}}})),
            ("paper".to_owned(), json!({"lr": 1})),
        ]);
        let flat = params_of(&params);
        let expected = [("a.b", json!([1, 2])), ("a.c", json!({})), ("lr", json!(0.1)), ("paper.lr", json!(1))];
        assert_eq!(flat, expected.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(params_of(&BTreeMap::from([(String::new(), json!({}))])), BTreeMap::new());
    }

    #[test]
    fn only_what_differs_is_a_row_unless_all_is_asked_for() {
        let of = |pairs: &[(&str, i64)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
        let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) = (of(&[("a", 1), ("b", 2)]), of(&[("b", 3), ("c", 4)]));
        let names = |rows: Vec<Row>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(rows(before.clone(), after.clone(), false)), ["a", "b", "c"]);
        assert_eq!(names(rows(before.clone(), before.clone(), false)), Vec::<String>::new());
        assert_eq!(names(rows(before.clone(), before, true)), ["a", "b"]);
    }

    #[test]
    fn a_change_has_a_sign_and_no_digits_of_rounding() {
        let change = |before: Value, after: Value| {
            Row { name: String::new(), before: Some(before), after: Some(after) }.change()
        };
        for (before, after, expected) in [
            (json!(1), json!(3), "+2"),
            (json!(3), json!(1), "-2"),
            (json!(0.3), json!(0.1), "-0.2"),
            (json!(98.2), json!(12), "-86.2"),
            (json!(0.0001), json!(0.0003), "+0.0002"),
            (json!(1e-7), json!(3e-7), "+2.000e-7"),
            (json!(1e9), json!(3e9), "+2.000e9"),
            (json!(0.5), json!(0.5), "+0.000e0"),
            (json!(100.0), json!(300.0), "+200"),
        ] {
            assert_eq!(change(before, after).as_deref(), Some(expected));
        }
        assert_eq!(change(json!("a"), json!(1)), None);
    }
}
