//! `unlearn/bn_only`: the control that trains nothing. Forget batches go forward in train mode, so that only
//! BatchNorm's running statistics move.
//!
//! A method that trains on forget data in train mode moves them too; it forgets only as far as it goes beyond this.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Order, Precision, Problem, Recipe};

/// The stage `unlearn/bn_only`.
pub struct BnOnly;

/// How often BatchNorm's running statistics are updated, and by which batches.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Epochs, each of as many passes over the forget data as `updates` has entries.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples an update.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// Updates a batch, one entry a pass. The default is what an epoch of `unlearn/pru` as-published makes: two a batch
    /// while shifting, one while refining, in the same order of samples. As-described makes `[2]`.
    #[serde(default = "as_pru")]
    pub updates: Vec<u32>,
    /// Order of the samples.
    #[serde(default)]
    pub order: Order,
    /// Random changes of the images.
    #[serde(default)]
    pub augment: Augment,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

fn as_pru() -> Vec<u32> {
    vec![2, 1]
}

impl Params {
    fn recipe(&self) -> Recipe<()> {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: (),
            momentum_reset: false,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: BatchNorm::Train,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }
}

impl Stage for BnOnly {
    type Params = Params;

    const NAME: &'static str = "unlearn/bn_only";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Control: only BatchNorm's running statistics move, by forget batches; no training.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        if params.updates.iter().sum::<u32>() == 0 {
            problems.push(("updates", "makes no update; [2, 1] is what PRU makes".to_owned()));
        }
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

/// Moves the running statistics of `network`.
///
/// # Errors
/// When the run was asked to stop.
#[cfg(feature = "torch")]
pub fn unlearn(
    network: &crate::model::network::Network,
    images: &crate::train::images::Images,
    params: &Params,
    observer: &mut dyn crate::train::fit::Observer,
) -> Result<(), crate::StageError> {
    use crate::model::network::Mode;
    let recipe = params.recipe();
    crate::train::fit::timed(observer, |observer| {
        for epoch in 1..=params.epochs {
            for (pass, &updates) in params.updates.iter().enumerate() {
                for batch in images.batches(&recipe, &format!("epoch-{epoch}/pass-{pass}")) {
                    observer.poll()?;
                    for _ in 0..updates {
                        tch::no_grad(|| drop(network.embed(&batch.pixels, Mode::Train)));
                    }
                }
            }
            observer.passed(epoch, params.epochs);
        }
        Ok(())
    })
}
