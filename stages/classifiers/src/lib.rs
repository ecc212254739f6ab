//! Small classifiers fitted on the CPU in float64: linfa's, behind plain slices.
//!
//! A crate of its own because linfa is generic throughout: here it is compiled once, and not again with every change
//! of a stage. Knows nothing of networks.

use linfa::Dataset;
use linfa::prelude::{Fit, Predict};
use linfa_logistic::{LogisticRegression, MultiLogisticRegression};
use linfa_svm::Svm;
use ndarray::{Array1, Array2, ArrayView2};

/// Rows of equally many features, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [f64],
    features: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `features` values each.
    ///
    /// # Panics
    /// When the values do not fill whole rows.
    #[must_use]
    pub fn new(values: &'a [f64], features: usize) -> Self {
        assert!(features > 0 && values.len().is_multiple_of(features), "whole rows");
        Self { values, features }
    }

    fn view(self) -> ArrayView2<'a, f64> {
        let shape = (self.values.len() / self.features, self.features);
        ArrayView2::from_shape(shape, self.values).expect("`new` checked that the values fill whole rows")
    }
}

/// A fitted classifier of two classes.
pub struct Binary(Kind);

enum Kind {
    Logistic(linfa_logistic::FittedLogisticRegression<f64, bool>),
    SupportVectors(Svm<f64, bool>),
}

impl Binary {
    /// Logistic regression with an intercept: minimises the summed cross-entropy + `penalty`/2 |w|², by L-BFGS.
    ///
    /// # Errors
    /// When there are not two classes, or the fit fails.
    pub fn logistic(rows: Rows, labels: &[bool], penalty: f64, iterations: u32) -> Result<Self, String> {
        let dataset = Dataset::new(rows.view().to_owned(), labels.iter().copied().collect::<Array1<bool>>());
        let settings = LogisticRegression::default().alpha(penalty).max_iterations(u64::from(iterations));
        let fitted = settings.fit(&dataset).map_err(|e| format!("fitting a logistic regression: {e}"))?;
        Ok(Self(Kind::Logistic(fitted)))
    }

    /// Support vectors with the kernel exp(-`gamma` |x - y|²) and cost `c`, as scikit-learn's `SVC(C=c, gamma=gamma)`.
    /// Memory: 8 bytes for each pair of rows.
    ///
    /// # Errors
    /// When the fit fails.
    pub fn support_vectors(rows: Rows, labels: &[bool], c: f64, gamma: f64) -> Result<Self, String> {
        let dataset = Dataset::new(rows.view().to_owned(), labels.iter().copied().collect::<Array1<bool>>());
        // linfa's kernel divides by its parameter.
        let settings = Svm::<f64, bool>::params().pos_neg_weights(c, c).gaussian_kernel(1.0 / gamma);
        let fitted = settings.fit(&dataset).map_err(|e| format!("fitting support vectors: {e}"))?;
        Ok(Self(Kind::SupportVectors(fitted)))
    }

    /// Whether each row is of the class `true`.
    #[must_use]
    pub fn predict(&self, rows: Rows) -> Vec<bool> {
        let records: Array2<f64> = rows.view().to_owned();
        match &self.0 {
            Kind::Logistic(fitted) => fitted.predict(&records).to_vec(),
            Kind::SupportVectors(fitted) => fitted.predict(&records).to_vec(),
        }
    }

    /// The probability of `true` by logistic regression; support vectors give none.
    #[must_use]
    pub fn probabilities(&self, rows: Rows) -> Option<Vec<f64>> {
        let Kind::Logistic(fitted) = &self.0 else { return None };
        let positive = fitted.predict_probabilities(&rows.view().to_owned());
        // linfa calls one of the two labels positive, and not always the same.
        let is_true = fitted.labels().pos.class;
        Some(positive.iter().map(|&p| if is_true { p } else { 1.0 - p }).collect())
    }
}

