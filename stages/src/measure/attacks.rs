//! The classifiers behind [`super::membership`]: what they are fitted on and what they are asked.
//!
//! Knows no network; the fits are those of `pru_flow_classifiers`.

use pru_flow_classifiers::{Binary, Rows};

use super::membership::{Attacks, Params};

/// What the attacks see of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// Its class.
    pub label: u32,
    /// Probability of that class.
    pub confidence: f64,
    /// Entropy of all probabilities, natural logarithm.
    pub entropy: f64,
    /// Cross-entropy.
    pub loss: f64,
}

/// Runs the three attacks on the outputs for samples that the original was trained on and for unseen ones.
///
/// # Errors
/// When a side has fewer than 10 samples, or a fit fails.
pub fn attacks(known: &[Output], unseen: &[Output], params: &Params) -> Result<Attacks, String> {
    let is_forget = |output: &&Output| output.label == params.forget_class;
    let of = |outputs: &[Output], forget: bool| -> Vec<Output> {
        outputs.iter().filter(|output| is_forget(output) == forget).copied().collect()
    };
    let [forgotten, members] = [of(known, true), of(known, false)];
    let [unseen_forget, strangers] = [of(unseen, true), of(unseen, false)];
    let (members, strangers) = equal_sides(members, strangers, params, "retain")?;
    let (same_class, unseen_class) = equal_sides(forgotten.clone(), unseen_forget, params, "forget")?;
    let column = |outputs: &[Output], of: fn(&Output) -> f64| -> Vec<f64> { outputs.iter().map(of).collect() };
    let share = |hits: Vec<bool>| hits.iter().filter(|hit| **hit).count() as f64 / hits.len() as f64;
    let confidence = support_vectors(&column(&members, |o| o.confidence), &column(&strangers, |o| o.confidence))?;
    let entropy = logistic(&column(&members, |o| o.entropy), &column(&strangers, |o| o.entropy))?;
    let loss = tenths(&column(&same_class, |o| o.loss), &column(&unseen_class, |o| o.loss))?;
    Ok(Attacks {
        confidence: share(
            confidence
                .predict(Rows::new(&column(&forgotten, |o| o.confidence), 1))
                .into_iter()
                .map(|yes| !yes)
                .collect(),
        ),
        entropy: share(entropy.predict(Rows::new(&column(&forgotten, |o| o.entropy), 1))),
        loss,
        fitted_on: [members.len() as u64, same_class.len() as u64],
    })
}

/// As many of both, at most `samples`, drawn by the seed.
fn equal_sides(
    first: Vec<Output>,
    second: Vec<Output>,
    params: &Params,
    part: &str,
) -> Result<(Vec<Output>, Vec<Output>), String> {
    let count = first.len().min(second.len()).min(params.samples as usize);
    if count < 10 {
        return Err(format!("{} and {} {part} samples; an attack needs 10 of each", first.len(), second.len()));
    }
    let draw = |outputs: Vec<Output>, side: &str| -> Vec<Output> {
        let mut stream = crate::rng::stream(params.seed, &format!("membership/{part}/{side}"));
        let order = crate::rng::permutation(&mut stream, outputs.len());
        order.into_iter().take(count).map(|row| outputs[row]).collect()
    };
    Ok((draw(first, "trained-on"), draw(second, "unseen")))
}

/// Accuracy of a logistic regression on tenths that it was not fitted on; both sides are in random order and of one size.
fn tenths(yes: &[f64], no: &[f64]) -> Result<f64, String> {
    let mut right = 0;
    for tenth in 0..10 {
        let part = |values: &[f64], held_out: bool| -> Vec<f64> {
            let rows = values.iter().enumerate().filter(|(row, _)| (row % 10 == tenth) == held_out);
            rows.map(|(_, value)| *value).collect()
        };
        let fitted = logistic(&part(yes, false), &part(no, false))?;
        right += fitted.predict(Rows::new(&part(yes, true), 1)).into_iter().filter(|hit| *hit).count();
        right += fitted.predict(Rows::new(&part(no, true), 1)).into_iter().filter(|hit| !*hit).count();
    }
    Ok(right as f64 / (yes.len() + no.len()) as f64)
}

/// Examples of one number each, those of `yes` first and true.
fn examples(yes: &[f64], no: &[f64]) -> (Vec<f64>, Vec<bool>) {
    let all: Vec<f64> = yes.iter().chain(no).copied().collect();
    let labels = (0..all.len()).map(|row| row < yes.len()).collect();
    (all, labels)
}

/// As scikit-learn's `SVC(C=3, gamma="auto")` on one feature.
fn support_vectors(yes: &[f64], no: &[f64]) -> Result<Binary, String> {
    let (values, labels) = examples(yes, no);
    Binary::support_vectors(Rows::new(&values, 1), &labels, 3.0, 1.0)
}

/// With an L2 penalty of 1, scikit-learn's default.
fn logistic(yes: &[f64], no: &[f64]) -> Result<Binary, String> {
    let (values, labels) = examples(yes, no);
    Binary::logistic(Rows::new(&values, 1), &labels, 1.0, 500)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    fn outputs(n: usize, label: u32, confidence: impl Fn(f64) -> f64, purpose: &str) -> Vec<Output> {
        let mut stream = crate::rng::stream(7, purpose);
        let output = |_| {
            let p = confidence(stream.random::<f64>());
            let q = 1.0 - p;
            Output { label, confidence: p, entropy: -(p * p.ln() + q * q.ln()), loss: -p.ln() }
        };
        (0..n).map(output).collect()
    }

    fn params() -> Params {
        Params { forget_class: 3, samples: 200, normalise: None, seed: 7 }
    }

    #[test]
    fn a_network_that_knows_its_training_data_is_found_out_and_one_that_does_not_is_not() {
        let sure = |u: f64| 0.95 + 0.04 * u;
        let unsure = |u: f64| 0.5 + 0.2 * u;
        let unseen = [outputs(400, 1, unsure, "a"), outputs(90, 3, unsure, "b")].concat();
        let knows = [outputs(500, 1, sure, "c"), outputs(120, 3, sure, "d")].concat();
        let found = attacks(&knows, &unseen, &params()).unwrap();
        assert!(found.confidence < 0.01 && found.entropy > 0.99 && found.loss > 0.95, "{found:?}");
        let forgot = [outputs(500, 1, sure, "c"), outputs(120, 3, unsure, "d")].concat();
        let hidden = attacks(&forgot, &unseen, &params()).unwrap();
        assert!(hidden.confidence > 0.99 && hidden.entropy < 0.01, "{hidden:?}");
        assert!((0.35..0.65).contains(&hidden.loss), "{hidden:?}");
        assert_eq!(hidden.fitted_on, [200, 90]);
    }

    #[test]
    fn too_few_samples_are_an_error_that_counts_them() {
        let some = [outputs(50, 1, |_| 0.5, "a"), outputs(4, 3, |_| 0.5, "b")].concat();
        let problem = attacks(&some, &some, &params()).unwrap_err();
        assert_eq!(problem, "4 and 4 forget samples; an attack needs 10 of each");
    }
}
