//! Adam (Kingma and Ba, ICLR 2015) as `torch.optim.Adam` does it: its settings, for params, and its steps.
//!
//! With g = gradient + `weight_decay` w (coupled, not `AdamW`), in step t from 1: m = b1 m + (1 - b1) g;
//! v = b2 v + (1 - b2) g^2; w = w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + epsilon). m and v begin at 0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::params::{self, Problem, Rule};

/// Adam as PyTorch defines it; the defaults but the learning rate are PyTorch's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdamSettings {
    /// Learning rate, above 0.
    pub lr: f64,
    /// Decay of the running means of the gradient and of its square, each from 0 to below 1.
    #[serde(default = "AdamSettings::usual_betas")]
    pub betas: [f64; 2],
    /// Added to the root in the denominator, above 0.
    #[serde(default = "AdamSettings::usual_epsilon")]
    pub epsilon: f64,
    /// Weight decay (L2 penalty, added to the gradient), 0 or more.
    #[serde(default)]
    pub weight_decay: f64,
}

impl AdamSettings {
    /// Betas 0.9 and 0.999, epsilon 1e-8, no weight decay.
    #[must_use]
    pub const fn new(lr: f64) -> Self {
        Self { lr, betas: Self::usual_betas(), epsilon: Self::usual_epsilon(), weight_decay: 0.0 }
    }

    const fn usual_betas() -> [f64; 2] {
        [0.9, 0.999]
    }

    const fn usual_epsilon() -> f64 {
        1e-8
    }
}

impl Rule for AdamSettings {
    fn check(&self, problems: &mut Vec<Problem>) {
        params::positive("optimizer.lr", self.lr, problems);
        for beta in self.betas {
            if !(0.0..1.0).contains(&beta) {
                problems.push(("optimizer.betas", format!("{beta} is out of range; 0 <= beta < 1 is needed")));
            }
        }
        params::positive("optimizer.epsilon", self.epsilon, problems);
        params::not_negative("optimizer.weight_decay", self.weight_decay, problems);
    }
}

#[cfg(feature = "torch")]
pub use torch::Adam;

#[cfg(feature = "torch")]
mod torch {
    use tch::{Tensor, no_grad};

    use super::AdamSettings;
    use crate::stage::StageError;
    use crate::train::fit::{Begin, Descent, gradients};

    /// The optimizer of some tensors.
    pub struct Adam {
        settings: AdamSettings,
        parameters: Vec<Tensor>,
        /// The running means of the gradient and of its square, one pair a parameter.
        moments: Vec<(Tensor, Tensor)>,
        steps: i32,
    }

    impl Adam {
        /// For tensors that [`crate::model::network::Network::train_only`] gave, or others that require gradients.
        #[must_use]
        pub fn new(parameters: Vec<Tensor>, settings: &AdamSettings) -> Self {
            let moments = parameters.iter().map(|p| (p.zeros_like(), p.zeros_like())).collect();
            Self { settings: settings.clone(), parameters, moments, steps: 0 }
        }

        fn apply(&mut self, gradients: &[Tensor]) {
            let AdamSettings { lr, betas: [beta_1, beta_2], epsilon, weight_decay } = self.settings;
            self.steps += 1;
            let (first, second) = (1.0 - beta_1.powi(self.steps), 1.0 - beta_2.powi(self.steps));
            for ((parameter, (mean, square)), gradient) in
                self.parameters.iter_mut().zip(&mut self.moments).zip(gradients)
            {
                let decayed =
                    if weight_decay == 0.0 { gradient.shallow_clone() } else { gradient + &*parameter * weight_decay };
                let _ = mean.g_mul_scalar_(beta_1);
                let _ = mean.g_add_(&(&decayed * (1.0 - beta_1)));
                let _ = square.g_mul_scalar_(beta_2);
                let _ = square.g_add_(&(decayed.square() * (1.0 - beta_2)));
                let denominator = square.sqrt() / second.sqrt() + epsilon;
                let _ = parameter.g_sub_(&(&*mean / denominator * (lr / first)));
            }
        }
    }

    impl Descent for Adam {
        fn step(&mut self, loss: &Tensor) -> Result<(), StageError> {
            let gradients = gradients(loss, &self.parameters)?;
            no_grad(|| self.apply(&gradients));
            Ok(())
        }

