//! Sorts runs by their coordinates into the slices that become tables: columns, trials, and the values averaged over.
//!
//! An axis that is none of these and takes several values splits the runs into slices, one table each: a table never
//! averages over what its author did not name. Knows nothing of metrics and text formats.

use std::collections::BTreeMap;

use super::statistics::{Mean, mean};
use crate::stage::StageError;

/// One artifact with the coordinates of the node that made it.
pub(super) struct Run<T> {
    pub coordinates: Vec<(String, String)>,
    pub value: T,
}

/// Which axis plays which part.
pub(super) struct Axes<'a> {
    /// One column of the table for each of its values.
    pub columns: &'a str,
    /// Averaged over within a trial.
    pub average: &'a [String],
    /// Averaged over last; the interval is over its values.
    pub trials: &'a str,
    /// Values of `columns` that come first, in this order, even when there is no run of them.
    pub order: &'a [String],
}

/// The runs of one table.
pub(super) struct Slice<'a, T> {
    /// The values of the other axes, where these take several.
    pub fixed: Vec<(String, String)>,
    /// Values on the column axis.
    pub columns: Vec<String>,
    /// Values on the trials axis; a single empty one without such an axis.
    pub trials: Vec<String>,
    /// Combinations of the values averaged over; a single empty one without such axes.
    pub members: Vec<Vec<(String, String)>>,
    trials_axis: String,
    runs: BTreeMap<(usize, usize, usize), &'a T>,
}

/// A mean over the complete trials of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct OverTrials {
    /// Nothing when no trial is complete.
    pub mean: Option<Mean>,
    /// Complete trials.
    pub complete: usize,
}

/// `method=pru, class=3`.
pub(super) fn describe(coordinates: &[(String, String)]) -> String {
    coordinates.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(", ")
}

fn on_axis<'a, T>(run: &'a Run<T>, axis: &str) -> Option<&'a str> {
    run.coordinates.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
}

/// The different values in the order of first appearance, or by size when all are numbers.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for value in values {
        if !seen.iter().any(|known| known == value) {
            seen.push(value.to_owned());
        }
    }
    let numbers: Option<Vec<f64>> = seen.iter().map(|v| v.parse().ok().filter(|x: &f64| x.is_finite())).collect();
    if let Some(numbers) = numbers {
        let mut numbered: Vec<(f64, String)> = numbers.into_iter().zip(seen).collect();
        numbered.sort_by(|a, b| a.0.total_cmp(&b.0));
        seen = numbered.into_iter().map(|(_, value)| value).collect();
    }
    seen
}

/// Whether the runs have the axis: all or none of them.
fn has_axis<T>(runs: &[Run<T>], axis: &str) -> Result<bool, StageError> {
    let with = runs.iter().filter(|run| on_axis(run, axis).is_some()).count();
    match runs.iter().find(|run| on_axis(run, axis).is_none()) {
        None => Ok(true),
        Some(_) if with == 0 => Ok(false),
        Some(run) => Err(StageError::failed(format!(
            "{with} of {} artifacts have a coordinate `{axis}`, but that of [{}] does not",
            runs.len(),
            describe(&run.coordinates)
        ))),
    }
}

/// Sorts `runs` into slices.
///
/// # Errors
/// When no run has the column axis, only some have an axis, or two runs share all coordinates.
pub(super) fn slices<'a, T>(axes: &Axes, runs: &'a [Run<T>]) -> Result<Vec<Slice<'a, T>>, StageError> {
    if !has_axis(runs, axes.columns)? {
        let first = runs.first().map_or_else(String::new, |run| describe(&run.coordinates));
        let problem = format!("no artifact has a coordinate `{}` (the first has [{first}])", axes.columns);
        return Err(StageError::failed(format!("{problem}; set `columns` to an axis of the matrix")));
    }
    let trials_axis = if has_axis(runs, axes.trials)? { axes.trials } else { "" };
    let mut average: Vec<&str> = Vec::new();
    for axis in axes.average {
        if has_axis(runs, axis)? {
            average.push(axis);
        }
    }
    let named = |axis: &str| axis == axes.columns || axis == trials_axis || average.contains(&axis);
    let other = distinct_axes(runs).into_iter().filter(|axis| !named(axis));
    let fixed_axes: Vec<String> =
        other.filter(|axis| distinct(runs.iter().map(|run| on_axis(run, axis).unwrap_or(""))).len() > 1).collect();
    let groups = combinations(runs.iter(), &fixed_axes.iter().map(String::as_str).collect::<Vec<_>>());
    groups
        .into_iter()
        .map(|fixed| {
            let here: Vec<&Run<T>> = runs
                .iter()
                .filter(|run| fixed.iter().all(|(axis, value)| on_axis(run, axis).unwrap_or("") == value))
                .collect();
            slice(axes, trials_axis, &average, fixed, &here)
        })
        .collect()
}

