//! Means over trials with Student's t interval. Knows nothing of tables.

/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
const T_975: [f64; 30] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448,
    2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484,
    2.0452, 2.0423,
];

/// The 97.5 % quantile of Student's t, within 0.0001; the expansion is Abramowitz and Stegun 26.7.5.
pub(super) fn t_975(degrees_of_freedom: usize) -> f64 {
    if let Some(&quantile) = T_975.get(degrees_of_freedom.wrapping_sub(1)) {
        return quantile;
    }
    let (z, v) = (1.959_964_f64, degrees_of_freedom as f64);
    let square = z * z;
    let first = z * (square + 1.0) / 4.0;
    let second = z * ((5.0 * square + 16.0) * square + 3.0) / 96.0;
    z + first / v + second / (v * v)
}

/// A mean over trials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean {
    pub value: f64,
    /// Half the width of the 95 % interval; needs two trials.
    pub half_width: Option<f64>,
}

/// The mean of the trials' values and its interval: t(n-1) s / sqrt(n), with s the sample deviation.
pub(super) fn mean(values: &[f64]) -> Option<Mean> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let half_width = (values.len() >= 2).then(|| {
        let variance = values.iter().map(|x| (x - value) * (x - value)).sum::<f64>() / (n - 1.0);
        t_975(values.len() - 1) * (variance / n).sqrt()
    });
    Some(Mean { value, half_width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_values_have_two_degrees_of_freedom() {
        // Mean 2, sample deviation 1: 4.3027 / sqrt(3) = 2.48416.
        let three = mean(&[1.0, 2.0, 3.0]).unwrap();
        assert!((three.value - 2.0).abs() < 1e-12);
        assert!((three.half_width.unwrap() - 2.484_165).abs() < 1e-5);
    }

    #[test]
    fn one_value_has_no_interval_and_none_has_no_mean() {
        assert_eq!(mean(&[0.5]), Some(Mean { value: 0.5, half_width: None }));
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn the_expansion_joins_the_table_and_meets_published_quantiles() {
        for (degrees, expected) in [(31, 2.0395), (40, 2.0211), (60, 2.0003), (120, 1.9799), (1_000_000, 1.9600)] {
            assert!((t_975(degrees) - expected).abs() < 1e-4, "{degrees}: {}", t_975(degrees));
        }
        assert!((t_975(4) - 2.7764).abs() < 1e-12);
    }
}
