//! Where values lie along an axis, and which of them are named there. Knows nothing of where the axis lies.

use super::svg::{Span, Text, minus, plain};

/// Part of an axis below its logarithmic range that holds the line of exact zeros, with a gap between.
const ZERO_AT: f64 = 0.05;
const LOGARITHMS_FROM: f64 = 0.15;
/// At most so many powers of ten are named.
const POWERS_MAX: i32 = 6;

/// How values become places from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scale {
    Linear {
        low: f64,
        high: f64,
    },
    /// Powers of ten; with `zero`, below them a line where 0 lies.
    Log {
        low: i32,
        high: i32,
        zero: bool,
    },
    /// Equal parts, one for each of so many things; the value is the number of one.
    Parts(usize),
}

/// A named place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub at: f64,
    /// Empty for a tick without a name.
    pub label: Text,
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub label: Text,
    pub scale: Scale,
    pub ticks: Vec<Tick>,
}

impl Scale {
    /// The place of a value, outside 0 to 1 when it is out of range; none when it has no place, as 0 has no logarithm.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = match *self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { zero: true, .. } if value == 0.0 => ZERO_AT,
            Self::Log { low, high, zero } => {
                let from = if zero { LOGARITHMS_FROM } else { 0.0 };
                from + (1.0 - from) * (value.log10() - f64::from(low)) / f64::from(high - low)
            }
            Self::Parts(count) => (value + 0.5) / count as f64,
        };
        Some(place).filter(|place| place.is_finite())
    }

    /// Where the gap between 0 and the logarithms lies, if there is one.
    pub(super) fn gap(&self) -> Option<f64> {
        matches!(self, Self::Log { zero: true, .. }).then_some(f64::midpoint(ZERO_AT, LOGARITHMS_FROM))
    }
}

impl Axis {
    /// From `low` to `high`, with about `count` ticks at round values.
    pub(super) fn linear(label: Text, (low, high): (f64, f64), count: usize) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let (step, decimals) = round_step((high - low) / count as f64);
        let scale = Scale::Linear { low, high };
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let ticks = (first..=last).filter_map(|n| {
            let value = n as f64 * step;
            Some(Tick { at: scale.place(value)?, label: plain(minus(&format!("{:.decimals$}", value + 0.0))) })
        });
        let ticks = ticks.collect();
        Self { label, scale, ticks }
    }

    /// As [`Self::linear`], from and to ticks that hold all of `values` and `low`, within `limit`.
    pub(super) fn around(label: Text, values: impl Iterator<Item = f64>, limit: (f64, f64), count: usize) -> Self {
        let (least, most) = range(values).unwrap_or(limit);
        let (step, _) = round_step(((most - least) / count as f64).max((limit.1 - limit.0) * 1e-3));
        let low = ((least / step + 1e-9).floor() * step).max(limit.0);
        let high = ((most / step - 1e-9).ceil() * step).min(limit.1);
        Self::linear(label, (low, high), count)
    }

    /// Powers of ten around all positive `values`; a line for zeros where one is 0.
    pub(super) fn log(label: Text, values: impl Iterator<Item = f64> + Clone) -> Self {
        let zero = values.clone().any(|value| value == 0.0);
        let (least, most) = range(values.filter(|value| *value > 0.0)).unwrap_or((1e-3, 1.0));
        let low = (least.log10() + 1e-9).floor() as i32;
        let high = ((most.log10() - 1e-9).ceil() as i32).max(low + 1);
        let scale = Scale::Log { low, high, zero };
        let every = ((high - low) + POWERS_MAX - 1) / POWERS_MAX;
        let power = |exponent: i32| {
            let is_named = (exponent - low) % every == 0;
            let label = if is_named { vec![Span::Power(exponent)] } else { Text::new() };
            Some(Tick { at: scale.place(10_f64.powi(exponent))?, label })
        };
        let mut ticks: Vec<Tick> = (low..=high).filter_map(power).collect();
        ticks.extend(scale.place(0.0).filter(|_| zero).map(|at| Tick { at, label: plain("exactly 0") }));
        Self { label, scale, ticks }
    }

    /// One part for each name.
    pub(super) fn parts(label: Text, names: &[String]) -> Self {
        let scale = Scale::Parts(names.len());
        let tick = |(n, name): (usize, &String)| Some(Tick { at: scale.place(n as f64)?, label: plain(name.as_str()) });
        let ticks = names.iter().enumerate().filter_map(tick).collect();
        Self { label, scale, ticks }
    }
}

