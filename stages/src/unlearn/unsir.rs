//! `unlearn/unsir`: noise that the original takes for anything but the forget class is learned as that class (impair),
//! then the remaining classes are learned again (repair).
//!
//! Noise u, [n, C, H, W], begins at N(0, 1) in pixel space (before normalisation; never clamped) and takes `noise_steps` steps
//! of Adam on -CE(f0(u), f) + 0.1 (1/n) sum |u|^2, f0 being the network that is given, in eval mode. Impair: one epoch of CE
//! over `noise_copies` copies of u with label f, followed by up to `samples_per_class` samples of each remaining class.
//! Repair: one epoch of CE over those samples alone. Each has an Adam of its own; all weights are trained. Tarun, Chundawat,
//! Mandal, Kankanhalli, "Fast yet effective machine unlearning", IEEE TNNLS 2023. Data: `D_r` only; the forget class is known
//! by its number. Defaults: noise, copies, samples and rates as in the SSD repository (if-loops/selective-synaptic-dampening);
//! batches of 256 as in the authors' notebook (vikram2000b/Fast-Machine-Unlearning; its rates, 0.02 and 0.01, are for a larger
//! lot of noise). As in both, images are not augmented. Both take the first samples of each class, here they are drawn.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rng;
use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Order, Precision, Problem, Recipe};

/// The stage `unlearn/unsir`.
pub struct Unsir;

/// Settings of UNSIR.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Images of noise.
    #[serde(default = "usual_noise_batch")]
    pub noise_batch: u32,
    /// Steps that the noise takes.
    #[serde(default = "usual_noise_steps")]
    pub noise_steps: u32,
    /// Learning rate of the noise.
    #[serde(default = "usual_noise_lr")]
    pub noise_lr: f64,
    /// How often each image of noise takes part in impairing.
    #[serde(default = "usual_noise_copies")]
    pub noise_copies: u32,
    /// Samples of each remaining class that take part; all of them where there are fewer.
    #[serde(default = "usual_samples_per_class")]
    pub samples_per_class: u32,
    /// Learning rate of impairing.
    #[serde(default = "usual_lr")]
    pub lr_impair: f64,
    /// Learning rate of repairing.
    #[serde(default = "usual_lr")]
    pub lr_repair: f64,
    /// Samples a step.
    #[serde(default = "params::batches_of_256")]
    pub batch_size: u32,
    /// Order of the samples.
    #[serde(default)]
    pub order: Order,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// BatchNorm's statistics while training.
    #[serde(default)]
    pub batch_norm: BatchNorm,
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the noise, the samples and their order.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_noise_batch() -> u32 {
    32
}

const fn usual_noise_steps() -> u32 {
    25
}

const fn usual_noise_lr() -> f64 {
    0.1
}

const fn usual_noise_copies() -> u32 {
    80
}

const fn usual_samples_per_class() -> u32 {
    500
}

const fn usual_lr() -> f64 {
    1e-4
}

