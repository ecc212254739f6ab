//! First weights, drawn here and not by libtorch, so that they depend on the seed alone and on no device.
//!
//! The distributions are PyTorch's defaults: weights by Kaiming's uniform with a = sqrt(5) and the bias of a linear
//! layer, both uniform in +-1/sqrt(fan in); BatchNorm with scale 1, shift 0, mean 0, variance 1.

use rand::Rng;
use safetensors::tensor::Dtype;

use super::architecture::{Architecture, Role, TensorSpec};
use super::state::{RawTensor, StateDict};
use crate::rng;

/// A fresh state dict. `dtype` is F32 or F64; both come from the same draws. Each tensor has its own stream,
/// `<purpose>init/<tensor>`.
#[must_use]
pub fn draw(architecture: &Architecture, dtype: Dtype, seed: u64, purpose: &str) -> StateDict {
    let tensors = architecture
        .tensors()
        .into_iter()
        .map(|spec| {
            let raw = draw_tensor(&spec, dtype, seed, purpose);
            (spec.name, raw)
        })
        .collect();
    StateDict { tensors, metadata: architecture.metadata() }
}

fn draw_tensor(spec: &TensorSpec, dtype: Dtype, seed: u64, purpose: &str) -> RawTensor {
    let count = spec.shape.iter().product();
    let values: Vec<f64> = match spec.role {
        Role::Weight { fan_in } | Role::Bias { fan_in } => {
            let mut stream = rng::stream(seed, &format!("{purpose}init/{}", spec.name));
            let bound = 1.0 / (fan_in as f64).sqrt();
            (0..count).map(|_| bound * (2.0 * stream.random::<f64>() - 1.0)).collect()
        }
        Role::Scale | Role::RunningVariance => vec![1.0; count],
        Role::Shift | Role::RunningMean => vec![0.0; count],
        Role::BatchesTracked => {
            let zero = 0_i64.to_le_bytes().to_vec();
            return RawTensor { dtype: Dtype::I64, shape: spec.shape.clone(), bytes: zero };
        }
    };
    let bytes = if dtype == Dtype::F64 {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    } else {
        values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect()
    };
    RawTensor { dtype, shape: spec.shape.clone(), bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::ModelParams;

    fn values(state: &StateDict, name: &str) -> Vec<f64> {
        state.tensors[name].bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }

    #[test]
    fn weights_are_uniform_within_one_over_the_root_of_fan_in() {
        let architecture = Architecture::new(&ModelParams { width: 0.5, ..ModelParams::default() }, 1).unwrap();
        let state = draw(&architecture, Dtype::F64, 7, "");
        let weights = values(&state, "conv4.0.weight");
        let bound = 1.0 / (96.0_f64 * 9.0).sqrt();
        assert!(weights.iter().all(|w| w.abs() <= bound));
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let variance = weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
        assert!(mean.abs() < 0.01 * bound, "{mean}");
        assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.02, "{variance}");
        assert_eq!(values(&state, "conv4.1.weight"), vec![1.0; 96]);
        assert_eq!(values(&state, "conv4.1.running_var"), vec![1.0; 96]);
        assert_eq!(values(&state, "conv4.1.running_mean"), vec![0.0; 96]);
        assert!(values(&state, "classifier.0.bias").iter().all(|b| *b != 0.0));
    }

    #[test]
    fn seed_and_purpose_decide_the_draws_and_f32_rounds_those_of_f64() {
        let architecture = Architecture::new(&ModelParams { width: 0.05, ..ModelParams::default() }, 1).unwrap();
        let weight = |seed, purpose| values(&draw(&architecture, Dtype::F64, seed, purpose), "conv1.0.weight");
        assert_ne!(weight(7, ""), weight(8, ""));
        assert_ne!(weight(7, ""), weight(7, "retrain/"));
        let single = draw(&architecture, Dtype::F32, 7, "");
        let single: Vec<f32> =
            single.tensors["conv1.0.weight"].bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(single, weight(7, "").iter().map(|w| *w as f32).collect::<Vec<_>>());
    }
}
