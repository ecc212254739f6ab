//! `unlearn/bias_mask`: the control that sees no data at all: the forget class gets a bias that no logit makes up for.
//!
//! The network never names the class again and knows it as well as before; what it takes to relearn it is the other
//! end of the scale. The bias becomes -10000 and not minus infinity, whose product with weight decay is NaN when
//! relearning. This project's control; like an output filter (arXiv:2510.26230). Needs no libtorch: it edits the file.

use safetensors::tensor::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::io::StageIo;
use crate::model::architecture::Architecture;
use crate::model::state::StateDict;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// What the bias becomes.
const BIAS: f64 = -1e4;

/// The stage `unlearn/bias_mask`.
pub struct BiasMask;

/// Settings of the control that masks a class.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
}

impl Stage for BiasMask {
    type Params = Params;

    const NAME: &'static str = "unlearn/bias_mask";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Control: the forget class's bias becomes -10000; no data, no training.";
    const INPUTS: &'static [Port] = &[Port::one("model", "the network that is to forget")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let bytes = io.input("model")?.read()?;
        let mut state = StateDict::from_bytes(&bytes).map_err(|problem| StageError::input("model", problem))?;
        unlearn(&mut state, params.forget_class)?;
        io.write("model", &state.to_bytes()?)
    }
}

/// Sets the classifier's bias of `forget_class`.
///
/// # Errors
/// When the state dict is no model of this program, or has no such class.
pub fn unlearn(state: &mut StateDict, forget_class: u32) -> Result<(), StageError> {
    let bad = |problem: String| StageError::input("model", problem);
    let architecture = Architecture::from_metadata(&state.metadata)
        .map_err(|e| bad(format!("not a model of this program: {e}; take it in with `model/import`")))?;
    let problems = state.problems(&architecture);
    if !problems.is_empty() {
        return Err(bad(format!("the weights do not fit: {}", problems.join("; "))));
    }
    if forget_class >= architecture.classes {
        let classes = architecture.classes;
        return Err(StageError::failed(format!("forget_class is {forget_class}; the network has {classes} classes")));
    }
    let [_, bias] = architecture.classifier();
    let bias = state.tensors.get_mut(bias).ok_or_else(|| bad(format!("`{bias}` is missing")))?;
    let value =
        if bias.dtype == Dtype::F64 { BIAS.to_le_bytes().to_vec() } else { (BIAS as f32).to_le_bytes().to_vec() };
    let start = forget_class as usize * value.len();
    bias.bytes[start..start + value.len()].copy_from_slice(&value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::ModelParams;
    use crate::model::init;

    #[test]
    fn one_bias_changes_and_nothing_else_does() {
        let architecture = Architecture::new(&ModelParams { width: 0.05, ..ModelParams::default() }, 1).unwrap();
        for dtype in [Dtype::F32, Dtype::F64] {
            let before = init::draw(&architecture, dtype, 7, "");
            let mut after = before.clone();
            unlearn(&mut after, 3).unwrap();
            let bias = |state: &StateDict| -> Vec<f64> {
                let bytes = &state.tensors["classifier.0.bias"].bytes;
                match dtype {
                    Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                    _ => bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
                }
            };
            let mut expected = bias(&before);
            expected[3] = -1e4;
            assert_eq!(bias(&after), expected);
            after.tensors.insert("classifier.0.bias".to_owned(), before.tensors["classifier.0.bias"].clone());
            assert_eq!(after, before);
        }
        let mut state = init::draw(&architecture, Dtype::F32, 7, "");
        let problem = unlearn(&mut state, 10).unwrap_err().to_string();
        assert_eq!(problem, "forget_class is 10; the network has 10 classes");
        state.tensors.remove("classifier.0.bias");
        let problem = unlearn(&mut state, 3).unwrap_err().to_string();
        assert_eq!(problem, "model: the weights do not fit: `classifier.0.bias` is missing (shape [10])");
    }
}
