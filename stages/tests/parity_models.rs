//! Agreement of ResNet, ViT and the transforms of images with torchvision: every value that
//! `tests/reference/models.py` computed in float64.
//!
//! Knows nothing of stages: it calls networks, the optimizer and the transforms beneath them.
#![cfg(feature = "torch")]

use std::collections::BTreeMap;
use std::path::Path;

use pru_flow_stages::model::architecture::{Architecture, ModelParams};
use pru_flow_stages::model::network::{Mode, Network, Part};
use pru_flow_stages::model::state::{RawTensor, StateDict};
use pru_flow_stages::model::view::{Side, View};
use pru_flow_stages::train::augment::random_part;
use pru_flow_stages::train::loss::cross_entropy;
use pru_flow_stages::train::params::{Optimizer, Precision};
use pru_flow_stages::train::resample::{Parts, Rectangle, show};
use pru_flow_stages::train::sgd::Sgd;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::json;
use tch::{Device, Kind, Tensor, no_grad};

/// Largest difference of a value, relative to the largest entry of its tensor.
const TOLERANCE: f64 = 1e-10;

// ------------------------------------------------------------------------------------------ reading the reference

/// Raw tensors by name.
fn read(name: &str) -> BTreeMap<String, RawTensor> {
    tch::set_num_threads(1);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/models/{name}.safetensors"));
    let bytes = std::fs::read(path).expect("the reference is committed");
    let file = SafeTensors::deserialize(&bytes).expect("the reference is a safetensors file");
    let raw = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, RawTensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() })
    };
    file.tensors().into_iter().map(raw).collect()
}

fn tensor(raw: &RawTensor) -> Tensor {
    let kind = match raw.dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::I64 => Kind::Int64,
        Dtype::U8 => Kind::Uint8,
        other => panic!("the reference has no tensor of type {other:?}"),
    };
    let shape: Vec<i64> = raw.shape.iter().map(|&n| n as i64).collect();
    Tensor::f_from_data_size(&raw.bytes, &shape, kind).expect("shape and bytes fit")
}

/// A small network of the reference, its input and everything that was computed of it.
struct Case {
    name: &'static str,
    architecture: Architecture,
    reference: BTreeMap<String, RawTensor>,
}

impl Case {
    fn all() -> [Self; 3] {
        let vit = json!({"image_size": 16, "patch": 4, "layers": 2, "heads": 3, "dim": 12, "mlp": 20});
        [
            ("resnet18", json!({"name": "resnet18", "width": 0.03125, "classes": 4})),
            ("resnet50", json!({"name": "resnet50", "width": 0.03125, "classes": 4})),
            ("vit_b_16", json!({"name": "vit_b_16", "classes": 4, "vit": vit})),
        ]
        .map(|(name, params)| {
            let params: ModelParams = serde_json::from_value(params).expect("the params are right");
            let architecture = Architecture::new(&params, 3).expect("three channels");
            Self { name, architecture, reference: read(name) }
        })
    }

    fn network(&self) -> Network {
        let initial = self.reference.iter().filter_map(|(name, raw)| Some((name.strip_prefix("initial/")?, raw)));
        let tensors = initial.map(|(name, raw)| (name.to_owned(), raw.clone())).collect();
        let state = StateDict { tensors, metadata: self.architecture.metadata() };
        Network::from_state(self.name, &state, Precision::F64, None, Device::Cpu).expect("the weights fit")
    }

    fn get(&self, name: &str) -> Tensor {
        tensor(self.reference.get(name).unwrap_or_else(|| panic!("{}: the reference has no {name}", self.name)))
    }

    fn pixels(&self) -> Tensor {
        self.get("pixels").to_kind(Kind::Double) / 255.0
    }

    #[track_caller]
    fn assert_agrees(&self, name: &str, ours: &Tensor) {
        assert_close(&format!("{}: {name}", self.name), ours, &self.get(name));
    }
}

#[track_caller]
fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor) {
    assert_eq!(ours.size(), theirs.size(), "{what}");
    let largest = theirs.abs().max().double_value(&[]);
    let difference = (ours.to_kind(Kind::Double) - theirs.to_kind(Kind::Double)).abs().max().double_value(&[]);
    assert!(difference <= TOLERANCE * largest.max(1e-3), "{what} differs by {difference:e}, at most {largest:e}");
}

// ------------------------------------------------------------------------------------------ networks

