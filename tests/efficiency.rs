//! What unlearning took, from what a worker measures to the table and the figure of the report's page.
//!
//! These tests need the worker beside the engine, and fail without it: build it with `cargo xtask build`.

mod hermetic;

use std::collections::BTreeMap;

use base64::Engine as _;
use hermetic::Project;
use pru_flow_cache::{ActionResult, LocalStore, Maintain};
use serde_json::Value;

/// 112 training images, of which some are of class 3; all that unlearns runs alone, but for one stage.
const PIPELINE: &str = r#"
version: 1
name: efficiency
stages:
  glyphs: {uses: data/glyphs, with: {train: 175, test: 50}}
  split: {uses: data/split, with: {seed: 7}, inputs: {data: glyphs.train}}
  original:
    uses: train/original
    with: {model: {width: 0.03}, epochs: 1, batch_size: 32, seed: 1}
    inputs: {data: split.train}
  pru:
    uses: unlearn/pru
    with: {forget_class: 3, epochs: 1, batch_size: 8, seed: "${matrix.seed}"}
    inputs: {model: original.model, data: split.train}
    matrix: {seed: [1, 2]}
    resources: {exclusive: true}
  random_label:
    uses: unlearn/random_label
    with: {forget_class: 3, epochs: 1, batch_size: 8}
    inputs: {model: original.model, data: split.train}
  bn_only:
    uses: unlearn/bn_only
    with: {forget_class: 3, epochs: 2, updates: [2, 1], batch_size: 8}
    inputs: {model: original.model, data: split.train}
    resources: {exclusive: true}
  bias_mask:
    uses: unlearn/bias_mask
    with: {forget_class: 3}
    inputs: {model: original.model}
    resources: {exclusive: true}
  retrain:
    uses: unlearn/retrain
    with: {forget_class: 3, model: {width: 0.03}, epochs: 2, batch_size: 32, seed: 1}
    inputs: {data: split.train}
    resources: {exclusive: true}
"#;

/// The records by node.
fn records(project: &Project) -> BTreeMap<String, ActionResult> {
    let store = LocalStore::open(&project.path(".pru-flow")).expect("a run has made it");
    let records = store.records().expect("it can be listed");
    records.map(|entry| (entry.result.node.clone(), entry.result)).collect()
}

fn report(project: &Project) -> String {
    let output = project.pru_flow(&["report", "pipeline.yaml", "--out", "-"]);
    output.expect_code(0);
    output.stdout
}

/// The page's section, the figure's text, and what is behind the numbers.
fn efficiency(page: &str) -> (String, String, Value) {
    let section = &page[page.find("<section id=\"efficiency\"").expect("the page has the section")..];
    let section = &section[..section.find("</section>").expect("it ends")];
    let figure = section.split_once("data:image/svg+xml;base64,").map_or_else(String::new, |(_, rest)| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(&rest[..rest.find('"').expect("it ends")]);
        String::from_utf8(bytes.expect("base64")).expect("SVG is text")
    });
    let data = page.split_once("type=\"application/json\">").expect("the page has data").1;
    let data = serde_json::from_str(&data[..data.find("</script>").expect("they end")]).expect("JSON");
    (section.to_owned(), figure, data)
}

/// What the numbers of a method's row are from: facts by name, the command, the runs.
fn row(section: &str, data: &Value, method: &str) -> (BTreeMap<String, String>, String, Vec<String>) {
    let row = &section[section.find(&format!("<th scope=\"row\">{method}</th>")).expect("the method has a row")..];
    let row = &row[..row.find("</tr>").expect("it ends")];
    let place: usize = row.split("data-cell=\"").nth(1).expect("a number").split('"').next().unwrap().parse().unwrap();
    let cell = &data["cells"][place];
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let facts = cell["facts"].as_array().expect("facts").iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    let command = text(&data["texts"][cell["command"].as_u64().expect("a command") as usize]);
    let node = |place: &Value| text(&data["nodes"][place.as_u64().expect("a place") as usize]["name"]);
    (facts, command, cell["runs"].as_array().expect("runs").iter().map(node).collect())
}

