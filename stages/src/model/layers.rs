//! What networks are made of, on libtorch: the named weights, and layers that hold some of them.
//!
//! A layer shares its tensors with [`Weights`]: what trains the one trains the other. Knows no architecture.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor, no_grad};

use super::architecture::{Role, TensorSpec};
use super::network::Mode;
use super::precision::{convolution_operand, product_operand};
use super::state::{RawTensor, StateDict};
use crate::stage::StageError;
use crate::train::params::Precision;

/// PyTorch's defaults for BatchNorm.
const BATCH_NORM_MOMENTUM: f64 = 0.1;
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// torchvision's for LayerNorm in its vision transformers.
const LAYER_NORM_EPSILON: f64 = 1e-6;

/// How one forward pass computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// Which statistics BatchNorm uses.
    pub(super) mode: Mode,
    /// The rounding of operands.
    pub(super) precision: Precision,
}

impl Pass {
    /// A matrix product of activations.
    pub(super) fn product(self, a: &Tensor, b: &Tensor) -> Tensor {
        product_operand(self.precision, a).matmul(&product_operand(self.precision, b))
    }
}

/// Everything of a network before its classifier.
pub(super) trait Body {
    /// Embeddings, [n, d], of normalised pixels, [n, channels, height, width]. Calls `block_done` with the output of each
    /// block, in the order of [`super::architecture::Architecture::blocks`].
    fn embed(&self, pixels: Tensor, pass: Pass, block_done: &mut dyn FnMut(&Tensor)) -> Tensor;
}

/// The tensors of a state dict, on a device.
pub(super) struct Weights {
    /// In PyTorch's order.
    specs: Vec<TensorSpec>,
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// The tensors `specs` of a state dict that has them all; floats become `kind`.
    ///
    /// # Errors
    /// When bytes and shape do not fit; the text says where.
    pub(super) fn read(specs: Vec<TensorSpec>, state: &StateDict, kind: Kind, device: Device) -> Result<Self, String> {
        let read = |spec: &TensorSpec| {
            let raw = state.tensors.get(&spec.name).ok_or_else(|| format!("`{}` is missing", spec.name))?;
            let shape: Vec<i64> = raw.shape.iter().map(|&n| n as i64).collect();
            let stored = match raw.dtype {
                Dtype::F64 => Kind::Double,
                Dtype::I64 => Kind::Int64,
                _ => Kind::Float,
            };
            let tensor = Tensor::f_from_data_size(&raw.bytes, &shape, stored);
            let tensor = tensor.map_err(|e| format!("`{}`: {e}", spec.name))?;
            // Counts stay here: on a device, counting would be a launch of its own.
            let counts = spec.role == Role::BatchesTracked;
            Ok((spec.name.clone(), if counts { tensor } else { tensor.to_kind(kind).to_device(device) }))
        };
        let tensors = specs.iter().map(read).collect::<Result<_, String>>()?;
        Ok(Self { specs, tensors })
    }

    /// The state dict's tensors as they are now.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub(super) fn to_raw(&self) -> Result<BTreeMap<String, RawTensor>, StageError> {
        self.tensors.iter().map(|(name, tensor)| Ok((name.clone(), raw(tensor)?))).collect()
    }

    /// Every tensor replaced.
    pub(super) fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        let tensors = self.tensors.iter().map(|(name, tensor)| (name.clone(), f(tensor))).collect();
        Self { specs: self.specs.clone(), tensors }
    }

    /// A copy whose filters have their channels last in memory; a convolution takes its layout from them. On a CPU it
    /// computes 1.5 times as fast that way (AllCNN at width 0.25), and less exactly: the first gradients of training were
    /// up to 4e-4 from `PyTorch`'s in its usual layout, so that only evaluation asks for it.
    pub(super) fn channels_last(&self) -> Self {
        self.map(|tensor| match tensor.dim() {
            4 => tensor.detach().copy().permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]),
            _ => tensor.detach().copy(),
        })
    }

    /// The tensor itself, not a copy.
    pub(super) fn get(&self, name: &str) -> Tensor {
        self.tensors.get(name).expect("a network asks for tensors of its own list").shallow_clone()
    }

    /// The tensors that training changes, with their names, in PyTorch's order.
    pub(super) fn trained(&self) -> impl Iterator<Item = (&str, Tensor)> {
        let trained = self.specs.iter().filter(|spec| spec.role.is_trained());
        trained.map(|spec| (spec.name.as_str(), self.get(&spec.name)))
    }
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

/// A convolution; its bias where the weights have one.
pub(super) struct Conv {
    filters: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv {
    pub(super) fn new(weights: &Weights, layer: &str, stride: usize, padding: usize) -> Self {
        Self {
            filters: weights.get(&format!("{layer}.weight")),
            bias: weights.tensors.get(&format!("{layer}.bias")).map(Tensor::shallow_clone),
            stride: stride as i64,
            padding: padding as i64,
        }
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let operand = |t: &Tensor| convolution_operand(pass.precision, t);
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        operand(x).conv2d(&operand(&self.filters), self.bias.as_ref(), stride, padding, [1, 1], 1)
    }
}

/// Normalises channels by the batch's or the running statistics.
pub(super) struct BatchNorm {
    scale: Tensor,
    shift: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    /// Counts forward passes in train mode; i64, in memory.
    batches_tracked: Tensor,
}

impl BatchNorm {
    pub(super) fn new(weights: &Weights, layer: &str) -> Self {
        let get = |rest: &str| weights.get(&format!("{layer}.{rest}"));
        Self {
            scale: get("weight"),
            shift: get("bias"),
            running_mean: get("running_mean"),
            running_variance: get("running_var"),
            batches_tracked: get("num_batches_tracked"),
        }
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let train = pass.mode == Mode::Train;
        if train {
            let _ = no_grad(|| self.batches_tracked.shallow_clone().g_add_scalar_(1));
        }
        x.batch_norm(
            Some(&self.scale),
            Some(&self.shift),
            Some(&self.running_mean),
            Some(&self.running_variance),
            train,
            BATCH_NORM_MOMENTUM,
            BATCH_NORM_EPSILON,
            true,
        )
    }
}

/// Normalises each token.
pub(super) struct LayerNorm {
    scale: Tensor,
    shift: Tensor,
}

impl LayerNorm {
    pub(super) fn new(weights: &Weights, layer: &str) -> Self {
        Self { scale: weights.get(&format!("{layer}.weight")), shift: weights.get(&format!("{layer}.bias")) }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.scale.size(), Some(&self.scale), Some(&self.shift), LAYER_NORM_EPSILON, true)
    }
}

/// A linear layer.
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(weights: &Weights, layer: &str) -> Self {
        Self::of(weights.get(&format!("{layer}.weight")), weights.get(&format!("{layer}.bias")))
    }

    /// With weights [outputs, inputs] and bias [outputs].
    pub(super) fn of(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let operand = |t: &Tensor| product_operand(pass.precision, t);
        operand(x).linear(&operand(&self.weight), Some(&self.bias))
    }
}

/// Maps [n, c, height, width] to their means, [n, c].
pub(super) fn global_average(x: &Tensor) -> Tensor {
    let (height, width) = (x.size()[2], x.size()[3]);
    x.avg_pool2d([height, width], [1, 1], [0, 0], false, true, None::<i64>).flatten(1, 3)
}
