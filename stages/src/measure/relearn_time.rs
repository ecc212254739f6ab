//! `measure/relearn_time`: how many batches of the whole training data a network needs until it knows the forgotten class
//! again, and the anamnesis index.
//!
//! Relearn time RT (Chundawat, Tarun, Mandal, Kankanhalli, "Zero-Shot Machine Unlearning", IEEE TIFS 2023): batches of
//! training on all classes with Adam until the accuracy on the class is at least 1 - `margin` of the original's. Anamnesis
//! index: RT of the network over RT of the retrained one; near 1 is ideal, far below 1 something was left, far above 1 the
//! forgetting itself can be seen.
//!
//! Accuracy is measured every `evaluate_every` batches on test samples of the class, so RT is rounded up to a multiple of
//! that (or to the last batch of all). A network that does not get there in `epochs` epochs is *censored*: its RT is more
//! than `batches`, and there is no index. The order of the samples and their changes depend on the seed alone: all
//! networks see the same batches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::adam::AdamSettings;
use crate::train::params::{self, Augment, BatchNorm, Normalise, Order, Precision, Problem, Recipe};

/// The stage `measure/relearn_time`.
pub struct RelearnTime;

/// Accuracies are quotients of counts, and so is the target times a margin: one this near below it has reached it.
const ROUNDING: f64 = 1e-9;

/// Settings of relearning. Optimizer, margin and cap are those of the index's authors; batch size and how often accuracy
/// is measured are this program's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// The share of the original's accuracy on the class that may be missing, from 0 to below 1.
    #[serde(default = "usual_margin")]
    pub margin: f64,
    /// Passes over the data at most.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Batches between evaluations; before the first and after the last there always is one.
    #[serde(default = "every_tenth")]
    pub evaluate_every: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_64")]
    pub batch_size: u32,
    /// The step's rule; one optimizer for all epochs.
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
    /// The arithmetic of training; evaluation never rounds to tf32 or bf16.
    #[serde(default)]
    pub precision: Precision,
    /// Decides order and augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_margin() -> f64 {
    0.05
}

const fn every_tenth() -> u32 {
    10
}

const fn usual_optimizer() -> AdamSettings {
    AdamSettings::new(1e-3)
}

/// The content of `relearn_time.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relearned {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// The original's accuracy on it, 0 to 1.
    pub original: f64,
    /// The accuracy to be reached.
    pub target: f64,
    /// Batches made until it was reached; where it was not, all that could be made.
    pub batches: u64,
    /// Whether it was reached; otherwise the relearn time is censored: more than `batches`.
    pub reached: bool,
    /// Accuracies on the class, in order; the first is before relearning.
    pub curve: Vec<Point>,
    /// By what settings: those of two networks must be equal to be compared.
    pub settings: Params,
    /// `batches` over those of the reference; none where `no_index` says why.
    pub anamnesis_index: Option<f64>,
    /// Why there is no index.
    pub no_index: Option<NoIndex>,
}

/// One evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Batches made so far.
    pub batches: u64,
    /// Test accuracy on the forgotten class, 0 to 1.
    pub accuracy: f64,
}

/// Why there is no anamnesis index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoIndex {
    /// No reference is connected.
    NoReference,
    /// The network did not reach the target; the index is larger than that of its `batches`.
    ModelCensored,
    /// The reference did not reach it; the index is smaller than that of its `batches`.
    ReferenceCensored,
    /// Neither did.
    BothCensored,
    /// The reference needed no batch: it was at the target from the beginning.
    ReferenceAtOnce,
}

impl Params {
    /// What the trainer does around the loss.
    #[must_use]
    pub fn recipe(&self) -> Recipe<AdamSettings> {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            momentum_reset: false,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "relearn_time/",
        }
    }

    /// Names of the settings in which `other` differs.
    fn differences(&self, other: &Self) -> Vec<String> {
        let fields = |params: &Self| match serde_json::to_value(params) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => unreachable!("params are written as an object"),
        };
        let others = fields(other);
        fields(self).into_iter().filter(|(name, value)| others.get(name) != Some(value)).map(|(name, _)| name).collect()
    }
}

impl Relearned {
    /// The same with the index against `reference`.
    ///
    /// # Errors
    /// When the reference was measured by other settings or for another target.
    pub fn against(self, reference: Option<&Self>) -> Result<Self, String> {
        if let Some(other) = reference {
            let different = self.settings.differences(&other.settings);
            if !different.is_empty() {
                return Err(format!("measured by other settings of {}", different.join(", ")));
            }
            if (self.target - other.target).abs() > ROUNDING {
                return Err(format!("measured for the target {}; here it is {}", other.target, self.target));
            }
        }
        let index = match reference {
            None => Err(NoIndex::NoReference),
            Some(other) => match (self.reached, other.reached) {
                (false, false) => Err(NoIndex::BothCensored),
                (false, true) => Err(NoIndex::ModelCensored),
                (true, false) => Err(NoIndex::ReferenceCensored),
                (true, true) if other.batches == 0 => Err(NoIndex::ReferenceAtOnce),
                (true, true) => Ok(self.batches as f64 / other.batches as f64),
            },
        };
        Ok(Self { anamnesis_index: index.ok(), no_index: index.err(), ..self })
    }
}

