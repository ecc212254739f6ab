//! `sweep:` in a matrix: values drawn by a seed, as ordinary cells.
//!
//! ```yaml
//! sweep:
//!   samples: 20
//!   seed: 7                               # 0 when it is left out
//!   lr: {log_uniform: [1e-4, 1e-1]}
//!   momentum: {uniform: [0.5, 0.99]}
//!   width: {int_uniform: [16, 256]}       # both ends are among them
//!   optimizer: {choice: [sgd, adam]}
//!   noise: {normal: [0, 0.1]}             # mean and deviation
//! ```
//!
//! What is drawn depends on the seed, the axis and the number of the draw alone: more samples or one more axis change none
//! of it, so that an enlarged sweep finds all its results. Numbers are rounded to six digits, which makes them the same on
//! every machine and short in names. Draws that come out alike are one cell.

use std::collections::BTreeSet;
use std::sync::Arc;

use pru_flow_stages::rng::{normal, stream};
use rand::RngCore;

use super::Coordinates;
use crate::problem::{Problem, Problems, Span, suggest};
use crate::template::Coordinate;
use crate::yaml::{Key, Node, Value};

/// More cells than this are a mistake.
const SAMPLES_MAX: i64 = 1_000_000;

/// Ways to draw, and what each is given.
const WAYS: [(&str, &str); 5] = [
    ("uniform", "{uniform: [0.5, 0.99]}"),
    ("log_uniform", "{log_uniform: [1e-4, 1e-1]}"),
    ("int_uniform", "{int_uniform: [16, 256]}"),
    ("choice", "{choice: [sgd, adam]}"),
    ("normal", "{normal: [0, 0.1]}"),
];

/// How the values of an axis are drawn.
enum Way {
    Uniform(f64, f64),
    LogUniform(f64, f64),
    IntUniform(i64, i64),
    Choice(Vec<Node>),
    Normal(f64, f64),
    /// Cannot be told, which is a problem already.
    Wrong,
}

/// The cells of a sweep.
pub fn draws(key: &Key, node: &Node, problems: &mut Problems) -> Vec<Coordinates> {
    let Value::Map(entries) = &node.value else {
        if node.value != Value::Wrong {
            let message = format!("`sweep` is a mapping, not {}", node.kind());
            problems.push(node.problem(message).help("sweep: {samples: 20, lr: {log_uniform: [1e-4, 1e-1]}}"));
        }
        return vec![vec![Coordinate { axis: Arc::from(key.text.as_str()), value: wrong(node), attributes: None }]];
    };
    let samples = whole(node, "samples", (1, SAMPLES_MAX), problems);
    if node.get("samples").is_none() {
        let problem = Problem::new("`sweep` does not say how many cells it draws", key.span);
        problems.push(problem.help("add `samples: 20`"));
    }
    let seed = if node.get("seed").is_some() { whole(node, "seed", (0, i64::MAX), problems) } else { Some(0) };
    let axes = entries.iter().filter(|(key, _)| !["samples", "seed"].contains(&key.text.as_str()));
    let axes: Vec<(Arc<str>, &Node, Way)> =
        axes.map(|(axis, node)| (Arc::from(axis.text.as_str()), node, way(axis, node, problems))).collect();
    if axes.is_empty() {
        let problem = Problem::new("`sweep` draws nothing", key.span);
        problems.push(problem.help("name what is drawn: `lr: {log_uniform: [1e-4, 1e-1]}`"));
    }
    let untold = axes.is_empty() || axes.iter().any(|(_, _, way)| matches!(way, Way::Wrong));
    let (Some(samples), Some(seed), false) = (samples, seed, untold) else {
        let cell = axes.iter().map(|(axis, node, _)| Coordinate {
            axis: Arc::clone(axis),
            value: wrong(node),
            attributes: None,
        });
        let none = Coordinate { axis: Arc::from(key.text.as_str()), value: wrong(node), attributes: None };
        return vec![cell.chain(axes.is_empty().then_some(none)).collect()];
    };
    let draw = |index: i64| -> Coordinates {
        let of_axis = |(axis, node, way): &(Arc<str>, &Node, Way)| {
            let value = way.draw(seed, axis, index, node.span);
            Coordinate { axis: Arc::clone(axis), value, attributes: None }
        };
        axes.iter().map(of_axis).collect()
    };
    let mut seen = BTreeSet::new();
    let texts = |cell: &Coordinates| cell.iter().map(|one| one.value.scalar_text()).collect::<Vec<_>>();
    (0..samples).map(draw).filter(|cell| seen.insert(texts(cell))).collect()
}

fn wrong(node: &Node) -> Node {
    Node { value: Value::Wrong, ..*node }
}

