//! What `measure/similarity`, `measure/relearn_time` and `measure/perception` say of small networks: against a network
//! whose every value is known by hand, and against the definitions computed another way.
#![cfg(feature = "torch")]
#![expect(clippy::needless_pass_by_value, reason = "params are written in place, as `json!({..})`")]

mod bench;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bench::{Bench, CLASSES, data, file, merged, stripes, training};
use pru_flow_stages::dataset::{Dataset, Pixels};
use pru_flow_stages::evaluate::{Metrics, confusion};
use pru_flow_stages::io::StageEvent;
use pru_flow_stages::measure::relearn_time::{self, Relearned};
use pru_flow_stages::measure::similarity::{self, Similarities};
use pru_flow_stages::model::architecture::{Architecture, ModelParams};
use pru_flow_stages::model::init;
use pru_flow_stages::model::network::{Mode, Network};
use pru_flow_stages::model::state::StateDict;
use pru_flow_stages::train::fit::{Silent, Step, fit};
use pru_flow_stages::train::images::Images;
use pru_flow_stages::train::params::Precision;
use pru_flow_stages::{StageError, find};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

const FORGET: u32 = 1;

/// A test set: the stripes of another seed, so that nothing was trained on it.
fn test_set() -> Dataset {
    stripes(20, 2)
}

fn network(model: &[u8]) -> Network {
    let state = StateDict::from_bytes(model).expect("a model");
    Network::from_state("test", &state, Precision::F32, None, Device::Cpu).expect("the weights fit")
}

/// Training that is long enough to know all classes.
fn longer() -> Value {
    merged(training(), json!({"epochs": 10}))
}

/// A network that knows the class, and its training data; trained once a process.
fn original(bench: &Bench) -> (Vec<u8>, Dataset) {
    static ORIGINAL: OnceLock<Vec<u8>> = OnceLock::new();
    let dataset = stripes(40, 1);
    let train = || {
        let inputs = vec![("data", data(bench.path(), &dataset, |_| true))];
        bench.run("train/original", longer(), inputs).expect("works")["model"].clone()
    };
    (ORIGINAL.get_or_init(train).clone(), dataset)
}

/// The network that never saw the class; trained once a process.
fn retrained(bench: &Bench, dataset: &Dataset) -> Vec<u8> {
    static RETRAINED: OnceLock<Vec<u8>> = OnceLock::new();
    let train = || {
        let seen = vec![("data", data(bench.path(), dataset, |class| class != i64::from(FORGET)))];
        let params = merged(longer(), json!({"forget_class": FORGET}));
        bench.run("unlearn/retrain", params, seen).expect("works")["model"].clone()
    };
    RETRAINED.get_or_init(train).clone()
}

// ------------------------------------------------------------------------------------------ similarity

fn similar(bench: &Bench, model: &[u8], reference: &[u8], params: Value) -> Result<Similarities, StageError> {
    let inputs = vec![
        ("model", file(bench.path(), model)),
        ("reference", file(bench.path(), reference)),
        ("data", data(bench.path(), &test_set(), |_| true)),
    ];
    let outputs = bench.run("measure/similarity", merged(json!({"forget_class": FORGET}), params), inputs)?;
    Ok(serde_json::from_slice(&outputs["similarity"]).expect("JSON"))
}

