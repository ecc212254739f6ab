//! `unlearn/salun`: random labels for the forget class, true ones for the rest, on the weights that the forget data
//! depend on most.
//!
//! The mask holds the floor(saliency N) of all N trainable weights whose gradient of the cross-entropy on `D_f`, at the
//! network that is given, is largest in absolute value ([`super::saliency::mask`]). Each epoch then descends CE with the wrong
//! labels over `D_f`, and after it CE with the true labels over `D_r`, with one optimizer; gradient, weight decay and
//! momentum act within the mask only. Fan, Liu, Zhang, Wong, Wei, Liu, "`SalUn`: empowering machine unlearning via gradient-based
//! weight saliency", ICLR 2024. Data: `D_f` and `D_r`. Defaults: saliency, learning rate, epochs, batch size, momentum and
//! weight decay of the repository (OPTML-Group/Unlearn-Saliency, CIFAR-10, random data). Here wrong labels are drawn once and
//! never right; the repository draws them anew for every batch, the true label included.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/salun`.
pub struct Salun;

/// Settings of `SalUn` with retain data.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Epochs, each a pass over the forget data and one over the retain data.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples a step, also of the batches that the mask is computed by.
    #[serde(default = "params::batches_of_256")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// Share of the weights that are trained, above 0 and at most 1.
    #[serde(default = "usual_saliency")]
    pub saliency: f64,
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
    Optimizer::new(1.3e-2, 5e-4)
}

const fn usual_saliency() -> f64 {
    0.5
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

impl Stage for Salun {
    type Params = Params;

    const NAME: &'static str = "unlearn/salun";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Trains the weights that matter most to the forget class: random labels for it, true ones for the rest.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Both, "the data")];
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
        let (network, forget, retain) =
            super::open_both(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        let labels = super::wrong_labels(forget.labels(), network.architecture().classes, params.seed);
        unlearn(&network, &forget, &retain, &labels, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

/// Trains the masked weights; `labels`, one a sample of `forget`, take the place of the true ones. Gives the loss of each
/// step.
///
/// # Errors
/// When a loss or a gradient of the mask is NaN, or the run was asked to stop.
#[cfg(feature = "torch")]
pub fn unlearn(
    network: &crate::model::network::Network,
    forget: &crate::train::images::Images,
    retain: &crate::train::images::Images,
    labels: &[i64],
    params: &Params,
    observer: &mut dyn crate::train::fit::Observer,
) -> Result<Vec<f64>, crate::StageError> {
    use crate::model::network::Part;
    use crate::train::fit::{Step, epochs, pass, timed};
    use crate::train::sgd::Sgd;

    let (recipe, labels) = (params.recipe(), forget.per_sample(labels));
    timed(observer, |observer| {
        let masks = super::saliency::mask(network, forget, params.batch_size, params.saliency, observer)?;
        let mut sgd = Sgd::new(network.train_only(Part::All), &params.optimizer).masked(&masks);
        epochs(params.epochs, observer, |epoch, observer| {
            let batches = forget.batches(&recipe, &format!("epoch-{epoch}/forget"));
            let wrong = pass(epoch, batches, &mut sgd, observer, |batch| {
                let logits = network.forward(&batch.pixels, params.batch_norm.into());
                Step::cross_entropy(logits, &labels.index_select(0, &batch.rows))
            })?;
            let batches = retain.batches(&recipe, &format!("epoch-{epoch}/retain"));
            let right = pass(epoch, batches, &mut sgd, observer, |batch| {
                Step::cross_entropy(network.forward(&batch.pixels, params.batch_norm.into()), &batch.labels)
            })?;
            Ok(right.after(wrong))
        })
    })
}
