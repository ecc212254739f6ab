//! A state dict: named tensors as bytes, read from and written to safetensors files.
//!
//! Knows nothing of libtorch. Equal state dicts give equal bytes.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::architecture::{Architecture, Role};
use crate::stage::StageError;

/// One tensor: little-endian values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    /// Type of the values.
    pub dtype: Dtype,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values.
    pub bytes: Vec<u8>,
}

impl RawTensor {
    /// The values in float64; none when the type is neither F32, F64 nor I64.
    #[must_use]
    pub fn values(&self) -> Option<Vec<f64>> {
        let values = match self.dtype {
            Dtype::F32 => self.bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F64 => self.bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I64 => self.bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            _ => return None,
        };
        Some(values)
    }
}

/// Named tensors and the file's `__metadata__`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    /// Tensors by PyTorch's names.
    pub tensors: BTreeMap<String, RawTensor>,
    /// Metadata: the architecture ([`Architecture::metadata`]).
    pub metadata: BTreeMap<String, String>,
}

impl StateDict {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// When the bytes are no intact safetensors file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let unreadable = |e: safetensors::SafeTensorError| format!("not a readable safetensors file: {e}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let raw = RawTensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
                (name, raw)
            })
            .collect();
        Ok(Self { tensors, metadata })
    }

    /// The bytes of the safetensors file.
    ///
    /// # Errors
    /// When a tensor's bytes do not fit its shape.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let failed = |e: &dyn std::fmt::Display| StageError::failed(format!("writing a model: {e}"));
        let views = self
            .tensors
            .iter()
            .map(|(name, raw)| Ok((name, TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| failed(&e))?;
        let file = safetensors::serialize(views, None).map_err(|e| failed(&e))?;
        if self.metadata.is_empty() {
            return Ok(file);
        }
        // The crate takes metadata as a HashMap and writes it in that map's random order, so it is put in here.
        let malformed = || StageError::failed("writing a model: the safetensors crate wrote no header");
        let (length, rest) = file.split_first_chunk::<8>().ok_or_else(malformed)?;
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let metadata = serde_json::to_string(&self.metadata).map_err(|e| failed(&e))?;
        let tensors = header.strip_prefix(b"{").ok_or_else(malformed)?.trim_ascii_end();
        let comma: &[u8] = if tensors == b"}" { b"" } else { b"," };
        let mut header = [b"{\"__metadata__\":", metadata.as_bytes(), comma, tensors].concat();
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok([&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat())
    }

    /// The first tensor, by name, with a value that is NaN or infinite.
    #[must_use]
    pub fn not_finite(&self) -> Option<&str> {
        let broken = |raw: &RawTensor| match raw.dtype {
            Dtype::F32 => !raw.bytes.as_chunks().0.iter().all(|b| f32::from_le_bytes(*b).is_finite()),
            Dtype::F64 => !raw.bytes.as_chunks().0.iter().all(|b| f64::from_le_bytes(*b).is_finite()),
            _ => false,
        };
        self.tensors.iter().find(|(_, raw)| broken(raw)).map(|(name, _)| name.as_str())
    }

    /// Everything that keeps this from being a state dict of `architecture`: missing, extra and misshaped tensors.
    #[must_use]
    pub fn problems(&self, architecture: &Architecture) -> Vec<String> {
        let specs = architecture.tensors();
        let mut problems = Vec::new();
        let mut floats = BTreeMap::new();
        for spec in &specs {
            let Some(raw) = self.tensors.get(&spec.name) else {
                problems.push(format!("`{}` is missing (shape {:?})", spec.name, spec.shape));
                continue;
            };
            if raw.shape != spec.shape {
                problems.push(format!("`{}` has shape {:?}; {:?} was expected", spec.name, raw.shape, spec.shape));
            }
            match (spec.role, raw.dtype) {
                (Role::BatchesTracked, Dtype::I64) => {}
                (Role::BatchesTracked, other) => {
                    problems.push(format!("`{}` has type {other:?}; I64 was expected", spec.name));
                }
                (_, Dtype::F32 | Dtype::F64) => {
                    floats.entry(format!("{:?}", raw.dtype)).or_insert(&spec.name);
                }
                (_, other) => problems.push(format!("`{}` has type {other:?}; F32 or F64 was expected", spec.name)),
            }
        }
        if floats.len() > 1 {
            problems.push(format!("the tensors are of several types: {floats:?} (one of each)"));
        }
        let extra = self.tensors.iter().filter(|(name, _)| !specs.iter().any(|spec| spec.name == **name));
        problems.extend(extra.map(|(name, raw)| format!("`{name}` (shape {:?}) is not part of it", raw.shape)));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::ModelParams;
    use crate::model::init;

    fn model() -> (Architecture, StateDict) {
        let params = ModelParams { width: 0.05, ..ModelParams::default() };
        let architecture = Architecture::new(&params, 1).unwrap();
        let state = init::draw(&architecture, Dtype::F32, 7, "");
        (architecture, state)
    }

    #[test]
    fn a_state_dict_survives_a_round_trip_and_equal_dicts_give_equal_bytes() {
        let (architecture, state) = model();
        let bytes = state.to_bytes().unwrap();
        for _ in 0..20 {
            assert_eq!(model().1.to_bytes().unwrap(), bytes);
        }
        let read = StateDict::from_bytes(&bytes).unwrap();
        assert_eq!(read, state);
        assert_eq!(Architecture::from_metadata(&read.metadata), Ok(architecture));
    }

    #[test]
    fn missing_extra_misshaped_and_mistyped_tensors_are_listed_together() {
        let (architecture, mut state) = model();
        assert_eq!(state.problems(&architecture), Vec::<String>::new());
        state.tensors.remove("conv1.1.num_batches_tracked");
        state.tensors.get_mut("classifier.0.bias").unwrap().shape = vec![5, 2];
        state.tensors.get_mut("conv2.1.bias").unwrap().dtype = Dtype::F16;
        state.tensors.get_mut("conv3.1.bias").unwrap().dtype = Dtype::F64;
        let extra = RawTensor { dtype: Dtype::F32, shape: vec![1], bytes: vec![0; 4] };
        state.tensors.insert("head.weight".to_owned(), extra);
        let expected = [
            "`conv1.1.num_batches_tracked` is missing (shape [])",
            "`conv2.1.bias` has type F16; F32 or F64 was expected",
            "`classifier.0.bias` has shape [5, 2]; [10] was expected",
            "the tensors are of several types: {\"F32\": \"conv1.0.weight\", \"F64\": \"conv3.1.bias\"} (one of each)",
            "`head.weight` (shape [1]) is not part of it",
        ];
        assert_eq!(state.problems(&architecture), expected);
    }

    #[test]
    fn a_value_that_is_no_finite_number_is_found() {
        let (_, mut state) = model();
        assert_eq!(state.not_finite(), None);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let bytes = &mut state.tensors.get_mut("conv2.0.weight").unwrap().bytes;
            let end = bytes.len() - 4;
            bytes[end..].copy_from_slice(&bad.to_le_bytes());
            assert_eq!(state.not_finite(), Some("conv2.0.weight"));
        }
        let double = [1.0, f64::MAX, -f64::INFINITY].iter().flat_map(|v| v.to_le_bytes()).collect();
        let double = RawTensor { dtype: Dtype::F64, shape: vec![3], bytes: double };
        assert_eq!(
            StateDict { tensors: [("w".to_owned(), double)].into(), ..StateDict::default() }.not_finite(),
            Some("w")
        );
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let bytes = model().1.to_bytes().unwrap();
        assert!(StateDict::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        assert!(StateDict::from_bytes(b"").is_err());
    }
}
