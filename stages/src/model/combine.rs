//! `model/combine`: a network put together from several of one architecture, without any training.
//!
//! For controls: a classifier on another network's features (head swap), or one network's weights with the BatchNorm
//! statistics of another. Needs no libtorch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Role};
use super::state::StateDict;
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// The stage `model/combine`.
pub struct Combine;

/// There is nothing to set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {}

impl Stage for Combine {
    type Params = Params;

    const NAME: &'static str = "model/combine";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Puts a network together: the classifier or BatchNorm statistics of another.";
    const INPUTS: &'static [Port] = &[
        Port::one("model", "gives every tensor that the others do not"),
        Port::optional("classifier", "gives the final classifier's weight and bias"),
        Port::optional("statistics", "gives BatchNorm's running statistics"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the combined network")];

    fn run(_: Params, io: &mut StageIo) -> Result<(), StageError> {
        let read = |port| -> Result<Option<StateDict>, StageError> {
            let Some(input) = io.inputs(port).first() else { return Ok(None) };
            StateDict::from_bytes(&input.read()?).map(Some).map_err(|problem| StageError::input(port, problem))
        };
        let model = read("model")?.ok_or_else(|| StageError::input("model", "nothing is connected"))?;
        let (classifier, statistics) = (read("classifier")?, read("statistics")?);
        if classifier.is_none() && statistics.is_none() {
            return Err(StageError::failed("nothing to combine: connect `classifier`, `statistics` or both"));
        }
        io.write("model", &combine(model, classifier, statistics).map_err(StageError::failed)?.to_bytes()?)
    }
}

/// `model` with the final classifier and the running statistics of the others, where given.
///
/// # Errors
/// When they are not of one architecture.
pub fn combine(
    mut model: StateDict,
    classifier: Option<StateDict>,
    statistics: Option<StateDict>,
) -> Result<StateDict, String> {
    let architecture = Architecture::from_metadata(&model.metadata).map_err(|e| format!("model: {e}"))?;
    let heads = architecture.classifier();
    let is_statistic = |role| matches!(role, Role::RunningMean | Role::RunningVariance | Role::BatchesTracked);
    for (port, other) in [("classifier", classifier), ("statistics", statistics)] {
        let Some(mut other) = other else { continue };
        let problems = other.problems(&architecture);
        if !problems.is_empty() {
            return Err(format!("{port}: not the architecture of `model`: {}", problems.join("; ")));
        }
        for spec in architecture.tensors() {
            let taken =
                if port == "classifier" { heads.contains(&spec.name.as_str()) } else { is_statistic(spec.role) };
            if let Some(raw) = other.tensors.remove(&spec.name).filter(|_| taken) {
                model.tensors.insert(spec.name, raw);
            }
        }
    }
    let problems = model.problems(&architecture);
    if problems.is_empty() { Ok(model) } else { Err(format!("the parts do not fit: {}", problems.join("; "))) }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::Dtype;

    use super::*;
    use crate::model::architecture::ModelParams;
    use crate::model::init;

    fn network(seed: u64, dtype: Dtype) -> StateDict {
        let params = ModelParams { width: 0.05, ..ModelParams::default() };
        let mut state = init::draw(&Architecture::new(&params, 1).unwrap(), dtype, seed, "");
        // Fresh statistics are the same for every seed.
        for (name, raw) in &mut state.tensors {
            if name.contains("running") || name.ends_with("tracked") {
                raw.bytes.fill(seed as u8);
            }
        }
        state
    }

    #[test]
    fn only_the_parts_that_are_given_are_exchanged() {
        let (a, b, c) = (network(1, Dtype::F32), network(2, Dtype::F32), network(3, Dtype::F32));
        let both = combine(a.clone(), Some(b.clone()), Some(c.clone())).unwrap();
        assert_eq!(both.metadata, a.metadata);
        for (name, raw) in &both.tensors {
            let from = match name.as_str() {
                "classifier.0.weight" | "classifier.0.bias" => &b,
                n if n.contains("running") || n.ends_with("tracked") => &c,
                _ => &a,
            };
            assert_eq!(raw, &from.tensors[name], "{name}");
        }
        let head = combine(a.clone(), Some(b.clone()), None).unwrap();
        assert_eq!(head.tensors["conv1.1.running_mean"], a.tensors["conv1.1.running_mean"]);
        assert_eq!(head.tensors["classifier.0.weight"], b.tensors["classifier.0.weight"]);
    }

    #[test]
    fn networks_of_two_architectures_or_types_do_not_combine() {
        let wide = ModelParams { width: 0.1, ..ModelParams::default() };
        let wide = init::draw(&Architecture::new(&wide, 1).unwrap(), Dtype::F32, 1, "");
        let problem = combine(network(1, Dtype::F32), Some(wide), None).unwrap_err();
        assert!(problem.starts_with("classifier: not the architecture of `model`"), "{problem}");
        let problem = combine(network(1, Dtype::F32), Some(network(2, Dtype::F64)), None).unwrap_err();
        assert!(problem.starts_with("the parts do not fit: the tensors are of several types"), "{problem}");
    }
}
