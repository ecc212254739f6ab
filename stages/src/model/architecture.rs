//! What an architecture consists of: the names, shapes and roles of its tensors, without any tensor.
//!
//! Each network is a file: [`super::allcnn`], [`super::resnet`], [`super::vit`]. Here is what they have in common: the
//! params, the metadata of a model file, and which images a network takes. All end in one linear layer, the
//! classifier; its input is the embedding.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::resnet::Depth;
use super::view::View;
use super::vit::VitSize;
use super::{allcnn, resnet, vit};
use crate::stage::StageError;
use crate::train::params::Problem;

/// The networks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Name {
    /// Eight convolutions with BatchNorm, global average pool, one linear layer.
    #[default]
    #[serde(rename = "all_cnn")]
    AllCnn,
    /// ResNet with 18 layers and the stem for small images.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// ResNet with 34 layers and the stem for small images.
    #[serde(rename = "resnet34")]
    ResNet34,
    /// ResNet with 50 layers (bottleneck blocks) and the stem for small images.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// Vision transformer, base size, patches of 16x16.
    #[serde(rename = "vit_b_16")]
    VitB16,
}

impl Name {
    const ALL: [Self; 5] = [Self::AllCnn, Self::ResNet18, Self::ResNet34, Self::ResNet50, Self::VitB16];

    /// As params and model files write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllCnn => "all_cnn",
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::VitB16 => "vit_b_16",
        }
    }
}

/// Which of the files of networks describes one, with what it needs besides the params.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    AllCnn,
    ResNet(Depth),
    Vit,
}

impl Name {
    pub(super) const fn family(self) -> Family {
        match self {
            Self::AllCnn => Family::AllCnn,
            Self::ResNet18 => Family::ResNet(Depth::D18),
            Self::ResNet34 => Family::ResNet(Depth::D34),
            Self::ResNet50 => Family::ResNet(Depth::D50),
            Self::VitB16 => Family::Vit,
        }
    }
}

/// The network, as params name it; the number of channels comes from the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelParams {
    /// The architecture.
    #[serde(default)]
    pub name: Name,
    /// Width factor, 1 as published. AllCNN: floor(96 width) and floor(192 width) filters. ResNet: floor(64 width)
    /// planes in `layer1`, twice as many in each further layer. The transformer has `vit` instead.
    #[serde(default = "ModelParams::full_width")]
    pub width: f64,
    /// Number of classes.
    #[serde(default = "ModelParams::ten_classes")]
    pub classes: u32,
    /// Sizes of the transformer, for tests and other variants; left out, they are those of ViT-B/16.
    #[serde(default, skip_serializing_if = "VitSize::is_usual")]
    pub vit: VitSize,
}

impl Default for ModelParams {
    fn default() -> Self {
        Self { name: Name::AllCnn, width: Self::full_width(), classes: Self::ten_classes(), vit: VitSize::default() }
    }
}

impl ModelParams {
    const fn full_width() -> f64 {
        1.0
    }

    const fn ten_classes() -> u32 {
        10
    }

    /// What is out of range.
    pub(crate) fn check(&self, problems: &mut Vec<Problem>) {
        let mut width_from = |smallest: f64, unit: &str| {
            if !(self.width.is_finite() && self.width * smallest >= 1.0 && self.width <= 64.0) {
                let problem = format!("is {}; from 1/{smallest} (one {unit}) to 64 is possible", self.width);
                problems.push(("model.width", problem));
            }
        };
        let is_vit = match self.name.family() {
            Family::AllCnn => {
                width_from(f64::from(allcnn::FILTERS), "filter");
                false
            }
            Family::ResNet(_) => {
                width_from(f64::from(resnet::PLANES), "plane");
                false
            }
            Family::Vit => {
                self.vit.check(problems);
                true
            }
        };
        if is_vit && !(1.0..=1.0).contains(&self.width) {
            problems.push(("model.width", format!("is {}; the sizes of vit_b_16 are in `model.vit`", self.width)));
        }
        if !is_vit && !self.vit.is_usual() {
            problems.push(("model.vit", format!("is for vit_b_16; the network is {}", self.name.as_str())));
        }
        if self.classes < 2 {
            problems.push(("model.classes", format!("is {}; at least 2 are needed", self.classes)));
        }
    }
}

