//! Whole stages on small images: what each changes and leaves alone, that equal runs give equal bytes, and how bad
//! inputs are refused. The numbers themselves are compared with PyTorch in `parity.rs`.
#![cfg(feature = "torch")]
#![expect(clippy::needless_pass_by_value, reason = "params are written in place, as `json!({..})`")]

mod bench;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bench::{
    Bench, CLASSES, artifact, changed, data, file, is_classifier, is_statistic, merged, stripes, training, unlearned,
};
use pru_flow_stages::StageError;
use pru_flow_stages::dataset::{Dataset, Pixels};
use pru_flow_stages::io::{Attempt, Input, StageEvent, StageIo};
use pru_flow_stages::model::state::StateDict;
use serde_json::{Value, json};

// ------------------------------------------------------------------------------------------ what methods change

#[test]
fn pru_as_published_leaves_the_classifier_exactly_and_as_described_trains_it() {
    let (before, published) = unlearned("unlearn/pru", json!({}));
    let (_, described) = unlearned("unlearn/pru", json!({"variant": "as-described"}));
    let published = changed(&before, &published);
    assert!(!published.iter().any(|name| is_classifier(name)), "{published:?}");
    assert!(published.contains(&"conv1.0.weight".to_owned()) && published.contains(&"conv8.1.bias".to_owned()));
    let described = changed(&before, &described);
    assert!(
        described.contains(&"classifier.0.weight".to_owned()) && described.contains(&"classifier.0.bias".to_owned())
    );
}

#[test]
fn frozen_batch_norm_leaves_every_buffer_and_train_mode_moves_every_one() {
    for method in ["unlearn/pru", "unlearn/random_label", "unlearn/boundary_shrink"] {
        let slow = match method {
            "unlearn/pru" => json!({"lr_shift": 1e-4, "lr_refine": 1e-4}),
            _ => json!({}),
        };
        let (before, frozen) = unlearned(method, merged(slow, json!({"batch_norm": "frozen"})));
        let frozen = changed(&before, &frozen);
        assert!(!frozen.is_empty() && !frozen.iter().any(|name| is_statistic(name)), "{method}: {frozen:?}");
        let (before, trained) = unlearned(method, json!({}));
        let buffers = changed(&before, &trained).iter().filter(|name| is_statistic(name)).count();
        assert_eq!(buffers, 8 * 3, "{method}");
    }
}

#[test]
fn bn_only_moves_running_statistics_alone_as_often_as_pru() {
    let (before, after) = unlearned("unlearn/bn_only", json!({}));
    let changed = changed(&before, &after);
    assert_eq!(changed.len(), 8 * 3);
    assert!(changed.iter().all(|name| is_statistic(name)));
    let tracked = |state: &StateDict| state.tensors["conv4.1.num_batches_tracked"].clone();
    let (_, pru) = unlearned("unlearn/pru", json!({}));
    assert_eq!(tracked(&after), tracked(&pru));
    let (_, described) = unlearned("unlearn/pru", json!({"variant": "as-described"}));
    let (_, shift_only) = unlearned("unlearn/bn_only", json!({"updates": [2]}));
    assert_eq!(tracked(&shift_only), tracked(&described));
    assert_ne!(tracked(&shift_only), tracked(&pru));
}

#[test]
fn num_batches_tracked_counts_training_steps() {
    let (before, after) = unlearned("unlearn/random_label", json!({}));
    let tracked = |state: &StateDict| {
        let bytes = &state.tensors["conv1.1.num_batches_tracked"].bytes;
        i64::from_le_bytes(*bytes.first_chunk().expect("8 bytes"))
    };
    // 120 samples in batches of 16, 3 epochs; then 40 in batches of 16, 2 epochs.
    assert_eq!((tracked(&before), tracked(&after)), (24, 30));
}

/// As a stage that reads a data set writes them.
const FACTS: &str = r#"{"dataset": "stripes", "official": false, "train": 40, "test": 90, "classes": 3, "files": []}"#;

