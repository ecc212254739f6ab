//! Cells that are left out of a matrix (`exclude`), and cells that are added (`include`). An item to leave out names some
//! axes; one to add names every axis, but may leave those to a value that this value brings.

use std::sync::Arc;

use super::{AxisValue, Coordinates, Made, Maker, SWEEP, ZIP, coordinate, same, single};
use crate::pipeline::MatrixSpec;
use crate::problem::{Problem, Problems, suggest};
use crate::template::Coordinate;
use crate::yaml::{Key, Node, Value};

impl Maker<'_, '_> {
    pub(super) fn exclude(&mut self, made: &mut Made, item: &Node) {
        let filled = self.scope(&[]).fill(item, self.problems);
        let Value::Map(entries) = &filled.value else { return };
        let untold = made.is_untold();
        let mut wanted = Vec::new();
        for (key, value) in entries {
            let known = made.axes.iter().any(|axis| **axis == *key.text);
            if known {
                wanted.push(coordinate(&key.text, single(&key.text, value, self.problems)));
            } else if !untold {
                self.unknown_axis(key, made.axes.iter().map(|axis| &**axis));
            }
        }
        // An unknown axis, or a value that cannot be told, has been told; it decides nothing.
        if wanted.len() < entries.len() || wanted.iter().any(|one| one.value.value == Value::Wrong) {
            return;
        }
        let before = made.cells.len();
        if !wanted.is_empty() {
            made.cells.retain(|cell| !wanted.iter().all(|pair| cell.iter().any(|own| same(own, pair))));
        }
        if made.cells.len() == before && !untold {
            let problem = Problem::new("this `exclude` leaves out nothing", filled.span);
            self.problems.push(problem.help("remove it, or give values that the axes have"));
        }
    }

    /// The cells that an item of `include` adds: one, or all those of a value with axes of its own that it does not give.
    pub(super) fn included(
        &mut self,
        matrix: &MatrixSpec,
        made: &Made,
        item: &Node,
        around: &[Coordinate],
    ) -> Vec<Coordinates> {
        let filled = self.scope(around).fill(item, self.problems);
        let Value::Map(given) = &filled.value else { return Vec::new() };
        let untold = made.is_untold();
        for (key, _) in given.iter().filter(|(key, _)| made.axes.iter().all(|axis| **axis != *key.text)) {
            if !untold {
                self.unknown_axis(key, made.axes.iter().map(|axis| &**axis));
            }
        }
        let mut cells = vec![around.to_vec()];
        for (key, node) in &matrix.axes {
            let mut grown = Vec::new();
            for cell in &cells {
                for more in self.included_on(key, node, cell, &filled) {
                    grown.push(cell.iter().cloned().chain(more).collect());
                }
            }
            cells = grown;
        }
        cells
    }

    /// What an item of `include` says of one entry of the matrix, in a cell.
    fn included_on(&mut self, key: &Key, node: &Node, cell: &[Coordinate], item: &Node) -> AxisValue {
        // Several axes in one are given each by itself; of a plain list any value may be given.
        if [ZIP, SWEEP].contains(&key.text.as_str()) || matches!(node.value, Value::List(_)) {
            let mut quiet = Problems::default();
            let axes: Vec<Arc<str>> = if matches!(node.value, Value::List(_)) && key.text != ZIP {
                vec![Arc::from(key.text.as_str())]
            } else {
                let mut maker = Maker { params: self.params, files: &mut *self.files, problems: &mut quiet };
                let first = maker.values(key, node, cell).into_iter().flatten().next().unwrap_or_default();
                first.into_iter().map(|one| one.axis).collect()
            };
            let all: Option<Coordinates> = axes.iter().map(|axis| self.given_by(item, axis)).collect();
            return all.into_iter().collect();
        }
        let Some(given) = item.get(&key.text) else {
            self.given_by(item, &key.text);
            return Vec::new();
        };
        if matches!(given.value, Value::Map(_)) {
            return self.axis(key, given, cell).concat();
        }
        let mut quiet = Problems::default();
        let mut maker = Maker { params: self.params, files: &mut *self.files, problems: &mut quiet };
        let all = maker.axis(key, node, cell);
        let Some(one) = self.given_by(item, &key.text) else { return Vec::new() };
        let known =
            all.iter().find(|known| known.first().and_then(|cell| cell.first()).is_some_and(|own| same(own, &one)));
        let labels = || all.iter().filter_map(|value| value.first()?.first());
        match known {
            Some(known) => self.with_nested(known, item),
            None if labels().any(|label| label.attributes.is_some()) && one.value.value != Value::Wrong => {
                let text = one.value.scalar_text().unwrap_or_default();
                let texts: Vec<String> = labels().filter_map(|label| label.value.scalar_text()).collect();
                let near = suggest(&text, "values", texts.iter().map(String::as_str));
                let message = format!("the axis `{}` has no value `{text}`", key.text);
                let help = format!("{near}; or give its attributes: `{}: {{{text}: {{...}}}}`", key.text);
                self.problems.push(one.value.problem(message).help(help));
                Vec::new()
            }
            None => vec![vec![one]],
        }
    }

    /// A value with its own axes: those that the item gives, which are all or none of them.
    fn with_nested(&mut self, known: &AxisValue, item: &Node) -> AxisValue {
        let nested: Vec<Arc<str>> =
            known.first().into_iter().flatten().skip(1).map(|one| Arc::clone(&one.axis)).collect();
        if !nested.iter().any(|axis| item.get(axis).is_some()) {
            return known.clone();
        }
        let label = known.first().and_then(|cell| cell.first()).cloned();
        let given: Option<Coordinates> = nested.iter().map(|axis| self.given_by(item, axis)).collect();
        given.map(|given| label.into_iter().chain(given).collect()).into_iter().collect()
    }

    /// The coordinate that an item of `include` gives on an axis.
    fn given_by(&mut self, item: &Node, axis: &str) -> Option<Coordinate> {
        let Some(value) = item.get(axis) else {
            let message = format!("this `include` gives no value for the axis `{axis}`");
            self.problems.push(Problem::new(message, item.span).help("a cell to add names every axis"));
            return None;
        };
        Some(coordinate(axis, single(axis, value, self.problems)))
    }
}
