//! Whole runs of every method beyond those of `methods.rs`: what each changes and leaves alone, when it stops, and what it
//! refuses. The numbers themselves are compared with PyTorch in `parity_forget.rs` and `parity_retain.rs`.
#![cfg(feature = "torch")]
#![expect(clippy::needless_pass_by_value, reason = "params are written in place, as `json!({..})`")]

mod bench;

use bench::{Bench, changed, data, file, is_classifier, is_statistic, merged, settings, unlearned};
use pru_flow_stages::io::StageEvent;
use pru_flow_stages::model::state::StateDict;
use pru_flow_stages::{Sees, StageError, find};
use serde_json::{Value, json};

/// Every method with settings under which it stays finite with frozen statistics too.
fn methods() -> [(&'static str, Value); 18] {
    let adam = || json!({"lr": 1e-4, "weight_decay": 1e-3});
    let slow = || json!({"lr": 1e-4, "weight_decay": 1e-3});
    [
        ("unlearn/unroll", json!({"lr": 1e-3, "sigma": 1e-3})),
        ("unlearn/unroll_of", json!({"lr": 1e-3, "sigma": 2e-3})),
        ("unlearn/boundary_expand", json!({"optimizer": slow()})),
        ("unlearn/gradient_ascent", json!({"optimizer": slow()})),
        ("unlearn/salun_f", json!({"optimizer": slow()})),
        ("unlearn/delete", json!({"optimizer": slow()})),
        ("unlearn/classifier_only", json!({"optimizer": slow()})),
        ("unlearn/jit", json!({"optimizer": slow(), "noises": 2})),
        ("unlearn/l2ul", json!({"optimizer": slow(), "iterations": 2})),
        ("unlearn/fine_tune", json!({"optimizer": slow()})),
        ("unlearn/neg_grad_plus", json!({"optimizer": slow()})),
        ("unlearn/salun", json!({"optimizer": slow()})),
        ("unlearn/scrub", json!({"optimizer": slow()})),
        ("unlearn/bad_teacher", json!({"optimizer": adam()})),
        ("unlearn/unsir", json!({"noise_batch": 8, "noise_steps": 2, "noise_copies": 3, "samples_per_class": 20})),
        ("unlearn/ssd", json!({"alpha": 2})),
        ("unlearn/l1_sparse", json!({"optimizer": slow()})),
        ("unlearn/amnesiac", json!({"optimizer": adam()})),
    ]
}

/// Whether a method has a param.
fn takes(method: &str, param: &str) -> bool {
    let schema = (find(method).expect("a built-in").schema)().to_value();
    schema["properties"].get(param).is_some()
}

/// Names of the tensors that a method changes.
fn changes(method: &str, params: Value) -> Vec<String> {
    let (before, after) = unlearned(method, params);
    assert_eq!(before.metadata, after.metadata, "{method}");
    changed(&before, &after)
}

// ------------------------------------------------------------------------------------------ what methods change

#[test]
fn frozen_batch_norm_leaves_every_buffer_and_train_mode_moves_every_one() {
    for (method, params) in methods().into_iter().filter(|(method, _)| takes(method, "batch_norm")) {
        let frozen = changes(method, merged(params.clone(), json!({"batch_norm": "frozen"})));
        assert!(!frozen.is_empty() && !frozen.iter().any(|name| is_statistic(name)), "{method}: {frozen:?}");
        let trained = changes(method, merged(params, json!({"batch_norm": "train"})));
        assert_eq!(trained.iter().filter(|name| is_statistic(name)).count(), 8 * 3, "{method}");
    }
}

#[test]
fn every_weight_is_trained_where_nothing_is_frozen() {
    for (method, params) in methods() {
        let trained = changes(method, params);
        let weights = trained.iter().filter(|name| !is_statistic(name)).count();
        match method {
            "unlearn/classifier_only" => assert_eq!(trained, ["classifier.0.bias", "classifier.0.weight"]),
            // A share of the weights need not touch every tensor.
            "unlearn/salun_f" | "unlearn/salun" | "unlearn/ssd" => assert!((9..=26).contains(&weights), "{trained:?}"),
            _ => assert_eq!(weights, 8 * 3 + 2, "{method}: {trained:?}"),
        }
    }
}

#[test]
fn delete_with_a_frozen_classifier_leaves_it_exactly() {
    let optimizer = json!({"lr": 1e-2, "weight_decay": 0.1});
    for (classifier, trained) in [("frozen", 0), ("free", 2)] {
        let changed = changes("unlearn/delete", json!({"classifier": classifier, "optimizer": optimizer}));
        assert_eq!(changed.iter().filter(|name| is_classifier(name)).count(), trained, "{changed:?}");
        assert_eq!(changed.iter().filter(|name| !is_classifier(name)).count(), 8 * 6);
    }
}

#[test]
fn masked_methods_move_their_share_of_the_weights_and_not_a_bit_of_the_others() {
    let moved = |method: &str, saliency: f64| {
        let optimizer = json!({"lr": 1e-3, "weight_decay": 0.1});
        let (before, after) = unlearned(method, json!({"saliency": saliency, "optimizer": optimizer}));
        let (mut moved, mut all) = (0, 0);
        for (name, old) in before.tensors.iter().filter(|(name, _)| !is_statistic(name)) {
            let new = &after.tensors[name].bytes;
            moved += old.bytes.chunks(4).zip(new.chunks(4)).filter(|(old, new)| old != new).count();
            all += old.bytes.len() / 4;
        }
        (moved, all)
    };
    for (method, saliency) in [("unlearn/salun_f", 0.3), ("unlearn/salun_f", 0.05), ("unlearn/salun", 0.3)] {
        let (moved, all) = moved(method, saliency);
        let most = (saliency * all as f64) as usize;
        assert!(moved <= most && moved > most * 9 / 10, "{moved} of {all} moved; {most} may");
    }
}

#[test]
fn ssd_shrinks_some_weights_and_leaves_all_statistics() {
    let values = |state: &StateDict, name: &str| -> Vec<f32> {
        state.tensors[name].bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let shrunk = |params: Value| {
        let (before, after) = unlearned("unlearn/ssd", params);
        let mut shrunk = 0;
        for name in changed(&before, &after) {
            assert!(!is_statistic(&name), "{name}");
            for (old, new) in values(&before, &name).into_iter().zip(values(&after, &name)) {
                assert!(new.abs() <= old.abs() && new * old >= 0.0, "{name}: {old} became {new}");
                shrunk += usize::from(new.abs() < old.abs());
            }
        }
        shrunk
    };
    let (more, fewer) = (shrunk(json!({"alpha": 1.5})), shrunk(json!({"alpha": 4})));
    assert!(more > fewer && fewer > 0, "{more} and {fewer} weights");
    // What is left is lambda I(D) / I(D_f), below lambda / alpha: everything, where lambda is large enough.
    assert_eq!(shrunk(json!({"alpha": 4, "lambda": 1e6})), 0);
}

#[test]
fn scrub_moves_away_for_so_many_epochs_and_then_only_stays_near() {
    let tracked = |epochs: u32, max_epochs: u32| {
        let params = json!({"epochs": epochs, "max_epochs": max_epochs, "forget_batch_size": 8, "optimizer": {"lr": 1e-4, "weight_decay": 0}});
        let (before, after) = unlearned("unlearn/scrub", params);
        let tracked = |state: &StateDict| {
            let bytes = &state.tensors["conv1.1.num_batches_tracked"].bytes;
            i64::from_le_bytes(*bytes.first_chunk().expect("8 bytes"))
        };
        tracked(&after) - tracked(&before)
    };
    // 40 samples in batches of 8; 80 in batches of 16.
    assert_eq!((tracked(3, 2), tracked(2, 5), tracked(2, 0)), (5 + 5 + 5 + 5 + 5, 20, 10));
}

#[test]
fn bias_mask_makes_the_class_unnameable_and_relearning_from_it_stays_finite() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let inputs = bench.inputs("unlearn/bias_mask", &model, &dataset);
    assert_eq!(inputs.iter().map(|(port, _)| *port).collect::<Vec<_>>(), ["model"]);
    let masked = bench.run("unlearn/bias_mask", json!({"forget_class": 0}), inputs).expect("works")["model"].clone();
    let state = |bytes: &[u8]| StateDict::from_bytes(bytes).expect("a model");
    assert_eq!(changed(&state(&model), &state(&masked)), ["classifier.0.bias"]);
    let port = |name, keep: fn(i64) -> bool| (name, data(bench.path(), &dataset, keep));
    let inputs = vec![("model", file(bench.path(), &masked)), port("data", |class| class != 0), port("test", |_| true)];
    let params = json!({"forget_class": 0, "epochs": 2, "batch_size": 16});
    let curve = bench.run("relearn", params, inputs).expect("nothing becomes NaN")["curve"].clone();
    let curve: Value = serde_json::from_slice(&curve).expect("JSON");
    for point in curve["epochs"].as_array().expect("an array") {
        assert_eq!(point["forget"], json!(0.0), "{curve}");
        assert!(point["retain"].as_f64() >= Some(0.5), "{curve}");
    }
}

// ------------------------------------------------------------------------------------------ forgetting, and stopping

/// Accuracies on class 0 and on the others of the data it was trained on, before and after.
fn accuracies(method: &str, params: Value) -> [(f64, f64); 2] {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let inputs = bench.inputs(method, &model, &dataset);
    let after = bench.run(method, settings(method, params), inputs).expect("works")["model"].clone();
    [model, after].map(|model| {
        let inputs = vec![("model", file(bench.path(), &model)), ("data", data(bench.path(), &dataset, |_| true))];
        let metrics = bench.run("evaluate", json!({"forget_class": 0}), inputs).expect("works")["metrics"].clone();
        let metrics: Value = serde_json::from_slice(&metrics).expect("JSON");
        let value = |name: &str| metrics[name].as_f64().expect("a number");
        (value("forget"), value("retain"))
    })
}

#[test]
fn methods_that_are_to_lower_the_accuracy_on_the_class_do() {
    let quick = |lr: f64| json!({"lr": lr, "weight_decay": 0});
    let frozen = |lr: f64| json!({"optimizer": quick(lr), "epochs": 10, "batch_norm": "frozen"});
    let runs = [
        ("unlearn/gradient_ascent", frozen(1e-2)),
        ("unlearn/l2ul", frozen(1e-2)),
        ("unlearn/salun_f", frozen(1e-2)),
        ("unlearn/delete", frozen(1e-2)),
        ("unlearn/boundary_expand", frozen(1e-2)),
        ("unlearn/classifier_only", json!({"optimizer": quick(0.1), "epochs": 10})),
        ("unlearn/unroll", json!({"lr": 1e-3, "sigma": 0.1, "batch_norm": "frozen"})),
        ("unlearn/unroll_of", json!({"lr": 1e-3, "sigma": 0.1, "batch_norm": "frozen"})),
    ];
    for (method, params) in runs {
        let [(before, _), (after, _)] = accuracies(method, params);
        assert!(before > 0.8 && after < 0.5, "{method}: {before} became {after}");
    }
}

#[test]
fn methods_with_retain_data_lower_the_accuracy_on_the_class_alone() {
    let quick = |lr: f64| json!({"lr": lr, "weight_decay": 0});
    let ten = |lr: f64| json!({"optimizer": quick(lr), "epochs": 10});
    let runs = [
        ("unlearn/neg_grad_plus", json!({"optimizer": quick(1e-2), "epochs": 10, "alpha": 0.8})),
        ("unlearn/salun", ten(1e-2)),
        ("unlearn/scrub", json!({"optimizer": quick(2e-2), "epochs": 5, "max_epochs": 3, "forget_batch_size": 16})),
        ("unlearn/bad_teacher", json!({"optimizer": quick(3e-3), "epochs": 5, "share": 1})),
        ("unlearn/ssd", json!({"alpha": 2})),
        ("unlearn/amnesiac", ten(3e-3)),
    ];
    for (method, params) in runs {
        let [(before, rest_before), (after, rest_after)] = accuracies(method, params);
        let text = format!("{method}: {before} became {after}, and the rest, {rest_before}, {rest_after}");
        assert!(before > 0.8 && after < 0.5 && rest_after > rest_before - 0.1, "{text}");
    }
}

#[test]
fn climbing_stops_once_the_class_is_forgotten_and_only_then() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    for method in ["unlearn/gradient_ascent", "unlearn/l2ul"] {
        let epochs = |stop_below: Value, lr: f64| {
            let params = json!({
                "epochs": 4, "stop_below": stop_below, "optimizer": {"lr": lr, "weight_decay": 0}, "iterations": 2,
                "batch_norm": "frozen",
            });
            let mut params = settings(method, params);
            if method == "unlearn/gradient_ascent" {
                params.as_object_mut().expect("an object").remove("iterations");
            }
            let inputs = bench.inputs(method, &model, &dataset);
            let (outputs, events) = bench.run_observed(method, params, inputs, false);
            outputs.expect("works");
            events.iter().filter(|event| matches!(event, StageEvent::Progress(_))).count()
        };
        assert_eq!(epochs(json!(0.5), 0.1), 1, "{method}: forgotten in the first epoch");
        assert_eq!(epochs(Value::Null, 0.1), 4, "{method}: no bound");
        assert_eq!(epochs(json!(0.5), 1e-9), 4, "{method}: never forgotten");
    }
}