/// The definition, on whole features, for samples that `keep` chooses by label: by block.
fn by_definition(networks: [&Network; 2], keep: impl Fn(i64) -> bool) -> BTreeMap<String, f64> {
    let features = |network: &Network| -> Vec<(String, Tensor)> {
        let images = Images::new("data", &test_set(), network).expect("they fit");
        let rows: Vec<usize> = (0..images.len()).filter(|&row| keep(images.labels()[row])).collect();
        let images = images.select(&rows);
        let pixels = images.in_order(1000).next().expect("samples").pixels;
        let mut all = network.features(&pixels, Mode::Eval);
        all.push(("embedding".to_owned(), network.embed(&pixels, Mode::Eval)));
        all.push(("logits".to_owned(), network.forward(&pixels, Mode::Eval)));
        let centred = |x: Tensor| {
            let x = x.flatten(1, -1).to_kind(Kind::Double);
            &x - x.mean_dim([0_i64].as_slice(), true, Kind::Double)
        };
        all.into_iter().map(|(name, x)| (name, centred(x))).collect()
    };
    let norm = |a: &Tensor, b: &Tensor| a.tr().matmul(b).norm().double_value(&[]);
    let [ours, theirs] = networks.map(|network| no_grad(|| features(network)));
    let value = |((name, x), (_, y)): ((String, Tensor), (String, Tensor))| {
        (name, norm(&y, &x).powi(2) / (norm(&x, &x) * norm(&y, &y)))
    };
    ours.into_iter().zip(theirs).map(value).collect()
}

#[track_caller]
fn assert_alike(found: &BTreeMap<String, Option<f64>>, expected: &BTreeMap<String, f64>) {
    assert!(found.keys().eq(expected.keys()), "{found:?}");
    for (block, expected) in expected {
        let value = found[block].expect("a value");
        // The networks compute in float32, in another layout and in batches of another size.
        assert!((value - expected).abs() < 1e-4, "{block}: {value}, expected {expected}");
    }
}

#[test]
fn similarity_of_two_networks_is_the_definition_on_forget_and_on_retain_samples() {
    let bench = Bench::new();
    let (model, dataset) = original(&bench);
    let other = retrained(&bench, &dataset);
    let found = similar(&bench, &model, &other, json!({})).expect("works");
    let networks = [&network(&model), &network(&other)];
    let forget = by_definition(networks, |class| class == i64::from(FORGET));
    let retain = by_definition(networks, |class| class != i64::from(FORGET));
    assert_alike(&found.forget, &forget);
    assert_alike(&found.retain, &retain);
    // Otherwise the test could not tell the sides, nor a block from the next.
    assert!((forget["logits"] - retain["logits"]).abs() > 0.01, "{forget:?} {retain:?}");
    assert!((forget["conv7"] - forget["conv8"]).abs() > 1e-3, "{forget:?}");
    let blocks = ["conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7", "conv8", "embedding", "logits"];
    assert_eq!(found.blocks, blocks);
    assert_eq!((found.forget_class, found.n.forget, found.n.retain), (FORGET, 20, 40));
}

#[test]
fn a_network_is_wholly_similar_to_itself_and_fewer_samples_are_another_draw_by_seed() {
    let bench = Bench::new();
    let (model, dataset) = original(&bench);
    let same = similar(&bench, &model, &model, json!({})).expect("works");
    for value in same.forget.values().chain(same.retain.values()) {
        assert!((value.expect("a value") - 1.0).abs() < 1e-9, "{same:?}");
    }
    let other = retrained(&bench, &dataset);
    let few = |seed: u64| similar(&bench, &model, &other, json!({"samples": 10, "seed": seed})).expect("works");
    let first = few(7);
    assert_eq!((first.n.forget, first.n.retain), (10, 10));
    assert_eq!(first, few(7));
    assert_ne!(first.forget, few(8).forget);
}

#[test]
fn a_dead_block_has_no_similarity_and_neither_has_what_follows() {
    let bench = Bench::new();
    let (model, dataset) = original(&bench);
    let mut dead = StateDict::from_bytes(&retrained(&bench, &dataset)).expect("a model");
    for name in ["conv4.1.weight", "conv4.1.bias"] {
        dead.tensors.get_mut(name).expect("a tensor").bytes.fill(0);
    }
    let found = similar(&bench, &model, &dead.to_bytes().expect("bytes"), json!({})).expect("works");
    for side in [&found.forget, &found.retain] {
        let missing: Vec<&String> = found.blocks.iter().filter(|block| side[*block].is_none()).collect();
        assert_eq!(missing, ["conv4", "conv5", "conv6", "conv7", "conv8", "embedding", "logits"]);
    }
    let found = similar(&bench, &dead.to_bytes().expect("bytes"), &model, json!({})).expect("works");
    assert_eq!(found.retain["conv8"], None);
}

