//! Stochastic gradient descent as `torch.optim.SGD` does it, on the tensors it is given; with gradients clipped by their
//! common norm, coordinates left alone, or gradients summed up, where a method asks for it.
//!
//! Gradients are computed and used in one step and never stored in the tensors. Nothing is read back from the device.

use tch::{Tensor, no_grad};

use crate::stage::StageError;
use crate::train::fit::gradients;
use crate::train::params::Optimizer;

/// Added to the norm that gradients are clipped by, as `torch.nn.utils.clip_grad_norm_` does.
const CLIP_TINY: f64 = 1e-6;

/// The optimizer of some tensors.
pub struct Sgd {
    settings: Optimizer,
    parameters: Vec<Tensor>,
    /// Momentum, one tensor a parameter; none before the first step.
    velocities: Vec<Tensor>,
    clip_norm: Option<f64>,
    /// Coordinates that never move: bool, of a parameter's shape, one a parameter; none where all may move.
    fixed: Vec<Tensor>,
    /// Sum of the gradients so far, one a parameter, while they are summed.
    sum: Option<Vec<Tensor>>,
}

impl Sgd {
    /// For tensors that [`crate::model::network::Network::train_only`] gave.
    #[must_use]
    pub fn new(parameters: Vec<Tensor>, settings: &Optimizer) -> Self {
        let settings = settings.clone();
        Self { settings, parameters, velocities: Vec::new(), clip_norm: None, fixed: Vec::new(), sum: None }
    }

    /// Scales the gradients of every step by min(1, `norm` / (n + 1e-6)), n being the Euclidean norm of all of them
    /// together, before weight decay; `None` leaves them.
    #[must_use]
    pub fn clipped(self, norm: Option<f64>) -> Self {
        Self { clip_norm: norm, ..self }
    }

    /// Moves only the coordinates that `masks` (bool, one a parameter and of its shape) hold: gradient, weight decay and
    /// momentum are 0 elsewhere, so that the others keep every bit.
    #[must_use]
    pub fn masked(self, masks: &[Tensor]) -> Self {
        Self { fixed: masks.iter().map(Tensor::logical_not).collect(), ..self }
    }

    /// Also sums the gradients of the steps to come, as they are computed: before clipping and weight decay.
    #[must_use]
    pub fn summing(self) -> Self {
        let sum = self.parameters.iter().map(Tensor::zeros_like).collect();
        Self { sum: Some(sum), ..self }
    }

    /// The sum of the gradients since [`Self::summing`], one a parameter; ends it. Empty where nothing was summed.
    pub fn take_sum(&mut self) -> Vec<Tensor> {
        self.sum.take().unwrap_or_default()
    }

    /// Forgets the momentum, as a new optimizer would.
    pub fn reset(&mut self) {
        self.velocities.clear();
    }

    /// Moves the parameters against the gradient of `loss`, a scalar.
    ///
    /// # Errors
    /// When no gradient can be computed (out of memory, for instance).
    pub fn step(&mut self, loss: &Tensor) -> Result<(), StageError> {
        let gradients = gradients(loss, &self.parameters)?;
        no_grad(|| {
            for (sum, gradient) in self.sum.iter_mut().flatten().zip(&gradients) {
                let _ = sum.g_add_(gradient);
            }
            match self.clip_norm {
                Some(norm) => self.apply(&clipped(&gradients, norm)),
                None => self.apply(&gradients),
            }
        });
        Ok(())
    }

    fn apply(&mut self, gradients: &[Tensor]) {
        let Optimizer { lr, momentum, weight_decay, nesterov } = self.settings;
        let first = self.velocities.is_empty();
        for (i, (parameter, gradient)) in self.parameters.iter_mut().zip(gradients).enumerate() {
            let mut decayed =
                if weight_decay == 0.0 { gradient.shallow_clone() } else { gradient + &*parameter * weight_decay };
            if let Some(fixed) = self.fixed.get(i) {
                // Not a product with 0, which would turn -0 into 0 in a weight and keep NaN.
                decayed = decayed.masked_fill(fixed, 0.0);
            }
            if momentum != 0.0 {
                if first {
                    self.velocities.push(decayed.copy());
                } else {
                    let velocity = &mut self.velocities[i];
                    let _ = velocity.g_mul_scalar_(momentum);
                    let _ = velocity.g_add_(&decayed);
                }
            }
            let direction = match self.velocities.get(i) {
                None => decayed,
                Some(velocity) if nesterov => decayed + velocity * momentum,
                Some(velocity) => velocity.shallow_clone(),
            };
            let _ = parameter.g_sub_(&(direction * lr));
        }
    }
}

