//! `measure/membership`: can one tell from a network's outputs that it was trained on the forget data?
//!
//! Three attacks on class unlearning, each a small classifier fitted on what is known and asked about D\_f:
//! - *confidence*: support vectors (RBF kernel, C = 3, gamma = 1) on the probability of the true class; retain samples
//!   trained on against retain test samples. The share of D\_f that is taken for not trained on. (Jia et al., "Model
//!   Sparsity Can Simplify Machine Unlearning", `NeurIPS` 2023; Fan et al., `SalUn`, ICLR 2024.) With `A_f` at 0 it nears 1
//!   whatever the network still knows, so it ranks nothing.
//! - *entropy*: logistic regression on the entropy of the output, the same samples. The share of D\_f that is taken for
//!   trained on. (Chundawat et al., AAAI 2023.)
//! - *loss*: logistic regression on the loss, D\_f against unseen samples of its class; the accuracy over 10 held-out
//!   tenths, 0.5 when they cannot be told apart. (The `NeurIPS` 2023 unlearning challenge.)
//!
//! None means anything alone: compare with the retrained network's value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Normalise, Problem};

/// The stage `measure/membership`.
pub struct Membership;

/// Settings of the attacks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// Most samples a side that an attack is fitted on, drawn by `seed`; the support vectors' memory grows by its square
    /// (128 MB for 2,000).
    #[serde(default = "two_thousand")]
    pub samples: u32,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// Decides which samples are drawn and how the tenths are cut.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn two_thousand() -> u32 {
    2000
}

/// The content of `membership.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attacks {
    /// Share of D\_f taken for not trained on, by confidence.
    pub confidence: f64,
    /// Share of D\_f taken for trained on, by entropy.
    pub entropy: f64,
    /// Accuracy of telling D\_f from unseen samples of its class, by loss.
    pub loss: f64,
    /// Samples a side that the first two were fitted on, and the last.
    pub fitted_on: [u64; 2],
}

impl Stage for Membership {
    type Params = Params;

    const NAME: &'static str = "measure/membership";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Membership inference: whether a network's outputs tell that it saw the forget data.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network"),
        Port::data("train", Sees::Both, "what the original was trained on"),
        Port::data("test", Sees::Both, "what no network was trained on"),
    ];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort::file("membership", "membership.json", "the success of three attacks")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = Vec::new();
        if params.samples < 20 {
            problems.push(("samples", format!("is {}; at least 20 are needed", params.samples)));
        }
        params::check_normalise(params.normalise.as_ref(), &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let network = crate::train::session::load_exact(io, "model", params.normalise.as_ref())?;
        let known = torch::Outputs::of(&network, io, "train")?;
        let unseen = torch::Outputs::of(&network, io, "test")?;
        let attacks = super::attacks::attacks(&known, &unseen, &params).map_err(crate::StageError::failed)?;
        io.write_json("membership", &attacks)
    }
}

#[cfg(feature = "torch")]
mod torch {
    use tch::Kind;

    use crate::io::StageIo;
    use crate::measure::attacks::Output;
    use crate::model::network::Network;
    use crate::stage::StageError;
    use crate::train::images::Images;

    /// Reads what the attacks see from a network.
    pub(super) struct Outputs;

    impl Outputs {
        pub(super) fn of(network: &Network, io: &mut StageIo, port: &str) -> Result<Vec<Output>, StageError> {
            let images = Images::load(io, port, network)?;
            let logits = crate::evaluate::logits(network, &images, io)?;
            let labels = images.per_sample(images.labels()).unsqueeze(1);
            let logs = logits.log_softmax(1, Kind::Double);
            let losses = -logs.gather(1, &labels, false).squeeze_dim(1);
            let entropies = -(logs.exp() * &logs).nan_to_num(0.0, None, None).sum_dim_intlist(
                [1_i64].as_slice(),
                false,
                Kind::Double,
            );
            let numbers = |x: &tch::Tensor| Vec::<f64>::try_from(x).map_err(|e| StageError::failed(e.to_string()));
            let (losses, entropies) = (numbers(&losses)?, numbers(&entropies)?);
            let rows = images.labels().iter().zip(losses).zip(entropies);
            // A loss of a saturated network may be huge; the challenge's code clips too.
            let output = |((&label, loss), entropy): ((&i64, f64), f64)| Output {
                label: label as u32,
                confidence: (-loss).exp(),
                entropy,
                loss: loss.min(100.0),
            };
            Ok(rows.map(output).collect())
        }
    }
}
