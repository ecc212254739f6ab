//! What an architecture consists of: the names, shapes and roles of its tensors, without any tensor.
//!
//! AllCNN is that of the public PRU repository (after Springenberg et al. 2015): eight convolutions without bias,
//! each followed by BatchNorm and ReLU, a global average pool, one linear layer. Tensor names are those of its
//! PyTorch state dict.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::StageError;
use crate::train::params::Problem;

/// The networks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// Eight convolutions with BatchNorm, global average pool, one linear layer.
    #[default]
    AllCnn,
}

/// The network, as params name it; the number of channels comes from the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelParams {
    /// The architecture.
    #[serde(default)]
    pub name: Name,
    /// Width factor: floor(96 width) and floor(192 width) filters; the paper's is 1.
    #[serde(default = "ModelParams::full_width")]
    pub width: f64,
    /// Number of classes.
    #[serde(default = "ModelParams::ten_classes")]
    pub classes: u32,
}

impl Default for ModelParams {
    fn default() -> Self {
        Self { name: Name::AllCnn, width: Self::full_width(), classes: Self::ten_classes() }
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
        if !(self.width.is_finite() && self.width * 96.0 >= 1.0 && self.width <= 64.0) {
            problems.push(("model.width", format!("is {}; from 1/96 (one filter) to 64 is possible", self.width)));
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
    /// Width factor.
    pub width: f64,
    /// Channels of the images: 1 or 3.
    pub channels: u32,
    /// Number of classes.
    pub classes: u32,
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weight of a convolution or linear layer.
    Weight {
        /// Inputs of one output value.
        fan_in: u64,
    },
    /// Bias of a linear layer.
    Bias {
        /// Inputs of one output value.
        fan_in: u64,
    },
    /// BatchNorm's scale.
    Scale,
    /// BatchNorm's shift.
    Shift,
    /// BatchNorm's running mean.
    RunningMean,
    /// BatchNorm's running variance.
    RunningVariance,
    /// BatchNorm's count of batches seen in train mode (i64).
    BatchesTracked,
}

/// A tensor of a state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// PyTorch's name.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

/// One convolution of AllCNN with its BatchNorm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Side of the square kernel; padding is (kernel - 1) / 2.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
}

impl Architecture {
    /// The architecture of params, for images of `channels`.
    ///
    /// # Errors
    /// When there are neither 1 nor 3 channels.
    pub fn new(params: &ModelParams, channels: u32) -> Result<Self, StageError> {
        if channels != 1 && channels != 3 {
            return Err(StageError::failed(format!("the images have {channels} channels; AllCNN takes 1 or 3")));
        }
        Ok(Self { name: params.name, width: params.width, channels, classes: params.classes })
    }

    /// Numbers of filters: floor(96 width), floor(192 width).
    #[must_use]
    pub fn filters(&self) -> (usize, usize) {
        ((96.0 * self.width) as usize, (192.0 * self.width) as usize)
    }

    /// The convolutions, `conv1` to `conv8`.
    #[must_use]
    pub fn convolutions(&self) -> [Convolution; 8] {
        let (a, b) = self.filters();
        let conv = |inputs, outputs, kernel, stride| Convolution { inputs, outputs, kernel, stride };
        [
            conv(self.channels as usize, a, 3, 1),
            conv(a, a, 3, 1),
            conv(a, b, 3, 2),
            conv(b, b, 3, 1),
            conv(b, b, 3, 1),
            conv(b, b, 3, 2),
            conv(b, b, 3, 1),
            conv(b, b, 1, 1),
        ]
    }

