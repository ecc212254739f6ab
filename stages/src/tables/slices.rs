//! Sorts runs by their coordinates: into sections, rows of sections, columns, trials, and the values averaged over.
//!
//! An axis that plays no part and takes several values splits the runs into sections: a table never averages over what its
//! author did not name. Knows nothing of metrics and text formats.

use std::collections::BTreeMap;

use super::statistics::mean;
use crate::stage::StageError;

/// Axes with their values, in order.
pub(crate) type Coordinates = Vec<(String, String)>;

/// One artifact with the coordinates of the node that made it.
pub(crate) struct Run<T> {
    pub coordinates: Coordinates,
    pub value: Result<T, Absent>,
}

/// Why there is nothing of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It is planned and not there yet.
    Planned,
    /// Its training diverged.
    Diverged,
}

/// Which axis plays which part.
pub(crate) struct Axes<'a> {
    /// One column of the table for each of its values.
    pub columns: &'a str,
    /// Divides the columns of the runs that have it.
    pub within: Option<&'a str>,
    /// Their values follow each other down the rows of a section.
    pub rows: &'a [String],
    /// Averaged over within a trial.
    pub average: &'a [String],
    /// Averaged over last; the interval is over its values.
    pub trials: &'a str,
    /// Values of `columns` that come first, in this order, even when there is no run of them.
    pub order: &'a [String],
}

/// A column of a section.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// On the axis of the columns.
    pub value: String,
    /// On the axis that divides them; none of runs without it.
    pub within: Option<String>,
}

/// Slices with the same columns, which one grid can show.
pub(crate) struct Section<'a, T> {
    /// The values of the axes that play no part, where these take several.
    pub fixed: Coordinates,
    /// At least one; each knows `fixed` too.
    pub slices: Vec<Slice<'a, T>>,
}

/// A run's place among all that were gathered, and what there is of it.
type Indexed<'a, T> = (usize, Result<&'a T, Absent>);

/// The runs between which means are taken.
pub(crate) struct Slice<'a, T> {
    /// Its values on the axes of the rows.
    pub rows: Coordinates,
    /// Those of the section.
    pub columns: Vec<Column>,
    /// Values on the trials axis; a single empty one without such an axis.
    pub trials: Vec<String>,
    /// Combinations of the values averaged over; a single empty one without such axes.
    pub members: Vec<Coordinates>,
    /// The section's values.
    pub fixed: Coordinates,
    /// Axes without a part that take one value.
    constant: Coordinates,
    trials_axis: String,
    /// By column, trial and member.
    runs: BTreeMap<(usize, usize, usize), Indexed<'a, T>>,
}

/// `method=pru, class=3`.
pub(crate) fn describe(coordinates: &[(String, String)]) -> String {
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

/// The axes of the runs by the parts that they play.
struct Parts<'a> {
    /// Empty without trials.
    trials: &'a str,
    average: Vec<&'a str>,
    rows: Vec<&'a str>,
    /// Play no part and take several values.
    fixed: Vec<String>,
    /// Play no part and take one value.
    constant: Coordinates,
}

/// Sorts `runs` into sections.
///
/// # Errors
/// When no run has the axis of the columns, only some have one of the trials or averages, two share all coordinates, or
/// one fits into no section.
pub(crate) fn sections<'a, T>(axes: &Axes, runs: &'a [Run<T>]) -> Result<Vec<Section<'a, T>>, StageError> {
    if !has_axis(runs, axes.columns)? {
        let first = runs.first().map_or_else(String::new, |run| describe(&run.coordinates));
        let problem = format!("no artifact has a coordinate `{}` (the first has [{first}])", axes.columns);
        return Err(StageError::failed(format!("{problem}; set `columns` to an axis of the matrix")));
    }
    let parts = parts(axes, runs)?;
    let all: Vec<(usize, &Run<T>)> = runs.iter().enumerate().collect();
    let fixed: Vec<&str> = parts.fixed.iter().map(String::as_str).collect();
    let sections = groups(&all, &fixed)?.into_iter().map(|(fixed, here)| {
        let columns = columns(axes, &here);
        let slices = groups(&here, &parts.rows)?;
        let slices = slices.into_iter().map(|(rows, here)| slice(axes, &parts, &fixed, rows, &columns, &here));
        Ok(Section { slices: slices.collect::<Result<_, StageError>>()?, fixed })
    });
    sections.collect()
}

