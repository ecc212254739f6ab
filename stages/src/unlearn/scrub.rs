//! `unlearn/scrub`: moves away from the original on the forget class, and stays near it and the labels on the rest.
//!
//! The teacher f0 is the network that is given, frozen, in eval mode. `KL_T` = T^2 (1/n) sum over samples and classes of
//! p (log p - log q), p = softmax(f0(x) / T), q = softmax(f(x) / T). Epochs 1 to `max_epochs` begin with a pass over `D_f`
//! that ascends `KL_T` (its loss is -`KL_T`); every epoch then passes over `D_r` with gamma CE + alpha `KL_T`. One optimizer
//! throughout. Kurmanji, Triantafillou, Hayes, Triantafillou, "Towards unbounded machine unlearning", `NeurIPS` 2023. Data: `D_f`
//! and `D_r`. Defaults: those of the repository for its large scale (meghdadk/SCRUB: learning rate, weight decay, gamma,
//! alpha, T, epochs, steps of ascent) and the batch sizes of the paper; without the repository's decay of the learning rate
//! and without rewinding to an earlier epoch, which needs validation data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/scrub`.
pub struct Scrub;

/// Settings of SCRUB.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the retain data.
    #[serde(default = "usual_epochs")]
    pub epochs: u32,
    /// Epochs, the first ones, that begin with a pass over the forget data.
    #[serde(default = "usual_max_epochs")]
    pub max_epochs: u32,
    /// Samples a step on the retain data.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// Samples a step on the forget data.
    #[serde(default = "usual_forget_batch_size")]
    pub forget_batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// Weight of the cross-entropy on the retain data.
    #[serde(default = "usual_gamma")]
    pub gamma: f64,
    /// Weight of the divergence from the original on the retain data.
    #[serde(default = "usual_alpha")]
    pub alpha: f64,
    /// T: logits are divided by it within the divergence, which is multiplied by its square.
    #[serde(default = "usual_temperature")]
    pub temperature: f64,
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

const fn usual_epochs() -> u32 {
    3
}

const fn usual_max_epochs() -> u32 {
    2
}

const fn usual_forget_batch_size() -> u32 {
    32
}

const fn usual_optimizer() -> Optimizer {
    Optimizer::new(5e-4, 5e-4)
}

const fn usual_gamma() -> f64 {
    0.99
}

const fn usual_alpha() -> f64 {
    1e-3
}

const fn usual_temperature() -> f64 {
    4.0
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

impl Stage for Scrub {
    type Params = Params;

    const NAME: &'static str = "unlearn/scrub";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Away from the original on the forget class, near it on the rest (teacher and student).";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Both, "the data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::at_least_one("forget_batch_size", params.forget_batch_size, &mut problems);
        params::not_negative("gamma", params.gamma, &mut problems);
        params::not_negative("alpha", params.alpha, &mut problems);
        params::positive("temperature", params.temperature, &mut problems);
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
    use tch::{Tensor, no_grad};

    use super::Params;
    use crate::model::network::{Mode, Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, epochs, pass};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;
    use crate::train::params::Recipe;
    use crate::train::sgd::Sgd;

    /// The losses of SCRUB, for one batch.
    pub struct Losses<'a> {
        /// The network before unlearning, frozen.
        pub teacher: &'a Network,
        /// The settings.
        pub params: &'a Params,
    }

    impl Losses<'_> {
        /// `KL_T` of the student's logits.
        fn divergence(&self, logits: &Tensor, batch: &Batch) -> Tensor {
            let t = self.params.temperature;
            let teacher = no_grad(|| self.teacher.forward(&batch.pixels, Mode::Eval)) / t;
            loss::divergence(&(logits / t), &teacher.softmax(1, teacher.kind())) * (t * t)
        }

        /// Of a forget batch: -`KL_T`.
        #[must_use]
        pub fn ascend(&self, network: &Network, batch: &Batch) -> Step {
            let logits = network.forward(&batch.pixels, self.params.batch_norm.into());
            Step { loss: -self.divergence(&logits, batch), logits }
        }

        /// Of a retain batch: gamma CE + alpha `KL_T`.
        #[must_use]
        pub fn descend(&self, network: &Network, batch: &Batch) -> Step {
            let Params { gamma, alpha, batch_norm, .. } = *self.params;
            let logits = network.forward(&batch.pixels, batch_norm.into());
            let loss = loss::cross_entropy(&logits, &batch.labels) * gamma + self.divergence(&logits, batch) * alpha;
            Step { loss, logits }
        }
    }

    /// Trains all weights; gives the loss of each step.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        forget: &Images,
        retain: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let teacher = network.frozen_copy();
        let losses = Losses { teacher: &teacher, params };
        let recipe = params.recipe();
        let forget_recipe = Recipe { batch_size: params.forget_batch_size, ..recipe.clone() };
        let mut sgd = Sgd::new(network.train_only(Part::All), &params.optimizer);
        epochs(params.epochs, observer, |epoch, observer| {
            let mut away = None;
            if epoch <= params.max_epochs {
                let batches = forget.batches(&forget_recipe, &format!("epoch-{epoch}/forget"));
                away = Some(pass(epoch, batches, &mut sgd, observer, |batch| Ok(losses.ascend(network, batch)))?);
            }
            let batches = retain.batches(&recipe, &format!("epoch-{epoch}/retain"));
            let near = pass(epoch, batches, &mut sgd, observer, |batch| Ok(losses.descend(network, batch)))?;
            Ok(match away {
                Some(away) => near.after(away),
                None => near,
            })
        })
    }
}
