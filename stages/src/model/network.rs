//! A network on libtorch: weights on a device, and a forward pass that says explicitly which statistics BatchNorm uses.
//!
//! Knows no loss and no optimizer. Pixels in [0, 1] of the network's own size enter it; normalisation is the first thing
//! that it does, so that an attack in pixel space needs nothing special. What lies before the classifier is a
//! body, one file each: [`super::allcnn`], [`super::resnet`], [`super::vit`].

use tch::{Device, Kind, Tensor, no_grad};

use super::architecture::{Architecture, Family};
use super::layers::{Body, Linear, Pass, Weights};
use super::state::StateDict;
use super::{allcnn, resnet, vit};
use crate::stage::StageError;
use crate::train::params::{BatchNorm, Normalise, Precision};

/// What a forward pass does in BatchNorm; a network without it computes the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Normalises by the batch; the running statistics move by one update.
    Train,
    /// Normalises by the running statistics; nothing moves.
    Eval,
}

impl From<BatchNorm> for Mode {
    fn from(batch_norm: BatchNorm) -> Self {
        match batch_norm {
            BatchNorm::Train => Self::Train,
            BatchNorm::Frozen => Self::Eval,
        }
    }
}

/// The weights that a phase trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything before the classifier, scales and shifts of normalisations included.
    Extractor,
    /// The last linear layer.
    Classifier,
    /// Everything.
    All,
}

/// A network with its weights.
pub struct Network {
    architecture: Architecture,
    precision: Precision,
    device: Device,
    normalise: Option<Normalise>,
    weights: Weights,
    /// Shares its tensors with `weights`, as does the classifier.
    body: Box<dyn Body>,
    classifier: Linear,
}

impl Network {
    /// A network with the weights of `state`, whose metadata names its architecture; `name` is used in errors.
    ///
    /// # Errors
    /// When the metadata is missing, tensors do not fit, or normalisation is not for as many channels.
    pub fn from_state(
        name: &str,
        state: &StateDict,
        precision: Precision,
        normalise: Option<&Normalise>,
        device: Device,
    ) -> Result<Self, StageError> {
        let bad = |problem: String| StageError::input(name, problem);
        let architecture = Architecture::from_metadata(&state.metadata)
            .map_err(|e| bad(format!("not a model of this program: {e}; take it in with `model/import`")))?;
        let problems = state.problems(&architecture);
        if !problems.is_empty() {
            return Err(bad(format!("the weights do not fit: {}", problems.join("; "))));
        }
        if let Some(normalise) = normalise.filter(|n| n.mean.len() != architecture.channels as usize) {
            let (given, channels) = (normalise.mean.len(), architecture.channels);
            return Err(StageError::failed(format!(
                "`normalise` is for {given} channel(s), and the network takes {channels}"
            )));
        }
        let weights = Weights::read(architecture.tensors(), state, kind_of(precision), device).map_err(bad)?;
        Ok(Self::assemble(architecture, precision, device, normalise.cloned(), weights))
    }

    fn assemble(
        architecture: Architecture,
        precision: Precision,
        device: Device,
        normalise: Option<Normalise>,
        weights: Weights,
    ) -> Self {
        let body: Box<dyn Body> = match architecture.name.family() {
            Family::AllCnn => Box::new(allcnn::AllCnn::new(&architecture, &weights)),
            Family::ResNet(depth) => Box::new(resnet::ResNet::new(&architecture, depth, &weights)),
            Family::Vit => Box::new(vit::Vit::new(&architecture, &weights)),
        };
        let [weight, bias] = architecture.classifier().map(|name| weights.get(name));
        let classifier = Linear::of(weight, bias);
        Self { architecture, precision, device, normalise, weights, body, classifier }
    }