/// Multinomial logistic regression with intercepts: minimises the summed cross-entropy + `penalty`/2 |W|², by L-BFGS.
/// Gives the predicted class of each row of `asked`.
///
/// # Errors
/// When the fit fails.
pub fn multinomial(
    rows: Rows,
    labels: &[usize],
    asked: Rows,
    penalty: f64,
    iterations: u32,
) -> Result<Vec<usize>, String> {
    let dataset = Dataset::new(rows.view().to_owned(), labels.iter().copied().collect::<Array1<usize>>());
    let settings = MultiLogisticRegression::default().alpha(penalty).max_iterations(u64::from(iterations));
    let fitted = settings.fit(&dataset).map_err(|e| format!("fitting a multinomial regression: {e}"))?;
    Ok(fitted.predict(&asked.view().to_owned()).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best weight and intercept of a one-feature logistic regression are where the gradient vanishes.
    #[test]
    fn a_logistic_regression_ends_where_the_penalised_gradient_is_zero() {
        let (x, labels) = ([-1.0, 0.5, 0.2, 2.0, 1.0, -0.3], [false, false, true, true, true, false]);
        let fitted = Binary::logistic(Rows::new(&x, 1), &labels, 1.0, 500).unwrap();
        let logit = |x: f64| {
            let p = fitted.probabilities(Rows::new(&[x], 1)).unwrap()[0];
            (p / (1.0 - p)).ln()
        };
        let (intercept, weight) = (logit(0.0), logit(1.0) - logit(0.0));
        let error = |x: f64, label: bool| 1.0 / (1.0 + (-(weight * x + intercept)).exp()) - f64::from(u8::from(label));
        let by_intercept: f64 = x.iter().zip(labels).map(|(x, label)| error(*x, label)).sum();
        let by_weight: f64 = x.iter().zip(labels).map(|(x, label)| error(*x, label) * x).sum::<f64>() + weight;
        assert!(by_intercept.abs() < 1e-3 && by_weight.abs() < 1e-3, "{by_intercept} {by_weight}");
        assert!(weight > 0.3, "{weight}");
    }

    #[test]
    fn probabilities_are_of_true_whichever_label_comes_first() {
        for swap in [false, true] {
            let x = if swap { [3.0, 2.0, -2.0, -3.0] } else { [-3.0, -2.0, 2.0, 3.0] };
            let labels = x.map(|x| x > 0.0);
            let fitted = Binary::logistic(Rows::new(&x, 1), &labels, 1.0, 100).unwrap();
            let p = fitted.probabilities(Rows::new(&[-2.5, 2.5], 1)).unwrap();
            assert!(p[0] < 0.2 && p[1] > 0.8, "{p:?}");
            assert_eq!(fitted.predict(Rows::new(&[-2.5, 2.5], 1)), [false, true]);
        }
    }

    #[test]
    fn support_vectors_find_a_class_between_two_others() {
        let x: Vec<f64> = (0..60).map(|i| f64::from(i) / 10.0).collect();
        let labels: Vec<bool> = x.iter().map(|x| (2.0..4.0).contains(x)).collect();
        let fitted = Binary::support_vectors(Rows::new(&x, 1), &labels, 3.0, 1.0).unwrap();
        assert_eq!(fitted.predict(Rows::new(&[0.5, 3.0, 5.5], 1)), [false, true, false]);
        assert_eq!(fitted.probabilities(Rows::new(&[0.5], 1)), None);
    }

    #[test]
    fn three_classes_in_a_plane_are_told_apart() {
        let corners = [[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]];
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for i in 0..30_u32 {
            let (class, shift) = ((i % 3) as usize, f64::from(i / 3) / 20.0);
            rows.extend(corners[class].map(|c| c + shift));
            labels.push(class);
        }
        let asked = corners.concat();
        let found = multinomial(Rows::new(&rows, 2), &labels, Rows::new(&asked, 2), 1.0, 200).unwrap();
        assert_eq!(found, [0, 1, 2]);
    }
}
