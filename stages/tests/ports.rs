//! What the stages of the science declare: what data each may see, and defaults that are the paper's.
//!
//! Needs no libtorch: the engine enforces these declarations without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pru_flow_cache::Digest;
use pru_flow_stages::io::{Attempt, Input, InputFile, StageIo};
use pru_flow_stages::model::architecture::{Architecture, ModelParams};
use pru_flow_stages::model::init;
use pru_flow_stages::model::state::StateDict;
use pru_flow_stages::{Arity, BUILTINS, Sees, StageError, find};
use safetensors::tensor::Dtype;
use serde_json::json;

/// Every stage that trains or measures, with its data ports.
const DATA_PORTS: &[(&str, &[(&str, Sees)])] = &[
    ("train/original", &[("data", Sees::Both)]),
    ("unlearn/retrain", &[("data", Sees::Retain)]),
    ("unlearn/pru", &[("data", Sees::Forget)]),
    ("unlearn/boundary_shrink", &[("data", Sees::Forget)]),
    ("unlearn/random_label", &[("data", Sees::Forget)]),
    ("unlearn/bn_only", &[("data", Sees::Forget)]),
    ("unlearn/unroll", &[("data", Sees::Both)]),
    ("unlearn/unroll_of", &[("data", Sees::Forget)]),
    ("unlearn/boundary_expand", &[("data", Sees::Forget)]),
    ("unlearn/gradient_ascent", &[("data", Sees::Forget)]),
    ("unlearn/salun_f", &[("data", Sees::Forget)]),
    ("unlearn/delete", &[("data", Sees::Forget)]),
    ("unlearn/bias_mask", &[]),
    ("unlearn/classifier_only", &[("data", Sees::Forget)]),
    ("unlearn/jit", &[("data", Sees::Forget)]),
    ("unlearn/l2ul", &[("data", Sees::Forget)]),
    ("unlearn/fine_tune", &[("data", Sees::Retain)]),
    ("unlearn/neg_grad_plus", &[("data", Sees::Both)]),
    ("unlearn/salun", &[("data", Sees::Both)]),
    ("unlearn/scrub", &[("data", Sees::Both)]),
    ("unlearn/bad_teacher", &[("data", Sees::Both)]),
    ("unlearn/unsir", &[("data", Sees::Retain)]),
    ("unlearn/ssd", &[("data", Sees::Both)]),
    ("unlearn/l1_sparse", &[("data", Sees::Retain)]),
    ("unlearn/amnesiac", &[("data", Sees::Both)]),
    ("relearn", &[("data", Sees::Retain), ("test", Sees::Both), ("forget", Sees::Forget), ("facts", Sees::Both)]),
    ("evaluate", &[("data", Sees::Both), ("facts", Sees::Both)]),
    ("measure/perception", &[("data", Sees::Both)]),
    ("measure/similarity", &[("reference", Sees::Both), ("data", Sees::Both)]),
    (
        "measure/relearn_time",
        &[("data", Sees::Both), ("test", Sees::Both), ("original", Sees::Both), ("reference", Sees::Both)],
    ),
];

#[test]
fn each_method_declares_what_data_it_may_see() {
    for &(stage, expected) in DATA_PORTS {
        let def = find(stage).unwrap_or_else(|| panic!("no stage {stage}"));
        let is_network = |name: &str| ["model", "start"].contains(&name);
        let ports: Vec<_> = def.inputs.iter().filter(|p| !is_network(p.name)).map(|p| (p.name, p.sees)).collect();
        assert_eq!(ports, expected, "{stage}");
        let networks: Vec<_> =
            def.inputs.iter().filter(|p| is_network(p.name)).map(|p| (p.name, p.arity == Arity::Optional)).collect();
        let from_scratch = ["train/original", "unlearn/retrain"].contains(&stage);
        assert_eq!(networks, [if from_scratch { ("start", true) } else { ("model", false) }], "{stage}");
    }
    for def in BUILTINS.iter().filter(|def| def.name.starts_with("unlearn/")) {
        assert!(DATA_PORTS.iter().any(|(name, _)| *name == def.name), "{}: say here what data it may see", def.name);
    }
}

