//! AllCNN as the public PRU repository has it (after Springenberg et al. 2015): eight convolutions without bias, each
//! followed by BatchNorm and ReLU, a global average pool, one linear layer. Tensor names are those of its state dict.
//!
//! First values are PyTorch's defaults.

use super::architecture::{Architecture, First, Role, TensorSpec};

/// Filters of the first convolution at width 1.
pub(super) const FILTERS: u32 = 96;

/// One convolution with its BatchNorm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Convolution {
    inputs: usize,
    outputs: usize,
    /// Side of the square kernel; padding is (kernel - 1) / 2.
    kernel: usize,
    stride: usize,
}

/// Numbers of filters: floor(96 width), floor(192 width).
pub(super) fn filters(architecture: &Architecture) -> (usize, usize) {
    let most = f64::from(FILTERS);
    ((most * architecture.width) as usize, (2.0 * most * architecture.width) as usize)
}

/// The convolutions, `conv1` to `conv8`.
fn convolutions(architecture: &Architecture) -> [Convolution; 8] {
    let (a, b) = filters(architecture);
    let conv = |inputs, outputs, kernel, stride| Convolution { inputs, outputs, kernel, stride };
    [
        conv(architecture.channels as usize, a, 3, 1),
        conv(a, a, 3, 1),
        conv(a, b, 3, 2),
        conv(b, b, 3, 1),
        conv(b, b, 3, 1),
        conv(b, b, 3, 2),
        conv(b, b, 3, 1),
        conv(b, b, 1, 1),
    ]
}

/// All tensors before the classifier.
pub(super) fn tensors(architecture: &Architecture) -> Vec<TensorSpec> {
    let mut all = Vec::new();
    for (block, conv) in (1..).zip(convolutions(architecture)) {
        let Convolution { inputs, outputs, kernel, .. } = conv;
        let first = First::usual(inputs * kernel * kernel);
        let shape = [outputs, inputs, kernel, kernel];
        all.push(TensorSpec::new(format!("conv{block}.0.weight"), &shape, Role::Weight, first));
        all.extend(TensorSpec::batch_norm(&format!("conv{block}.1"), outputs));
    }
    all
}

#[cfg(feature = "torch")]
pub(super) use torch::AllCnn;

#[cfg(feature = "torch")]
mod torch {
    use tch::Tensor;

    use super::convolutions;
    use crate::model::architecture::Architecture;
    use crate::model::layers::{BatchNorm, Body, Conv, Pass, Weights, global_average};

    /// The convolutions with their weights.
    pub(crate) struct AllCnn(Vec<(Conv, BatchNorm)>);

    impl AllCnn {
        pub(crate) fn new(architecture: &Architecture, weights: &Weights) -> Self {
            let block = |(block, conv): (usize, super::Convolution)| {
                let padding = (conv.kernel - 1) / 2;
                let filters = Conv::new(weights, &format!("conv{block}.0"), conv.stride, padding);
                (filters, BatchNorm::new(weights, &format!("conv{block}.1")))
            };
            Self((1..).zip(convolutions(architecture)).map(block).collect())
        }
    }

    impl Body for AllCnn {
        fn embed(&self, pixels: Tensor, pass: Pass, block_done: &mut dyn FnMut(&Tensor)) -> Tensor {
            let mut x = pixels;
            for (conv, norm) in &self.0 {
                x = norm.forward(&conv.forward(&x, pass), pass).relu();
                block_done(&x);
            }
            // The map is 7x7 for images of 28x28 and 8x8 for 32x32: PyTorch's AvgPool2d(7) or (8) is global.
            global_average(&x)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::ModelParams;

    fn all_cnn(width: f64, channels: u32) -> Architecture {
        Architecture::new(&ModelParams { width, ..ModelParams::default() }, channels).unwrap()
    }

    #[test]
    fn tensor_names_and_shapes_are_those_of_the_published_state_dict() {
        let tensors = all_cnn(1.0, 3).tensors();
        let text: Vec<String> = tensors.iter().map(|t| format!("{} {:?}", t.name, t.shape)).collect();
        let first = [
            "conv1.0.weight [96, 3, 3, 3]",
            "conv1.1.weight [96]",
            "conv1.1.bias [96]",
            "conv1.1.running_mean [96]",
            "conv1.1.running_var [96]",
            "conv1.1.num_batches_tracked []",
        ];
        assert_eq!(&text[..6], &first);
        let convolutions: Vec<_> = text.iter().filter(|t| t.contains(".0.weight")).map(String::as_str).collect();
        let expected = [
            "conv1.0.weight [96, 3, 3, 3]",
            "conv2.0.weight [96, 96, 3, 3]",
            "conv3.0.weight [192, 96, 3, 3]",
            "conv4.0.weight [192, 192, 3, 3]",
            "conv5.0.weight [192, 192, 3, 3]",
            "conv6.0.weight [192, 192, 3, 3]",
            "conv7.0.weight [192, 192, 3, 3]",
            "conv8.0.weight [192, 192, 1, 1]",
            "classifier.0.weight [10, 192]",
        ];
        assert_eq!(convolutions, expected);
        assert_eq!(text.last().map(String::as_str), Some("classifier.0.bias [10]"));
        assert_eq!(text.len(), 8 * 6 + 2);
    }

    #[test]
    fn width_rounds_filters_down() {
        assert_eq!(filters(&all_cnn(0.125, 1)), (12, 24));
        assert_eq!(filters(&all_cnn(0.07, 1)), (6, 13));
    }
}
