//! ResNet (He, Zhang, Ren, Sun, CVPR 2016) with the stem for small images: `conv1` is 3x3 with stride 1 and no
//! max-pool follows. All else, and every tensor's name, is torchvision's: basic blocks in 18 and 34 layers, bottlenecks
//! in 50, with the stride in the 3x3 convolution (v1.5).
//!
//! First values are torchvision's: convolutions normal with deviation sqrt(2 / (outputs kernel^2)) (Kaiming, fan out),
//! BatchNorm scale 1 and shift 0 (also at the end of a block), the classifier PyTorch's default.

use super::architecture::{Architecture, First, Role, TensorSpec};

/// Planes of `layer1` at width 1.
pub(super) const PLANES: u32 = 64;

/// The shorter side below which nothing of an image is left after three halvings.
pub(super) const SMALLEST: usize = 8;

/// What `features` looks at: the output of the stem and of each layer.
pub(super) const BLOCKS: [&str; 5] = ["stem", "layer1", "layer2", "layer3", "layer4"];

/// How deep it is: which blocks and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    D18,
    D34,
    D50,
}

impl Depth {
    /// Blocks of `layer1` to `layer4`.
    const fn blocks(self) -> [usize; 4] {
        match self {
            Self::D18 => [2, 2, 2, 2],
            Self::D34 | Self::D50 => [3, 4, 6, 3],
        }
    }

    /// Output channels of a block over its planes.
    const fn expansion(self) -> usize {
        match self {
            Self::D18 | Self::D34 => 1,
            Self::D50 => 4,
        }
    }
}

/// A convolution without bias, with the name of its layer; padding is (kernel - 1) / 2.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Convolution {
    name: String,
    /// Of the BatchNorm behind it.
    norm: String,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
}

impl Convolution {
    fn tensors(&self) -> Vec<TensorSpec> {
        let Self { inputs, outputs, kernel, .. } = *self;
        let deviation = (2.0 / (outputs * kernel * kernel) as f64).sqrt();
        let shape = [outputs, inputs, kernel, kernel];
        let filters = format!("{}.weight", self.name);
        let mut all = vec![TensorSpec::new(filters, &shape, Role::Weight, First::Normal { deviation })];
        all.extend(TensorSpec::batch_norm(&self.norm, outputs));
        all
    }
}

/// A residual block: its convolutions in order, and the one of its shortcut where that is not the identity.
struct Block {
    convolutions: Vec<Convolution>,
    shortcut: Option<Convolution>,
}

/// floor(64 width): planes of `layer1`; each further layer has twice as many.
pub(super) fn planes(architecture: &Architecture) -> usize {
    (f64::from(PLANES) * architecture.width) as usize
}

/// Length of the pooled features.
pub(super) fn embedding(architecture: &Architecture, depth: Depth) -> usize {
    8 * planes(architecture) * depth.expansion()
}

fn stem(architecture: &Architecture) -> Convolution {
    let (inputs, outputs) = (architecture.channels as usize, planes(architecture));
    Convolution { name: "conv1".to_owned(), norm: "bn1".to_owned(), inputs, outputs, kernel: 3, stride: 1 }
}

/// `layer1` to `layer4`.
fn layers(architecture: &Architecture, depth: Depth) -> [Vec<Block>; 4] {
    let mut inputs = planes(architecture);
    [0, 1, 2, 3].map(|layer| {
        let planes = planes(architecture) << layer;
        let block = |at: usize| {
            let stride = if at == 0 && layer > 0 { 2 } else { 1 };
            let block = block(&format!("layer{}.{at}", layer + 1), depth, [inputs, planes], stride);
            inputs = planes * depth.expansion();
            block
        };
        (0..depth.blocks()[layer]).map(block).collect()
    })
}

