//! The cells of a stage's matrix: the product of its axes, less `exclude`, plus `include`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pipeline::{MatrixSpec, StageSpec};
use crate::problem::{Problem, Problems, suggest};
use crate::selector::node_name;
use crate::template::{Coordinate, Scope};
use crate::yaml::{Key, Node, Value};

/// Coordinates of one cell, in declaration order of the axes.
pub type Coordinates = Vec<Coordinate>;

/// All cells of a stage; one without coordinates when it has no matrix.
#[must_use]
pub fn cells(spec: &StageSpec, params: &Arc<Node>, problems: &mut Problems) -> Vec<Coordinates> {
    let Some(matrix) = &spec.matrix else { return vec![Vec::new()] };
    let scope = Scope::new(params, None);
    let mut cells: Vec<Coordinates> = vec![Vec::new()];
    for (axis, node) in &matrix.axes {
        cells = with_axis(&cells, axis, node, params, problems);
    }
    for item in &matrix.exclude {
        exclude(matrix, &scope.fill(item, problems), &mut cells, problems);
    }
    for item in &matrix.include {
        cells.extend(included(matrix, &scope.fill(item, problems), problems));
    }
    check_unique(spec, matrix, &cells, problems);
    if cells.is_empty() {
        let problem = Problem::new(format!("the matrix of `{}` has no cell", spec.name.text), spec.name.span);
        problems.push(problem.help("`exclude` leaves out every cell: remove one of its items"));
    }
    cells
}

/// Every cell with every value of one more axis. Its list may be that of a value on an axis before it:
/// `${params.${matrix.setting}.classes}`.
fn with_axis(
    cells: &[Coordinates],
    axis: &Key,
    node: &Node,
    params: &Arc<Node>,
    problems: &mut Problems,
) -> Vec<Coordinates> {
    let with = |cell: &Coordinates, values: &[Node]| -> Vec<Coordinates> {
        let one_more = |value: &Node| cell.iter().cloned().chain([plain(axis, value)]).collect();
        values.iter().map(one_more).collect()
    };
    let depends = !cells.iter().all(Vec::is_empty) && names_an_axis(node);
    if !depends {
        let values = axis_values(axis, &Scope::new(params, None).fill(node, problems), problems);
        return cells.iter().flat_map(|cell| with(cell, &values)).collect();
    }
    let mut grown = Vec::new();
    // One wrong value on an axis before it would be told once a cell.
    let mut told = false;
    for cell in cells {
        let mut here = Problems::default();
        let values = axis_values(axis, &Scope::new(params, Some(cell)).fill(node, &mut here), &mut here);
        if !told && !here.is_empty() {
            told = true;
            problems.extend(here);
        }
        grown.extend(with(cell, &values));
    }
    grown
}

fn plain(axis: &Key, value: &Node) -> Coordinate {
    Coordinate { axis: Arc::from(axis.text.as_str()), value: value.clone(), attributes: None }
}

/// Whether a text in it has `${matrix.` or `${..${matrix.`.
fn names_an_axis(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.contains("${matrix."),
        Value::List(items) => items.iter().any(names_an_axis),
        _ => false,
    }
}

fn exclude(matrix: &MatrixSpec, item: &Node, cells: &mut Vec<Coordinates>, problems: &mut Problems) {
    let wanted = pairs(matrix, item, problems);
    let named = if let Value::Map(entries) = &item.value { entries.len() } else { return };
    // An unknown axis, or a value that cannot be told, has been told; it decides nothing.
    if wanted.len() < named || wanted.iter().any(|one| one.value.value == Value::Wrong) {
        return;
    }
    let before = cells.len();
    if !wanted.is_empty() {
        cells.retain(|cell| !wanted.iter().all(|pair| cell.iter().any(|own| same(own, pair))));
    }
    let untold = cells.iter().flatten().any(|one| one.value.value == Value::Wrong);
    if cells.len() == before && !untold {
        let problem = Problem::new("this `exclude` leaves out nothing", item.span);
        problems.push(problem.help("remove it, or give values that the axes have"));
    }
}

fn included(matrix: &MatrixSpec, item: &Node, problems: &mut Problems) -> Option<Coordinates> {
    let given = pairs(matrix, item, problems);
    let mut cell = Vec::new();
    for (axis, _) in &matrix.axes {
        match given.iter().find(|one| *one.axis == *axis.text) {
            Some(pair) => cell.push(pair.clone()),
            None => {
                let message = format!("this `include` gives no value for the axis `{}`", axis.text);
                problems.push(Problem::new(message, item.span).help("a cell to add names every axis"));
            }
        }
    }
    Some(cell).filter(|cell| cell.len() == matrix.axes.len())
}