impl Stage for RelearnTime {
    type Params = Params;

    const NAME: &'static str = "measure/relearn_time";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Counts the batches until a network knows the forgotten class again (anamnesis index).";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network that forgot"),
        Port::data("data", Sees::Both, "the training data of all classes"),
        Port::data("test", Sees::Both, "the test data, of which the samples of the class are looked at"),
        Port::one("original", "`metrics` of the original from `evaluate` on the same test data"),
        Port::optional("reference", "`relearn_time.json` of the retrained network, for the anamnesis index"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file(
        "relearn_time",
        "relearn_time.json",
        "batches until the class is known again, and the index",
    )];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        if !(0.0..1.0).contains(&params.margin) {
            problems.push(("margin", format!("is {}; 0 <= margin < 1 is needed", params.margin)));
        }
        params::at_least_one("evaluate_every", params.evaluate_every, &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        use crate::StageError;
        use crate::train::images::Images;
        use crate::train::session::{expect_class, load_network};

        let network = load_network(io, "model", params.precision, params.normalise.as_ref())?;
        expect_class(&network, params.forget_class)?;
        let images = Images::load(io, "data", &network)?;
        // Without the class there is nothing to relearn it from.
        torch::of_class("data", &images, params.forget_class)?;
        let test = torch::of_class("test", &Images::load(io, "test", &network)?, params.forget_class)?;
        let original = torch::accuracy_of_original(io, params.forget_class, test.len())?;
        let reference = torch::reference(io)?;
        let relearned = torch::relearn(&network, &images, &test, original, &params, io)?;
        let relearned = relearned.against(reference.as_ref()).map_err(|e| StageError::input("reference", e))?;
        io.write_json("relearn_time", &relearned)
    }
}

#[cfg(feature = "torch")]
pub use torch::relearn;

#[cfg(feature = "torch")]
mod torch {
    use super::{Params, Point, ROUNDING, Relearned};
    use crate::evaluate::{Metrics, confusion};
    use crate::io::StageIo;
    use crate::model::network::{Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Begin, Observer, Step, pass, timed};
    use crate::train::images::Images;

    /// The samples of `class`; `name` is used in errors.
    pub(super) fn of_class(name: &str, images: &Images, class: u32) -> Result<Images, StageError> {
        let rows: Vec<usize> = (0..images.len()).filter(|&row| images.labels()[row] == i64::from(class)).collect();
        if rows.is_empty() {
            return Err(StageError::input(name, format!("no sample of class {class}")));
        }
        Ok(images.select(&rows))
    }

    /// The original's accuracy on the class, which must have been measured on as many samples as are tested on here.
    pub(super) fn accuracy_of_original(io: &StageIo, class: u32, samples: usize) -> Result<f64, StageError> {
        let bad = |problem: String| StageError::input("original", problem);
        let metrics: Metrics = serde_json::from_slice(&io.input("original")?.read()?)
            .map_err(|e| bad(format!("not the metrics of `evaluate`: {e}")))?;
        let found = metrics.n.get(class as usize).copied().unwrap_or_default();
        if found != samples as u64 {
            return Err(bad(format!("measured on {found} samples of class {class}; `test` holds {samples}")));
        }
        let accuracy = metrics.per_class.get(class as usize).copied().flatten();
        accuracy.ok_or_else(|| bad(format!("without an accuracy on class {class}")))
    }

    /// What was measured of the reference, if it is connected.
    pub(super) fn reference(io: &StageIo) -> Result<Option<Relearned>, StageError> {
        let Some(input) = io.inputs("reference").first() else { return Ok(None) };
        let read = serde_json::from_slice(&input.read()?);
        read.map(Some).map_err(|e| StageError::input("reference", format!("not a relearn time: {e}")))
    }

