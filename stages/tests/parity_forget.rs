//! Agreement with PyTorch of the methods that see forget data alone, none, or (unroll) both: the cases of
//! `tests/reference/forget_only.py`.
//!
//! As `parity.rs`: knows nothing of files, keys or workers.
#![cfg(feature = "torch")]
#![expect(clippy::needless_pass_by_value, reason = "params are written in place, as `json!({..})`")]

mod agreement;

use agreement::{
    FORGET, Tensors, assert_agrees, compared_gradients, images, integers, is_forget, largest_difference, network,
    network_of, params, random_labels, read, state, trainable_names,
};
use pru_flow_stages::Stage;
use pru_flow_stages::dataset::{Dataset, Pixels};
use pru_flow_stages::model::network::{Mode, Network, Part};
use pru_flow_stages::model::state::StateDict;
use pru_flow_stages::train::fit::{Silent, Step};
use pru_flow_stages::train::images::{Batch, Images};
use pru_flow_stages::train::loss;
use pru_flow_stages::train::params::Precision;
use pru_flow_stages::unlearn::{
    bias_mask, boundary_expand, classifier_only, delete, gradient_ascent, jit, l2ul, saliency, salun_f, unroll,
    unroll_of,
};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

const UNITS: f64 = 1e-9;

/// Runs a case on the forget data, from the converged weights; gives these and the trained network.
fn assert_forget_case_agrees<S: Stage>(
    case: &str,
    settings: Value,
    unlearn: impl FnOnce(&Network, &Images, &S::Params) -> Vec<f64>,
) -> (StateDict, StateDict) {
    let network = network("converged", Precision::F64);
    let losses = unlearn(&network, &images(&network, is_forget), &params::<S>(settings));
    assert_agrees(case, &network, &losses);
    (state("converged"), network.to_state().expect("readable"))
}

/// Names of the tensors that differ in a bit.
fn changed(before: &StateDict, after: &StateDict) -> Vec<String> {
    before.tensors.keys().filter(|name| before.tensors[*name] != after.tensors[*name]).cloned().collect()
}

fn sgd(lr: f64, weight_decay: f64) -> Value {
    json!({"lr": lr, "weight_decay": weight_decay})
}

// ------------------------------------------------------------------------------------------ the paper's

#[test]
fn unroll_agrees() {
    let network = network("converged", Precision::F64);
    let params = params::<unroll::Unroll>(json!({"lr": 2e-2, "sigma": 3e-2, "forget_batch_size": 16}));
    let (forget, retain) = (images(&network, is_forget), images(&network, |label| !is_forget(label)));
    let losses = unroll::unlearn(&network, &forget, &retain, &params, &mut Silent).expect("unroll works");
    assert_agrees("unroll", &network, &losses);
}

#[test]
fn unroll_of_agrees() {
    assert_forget_case_agrees::<unroll_of::UnrollOf>(
        "unroll_of",
        json!({"lr": 2e-2, "sigma": 1e-1}),
        |network, images, params| unroll_of::unlearn(network, images, params, &mut Silent).expect("unroll_of works"),
    );
}

fn new_row() -> Vec<f64> {
    Vec::try_from(&read("boundary_expand")["new_row"]).expect("a vector of f64")
}

#[test]
fn boundary_expand_agrees() {
    let network = network("converged", Precision::F64);
    let params = params::<boundary_expand::BoundaryExpand>(json!({"optimizer": sgd(5e-3, 1e-2)}));
    let images = images(&network, is_forget);
    let result = boundary_expand::unlearn(&network, &images, &new_row(), &params, &mut Silent);
    let (unlearned, losses) = result.expect("boundary_expand works");
    assert_agrees("boundary_expand", &unlearned, &losses);
    assert_eq!(network.to_state().expect("readable"), state("converged"), "the given network is left alone");
}

// ------------------------------------------------------------------------------------------ forget data only

fn assert_ascent_agrees(case: &str, settings: Value) {
    assert_forget_case_agrees::<gradient_ascent::GradientAscent>(case, settings, |network, images, params| {
        gradient_ascent::unlearn(network, images, params, &mut Silent).expect("gradient_ascent works")
    });
}

#[test]
fn gradient_ascent_clipped_agrees() {
    let settings = json!({"optimizer": sgd(1e-3, 5e-2), "stop_below": null, "batch_norm": "frozen"});
    assert_ascent_agrees("gradient_ascent", settings);
}

