//! `measure/probe`: does the feature extractor still tell the forgotten class from the others?
//!
//! The PRU paper claims that the network's perception changes, not its classifier alone. Three probes on the frozen
//! embeddings, fitted on labelled samples of *all* classes that no network was trained on (D\_new), tested on the test data:
//! - *linear*: multinomial logistic regression with an L2 penalty; its `A_f` and `A_r` ("Alain, Bengio, Understanding
//!   intermediate layers using linear classifier probes", ICLR workshop 2017). Embeddings are standardised by the mean and
//!   deviation of the fitting samples, so that the penalty means the same for every network;
//! - *binary*: the forgotten class against the rest; the area under the ROC curve;
//! - *nearest*: the k nearest fitting samples vote (Euclidean distance; a tie goes to the class of the nearest voter).
//!
//! None means anything alone: compare with the retrained and with a fresh network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Normalise, Problem};

/// The stage `measure/probe`.
pub struct Probe;

/// Settings of the probes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// L2 penalty of both regressions (half the squared norm of the weights times this, on the summed loss).
    #[serde(default = "one")]
    pub penalty: f64,
    /// Steps of L-BFGS at most.
    #[serde(default = "five_hundred")]
    pub iterations: u32,
    /// How many nearest samples vote.
    #[serde(default = "twenty")]
    pub neighbours: u32,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
}

const fn one() -> f64 {
    1.0
}

const fn five_hundred() -> u32 {
    500
}

const fn twenty() -> u32 {
    20
}

/// The content of `probe.json`: shares from 0 to 1 on the test data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// The linear probe.
    pub linear: Accuracies,
    /// Area under the ROC curve of telling the forgotten class from the rest.
    pub auc: f64,
    /// The vote of the nearest samples.
    pub nearest: Accuracies,
    /// Fitting samples, of the forgotten class and in all.
    pub fitted_on: [u64; 2],
}

/// Accuracy of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracies {
    /// On the forgotten class.
    pub forget: f64,
    /// On all others.
    pub retain: f64,
}

impl Stage for Probe {
    type Params = Params;

    const NAME: &'static str = "measure/probe";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Probes whether a network's features still tell the forgotten class from the others.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network"),
        Port::data("data", Sees::Both, "labelled samples to fit the probes on, usually D_new"),
        Port::data("test", Sees::Both, "the test data"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("probe", "probe.json", "accuracies of the probes")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = Vec::new();
        params::positive("penalty", params.penalty, &mut problems);
        params::at_least_one("iterations", params.iterations, &mut problems);
        params::at_least_one("neighbours", params.neighbours, &mut problems);
        params::check_normalise(params.normalise.as_ref(), &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        use crate::train::images::Images;
        let network = crate::train::session::load_exact(io, "model", params.normalise.as_ref())?;
        let (data, test) = (Images::load(io, "data", &network)?, Images::load(io, "test", &network)?);
        let fitting = crate::evaluate::embeddings(&network, &data, io)?;
        let testing = crate::evaluate::embeddings(&network, &test, io)?;
        let probed = torch::probe(&fitting, data.labels(), &testing, test.labels(), &params)?;
        io.write_json("probe", &probed)
    }
}

#[cfg(feature = "torch")]
pub use torch::probe;

#[cfg(feature = "torch")]
mod torch {
    use pru_flow_classifiers::{Binary, Rows, multinomial};
    use tch::{Kind, Tensor, no_grad};

    use super::{Accuracies, Params, Probed};
    use crate::stage::StageError;

    /// Rows of the distance matrix at once; bounds memory.
    const ROWS: i64 = 500;

    /// Fits the probes on embeddings [N, D] with their labels and tests them on others.
    ///
    /// # Errors
    /// When the forgotten class or all others are missing on a side, or a fit fails.
    pub fn probe(
        fitting: &Tensor,
        labels: &[i64],
        testing: &Tensor,
        test_labels: &[i64],
        params: &Params,
    ) -> Result<Probed, StageError> {
        let forget = i64::from(params.forget_class);
        for (part, labels) in [("data", labels), ("test", test_labels)] {
            let count = labels.iter().filter(|label| **label == forget).count();
            if count == 0 || count == labels.len() {
                let all = labels.len();
                return Err(StageError::input(part, format!("{count} of {all} samples are of class {forget}")));
            }
        }
        no_grad(|| {
            let (fitting, testing) = standardised(fitting, testing);
            let (known, asked) = (numbers(&fitting)?, numbers(&testing)?);
            let features = fitting.size()[1] as usize;
            let (known, asked) = (Rows::new(&known, features), Rows::new(&asked, features));
            let classes: Vec<usize> = labels.iter().map(|&label| label as usize).collect();
            let linear = multinomial(known, &classes, asked, params.penalty, params.iterations).map_err(failed)?;
            let linear: Vec<i64> = linear.into_iter().map(|class| class as i64).collect();
            let is_forget: Vec<bool> = labels.iter().map(|label| *label == forget).collect();
            let binary = Binary::logistic(known, &is_forget, params.penalty, params.iterations).map_err(failed)?;
            let scores = binary.probabilities(asked).unwrap_or_default();
            let scored = scores.into_iter().zip(test_labels.iter().map(|label| *label == forget)).collect();
            Ok(Probed {
                linear: accuracies(&linear, test_labels, forget),
                auc: area_under_roc(scored),
                nearest: accuracies(&nearest(&fitting, labels, &testing, params)?, test_labels, forget),
                fitted_on: [labels.iter().filter(|l| **l == forget).count() as u64, labels.len() as u64],
            })
        })
    }

