//! First weights, drawn here and not by libtorch, so that they depend on the seed alone and on no device.
//!
//! Each network says what its tensors begin with ([`super::architecture::First`]); these are the defaults of PyTorch or
//! torchvision.

use rand::Rng;
use rand::distr::Distribution;
use rand_chacha::ChaCha20Rng;
use rand_distr::StandardNormal;
use safetensors::tensor::Dtype;

use super::architecture::{Architecture, First, Role, TensorSpec};
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

/// The first values of one tensor, from the stream `<purpose>init/<tensor>`.
#[must_use]
pub fn draw_tensor(spec: &TensorSpec, dtype: Dtype, seed: u64, purpose: &str) -> RawTensor {
    if spec.role == Role::BatchesTracked {
        let zero = 0_i64.to_le_bytes().to_vec();
        return RawTensor { dtype: Dtype::I64, shape: spec.shape.clone(), bytes: zero };
    }
    let mut stream = rng::stream(seed, &format!("{purpose}init/{}", spec.name));
    let value = || match spec.first {
        First::Constant(value) => value,
        First::Uniform { bound } => bound * (2.0 * stream.random::<f64>() - 1.0),
        First::Normal { deviation } => normal(&mut stream, deviation),
        First::TruncatedNormal { deviation } => loop {
            let value = normal(&mut stream, deviation);
            if value.abs() <= 2.0 {
                break value;
            }
        },
    };
    let values = std::iter::repeat_with(value).take(spec.shape.iter().product());
    let bytes = if dtype == Dtype::F64 {
        values.flat_map(f64::to_le_bytes).collect()
    } else {
        values.flat_map(|v| (v as f32).to_le_bytes()).collect()
    };
    RawTensor { dtype, shape: spec.shape.clone(), bytes }
}

fn normal(stream: &mut ChaCha20Rng, deviation: f64) -> f64 {
    let drawn: f64 = StandardNormal.sample(stream);
    deviation * drawn
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

    fn drawn(first: First, count: usize) -> Vec<f64> {
        let spec = TensorSpec { name: "tensor".to_owned(), shape: vec![count], role: Role::Weight, first };
        let raw = draw_tensor(&spec, Dtype::F64, 7, "");
        raw.bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }

    #[test]
    fn normal_values_have_their_deviation_and_truncated_ones_stay_within_two() {
        let moment = |values: &[f64], power| values.iter().map(|v| v.powi(power)).sum::<f64>() / values.len() as f64;
        let values = drawn(First::Normal { deviation: 0.5 }, 20_000);
        assert!(moment(&values, 1).abs() < 0.015, "{}", moment(&values, 1));
        assert!((moment(&values, 2) / 0.25 - 1.0).abs() < 0.04, "{}", moment(&values, 2));
        // Three times the square of the variance.
        assert!((moment(&values, 4) / (3.0 * 0.0625) - 1.0).abs() < 0.1, "{}", moment(&values, 4));
        let cut = drawn(First::TruncatedNormal { deviation: 2.0 }, 20_000);
        assert!(cut.iter().all(|v| v.abs() <= 2.0));
        // Variance of a standard normal that is cut at its deviation: 0.2911.
        assert!((moment(&cut, 2) / (4.0 * 0.2911) - 1.0).abs() < 0.04, "{}", moment(&cut, 2));
        assert_eq!(drawn(First::Constant(1.0), 3), [1.0; 3]);
    }

    #[test]
    fn a_convolution_of_resnet_begins_by_its_outputs_and_a_linear_layer_of_the_transformer_by_both() {
        let draw = |params: serde_json::Value| {
            let architecture = Architecture::new(&serde_json::from_value(params).unwrap(), 3).unwrap();
            draw(&architecture, Dtype::F64, 7, "")
        };
        let second = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        let resnet = draw(serde_json::json!({"name": "resnet18", "width": 0.25}));
        // Inputs 16, outputs 32, kernel 3: the variance is 2 / (32 * 9).
        let ratio = second(&values(&resnet, "layer2.0.conv1.weight")) * 32.0 * 9.0 / 2.0;
        assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
        let size = serde_json::json!({"image_size": 8, "patch": 4, "layers": 1, "heads": 2, "dim": 64, "mlp": 128});
        let vit = draw(serde_json::json!({"name": "vit_b_16", "vit": size}));
        let largest = |name: &str| values(&vit, name).into_iter().fold(0.0_f64, |most, v| most.max(v.abs()));
        let layer = |rest: &str| format!("encoder.layers.encoder_layer_0.{rest}");
        for (name, bound) in [
            (layer("mlp.0.weight"), (6.0 / 192.0_f64).sqrt()),
            (layer("self_attention.in_proj_weight"), (6.0 / 256.0_f64).sqrt()),
            (layer("self_attention.out_proj.weight"), 1.0 / 8.0),
        ] {
            assert!((0.99 * bound..=bound).contains(&largest(&name)), "{name}: {}", largest(&name));
        }
        assert!((1e-6..1e-5).contains(&largest(&layer("mlp.3.bias"))));
        for zero in ["class_token", "conv_proj.bias", "heads.head.weight", "heads.head.bias"] {
            assert_eq!(largest(zero).to_bits(), 0, "{zero}");
        }
        let ratio = second(&values(&vit, "conv_proj.weight")) * 48.0;
        assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
        let ratio = second(&values(&vit, "encoder.pos_embedding")).sqrt() / 0.02;
        assert!((ratio - 1.0).abs() < 0.15, "{ratio}");
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