/// Axis names in the order of first appearance.
fn distinct_axes<T>(runs: &[Run<T>]) -> Vec<String> {
    let mut axes: Vec<String> = Vec::new();
    for (axis, _) in runs.iter().flat_map(|run| &run.coordinates) {
        if !axes.contains(axis) {
            axes.push(axis.clone());
        }
    }
    axes
}

/// The combinations of values on `axes` that occur, the first axis varying slowest.
fn combinations<'r, T: 'r>(
    runs: impl Iterator<Item = &'r Run<T>> + Clone,
    axes: &[&str],
) -> Vec<Vec<(String, String)>> {
    let values: Vec<Vec<String>> =
        axes.iter().map(|axis| distinct(runs.clone().map(|run| on_axis(run, axis).unwrap_or("")))).collect();
    let mut found: BTreeMap<Vec<usize>, Vec<(String, String)>> = BTreeMap::new();
    for run in runs {
        let combination: Vec<(String, String)> =
            axes.iter().map(|axis| ((*axis).to_owned(), on_axis(run, axis).unwrap_or("").to_owned())).collect();
        let place = |(axis, (_, value)): (usize, &(String, String))| {
            values[axis].iter().position(|known| known == value).expect("every value was collected above")
        };
        found.insert(combination.iter().enumerate().map(place).collect(), combination);
    }
    found.into_values().collect()
}

fn slice<'a, T>(
    axes: &Axes,
    trials_axis: &str,
    average: &[&str],
    fixed: Vec<(String, String)>,
    runs: &[&'a Run<T>],
) -> Result<Slice<'a, T>, StageError> {
    let found = distinct(runs.iter().filter_map(|run| on_axis(run, axes.columns)));
    let mut columns = axes.order.to_vec();
    columns.extend(found.into_iter().filter(|column| !axes.order.contains(column)));
    let trials = distinct(runs.iter().map(|run| on_axis(run, trials_axis).unwrap_or("")));
    let members = combinations(runs.iter().copied(), average);
    let mut placed = BTreeMap::new();
    for run in runs {
        let column = on_axis(run, axes.columns).unwrap_or("");
        let trial = on_axis(run, trials_axis).unwrap_or("");
        let is_member = |member: &Vec<(String, String)>| {
            member.iter().all(|(axis, value)| on_axis(run, axis).unwrap_or("") == value)
        };
        let place = (
            columns.iter().position(|known| known == column).expect("every column was collected above"),
            trials.iter().position(|known| known == trial).expect("every trial was collected above"),
            members.iter().position(is_member).expect("every combination was collected above"),
        );
        if placed.insert(place, &run.value).is_some() {
            let twice = describe(&run.coordinates);
            return Err(StageError::failed(format!("two artifacts have the coordinates [{twice}]")));
        }
    }
    Ok(Slice { fixed, columns, trials, members, trials_axis: trials_axis.to_owned(), runs: placed })
}

