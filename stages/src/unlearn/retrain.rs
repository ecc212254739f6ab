//! `unlearn/retrain`: training from fresh weights on everything but the forget class: what exact unlearning gives.
//!
//! The same recipe as `train/original`, with its own random streams: neither the first weights nor the order are those
//! of the original. Where the original began with pre-trained weights, so does this (port `start`): a class that those
//! have seen is then not wholly unseen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::architecture::ModelParams;
use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::original;
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/retrain`.
pub struct Retrain;

/// Settings of retraining; give those of `train/original`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be left out.
    pub forget_class: u32,
    /// The network; where `start` is connected, that of its weights.
    #[serde(default)]
    pub model: ModelParams,
    /// Passes over the data.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_64")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "original::usual_optimizer")]
    pub optimizer: Optimizer,
    /// Start every epoch with zero momentum.
    #[serde(default)]
    pub momentum_reset: bool,
    /// Order of the samples.
    #[serde(default)]
    pub order: Order,
    /// Random changes of the images.
    #[serde(default)]
    pub augment: Augment,
    /// Per-channel normalisation of the images.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// BatchNorm's statistics while training.
    #[serde(default)]
    pub batch_norm: BatchNorm,
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the first weights, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

impl Params {
    fn recipe(&self) -> Recipe {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            momentum_reset: self.momentum_reset,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "retrain/",
        }
    }
}

impl Stage for Retrain {
    type Params = Params;

    const NAME: &'static str = "unlearn/retrain";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Trains from fresh weights without the forget class (exact unlearning).";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::data("data", Sees::Retain, "the training data without the forget class"), original::START];
    const OUTPUTS: &'static [OutputPort] = original::OUTPUTS;

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params.model.check(&mut problems);
        if params.forget_class >= params.model.classes {
            let problem = format!("is {}; the network has {} classes", params.forget_class, params.model.classes);
            problems.push(("forget_class", problem));
        }
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let scratch = original::Scratch {
            model: &params.model,
            precision: params.precision,
            normalise: params.normalise.as_ref(),
            recipe: params.recipe(),
        };
        scratch.run(io, |images| images.expect_without(params.forget_class))
    }
}
