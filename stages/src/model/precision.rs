//! The arithmetic of [`Precision`]: operands of convolutions and matrix products rounded before the operation.
//!
//! The same on CPU and CUDA: what is rounded here enters float32 kernels and is accumulated in float32, so a CPU
//! computes with the numbers that a tensor core would be given. Gradients pass the rounding straight through, and
//! the incoming gradient of an operation is not rounded (libtorch offers no hook for that from Rust).
//!
//! f32 must never become TF32 on CUDA. libtorch lets cuDNN use TF32 by default and tch has no flag against it: the
//! worker is to be started with `NVIDIA_TF32_OVERRIDE=0`, which cuDNN and cuBLAS obey; a C++ shim that sets
//! `at::globalContext().setAllowTF32CuDNN(false)` would go into [`crate::train::session`].

use tch::{Kind, Tensor, no_grad};

use crate::train::params::Precision;

/// An operand of a convolution.
pub fn convolution_operand(precision: Precision, x: &Tensor) -> Tensor {
    match precision {
        Precision::F64 | Precision::F32 => x.shallow_clone(),
        Precision::Tf32 => straight_through(x, round_to_tf32),
        Precision::Bf16 => straight_through(x, round_to_bf16),
    }
}

/// An operand of a matrix product.
pub fn product_operand(precision: Precision, x: &Tensor) -> Tensor {
    match precision {
        Precision::F64 | Precision::F32 | Precision::Tf32 => x.shallow_clone(),
        Precision::Bf16 => straight_through(x, round_to_bf16),
    }
}

/// x + (round(x) - x): exactly round(x), because both are within a factor of two, with the gradient of x.
fn straight_through(x: &Tensor, round: fn(&Tensor) -> Tensor) -> Tensor {
    let change = no_grad(|| round(x) - x);
    x + change
}

fn round_to_bf16(x: &Tensor) -> Tensor {
    x.to_kind(Kind::BFloat16).to_kind(Kind::Float)
}

/// Rounds float32 to 10 bits of mantissa, ties to even; what is not finite stays.
fn round_to_tf32(x: &Tensor) -> Tensor {
    let bits = x.contiguous().view_dtype(Kind::Int);
    let odd: Tensor = bits.bitwise_right_shift_tensor_scalar(13).bitwise_and(1);
    let rounded = (&bits + odd + 0xfff_i64).bitwise_and(!0x1fff_i64).view_dtype(Kind::Float);
    rounded.where_self(&x.isfinite(), x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(x: &Tensor) -> Vec<f32> {
        Vec::try_from(x).expect("a vector of f32")
    }

    #[test]
    fn tf32_keeps_ten_bits_of_mantissa_and_ties_go_to_even() {
        let ulp = 1.0 / 1024.0;
        let x = [1.0 + 0.5 * ulp, 1.0 + 1.5 * ulp, 1.0 + 0.51 * ulp, -1.0 - 0.49 * ulp, 0.0, f32::INFINITY];
        let expected = [1.0, 1.0 + 2.0 * ulp, 1.0 + ulp, -1.0, 0.0, f32::INFINITY];
        assert_eq!(values(&round_to_tf32(&Tensor::from_slice(&x))), expected);
        assert!(values(&round_to_tf32(&Tensor::from_slice(&[f32::NAN])))[0].is_nan());
    }

    #[test]
    fn rounding_is_exact_in_value_and_passes_the_gradient() {
        let x = Tensor::from_slice(&[0.1_f32, -3.3, 1e-20, 7e8]).set_requires_grad(true);
        for (precision, round) in
            [(Precision::Tf32, round_to_tf32 as fn(&Tensor) -> Tensor), (Precision::Bf16, round_to_bf16)]
        {
            let rounded = convolution_operand(precision, &x);
            assert_eq!(values(&rounded.detach()), values(&round(&x.detach())));
            let gradient = Tensor::run_backward(&[(rounded * 2.0).sum(Kind::Float)], &[&x], false, false);
            assert_eq!(values(&gradient[0]), [2.0; 4]);
        }
    }
}
