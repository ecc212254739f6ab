//! `unlearn/amnesiac`: random label plus retain: fine-tunes on the forget class with random other labels and on the
//! rest with the true ones, together.
//!
//! Loss of a batch: cross-entropy, all weights. The method that the repositories of Bad Teacher and SSD call "amnesiac"
//! (vikram2000b/bad-teaching-unlearning, if-loops/selective-synaptic-dampening), after the labels of Graves, Nagisetty, Ganesh,
//! "Amnesiac machine learning", AAAI 2021; the method of that title, which subtracts updates stored while training, is another.
//! Data: `D_f` and `D_r`. Defaults: Adam 1e-4, three epochs, batches of 128, labels drawn once, as in those repositories.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::adam::AdamSettings;
use crate::train::params::{self, Augment, BatchNorm, Normalise, Order, Precision, Problem, Recipe};

/// The stage `unlearn/amnesiac`.
pub struct Amnesiac;

/// Settings of random-label fine-tuning with retain data.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over all data.
    #[serde(default = "usual_epochs")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// The step's rule: Adam.
    #[serde(default = "usual_optimizer")]
    pub optimizer: AdamSettings,
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

const fn usual_epochs() -> u32 {
    3
}

const fn usual_optimizer() -> AdamSettings {
    AdamSettings::new(1e-4)
}

impl Params {
    fn recipe(&self) -> Recipe<AdamSettings> {
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

impl Stage for Amnesiac {
    type Params = Params;

    const NAME: &'static str = "unlearn/amnesiac";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Fine-tunes on the forget class with random other labels and on the rest with true ones.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Both, "the data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        params.recipe().check_with(params.normalise.as_ref())
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, forget, retain) =
            super::open_both(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        let labels = super::wrong_labels(forget.labels(), network.architecture().classes, params.seed);
        unlearn(&network, &forget, &retain, &labels, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

/// Trains all weights; `labels`, one a sample of `forget`, take the place of the true ones. Gives the loss of each step.
///
/// # Errors
/// When a loss is NaN, or the run was asked to stop.
#[cfg(feature = "torch")]
pub fn unlearn(
    network: &crate::model::network::Network,
    forget: &crate::train::images::Images,
    retain: &crate::train::images::Images,
    labels: &[i64],
    params: &Params,
    observer: &mut dyn crate::train::fit::Observer,
) -> Result<Vec<f64>, crate::StageError> {
    use crate::train::fit::{Step, fit};
    let images = forget.then(retain);
    let labels = images.per_sample(&[labels, retain.labels()].concat());
    let tallies = fit(network, &images, &params.recipe(), observer, |_, batch| {
        let logits = network.forward(&batch.pixels, params.batch_norm.into());
        Step::cross_entropy(logits, &labels.index_select(0, &batch.rows))
    })?;
    Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
}