#[test]
fn logits_embeddings_and_every_block_agree_in_eval_mode() {
    for case in Case::all() {
        let (network, pixels) = (case.network(), case.pixels());
        case.assert_agrees("eval/logits", &no_grad(|| network.forward(&pixels, Mode::Eval)));
        case.assert_agrees("eval/embedding", &no_grad(|| network.embed(&pixels, Mode::Eval)));
        let features = no_grad(|| network.features(&pixels, Mode::Eval));
        for (name, ours) in &features {
            case.assert_agrees(&format!("eval/{name}"), ours);
        }
        let compared = case.reference.keys().filter(|name| name.starts_with("eval/")).count();
        assert_eq!(compared, features.len() + 2, "{}", case.name);
    }
}

#[test]
fn logits_loss_and_every_gradient_agree_in_train_mode() {
    for case in Case::all() {
        let network = case.network();
        let parameters = network.train_only(Part::All);
        let logits = network.forward(&case.pixels(), Mode::Train);
        case.assert_agrees("train/logits", &logits.detach());
        let loss = cross_entropy(&logits, &case.get("labels"));
        let gradients = Tensor::run_backward(&[&loss], &parameters, false, false);
        let names = case.architecture.tensors().into_iter().filter(|spec| spec.role.is_trained());
        let names: Vec<String> = names.map(|spec| format!("grad/{}", spec.name)).collect();
        for (name, ours) in names.iter().zip(&gradients) {
            case.assert_agrees(name, ours);
        }
        let compared = case.reference.keys().filter(|name| name.starts_with("grad/")).count();
        assert_eq!((gradients.len(), compared), (names.len(), names.len()), "{}", case.name);
    }
}

#[test]
fn weights_and_running_statistics_agree_after_two_steps() {
    for case in Case::all() {
        let (network, pixels, labels) = (case.network(), case.pixels(), case.get("labels"));
        let mut sgd = Sgd::new(network.train_only(Part::All), &Optimizer::new(0.05, 1e-3));
        let step = |_| {
            let loss = cross_entropy(&network.forward(&pixels, Mode::Train), &labels);
            sgd.step(&loss).expect("a step works");
            loss.double_value(&[])
        };
        let losses: Vec<f64> = (0..2).map(step).collect();
        case.assert_agrees("losses", &Tensor::from_slice(&losses));
        let state = network.to_state().expect("readable");
        for (name, raw) in &state.tensors {
            case.assert_agrees(&format!("after/{name}"), &tensor(raw));
            if raw.dtype == Dtype::I64 {
                assert_eq!(raw.bytes, 5_i64.to_le_bytes(), "{}: {name}", case.name);
            }
        }
        let compared = case.reference.keys().filter(|name| name.starts_with("after/")).count();
        assert_eq!(compared, state.tensors.len(), "{}", case.name);
    }
}

// ------------------------------------------------------------------------------------------ transforms

fn integers(raw: &RawTensor) -> Vec<usize> {
    raw.bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as usize).collect()
}

fn rectangle(values: &[usize]) -> Rectangle {
    let &[top, left, height, width] = values else { panic!("four numbers") };
    Rectangle { top, left, height, width }
}

#[test]
fn parts_of_images_are_those_of_torchvision_for_the_same_chance() {
    let reference = read("transforms");
    let uniforms = &reference["part/uniforms"];
    let values: Vec<f64> = uniforms.bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    let (sizes, parts) = (integers(&reference["part/sizes"]), integers(&reference["part/parts"]));
    let cases = sizes.chunks(2).zip(parts.chunks(4)).zip(values.chunks(uniforms.shape[1]));
    for ((size, part), values) in cases {
        let mut numbers = values.iter().copied();
        let ours = random_part(&mut || numbers.next().expect("enough numbers"), [size[0], size[1]]);
        assert_eq!(ours, rectangle(part), "of {size:?}");
    }
    assert_eq!(sizes.len(), 2 * (6 * 8 + 3));
}

#[test]
fn resized_parts_agree_each_with_its_own_and_mirrored() {
    let reference = read("transforms");
    let boxes = integers(&reference["crop/boxes"]);
    let parts: Vec<(Rectangle, bool)> =
        boxes.chunks(4).enumerate().map(|(at, values)| (rectangle(values), at == 3)).collect();
    let whole = Side { length: 12, first: 0, count: 12 };
    let seen = Parts::new(&parts, Device::Cpu).resample(&tensor(&reference["crop/stored"]), [whole, whole]);
    assert_close("parts", &seen, &tensor(&reference["crop/seen"]));
}

#[test]
fn the_view_of_evaluation_agrees_upwards_downwards_and_of_oblong_images() {
    let reference = read("transforms");
    for case in 0..4 {
        let get = |what: &str| tensor(&reference[&format!("view/{case}/{what}")]);
        assert_close(
            &format!("view {case}"),
            &show(&get("stored"), View::Resized { shorter: 16, crop: 14 }),
            &get("seen"),
        );
    }
}
