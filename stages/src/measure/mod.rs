//! What networks are measured by, beyond their accuracy: one file each, a JSON output each.
//!
//! Nothing here trains the network that it measures. Tables and figures read the JSON and know nothing of tensors.

#[cfg(feature = "torch")]
pub mod attacks;
pub mod change;
pub mod divergence;
pub mod membership;
pub mod perception;
pub mod probe;