#[test]
fn retraining_never_names_the_class_it_did_not_see_and_training_learns_it() {
    let (bench, dataset) = (Bench::new(), stripes(40, 1));
    let (longer, forget) = (merged(training(), json!({"epochs": 10})), json!({"forget_class": 1}));
    let all = vec![("data", data(bench.path(), &dataset, |_| true))];
    let original = bench.run("train/original", longer.clone(), all).expect("works");
    let retain = vec![("data", data(bench.path(), &dataset, |class| class != 1))];
    let retrained = bench.run("unlearn/retrain", merged(longer, forget), retain).expect("works");
    let test = stripes(30, 2);
    let metrics = |model: &[u8]| -> Value {
        let facts = file(bench.path(), FACTS.as_bytes());
        let network = ("model", file(bench.path(), model));
        let inputs = vec![network, ("data", data(bench.path(), &test, |_| true)), ("facts", facts)];
        let outputs = bench.run("evaluate", json!({"forget_class": 1}), inputs).expect("works");
        serde_json::from_slice(&outputs["metrics"]).expect("JSON")
    };
    let history = String::from_utf8(original["history"].clone()).expect("text");
    let (original, retrained) = (metrics(&original["model"]), metrics(&retrained["model"]));
    assert!(original["forget"].as_f64() > Some(0.9), "{original}");
    assert_eq!(retrained["forget"], json!(0.0), "{retrained}");
    assert!(retrained["retain"].as_f64() > Some(0.9), "{retrained}");
    assert_eq!(retrained["n"], json!([30, 30, 30]));
    // The tables ask which network and which data it was.
    let origin = json!({"dataset": "stripes", "official": false, "train": 40, "test": 90});
    assert_eq!(retrained["origin"], origin);
    assert_eq!(
        retrained["model"],
        json!({"architecture": "all_cnn", "channels": "1", "classes": "3", "width": "0.05"})
    );
    assert_eq!(history.lines().count(), 11);
    assert!(history.starts_with("epoch,loss,accuracy\n1,"));
}

#[test]
fn relearning_gives_a_point_before_and_after_each_epoch() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let inputs = || {
        vec![
            ("model", file(bench.path(), &model)),
            ("data", data(bench.path(), &dataset, |class| class != 2)),
            ("test", data(bench.path(), &dataset, |_| true)),
        ]
    };
    let params = json!({"forget_class": 2, "epochs": 3, "batch_size": 16, "evaluate_every": 2});
    let (outputs, events) = bench.run_observed("relearn", params, inputs(), false);
    let curve: Value = serde_json::from_slice(&outputs.expect("works")["curve"]).expect("JSON");
    let epochs = curve["epochs"].as_array().expect("an array");
    assert_eq!(epochs.iter().map(|e| e["epoch"].as_u64().expect("a number")).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!((&curve["forget_class"], &epochs[0]["loss"]), (&json!(2), &Value::Null));
    assert_eq!((&curve["model"]["width"], &curve["test_samples"]), (&json!("0.05"), &json!(dataset.len())));
    assert!(epochs[1]["loss"].is_f64() && epochs[0]["overall"].as_f64() > Some(0.5));
    let progress: Vec<_> = events.iter().filter(|e| matches!(e, StageEvent::Progress(_))).collect();
    assert_eq!(progress.len(), 3);
    assert!(events.iter().any(|e| matches!(e, StageEvent::Measured { name, .. } if name == "train_seconds")));
    let (stopped, _) = bench.run_observed("relearn", json!({"forget_class": 2}), inputs(), true);
    assert!(matches!(stopped, Err(StageError::Cancelled)));
}

#[test]
fn relearning_by_statistics_alone_moves_no_weight() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let inputs = vec![
        ("model", file(bench.path(), &model)),
        ("data", data(bench.path(), &dataset, |class| class != 2)),
        ("test", data(bench.path(), &dataset, |_| true)),
    ];
    let params = json!({"forget_class": 2, "epochs": 2, "batch_size": 16, "updates": "statistics"});
    let outputs = bench.run("relearn", params, inputs).expect("works");
    let [before, after] = [&model, &outputs["model"]].map(|bytes| StateDict::from_bytes(bytes).expect("a model"));
    for (name, tensor) in &before.tensors {
        let is_statistic = ["running_mean", "running_var", "num_batches_tracked"].iter().any(|end| name.ends_with(end));
        assert_eq!(tensor == &after.tensors[name], !is_statistic, "{name}");
    }
    let curve: Value = serde_json::from_slice(&outputs["curve"]).expect("JSON");
    assert!(curve["epochs"][2]["loss"].is_f64(), "{curve}");
}