impl<T> Slice<'_, T> {
    /// The place of a column.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The run of a column, trial and member.
    pub(super) fn run(&self, column: usize, trial: usize, member: usize) -> Option<&T> {
        self.runs.get(&(column, trial, member)).copied()
    }

    /// The unweighted mean over all members of a trial; nothing when one is missing or has no value.
    pub(super) fn in_trial(&self, column: usize, trial: usize, metric: impl Fn(&T) -> Option<f64>) -> Option<f64> {
        let values: Option<Vec<f64>> =
            (0..self.members.len()).map(|member| self.run(column, trial, member).and_then(&metric)).collect();
        mean(&values?).map(|mean| mean.value)
    }

    /// The mean over the complete trials.
    pub(super) fn over_trials(&self, trial_value: impl Fn(usize) -> Option<f64>) -> OverTrials {
        let values: Vec<f64> = (0..self.trials.len()).filter_map(trial_value).collect();
        OverTrials { mean: mean(&values), complete: values.len() }
    }

    /// What a column lacks, in words; empty when it is complete.
    pub(super) fn missing(&self, column: usize) -> Vec<String> {
        self.lacking(column, |run| run.is_none())
    }

    /// Where a column's runs are there but have no value, in words.
    pub(super) fn without_value(&self, column: usize, metric: impl Fn(&T) -> Option<f64>) -> Vec<String> {
        self.lacking(column, |run| run.is_some_and(|value| metric(value).is_none()))
    }

    fn lacking(&self, column: usize, lacks: impl Fn(Option<&T>) -> bool) -> Vec<String> {
        let members = 0..self.members.len();
        let lacks_all = |trial: usize| members.clone().all(|member| lacks(self.run(column, trial, member)));
        if (0..self.trials.len()).all(lacks_all) {
            return vec!["every run".to_owned()];
        }
        let mut words = Vec::new();
        for (trial, name) in self.trials.iter().enumerate() {
            if lacks_all(trial) {
                words.push(describe(&[(self.trials_axis.clone(), name.clone())]));
                continue;
            }
            for member in members.clone().filter(|&member| lacks(self.run(column, trial, member))) {
                let mut coordinates = self.members[member].clone();
                if !self.trials_axis.is_empty() {
                    coordinates.push((self.trials_axis.clone(), name.clone()));
                }
                words.push(format!("({})", describe(&coordinates)));
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(coordinates: &[(&str, &str)], value: f64) -> Run<f64> {
        let coordinates = coordinates.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect();
        Run { coordinates, value }
    }

    fn axes(average: &[String]) -> Axes<'_> {
        Axes { columns: "method", average, trials: "seed", order: &[] }
    }

    #[test]
    fn numbers_sort_by_size_and_words_stay_in_their_order() {
        assert_eq!(distinct(["10", "9", "1e1", "9"].into_iter()), ["9", "10", "1e1"]);
        assert_eq!(distinct(["pru", "original", "9", "pru"].into_iter()), ["pru", "original", "9"]);
    }

    #[test]
    fn a_trial_with_a_missing_class_leaves_the_mean_and_is_named() {
        let class = ["class".to_owned()];
        let runs = [
            run(&[("method", "pru"), ("class", "0"), ("seed", "7")], 0.1),
            run(&[("method", "pru"), ("class", "3"), ("seed", "7")], 0.3),
            run(&[("method", "pru"), ("class", "0"), ("seed", "8")], 0.9),
        ];
        let slices = slices(&axes(&class), &runs).unwrap();
        assert_eq!(slices[0].in_trial(0, 0, |v| Some(*v)), Some(0.2));
        assert_eq!(slices[0].in_trial(0, 1, |v| Some(*v)), None);
        let over = slices[0].over_trials(|trial| slices[0].in_trial(0, trial, |v| Some(*v)));
        assert_eq!((over.mean.unwrap().value, over.complete), (0.2, 1));
        assert_eq!(slices[0].missing(0), ["(class=3, seed=8)"]);
    }

    #[test]
    fn an_axis_nobody_named_splits_the_table_when_it_varies() {
        let runs = [
            run(&[("method", "pru"), ("lr", "0.1"), ("width", "1")], 0.1),
            run(&[("method", "pru"), ("lr", "0.01"), ("width", "1")], 0.2),
        ];
        let slices = slices(&axes(&[]), &runs).unwrap();
        let fixed: Vec<String> = slices.iter().map(|slice| describe(&slice.fixed)).collect();
        assert_eq!(fixed, ["lr=0.01", "lr=0.1"]);
    }

    #[test]
    fn equal_coordinates_and_half_known_axes_are_refused() {
        let twice = [run(&[("method", "pru")], 0.1), run(&[("method", "pru")], 0.2)];
        assert!(slices(&axes(&[]), &twice).is_err_and(|e| e.to_string().contains("[method=pru]")));
        let half = [run(&[("method", "pru"), ("seed", "7")], 0.1), run(&[("method", "original")], 0.2)];
        assert!(slices(&axes(&[]), &half).is_err_and(|e| e.to_string().contains("1 of 2 artifacts")));
        let none = [run(&[("how", "pru")], 0.1)];
        assert!(slices(&axes(&[]), &none).is_err_and(|e| e.to_string().contains("set `columns`")));
    }
}
