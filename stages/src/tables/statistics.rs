//! Means over trials with Student's t interval. Knows nothing of tables.

/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
const T_975: [f64; 30] = [
    12.706_204_736_2,
    4.302_652_729_7,
    3.182_446_305_3,
    2.776_445_105_2,
    2.570_581_835_6,
    2.446_911_851_1,
    2.364_624_251_6,
    2.306_004_135_2,
    2.262_157_162_8,
    2.228_138_852_0,
    2.200_985_160_1,
    2.178_812_829_7,
    2.160_368_656_5,
    2.144_786_687_9,
    2.131_449_545_6,
    2.119_905_299_2,
    2.109_815_577_8,
    2.100_922_040_2,
    2.093_024_054_4,
    2.085_963_447_3,
    2.079_613_844_7,
    2.073_873_067_9,
    2.068_657_610_4,
    2.063_898_561_6,
    2.059_538_552_8,
    2.055_529_438_6,
    2.051_830_516_5,
    2.048_407_141_8,
    2.045_229_642_1,
    2.042_272_456_3,
];

/// The 97.5 % quantile of Student's t, within 1e-7; the expansion is Abramowitz and Stegun 26.7.5.
pub(super) fn t_975(degrees_of_freedom: usize) -> f64 {
    if let Some(&quantile) = T_975.get(degrees_of_freedom.wrapping_sub(1)) {
        return quantile;
    }
    let (z, v) = (1.959_963_984_540_054_f64, degrees_of_freedom as f64);
    let s = z * z;
    let terms = [
        z * (s + 1.0) / 4.0,
        z * ((5.0 * s + 16.0) * s + 3.0) / 96.0,
        z * (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0,
        z * ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) / 92_160.0,
    ];
    z + terms.iter().rev().fold(0.0, |sum, term| (sum + term) / v)
}

/// A mean over trials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean.
    pub value: f64,
    /// The sample deviation; needs two trials.
    pub deviation: Option<f64>,
    /// Half the width of the 95 % interval; needs two trials.
    pub half_width: Option<f64>,
    /// Trials.
    pub n: usize,
}

impl Mean {
    /// In another unit.
    pub(crate) fn times(self, factor: f64) -> Self {
        let scaled = |value: f64| value * factor;
        Self {
            value: scaled(self.value),
            deviation: self.deviation.map(scaled),
            half_width: self.half_width.map(scaled),
            n: self.n,
        }
    }
}

/// The mean of the trials' values and its interval: t(n-1) s / sqrt(n), with s the sample deviation.
#[must_use]
pub fn mean(values: &[f64]) -> Option<Mean> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let deviation =
        (values.len() >= 2).then(|| (values.iter().map(|x| (x - value) * (x - value)).sum::<f64>() / (n - 1.0)).sqrt());
    let half_width = deviation.map(|s| t_975(values.len() - 1) * s / n.sqrt());
    Some(Mean { value, deviation, half_width, n: values.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_values_have_two_degrees_of_freedom() {
        // Mean 2, sample deviation 1: 4.302653 / sqrt(3) = 2.484138.
        let three = mean(&[1.0, 2.0, 3.0]).unwrap();
        assert!((three.value - 2.0).abs() < 1e-12);
        assert!((three.deviation.unwrap() - 1.0).abs() < 1e-12);
        assert!((three.half_width.unwrap() - 2.484_137_7).abs() < 1e-7);
        assert_eq!(three.n, 3);
    }

    /// From `numpy.std(x, ddof=1)` and `scipy.stats.t.interval(0.95, 4, mean, sem(x))`.
    #[test]
    fn five_values_agree_with_scipy() {
        let five = mean(&[84.1, 86.35, 83.92, 85.0, 84.77]).unwrap();
        assert!((five.value - 84.828).abs() < 1e-10);
        assert!((five.deviation.unwrap() - 0.962_273_349_938).abs() < 1e-9, "{five:?}");
        assert!((five.half_width.unwrap() - 1.194_820_175_048).abs() < 1e-9, "{five:?}");
    }

    #[test]
    fn one_value_has_no_interval_and_none_has_no_mean() {
        assert_eq!(mean(&[0.5]), Some(Mean { value: 0.5, deviation: None, half_width: None, n: 1 }));
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn the_expansion_joins_the_table_and_meets_published_quantiles() {
        let quantiles = [
            (31, 2.039_513_446_4),
            (40, 2.021_075_390_3),
            (60, 2.000_297_822_0),
            (120, 1.979_930_405_1),
            (1000, 1.962_339_080_8),
        ];
        for (degrees, expected) in quantiles {
            assert!((t_975(degrees) - expected).abs() < 1e-7, "{degrees}: {}", t_975(degrees));
        }
        assert!((t_975(4) - 2.776_445_105_2).abs() < 1e-12);
    }
}
