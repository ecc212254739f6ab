//! The CSV beside a table: every node's values as they came, with all its coordinates.
//!
//! Text that a spreadsheet would run as a formula gets an apostrophe in front.

use super::slices::Run;
use crate::stage::StageError;

/// Names of all axes in the order of first appearance.
pub(super) fn axis_names<T>(runs: &[Run<T>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (axis, _) in runs.iter().flat_map(|run| &run.coordinates) {
        if !names.contains(axis) {
            names.push(axis.clone());
        }
    }
    names
}

/// Writes a header and a line for each of `lines`: the place of its run, and its values.
pub(super) fn csv<T>(
    runs: &[Run<T>],
    values: &[String],
    lines: impl Iterator<Item = (usize, Vec<Option<f64>>)>,
) -> Result<Vec<u8>, StageError> {
    let axes = axis_names(runs);
    let mut records = vec![axes.iter().chain(values).map(|name| harmless(name)).collect::<Vec<String>>()];
    for (run, numbers) in lines {
        let coordinates = &runs[run].coordinates;
        let on_axis =
            |axis: &String| coordinates.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str());
        let numbers = numbers.into_iter().map(|number| number.map_or_else(String::new, |number| number.to_string()));
        records.push(axes.iter().map(|axis| harmless(on_axis(axis).unwrap_or(""))).chain(numbers).collect());
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in &records {
        writer.write_record(record).map_err(|e| StageError::failed(format!("writing CSV: {e}")))?;
    }
    writer.into_inner().map_err(|e| StageError::failed(format!("writing CSV: {e}")))
}

/// The text, with an apostrophe in front when it is no number and starts as a formula does.
fn harmless(text: &str) -> String {
    let starts_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
    if starts_formula && !is_number { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_disarmed_and_numbers_stay_numbers() {
        assert_eq!(harmless("=1+1"), "'=1+1");
        assert_eq!(harmless("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(harmless("-pru"), "'-pru");
        assert_eq!(harmless("-0.5"), "-0.5");
        assert_eq!(harmless("+1e-3"), "+1e-3");
        assert_eq!(harmless("pru"), "pru");
    }

    #[test]
    fn commas_quotes_and_missing_values_survive_the_round_trip() {
        let coordinates = vec![("method".to_owned(), "a,\"b\"\nc".to_owned())];
        let runs = [Run { coordinates, value: () }];
        let bytes =
            csv(&runs, &["A_f".to_owned(), "A_r".to_owned()], [(0, vec![Some(0.1), None])].into_iter()).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "method,A_f,A_r\n\"a,\"\"b\"\"\nc\",0.1,\n");
    }
}