/// A network's architecture in full: decides every tensor's name and shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Which network.
    pub name: Name,
    /// Width factor of AllCNN and ResNet.
    pub width: f64,
    /// Channels of the images: 1 or 3.
    pub channels: u32,
    /// Number of classes.
    pub classes: u32,
    /// Sizes of the transformer.
    pub vit: VitSize,
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weight of a convolution or linear layer.
    Weight,
    /// Bias of a convolution or linear layer.
    Bias,
    /// Scale of BatchNorm or LayerNorm.
    Scale,
    /// Shift of BatchNorm or LayerNorm.
    Shift,
    /// Vectors that stand beside the images' own or are added to them: the class token, the positions.
    Embedding,
    /// BatchNorm's running mean.
    RunningMean,
    /// BatchNorm's running variance.
    RunningVariance,
    /// BatchNorm's count of batches seen in train mode (i64).
    BatchesTracked,
}

impl Role {
    /// Whether training changes it by its gradient; the others are BatchNorm's buffers.
    #[must_use]
    pub const fn is_trained(self) -> bool {
        matches!(self, Self::Weight | Self::Bias | Self::Scale | Self::Shift | Self::Embedding)
    }
}

/// What a tensor's first values are ([`super::init`] draws them).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// All the same.
    Constant(f64),
    /// Uniform from -bound to bound.
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        deviation: f64,
    },
    /// Normal with mean 0, drawn again while it is beyond -2 or 2 (these bounds, whatever the deviation).
    TruncatedNormal {
        /// Standard deviation, before it is cut.
        deviation: f64,
    },
}

impl First {
    /// PyTorch's default for weight and bias of convolutions and linear layers: Kaiming's uniform with
    /// a = sqrt(5), which is uniform in +-1 / sqrt(inputs of one output value).
    #[must_use]
    pub fn usual(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }

    /// Xavier's uniform (Glorot and Bengio 2010): uniform in +-sqrt(6 / (inputs + outputs)).
    #[must_use]
    pub fn xavier(fan_in: usize, fan_out: usize) -> Self {
        Self::Uniform { bound: (6.0 / (fan_in + fan_out) as f64).sqrt() }
    }
}

/// A tensor of a state dict.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// PyTorch's name.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// Its first values.
    pub first: First,
}

impl TensorSpec {
    pub(super) fn new(name: impl Into<String>, shape: &[usize], role: Role, first: First) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), role, first }
    }

    /// The five tensors of a BatchNorm layer.
    pub(super) fn batch_norm(layer: &str, channels: usize) -> [Self; 5] {
        let [zero, one] = [0.0, 1.0].map(First::Constant);
        [
            Self::new(format!("{layer}.weight"), &[channels], Role::Scale, one),
            Self::new(format!("{layer}.bias"), &[channels], Role::Shift, zero),
            Self::new(format!("{layer}.running_mean"), &[channels], Role::RunningMean, zero),
            Self::new(format!("{layer}.running_var"), &[channels], Role::RunningVariance, one),
            Self::new(format!("{layer}.num_batches_tracked"), &[], Role::BatchesTracked, zero),
        ]
    }

    /// Weight and bias of a linear layer.
    pub(super) fn linear(layer: &str, [outputs, inputs]: [usize; 2], [weight, bias]: [First; 2]) -> [Self; 2] {
        [
            Self::new(format!("{layer}.weight"), &[outputs, inputs], Role::Weight, weight),
            Self::new(format!("{layer}.bias"), &[outputs], Role::Bias, bias),
        ]
    }
}

impl Architecture {
    /// The architecture of params, for images of `channels`.
    ///
    /// # Errors
    /// When there are neither 1 nor 3 channels.
    pub fn new(params: &ModelParams, channels: u32) -> Result<Self, StageError> {
        let ModelParams { name, width, classes, vit } = params.clone();
        if channels != 1 && channels != 3 {
            let name = name.as_str();
            return Err(StageError::failed(format!("the images have {channels} channels; {name} takes 1 or 3")));
        }
        Ok(Self { name, width, channels, classes, vit })
    }

