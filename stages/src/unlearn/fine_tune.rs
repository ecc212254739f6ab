//! `unlearn/fine_tune`: goes on training on the remaining classes and hopes that the forget class fades.
//!
//! Loss of a batch of `D_r`: the mean of -log softmax(f(x))\[y\], all weights. A usual baseline, for instance of Golatkar,
//! Achille, Soatto, "Eternal sunshine of the spotless net", CVPR 2020, and of Fan, Liu, Zhang, Wong, Wei, Liu, "`SalUn`",
//! ICLR 2024. Data: `D_r` only; the forget class is never seen. Defaults: learning rate, weight decay, momentum and epochs of
//! the `SalUn` repository (OPTML-Group/Unlearn-Saliency); the batch size is that of the other methods here (theirs is 256).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/fine_tune`.
pub struct FineTune;

/// Settings of fine-tuning on the remaining classes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the retain data.
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
    /// Decides the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_optimizer() -> Optimizer {
    Optimizer::new(1e-2, 5e-4)
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

impl Stage for FineTune {
    type Params = Params;

    const NAME: &'static str = "unlearn/fine_tune";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Fine-tunes on the remaining classes.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network that is to forget"),
        Port::data("data", Sees::Retain, "the data without the forget class"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        params.recipe().check_with(params.normalise.as_ref())
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) =
            super::open_retain(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        unlearn(&network, &images, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

/// Trains all weights by cross-entropy on `images`, the retain data; gives the loss of each step.
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
    let tallies = crate::train::original::train(network, images, &params.recipe(), observer)?;
    Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
}
