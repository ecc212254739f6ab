//! `unlearn/pru`: perception revising unlearning (Zhang, Chen, Zhang, Xu, ACML 2024), as published and as described.
//!
//! Each epoch shifts, then refines; each is one pass over the forget data with a fresh optimizer. With f0 the original
//! network (frozen, eval mode), p~ = softmax of f0's logits without the class to be forgotten, y~ = argmax p~, and e(x)
//! the student's embedding:
//! - shift trains the extractor on `L_p` + `L_o` + `L_s` ([`crate::train::loss`]): the student is to perceive p~, clusters of
//!   equal y~ are to move apart, members of a cluster together;
//! - refine descends `L_p` alone. The published code trains the extractor there (`as-published`); the paper says, in
//!   section 4.2.2, that the extractor is fixed and the classifier trained (`as-described`).
//!
//! Kept from the published code in both: log(softmax + 1e-6), two train-mode forwards per shift step (BatchNorm's
//! running statistics move twice), clusters of equal weight. Changed: p~ is a masked softmax (the published arithmetic
//! gives NaN at a logit gap of about 104), distances are exact differences.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/pru`.
pub struct Pru;

/// What refining trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// The extractor, as the published code does; the classifier never changes.
    #[default]
    AsPublished,
    /// The classifier, as the paper says; the extractor is fixed and in eval mode, BatchNorm included.
    AsDescribed,
}

/// The loss `L_p` and where it takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Perception {
    /// KL divergence from p~ (the paper's Eq. 5).
    #[default]
    Kl,
    /// Cross-entropy with y~ instead.
    Ce,
    /// Without `L_p` while shifting; refining keeps it.
    None,
    /// Without `L_p` at all: no refining.
    NoneNoRefine,
}

/// Settings of PRU. The defaults are the paper's for MNIST.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// What refining trains: `as-published` (the extractor) or `as-described` (the classifier).
    #[serde(default)]
    pub variant: Variant,
    /// Epochs, each a shift pass and a refine pass over the forget data.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// Learning rate of shifting.
    #[serde(default = "usual_lr_shift")]
    pub lr_shift: f64,
    /// Learning rate of refining.
    #[serde(default = "usual_lr_refine")]
    pub lr_refine: f64,
    /// Momentum, from 0 to below 1; each pass begins with none.
    #[serde(default = "Optimizer::usual_momentum")]
    pub momentum: f64,
    /// Weight decay of what a pass trains.
    #[serde(default = "usual_weight_decay")]
    pub weight_decay: f64,
    /// The loss `L_p`.
    #[serde(default)]
    pub perception: Perception,
    /// Whether `L_o` (clusters apart) takes part.
    #[serde(default = "yes")]
    pub cluster: bool,
    /// Whether `L_s` (members of a cluster together) takes part.
    #[serde(default = "yes")]
    pub sample: bool,
    /// Weight of `L_o`.
    #[serde(default = "usual_lambda")]
    pub lambda: f64,
    /// Labels drawn once from the other classes take the place of y~; needs a `perception` without `kl`.
    #[serde(default)]
    pub random_label: bool,
    /// Share of the forget data that is used: the first floor(share n) samples in the order of the split.
    #[serde(default = "everything")]
    pub subset_ratio: f64,
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
    /// Decides random labels, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_lr_shift() -> f64 {
    5e-3
}

const fn usual_lr_refine() -> f64 {
    1e-1
}

const fn usual_weight_decay() -> f64 {
    1e-4
}

const fn usual_lambda() -> f64 {
    1.0
}

const fn everything() -> f64 {
    1.0
}

const fn yes() -> bool {
    true
}

impl Params {
    fn optimizer(&self, lr: f64) -> Optimizer {
        Optimizer { lr, momentum: self.momentum, weight_decay: self.weight_decay, nesterov: false }
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer(self.lr_shift),
            momentum_reset: true,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }
}

impl Stage for Pru {
    type Params = Params;

