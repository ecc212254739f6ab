//! `data/kuzushiji_mnist`: Kuzushiji-MNIST (Clanuwat and others), ten cursive characters in the form of MNIST, from IDX or npz.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::idx_set::IdxSet;
use super::{facts, given, official};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Source, SourcePath, Stage, StageError};

/// Reads the four IDX files of Kuzushiji-MNIST, which have the names of those of MNIST (`train-images-idx3-ubyte`,
/// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, each also with `.gz`), or its npz files
/// (`kmnist-train-imgs.npz`, `kmnist-train-labels.npz`, `kmnist-test-imgs.npz`, `kmnist-test-labels.npz`). Any number of
/// images is read; whether they are the official ones is told in the output `facts`: of the gzipped IDX files only,
/// since of the others no digest is published.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The folder of the four files; without it, connect the input `files`.
    #[serde(default)]
    pub root: Option<SourcePath>,
    /// Refuse files that are not the official ones of Kuzushiji-MNIST.
    #[serde(default)]
    pub require_official: bool,
}

impl Params {
    fn set(&self) -> IdxSet {
        IdxSet {
            official: &official::KUZUSHIJI_MNIST,
            npz: Some([
                "kmnist-train-imgs.npz",
                "kmnist-train-labels.npz",
                "kmnist-test-imgs.npz",
                "kmnist-test-labels.npz",
            ]),
            classes: 10,
            size: [28, 28],
            otherwise: "",
            require_official: self.require_official,
        }
    }
}

/// See the file.
pub struct KuzushijiMnist;

impl Stage for KuzushijiMnist {
    type Params = Params;
    const NAME: &'static str = "data/kuzushiji_mnist";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "reads Kuzushiji-MNIST from IDX or npz files";
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
