//! Losses as pure functions of tensors: those of the PRU paper (Zhang, Chen, Zhang, Xu, ACML 2024; its equations are
//! named), and those that several methods share.
//!
//! No function here reads a value back from the device.

use tch::{Kind, Tensor};

/// The 1e-6 that the published code adds to a probability before its logarithm and to the denominators of Eq. 3.
const TINY: f64 = 1e-6;

/// Mean over the batch of -log softmax(logits)[label]; logits [n, K], labels i64 [n].
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    // Not tch's `cross_entropy_for_logits`, which computes in float32 whatever it is given.
    logits.log_softmax(1, logits.kind()).nll_loss(labels)
}

/// The perception that the original network has of a forget sample once the class `forget` does not exist:
/// softmax of its logits [n, K] with that logit at -inf. Equals the paper's redistribution p + `p_f` p / (1 - `p_f`),
/// without its 0/0 when `p_f` rounds to 1.
pub fn masked_target(original_logits: &Tensor, forget: u32) -> Tensor {
    let logits = original_logits.detach().copy();
    let _ = logits.select(1, i64::from(forget)).fill_(f64::NEG_INFINITY);
    logits.softmax(1, logits.kind())
}

/// Eq. 5, `L_p`: the mean over the batch of KL(target || softmax(logits)), the student's side as
/// log(softmax + 1e-6). Both [n, K]; 0 log 0 is 0.
pub fn perception(logits: &Tensor, target: &Tensor) -> Tensor {
    let student = (logits.softmax(1, logits.kind()) + TINY).log();
    (target.special_xlogy(target) - target * student).sum(logits.kind()) / logits.size()[0] as f64
}

/// The mean over the batch of KL(target || softmax(logits)) with a true `log_softmax`. Both [n, K]; 0 log 0 is 0.
pub fn divergence(logits: &Tensor, target: &Tensor) -> Tensor {
    let student = logits.log_softmax(1, logits.kind());
    (target.special_xlogy(target) - target * student).sum(logits.kind()) / logits.size()[0] as f64
}

/// Eq. 3, `L_o` = 1 / (d / lambda + 1e-6), where d = sum over ordered pairs of clusters of the distance between their
/// means / (C (C - 1) + 1e-6). Embeddings [n, D]; labels i64 [n] below `classes` name the clusters. With a single
/// cluster it is 1e6 and has no gradient.
pub fn cluster(embeddings: &Tensor, labels: &Tensor, classes: u32, lambda: f64) -> Tensor {
    let kind = embeddings.kind();
    let members = labels.one_hot(i64::from(classes)).to_kind(kind);
    let sizes = members.sum_dim_intlist([0_i64].as_slice(), false, kind);
    // A sum of products instead of a matrix product, which would round by the device's rules.
    let sums = (members.unsqueeze(2) * embeddings.unsqueeze(1)).sum_dim_intlist([0_i64].as_slice(), false, kind);
    let means = sums / sizes.clamp_min(1.0).unsqueeze(1);
    let present = sizes.gt(0.0).to_kind(kind);
    let (first, second) = pairs(&means);
    let both = present.index_select(0, &first) * present.index_select(0, &second);
    let count = present.sum(kind);
    let distance = (means.pdist(2.0) * both).sum(kind) * 2.0 / (&count * (&count - 1.0) + TINY);
    (distance / lambda + TINY).reciprocal()
}

/// Eq. 4, `L_s`: the mean, over the clusters of at least two members, of the mean distance between two of their
/// members; 0 when there is no such cluster. Arguments as for [`cluster`].
pub fn sample(embeddings: &Tensor, labels: &Tensor, classes: u32) -> Tensor {
    let kind = embeddings.kind();
    let sizes = labels.one_hot(i64::from(classes)).to_kind(kind).sum_dim_intlist([0_i64].as_slice(), false, kind);
    let clusters = sizes.ge(2.0).to_kind(kind).sum(kind).clamp_min(1.0);
    let (first, second) = pairs(embeddings);
    let together = labels.index_select(0, &first).eq_tensor(&labels.index_select(0, &second)).to_kind(kind);
    let m = sizes.index_select(0, &labels.index_select(0, &first));
    // Pairs are unordered: a cluster of m members has m (m - 1) / 2. Where m is 1 nothing is together.
    let weight = together * 2.0 / (&m * (&m - 1.0)).clamp_min(1.0);
    (embeddings.pdist(2.0) * weight).sum(kind) / clusters
}

/// The rows (i, j), i < j, in the order of `pdist`, whose distances are exact differences (never the matrix-product
/// form of `cdist`) with gradient 0 where the distance is 0.
fn pairs(rows: &Tensor) -> (Tensor, Tensor) {
    let n = rows.size()[0];
    let index = Tensor::triu_indices(n, n, 1, (Kind::Int64, rows.device()));
    (index.select(0, 0), index.select(0, 1))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "where 0 is said, exactly 0 is meant")]
mod tests {
    use super::*;

    fn value(x: &Tensor) -> f64 {
        x.double_value(&[])
    }

    fn rows(values: &[[f64; 2]]) -> Tensor {
        Tensor::from_slice2(values).set_requires_grad(true)
    }

    fn gradient(of: &Tensor, at: &Tensor) -> Vec<f64> {
        Vec::try_from(Tensor::run_backward(&[of], &[at], false, false)[0].flatten(0, -1)).expect("a vector of f64")
    }

