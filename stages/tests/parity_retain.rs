//! Agreement with PyTorch of the methods that read retain data: every case of `tests/reference/RETAIN_DATA.md`, computed in
//! float64 by a script written from the equations.
//!
//! Tolerances and what they separate are stated there. Knows nothing of files, keys or workers: it calls the methods
//! beneath the stages, with the reference's weights, order and random draws.
#![cfg(feature = "torch")]
#![expect(clippy::needless_pass_by_value, reason = "params are written in place, as `json!({..})`")]

mod agreement;

use agreement::{
    FORGET, LOSSES, Plan, Tensors, WEIGHTS, assert_agrees, compared_first_step, compared_gradients, images, integers,
    is_forget, largest_difference, network, params, random_labels, read, trainable_names,
};
use pru_flow_stages::model::init;
use pru_flow_stages::model::network::{Mode, Network, Part};
use pru_flow_stages::train::fit::{Silent, Step};
use pru_flow_stages::train::images::{Batch, Images};
use pru_flow_stages::train::params::Precision;
use pru_flow_stages::unlearn::{
    amnesiac, bad_teacher, fine_tune, l1_sparse, neg_grad_plus, saliency, salun, scrub, ssd, unsir,
};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

// ------------------------------------------------------------------------------------------ what the cases share

/// `D_f` and `D_r`.
fn parts(network: &Network) -> (Images, Images) {
    (images(network, is_forget), images(network, |label| !is_forget(label)))
}

fn rows(case: &Tensors) -> Vec<usize> {
    integers(&case["rows"]).into_iter().map(|row| usize::try_from(row).expect("a position")).collect()
}

/// Where the trainable tensors of a network differ from those of `converged`, by name.
fn moved(network: &Network) -> Vec<(String, Tensor)> {
    let start = agreement::network("converged", Precision::F64).train_only(Part::All);
    let differs = network.train_only(Part::All).into_iter().zip(start).map(|(now, start)| now.ne_tensor(&start));
    trainable_names(Part::All).into_iter().zip(differs).collect()
}

fn count(marks: &Tensor) -> i64 {
    marks.to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[])
}

// ------------------------------------------------------------------------------------------ retain data alone

#[test]
fn fine_tune_agrees() {
    let network = network("converged", Precision::F64);
    let settings = json!({"optimizer": {"lr": 1e-2, "weight_decay": 5e-4}});
    let (_, retain) = parts(&network);
    let params = params::<fine_tune::FineTune>(settings);
    let losses = fine_tune::unlearn(&network, &retain, &params, &mut Silent).expect("fine_tune works");
    assert_agrees("fine_tune", &network, &losses);
}

fn l1_params() -> l1_sparse::Params {
    params::<l1_sparse::L1Sparse>(json!({
        "batch_size": 32, "epochs": 3, "optimizer": {"lr": 1e-2, "weight_decay": 0}, "gamma": 5e-4,
    }))
}

#[test]
fn l1_sparse_agrees() {
    let network = network("converged", Precision::F64);
    let (_, retain) = parts(&network);
    let losses = l1_sparse::unlearn(&network, &retain, &l1_params(), &mut Silent).expect("l1_sparse works");
    assert_agrees("l1_sparse", &network, &losses);
}

fn unsir_params() -> unsir::Params {
    params::<unsir::Unsir>(json!({
        "batch_size": 16, "noise_batch": 8, "noise_steps": 5, "noise_lr": 0.1, "noise_copies": 3,
        "samples_per_class": 6, "lr_impair": 1e-3, "lr_repair": 5e-4,
    }))
}

/// The reference's noise to begin with.
fn start_noise(case: &Tensors, kind: Kind) -> Tensor {
    case["noise_units"].to_kind(kind) / 128.0 + 0.5
}

#[test]
fn unsir_agrees() {
    let (network, case) = (network("converged", Precision::F64), read("unsir"));
    let (_, retain) = parts(&network);
    let start = start_noise(&case, Kind::Double);
    let losses = unsir::unlearn(&network, &retain, &start, &rows(&case), &unsir_params(), &mut Silent);
    assert_agrees("unsir", &network, &losses.expect("unsir works"));
}

