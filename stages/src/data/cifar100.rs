//! `data/cifar100`: CIFAR-100 (Krizhevsky 2009) from its binary version, with the hundred fine classes as labels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cifar::Cifar;
use super::{facts, given, official};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Source, SourcePath, Stage, StageError};

/// Reads `train.bin` and `test.bin`: a coarse and a fine label byte and 3,072 bytes of pixels an image; the fine labels
/// are taken. Any number of images is read; whether they are the official ones is told in the output `facts`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The archive `cifar-100-binary.tar.gz`, the folder `cifar-100-binary` that is in it, or a folder that holds either;
    /// without it, connect the input `files`.
    #[serde(default)]
    pub path: Option<SourcePath>,
    /// Refuse files that are not the official ones of CIFAR-100.
    #[serde(default)]
    pub require_official: bool,
}

impl Params {
    fn set(&self) -> Cifar {
        Cifar {
            official: &official::CIFAR100,
            folder: "cifar-100-binary",
            labels: &[("coarse label", 20), ("fine label", 100)],
            require_official: self.require_official,
        }
    }
}

/// See the file.
pub struct Cifar100;

impl Stage for Cifar100 {
    type Params = Params;
    const NAME: &'static str = "data/cifar100";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "reads the binary version of CIFAR-100";
    const INPUTS: &'static [Port] = &[given::FILES];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file("train", "train.safetensors", "training set: u8 images [N, 3, 32, 32] and labels"),
        OutputPort::file("test", "test.safetensors", "test set, in the same form"),
        facts::OUTPUT,
    ];

    fn check_inputs(params: &Params, connected: &[&str]) -> Vec<(&'static str, String)> {
        given::check("path", params.path.is_some(), connected)
    }

    fn sources(params: &Params) -> Vec<Source> {
        params.set().sources(params.path.as_ref())
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        params.set().run(io)
    }
}