#[test]
fn gradient_ascent_unclipped_agrees() {
    let settings = json!({"optimizer": sgd(3e-4, 0.0), "clip_norm": null, "stop_below": null});
    assert_ascent_agrees("gradient_ascent_no_clip", settings);
}

#[test]
fn gradient_ascent_that_stops_agrees() {
    let settings = json!({"optimizer": sgd(1e-2, 0.0), "epochs": 6, "stop_below": 0.35});
    assert_ascent_agrees("gradient_ascent_stop", settings);
}

#[test]
fn salun_f_agrees_and_keeps_every_bit_outside_its_mask() {
    let settings = json!({"optimizer": sgd(3e-4, 5e-2), "batch_norm": "frozen"});
    let run = |network: &Network, images: &Images, params: &salun_f::Params| {
        salun_f::unlearn(network, images, &random_labels(), params, &mut Silent).expect("salun_f works")
    };
    let (before, after) = assert_forget_case_agrees::<salun_f::SalunF>("salun_f", settings, run);
    let expected = read("salun_f");
    for name in trainable_names(Part::All) {
        let values = |state: &StateDict| state.tensors[&name].bytes.as_chunks::<8>().0.to_vec();
        let (before, after) = (values(&before), values(&after));
        for (at, &inside) in integers(&expected[&format!("mask/{name}")]).iter().enumerate() {
            assert_eq!(before[at] != after[at], inside == 1, "{name}, value {at}");
        }
    }
    assert!(changed(&before, &after).iter().all(|name| trainable_names(Part::All).contains(name)));
}

#[test]
fn the_saliency_mask_agrees() {
    let expected = read("salun_f");
    let network = network("converged", Precision::F64);
    let masks = saliency::mask(&network, &images(&network, is_forget), 32, 0.3, &mut Silent).expect("it works");
    let names = trainable_names(Part::All);
    assert_eq!(masks.len(), names.len());
    for (name, mask) in names.iter().zip(&masks) {
        let theirs = &expected[&format!("mask/{name}")];
        assert_eq!((mask.size(), integers(mask)), (theirs.size(), integers(theirs)), "{name}");
    }
    let size: i64 = masks.iter().flat_map(integers).sum();
    assert_eq!(size, expected["mask_size"].int64_value(&[]));
}

fn assert_delete_agrees(case: &str, settings: Value) -> Vec<String> {
    let run = |network: &Network, images: &Images, params: &delete::Params| {
        delete::unlearn(network, images, params, &mut Silent).expect("delete works")
    };
    let (before, after) = assert_forget_case_agrees::<delete::Delete>(case, settings, run);
    changed(&before, &after)
}

#[test]
fn delete_agrees() {
    let changed = assert_delete_agrees("delete", json!({"optimizer": sgd(5e-3, 0.0)}));
    assert_eq!(changed.len(), 8 * 6 + 2);
}

#[test]
fn delete_with_a_frozen_classifier_agrees_and_keeps_its_bits() {
    let settings = json!({"optimizer": sgd(5e-3, 1e-2), "classifier": "frozen"});
    let changed = assert_delete_agrees("delete_frozen", settings);
    assert!(changed.len() == 8 * 6 && !changed.iter().any(|name| name.starts_with("classifier.")), "{changed:?}");
}

#[test]
fn bias_mask_agrees() {
    let mut masked = state("converged");
    bias_mask::unlearn(&mut masked, FORGET).expect("bias_mask works");
    assert_agrees("bias_mask", &network_of(&masked, Precision::F64), &[]);
    assert_eq!(masked.tensors, state("bias_mask").tensors.into_iter().filter(|(name, _)| name != "logits").collect());
}

#[test]
fn classifier_only_agrees_and_leaves_the_extractor_exactly() {
    let settings = json!({"optimizer": sgd(5e-2, 1e-2)});
    let run = |network: &Network, images: &Images, params: &classifier_only::Params| {
        classifier_only::unlearn(network, images, params, &mut Silent).expect("classifier_only works")
    };
    let (before, after) =
        assert_forget_case_agrees::<classifier_only::ClassifierOnly>("classifier_only", settings, run);
    assert_eq!(changed(&before, &after), ["classifier.0.bias", "classifier.0.weight"]);
}

// ------------------------------------------------------------------------------------------ jit

/// The forget images of the jit case: cut so that each batch has bounds of its own.
fn jit_images(network: &Network, case: &Tensors) -> Images {
    let images = &case["images"];
    let n = images.size()[0] as usize;
    let bytes = integers(images).into_iter().map(|p| u8::try_from(p).expect("a byte")).collect();
    let dataset = Dataset {
        shape: [n, 1, 28, 28],
        pixels: Pixels::U8(bytes),
        labels: vec![i64::from(FORGET); n],
        positions: (0..n as i64).collect(),
    };
    Images::new("reference", &dataset, network).expect("the images fit")
}

