//! `data/mnist`: MNIST, or another set in its form, from four IDX files, plain or gzipped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::idx_set::IdxSet;
use super::{MAX_CLASSES, facts, given, official};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Source, SourcePath, Stage, StageError};

/// Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`,
/// each also with `.gz`, or with a dot before `idx`. Any number of digits is read; whether they are the official ones
/// is told in the output `facts`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The folder of the four files; without it, connect the input `files`.
    #[serde(default)]
    pub root: Option<SourcePath>,
    /// Number of classes: labels are 0 to this less one.
    #[serde(default = "ten")]
    pub classes: u32,
    /// Height and width that every image must have, in pixels.
    #[serde(default = "mnist_size")]
    pub size: [u32; 2],
    /// Refuse files that are not the official ones of MNIST.
    #[serde(default)]
    pub require_official: bool,
}

fn ten() -> u32 {
    10
}

fn mnist_size() -> [u32; 2] {
    [28, 28]
}

impl Params {
    fn set(&self) -> IdxSet {
        IdxSet {
            official: &official::MNIST,
            npz: None,
            classes: self.classes,
            size: self.size,
            otherwise: "; `classes` and `size` admit other sets of this form",
            require_official: self.require_official,
        }
    }
}

/// See the file.
pub struct Mnist;

impl Stage for Mnist {
    type Params = Params;
    const NAME: &'static str = "data/mnist";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "reads MNIST, or a data set in its form, from IDX files";
    const INPUTS: &'static [Port] = &[given::FILES];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file("train", "train.safetensors", "training set: u8 images [N, 1, H, W] and labels"),
        OutputPort::file("test", "test.safetensors", "test set, in the same form"),
        facts::OUTPUT,
    ];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if params.classes == 0 || i64::from(params.classes) > MAX_CLASSES {
            problems.push(("classes", format!("{} is not between 1 and {MAX_CLASSES}", params.classes)));
        }
        if params.size.contains(&0) {
            problems.push(("size", "height and width must be at least 1".to_owned()));
        }
        problems
    }

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
