//! `relearn`: trains a network on the remaining classes alone and watches whether the forgotten class comes back.
//!
//! As the PRU paper does it: all weights, the training recipe with learning rate 1e-3, the optimizer fresh each epoch.
//! The share of the data and the order depend on seed and class alone, so all methods of one trial and class see the same.
//!
//! Beyond the paper: some samples of the forgotten class among the others (`forget_samples`), and BatchNorm's statistics
//! alone (`updates`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::facts::{self, Origin};
use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `relearn`.
pub struct Relearn;

/// Settings of relearning. The defaults are the paper's.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class that was forgotten; no sample of it is trained on.
    pub forget_class: u32,
    /// Share of the data that is trained on, drawn by seed and class.
    #[serde(default = "usual_fraction")]
    pub fraction: f64,
    /// Passes over it.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_64")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// Start every epoch with zero momentum, as the published code does.
    #[serde(default = "yes")]
    pub momentum_reset: bool,
    /// Samples of the forgotten class that are trained on as well, drawn from the input `forget` by seed and class: the
    /// smaller numbers are part of the larger.
    #[serde(default)]
    pub forget_samples: u32,
    /// What training changes.
    #[serde(default)]
    pub updates: Updates,
    /// Epochs between evaluations; before the first and after the last there always is one.
    #[serde(default = "every_epoch")]
    pub evaluate_every: u32,
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
    /// The arithmetic of training; evaluation never rounds to tf32 or bf16.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the share of the data, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

/// What relearning changes of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Updates {
    /// Weights and the statistics of BatchNorm: training.
    #[default]
    All,
    /// The statistics of BatchNorm alone: shows how much of relearning no weight has part in.
    Statistics,
}

const fn usual_fraction() -> f64 {
    0.8
}

const fn usual_optimizer() -> Optimizer {
    Optimizer::new(1e-3, 1e-4)
}

const fn every_epoch() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

/// The content of `curve.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// The metadata of the network's checkpoint: `architecture`, `width` and so on.
    pub model: BTreeMap<String, String>,
    /// Test images of all classes.
    pub test_samples: u64,
    /// The data set behind the data, where its facts are connected.
    pub origin: Option<Origin>,
    /// In order; the first is before relearning.
    pub epochs: Vec<Point>,
}

/// One evaluation: test accuracies, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Epochs of relearning so far.
    pub epoch: u32,
    /// On the forgotten class; none when the test data lack it.
    pub forget: Option<f64>,
    /// On all other classes.
    pub retain: Option<f64>,
    /// On all classes.
    pub overall: Option<f64>,
    /// Mean training loss of this epoch; none before the first.
    pub loss: Option<f64>,
}

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
            purpose: "relearn/",
        }
    }

    /// Which of `n` samples are trained on: floor(fraction n) of them, in the order of the data.
    #[must_use]
    pub fn subset(&self, n: usize) -> Vec<usize> {
        let mut stream = crate::rng::stream(self.seed, &format!("relearn-subset/class-{}", self.forget_class));
        let mut rows = crate::rng::permutation(&mut stream, n);
        rows.truncate((n as f64 * self.fraction) as usize);
        rows.sort_unstable();
        rows
    }

    /// Which of `n` samples of the forgotten class are trained on, in the order of the data.
    ///
    /// # Errors
    /// When there are too few.
    pub fn forget_subset(&self, n: usize) -> Result<Vec<usize>, String> {
        let wanted = self.forget_samples as usize;
        if wanted > n {
            return Err(format!("`forget_samples` asks for {wanted}, and there are {n}"));
        }
        let mut stream = crate::rng::stream(self.seed, &format!("relearn-forget/class-{}", self.forget_class));
        let mut rows = crate::rng::permutation(&mut stream, n);
        rows.truncate(wanted);
        rows.sort_unstable();
        Ok(rows)
    }
}

impl Stage for Relearn {
    type Params = Params;

    const NAME: &'static str = "relearn";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str =
        "Trains on the remaining classes and measures whether the forgotten class comes back.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network that forgot"),
        Port::data("data", Sees::Retain, "the remaining classes to relearn from"),
        Port::data("test", Sees::Both, "the test data"),
        Port::optional_data("forget", Sees::Forget, "the forgotten class, of which `forget_samples` are trained on"),
        facts::PORT,
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file("curve", "curve.json", "test accuracies by epoch of relearning"),
        OutputPort::file("model", "model.safetensors", "the network after relearning"),
    ];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::fraction("fraction", params.fraction, &mut problems);
        params::at_least_one("evaluate_every", params.evaluate_every, &mut problems);
        if params.updates == Updates::Statistics && params.batch_norm == BatchNorm::Frozen {
            problems.push(("updates", "`statistics` with `batch_norm: frozen` changes nothing".to_owned()));
        }
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        use crate::train::images::Images;
        use crate::train::session::{expect_class, load_network, save_network};

        let network = load_network(io, "model", params.precision, params.normalise.as_ref())?;
        expect_class(&network, params.forget_class)?;
        let test = Images::load(io, "test", &network)?;
        let images = torch::chosen(&params, io, &network)?;
        let (curve, _) = torch::relearn(&network, &images, &test, &params, io)?;
        io.write_json("curve", &Curve { origin: Origin::connected(io)?, ..curve })?;
        save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::relearn;