    /// Every tensor, in the order of PyTorch's `state_dict()`.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut all = match self.name.family() {
            Family::AllCnn => allcnn::tensors(self),
            Family::ResNet(depth) => resnet::tensors(self, depth),
            Family::Vit => vit::tensors(self),
        };
        let fresh = match self.name.family() {
            Family::Vit => [First::Constant(0.0); 2],
            Family::AllCnn | Family::ResNet(_) => [First::usual(self.embedding()); 2],
        };
        all.extend(self.classifier_specs(fresh));
        all
    }

    /// The classifier with first values as a new `nn.Linear` of PyTorch has them, for a head of other classes.
    #[must_use]
    pub fn new_classifier(&self) -> [TensorSpec; 2] {
        self.classifier_specs([First::usual(self.embedding()); 2])
    }

    fn classifier_specs(&self, first: [First; 2]) -> [TensorSpec; 2] {
        let [weight, _] = self.classifier();
        let layer = weight.strip_suffix(".weight").unwrap_or(weight);
        TensorSpec::linear(layer, [self.classes as usize, self.embedding()], first)
    }

    /// Names of the classifier's weight, [classes, embedding], and bias, [classes].
    #[must_use]
    pub const fn classifier(&self) -> [&'static str; 2] {
        match self.name.family() {
            Family::AllCnn => ["classifier.0.weight", "classifier.0.bias"],
            Family::ResNet(_) => ["fc.weight", "fc.bias"],
            Family::Vit => ["heads.head.weight", "heads.head.bias"],
        }
    }

    /// Length of the embedding, which enters the classifier.
    #[must_use]
    pub fn embedding(&self) -> usize {
        match self.name.family() {
            Family::AllCnn => allcnn::filters(self).1,
            Family::ResNet(depth) => resnet::embedding(self, depth),
            Family::Vit => self.vit.dim as usize,
        }
    }

    /// Names of the blocks whose activations can be looked at, from the image on.
    #[must_use]
    pub fn blocks(&self) -> Vec<String> {
        match self.name.family() {
            Family::AllCnn => (1..=8).map(|block| format!("conv{block}")).collect(),
            Family::ResNet(_) => resnet::BLOCKS.map(str::to_owned).into(),
            Family::Vit => (0..self.vit.layers).map(|layer| format!("encoder_layer_{layer}")).collect(),
        }
    }

    /// How stored images of this size become the network's input.
    ///
    /// # Errors
    /// When the network takes none of that size; the text says which it takes.
    pub fn view(&self, height: usize, width: usize) -> Result<View, String> {
        match self.name.family() {
            Family::AllCnn if [(28, 28), (32, 32)].contains(&(height, width)) => Ok(View::AsStored),
            Family::AllCnn => Err("AllCNN takes 28x28 and 32x32".to_owned()),
            Family::ResNet(_) if height.min(width) >= resnet::SMALLEST => Ok(View::AsStored),
            Family::ResNet(_) => Err(format!("{} takes {1}x{1} and larger", self.name.as_str(), resnet::SMALLEST)),
            Family::Vit => Ok(self.vit.view()),
        }
    }

    /// The entries of a model file's `__metadata__`.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let mut entries = vec![
            ("architecture", self.name.as_str().to_owned()),
            ("channels", self.channels.to_string()),
            ("classes", self.classes.to_string()),
        ];
        match self.name.family() {
            Family::AllCnn | Family::ResNet(_) => entries.push(("width", self.width.to_string())),
            Family::Vit => entries.extend(self.vit.entries()),
        }
        entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads `__metadata__`.
    ///
    /// # Errors
    /// When an entry is missing or not understood; the text says which.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let name: String = entry(metadata, "architecture")?;
        let name = Name::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            let known = Name::ALL.map(Name::as_str).join("`, `");
            format!("its architecture is `{name}`; known are `{known}`")
        })?;
        let mut params = ModelParams { name, classes: entry(metadata, "classes")?, ..ModelParams::default() };
        match name.family() {
            Family::AllCnn | Family::ResNet(_) => params.width = entry(metadata, "width")?,
            Family::Vit => params.vit = VitSize::from_metadata(metadata)?,
        }
        let mut problems = Vec::new();
        params.check(&mut problems);
        if let Some((field, problem)) = problems.first() {
            return Err(format!("its metadata is not usable: {field} {problem}"));
        }
        Self::new(&params, entry(metadata, "channels")?).map_err(|e| e.to_string())
    }

    /// What it is, for messages: `AllCNN with 3 channels, 96 and 192 filters and 10 classes`.
    #[must_use]
    pub fn describe(&self) -> String {
        let sizes = match self.name.family() {
            Family::AllCnn => {
                let (a, b) = allcnn::filters(self);
                format!("{a} and {b} filters")
            }
            Family::ResNet(_) => format!("{} planes in layer1", resnet::planes(self)),
            Family::Vit => self.vit.describe(),
        };
        let name = if self.name == Name::AllCnn { "AllCNN" } else { self.name.as_str() };
        format!("{name} with {} channel(s), {sizes} and {} classes", self.channels, self.classes)
    }
}

