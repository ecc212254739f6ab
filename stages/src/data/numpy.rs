//! numpy's legacy random numbers: what `np.random.seed(s); np.random.shuffle(np.arange(n))` gives, exactly.
//!
//! Knows one function of `RandomState`, frozen by numpy's compatibility promise (NEP 19), and nothing of data sets.

use rand_mt::Mt;

/// `0..n` after `np.random.seed(seed)` and `np.random.shuffle`.
///
/// MT19937 is seeded by its authors' `init_genrand` with the 32 bits of the seed. The shuffle walks from the last
/// element down and swaps element `i` with one of `0..=i`. numpy draws such a number by masked rejection on whole
/// 32-bit words (`random_interval`): the word is cut to the fewest bits that hold `i`, and drawn again while above `i`.
pub(super) fn shuffled(seed: u32, n: u32) -> Vec<u32> {
    let mut generator = Mt::new(seed);
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..n).rev() {
        let mask = u32::MAX >> i.leading_zeros();
        let j = loop {
            let candidate = generator.next_u32() & mask;
            if candidate <= i {
                break candidate;
            }
        };
        order.swap(i as usize, j as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_of_seed_7_over_60000_are_numpys() {
        assert_eq!(shuffled(7, 60_000)[..5], [25_170, 10_935, 43_596, 13_970, 24_883]);
    }

    #[test]
    fn nothing_and_one_element_stay_as_they_are() {
        assert_eq!(shuffled(7, 0), [0_u32; 0]);
        assert_eq!(shuffled(7, 1), [0]);
    }

    #[test]
    fn every_element_stays_once() {
        let mut order = shuffled(11, 1000);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }
}