    const NAME: &'static str = "unlearn/pru";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Perception revising unlearning: moves the embeddings of the forget class.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_passes();
        params::positive("lr_shift", params.lr_shift, &mut problems);
        params::positive("lr_refine", params.lr_refine, &mut problems);
        params::momentum_in_range("momentum", params.momentum, &mut problems);
        params::not_negative("weight_decay", params.weight_decay, &mut problems);
        params::positive("lambda", params.lambda, &mut problems);
        params::fraction("subset_ratio", params.subset_ratio, &mut problems);
        params::check_normalise(params.normalise.as_ref(), &mut problems);
        let without = matches!(params.perception, Perception::None | Perception::NoneNoRefine);
        if without && !params.cluster && !params.sample {
            problems.push(("perception", "nothing is left to shift by: cluster and sample are off too".to_owned()));
        }
        if params.random_label && params.perception == Perception::Kl {
            problems.push(("random_label", "needs `perception: ce`: random labels have no distribution".to_owned()));
        }
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) = super::open(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        let random = super::wrong_labels(images.labels(), network.architecture().classes, params.seed);
        torch::unlearn(&network, &images, &random, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{Losses, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use tch::{Tensor, no_grad};

    use super::{Params, Perception, Variant};
    use crate::model::network::{Mode, Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, epochs, pass};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;
    use crate::train::sgd::Sgd;

    /// The losses of PRU, for one batch.
    pub struct Losses<'a> {
        /// The network before unlearning, frozen.
        pub original: &'a Network,
        /// Random labels of all samples, i64 [N].
        pub random_labels: &'a Tensor,
        /// The settings.
        pub params: &'a Params,
    }

    /// What the original network says of a batch: p~, [n, K], and the label of each sample, i64 [n].
    struct Supervision {
        target: Tensor,
        labels: Tensor,
    }

    impl Losses<'_> {
        fn supervision(&self, batch: &Batch) -> Supervision {
            let logits = no_grad(|| self.original.forward(&batch.pixels, Mode::Eval));
            let target = loss::masked_target(&logits, self.params.forget_class);
            let labels = if self.params.random_label {
                self.random_labels.index_select(0, &batch.rows)
            } else {
                target.argmax(1, false)
            };
            Supervision { target, labels }
        }

        fn perception(&self, logits: &Tensor, supervision: &Supervision) -> Tensor {
            if self.params.perception == Perception::Ce || self.params.random_label {
                loss::cross_entropy(logits, &supervision.labels)
            } else {
                loss::perception(logits, &supervision.target)
            }
        }

        /// `L_p` + `L_o` + `L_s`, as far as the params leave them in.
        ///
        /// # Panics
        /// When the params leave none, which [`super::Stage::check`] refuses.
        #[must_use]
        pub fn shift(&self, network: &Network, batch: &Batch) -> Step {
            let Params { perception, cluster, sample, lambda, .. } = *self.params;
            let supervision = self.supervision(batch);
            let mode = self.params.batch_norm.into();
            // Two forwards, in every ablation: BatchNorm's running statistics move twice, as in the published code.
            let embeddings = network.embed(&batch.pixels, mode);
            let logits = network.forward(&batch.pixels, mode);
            let classes = network.architecture().classes;
            let mut terms = Vec::new();
            if matches!(perception, Perception::Kl | Perception::Ce) {
                terms.push(self.perception(&logits, &supervision));
            }
            if cluster {
                terms.push(loss::cluster(&embeddings, &supervision.labels, classes, lambda));
            }
            if sample {
                terms.push(loss::sample(&embeddings, &supervision.labels, classes));
            }
            let loss = terms.into_iter().reduce(|sum, term| sum + term).expect("`check` leaves at least one loss");
            Step { loss, logits }
        }

        /// `L_p`. As described, the extractor is fixed: its BatchNorm does not move either.
        #[must_use]
        pub fn refine(&self, network: &Network, batch: &Batch) -> Step {
            let mode = match self.params.variant {
                Variant::AsPublished => self.params.batch_norm.into(),
                Variant::AsDescribed => Mode::Eval,
            };
            let logits = network.forward(&batch.pixels, mode);
            Step { loss: self.perception(&logits, &self.supervision(batch)), logits }
        }
    }

    /// Unlearns; `random_labels`, one a sample, are used with `random_label` only. Gives the loss of each step, shift and
    /// refine passes in turn.
    ///
    /// # Errors
    /// When a loss is NaN, no sample is left, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        images: &Images,
        random_labels: &[i64],
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let count = (images.len() as f64 * params.subset_ratio) as usize;
        if count == 0 {
            let (ratio, all) = (params.subset_ratio, images.len());
            return Err(StageError::failed(format!("subset_ratio {ratio} leaves none of {all} samples")));
        }
        let images = images.select(&(0..count).collect::<Vec<_>>());
        let random_labels = images.per_sample(&random_labels[..count]);
        let original = network.frozen_copy();
        let losses = Losses { original: &original, random_labels: &random_labels, params };
        let recipe = params.recipe();
        let refined = match params.variant {
            Variant::AsPublished => Part::Extractor,
            Variant::AsDescribed => Part::Classifier,
        };
        epochs(params.epochs, observer, |epoch, observer| {
            let mut sgd = Sgd::new(network.train_only(Part::Extractor), &params.optimizer(params.lr_shift));
            let batches = images.batches(&recipe, &format!("epoch-{epoch}/pass-0"));
            let shift = pass(epoch, batches, &mut sgd, observer, |batch| Ok(losses.shift(network, batch)))?;
            if params.perception == Perception::NoneNoRefine {
                return Ok(shift);
            }
            let mut sgd = Sgd::new(network.train_only(refined), &params.optimizer(params.lr_refine));
            let batches = images.batches(&recipe, &format!("epoch-{epoch}/pass-1"));
            let refine = pass(epoch, batches, &mut sgd, observer, |batch| Ok(losses.refine(network, batch)))?;
            Ok(refine.after(shift))
        })
    }
}