fn block(name: &str, depth: Depth, [inputs, planes]: [usize; 2], stride: usize) -> Block {
    let outputs = planes * depth.expansion();
    let conv = |at: usize, [inputs, outputs]: [usize; 2], kernel, stride| {
        let (name, norm) = (format!("{name}.conv{at}"), format!("{name}.bn{at}"));
        Convolution { name, norm, inputs, outputs, kernel, stride }
    };
    let convolutions = match depth {
        Depth::D18 | Depth::D34 => vec![conv(1, [inputs, planes], 3, stride), conv(2, [planes, planes], 3, 1)],
        Depth::D50 => vec![
            conv(1, [inputs, planes], 1, 1),
            conv(2, [planes, planes], 3, stride),
            conv(3, [planes, outputs], 1, 1),
        ],
    };
    let shortcut = (stride != 1 || inputs != outputs).then(|| {
        let (name, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
        Convolution { name, norm, inputs, outputs, kernel: 1, stride }
    });
    Block { convolutions, shortcut }
}

/// All tensors before the classifier.
pub(super) fn tensors(architecture: &Architecture, depth: Depth) -> Vec<TensorSpec> {
    let mut all = stem(architecture).tensors();
    for block in layers(architecture, depth).into_iter().flatten() {
        all.extend(block.convolutions.iter().chain(&block.shortcut).flat_map(Convolution::tensors));
    }
    all
}

/// Why the weights of an ImageNet ResNet do not fit, when `stem` is the shape of one's `conv1.weight`.
pub(super) fn foreign_stem(stem: &[usize]) -> Option<String> {
    matches!(stem, [_, _, 7, 7]).then(|| {
        "these are the weights of an ImageNet ResNet: its stem is a 7x7 convolution with stride 2 and a max-pool. \
         Here the stem is 3x3 with stride 1 and no max-pool, for small images; no weights of the one fit the other"
            .to_owned()
    })
}

#[cfg(feature = "torch")]
pub(super) use torch::ResNet;

#[cfg(feature = "torch")]
mod torch {
    use tch::Tensor;

    use super::{Block, Convolution, Depth, layers, stem};
    use crate::model::architecture::Architecture;
    use crate::model::layers::{BatchNorm, Body, Conv, Pass, Weights, global_average};

    /// A convolution and its BatchNorm.
    struct Normed(Conv, BatchNorm);

    impl Normed {
        fn new(weights: &Weights, conv: &Convolution) -> Self {
            let filters = Conv::new(weights, &conv.name, conv.stride, (conv.kernel - 1) / 2);
            Self(filters, BatchNorm::new(weights, &conv.norm))
        }

        fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
            self.1.forward(&self.0.forward(x, pass), pass)
        }
    }

    struct Residual {
        convolutions: Vec<Normed>,
        shortcut: Option<Normed>,
    }

    impl Residual {
        fn new(weights: &Weights, block: &Block) -> Self {
            Self {
                convolutions: block.convolutions.iter().map(|conv| Normed::new(weights, conv)).collect(),
                shortcut: block.shortcut.as_ref().map(|conv| Normed::new(weights, conv)),
            }
        }

        fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
            let mut y = x.shallow_clone();
            for (at, conv) in self.convolutions.iter().enumerate() {
                // The last ReLU comes after the sum.
                y = conv.forward(&if at == 0 { y } else { y.relu() }, pass);
            }
            let shortcut = self.shortcut.as_ref().map_or_else(|| x.shallow_clone(), |conv| conv.forward(x, pass));
            (y + shortcut).relu()
        }
    }

    /// Stem and layers with their weights.
    pub(crate) struct ResNet {
        stem: Normed,
        layers: [Vec<Residual>; 4],
    }

    impl ResNet {
        pub(crate) fn new(architecture: &Architecture, depth: Depth, weights: &Weights) -> Self {
            let residual = |block: &Block| Residual::new(weights, block);
            Self {
                stem: Normed::new(weights, &stem(architecture)),
                layers: layers(architecture, depth).map(|blocks| blocks.iter().map(residual).collect()),
            }
        }
    }

    impl Body for ResNet {
        fn embed(&self, pixels: Tensor, pass: Pass, block_done: &mut dyn FnMut(&Tensor)) -> Tensor {
            let mut x = self.stem.forward(&pixels, pass).relu();
            block_done(&x);
            for layer in &self.layers {
                for residual in layer {
                    x = residual.forward(&x, pass);
                }
                block_done(&x);
            }
            global_average(&x)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::architecture::{Architecture, ModelParams, Name};

    fn tensors(name: Name) -> Vec<String> {
        let params = ModelParams { name, ..ModelParams::default() };
        let architecture = Architecture::new(&params, 3).unwrap();
        architecture.tensors().iter().map(|t| format!("{} {:?}", t.name, t.shape)).collect()
    }

    #[test]
    fn tensor_names_and_order_are_those_of_torchvision() {
        let text = tensors(Name::ResNet18);
        let is_weight = |t: &&String| t.contains(".weight") && !t.contains("bn") && !t.contains("downsample.1");
        let weights: Vec<&str> = text.iter().filter(is_weight).map(String::as_str).collect();
        assert_eq!(
            weights[..8],
            [
                "conv1.weight [64, 3, 3, 3]",
                "layer1.0.conv1.weight [64, 64, 3, 3]",
                "layer1.0.conv2.weight [64, 64, 3, 3]",
                "layer1.1.conv1.weight [64, 64, 3, 3]",
                "layer1.1.conv2.weight [64, 64, 3, 3]",
                "layer2.0.conv1.weight [128, 64, 3, 3]",
                "layer2.0.conv2.weight [128, 128, 3, 3]",
                "layer2.0.downsample.0.weight [128, 64, 1, 1]",
            ]
        );
        assert_eq!(text[1], "bn1.weight [64]");
        assert_eq!(text[text.len() - 2..], ["fc.weight [10, 512]", "fc.bias [10]"]);
        assert_eq!(text.len(), 122);
    }

    #[test]
    fn a_bottleneck_has_its_stride_in_the_middle_and_a_shortcut_wherever_channels_change() {
        let text = tensors(Name::ResNet50);
        for expected in [
            "layer1.0.downsample.0.weight [256, 64, 1, 1]",
            "layer2.0.conv1.weight [128, 256, 1, 1]",
            "layer2.0.conv2.weight [128, 128, 3, 3]",
            "layer2.0.conv3.weight [512, 128, 1, 1]",
            "layer4.2.bn3.running_var [2048]",
            "fc.weight [10, 2048]",
        ] {
            assert!(text.iter().any(|t| t == expected), "{expected}");
        }
        assert_eq!(text.iter().filter(|t| t.contains("downsample.0.weight")).count(), 4);
        assert_eq!(text.len(), 320);
    }
}
