//! `measure/change`: how far unlearning moved each tensor, relative to its size before.
//!
//! Eq. 6 of the PRU paper (Zhang, Chen, Zhang, Xu, ACML 2024), the values of its Figure 3:
//! |θ\_unlearned - θ\_original| / |θ\_original|, Euclidean norms. The paper does not say which tensors a "layer" holds, so
//! each tensor has a value of its own. Needs no libtorch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::io::StageIo;
use crate::model::architecture::{Architecture, Role};
use crate::model::state::StateDict;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// The stage `measure/change`.
pub struct Change;

/// There is nothing to set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {}

/// The content of `change.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Every tensor, in the order of PyTorch's `state_dict()`.
    pub tensors: Vec<TensorChange>,
}

/// What became of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorChange {
    /// PyTorch's name.
    pub name: String,
    /// What the tensor is for.
    pub kind: Kind,
    /// |after - before| / |before|; none where all of `before` is 0 and `after` is not.
    pub relative: Option<f64>,
    /// |after - before|.
    pub absolute: f64,
    /// Whether not one bit changed.
    pub unchanged: bool,
}

/// Which kind of tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A weight or bias of the feature extractor.
    Extractor,
    /// A weight or bias of the final classifier.
    Classifier,
    /// A scale or shift of a normalisation.
    Normalisation,
    /// A running statistic of BatchNorm.
    Statistic,
}

impl Stage for Change {
    type Params = Params;

    const NAME: &'static str = "measure/change";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Measures how far every tensor of a network moved, relative to its size before.";
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network after unlearning"), Port::one("original", "the network before it")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("change", "change.json", "relative change by tensor")];

    fn run(_: Params, io: &mut StageIo) -> Result<(), StageError> {
        let read = |port| -> Result<StateDict, StageError> {
            StateDict::from_bytes(&io.input(port)?.read()?).map_err(|problem| StageError::input(port, problem))
        };
        let changes = changes(&read("original")?, &read("model")?).map_err(StageError::failed)?;
        io.write_json("change", &changes)
    }
}

/// Compares two networks of one architecture.
///
/// # Errors
/// When they are not of one architecture, or one is no network of this program.
pub fn changes(before: &StateDict, after: &StateDict) -> Result<Changes, String> {
    let architecture = Architecture::from_metadata(&before.metadata).map_err(|e| format!("original: {e}"))?;
    for (port, state) in [("original", before), ("model", after)] {
        let problems = state.problems(&architecture);
        if !problems.is_empty() {
            return Err(format!("{port}: not the architecture of `original`: {}", problems.join("; ")));
        }
    }
    let classifier = architecture.classifier();
    let tensors = architecture.tensors().into_iter().map(|spec| {
        let (before, after) = (&before.tensors[&spec.name], &after.tensors[&spec.name]);
        let values = |raw: &crate::model::state::RawTensor| raw.values().ok_or("a tensor of a type without values");
        let (old, new) = (values(before)?, values(after)?);
        let absolute = norm(old.iter().zip(&new).map(|(old, new)| new - old));
        let size = norm(old.iter().copied());
        let unchanged = before == after;
        // 0 / 0 is no change.
        let relative = if unchanged { Some(0.0) } else { Some(absolute / size).filter(|r| r.is_finite()) };
        let kind = match spec.role {
            Role::RunningMean | Role::RunningVariance | Role::BatchesTracked => Kind::Statistic,
            Role::Scale | Role::Shift => Kind::Normalisation,
            _ if classifier.contains(&spec.name.as_str()) => Kind::Classifier,
            _ => Kind::Extractor,
        };
        Ok(TensorChange { name: spec.name, kind, relative, absolute, unchanged })
    });
    Ok(Changes { tensors: tensors.collect::<Result<_, &str>>()? })
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::Dtype;

    use super::*;
    use crate::model::architecture::ModelParams;
    use crate::model::init;

    fn state() -> StateDict {
        let params = ModelParams { width: 0.05, ..ModelParams::default() };
        init::draw(&Architecture::new(&params, 1).unwrap(), Dtype::F32, 7, "")
    }

    fn set(state: &mut StateDict, name: &str, values: &[f32]) {
        let raw = state.tensors.get_mut(name).unwrap();
        raw.bytes = raw.bytes.iter().map(|_| 0).collect();
        for (place, value) in values.iter().enumerate() {
            raw.bytes[4 * place..4 * place + 4].copy_from_slice(&value.to_le_bytes());
        }
    }

    fn of<'a>(changes: &'a Changes, name: &str) -> &'a TensorChange {
        changes.tensors.iter().find(|t| t.name == name).unwrap()
    }

    #[test]
    fn the_change_is_the_norm_of_the_difference_over_the_norm_before() {
        let (mut before, mut after) = (state(), state());
        set(&mut before, "classifier.0.bias", &[3.0, 4.0]);
        set(&mut after, "classifier.0.bias", &[3.0, 4.0, 0.0, 2.5]);
        set(&mut before, "conv1.1.running_mean", &[0.0]);
        set(&mut after, "conv1.1.running_mean", &[2.0]);
        let changes = changes(&before, &after).unwrap();
        let bias = of(&changes, "classifier.0.bias");
        assert_eq!((bias.relative, bias.absolute, bias.unchanged), (Some(0.5), 2.5, false));
        assert_eq!(bias.kind, Kind::Classifier);
        let mean = of(&changes, "conv1.1.running_mean");
        assert_eq!((mean.relative, mean.absolute, mean.kind), (None, 2.0, Kind::Statistic));
        let rest: Vec<_> = changes.tensors.iter().filter(|t| !t.unchanged).collect();
        assert_eq!(rest.len(), 2);
        assert!(changes.tensors.iter().filter(|t| t.unchanged).all(|t| t.relative == Some(0.0) && t.absolute == 0.0));
        assert_eq!(of(&changes, "conv8.0.weight").kind, Kind::Extractor);
        assert_eq!(of(&changes, "conv8.1.weight").kind, Kind::Normalisation);
    }

    #[test]
    fn networks_of_two_architectures_are_not_compared() {
        let params = ModelParams { width: 0.1, ..ModelParams::default() };
        let wide = init::draw(&Architecture::new(&params, 1).unwrap(), Dtype::F32, 7, "");
        let problem = changes(&state(), &wide).unwrap_err();
        assert!(problem.starts_with("model: not the architecture of `original`"), "{problem}");
    }
}