#[test]
fn relearning_with_forgotten_samples_brings_their_class_back() {
    let bench = Bench::new();
    let (_, dataset) = bench.original();
    let train = vec![("data", data(bench.path(), &dataset, |class| class != 2))];
    let retrained = bench.run("unlearn/retrain", merged(training(), json!({"forget_class": 2})), train).expect("works");
    let relearn = |samples: u32, forget: Option<fn(i64) -> bool>| {
        let mut inputs = vec![
            ("model", file(bench.path(), &retrained["model"])),
            ("data", data(bench.path(), &dataset, |class| class != 2)),
            ("test", data(bench.path(), &dataset, |_| true)),
        ];
        inputs.extend(forget.map(|keep| ("forget", data(bench.path(), &dataset, keep))));
        let optimizer = json!({"lr": 0.1, "weight_decay": 0});
        let params = json!({"forget_class": 2, "batch_size": 16, "optimizer": optimizer, "forget_samples": samples});
        let outputs = bench.run("relearn", params, inputs).map_err(|e| e.to_string())?;
        let curve: Value = serde_json::from_slice(&outputs["curve"]).expect("JSON");
        Ok::<_, String>(curve["epochs"][10]["forget"].as_f64().expect("a number"))
    };
    assert_eq!(relearn(0, Some(|class| class == 2)), Ok(0.0), "connected and not asked for");
    let back = relearn(25, Some(|class| class == 2)).expect("works");
    assert!(back > 0.5, "{back}");
    assert!(relearn(1, None).unwrap_err().contains("needs the input `forget`"));
    assert!(relearn(1000, Some(|class| class == 2)).unwrap_err().contains("asks for 1000, and there are "));
    assert!(relearn(1, Some(|class| class != 0)).is_err(), "another class among the forgotten");
}

// ------------------------------------------------------------------------------------------ equal bytes

#[test]
fn running_a_stage_again_gives_the_same_bytes_and_another_seed_other_bytes() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let augment = json!({"augment": {"crop_padding": 2, "reflect": true, "flip": true}, "epochs": 1, "batch_size": 16});
    let forget = merged(augment.clone(), json!({"forget_class": 0}));
    let model_port = || ("model", file(bench.path(), &model));
    let all = || ("data", data(bench.path(), &dataset, |_| true));
    let only = || ("data", data(bench.path(), &dataset, |class| class == 0));
    let rest = || ("data", data(bench.path(), &dataset, |class| class != 0));
    let test = || ("test", data(bench.path(), &dataset, |_| true));
    let train = merged(training(), augment.clone());
    let retrain = merged(train.clone(), json!({"forget_class": 0}));
    let runs = vec![
        ("train/original", &train, vec![all()]),
        ("unlearn/retrain", &retrain, vec![rest()]),
        ("unlearn/pru", &forget, vec![model_port(), only()]),
        ("unlearn/boundary_shrink", &forget, vec![model_port(), only()]),
        ("unlearn/random_label", &forget, vec![model_port(), only()]),
        ("unlearn/bn_only", &forget, vec![model_port(), only()]),
        ("relearn", &forget, vec![model_port(), rest(), test()]),
    ];
    for (stage, params, inputs) in runs {
        let first = bench.run(stage, params.clone(), inputs.clone()).expect("works");
        let second = bench.run(stage, params.clone(), inputs.clone()).expect("works");
        assert!(first == second, "{stage}: two runs gave different bytes");
        let other = bench.run(stage, merged(params.clone(), json!({"seed": 8})), inputs).expect("works");
        assert!(first["model"] != other["model"], "{stage}: the seed changes nothing");
    }
}

#[test]
fn a_model_file_names_its_architecture_and_is_float64_only_when_asked() {
    let bench = Bench::new();
    let input = || vec![("data", data(bench.path(), &stripes(6, 1), |_| true))];
    for (precision, dtype) in [("f64", "F64"), ("f32", "F32"), ("tf32", "F32"), ("bf16", "F32")] {
        let params = merged(training(), json!({"precision": precision, "epochs": 1}));
        let model = bench.run("train/original", params, input()).expect("works")["model"].clone();
        let state = StateDict::from_bytes(&model).expect("a model");
        assert_eq!(format!("{:?}", state.tensors["conv1.0.weight"].dtype), dtype, "{precision}");
        assert_eq!(format!("{:?}", state.tensors["conv1.1.num_batches_tracked"].dtype), "I64");
        let expected = [("architecture", "all_cnn"), ("channels", "1"), ("classes", "3"), ("width", "0.05")];
        assert!(state.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected));
    }
}

// ------------------------------------------------------------------------------------------ other networks

