//! What the figures make of sorted runs: blocks that are drawn below each other, the names of their methods with how many
//! trials are there, means over trials, and notes of what is missing. Knows nothing of drawing.

use crate::tables::Layout;
use crate::tables::slices::{Coordinates, Section, Slice};
use crate::tables::statistics::{Mean, mean};

/// One slice of the runs, with what is written above it.
pub(super) struct Block<'a, 'r, T> {
    pub slice: &'a Slice<'r, T>,
    /// Empty when there is only one block.
    pub heading: String,
    /// The axes that tell the blocks apart.
    pub coordinates: Coordinates,
}

/// A block for each slice of each section.
pub(super) fn blocks<'a, 'r, T>(layout: &Layout, sections: &'a [Section<'r, T>]) -> Vec<Block<'a, 'r, T>> {
    let of = |slice: &'a Slice<'r, T>| {
        let fixed = slice.fixed.iter().map(|(axis, value)| format!("{axis} {}", layout.label(value)));
        let rows = Some(layout.row_name(&slice.rows)).filter(|name| !name.is_empty());
        let heading = fixed.chain(rows).collect::<Vec<_>>().join(", ");
        Block { slice, heading, coordinates: slice.fixed.iter().chain(&slice.rows).cloned().collect() }
    };
    sections.iter().flat_map(|section| &section.slices).map(of).collect()
}

impl<T> Block<'_, '_, T> {
    /// The printed names of the columns, each with what it lacks: `PRU (2 of 3 seeds)`.
    pub(super) fn names(&self, layout: &Layout) -> Vec<String> {
        let name = |column: usize| {
            let name = layout.column_name(&self.slice.columns[column]);
            let (complete, all) = (self.complete(column), self.slice.trials.len());
            let is_single = all == 1;
            match complete {
                _ if complete == all => name,
                0 if is_single => format!("{name} (incomplete)"),
                _ => format!("{name} ({complete} of {all} {}s)", layout.trials),
            }
        };
        (0..self.slice.columns.len()).map(name).collect()
    }

    /// The coordinates of a column: of the block, then its own.
    pub(super) fn of_column(&self, layout: &Layout, column: usize) -> Coordinates {
        let own = &self.slice.columns[column];
        let mut all = self.coordinates.clone();
        all.push((layout.columns.clone(), own.value.clone()));
        all.extend(layout.within.clone().zip(own.within.clone()));
        all
    }

    /// Trials of which a column has every run.
    pub(super) fn complete(&self, column: usize) -> usize {
        (0..self.slice.trials.len()).filter(|&trial| self.slice.is_complete(column, trial)).count()
    }

    /// The mean over the trials that have a value.
    pub(super) fn over_trials(&self, in_trial: impl Fn(usize) -> Option<f64>) -> Option<Mean> {
        mean(&(0..self.slice.trials.len()).filter_map(in_trial).collect::<Vec<_>>())
    }

    /// The mean over trials of the mean over classes.
    pub(super) fn mean(&self, column: usize, metric: impl Fn(&T) -> Option<f64>) -> Option<Mean> {
        self.over_trials(|trial| self.slice.in_trial(column, trial, &metric))
    }

    /// A sentence for each column that lacks runs.
    pub(super) fn missing(&self, layout: &Layout, consequence: &str) -> Vec<String> {
        let note = |column: usize| {
            let missing = self.slice.missing(column);
            let heading = if self.heading.is_empty() { String::new() } else { format!("{}: ", self.heading) };
            let name = layout.column_name(&self.slice.columns[column]);
            let consequence = if consequence.is_empty() { String::new() } else { format!("; {consequence}") };
            (!missing.is_empty()).then(|| format!("{heading}{name}: missing {}{consequence}.", listed(&missing)))
        };
        (0..self.slice.columns.len()).filter_map(note).collect()
    }
}

/// The first few of them.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// How the means of a figure come about: `Mean over class (0, 3, 9), then over 3 seeds.`
pub(super) fn averaged<T>(layout: &Layout, blocks: &[Block<'_, '_, T>]) -> String {
    let over = layout.average.iter().filter_map(|axis| {
        let mut all = blocks.iter().map(|block| values_on(&block.slice.members, axis));
        let first = all.next()??;
        // Where blocks differ, the CSV tells.
        Some(if all.all(|values| values.as_ref() == Some(&first)) { format!("{axis} ({first})") } else { axis.clone() })
    });
    let over: Vec<String> = over.collect();
    let trials = blocks.iter().map(|block| block.slice.trials.len()).max().unwrap_or(0);
    let classes = if over.is_empty() { String::new() } else { format!("mean over {}", over.join(" and ")) };
    let then = if classes.is_empty() { "mean" } else { ", then" };
    let mut text = match trials {
        0 | 1 => classes,
        _ => format!("{classes}{then} over {trials} {}s", layout.trials),
    };
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if text.is_empty() { text } else { format!("{text}.") }
}

fn values_on(members: &[Coordinates], axis: &str) -> Option<String> {
    let mut values: Vec<&str> = Vec::new();
    for (_, value) in members.iter().flatten().filter(|(name, _)| name == axis) {
        if !values.contains(&value.as_str()) {
            values.push(value);
        }
    }
    (!values.is_empty()).then(|| values.join(", "))
}
