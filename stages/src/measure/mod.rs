//! What networks are measured by, beyond their accuracy: one file each, a JSON output each.
//!
//! Nothing here gives a trained network back: what `relearn_time` trains is gone once it is measured. Tables and figures
//! read the JSON and know nothing of tensors.

#[cfg(feature = "torch")]
pub mod attacks;
pub mod change;
pub mod divergence;
pub mod membership;
pub mod perception;
pub mod probe;
pub mod relearn_time;
pub mod similarity;
