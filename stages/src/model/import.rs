//! `model/import`: takes in a state dict from outside, after checking every tensor's name, shape and type.
//!
//! Reads safetensors only. Needs no libtorch. A classifier for other classes can be replaced by a fresh one, as
//! one does with weights from ImageNet.

use safetensors::tensor::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, ModelParams, Name};
use super::init;
use super::resnet::foreign_stem;
use super::state::StateDict;
use super::vit::current_name;
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Source, SourcePath, Stage, StageError};
use crate::train::params::Problem;

/// The stage `model/import`.
pub struct Import;

/// Where the weights are, and which network they are of.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A safetensors file with the state dict.
    pub path: SourcePath,
    /// The network that the weights are of.
    #[serde(default)]
    pub model: ModelParams,
    /// Channels of the images that it takes: 1 or 3.
    #[serde(default = "one_channel")]
    pub channels: u32,
    /// With a seed here the file's classifier, of however many classes, is left out, and a fresh one for
    /// `model.classes` is drawn by it, as PyTorch's `nn.Linear` begins: uniform in +-1/sqrt(inputs). Without it the
    /// file's classifier is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_head_seed: Option<u64>,
}

const fn one_channel() -> u32 {
    1
}

impl Stage for Import {
    type Params = Params;

    const NAME: &'static str = "model/import";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Takes in a network's weights from a safetensors file (a PyTorch state dict).";
    const INPUTS: &'static [Port] = &[];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = Vec::new();
        params.model.check(&mut problems);
        if params.channels != 1 && params.channels != 3 {
            problems.push(("channels", format!("is {}; 1 or 3 is possible", params.channels)));
        }
        problems
    }

    fn sources(params: &Params) -> Vec<Source> {
        vec![Source {
            name: "path",
            candidates: vec![params.path.0.clone()],
            hint: "put a safetensors file with the network's state dict there".to_owned(),
        }]
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let path = io.source("path")?;
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| StageError::io(format!("reading {name}"), e))?;
        let architecture = Architecture::new(&params.model, params.channels)?;
        let state =
            accept(&bytes, &architecture, params.new_head_seed).map_err(|problem| StageError::input(name, problem))?;
        io.write("model", &state.to_bytes()?)
    }
}

const PICKLE: &str = "this is a pickle (torch.save), and a pickle can run code; convert it with: python -c \"import \
    sys, torch; from safetensors.torch import save_file; save_file({k: v.contiguous() for k, v in \
    torch.load(sys.argv[1], map_location='cpu', weights_only=True).items()}, sys.argv[2])\" model.pt model.safetensors";

/// torch.save writes a zip file; older versions wrote a bare pickle, which begins with 0x80 and its protocol.
fn is_pickle(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 0..=5, ..])
}

/// Checks the bytes of a file and gives its state dict with this program's metadata.
fn accept(bytes: &[u8], architecture: &Architecture, new_head_seed: Option<u64>) -> Result<StateDict, String> {
    // Asked only of what is no safetensors file, whose length field may begin with the same bytes.
    let no_safetensors = |problem| if is_pickle(bytes) { PICKLE.to_owned() } else { problem };
    let mut state = StateDict::from_bytes(bytes).map_err(no_safetensors)?;
    if architecture.name == Name::VitB16 {
        state.tensors = state.tensors.into_iter().map(|(name, raw)| (current_name(&name), raw)).collect();
    }
    if let Some(seed) = new_head_seed {
        replace_classifier(&mut state, architecture, seed);
    }
    let problems = state.problems(architecture);
    if !problems.is_empty() {
        let resnet = matches!(architecture.name, Name::ResNet18 | Name::ResNet34 | Name::ResNet50);
        let stem = state.tensors.get("conv1.weight").filter(|_| resnet);
        if let Some(problem) = stem.and_then(|stem| foreign_stem(&stem.shape)) {
            return Err(problem);
        }
        let (what, count) = (architecture.describe(), problems.len());
        let list = problems.join("\n  ");
        return Err(format!("not the state dict of: {what}; {count} problem(s):\n  {list}"));
    }
    state.metadata = architecture.metadata();
    Ok(state)
}

