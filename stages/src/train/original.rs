//! `train/original`: trains a network, from fresh weights or from those of another network. Also holds what
//! `unlearn/retrain` shares with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};
use crate::model::architecture::ModelParams;
use crate::stage::{OutputPort, Port, Sees, Stage, Tool};

/// The stage `train/original`.
pub struct Original;

/// Settings of training. The defaults are the paper's for MNIST.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
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
    #[serde(default = "usual_optimizer")]
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

pub(crate) const fn usual_optimizer() -> Optimizer {
    Optimizer::new(1e-2, 1e-4)
}

/// The port of weights to begin with.
pub(crate) const START: Port = Port::optional(
    "start",
    "weights to begin with, for instance pre-trained ones from `model/import`; none: fresh ones",
);

/// The output ports of training.
pub(crate) const OUTPUTS: &[OutputPort] = &[
    OutputPort::file("model", "model.safetensors", "the trained network"),
    OutputPort::file("history", "history.csv", "epoch, mean training loss, training accuracy"),
];

impl Params {
    /// What the trainer does around the loss.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            momentum_reset: self.momentum_reset,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "",
        }
    }
}

impl Stage for Original {
    type Params = Params;

    const NAME: &'static str = "train/original";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Trains a network, from fresh or given weights.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[Port::data("data", Sees::Both, "the training data"), START];
    const OUTPUTS: &'static [OutputPort] = OUTPUTS;

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params.model.check(&mut problems);
        problems
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let scratch = torch::Scratch {
            model: &params.model,
            precision: params.precision,
            normalise: params.normalise.as_ref(),
            recipe: params.recipe(),
        };
        scratch.run(io, |_| Ok(()))
    }
}

#[cfg(feature = "torch")]
pub use torch::{Scratch, train};

#[cfg(feature = "torch")]
mod torch {
    use std::fmt::Write;

    use safetensors::tensor::Dtype;

    use crate::dataset::Dataset;
    use crate::io::StageIo;
    use crate::model::architecture::{Architecture, ModelParams};
    use crate::model::init;
    use crate::model::network::Network;
    use crate::model::state::StateDict;
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, Tally, fit};
    use crate::train::images::Images;
    use crate::train::params::{Normalise, Precision, Recipe};
    use crate::train::session::{read_state, save_network, torch_session};

    /// Training on port `data`, from the weights of port `start` or fresh ones, which `train/original` and `unlearn/retrain` have in common.
    pub struct Scratch<'a> {
        /// The network.
        pub model: &'a ModelParams,
        /// The arithmetic.
        pub precision: Precision,
        /// Per-channel normalisation.
        pub normalise: Option<&'a Normalise>,
        /// All else; its purpose and seed also decide fresh weights.
        pub recipe: Recipe,
    }

    impl Scratch<'_> {
        /// Trains and writes the outputs; `accept` may refuse the data.
        pub(crate) fn run(
            &self,
            io: &mut StageIo,
            accept: impl FnOnce(&Images) -> Result<(), StageError>,
        ) -> Result<(), StageError> {
            let device = torch_session(io)?;
            let dataset = Dataset::from_input("data", io.input("data")?)?;
            let architecture = Architecture::new(self.model, dataset.shape[1] as u32)?;
            let state = self.start(io, &architecture)?;
            let network = Network::from_state("start", &state, self.precision, self.normalise, device)?;
            let images = Images::new("data", &dataset, &network)?.counted(io.reads());
            accept(&images)?;
            let tallies = train(&network, &images, &self.recipe, io)?;
            let mut history = "epoch,loss,accuracy\n".to_owned();
            for (epoch, tally) in (1..).zip(&tallies) {
                writeln!(history, "{epoch},{},{}", tally.loss, tally.accuracy).expect("a String takes every write");
            }
            io.write("history", history.as_bytes())?;
            save_network(io, &network)
        }

        /// The weights that training begins with, which are those of `architecture`.
        fn start(&self, io: &StageIo, architecture: &Architecture) -> Result<StateDict, StageError> {
            if io.inputs("start").is_empty() {
                let dtype = if self.precision == Precision::F64 { Dtype::F64 } else { Dtype::F32 };
                return Ok(init::draw(architecture, dtype, self.recipe.seed, self.recipe.purpose));
            }
            let state = read_state(io, "start")?;
            match Architecture::from_metadata(&state.metadata) {
                Ok(given) if given != *architecture => {
                    let (given, wanted) = (given.describe(), architecture.describe());
                    Err(StageError::input("start", format!("this is {given}; `model` and the images say {wanted}")))
                }
                _ => Ok(state),
            }
        }
    }

    /// Trains all weights by cross-entropy with the images' own labels.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn train(
        network: &Network,
        images: &Images,
        recipe: &Recipe,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Tally>, StageError> {
        fit(network, images, recipe, observer, |_, batch| {
            let logits = network.forward(&batch.pixels, recipe.batch_norm.into());
            Step::cross_entropy(logits, &batch.labels)
        })
    }
}