    /// Trains `network` on `images` until it is as good on `test`, which holds the forgotten class alone, as `original`
    /// less the margin, or all epochs are over. The index is left open.
    ///
    /// # Errors
    /// When a loss is NaN or infinite, `test` holds no sample of the class, or the run was asked to stop.
    pub fn relearn(
        network: &Network,
        images: &Images,
        test: &Images,
        original: f64,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Relearned, StageError> {
        let target = (1.0 - params.margin) * original;
        let (curve, last) = timed(observer, |observer| curve(network, images, test, target, params, observer))?;
        Ok(Relearned {
            forget_class: params.forget_class,
            original,
            target,
            batches: last.batches,
            reached: reaches(last.accuracy, target),
            settings: params.clone(),
            curve,
            anamnesis_index: None,
            no_index: None,
        })
    }

    fn reaches(accuracy: f64, target: f64) -> bool {
        accuracy >= target - ROUNDING
    }

    /// All evaluations, and the last of them once more.
    fn curve(
        network: &Network,
        images: &Images,
        test: &Images,
        target: f64,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<Point>, Point), StageError> {
        let recipe = params.recipe();
        let mut descent = recipe.optimizer.begin(network.train_only(Part::All));
        let mut batches = (1..=params.epochs).flat_map(|epoch| images.batches(&recipe, &format!("epoch-{epoch}")));
        let an_epoch = images.len().div_ceil(params.batch_size as usize) as u64;
        let all = an_epoch * u64::from(params.epochs);
        let epoch_after = |batches: u64| (batches / an_epoch) as u32;
        let (mut points, mut done) = (Vec::new(), 0);
        loop {
            let counted = Metrics::of(confusion(network, test, observer)?, Some(params.forget_class));
            let accuracy = counted.forget.ok_or_else(|| StageError::failed("no test sample of the forgotten class"))?;
            let point = Point { batches: done, accuracy };
            points.push(point);
            if reaches(accuracy, target) || done == all {
                return Ok((points, point));
            }
            let stretch = u64::from(params.evaluate_every).min(all - done);
            let some = batches.by_ref().take(stretch as usize);
            let tally = pass(epoch_after(done) + 1, some, &mut descent, observer, |batch| {
                let logits = network.forward(&batch.pixels, params.batch_norm.into());
                Step::cross_entropy(logits, &batch.labels)
            });
            let tally = tally.map_err(|e| after(done, e))?;
            let before = epoch_after(done);
            done += stretch;
            if epoch_after(done) > before {
                observer.epoch(epoch_after(done), params.epochs, &tally);
            }
        }
    }

    /// A failure tells its step since the last evaluation; this tells when that was.
    fn after(batches: u64, error: StageError) -> StageError {
        let after = |text: String| format!("after an evaluation at batch {batches}: {text}");
        match error {
            StageError::Failed(text) => StageError::Failed(after(text)),
            StageError::Diverged(text) => StageError::Diverged(after(text)),
            other => other,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::reaches;

        #[test]
        fn an_accuracy_of_exactly_the_target_reaches_it_whatever_rounding_does() {
            // Whole numbers of 100 samples: the original's and what is a tenth less, which 0.9 times the original's exceeds.
            for (original, least) in [(10, 9), (20, 18), (40, 36), (80, 72)] {
                let target = (1.0 - 0.1) * (f64::from(original) / 100.0);
                assert!(target > f64::from(least) / 100.0, "rounding decides at {original}");
                assert!(reaches(f64::from(least) / 100.0, target), "{least} of {original}");
                assert!(!reaches(f64::from(least - 1) / 100.0, target), "{least} less one of {original}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(batches: u64, reached: bool) -> Relearned {
        Relearned {
            forget_class: 3,
            original: 1.0,
            target: 0.95,
            batches,
            reached,
            curve: Vec::new(),
            settings: serde_json::from_value(serde_json::json!({"forget_class": 3})).unwrap(),
            anamnesis_index: None,
            no_index: None,
        }
    }

    #[test]
    fn the_index_is_the_quotient_of_both_times_and_otherwise_it_is_said_why_there_is_none() {
        let index = |own, reference: Option<Relearned>| {
            let found = measured(own, own < 100).against(reference.as_ref()).unwrap();
            (found.anamnesis_index, found.no_index)
        };
        assert_eq!(index(10, Some(measured(40, true))), (Some(0.25), None));
        assert_eq!(index(0, Some(measured(40, true))), (Some(0.0), None));
        assert_eq!(index(10, None), (None, Some(NoIndex::NoReference)));
        assert_eq!(index(100, Some(measured(40, true))), (None, Some(NoIndex::ModelCensored)));
        assert_eq!(index(10, Some(measured(100, false))), (None, Some(NoIndex::ReferenceCensored)));
        assert_eq!(index(100, Some(measured(100, false))), (None, Some(NoIndex::BothCensored)));
        assert_eq!(index(10, Some(measured(0, true))), (None, Some(NoIndex::ReferenceAtOnce)));
    }

    #[test]
    fn times_by_other_settings_or_for_another_target_are_not_compared() {
        let mut other = measured(40, true);
        other.settings.seed = 8;
        other.settings.optimizer.lr = 0.1;
        let problem = measured(10, true).against(Some(&other)).unwrap_err();
        assert_eq!(problem, "measured by other settings of optimizer, seed");
        let other = Relearned { target: 0.9, ..measured(40, true) };
        let problem = measured(10, true).against(Some(&other)).unwrap_err();
        assert_eq!(problem, "measured for the target 0.9; here it is 0.95");
    }
}