#[test]
fn progress_is_told_each_epoch_and_the_time_once() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    for (method, params) in methods() {
        let inputs = bench.inputs(method, &model, &dataset);
        let (outputs, events) = bench.run_observed(method, settings(method, params), inputs, false);
        outputs.expect("works");
        let progress = events.iter().filter(|event| matches!(event, StageEvent::Progress(_))).count();
        let once = method.starts_with("unlearn/unroll") || method == "unlearn/ssd";
        assert_eq!(progress, if once { 1 } else { 2 }, "{method}");
        let seconds: Vec<_> = events.iter().filter(|event| matches!(event, StageEvent::Measured { .. })).collect();
        assert!(
            matches!(seconds[..], [StageEvent::Measured { name, value }] if name == "train_seconds" && *value > 0.0),
            "{method}: {seconds:?}"
        );
    }
}

// ------------------------------------------------------------------------------------------ equal bytes, bad ends

#[test]
fn running_a_method_again_gives_the_same_bytes_and_another_seed_other_bytes() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let augment = json!({"augment": {"crop_padding": 2, "reflect": true, "flip": true}});
    for (method, params) in methods() {
        let augment = if takes(method, "augment") { augment.clone() } else { json!({}) };
        let params = settings(method, merged(params, augment));
        let run = |params: Value| {
            bench.run(method, params, bench.inputs(method, &model, &dataset)).expect("works")["model"].clone()
        };
        let first = run(params.clone());
        assert!(first == run(params.clone()), "{method}: two runs gave different bytes");
        assert!(first != run(merged(params, json!({"seed": 8}))), "{method}: the seed changes nothing");
    }
}

