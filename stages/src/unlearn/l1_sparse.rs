//! `unlearn/l1_sparse`: fine-tunes on the remaining classes while an L1 penalty draws all weights to zero.
//!
//! Loss of a batch of `D_r` in epoch e of E: CE + `gamma_e` sum |theta| over all trainable weights, with `gamma_e` =
//! gamma (1 - (e - 1) / E); the derivative of |0| is 0. Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu, "Model sparsity can simplify
//! machine unlearning", `NeurIPS` 2023 (OPTML-Group/Unlearn-Sparse), with the linearly falling weight of that repository.
//! Data: `D_r` only; the forget class is never seen. Defaults: learning rate and epochs of that repository; it names no
//! gamma (users are told to search 1e-5 to 1e-3), 5e-4 is the choice here, without weight decay beside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/l1_sparse`.
pub struct L1Sparse;

/// Settings of fine-tuning with an L1 penalty.
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
    /// Weight of the sum of |theta| in the first epoch; it falls linearly, to 1/epochs of this in the last.
    #[serde(default = "usual_gamma")]
    pub gamma: f64,
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
    Optimizer::new(1e-2, 0.0)
}

const fn usual_gamma() -> f64 {
    5e-4
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

impl Stage for L1Sparse {
    type Params = Params;

    const NAME: &'static str = "unlearn/l1_sparse";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Fine-tunes on the remaining classes with an L1 penalty on all weights.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network that is to forget"),
        Port::data("data", Sees::Retain, "the data without the forget class"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::not_negative("gamma", params.gamma, &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) =
            super::open_retain(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        torch::unlearn(&network, &images, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{step, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use super::Params;
    use crate::model::network::{Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, fit};
    use crate::train::images::{Batch, Images};

    /// The loss of a batch in `epoch`, from 1.
    ///
    /// # Errors
    /// None; a `Result` because a step gives one.
    pub fn step(network: &Network, epoch: u32, batch: &Batch, params: &Params) -> Result<Step, StageError> {
        let weight = params.gamma * (1.0 - f64::from(epoch - 1) / f64::from(params.epochs));
        let logits = network.forward(&batch.pixels, params.batch_norm.into());
        let Step { loss, logits } = Step::cross_entropy(logits, &batch.labels)?;
        let weights = network.train_only(Part::All);
        let loss = weights.iter().fold(loss, |loss, w| loss + w.abs().sum(w.kind()) * weight);
        Ok(Step { loss, logits })
    }

    /// Trains all weights on `images`, the retain data; gives the loss of each step, penalty included.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        images: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let recipe = params.recipe();
        let tallies = fit(network, images, &recipe, observer, |epoch, batch| step(network, epoch, batch, params))?;
        Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
    }
}
