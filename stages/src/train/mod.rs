//! Training: the params that all trainers share, the loop around their losses, and `train/original`.
//!
//! A trainer is a loss for one batch; [`fit::Trainer`] and [`fit::pass`] do the rest: order, augmentation, the
//! optimizer's step, cancellation, progress, and refusing NaN.

pub mod adam;
pub mod original;
pub mod params;

#[cfg(feature = "torch")]
pub mod augment;
#[cfg(feature = "torch")]
pub mod fit;
#[cfg(feature = "torch")]
pub mod images;
#[cfg(feature = "torch")]
pub mod loss;
#[cfg(feature = "torch")]
pub mod resample;
#[cfg(feature = "torch")]
pub mod session;
#[cfg(feature = "torch")]
pub mod sgd;
