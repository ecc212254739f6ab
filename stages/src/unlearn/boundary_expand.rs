//! `unlearn/boundary_expand`: gives the forget class an output of its own beside the others, and then removes it.
//!
//! Chen, Gao, Liu, Peng, Wang, "Boundary Unlearning", CVPR 2023. The classifier gets one more output K, all weights are
//! trained by cross-entropy with the label K for every forget image, and the output is dropped: what is left of the class
//! lies beyond the boundaries. The new row is drawn as Xavier's uniform initialisation of the widened layer would,
//! U(-a, a) with a = sqrt(6 / (D + K + 1)) for embeddings of D values; its bias is 0, the other rows are copied. The
//! labels of the data are never used. Needs forget data. Epochs are those of the method's code, TY-LEE-KR/Boundary-
//! Unlearning-Code (whose rate is 1e-5); the default rate is that for CIFAR-10 with AllCNN of the public repository
//! uqyqiu/Post-hoc-restoration.

use rand::Rng;
use safetensors::tensor::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::architecture::Architecture;
use crate::model::state::{RawTensor, StateDict};
use crate::stage::{OutputPort, Port, Sees, Stage, StageError, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/boundary_expand`.
pub struct BoundaryExpand;

/// Settings of Boundary Expand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the forget data.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// Order of the samples.
    #[serde(default)]
    pub order: Order,
    /// Random changes of the images.
    #[serde(default)]
    pub augment: Augment,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// BatchNorm's statistics while training.
    #[serde(default)]
    pub batch_norm: BatchNorm,
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the new output's first weights, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_optimizer() -> Optimizer {
    Optimizer::new(1e-3, 0.0)
}

impl Params {
    fn recipe(&self) -> Recipe {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            momentum_reset: false,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }
}

impl Stage for BoundaryExpand {
    type Params = Params;

    const NAME: &'static str = "unlearn/boundary_expand";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Trains the forget class towards a new output, which is then removed.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        params.recipe().check_with(params.normalise.as_ref())
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), StageError> {
        let (network, images) = super::open(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        let row = drawn_row(&network.to_state()?, &params)?;
        let (network, _) = unlearn(&network, &images, &row, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

/// The classifier of a state dict.
struct Head<'a> {
    architecture: Architecture,
    /// [outputs, inputs].
    weight: &'a RawTensor,
    /// [outputs].
    bias: &'a RawTensor,
}

impl<'a> Head<'a> {
    fn of(state: &'a StateDict) -> Result<Self, StageError> {
        let architecture = Architecture::from_metadata(&state.metadata).map_err(StageError::failed)?;
        let tensor =
            |name: &str| state.tensors.get(name).ok_or_else(|| StageError::failed(format!("`{name}` is missing")));
        let [weight, bias] = architecture.classifier();
        let head = Self { weight: tensor(weight)?, bias: tensor(bias)?, architecture };
        let outputs = head.architecture.classes as usize;
        match (head.weight.shape.as_slice(), head.bias.shape.as_slice()) {
            (&[rows, _], &[biases]) if rows == outputs && biases == outputs => Ok(head),
            shapes => Err(StageError::failed(format!("a classifier of {outputs} outputs has the shapes {shapes:?}"))),
        }
    }

    fn inputs(&self) -> usize {
        self.weight.shape[1]
    }

    /// `state` with a classifier of `outputs` outputs, whose values are `weight` and `bias`.
    fn replaced(&self, state: &StateDict, outputs: usize, weight: Vec<u8>, bias: Vec<u8>) -> StateDict {
        let mut state = state.clone();
        let [weight_name, bias_name] = self.architecture.classifier();
        let weight = RawTensor { dtype: self.weight.dtype, shape: vec![outputs, self.inputs()], bytes: weight };
        let bias = RawTensor { dtype: self.bias.dtype, shape: vec![outputs], bytes: bias };
        state.tensors.insert(weight_name.to_owned(), weight);
        state.tensors.insert(bias_name.to_owned(), bias);
        state.metadata = Architecture { classes: outputs as u32, ..self.architecture.clone() }.metadata();
        state
    }
}

/// The first weights of the new output, one for each value of the embedding.
///
/// # Errors
/// When the state dict has no classifier.
pub fn drawn_row(state: &StateDict, params: &Params) -> Result<Vec<f64>, StageError> {
    let head = Head::of(state)?;
    let bound = (6.0 / (head.inputs() as f64 + f64::from(head.architecture.classes) + 1.0)).sqrt();
    let mut stream = params.recipe().stream("boundary-expand/row");
    Ok((0..head.inputs()).map(|_| bound * (2.0 * stream.random::<f64>() - 1.0)).collect())
}

/// The state dict with one more output, the last: its weights are `row`, its bias is 0.
///
/// # Errors
/// When the state dict has no classifier, or `row` has another length than the embedding.
pub fn widen(state: &StateDict, row: &[f64]) -> Result<StateDict, StageError> {
    let head = Head::of(state)?;
    if row.len() != head.inputs() {
        let (n, inputs) = (row.len(), head.inputs());
        return Err(StageError::failed(format!("a row of {n} weights does not fit a classifier of {inputs} inputs")));
    }
    let appended = |tensor: &RawTensor, values: &[f64]| {
        let mut bytes = tensor.bytes.clone();
        match tensor.dtype {
            Dtype::F64 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            _ => bytes.extend(values.iter().flat_map(|v| (*v as f32).to_le_bytes())),
        }
        bytes
    };
    let outputs = head.architecture.classes as usize + 1;
    Ok(head.replaced(state, outputs, appended(head.weight, row), appended(head.bias, &[0.0])))
}

/// The state dict without its last output.
///
/// # Errors
/// When the state dict has no classifier.
pub fn narrow(state: &StateDict) -> Result<StateDict, StageError> {
    let head = Head::of(state)?;
    let outputs = head.architecture.classes as usize;
    let kept = |tensor: &RawTensor| tensor.bytes[..tensor.bytes.len() / outputs * (outputs - 1)].to_vec();
    Ok(head.replaced(state, outputs - 1, kept(head.weight), kept(head.bias)))
}

/// Trains a widened copy of `network`, whose new output begins with the weights `row`; gives the copy without that
/// output, and the loss of each step.
///
/// # Errors
/// When a loss is NaN, or the run was asked to stop.
#[cfg(feature = "torch")]
pub fn unlearn(
    network: &crate::model::network::Network,
    images: &crate::train::images::Images,
    row: &[f64],
    params: &Params,
    observer: &mut dyn crate::train::fit::Observer,
) -> Result<(crate::model::network::Network, Vec<f64>), StageError> {
    use crate::model::network::Network;
    use crate::train::fit::{Step, fit};
    let build = |state: &StateDict| {
        Network::from_state("model", state, params.precision, params.normalise.as_ref(), network.device())
    };
    let wide = build(&widen(&network.to_state()?, row)?)?;
    let new_output = i64::from(network.architecture().classes);
    let tallies = fit(&wide, images, &params.recipe(), observer, |_, batch| {
        let logits = wide.forward(&batch.pixels, params.batch_norm.into());
        Step::cross_entropy(logits, &batch.labels.full_like(new_output))
    })?;
    let narrow = build(&narrow(&wide.to_state()?)?)?;
    Ok((narrow, tallies.into_iter().flat_map(|tally| tally.losses).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::ModelParams;
    use crate::model::init;

    fn params(seed: u64) -> Params {
        serde_json::from_value(serde_json::json!({"forget_class": 0, "seed": seed})).unwrap()
    }

    #[test]
    fn an_output_is_appended_last_with_bias_zero_and_dropped_again_without_a_trace() {
        let model = ModelParams { width: 0.05, classes: 3, ..ModelParams::default() };
        let architecture = Architecture::new(&model, 1).unwrap();
        for (dtype, size) in [(Dtype::F32, 4), (Dtype::F64, 8)] {
            let state = init::draw(&architecture, dtype, 7, "");
            let row = [0.5; 9];
            let wide = widen(&state, &row).unwrap();
            assert_eq!(wide.problems(&Architecture { classes: 4, ..architecture.clone() }), Vec::<String>::new());
            let [weight, bias] = architecture.classifier().map(|name| (&state.tensors[name], &wide.tensors[name]));
            assert_eq!(weight.1.bytes[..weight.0.bytes.len()], weight.0.bytes);
            assert_eq!(bias.1.bytes[..bias.0.bytes.len()], bias.0.bytes);
            let half =
                if dtype == Dtype::F64 { 0.5_f64.to_le_bytes().to_vec() } else { 0.5_f32.to_le_bytes().to_vec() };
            assert_eq!(weight.1.bytes[3 * 9 * size..], half.repeat(9));
            assert_eq!(bias.1.bytes[3 * size..], vec![0; size]);
            assert_eq!(narrow(&wide).unwrap(), state);
            let problem = widen(&state, &row[1..]).unwrap_err().to_string();
            assert_eq!(problem, "a row of 8 weights does not fit a classifier of 9 inputs");
        }
    }

    #[test]
    fn the_new_row_is_uniform_within_the_bound_of_xavier() {
        let architecture = Architecture::new(&ModelParams::default(), 1).unwrap();
        let state = init::draw(&architecture, Dtype::F32, 7, "");
        let bound = (6.0_f64 / (192.0 + 11.0)).sqrt();
        let rows: Vec<f64> = (0..50).flat_map(|seed| drawn_row(&state, &params(seed)).unwrap()).collect();
        let largest = rows.iter().fold(0.0_f64, |most, w| most.max(w.abs()));
        assert!(largest <= bound && largest > 0.999 * bound, "{largest}, bound {bound}");
        let mean = rows.iter().sum::<f64>() / rows.len() as f64;
        let variance = rows.iter().map(|w| w * w).sum::<f64>() / rows.len() as f64;
        assert!(mean.abs() < 0.02 * bound, "{mean}");
        assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.05, "{variance}");
        assert_eq!(rows[..192], drawn_row(&state, &params(0)).unwrap());
    }
}
