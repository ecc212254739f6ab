//! AllCNN on libtorch: weights on a device, and a forward pass that says explicitly which statistics BatchNorm uses.
//!
//! Knows no loss and no optimizer. Images enter as pixels in [0, 1]; normalisation is the first thing the network does,
//! so that an attack in pixel space needs nothing special.

use std::cell::Cell;

use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor, no_grad};

use super::architecture::Architecture;
use super::precision;
use super::state::{RawTensor, StateDict};
use crate::stage::StageError;
use crate::train::params::{BatchNorm, Normalise, Precision};

/// PyTorch's defaults for BatchNorm.
const BATCH_NORM_MOMENTUM: f64 = 0.1;
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// What a forward pass does in BatchNorm.
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
    /// Convolutions and BatchNorm.
    Extractor,
    /// The linear layer.
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
    blocks: Vec<Block>,
    weight: Tensor,
    bias: Tensor,
}

/// A convolution and its BatchNorm.
struct Block {
    filters: Tensor,
    scale: Tensor,
    shift: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    /// Counts forward passes in train mode, as PyTorch's `num_batches_tracked`.
    batches_tracked: Cell<i64>,
    stride: i64,
    padding: i64,
}

impl Block {
    fn forward(&self, x: &Tensor, mode: Mode, precision: Precision) -> Tensor {
        let operand = |t: &Tensor| precision::convolution_operand(precision, t);
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        let x = operand(x).conv2d(&operand(&self.filters), None::<&Tensor>, stride, padding, [1, 1], 1);
        if mode == Mode::Train {
            self.batches_tracked.set(self.batches_tracked.get() + 1);
        }
        x.batch_norm(
            Some(&self.scale),
            Some(&self.shift),
            Some(&self.running_mean),
            Some(&self.running_variance),
            mode == Mode::Train,
            BATCH_NORM_MOMENTUM,
            BATCH_NORM_EPSILON,
            true,
        )
        .relu()
    }

    fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            filters: f(&self.filters),
            scale: f(&self.scale),
            shift: f(&self.shift),
            running_mean: f(&self.running_mean),
            running_variance: f(&self.running_variance),
            batches_tracked: self.batches_tracked.clone(),
            stride: self.stride,
            padding: self.padding,
        }
    }
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
        let kind = kind_of(precision);
        let tensor = |name: String| -> Result<Tensor, StageError> {
            let raw = state.tensors.get(&name).ok_or_else(|| bad(format!("`{name}` is missing")))?;
            let shape: Vec<i64> = raw.shape.iter().map(|&n| n as i64).collect();
            let stored = if raw.dtype == Dtype::F64 { Kind::Double } else { Kind::Float };
            let tensor = Tensor::f_from_data_size(&raw.bytes, &shape, stored).map_err(|e| bad(e.to_string()))?;
            Ok(tensor.to_kind(kind).to_device(device))
        };
        let blocks = architecture.convolutions().into_iter().enumerate().map(|(i, conv)| {
            let tensor = |rest: &str| tensor(format!("conv{}.{rest}", i + 1));
            let tracked = &state.tensors[&format!("conv{}.1.num_batches_tracked", i + 1)].bytes;
            let tracked = tracked.first_chunk::<8>().ok_or_else(|| bad("`num_batches_tracked` is empty".to_owned()))?;
            Ok(Block {
                filters: tensor("0.weight")?,
                scale: tensor("1.weight")?,
                shift: tensor("1.bias")?,
                running_mean: tensor("1.running_mean")?,
                running_variance: tensor("1.running_var")?,
                batches_tracked: Cell::new(i64::from_le_bytes(*tracked)),
                stride: conv.stride as i64,
                padding: (conv.kernel as i64 - 1) / 2,
            })
        });
        Ok(Self {
            blocks: blocks.collect::<Result<_, StageError>>()?,
            weight: tensor("classifier.0.weight".to_owned())?,
            bias: tensor("classifier.0.bias".to_owned())?,
            architecture,
            precision,
            device,
            normalise: normalise.cloned(),
        })
    }

    /// The weights as they are now; float64 networks give F64 tensors, all others F32.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn to_state(&self) -> Result<StateDict, StageError> {
        let mut state = StateDict { metadata: self.architecture.metadata(), ..StateDict::default() };
        let mut put = |name: String, tensor: &Tensor| -> Result<(), StageError> {
            state.tensors.insert(name, raw(tensor)?);
            Ok(())
        };
        for (i, block) in self.blocks.iter().enumerate() {
            let name = |rest: &str| format!("conv{}.{rest}", i + 1);
            put(name("0.weight"), &block.filters)?;
            put(name("1.weight"), &block.scale)?;
            put(name("1.bias"), &block.shift)?;
            put(name("1.running_mean"), &block.running_mean)?;
            put(name("1.running_var"), &block.running_variance)?;
            put(name("1.num_batches_tracked"), &Tensor::from(block.batches_tracked.get()))?;
        }
        put("classifier.0.weight".to_owned(), &self.weight)?;
        put("classifier.0.bias".to_owned(), &self.bias)?;
        Ok(state)
    }

    /// The embedding e(x), [n, filters], of pixels x in [0, 1], [n, channels, height, width].
    pub fn embed(&self, pixels: &Tensor, mode: Mode) -> Tensor {
        let mut x = self.normalised(pixels);
        for block in &self.blocks {
            x = block.forward(&x, mode, self.precision);
        }
        // The map is 7x7 for images of 28x28 and 8x8 for 32x32: PyTorch's AvgPool2d(7) or (8) is global.
        let (height, width) = (x.size()[2], x.size()[3]);
        x.avg_pool2d([height, width], [1, 1], [0, 0], false, true, None::<i64>).flatten(1, 3)
    }

    /// The logits c(e), [n, classes], of embeddings.
    pub fn classify(&self, embeddings: &Tensor) -> Tensor {
        let operand = |t: &Tensor| precision::product_operand(self.precision, t);
        operand(embeddings).linear(&operand(&self.weight), Some(&self.bias))
    }

    /// The logits of pixels.
    pub fn forward(&self, pixels: &Tensor, mode: Mode) -> Tensor {
        self.classify(&self.embed(pixels, mode))
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
        let extractor = self.blocks.iter().flat_map(|b| [&b.filters, &b.scale, &b.shift]);
        let extractor: Vec<Tensor> = extractor.map(|t| t.set_requires_grad(part != Part::Classifier)).collect();
        let classifier = [&self.weight, &self.bias].map(|t| t.set_requires_grad(part != Part::Extractor));
        match part {
            Part::Extractor => extractor,
            Part::Classifier => classifier.into(),
            Part::All => extractor.into_iter().chain(classifier).collect(),
        }
    }

    /// A copy of its own that is never trained: the original that unlearning looks back to.
    #[must_use]
    pub fn frozen_copy(&self) -> Self {
        self.map(self.precision, |t| t.detach().copy())
    }

    /// The same weights (not a copy) without the rounding of tf32 and bf16: for evaluation.
    #[must_use]
    pub fn exact(&self) -> Self {
        let precision = if self.precision == Precision::F64 { Precision::F64 } else { Precision::F32 };
        self.map(precision, Tensor::detach)
    }

    fn map(&self, precision: Precision, f: impl Fn(&Tensor) -> Tensor) -> Self {
        no_grad(|| Self {
            architecture: self.architecture.clone(),
            precision,
            device: self.device,
            normalise: self.normalise.clone(),
            blocks: self.blocks.iter().map(|block| block.map(&f)).collect(),
            weight: f(&self.weight),
            bias: f(&self.bias),
        })
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

fn raw(tensor: &Tensor) -> Result<RawTensor, StageError> {
    let failed = |e: tch::TchError| StageError::failed(format!("reading a tensor from its device: {e}"));
    let tensor = tensor.detach().f_to_device(Device::Cpu).map_err(failed)?.contiguous();
    let (dtype, size) = match tensor.kind() {
        Kind::Double => (Dtype::F64, 8),
        Kind::Int64 => (Dtype::I64, 8),
        Kind::Float => (Dtype::F32, 4),
        other => return Err(StageError::failed(format!("a weight of type {other:?} has no place in a model file"))),
    };
    let count = tensor.numel();
    let mut bytes = vec![0; count * size];
    tensor.f_copy_data_u8(&mut bytes, count).map_err(failed)?;
    Ok(RawTensor { dtype, shape: tensor.size().iter().map(|&n| n as usize).collect(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::ModelParams;
    use crate::model::init;
    use crate::rng;
    use rand::Rng;

    fn network(precision: Precision) -> Network {
        let params = ModelParams { width: 0.125, ..ModelParams::default() };
        let state = init::draw(&Architecture::new(&params, 1).unwrap(), Dtype::F64, 7, "");
        Network::from_state("test", &state, precision, None, Device::Cpu).unwrap()
    }

    fn pixels(kind: Kind) -> Tensor {
        let mut stream = rng::stream(7, "pixels");
        let values: Vec<f64> = (0..8 * 784).map(|_| stream.random()).collect();
        Tensor::from_slice(&values).view([8, 1, 28, 28]).to_kind(kind)
    }

    /// Largest difference of logits from those in float64, relative to the largest logit; batch statistics keep the
    /// fresh network's values away from zero.
    fn error(network: &Network) -> f64 {
        let exact = super::tests::network(Precision::F64).forward(&pixels(Kind::Double), Mode::Train);
        let logits = network.forward(&pixels(network.kind()), Mode::Train).to_kind(Kind::Double);
        ((logits - &exact).abs().max() / exact.abs().max()).double_value(&[])
    }

    #[test]
    fn rounding_costs_what_its_bits_say_and_evaluation_is_without() {
        let (f32, tf32, bf16) =
            (error(&network(Precision::F32)), error(&network(Precision::Tf32)), error(&network(Precision::Bf16)));
        assert!(
            f32 < 1e-5 && 1e-5 < tf32 && tf32 < 1e-2 && 2.0 * tf32 < bf16 && bf16 < 0.1,
            "{f32:e} {tf32:e} {bf16:e}"
        );
        assert!(error(&network(Precision::Bf16).exact()) < 1e-5);
    }

    #[test]
    fn a_frozen_copy_stays_while_an_exact_view_follows() {
        let network = network(Precision::F32);
        let (frozen, exact) = (network.frozen_copy(), network.exact());
        let before = frozen.to_state().unwrap();
        let _ = network.forward(&pixels(Kind::Float), Mode::Train);
        let _ = no_grad(|| network.bias.shallow_clone().g_add_scalar_(1.0));
        assert_eq!(frozen.to_state().unwrap(), before);
        let (seen, now) = (exact.to_state().unwrap(), network.to_state().unwrap());
        for name in ["classifier.0.bias", "conv1.1.running_mean"] {
            assert_eq!(seen.tensors[name], now.tensors[name]);
            assert_ne!(before.tensors[name], now.tensors[name]);
        }
    }

    #[test]
    fn only_the_part_that_is_to_be_trained_can_be() {
        let network = network(Precision::F32);
        for (part, count) in [(Part::Extractor, 24), (Part::Classifier, 2), (Part::All, 26)] {
            assert_eq!(network.train_only(part).len(), count);
            assert_eq!(network.weight.requires_grad(), part != Part::Extractor);
            assert_eq!(network.blocks[0].scale.requires_grad(), part != Part::Classifier);
        }
    }
}