/// Puts a fresh classifier into a state dict, in the type of its other weights.
fn replace_classifier(state: &mut StateDict, architecture: &Architecture, seed: u64) {
    for name in architecture.classifier() {
        state.tensors.remove(name);
    }
    let double = state.tensors.values().any(|raw| raw.dtype == Dtype::F64);
    let dtype = if double { Dtype::F64 } else { Dtype::F32 };
    for spec in architecture.new_classifier() {
        let raw = init::draw_tensor(&spec, dtype, seed, "import/");
        state.tensors.insert(spec.name, raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn architecture() -> Architecture {
        Architecture::new(&ModelParams { width: 0.05, ..ModelParams::default() }, 1).unwrap()
    }

    fn of(params: serde_json::Value) -> Architecture {
        Architecture::new(&serde_json::from_value(params).unwrap(), 3).unwrap()
    }

    /// A small transformer of `classes`.
    fn vit(classes: u32) -> Architecture {
        let size = serde_json::json!({"image_size": 8, "patch": 4, "layers": 1, "heads": 2, "dim": 4, "mlp": 8});
        of(serde_json::json!({"name": "vit_b_16", "classes": classes, "vit": size}))
    }

    #[test]
    fn a_state_dict_without_metadata_is_taken_in_and_gets_it() {
        let mut state = init::draw(&architecture(), Dtype::F32, 7, "");
        state.metadata.clear();
        let accepted = accept(&state.to_bytes().unwrap(), &architecture(), None).unwrap();
        assert_eq!(accepted.metadata, architecture().metadata());
        assert_eq!(accepted.tensors, state.tensors);
    }

    #[test]
    fn a_pickle_is_refused_with_the_way_to_convert_it() {
        for pickle in [b"PK\x03\x04rest".as_slice(), b"\x80\x02rest"] {
            let problem = accept(pickle, &architecture(), None).unwrap_err();
            assert!(problem.contains("pickle can run code; convert it with: python -c"), "{problem}");
        }
    }

    #[test]
    fn every_problem_of_a_wrong_state_dict_is_in_one_message() {
        let wide = Architecture::new(&ModelParams { width: 0.1, ..ModelParams::default() }, 1).unwrap();
        let mut state = init::draw(&wide, Dtype::F32, 7, "");
        state.tensors.remove("conv8.1.bias");
        let problem = accept(&state.to_bytes().unwrap(), &architecture(), None).unwrap_err();
        let start = "not the state dict of: AllCNN with 1 channel(s), 4 and 9 filters and 10 classes; 41 problem(s):";
        assert!(problem.starts_with(start), "{problem}");
        assert!(problem.contains("`conv8.1.bias` is missing (shape [9])"), "{problem}");
        assert!(problem.contains("`conv1.0.weight` has shape [9, 1, 3, 3]; [4, 1, 3, 3] was expected"), "{problem}");
    }

    #[test]
    fn a_new_head_replaces_that_of_other_classes_and_nothing_else() {
        let state = init::draw(&vit(1000), Dtype::F32, 7, "");
        let bytes = state.to_bytes().unwrap();
        let problem = accept(&bytes, &vit(10), None).unwrap_err();
        assert!(problem.contains("`heads.head.weight` has shape [1000, 4]; [10, 4] was expected"), "{problem}");
        let accepted = |seed| accept(&bytes, &vit(10), Some(seed)).unwrap();
        let taken = accepted(1);
        let is_head = |name: &String| name.starts_with("heads.head.");
        for (name, raw) in taken.tensors.iter().filter(|(name, _)| !is_head(name)) {
            assert_eq!(raw, &state.tensors[name], "{name}");
        }
        let weight = &taken.tensors["heads.head.weight"];
        assert_eq!((weight.shape.as_slice(), weight.dtype), ([10, 4].as_slice(), Dtype::F32));
        let values: Vec<f32> = weight.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert!(values.iter().all(|v| v.abs() <= 0.5) && values.iter().any(|v| v.abs() > 0.25), "{values:?}");
        assert_eq!(taken.tensors["heads.head.bias"].shape, [10]);
        assert_eq!(accepted(1), taken);
        assert_ne!(accepted(2), taken);
    }

    #[test]
    fn published_transformer_weights_with_the_old_names_are_taken_in() {
        let state = init::draw(&vit(10), Dtype::F32, 7, "");
        let old = |name: &String| name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2");
        let renamed = state.tensors.iter().map(|(name, raw)| (old(name), raw.clone())).collect();
        let published = StateDict { tensors: renamed, metadata: std::collections::BTreeMap::default() };
        assert!(published.tensors.contains_key("encoder.layers.encoder_layer_0.mlp.linear_2.bias"));
        assert_eq!(accept(&published.to_bytes().unwrap(), &vit(10), None).unwrap(), state);
    }

    #[test]
    fn weights_with_the_stem_of_imagenet_are_refused_in_one_sentence() {
        let small = of(serde_json::json!({"name": "resnet18", "width": 0.05}));
        let mut state = init::draw(&small, Dtype::F32, 7, "");
        let stem = state.tensors.get_mut("conv1.weight").unwrap();
        (stem.shape, stem.bytes) = (vec![3, 3, 7, 7], vec![0; 4 * 3 * 3 * 49]);
        let problem = accept(&state.to_bytes().unwrap(), &small, None).unwrap_err();
        assert!(problem.starts_with("these are the weights of an ImageNet ResNet: its stem is a 7x7"), "{problem}");
    }
}
