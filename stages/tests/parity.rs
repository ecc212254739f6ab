//! Agreement with PyTorch: every case of `tests/reference`, which a script written from the equations computed in float64.
//!
//! Knows nothing of files, keys or workers: it calls the methods beneath the stages, with the reference's weights,
//! order and random draws.
#![cfg(feature = "torch")]
#![expect(clippy::needless_pass_by_value, reason = "params are written in place, as `json!({..})`")]

mod agreement;

use agreement::{
    FORGET, Plan, assert_agrees, assert_first_steps_agree, images, integers, is_forget, largest_difference, network,
    params, random_labels, read,
};
use pru_flow_stages::model::network::{Mode, Network, Part};
use pru_flow_stages::relearn;
use pru_flow_stages::train::fit::{Silent, Step};
use pru_flow_stages::train::images::Batch;
use pru_flow_stages::train::params::Precision;
use pru_flow_stages::train::{loss, original};
use pru_flow_stages::unlearn::{bn_only, boundary_shrink, pru, random_label};
use serde_json::{Value, json};
use tch::{Tensor, no_grad};

const UNITS: f64 = 1e-9;

// ------------------------------------------------------------------------------------------ training

fn assert_training_agrees(case: &str, start: &str, settings: Value) {
    let network = network(start, Precision::F64);
    let params = params::<original::Original>(settings);
    let images = images(&network, |_| true);
    let tallies = original::train(&network, &images, &params.recipe(), &mut Silent).expect("training works");
    let losses: Vec<f64> = tallies.into_iter().flat_map(|tally| tally.losses).collect();
    assert_agrees(case, &network, &losses);
}

#[test]
fn training_agrees() {
    assert_training_agrees("train", "initial", json!({"optimizer": {"lr": 1e-2, "weight_decay": 1e-4}}));
}

#[test]
fn training_with_frozen_batch_norm_agrees() {
    let settings = json!({"optimizer": {"lr": 1e-3, "weight_decay": 1e-4}, "batch_norm": "frozen"});
    assert_training_agrees("train_frozen_bn", "converged", settings);
}

#[test]
fn relearning_agrees() {
    let network = network("converged", Precision::F64);
    let params = params::<relearn::Relearn>(json!({"fraction": 1.0}));
    let (retain, test) = (images(&network, |label| !is_forget(label)), images(&network, |_| true));
    let (curve, losses) = relearn::relearn(&network, &retain, &test, &params, &mut Silent).expect("relearning works");
    assert_agrees("relearn", &network, &losses);
    assert_eq!(curve.epochs.iter().map(|point| point.epoch).collect::<Vec<_>>(), [0, 1, 2, 3]);
    // The reference's accuracies on the training images, before and after.
    let (first, last) = (&curve.epochs[0], &curve.epochs[3]);
    assert_eq!((first.overall, first.forget), (Some(253.0 / 256.0), Some(68.0 / 70.0)));
    assert_eq!((last.retain, last.forget), (Some(1.0), Some(1.0)));
}

// ------------------------------------------------------------------------------------------ PRU

fn pru_params(settings: Value) -> pru::Params {
    params::<pru::Pru>(settings)
}

fn assert_pru_agrees(case: &str, settings: Value) {
    let network = network("converged", Precision::F64);
    let images = images(&network, is_forget);
    let losses = pru::unlearn(&network, &images, &random_labels(), &pru_params(settings), &mut Silent);
    assert_agrees(case, &network, &losses.expect("PRU works"));
}

#[test]
fn pru_as_published_agrees() {
    assert_pru_agrees("pru_as_published", json!({}));
}

#[test]
fn pru_as_described_agrees() {
    assert_pru_agrees("pru_as_described", json!({"variant": "as-described"}));
}

#[test]
fn pru_without_cluster_loss_agrees() {
    assert_pru_agrees("pru_no_cluster", json!({"cluster": false}));
}

#[test]
fn pru_without_sample_loss_agrees() {
    assert_pru_agrees("pru_no_sample", json!({"sample": false}));
}

#[test]
fn pru_without_cluster_and_sample_loss_agrees() {
    assert_pru_agrees("pru_no_cluster_no_sample", json!({"cluster": false, "sample": false}));
}

#[test]
fn pru_with_cross_entropy_agrees() {
    assert_pru_agrees("pru_ce", json!({"perception": "ce"}));
}

