//! What methods that climb a loss without bound share: gradients are clipped, and training stops once the class is
//! forgotten. Knows no particular loss.

use crate::train::params::{self, Problem};

/// This project's bound on the norm of the gradients of a step.
#[expect(clippy::unnecessary_wraps, reason = "the default of a param that may be null")]
pub(super) const fn usual_clip_norm() -> Option<f64> {
    Some(1.0)
}

/// The rule of the PRU paper for tuning: a class is forgotten below 1 % accuracy.
#[expect(clippy::unnecessary_wraps, reason = "the default of a param that may be null")]
pub(super) const fn usual_stop_below() -> Option<f64> {
    Some(0.01)
}

pub(super) fn check(clip_norm: Option<f64>, stop_below: Option<f64>, problems: &mut Vec<Problem>) {
    if let Some(norm) = clip_norm {
        params::positive("clip_norm", norm, problems);
    }
    if let Some(accuracy) = stop_below {
        params::fraction("stop_below", accuracy, problems);
    }
}

#[cfg(feature = "torch")]
pub(super) use torch::{Bounds, climb};

#[cfg(feature = "torch")]
mod torch {
    use crate::evaluate::{Metrics, confusion};
    use crate::model::network::{Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, Trainer, timed};
    use crate::train::images::{Batch, Images};
    use crate::train::params::Recipe;
    use crate::train::sgd::Sgd;

    /// Where climbing ends.
    pub(crate) struct Bounds {
        /// See [`Sgd::clipped`].
        pub clip_norm: Option<f64>,
        /// Accuracy on the forget data, 0 to 1, below which an epoch is the last.
        pub stop_below: Option<f64>,
    }

    /// Trains all weights by `step` for the epochs of the recipe, or until the bounds say that it is enough; gives the loss
    /// of each step.
    pub(crate) fn climb(
        network: &Network,
        images: &Images,
        recipe: &Recipe,
        bounds: &Bounds,
        forget_class: u32,
        observer: &mut dyn Observer,
        mut step: impl FnMut(u32, &Batch) -> Result<Step, StageError>,
    ) -> Result<Vec<f64>, StageError> {
        timed(observer, |observer| {
            let sgd = Sgd::new(network.train_only(Part::All), &recipe.optimizer).clipped(bounds.clip_norm);
            let (mut trainer, mut losses) = (Trainer::with(sgd, images, recipe), Vec::new());
            while let Some(mut tally) = trainer.next_epoch(observer, &mut step)? {
                losses.append(&mut tally.losses);
                if let Some(accuracy) = bounds.stop_below {
                    let metrics = Metrics::of(confusion(network, images, observer)?, Some(forget_class));
                    if metrics.forget.is_some_and(|forget| forget < accuracy) {
                        break;
                    }
                }
            }
            Ok(losses)
        })
    }
}