    /// Every tensor, in the order of PyTorch's `state_dict()`.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let spec = |name: String, shape: &[usize], role| TensorSpec { name, shape: shape.to_vec(), role };
        let mut all = Vec::new();
        for (i, conv) in self.convolutions().iter().enumerate() {
            let (block, out) = (format!("conv{}", i + 1), [conv.outputs]);
            let fan_in = (conv.inputs * conv.kernel * conv.kernel) as u64;
            let weight = [conv.outputs, conv.inputs, conv.kernel, conv.kernel];
            all.push(spec(format!("{block}.0.weight"), &weight, Role::Weight { fan_in }));
            all.push(spec(format!("{block}.1.weight"), &out, Role::Scale));
            all.push(spec(format!("{block}.1.bias"), &out, Role::Shift));
            all.push(spec(format!("{block}.1.running_mean"), &out, Role::RunningMean));
            all.push(spec(format!("{block}.1.running_var"), &out, Role::RunningVariance));
            all.push(spec(format!("{block}.1.num_batches_tracked"), &[], Role::BatchesTracked));
        }
        let (embedding, classes) = (self.filters().1, self.classes as usize);
        let fan_in = embedding as u64;
        all.push(spec("classifier.0.weight".to_owned(), &[classes, embedding], Role::Weight { fan_in }));
        all.push(spec("classifier.0.bias".to_owned(), &[classes], Role::Bias { fan_in }));
        all
    }

    /// The names of the classifier's weight, [classes, embedding], and bias, [classes].
    #[must_use]
    pub fn classifier(&self) -> [&'static str; 2] {
        match self.name {
            Name::AllCnn => ["classifier.0.weight", "classifier.0.bias"],
        }
    }

    /// The entries of a model file's `__metadata__`.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let Name::AllCnn = self.name;
        [
            ("architecture", "all_cnn".to_owned()),
            ("channels", self.channels.to_string()),
            ("classes", self.classes.to_string()),
            ("width", self.width.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Reads `__metadata__`.
    ///
    /// # Errors
    /// When an entry is missing or not understood; the text says which.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        fn entry<T: std::str::FromStr>(metadata: &BTreeMap<String, String>, key: &str) -> Result<T, String> {
            let text = metadata.get(key).ok_or_else(|| format!("its metadata has no `{key}`"))?;
            text.parse().map_err(|_| format!("its metadata entry `{key}` is `{text}`"))
        }
        let name: String = entry(metadata, "architecture")?;
        if name != "all_cnn" {
            return Err(format!("its architecture is `{name}`; `all_cnn` is the one known here"));
        }
        let params =
            ModelParams { name: Name::AllCnn, width: entry(metadata, "width")?, classes: entry(metadata, "classes")? };
        let mut problems = Vec::new();
        params.check(&mut problems);
        if let Some((field, problem)) = problems.first() {
            return Err(format!("its metadata is not usable: {field} {problem}"));
        }
        Self::new(&params, entry(metadata, "channels")?).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_cnn(width: f64, channels: u32) -> Architecture {
        Architecture { name: Name::AllCnn, width, channels, classes: 10 }
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
    fn the_classifier_has_a_row_and_a_bias_a_class() {
        let architecture = all_cnn(0.125, 1);
        let tensors = architecture.tensors();
        let shape = |name: &str| tensors.iter().find(|t| t.name == name).map(|t| t.shape.clone());
        assert_eq!(architecture.classifier().map(shape), [Some(vec![10, 24]), Some(vec![10])]);
    }

    #[test]
    fn width_rounds_filters_down() {
        assert_eq!(all_cnn(0.125, 1).filters(), (12, 24));
        assert_eq!(all_cnn(0.07, 1).filters(), (6, 13));
    }

    #[test]
    fn metadata_survives_a_round_trip_and_a_damaged_entry_is_named() {
        let architecture = all_cnn(0.125, 1);
        let mut metadata = architecture.metadata();
        assert_eq!(Architecture::from_metadata(&metadata), Ok(architecture));
        metadata.insert("width".to_owned(), "wide".to_owned());
        assert_eq!(Architecture::from_metadata(&metadata), Err("its metadata entry `width` is `wide`".to_owned()));
    }
}
