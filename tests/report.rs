//! `pru-flow report`: a page of a pipeline that is complete, half done or not begun, of hostile text, and in a browser.

mod hermetic;

use std::path::{Path, PathBuf};
use std::process::Command;

use hermetic::{Output, Project};
use serde_json::Value;

/// Runs that tell their method and seed by the numbers they write: 3 methods x 2 seeds.
const PIPELINE: &str = r#"
version: 1
name: paper
params: {lr: 0.25, methods: [original, pru, "a<b>&\"c"]}
stages:
  data:
    command: "echo data > ${outputs.o}"
    outputs: {o: o.txt}
  train:
    command: [sh, -c, "cat ${inputs.data} > ${outputs.o}; echo \"$1\" >> ${outputs.o}; echo ${params.lr} >> ${outputs.o}", sh, "${matrix.method}"]
    inputs: {data: data}
    outputs: {o: o.txt}
    matrix: {method: "${params.methods}", seed: [1, 2]}
  evaluate:
    command: "cat ${inputs.model} > /dev/null; printf '{\"forget_class\": 9, \"forget\": 0.25, \"retain\": 0.%s5, \"overall\": 0.875, \"per_class\": []}' ${matrix.seed} > ${outputs.metrics}"
    inputs: {model: "train[method=${matrix.method},seed=${matrix.seed}]"}
    outputs: {metrics: metrics.json}
    matrix: {method: "${params.methods}", seed: [1, 2]}
  accuracy:
    uses: tables/accuracy
    with: {title: "Accuracy </h3><script>alert(1)</script> of <b>all</b>"}
    inputs: {results: "evaluate[*].metrics"}
  drawing:
    command: "printf '<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"80\" height=\"40\"><script>document.title=\"broken into\"</script><rect width=\"80\" height=\"40\" fill=\"teal\"/></svg>' > ${outputs.plot}"
    inputs: {t: accuracy.csv}
    outputs: {plot: plot.svg}
"#;

fn page(project: &Project, args: &[&str]) -> String {
    let output = project.pru_flow(&[&["report", "pipeline.yaml", "--out", "-"], args].concat());
    output.expect_code(0);
    output.stdout
}

/// Where the data begin.
const DATA: &str = "type=\"application/json\">";

/// What the page knows of its numbers.
fn data(page: &str) -> Value {
    let start = page.find(DATA).expect("the page has data") + DATA.len();
    let end = page[start..].find("</script>").expect("the data end");
    serde_json::from_str(&page[start..start + end]).expect("the data are JSON")
}

/// Cell `place`'s facts by name, its command, and the names of its runs.
fn cell(data: &Value, place: usize) -> (Value, String, Vec<String>) {
    let cell = &data["cells"][place];
    let facts = cell["facts"].as_array().expect("facts").iter();
    let facts = facts.map(|pair| (pair[0].as_str().expect("a name").to_owned(), pair[1].clone())).collect();
    let index = |value: &Value| value.as_u64().expect("a place") as usize;
    let command = data["texts"][index(&cell["command"])].as_str().expect("a command").to_owned();
    let runs = cell["runs"].as_array().expect("runs").iter();
    let runs = runs.map(|run| data["nodes"][index(run)]["name"].as_str().expect("a name").to_owned());
    (Value::Object(facts), command, runs.collect())
}

#[test]
fn a_complete_pipeline_shows_its_table_and_behind_each_number_the_runs_and_their_makers() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let page = page(&project, &[]);
    for part in ["<b>15</b> of <b>15</b> nodes", ">complete<", ">final<", "methods: ", "lr: 0.25", ">25.00", ">20.00"] {
        assert!(page.contains(part), "the page lacks `{part}`:\n{page}");
    }
    let data = data(&page);
    let places = 0..data["cells"].as_array().expect("cells").len();
    let found = places.map(|place| cell(&data, place)).find(|(facts, ..)| {
        let of = facts["of"].as_str().unwrap_or_default();
        of.contains("metric A_r") && of.contains("method pru")
    });
    let (facts, command, runs) = found.expect("the table has A_r of pru");
    assert_eq!(runs, ["evaluate[method=pru,seed=1]", "evaluate[method=pru,seed=2]"]);
    assert_eq!(command, "pru-flow run pipeline.yaml 'evaluate[method=pru]'");
    assert!(facts["ours"].as_str().is_some_and(|ours| ours.starts_with("20.0000 % ±")), "{facts}");
    assert!(facts["n"].as_str().is_some_and(|n| n.starts_with("2 of 2 trials")), "{facts}");
    let nodes = data["nodes"].as_array().expect("nodes");
    let node = |name: &str| nodes.iter().find(|node| node["name"] == name).expect("the node is behind a number");
    let train = node("train[method=pru,seed=2]");
    let told: Vec<&str> = train["facts"].as_array().expect("facts").iter().filter_map(|f| f[0].as_str()).collect();
    for fact in ["device", "started", "code", "machine", "key"] {
        assert!(told.contains(&fact), "{fact} is not among {told:?}");
    }
    let params = &data["texts"][train["params"].as_u64().expect("params") as usize];
    assert!(params.as_str().is_some_and(|params| params.contains("echo 0.25")), "{params}");
    let from = node("evaluate[method=pru,seed=2]")["from"][0].as_u64().expect("a producer") as usize;
    assert_eq!(nodes[from]["name"], "train[method=pru,seed=2]");
}