/// The least and the most.
pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |range, value| {
        let (least, most) = range.unwrap_or((value, value));
        Some((value.min(least), value.max(most)))
    })
}

/// The next larger of 1, 2 and 5 times a power of ten, and the decimals that its multiples need.
fn round_step(at_least: f64) -> (f64, usize) {
    let exponent = at_least.log10().floor() as i32;
    let candidates = [(1.0, exponent), (2.0, exponent), (5.0, exponent), (1.0, exponent + 1)];
    let steps = candidates.map(|(digit, exponent)| (digit * 10_f64.powi(exponent), exponent));
    let (step, exponent) =
        steps.into_iter().find(|(step, _)| *step >= at_least * (1.0 - 1e-9)).expect("ten times the power is larger");
    (step, usize::try_from(-exponent).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        let text = |span: &Span| match span {
            Span::Plain(text) => text.clone(),
            Span::Symbol(letter, below) => format!("{letter}{below}"),
            Span::Power(exponent) => format!("1e{exponent}"),
        };
        axis.ticks.iter().flat_map(|tick| &tick.label).map(text).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(labels(&Axis::linear(plain(""), (0.0, 100.0), 5)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Axis::linear(plain(""), (0.0, 1.2), 4)), ["0.0", "0.5", "1.0"]);
        assert_eq!(
            labels(&Axis::linear(plain(""), (-0.2, 0.2), 4)),
            ["\u{2212}0.2", "\u{2212}0.1", "0.0", "0.1", "0.2"]
        );
        assert_eq!(
            labels(&Axis::around(plain(""), [63.0, 98.7].into_iter(), (0.0, 100.0), 4)),
            ["60", "70", "80", "90", "100"]
        );
    }

    #[test]
    fn a_range_without_extent_still_has_an_axis() {
        for values in [vec![], vec![0.0], vec![100.0], vec![42.0, 42.0]] {
            let axis = Axis::around(plain(""), values.iter().copied(), (0.0, 100.0), 5);
            assert!(axis.ticks.len() >= 2, "{values:?}: {axis:?}");
            assert!(
                values.iter().all(|v| axis.scale.place(*v).is_some_and(|at| (0.0..=1.0).contains(&at))),
                "{axis:?}"
            );
        }
    }

    #[test]
    fn zero_has_a_line_of_its_own_below_every_power() {
        let axis = Axis::log(plain(""), [0.0, 3e-4, 0.2].into_iter());
        assert_eq!(labels(&axis), ["1e-4", "1e-3", "1e-2", "1e-1", "1e0", "exactly 0"]);
        let zero = axis.scale.place(0.0).unwrap();
        assert!(zero < axis.scale.gap().unwrap() && axis.scale.gap().unwrap() < axis.scale.place(1e-4).unwrap());
        let without = Axis::log(plain(""), [3e-4].into_iter());
        assert_eq!((without.scale.place(0.0), without.scale.gap()), (None, None));
        assert_eq!(without.scale.place(1e-4), Some(0.0));
    }

    #[test]
    fn many_powers_are_not_all_named() {
        let axis = Axis::log(plain(""), [1e-12, 10.0].into_iter());
        assert!(axis.ticks.len() == 14 && labels(&axis).len() <= 6, "{axis:?}");
    }
}
