//! `data/import`: a data set of one's own, from safetensors files that any framework writes.
//!
//! Files that hold code or objects (pickles) are refused with the one line that converts them.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{self, Facts};
use super::{MAX_CLASSES, in_file_order, write_train_and_test};
use crate::dataset::{Dataset, Pixels};
use crate::io::StageIo;
use crate::rng;
use crate::stage::{OutputPort, Port, Source, SourcePath, Stage, StageError};

/// Reads `images` (f32, or u8 that means value/255; [N, C, H, W]) and `labels` (i64 [N], from 0). The test set is
/// either a second file (`test_path`) or a part of the first, drawn at random (`test_fraction` and `seed`).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The safetensors file of the training set, or of everything.
    pub path: SourcePath,
    /// The safetensors file of the test set; without it, give `test_fraction`.
    #[serde(default)]
    pub test_path: Option<SourcePath>,
    /// The part of `path` that becomes the test set, above 0 and below 1; without it, give `test_path`.
    #[serde(default)]
    pub test_fraction: Option<f64>,
    /// Which samples `test_fraction` draws.
    #[serde(default)]
    pub seed: u64,
}

/// See the file.
pub struct Import;

impl Stage for Import {
    type Params = Params;
    const NAME: &'static str = "data/import";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "reads a data set from safetensors files with `images` and `labels`";
    const INPUTS: &'static [Port] = &[];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file("train", "train.safetensors", "training set: images as they are and labels"),
        OutputPort::file("test", "test.safetensors", "test set, in the same form"),
        facts::OUTPUT,
    ];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        match (&params.test_path, params.test_fraction) {
            (Some(_), Some(_)) => {
                vec![("test_fraction", "give either `test_path` or `test_fraction`, not both".to_owned())]
            }
            (None, None) => vec![("test_path", "give either `test_path` or `test_fraction`".to_owned())],
            (None, Some(part)) if !(part > 0.0 && part < 1.0) => {
                vec![("test_fraction", format!("{part} is not above 0 and below 1"))]
            }
            _ => Vec::new(),
        }
    }

    fn sources(params: &Params) -> Vec<Source> {
        let source = |name, path: &SourcePath| Source {
            name,
            candidates: vec![path.0.clone()],
            hint: "a safetensors file with `images` f32 [N, C, H, W] and `labels` i64 [N]".to_owned(),
        };
        let train = source("path", &params.path);
        std::iter::once(train).chain(params.test_path.iter().map(|path| source("test_path", path))).collect()
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let all = read(io.source("path")?)?;
        io.check_cancelled()?;
        let (train, test) = match params.test_fraction {
            Some(part) => draw_test(&all, part, params.seed)?,
            None => (all, read(io.source("test_path")?)?),
        };
        require_fit(&train, &test)?;
        io.check_cancelled()?;
        // Labels count from 0, so the highest of the training set, which no label of the test set passes, tells.
        let classes = train.labels.iter().max().map_or(0, |highest| *highest as usize + 1);
        Facts::unpublished("import", &train, &test, classes).write(io)?;
        write_train_and_test(io, &train, &test)
    }
}

fn read(path: &Path) -> Result<Dataset, StageError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| StageError::io(format!("reading {name}"), e))?;
    if let Some(refusal) = refuse_foreign(&bytes) {
        return Err(StageError::input(name, refusal));
    }
    let data = Dataset::from_bytes(&name, &bytes)?;
    if data.shape.contains(&0) {
        return Err(StageError::input(name, format!("`images` has shape {:?}; no size may be 0", data.shape)));
    }
    if let Some(at) = data.labels.iter().position(|&label| label >= MAX_CLASSES) {
        let problem = format!("label {} of sample {at} is beyond the {MAX_CLASSES} classes allowed", data.labels[at]);
        return Err(StageError::input(name, problem));
    }
    if let Pixels::F32(values) = &data.pixels
        && let Some(at) = values.iter().position(|value| !value.is_finite())
    {
        let sample = at / data.shape[1..].iter().product::<usize>();
        return Err(StageError::input(name, format!("`images` holds {} in sample {sample}", values[at])));
    }
    // The order of a file from outside is its own; a tensor `positions` in it has no meaning here.
    Ok(in_file_order(data.shape, data.pixels, data.labels))
}

/// What to do instead, when the bytes are a pickle, an archive of pickles or a numpy file.
fn refuse_foreign(bytes: &[u8]) -> Option<String> {
    let torch = "python -c \"import torch; from safetensors.torch import save_file; \
                 d = torch.load('data.pt', weights_only=True); save_file({'images': d['images'].float().contiguous(), \
                 'labels': d['labels'].long()}, 'data.safetensors')\"";
    let numpy = "python -c \"import numpy as np; from safetensors.numpy import save_file; \
                 save_file({'images': np.load('images.npy').astype('float32'), \
                 'labels': np.load('labels.npy').astype('int64')}, 'data.safetensors')\"";
    match bytes {
        // A zip (torch.save since 1.6), a pickle of protocol 2 to 5, or the older torch.save, which starts with one.
        [b'P', b'K', 3 | 5, ..] | [0x80, 2..=5, ..] => {
            Some(format!("this is a pickle or an archive of them; reading one can run code, so convert it: {torch}"))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(format!("this is a numpy array; convert it: {numpy}")),
        [0x89, b'H', b'D', b'F', ..] => {
            Some("this is HDF5; write `images` and `labels` to safetensors instead".to_owned())
        }
        _ => None,
    }
}

fn draw_test(all: &Dataset, part: f64, seed: u64) -> Result<(Dataset, Dataset), StageError> {
    let test_len = (all.len() as f64 * part).round() as usize;
    if test_len == 0 || test_len == all.len() {
        let problem = format!("{part} of {} samples leaves a part empty", all.len());
        return Err(StageError::input("test_fraction", problem));
    }
    let order = rng::permutation(&mut rng::stream(seed, "import/test"), all.len());
    let rows = |chosen: &[usize]| {
        // Both parts keep the order of the file.
        let mut chosen = chosen.to_vec();
        chosen.sort_unstable();
        let part = all.select(&chosen);
        in_file_order(part.shape, part.pixels, part.labels)
    };
    Ok((rows(&order[test_len..]), rows(&order[..test_len])))
}

fn require_fit(train: &Dataset, test: &Dataset) -> Result<(), StageError> {
    if train.shape[1..] != test.shape[1..] {
        let problem = format!("images are {:?}; the training set's are {:?}", &test.shape[1..], &train.shape[1..]);
        return Err(StageError::input("the test set", problem));
    }
    let highest = train.labels.iter().max().copied().unwrap_or(-1);
    match test.labels.iter().position(|&label| label > highest) {
        Some(at) => {
            let problem = format!("label {} of sample {at} is above every label of the training set", test.labels[at]);
            Err(StageError::input("the test set", problem))
        }
        None => Ok(()),
    }
}
