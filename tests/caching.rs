//! What a second run does: nothing, or only what a change reaches; and what becomes of it when something fails, is
//! damaged, or changes while it runs. Through the binary, with commands and stages that need no libtorch.

mod hermetic;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hermetic::{Output, Project};

/// Four commands in a row, each with an output that is too large to lie in its record, and one beside them.
const CHAIN: &str = r#"
version: 1
name: chain
params: {first: 1, factor: 3}
stages:
  numbers:
    command: "seq ${params.first} 3000 > ${outputs.list}"
    outputs: {list: {name: list.txt}}
  parity:
    command: "awk '{print $1 % 2, \"of the numbers\"}' ${inputs.list} > ${outputs.list}"
    inputs: {list: numbers.list}
    outputs: {list: {name: list.txt}}
  scaled:
    command: "awk -v f=${params.factor} '{print $1 * f, \"is scaled\"}' ${inputs.list} > ${outputs.list}"
    inputs: {list: parity.list}
    outputs: {list: {name: list.txt}}
  table:
    command: "cat -n ${inputs.list} > ${outputs.table}"
    inputs: {list: scaled.list}
    outputs: {table: {name: table.txt}}
  beside:
    command: "echo beside > ${outputs.text}"
    outputs: {text: {name: text.txt}}
"#;

const TABLE: &str = ".pru-flow/results/chain/table/table.txt";

fn run(project: &Project, more: &[&str]) -> Output {
    project.pru_flow(&[&["run", "pipeline.yaml", "--json"], more].concat())
}

/// How each node ended in the end.
fn outcomes(output: &Output) -> BTreeMap<String, String> {
    output.outcomes().into_iter().collect()
}

fn with_outcome(output: &Output, outcome: &str) -> Vec<String> {
    outcomes(output).into_iter().filter(|(_, ended)| ended == outcome).map(|(node, _)| node).collect()
}

#[track_caller]
fn executed(output: &Output) -> Vec<String> {
    output.expect_code(0);
    with_outcome(output, "executed")
}

fn event<'a>(events: &'a [serde_json::Value], node: &str) -> &'a serde_json::Value {
    let finished = |event: &&serde_json::Value| event["event"] == "node_finished" && event["node"] == node;
    events.iter().rev().find(finished).unwrap_or_else(|| panic!("{node} has not ended: {events:?}"))
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Replaces a file that the store protects.
fn overwrite(path: &Path, content: &[u8]) {
    fs::remove_file(path).expect("the file is there");
    fs::write(path, content).expect("the folder is writable");
}

#[test]
fn a_second_run_executes_nothing_and_leaves_the_same_table() {
    let project = Project::with_pipeline(CHAIN);
    assert_eq!(executed(&run(&project, &[])).len(), 5);
    let table = project.read(TABLE);
    let again = run(&project, &[]);
    assert_eq!(executed(&again), Vec::<String>::new());
    assert_eq!(again.finished()["cached"], 5);
    assert_eq!(project.read(TABLE), table);
}

