//! `measure/divergence`: how far the outputs of a network are from those of another, usually the retrained one.
//!
//! Activation distance: the mean Euclidean distance of the two networks' probabilities (Golatkar, Achille, Soatto, "Eternal
//! Sunshine of the Spotless Net", CVPR 2020). Jensen-Shannon divergence: the mean of KL(a || m)/2 + KL(b || m)/2 with
//! m = (a + b)/2 and the natural logarithm, so from 0 to ln 2 (Chundawat et al., "Can Bad Teaching Induce Forgetting?",
//! AAAI 2023: their ZRF is 1 minus it against a fresh network). On forget and remaining classes apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Normalise, Problem};

/// The stage `measure/divergence`.
pub struct Divergence;

/// What to compare on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
}

/// The content of `divergence.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Divergences {
    /// On the class that was forgotten; none when the data lack it.
    pub forget: Option<Apart>,
    /// On all other classes.
    pub retain: Option<Apart>,
}

/// Two networks on the same samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Apart {
    /// Mean Euclidean distance of the probabilities, 0 to sqrt 2.
    pub activation_distance: f64,
    /// Mean Jensen-Shannon divergence, 0 to ln 2.
    pub jensen_shannon: f64,
    /// Share of samples for which both predict the same class.
    pub same_prediction: f64,
    /// Samples.
    pub n: u64,
}

impl Stage for Divergence {
    type Params = Params;

    const NAME: &'static str = "measure/divergence";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Measures how far a network's outputs are from another's (activation distance, JS).";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network"),
        Port::one("reference", "the network it is compared with, usually the retrained one"),
        Port::data("data", Sees::Both, "the samples to compare on"),
    ];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort::file("divergence", "divergence.json", "distances on forget and remaining classes")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = Vec::new();
        params::check_normalise(params.normalise.as_ref(), &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        use crate::train::session::load_exact;
        let network = load_exact(io, "model", params.normalise.as_ref())?;
        let reference = load_exact(io, "reference", params.normalise.as_ref())?;
        let images = crate::train::images::Images::load(io, "data", &network)?;
        let logits = crate::evaluate::logits(&network, &images, io)?;
        let others = crate::evaluate::logits(&reference, &images, io)?;
        if logits.size() != others.size() {
            let (ours, theirs) = (logits.size()[1], others.size()[1]);
            return Err(crate::StageError::failed(format!("`model` has {ours} classes, `reference` {theirs}")));
        }
        let apart = |keep: &dyn Fn(i64) -> bool| {
            let rows: Vec<i64> =
                (0_i64..).zip(images.labels()).filter(|(_, l)| keep(**l)).map(|(row, _)| row).collect();
            let rows = tch::Tensor::from_slice(&rows).to_device(network.device());
            apart(&logits.index_select(0, &rows), &others.index_select(0, &rows))
        };
        let forget = i64::from(params.forget_class);
        let divergences =
            Divergences { forget: apart(&|label| label == forget), retain: apart(&|label| label != forget) };
        io.write_json("divergence", &divergences)
    }
}

/// Compares logits [n, K] of two networks on the same samples; nothing when n is 0.
#[cfg(feature = "torch")]
#[must_use]
pub fn apart(logits: &tch::Tensor, others: &tch::Tensor) -> Option<Apart> {
    use tch::Kind::Double;
    let n = logits.size()[0];
    if n == 0 {
        return None;
    }
    let (a, b) = (logits.softmax(1, Double), others.softmax(1, Double));
    let middle: tch::Tensor = (&a + &b) / 2.0;
    // 0 log (0 / m) is 0.
    let to_middle = |p: &tch::Tensor| p.special_xlogy(p) - p.special_xlogy(&middle);
    let mean = |x: tch::Tensor| x.mean(Double).double_value(&[]);
    let rows = |x: tch::Tensor| x.sum_dim_intlist([1_i64].as_slice(), false, Double);
    Some(Apart {
        activation_distance: mean(rows((&a - &b).square()).sqrt()),
        jensen_shannon: mean(rows((to_middle(&a) + to_middle(&b)) / 2.0)),
        same_prediction: mean(logits.argmax(1, false).eq_tensor(&others.argmax(1, false)).to_kind(Double)),
        n: n as u64,
    })
}

#[cfg(all(test, feature = "torch"))]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn certain_opposites_are_at_the_ends_of_both_scales() {
        let (one, other) = (Tensor::from_slice2(&[[1000.0, 0.0]]), Tensor::from_slice2(&[[0.0, 1000.0]]));
        let opposite = apart(&one, &other).unwrap();
        assert!((opposite.activation_distance - 2.0_f64.sqrt()).abs() < 1e-12);
        assert!((opposite.jensen_shannon - 2.0_f64.ln()).abs() < 1e-12);
        assert!(opposite.same_prediction.abs() < 1e-12);
        let same = apart(&one, &one).unwrap();
        assert!(same.activation_distance.abs() < 1e-12 && same.jensen_shannon.abs() < 1e-12);
        assert_eq!((same.n, apart(&one.narrow(0, 0, 0), &one.narrow(0, 0, 0))), (1, None));
    }

    #[test]
    fn distances_are_means_over_samples_of_the_definition() {
        // Probabilities (1/2, 1/2) and (3/4, 1/4) in the first row, equal ones in the second.
        let logits = Tensor::from_slice2(&[[0.0, 0.0], [1.0, 2.0]]);
        let others = Tensor::from_slice2(&[[3.0_f64.ln(), 0.0], [1.0, 2.0]]);
        let found = apart(&logits, &others).unwrap();
        assert!((found.activation_distance - (2.0_f64 / 16.0).sqrt() / 2.0).abs() < 1e-12);
        let kl = |p: [f64; 2], m: [f64; 2]| p.iter().zip(m).map(|(p, m)| p * (p / m).ln()).sum::<f64>();
        let m = [0.625, 0.375];
        let expected = f64::midpoint(kl([0.5, 0.5], m), kl([0.75, 0.25], m)) / 2.0;
        assert!((found.jensen_shannon - expected).abs() < 1e-12);
        assert_eq!(found.n, 2);
    }
}
