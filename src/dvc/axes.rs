//! When a group of DVC's stages is a stage with a matrix: the same texts in all of them, with values that axes can hold.

use std::collections::{BTreeMap, BTreeSet};

use super::context::From;
use super::data::{expressed, text_of};
use super::draft::AxisValues;
use super::naming::{fresh, valid};
use super::render::{Globals, escaped, needs_no_quotes};
use super::resolve::{Coordinate, Group, Part};
use crate::problem::Span;
use crate::yaml::{Key, Node, Value};

/// The matrix of a stage.
#[derive(Debug)]
pub(super) struct Matrix {
    pub axes: Vec<MatrixAxis>,
}

/// An axis.
#[derive(Debug)]
pub(super) struct MatrixAxis {
    /// Our name of it.
    pub name: String,
    /// DVC's name of it.
    written: String,
    /// The names of its values.
    pub labels: Vec<String>,
    /// How they are written.
    pub values: AxisValues,
    /// Ways from a value that is not its own name.
    attributes: BTreeSet<Vec<String>>,
}

/// A text of a stage, and whether the shell reads it.
pub(super) type Slot = (Vec<Part>, bool);

/// The attribute of a value that is single, but not its own name.
const VALUE: &str = "value";

impl Matrix {
    /// The matrix of a group whose stages have these texts.
    ///
    /// # Errors
    /// Why there is none, as the end of a sentence.
    pub(super) fn of(group: &Group, slots: &[Vec<Slot>], globals: &Globals) -> Result<Self, String> {
        let mut matrix = Self { axes: axes(group)? };
        matrix.check_product(group)?;
        for (stage, own) in group.stages.iter().zip(slots) {
            check_shape(&slots[0], own)?;
            for (parts, for_shell) in own {
                for part in parts {
                    matrix.note_attribute(part, *for_shell, &stage.coordinates)?;
                }
            }
        }
        for (index, axis) in matrix.axes.iter_mut().enumerate() {
            let mut values: BTreeMap<&str, &Node> = BTreeMap::new();
            for stage in &group.stages {
                let Coordinate { label, value } = &stage.coordinates[index];
                values.insert(label, value);
            }
            axis.settle(&values, group.axes[index].from.as_deref(), globals)?;
        }
        Ok(matrix)
    }