#[test]
fn a_change_runs_what_depends_on_it_and_nothing_else() {
    let project = Project::with_pipeline(CHAIN);
    run(&project, &[]).expect_code(0);
    assert_eq!(executed(&run(&project, &["--set", "factor=5"])), ["scaled", "table"]);
    assert_eq!(executed(&run(&project, &["--set", "factor=3"])), Vec::<String>::new(), "and the way back is a hit");
    let plan = project.pru_flow(&["plan", "pipeline.yaml", "--set", "factor=7", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan.expect_code(0).stdout).expect("one object");
    let status = |name: &str| {
        let nodes = plan["nodes"].as_array().expect("a list");
        nodes.iter().find(|node| node["name"] == name).expect("every node is planned")["status"].clone()
    };
    assert_eq!(status("parity"), "cached");
    assert_eq!(status("scaled"), "run");
    assert_eq!(status("table"), "unknown");
}

#[test]
fn a_stage_that_runs_again_to_the_same_output_leaves_its_dependents_alone() {
    let project = Project::with_pipeline(CHAIN);
    run(&project, &[]).expect_code(0);
    // Other numbers of the same parity: a stage that runs anew writes what it wrote before.
    project.write("pipeline.yaml", CHAIN.replace("seq ${params.first} 3000", "seq ${params.first} 3000 | cat"));
    assert_eq!(executed(&run(&project, &[])), ["numbers"]);
    project.write("pipeline.yaml", CHAIN.replace("seq ${params.first} 3000", "seq 3 3002"));
    assert_eq!(executed(&run(&project, &[])), ["numbers", "parity"]);
}

#[test]
fn two_checkouts_share_one_store() {
    let (one, other) = (Project::with_pipeline(CHAIN), Project::with_pipeline(CHAIN));
    let store = tempfile::tempdir().expect("a temporary folder can be made");
    let store = store.path().join("store");
    let store = store.to_str().expect("a temporary path is text");
    assert_eq!(executed(&run(&one, &["--store", store])).len(), 5);
    assert_eq!(executed(&run(&other, &["--store", store])), Vec::<String>::new());
}

#[test]
fn nodes_to_run_bring_what_they_need_and_leave_the_rest() {
    let project = Project::with_pipeline(CHAIN);
    assert_eq!(executed(&run(&project, &["parity"])), ["numbers", "parity"]);
    assert_eq!(executed(&run(&project, &["table"])), ["scaled", "table"]);
}

#[test]
fn a_failure_skips_what_depends_on_it_and_nothing_else() {
    let project = Project::with_pipeline(&CHAIN.replace("{print $1 % 2, \\\"of the numbers\\\"}", "{exit 7}"));
    let output = run(&project, &["-j", "1"]);
    output.expect_code(1);
    assert_eq!(with_outcome(&output, "failed"), ["parity"]);
    assert_eq!(with_outcome(&output, "skipped"), ["scaled", "table"]);
    assert_eq!(with_outcome(&output, "executed"), ["beside", "numbers"]);
    let totals = output.finished();
    assert_eq!((&totals["executed"], &totals["failed"], &totals["skipped"]), (&2.into(), &1.into(), &2.into()));
    let events = output.events();
    assert!(event(&events, "parity")["reason"].as_str().unwrap_or_default().contains("exit code 7"));
    assert_eq!(event(&events, "table")["because"], "parity");
    let again = run(&project, &["-j", "1"]);
    assert_eq!(with_outcome(&again, "failed"), ["parity"], "a failure is not cached");
    assert_eq!(with_outcome(&again, "cached"), ["beside", "numbers"]);
}

#[test]
fn the_first_failure_ends_a_run_that_is_to_fail_fast() {
    let text = "version: 1\nname: fast\nstages:\n  a: {command: exit 3, outputs: [o]}\n  \
                b: {command: \"echo b > ${outputs.o}\", outputs: [o]}\n  \
                c: {command: \"cat ${inputs.x} > ${outputs.o}\", inputs: {x: b.o}, outputs: [o]}\n";
    let project = Project::with_pipeline(text);
    // The chain b, c is longer, so it goes first; c is started after a has failed only when that is allowed.
    let output = run(&project, &["-j", "2", "--fail-fast"]);
    output.expect_code(1);
    let ended = outcomes(&output);
    assert_eq!(ended["a"], "failed");
    assert!(["cancelled", "executed"].contains(&ended["c"].as_str()), "{ended:?}");
    let alone = Project::with_pipeline(&text.replace("echo b", "sleep 1; echo b"));
    let output = run(&alone, &["-j", "2", "--fail-fast"]);
    output.expect_code(1);
    assert_eq!(outcomes(&output)["b"], "executed", "what runs is let finish");
    assert_eq!(outcomes(&output)["c"], "cancelled");
    assert_eq!(outcomes(&run(&alone, &["-j", "2", "--keep-going"]))["c"], "executed");
}

#[test]
fn an_output_that_was_not_written_is_told_with_what_lies_in_its_place() {
    let text = "version: 1\nname: missing\nstages:\n  typo:\n    \
                command: \"echo x > ${outputs.result}.tmp\"\n    outputs: {result: {name: result.txt}}\n";
    let project = Project::with_pipeline(text);
    let output = run(&project, &[]);
    output.expect_code(1);
    let events = output.events();
    let reason = event(&events, "typo")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("`result`") && reason.contains("result.txt.tmp"), "{reason}");
}

