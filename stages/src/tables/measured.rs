//! The runs that a table gathers: `metrics.json` of `evaluate` and `curve.json` of `relearn`, read alike. What `evaluate`
//! measured is a curve of one point, epoch 0.
//!
//! Knows nothing of how runs are sorted, averaged or printed.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::metrics::Metric;
use super::slices::{Absent, Run, describe};
use crate::data::facts::Origin;
use crate::io::StageIo;
use crate::stage::StageError;

/// What one run measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    /// The class that was forgotten.
    pub forget_class: Option<u32>,
    /// The metadata of the network's checkpoint: `architecture`, `width`; empty when the run does not tell.
    pub model: BTreeMap<String, String>,
    /// The data set behind the run, when it tells.
    pub origin: Option<Origin>,
    /// Number of test images, when the run tells.
    pub tested: Option<usize>,
    /// In order of the epochs.
    pub points: Vec<Point>,
}

/// A model after some epochs of relearning; parts of one, none where nothing was evaluated.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Point {
    pub epoch: u32,
    #[serde(deserialize_with = "present")]
    pub forget: Option<f64>,
    #[serde(deserialize_with = "present")]
    pub retain: Option<f64>,
    #[serde(deserialize_with = "present")]
    pub overall: Option<f64>,
    /// Mean training loss of this epoch.
    #[serde(default)]
    pub loss: Option<f64>,
    /// Accuracy on each class.
    #[serde(default)]
    pub per_class: Vec<Option<f64>>,
}

/// `curve.json`, as far as tables read it.
#[derive(Deserialize)]
struct Curve {
    #[serde(default)]
    forget_class: Option<u32>,
    #[serde(default)]
    model: BTreeMap<String, String>,
    #[serde(default)]
    origin: Option<Origin>,
    #[serde(default)]
    test_samples: Option<usize>,
    epochs: Vec<Point>,
}

/// `metrics.json`, as far as tables read it.
#[derive(Deserialize)]
struct Metrics {
    #[serde(default)]
    forget_class: Option<u32>,
    #[serde(default)]
    model: BTreeMap<String, String>,
    #[serde(default)]
    origin: Option<Origin>,
    #[serde(default)]
    n: Option<Vec<usize>>,
    #[serde(deserialize_with = "present")]
    forget: Option<f64>,
    #[serde(deserialize_with = "present")]
    retain: Option<f64>,
    #[serde(deserialize_with = "present")]
    overall: Option<f64>,
    #[serde(default)]
    per_class: Vec<Option<f64>>,
}

/// A field that must be there, though it may be `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::<f64>::deserialize(deserializer)
}

impl Measured {
    /// Reads either file; they are told apart by the field `epochs`.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let measured = if json.get("epochs").is_some() {
            let Curve { forget_class, model, origin, test_samples, epochs } =
                serde_json::from_value(json).map_err(|e| e.to_string())?;
            Self { forget_class, model, origin, tested: test_samples, points: epochs }
        } else {
            let Metrics { forget_class, model, origin, n, forget, retain, overall, per_class } =
                serde_json::from_value(json).map_err(|e| e.to_string())?;
            let only = Point { epoch: 0, forget, retain, overall, loss: None, per_class };
            Self { forget_class, model, origin, tested: n.map(|n| n.iter().sum()), points: vec![only] }
        };
        measured.check()?;
        Ok(measured)
    }

    fn check(&self) -> Result<(), String> {
        for (place, at) in self.points.iter().enumerate() {
            if self.points[..place].iter().any(|earlier| earlier.epoch == at.epoch) {
                return Err(format!("epoch {} occurs twice", at.epoch));
            }
            let named = [("forget", at.forget), ("retain", at.retain), ("overall", at.overall)];
            for (name, value) in named.into_iter().chain(at.per_class.iter().map(|value| ("per_class", *value))) {
                match value {
                    Some(value) if !(0.0..=1.0).contains(&value) => {
                        return Err(format!("`{name}` is {value}; 0 to 1 was expected"));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// An accuracy after some epochs, 0 to 1. The quotient over the original is none of a single run.
    pub(crate) fn value(&self, epoch: u32, metric: Metric) -> Option<f64> {
        let point = self.points.iter().find(|point| point.epoch == epoch)?;
        match metric {
            Metric::Forget => point.forget,
            Metric::Retain => point.retain,
            Metric::Overall => point.overall,
            Metric::ForgetOverOriginal => None,
        }
    }
}

/// Reads every artifact of a gathering port, in its order. An artifact without a file stands for a run that is planned
/// and not there yet: a report of an unfinished pipeline is made from such. One of a training that diverged is none either.
///
/// # Errors
/// When nothing is connected, or an artifact is neither file; the text names its coordinates.
pub(crate) fn gather(io: &StageIo, port: &str) -> Result<Vec<Run<Measured>>, StageError> {
    gather_as(io, port, Measured::read)
}

/// As [`gather`], of artifacts that `read` understands.
///
/// # Errors
/// When nothing is connected, or `read` refuses an artifact; the text names its coordinates.
pub(crate) fn gather_as<T>(
    io: &StageIo,
    port: &str,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Vec<Run<T>>, StageError> {
    let inputs = io.inputs(port);
    if inputs.is_empty() {
        return Err(StageError::input(port, "no artifact is connected"));
    }
    let read = |input: &crate::io::Input| {
        let coordinates = input.coordinates.clone();
        if input.files.is_empty() {
            return Ok(Run { coordinates, value: Err(Absent::Planned) });
        }
        if input.diverged() {
            return Ok(Run { coordinates, value: Err(Absent::Diverged) });
        }
        let value = read(&input.read()?)
            .map_err(|problem| StageError::input(format!("{port}[{}]", describe(&coordinates)), problem))?;
        Ok(Run { coordinates, value: Ok(value) })
    };
    inputs.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_a_curve_of_one_point() {
        let text = r#"{"forget_class": 3, "forget": 0.5, "retain": null, "overall": 0.9, "per_class": [0.5, null],
            "n": [10, 0, 20], "confusion": [], "model": {"architecture": "all_cnn", "width": "0.25"},
            "origin": {"dataset": "mnist", "official": true, "train": 60000, "test": 30}}"#;
        let measured = Measured::read(text.as_bytes()).unwrap();
        assert_eq!((measured.forget_class, measured.tested), (Some(3), Some(30)));
        assert_eq!(measured.model["width"], "0.25");
        assert_eq!(measured.origin.as_ref().map(|origin| origin.train), Some(60_000));
        assert_eq!([0, 1].map(|epoch| measured.value(epoch, Metric::Forget)), [Some(0.5), None]);
        assert_eq!(measured.value(0, Metric::Retain), None);
        assert_eq!(measured.points[0].per_class, [Some(0.5), None]);
    }

    #[test]
    fn a_curve_keeps_its_epochs_and_what_an_older_one_does_not_tell_is_unknown() {
        let text = r#"{"forget_class": 0, "epochs": [
            {"epoch": 0, "forget": 0.0, "retain": 0.8, "overall": 0.7, "loss": null},
            {"epoch": 10, "forget": 0.25, "retain": 0.9, "overall": 0.8, "loss": 0.1}]}"#;
        let measured = Measured::read(text.as_bytes()).unwrap();
        assert_eq!(measured.value(10, Metric::Forget), Some(0.25));
        assert_eq!(measured.value(5, Metric::Forget), None);
        assert_eq!((measured.model.len(), &measured.origin, measured.tested), (0, &None, None));
    }
}
