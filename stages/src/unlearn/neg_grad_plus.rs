//! `unlearn/neg_grad_plus`: descends on the remaining classes and ascends on the forget class in the same step.
//!
//! One step for each batch R of `D_r`, beside the next batch G of a cycle through `D_f` that begins anew in each epoch:
//! alpha (CE(R) + pull / 2 |theta - theta0|^2) - (1 - alpha) CE(G), theta being all trainable weights. `NegGrad`+ of Kurmanji,
//! Triantafillou, Hayes, Triantafillou, "Towards unbounded machine unlearning", `NeurIPS` 2023 (meghdadk/SCRUB), with the pull
//! to the start that the benchmark of Cadet et al., arXiv 2410.01276 (xcadet/deepunlearn), adds. Data: `D_f` and `D_r`.
//! Defaults: those of that benchmark (learning rate, momentum, no weight decay, epochs, alpha, no pull, frozen BatchNorm); the
//! batch size is that of the other methods here (theirs is 256). The SCRUB repository forwards in train mode instead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/neg_grad_plus`.
pub struct NegGradPlus;

/// Settings of `NegGrad`+.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the retain data.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples of each of the two batches of a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// Weight of the loss on the retain data, above 0 and at most 1; that on the forget data has 1 - alpha.
    #[serde(default = "usual_alpha")]
    pub alpha: f64,
    /// Weight of half the squared distance from the first weights, within the loss on the retain data.
    #[serde(default)]
    pub pull: f64,
    /// Order of the samples.
    #[serde(default)]
    pub order: Order,
    /// Random changes of the images.
    #[serde(default)]
    pub augment: Augment,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// BatchNorm's statistics while training, in the forward of the retain batch and then in that of the forget batch.
    #[serde(default = "params::frozen_batch_norm")]
    pub batch_norm: BatchNorm,
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_optimizer() -> Optimizer {
    Optimizer::new(1e-2, 0.0)
}

const fn usual_alpha() -> f64 {
    0.95
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

impl Stage for NegGradPlus {
    type Params = Params;

    const NAME: &'static str = "unlearn/neg_grad_plus";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Descends on the remaining classes and ascends on the forget class, in one step.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Both, "the data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::fraction("alpha", params.alpha, &mut problems);
        params::not_negative("pull", params.pull, &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, forget, retain) =
            super::open_both(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        torch::unlearn(&network, &forget, &retain, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{Losses, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use tch::Tensor;

    use super::Params;
    use crate::model::network::{Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, epochs, pass};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;
    use crate::train::sgd::Sgd;

    /// The loss of `NegGrad`+, for one step.
    pub struct Losses<'a> {
        start: Vec<Tensor>,
        params: &'a Params,
    }

    impl<'a> Losses<'a> {
        /// With the weights that `network` has now as those to be pulled to.
        #[must_use]
        pub fn new(network: &Network, params: &'a Params) -> Self {
            let start = network.train_only(Part::All).iter().map(|w| w.detach().copy()).collect();
            Self { start, params }
        }

        /// The loss of a retain and a forget batch, and the logits of the former.
        #[must_use]
        pub fn step(&self, network: &Network, retain: &Batch, forget: &Batch) -> Step {
            let Params { alpha, pull, batch_norm, .. } = *self.params;
            let logits = network.forward(&retain.pixels, batch_norm.into());
            let mut kept = loss::cross_entropy(&logits, &retain.labels);
            if pull > 0.0 {
                let weights = network.train_only(Part::All);
                kept = weights
                    .iter()
                    .zip(&self.start)
                    .fold(kept, |loss, (now, start)| loss + (now - start).square().sum(now.kind()) * (pull / 2.0));
            }
            let lost = loss::cross_entropy(&network.forward(&forget.pixels, batch_norm.into()), &forget.labels);
            Step { loss: kept * alpha - lost * (1.0 - alpha), logits }
        }
    }

    /// Trains all weights; gives the loss of each step, one a batch of `retain`.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    ///
    /// # Panics
    /// When `forget` holds no sample, which [`super::super::open_both`] refuses.
    pub fn unlearn(
        network: &Network,
        forget: &Images,
        retain: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let recipe = params.recipe();
        let losses = Losses::new(network, params);
        let mut sgd = Sgd::new(network.train_only(Part::All), &params.optimizer);
        epochs(params.epochs, observer, |epoch, observer| {
            let mut beside = forget.cycle(&recipe, &format!("epoch-{epoch}/forget"));
            let batches = retain.batches(&recipe, &format!("epoch-{epoch}/retain"));
            pass(epoch, batches, &mut sgd, observer, |batch| {
                let other = beside.next().expect("a cycle through samples has no end");
                Ok(losses.step(network, batch, &other))
            })
        })
    }
}