        fn restart(&mut self) {
            no_grad(|| {
                for (mean, square) in &mut self.moments {
                    let _ = (mean.zero_(), square.zero_());
                }
            });
            self.steps = 0;
        }
    }

    impl Begin for AdamSettings {
        type Descent = Adam;

        fn begin(&self, parameters: Vec<Tensor>) -> Adam {
            Adam::new(parameters, self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "torch")]
    use crate::train::fit::Descent;

    #[test]
    fn every_setting_out_of_range_is_named() {
        let check = |settings: &AdamSettings| {
            let mut problems = Vec::new();
            settings.check(&mut problems);
            problems.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(check(&AdamSettings::new(1e-4)), Vec::<&str>::new());
        let bad = AdamSettings { lr: 0.0, betas: [1.0, -0.1], epsilon: 0.0, weight_decay: -1.0 };
        let expected =
            ["optimizer.lr", "optimizer.betas", "optimizer.betas", "optimizer.epsilon", "optimizer.weight_decay"];
        assert_eq!(check(&bad), expected);
    }

    /// Where three steps on the loss w^2 lead from w = 1, and, after a restart, one more.
    #[cfg(feature = "torch")]
    fn walk(settings: &AdamSettings) -> [f64; 4] {
        let w = tch::Tensor::from_slice(&[1.0_f64]).set_requires_grad(true);
        let mut adam = Adam::new(vec![w.shallow_clone()], settings);
        [false, false, false, true].map(|restart| {
            if restart {
                adam.restart();
            }
            adam.step(&w.square().sum(tch::Kind::Double)).unwrap();
            w.double_value(&[0])
        })
    }

    #[test]
    #[cfg(feature = "torch")]
    fn steps_are_those_of_the_definition() {
        // By hand: the bias-corrected means of the first step are g and g^2, so it moves by lr g / (|g| + epsilon).
        let first = |w: f64, s: &AdamSettings| {
            let g = 2.0 * w + s.weight_decay * w;
            w - s.lr * g / (g.abs() + s.epsilon)
        };
        let unusual = AdamSettings { lr: 0.1, betas: [0.5, 0.75], epsilon: 0.25, weight_decay: 0.5 };
        for settings in [AdamSettings::new(0.1), unusual] {
            let [w1, w2, w3, again] = walk(&settings);
            assert!((w1 - first(1.0, &settings)).abs() < 1e-12, "{settings:?}: {w1}");
            let [b1, b2] = settings.betas;
            let g = [1.0, w1, w2].map(|w| (2.0 + settings.weight_decay) * w);
            // The means of the second and third step written out, each corrected by what its weights sum to.
            let mean = (b1 * g[0] + g[1]) / (b1 + 1.0);
            let square = (b2 * g[0] * g[0] + g[1] * g[1]) / (b2 + 1.0);
            let second = w1 - settings.lr * mean / (square.sqrt() + settings.epsilon);
            assert!((w2 - second).abs() < 1e-12, "{settings:?}: {w2}, expected {second}");
            let mean = (b1 * b1 * g[0] + b1 * g[1] + g[2]) / (b1 * b1 + b1 + 1.0);
            let square = (b2 * b2 * g[0] * g[0] + b2 * g[1] * g[1] + g[2] * g[2]) / (b2 * b2 + b2 + 1.0);
            let third = w2 - settings.lr * mean / (square.sqrt() + settings.epsilon);
            assert!((w3 - third).abs() < 1e-12, "{settings:?}: {w3}, expected {third}");
            assert!((again - first(w3, &settings)).abs() < 1e-12, "a restart forgets the means and the count");
        }
    }

    #[test]
    #[cfg(feature = "torch")]
    fn a_gradient_of_zero_moves_nothing() {
        let w = tch::Tensor::from_slice(&[1.0_f64, -2.0]).set_requires_grad(true);
        let mut adam = Adam::new(vec![w.shallow_clone()], &AdamSettings::new(0.1));
        adam.step(&(&w * 0.0).sum(tch::Kind::Double)).unwrap();
        assert_eq!(Vec::<f64>::try_from(&w.detach()).unwrap(), [1.0, -2.0]);
    }
}
