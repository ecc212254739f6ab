//! `pru-flow graph` as a user meets it: stages and nodes as SVG, DOT and Mermaid, with what is cached.

mod hermetic;

use hermetic::Project;

const PIPELINE: &str = r#"
version: 1
name: small
params: {seeds: [1, 2, 3]}
stages:
  data: {command: "echo 1 > ${outputs.o}", outputs: [o]}
  train:
    command: "cat ${inputs.data} > ${outputs.o}; echo ${matrix.seed} >> ${outputs.o}"
    inputs: {data: data.o}
    outputs: [o]
    matrix: {seed: "${params.seeds}"}
  judge:
    command: "cat ${inputs.all} > ${outputs.o}"
    inputs: {all: "train[*].o"}
    outputs: [o]
"#;

#[test]
fn stages_are_drawn_with_their_cells_folded_and_nothing_is_said_of_states_without_a_store() {
    let project = Project::with_pipeline(PIPELINE);
    let drawn = project.pru_flow(&["graph", "pipeline.yaml"]);
    let svg = &drawn.expect_code(0).stdout;
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(svg.matches("class=\"stage unknown\"").count(), 3, "{svg}");
    assert!(svg.contains("train<tspan class=\"count\"> ×3</tspan>"), "{svg}");
    assert!(svg.contains("<title>train: 3 nodes</title>"), "{svg}");
    assert_eq!(svg, &project.pru_flow(&["graph", "pipeline.yaml"]).stdout, "the same bytes each time");
    assert!(!project.path(".pru-flow").exists(), "a look made something");
    let dot = project.pru_flow(&["graph", "pipeline.yaml", "--format", "dot"]);
    assert!(dot.expect_code(0).stdout.contains("  n1 [label=\"train ×3\""), "{}", dot.stdout);
    assert!(dot.stdout.contains("  n0 -> n1;\n  n1 -> n2;\n"), "{}", dot.stdout);
}

#[test]
fn nodes_are_drawn_with_what_is_cached_and_targets_with_all_they_need() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "train[seed=2]"]).expect_code(0);
    let stages = project.pru_flow(&["graph", "pipeline.yaml"]);
    for (class, count) in [("done", 1), ("part", 1), ("none", 1)] {
        let found = stages.expect_code(0).stdout.matches(&format!("class=\"stage {class}\"")).count();
        assert_eq!(found, count, "{class}: {}", stages.stdout);
    }
    assert!(stages.stdout.contains("<title>train: 3 nodes, 1 cached</title>"), "{}", stages.stdout);
    let nodes = project.pru_flow(&["graph", "pipeline.yaml", "train", "--nodes", "--format", "mermaid"]);
    let text = &nodes.expect_code(0).stdout;
    assert!(text.starts_with("flowchart LR\n  n0[\"data\"]:::done\n"), "{text}");
    assert!(text.contains("[\"train[seed=2]\"]:::done") && text.contains("[\"train[seed=3]\"]:::none"), "{text}");
    assert!(!text.contains("judge"), "{text}");
}

#[test]
fn a_file_s_name_says_its_format_and_what_nobody_can_read_is_refused() {
    let project = Project::with_pipeline(PIPELINE);
    for (file, start) in [("a/b.svg", "<svg "), ("b.dot", "digraph "), ("c.mmd", "flowchart ")] {
        project.pru_flow(&["graph", "pipeline.yaml", "--out", file]).expect_code(0).expect_stderr(&[file]);
        assert!(project.read(file).starts_with(start), "{file}");
    }
    let seeds: Vec<String> = (0..2500).map(|seed| seed.to_string()).collect();
    let set = format!("seeds=[{}]", seeds.join(","));
    let many = project.pru_flow(&["graph", "pipeline.yaml", "--nodes", "--set", &set]);
    many.expect_code(2).expect_stderr(&["a picture of 2502 boxes cannot be read", "name a node"]);
    project.pru_flow(&["graph", "pipeline.yaml", "train[seed=7]", "--nodes", "--set", &set]).expect_code(0);
    project.pru_flow(&["graph", "pipeline.yaml", "trian"]).expect_code(2).expect_stderr(&["did you mean `train`?"]);
}