/// One entry of `__metadata__`.
pub(super) fn entry<T: std::str::FromStr>(metadata: &BTreeMap<String, String>, key: &str) -> Result<T, String> {
    let text = metadata.get(key).ok_or_else(|| format!("its metadata has no `{key}`"))?;
    text.parse().map_err(|_| format!("its metadata entry `{key}` is `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn architecture(name: Name, classes: u32) -> Architecture {
        Architecture::new(&ModelParams { name, classes, ..ModelParams::default() }, 3).unwrap()
    }

    /// Weights that are trained, buffers not counted, as `sum(p.numel() for p in model.parameters())`.
    fn parameters(architecture: &Architecture) -> usize {
        let trained = architecture.tensors().into_iter().filter(|spec| spec.role.is_trained());
        trained.map(|spec| spec.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn full_networks_have_as_many_parameters_as_torchvision_counts() {
        assert_eq!(parameters(&architecture(Name::ResNet18, 10)), 11_173_962);
        assert_eq!(parameters(&architecture(Name::ResNet34, 10)), 21_282_122);
        assert_eq!(parameters(&architecture(Name::ResNet50, 10)), 23_520_842);
        assert_eq!(parameters(&architecture(Name::VitB16, 1000)), 86_567_656);
    }

    #[test]
    fn a_name_in_params_is_that_of_the_model_file() {
        for name in Name::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), serde_json::json!(name.as_str()));
            assert_eq!(architecture(name, 10).metadata()["architecture"], name.as_str());
        }
    }

    #[test]
    fn metadata_survives_a_round_trip_and_a_damaged_entry_is_named() {
        for name in Name::ALL {
            let whole = architecture(name, 7);
            let mut metadata = whole.metadata();
            assert_eq!(Architecture::from_metadata(&metadata), Ok(whole));
            metadata.insert("classes".to_owned(), "many".to_owned());
            assert_eq!(
                Architecture::from_metadata(&metadata),
                Err("its metadata entry `classes` is `many`".to_owned())
            );
        }
        let params = ModelParams { width: 0.125, ..ModelParams::default() };
        let narrow = Architecture::new(&params, 1).unwrap();
        let mut metadata = narrow.metadata();
        assert_eq!(Architecture::from_metadata(&metadata), Ok(narrow));
        metadata.insert("architecture".to_owned(), "vgg".to_owned());
        let problem = Architecture::from_metadata(&metadata).unwrap_err();
        let known = "`all_cnn`, `resnet18`, `resnet34`, `resnet50`, `vit_b_16`";
        assert_eq!(problem, format!("its architecture is `vgg`; known are {known}"));
    }

    #[test]
    fn the_classifier_ends_every_state_dict_and_takes_the_embedding() {
        for name in Name::ALL {
            let architecture = architecture(name, 7);
            let tensors = architecture.tensors();
            let [weight, bias] = &tensors[tensors.len() - 2..] else { panic!("two tensors") };
            assert_eq!([weight.name.as_str(), &bias.name], architecture.classifier());
            assert_eq!(weight.shape, [7, architecture.embedding()]);
            assert_eq!(bias.shape, [7]);
        }
    }

    #[test]
    fn sizes_that_the_network_does_not_have_are_refused() {
        let problems = |params: serde_json::Value| -> Vec<&str> {
            let params: ModelParams = serde_json::from_value(params).unwrap();
            let mut problems = Vec::new();
            params.check(&mut problems);
            problems.into_iter().map(|(field, _)| field).collect()
        };
        let empty: [&str; 0] = [];
        assert_eq!(problems(serde_json::json!({"name": "resnet50", "width": 0.015_625})), empty);
        assert_eq!(problems(serde_json::json!({"name": "resnet50", "width": 0.015})), ["model.width"]);
        assert_eq!(problems(serde_json::json!({"name": "vit_b_16", "width": 0.5})), ["model.width"]);
        assert_eq!(problems(serde_json::json!({"name": "resnet18", "vit": {"dim": 24}})), ["model.vit"]);
        assert_eq!(problems(serde_json::json!({"name": "resnet18", "vit": {}})), empty);
    }

    #[test]
    fn each_network_says_which_images_it_takes() {
        let view = |name, height, width| architecture(name, 10).view(height, width);
        assert_eq!(view(Name::AllCnn, 28, 28), Ok(View::AsStored));
        assert_eq!(view(Name::AllCnn, 30, 30), Err("AllCNN takes 28x28 and 32x32".to_owned()));
        assert_eq!(view(Name::ResNet18, 64, 48), Ok(View::AsStored));
        assert_eq!(view(Name::ResNet18, 64, 7), Err("resnet18 takes 8x8 and larger".to_owned()));
        assert_eq!(view(Name::VitB16, 32, 32), Ok(View::Resized { shorter: 256, crop: 224 }));
    }
}