#[test]
fn pru_without_perception_loss_in_shifting_agrees() {
    assert_pru_agrees("pru_no_lp", json!({"perception": "none"}));
}

#[test]
fn pru_without_perception_loss_at_all_agrees() {
    assert_pru_agrees("pru_no_lp_no_refine", json!({"perception": "none_no_refine"}));
}

#[test]
fn pru_with_random_labels_agrees() {
    assert_pru_agrees("pru_random_label", json!({"perception": "ce", "random_label": true}));
}

#[test]
fn pru_with_lambda_2_and_cross_entropy_agrees() {
    assert_pru_agrees("pru_lambda2_ce", json!({"perception": "ce", "lambda": 2.0}));
}

#[test]
fn pru_with_frozen_batch_norm_agrees() {
    let settings = json!({"batch_norm": "frozen", "lr_shift": 5e-4, "lr_refine": 1e-3});
    assert_pru_agrees("pru_frozen_bn", settings);
}

#[test]
fn pru_on_half_of_the_forget_data_agrees() {
    assert_pru_agrees("pru_subset", json!({"subset_ratio": 0.5}));
}

// ------------------------------------------------------------------------------------------ the other methods

#[test]
fn random_label_agrees() {
    let network = network("converged", Precision::F64);
    let params = params::<random_label::RandomLabel>(json!({}));
    let images = images(&network, is_forget);
    let losses = random_label::unlearn(&network, &images, &random_labels(), &params, &mut Silent);
    assert_agrees("random_label", &network, &losses.expect("random_label works"));
}

fn shrink_params() -> boundary_shrink::Params {
    let settings = json!({"optimizer": {"lr": 5e-4, "weight_decay": 0}});
    params::<boundary_shrink::BoundaryShrink>(settings)
}

/// The reference's start noise of a batch; epochs count from 1.
fn start_noise(units: &Tensor, epoch: u32, batch: &Batch) -> Tensor {
    units.select(0, i64::from(epoch) - 1).index_select(0, &batch.rows).to_kind(batch.pixels.kind()) * 0.1 / 127.0
}

#[test]
fn boundary_shrink_agrees() {
    let network = network("converged", Precision::F64);
    let units = &read("inputs")["boundary_shrink_noise_units"];
    let start = |epoch, batch: &Batch| start_noise(units, epoch, batch);
    let images = images(&network, is_forget);
    let losses = boundary_shrink::unlearn(&network, &images, &shrink_params(), &start, &mut Silent);
    assert_agrees("boundary_shrink", &network, &losses.expect("boundary_shrink works"));
}

#[test]
fn adversarial_neighbours_and_their_labels_agree() {
    let expected = read("boundary_shrink");
    let units = &read("inputs")["boundary_shrink_noise_units"];
    for precision in [Precision::F64, Precision::F32] {
        let original = network("converged", precision);
        let images = images(&original, is_forget);
        let mut rows = Vec::new();
        for (at, batch) in images.in_order(32).enumerate() {
            let noise = start_noise(units, 1, &batch);
            let neighbours = boundary_shrink::neighbours(&original, &batch, &noise, &shrink_params()).expect("works");
            rows.extend(integers(&no_grad(|| original.forward(&neighbours, Mode::Eval)).argmax(1, false)));
            if at == 0 {
                // Whole levels exactly; 25.5 levels of bound make ties, which may fall either way.
                let levels = neighbours * 255.0;
                assert!(largest_difference(&levels, &levels.round()) < 1e-4);
                assert!(largest_difference(&levels.round(), &expected["adversarial"]) <= 1.0);
            }
        }
        assert_eq!(rows, integers(&expected["labels"].select(0, 0)));
    }
}

#[test]
fn bn_only_agrees() {
    let network = network("converged", Precision::F64);
    let params = params::<bn_only::BnOnly>(json!({}));
    bn_only::unlearn(&network, &images(&network, is_forget), &params, &mut Silent).expect("bn_only works");
    assert_agrees("bn_only", &network, &[]);
}

// ------------------------------------------------------------------------------------------ losses alone

