//! The Parquet file beside a table: every value of every run as it came, nothing averaged. One row for each run, epoch and
//! metric, with all coordinates of the run as text, so that any tool can group it anew.
//!
//! Not compressed: coordinates and metrics repeat, and the format's dictionaries make them small. Equal runs give equal
//! bytes: nothing of the machine or the time is written.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::machine::column_name;
use super::measured::{Measured, Point};
use super::slices::{Run, axis_names};
use crate::stage::StageError;

/// The columns beside the axes.
const OWN: [&str; 4] = ["forget_class", "epoch", "metric", "value"];

/// A value that a run measured.
pub(super) struct Entry {
    pub forget_class: Option<u32>,
    /// None of what has no epochs.
    pub epoch: Option<u32>,
    pub metric: String,
    pub value: Option<f64>,
}

/// What a run has to tell.
pub(super) trait Values {
    /// All that it measured, in a fixed order.
    fn values(&self) -> Vec<Entry>;
}

impl Values for Measured {
    fn values(&self) -> Vec<Entry> {
        let of = |point: &Point| {
            let (forget_class, epoch) = (self.forget_class, Some(point.epoch));
            let values = values_of(point).into_iter();
            values.map(|(metric, value)| Entry { forget_class, epoch, metric, value }).collect::<Vec<_>>()
        };
        self.points.iter().flat_map(of).collect()
    }
}

/// The values of a point: accuracies, which may be none, and what else there is.
fn values_of(point: &Point) -> Vec<(String, Option<f64>)> {
    let accuracies = [("A_f", point.forget), ("A_r", point.retain), ("A_o", point.overall)];
    let mut values: Vec<(String, Option<f64>)> =
        accuracies.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if point.loss.is_some() {
        values.push(("loss".to_owned(), point.loss));
    }
    let per_class = point.per_class.iter().enumerate();
    values.extend(per_class.map(|(class, value)| (format!("accuracy_class_{class}"), *value)));
    values
}

/// The file's bytes.
///
/// # Errors
/// Never but for a fault of the writer.
pub(super) fn parquet<T: Values>(runs: &[Run<T>]) -> Result<Vec<u8>, StageError> {
    write(runs).map_err(|e| StageError::failed(format!("writing Parquet: {e}")))
}

fn write<T: Values>(runs: &[Run<T>]) -> Result<Vec<u8>, ParquetError> {
    let axes = axis_names(runs);
    let mut values: Vec<(&Run<T>, Entry)> = Vec::new();
    for (run, measured) in runs.iter().filter_map(|run| Some((run, run.value.as_ref().ok()?))) {
        values.extend(measured.values().into_iter().map(|value| (run, value)));
    }
    let properties = WriterProperties::builder().set_created_by("pru-flow".to_owned()).build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema(&axes)?, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for axis in &axes {
        let on_axis = |(run, _): &(&Run<T>, Entry)| {
            let found = run.coordinates.iter().find(|(name, _)| name == axis);
            found.map(|(_, value)| ByteArray::from(value.as_str()))
        };
        column::<ByteArrayType>(&mut group, values.iter().map(on_axis))?;
    }
    let integer = |value: Option<u32>| value.map(|value| value as i32);
    column::<Int32Type>(&mut group, values.iter().map(|(_, value)| integer(value.forget_class)))?;
    column::<Int32Type>(&mut group, values.iter().map(|(_, value)| integer(value.epoch)))?;
    let metrics = values.iter().map(|(_, value)| Some(ByteArray::from(value.metric.as_str())));
    column::<ByteArrayType>(&mut group, metrics)?;
    column::<DoubleType>(&mut group, values.iter().map(|(_, value)| value.value))?;
    group.close()?;
    file.into_inner()
}

/// Every column may be null: a run may lack an axis or a value.
fn schema(axes: &[String]) -> Result<Arc<Type>, ParquetError> {
    let one = |name: &str, physical: PhysicalType| {
        let text = (physical == PhysicalType::BYTE_ARRAY).then_some(LogicalType::String);
        let built = Type::primitive_type_builder(name, physical);
        built.with_repetition(Repetition::OPTIONAL).with_logical_type(text).build().map(Arc::new)
    };
    let mut fields = Vec::new();
    for axis in axes {
        fields.push(one(&column_name(axis, &OWN), PhysicalType::BYTE_ARRAY)?);
    }
    let types = [PhysicalType::INT32, PhysicalType::INT32, PhysicalType::BYTE_ARRAY, PhysicalType::DOUBLE];
    for (name, physical) in OWN.into_iter().zip(types) {
        fields.push(one(name, physical)?);
    }
    Type::group_type_builder("runs").with_fields(fields).build().map(Arc::new)
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut found, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        found.extend(value);
    }
    let missing = || ParquetError::General("the schema has fewer columns".to_owned());
    let mut writer = group.next_column()?.ok_or_else(missing)?;
    writer.typed::<T>().write_batch(&found, Some(&levels), None)?;
    writer.close()
}
