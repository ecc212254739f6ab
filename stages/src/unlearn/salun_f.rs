//! `unlearn/salun_f`: [`super::random_label`] on the most salient weights alone; `SalUn` without its retain data.
//!
//! Fan, Liu, Zhang, Wong, Wei, Liu, "`SalUn`", ICLR 2024: a mask of the weights that the loss on the forget data depends
//! on most ([`super::saliency`]) is made once, from the original network; then the network is trained by cross-entropy
//! with wrong labels, drawn once, and everything outside the mask keeps its bits (gradient, weight decay and momentum act
//! inside it only). Needs forget data. The defaults of `saliency` and `batch_norm` are those for MNIST with AllCNN of the
//! public repository uqyqiu/Post-hoc-restoration, which has such a variant without retain data; all others are those of
//! `unlearn/random_label`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/salun_f`.
pub struct SalunF;

/// Settings of `SalUn` without retain data.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Share of the weights that are trained, above 0 and at most 1: the most salient ones.
    #[serde(default = "usual_saliency")]
    pub saliency: f64,
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
    #[serde(default = "params::frozen_batch_norm")]
    pub batch_norm: BatchNorm,
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the labels, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_saliency() -> f64 {
    0.3
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

impl Stage for SalunF {
    type Params = Params;

    const NAME: &'static str = "unlearn/salun_f";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Fine-tunes the most salient weights on the forget class with random other labels.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::fraction("saliency", params.saliency, &mut problems);
        problems
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

/// Trains the most salient weights by cross-entropy with `labels`, one a sample; gives the loss of each step.
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
    use crate::model::network::Part;
    use crate::train::fit::{Step, fit_with, timed};
    use crate::train::sgd::Sgd;
    let labels = images.per_sample(labels);
    let recipe = params.recipe();
    timed(observer, |observer| {
        let masks = super::saliency::mask(network, images, params.batch_size, params.saliency, observer)?;
        let sgd = Sgd::new(network.train_only(Part::All), &recipe.optimizer).masked(&masks);
        let tallies = fit_with(sgd, images, &recipe, observer, |_, batch| {
            let logits = network.forward(&batch.pixels, params.batch_norm.into());
            Step::cross_entropy(logits, &labels.index_select(0, &batch.rows))
        })?;
        Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
    })
}