#[test]
fn what_a_method_draws_depends_on_the_seed_and_not_on_the_order() {
    // Order and augmentation are fixed: what is left is a row, labels, noise, a network, or a share of the data.
    let drawing = [
        "unlearn/boundary_expand",
        "unlearn/salun_f",
        "unlearn/jit",
        "unlearn/l2ul",
        "unlearn/salun",
        "unlearn/bad_teacher",
        "unlearn/unsir",
        "unlearn/amnesiac",
    ];
    for (method, params) in methods() {
        let params = merged(params, json!({"order": "sequential"}));
        let (_, first) = unlearned(method, params.clone());
        let (_, other) = unlearned(method, merged(params, json!({"seed": 8})));
        assert_eq!(first != other, drawing.contains(&method), "{method}");
    }
}

#[test]
fn data_that_a_method_may_not_see_are_refused_and_so_are_data_that_it_lacks() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let both = "; both parts are needed";
    for (method, params) in methods() {
        let refused = |class: u32, keep: &dyn Fn(i64) -> bool| {
            let inputs = vec![("model", file(bench.path(), &model)), ("data", data(bench.path(), &dataset, keep))];
            let params = merged(settings(method, params.clone()), json!({"forget_class": class}));
            bench.run(method, params, inputs).expect_err("refused").to_string()
        };
        let port = find(method).expect("a built-in").inputs.iter().find(|port| port.name == "data").expect("a port");
        match port.sees {
            Sees::Forget => {
                let expected = "only class 0 was to be seen, and the data hold the classes {0, 1, 2}";
                assert_eq!(refused(0, &|_| true), expected, "{method}");
            }
            Sees::Retain => {
                assert_eq!(refused(0, &|_| true), "class 0 was to be left out, and the data hold it", "{method}");
                assert_eq!(refused(3, &|_| true), "forget_class is 3; the network has 3 classes", "{method}");
            }
            Sees::Both => {
                let own = format!("data: no sample but those of class 0{both}");
                assert_eq!(refused(0, &|class| class == 0), own, "{method}");
                assert_eq!(refused(0, &|class| class != 0), format!("data: no sample of class 0{both}"), "{method}");
                assert_eq!(refused(3, &|_| true), "forget_class is 3; the network has 3 classes", "{method}");
            }
        }
    }
}

