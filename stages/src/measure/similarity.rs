//! `measure/similarity`: how alike two networks represent the same samples, block by block.
//!
//! Linear CKA (Kornblith, Norouzi, Lee, Hinton, "Similarity of Neural Network Representations Revisited", ICML 2019):
//! |Y'X|^2 / (|X'X| |Y'Y|), Frobenius norms, where X and Y, [n, d], are the features of n samples in either network, each
//! feature with mean 0. From 0 to 1, and 1 where one is a rotation of the other, shifted and scaled. On the class to be
//! forgotten and on the remaining ones apart; usually against the original and against the retrained network.
//!
//! Features are whole maps, flattened, not means over places: up to 75,000 a sample. So the equal form in n x n matrices
//! is computed, <K, L> / (|K| |L|) with K = XX' and L = YY', rows and columns with mean 0, in float64 whatever the
//! networks' precision. Where n is smaller than d the value leans towards 1, the more the smaller n is: compare values of
//! one `n` alone, and read them against those of another method, never by themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Normalise, Problem};

/// The stage `measure/similarity`.
pub struct Similarity;

/// What to compare on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// Samples of the class, and of all others together, at most; drawn by seed and class. Time grows with its square.
    #[serde(default = "one_thousand")]
    pub samples: u32,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// Decides which samples are drawn.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn one_thousand() -> u32 {
    1000
}

/// The content of `similarity.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Similarities {
    /// The class that was forgotten.
    pub forget_class: u32,
    /// Names of the blocks from the image on, then `embedding` and `logits`.
    pub blocks: Vec<String>,
    /// Samples that were compared on.
    pub n: Counts,
    /// CKA by block on samples of the class, 0 to 1; none where all samples have the same features in one of the networks.
    pub forget: BTreeMap<String, Option<f64>>,
    /// The same on samples of all other classes.
    pub retain: BTreeMap<String, Option<f64>>,
}

/// Numbers of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Of the class that was forgotten.
    pub forget: u64,
    /// Of all others.
    pub retain: u64,
}

/// Which samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those of the class that was forgotten.
    Forget,
    /// All others.
    Retain,
}

impl Params {
    /// Which of the `n` samples of a side are compared on, in the order of the data.
    #[must_use]
    pub fn rows(&self, side: Side, n: usize) -> Vec<usize> {
        let name = match side {
            Side::Forget => "forget",
            Side::Retain => "retain",
        };
        let mut stream = crate::rng::stream(self.seed, &format!("similarity/class-{}/{name}", self.forget_class));
        let mut rows = crate::rng::permutation(&mut stream, n);
        rows.truncate(self.samples as usize);
        rows.sort_unstable();
        rows
    }
}

impl Stage for Similarity {
    type Params = Params;

    const NAME: &'static str = "measure/similarity";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Measures how alike two networks represent the same samples, by block (linear CKA).";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network"),
        Port::one("reference", "the network it is compared with, usually the original or the retrained one"),
        Port::data("data", Sees::Both, "the test data"),
    ];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort::file("similarity", "similarity.json", "CKA by block on forget and remaining classes")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = Vec::new();
        if params.samples < 3 {
            // Of two samples everything is alike.
            problems.push(("samples", format!("is {}; at least 3 are needed", params.samples)));
        }
        params::check_normalise(params.normalise.as_ref(), &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        use crate::train::images::Images;
        use crate::train::session::load_exact;

        let networks = [
            load_exact(io, "model", params.normalise.as_ref())?,
            load_exact(io, "reference", params.normalise.as_ref())?,
        ];
        let blocks = torch::blocks(&networks)?;
        // Each as its network sees them: they may differ in precision, and transformers in the size of images.
        let [ours, theirs] = &networks;
        let (forget, retain) = Images::load(io, "data", ours)?.split("data", params.forget_class)?;
        let (forget_too, retain_too) = Images::load(io, "data", theirs)?.split("data", params.forget_class)?;
        let mut side = |side, images: [&Images; 2]| {
            let rows = params.rows(side, images[0].len());
            let images = images.map(|images| images.select(&rows));
            let values = torch::alike(&networks, &images, io)?;
            Ok::<_, crate::StageError>((rows.len() as u64, blocks.iter().cloned().zip(values).collect()))
        };
        let (n_forget, on_forget) = side(Side::Forget, [&forget, &forget_too])?;
        let (n_retain, on_retain) = side(Side::Retain, [&retain, &retain_too])?;
        let similarities = Similarities {
            forget_class: params.forget_class,
            n: Counts { forget: n_forget, retain: n_retain },
            forget: on_forget,
            retain: on_retain,
            blocks,
        };
        io.write_json("similarity", &similarities)
    }
}

