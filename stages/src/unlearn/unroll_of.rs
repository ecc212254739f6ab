//! `unlearn/unroll_of`: [`super::unroll`] with the forget data only: descends on them and takes more than that back.
//!
//! One epoch of plain SGD over the forget data with their true labels, G the sum of its gradients, each taken before its
//! step; last, theta <- theta + sigma G. As "`UnrollOF`" in the PRU paper (Zhang, Chen, Zhang, Xu, ACML 2024), where it is
//! unstable: `A_r` ends between 24 and 89. BatchNorm's running statistics are not corrected. Needs forget data. The
//! defaults of `lr` and `sigma` are those for MNIST with AllCNN of the public repository uqyqiu/Post-hoc-restoration; the PRU
//! paper states none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Order, Precision, Problem, Recipe};

/// The stage `unlearn/unroll_of`.
pub struct UnrollOf;

/// Settings of unrolling with forget data only.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Learning rate.
    #[serde(default = "usual_lr")]
    pub lr: f64,
    /// How much of the gradients is added at the end; `lr` would undo the steps to first order, more climbs.
    #[serde(default = "usual_sigma")]
    pub sigma: f64,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
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
    /// Decides the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_lr() -> f64 {
    0.02
}

const fn usual_sigma() -> f64 {
    0.02
}

impl Params {
    fn recipe(&self) -> Recipe {
        Recipe {
            epochs: 1,
            batch_size: self.batch_size,
            optimizer: super::unroll::plain(self.lr),
            momentum_reset: false,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }
}

impl Stage for UnrollOf {
    type Params = Params;

    const NAME: &'static str = "unlearn/unroll_of";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Unrolling with forget data only: descends on them and takes more than that back.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_passes();
        params::positive("lr", params.lr, &mut problems);
        params::positive("sigma", params.sigma, &mut problems);
        params::check_normalise(params.normalise.as_ref(), &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) = super::open(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        unlearn(&network, &images, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

/// Unlearns; gives the loss of each step.
///
/// # Errors
/// When a loss is NaN, or the run was asked to stop.
#[cfg(feature = "torch")]
pub fn unlearn(
    network: &crate::model::network::Network,
    images: &crate::train::images::Images,
    params: &Params,
    observer: &mut dyn crate::train::fit::Observer,
) -> Result<Vec<f64>, crate::StageError> {
    super::unroll::unrolled(network, (images, &params.recipe()), None, params.sigma, observer)
}