#[test]
fn a_loss_that_is_no_number_fails_with_epoch_and_step_and_so_do_weights_that_are_none() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    // SSD takes no step that could diverge.
    for (method, params) in methods().into_iter().filter(|(method, _)| *method != "unlearn/ssd") {
        let inputs = || bench.inputs(method, &model, &dataset);
        let with_rate = |lr: f64, more: Value| {
            let rate = match method {
                "unlearn/unroll" | "unlearn/unroll_of" => json!({"lr": lr}),
                "unlearn/unsir" => json!({"lr_repair": lr}),
                _ => json!({"optimizer": {"lr": lr, "weight_decay": 0}}),
            };
            settings(method, merged(merged(params.clone(), rate), more))
        };
        let problem = |settings: Value| match bench.run(method, settings, inputs()) {
            Ok(_) => panic!("{method} does not diverge"),
            Err(problem) => problem.to_string(),
        };
        let text = problem(with_rate(1e38, json!({})));
        assert!(text.starts_with("NaN at epoch ") || text.starts_with("infinite loss at epoch "), "{method}: {text}");
        // In a single step, no loss sees the weights that it leads to.
        let one_step = match method {
            "unlearn/unroll" | "unlearn/salun" | "unlearn/scrub" => continue,
            "unlearn/unroll_of" | "unlearn/unsir" => json!({"batch_size": 128}),
            _ => json!({"batch_size": 128, "epochs": 1}),
        };
        let text = problem(with_rate(1e300, one_step));
        assert!(text.ends_with("` became NaN or infinite in training"), "{method}: {text}");
    }
}

#[test]
fn a_request_to_stop_stops() {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    for (method, params) in methods() {
        let inputs = bench.inputs(method, &model, &dataset);
        let (stopped, events) = bench.run_observed(method, settings(method, params), inputs, true);
        assert!(matches!(stopped, Err(StageError::Cancelled)), "{method}");
        assert!(events.is_empty(), "{method}: {events:?}");
    }
}
