//! `model/import`: takes in a state dict from outside, after checking every tensor's name, shape and type.
//!
//! Reads safetensors only. Needs no libtorch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, ModelParams};
use super::state::StateDict;
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
}

const fn one_channel() -> u32 {
    1
}

impl Stage for Import {
    type Params = Params;

    const NAME: &'static str = "model/import";
    const VERSION: u32 = 1;
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
        let state = accept(&bytes, &architecture).map_err(|problem| StageError::input(name, problem))?;
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
fn accept(bytes: &[u8], architecture: &Architecture) -> Result<StateDict, String> {
    // Asked only of what is no safetensors file, whose length field may begin with the same bytes.
    let no_safetensors = |problem| if is_pickle(bytes) { PICKLE.to_owned() } else { problem };
    let mut state = StateDict::from_bytes(bytes).map_err(no_safetensors)?;
    let problems = state.problems(architecture);
    if !problems.is_empty() {
        let count = problems.len();
        let list = problems.join("\n  ");
        let (a, b) = architecture.filters();
        return Err(format!(
            "not the state dict of an AllCNN with {} channels, {a} and {b} filters and {} classes; {count} problem(s):\n  {list}",
            architecture.channels, architecture.classes
        ));
    }
    state.metadata = architecture.metadata();
    Ok(state)
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::Dtype;

    use super::*;
    use crate::model::init;

    fn architecture() -> Architecture {
        Architecture::new(&ModelParams { width: 0.05, ..ModelParams::default() }, 1).unwrap()
    }

    #[test]
    fn a_state_dict_without_metadata_is_taken_in_and_gets_it() {
        let mut state = init::draw(&architecture(), Dtype::F32, 7, "");
        state.metadata.clear();
        let accepted = accept(&state.to_bytes().unwrap(), &architecture()).unwrap();
        assert_eq!(accepted.metadata, architecture().metadata());
        assert_eq!(accepted.tensors, state.tensors);
    }

    #[test]
    fn a_pickle_is_refused_with_the_way_to_convert_it() {
        for pickle in [b"PK\x03\x04rest".as_slice(), b"\x80\x02rest"] {
            let problem = accept(pickle, &architecture()).unwrap_err();
            assert!(problem.contains("pickle can run code; convert it with: python -c"), "{problem}");
        }
    }

    #[test]
    fn every_problem_of_a_wrong_state_dict_is_in_one_message() {
        let wide = Architecture::new(&ModelParams { width: 0.1, ..ModelParams::default() }, 1).unwrap();
        let mut state = init::draw(&wide, Dtype::F32, 7, "");
        state.tensors.remove("conv8.1.bias");
        let problem = accept(&state.to_bytes().unwrap(), &architecture()).unwrap_err();
        assert!(problem.contains("`conv8.1.bias` is missing (shape [9])"), "{problem}");
        assert!(problem.contains("`conv1.0.weight` has shape [9, 1, 3, 3]; [4, 1, 3, 3] was expected"), "{problem}");
    }
}
