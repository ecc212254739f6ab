//! `unlearn/random_label`: fine-tunes on the forget class with labels drawn once from the other classes.
//!
//! Graves, Nagisetty, Ganesh, "Amnesiac Machine Learning", AAAI 2021, without its retain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/random_label`.
pub struct RandomLabel;

/// Settings of random-label fine-tuning.
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
    /// Decides the labels, the order and the augmentation.
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

impl Stage for RandomLabel {
    type Params = Params;

    const NAME: &'static str = "unlearn/random_label";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Fine-tunes on the forget class with random other labels.";
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
        let labels = super::wrong_labels(images.labels(), network.architecture().classes, params.seed);
        unlearn(&network, &images, &labels, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

/// Trains all weights by cross-entropy with `labels`, one a sample; gives the loss of each step.
///
/// # Errors
/// When a loss is NaN, or the run was asked to stop.
#[cfg(feature = "torch")]
pub fn unlearn(
    network: &crate::model::network::Network,
    images: &crate::train::images::Images,
    labels: &[i64],
    params: &Params,
    observer: &mut dyn crate::train::fit::Observer,
) -> Result<Vec<f64>, crate::StageError> {
    use crate::train::fit::{Step, fit};
    let labels = images.per_sample(labels);
    let tallies = fit(network, images, &params.recipe(), observer, |_, batch| {
        let logits = network.forward(&batch.pixels, params.batch_norm.into());
        Step::cross_entropy(logits, &labels.index_select(0, &batch.rows))
    })?;
    Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
}