#[test]
fn networks_of_other_widths_are_compared_and_those_of_other_blocks_are_not() {
    let bench = Bench::new();
    let (model, _) = original(&bench);
    let fresh = |params: Value| {
        let params: ModelParams = serde_json::from_value(merged(params, json!({"classes": CLASSES}))).expect("params");
        let architecture = Architecture::new(&params, 1).expect("one channel");
        init::draw(&architecture, Dtype::F64, 7, "").to_bytes().expect("bytes")
    };
    let wide = similar(&bench, &model, &fresh(json!({"width": 0.08})), json!({})).expect("works");
    assert!(wide.retain["conv1"].expect("a value") > 0.5, "{wide:?}");
    let problem = similar(&bench, &model, &fresh(json!({"name": "resnet18", "width": 0.0625})), json!({}));
    let said = "`model` has the blocks conv1, conv2, conv3, conv4, conv5, conv6, conv7, conv8; `reference` has stem, \
                layer1, layer2, layer3, layer4";
    assert_eq!(problem.expect_err("refused").to_string(), said);
}

// ------------------------------------------------------------------------------------------ relearn time

/// Settings under which a small network relearns in some tens of batches.
fn quick() -> Value {
    json!({
        "forget_class": FORGET, "batch_size": 16, "evaluate_every": 3, "epochs": 20, "optimizer": {"lr": 0.01},
    })
}

/// `metrics.json` of a network on the test set, whatever class is measured for.
fn metrics(bench: &Bench, model: &[u8]) -> Vec<u8> {
    let inputs = vec![("model", file(bench.path(), model)), ("data", data(bench.path(), &test_set(), |_| true))];
    bench.run("evaluate", json!({}), inputs).expect("works")["metrics"].clone()
}

/// Runs the stage with the metrics given for the original.
fn time(
    bench: &Bench,
    model: &[u8],
    original: &[u8],
    reference: Option<&[u8]>,
    params: Value,
) -> Result<(Relearned, Vec<u8>), StageError> {
    let dataset = stripes(40, 1);
    let mut inputs = vec![
        ("model", file(bench.path(), model)),
        ("data", data(bench.path(), &dataset, |_| true)),
        ("test", data(bench.path(), &test_set(), |_| true)),
        ("original", file(bench.path(), original)),
    ];
    inputs.extend(reference.map(|bytes| ("reference", file(bench.path(), bytes))));
    let outputs = bench.run("measure/relearn_time", merged(quick(), params), inputs)?;
    let bytes = outputs["relearn_time"].clone();
    Ok((serde_json::from_slice(&bytes).expect("JSON"), bytes))
}

/// Metrics that say that the original was right on this share of the class's 20 test samples.
fn claimed(right: u64) -> Vec<u8> {
    let confusion = vec![vec![20, 0, 0], vec![20 - right, right, 0], vec![0, 0, 20]];
    serde_json::to_vec(&Metrics::of(confusion, None)).expect("JSON")
}

