//! Trainings whose loss becomes NaN: stored like any result, passed over by what gathers many nodes, and told by all else.
//!
//! These tests need the worker beside the engine, and fail without it: build it with `cargo xtask build`.

mod hermetic;

use std::collections::BTreeMap;

use hermetic::{Output, Project};

/// A rate that is too large, one that is not, and what reads both.
const PIPELINE: &str = r#"
version: 1
name: diverged
params: {small: 0.001, huge: 1e30, rates: [small, huge]}
stages:
  glyphs: {uses: data/glyphs, with: {train: 200, test: 50}}
  split: {uses: data/split, with: {seed: 7}, inputs: {data: glyphs.train}}
  original:
    uses: train/original
    with: {model: {width: 0.03}, epochs: 1, batch_size: 32, seed: 1}
    inputs: {data: split.train}
  tried:
    uses: unlearn/random_label
    with: {forget_class: 3, epochs: 2, batch_size: 8, optimizer: {lr: "${params.${matrix.rate}}", weight_decay: 0}}
    inputs: {model: original.model, data: split.train}
    matrix: {rate: "${params.rates}"}
  relearn:
    uses: relearn
    with: {forget_class: 3, epochs: 1, batch_size: 32}
    inputs: {model: tried.model, data: split.request, test: glyphs.test}
    matrix: {method: [random_label], rate: "${params.rates}"}
  accuracy:
    uses: evaluate
    with: {forget_class: 3}
    inputs: {model: tried.model, data: glyphs.test}
    matrix: {rate: "${params.rates}"}
  original_accuracy: {uses: evaluate, with: {forget_class: 3}, inputs: {model: original.model, data: glyphs.test}}
  tune:
    uses: tune/grid
    with: {axes: [rate]}
    inputs: {results: accuracy.metrics, original: original_accuracy.metrics}
  chosen:
    command: [sh, -c, "echo $0 > $1", "${stages.tune.outputs.settings.rate}", "${outputs.o}"]
    outputs: {o: {name: o.txt}}
  table:
    uses: tables/relearn
    with: {epochs: [0, 1], layout: {rows: [rate]}}
    inputs: {curves: relearn.curve}
  copied:
    command: "cp ${inputs.model} ${outputs.o}"
    inputs: {model: "tried[rate=huge].model"}
    outputs: {o: {name: o.safetensors}}
  read:
    command: [sh, -c, "echo $0 > $1", "${stages.accuracy[rate=huge].outputs.metrics.forget}", "${outputs.o}"]
    outputs: {o: {name: o.txt}}
"#;

const DIVERGED: &str = "tried[rate=huge]";

fn run(project: &Project, more: &[&str]) -> Output {
    project.pru_flow(&[&["run", "pipeline.yaml"], more].concat())
}

#[test]
fn what_gathers_goes_without_and_the_next_run_computes_nothing() {
    let project = Project::with_pipeline(PIPELINE);
    let output = run(&project, &["table", "chosen", "--json"]);
    let outcomes: BTreeMap<String, String> = output.expect_code(0).outcomes().into_iter().collect();
    for (node, ended) in &outcomes {
        let expected = if node.contains("huge") { "diverged" } else { "executed" };
        assert_eq!(ended, expected, "{node}");
    }
    assert_eq!((&output.finished()["diverged"], &output.finished()["failed"]), (&3.into(), &0.into()));
    let events = output.events();
    let reason = |node: &str| {
        let ended = events.iter().find(|event| event["event"] == "node_finished" && event["node"] == node);
        ended.unwrap_or_else(|| panic!("{node} ended"))["reason"].as_str().expect("a reason").to_owned()
    };
    let first = reason(DIVERGED);
    assert!(first.contains("NaN") || first.contains("infinite"), "{first}");
    for after in ["relearn[method=random_label,rate=huge]", "accuracy[rate=huge]"] {
        assert_eq!(reason(after), format!("{DIVERGED} diverged: {first}"));
    }
    let results = |file: &str| project.read(format!(".pru-flow/results/diverged/{file}"));
    assert_eq!(results("chosen/o.txt"), "small\n");
    assert!(
        results("table/table.md").contains("random_label: missing every run (diverged)"),
        "{}",
        results("table/table.md")
    );

    let again = run(&project, &["table", "chosen"]);
    again.expect_code(0).expect_stderr(&["0 executed, ", " cached, 3 of these diverged in "]);
}

#[test]
fn what_the_run_is_for_is_missed() {
    let project = Project::with_pipeline(PIPELINE);
    for _ in 0..2 {
        let output = run(&project, &["copied", "-v"]);
        output.expect_code(1).expect_stderr(&["diverged  copied: tried[rate=huge] diverged: "]);
        assert!(!project.path(".pru-flow/results/diverged/copied").exists(), "there is nothing to copy");
    }
    let got = project.pru_flow(&["get", "pipeline.yaml", "copied", "--to", "-"]);
    got.expect_code(1).expect_stderr(&["copied has no outputs: tried[rate=huge] diverged: "]);
    let read = run(&project, &["read"]);
    read.expect_code(1).expect_stderr(&[
        "the output `metrics` of accuracy[rate=huge] is not there, as its training diverged (tried[rate=huge] ",
        "choose settings with which it does not",
    ]);
}

#[test]
fn a_grid_without_any_setting_that_works_is_a_failure() {
    let project = Project::with_pipeline(PIPELINE);
    let output = run(&project, &["chosen", "--set", "rates=[huge]"]);
    output
        .expect_code(1)
        .expect_stderr(&["failed    tune: training diverged with every setting: there is none to choose"]);
}
