//! What every comparison with the reference values shares: reading `tests/reference`, its network, images and params, and
//! the comparison itself with its tolerances, whose reasons are in `tests/reference/README.md`.
#![allow(dead_code, reason = "each test binary uses its share")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pru_flow_stages::dataset::{Dataset, Pixels};
use pru_flow_stages::model::architecture::{Architecture, ModelParams, Role};
use pru_flow_stages::model::network::{Mode, Network, Part};
use pru_flow_stages::model::state::StateDict;
use pru_flow_stages::train::images::{Batch, Images};
use pru_flow_stages::train::params::Precision;
use pru_flow_stages::{Stage, StageDef};
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

pub const FORGET: u32 = 3;
pub const WEIGHTS: f64 = 1e-6;
pub const LOGITS: f64 = 1e-5;
pub const LOSSES: f64 = 1e-6;

// ------------------------------------------------------------------------------------------ reading the reference

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

pub type Tensors = BTreeMap<String, Tensor>;

pub fn read(name: &str) -> Tensors {
    tch::set_num_threads(1);
    let bytes = std::fs::read(folder().join(format!("{name}.safetensors"))).expect("the reference is committed");
    let file = SafeTensors::deserialize(&bytes).expect("the reference is a safetensors file");
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let kind = match view.dtype() {
            Dtype::F64 => Kind::Double,
            Dtype::F32 => Kind::Float,
            Dtype::I64 => Kind::Int64,
            Dtype::I8 => Kind::Int8,
            Dtype::U8 => Kind::Uint8,
            other => panic!("{name} has type {other:?}"),
        };
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        (name, Tensor::f_from_data_size(view.data(), &shape, kind).expect("shape and bytes fit"))
    };
    file.tensors().into_iter().map(tensor).collect()
}

pub fn integers(tensor: &Tensor) -> Vec<i64> {
    Vec::try_from(tensor.flatten(0, -1).to_kind(Kind::Int64)).expect("a vector of i64")
}

pub fn architecture() -> Architecture {
    let params = ModelParams { width: 0.125, ..ModelParams::default() };
    Architecture::new(&params, 1).expect("one channel")
}

/// A state dict of the reference, as a model of this program.
pub fn state(weights: &str) -> StateDict {
    let bytes = std::fs::read(folder().join(format!("{weights}.safetensors"))).expect("the reference is committed");
    let mut state = StateDict::from_bytes(&bytes).expect("a safetensors file");
    state.metadata = architecture().metadata();
    state
}

pub fn network(weights: &str, precision: Precision) -> Network {
    network_of(&state(weights), precision)
}

pub fn network_of(state: &StateDict, precision: Precision) -> Network {
    tch::set_num_threads(1);
    Network::from_state("reference", state, precision, None, Device::Cpu).expect("the weights fit")
}

/// The training images whose label `keep` accepts, in stored order.
pub fn dataset(keep: impl Fn(i64) -> bool) -> Dataset {
    let inputs = read("inputs");
    let labels = integers(&inputs["labels"]);
    let bytes = integers(&inputs["images"]).into_iter().map(|p| u8::try_from(p).expect("a byte")).collect();
    let positions = (0..labels.len() as i64).collect();
    let all = Dataset { shape: [labels.len(), 1, 28, 28], pixels: Pixels::U8(bytes), labels, positions };
    let rows: Vec<usize> = (0..all.len()).filter(|&row| keep(all.labels[row])).collect();
    all.select(&rows)
}

pub fn images(network: &Network, keep: impl Fn(i64) -> bool) -> Images {
    Images::new("reference", &dataset(keep), network).expect("the images fit")
}

pub fn is_forget(label: i64) -> bool {
    label == i64::from(FORGET)
}

pub fn random_labels() -> Vec<i64> {
    integers(&read("inputs")["random_label"])
}

/// Params of a stage as a pipeline would write them, with the settings that all cases share as far as the stage has them.
pub fn params<S: Stage>(settings: Value) -> S::Params {
    let mut all =
        json!({"forget_class": FORGET, "epochs": 3, "batch_size": 32, "order": "sequential", "precision": "f64"});
    let fields = all.as_object_mut().expect("an object");
    let schema = (StageDef::of::<S>().schema)().to_value();
    fields.retain(|field, _| schema["properties"].get(field).is_some());
    fields.extend(settings.as_object().expect("an object").clone());
    let params: S::Params = serde_json::from_value(all).expect("the params are right");
    assert_eq!(S::check(&params), Vec::new());
    params
}

// ------------------------------------------------------------------------------------------ comparing

pub fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    let worst = (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[]);
    assert!(!worst.is_nan());
    worst
}

