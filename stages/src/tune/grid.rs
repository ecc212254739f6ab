//! `tune/grid`: the setting that the paper's rule chooses among those that were tried.
//!
//! The rule (the paper's section 5, made complete by the project's design): of the settings with `A_f` below a threshold
//! the one with the highest `A_r`. Where there is none, of those that keep at least half of the original's `A_r` the one
//! with the lowest `A_f`; where there is none of these either, the one with the highest `A_r`, which is nearest to
//! keeping half. Both of these are marked as `not met`. A setting with which training diverged is never chosen. Knows
//! nothing of what the axes mean.

use std::cmp::Ordering;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::io::{Input, StageIo};
use crate::stage::{OutputPort, Port, Stage, StageError};

/// How settings are chosen. The metrics should be of one class and trial, on the validation split: never of the test set.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The matrix axes that are tuned: `[lr]`. The chosen value of each is a field of the output `settings`.
    pub axes: Vec<String>,
    /// `A_f` below which a setting has forgotten, as a part of one. The paper's rule has 0.01.
    #[serde(default = "threshold")]
    pub threshold: f64,
    /// The part of the original's `A_r` that a setting must keep where none is below the threshold.
    #[serde(default = "retain_share")]
    pub retain_share: f64,
}

const fn threshold() -> f64 {
    0.01
}

const fn retain_share() -> f64 {
    0.5
}

/// Fields of the output `settings` that are no axes.
const FIELDS: [&str; 5] = ["rule", "chosen", "A_f", "A_r", "tried"];

/// The stage `tune/grid`.
pub struct Grid;

impl Stage for Grid {
    type Params = Params;
    const NAME: &'static str = "tune/grid";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Chooses the setting with the highest A_r among those with A_f below 1 %.";
    const INPUTS: &'static [Port] = &[
        Port::gather("results", "metrics of `evaluate` on the validation split for every setting"),
        Port::optional("original", "metrics of the original network there; needed where no setting meets the rule"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file(
            "settings",
            "settings.json",
            "the chosen value of every axis, whether the rule is met, A_f and A_r",
        ),
        OutputPort::file("tried", "tried.md", "all settings with their A_f and A_r, the chosen one marked"),
        OutputPort::file("csv", "tried.csv", "the same for programs; accuracies are empty where training diverged"),
    ];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if params.axes.is_empty() {
            problems.push(("axes", "at least one is needed".to_owned()));
        }
        for (place, axis) in params.axes.iter().enumerate() {
            if FIELDS.contains(&axis.as_str()) {
                problems.push(("axes", format!("`{axis}` is another field of `settings`; give the axis another name")));
            } else if params.axes[..place].contains(axis) {
                problems.push(("axes", format!("`{axis}` is named twice")));
            }
        }
        if !(params.threshold > 0.0 && params.threshold <= 1.0) {
            problems.push(("threshold", format!("is {}; a part of one above 0 was expected", params.threshold)));
        }
        if !(0.0..=1.0).contains(&params.retain_share) {
            problems.push(("retain_share", format!("is {}; 0 to 1 was expected", params.retain_share)));
        }
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let mut tried = io
            .inputs("results")
            .iter()
            .map(|input| Tried::read(input, &params.axes))
            .collect::<Result<Vec<Tried>, StageError>>()?;
        check_one_each(&tried)?;
        tried.sort_by(|a, b| compare_settings(&a.setting, &b.setting));
        let original = match io.inputs("original") {
            [] => None,
            [one] => Some(Accuracies::read(one, "original")?),
            _ => return Err(StageError::input("original", "one artifact was expected")),
        };
        let choice = choose(&params, &tried, original.as_ref())?;
        let mut settings = serde_json::to_vec_pretty(&choice.settings(&params, &tried))
            .map_err(|e| StageError::failed(format!("writing settings: {e}")))?;
        settings.push(b'\n');
        io.write("settings", &settings)?;
        io.write("tried", markdown(&params, &tried, original.as_ref(), &choice).as_bytes())?;
        io.write("csv", &csv(&params, &tried, &choice)?)
    }
}

/// What is read of `metrics.json`, as parts of one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Accuracies {
    forget: f64,
    retain: f64,
}

impl Accuracies {
    fn read(input: &Input, name: &str) -> Result<Self, StageError> {
        let metrics: Value =
            serde_json::from_slice(&input.read()?).map_err(|e| StageError::input(name, e.to_string()))?;
        let accuracy = |field: &str, symbol: &str| match metrics.get(field) {
            None => Err(StageError::input(
                name,
                format!("it has no `{field}` ({symbol}): metrics of `evaluate` were expected"),
            )),
            Some(Value::Null) => {
                let problem =
                    format!("`{field}` ({symbol}) has no value: `evaluate` needs `forget_class`, and data of it");
                Err(StageError::input(name, problem))
            }
            Some(value) => value
                .as_f64()
                .filter(|value| (0.0..=1.0).contains(value))
                .ok_or_else(|| StageError::input(name, format!("`{field}` is {value}; 0 to 1 was expected"))),
        };
        Ok(Self { forget: accuracy("forget", "A_f")?, retain: accuracy("retain", "A_r")? })
    }
}