#[test]
fn a_failure_shows_the_end_of_the_log_and_the_log_keeps_all() {
    let project = Project::with_pipeline(
        "version: 1\nname: log\nstages:\n  noisy: {command: \"seq 100; echo last words >&2; exit 9\", outputs: [o]}\n",
    );
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(1).expect_stderr(&["noisy", "exit code 9", "last words"]);
    assert!(!output.stderr.contains("\n10\n"), "only the end is shown: {}", output.stderr);
    let log = project.pru_flow(&["log", "pipeline.yaml", "noisy"]);
    assert!(log.expect_code(0).stdout.starts_with("1\n2\n"), "{}", log.stdout);
}

#[test]
fn a_source_that_changes_while_a_stage_runs_is_named_and_nothing_is_cached() {
    let project = Project::with_pipeline(
        "version: 1\nname: editor\nstages:\n  reader:\n    command: \"sh work.sh data.txt ${outputs.o}\"\n    \
         outputs: [o]\n  after: {command: \"cat ${inputs.o} > ${outputs.o}\", inputs: {o: reader.o}, outputs: [o]}\n",
    );
    project.write("data.txt", "one\n");
    // As somebody who saves the file while the stage runs, once.
    project.write("work.sh", "cp $1 $2\n[ -e saved ] || echo two >> $1\ntouch saved\n");
    let first = run(&project, &[]);
    first.expect_code(1);
    let events = first.events();
    let reason = event(&events, "reader")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("data.txt") && reason.contains("changed while"), "{reason}");
    assert_eq!(with_outcome(&first, "skipped"), ["after"]);
    assert_eq!(executed(&run(&project, &[])), ["after", "reader"]);
    assert_eq!(
        project.read(".pru-flow/results/editor/after/o"),
        "one\ntwo\n",
        "the result is that of the file as it is"
    );
}

/// One way to damage a file of the store.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 4] = [
    ("flipped", |path| {
        let mut bytes = fs::read(path).expect("the file is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        overwrite(path, &bytes);
    }),
    ("cut", |path| {
        let bytes = fs::read(path).expect("the file is there");
        overwrite(path, &bytes[..bytes.len() / 2]);
    }),
    ("emptied", |path| overwrite(path, b"")),
    ("deleted", |path| fs::remove_file(path).expect("the file is there")),
];

/// A warm store, its blobs, and the table as it should be.
fn warm() -> (Project, Vec<PathBuf>, String) {
    let project = Project::with_pipeline(CHAIN);
    run(&project, &[]).expect_code(0);
    let blobs = files(&project.path(".pru-flow/blobs"));
    assert_eq!(blobs.len(), 4, "four outputs are too large for a record");
    let table = project.read(TABLE);
    (project, blobs, table)
}

#[test]
fn every_damaged_blob_is_healed_when_its_bytes_are_needed_and_not_read_before() {
    let (project, blobs, table) = warm();
    let records = files(&project.path(".pru-flow/records"));
    for (damage, apply) in DAMAGES {
        for blob in &blobs {
            apply(blob);
            fs::remove_dir_all(project.path(".pru-flow/results")).expect("results were copied");
            let output = run(&project, &[]);
            let is_last = fs::read(blob).is_ok_and(|bytes| bytes == table.as_bytes());
            let expected: &[&str] = if is_last { &["table"] } else { &[] };
            assert_eq!(executed(&output), expected, "{damage}: a hit reads no blob but the last");
            assert_eq!(project.read(TABLE), table, "{damage}");
            // Now the nodes have to run, and need what they read.
            for record in files(&project.path(".pru-flow/records")) {
                fs::remove_file(record).expect("the record is there");
            }
            run(&project, &[]).expect_code(0);
            assert_eq!(project.read(TABLE), table, "{damage}");
        }
    }
    assert_eq!(files(&project.path(".pru-flow/records")), records, "the same records, by name");
}