#[test]
fn the_noise_of_unsir_agrees_and_takes_its_steps_apart_from_the_network() {
    let (network, case) = (network("converged", Precision::F64), read("unsir"));
    let start = start_noise(&case, Kind::Double);
    let (noise, tally) = unsir::trained_noise(&network, &start, &unsir_params(), &mut Silent).expect("it works");
    let difference = largest_difference(&noise, &case["noise"]);
    assert!(difference <= WEIGHTS, "the noise differs by {difference:e}");
    let losses = Vec::<f64>::try_from(&case["losses"]).expect("a vector of f64");
    assert!(
        tally.losses.iter().zip(&losses).all(|(ours, theirs)| (ours - theirs).abs() <= LOSSES * theirs.abs().max(1.0))
    );
    assert_eq!(tally.losses.len(), 5);
    assert!(largest_difference(&start, &start_noise(&case, Kind::Double)) <= 0.0, "the start is left as it is");
    assert!(moved(&network).iter().all(|(_, moved)| count(moved) == 0));
}

// ------------------------------------------------------------------------------------------ both parts

fn neg_grad_params(more: Value) -> neg_grad_plus::Params {
    let mut settings = json!({"batch_size": 24, "epochs": 3, "optimizer": {"lr": 3e-4, "weight_decay": 5e-3}});
    settings.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    params::<neg_grad_plus::NegGradPlus>(settings)
}

fn assert_neg_grad_plus_agrees(case: &str, more: Value) {
    let network = network("converged", Precision::F64);
    let (forget, retain) = parts(&network);
    let losses = neg_grad_plus::unlearn(&network, &forget, &retain, &neg_grad_params(more), &mut Silent);
    assert_agrees(case, &network, &losses.expect("neg_grad_plus works"));
}

#[test]
fn neg_grad_plus_agrees() {
    assert_neg_grad_plus_agrees("neg_grad_plus", json!({}));
}

#[test]
fn neg_grad_plus_with_a_pull_to_the_start_agrees() {
    assert_neg_grad_plus_agrees("neg_grad_plus_pull", json!({"pull": 20}));
}

#[test]
fn neg_grad_plus_in_train_mode_agrees() {
    let more = json!({"batch_norm": "train", "optimizer": {"lr": 1e-2, "weight_decay": 5e-3}});
    assert_neg_grad_plus_agrees("neg_grad_plus_bn_train", more);
}

#[test]
fn salun_agrees_and_leaves_every_bit_outside_its_mask() {
    let (network, case) = (network("converged", Precision::F64), read("salun"));
    let (forget, retain) = parts(&network);
    let settings = json!({
        "batch_size": 32, "epochs": 3, "optimizer": {"lr": 5e-3, "weight_decay": 5e-4}, "saliency": 0.5,
    });
    let params = params::<salun::Salun>(settings);
    let masks = saliency::mask(&network, &forget, 32, 0.5, &mut Silent).expect("a mask");
    let losses = salun::unlearn(&network, &forget, &retain, &random_labels(), &params, &mut Silent);
    assert_agrees("salun", &network, &losses.expect("salun works"));
    for ((name, moved), mask) in moved(&network).iter().zip(&masks) {
        assert_eq!(integers(mask), integers(&case[&format!("mask/{name}")]), "{name}");
        assert_eq!(count(&moved.logical_and(&mask.logical_not())), 0, "{name}: a weight outside the mask moved");
    }
}

fn scrub_params() -> scrub::Params {
    params::<scrub::Scrub>(json!({
        "batch_size": 32, "forget_batch_size": 16, "epochs": 3, "max_epochs": 2,
        "optimizer": {"lr": 5e-3, "weight_decay": 5e-4}, "gamma": 0.9, "alpha": 0.1, "temperature": 4,
    }))
}

#[test]
fn scrub_agrees() {
    let network = network("converged", Precision::F64);
    let (forget, retain) = parts(&network);
    let losses = scrub::unlearn(&network, &forget, &retain, &scrub_params(), &mut Silent).expect("scrub works");
    assert_agrees("scrub", &network, &losses);
}

fn bad_teacher_params() -> bad_teacher::Params {
    params::<bad_teacher::BadTeacher>(json!({
        "batch_size": 32, "epochs": 2, "optimizer": {"lr": 1e-3}, "share": 0.3,
    }))
}

#[test]
fn bad_teacher_agrees() {
    let (network, case) = (network("converged", Precision::F64), read("bad_teacher"));
    let fresh = agreement::network("incompetent", Precision::F64);
    let (forget, retain) = parts(&network);
    let params = bad_teacher_params();
    let losses = bad_teacher::unlearn(&network, &forget, &retain, &fresh, &rows(&case), &params, &mut Silent);
    assert_agrees("bad_teacher", &network, &losses.expect("bad_teacher works"));
}