#[test]
fn the_original_knows_the_class_at_once_and_the_retrained_network_after_some_batches() {
    let bench = Bench::new();
    let (model, dataset) = original(&bench);
    let claims = metrics(&bench, &model);
    let (at_once, at_once_bytes) = time(&bench, &model, &claims, None, json!({})).expect("works");
    assert_eq!((at_once.batches, at_once.reached, at_once.curve.len()), (0, true, 1));
    assert!(at_once.original > 0.8, "the original learned: {at_once:?}");
    assert!((at_once.curve[0].accuracy - at_once.original).abs() < 1e-12);
    assert!((at_once.target - 0.95 * at_once.original).abs() < 1e-12);

    let retrained = retrained(&bench, &dataset);
    let (slow, slow_bytes) = time(&bench, &retrained, &claims, None, json!({})).expect("works");
    assert!(slow.reached && slow.batches > 0, "{slow:?}");
    let (last, earlier) = slow.curve.split_last().expect("points");
    assert!(last.accuracy >= slow.target && earlier.iter().all(|point| point.accuracy < slow.target), "{slow:?}");
    let batches: Vec<u64> = slow.curve.iter().map(|point| point.batches).collect();
    assert!(batches.iter().zip(0..).all(|(batch, at)| *batch == 3 * at), "{batches:?}");
    assert_eq!(last.batches, slow.batches);
    assert!(slow.curve[0].accuracy.abs() < 1e-12 && slow.forget_class == FORGET);

    let (same, _) = time(&bench, &retrained, &claims, Some(&slow_bytes), json!({})).expect("works");
    assert_eq!(same.anamnesis_index, Some(1.0), "the same batches, and so the same time");
    let (kept, _) = time(&bench, &model, &claims, Some(&slow_bytes), json!({})).expect("works");
    assert_eq!((kept.anamnesis_index, kept.no_index), (Some(0.0), None));
    let (none, bytes) = time(&bench, &retrained, &claims, Some(&at_once_bytes), json!({})).expect("works");
    assert_eq!(none.anamnesis_index, None);
    let written: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!((&written["anamnesis_index"], &written["no_index"]), (&Value::Null, &json!("reference_at_once")));
}

#[test]
fn at_the_cap_the_time_is_censored_and_the_last_batch_is_looked_at() {
    let bench = Bench::new();
    let (model, dataset) = original(&bench);
    let retrained = retrained(&bench, &dataset);
    // 120 samples in batches of 16 are 8 batches an epoch.
    let still = json!({"epochs": 2, "evaluate_every": 5, "optimizer": {"lr": 1e-12}, "batch_norm": "frozen"});
    let (capped, bytes) = time(&bench, &retrained, &claimed(20), None, still.clone()).expect("works");
    assert_eq!((capped.batches, capped.reached), (16, false));
    assert_eq!(capped.curve.iter().map(|point| point.batches).collect::<Vec<_>>(), [0, 5, 10, 15, 16]);
    let (both, _) = time(&bench, &retrained, &claimed(20), Some(&bytes), still.clone()).expect("works");
    assert_eq!((both.anamnesis_index, both.no_index), (None, Some(relearn_time::NoIndex::BothCensored)));
    // A target of what it has already is reached, whatever the cap.
    let (content, _) = time(&bench, &model, &claimed(1), None, still).expect("works");
    assert_eq!((content.batches, content.reached), (0, true));
    assert!((content.original - 0.05).abs() < 1e-12, "on the class, not on all: {content:?}");
}

/// Trains by the recipe another way, for whole epochs, and compares every weight and the accuracies.
#[test]
fn the_batches_are_those_of_a_training_on_all_classes_with_one_optimizer() {
    let bench = Bench::new();
    let (_, dataset) = original(&bench);
    let retrained = retrained(&bench, &dataset);
    let start = StateDict::from_bytes(&retrained).expect("a model");
    tch::set_num_threads(1);
    let test = |network: &Network| {
        let test = Images::new("test", &test_set(), network).expect("they fit");
        let rows: Vec<usize> = (0..test.len()).filter(|&row| test.labels()[row] == i64::from(FORGET)).collect();
        test.select(&rows)
    };
    for (batch_norm, mode) in [("train", Mode::Train), ("frozen", Mode::Eval)] {
        let params = json!({"epochs": 3, "evaluate_every": 8, "optimizer": {"lr": 2e-3}, "batch_norm": batch_norm});
        let params = (find("measure/relearn_time").expect("a built-in").normalise)(&merged(quick(), params));
        let params: relearn_time::Params = serde_json::from_value(params.expect("readable")).expect("readable");
        let measured = network(&retrained);
        let images = Images::new("data", &dataset, &measured).expect("they fit");
        // No accuracy is 1.9, so all epochs are made.
        let found = relearn_time::relearn(&measured, &images, &test(&measured), 2.0, &params, &mut Silent);
        let found = found.expect("works");
        assert_eq!((found.batches, found.reached), (24, false));

        let trained = network(&retrained);
        let accuracy = || {
            let counts = confusion(&trained, &test(&trained), &mut Silent).expect("works");
            Metrics::of(counts, Some(FORGET)).forget.expect("samples")
        };
        let mut accuracies = Vec::new();
        fit(&trained, &images, &params.recipe(), &mut Silent, |epoch, batch| {
            if accuracies.len() < epoch as usize {
                accuracies.push(accuracy());
            }
            Step::cross_entropy(trained.forward(&batch.pixels, mode), &batch.labels)
        })
        .expect("works");
        accuracies.push(accuracy());
        let weights = trained.to_state().expect("weights");
        assert!(measured.to_state().expect("weights") == weights, "{batch_norm}");
        assert!(bench::changed(&start, &weights).contains(&"conv1.0.weight".to_owned()), "{batch_norm}");
        let curve: Vec<f64> = found.curve.iter().map(|point| point.accuracy).collect();
        assert_eq!(curve, accuracies, "{batch_norm}");
    }
}