#[test]
fn the_command_of_a_number_is_one_that_the_program_takes() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "--set", "lr=0.5"]).expect_code(0);
    let data = data(&page(&project, &["--set", "lr=0.5"]));
    for place in 0..data["cells"].as_array().expect("cells").len() {
        let (_, command, runs) = cell(&data, place);
        let rest = command.strip_prefix("pru-flow ").expect("a command of this program");
        let mut shell = Command::new("sh");
        shell.current_dir(project.root()).env("NO_COLOR", "1").env("HOME", project.root());
        shell.args(["-c", &format!("\"$0\" {rest} --json")]).arg(env!("CARGO_BIN_EXE_pru-flow"));
        let output = Output::of(shell);
        output.expect_code(0);
        let outcomes = output.outcomes();
        for run in &runs {
            assert!(outcomes.contains(&(run.clone(), "cached".to_owned())), "{command}: {outcomes:?}");
        }
    }
}

#[test]
fn a_half_done_pipeline_shows_what_there_is_says_what_is_missing_and_keeps_nothing() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "evaluate[seed=1]", "evaluate[method=pru]"]).expect_code(0);
    let plan = || project.pru_flow(&["plan", "pipeline.yaml"]).expect_code(0).stdout.clone();
    let before = plan();
    let page = page(&project, &[]);
    for part in ["incomplete: 4 of 6 runs", ">incomplete<", "drawing:plot", "it has not been drawn yet", "1/2"] {
        assert!(page.contains(part), "the page lacks `{part}`:\n{page}");
    }
    let data = data(&page);
    let cells = data["cells"].as_array().expect("cells").len();
    let original = (0..cells).map(|place| cell(&data, place)).find(|(facts, ..)| {
        let of = facts["of"].as_str().unwrap_or_default();
        of.contains("metric A_f") && of.contains("method original")
    });
    let (facts, command, runs) = original.expect("the table has A_f of original");
    assert_eq!(runs, ["evaluate[method=original,seed=1]"]);
    assert!(facts["n"].as_str().is_some_and(|n| n.starts_with("1 of 2 trials")), "{facts}");
    assert!(facts["missing"].as_str().is_some_and(|missing| missing.contains('2')), "{facts}");
    // It makes what is missing too.
    assert_eq!(command, "pru-flow run pipeline.yaml 'evaluate[method=original]'");
    assert_eq!(plan(), before, "nothing is cached by looking");
    let left = std::fs::read_dir(project.path(".pru-flow/tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "attempts are removed");
}

#[test]
fn a_pipeline_that_never_ran_has_a_page_and_no_store_is_made() {
    let project = Project::with_pipeline(PIPELINE);
    let output = project.pru_flow(&["report", "pipeline.yaml"]);
    output.expect_code(0).expect_stderr(&["report.html"]);
    let page = project.read("report.html");
    for part in ["<b>0</b> of <b>15</b> nodes", "incomplete: 0 of 6 runs", "none of its runs is there yet"] {
        assert!(page.contains(part), "the page lacks `{part}`:\n{page}");
    }
    assert!(!project.path(".pru-flow").exists());
}

#[test]
fn text_of_pipelines_and_artifacts_never_becomes_markup() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let page = page(&project, &[]);
    assert!(page.contains("Accuracy &lt;/h3&gt;&lt;script&gt;alert(1)&lt;/script&gt; of &lt;b&gt;all&lt;/b&gt;"));
    assert!(page.contains("a&lt;b&gt;&amp;"), "the method's name is shown");
    for raw in ["<script>alert", "<b>all", "a<b>", "broken into", "<rect width=\"80\""] {
        assert!(!page.contains(raw), "`{raw}` stands in the page");
    }
    assert_eq!(page.matches("<script").count(), 2, "the data, and the page's own script");
    assert_eq!(page.matches("data:image/svg+xml;base64,").count(), 1);
}

