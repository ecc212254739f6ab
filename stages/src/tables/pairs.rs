//! Two columns compared pair by pair, within each trial and member: such a difference varies less than either column.
//!
//! Knows nothing of what is compared and of texts.

use super::document::{Cell, Figure, Paired, Unit, Verdict};
use super::slices::{Coordinates, Slice};
use super::statistics::{Mean, mean};

/// Differences are means of quotients of counts: an interval's end this near to 0 is at 0.
const ROUNDING: f64 = 1e-9;

/// `column` less `base`.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a, 'r, T> {
    pub slice: &'a Slice<'r, T>,
    pub column: usize,
    pub base: usize,
}

impl<T> Pair<'_, '_, T> {
    /// The mean difference of `value` of (column, trial, member): over the members that both have, then over trials.
    pub(super) fn figure(
        &self,
        unit: Unit,
        decimals: usize,
        at: Coordinates,
        value: impl Fn(usize, usize, usize) -> Option<f64>,
    ) -> Cell {
        let slice = self.slice;
        let (mut trials, mut pairs, mut runs) = (Vec::new(), 0, Vec::new());
        for trial in 0..slice.trials.len() {
            let mut differences = Vec::new();
            for member in 0..slice.members.len() {
                let both = value(self.column, trial, member).zip(value(self.base, trial, member));
                let Some((ours, theirs)) = both else { continue };
                differences.push(ours - theirs);
                runs.extend([self.column, self.base].into_iter().filter_map(|of| slice.index(of, trial, member)));
            }
            pairs += differences.len();
            trials.extend(mean(&differences).map(|mean| mean.value));
        }
        runs.sort_unstable();
        let found = mean(&trials);
        let verdict = found.map_or(Verdict::Undecided, verdict);
        let of = slice.trials.len() * slice.members.len();
        Cell::Figure(Box::new(Figure {
            unit,
            decimals,
            mean: found.map(|mean| mean.times(unit.factor())),
            trials: slice.trials.len(),
            classes: slice.members.len(),
            at,
            runs,
            missing: self.lacking(),
            comparison: None,
            paired: Some(Paired { pairs, of, verdict }),
        }))
    }

    /// The runs of either column that are not there, in words.
    fn lacking(&self) -> Vec<String> {
        let of = |place: usize| {
            let name = self.slice.columns[place].value.clone();
            self.slice.missing(place).into_iter().map(move |missing| format!("{name}: {missing}"))
        };
        of(self.column).chain(of(self.base)).collect()
    }
}

/// Whether the interval is wholly below or above 0; of one trial there is none.
fn verdict(mean: Mean) -> Verdict {
    match mean.half_width {
        Some(half) if mean.value + half < -ROUNDING => Verdict::Lower,
        Some(half) if mean.value - half > ROUNDING => Verdict::Higher,
        _ => Verdict::Undecided,
    }
}