    /// The stages are all combinations of the labels, in order.
    fn check_product(&self, group: &Group) -> Result<(), String> {
        let count: usize = self.axes.iter().map(|axis| axis.labels.len()).product();
        if count != group.stages.len() {
            return Err("some of its items have the same name".to_owned());
        }
        for (at, stage) in group.stages.iter().enumerate() {
            let mut left = at;
            for (axis, coordinate) in self.axes.iter().zip(&stage.coordinates).rev() {
                let label = &axis.labels[left % axis.labels.len()];
                left /= axis.labels.len();
                if *label != coordinate.label {
                    return Err("some of its items have the same name".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Checks that a part can be named, and notes the attribute that names it.
    fn note_attribute(&mut self, part: &Part, for_shell: bool, coordinates: &[Coordinate]) -> Result<(), String> {
        let Part::Value { text, from, written } = part else { return Ok(()) };
        if matches!(from, From::Item(_) | From::Key) && for_shell && !needs_no_quotes(text) {
            return Err(format!("`${{{written}}}` is `{text}`, which DVC puts into the command without quotes"));
        }
        match from {
            From::Params(_) | From::Here => {}
            From::Key => {
                let labels: Vec<&str> = coordinates.iter().map(|one| one.label.as_str()).collect();
                if labels.join("-") != *text {
                    return Err("its names are not those of its values".to_owned());
                }
            }
            From::Item(way) => {
                let (axis, rest) = self.axis(way).ok_or_else(|| "its items have no names here".to_owned())?;
                if !(rest.is_empty() && coordinates[axis].label == *text) {
                    let names = |step: &String| {
                        !step.is_empty() && step.chars().all(|c| c.is_alphanumeric() || "_-".contains(c))
                    };
                    if !rest.iter().all(names) || rest.first().is_some_and(|first| first == "matrix") {
                        return Err(format!("`{}` is no name here", rest.join(".")));
                    }
                    let rest = if rest.is_empty() { vec![VALUE.to_owned()] } else { rest.to_vec() };
                    self.axes[axis].attributes.insert(rest);
                }
            }
        }
        Ok(())
    }

    fn axis<'w>(&self, way: &'w [String]) -> Option<(usize, &'w [String])> {
        let (first, rest) = way.split_first()?;
        Some((self.axes.iter().position(|axis| axis.written == *first)?, rest))
    }

    /// The reference to an item, or to something in it.
    pub(super) fn name(&self, way: &[String]) -> Option<String> {
        let (axis, rest) = self.axis(way)?;
        let MatrixAxis { name, attributes, .. } = &self.axes[axis];
        let rest = match rest {
            [] if attributes.contains(&[VALUE.to_owned()][..]) => format!(".{VALUE}"),
            [] => String::new(),
            rest => format!(".{}", rest.join(".")),
        };
        Some(format!("${{matrix.{name}{rest}}}"))
    }

    /// The axes as they are written.
    pub(super) fn written(&self) -> Vec<(String, AxisValues)> {
        self.axes.iter().map(|axis| (axis.name.clone(), axis.values.clone())).collect()
    }

    /// The reference to the name of an item.
    pub(super) fn key(&self) -> String {
        let names: Vec<String> = self.axes.iter().map(|axis| format!("${{matrix.{}}}", axis.name)).collect();
        names.join("-")
    }
}

/// The texts of a stage are those of the first, but for values that belong to the item.
fn check_shape(first: &[Slot], own: &[Slot]) -> Result<(), String> {
    let same = |one: &Part, two: &Part| match (one, two) {
        (Part::Literal(one), Part::Literal(two)) | (Part::Ours(one), Part::Ours(two)) => one == two,
        (Part::Value { text: one, from, .. }, Part::Value { text: two, from: other, .. }) => {
            from == other && (matches!(from, From::Item(_) | From::Key) || one == two)
        }
        _ => false,
    };
    let alike = |((one, _), (two, _)): (&Slot, &Slot)| {
        one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
    };
    if first.len() == own.len() && first.iter().zip(own).all(alike) {
        Ok(())
    } else {
        Err("its items differ in more than single values".to_owned())
    }
}

/// The axes with their labels, in the order in which these come.
fn axes(group: &Group) -> Result<Vec<MatrixAxis>, String> {
    let mut taken: BTreeSet<String> = ["include", "exclude", "zip", "sweep"].map(str::to_owned).into();
    let mut axes = Vec::new();
    for (index, axis) in group.axes.iter().enumerate() {
        let mut labels: Vec<String> = Vec::new();
        let mut values: BTreeMap<&str, serde_json::Value> = BTreeMap::new();
        for stage in &group.stages {
            let Coordinate { label, value } = &stage.coordinates[index];
            let json = value.to_json();
            match values.get(label.as_str()) {
                None => {
                    labels.push(label.clone());
                    values.insert(label, json);
                }
                Some(known) if *known == json => {}
                Some(_) => return Err("some of its items have the same name".to_owned()),
            }
        }
        let name = fresh(&valid(&axis.name, "item"), &mut taken);
        let (written, values) = (axis.name.clone(), AxisValues::List(Vec::new()));
        axes.push(MatrixAxis { name, written, labels, values, attributes: BTreeSet::new() });
    }
    Ok(axes)
}

impl MatrixAxis {
    /// Finds out how the values are written.
    fn settle(
        &mut self,
        values: &BTreeMap<&str, &Node>,
        from: Option<&[String]>,
        globals: &Globals,
    ) -> Result<(), String> {
        let value = |label: &String| values[label.as_str()];
        if self.attributes.is_empty() {
            let is_own_name = |label: &String| text_of(&value(label).value).as_ref() == Some(label);
            let all = self.labels.iter().all(is_own_name);
            let named = from.filter(|_| all).and_then(|way| globals.name(way));
            self.values = match named {
                Some(name) => AxisValues::Reference(format!("${{{name}}}")),
                None => AxisValues::List(
                    self.labels
                        .iter()
                        .map(|label| match expressed(&value(label).value).filter(|_| is_own_name(label)) {
                            Some(value) => escaped_value(value),
                            None => Value::Text(escaped(label)),
                        })
                        .collect(),
                ),
            };
            return Ok(());
        }
        let mut all = Vec::new();
        for label in &self.labels {
            let attributes: Vec<&[String]> = self.attributes.iter().map(Vec::as_slice).collect();
            let tree =
                tree(value(label), &attributes).ok_or_else(|| "its items hold lists of several values".to_owned())?;
            all.push((label.clone(), tree));
        }
        self.values = AxisValues::Map(all);
        Ok(())
    }
}

fn escaped_value(value: Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(escaped(&text)),
        value => value,
    }
}

/// What of `node` these ways lead to, as a mapping.
fn tree(node: &Node, ways: &[&[String]]) -> Option<Node> {
    let at = Span::file(0, 0);
    if ways.iter().all(|way| way.is_empty()) {
        return Some(Node::new(escaped_value(expressed(&node.value)?), at));
    }
    let mut names: Vec<&String> = ways.iter().filter_map(|way| way.first()).collect();
    names.dedup();
    let mut entries = Vec::new();
    for name in names {
        let further: Vec<&[String]> =
            ways.iter().filter(|way| way.first() == Some(name)).map(|way| &way[1..]).collect();
        let inner = match &node.value {
            Value::Map(_) => node.get(name)?,
            Value::List(items) => items.get(name.parse::<usize>().ok()?)?,
            _ if name == VALUE => node,
            _ => return None,
        };
        entries.push((Key { text: name.clone(), span: at }, tree(inner, &further)?));
    }
    Some(Node::new(Value::Map(entries), at))
}
