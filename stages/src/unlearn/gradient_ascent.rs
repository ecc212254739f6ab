//! `unlearn/gradient_ascent`: climbs the loss on the forget class.
//!
//! loss = -CE(f(x), y), over all weights; known as gradient ascent or `NegGrad` (Golatkar, Achille, Soatto, CVPR 2020, is an
//! early source). It has no lower bound, so the gradients are clipped and training stops once the class is forgotten
//! ([`super::ascent`]). Needs forget data. The default rate is that of OPTML-Group/Unlearn-Sparse for a class of CIFAR-10
//! (with 5 epochs; its authors advise a search from 1e-5 to 1e-1); epochs and batch are those of the PRU paper's
//! methods; both bounds are this project's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ascent;
use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/gradient_ascent`.
pub struct GradientAscent;

/// Settings of gradient ascent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the forget data, at most.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// The norm that the gradients of a step, taken together, are scaled down to; null: as they are.
    #[serde(default = "ascent::usual_clip_norm")]
    pub clip_norm: Option<f64>,
    /// Stops after the first epoch with an accuracy on the forget data (eval mode, unchanged images) below this; null:
    /// never.
    #[serde(default = "ascent::usual_stop_below")]
    pub stop_below: Option<f64>,
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
    Optimizer::new(1e-4, 0.0)
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

impl Stage for GradientAscent {
    type Params = Params;

    const NAME: &'static str = "unlearn/gradient_ascent";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Climbs the loss on the forget class, clipped, until it is forgotten.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        ascent::check(params.clip_norm, params.stop_below, &mut problems);
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

/// Trains all weights on the negative cross-entropy with the true labels; gives the loss of each step.
///
/// # Errors
/// When a loss is NaN or infinite, or the run was asked to stop.
#[cfg(feature = "torch")]
pub fn unlearn(
    network: &crate::model::network::Network,
    images: &crate::train::images::Images,
    params: &Params,
    observer: &mut dyn crate::train::fit::Observer,
) -> Result<Vec<f64>, crate::StageError> {
    use crate::train::fit::Step;
    use crate::train::loss;
    let bounds = ascent::Bounds { clip_norm: params.clip_norm, stop_below: params.stop_below };
    ascent::climb(network, images, &params.recipe(), &bounds, params.forget_class, observer, |_, batch| {
        let logits = network.forward(&batch.pixels, params.batch_norm.into());
        Ok(Step { loss: -loss::cross_entropy(&logits, &batch.labels), logits })
    })
}