    /// Both sides by the mean and deviation of the first; a feature that never varies becomes 0.
    fn standardised(fitting: &Tensor, testing: &Tensor) -> (Tensor, Tensor) {
        let (fitting, testing) = (fitting.to_kind(Kind::Double), testing.to_kind(Kind::Double));
        let mean = fitting.mean_dim([0_i64].as_slice(), true, Kind::Double);
        let deviation = (&fitting - &mean).square().mean_dim([0_i64].as_slice(), true, Kind::Double).sqrt();
        let scale = deviation.gt(0.0).to_kind(Kind::Double) / deviation.clamp_min(f64::MIN_POSITIVE);
        ((fitting - &mean) * &scale, (testing - &mean) * scale)
    }

    fn failed(problem: impl std::fmt::Display) -> StageError {
        StageError::failed(format!("fitting a probe: {problem}"))
    }

    fn numbers(rows: &Tensor) -> Result<Vec<f64>, StageError> {
        Vec::try_from(rows.flatten(0, -1).to_device(tch::Device::Cpu)).map_err(failed)
    }

    fn accuracies(predicted: &[i64], labels: &[i64], forget: i64) -> Accuracies {
        let share = |of: &dyn Fn(i64) -> bool| {
            let rows = || predicted.iter().zip(labels).filter(|(_, label)| of(**label));
            rows().filter(|(predicted, label)| predicted == label).count() as f64 / rows().count() as f64
        };
        Accuracies { forget: share(&|label| label == forget), retain: share(&|label| label != forget) }
    }

    /// The share of pairs (forgotten, other) that are in the right order, ties counting half.
    pub(super) fn area_under_roc(mut scored: Vec<(f64, bool)>) -> f64 {
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut right, mut others_below, mut hits) = (0.0, 0.0, 0.0);
        for group in scored.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
            let here = group.iter().filter(|(_, hit)| *hit).count() as f64;
            let others = group.len() as f64 - here;
            right += here * (others_below + others / 2.0);
            others_below += others;
            hits += here;
        }
        right / (hits * others_below)
    }

    fn nearest(fitting: &Tensor, labels: &[i64], testing: &Tensor, params: &Params) -> Result<Vec<i64>, StageError> {
        let k = i64::from(params.neighbours).min(fitting.size()[0]);
        let labels = Tensor::from_slice(labels).to_device(fitting.device());
        let mut predicted = Vec::new();
        for rows in testing.split(ROWS, 0) {
            let distances = Tensor::cdist(&rows, fitting, 2.0, 2);
            let (_, places) = distances.topk(k, 1, false, true);
            let voters = labels.index_select(0, &places.flatten(0, -1)).view([-1, k]);
            let voters = Vec::<i64>::try_from(voters.flatten(0, -1)).map_err(failed)?;
            predicted.extend(voters.chunks(k as usize).map(vote));
        }
        Ok(predicted)
    }

    /// The class with the most votes; of several, that of the nearest voter.
    pub(super) fn vote(voters: &[i64]) -> i64 {
        let count = |class: i64| voters.iter().filter(|voter| **voter == class).count();
        let most = voters.iter().map(|&class| count(class)).max().unwrap_or(0);
        voters.iter().copied().find(|&class| count(class) == most).expect("a vote has voters")
    }
}

#[cfg(all(test, feature = "torch"))]
mod tests {
    use rand::Rng;
    use tch::Tensor;

    use super::torch::{area_under_roc, vote};
    use super::*;

    /// Two features: class 0 and 1 differ in the first, class 2 lies where the second says, or among class 1.
    fn embeddings(n: usize, apart: f64, purpose: &str) -> (Tensor, Vec<i64>) {
        let mut stream = crate::rng::stream(7, purpose);
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for i in 0..n as i64 {
            let (class, mut noise) = (i % 3, || stream.random::<f64>());
            let centre = [[-2.0, 0.0], [2.0, 0.0], [2.0, apart]][class as usize];
            values.push([centre[0] + noise(), centre[1] + noise()]);
            labels.push(class);
        }
        (Tensor::from_slice2(&values), labels)
    }

    fn probed(apart: f64) -> Probed {
        let ((fitting, labels), (testing, test_labels)) = (embeddings(300, apart, "a"), embeddings(150, apart, "b"));
        let params = serde_json::from_value(serde_json::json!({"forget_class": 2})).unwrap();
        probe(&fitting, &labels, &testing, &test_labels, &params).unwrap()
    }

    #[test]
    fn a_class_with_a_place_of_its_own_is_found_by_every_probe() {
        let found = probed(5.0);
        assert!(found.linear.forget > 0.98 && found.linear.retain > 0.98, "{found:?}");
        assert!(found.nearest.forget > 0.98 && found.auc > 0.99, "{found:?}");
        assert_eq!(found.fitted_on, [100, 300]);
    }

    #[test]
    fn a_class_among_another_is_not_found_while_the_others_are_told_apart() {
        let found = probed(0.0);
        assert!(found.linear.forget < 0.8 && found.linear.retain > 0.6, "{found:?}");
        assert!((0.6..0.85).contains(&found.auc), "half of the rest lies elsewhere: {found:?}");
    }

    #[test]
    fn the_area_counts_pairs_in_the_right_order_and_half_of_the_ties() {
        // Pairs: 0.9 above 0.1 and 0.5; 0.5 above 0.1 and level with 0.5.
        let scored = vec![(0.9, true), (0.5, true), (0.5, false), (0.1, false)];
        assert!((area_under_roc(scored) - 3.5 / 4.0).abs() < 1e-12);
    }

    #[test]
    fn a_tied_vote_goes_to_the_nearest_voter() {
        assert_eq!(vote(&[4, 1, 1, 4, 2]), 4);
        assert_eq!(vote(&[2, 1, 1]), 1);
    }
}