/// The values of an axis; a single [`Value::Wrong`] stands for those that cannot be told.
fn axis_values(axis: &Key, node: &Node, problems: &mut Problems) -> Vec<Node> {
    let name = &axis.text;
    let wrong = Node { value: Value::Wrong, ..*node };
    let values = match &node.value {
        Value::Wrong => return vec![wrong],
        Value::List(items) if !items.is_empty() => items,
        _ => {
            let what = if matches!(node.value, Value::List(_)) { "an empty one" } else { node.kind() };
            let message = format!("the axis `{name}` is a list with at least one value, not {what}");
            let example = node.scalar_text().unwrap_or_else(|| "1, 2, 3".to_owned());
            let key = if node.origin == node.span { name.as_str() } else { "write it" };
            problems.push(node.problem(message).help(format!("{key}: [{example}]")));
            return vec![wrong];
        }
    };
    let mut check = |value: &Node| {
        if value.scalar_text().is_some() || value.value == Value::Wrong {
            return value.clone();
        }
        let message = format!("a value of the axis `{name}` is a single value, not {}", value.kind());
        let help = "give the parts as params, and let the axis name them: `${params.${matrix.setting}.lr}`";
        problems.push(value.problem(message).help(help));
        Node { value: Value::Wrong, ..*value }
    };
    values.iter().map(&mut check).collect()
}

/// The coordinates that an item of `include` or `exclude` names; those of axes that there are not are told.
fn pairs(matrix: &MatrixSpec, node: &Node, problems: &mut Problems) -> Coordinates {
    let Value::Map(entries) = &node.value else { return Vec::new() };
    let mut known = Vec::new();
    for (key, value) in entries {
        if !matrix.axes.iter().any(|(axis, _)| axis.text == key.text) {
            let help = suggest(&key.text, "axes", matrix.axes.iter().map(|(axis, _)| axis.text.as_str()));
            problems.push(Problem::new(format!("unknown matrix axis `{}`", key.text), key.span).help(help));
            continue;
        }
        let mut value = value.clone();
        if value.scalar_text().is_none() && value.value != Value::Wrong {
            let message = format!("a value of the axis `{}` is a single value, not {}", key.text, value.kind());
            problems.push(value.problem(message).help(format!("{}: 3", key.text)));
            value.value = Value::Wrong;
        }
        known.push(plain(key, &value));
    }
    known
}

fn same(a: &Coordinate, b: &Coordinate) -> bool {
    a.axis == b.axis && a.value.scalar_text() == b.value.scalar_text()
}

/// Two cells of one name: told at the value that comes again.
fn check_unique(spec: &StageSpec, matrix: &MatrixSpec, cells: &[Coordinates], problems: &mut Problems) {
    let mut seen: BTreeMap<String, &Coordinates> = BTreeMap::new();
    let mut told = Vec::new();
    for cell in cells.iter().filter(|cell| cell.iter().all(|one| one.value.value != Value::Wrong)) {
        let texts: Vec<(String, String)> =
            cell.iter().map(|one| (one.axis.to_string(), one.value.scalar_text().unwrap_or_default())).collect();
        let name = node_name(&spec.name.text, &texts);
        let Some(first) = seen.get(&name) else {
            seen.insert(name, cell);
            continue;
        };
        // The axis that repeats is the one whose value stands in two places; a list from a param has its own.
        let again = cell.iter().zip(*first).find(|(one, other)| one.value.origin != other.value.origin);
        let (span, also) =
            again.map_or((spec.name.span, None), |(one, other)| (one.value.origin, Some(other.value.origin)));
        if told.contains(&span) {
            continue;
        }
        told.push(span);
        let mut problem = Problem::new(format!("two nodes are called `{name}`"), span).label("again");
        if let Some(first) = also {
            problem = problem.also(first, "first");
        }
        let repeated =
            again.map_or(matrix.axes.first().map_or("", |(axis, _)| axis.text.as_str()), |(one, _)| &*one.axis);
        problems
            .push(problem.help(format!("an axis (`{repeated}`) or an `include` repeats a value: remove one of them")));
    }
}