fn parts<'a, T>(axes: &Axes<'a>, runs: &[Run<T>]) -> Result<Parts<'a>, StageError> {
    let trials = if has_axis(runs, axes.trials)? { axes.trials } else { "" };
    let mut average: Vec<&str> = Vec::new();
    for axis in axes.average {
        if has_axis(runs, axis)? {
            average.push(axis);
        }
    }
    let is_there = |axis: &&str| runs.iter().any(|run| on_axis(run, axis).is_some());
    let rows: Vec<&str> = axes.rows.iter().map(String::as_str).filter(is_there).collect();
    let named = |axis: &str| {
        axis == axes.columns
            || axes.within == Some(axis)
            || axis == trials
            || average.contains(&axis)
            || rows.contains(&axis)
    };
    let (mut fixed, mut constant) = (Vec::new(), Coordinates::new());
    for axis in axis_names(runs).into_iter().filter(|axis| !named(axis)) {
        match distinct(runs.iter().filter_map(|run| on_axis(run, &axis))).as_slice() {
            [only] => constant.push((axis, only.clone())),
            _ => fixed.push(axis),
        }
    }
    Ok(Parts { trials, average, rows, fixed, constant })
}

/// Axis names in the order of first appearance.
pub(crate) fn axis_names<T>(runs: &[Run<T>]) -> Vec<String> {
    let mut axes: Vec<String> = Vec::new();
    for (axis, _) in runs.iter().flat_map(|run| &run.coordinates) {
        if !axes.contains(axis) {
            axes.push(axis.clone());
        }
    }
    axes
}

type Placed<'a, T> = (usize, &'a Run<T>);
/// A combination of values and the runs that have it.
type Group<'a, T> = (Coordinates, Vec<Placed<'a, T>>);

/// The runs of each combination of values on `axes`; a run that lacks an axis belongs to all its values.
fn groups<'a, T>(runs: &[Placed<'a, T>], axes: &[&str]) -> Result<Vec<Group<'a, T>>, StageError> {
    let whole = runs.iter().map(|(_, run)| *run).filter(|run| axes.iter().all(|axis| on_axis(run, axis).is_some()));
    let combinations = combinations(whole, axes);
    let fits = |run: &Run<T>, combination: &Coordinates| {
        combination.iter().all(|(axis, value)| on_axis(run, axis).is_none_or(|own| own == value))
    };
    if let Some((_, run)) = runs.iter().find(|(_, run)| !combinations.iter().any(|one| fits(run, one))) {
        let (axes, own) = (axes.join("`, `"), describe(&run.coordinates));
        return Err(StageError::failed(format!("no other artifact shares `{axes}` with that of [{own}]")));
    }
    let of = |combination: Coordinates| {
        let here = runs.iter().filter(|(_, run)| fits(run, &combination)).copied().collect();
        (combination, here)
    };
    Ok(combinations.into_iter().map(of).collect())
}

/// The combinations of values on `axes` that occur, the first axis varying slowest.
fn combinations<'r, T: 'r>(runs: impl Iterator<Item = &'r Run<T>> + Clone, axes: &[&str]) -> Vec<Coordinates> {
    let values: Vec<Vec<String>> =
        axes.iter().map(|axis| distinct(runs.clone().map(|run| on_axis(run, axis).unwrap_or("")))).collect();
    let mut found: BTreeMap<Vec<usize>, Coordinates> = BTreeMap::new();
    for run in runs {
        let combination: Coordinates =
            axes.iter().map(|axis| ((*axis).to_owned(), on_axis(run, axis).unwrap_or("").to_owned())).collect();
        let place = |(axis, (_, value)): (usize, &(String, String))| {
            values[axis].iter().position(|known| known == value).expect("every value was collected above")
        };
        found.insert(combination.iter().enumerate().map(place).collect(), combination);
    }
    found.into_values().collect()
}

