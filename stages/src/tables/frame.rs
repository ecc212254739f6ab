//! What stands around the figures of every grid: heads, labels of rows, the count of complete trials, what is averaged and
//! what is missing, in words.
//!
//! Knows nothing of what a run measured.

use super::document::{Cell, Head, Part, Row};
use super::layout::Layout;
use super::slices::{Column, Coordinates, Section, Slice};

/// `3 seeds`, `1 seed`.
pub(super) fn count(n: usize, axis: &str) -> String {
    format!("{n} {axis}{}", if n == 1 { "" } else { "s" })
}

/// The heads of a slice's columns; divided ones stand in a group.
pub(super) fn heads<T>(layout: &Layout, slice: &Slice<T>) -> Vec<Head> {
    let label = |text: &str| layout.label(text).to_owned();
    let head = |column: &Column| match &column.within {
        None => Head::plain(label(&column.value)),
        Some(part) => Head { text: label(part), group: Some(label(&column.value)) },
    };
    slice.columns.iter().map(head).collect()
}

/// The printed values of a slice on the axes of the rows.
pub(super) fn row_labels<T>(layout: &Layout, slice: &Slice<T>) -> Vec<Cell> {
    slice.rows.iter().map(|(_, value)| Cell::text(layout.label(value))).collect()
}

/// The coordinates of a slice and one of its columns.
pub(super) fn coordinates<T>(layout: &Layout, slice: &Slice<T>, column: usize) -> Coordinates {
    let mut at: Coordinates = slice.fixed.iter().chain(&slice.rows).cloned().collect();
    let column = &slice.columns[column];
    at.push((layout.columns.clone(), column.value.clone()));
    if let (Some(axis), Some(part)) = (&layout.within, &column.within) {
        at.push((axis.clone(), part.clone()));
    }
    at
}

/// The printed name of a slice's column: `MNIST, PRU, D_f`.
pub(super) fn column_name<T>(layout: &Layout, slice: &Slice<T>, column: usize) -> String {
    let mut name = layout.row_name(&slice.rows);
    if !name.is_empty() {
        name.push_str(", ");
    }
    name.push_str(&layout.column_name(&slice.columns[column]));
    name
}

/// How many trials the means of each column rest on, those with every run; `after` stands behind the label.
pub(super) fn complete_trials<T>(layout: &Layout, slice: &Slice<T>, after: Option<Cell>) -> Row {
    let of = slice.trials.len();
    let complete = |column: usize| (0..of).filter(|&trial| slice.is_complete(column, trial)).count();
    let mut labels = row_labels(layout, slice);
    labels.push(Cell::Trials);
    labels.extend(after);
    let cells = (0..slice.columns.len()).map(|column| Cell::Count { n: complete(column), of }).collect();
    Row { labels, cells, begins: false }
}

/// The rows that `fill` makes of each slice; something new begins with each.
pub(super) fn rows<'s, 'r, T>(
    section: &'s Section<'r, T>,
    mut fill: impl FnMut(&'s Slice<'r, T>, &mut Vec<Row>),
) -> Vec<Row> {
    let mut rows = Vec::new();
    for slice in &section.slices {
        let before = rows.len();
        fill(slice, &mut rows);
        if let Some(first) = rows.get_mut(before).filter(|_| before > 0) {
            first.begins = true;
        }
    }
    rows
}

/// What is averaged, in words: `mean over class (0, 3, 8)`; by slice where they differ.
pub(super) fn averaged<T>(layout: &Layout, section: &Section<T>) -> String {
    let over: Vec<String> = layout.average.iter().filter_map(|axis| over(layout, section, axis)).collect();
    if over.is_empty() { String::new() } else { format!("mean over {}", over.join(" and ")) }
}

/// What is averaged and over which trials, as the beginning of a sentence; empty where there is nothing of either.
pub(super) fn averaged_and_trials<T>(layout: &Layout, section: &Section<T>) -> String {
    let axis = &layout.trials;
    let trials: Vec<&Vec<String>> = section.slices.iter().map(|slice| &slice.trials).collect();
    let over_trials = match trials.as_slice() {
        [first, rest @ ..] if rest.iter().all(|other| other == first) => match first.as_slice() {
            [only] if only.is_empty() => String::new(),
            [only] => format!("{axis} {only}, {}: no interval", count(1, "trial")),
            many => format!("then over {axis} ({}); {}", many.join(", "), interval(axis)),
        },
        _ => format!("then over {axis}, n of them; {}", interval(axis)),
    };
    let sentence = [averaged(layout, section), over_trials];
    sentence.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn interval(axis: &str) -> String {
    format!("± is half the width of Student's t 95 % interval over the n {axis}s")
}

fn over<T>(layout: &Layout, section: &Section<T>, axis: &str) -> Option<String> {
    let all: Vec<(&Slice<T>, String)> =
        section.slices.iter().filter_map(|slice| Some((slice, values_of(slice, axis)?))).collect();
    let (_, first) = all.first()?;
    if all.iter().all(|(_, values)| values == first) {
        return Some(format!("{axis} ({first})"));
    }
    let apart = all.iter().map(|(slice, values)| format!("{}: {values}", layout.row_name(&slice.rows)));
    Some(format!("{axis} ({})", apart.collect::<Vec<_>>().join("; ")))
}

/// `0, 3, 8`: the values on an axis that is averaged over.
fn values_of<T>(slice: &Slice<T>, axis: &str) -> Option<String> {
    let mut values: Vec<&str> = Vec::new();
    for (_, value) in slice.members.iter().flatten().filter(|(name, _)| name == axis) {
        if !values.contains(&value.as_str()) {
            values.push(value);
        }
    }
    (!values.is_empty()).then(|| values.join(", "))
}

/// The note on the runs that a column lacks.
pub(super) fn missing_runs<T>(layout: &Layout, slice: &Slice<T>, column: usize, so: &str) -> Option<Part> {
    let missing = slice.missing(column);
    let name = column_name(layout, slice, column);
    (!missing.is_empty()).then(|| Part::Note(format!("{name}: missing {}; {so}.", missing.join(", "))))
}