/// A setting and what it gave.
#[derive(Clone, Debug, PartialEq)]
struct Tried {
    /// The value on each axis that is tuned, in their order.
    setting: Vec<String>,
    /// The other coordinates.
    others: Vec<(String, String)>,
    /// None where training diverged.
    accuracies: Option<Accuracies>,
}

impl Tried {
    fn read(input: &Input, axes: &[String]) -> Result<Self, StageError> {
        let place = format!("results[{}]", words(&input.coordinates));
        let on_axis = |axis: &String| {
            let value = input.coordinate(axis).map(str::to_owned);
            value.ok_or_else(|| StageError::input(&place, format!("it has no coordinate `{axis}`, which is tuned")))
        };
        let setting = axes.iter().map(on_axis).collect::<Result<_, _>>()?;
        let others = input.coordinates.iter().filter(|(axis, _)| !axes.contains(axis)).cloned().collect();
        let accuracies = if input.diverged() { None } else { Some(Accuracies::read(input, &place)?) };
        Ok(Self { setting, others, accuracies })
    }
}

fn words(coordinates: &[(String, String)]) -> String {
    coordinates.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(", ")
}

/// One class and trial is tuned on: nothing is averaged, and no setting comes twice.
fn check_one_each(tried: &[Tried]) -> Result<(), StageError> {
    let Some(first) = tried.first() else {
        return Err(StageError::input("results", "no artifact is connected"));
    };
    if let Some(other) = tried.iter().find(|other| other.others != first.others) {
        let problem = format!(
            "[{}] and [{}] differ in more than the tuned axes; name one cell under `inputs:`, or tune that axis too",
            words(&first.others),
            words(&other.others)
        );
        return Err(StageError::input("results", problem));
    }
    for (place, one) in tried.iter().enumerate() {
        if tried[..place].iter().any(|earlier| earlier.setting == one.setting) {
            return Err(StageError::input("results", format!("the setting {} comes twice", one.setting.join(", "))));
        }
    }
    Ok(())
}

/// The order in which settings are printed, and by which a tie goes to the first: axis by axis numbers by size, then
/// text.
fn compare_settings(a: &[String], b: &[String]) -> Ordering {
    let number = |text: &String| text.parse::<f64>().ok().filter(|value| value.is_finite());
    let pairs = a.iter().zip(b).map(|(a, b)| match (number(a), number(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    });
    pairs.fold(Ordering::Equal, Ordering::then)
}

/// What the rule came to.
#[derive(Debug, PartialEq)]
struct Choice {
    /// The place of the chosen setting.
    place: usize,
    accuracies: Accuracies,
    met: bool,
    /// Of which settings it was chosen, and as what.
    because: String,
}

/// Applies the rule to settings in their order. Of equal accuracies, the one that the step looks at next decides (`A_f`
/// after `A_r`, or the other way round), then the order.
fn choose(params: &Params, tried: &[Tried], original: Option<&Accuracies>) -> Result<Choice, StageError> {
    let best = |allowed: &dyn Fn(&Accuracies) -> bool, order: &dyn Fn(&Accuracies, &Accuracies) -> Ordering| {
        let finite = tried.iter().enumerate().filter_map(|(place, one)| Some((place, one.accuracies?)));
        // Of equal ones `min_by` gives the first.
        finite.filter(|(_, one)| allowed(one)).min_by(|(_, a), (_, b)| order(a, b))
    };
    let choice = |(place, accuracies), met, because| Ok(Choice { place, accuracies, met, because });
    let by_retain =
        |a: &Accuracies, b: &Accuracies| b.retain.total_cmp(&a.retain).then_with(|| a.forget.total_cmp(&b.forget));
    let by_forget =
        |a: &Accuracies, b: &Accuracies| a.forget.total_cmp(&b.forget).then_with(|| b.retain.total_cmp(&a.retain));
    let below = percent(params.threshold);
    let Some(most_kept) = best(&|_| true, &by_retain) else {
        return Err(StageError::failed("training diverged with every setting: there is none to choose"));
    };
    if let Some(best) = best(&|one| one.forget < params.threshold, &by_retain) {
        return choice(best, true, format!("highest A_r among settings with A_f < {below} %"));
    }
    let Some(original) = original else {
        let problem = format!(
            "no setting has A_f < {below} %, and the rule then needs the original's A_r: connect its metrics as `original`"
        );
        return Err(StageError::failed(problem));
    };
    let floor = params.retain_share * original.retain;
    let share = percent(params.retain_share);
    if let Some(best) = best(&|one| one.retain >= floor, &by_forget) {
        let because = format!("lowest A_f among settings with A_r of at least {share} % of the original's");
        return choice(best, false, because);
    }
    choice(most_kept, false, format!("highest A_r, as no setting keeps {share} % of the original's"))
}

impl Choice {
    fn settings(&self, params: &Params, tried: &[Tried]) -> Value {
        let chosen = &tried[self.place];
        let mut fields: Map<String, Value> =
            params.axes.iter().cloned().zip(chosen.setting.iter().map(|text| typed(text))).collect();
        let accuracies = self.accuracies;
        let rule = if self.met { "met" } else { "not met" };
        let values =
            [json!(rule), json!(self.because), json!(accuracies.forget), json!(accuracies.retain), json!(tried.len())];
        fields.extend(FIELDS.iter().map(|name| (*name).to_owned()).zip(values));
        Value::Object(fields)
    }
}

/// A coordinate in the type that it had in the pipeline, as far as its text tells: a number or truth value that would
/// be written just so.
fn typed(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Bool(value)) => Value::Bool(value),
        Ok(Value::Number(number)) if number.as_i64().is_some_and(|value| value.to_string() == text) => {
            Value::Number(number)
        }
        Ok(Value::Number(number)) if number.as_f64().is_some_and(|value| value.to_string() == text) => {
            Value::Number(number)
        }
        _ => Value::from(text),
    }
}