/// Small ones, and names of their classifiers; the transformer sees 20x20 of what 28x28 is resized to.
fn networks() -> [(Value, &'static str); 3] {
    let vit = json!({"image_size": 20, "patch": 5, "layers": 1, "heads": 2, "dim": 16, "mlp": 32});
    [
        (json!({"name": "resnet18", "width": 0.0625, "classes": CLASSES}), "fc."),
        (json!({"name": "resnet50", "width": 0.03125, "classes": CLASSES}), "fc."),
        (json!({"name": "vit_b_16", "vit": vit, "classes": CLASSES}), "heads.head."),
    ]
}

#[test]
fn every_network_goes_through_training_unlearning_evaluation_and_relearning() {
    let (bench, dataset) = (Bench::new(), stripes(30, 1));
    let all = |port| (port, data(bench.path(), &dataset, |_| true));
    for (model, classifier) in networks() {
        let augment = json!({"augment": {"random_resized_crop": true, "flip": true}, "epochs": 1, "batch_size": 16});
        let params = merged(augment.clone(), json!({"model": model, "optimizer": {"lr": 0.01, "weight_decay": 0}}));
        let train = |params: &Value| bench.run("train/original", params.clone(), vec![all("data")]).expect("works");
        let original = train(&params)["model"].clone();
        assert!(original == train(&params)["model"], "{model}: two runs gave different bytes");
        assert!(
            original != train(&merged(params, json!({"augment": {}})))["model"],
            "{model}: augmentation does nothing"
        );

        let network = |bytes: &[u8]| ("model", file(bench.path(), bytes));
        let only = ("data", data(bench.path(), &dataset, |class| class == 0));
        let forget = merged(augment.clone(), json!({"forget_class": 0}));
        let outputs = bench.run("unlearn/pru", forget.clone(), vec![network(&original), only]).expect("works");
        let read = |bytes: &[u8]| StateDict::from_bytes(bytes).expect("a model");
        let changed = changed(&read(&original), &read(&outputs["model"]));
        assert!(changed.len() > 10 && !changed.iter().any(|name| name.starts_with(classifier)), "{changed:?}");

        let rest = ("data", data(bench.path(), &dataset, |class| class != 0));
        let inputs = vec![network(&outputs["model"]), rest, all("test")];
        let relearned = bench.run("relearn", forget.clone(), inputs).expect("works");
        let curve: Value = serde_json::from_slice(&relearned["curve"]).expect("JSON");
        let inputs = vec![network(&relearned["model"]), all("data")];
        let metrics = bench.run("evaluate", json!({"forget_class": 0}), inputs).expect("works");
        let metrics: Value = serde_json::from_slice(&metrics["metrics"]).expect("JSON");
        // Relearning looks at the test data as evaluation does.
        assert_eq!(metrics["overall"], curve["epochs"][1]["overall"], "{model}");
        assert_eq!(metrics["n"], json!([30, 30, 30]));
    }
}

#[test]
fn training_begins_with_given_weights_of_the_same_network_only() {
    let (bench, dataset) = (Bench::new(), stripes(6, 1));
    let (model, _) = &networks()[2];
    let params = |lr: f64, seed: u64| {
        let optimizer = json!({"lr": lr, "weight_decay": 0});
        json!({"model": model, "epochs": 1, "batch_size": 16, "optimizer": optimizer, "seed": seed})
    };
    let all = || ("data", data(bench.path(), &dataset, |_| true));
    let given = bench.run("train/original", params(0.01, 1), vec![all()]).expect("works")["model"].clone();
    for (stage, forget) in [("train/original", json!({})), ("unlearn/retrain", json!({"forget_class": 1}))] {
        let seen = ("data", data(bench.path(), &dataset, |class| forget["forget_class"] != json!(class)));
        let run = |params: Value, start: &[u8]| {
            let start = ("start", file(bench.path(), start));
            bench.run(stage, merged(params, forget.clone()), vec![seen.clone(), start])
        };
        // A step too small to be seen leaves the weights, which no seed draws.
        let kept = run(params(1e-30, 2), &given).expect("works")["model"].clone();
        assert!(kept == given, "{stage}");
        let other = merged(params(0.01, 2), json!({"model": {"width": 0.05, "classes": CLASSES}}));
        let problem = run(other, &given).expect_err("another network").to_string();
        let said = "start: this is vit_b_16 with 1 channel(s), 1 layers, 2 heads, dim 16, mlp 32, patch 5, images of 20x20 \
                    and 3 classes; `model` and the images say AllCNN with 1 channel(s), 4 and 9 filters and 3 classes";
        assert_eq!(problem, said);
    }
}

// ------------------------------------------------------------------------------------------ bad inputs

#[test]
fn inputs_that_do_not_fit_are_refused_with_what_was_expected() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let model = || ("model", file(bench.path(), &model));
    let problem = |stage: &str, params: Value, inputs: Vec<(&str, Input)>| {
        bench.run(stage, params, inputs).expect_err("refused").to_string()
    };
    let forget = json!({"forget_class": 0});

    let leaked = ("data", data(bench.path(), &dataset, |_| true));
    let text = problem("unlearn/random_label", forget.clone(), vec![model(), leaked]);
    assert_eq!(text, "only class 0 was to be seen, and the data hold the classes {0, 1, 2}");

    let leaked = ("data", data(bench.path(), &dataset, |_| true));
    let test = ("test", data(bench.path(), &dataset, |_| true));
    let text = problem("relearn", forget.clone(), vec![model(), leaked, test]);
    assert_eq!(text, "class 0 was to be left out, and the data hold it");

    let none = ("data", data(bench.path(), &dataset, |_| false));
    let text = problem("unlearn/pru", forget.clone(), vec![model(), none]);
    assert_eq!(text, "data: the data set has no file that this stage may see");

    let labels = Dataset { labels: vec![3; dataset.len()], ..dataset.clone() };
    let wrong = artifact(bench.path(), &[("class-3.safetensors".to_owned(), labels.to_bytes().expect("well formed"))]);
    let text = problem("evaluate", json!({}), vec![model(), ("data", wrong)]);
    assert_eq!(text, "data: label 3 of sample 0; the network has the classes 0 to 2");

    let colour =
        Dataset { shape: [1, 3, 28, 28], pixels: Pixels::U8(vec![0; 3 * 784]), labels: vec![0], positions: vec![0] };
    let colour = artifact(bench.path(), &[("class-0.safetensors".to_owned(), colour.to_bytes().expect("well formed"))]);
    let text = problem("evaluate", json!({}), vec![model(), ("data", colour)]);
    assert_eq!(text, "data: images of 3 channel(s); the network takes 1");

    let large =
        Dataset { shape: [1, 1, 30, 30], pixels: Pixels::U8(vec![0; 900]), labels: vec![0], positions: vec![0] };
    let large = artifact(bench.path(), &[("class-0.safetensors".to_owned(), large.to_bytes().expect("well formed"))]);
    let text = problem("evaluate", json!({}), vec![model(), ("data", large)]);
    assert_eq!(text, "data: images of 30x30 pixels; AllCNN takes 28x28 and 32x32");

    let text = problem(
        "evaluate",
        json!({"forget_class": 3}),
        vec![model(), ("data", data(bench.path(), &dataset, |_| true))],
    );
    assert_eq!(text, "forget_class is 3; the network has 3 classes");

    let foreign = file(bench.path(), &dataset.to_bytes().expect("well formed"));
    let text =
        problem("evaluate", json!({}), vec![("model", foreign), ("data", data(bench.path(), &dataset, |_| true))]);
    assert!(text.starts_with("model: not a model of this program: its metadata has no `architecture`"), "{text}");
}

