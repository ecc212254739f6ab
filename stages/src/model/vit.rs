//! ViT-B/16 (Dosovitskiy et al. 2021) as torchvision's `vit_b_16`: every tensor has the name it has there. Its dropout
//! is 0 there, so there is none here. The embedding is the class token after the last LayerNorm.
//!
//! First values are torchvision's. Positions: normal, deviation 0.02. Class token: 0. Patch projection: normal cut at
//! +-2, deviation sqrt(1 / (channels patch^2)), bias 0. Attention: input projection Xavier's uniform, output projection
//! uniform in +-1/sqrt(dim), biases 0. MLP: Xavier's uniform, biases normal with deviation 1e-6. LayerNorm: 1 and 0.
//! Classifier: 0.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, First, Role, TensorSpec, entry};
use super::view::View;
use crate::train::params::{Problem, fraction};

/// Sizes of a vision transformer. The defaults are ViT-B/16 with torchvision's evaluation transform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VitSize {
    /// Side of the square images that enter it, in pixels: a multiple of `patch`.
    pub image_size: u32,
    /// Side of a patch, in pixels.
    pub patch: u32,
    /// Encoder layers.
    pub layers: u32,
    /// Attention heads of a layer.
    pub heads: u32,
    /// Length of a token: a multiple of `heads`.
    pub dim: u32,
    /// Hidden units of a layer's MLP.
    pub mlp: u32,
    /// Stored images are resized (bilinear, antialiased) until the shorter side is floor(`image_size` /
    /// `crop_fraction`), and the centre is cut out: 256 and 224, as torchvision evaluates. 1: no margin is cut off.
    /// Training with `random_resized_crop` cuts at random instead.
    pub crop_fraction: f64,
}

impl Default for VitSize {
    fn default() -> Self {
        Self { image_size: 224, patch: 16, layers: 12, heads: 12, dim: 768, mlp: 3072, crop_fraction: 0.875 }
    }
}

/// No size may be larger: far beyond what fits a memory, and far below where products overflow.
const LARGEST: u32 = 1 << 16;

impl VitSize {
    /// Whether these are the defaults.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    fn sizes(&self) -> [(&'static str, u32); 6] {
        [
            ("model.vit.image_size", self.image_size),
            ("model.vit.patch", self.patch),
            ("model.vit.layers", self.layers),
            ("model.vit.heads", self.heads),
            ("model.vit.dim", self.dim),
            ("model.vit.mlp", self.mlp),
        ]
    }

    /// What is out of range.
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let mut whole = true;
        for (field, size) in self.sizes().into_iter().filter(|(_, size)| !(1..=LARGEST).contains(size)) {
            problems.push((field, format!("is {size}; from 1 to {LARGEST} is possible")));
            whole = false;
        }
        if whole && !self.image_size.is_multiple_of(self.patch) {
            let problem = format!("is {}; a multiple of the patch's {} is needed", self.image_size, self.patch);
            problems.push(("model.vit.image_size", problem));
        }
        if whole && !self.dim.is_multiple_of(self.heads) {
            let problem = format!("is {}; a multiple of the number of heads, {}, is needed", self.dim, self.heads);
            problems.push(("model.vit.dim", problem));
        }
        fraction("model.vit.crop_fraction", self.crop_fraction, problems);
        if whole && f64::from(self.image_size) / self.crop_fraction > f64::from(LARGEST) {
            problems.push(("model.vit.crop_fraction", format!("is {}; too little is cut out", self.crop_fraction)));
        }
    }

    /// How stored images become the network's input.
    pub(super) fn view(&self) -> View {
        let shorter = (f64::from(self.image_size) / self.crop_fraction) as usize;
        View::Resized { shorter, crop: self.image_size as usize }
    }

    /// Entries of a model file's metadata.
    pub(super) fn entries(&self) -> Vec<(&'static str, String)> {
        let own = |field: &'static str| field.strip_prefix("model.vit.").unwrap_or(field);
        let mut entries: Vec<_> = self.sizes().map(|(field, size)| (own(field), size.to_string())).into();
        entries.push(("crop_fraction", self.crop_fraction.to_string()));
        entries
    }

    pub(super) fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        Ok(Self {
            image_size: entry(metadata, "image_size")?,
            patch: entry(metadata, "patch")?,
            layers: entry(metadata, "layers")?,
            heads: entry(metadata, "heads")?,
            dim: entry(metadata, "dim")?,
            mlp: entry(metadata, "mlp")?,
            crop_fraction: entry(metadata, "crop_fraction")?,
        })
    }

    /// The sizes, for messages.
    pub(super) fn describe(&self) -> String {
        let Self { image_size, patch, layers, heads, dim, mlp, .. } = self;
        format!(
            "{layers} layers, {heads} heads, dim {dim}, mlp {mlp}, patch {patch}, images of {image_size}x{image_size}"
        )
    }
}

/// The layer of the encoder's `index`-th block, from 0.
fn layer(index: u32) -> String {
    format!("encoder.layers.encoder_layer_{index}")
}

