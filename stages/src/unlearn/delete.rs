//! `unlearn/delete`: distils what the original network says of the forget class once that class does not exist.
//!
//! Zhou and others, "Decoupled distillation to erase" (DELETE), CVPR 2025, arXiv:2503.23751. With p~ = softmax of the original's
//! logits (frozen, eval mode) with the logit of the class to be forgotten at minus infinity,
//!
//! loss = mean over the batch of sum over k of p~ (log p~ - log softmax f(x)),
//!
//! with a true logarithm of the softmax and 0 log 0 = 0. It is PRU's `L_p` without the 1e-6 in the logarithm, so with
//! the classifier `frozen` it is the control for all that PRU adds. Needs forget data. Epochs, rate, momentum and batch
//! are those of the method's code, shaaaaron/DELETE, for CIFAR-10; there too freezing BatchNorm is an option.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/delete`.
pub struct Delete;

/// What becomes of the classifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Classifier {
    /// It is trained as all else.
    #[default]
    Free,
    /// It never changes.
    Frozen,
}

/// Settings of DELETE.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// What becomes of the classifier: `free` or `frozen`.
    #[serde(default)]
    pub classifier: Classifier,
    /// Passes over the forget data.
    #[serde(default = "twenty_epochs")]
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

const fn twenty_epochs() -> u32 {
    20
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

impl Stage for Delete {
    type Params = Params;

    const NAME: &'static str = "unlearn/delete";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Distils the original network without the forget class.";
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
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) = super::open(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        unlearn(&network, &images, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{step, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use tch::no_grad;

    use super::{Classifier, Params};
    use crate::model::network::{Mode, Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, fit_with};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;
    use crate::train::sgd::Sgd;

    /// The loss of one batch; `original` is the network before unlearning.
    #[must_use]
    pub fn step(network: &Network, original: &Network, batch: &Batch, params: &Params) -> Step {
        let perceived = no_grad(|| original.forward(&batch.pixels, Mode::Eval));
        let target = loss::masked_target(&perceived, params.forget_class);
        let logits = network.forward(&batch.pixels, params.batch_norm.into());
        Step { loss: loss::divergence(&logits, &target), logits }
    }

    /// Trains all weights, or all but the classifier; gives the loss of each step.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        images: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let (original, recipe) = (network.frozen_copy(), params.recipe());
        let part = match params.classifier {
            Classifier::Free => Part::All,
            Classifier::Frozen => Part::Extractor,
        };
        let sgd = Sgd::new(network.train_only(part), &recipe.optimizer);
        let tallies = fit_with(sgd, images, &recipe, observer, |_, batch| Ok(step(network, &original, batch, params)))?;
        Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
    }
}
