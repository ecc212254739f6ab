//! Labelled images in memory, and their form as an artifact: one safetensors file with `images` (u8, or f32 in
//! [0, 1]; [N, C, H, W]), `labels` (i64 [N]) and `positions` (i64 [N]: the place of each sample in its split's
//! order, by which files of single classes are merged again).

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::io::Input;
use crate::stage::StageError;

/// Labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// [N, C, H, W].
    pub shape: [usize; 4],
    /// N*C*H*W values, row-major.
    pub pixels: Pixels,
    /// N class labels.
    pub labels: Vec<i64>,
    /// N places in the order of the split.
    pub positions: Vec<i64>,
}

/// Pixel values: bytes are kept as bytes and mean value/255.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// 0 to 255.
    U8(Vec<u8>),
    /// As they are, normally in [0, 1].
    F32(Vec<f32>),
}

impl Pixels {
    fn select(&self, rows: &[usize], size: usize) -> Self {
        fn pick<T: Copy>(all: &[T], rows: &[usize], size: usize) -> Vec<T> {
            rows.iter().flat_map(|&row| all[row * size..(row + 1) * size].iter().copied()).collect()
        }
        match self {
            Self::U8(all) => Self::U8(pick(all, rows, size)),
            Self::F32(all) => Self::F32(pick(all, rows, size)),
        }
    }
}

impl Dataset {
    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples `rows`, in that order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let [_, c, h, w] = self.shape;
        Self {
            shape: [rows.len(), c, h, w],
            pixels: self.pixels.select(rows, c * h * w),
            labels: rows.iter().map(|&r| self.labels[r]).collect(),
            positions: rows.iter().map(|&r| self.positions[r]).collect(),
        }
    }

    /// The bytes of the artifact.
    ///
    /// # Errors
    /// When the tensors do not fit their shapes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let le = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (dtype, pixels) = match &self.pixels {
            Pixels::U8(bytes) => (Dtype::U8, bytes.clone()),
            Pixels::F32(values) => (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        let (labels, positions) = (le(&self.labels), le(&self.positions));
        let tensors = [
            ("images", dtype, self.shape.to_vec(), &pixels),
            ("labels", Dtype::I64, vec![self.len()], &labels),
            ("positions", Dtype::I64, vec![self.len()], &positions),
        ];
        let views = tensors
            .into_iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .and_then(|views| safetensors::serialize(views, None));
        views.map_err(|e| StageError::failed(format!("writing a data set: {e}")))
    }

    /// Reads one artifact file; a file without `positions` gets 0..N.
    ///
    /// # Errors
    /// When a tensor is missing, of another type or shape, or a label is negative.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, StageError> {
        let bad = |problem: String| StageError::input(name, problem);
        let file = SafeTensors::deserialize(bytes).map_err(|e| bad(format!("not a readable safetensors file: {e}")))?;
        let tensors: HashMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
        let images = tensors.get("images").ok_or_else(|| bad("no tensor `images`".to_owned()))?;
        let &[n, c, h, w] = images.shape() else {
            return Err(bad(format!("`images` has shape {:?}; [N, C, H, W] was expected", images.shape())));
        };
        let pixels = match images.dtype() {
            Dtype::U8 => Pixels::U8(images.data().to_vec()),
            Dtype::F32 => {
                Pixels::F32(images.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
            other => return Err(bad(format!("`images` has type {other:?}; u8 or f32 was expected"))),
        };
        let integers = |tensor: &str| -> Result<Option<Vec<i64>>, StageError> {
            let Some(view) = tensors.get(tensor) else { return Ok(None) };
            if view.dtype() != Dtype::I64 || view.shape() != [n] {
                return Err(bad(format!(
                    "`{tensor}` is {:?} {:?}; i64 [{n}] was expected",
                    view.dtype(),
                    view.shape()
                )));
            }
            Ok(Some(view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()))
        };
        let labels = integers("labels")?.ok_or_else(|| bad("no tensor `labels`".to_owned()))?;
        if let Some(at) = labels.iter().position(|&label| label < 0) {
            return Err(bad(format!("label {} of sample {at} is negative", labels[at])));
        }
        let positions = integers("positions")?.unwrap_or_else(|| (0..n as i64).collect());
        Ok(Self { shape: [n, c, h, w], pixels, labels, positions })
    }

    /// Reads an artifact: a single file, or a folder of classes merged in the order of `positions`.
    ///
    /// # Errors
    /// When a file is damaged, or the files' image shapes differ, or there is no file.
    pub fn from_input(port: &str, input: &Input) -> Result<Self, StageError> {
        let mut parts = input.files.iter().map(|file| {
            let name = if file.name.is_empty() { port.to_owned() } else { format!("{port}/{}", file.name) };
            Self::from_bytes(&name, &file.read()?)
        });
        let mut all = parts
            .next()
            .ok_or_else(|| StageError::input(port, "the data set has no file that this stage may see"))??;
        for part in parts {
            all.append(port, part?)?;
        }
        let mut rows: Vec<usize> = (0..all.len()).collect();
        rows.sort_by_key(|&row| all.positions[row]);
        Ok(all.select(&rows))
    }

    fn append(&mut self, port: &str, part: Self) -> Result<(), StageError> {
        if self.shape[1..] != part.shape[1..] {
            let problem = format!("image shapes differ: {:?} and {:?}", &self.shape[1..], &part.shape[1..]);
            return Err(StageError::input(port, problem));
        }
        match (&mut self.pixels, part.pixels) {
            (Pixels::U8(all), Pixels::U8(more)) => all.extend(more),
            (Pixels::F32(all), Pixels::F32(more)) => all.extend(more),
            _ => return Err(StageError::input(port, "some classes hold bytes and some floats")),
        }
        self.shape[0] += part.shape[0];
        self.labels.extend(part.labels);
        self.positions.extend(part.positions);
        Ok(())
    }
}