/// All tensors before the classifier.
pub(super) fn tensors(architecture: &Architecture) -> Vec<TensorSpec> {
    let size = &architecture.vit;
    let [channels, dim, mlp, patch] = [architecture.channels, size.dim, size.mlp, size.patch].map(|n| n as usize);
    let tokens = (size.image_size as usize / patch).pow(2) + 1;
    let [zero, one] = [0.0, 1.0].map(First::Constant);
    let deviation = (1.0 / (channels * patch * patch) as f64).sqrt();
    let norm = |layer: String| {
        [
            TensorSpec::new(format!("{layer}.weight"), &[dim], Role::Scale, one),
            TensorSpec::new(format!("{layer}.bias"), &[dim], Role::Shift, zero),
        ]
    };
    let (patches, positions) = ([dim, channels, patch, patch], First::Normal { deviation: 0.02 });
    let mut all = vec![
        TensorSpec::new("class_token", &[1, 1, dim], Role::Embedding, zero),
        TensorSpec::new("conv_proj.weight", &patches, Role::Weight, First::TruncatedNormal { deviation }),
        TensorSpec::new("conv_proj.bias", &[dim], Role::Bias, zero),
        TensorSpec::new("encoder.pos_embedding", &[1, tokens, dim], Role::Embedding, positions),
    ];
    let small = First::Normal { deviation: 1e-6 };
    for layer in (0..size.layers).map(layer) {
        let attention = format!("{layer}.self_attention");
        let (inputs, together) = (format!("{attention}.in_proj"), [3 * dim, dim]);
        all.extend(norm(format!("{layer}.ln_1")));
        all.push(TensorSpec::new(format!("{inputs}_weight"), &together, Role::Weight, First::xavier(dim, 3 * dim)));
        all.push(TensorSpec::new(format!("{inputs}_bias"), &[3 * dim], Role::Bias, zero));
        all.extend(TensorSpec::linear(&format!("{attention}.out_proj"), [dim, dim], [First::usual(dim), zero]));
        all.extend(norm(format!("{layer}.ln_2")));
        let hidden = [First::xavier(dim, mlp), small];
        all.extend(TensorSpec::linear(&format!("{layer}.mlp.0"), [mlp, dim], hidden));
        all.extend(TensorSpec::linear(&format!("{layer}.mlp.3"), [dim, mlp], hidden));
    }
    all.extend(norm("encoder.ln".to_owned()));
    all
}

/// The name that a tensor has today: the published weights call the MLP's layers `linear_1` and `linear_2`.
pub(super) fn current_name(name: &str) -> String {
    name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")
}

#[cfg(feature = "torch")]
pub(super) use torch::Vit;

#[cfg(feature = "torch")]
mod torch {
    use tch::Tensor;

    use super::layer;
    use crate::model::architecture::Architecture;
    use crate::model::layers::{Body, Conv, LayerNorm, Linear, Pass, Weights};

    /// Multi-head self-attention.
    struct Attention {
        heads: i64,
        /// To queries, keys and values, in this order.
        inputs: Linear,
        output: Linear,
    }

