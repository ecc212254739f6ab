//! `data/mnist`: MNIST, or a set in its form (Fashion, Kuzushiji), from four IDX files, plain or gzipped.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_CLASSES, idx, in_file_order, write_train_and_test};
use crate::dataset::{Dataset, Pixels};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Source, SourcePath, Stage, StageError};

/// Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`
/// from one folder, each also with `.gz`, or with a dot before `idx`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The folder of the four files.
    pub root: SourcePath,
    /// Number of classes: labels are 0 to this less one.
    #[serde(default = "ten")]
    pub classes: u32,
    /// Height and width that every image must have, in pixels.
    #[serde(default = "mnist_size")]
    pub size: [u32; 2],
}

fn ten() -> u32 {
    10
}

fn mnist_size() -> [u32; 2] {
    [28, 28]
}

/// See the file.
pub struct Mnist;

impl Stage for Mnist {
    type Params = Params;
    const NAME: &'static str = "data/mnist";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "reads MNIST, or a data set in its form, from IDX files";
    const INPUTS: &'static [Port] = &[];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file("train", "train.safetensors", "training set: u8 images [N, 1, H, W] and labels"),
        OutputPort::file("test", "test.safetensors", "test set, in the same form"),
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

    fn sources(params: &Params) -> Vec<Source> {
        [
            ("train-images", "train-images", "idx3-ubyte"),
            ("train-labels", "train-labels", "idx1-ubyte"),
            ("test-images", "t10k-images", "idx3-ubyte"),
            ("test-labels", "t10k-labels", "idx1-ubyte"),
        ]
        .into_iter()
        .map(|(name, stem, kind)| Source {
            name,
            candidates: [format!("{stem}-{kind}.gz"), format!("{stem}-{kind}"), format!("{stem}.{kind}")]
                .into_iter()
                .map(|file| params.root.0.join(file))
                .collect(),
            hint: format!("put {stem}-{kind} (or {stem}-{kind}.gz) of MNIST into {}", params.root.0.display()),
        })
        .collect()
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let train = read_pair(&params, io.source("train-images")?, io.source("train-labels")?)?;
        io.check_cancelled()?;
        let test = read_pair(&params, io.source("test-images")?, io.source("test-labels")?)?;
        io.check_cancelled()?;
        write_train_and_test(io, &train, &test)
    }
}

fn read_pair(params: &Params, images_path: &Path, labels_path: &Path) -> Result<Dataset, StageError> {
    let bad = |path: &Path, problem: String| Err(StageError::input(path.display().to_string(), problem));
    let images = idx::read(images_path, 3, "images")?;
    let labels = idx::read(labels_path, 1, "labels")?;
    let [count, height, width] = images.sizes[..] else { unreachable!("three dimensions were asked for") };
    let [expected_height, expected_width] = params.size.map(|size| size as usize);
    if (height, width) != (expected_height, expected_width) {
        return bad(
            images_path,
            format!("the images are {height} x {width} pixels; {expected_height} x {expected_width} was expected"),
        );
    }
    if count == 0 {
        return bad(images_path, "the file holds no image".to_owned());
    }
    if labels.bytes.len() != count {
        let found = labels.bytes.len();
        return bad(labels_path, format!("{found} labels for the {count} images of {}", images_path.display()));
    }
    if let Some(at) = labels.bytes.iter().position(|&label| u32::from(label) >= params.classes) {
        let (label, highest) = (labels.bytes[at], params.classes - 1);
        return bad(labels_path, format!("label {label} of sample {at} is out of range; 0 to {highest} was expected"));
    }
    let labels = labels.bytes.into_iter().map(i64::from).collect();
    Ok(in_file_order([count, 1, height, width], Pixels::U8(images.bytes), labels))
}