#[test]
fn a_command_may_write_any_table_and_the_page_stands() {
    for (content, said) in [
        ("not json", "its table.json is none"),
        (r#"{"format": 9, "title": "t", "runs": [], "parts": []}"#, "has format 9"),
        (
            r#"{"format": 1, "title": "t", "runs": [], "parts": [{"part": "grid", "name": "<i>n", "caption": "<i>c", "labels": ["<i>l"], "columns": [{"text": "<i>h", "group": "<i>g"}], "rows": [{"labels": [], "cells": [{"kind": "mean", "at": {"<i>a": "<i>v"}, "unit": "<i>u", "value": 1e300, "half_width": null, "sd": null, "n": 1, "trials": 1, "classes": 0, "mark": "<i>m", "published": 1, "difference": 2, "verdict": "<i>x", "runs": [0, 77]}, {"kind": "text", "text": "<i>t"}]}]}]}"#,
            "&lt;i&gt;h",
        ),
    ] {
        let project = Project::with_pipeline(
            "version: 1\nname: odd\nstages:\n  it:\n    command: \"cat given > ${outputs.t}\"\n    outputs: {t: table.json}\n",
        );
        project.write("given", content);
        project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
        let page = page(&project, &[]);
        assert!(page.contains(said), "{content}: {page}");
        assert!(!page.contains("<i>") || page.contains("<i>A</i>"), "{page}");
    }
}

#[test]
fn the_page_needs_no_network_and_the_same_store_gives_the_same_bytes() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "evaluate[method=pru]"]).expect_code(0);
    let first = page(&project, &[]);
    for outside in ["http:", "https:", "//www", "url(", "@import", "<link", "<iframe", "src=\"/", "<base", " onclick"] {
        assert!(!first.contains(outside), "`{outside}` stands in the page");
    }
    assert!(first.contains("default-src 'none'"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(page(&project, &[]), first);
}

#[test]
fn a_page_that_cannot_be_written_is_an_error_and_not_a_panic() {
    let project = Project::with_pipeline(PIPELINE);
    project.write("file", "");
    let output = project.pru_flow(&["report", "pipeline.yaml", "--out", "file/report.html"]);
    output.expect_code(1).expect_stderr(&["file/report.html"]);
}

/// A Chromium that this machine has.
fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PRU_FLOW_CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|program| program.is_file())
}

/// The page's elements after its script has run.
fn in_browser(program: &Path, project: &Project, anchor: &str) -> String {
    let mut command = Command::new(program);
    command.args(["--headless", "--disable-gpu", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"]);
    command.arg(format!("--user-data-dir={}", project.path("browser").display()));
    command.args(["--virtual-time-budget=2000", "--dump-dom"]);
    command.arg(format!("file://{}#{anchor}", project.path("report.html").display()));
    let output = Output::of(command);
    output.expect_code(0);
    output.stdout
}

#[test]
fn a_browser_opens_the_page_and_shows_what_is_behind_a_number() {
    let Some(program) = chromium() else {
        eprintln!("skipped: no Chromium on PATH; PRU_FLOW_CHROMIUM=PROGRAM names one");
        return;
    };
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    project.pru_flow(&["report", "pipeline.yaml"]).expect_code(0);
    let closed = in_browser(&program, &project, "");
    assert!(closed.contains("<title>paper · pru-flow report</title>"), "no script of the picture ran: {closed}");
    assert!(!closed.contains("<dialog id=\"behind\" aria-labelledby=\"behind-title\" open"), "{closed}");
    let open = in_browser(&program, &project, "cell-0");
    let dialog = &open[open.find("<dialog").expect("the page has a dialog")..];
    for part in ["open=\"\"", "Make it again", "pru-flow run pipeline.yaml", "From 2 runs", "evaluate["] {
        assert!(dialog.contains(part), "the dialog lacks `{part}`:\n{dialog}");
    }
}