#[test]
fn a_relearn_time_repeats_to_the_byte_reports_epochs_and_stops_when_asked() {
    let bench = Bench::new();
    let (_, dataset) = original(&bench);
    let retrained = retrained(&bench, &dataset);
    let run = |cancelled: bool| {
        let inputs = vec![
            ("model", file(bench.path(), &retrained)),
            ("data", data(bench.path(), &dataset, |_| true)),
            ("test", data(bench.path(), &test_set(), |_| true)),
            ("original", file(bench.path(), &claimed(20))),
        ];
        // The learning rate is too small to get there.
        let params = merged(quick(), json!({"epochs": 2, "optimizer": {"lr": 1e-9}, "batch_norm": "frozen"}));
        bench.run_observed("measure/relearn_time", params, inputs, cancelled)
    };
    let ((first, events), (second, _)) = (run(false), run(false));
    assert!(first.expect("works") == second.expect("works"), "two runs gave different bytes");
    let epochs = events.iter().filter_map(|event| match event {
        StageEvent::Progress(progress) => Some((progress.done, progress.total)),
        StageEvent::Measured { .. } => None,
    });
    assert_eq!(epochs.collect::<Vec<_>>(), [(1, 2), (2, 2)]);
    let seconds = events.iter().filter(|e| matches!(e, StageEvent::Measured { name, .. } if name == "train_seconds"));
    assert_eq!(seconds.count(), 1);
    assert!(matches!(run(true).0, Err(StageError::Cancelled)));
}

#[test]
fn what_does_not_belong_together_is_refused_by_relearn_time() {
    let bench = Bench::new();
    let (model, dataset) = original(&bench);
    let problem = |model: &[u8], original: &[u8], reference: Option<&[u8]>, params: Value| {
        time(&bench, model, original, reference, params).expect_err("refused").to_string()
    };
    let claims = metrics(&bench, &model);
    let fewer = serde_json::to_vec(&Metrics::of(vec![vec![5, 0, 0], vec![0, 7, 0], vec![0, 0, 5]], None));
    let text = problem(&model, &fewer.expect("JSON"), None, json!({}));
    assert_eq!(text, "original: measured on 7 samples of class 1; `test` holds 20");
    let text = problem(&model, b"{}", None, json!({}));
    assert!(text.starts_with("original: not the metrics of `evaluate`: "), "{text}");
    let text = problem(&model, &claims, Some(&claims), json!({}));
    assert!(text.starts_with("reference: not a relearn time: "), "{text}");

    let (_, reference) = time(&bench, &model, &claims, None, json!({})).expect("works");
    let text = problem(&model, &claims, Some(&reference), json!({"seed": 8, "batch_size": 8}));
    assert_eq!(text, "reference: measured by other settings of batch_size, seed");
    let text = problem(&model, &claimed(10), Some(&reference), json!({}));
    assert!(text.starts_with("reference: measured for the target "), "{text}");

    let retrained = retrained(&bench, &dataset);
    let text = problem(&retrained, &claims, None, json!({"optimizer": {"lr": 1e30}}));
    assert!(text.starts_with("after an evaluation at batch 0: NaN at epoch 1, step "), "{text}");

    let without = vec![
        ("model", file(bench.path(), &model)),
        ("data", data(bench.path(), &dataset, |class| class != i64::from(FORGET))),
        ("test", data(bench.path(), &test_set(), |_| true)),
        ("original", file(bench.path(), &claims)),
    ];
    let text = bench.run("measure/relearn_time", quick(), without).expect_err("refused").to_string();
    assert_eq!(text, "data: no sample of class 1");
}