fn columns<T>(axes: &Axes, runs: &[Placed<'_, T>]) -> Vec<Column> {
    let found = distinct(runs.iter().filter_map(|(_, run)| on_axis(run, axes.columns)));
    let parts_of = |chosen: &dyn Fn(&Run<T>) -> bool| -> Vec<String> {
        let Some(within) = axes.within else { return Vec::new() };
        distinct(runs.iter().filter(|(_, run)| chosen(run)).filter_map(|(_, run)| on_axis(run, within)))
    };
    let others = found.iter().filter(|value| !axes.order.contains(value));
    let mut columns = Vec::new();
    for value in axes.order.iter().chain(others) {
        let is_here = |run: &Run<T>| on_axis(run, axes.columns) == Some(value);
        let undivided =
            runs.iter().any(|(_, run)| is_here(run) && axes.within.is_none_or(|axis| on_axis(run, axis).is_none()));
        let parts = if found.contains(value) { parts_of(&is_here) } else { parts_of(&|_| true) };
        if undivided || parts.is_empty() {
            columns.push(Column { value: value.clone(), within: None });
        }
        columns.extend(parts.into_iter().map(|part| Column { value: value.clone(), within: Some(part) }));
    }
    columns
}

fn slice<'a, T>(
    axes: &Axes,
    parts: &Parts,
    fixed: &Coordinates,
    rows: Coordinates,
    columns: &[Column],
    runs: &[Placed<'a, T>],
) -> Result<Slice<'a, T>, StageError> {
    let trials = distinct(runs.iter().map(|(_, run)| on_axis(run, parts.trials).unwrap_or("")));
    let members = combinations(runs.iter().map(|(_, run)| *run), &parts.average);
    let mut placed = BTreeMap::new();
    for (index, run) in runs {
        let own = (on_axis(run, axes.columns), axes.within.and_then(|axis| on_axis(run, axis)));
        let is_column = |column: &Column| own == (Some(column.value.as_str()), column.within.as_deref());
        let trial = on_axis(run, parts.trials).unwrap_or("");
        let is_member =
            |member: &Coordinates| member.iter().all(|(axis, value)| on_axis(run, axis).unwrap_or("") == value);
        let place = (
            columns.iter().position(is_column).expect("every column was collected above"),
            trials.iter().position(|known| known == trial).expect("every trial was collected above"),
            members.iter().position(is_member).expect("every combination was collected above"),
        );
        if placed.insert(place, (*index, run.value.as_ref().map_err(|why| *why))).is_some() {
            let twice = describe(&run.coordinates);
            return Err(StageError::failed(format!("two artifacts have the coordinates [{twice}]")));
        }
    }
    Ok(Slice {
        rows,
        columns: columns.to_vec(),
        trials,
        members,
        fixed: fixed.clone(),
        constant: parts.constant.clone(),
        trials_axis: parts.trials.to_owned(),
        runs: placed,
    })
}