/// The reference's noise for a batch; epochs and copies count from 1.
fn jit_noise(case: &Tensors, epoch: u32, batch: &Batch, copy: u32) -> Tensor {
    let units = case["noise_units"].select(0, i64::from(epoch) - 1).select(0, i64::from(copy) - 1);
    units.index_select(0, &batch.rows).to_kind(batch.pixels.kind()) / 32.0
}

fn jit_params() -> jit::Params {
    params::<jit::Jit>(json!({"epochs": 1, "noises": 3}))
}

#[test]
fn jit_agrees() {
    let (case, network) = (read("jit"), network("converged", Precision::F64));
    let noise = |epoch, batch: &Batch, copy| jit_noise(&case, epoch, batch, copy);
    let losses = jit::unlearn(&network, &jit_images(&network, &case), &jit_params(), &noise, &mut Silent);
    assert_agrees("jit", &network, &losses.expect("jit works"));
}

// ------------------------------------------------------------------------------------------ l2ul

fn l2ul_params(precision: &str) -> l2ul::Params {
    let settings = json!({"optimizer": sgd(1e-3, 0.0), "clip_norm": 6, "stop_below": null, "precision": precision});
    params::<l2ul::L2ul>(settings)
}

#[test]
fn l2ul_agrees() {
    let network = network("converged", Precision::F64);
    let images = images(&network, is_forget);
    let losses = l2ul::unlearn(&network, &images, &random_labels(), &l2ul_params("f64"), &mut Silent);
    assert_agrees("l2ul", &network, &losses.expect("l2ul works"));
}

#[test]
fn adversarial_neighbours_of_l2ul_agree() {
    let original = network("converged", Precision::F64);
    let batch = images(&original, is_forget).in_order(32).next().expect("a batch");
    let labels = Tensor::from_slice(&random_labels()[..32]);
    let neighbours = l2ul::neighbours(&original, &batch, &labels, &l2ul_params("f64")).expect("the attack works");
    let difference = largest_difference(&neighbours, &read("l2ul")["x_adv"]);
    assert!(difference <= 1e-6, "pixels differ by {difference:e}");
}

// ------------------------------------------------------------------------------------------ units

fn assert_unit(what: &str, ours: &Tensor, theirs: &Tensor) {
    let scale = theirs.abs().max().double_value(&[]).max(1.0);
    let difference = largest_difference(&ours.detach(), theirs) / scale;
    assert!(difference <= UNITS, "{what} differs by {difference:e} relative");
}

fn assert_gradient(what: &str, of: &Tensor, at: &Tensor, theirs: &Tensor) {
    assert_unit(what, &Tensor::run_backward(&[of], &[at], false, false)[0], theirs);
}

#[test]
fn the_loss_of_delete_and_its_gradient_agree() {
    let (units, inputs) = (read("units_forget"), read("units"));
    let names: Vec<&str> = units.keys().filter_map(|key| key.strip_prefix("delete_")?.strip_suffix("/value")).collect();
    assert_eq!(names.len(), 5);
    for name in names {
        let target = loss::masked_target(&inputs[&format!("kl_{name}/reference_logits")], FORGET);
        let logits = inputs[&format!("kl_{name}/input")].copy().set_requires_grad(true);
        let value = loss::divergence(&logits, &target);
        assert_unit(name, &value, &units[&format!("delete_{name}/value")]);
        assert_gradient(name, &value, &logits, &units[&format!("delete_{name}/grad")]);
    }
}

#[test]
fn slopes_and_noisy_images_of_jit_agree() {
    let units = read("units_forget");
    let unit = |name: &str| &units[&format!("jit_{name}")];
    let clean = unit("slopes/clean").copy().set_requires_grad(true);
    let slopes = jit::slopes(&clean, unit("slopes/noisy"), unit("slopes/x"), unit("slopes/x_noisy"));
    assert_unit("slopes", &slopes, unit("slopes/value"));
    assert_gradient("slopes", &slopes.sum(Kind::Double), &clean, unit("slopes/grad"));
    let noisy = jit::noisy(unit("noisy/x"), &(unit("noisy/noise") * 0.5));
    assert_unit("noisy", &noisy, unit("noisy/value"));
}

