//! `data/fashion_mnist`: Fashion-MNIST (Xiao, Rasul, Vollgraf), ten kinds of clothing in the form of MNIST.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::idx_set::IdxSet;
use super::{facts, given, official};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Source, SourcePath, Stage, StageError};

/// Reads the four IDX files of Fashion-MNIST, which have the names of those of MNIST: `train-images-idx3-ubyte`,
/// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each also with `.gz`. Any number of
/// images is read; whether they are the official ones is told in the output `facts`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The folder of the four files; without it, connect the input `files`.
    #[serde(default)]
    pub root: Option<SourcePath>,
    /// Refuse files that are not the official ones of Fashion-MNIST.
    #[serde(default)]
    pub require_official: bool,
}

impl Params {
    fn set(&self) -> IdxSet {
        IdxSet {
            official: &official::FASHION_MNIST,
            npz: None,
            classes: 10,
            size: [28, 28],
            otherwise: "",
            require_official: self.require_official,
        }
    }
}

/// See the file.
pub struct FashionMnist;

impl Stage for FashionMnist {
    type Params = Params;
    const NAME: &'static str = "data/fashion_mnist";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "reads Fashion-MNIST from IDX files";
    const INPUTS: &'static [Port] = &[given::FILES];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file("train", "train.safetensors", "training set: u8 images [N, 1, 28, 28] and labels"),
        OutputPort::file("test", "test.safetensors", "test set, in the same form"),
        facts::OUTPUT,
    ];

    fn check_inputs(params: &Params, connected: &[&str]) -> Vec<(&'static str, String)> {
        given::check("root", params.root.is_some(), connected)
    }

    fn sources(params: &Params) -> Vec<Source> {
        params.set().sources(params.root.as_ref())
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        params.set().run(io)
    }
}