impl<T> Slice<'_, T> {
    /// The place of a column by its value on the axis of the columns.
    pub(crate) fn column(&self, value: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.value == value)
    }

    /// The value that all its runs have on an axis that is none of columns, trials and means.
    pub(super) fn common(&self, axis: &str) -> Option<&str> {
        let all = self.rows.iter().chain(&self.fixed).chain(&self.constant);
        all.into_iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
    }

    /// The run of a column, trial and member.
    pub(crate) fn run(&self, column: usize, trial: usize, member: usize) -> Option<&T> {
        self.runs.get(&(column, trial, member)).and_then(|(_, value)| value.ok())
    }

    /// The place of that run among all that were gathered.
    pub(crate) fn index(&self, column: usize, trial: usize, member: usize) -> Option<usize> {
        self.runs.get(&(column, trial, member)).map(|(index, _)| *index)
    }

    /// Whether a column has every run of a trial.
    pub(crate) fn is_complete(&self, column: usize, trial: usize) -> bool {
        (0..self.members.len()).all(|member| self.run(column, trial, member).is_some())
    }

    /// The unweighted mean over all members of a trial; nothing when one is missing or has no value.
    pub(crate) fn in_trial(&self, column: usize, trial: usize, metric: impl Fn(&T) -> Option<f64>) -> Option<f64> {
        let values: Option<Vec<f64>> =
            (0..self.members.len()).map(|member| self.run(column, trial, member).and_then(&metric)).collect();
        mean(&values?).map(|mean| mean.value)
    }

    /// What a column lacks, in words; empty when it is complete.
    pub(crate) fn missing(&self, column: usize) -> Vec<String> {
        let diverged = |trial: usize, member: usize| {
            self.runs.get(&(column, trial, member)).is_some_and(|(_, value)| matches!(value, Err(Absent::Diverged)))
        };
        let mut words =
            self.places(|trial, member| self.run(column, trial, member).is_none() && !diverged(trial, member));
        words.extend(self.places(diverged).into_iter().map(|place| format!("{place} (diverged)")));
        words
    }

    /// Where a column's runs are there but have no value, in words.
    pub(super) fn without_value(&self, column: usize, metric: impl Fn(&T) -> Option<f64>) -> Vec<String> {
        self.places(|trial, member| self.run(column, trial, member).is_some_and(|value| metric(value).is_none()))
    }

    /// The places of (trial, member) of which something is true, in words; a trial of which all is, is named whole.
    pub(super) fn places(&self, is: impl Fn(usize, usize) -> bool) -> Vec<String> {
        let members = 0..self.members.len();
        let whole = |trial: usize| members.clone().all(|member| is(trial, member));
        if (0..self.trials.len()).all(whole) {
            return vec!["every run".to_owned()];
        }
        let mut words = Vec::new();
        for (trial, name) in self.trials.iter().enumerate() {
            if whole(trial) {
                words.push(describe(&[(self.trials_axis.clone(), name.clone())]));
                continue;
            }
            for member in members.clone().filter(|&member| is(trial, member)) {
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

/// What is left of a section when values are left out.
pub(super) struct Rest<'a, T> {
    /// None where nothing is left.
    pub section: Option<Section<'a, T>>,
    /// The rows of slices of which nothing is left.
    pub emptied: Vec<Coordinates>,
    /// Whether any slice had one of the values.
    pub changed: bool,
}

impl<'a, T> Section<'a, T> {
    /// Without the members and trials that have one of these values.
    pub(super) fn without(&self, values: &BTreeMap<String, String>) -> Rest<'a, T> {
        let slices: Vec<Slice<'a, T>> = self.slices.iter().map(|slice| slice.without(values)).collect();
        let size = |slice: &Slice<T>| (slice.members.len(), slice.trials.len());
        let changed = self.slices.iter().zip(&slices).any(|(before, after)| size(before) != size(after));
        let (left, emptied): (Vec<_>, Vec<_>) =
            slices.into_iter().partition(|slice| !slice.members.is_empty() && !slice.trials.is_empty());
        Rest {
            section: (!left.is_empty()).then(|| Section { fixed: self.fixed.clone(), slices: left }),
            emptied: emptied.into_iter().map(|slice| slice.rows).collect(),
            changed,
        }
    }
}

impl<T> Slice<'_, T> {
    fn without(&self, values: &BTreeMap<String, String>) -> Self {
        let is_out = |(axis, value): &(String, String)| values.get(axis) == Some(value);
        let stays = |trial: &usize| values.get(&self.trials_axis) != Some(&self.trials[*trial]);
        let trials: Vec<usize> = (0..self.trials.len()).filter(stays).collect();
        let members: Vec<usize> =
            (0..self.members.len()).filter(|&member| !self.members[member].iter().any(is_out)).collect();
        let place = |all: &[usize], old: usize| all.iter().position(|kept| *kept == old);
        let moved = self.runs.iter().filter_map(|(&(column, trial, member), &run)| {
            Some(((column, place(&trials, trial)?, place(&members, member)?), run))
        });
        Self {
            rows: self.rows.clone(),
            columns: self.columns.clone(),
            runs: moved.collect(),
            trials: trials.into_iter().map(|trial| self.trials[trial].clone()).collect(),
            members: members.into_iter().map(|member| self.members[member].clone()).collect(),
            fixed: self.fixed.clone(),
            constant: self.constant.clone(),
            trials_axis: self.trials_axis.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(coordinates: &[(&str, &str)], value: f64) -> Run<f64> {
        let coordinates = coordinates.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect();
        Run { coordinates, value: Ok(value) }
    }

    fn axes(average: &[String]) -> Axes<'_> {
        Axes { columns: "method", within: None, rows: &[], average, trials: "seed", order: &[] }
    }

    fn names(columns: &[Column]) -> Vec<String> {
        columns.iter().map(|column| format!("{} {}", column.value, column.within.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn numbers_sort_by_size_and_words_stay_in_their_order() {
        assert_eq!(distinct(["10", "9", "1e1", "9"].into_iter()), ["9", "10", "1e1"]);
        assert_eq!(distinct(["pru", "original", "9", "pru"].into_iter()), ["pru", "original", "9"]);
    }

    #[test]
    fn a_trial_with_a_missing_class_has_no_mean_and_is_named() {
        let class = ["class".to_owned()];
        let runs = [
            run(&[("method", "pru"), ("class", "0"), ("seed", "7")], 0.1),
            run(&[("method", "pru"), ("class", "3"), ("seed", "7")], 0.3),
            run(&[("method", "pru"), ("class", "0"), ("seed", "8")], 0.9),
        ];
        let sections = sections(&axes(&class), &runs).unwrap();
        let slice = &sections[0].slices[0];
        assert_eq!(slice.in_trial(0, 0, |v| Some(*v)), Some(0.2));
        assert_eq!(slice.in_trial(0, 1, |v| Some(*v)), None);
        assert_eq!([slice.is_complete(0, 0), slice.is_complete(0, 1)], [true, false]);
        assert_eq!(slice.missing(0), ["(class=3, seed=8)"]);
    }

    #[test]
    fn what_is_left_without_a_value_keeps_the_places_of_its_runs() {
        let class = ["class".to_owned()];
        let runs = [
            run(&[("method", "pru"), ("class", "0"), ("seed", "7")], 0.1),
            run(&[("method", "pru"), ("class", "3"), ("seed", "7")], 0.3),
            run(&[("method", "pru"), ("class", "3"), ("seed", "8")], 0.9),
        ];
        let sections = sections(&axes(&class), &runs).unwrap();
        let values = |axis: &str, value: &str| BTreeMap::from([(axis.to_owned(), value.to_owned())]);
        let rest = sections[0].without(&values("class", "0"));
        let slice = &rest.section.as_ref().unwrap().slices[0];
        assert_eq!((slice.in_trial(0, 1, |v| Some(*v)), slice.index(0, 1, 0)), (Some(0.9), Some(2)));
        assert_eq!((rest.changed, slice.missing(0).len(), slice.members.len()), (true, 0, 1));
        let later = sections[0].without(&values("seed", "7")).section.unwrap();
        assert_eq!((&later.slices[0].trials, later.slices[0].index(0, 0, 1)), (&vec!["8".to_owned()], Some(2)));
        assert!(!sections[0].without(&values("class", "5")).changed);
        let all = BTreeMap::from([("seed".to_owned(), "8".to_owned()), ("class".to_owned(), "3".to_owned())]);
        assert_eq!(sections[0].without(&all).section.unwrap().slices[0].members.len(), 1);
    }

    #[test]
    fn a_planned_run_keeps_its_place_and_is_missing() {
        let mut runs = [run(&[("method", "a"), ("seed", "7")], 0.1), run(&[("method", "b"), ("seed", "8")], 0.2)];
        runs[1].value = Err(Absent::Planned);
        let sections = sections(&axes(&[]), &runs).unwrap();
        let slice = &sections[0].slices[0];
        assert_eq!(slice.trials, ["7", "8"]);
        assert_eq!((slice.missing(0), slice.missing(1)), (vec!["seed=8".to_owned()], vec!["every run".to_owned()]));
        assert_eq!([slice.index(1, 1, 0), slice.index(1, 0, 0)], [Some(1), None]);
    }

    #[test]
    fn an_axis_nobody_named_splits_the_table_when_it_varies() {
        let runs = [
            run(&[("method", "pru"), ("lr", "0.1"), ("width", "1")], 0.1),
            run(&[("method", "pru"), ("lr", "0.01"), ("width", "1")], 0.2),
        ];
        let sections = sections(&axes(&[]), &runs).unwrap();
        let fixed: Vec<String> = sections.iter().map(|section| describe(&section.fixed)).collect();
        assert_eq!(fixed, ["lr=0.01", "lr=0.1"]);
        assert_eq!(sections[0].slices[0].common("width"), Some("1"));
        assert_eq!(sections[1].slices[0].common("lr"), Some("0.1"));
    }

    #[test]
    fn rows_share_columns_and_a_run_without_an_axis_stands_for_all_its_values() {
        let rows = ["setting".to_owned()];
        let axes = Axes { within: Some("forget_on"), rows: &rows, ..axes(&[]) };
        let mut runs = vec![
            run(&[("setting", "a"), ("method", "original")], 0.9),
            run(&[("setting", "b"), ("method", "original")], 0.8),
            run(&[("setting", "b"), ("method", "pru"), ("forget_on", "train")], 0.1),
            run(&[("setting", "b"), ("method", "pru"), ("forget_on", "request")], 0.2),
        ];
        let found = sections(&axes, &runs).unwrap();
        let [section] = found.as_slice() else { panic!("one section") };
        assert_eq!(names(&section.slices[0].columns), ["original -", "pru train", "pru request"]);
        assert_eq!(section.slices[1].columns, section.slices[0].columns);
        assert_eq!(
            [section.slices[0].missing(1), section.slices[1].missing(1)],
            [vec!["every run".to_owned()], vec![]]
        );
        // Without a part to play, the forget data split the table, and the original is in both halves.
        let axes = Axes { within: None, ..axes };
        let found = sections(&axes, &runs).unwrap();
        let fixed: Vec<String> = found.iter().map(|section| describe(&section.fixed)).collect();
        assert_eq!(fixed, ["forget_on=train", "forget_on=request"]);
        assert!(found.iter().all(|section| section.slices[1].run(0, 0, 0) == Some(&0.8)));
        runs.push(run(&[("setting", "c"), ("method", "pru"), ("forget_on", "test")], 0.1));
        let sizes: Vec<usize> = sections(&axes, &runs).unwrap().iter().map(|section| section.slices.len()).collect();
        assert_eq!(sizes, [2, 2, 3]);
    }

    #[test]
    fn a_column_that_is_only_asked_for_is_divided_like_the_others() {
        let order = ["retrain".to_owned(), "pru".to_owned()];
        let axes = Axes { within: Some("forget_on"), order: &order, ..axes(&[]) };
        let runs = [run(&[("method", "pru"), ("forget_on", "train")], 0.1)];
        let found = sections(&axes, &runs).unwrap();
        assert_eq!(names(&found[0].slices[0].columns), ["retrain train", "pru train"]);
    }

    #[test]
    fn equal_coordinates_and_half_known_axes_are_refused() {
        let twice = [run(&[("method", "pru")], 0.1), run(&[("method", "pru")], 0.2)];
        assert!(sections(&axes(&[]), &twice).is_err_and(|e| e.to_string().contains("[method=pru]")));
        let half = [run(&[("method", "pru"), ("seed", "7")], 0.1), run(&[("method", "original")], 0.2)];
        assert!(sections(&axes(&[]), &half).is_err_and(|e| e.to_string().contains("1 of 2 artifacts")));
        let none = [run(&[("how", "pru")], 0.1)];
        assert!(sections(&axes(&[]), &none).is_err_and(|e| e.to_string().contains("set `columns`")));
        let apart = [
            run(&[("method", "a"), ("x", "1"), ("y", "1")], 0.1),
            run(&[("method", "a"), ("x", "2"), ("y", "2")], 0.1),
            run(&[("method", "b"), ("x", "3")], 0.1),
        ];
        assert!(sections(&axes(&[]), &apart).is_err_and(|e| e.to_string().contains("[method=b, x=3]")));
    }
}