/// A whole number among the fields of a sweep.
fn whole(sweep: &Node, name: &str, (low, high): (i64, i64), problems: &mut Problems) -> Option<i64> {
    let node = sweep.get(name)?;
    match node.value {
        Value::Int(number) if (low..=high).contains(&number) => Some(number),
        Value::Wrong => None,
        _ => {
            let range = if high == i64::MAX { format!("from {low}") } else { format!("from {low} to {high}") };
            problems.push(node.problem(format!("`{name}` is a whole number {range}")).help(format!("{name}: 20")));
            None
        }
    }
}

fn way(axis: &Key, node: &Node, problems: &mut Problems) -> Way {
    let examples = || WAYS.map(|(_, example)| format!("`{example}`")).join(", ");
    let (name, given) = match &node.value {
        Value::Map(entries) if entries.len() == 1 => (&entries[0].0, &entries[0].1),
        Value::Wrong => return Way::Wrong,
        _ => {
            let problem = node.problem(format!("the axis `{}` of a sweep says how it is drawn", axis.text));
            problems.push(problem.help(format!("as one of {}", examples())));
            return Way::Wrong;
        }
    };
    let Some((_, example)) = WAYS.iter().find(|(known, _)| *known == name.text) else {
        let known = WAYS.map(|(known, _)| known);
        let problem = Problem::new(format!("unknown way to draw: `{}`", name.text), name.span);
        problems.push(problem.help(suggest(&name.text, "ways", known)));
        return Way::Wrong;
    };
    if given.holds_wrong() {
        return Way::Wrong;
    }
    way_of(&name.text, given).unwrap_or_else(|message| {
        problems.push(given.problem(format!("`{}` {message}", name.text)).help(format!("{}: {example}", axis.text)));
        Way::Wrong
    })
}

fn way_of(name: &str, given: &Node) -> Result<Way, &'static str> {
    let items = if let Value::List(items) = &given.value { items.as_slice() } else { &[] };
    let number = |node: &Node| match node.value {
        Value::Int(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    };
    let pair = || match items {
        [low, high] => number(low).zip(number(high)),
        _ => None,
    };
    match name {
        "choice" if items.is_empty() || items.iter().any(|item| item.scalar_text().is_none()) => {
            Err("takes a list of single values")
        }
        "choice" => Ok(Way::Choice(items.to_vec())),
        "int_uniform" => match items {
            [Node { value: Value::Int(low), .. }, Node { value: Value::Int(high), .. }] if low < high => {
                Ok(Way::IntUniform(*low, *high))
            }
            _ => Err("takes two whole numbers, the smaller one first"),
        },
        "normal" => match pair() {
            Some((mean, deviation)) if deviation > 0.0 && (mean.abs() + 100.0 * deviation).is_finite() => {
                Ok(Way::Normal(mean, deviation))
            }
            _ => Err("takes a mean and a deviation above 0"),
        },
        "log_uniform" => match pair() {
            Some((low, high)) if low > 0.0 && low < high => Ok(Way::LogUniform(low, high)),
            _ => Err("takes two numbers above 0, the smaller one first"),
        },
        _ => match pair() {
            Some((low, high)) if low < high && (high - low).is_finite() => Ok(Way::Uniform(low, high)),
            _ => Err("takes two numbers, the smaller one first"),
        },
    }
}

impl Way {
    fn draw(&self, seed: i64, axis: &str, index: i64, span: Span) -> Node {
        let mut rng = stream(seed as u64, &format!("sweep/{axis}/{index}"));
        let here = |value| Node::new(value, span);
        // In [0, 1), by the 53 bits that a float has.
        let unit = |bits: u64| (bits >> 11) as f64 / (1_u64 << 53) as f64;
        match self {
            Self::Uniform(low, high) => {
                here(Value::Float(short(low + unit(rng.next_u64()) * (high - low)).clamp(*low, *high)))
            }
            Self::LogUniform(low, high) => {
                // Not the machine's own logarithm, whose last digit differs from one to another.
                let (from, to) = (libm::log(*low), libm::log(*high));
                let value = libm::exp(from + unit(rng.next_u64()) * (to - from));
                here(Value::Float(short(value).clamp(*low, *high)))
            }
            Self::IntUniform(low, high) => {
                let count = (i128::from(*high) - i128::from(*low) + 1) as u128;
                let step = (u128::from(rng.next_u64()) * count) >> 64;
                here(Value::Int((i128::from(*low) + step as i128) as i64))
            }
            Self::Choice(values) => {
                let at = (u128::from(rng.next_u64()) * values.len() as u128) >> 64;
                values[at as usize].clone()
            }
            Self::Normal(mean, deviation) => {
                here(Value::Float(short(mean + deviation * normal(&mut rng, 1).into_iter().sum::<f64>())))
            }
            Self::Wrong => here(Value::Wrong),
        }
    }
}

