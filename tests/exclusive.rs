//! `resources: {exclusive: true}`: such a node runs beside nothing else, and its record says so.

mod hermetic;

use std::collections::BTreeMap;

use hermetic::Project;
use pru_flow_cache::{LocalStore, Maintain};

/// Six nodes that may run together and four that may not; each notes when it began and when it ended.
const PIPELINE: &str = r#"version: 1
name: exclusive
stages:
  beside:
    command: "echo b${matrix.i} $(date +%s%N) >> $PWD/times; sleep 0.15; echo b${matrix.i} $(date +%s%N) >> $PWD/times; echo b${matrix.i} > ${outputs.o}"
    outputs: [o]
    matrix: {i: [1, 2, 3, 4, 5, 6]}
  alone:
    command: "echo a${matrix.i} $(date +%s%N) >> $PWD/times; sleep 0.05; echo a${matrix.i} $(date +%s%N) >> $PWD/times; echo a${matrix.i} > ${outputs.o}"
    outputs: [o]
    matrix: {i: [1, 2, 3]}
    resources: {exclusive: true}
  late:
    command: "echo l $(date +%s%N) >> $PWD/times; sleep 0.05; echo l $(date +%s%N) >> $PWD/times; cat ${inputs.x} > ${outputs.o}"
    inputs: {x: "beside[i=2]"}
    outputs: [o]
    resources: {exclusive: true, cpus: 1}
  built_in:
    uses: data/glyphs
    with: {train: 20, test: 10}
    resources: {exclusive: true}
"#;

/// When each node began and ended.
fn times(project: &Project) -> BTreeMap<String, (u128, u128)> {
    let mut found: BTreeMap<String, Vec<u128>> = BTreeMap::new();
    for line in project.read("times").lines() {
        let (name, at) = line.split_once(' ').expect("a name and a time");
        found.entry(name.to_owned()).or_default().push(at.parse().expect("nanoseconds"));
    }
    found.into_iter().map(|(name, at)| (name, (at[0], at[1]))).collect()
}

fn overlap(a: (u128, u128), b: (u128, u128)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

#[test]
fn nothing_runs_beside_an_exclusive_node_and_its_record_says_so() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "-j", "8", "--cpus", "8"]).expect_code(0);
    let times = times(&project);
    assert_eq!(times.len(), 10);
    let mut together = 0;
    for (name, time) in &times {
        for (other, other_time) in times.iter().filter(|(other, _)| *other > name) {
            let overlap = overlap(*time, *other_time);
            let free = name.starts_with('b') && other.starts_with('b');
            assert!(free || !overlap, "{name} ran beside {other}: {times:?}");
            together += usize::from(overlap);
        }
    }
    assert!(together > 0, "the others do run together: {times:?}");
    let store = LocalStore::open(&project.path(".pru-flow")).expect("the run has made it");
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for entry in store.records().expect("it can be listed") {
        let result = entry.result;
        let exclusive = result.provenance.get("exclusive").expect("every record says it").as_str();
        let expected = if result.node.starts_with("beside") { "false" } else { "true" };
        assert_eq!(exclusive, expected, "{}", result.node);
        assert!(result.measurements["wall_seconds"] > 0.0);
        *said.entry(exclusive.to_owned()).or_default() += 1;
    }
    assert_eq!(said, BTreeMap::from([("false".to_owned(), 6), ("true".to_owned(), 5)]));
}

#[test]
fn a_value_that_is_waited_for_changes_nothing_about_running_alone() {
    let tuned = PIPELINE.replace("echo l $(date", "echo l${stages.tune.outputs.s.x} $(date").replace(
        "stages:\n",
        "stages:\n  tune: {command: \"echo '{\\\"x\\\": 7}' > ${outputs.s}\", outputs: {s: {name: s.json}}}\n",
    );
    let project = Project::with_pipeline(&tuned);
    project.pru_flow(&["run", "pipeline.yaml", "-j", "8", "--cpus", "8"]).expect_code(0);
    let times = times(&project);
    let late = times["l7"];
    let beside: Vec<&String> =
        times.iter().filter(|(name, at)| *name != "l7" && overlap(late, **at)).map(|(n, _)| n).collect();
    assert!(beside.is_empty(), "{beside:?} ran beside it");
}