/// Both cases: which weights are dampened, and to what.
fn assert_ssd_agrees(case: &str, alpha: f64, lambda: f64, clipped: bool) {
    let network = network("converged", Precision::F64);
    let params = params::<ssd::Ssd>(json!({"batch_size": 32, "alpha": alpha, "lambda": lambda}));
    ssd::unlearn(&network, &images(&network, |_| true), &params, &mut Silent).expect("ssd works");
    assert_agrees(case, &network, &[]);
    let expected = read(case);
    let (mut chosen, mut changed) = (0, 0);
    for (name, moved) in moved(&network) {
        let dampened = expected[&format!("dampened/{name}")].to_kind(Kind::Bool);
        assert_eq!(count(&moved.logical_and(&dampened.logical_not())), 0, "{name}: a weight that was not chosen moved");
        chosen += count(&dampened);
        changed += count(&moved);
    }
    assert_eq!(changed < chosen, clipped, "{case}: {changed} of {chosen} chosen weights moved");
}

#[test]
fn ssd_agrees() {
    assert_ssd_agrees("ssd", 40.0, 1.0, false);
}

#[test]
fn ssd_that_never_enlarges_a_weight_agrees() {
    assert_ssd_agrees("ssd_clipped", 20.0, 30.0, true);
}

#[test]
fn amnesiac_agrees() {
    let network = network("converged", Precision::F64);
    let (forget, retain) = parts(&network);
    let params = params::<amnesiac::Amnesiac>(json!({"batch_size": 32, "epochs": 3, "optimizer": {"lr": 1e-3}}));
    let losses = amnesiac::unlearn(&network, &forget, &retain, &random_labels(), &params, &mut Silent);
    assert_agrees("amnesiac", &network, &losses.expect("amnesiac works"));
}

// ------------------------------------------------------------------------------------------ first steps in float32

fn first(images: &Images, n: usize) -> Batch {
    images.in_order(n).next().expect("a batch")
}

/// The samples `from` to `to` of some images, which keep their numbers.
fn slice(images: &Images, from: usize, to: usize) -> Batch {
    let batch = first(&images.select(&(from..to).collect::<Vec<_>>()), to - from);
    Batch { rows: Tensor::arange_start(from as i64, to as i64, (Kind::Int64, batch.rows.device())), ..batch }
}

fn cross_entropy(network: &Network, batch: &Batch, mode: Mode) -> Tensor {
    Step::cross_entropy(network.forward(&batch.pixels, mode), &batch.labels).expect("a step").loss
}

fn plans<'a>(original: &'a Network, fresh: &'a Network) -> Vec<Plan<'a>> {
    fn retained(label: i64) -> bool {
        !is_forget(label)
    }
    let (unsir_case, bad_rows) = (read("unsir"), rows(&read("bad_teacher")));
    let all = |name, keep: fn(i64) -> bool, loss| Plan { name, part: Part::All, keep, loss };
    vec![
        all(
            "neg_grad_plus",
            retained,
            Box::new(|network, _| {
                let (params, (forget, retain)) = (neg_grad_params(json!({})), parts(network));
                neg_grad_plus::Losses::new(network, &params)
                    .step(network, &first(&retain, 24), &first(&forget, 24))
                    .loss
            }),
        ),
        all(
            "salun_saliency",
            is_forget,
            Box::new(|network, _| {
                let forget = images(network, is_forget);
                let losses = forget.in_order(32).map(|batch| cross_entropy(network, &batch, Mode::Eval));
                losses.reduce(|sum, loss| sum + loss).expect("three batches")
            }),
        ),
        all(
            "scrub_forget",
            is_forget,
            Box::new(|network, _| {
                let batch = first(&images(network, is_forget), 16);
                scrub::Losses { teacher: original, params: &scrub_params() }.ascend(network, &batch).loss
            }),
        ),
        all(
            "scrub_retain",
            retained,
            Box::new(|network, batch| {
                scrub::Losses { teacher: original, params: &scrub_params() }.descend(network, batch).loss
            }),
        ),
        all(
            "bad_teacher_mixed",
            |_| true,
            Box::new(move |network, _| {
                let (forget, retain) = parts(network);
                let batch = slice(&forget.then(&retain.select(&bad_rows)), 50, 82);
                let params = bad_teacher_params();
                let losses = bad_teacher::Losses { original, fresh, forget_count: forget.len(), params: &params };
                losses.step(network, &batch).loss
            }),
        ),
        all(
            "unsir_impair",
            |_| true,
            Box::new(move |network, _| {
                let noise = unsir_case["noise"].to_kind(Kind::Float).repeat([3, 1, 1, 1]);
                let (_, retain) = parts(network);
                let impair = Images::made(noise, FORGET).then(&retain.select(&rows(&unsir_case)));
                cross_entropy(network, &slice(&impair, 16, 32), Mode::Train)
            }),
        ),
        all(
            "l1_sparse",
            retained,
            Box::new(|network, batch| l1_sparse::step(network, 1, batch, &l1_params()).expect("a step").loss),
        ),
    ]
}