#[test]
fn a_loss_that_is_no_number_fails_with_epoch_and_step() {
    let bench = Bench::new();
    let params = merged(training(), json!({"optimizer": {"lr": 1e30, "weight_decay": 0}}));
    let result = bench.run("train/original", params, vec![("data", data(bench.path(), &stripes(20, 1), |_| true))]);
    let text = result.expect_err("it diverges").to_string();
    assert!(text.starts_with("NaN at epoch 1, step ") || text.starts_with("infinite loss at epoch 1, step "), "{text}");
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let attempt = Attempt {
        stage: "evaluate".to_owned(),
        params: Value::Null,
        inputs: BTreeMap::new(),
        sources: BTreeMap::new(),
        folder: tempfile::tempdir().expect("a temporary folder").keep(),
        kept: std::path::PathBuf::new(),
        device: "cuda:99".to_owned(),
        threads: 1,
        log: std::path::PathBuf::new(),
    };
    let io = StageIo::new(&attempt, Arc::new(AtomicBool::new(false)), |_| ()).expect("a folder");
    let problem = pru_flow_stages::train::session::torch_session(&io).expect_err("no such device").to_string();
    std::fs::remove_dir_all(&attempt.folder).expect("it can go");
    assert!(problem.starts_with("the device `cuda:99` is not there: libtorch sees "), "{problem}");
}
