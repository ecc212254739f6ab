//! Unlearning methods, one file each: a network that knew a class goes in, one that should not comes out.
//!
//! To add a method, copy `random_label.rs`: say in `INPUTS` what data it may see, write its loss in `unlearn`, and add
//! its line to [`crate::BUILTINS`]. `unlearn` takes whatever is random as an argument, so that a test can compare
//! it with a reference implementation.

use rand::Rng;

use crate::rng;

pub mod amnesiac;
mod ascent;
pub mod bad_teacher;
pub mod bias_mask;
pub mod bn_only;
pub mod boundary_expand;
pub mod boundary_shrink;
pub mod classifier_only;
pub mod delete;
pub mod fine_tune;
pub mod gradient_ascent;
pub mod jit;
pub mod l1_sparse;
pub mod l2ul;
pub mod neg_grad_plus;
pub mod pru;
pub mod random_label;
pub mod retrain;
#[cfg(feature = "torch")]
pub mod saliency;
pub mod salun;
pub mod salun_f;
pub mod scrub;
pub mod ssd;
pub mod unroll;
pub mod unroll_of;
pub mod unsir;

#[cfg(feature = "torch")]
use crate::{
    io::StageIo,
    model::network::Network,
    stage::StageError,
    train::images::Images,
    train::params::{Normalise, Precision},
    train::session::{expect_class, load_network},
};

/// For each sample a class drawn uniformly from all but its own. The same seed gives the same labels in every method.
#[must_use]
pub fn wrong_labels(labels: &[i64], classes: u32, seed: u64) -> Vec<i64> {
    let mut stream = rng::stream(seed, "unlearn/wrong-labels");
    let draw = |&own: &i64| {
        let other = stream.random_range(0..i64::from(classes) - 1);
        if other < own { other } else { other + 1 }
    };
    labels.iter().map(draw).collect()
}

/// The network of port `model` and the samples of port `data`, which must all be of the class to be forgotten.
///
/// # Errors
/// When an input is damaged or does not fit, or the data hold another class.
#[cfg(feature = "torch")]
pub fn open(
    io: &StageIo,
    precision: Precision,
    normalise: Option<&Normalise>,
    forget_class: u32,
) -> Result<(Network, Images), StageError> {
    let network = load_network(io, "model", precision, normalise)?;
    let images = Images::load(io, "data", &network)?;
    images.expect_only(forget_class)?;
    Ok((network, images))
}

/// As [`open`], for a port that gives every class but the one to be forgotten.
///
/// # Errors
/// When an input is damaged or does not fit, or the data hold the class to be forgotten.
#[cfg(feature = "torch")]
pub fn open_retain(
    io: &StageIo,
    precision: Precision,
    normalise: Option<&Normalise>,
    forget_class: u32,
) -> Result<(Network, Images), StageError> {
    let (network, images) = open_all(io, precision, normalise, forget_class)?;
    images.expect_without(forget_class)?;
    Ok((network, images))
}

/// As [`open`], for a port that gives all classes.
///
/// # Errors
/// When an input is damaged or does not fit.
#[cfg(feature = "torch")]
pub fn open_all(
    io: &StageIo,
    precision: Precision,
    normalise: Option<&Normalise>,
    forget_class: u32,
) -> Result<(Network, Images), StageError> {
    let network = load_network(io, "model", precision, normalise)?;
    expect_class(&network, forget_class)?;
    let images = Images::load(io, "data", &network)?;
    Ok((network, images))
}

/// As [`open_all`], with the samples of the class to be forgotten and the others apart, each part in stored order.
///
/// # Errors
/// When an input is damaged or does not fit, or one of the parts is empty.
#[cfg(feature = "torch")]
pub fn open_both(
    io: &StageIo,
    precision: Precision,
    normalise: Option<&Normalise>,
    forget_class: u32,
) -> Result<(Network, Images, Images), StageError> {
    let (network, images) = open_all(io, precision, normalise, forget_class)?;
    let (forget, retain) = images.split("data", forget_class)?;
    Ok((network, forget, retain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_labels_are_never_right_and_take_every_other_class() {
        let labels: Vec<i64> = (0..3000).map(|i| i % 3).collect();
        let wrong = wrong_labels(&labels, 4, 7);
        assert!(labels.iter().zip(&wrong).all(|(own, wrong)| own != wrong && (0..4).contains(wrong)));
        for own in 0..3 {
            for other in (0..4).filter(|other| *other != own) {
                let pairs = labels.iter().zip(&wrong);
                let count = pairs.filter(|(label, wrong)| **label == own && **wrong == other).count();
                assert!((260..410).contains(&count), "{own} became {other} {count} times of 1000");
            }
        }
        assert_eq!(wrong, wrong_labels(&labels, 4, 7));
        assert_ne!(wrong, wrong_labels(&labels, 4, 8));
    }
}
