//! Metrics of a node: the numbers in the JSON files among its outputs, by dotted paths.
//!
//! What is JSON is told by content: a stored output need not have its file's name any more.

use std::collections::BTreeMap;

use pru_flow_cache::{ActionResult, LocalStore, OutputFile};
use serde_json::{Number, Value};

use crate::diverged;
use crate::values::read_bytes;

/// Larger files are data, not metrics.
const BYTES_MAX: u64 = 256 << 10;
/// A file with more numbers is data, too.
const NUMBERS_MAX: usize = 1000;

/// The metrics of a result by name: `metrics.accuracy`, `curve.epochs.3.loss`, `folder/a.json.loss`. An output that
/// cannot be read has none.
#[must_use]
pub fn of(store: &LocalStore, result: &ActionResult) -> BTreeMap<String, Number> {
    let mut metrics = BTreeMap::new();
    // Marks that stand in the place of outputs are no results.
    if diverged::reason(result).is_some() {
        return metrics;
    }
    for (output, stored) in &result.outputs {
        for file in stored.files.iter().filter(|file| file.bytes <= BYTES_MAX && may_be_json(stored.folder, file)) {
            let Ok(bytes) = read_bytes(store, result, file) else { continue };
            let name = if file.name.is_empty() { output.clone() } else { format!("{output}/{}", file.name) };
            metrics.extend(numbers_of(name, &bytes));
        }
    }
    metrics
}

/// The many files of a folder are told apart by name.
fn may_be_json(folder: bool, file: &OutputFile) -> bool {
    !folder || std::path::Path::new(&file.name).extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

/// The numbers in a file; none when it is no JSON.
fn numbers_of(name: String, bytes: &[u8]) -> BTreeMap<String, Number> {
    let mut numbers = BTreeMap::new();
    if let Ok(json) = serde_json::from_slice(bytes) {
        flatten(name, &json, &mut numbers);
    }
    if numbers.len() > NUMBERS_MAX {
        numbers.clear();
    }
    numbers
}

fn flatten(path: String, json: &Value, numbers: &mut BTreeMap<String, Number>) {
    if numbers.len() > NUMBERS_MAX {
        return;
    }
    match json {
        Value::Number(number) => drop(numbers.insert(path, number.clone())),
        Value::Object(fields) => {
            for (name, json) in fields {
                flatten(format!("{path}.{name}"), json, numbers);
            }
        }
        Value::Array(items) => {
            for (index, json) in items.iter().enumerate() {
                flatten(format!("{path}.{index}"), json, numbers);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(String, String)> {
        numbers_of("m".to_owned(), text.as_bytes()).into_iter().map(|(name, n)| (name, n.to_string())).collect()
    }

    fn pair(name: &str, number: &str) -> (String, String) {
        (name.to_owned(), number.to_owned())
    }

    #[test]
    fn numbers_are_found_along_their_paths_and_nothing_else_is() {
        let json = r#"{"acc": 0.5, "n": 3, "on": true, "name": "7", "no": null, "curve": [{"loss": 1e-3}, 2]}"#;
        let expected =
            [pair("m.acc", "0.5"), pair("m.curve.0.loss", "0.001"), pair("m.curve.1", "2"), pair("m.n", "3")];
        assert_eq!(of(json), expected);
        assert_eq!(of(" 42\n"), [pair("m", "42")], "a file of one number");
        assert_eq!(of("a,b\n1,2\n"), []);
        assert_eq!(of("007"), []);
    }

    #[test]
    fn a_file_of_very_many_numbers_is_data() {
        let list = |n: usize| serde_json::Value::from((0..n).collect::<Vec<_>>()).to_string();
        assert_eq!(of(&list(NUMBERS_MAX)).len(), NUMBERS_MAX);
        assert_eq!(of(&list(NUMBERS_MAX + 1)), []);
    }
}