#[cfg(feature = "torch")]
pub use torch::{aligned, gram};

#[cfg(feature = "torch")]
mod torch {
    use tch::{Kind, Tensor, no_grad};

    use crate::evaluate::embeddings;
    use crate::model::network::{Mode, Network};
    use crate::stage::StageError;
    use crate::train::fit::Observer;
    use crate::train::images::{Batch, Images};

    /// Samples whose features are held at a time, twice: 280 MiB each for AllCNN at width 1. Those of a thousand samples
    /// are computed two and a half times.
    const PANEL: usize = 256;

    /// The names under which two networks are compared.
    ///
    /// # Errors
    /// When their blocks are not the same.
    pub(super) fn blocks(networks: &[Network; 2]) -> Result<Vec<String>, StageError> {
        let [ours, theirs] = networks.each_ref().map(|network| network.architecture().blocks());
        if ours != theirs {
            return Err(StageError::failed(format!(
                "`model` has the blocks {}; `reference` has {}",
                ours.join(", "),
                theirs.join(", ")
            )));
        }
        Ok(ours.into_iter().chain(["embedding", "logits"].map(str::to_owned)).collect())
    }

    /// CKA of two networks on the same samples, one value for each of [`blocks`].
    ///
    /// # Errors
    /// When the run was asked to stop.
    pub(super) fn alike(
        networks: &[Network; 2],
        images: &[Images; 2],
        observer: &mut dyn Observer,
    ) -> Result<Vec<Option<f64>>, StageError> {
        let ours = grams(&networks[0], &images[0], PANEL, observer)?;
        let theirs = grams(&networks[1], &images[1], PANEL, observer)?;
        Ok(ours.iter().zip(&theirs).map(|(ours, theirs)| aligned(ours, theirs)).collect())
    }

    /// The matrix of products of samples, [n, n] in float64, of their features, [n, d]. The first sample's features are
    /// taken off first, which CKA does not see: what is common to all then costs no digit, and constant features give
    /// exactly 0.
    pub fn gram(features: &Tensor) -> Tensor {
        let rows = shifted(features, &features.narrow(0, 0, 1));
        rows.matmul(&rows.tr())
    }

    fn shifted(features: &Tensor, origin: &Tensor) -> Tensor {
        features.to_kind(Kind::Double) - origin.to_kind(Kind::Double)
    }

    /// CKA of two matrices of products of the same samples: the cosine between them once their rows and columns have
    /// mean 0. None where one is 0 (all samples have the same features) or not finite.
    #[must_use]
    pub fn aligned(ours: &Tensor, theirs: &Tensor) -> Option<f64> {
        let (ours, theirs) = (centred(ours), centred(theirs));
        let inner = |a: &Tensor, b: &Tensor| (a * b).sum(Kind::Double).double_value(&[]);
        let value = inner(&ours, &theirs) / (inner(&ours, &ours).sqrt() * inner(&theirs, &theirs).sqrt());
        // Rounding may lead out of the range.
        value.is_finite().then(|| value.clamp(0.0, 1.0))
    }

    fn centred(gram: &Tensor) -> Tensor {
        let mean = |of: &Tensor, dimension: i64| of.mean_dim([dimension].as_slice(), true, Kind::Double);
        let rows = gram - mean(gram, 1);
        &rows - mean(&rows, 0)
    }