/// The gradients scaled so that their common norm is at most `norm`.
fn clipped(gradients: &[Tensor], norm: f64) -> Vec<Tensor> {
    let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
    let scale: Tensor = norm / (Tensor::stack(&norms, 0).norm() + CLIP_TINY);
    let scale = scale.clamp_max(1.0);
    gradients.iter().map(|gradient| gradient * &scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps on the loss 3 w with w = 1, by hand from the definition.
    fn after_two_steps(settings: &Optimizer) -> f64 {
        let w = Tensor::from_slice(&[1.0_f64]).set_requires_grad(true);
        let mut sgd = Sgd::new(vec![w.shallow_clone()], settings);
        for _ in 0..2 {
            sgd.step(&(&w * 3.0).sum(tch::Kind::Double)).unwrap();
        }
        w.double_value(&[0])
    }

    #[test]
    fn steps_are_those_of_the_definition() {
        let close = |settings: Optimizer, expected: f64| {
            let w = after_two_steps(&settings);
            assert!((w - expected).abs() < 1e-12, "{settings:?}: {w}, expected {expected}");
        };
        let plain = Optimizer { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        close(plain.clone(), 1.0 - 0.3 - 0.3);
        // v: 3, then 0.5 * 3 + 3 = 4.5.
        close(Optimizer { momentum: 0.5, ..plain.clone() }, 1.0 - 0.3 - 0.45);
        // g: 3 + 0.2 * 1 = 3.2, w = 0.68; then 3 + 0.2 * 0.68 = 3.136.
        close(Optimizer { weight_decay: 0.2, ..plain.clone() }, 1.0 - 0.32 - 0.3136);
        // Directions: 3 + 0.5 * 3 = 4.5, then 3 + 0.5 * 4.5 = 5.25.
        close(Optimizer { momentum: 0.5, nesterov: true, ..plain }, 1.0 - 0.45 - 0.525);
    }

    /// Where two steps on the loss 3 a + 4 b lead from a = b = 1 (each a tensor of its own).
    fn pair_after_two_steps(with: impl FnOnce(Sgd) -> Sgd, settings: &Optimizer) -> ([f64; 2], Sgd) {
        let [a, b] = [1.0_f64; 2].map(|w| Tensor::from_slice(&[w]).set_requires_grad(true));
        let mut sgd = with(Sgd::new(vec![a.shallow_clone(), b.shallow_clone()], settings));
        for _ in 0..2 {
            sgd.step(&(&a * 3.0 + &b * 4.0).sum(tch::Kind::Double)).unwrap();
        }
        ([a.double_value(&[0]), b.double_value(&[0])], sgd)
    }

    #[test]
    fn gradients_are_clipped_by_their_common_norm_before_weight_decay_and_never_made_longer() {
        let plain = Optimizer { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        // The norm of (3, 4) is 5.
        let ([a, b], _) = pair_after_two_steps(|sgd| sgd.clipped(Some(1.0)), &plain);
        assert!((a - (1.0 - 2.0 * 0.06)).abs() < 1e-7 && (b - (1.0 - 2.0 * 0.08)).abs() < 1e-7, "{a} {b}");
        for loose in [None, Some(7.0)] {
            let (free, _) = pair_after_two_steps(|sgd| sgd.clipped(loose), &plain);
            assert!((free[0] - 0.4).abs() < 1e-12 && (free[1] - 0.2).abs() < 1e-12, "{free:?}");
        }
        let decayed = Optimizer { weight_decay: 0.5, ..plain };
        let ([a, _], _) = pair_after_two_steps(|sgd| sgd.clipped(Some(1.0)), &decayed);
        let first = 1.0 - 0.1 * (0.6 + 0.5);
        assert!((a - (first - 0.1 * (0.6 + 0.5 * first))).abs() < 1e-7, "{a}");
    }

    #[test]
    fn coordinates_outside_the_mask_keep_every_bit_under_momentum_and_weight_decay() {
        let start = [0.1_f32, -0.0, 0.3, -0.7];
        for nesterov in [false, true] {
            let w = Tensor::from_slice(&start).set_requires_grad(true);
            let settings = Optimizer { lr: 0.1, momentum: 0.9, weight_decay: 0.5, nesterov };
            let mask = Tensor::from_slice(&[false, false, true, false]);
            let mut sgd = Sgd::new(vec![w.shallow_clone()], &settings).masked(&[mask]);
            for _ in 0..3 {
                // The gradient of the last coordinate is NaN.
                let loss = &w * Tensor::from_slice(&[1.0_f32, 2.0, 3.0, f32::NAN]);
                sgd.step(&loss.sum(tch::Kind::Float)).unwrap();
            }
            let bits = |w: &[f32]| w.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
            let end = Vec::<f32>::try_from(&w.detach()).unwrap();
            assert_eq!((bits(&end[..2]), bits(&end[3..])), (bits(&start[..2]), bits(&start[3..])));
            assert!(end[2] < 0.0, "{end:?}");
        }
    }

    #[test]
    fn gradients_are_summed_as_computed_until_the_sum_is_taken() {
        let settings = Optimizer { lr: 0.1, momentum: 0.9, weight_decay: 0.5, nesterov: false };
        let (_, mut sgd) = pair_after_two_steps(|sgd| sgd.clipped(Some(1.0)).summing(), &settings);
        let sum: Vec<f64> = sgd.take_sum().iter().map(|g| g.double_value(&[0])).collect();
        assert_eq!(sum, [6.0, 8.0]);
        assert!(sgd.take_sum().is_empty());
    }

    #[test]
    fn a_thousand_steps_of_a_millionth_arrive_in_float32() {
        let w = Tensor::from_slice(&[0.05_f32]).set_requires_grad(true);
        let plain = Optimizer { lr: 1e-6, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        let mut sgd = Sgd::new(vec![w.shallow_clone()], &plain);
        for _ in 0..1000 {
            let rounded = crate::model::precision::product_operand(crate::train::params::Precision::Bf16, &w);
            sgd.step(&rounded.sum(tch::Kind::Float)).unwrap();
        }
        assert!((w.double_value(&[0]) - 0.049).abs() < 1e-5, "{}", w.double_value(&[0]));
    }
}
