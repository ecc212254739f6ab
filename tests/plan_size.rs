//! A plan of a pipeline as large as the paper's: what it prints, with an empty store and with a full one (7,800
//! records). How long it takes is in `benches/RESULTS.md`.

mod hermetic;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hermetic::{Output, Project};
use pru_flow::overrides::Changes;
use pru_flow::plan::{At, resolve};
use pru_flow_cache::{ActionResult, Finished, Publication, Put};

const METHODS: [&str; 6] = ["pru", "boundary_shrink", "random_label", "bn_only", "second_pru", "second_shrink"];

/// Four settings, two kinds of request, ten classes, five seeds, six methods and their controls: 7,852 nodes.
fn pipeline() -> String {
    let mut text = String::from(
        "version: 1
name: large
params: {settings: [a, b, c, d], seeds: [7, 8, 9, 10, 11], classes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], lr: {a: 0.1, b: 0.2, c: 0.3, d: 0.4}, epochs: 10, precision: f32}
stages:
  data: {uses: data/glyphs, with: {train: 20, test: 10, noise: \"${params.lr.${matrix.setting}}\"}, matrix: {setting: \"${params.settings}\"}}
  split: {uses: data/split, with: {seed: \"${matrix.seed}\"}, inputs: {data: data.train}, matrix: {setting: \"${params.settings}\", seed: \"${params.seeds}\"}}
  original:
    uses: train/original
    with: {epochs: \"${params.epochs}\", optimizer: {lr: \"${params.lr.${matrix.setting}}\", weight_decay: 0.0001}, seed: \"${matrix.seed}\"}
    inputs: {data: split.train}
    matrix: {setting: \"${params.settings}\", seed: \"${params.seeds}\"}
  retrain:
    uses: unlearn/retrain
    with: {forget_class: \"${matrix.class}\", epochs: \"${params.epochs}\", optimizer: {lr: \"${params.lr.${matrix.setting}}\", weight_decay: 0.0001}, seed: \"${matrix.seed}\"}
    inputs: {data: split.train}
    matrix: {setting: \"${params.settings}\", class: \"${params.classes}\", seed: \"${params.seeds}\"}
",
    );
    let matrix = "{setting: \"${params.settings}\", on: [train, request], class: \"${params.classes}\", seed: \"${params.seeds}\"";
    for method in METHODS {
        let uses = if method.contains("pru") {
            "pru"
        } else if method.contains("shrink") {
            "boundary_shrink"
        } else {
            method
        };
        let order = if method.starts_with("second") { ", order: sequential" } else { "" };
        _ = writeln!(
            text,
            "  {method}: {{uses: unlearn/{uses}, with: {{forget_class: \"${{matrix.class}}\", seed: \"${{matrix.seed}}\"{order}, precision: \"${{params.precision}}\"}}, inputs: {{model: original.model, data: \"split.${{matrix.on}}\"}}, matrix: {matrix}}}}}"
        );
    }
    let methods = METHODS.join(", ");
    for (name, uses, inputs) in [
        ("accuracy", "evaluate", "model: \"${matrix.method}.model\", data: data.test"),
        ("relearn", "relearn", "model: \"${matrix.method}.model\", data: split.request, test: data.test"),
    ] {
        let seed = if uses == "relearn" { ", seed: \"${matrix.seed}\"" } else { "" };
        _ = writeln!(
            text,
            "  {name}: {{uses: {uses}, with: {{forget_class: \"${{matrix.class}}\"{seed}}}, inputs: {{{inputs}}}, matrix: {matrix}, method: [{methods}]}}}}"
        );
        _ = writeln!(
            text,
            "  {name}_of_retrain: {{uses: {uses}, with: {{forget_class: \"${{matrix.class}}\"{seed}}}, inputs: {{{inputs}}}, matrix: {{setting: \"${{params.settings}}\", class: \"${{params.classes}}\", seed: \"${{params.seeds}}\", method: [retrain]}}}}"
        );
    }
    text.push_str("  table: {uses: tables/accuracy, with: {layout: {average: [class], rows: [on]}}, inputs: {results: [accuracy.metrics, accuracy_of_retrain.metrics]}, matrix: {setting: \"${params.settings}\"}}\n");
    text.push_str("  curves: {uses: tables/relearn, with: {layout: {average: [class], rows: [on]}}, inputs: {curves: [relearn.curve, relearn_of_retrain.curve]}, matrix: {setting: \"${params.settings}\"}}\n");
    text
}

/// What `plan` prints.
#[track_caller]
fn planned(project: &Project, more: &[&str]) -> Output {
    let output = project.pru_flow(&[&["plan", "pipeline.yaml"], more].concat());
    output.expect_code(0);
    output
}

/// Some bytes for every output of a stage, which differ from node to node.
fn outputs(node: &pru_flow::graph::GraphNode, folder: &Path) -> BTreeMap<String, (bool, PathBuf)> {
    let write = |output: &pru_flow::graph::Output| {
        let path = folder.join(&output.name);
        let is_folder = output.folder == Some(true);
        let content = format!("{} {}", node.name, output.name);
        if is_folder {
            std::fs::create_dir_all(&path).expect("the folder is writable");
            for class in 0..10 {
                let member = path.join(format!("class-{class}.safetensors"));
                std::fs::write(member, format!("{content} {class}")).expect("the folder is writable");
            }
        } else {
            std::fs::write(&path, content).expect("the folder is writable");
        }
        (output.name.clone(), (is_folder, path))
    };
    node.outputs.iter().map(write).collect()
}

/// Fills the store as a run of every node but the last `left` would.
fn fill(project: &Project, left: usize) -> usize {
    let loaded = pru_flow::project::Project::load(&project.path("pipeline.yaml"), Changes::default(), None)
        .expect("it is a pipeline");
    let (store, outside) = loaded.open_store().expect("a store can be made");
    let look = outside.code.look();
    let graph = &loaded.graph;
    let mut results: Vec<Option<Arc<ActionResult>>> = vec![None; graph.nodes.len()];
    let wanted = &graph.order[..graph.order.len() - left];
    let mut at = 0;
    while at < wanted.len() {
        let mut batch = Vec::new();
        let mut ids = Vec::new();
        while let Some(&id) = wanted.get(at).filter(|_| batch.len() < 512) {
            let Ok(resolved) = resolve(graph, id, &results, At { store: Some(&store), outside: &outside, look: &look })
            else {
                break;
            };
            let folder = store.attempt_folder().expect("the store is writable");
            let measurements = BTreeMap::from([("wall_seconds".to_owned(), 60.0)]);
            let provenance = BTreeMap::from([("device".to_owned(), "cpu".to_owned())]);
            let node = &graph.nodes[id];
            let finished = Finished { action: resolved.action, node: node.name.clone(), measurements, provenance };
            batch.push(Publication { outputs: outputs(node, &folder), finished, put: Put::IfAbsent });
            ids.push(id);
            at += 1;
        }
        for (id, published) in ids.into_iter().zip(store.publish_all(batch)) {
            results[id] = Some(Arc::new(published.expect("the store is writable").result));
        }
    }
    wanted.len()
}

/// The line of a stage: its counts, then the estimate.
#[track_caller]
fn line<'a>(output: &'a Output, stage: &str) -> Vec<&'a str> {
    let lines = output.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.into_iter().find(|line| line.first() == Some(&stage)).unwrap_or_else(|| panic!("{}", output.stdout))
}

/// Two stages whose nodes sleep for about as long as they say.
const TIMED: &str = r#"version: 1
name: timed
params: {word: a, short: [1, 2, 3]}
stages:
  long: {command: "sleep 0.8; echo ${params.word} > ${outputs.o}", outputs: [o]}
  short:
    command: "sleep 0.0${matrix.i}; cat ${inputs.x}; echo ${matrix.i} > ${outputs.o}"
    inputs: {x: long.o}
    outputs: [o]
    matrix: {i: "${params.short}"}
  new: {command: "cat ${inputs.x} > ${outputs.o}", inputs: {x: "short[*]"}, outputs: [o]}
"#;

#[test]
fn what_is_left_is_estimated_from_what_such_nodes_took() {
    let project = Project::with_pipeline(TIMED);
    let first = project.pru_flow(&["plan", "pipeline.yaml"]).expect_code(0).stdout.clone();
    assert!(
        first.ends_with("0 cached, 1 to run, 4 unknown until then\nno estimate: nothing of these kinds has run yet\n"),
        "{first}"
    );
    project.pru_flow(&["run", "pipeline.yaml", "short"]).expect_code(0);
    let json = |more: &[&str]| -> serde_json::Value {
        let output = project.pru_flow(&[&["plan", "pipeline.yaml", "--json"], more].concat());
        serde_json::from_str(&output.expect_code(0).stdout).expect("one object")
    };
    let cached = json(&["short"]);
    assert_eq!((&cached["estimated_seconds"], &cached["not_estimated"]), (&0.0.into(), &0.into()));
    assert_eq!(cached["stages"].as_array().map(Vec::len), Some(2), "what a target needs: {cached}");
    let changed = json(&["--set", "word=b", "--set", "short=[1, 2, 3, 4, 5]"]);
    let stage = |name: &str| {
        let stages = changed["stages"].as_array().expect("a list");
        stages.iter().find(|stage| stage["stage"] == name).expect("it is there").clone()
    };
    let seconds = |name: &str| stage(name)["estimated_seconds"].as_f64().expect("a number");
    assert_eq!(
        (&stage("long")["run"], &stage("short")["unknown"], &stage("new")["unknown"]),
        (&1.into(), &5.into(), &1.into())
    );
    assert!((0.8..5.0).contains(&seconds("long")), "{changed}");
    assert!((5.0 * 0.02..5.0).contains(&seconds("short")), "five times the median: {changed}");
    assert_eq!((seconds("new"), &stage("new")["not_estimated"]), (0.0, &1.into()));
    let sum = changed["estimated_seconds"].as_f64().expect("a number");
    assert!((sum - seconds("long") - seconds("short")).abs() < 1e-9);
    let shown = project.pru_flow(&["plan", "pipeline.yaml", "--set", "word=b"]).stdout;
    assert!(shown.contains("one after another, by the median of earlier runs of each kind of stage; not in it: 1 of 5 nodes, whose kind has not run yet\n"), "{shown}");
    assert!(shown.starts_with("run      long"), "few nodes are listed: {shown}");
}

#[test]
fn a_large_plan_with_an_empty_store_is_there_at_once() {
    let project = Project::with_pipeline(&pipeline());
    let plan = planned(&project, &[]);
    assert_eq!(line(&plan, "stage"), ["stage", "nodes", "run", "unknown", "estimate"]);
    assert_eq!(line(&plan, "accuracy"), ["accuracy", "2400", "0", "2400", "not", "known"]);
    assert!(plan.stdout.contains("0 cached, 4 to run, 7848 unknown until then\nno estimate"), "{}", plan.stdout);
    assert!(plan.stdout.lines().count() < 30, "a line a stage, not a node: {}", plan.stdout);
    let every = project.pru_flow(&["plan", "pipeline.yaml", "--nodes"]);
    assert!(every.expect_code(0).stdout.lines().count() > 7852);
}

#[test]
fn a_large_plan_with_a_full_store_is_there_at_once() {
    let project = Project::with_pipeline(&pipeline());
    let filled = fill(&project, 8);
    println!("{filled} records");
    let plan = planned(&project, &[]);
    assert_eq!(line(&plan, "table"), ["table", "4", "0", "4", "not", "known"]);
    // The originals and all after them are unknown until they have run; every record counts for the estimate.
    planned(&project, &["--set", "epochs=11"]);
    // Every method has another key, and is compared with what it was.
    let plan = planned(&project, &["--set", "precision=f64"]);
    assert_eq!(line(&plan, "pru"), ["pru", "400", "0", "400", "0", "6", "h", "40", "min"]);
    // New seeds: thousands of nodes that never ran, beside thousands of records.
    planned(&project, &["--set", "seeds=[17, 18, 19, 20, 21]"]);
}