    /// The matrices of products of samples for each of [`blocks`]; `panel` samples at a time.
    pub(super) fn grams(
        network: &Network,
        images: &Images,
        panel: usize,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Tensor>, StageError> {
        let embeddings = embeddings(network, images, observer)?;
        let logits = no_grad(|| network.evaluated().classify(&embeddings));
        let mut grams = no_grad(|| block_grams(network, images, panel, observer))?;
        grams.extend([embeddings, logits].map(|features| no_grad(|| gram(&features))));
        Ok(grams)
    }

    fn block_grams(
        network: &Network,
        images: &Images,
        panel: usize,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Tensor>, StageError> {
        let (network, n) = (network.evaluated(), images.len() as i64);
        let features = |batch: &Batch| -> Vec<Tensor> {
            let blocks = network.features(&batch.pixels, Mode::Eval).into_iter();
            blocks.map(|(_, features)| features.flatten(1, -1)).collect()
        };
        let (mut grams, mut origins) = (Vec::new(), Vec::new());
        for (up, batch) in images.in_order(panel).enumerate() {
            let ours = features(&batch);
            if up == 0 {
                grams.extend(ours.iter().map(|_| Tensor::zeros([n, n], (Kind::Double, network.device()))));
                // A copy, so that the panel can go.
                origins.extend(ours.iter().map(|features| features.narrow(0, 0, 1).copy()));
            }
            for (left, batch) in images.in_order(panel).enumerate().skip(up) {
                observer.poll()?;
                let theirs = if left == up { None } else { Some(features(&batch)) };
                let (up, left) = ((up * panel) as i64, (left * panel) as i64);
                for (block, (gram, origin)) in grams.iter().zip(&origins).enumerate() {
                    observer.poll()?;
                    let rows = shifted(&ours[block], origin);
                    let products = match &theirs {
                        None => rows.matmul(&rows.tr()),
                        Some(theirs) => rows.matmul(&shifted(&theirs[block], origin).tr()),
                    };
                    place(gram, up, left, &products);
                    place(gram, left, up, &products.tr());
                }
            }
        }
        Ok(grams)
    }

    /// Writes `part` into `whole`, its first value to row `up` and column `left`.
    fn place(whole: &Tensor, up: i64, left: i64, part: &Tensor) {
        let size = part.size();
        whole.narrow(0, up, size[0]).narrow(1, left, size[1]).copy_(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(class: u32, seed: u64) -> Params {
        serde_json::from_value(serde_json::json!({"forget_class": class, "seed": seed})).unwrap()
    }

    #[test]
    fn the_samples_depend_on_seed_class_and_side_alone() {
        let rows = params(3, 7).rows(Side::Retain, 1500);
        assert_eq!(rows.len(), 1000);
        assert!(rows.is_sorted() && rows.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(rows, params(3, 7).rows(Side::Retain, 1500));
        assert_ne!(rows, params(3, 7).rows(Side::Forget, 1500));
        assert_ne!(rows, params(4, 7).rows(Side::Retain, 1500));
        assert_ne!(rows, params(3, 8).rows(Side::Retain, 1500));
        assert_eq!(params(3, 7).rows(Side::Forget, 4), [0, 1, 2, 3], "all of them where there are few");
    }
}

#[cfg(all(test, feature = "torch"))]
mod values {
    use rand::Rng;
    use safetensors::tensor::Dtype;
    use tch::{Device, Kind, Tensor};

    use super::torch::grams;
    use super::*;
    use crate::dataset::{Dataset, Pixels};
    use crate::model::architecture::{Architecture, ModelParams};
    use crate::model::init;
    use crate::model::network::{Mode, Network};
    use crate::train::fit::Silent;
    use crate::train::images::Images;
    use crate::train::params::Precision;

    fn cka(x: &Tensor, y: &Tensor) -> Option<f64> {
        aligned(&gram(x), &gram(y))
    }

    fn random(purpose: &str, rows: i64, columns: i64) -> Tensor {
        let mut stream = crate::rng::stream(7, purpose);
        let values: Vec<f64> = (0..rows * columns).map(|_| stream.random()).collect();
        Tensor::from_slice(&values).view([rows, columns])
    }

    #[track_caller]
    fn assert_near(found: Option<f64>, expected: f64) {
        let found = found.expect("a value");
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }

    /// The definition, as numpy was given it for the numbers below.
    fn by_features(x: &Tensor, y: &Tensor) -> f64 {
        let centred = |x: &Tensor| x - x.mean_dim([0_i64].as_slice(), true, Kind::Double);
        let (x, y) = (centred(x), centred(y));
        let norm = |a: &Tensor, b: &Tensor| a.tr().matmul(b).norm().double_value(&[]);
        norm(&y, &x).powi(2) / (norm(&x, &x) * norm(&y, &y))
    }

    #[test]
    fn values_are_those_of_numpy() {
        let x: [[f64; 3]; 5] = [[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [4.0, 1.0, 1.0], [2.0, 0.0, 5.0], [3.0, 3.0, 2.0]];
        let y: [[f64; 2]; 5] = [[2.0, 1.0], [0.0, 3.0], [5.0, 2.0], [1.0, 1.0], [4.0, 0.0]];
        let (x, y) = (Tensor::from_slice2(&x), Tensor::from_slice2(&y));
        // numpy.linalg.norm(Y.T @ X) ** 2 / (norm(X.T @ X) * norm(Y.T @ Y)) with centred columns.
        assert_near(cka(&x, &y), 0.653_225_830_143_865_4);
        assert_near(cka(&x, &x.narrow(1, 0, 1)), 0.515_797_729_054_032_6);
        assert_near(cka(&(x.to_kind(Kind::Float) + 1e6), &y), 0.653_225_830_143_865_4);
    }

    #[test]
    fn the_form_in_products_of_samples_is_that_in_products_of_features() {
        for (n, [p, q]) in [(20, [7, 11]), (6, [30, 4]), (9, [1, 1])] {
            let (x, y) = (random("x", n, p), random("y", n, q) + 5.0);
            assert_near(cka(&x, &y), by_features(&x, &y));
        }
    }

    #[test]
    fn a_rotation_a_scale_and_a_shift_change_nothing() {
        let (x, y) = (random("x", 20, 6), random("y", 20, 4));
        let (rotation, _) = Tensor::linalg_qr(&random("rotation", 6, 6), "reduced");
        let turned = x.matmul(&rotation) * -3.0 + random("shift", 1, 6);
        assert_near(cka(&x, &turned), 1.0);
        assert_near(cka(&turned, &y), cka(&x, &y).unwrap());
        let stretched = &x * Tensor::from_slice(&[9.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert!(cka(&x, &stretched).unwrap() < 0.9, "features of their own scale each are another representation");
    }

    #[test]
    fn features_that_are_the_same_for_all_samples_give_no_value() {
        let (x, constant) = (random("x", 5, 3), random("y", 1, 1000).repeat([5, 1]));
        assert_eq!(cka(&x, &constant), None);
        assert_eq!(cka(&constant, &constant), None);
        assert_eq!(cka(&x, &(&x * f64::NAN)), None);
        assert_eq!(cka(&x.narrow(0, 0, 1), &x.narrow(0, 0, 1)), None, "one sample");
    }

    #[test]
    fn features_held_a_few_samples_at_a_time_give_the_products_of_all() {
        let architecture = Architecture::new(&ModelParams { width: 0.05, ..ModelParams::default() }, 1).unwrap();
        let state = init::draw(&architecture, Dtype::F64, 7, "");
        let network = Network::from_state("test", &state, Precision::F64, None, Device::Cpu).unwrap();
        let mut stream = crate::rng::stream(7, "pixels");
        let pixels = (0..8 * 784).map(|_| stream.random()).collect();
        let (labels, positions) = (vec![0; 8], (0..8).collect());
        let dataset = Dataset { shape: [8, 1, 28, 28], pixels: Pixels::U8(pixels), labels, positions };
        let images = Images::new("test", &dataset, &network).unwrap();
        let all = images.in_order(8).next().unwrap().pixels;
        let mut features: Vec<Tensor> =
            network.features(&all, Mode::Eval).into_iter().map(|(_, x)| x.flatten(1, -1)).collect();
        features.extend([network.embed(&all, Mode::Eval), network.forward(&all, Mode::Eval)]);
        for panel in [3, 4, 8, 100] {
            let grams = grams(&network, &images, panel, &mut Silent).unwrap();
            assert_eq!(grams.len(), 10);
            for (block, (found, features)) in grams.iter().zip(&features).enumerate() {
                let expected = gram(features);
                let scale = expected.abs().max().double_value(&[]);
                assert!(scale > 0.0, "block {block} says nothing");
                assert!(found.allclose(&expected, 1e-9, 1e-12 * scale, false), "panel {panel}, block {block}");
            }
        }
    }
}
