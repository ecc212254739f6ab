//! `evaluate`: accuracy on the class to be forgotten, on the remaining classes and overall, and the confusion matrix.
//!
//! Always in eval mode, without augmentation, in the precision of the stored weights and without the rounding of
//! tf32 and bf16.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::facts::{self, Origin};
use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Normalise, Problem};

/// The stage `evaluate`.
pub struct Evaluate;

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class whose forgetting is measured; without it only overall and per-class values are given.
    #[serde(default)]
    pub forget_class: Option<u32>,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
}

/// Accuracies, each the share of samples whose label has the highest logit, 0 to 1; none where there is no sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The class whose forgetting is measured.
    pub forget_class: Option<u32>,
    /// `A_f`: on samples of that class.
    pub forget: Option<f64>,
    /// `A_r`: on samples of all other classes.
    pub retain: Option<f64>,
    /// `A_o`: on all samples.
    pub overall: Option<f64>,
    /// On samples of each class.
    pub per_class: Vec<Option<f64>>,
    /// Samples of each class.
    pub n: Vec<u64>,
    /// Counts: a row for each true class, a column for each predicted one.
    pub confusion: Vec<Vec<u64>>,
    /// The metadata of the network's checkpoint: `architecture`, `width` and so on; empty where there is no network.
    #[serde(default)]
    pub model: BTreeMap<String, String>,
    /// The data set behind the data, where its facts are connected.
    #[serde(default)]
    pub origin: Option<Origin>,
}

impl Metrics {
    /// From counts of (true class, predicted class).
    #[must_use]
    pub fn of(confusion: Vec<Vec<u64>>, forget_class: Option<u32>) -> Self {
        let n: Vec<u64> = confusion.iter().map(|row| row.iter().sum()).collect();
        let accuracy = |chosen: &dyn Fn(usize) -> bool| {
            let classes = || (0..n.len()).filter(|class| chosen(*class));
            let (correct, all): (u64, u64) = (classes().map(|c| confusion[c][c]).sum(), classes().map(|c| n[c]).sum());
            (all > 0).then(|| correct as f64 / all as f64)
        };
        let is_forget = |class: usize| forget_class.is_some_and(|f| class == f as usize);
        Self {
            forget_class,
            forget: accuracy(&is_forget),
            retain: forget_class.and_then(|_| accuracy(&|class| !is_forget(class))),
            overall: accuracy(&|_| true),
            per_class: (0..n.len()).map(|class| accuracy(&|c| c == class)).collect(),
            n,
            confusion,
            model: BTreeMap::new(),
            origin: None,
        }
    }
}

impl Stage for Evaluate {
    type Params = Params;

    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "Measures accuracy on the forget class, the remaining classes and overall.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network"), Port::data("data", Sees::Both, "the data to measure on"), facts::PORT];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort::file("metrics", "metrics.json", "accuracies, counts, confusion matrix; network and data set")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = Vec::new();
        params::check_normalise(params.normalise.as_ref(), &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        params.forget_class
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let network = crate::train::session::load_exact(io, "model", params.normalise.as_ref())?;
        if let Some(class) = params.forget_class {
            crate::train::session::expect_class(&network, class)?;
        }
        let images = crate::train::images::Images::load(io, "data", &network)?;
        let counted = Metrics::of(torch::confusion(&network, &images, io)?, params.forget_class);
        let (model, origin) = (network.architecture().metadata(), Origin::connected(io)?);
        io.write_json("metrics", &Metrics { model, origin, ..counted })
    }
}

#[cfg(feature = "torch")]
pub use torch::{confusion, embeddings, logits};

#[cfg(feature = "torch")]
mod torch {
    use tch::{Kind, Tensor, no_grad};

    use crate::model::network::{Mode, Network};
    use crate::stage::StageError;
    use crate::train::fit::Observer;
    use crate::train::images::Images;

    /// Small enough for a batch to stay in the cache of a core (measured twice as fast as 500 at width 0.25).
    /// Accuracy does not depend on it.
    const BATCH: usize = 64;

    /// Counts of (true class, predicted class).
    ///
    /// # Errors
    /// When the run was asked to stop.
    pub fn confusion(
        network: &Network,
        images: &Images,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Vec<u64>>, StageError> {
        let (network, classes) = (network.evaluated(), i64::from(network.architecture().classes));
        let mut counts = Tensor::zeros([classes * classes], (Kind::Int64, network.device()));
        for batch in images.in_order(BATCH) {
            observer.poll()?;
            let predicted = no_grad(|| network.forward(&batch.pixels, Mode::Eval)).argmax(1, false);
            let cell = batch.labels * classes + predicted;
            counts += cell.bincount(None::<&Tensor>, classes * classes);
        }
        let counts = Vec::<i64>::try_from(counts).map_err(|e| StageError::failed(e.to_string()))?;
        Ok(counts.chunks(classes as usize).map(|row| row.iter().map(|&n| n as u64).collect()).collect())
    }

    /// The embeddings of all samples in their order, [N, D], without gradient.
    ///
    /// # Errors
    /// When the run was asked to stop.
    pub fn embeddings(network: &Network, images: &Images, observer: &mut dyn Observer) -> Result<Tensor, StageError> {
        let network = network.evaluated();
        let mut parts = Vec::new();
        for batch in images.in_order(BATCH) {
            observer.poll()?;
            parts.push(no_grad(|| network.embed(&batch.pixels, Mode::Eval)));
        }
        Ok(Tensor::cat(&parts, 0))
    }

    /// The logits of all samples in their order, [N, classes], without gradient.
    ///
    /// # Errors
    /// When the run was asked to stop.
    pub fn logits(network: &Network, images: &Images, observer: &mut dyn Observer) -> Result<Tensor, StageError> {
        let embeddings = embeddings(network, images, observer)?;
        Ok(no_grad(|| network.evaluated().classify(&embeddings)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracies_follow_from_the_confusion_matrix() {
        let metrics = Metrics::of(vec![vec![3, 1, 0], vec![0, 0, 0], vec![2, 2, 4]], Some(2));
        assert_eq!(metrics.forget, Some(0.5));
        assert_eq!(metrics.retain, Some(0.75));
        assert_eq!(metrics.overall, Some(7.0 / 12.0));
        assert_eq!(metrics.per_class, [Some(0.75), None, Some(0.5)]);
        assert_eq!(metrics.n, [4, 0, 8]);
    }

    #[test]
    fn an_absent_class_and_no_forget_class_give_null_not_nan() {
        let confusion = vec![vec![1, 0], vec![0, 0]];
        let absent = serde_json::to_string(&Metrics::of(confusion.clone(), Some(1))).unwrap();
        assert!(absent.contains(r#""forget":null,"retain":1.0,"overall":1.0,"per_class":[1.0,null]"#), "{absent}");
        let none = serde_json::to_string(&Metrics::of(confusion, None)).unwrap();
        assert!(none.contains(r#""forget_class":null,"forget":null,"retain":null"#), "{none}");
    }
}
