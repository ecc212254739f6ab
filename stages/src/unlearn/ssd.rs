//! `unlearn/ssd`: selective synaptic dampening: weights that matter more to the forget class than to all data shrink.
//!
//! Importance I(X) of each weight: the mean over batches of X of the squared gradient of the batch's mean cross-entropy, in
//! eval mode, at the network that is given. Where I(`D_f`) > alpha I(D), D being all data, the weight is multiplied by
//! min(lambda I(D) / I(`D_f`), 1). Nothing is trained. Foster, Schoepf, Brintrup, "Fast machine unlearning without retraining
//! through selective synaptic dampening", AAAI 2024. Data: D (its importances could be stored when training ends, so that
//! only `D_f` is needed later; here they are computed). Defaults: alpha 10, lambda 1 and batches of 64 of the authors' repository
//! (if-loops/selective-synaptic-dampening, `ResNet18`). I depends on the batch size: a mean of gradients is squared.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Order, Precision, Problem, Recipe};

/// The stage `unlearn/ssd`.
pub struct Ssd;

/// Settings of selective synaptic dampening.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Samples of a batch, within which gradients are averaged before they are squared.
    #[serde(default = "params::batches_of_64")]
    pub batch_size: u32,
    /// How much more a weight must matter to the forget class than to all data to be dampened.
    #[serde(default = "usual_alpha")]
    pub alpha: f64,
    /// How much of a dampened weight is left, relative to the ratio of the importances.
    #[serde(default = "usual_lambda")]
    pub lambda: f64,
    /// Order of the samples: which of them share a batch.
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

const fn usual_alpha() -> f64 {
    10.0
}

const fn usual_lambda() -> f64 {
    1.0
}

impl Params {
    fn recipe(&self) -> Recipe<()> {
        Recipe {
            epochs: 1,
            batch_size: self.batch_size,
            optimizer: (),
            momentum_reset: false,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: BatchNorm::Frozen,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }
}

impl Stage for Ssd {
    type Params = Params;

    const NAME: &'static str = "unlearn/ssd";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Shrinks the weights that matter more to the forget class than to all data; no training.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Both, "the data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::positive("alpha", params.alpha, &mut problems);
        params::positive("lambda", params.lambda, &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) = super::open_all(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        torch::unlearn(&network, &images, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::unlearn;

#[cfg(feature = "torch")]
mod torch {
    use tch::{Tensor, no_grad};

    use super::Params;
    use crate::model::network::{Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Descent, Observer, Step, Tally, epochs, gradients, pass};
    use crate::train::images::Images;
    use crate::train::params::Recipe;

    /// The sum of squared gradients, instead of a descent along them.
    struct Importance {
        parameters: Vec<Tensor>,
        sums: Vec<Tensor>,
        batches: u32,
    }

    impl Importance {
        fn new(network: &Network) -> Self {
            let parameters = network.train_only(Part::All);
            Self { sums: parameters.iter().map(Tensor::zeros_like).collect(), parameters, batches: 0 }
        }

        /// The mean over the batches, one tensor a parameter.
        fn mean(&self) -> Vec<Tensor> {
            self.sums.iter().map(|sum| sum / f64::from(self.batches.max(1))).collect()
        }
    }

    impl Descent for Importance {
        fn step(&mut self, loss: &Tensor) -> Result<(), StageError> {
            let gradients = gradients(loss, &self.parameters)?;
            no_grad(|| {
                for (sum, gradient) in self.sums.iter_mut().zip(gradients) {
                    let _ = sum.g_add_(&gradient.square());
                }
            });
            self.batches += 1;
            Ok(())
        }

        fn restart(&mut self) {
            for sum in &mut self.sums {
                let _ = sum.zero_();
            }
            self.batches = 0;
        }
    }

    /// I(X) of every trainable weight, and what the pass over `images` gave; `name` tells its order from others.
    fn importance(
        network: &Network,
        images: &Images,
        recipe: &Recipe<()>,
        name: &str,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<Tensor>, Tally), StageError> {
        let mut importance = Importance::new(network);
        let tally = pass(1, images.batches(recipe, name), &mut importance, observer, |batch| {
            Step::cross_entropy(network.forward(&batch.pixels, recipe.batch_norm.into()), &batch.labels)
        })?;
        Ok((importance.mean(), tally))
    }

    /// Dampens the weights; `images` are all data as stored. Gives the loss of each batch: of all data, then of the class
    /// to be forgotten.
    ///
    /// # Errors
    /// When a loss is NaN, the data hold only the class to be forgotten or lack it, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        images: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let (recipe, (forget, _)) = (params.recipe(), images.split("data", params.forget_class)?);
        epochs(recipe.epochs, observer, |_, observer| {
            let (of_all, all) = importance(network, images, &recipe, "all", observer)?;
            let (of_forget, own) = importance(network, &forget, &recipe, "forget", observer)?;
            no_grad(|| {
                for ((weight, all), forget) in network.train_only(Part::All).iter_mut().zip(&of_all).zip(&of_forget) {
                    let left = (all * params.lambda / forget).clamp_max(1.0);
                    let dampened = forget.gt_tensor(&(all * params.alpha));
                    let _ = weight.g_mul_(&left.where_self(&dampened, &left.ones_like()));
                }
            });
            Ok(own.after(all))
        })
    }
}