#[test]
fn every_loss_and_its_gradient_agree() {
    let units = read("units");
    let names: Vec<&str> = units.keys().filter_map(|key| key.strip_suffix("/value")).collect();
    assert_eq!(names.len(), 9 + 2 * 9 + 2 * 6 + 1);
    for name in names {
        let tensor = |part: &str| &units[&format!("{name}/{part}")];
        let target = loss::masked_target(tensor("reference_logits"), FORGET);
        let forgotten = target.select(1, i64::from(FORGET)).abs().max().double_value(&[]);
        assert!(forgotten <= 0.0, "{name}: the target keeps {forgotten:e} of the class to be forgotten");
        let labels = target.argmax(1, false);
        assert_eq!(integers(&labels), integers(tensor("labels")), "{name}");
        if name.starts_with("target_") {
            assert!(largest_difference(&target, tensor("value")) <= UNITS, "{name}");
            continue;
        }
        let input = tensor("input").copy().set_requires_grad(true);
        let (kind, _) = name.split_once('_').expect("LOSS_SITUATION");
        let value = match kind {
            "kl" => loss::perception(&input, &target),
            "ce" => loss::cross_entropy(&input, &labels),
            "lo" => loss::cluster(&input, &labels, 10, if name == "lo_lambda2_normal" { 2.0 } else { 1.0 }),
            "ls" => loss::sample(&input, &labels, 10),
            other => panic!("no loss is called {other}"),
        };
        let gradient = &Tensor::run_backward(&[&value], &[&input], false, false)[0];
        for (what, ours) in [("value", &value.detach()), ("grad", gradient)] {
            let scale = tensor(what).abs().max().double_value(&[]).max(1.0);
            let difference = largest_difference(ours, tensor(what)) / scale;
            assert!(difference <= UNITS, "{name}: {what} differs by {difference:e} relative");
        }
    }
}

// ------------------------------------------------------------------------------------------ first steps in float32

fn plans<'a>(original: &'a Network, random: &'a Tensor, all_params: &'a [pru::Params; 3]) -> Vec<Plan<'a>> {
    fn everything(_: i64) -> bool {
        true
    }
    fn retained(label: i64) -> bool {
        !is_forget(label)
    }
    fn plan<'a>(
        name: &'a str,
        part: Part,
        keep: fn(i64) -> bool,
        loss: impl Fn(&Network, &Batch) -> Tensor + 'a,
    ) -> Plan<'a> {
        Plan { name, part, keep, loss: Box::new(loss) }
    }
    let supervised = |mode| {
        move |network: &Network, batch: &Batch| -> Tensor {
            Step::cross_entropy(network.forward(&batch.pixels, mode), &batch.labels).expect("a step").loss
        }
    };
    let labelled = |labels: Tensor| {
        move |network: &Network, batch: &Batch| -> Tensor {
            let labels = labels.index_select(0, &batch.rows);
            Step::cross_entropy(network.forward(&batch.pixels, Mode::Train), &labels).expect("a step").loss
        }
    };
    let losses = |params: &'a pru::Params| pru::Losses { original, random_labels: random, params };
    let [published, described, random_label] = all_params;
    let (shift, refine, fixed, by_label) =
        (losses(published), losses(published), losses(described), losses(random_label));
    let adversarial = read("boundary_shrink")["labels"].select(0, 0);
    vec![
        plan("train", Part::All, everything, supervised(Mode::Train)),
        plan("train_frozen_bn", Part::All, everything, supervised(Mode::Eval)),
        plan("relearn", Part::All, retained, supervised(Mode::Train)),
        plan("pru_as_published", Part::Extractor, is_forget, move |n, b| shift.shift(n, b).loss),
        plan("pru_as_published_refine", Part::Extractor, is_forget, move |n, b| refine.refine(n, b).loss),
        plan("pru_as_described_refine", Part::Classifier, is_forget, move |n, b| fixed.refine(n, b).loss),
        plan("pru_random_label", Part::Extractor, is_forget, move |n, b| by_label.shift(n, b).loss),
        plan("random_label", Part::All, is_forget, labelled(random.copy())),
        plan("boundary_shrink", Part::All, is_forget, labelled(adversarial)),
    ]
}

#[test]
fn losses_and_gradients_of_first_steps_agree_in_float32() {
    let random = Tensor::from_slice(&random_labels());
    let original = network("converged", Precision::F32).frozen_copy();
    let all_params = [
        pru_params(json!({})),
        pru_params(json!({"variant": "as-described"})),
        pru_params(json!({"perception": "ce", "random_label": true})),
    ];
    assert_first_steps_agree("first_step", &plans(&original, &random, &all_params));
}