    #[test]
    fn the_masked_target_is_the_paper_redistribution() {
        let logits = Tensor::from_slice2(&[[0.3, -1.0, 2.0, 0.5], [1.0, 1.0, 1.0, 1.0]]);
        let p = logits.softmax(1, Kind::Double);
        let forget = p.select(1, 2).unsqueeze(1);
        let paper: Tensor = &p + &forget * &p / (1.0 - &forget);
        let target = masked_target(&logits, 2);
        for column in [0, 1, 3] {
            let difference = (target.select(1, column) - paper.select(1, column)).abs().max();
            assert!(value(&difference) < 1e-15);
        }
        assert_eq!(value(&target.select(1, 2).abs().max()), 0.0);
    }

    #[test]
    fn a_logit_gap_of_a_thousand_gives_no_nan_in_loss_or_gradient() {
        for kind in [Kind::Float, Kind::Double] {
            let original = Tensor::from_slice2(&[[0.0, 1000.0, 1.0, -1000.0]]).to_kind(kind);
            let target = masked_target(&original, 1);
            assert!(value(&target.sum(Kind::Double)) > 0.999);
            let logits = Tensor::from_slice2(&[[0.0, 1000.0, 0.0, 0.0]]).to_kind(kind).set_requires_grad(true);
            let loss = perception(&logits, &target);
            assert!(value(&loss).is_finite());
            let gradient = &Tensor::run_backward(&[&loss], &[&logits], false, false)[0];
            assert_eq!(value(&gradient.isfinite().all().to_kind(Kind::Double)), 1.0);
        }
    }

    #[test]
    fn divergence_is_that_of_the_definition_and_its_gradient_is_softmax_minus_target() {
        let target = Tensor::from_slice2(&[[0.5, 0.5, 0.0], [0.25, 0.0, 0.75]]);
        let logits = rows(&[[1.0, 2.0], [-0.5, 0.25]]);
        let logits = Tensor::cat(&[logits.detach(), Tensor::from_slice2(&[[0.5], [3.0]])], 1).set_requires_grad(true);
        let loss = divergence(&logits, &target);
        let p = logits.detach().softmax(1, Kind::Double);
        let term = |row: i64, k: i64, t: f64| t * (t / p.double_value(&[row, k])).ln();
        let expected = (term(0, 0, 0.5) + term(0, 1, 0.5) + term(1, 0, 0.25) + term(1, 2, 0.75)) / 2.0;
        assert!((value(&loss) - expected).abs() < 1e-12);
        let expected: Vec<f64> = Vec::try_from(((&p - &target) / 2.0).flatten(0, -1)).expect("a vector of f64");
        for (ours, theirs) in gradient(&loss, &logits).iter().zip(expected) {
            assert!((ours - theirs).abs() < 1e-12);
        }
        // No 1e-6 in the logarithm: a gap of 1000 costs 1000, where `perception` ends at -ln 1e-6.
        let target = Tensor::from_slice2(&[[1.0, 0.0]]);
        let logits = Tensor::from_slice2(&[[0.0, 1000.0]]);
        assert_eq!(value(&divergence(&logits, &target)), 1000.0);
    }

    #[test]
    fn cluster_loss_is_one_over_the_mean_distance_of_means() {
        // Means (0, 0), (3, 4), and (0, 8) of one sample: distances 5, 8, 5.
        let e = rows(&[[-1.0, 0.0], [1.0, 0.0], [3.0, 4.0], [0.0, 8.0]]);
        let labels = Tensor::from_slice(&[0_i64, 0, 3, 4]);
        let expected = |lambda: f64| 1.0 / ((36.0 / (6.0 + 1e-6)) / lambda + 1e-6);
        assert!((value(&cluster(&e, &labels, 5, 1.0)) - expected(1.0)).abs() < 1e-12);
        assert!((value(&cluster(&e, &labels, 5, 2.0)) - expected(2.0)).abs() < 1e-12);
    }

    #[test]
    fn one_cluster_has_loss_a_million_and_no_gradient() {
        let e = rows(&[[-1.0, 0.0], [1.0, 0.5]]);
        let loss = cluster(&e, &Tensor::from_slice(&[2_i64, 2]), 10, 1.0);
        assert!((value(&loss) - 1e6).abs() < 1e-3);
        assert_eq!(gradient(&loss, &e), [0.0; 4]);
    }

    #[test]
    fn sample_loss_weighs_clusters_equally_and_skips_single_members() {
        // Cluster 0: distances 5, 5, 0 (mean 10 / 3); cluster 1: distance 2; cluster 2: one member.
        let e = rows(&[[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [9.0, 9.0]]);
        let labels = Tensor::from_slice(&[0_i64, 0, 0, 1, 1, 2]);
        let loss = sample(&e, &labels, 3);
        assert!((value(&loss) - f64::midpoint(10.0 / 3.0, 2.0)).abs() < 1e-12);
        assert!(gradient(&loss, &e).iter().all(|g| g.is_finite()));
    }

    #[test]
    fn one_sample_alone_has_sample_loss_zero_and_a_zero_gradient() {
        let e = rows(&[[1.0, 2.0]]);
        let loss = sample(&e, &Tensor::from_slice(&[4_i64]), 10);
        assert_eq!(value(&loss), 0.0);
        assert_eq!(gradient(&loss, &e), [0.0; 2]);
    }
}