// ------------------------------------------------------------------------------------------ perception

/// A network that can be followed by hand. Every convolution hands the centre of its field on, so of an image that is v
/// everywhere the embedding is (v, max(1/2 - v, 0), 0, ...), and the logits are 2, 4 v and 8 max(1/2 - v, 0).
fn by_hand() -> Vec<u8> {
    let params: ModelParams = serde_json::from_value(json!({"width": 0.05, "classes": CLASSES})).expect("params");
    let architecture = Architecture::new(&params, 1).expect("one channel");
    let mut state = init::draw(&architecture, Dtype::F64, 7, "");
    let mut set = |name: &str, fill: f64, places: &[(&[usize], f64)]| {
        let raw = state.tensors.get_mut(name).unwrap_or_else(|| panic!("no tensor {name}"));
        let mut values = vec![fill; raw.shape.iter().product()];
        for (place, value) in places {
            values[place.iter().zip(&raw.shape).fold(0, |at, (index, size)| at * size + index)] = *value;
        }
        raw.bytes = values.into_iter().flat_map(f64::to_le_bytes).collect();
    };
    for block in 1..=8 {
        let centre = usize::from(block < 8);
        let (second, value) = if block == 1 { (0, -1.0) } else { (1, 1.0) };
        let taps: [(&[usize], f64); 2] = [(&[0, 0, centre, centre], 1.0), (&[1, second, centre, centre], value)];
        set(&format!("conv{block}.0.weight"), 0.0, &taps);
        // PyTorch adds 1e-5 to the variance: it is 1 together.
        set(&format!("conv{block}.1.running_var"), 1.0 - 1e-5, &[]);
        let shift: [(&[usize], f64); 1] = [(&[1], 0.5)];
        set(&format!("conv{block}.1.bias"), 0.0, if block == 1 { &shift } else { &[] });
    }
    set("classifier.0.weight", 0.0, &[(&[1, 0], 4.0), (&[2, 1], 8.0)]);
    set("classifier.0.bias", 0.0, &[(&[0], 2.0)]);
    state.to_bytes().expect("bytes")
}

/// Images of one grey each, (value of 255, label).
fn greys(all: &[(u8, i64)]) -> Dataset {
    let pixels = all.iter().flat_map(|(grey, _)| vec![*grey; 784]).collect();
    let labels: Vec<i64> = all.iter().map(|(_, label)| *label).collect();
    let positions = (0..all.len() as i64).collect();
    Dataset { shape: [all.len(), 1, 28, 28], pixels: Pixels::U8(pixels), labels, positions }
}

fn perceived(bench: &Bench, dataset: &Dataset) -> Result<Value, StageError> {
    let inputs = vec![("model", file(bench.path(), &by_hand())), ("data", data(bench.path(), dataset, |_| true))];
    let outputs = bench.run("measure/perception", json!({"forget_class": FORGET}), inputs)?;
    Ok(serde_json::from_slice(&outputs["perception"]).expect("JSON"))
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}, expected {expected:?}");
}