#[test]
fn losses_and_gradients_of_first_steps_agree_in_float32() {
    let expected = read("first_step_retain");
    let original = network("converged", Precision::F32).frozen_copy();
    let fresh = network("incompetent", Precision::F32);
    let compared: usize = plans(&original, &fresh).iter().map(|plan| compared_first_step(&expected, plan)).sum();
    let noise = start_noise(&read("unsir"), Kind::Float).set_requires_grad(true);
    let batch = first(&Images::made(noise.detach(), FORGET), 8);
    let loss = unsir::noise_step(&original, &Batch { pixels: noise.shallow_clone(), ..batch }).loss;
    let of_noise = compared_gradients(&expected, "unsir_noise", &loss, std::iter::once(("noise", &noise)));
    assert_eq!(compared + of_noise, expected.len(), "every loss and gradient of the reference is compared");
}

// ------------------------------------------------------------------------------------------ draws

#[test]
fn the_shares_of_retain_data_have_their_sizes_and_depend_on_the_seed() {
    let chosen = |seed: u64| bad_teacher::Params { seed, ..bad_teacher_params() }.chosen(186);
    let rows = chosen(7);
    assert_eq!(rows.len(), 55);
    assert!(rows.is_sorted() && rows.windows(2).all(|pair| pair[0] != pair[1]) && rows[54] < 186);
    assert_eq!((chosen(7) == rows, chosen(8) == rows), (true, false));

    let labels: Vec<i64> = (0..100).map(|i| [0, 1, 1, 2][i % 4]).collect();
    let chosen = |seed: u64| unsir::Params { seed, samples_per_class: 30, ..unsir_params() }.chosen(&labels);
    let rows = chosen(7);
    let of_class = |class: i64| rows.iter().filter(|&&row| labels[row] == class).count();
    assert_eq!([0, 1, 2].map(of_class), [25, 30, 25]);
    assert!(rows.is_sorted() && rows.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!((chosen(7) == rows, chosen(8) == rows), (true, false));
}

#[test]
fn the_bad_teacher_and_the_noise_are_drawn_by_the_seed_alone() {
    let (network, other) = (network("converged", Precision::F64), agreement::network("initial", Precision::F64));
    let fresh = |network: &Network, seed: u64| {
        let params = bad_teacher::Params { seed, ..bad_teacher_params() };
        bad_teacher::fresh(network, &params).expect("a network").to_state().expect("readable")
    };
    let state = fresh(&network, 7);
    assert!(state == fresh(&other, 7) && state != fresh(&network, 8));
    // Not the network that training with the same seed begins at: that one may have become the original.
    let first = init::draw(network.architecture(), Dtype::F64, 7, "");
    assert_ne!(state.tensors["conv1.0.weight"], first.tensors["conv1.0.weight"]);

    let (_, retain) = parts(&network);
    let noise = |seed: u64| {
        let params = unsir::Params { seed, noise_batch: 20, ..unsir_params() };
        unsir::drawn_noise(&network, &retain, &params)
    };
    let first = noise(7);
    assert_eq!((first.size(), first.kind()), (vec![20, 1, 28, 28], Kind::Double));
    let (mean, deviation) = (first.mean(Kind::Double).double_value(&[]), first.std(true).double_value(&[]));
    assert!(mean.abs() < 0.03 && (deviation - 1.0).abs() < 0.03, "{mean} {deviation}");
    assert!(largest_difference(&first, &noise(7)) <= 0.0 && largest_difference(&first, &noise(8)) > 1.0);
}