#[test]
fn masks_with_equal_saliencies_agree() {
    let units = read("units_forget");
    let names: Vec<&str> = units.keys().filter_map(|key| key.strip_prefix("mask/")?.strip_suffix("_share")).collect();
    assert_eq!(names.len(), 5);
    let scores = &units["mask/scores"];
    for name in names {
        let share = units[&format!("mask/{name}_share")].double_value(&[]);
        // In two tensors: the ranking goes over both.
        let parts = scores.split_with_sizes([4_i64, 7].as_slice(), 0);
        let marks: Vec<i64> = saliency::largest(&parts, share).expect("finite").iter().flat_map(integers).collect();
        assert_eq!(marks, integers(&units[&format!("mask/{name}")]), "{name}");
    }
}

// ------------------------------------------------------------------------------------------ first steps in float32

#[test]
fn losses_and_gradients_of_first_steps_agree_in_float32() {
    let (expected, jit_case, l2ul_case) = (read("first_step_forget"), read("jit"), read("l2ul"));
    let original = network("converged", Precision::F32).frozen_copy();
    let batch = images(&original, is_forget).in_order(32).next().expect("a batch");
    let wrong = Tensor::from_slice(&random_labels()[..32]);
    let supervised = |labels: &Tensor, mode: Mode| {
        let (labels, batch) = (labels.copy(), &batch);
        move |network: &Network| -> Tensor {
            Step::cross_entropy(network.forward(&batch.pixels, mode), &labels).expect("a step").loss
        }
    };
    let (delete, fixed) = (params::<delete::Delete>(json!({})), params::<classifier_only::ClassifierOnly>(json!({})));
    let jit_batch = jit_images(&original, &jit_case).in_order(32).next().expect("a batch");
    let noise = |copy| jit_noise(&jit_case, 1, &jit_batch, copy);
    let compare = |plan: &str, part: Part, network: &Network, loss: &dyn Fn(&Network) -> Tensor| {
        let (parameters, names) = (network.train_only(part), trainable_names(part));
        compared_gradients(&expected, plan, &loss(network), names.iter().map(String::as_str).zip(&parameters))
    };
    let fresh = || network("converged", Precision::F32);
    let wide = boundary_expand::widen(&state("converged"), &new_row()).expect("it fits");
    let by_delete = |network: &Network| delete::step(network, &original, &batch, &delete).loss;
    // The reference's neighbours, as the attack is not compared in float32.
    let by_l2ul = |network: &Network| {
        let ascended = loss::cross_entropy(&network.forward(&batch.pixels, Mode::Train), &batch.labels);
        let kept = loss::cross_entropy(&network.forward(&l2ul_case["x_adv"], Mode::Eval), &wrong);
        kept * 0.1 - ascended
    };
    let compared = [
        compare("forget_ce", Part::All, &fresh(), &supervised(&batch.labels, Mode::Train)),
        compare(
            "boundary_expand",
            Part::All,
            &network_of(&wide, Precision::F32),
            &supervised(&batch.labels.full_like(10), Mode::Train),
        ),
        compare("salun_f", Part::All, &fresh(), &supervised(&wrong, Mode::Eval)),
        compare("delete", Part::All, &fresh(), &by_delete),
        compare("classifier_only", Part::Classifier, &fresh(), &|network| {
            classifier_only::step(network, &original, &batch, &fixed).expect("a step").loss
        }),
        compare("jit", Part::All, &fresh(), &|network| jit::step(network, &jit_batch, &noise, &jit_params()).loss),
        compare("l2ul", Part::All, &fresh(), &by_l2ul),
    ];
    assert_eq!(compared.iter().sum::<usize>(), expected.len(), "every tensor of the reference is compared");
    // With the classifier frozen, the other gradients are the same.
    compare("delete", Part::Extractor, &fresh(), &by_delete);
}

#[test]
fn a_step_of_l2ul_in_float32_is_that_of_the_reference_within_what_its_attack_may_differ() {
    let expected = read("first_step_forget");
    let (network, original) = (network("converged", Precision::F32), network("converged", Precision::F32));
    let batch = images(&original, is_forget).in_order(32).next().expect("a batch");
    let wrong = Tensor::from_slice(&random_labels()[..32]);
    let loss = l2ul::step(&network, &original, &batch, &wrong, &l2ul_params("f32")).expect("a step").loss;
    let difference = (loss.double_value(&[]) / expected["l2ul/loss"].double_value(&[]) - 1.0).abs();
    assert!(difference <= 1e-4, "the loss differs by {difference:e}");
}