/// A number rounded to six digits.
fn short(number: f64) -> f64 {
    format!("{number:.5e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn drawn(text: &str) -> Vec<Vec<(String, Value)>> {
        let key = Key { text: "sweep".to_owned(), span: Span::file(0, 0) };
        let mut problems = Problems::default();
        let cells = draws(&key, &parse(text).unwrap(), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let cell = |cell: Coordinates| cell.into_iter().map(|one| (one.axis.to_string(), one.value.value)).collect();
        cells.into_iter().map(cell).collect()
    }

    fn floats(text: &str) -> Vec<f64> {
        let number = |cell: Vec<(String, Value)>| match cell[0].1 {
            Value::Float(number) => number,
            ref other => panic!("{other:?}"),
        };
        drawn(text).into_iter().map(number).collect()
    }

    #[test]
    fn draws_are_the_same_for_ever() {
        let cells = drawn(
            "{samples: 2, seed: 7, a: {uniform: [0, 1]}, b: {log_uniform: [1e-4, 0.1]}, c: {int_uniform: [1, 6]}, d: {choice: \
             [x, y, z]}, e: {normal: [0, 1]}}",
        );
        let texts: Vec<Vec<String>> = cells
            .into_iter()
            .map(|cell| cell.into_iter().filter_map(|(_, v)| Node::new(v, Span::file(0, 0)).scalar_text()).collect())
            .collect();
        let golden =
            [["0.571891", "0.000272515", "4", "x", "-0.87406"], ["0.975194", "0.00879737", "1", "x", "-0.865594"]];
        assert_eq!(texts, golden);
    }

    #[test]
    fn more_samples_and_more_axes_change_no_draw() {
        let few = drawn("{samples: 5, seed: 3, lr: {log_uniform: [1e-4, 0.1]}, width: {int_uniform: [1, 512]}}");
        let many = drawn("{samples: 50, seed: 3, lr: {log_uniform: [1e-4, 0.1]}, width: {int_uniform: [1, 512]}}");
        assert_eq!(few[..], many[..5]);
        let wider = drawn(
            "{samples: 5, seed: 3, new: {uniform: [0, 1]}, width: {int_uniform: [1, 512]}, lr: {log_uniform: [1e-4, 0.1]}}",
        );
        for (one, other) in few.iter().zip(&wider) {
            assert!(one.iter().all(|pair| other.contains(pair)), "{one:?} {other:?}");
        }
        assert_ne!(few, drawn("{samples: 5, seed: 4, lr: {log_uniform: [1e-4, 0.1]}, width: {int_uniform: [1, 512]}}"));
        let zero = drawn("{samples: 5, seed: 0, x: {uniform: [0, 1]}}");
        assert_eq!(zero, drawn("{samples: 5, x: {uniform: [0, 1]}}"));
    }

    #[test]
    fn draws_are_spread_as_their_names_say() {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let uniform = floats("{samples: 4000, x: {uniform: [2, 4]}}");
        assert!((mean(&uniform) - 3.0).abs() < 0.04 && uniform.iter().all(|x| (2.0..=4.0).contains(x)));
        let logs: Vec<f64> =
            floats("{samples: 4000, x: {log_uniform: [0.001, 10]}}").iter().map(|x| x.log10()).collect();
        assert!((mean(&logs) + 1.0).abs() < 0.08 && logs.iter().all(|x| (-3.0..=1.0).contains(x)), "{}", mean(&logs));
        let normal = floats("{samples: 4000, x: {normal: [5, 2]}}");
        let spread = mean(&normal.iter().map(|x| (x - 5.0).powi(2)).collect::<Vec<_>>()).sqrt();
        assert!((mean(&normal) - 5.0).abs() < 0.1 && (spread - 2.0).abs() < 0.1, "{} {spread}", mean(&normal));
        // Draws that come out alike are one cell: all six, and no more.
        assert_eq!(drawn("{samples: 500, x: {int_uniform: [1, 6]}}").len(), 6);
        assert_eq!(drawn("{samples: 500, x: {choice: [a, 2, true]}}").len(), 3);
    }

    #[test]
    fn numbers_are_short_and_stay_within_their_bounds() {
        for number in floats("{samples: 500, x: {log_uniform: [0.12345678, 0.12345679]}}") {
            assert!((0.123_456_78..=0.123_456_79).contains(&number), "{number}");
        }
        for number in floats("{samples: 500, x: {uniform: [0, 1]}}") {
            assert!(number.to_string().len() <= 12, "{number}");
        }
    }
}
