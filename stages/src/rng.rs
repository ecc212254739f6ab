//! Randomness that depends on a seed and a purpose alone: the same on every machine, device and number of threads.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// A ChaCha20 stream keyed by BLAKE3(seed, purpose). Purposes name what is drawn, for instance `init` or
/// `order/epoch-3`, so that adding a draw for one purpose never shifts another.
#[must_use]
pub fn stream(seed: u64, purpose: &str) -> ChaCha20Rng {
    let mut hasher = blake3::Hasher::new_derive_key("pru-flow 2026 random stream");
    hasher.update(&seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    ChaCha20Rng::from_seed(*hasher.finalize().as_bytes())
}

/// A permutation of `0..n` by Fisher-Yates.
#[must_use]
pub fn permutation(rng: &mut ChaCha20Rng, n: usize) -> Vec<usize> {
    use rand::seq::SliceRandom;
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(rng);
    order
}

/// `n` draws from the normal distribution of mean 0 and deviation 1.
#[must_use]
pub fn normal(rng: &mut ChaCha20Rng, n: usize) -> Vec<f64> {
    use rand::Rng;
    rng.sample_iter(rand_distr::StandardNormal).take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_draws_have_the_moments_and_tails_of_the_normal_distribution() {
        let draws = normal(&mut stream(7, "noise"), 100_000);
        let moment = |power: i32| draws.iter().map(|x| x.powi(power)).sum::<f64>() / draws.len() as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02, "{} {}", moment(1), moment(2));
        assert!(moment(3).abs() < 0.05 && (moment(4) - 3.0).abs() < 0.15, "{} {}", moment(3), moment(4));
        let beyond = draws.iter().filter(|x| x.abs() > 1.959_964).count() as f64 / draws.len() as f64;
        assert!((beyond - 0.05).abs() < 0.003, "{beyond}");
        assert_eq!(draws[..10], normal(&mut stream(7, "noise"), 10));
    }

    #[test]
    fn streams_differ_by_seed_and_by_purpose_and_repeat() {
        let draw = |seed, purpose| permutation(&mut stream(seed, purpose), 100);
        assert_eq!(draw(7, "order"), draw(7, "order"));
        assert_ne!(draw(7, "order"), draw(8, "order"));
        assert_ne!(draw(7, "order"), draw(7, "init"));
    }
}
