//! `measure/perception`: how a network sees the test samples of the class to be forgotten.
//!
//! The values of Figures 4 and 5 of the PRU paper (Zhang, Chen, Zhang, Xu, ACML 2024): for every sample the probability
//! of the class, its distance to the samples' common centre among the embeddings, and the class predicted for it. The
//! centre is that of the network measured, not of the original.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Normalise, Problem};

/// The stage `measure/perception`.
pub struct Perception;

/// What to look at.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
}

/// The content of `perception.json`; samples in the order of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// Probability of that class, 0 to 1.
    pub probability: Vec<f64>,
    /// Distance of the embedding from the mean embedding of all samples, divided by the mean of these distances.
    pub distance: Vec<f64>,
    /// Predicted class.
    pub predicted: Vec<u32>,
    /// How many samples each class was predicted for: the S of Figure 5.
    pub histogram: Vec<u64>,
}

impl Stage for Perception {
    type Params = Params;

    const NAME: &'static str = "measure/perception";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Measures how a network sees the class to be forgotten (Figures 4 and 5).";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network"),
        Port::data("data", Sees::Both, "the test data, of which the samples of the class are looked at"),
    ];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort::file("perception", "perception.json", "probability, distance and prediction by sample")];

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
        let network = crate::train::session::load_exact(io, "model", params.normalise.as_ref())?;
        crate::train::session::expect_class(&network, params.forget_class)?;
        let (images, _) =
            crate::train::images::Images::load(io, "data", &network)?.split("data", params.forget_class)?;
        let seen = torch::seen(&network, &images, params.forget_class, io)?;
        io.write_json("perception", &seen)
    }
}

#[cfg(feature = "torch")]
mod torch {
    use tch::{Kind, Tensor};

    use super::Seen;
    use crate::evaluate::embeddings;
    use crate::model::network::Network;
    use crate::stage::StageError;
    use crate::train::fit::Observer;
    use crate::train::images::Images;

    /// What `network` makes of `images`, all of class `forget`.
    pub(super) fn seen(
        network: &Network,
        images: &Images,
        forget: u32,
        observer: &mut dyn Observer,
    ) -> Result<Seen, StageError> {
        let embeddings = embeddings(network, images, observer)?;
        let logits = tch::no_grad(|| network.classify(&embeddings));
        let probability = logits.softmax(1, Kind::Double).select(1, i64::from(forget));
        let predicted = logits.argmax(1, false);
        let histogram = predicted.bincount(None::<&Tensor>, i64::from(network.architecture().classes));
        let failed = |e: tch::TchError| StageError::failed(e.to_string());
        let predicted = Vec::<i64>::try_from(predicted).map_err(failed)?;
        Ok(Seen {
            forget_class: forget,
            probability: Vec::try_from(probability).map_err(failed)?,
            distance: Vec::try_from(distances(&embeddings)).map_err(failed)?,
            predicted: predicted.into_iter().map(|class| class as u32).collect(),
            histogram: Vec::<i64>::try_from(histogram).map_err(failed)?.into_iter().map(|n| n as u64).collect(),
        })
    }

    /// Distance of each row of [n, D] from the mean row, divided by the mean distance; zeros when all rows are equal.
    fn distances(embeddings: &Tensor) -> Tensor {
        let rows = embeddings.to_kind(Kind::Double);
        let centre = rows.mean_dim([0_i64].as_slice(), true, Kind::Double);
        let distance = (rows - centre).square().sum_dim_intlist([1_i64].as_slice(), false, Kind::Double).sqrt();
        &distance / distance.mean(Kind::Double).clamp_min(f64::MIN_POSITIVE)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn distances_are_from_the_common_centre_and_have_mean_one() {
            // Centre (2, 0): distances 2, 2, and for (2, 4) and (2, -4) four each; their mean is 3.
            let rows = Tensor::from_slice2(&[[0.0_f32, 0.0], [4.0, 0.0], [2.0, 4.0], [2.0, -4.0]]);
            let found = Vec::<f64>::try_from(distances(&rows)).unwrap();
            for (found, expected) in found.iter().zip([2.0 / 3.0, 2.0 / 3.0, 4.0 / 3.0, 4.0 / 3.0]) {
                assert!((found - expected).abs() < 1e-12);
            }
            let equal = distances(&Tensor::from_slice2(&[[1.0_f32, 1.0], [1.0, 1.0]]));
            assert_eq!(Vec::<f64>::try_from(equal).unwrap(), [0.0, 0.0]);
        }
    }
}