impl Params {
    fn recipe(&self) -> Recipe<()> {
        Recipe {
            // Impair and repair.
            epochs: 2,
            batch_size: self.batch_size,
            optimizer: (),
            momentum_reset: false,
            order: self.order,
            augment: Augment::default(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }

    /// Which retain samples take part, in stored order; `labels` are those of all.
    #[must_use]
    pub fn chosen(&self, labels: &[i64]) -> Vec<usize> {
        let order = rng::permutation(&mut rng::stream(self.seed, "unlearn/unsir/samples"), labels.len());
        let mut counts: BTreeMap<i64, u32> = BTreeMap::new();
        let mut rows: Vec<usize> = order
            .into_iter()
            .filter(|&row| {
                let count = counts.entry(labels[row]).or_default();
                *count += 1;
                *count <= self.samples_per_class
            })
            .collect();
        rows.sort_unstable();
        rows
    }
}

impl Stage for Unsir {
    type Params = Params;

    const NAME: &'static str = "unlearn/unsir";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Learns noise as the forget class (impair), then the remaining classes again (repair).";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network that is to forget"),
        Port::data("data", Sees::Retain, "the data without the forget class"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        for (field, count) in [
            ("noise_batch", params.noise_batch),
            ("noise_steps", params.noise_steps),
            ("noise_copies", params.noise_copies),
            ("samples_per_class", params.samples_per_class),
        ] {
            params::at_least_one(field, count, &mut problems);
        }
        for (field, rate) in
            [("noise_lr", params.noise_lr), ("lr_impair", params.lr_impair), ("lr_repair", params.lr_repair)]
        {
            params::positive(field, rate, &mut problems);
        }
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, retain) =
            super::open_retain(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        if retain.view() != crate::model::view::View::AsStored {
            // Its noise would be trained in another size than the images have.
            return Err(crate::StageError::failed(
                "unsir takes networks that see images in their stored size; not ViT",
            ));
        }
        let noise = torch::drawn_noise(&network, &retain, &params);
        torch::unlearn(&network, &retain, &noise, &params.chosen(retain.labels()), &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{drawn_noise, noise_step, trained_noise, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use tch::{Kind, Tensor};

    use super::Params;
    use crate::model::network::{Mode, Network, Part};
    use crate::rng;
    use crate::stage::StageError;
    use crate::train::adam::{Adam, AdamSettings};
    use crate::train::fit::{Observer, Step, Tally, epochs, pass};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;

    /// Weight of the mean squared size of an image of noise.
    const SIZE_WEIGHT: f64 = 0.1;

    /// Noise to begin with: N(0, 1), as many images as the params say, of the shape of those of `retain`.
    pub fn drawn_noise(network: &Network, retain: &Images, params: &Params) -> Tensor {
        let [channels, height, width] = retain.shape();
        let shape = [i64::from(params.noise_batch), channels, height, width];
        let mut stream = rng::stream(params.seed, "unlearn/unsir/noise");
        let values = rng::normal(&mut stream, shape.iter().product::<i64>() as usize);
        Tensor::from_slice(&values).view(shape).to_kind(network.kind()).to_device(network.device())
    }

    /// The loss that the noise descends: a batch whose pixels are noise, and whose labels are the class to be forgotten.
    #[must_use]
    pub fn noise_step(original: &Network, batch: &Batch) -> Step {
        let logits = original.forward(&batch.pixels, Mode::Eval);
        let kind = logits.kind();
        let size = batch.pixels.square().sum(kind) / batch.pixels.size()[0] as f64;
        Step { loss: size * SIZE_WEIGHT - loss::cross_entropy(&logits, &batch.labels), logits }
    }

    /// Trains noise, [n, C, H, W], beginning at `start`; gives it, and the losses of its steps.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn trained_noise(
        original: &Network,
        start: &Tensor,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<(Tensor, Tally), StageError> {
        let noise = start.copy().set_requires_grad(true);
        let count = noise.size()[0];
        let labels = Tensor::full([count], i64::from(params.forget_class), (Kind::Int64, noise.device()));
        let rows = Tensor::arange(count, (Kind::Int64, noise.device()));
        let again =
            || Batch { pixels: noise.shallow_clone(), labels: labels.shallow_clone(), rows: rows.shallow_clone() };
        let steps = std::iter::repeat_with(again).take(params.noise_steps as usize);
        let mut adam = Adam::new(vec![noise.shallow_clone()], &AdamSettings::new(params.noise_lr));
        let tally = pass(1, steps, &mut adam, observer, |batch| Ok(noise_step(original, batch)))?;
        Ok((noise.detach(), tally))
    }

    /// Impairs and repairs all weights. `noise` is the noise to begin with, [n, C, H, W]; `chosen` are the samples of `retain`
    /// that take part. Gives the losses of the noise's steps, then those of impairing and repairing.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        retain: &Images,
        noise: &Tensor,
        chosen: &[usize],
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let (original, recipe, samples) = (network.frozen_copy(), params.recipe(), retain.select(chosen));
        let train = |epoch: u32, images: &Images, lr: f64, observer: &mut dyn Observer| {
            let mut adam = Adam::new(network.train_only(Part::All), &AdamSettings::new(lr));
            let batches = images.batches(&recipe, &format!("epoch-{epoch}"));
            pass(epoch, batches, &mut adam, observer, |batch| {
                Step::cross_entropy(network.forward(&batch.pixels, params.batch_norm.into()), &batch.labels)
            })
        };
        epochs(recipe.epochs, observer, |epoch, observer| {
            if epoch == 2 {
                return train(epoch, &samples, params.lr_repair, observer);
            }
            let (noise, noise_tally) = trained_noise(&original, noise, params, observer)?;
            let copies = noise.repeat([i64::from(params.noise_copies), 1, 1, 1]);
            let images = Images::made(copies, params.forget_class).then(&samples);
            Ok(train(epoch, &images, params.lr_impair, observer)?.after(noise_tally))
        })
    }
}