/// A part of one in percent, as short as it can be written exactly.
fn percent(part: f64) -> String {
    let text = format!("{:.6}", part * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn markdown(params: &Params, tried: &[Tried], original: Option<&Accuracies>, choice: &Choice) -> String {
    let mut text = String::from("# Settings tried\n\n");
    if !choice.met {
        _ = write!(text, "Rule not met: no setting has A_f < {} %. ", percent(params.threshold));
    }
    _ = writeln!(text, "Chosen: {}.", choice.because);
    if let Some(original) = original {
        _ = writeln!(text, "The original's A_r is {:.2} %.", original.retain * 100.0);
    }
    text.push('\n');
    let header = params.axes.iter().map(String::as_str).chain(["A_f, %", "A_r, %", ""]);
    let mut lines: Vec<Vec<String>> = vec![header.map(escaped).collect()];
    for (place, one) in tried.iter().enumerate() {
        let accuracies = one.accuracies.map_or_else(
            || ["diverged".to_owned(), "diverged".to_owned()],
            |one| [one.forget, one.retain].map(|part| format!("{:.2}", part * 100.0)),
        );
        let mark = if place == choice.place { "chosen" } else { "" };
        let setting = one.setting.iter().map(|value| escaped(value));
        lines.push(setting.chain(accuracies).chain([mark.to_owned()]).collect());
    }
    let columns = lines[0].len();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (place, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!(" {cell:>width$} "));
        _ = writeln!(text, "|{}|", cells.collect::<Vec<_>>().join("|"));
        if place == 0 {
            let rules = widths.iter().map(|width| format!("{}:", "-".repeat(width + 1)));
            _ = writeln!(text, "|{}|", rules.collect::<Vec<_>>().join("|"));
        }
    }
    text
}

/// Text that stays in its cell and is no mark-up.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '\\' | '|' | '<' | '`' | '*' | '[' | ']' => vec!['\\', c],
        c if c.is_control() => vec![' '],
        c => vec![c],
    };
    text.chars().flat_map(escape).collect()
}

fn csv(params: &Params, tried: &[Tried], choice: &Choice) -> Result<Vec<u8>, StageError> {
    let failed = |e: &dyn std::fmt::Display| StageError::failed(format!("writing CSV: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = params.axes.iter().map(String::as_str).chain(["A_f", "A_r", "chosen"]);
    writer.write_record(header).map_err(|e| failed(&e))?;
    for (place, one) in tried.iter().enumerate() {
        let accuracies =
            one.accuracies.map_or_else(Default::default, |one| [one.forget, one.retain].map(|p| p.to_string()));
        let chosen = (place == choice.place).to_string();
        writer.write_record(one.setting.iter().chain(&accuracies).chain([&chosen])).map_err(|e| failed(&e))?;
    }
    writer.into_inner().map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_get_their_types_back_where_their_text_tells() {
        for (text, value) in [
            ("0.0001", json!(0.0001)),
            ("3", json!(3)),
            ("-2", json!(-2)),
            ("true", json!(true)),
            ("007", json!("007")),
            ("1e-4", json!("1e-4")),
            ("1.0", json!("1.0")),
            ("null", json!("null")),
            ("[1]", json!("[1]")),
            ("cosine", json!("cosine")),
            ("", json!("")),
        ] {
            assert_eq!(typed(text), value, "{text}");
        }
    }

    #[test]
    fn settings_are_ordered_by_size_and_then_as_text() {
        let mut all: Vec<Vec<String>> = [["b", "1"], ["10", "1"], ["9", "x"], ["9", "0.5"], ["a", "1"]]
            .map(|s| s.map(str::to_owned).to_vec())
            .to_vec();
        all.sort_by(|a, b| compare_settings(a, b));
        let joined: Vec<String> = all.iter().map(|setting| setting.join(" ")).collect();
        assert_eq!(joined, ["9 0.5", "9 x", "10 1", "a 1", "b 1"]);
    }

    #[test]
    fn percentages_are_written_as_short_as_they_are() {
        assert_eq!([0.01, 0.5, 1.0, 0.005, 0.0].map(percent), ["1", "50", "100", "0.5", "0"]);
    }
}
