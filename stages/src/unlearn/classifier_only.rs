//! `unlearn/classifier_only`: the control that changes nothing but the last layer. It shows what forgetting looks like when
//! the perception of the class stays exactly as it was.
//!
//! The extractor is frozen and in eval mode, BatchNorm included. The classifier is trained by cross-entropy with
//! y~ = argmax p~, where p~ is the softmax of the original's logits without that of the class to be forgotten (the PRU
//! paper's pseudo-labels). Needs forget data. This project's control; its defaults are those of `unlearn/random_label`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/classifier_only`.
pub struct ClassifierOnly;

/// Settings of the control that trains the classifier alone.
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
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the order and the augmentation.
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
            batch_norm: BatchNorm::Frozen,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }
}

impl Stage for ClassifierOnly {
    type Params = Params;

    const NAME: &'static str = "unlearn/classifier_only";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Control: trains the classifier alone, towards the next likely class.";
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
        unlearn(&network, &images, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{step, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use tch::no_grad;

    use super::Params;
    use crate::model::network::{Mode, Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, fit_with};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;
    use crate::train::sgd::Sgd;

    /// The loss of one batch; `original` is the network before unlearning, of which the classifier alone is asked: the
    /// extractors are the same.
    ///
    /// # Errors
    /// None; a `Result` because a step gives one.
    pub fn step(network: &Network, original: &Network, batch: &Batch, params: &Params) -> Result<Step, StageError> {
        let embeddings = no_grad(|| network.embed(&batch.pixels, Mode::Eval));
        let perceived = no_grad(|| original.classify(&embeddings));
        let labels = loss::masked_target(&perceived, params.forget_class).argmax(1, false);
        Step::cross_entropy(network.classify(&embeddings), &labels)
    }

    /// Trains the classifier; gives the loss of each step.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        images: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let (original, recipe) = (network.frozen_copy(), params.recipe());
        let sgd = Sgd::new(network.train_only(Part::Classifier), &recipe.optimizer);
        let tallies = fit_with(sgd, images, &recipe, observer, |_, batch| step(network, &original, batch, params))?;
        Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
    }
}
