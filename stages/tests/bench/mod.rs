//! Running whole stages in a test: small images in a temporary folder, a trained network, and what a method changes of it.
#![allow(dead_code, reason = "each test binary uses its share")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use pru_flow_cache::Digest;
use pru_flow_stages::dataset::{Dataset, Pixels};
use pru_flow_stages::io::{Attempt, Input, InputFile, StageEvent, StageIo};
use pru_flow_stages::model::state::StateDict;
use pru_flow_stages::{Port, StageError, class_member, find, rng};
use rand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const CLASSES: i64 = 3;

/// Blurred stripes of three directions, shifted and with noise: 28x28, `n` of each class.
pub fn stripes(n: usize, seed: u64) -> Dataset {
    let mut stream = rng::stream(seed, "stripes");
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for at in 0..n * CLASSES as usize {
        let class = at as i64 % CLASSES;
        let phase = stream.random_range(0.0..std::f64::consts::TAU);
        for y in 0..28 {
            for x in 0..28 {
                let along = [f64::from(x), f64::from(y), f64::from(x + y) * 0.7][class as usize];
                let noise = stream.random_range(-40.0..40.0);
                pixels.push((128.0 + 80.0 * (along * 0.9 + phase).sin() + noise).clamp(0.0, 255.0) as u8);
            }
        }
        labels.push(class);
    }
    let positions = (0..labels.len() as i64).collect();
    Dataset { shape: [labels.len(), 1, 28, 28], pixels: Pixels::U8(pixels), labels, positions }
}

/// An artifact of files in `folder`.
pub fn artifact(folder: &Path, files: &[(String, Vec<u8>)]) -> Input {
    let file = |(name, bytes): &(String, Vec<u8>)| {
        let digest = Digest::of(bytes);
        let path = folder.join(digest.to_string());
        std::fs::write(&path, bytes).expect("a temporary folder");
        InputFile::new(name.clone(), digest, path)
    };
    Input { coordinates: Vec::new(), files: files.iter().map(file).collect() }
}

/// A data set's artifact with the classes that `keep` accepts.
pub fn data(folder: &Path, dataset: &Dataset, keep: impl Fn(i64) -> bool) -> Input {
    let classes = (0..CLASSES).filter(|class| keep(*class));
    let file = |class: i64| {
        let rows: Vec<usize> = (0..dataset.len()).filter(|&row| dataset.labels[row] == class).collect();
        (class_member(class as u32), dataset.select(&rows).to_bytes().expect("well formed"))
    };
    artifact(folder, &classes.map(file).collect::<Vec<_>>())
}

pub fn file(folder: &Path, bytes: &[u8]) -> Input {
    artifact(folder, &[(String::new(), bytes.to_vec())])
}

/// A place to run stages in.
pub struct Bench {
    folder: TempDir,
    runs: std::cell::Cell<u32>,
}

pub type Outputs = BTreeMap<String, Vec<u8>>;

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), runs: std::cell::Cell::new(0) }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn run(&self, stage: &str, params: Value, inputs: Vec<(&str, Input)>) -> Result<Outputs, StageError> {
        self.run_observed(stage, params, inputs, false).0
    }

    pub fn run_observed(
        &self,
        stage: &str,
        params: Value,
        inputs: Vec<(&str, Input)>,
        cancelled: bool,
    ) -> (Result<Outputs, StageError>, Vec<StageEvent>) {
        let def = find(stage).expect("a built-in");
        let params = (def.normalise)(&params).expect("readable params");
        assert_eq!((def.check)(&params), Vec::new());
        self.runs.set(self.runs.get() + 1);
        let folder = self.path().join(format!("run-{}", self.runs.get()));
        let attempt = Attempt {
            stage: stage.to_owned(),
            params: params.clone(),
            inputs: inputs.into_iter().map(|(port, input)| (port.to_owned(), vec![input])).collect(),
            sources: BTreeMap::new(),
            log: folder.join("log"),
            kept: folder.join("kept"),
            folder,
            device: "cpu".to_owned(),
            threads: 1,
        };
        let mut events = Vec::new();
        let result = {
            let sink = |event| events.push(event);
            let mut io = StageIo::new(&attempt, Arc::new(AtomicBool::new(cancelled)), sink).expect("a folder");
            (def.run)(&params, &mut io)
        };
        let outputs = result.map(|()| {
            let read =
                |name: &str| std::fs::read(attempt.folder.join("out").join(name)).expect("the output is written");
            def.outputs.iter().map(|output| (output.name.to_owned(), read(output.name))).collect()
        });
        (outputs, events)
    }

    /// What the ports of a method are given when it is to forget class 0 of `dataset`.
    pub fn inputs(&self, method: &str, model: &[u8], dataset: &Dataset) -> Vec<(&'static str, Input)> {
        let ports = find(method).expect("a built-in").inputs.iter();
        let input = |port: &Port| match port.name {
            "model" => file(self.path(), model),
            _ => data(self.path(), dataset, |class| port.sees.allows(&class_member(class as u32), Some(0))),
        };
        ports.map(|port| (port.name, input(port))).collect()
    }

    /// A small trained network and its training data; trained once a process, as equal runs give equal bytes.
    pub fn original(&self) -> (Vec<u8>, Dataset) {
        static ORIGINAL: OnceLock<(Vec<u8>, Dataset)> = OnceLock::new();
        let train = || {
            let dataset = stripes(40, 1);
            let inputs = vec![("data", data(self.path(), &dataset, |_| true))];
            let outputs = self.run("train/original", training(), inputs).expect("training works");
            (outputs["model"].clone(), dataset)
        };
        ORIGINAL.get_or_init(train).clone()
    }
}

pub fn training() -> Value {
    json!({
        "model": {"width": 0.05, "classes": CLASSES}, "epochs": 3, "batch_size": 16,
        "optimizer": {"lr": 0.05, "weight_decay": 1e-4},
    })
}

pub fn merged(mut all: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("an object") };
    all.as_object_mut().expect("an object").extend(more);
    all
}

/// Params that fit small data, class 0 to be forgotten, as far as the method has them; `params` win.
pub fn settings(method: &str, params: Value) -> Value {
    let mut all = json!({"forget_class": 0, "epochs": 2, "batch_size": 16});
    let schema = (find(method).expect("a built-in").schema)().to_value();
    all.as_object_mut().expect("an object").retain(|field, _| schema["properties"].get(field).is_some());
    merged(all, params)
}

/// Runs a method that is to forget class 0, with the data that it declares, and gives the model before and after.
pub fn unlearned(method: &str, params: Value) -> (StateDict, StateDict) {
    let bench = Bench::new();
    let (model, dataset) = bench.original();
    let inputs = bench.inputs(method, &model, &dataset);
    let after = bench.run(method, settings(method, params), inputs).expect("unlearning works");
    let read = |bytes: &[u8]| StateDict::from_bytes(bytes).expect("a model");
    (read(&model), read(&after["model"]))
}

/// Names of the tensors that differ.
pub fn changed(before: &StateDict, after: &StateDict) -> Vec<String> {
    assert!(before.tensors.keys().eq(after.tensors.keys()));
    let differs = |name: &&String| before.tensors[*name] != after.tensors[*name];
    before.tensors.keys().filter(differs).cloned().collect()
}

pub fn is_statistic(name: &str) -> bool {
    name.contains("running_") || name.ends_with("num_batches_tracked")
}

pub fn is_classifier(name: &str) -> bool {
    name.starts_with("classifier.")
}