    impl Attention {
        /// Tokens [n, t, d] to [n, t, d]. Products and softmax apart, not libtorch's fused kernel, whose gradient is
        /// summed in another order each time on CUDA.
        fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
            let &[n, t, d] = x.size().as_slice() else { unreachable!("tokens have three dimensions") };
            let each = d / self.heads;
            let all = self.inputs.forward(x, pass).view([n, t, 3, self.heads, each]).permute([2, 0, 3, 1, 4]);
            let [queries, keys, values] = [0, 1, 2].map(|part| all.select(0, part));
            let scores = pass.product(&(queries / (each as f64).sqrt()), &keys.transpose(2, 3));
            let mixed = pass.product(&scores.softmax(3, scores.kind()), &values);
            self.output.forward(&mixed.transpose(1, 2).reshape([n, t, d]), pass)
        }
    }

    /// One layer of the encoder.
    struct Layer {
        norm_1: LayerNorm,
        attention: Attention,
        norm_2: LayerNorm,
        hidden: Linear,
        output: Linear,
    }

    impl Layer {
        fn new(weights: &Weights, name: &str, heads: i64) -> Self {
            let linear = |rest: &str| Linear::new(weights, &format!("{name}.{rest}"));
            let norm = |rest: &str| LayerNorm::new(weights, &format!("{name}.{rest}"));
            let [weight, bias] = ["weight", "bias"].map(|w| format!("{name}.self_attention.in_proj_{w}"));
            let inputs = Linear::of(weights.get(&weight), weights.get(&bias));
            Self {
                norm_1: norm("ln_1"),
                attention: Attention { heads, inputs, output: linear("self_attention.out_proj") },
                norm_2: norm("ln_2"),
                hidden: linear("mlp.0"),
                output: linear("mlp.3"),
            }
        }

        fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
            let x = x + self.attention.forward(&self.norm_1.forward(x), pass);
            let hidden = self.hidden.forward(&self.norm_2.forward(&x), pass).gelu("none");
            x + self.output.forward(&hidden, pass)
        }
    }

    /// The transformer before its classifier, with its weights.
    pub(crate) struct Vit {
        class_token: Tensor,
        projection: Conv,
        positions: Tensor,
        layers: Vec<Layer>,
        norm: LayerNorm,
    }

    impl Vit {
        pub(crate) fn new(architecture: &Architecture, weights: &Weights) -> Self {
            let size = &architecture.vit;
            Self {
                class_token: weights.get("class_token"),
                projection: Conv::new(weights, "conv_proj", size.patch as usize, 0),
                positions: weights.get("encoder.pos_embedding"),
                layers: (0..size.layers).map(|i| Layer::new(weights, &layer(i), i64::from(size.heads))).collect(),
                norm: LayerNorm::new(weights, "encoder.ln"),
            }
        }
    }

    impl Body for Vit {
        fn embed(&self, pixels: Tensor, pass: Pass, block_done: &mut dyn FnMut(&Tensor)) -> Tensor {
            let patches = self.projection.forward(&pixels, pass).flatten(2, 3).transpose(1, 2);
            let token = self.class_token.expand([patches.size()[0], -1, -1], false);
            let mut x = Tensor::cat(&[token, patches], 1) + &self.positions;
            for layer in &self.layers {
                x = layer.forward(&x, pass);
                block_done(&x);
            }
            self.norm.forward(&x.select(1, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::{ModelParams, Name};

    #[test]
    fn tensor_names_and_order_are_those_of_torchvision() {
        let params = ModelParams { name: Name::VitB16, classes: 1000, ..ModelParams::default() };
        let tensors = Architecture::new(&params, 3).unwrap().tensors();
        let text: Vec<String> = tensors.iter().map(|t| format!("{} {:?}", t.name, t.shape)).collect();
        let expected = [
            "class_token [1, 1, 768]",
            "conv_proj.weight [768, 3, 16, 16]",
            "conv_proj.bias [768]",
            "encoder.pos_embedding [1, 197, 768]",
            "encoder.layers.encoder_layer_0.ln_1.weight [768]",
            "encoder.layers.encoder_layer_0.ln_1.bias [768]",
            "encoder.layers.encoder_layer_0.self_attention.in_proj_weight [2304, 768]",
            "encoder.layers.encoder_layer_0.self_attention.in_proj_bias [2304]",
            "encoder.layers.encoder_layer_0.self_attention.out_proj.weight [768, 768]",
            "encoder.layers.encoder_layer_0.self_attention.out_proj.bias [768]",
            "encoder.layers.encoder_layer_0.ln_2.weight [768]",
            "encoder.layers.encoder_layer_0.ln_2.bias [768]",
            "encoder.layers.encoder_layer_0.mlp.0.weight [3072, 768]",
            "encoder.layers.encoder_layer_0.mlp.0.bias [3072]",
            "encoder.layers.encoder_layer_0.mlp.3.weight [768, 3072]",
            "encoder.layers.encoder_layer_0.mlp.3.bias [768]",
        ];
        assert_eq!(text[..16], expected);
        let end = [
            "encoder.ln.weight [768]",
            "encoder.ln.bias [768]",
            "heads.head.weight [1000, 768]",
            "heads.head.bias [1000]",
        ];
        assert_eq!(text[text.len() - 4..], end);
        assert_eq!(text.len(), 4 + 12 * 12 + 4);
    }

    #[test]
    fn sizes_that_do_not_divide_are_named() {
        let fields = |size: VitSize| {
            let mut problems = Vec::new();
            size.check(&mut problems);
            problems.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        let usual = VitSize::default;
        assert_eq!(fields(usual()), Vec::<&str>::new());
        assert_eq!(fields(VitSize { patch: 15, ..usual() }), ["model.vit.image_size"]);
        assert_eq!(fields(VitSize { heads: 7, ..usual() }), ["model.vit.dim"]);
        assert_eq!(fields(VitSize { patch: 0, mlp: u32::MAX, ..usual() }), ["model.vit.patch", "model.vit.mlp"]);
        assert_eq!(fields(VitSize { crop_fraction: 0.0, ..usual() })[0], "model.vit.crop_fraction");
        assert_eq!(fields(VitSize { crop_fraction: 1e-4, ..usual() }), ["model.vit.crop_fraction"]);
    }

    #[test]
    fn the_view_is_that_of_the_published_weights() {
        assert_eq!(VitSize::default().view(), View::Resized { shorter: 256, crop: 224 });
        let plain = VitSize { image_size: 28, crop_fraction: 1.0, ..VitSize::default() };
        assert_eq!(plain.view(), View::Resized { shorter: 28, crop: 28 });
    }

    #[test]
    fn the_published_names_of_the_mlp_are_understood() {
        let old = "encoder.layers.encoder_layer_11.mlp.linear_2.bias";
        assert_eq!(current_name(old), "encoder.layers.encoder_layer_11.mlp.3.bias");
        assert_eq!(current_name("encoder.ln.bias"), "encoder.ln.bias");
    }
}