/// Weights, statistics, logits of the probe images, and losses are those of the reference case.
pub fn assert_agrees(case: &str, network: &Network, losses: &[f64]) {
    let expected = read(case);
    let state = network.to_state().expect("readable");
    for spec in architecture().tensors() {
        let raw = &state.tensors[&spec.name];
        let kind = if raw.dtype == Dtype::I64 { Kind::Int64 } else { Kind::Double };
        let shape: Vec<i64> = raw.shape.iter().map(|&n| n as i64).collect();
        let ours = Tensor::f_from_data_size(&raw.bytes, &shape, kind).expect("shape and bytes fit");
        let tolerance = if spec.role == Role::BatchesTracked { 0.0 } else { WEIGHTS };
        let difference = largest_difference(&ours, &expected[&spec.name]);
        assert!(difference <= tolerance, "{case}: {} differs by {difference:e}", spec.name);
    }
    let probe = read("inputs")["probe_images"].to_kind(Kind::Double) / 255.0;
    let logits = no_grad(|| network.forward(&probe, Mode::Eval));
    let difference = largest_difference(&logits, &expected["logits"]);
    assert!(difference <= LOGITS, "{case}: logits differ by {difference:e}");
    let expected = expected.get("losses").map_or(Vec::new(), |l| Vec::<f64>::try_from(l).expect("a vector of f64"));
    assert_eq!(losses.len(), expected.len(), "{case}: number of steps");
    for (step, (ours, theirs)) in losses.iter().zip(&expected).enumerate() {
        let difference = (ours - theirs).abs() / theirs.abs().max(1.0);
        assert!(difference <= LOSSES, "{case}: the loss of step {step} is {ours}, not {theirs}");
    }
}

// ------------------------------------------------------------------------------------------ first steps in float32

/// A loss on a batch.
pub type Loss<'a> = Box<dyn Fn(&Network, &Batch) -> Tensor + 'a>;

/// What a plan of a file of first steps trains, and its loss on the first batch of 32.
pub struct Plan<'a> {
    /// Prefix of its tensors: `NAME/loss`, `NAME/grad/PARAM`.
    pub name: &'a str,
    pub part: Part,
    /// Which labels its data have.
    pub keep: fn(i64) -> bool,
    pub loss: Loss<'a>,
}

/// In float32, loss and gradients of the plans' first batches at `converged` are those of the reference file, and
/// every tensor of that file was compared.
pub fn assert_first_steps_agree(file: &str, plans: &[Plan<'_>]) {
    let expected = read(file);
    let compared: usize = plans.iter().map(|plan| compared_first_step(&expected, plan)).sum();
    assert_eq!(compared, expected.len(), "every loss and gradient of the reference is compared");
}

/// Compares the first step of a plan, as [`assert_first_steps_agree`] says; gives the number of tensors compared.
pub fn compared_first_step(expected: &Tensors, plan: &Plan<'_>) -> usize {
    let network = network("converged", Precision::F32);
    let parameters = network.train_only(plan.part);
    let batch = images(&network, plan.keep).in_order(32).next().expect("a batch");
    let loss = (plan.loss)(&network, &batch);
    let names = trainable_names(plan.part);
    compared_gradients(expected, plan.name, &loss, names.iter().map(String::as_str).zip(&parameters))
}

/// The loss of the plan `name`, and its gradients with respect to tensors by name, are those of the reference within what
/// float32 allows; gives the number of tensors compared.
pub fn compared_gradients<'a>(
    expected: &Tensors,
    plan: &str,
    loss: &Tensor,
    inputs: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> usize {
    let relative = |ours: &Tensor, theirs: &Tensor| {
        let (ours, theirs) = (ours.to_kind(Kind::Double), theirs.to_kind(Kind::Double));
        ((ours - &theirs).norm() / theirs.norm()).double_value(&[])
    };
    let difference = relative(&loss.detach(), &expected[&format!("{plan}/loss")]);
    assert!(difference <= 1e-5, "{plan}: the loss differs by {difference:e}");
    let (names, inputs): (Vec<&str>, Vec<&Tensor>) = inputs.unzip();
    let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
    for (name, gradient) in names.iter().zip(&gradients) {
        let difference = relative(gradient, &expected[&format!("{plan}/grad/{name}")]);
        // Cancellation before a normalisation: PyTorch's own kernels differ by 2.6e-5 there.
        let tolerance = if *name == "conv1.0.weight" { 5e-5 } else { 1e-5 };
        assert!(difference <= tolerance, "{plan}: the gradient of {name} differs by {difference:e}");
    }
    1 + gradients.len()
}

/// Names of the tensors of [`Network::train_only`], in its order.
pub fn trainable_names(part: Part) -> Vec<String> {
    let specs = architecture().tensors().into_iter().filter(|spec| spec.role.is_trained());
    let in_part = |name: &String| match part {
        Part::All => true,
        Part::Classifier => name.starts_with("classifier."),
        Part::Extractor => !name.starts_with("classifier."),
    };
    specs.map(|spec| spec.name).filter(in_part).collect()
}