    /// The weights as they are now; float64 networks give F64 tensors, all others F32.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn to_state(&self) -> Result<StateDict, StageError> {
        Ok(StateDict { tensors: self.weights.to_raw()?, metadata: self.architecture.metadata() })
    }

    /// The embedding e(x), [n, d], of pixels x in [0, 1], [n, channels, height, width]: what enters the classifier.
    pub fn embed(&self, pixels: &Tensor, mode: Mode) -> Tensor {
        self.body.embed(self.normalised(pixels), self.pass(mode), &mut |_| {})
    }

    /// The logits c(e), [n, classes], of embeddings.
    pub fn classify(&self, embeddings: &Tensor) -> Tensor {
        // The classifier has no BatchNorm: the mode does not matter.
        self.classifier.forward(embeddings, self.pass(Mode::Eval))
    }

    /// The logits of pixels.
    pub fn forward(&self, pixels: &Tensor, mode: Mode) -> Tensor {
        self.classify(&self.embed(pixels, mode))
    }

    /// The output of each block for pixels, with its name, from the image on: for AllCNN `conv1` to `conv8` and for
    /// ResNet `stem`, `layer1` to `layer4` (all after ReLU), [n, channels, height, width]; for the transformer each
    /// layer of the encoder, [n, tokens, dim].
    #[must_use]
    pub fn features(&self, pixels: &Tensor, mode: Mode) -> Vec<(String, Tensor)> {
        let mut names = self.architecture.blocks().into_iter();
        let mut features = Vec::new();
        let mut keep = |x: &Tensor| features.extend(names.next().map(|name| (name, x.shallow_clone())));
        drop(self.body.embed(self.normalised(pixels), self.pass(mode), &mut keep));
        features
    }

    fn pass(&self, mode: Mode) -> Pass {
        Pass { mode, precision: self.precision }
    }

    fn normalised(&self, pixels: &Tensor) -> Tensor {
        let Some(Normalise { mean, std }) = &self.normalise else { return pixels.shallow_clone() };
        let channels = |values: &[f64]| {
            Tensor::from_slice(values).to_kind(self.kind()).to_device(self.device).view([1, values.len() as i64, 1, 1])
        };
        (pixels - channels(mean)) / channels(std)
    }

    /// Makes `part` trainable and everything else not, and gives the trainable tensors (in PyTorch's order).
    #[must_use]
    pub fn train_only(&self, part: Part) -> Vec<Tensor> {
        let classifier = self.architecture.classifier();
        let chosen = |name: &str| match part {
            Part::All => true,
            Part::Classifier => classifier.contains(&name),
            Part::Extractor => !classifier.contains(&name),
        };
        let trained =
            self.weights.trained().map(|(name, tensor)| (tensor.set_requires_grad(chosen(name)), chosen(name)));
        trained.filter_map(|(tensor, chosen)| chosen.then_some(tensor)).collect()
    }

    /// A copy of its own that is never trained: the original that unlearning looks back to.
    #[must_use]
    pub fn frozen_copy(&self) -> Self {
        self.with(self.precision, no_grad(|| self.weights.map(|t| t.detach().copy())))
    }

    /// A copy for evaluation: without the rounding of tf32 and bf16, and in the layout in which that is fastest.
    #[must_use]
    pub fn evaluated(&self) -> Self {
        let precision = if self.precision == Precision::F64 { Precision::F64 } else { Precision::F32 };
        self.with(precision, no_grad(|| self.weights.channels_last()))
    }

    fn with(&self, precision: Precision, weights: Weights) -> Self {
        Self::assemble(self.architecture.clone(), precision, self.device, self.normalise.clone(), weights)
    }

    /// What it consists of.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Where it lives.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Type of its weights.
    #[must_use]
    pub fn kind(&self) -> Kind {
        kind_of(self.precision)
    }
}