#[test]
fn perception_is_that_of_a_network_followed_by_hand_on_the_class_alone() {
    let bench = Bench::new();
    // Samples of the class are 0.8, 0.2, 1 and 0.4, among others that would move the centre and the histogram.
    let dataset = greys(&[(204, 1), (10, 0), (51, 1), (77, 2), (255, 1), (102, 1), (0, 0)]);
    let found = perceived(&bench, &dataset).expect("works");
    let numbers = |field: &str| -> Vec<f64> {
        found[field].as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    // Embeddings (0.8, 0), (0.2, 0.3), (1, 0), (0.4, 0.1) with the centre (0.6, 0.1).
    let distances = [0.05_f64.sqrt(), 0.2_f64.sqrt(), 0.17_f64.sqrt(), 0.2];
    let mean = distances.iter().sum::<f64>() / 4.0;
    assert_near(&numbers("distance"), &distances.map(|distance| distance / mean));
    let logits: [[f64; 3]; 4] = [[2.0, 3.2, 0.0], [2.0, 0.8, 2.4], [2.0, 4.0, 0.0], [2.0, 1.6, 0.8]];
    let probability = |row: [f64; 3]| row[1].exp() / row.iter().map(|x| x.exp()).sum::<f64>();
    assert_near(&numbers("probability"), &logits.map(probability));
    assert_eq!(found["predicted"], json!([1, 2, 1, 0]));
    assert_eq!(found["histogram"], json!([1, 2, 1]));
    assert_eq!(found["forget_class"], json!(FORGET));
}

#[test]
fn perception_needs_samples_of_the_class_and_a_class_that_the_network_has() {
    let bench = Bench::new();
    let text = perceived(&bench, &greys(&[(10, 0), (20, 2)])).expect_err("refused").to_string();
    assert_eq!(text, "data: no sample of class 1; both parts are needed");
    let inputs = vec![
        ("model", file(bench.path(), &by_hand())),
        ("data", data(bench.path(), &greys(&[(10, 0), (20, 1)]), |_| true)),
    ];
    let text = bench.run("measure/perception", json!({"forget_class": 3}), inputs).expect_err("refused").to_string();
    assert_eq!(text, "forget_class is 3; the network has 3 classes");
}

// ------------------------------------------------------------------------------------------ params

#[test]
fn params_out_of_range_are_named() {
    let problems = |stage: &str, params: Value| {
        let def = find(stage).expect("a built-in");
        let params = (def.normalise)(&merged(json!({"forget_class": 0}), params)).expect("readable");
        (def.check)(&params).into_iter().map(|(field, _)| field).collect::<Vec<_>>()
    };
    assert_eq!(problems("measure/similarity", json!({})), Vec::<&str>::new());
    assert_eq!(problems("measure/similarity", json!({"samples": 2})), ["samples"]);
    assert_eq!(problems("measure/relearn_time", json!({})), Vec::<&str>::new());
    let bad = json!({"margin": 1, "epochs": 0, "evaluate_every": 0, "batch_size": 0, "optimizer": {"lr": 0}});
    let fields = ["epochs", "batch_size", "optimizer.lr", "margin", "evaluate_every"];
    assert_eq!(problems("measure/relearn_time", bad), fields);
}

#[test]
fn defaults_are_those_that_the_docs_name() {
    let defaults = |stage: &str| (find(stage).expect("a built-in").normalise)(&json!({"forget_class": 0})).expect("ok");
    let similarity: similarity::Params = serde_json::from_value(defaults("measure/similarity")).expect("readable");
    assert_eq!((similarity.samples, similarity.seed), (1000, 7));
    let expected = json!({
        "forget_class": 0, "margin": 0.05, "epochs": 10, "evaluate_every": 10, "batch_size": 64,
        "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.0},
        "order": "shuffled", "augment": {"crop_padding": 0, "reflect": false, "flip": false}, "normalise": null,
        "batch_norm": "train", "precision": "f32", "seed": 7,
    });
    assert_eq!(defaults("measure/relearn_time"), expected);
}
