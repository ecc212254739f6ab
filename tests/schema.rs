//! `check`, `init` and `schema`: what a newcomer, an editor and a hook before a commit see.

mod hermetic;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hermetic::Project;
use serde_json::Value;

fn schema() -> Value {
    let output = Project::new().pru_flow(&["schema"]);
    output.expect_code(0);
    serde_json::from_str(&output.stdout).expect("a schema is JSON")
}

fn pipelines() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("it can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn read(text: &str) -> Value {
    serde_yaml::from_str(text).expect("it is YAML")
}

#[test]
fn every_pipeline_of_the_project_is_right_and_fits_the_schema() {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is one");
    let files = pipelines();
    assert!(files.len() >= 5, "{files:?}");
    for file in &files {
        let instance = read(&std::fs::read_to_string(file).unwrap());
        let errors: Vec<String> =
            validator.iter_errors(&instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

#[test]
fn an_editor_is_told_of_wrong_fields_params_types_and_ports() {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is one");
    let stage = |text: &str| read(&format!("version: 1\nname: t\nstages:\n  a: {text}\n"));
    for right in [
        "{uses: data/glyphs}",
        "{uses: data/split, with: {seed: \"${matrix.s}\"}, inputs: {data: b.train}, matrix: {s: [1]}}",
        "{command: [a, 1, true], outputs: [o], timeout: 30min, resources: {database: 2}, env: {A: 1}}",
        "{command: a, outputs: {o: {path: x, keep: false}}, inputs: {x: [./a, ./b]}, sandbox: off}",
    ] {
        assert!(validator.is_valid(&stage(right)), "{right}");
    }
    for wrong in [
        "{uses: data/glyhps}",
        "{uses: data/glyphs, wiht: {}}",
        "{uses: data/glyphs, command: a}",
        "{uses: data/split, with: {sede: 1}, inputs: {data: b}}",
        "{uses: data/split, with: {seed: soon}, inputs: {data: b}}",
        "{uses: data/split, with: {seed: 1}, inputs: {date: b}}",
        "{uses: data/split, with: {seed: 1}}",
        "{command: a, outputs: {o: {pth: x}}}",
        "{command: a, outputs: {o: 3}}",
        "{command: a, outputs: [o], retries: many}",
        "{command: a, outputs: [o], sandbox: strict}",
    ] {
        assert!(!validator.is_valid(&stage(wrong)), "{wrong}");
    }
    assert!(!validator.is_valid(&read("version: 2\nname: t\nstages: {a: {uses: data/glyphs}}")));
}

#[test]
fn the_schema_beside_the_pipelines_is_the_program_s() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/schema.json");
    let text = std::fs::read_to_string(file).expect("it is there");
    let there: Value = serde_json::from_str(&text).expect("a schema is JSON");
    assert_eq!(there, schema(), "write it anew: `pru-flow schema > pipelines/schema.json`");
    for pipeline in pipelines() {
        let text = std::fs::read_to_string(&pipeline).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema="), "{}", pipeline.display());
    }
}

/// The fields that a message lists.
fn listed(stderr: &str) -> BTreeSet<String> {
    let list = stderr.split("fields:").nth(1).expect("fields are listed").split("\n\n").next().unwrap_or_default();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_schema_knows_the_fields_that_the_program_knows() {
    let schema = schema();
    let names = |node: &Value| -> BTreeSet<String> { node.as_object().expect("a mapping").keys().cloned().collect() };
    let project = Project::with_pipeline("version: 1\nname: t\nqqqqqqqqqqqq: 1\nstages: {a: {uses: data/glyphs}}\n");
    let output = project.pru_flow(&["check", "pipeline.yaml"]);
    assert_eq!(listed(&output.expect_code(2).stderr), names(&schema["properties"]));
    project.write("pipeline.yaml", "version: 1\nname: t\nstages: {a: {uses: data/glyphs, qqqqqqqqqqqq: 1}}\n");
    let output = project.pru_flow(&["check", "pipeline.yaml"]);
    assert_eq!(listed(&output.expect_code(2).stderr), names(&schema["$defs"]["stage"]["properties"]));
}

#[test]
fn check_tells_of_every_file_and_is_right_only_if_all_are() {
    let project = Project::with_pipeline("version: 1\nname: t\nstages: {a: {uses: data/glyphs}}\n");
    project.write("bad.yaml", "version: 1\nname: t\nstages: {a: {uses: data/glyhps}}\n");
    let output = project.pru_flow(&["check", "bad.yaml", "pipeline.yaml"]);
    output.expect_code(2).expect_stderr(&["unknown stage `data/glyhps`", "did you mean `data/glyphs`?"]);
    assert_eq!(output.stdout, "pipeline.yaml: right, 1 node\n");
    project.pru_flow(&["check", "pipeline.yaml"]).expect_code(0);
    assert!(!project.path(".pru-flow").exists());
}

#[test]
fn a_first_pipeline_runs_as_it_is_and_is_never_written_over_another() {
    let project = Project::new();
    project.pru_flow(&["init"]).expect_code(0);
    let output = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
    output.expect_code(0);
    assert_eq!(output.finished()["executed"], 7);
    assert_eq!(project.read("results/means.txt").lines().count(), 3);
    assert_eq!(project.read("data/numbers-2.txt").lines().count(), 1000);
    let output = project.pru_flow(&["run", "pipeline.yaml", "--json", "--set", "seeds=[1, 2, 3, 4]"]);
    assert_eq!(output.expect_code(0).finished()["cached"], 6);
    project.pru_flow(&["init"]).expect_code(2).expect_stderr(&["pipeline.yaml is there already"]);
    project.pru_flow(&["init", "sub/folder"]).expect_code(0);
    assert!(project.path("sub/folder/schema.json").exists());
}