#[cfg(feature = "torch")]
mod torch {
    use tch::{Tensor, no_grad};

    use super::{Curve, Params, Point, Updates};
    use crate::evaluate::{Metrics, confusion};
    use crate::io::StageIo;
    use crate::model::network::{Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Begin, Descent, Observer, Restart, Step, Trainer};
    use crate::train::images::Images;

    /// The optimizer that moves no weight.
    struct Still;

    impl Descent for Still {
        fn step(&mut self, _loss: &Tensor) -> Result<(), StageError> {
            Ok(())
        }
    }

    impl Restart for Still {
        fn restart(&mut self) {}
    }

    /// The images that are trained on.
    pub(super) fn chosen(params: &Params, io: &StageIo, network: &Network) -> Result<Images, StageError> {
        let images = Images::load(io, "data", network)?;
        images.expect_without(params.forget_class)?;
        let rows = params.subset(images.len());
        if rows.is_empty() {
            let (fraction, all) = (params.fraction, images.len());
            return Err(StageError::failed(format!("fraction {fraction} leaves none of {all} samples")));
        }
        let images = images.select(&rows);
        if params.forget_samples == 0 {
            return Ok(images);
        }
        if io.inputs("forget").is_empty() {
            return Err(StageError::failed("`forget_samples` needs the input `forget`: connect the forgotten class"));
        }
        let forgotten = Images::load(io, "forget", network)?;
        forgotten.expect_only(params.forget_class)?;
        let rows = params.forget_subset(forgotten.len()).map_err(|e| StageError::input("forget", e))?;
        Ok(images.then(&forgotten.select(&rows)))
    }

    /// Trains on `images` and evaluates on `test`; also gives the loss of each step.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn relearn(
        network: &Network,
        images: &Images,
        test: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<(Curve, Vec<f64>), StageError> {
        let parameters = network.train_only(Part::All);
        match params.updates {
            Updates::All => relearn_by(params.optimizer.begin(parameters), network, images, test, params, observer),
            Updates::Statistics => no_grad(|| relearn_by(Still, network, images, test, params, observer)),
        }
    }

    fn relearn_by(
        descent: impl Restart,
        network: &Network,
        images: &Images,
        test: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<(Curve, Vec<f64>), StageError> {
        let recipe = params.recipe();
        let mut trainer = Trainer::with(descent, images, &recipe);
        let mut losses = Vec::new();
        let mut points = vec![evaluated(network, test, params, 0, None, observer)?];
        while let Some(mut tally) = trainer.next_epoch(observer, |_, batch| {
            let logits = network.forward(&batch.pixels, params.batch_norm.into());
            Step::cross_entropy(logits, &batch.labels)
        })? {
            losses.append(&mut tally.losses);
            let epoch = trainer.epoch();
            if epoch.is_multiple_of(params.evaluate_every) || epoch == params.epochs {
                points.push(evaluated(network, test, params, epoch, Some(tally.loss), observer)?);
            }
        }
        let curve = Curve {
            forget_class: params.forget_class,
            model: network.architecture().metadata(),
            test_samples: test.len() as u64,
            origin: None,
            epochs: points,
        };
        Ok((curve, losses))
    }

    fn evaluated(
        network: &Network,
        test: &Images,
        params: &Params,
        epoch: u32,
        loss: Option<f64>,
        observer: &mut dyn Observer,
    ) -> Result<Point, StageError> {
        let Metrics { forget, retain, overall, .. } =
            Metrics::of(confusion(network, test, observer)?, Some(params.forget_class));
        Ok(Point { epoch, forget, retain, overall, loss })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(class: u32, seed: u64) -> Params {
        serde_json::from_value(serde_json::json!({"forget_class": class, "seed": seed})).unwrap()
    }

    #[test]
    fn the_share_of_the_data_depends_on_seed_and_class_alone() {
        let rows = params(3, 7).subset(100);
        assert_eq!(rows.len(), 80);
        assert!(rows.is_sorted() && rows.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(rows, Params { optimizer: Optimizer::new(1.0, 0.0), epochs: 3, ..params(3, 7) }.subset(100));
        assert_ne!(rows, params(4, 7).subset(100));
        assert_ne!(rows, params(3, 8).subset(100));
    }

    #[test]
    fn fewer_forgotten_samples_are_among_more_of_them() {
        let some = |forget_samples| Params { forget_samples, ..params(3, 7) }.forget_subset(120);
        let [one, ten, hundred] = [1, 10, 100].map(|n| some(n).unwrap());
        assert_eq!([one.len(), ten.len(), hundred.len()], [1, 10, 100]);
        assert!(one.iter().all(|row| ten.contains(row)) && ten.iter().all(|row| hundred.contains(row)));
        assert!(hundred.is_sorted() && hundred.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(some(121).unwrap_err(), "`forget_samples` asks for 121, and there are 120");
    }
}