#[test]
fn workers_measure_and_the_page_shows_what_ran_alone_and_counts_the_rest() {
    let project = Project::with_pipeline(PIPELINE);
    let before = report(&project);
    assert!(
        efficiency(&before).0.contains("0 of 6 nodes measured alone on their machine; left out: 6 without a result")
    );
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);

    let records = records(&project);
    let measured = |node: &str, what: &str| records[node].measurements.get(what).copied();
    let of = |node: &str, what: &str| measured(node, what).unwrap_or_else(|| panic!("{node} has no {what}"));
    // Counts are whole numbers.
    let count = |node: &str, what: &str| of(node, what) as u64;
    let all = count("original", "sample_passes");
    assert_eq!(measured("original", "retain_read_bytes"), None, "nothing is forgotten there");
    // Two passes each: over the other classes, and over the class.
    let (forget, retain) = (count("pru[seed=1]", "sample_passes") / 2, count("retrain", "sample_passes") / 2);
    assert_eq!((forget + retain, all), (112, 112));
    assert_eq!(count("retrain", "retain_read_bytes"), 2 * retain * 28 * 28);
    assert_eq!(count("pru[seed=1]", "retain_read_bytes"), 0);
    assert_eq!(count("bn_only", "sample_passes"), 4 * forget, "several updates by one batch are one pass");
    for node in ["pru[seed=2]", "bn_only", "retrain", "random_label"] {
        let (train, wall) = (of(node, "train_seconds"), of(node, "wall_seconds"));
        assert!(0.0 < train && train < wall, "{node}: {train} of {wall}");
        assert!((3e7..3e10).contains(&of(node, "peak_memory_bytes")), "{node}");
    }
    assert_eq!((measured("bias_mask", "train_seconds"), measured("bias_mask", "sample_passes")), (None, None));

    let (section, figure, data) = efficiency(&report(&project));
    let said = "5 of 6 nodes measured alone on their machine; left out: 1 that ran beside others, or whose record does not say.";
    assert!(section.contains(said), "{section}");
    assert!(figure.contains("left out: 1 that ran beside"), "{figure}");
    assert!(figure.contains("not measured"), "random_label keeps its row: {figure}");
    let (facts, command, runs) = row(&section, &data, "pru");
    assert_eq!(runs, ["pru[seed=1]", "pru[seed=2]"]);
    assert_eq!(command, "pru-flow run pipeline.yaml pru");
    let pair = ["pru[seed=1]", "pru[seed=2]"].map(|node| of(node, "train_seconds"));
    let mean = f64::midpoint(pair[0], pair[1]);
    assert!(facts["training"].starts_with(&format!("{mean:.4} s ± ")), "{facts:?}");
    let rte = format!("{:.4}: ", of("retrain", "train_seconds") / mean);
    assert!(facts["RTE"].starts_with(&rte), "{facts:?}, {rte}");
    assert!(facts["measured on"].contains(&records["pru[seed=1]"].provenance["machine"]), "{facts:?}");
    // Changes no weight by training, so that only the whole node has a time.
    let (facts, ..) = row(&section, &data, "bias_mask");
    assert!(facts.contains_key("whole node") && !facts.contains_key("training"), "{facts:?}");
}

#[test]
fn where_nothing_ran_alone_the_page_says_how_to_and_where_nothing_unlearns_it_says_nothing() {
    let beside = PIPELINE.replace("    resources: {exclusive: true}\n", "");
    let project = Project::with_pipeline(&beside);
    project.pru_flow(&["run", "pipeline.yaml", "bias_mask"]).expect_code(0);
    let (section, figure, _) = efficiency(&report(&project));
    for part in [
        "0 of 6 nodes",
        "1 that ran beside others, or whose record does not say, 5 without a result yet",
        "<code>resources: {exclusive: true}</code>",
    ] {
        assert!(section.contains(part), "`{part}` is not in {section}");
    }
    assert!(figure.is_empty() && !section.contains("<table"), "{section}");
    let project = Project::with_pipeline(
        "version: 1\nname: none\nstages:\n  g: {uses: data/glyphs, with: {train: 20, test: 10}}\n",
    );
    assert!(!report(&project).contains("fficiency"), "no stage unlearns");
}
