//! The cells of a stage's matrix: the product of its axes, less `exclude`, plus `include`.

use crate::pipeline::{MatrixSpec, StageSpec};
use crate::problem::{Problem, Problems, suggest};
use crate::selector::node_name;
use crate::template::Scope;
use crate::yaml::{Key, Node, Value};

/// Coordinates of one cell: axis and value, in declaration order.
pub type Coordinates = Vec<(String, Node)>;

/// All cells of a stage; one without coordinates when it has no matrix.
#[must_use]
pub fn cells(spec: &StageSpec, params: &Node, problems: &mut Problems) -> Vec<Coordinates> {
    let Some(matrix) = &spec.matrix else { return vec![Vec::new()] };
    let scope = Scope { params, matrix: None, later: &[] };
    let mut cells: Vec<Coordinates> = vec![Vec::new()];
    for (axis, node) in &matrix.axes {
        let values = axis_values(axis, &scope.fill(node, problems), problems);
        cells = cells
            .iter()
            .flat_map(|cell| {
                let with = |value: &Node| cell.iter().cloned().chain([(axis.text.clone(), value.clone())]).collect();
                values.iter().map(with).collect::<Vec<Coordinates>>()
            })
            .collect();
    }
    for item in &matrix.exclude {
        let wanted = pairs(matrix, &scope.fill(item, problems), problems);
        let before = cells.len();
        cells.retain(|cell| !wanted.iter().all(|pair| cell.iter().any(|own| same(own, pair))));
        if cells.len() == before && !wanted.is_empty() {
            problems.push(Problem::new("this `exclude` leaves out nothing", item.span).help("remove it"));
        }
    }
    for item in &matrix.include {
        let given = pairs(matrix, &scope.fill(item, problems), problems);
        let axes = matrix.axes.iter().map(|(axis, _)| axis);
        let mut cell = Vec::new();
        for axis in axes {
            match given.iter().find(|(name, _)| *name == axis.text) {
                Some(pair) => cell.push(pair.clone()),
                None => {
                    let message = format!("this `include` gives no value for the axis `{}`", axis.text);
                    problems.push(Problem::new(message, item.span).help("a cell to add names every axis"));
                }
            }
        }
        if cell.len() == matrix.axes.len() {
            cells.push(cell);
        }
    }
    check_unique(spec, &cells, problems);
    if cells.is_empty() {
        problems.push(Problem::new(format!("the matrix of `{}` has no cell", spec.name.text), spec.name.span));
    }
    cells
}

fn axis_values(axis: &Key, node: &Node, problems: &mut Problems) -> Vec<Node> {
    let values = match &node.value {
        Value::List(items) if !items.is_empty() => items.clone(),
        _ => {
            let problem =
                Problem::new(format!("the axis `{}` is a list with at least one value", axis.text), node.span);
            problems.push(problem.help(format!("{}: [1, 2, 3]", axis.text)));
            return Vec::new();
        }
    };
    for value in values.iter().filter(|value| value.scalar_text().is_none()) {
        let message = format!("a value of the axis `{}` is a single value, not {}", axis.text, value.kind());
        problems.push(Problem::new(message, value.span));
    }
    values
}

fn pairs(matrix: &MatrixSpec, node: &Node, problems: &mut Problems) -> Coordinates {
    let Value::Map(entries) = &node.value else { return Vec::new() };
    for (key, _) in entries {
        if !matrix.axes.iter().any(|(axis, _)| axis.text == key.text) {
            let help = suggest(&key.text, "axes", matrix.axes.iter().map(|(axis, _)| axis.text.as_str()));
            problems.push(Problem::new(format!("unknown matrix axis `{}`", key.text), key.span).help(help));
        }
    }
    entries.iter().map(|(key, value)| (key.text.clone(), value.clone())).collect()
}

fn same(a: &(String, Node), b: &(String, Node)) -> bool {
    a.0 == b.0 && a.1.scalar_text() == b.1.scalar_text()
}

fn check_unique(spec: &StageSpec, cells: &[Coordinates], problems: &mut Problems) {
    let mut seen = std::collections::BTreeSet::new();
    for cell in cells {
        let texts: Vec<(String, String)> =
            cell.iter().map(|(axis, value)| (axis.clone(), value.scalar_text().unwrap_or_default())).collect();
        let name = node_name(&spec.name.text, &texts);
        if !seen.insert(name.clone()) {
            let problem = Problem::new(format!("two nodes are called `{name}`"), spec.name.span);
            problems.push(problem.help("an axis or an `include` repeats a value"));
        }
    }
}