fn kind_of(precision: Precision) -> Kind {
    if precision == Precision::F64 { Kind::Double } else { Kind::Float }
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use safetensors::tensor::Dtype;
    use serde_json::json;

    use super::*;
    use crate::model::architecture::ModelParams;
    use crate::model::init;
    use crate::rng;

    /// A small network of each family, for images of 28x28 with one channel.
    fn small() -> [ModelParams; 4] {
        [
            json!({"name": "all_cnn", "width": 0.125}),
            json!({"name": "resnet18", "width": 0.0625}),
            json!({"name": "resnet50", "width": 0.0625}),
            json!({"name": "vit_b_16", "vit": {
                "image_size": 28, "patch": 7, "layers": 2, "heads": 3, "dim": 12, "mlp": 24, "crop_fraction": 1.0}}),
        ]
        .map(|params| serde_json::from_value(params).unwrap())
    }

    fn network(params: &ModelParams, precision: Precision) -> Network {
        let architecture = Architecture::new(params, 1).unwrap();
        let mut state = init::draw(&architecture, Dtype::F64, 7, "");
        // A new transformer's classifier is all zero, and so are its logits.
        for spec in architecture.new_classifier() {
            state.tensors.insert(spec.name.clone(), init::draw_tensor(&spec, Dtype::F64, 7, ""));
        }
        Network::from_state("test", &state, precision, None, Device::Cpu).unwrap()
    }

    fn pixels(kind: Kind) -> Tensor {
        let mut stream = rng::stream(7, "pixels");
        let values: Vec<f64> = (0..8 * 784).map(|_| stream.random()).collect();
        Tensor::from_slice(&values).view([8, 1, 28, 28]).to_kind(kind)
    }

    /// Largest difference of logits from those in float64, relative to the largest logit; batch statistics keep the
    /// fresh network's values away from zero.
    fn error(params: &ModelParams, network: &Network) -> f64 {
        let exact = super::tests::network(params, Precision::F64).forward(&pixels(Kind::Double), Mode::Train);
        let logits = network.forward(&pixels(network.kind()), Mode::Train).to_kind(Kind::Double);
        ((logits - &exact).abs().max() / exact.abs().max()).double_value(&[])
    }

    #[test]
    fn rounding_costs_what_its_bits_say_and_evaluation_is_without() {
        for params in small() {
            let [f32, tf32, bf16] = [Precision::F32, Precision::Tf32, Precision::Bf16]
                .map(|precision| error(&params, &network(&params, precision)));
            let said = format!("{}: {f32:e} {tf32:e} {bf16:e}", params.name.as_str());
            assert!(f32 < 1e-5 && 1e-5 < tf32 && tf32 < 2e-2 && 2.0 * tf32 < bf16 && bf16 < 0.2, "{said}");
            assert!(error(&params, &network(&params, Precision::Bf16).evaluated()) < 1e-4);
        }
    }

    #[test]
    fn a_copy_has_the_weights_of_its_time_and_stays() {
        for params in small() {
            let network = network(&params, Precision::F32);
            let (frozen, evaluated) = (network.frozen_copy(), network.evaluated());
            let before = frozen.to_state().unwrap();
            let _ = network.forward(&pixels(Kind::Float), Mode::Train);
            for mut tensor in network.train_only(Part::All) {
                let _ = no_grad(|| tensor.g_add_scalar_(0.01));
            }
            assert_eq!(frozen.to_state().unwrap(), before);
            assert_eq!(evaluated.to_state().unwrap(), before);
            let now = network.to_state().unwrap();
            for (name, tensor) in &now.tensors {
                assert_ne!(&before.tensors[name], tensor, "{name}");
            }
            let logits = |network: &Network| network.forward(&pixels(Kind::Float), Mode::Eval);
            assert!(logits(&frozen).allclose(&logits(&evaluated), 1e-5, 1e-5, false));
            assert!(!logits(&network).allclose(&logits(&frozen), 1e-2, 1e-2, false));
        }
    }

    #[test]
    fn only_the_part_that_is_to_be_trained_can_be() {
        for (params, all) in small().iter().zip([26, 62, 161, 4 + 2 * 12 + 4]) {
            let network = network(params, Precision::F32);
            for (part, count) in [(Part::Extractor, all - 2), (Part::Classifier, 2), (Part::All, all)] {
                assert_eq!(network.train_only(part).len(), count);
                // The tensors that the layers compute with, not only those of the list.
                assert_eq!(network.embed(&pixels(Kind::Float), Mode::Eval).requires_grad(), part != Part::Classifier);
                let embeddings = Tensor::zeros([1, network.architecture.embedding() as i64], tch::kind::FLOAT_CPU);
                assert_eq!(network.classify(&embeddings).requires_grad(), part != Part::Extractor);
            }
        }
    }

    #[test]
    fn features_are_the_blocks_in_order_and_the_last_leads_to_the_embedding() {
        for params in small() {
            let network = network(&params, Precision::F64);
            let features = network.features(&pixels(Kind::Double), Mode::Eval);
            let names: Vec<&str> = features.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, network.architecture.blocks());
            let last = &features.last().expect("at least one block").1;
            let embeddings = network.embed(&pixels(Kind::Double), Mode::Eval);
            let expected = match network.architecture.name.family() {
                Family::Vit => last.select(1, 0).layer_norm([12], None::<&Tensor>, None::<&Tensor>, 1e-6, true),
                _ => last.mean_dim([2_i64, 3].as_slice(), false, Kind::Double),
            };
            assert!(embeddings.allclose(&expected, 1e-12, 1e-12, false), "{}", params.name.as_str());
            assert_eq!(features[0].1.size()[0], 8);
        }
    }

    #[test]
    fn only_train_mode_moves_statistics_and_each_pass_counts_once() {
        for params in small() {
            let network = network(&params, Precision::F64);
            let before = network.to_state().unwrap();
            let _ = network.features(&pixels(Kind::Double), Mode::Eval);
            assert_eq!(network.to_state().unwrap(), before);
            let _ = network.forward(&pixels(Kind::Double), Mode::Train);
            let now = network.to_state().unwrap();
            for spec in network.architecture.tensors() {
                let changed = now.tensors[&spec.name] != before.tensors[&spec.name];
                assert_eq!(changed, !spec.role.is_trained(), "{}", spec.name);
                if spec.role == crate::model::architecture::Role::BatchesTracked {
                    assert_eq!(now.tensors[&spec.name].bytes, 1_i64.to_le_bytes());
                }
            }
        }
    }
}
