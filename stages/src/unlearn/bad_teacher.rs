//! `unlearn/bad_teacher`: learns from a network that knows nothing on the forget class, and from itself on the rest.
//!
//! The data are `D_f` and a drawn share of `D_r`, mixed. Loss of a batch: (1/n) sum over samples and classes of
//! t (log t - log softmax(f(x))), where t is the softmax of the original f0 for retain samples, and of a freshly initialised
//! network for forget samples; both teachers are frozen and in eval mode. Chundawat, Tarun, Mandal, Kankanhalli, "Can bad
//! teaching induce forgetting?", AAAI 2023. Data: `D_f` and `D_r`. Defaults: Adam 1e-4, one epoch, batches of 256, 30 % of
//! `D_r`, temperature 1, as in the authors' repository (vikram2000b/bad-teaching-unlearning) and in that of SSD. Their loss is a
//! mean over entries (`kl_div` without a reduction named), ours over samples: K times as large, which Adam hardly sees.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rng;
use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::adam::AdamSettings;
use crate::train::params::{self, Augment, BatchNorm, Normalise, Order, Precision, Problem, Recipe};

/// The stage `unlearn/bad_teacher`.
pub struct BadTeacher;

/// Settings of unlearning by a bad teacher.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the forget data and the share of the retain data.
    #[serde(default = "one_epoch")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_256")]
    pub batch_size: u32,
    /// The step's rule: Adam.
    #[serde(default = "usual_optimizer")]
    pub optimizer: AdamSettings,
    /// Share of the retain data that takes part: floor(share n) samples, drawn once.
    #[serde(default = "usual_share")]
    pub share: f64,
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
    /// Decides the bad teacher, the share, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn one_epoch() -> u32 {
    1
}

const fn usual_optimizer() -> AdamSettings {
    AdamSettings::new(1e-4)
}

const fn usual_share() -> f64 {
    0.3
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

    /// Which of `n` retain samples take part, in stored order.
    #[must_use]
    pub fn chosen(&self, n: usize) -> Vec<usize> {
        let mut rows = rng::permutation(&mut rng::stream(self.seed, "unlearn/bad_teacher/share"), n);
        rows.truncate((n as f64 * self.share) as usize);
        rows.sort_unstable();
        rows
    }
}

impl Stage for BadTeacher {
    type Params = Params;

    const NAME: &'static str = "unlearn/bad_teacher";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Learns from an untrained network on the forget class and from the original on the rest.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Both, "the data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::fraction("share", params.share, &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, forget, retain) =
            super::open_both(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        let fresh = torch::fresh(&network, &params)?;
        torch::unlearn(&network, &forget, &retain, &fresh, &params.chosen(retain.len()), &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{Losses, fresh, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use safetensors::tensor::Dtype;
    use tch::{Kind, no_grad};

    use super::Params;
    use crate::model::init;
    use crate::model::network::{Mode, Network};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, fit};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;

    /// The bad teacher: a network like `network`, as it is before any training.
    ///
    /// # Errors
    /// When there is no such network, which would be a bug.
    pub fn fresh(network: &Network, params: &Params) -> Result<Network, StageError> {
        let dtype = if network.kind() == Kind::Double { Dtype::F64 } else { Dtype::F32 };
        let state = init::draw(network.architecture(), dtype, params.seed, "unlearn/bad_teacher/");
        let normalise = params.normalise.as_ref();
        Network::from_state("the bad teacher", &state, params.precision, normalise, network.device())
    }

    /// The loss of a batch of forget samples followed, in their numbering, by retain samples.
    pub struct Losses<'a> {
        /// Teaches the retain samples: the network before unlearning, frozen.
        pub original: &'a Network,
        /// Teaches the forget samples: a network that was never trained.
        pub fresh: &'a Network,
        /// Samples below this number are forget samples.
        pub forget_count: usize,
        /// The settings.
        pub params: &'a Params,
    }

    impl Losses<'_> {
        /// The divergence from each sample's own teacher.
        #[must_use]
        pub fn step(&self, network: &Network, batch: &Batch) -> Step {
            let target = no_grad(|| {
                let is_forget = batch.rows.lt(self.forget_count as i64).unsqueeze(1);
                let (fresh, original) =
                    (self.fresh.forward(&batch.pixels, Mode::Eval), self.original.forward(&batch.pixels, Mode::Eval));
                fresh.where_self(&is_forget, &original).softmax(1, network.kind())
            });
            let logits = network.forward(&batch.pixels, self.params.batch_norm.into());
            Step { loss: loss::divergence(&logits, &target), logits }
        }
    }

    /// Trains all weights on `forget` and the samples `chosen` of `retain`; `fresh` is the bad teacher. Gives the loss of
    /// each step.
    ///
    /// # Errors
    /// When a loss is NaN, no retain sample is chosen, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        forget: &Images,
        retain: &Images,
        fresh: &Network,
        chosen: &[usize],
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        if chosen.is_empty() {
            let (share, all) = (params.share, retain.len());
            return Err(StageError::failed(format!("share {share} leaves none of {all} retain samples")));
        }
        let images = forget.then(&retain.select(chosen));
        let (original, forget_count) = (network.frozen_copy(), forget.len());
        let losses = Losses { original: &original, fresh, forget_count, params };
        let recipe = params.recipe();
        let tallies = fit(network, &images, &recipe, observer, |_, batch| Ok(losses.step(network, batch)))?;
        Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
    }
}