#[test]
fn a_consumer_that_finds_damage_has_its_producer_run_again() {
    let (project, blobs, table) = warm();
    let is_numbers = |blob: &&PathBuf| fs::read(blob).is_ok_and(|bytes| bytes.starts_with(b"1\n2\n3\n"));
    let blob = blobs.iter().find(is_numbers).expect("it is a blob");
    for (index, (damage, apply)) in DAMAGES.into_iter().enumerate() {
        apply(blob);
        // All others are hits; a new stage reads the numbers.
        let reader = "  reader:\n    command: \"tail -n 1 ${inputs.list} > ${outputs.o}\"\n    \
                      inputs: {list: numbers.list}\n    outputs: [o]\n";
        let reader = reader.replace("-n 1", &format!("-n 1 -s {index}"));
        project.write("pipeline.yaml", format!("{CHAIN}{reader}"));
        let output = run(&project, &[]);
        assert_eq!(executed(&output), ["numbers", "reader"], "{damage}");
        let notes: Vec<_> = output.events().into_iter().filter(|event| event["event"] == "note").collect();
        assert!(notes.iter().any(|note| note.to_string().contains("numbers")), "{damage}: {notes:?}");
        assert_eq!(project.read(".pru-flow/results/chain/reader/o"), "3000\n", "{damage}");
        assert_eq!(executed(&run(&project, &[])), Vec::<String>::new(), "{damage}: healed for good");
    }
    assert_eq!(project.read(TABLE), table);
}

#[test]
fn a_store_that_lost_every_blob_heals_along_the_whole_chain() {
    let (project, blobs, table) = warm();
    for blob in &blobs {
        fs::remove_file(blob).expect("the blob is there");
    }
    fs::remove_dir_all(project.path(".pru-flow/results")).expect("results were copied");
    assert_eq!(executed(&run(&project, &[])), ["numbers", "parity", "scaled", "table"]);
    assert_eq!(project.read(TABLE), table);
    assert_eq!(executed(&run(&project, &[])), Vec::<String>::new());
}

#[test]
fn a_lost_output_can_be_had_again_by_running_its_node() {
    let (project, blobs, _) = warm();
    for blob in &blobs {
        fs::remove_file(blob).expect("the blob is there");
    }
    let get = |code| {
        project.pru_flow(&["get", "pipeline.yaml", "parity", "--to", "copy.txt"]).expect_code(code).stderr.clone()
    };
    assert!(get(1).contains("run"), "says what to do");
    assert_eq!(executed(&run(&project, &["parity"])), ["numbers", "parity"]);
    get(0);
    assert!(project.read("copy.txt").starts_with("1 of the numbers\n0 of"));
}

#[test]
fn a_damaged_record_is_a_miss_and_never_a_wrong_result() {
    let (project, _, table) = warm();
    let records = files(&project.path(".pru-flow/records"));
    assert_eq!(records.len(), 5);
    for (damage, apply) in DAMAGES {
        for record in &records {
            apply(record);
            assert_eq!(
                executed(&run(&project, &[])).len(),
                1,
                "{damage}: its node, and as the output is equal no other"
            );
            assert_eq!(project.read(TABLE), table, "{damage}");
        }
    }
    // The record of another key in its place.
    let other = fs::read(&records[1]).expect("the record is there");
    overwrite(&records[0], &other);
    assert_eq!(executed(&run(&project, &[])).len(), 1);
    assert_eq!(executed(&run(&project, &[])), Vec::<String>::new());
    assert_eq!(project.read(TABLE), table);
}

#[test]
fn a_stage_that_is_not_deterministic_is_told_of_and_its_first_result_stays() {
    // Two runs that do the same at once: the second to publish finds a result with other bytes.
    let dice = "{command: \"sleep 0.5; date +%N > ${outputs.o}\", outputs: [o]}";
    let project = Project::with_pipeline(&format!("version: 1\nname: dice\nstages:\n  a: {dice}\n"));
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| run(&project, &[]))).collect();
        runs.into_iter().map(|run| run.join().expect("a run ends")).collect()
    });
    let told = |event: &serde_json::Value| event["event"] == "note" && event.to_string().contains("not deterministic");
    let notes = outputs.iter().flat_map(Output::events).filter(told).count();
    assert_eq!((executed(&outputs[0]), executed(&outputs[1]), notes), (vec!["a".into()], vec!["a".into()], 1));
    assert_eq!(files(&project.path(".pru-flow/evidence")).len(), 1, "the difference is kept");
}