#[test]
fn each_method_and_each_stage_that_sees_part_of_the_data_names_the_forget_class() {
    for (stage, ports) in DATA_PORTS {
        if stage.starts_with("unlearn/") || ports.iter().any(|(_, sees)| *sees != Sees::Both) {
            let def = find(stage).expect("a built-in");
            let params = (def.normalise)(&json!({"forget_class": 4})).expect("defaults fill in the rest");
            assert_eq!((def.forget_class)(&params), Some(4), "{stage}");
            assert_eq!(
                (def.normalise)(&json!({})).map_err(|e| e.message),
                Err("missing field `forget_class`".to_owned())
            );
        }
    }
}

#[test]
fn defaults_are_the_settings_of_the_paper_for_mnist() {
    let defaults = |stage: &str, params: serde_json::Value| (find(stage).expect("a built-in").normalise)(&params);
    let common = json!({
        "order": "shuffled", "augment": {"crop_padding": 0, "reflect": false, "flip": false},
        "normalise": null, "batch_norm": "train", "precision": "f32", "seed": 7,
    });
    let with = |more: serde_json::Value| {
        let mut all = common.clone();
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Ok(all)
    };
    let original = json!({
        "model": {"name": "all_cnn", "width": 1.0, "classes": 10}, "epochs": 10, "batch_size": 64,
        "optimizer": {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": false}, "momentum_reset": false,
    });
    assert_eq!(defaults("train/original", json!({})), with(original));
    let pru = json!({
        "forget_class": 0, "variant": "as-published", "epochs": 10, "batch_size": 128, "lr_shift": 5e-3,
        "lr_refine": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "perception": "kl", "cluster": true, "sample": true,
        "lambda": 1.0, "random_label": false, "subset_ratio": 1.0,
    });
    assert_eq!(defaults("unlearn/pru", json!({"forget_class": 0})), with(pru));
    let relearn = json!({
        "forget_class": 0, "fraction": 0.8, "epochs": 10, "batch_size": 64, "momentum_reset": true,
        "evaluate_every": 1, "optimizer": {"lr": 0.001, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": false},
        "forget_samples": 0, "updates": "all",
    });
    assert_eq!(defaults("relearn", json!({"forget_class": 0})), with(relearn));
}

#[test]
fn defaults_of_the_methods_that_see_forget_data_are_as_documented() {
    let sgd = |lr: f64| json!({"lr": lr, "momentum": 0.9, "weight_decay": 0.0, "nesterov": false});
    let expected = [
        ("unroll", json!({"lr": 0.25, "sigma": 0.05, "batch_size": 128, "forget_batch_size": null})),
        ("unroll_of", json!({"lr": 0.02, "sigma": 0.02, "batch_size": 128})),
        ("boundary_expand", json!({"epochs": 10, "batch_size": 128, "optimizer": sgd(1e-3)})),
        (
            "gradient_ascent",
            json!({"epochs": 10, "batch_size": 128, "optimizer": sgd(1e-4), "clip_norm": 1.0, "stop_below": 0.01}),
        ),
        (
            "salun_f",
            json!({
                "saliency": 0.3, "epochs": 10, "batch_size": 128, "optimizer": sgd(1e-3), "batch_norm": "frozen",
            }),
        ),
        ("delete", json!({"classifier": "free", "epochs": 20, "batch_size": 128, "optimizer": sgd(1e-4)})),
        ("classifier_only", json!({"epochs": 10, "batch_size": 128, "optimizer": sgd(1e-3), "batch_norm": null})),
        ("jit", json!({"epochs": 1, "batch_size": 128, "optimizer": sgd(3e-4), "noises": 25, "sigma": 0.5})),
        (
            "l2ul",
            json!({
                "epochs": 10, "batch_size": 128, "optimizer": sgd(1e-4), "weight": 0.1, "radius": 0.4, "step": 0.1,
                "iterations": 10, "clip_norm": 1.0, "stop_below": 0.01,
            }),
        ),
    ];
    for (method, own) in expected {
        let mut all = json!({
            "forget_class": 0, "order": "shuffled", "normalise": null, "batch_norm": "train", "precision": "f32",
            "seed": 7, "augment": {"crop_padding": 0, "reflect": false, "flip": false},
        });
        let fields = all.as_object_mut().expect("an object");
        fields.extend(own.as_object().expect("an object").clone());
        if fields["batch_norm"].is_null() {
            // Its batch norm is frozen by definition.
            fields.remove("batch_norm");
        }
        let def = find(&format!("unlearn/{method}")).expect("a built-in");
        let params = (def.normalise)(&json!({"forget_class": 0}));
        assert_eq!(params, Ok(all), "{method}");
        assert_eq!((def.check)(&params.expect("readable")), Vec::new(), "{method}");
    }
    let mask = (find("unlearn/bias_mask").expect("a built-in").normalise)(&json!({"forget_class": 0}));
    assert_eq!(mask, Ok(json!({"forget_class": 0})));
}

#[test]
fn defaults_of_the_methods_that_read_retain_data_are_as_documented() {
    let sgd = |lr: f64, weight_decay: f64| json!({"lr": lr, "momentum": 0.9, "weight_decay": weight_decay, "nesterov": false});
    let adam = json!({"lr": 1e-4, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.0});
    let augment = json!({"crop_padding": 0, "reflect": false, "flip": false});
    let (train, frozen) = ("train", "frozen");
    let expected = [
        ("fine_tune", json!({"epochs": 10, "batch_size": 128, "optimizer": sgd(1e-2, 5e-4), "batch_norm": train})),
        (
            "neg_grad_plus",
            json!({
                "epochs": 10, "batch_size": 128, "optimizer": sgd(1e-2, 0.0), "alpha": 0.95, "pull": 0.0,
                "batch_norm": frozen,
            }),
        ),
        (
            "salun",
            json!({
                "epochs": 10, "batch_size": 256, "optimizer": sgd(1.3e-2, 5e-4), "saliency": 0.5, "batch_norm": train,
            }),
        ),
        (
            "scrub",
            json!({
                "epochs": 3, "max_epochs": 2, "batch_size": 128, "forget_batch_size": 32, "gamma": 0.99,
                "optimizer": sgd(5e-4, 5e-4), "alpha": 1e-3, "temperature": 4.0, "batch_norm": train,
            }),
        ),
        ("bad_teacher", json!({"epochs": 1, "batch_size": 256, "optimizer": adam, "share": 0.3, "batch_norm": train})),
        (
            "unsir",
            json!({
                "noise_batch": 32, "noise_steps": 25, "noise_lr": 0.1, "noise_copies": 80, "samples_per_class": 500,
                "lr_impair": 1e-4, "lr_repair": 1e-4, "batch_size": 256, "batch_norm": train, "augment": null,
            }),
        ),
        ("ssd", json!({"batch_size": 64, "alpha": 10.0, "lambda": 1.0})),
        (
            "l1_sparse",
            json!({"epochs": 10, "batch_size": 128, "optimizer": sgd(1e-2, 0.0), "gamma": 5e-4, "batch_norm": train}),
        ),
        ("amnesiac", json!({"epochs": 3, "batch_size": 128, "optimizer": adam, "batch_norm": train})),
    ];
    for (method, own) in expected {
        let mut all = json!({
            "forget_class": 0, "order": "shuffled", "normalise": null, "precision": "f32", "seed": 7, "augment": augment,
        });
        let fields = all.as_object_mut().expect("an object");
        fields.extend(own.as_object().expect("an object").clone());
        if fields["augment"].is_null() {
            // It takes images as they are stored.
            fields.remove("augment");
        }
        let def = find(&format!("unlearn/{method}")).expect("a built-in");
        let params = (def.normalise)(&json!({"forget_class": 0}));
        assert_eq!(params, Ok(all), "{method}");
        assert_eq!((def.check)(&params.expect("readable")), Vec::new(), "{method}");
    }
}

#[test]
fn params_of_the_methods_that_read_retain_data_are_checked() {
    let problems = |method: &str, params: serde_json::Value| {
        let def = find(&format!("unlearn/{method}")).expect("a built-in");
        let mut all = json!({"forget_class": 0, "batch_size": 0, "normalise": {"mean": [], "std": []}});
        all.as_object_mut().expect("an object").extend(params.as_object().expect("an object").clone());
        let params = (def.normalise)(&all).expect("readable");
        let fields = (def.check)(&params).into_iter().map(|(field, _)| field).collect::<Vec<_>>();
        assert_eq!(fields[..1], ["batch_size"], "{method}");
        let at = fields.iter().position(|field| *field == "normalise").expect("it is checked");
        (fields[1..at].to_vec(), fields[at + 1..].to_vec())
    };
    let (sgd, adam) = (json!({"lr": 0, "weight_decay": 0}), json!({"lr": 0, "betas": [1, 0], "epsilon": 0}));
    let by_sgd = vec!["optimizer.lr"];
    let by_adam = vec!["optimizer.lr", "optimizer.betas", "optimizer.epsilon"];
    let expected: [(&str, serde_json::Value, &[&str], &[&str]); 9] = [
        ("fine_tune", json!({"optimizer": sgd}), &by_sgd, &[]),
        ("neg_grad_plus", json!({"optimizer": sgd, "alpha": 0, "pull": -1}), &by_sgd, &["alpha", "pull"]),
        ("salun", json!({"optimizer": sgd, "saliency": 1.5}), &by_sgd, &["saliency"]),
        (
            "scrub",
            json!({"optimizer": sgd, "forget_batch_size": 0, "gamma": -1, "alpha": -1, "temperature": 0}),
            &by_sgd,
            &["forget_batch_size", "gamma", "alpha", "temperature"],
        ),
        ("bad_teacher", json!({"optimizer": adam, "share": 0}), &by_adam, &["share"]),
        (
            "unsir",
            json!({
                "noise_batch": 0, "noise_steps": 0, "noise_copies": 0, "samples_per_class": 0, "noise_lr": 0,
                "lr_impair": 0, "lr_repair": 0,
            }),
            &[],
            &["noise_batch", "noise_steps", "noise_copies", "samples_per_class", "noise_lr", "lr_impair", "lr_repair"],
        ),
        ("ssd", json!({"alpha": 0, "lambda": 0}), &[], &["alpha", "lambda"]),
        ("l1_sparse", json!({"optimizer": sgd, "gamma": -1}), &by_sgd, &["gamma"]),
        ("amnesiac", json!({"optimizer": adam}), &by_adam, &[]),
    ];
    for (method, params, optimizer, own) in expected {
        assert_eq!(problems(method, params), (optimizer.to_vec(), own.to_vec()), "{method}");
    }
}

#[test]
fn params_of_the_methods_that_see_forget_data_are_checked() {
    let problems = |method: &str, params: serde_json::Value| {
        let def = find(&format!("unlearn/{method}")).expect("a built-in");
        let mut all = json!({"forget_class": 0, "batch_size": 0, "normalise": {"mean": [], "std": []}});
        all.as_object_mut().expect("an object").extend(params.as_object().expect("an object").clone());
        let params = (def.normalise)(&all).expect("readable");
        (def.check)(&params).into_iter().map(|(field, _)| field).collect::<Vec<_>>()
    };
    let sgd = json!({"lr": 0, "weight_decay": 0});
    let expected: [(&str, serde_json::Value, &[&str]); 9] = [
        (
            "unroll",
            json!({"lr": 0, "sigma": 0, "forget_batch_size": 0}),
            &["batch_size", "lr", "sigma", "forget_batch_size", "normalise"],
        ),
        ("unroll_of", json!({"lr": 0, "sigma": -1}), &["batch_size", "lr", "sigma", "normalise"]),
        ("boundary_expand", json!({"optimizer": sgd}), &["batch_size", "optimizer.lr", "normalise"]),
        (
            "gradient_ascent",
            json!({"optimizer": sgd, "clip_norm": 0, "stop_below": 1.5}),
            &["batch_size", "optimizer.lr", "normalise", "clip_norm", "stop_below"],
        ),
        ("salun_f", json!({"optimizer": sgd, "saliency": 0}), &["batch_size", "optimizer.lr", "normalise", "saliency"]),
        ("delete", json!({"optimizer": sgd}), &["batch_size", "optimizer.lr", "normalise"]),
        ("classifier_only", json!({"optimizer": sgd}), &["batch_size", "optimizer.lr", "normalise"]),
        (
            "jit",
            json!({"optimizer": sgd, "noises": 0, "sigma": 0}),
            &["batch_size", "optimizer.lr", "normalise", "noises", "sigma"],
        ),
        (
            "l2ul",
            json!({
                "optimizer": sgd, "weight": -1, "radius": 0, "step": 0, "iterations": 0, "clip_norm": -1,
                "stop_below": 0,
            }),
            &[
                "batch_size",
                "optimizer.lr",
                "normalise",
                "weight",
                "radius",
                "step",
                "iterations",
                "clip_norm",
                "stop_below",
            ],
        ),
    ];
    for (method, params, fields) in expected {
        assert_eq!(problems(method, params), fields, "{method}");
    }
    for method in ["gradient_ascent", "l2ul"] {
        let unbounded = json!({"batch_size": 1, "normalise": null, "clip_norm": null, "stop_below": null});
        assert_eq!(problems(method, unbounded), Vec::<&str>::new(), "{method}");
    }
}

#[test]
fn params_that_do_not_go_together_are_refused() {
    let problems = |stage: &str, params: serde_json::Value| {
        let def = find(stage).expect("a built-in");
        let params = (def.normalise)(&params).expect("readable");
        (def.check)(&params).into_iter().map(|(field, _)| field).collect::<Vec<_>>()
    };
    let none = json!({"forget_class": 0, "perception": "none", "cluster": false, "sample": false});
    assert_eq!(problems("unlearn/pru", none), ["perception"]);
    assert_eq!(problems("unlearn/pru", json!({"forget_class": 0, "random_label": true})), ["random_label"]);
    assert_eq!(
        problems("unlearn/pru", json!({"forget_class": 0, "lr_shift": 0, "lambda": -1})),
        ["lr_shift", "lambda"]
    );
    assert_eq!(problems("unlearn/bn_only", json!({"forget_class": 0, "updates": []})), ["updates"]);
    assert_eq!(problems("unlearn/retrain", json!({"forget_class": 10})), ["forget_class"]);
    assert_eq!(problems("unlearn/boundary_shrink", json!({"forget_class": 0, "bound": 2})), ["bound"]);
    assert_eq!(
        problems("relearn", json!({"forget_class": 0, "fraction": 0, "evaluate_every": 0})),
        ["fraction", "evaluate_every"]
    );
    assert_eq!(
        problems("train/original", json!({"model": {"width": 0.001, "classes": 1}})),
        ["model.width", "model.classes"]
    );
    let unknown = (find("unlearn/pru").expect("a built-in").normalise)(&json!({"forget_class": 0, "lamda": 2}));
    assert!(unknown.expect_err("no such param").message.starts_with("unknown field `lamda`"));
}

/// Runs a stage that needs no worker and gives its output `model`.
fn run(
    folder: &Path,
    stage: &str,
    params: &serde_json::Value,
    inputs: BTreeMap<String, Vec<Input>>,
    sources: BTreeMap<String, PathBuf>,
) -> Result<StateDict, StageError> {
    let def = find(stage).expect("a built-in");
    assert!(!def.needs_worker());
    let attempt = Attempt {
        stage: def.name.to_owned(),
        params: params.clone(),
        inputs,
        sources,
        folder: folder.join("run"),
        kept: folder.join("kept"),
        device: "cpu".to_owned(),
        threads: 1,
        log: folder.join("log"),
    };
    let mut io = StageIo::new(&attempt, std::sync::Arc::default(), |_| ())?;
    (def.run)(params, &mut io)?;
    let bytes = std::fs::read(folder.join("run/out/model")).expect("the output is written");
    Ok(StateDict::from_bytes(&bytes).expect("a model"))
}

/// Runs `model/import` on a file of `bytes`.
fn import(folder: &Path, bytes: &[u8]) -> Result<StateDict, StageError> {
    let path = folder.join("weights");
    std::fs::write(&path, bytes).expect("a temporary folder");
    let def = find("model/import").expect("a built-in");
    let params = (def.normalise)(&json!({"path": path, "model": {"width": 0.05}})).expect("readable");
    assert_eq!((def.sources)(&params)[0].candidates, std::slice::from_ref(&path));
    run(folder, def.name, &params, BTreeMap::new(), BTreeMap::from([("path".to_owned(), path)]))
}

#[test]
fn a_class_is_masked_without_data_and_without_a_worker() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = ModelParams { width: 0.05, ..ModelParams::default() };
    let before = init::draw(&Architecture::new(&model, 1).expect("one channel"), Dtype::F32, 7, "");
    let bytes = before.to_bytes().expect("well formed");
    let path = folder.path().join("model");
    std::fs::write(&path, &bytes).expect("a temporary folder");
    let file = InputFile::new("", Digest::of(&bytes), path);
    let inputs = BTreeMap::from([("model".to_owned(), vec![Input { coordinates: Vec::new(), files: vec![file] }])]);
    let masked = |class: u32| {
        run(folder.path(), "unlearn/bias_mask", &json!({"forget_class": class}), inputs.clone(), BTreeMap::new())
    };
    let mut after = masked(2).expect("it fits");
    let bias = after.tensors["classifier.0.bias"].bytes.clone();
    assert_eq!(bias[8..12], (-1e4_f32).to_le_bytes());
    let original = before.tensors["classifier.0.bias"].clone();
    assert_eq!((&bias[..8], &bias[12..]), (&original.bytes[..8], &original.bytes[12..]));
    after.tensors.insert("classifier.0.bias".to_owned(), original);
    assert_eq!(after, before);
    let problem = masked(10).expect_err("no such class").to_string();
    assert_eq!(problem, "forget_class is 10; the network has 10 classes");
}

#[test]
fn a_state_dict_from_outside_becomes_a_model_and_a_pickle_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = ModelParams { width: 0.05, ..ModelParams::default() };
    let architecture = Architecture::new(&model, 1).expect("one channel");
    let mut state = init::draw(&architecture, Dtype::F32, 7, "");
    state.metadata.clear();
    let imported = import(folder.path(), &state.to_bytes().expect("well formed")).expect("it fits");
    assert_eq!(imported.tensors, state.tensors);
    assert_eq!(Architecture::from_metadata(&imported.metadata), Ok(architecture));

    let problem = import(folder.path(), b"PK\x03\x04 and so on").expect_err("a pickle").to_string();
    assert!(problem.contains("weights: this is a pickle (torch.save), and a pickle can run code"), "{problem}");
    state.tensors.remove("conv1.1.bias");
    let problem = import(folder.path(), &state.to_bytes().expect("well formed")).expect_err("incomplete").to_string();
    assert!(problem.ends_with("1 problem(s):\n  `conv1.1.bias` is missing (shape [4])"), "{problem}");
}
