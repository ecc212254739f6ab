//! The CSV beside a figure: every mark with its coordinates and values, unrounded.

use crate::stage::StageError;
use crate::tables::machine::{column_name, harmless};
use crate::tables::slices::Coordinates;
use crate::tables::statistics::Mean;

/// A line: coordinates, and what stands under the other heads.
pub(super) type Record = (Coordinates, Vec<String>);

/// Heads: the axes in order of first appearance, then `names`.
///
/// # Errors
/// Never but for a fault of the writer.
pub(super) fn csv(names: &[&str], records: &[Record]) -> Result<Vec<u8>, StageError> {
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in records.iter().flat_map(|(coordinates, _)| coordinates) {
        if !axes.contains(&axis.as_str()) {
            axes.push(axis);
        }
    }
    let failed = |problem: csv::Error| StageError::failed(format!("writing CSV: {problem}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |record: Vec<String>| writer.write_record(record.iter().map(|text| harmless(text))).map_err(failed);
    let heads = axes.iter().map(|axis| column_name(axis, names));
    write(heads.chain(names.iter().map(|name| (*name).to_owned())).collect())?;
    for (coordinates, values) in records {
        let on_axis = |axis: &&str| coordinates.iter().find(|(name, _)| name == axis).map(|(_, value)| value.clone());
        write(axes.iter().map(|axis| on_axis(axis).unwrap_or_default()).chain(values.iter().cloned()).collect())?;
    }
    writer.into_inner().map_err(|e| StageError::failed(format!("writing CSV: {e}")))
}

/// A number that reads back as itself; nothing where there is none.
pub(super) fn float(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Heads of [`of_mean`].
pub(super) const MEAN: [&str; 3] = ["mean", "half_width", "n"];

/// A mean, half the width of its interval, and the trials that it is over.
pub(super) fn of_mean(mean: Option<Mean>) -> [String; 3] {
    let n = mean.map_or(0, |mean| mean.n);
    [float(mean.map(|mean| mean.value)), float(mean.and_then(|mean| mean.half_width)), n.to_string()]
}
