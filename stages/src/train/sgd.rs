//! Stochastic gradient descent as `torch.optim.SGD` does it, on the tensors it is given.
//!
//! Gradients are computed and used in one step and never stored in the tensors.

use tch::{Tensor, no_grad};

use crate::stage::StageError;
use crate::train::params::Optimizer;

/// The optimizer of some tensors.
pub struct Sgd {
    settings: Optimizer,
    parameters: Vec<Tensor>,
    /// Momentum, one tensor a parameter; none before the first step.
    velocities: Vec<Tensor>,
}

impl Sgd {
    /// For tensors that [`crate::model::network::Network::train_only`] gave.
    #[must_use]
    pub fn new(parameters: Vec<Tensor>, settings: &Optimizer) -> Self {
        Self { settings: settings.clone(), parameters, velocities: Vec::new() }
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
        let gradients = Tensor::f_run_backward(&[loss], &self.parameters, false, false)
            .map_err(|e| StageError::failed(format!("computing gradients: {e}")))?;
        no_grad(|| self.apply(&gradients));
        Ok(())
    }

    fn apply(&mut self, gradients: &[Tensor]) {
        let Optimizer { lr, momentum, weight_decay, nesterov } = self.settings;
        let first = self.velocities.is_empty();
        for (i, (parameter, gradient)) in self.parameters.iter_mut().zip(gradients).enumerate() {
            let decayed =
                if weight_decay == 0.0 { gradient.shallow_clone() } else { gradient + &*parameter * weight_decay };
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
