//! Stages on libtorch through the binary and its worker: equal bytes however they are run, and what is told when a
//! worker dies, does not come up, or is not the one that was built with the engine.
//!
//! These tests need the worker beside the engine, and fail without it: build it with `cargo xtask build`.

mod hermetic;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hermetic::{Output, Project};
use pru_flow_cache::{Digest, LocalStore, Maintain};
use rustix::process::{Pid, Signal, kill_process};

const WORKER: &str = "pru-flow-torch";

/// A network of few filters, few images, one epoch: some seconds for all of it.
const SMALL: &str = r#"
version: 1
name: small
params: {long: 1}
stages:
  glyphs: {uses: data/glyphs, with: {train: 200, test: 50}}
  split: {uses: data/split, with: {seed: 7}, inputs: {data: glyphs.train}}
  original:
    uses: train/original
    with: {model: {width: 0.03}, epochs: "${params.long}", batch_size: 32, seed: 1}
    inputs: {data: split.train}
  retrain:
    uses: unlearn/retrain
    with: {forget_class: 3, model: {width: 0.03}, epochs: 1, batch_size: 32, seed: 1}
    inputs: {data: split.train}
  bn_only:
    uses: unlearn/bn_only
    with: {forget_class: 3, epochs: 1, batch_size: 8}
    inputs: {model: original.model, data: split.train}
  random_label:
    uses: unlearn/random_label
    with: {forget_class: 3, epochs: 1, batch_size: 8}
    inputs: {model: original.model, data: split.train}
  boundary_shrink:
    uses: unlearn/boundary_shrink
    with: {forget_class: 3, epochs: 1, batch_size: 8}
    inputs: {model: original.model, data: split.train}
  pru:
    uses: unlearn/pru
    with: {forget_class: 3, epochs: 1, batch_size: 8}
    inputs: {model: original.model, data: split.train}
  relearn:
    uses: relearn
    with: {forget_class: 3, epochs: 1, batch_size: 32}
    inputs: {model: "${matrix.method}.model", data: split.request, test: glyphs.test}
    matrix: {method: [original, retrain, bn_only, random_label, boundary_shrink, pru]}
  evaluate:
    uses: evaluate
    with: {forget_class: 3}
    inputs: {model: "${matrix.method}.model", data: glyphs.test}
    matrix: {method: [original, retrain, pru]}
  table:
    uses: tables/relearn
    with: {epochs: [0, 1]}
    inputs: {curves: "relearn[*].curve"}
"#;

/// A training that takes minutes, and a stage beside it that does not.
const LONG: &str = r#"
version: 1
name: long
stages:
  glyphs: {uses: data/glyphs, with: {train: 200, test: 50}}
  split: {uses: data/split, with: {seed: 7}, inputs: {data: glyphs.train}}
  train:
    uses: train/original
    with: {model: {width: 0.03}, epochs: 1000000, batch_size: 32, seed: 1}
    inputs: {data: split.train}
  evaluate:
    uses: evaluate
    inputs: {model: train.model, data: glyphs.test}
  beside: {command: "sleep 1; echo beside > ${outputs.o}", outputs: [o]}
"#;

/// The worker of this build.
#[track_caller]
fn worker() -> PathBuf {
    let worker = Path::new(env!("CARGO_BIN_EXE_pru-flow")).with_file_name(WORKER);
    assert!(worker.is_file(), "{} is missing: run `cargo xtask build` before these tests", worker.display());
    worker
}

fn run(project: &Project, more: &[&str]) -> Output {
    worker();
    project.pru_flow(&[&["run", "pipeline.yaml", "--json"], more].concat())
}

fn outcomes(output: &Output) -> BTreeMap<String, String> {
    output.outcomes().into_iter().collect()
}

/// The digests of every file that each node wrote, by node.
fn artifacts(project: &Project) -> BTreeMap<String, Vec<(String, Digest)>> {
    let store = LocalStore::open(&project.path(".pru-flow")).expect("a run has made it");
    let records = store.records().expect("the store is readable");
    let files = |result: &pru_flow_cache::ActionResult| {
        let outputs = result.outputs.iter();
        outputs.flat_map(|(name, o)| o.files.iter().map(move |f| (format!("{name}/{}", f.name), f.digest))).collect()
    };
    records.map(|entry| (entry.result.node.clone(), files(&entry.result))).collect()
}

/// Processes with the worker's name in the project's folder.
fn workers_of(project: &Project) -> Vec<Pid> {
    let root = project.root().canonicalize().expect("the project is there");
    let here = |path: &Path| fs::read_link(path.join("cwd")).is_ok_and(|folder| folder.starts_with(&root));
    let named = |path: &Path| {
        fs::read(path.join("cmdline")).is_ok_and(|words| String::from_utf8_lossy(&words).contains(WORKER))
    };
    let processes = fs::read_dir("/proc").expect("Linux").flatten().map(|entry| entry.path());
    let found = processes.filter(|path| here(path) && named(path));
    found.filter_map(|path| Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?)).collect()
}

#[track_caller]
fn expect_no_worker_within(project: &Project, limit: Duration) {
    let start = Instant::now();
    while !workers_of(project).is_empty() {
        assert!(start.elapsed() < limit, "left behind: {:?}", workers_of(project));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(project: &Project, args: &[&str]) -> Child {
    worker();
    let mut command = project.command(&[&["run", "pipeline.yaml"], args].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built with this test")
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
    kill_process(pid, signal).expect("it still runs");
}

/// Waits until the node's own log or the events tell that it trains.
#[track_caller]
fn wait_until_training(project: &Project) -> Pid {
    let begin = Instant::now();
    loop {
        let runs = fs::read_dir(project.path(".pru-flow/runs")).into_iter().flatten().flatten();
        let texts = runs.filter_map(|run| fs::read_to_string(run.path().join("events.jsonl")).ok());
        let started = |text: &str| text.lines().any(|l| l.contains("\"node_started\"") && l.contains("\"train\""));
        let workers = workers_of(project);
        if let (true, [worker]) = (texts.into_iter().any(|text| started(&text)), workers.as_slice()) {
            // It has greeted, and computes.
            std::thread::sleep(Duration::from_secs(2));
            return *worker;
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "no training starts");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn finish(child: Child, limit: Duration) -> Output {
    let begin = Instant::now();
    let mut child = child;
    while child.try_wait().expect("it is our child").is_none() {
        if begin.elapsed() > limit {
            let _ = child.kill();
            panic!("still running after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let wall = begin.elapsed();
    let output = child.wait_with_output().expect("it is our child");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        bytes: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        wall,
    }
}

#[test]
fn artifacts_are_the_same_bytes_for_any_j_in_two_runs_and_from_a_fresh_or_a_used_worker() {
    let all: Vec<_> = ["1", "2", "4", "1"]
        .map(|jobs| {
            let project = Project::with_pipeline(SMALL);
            // Every node counts as one core, and there are as many as nodes at once.
            run(&project, &["-j", jobs, "--cpus", jobs]).expect_code(0);
            let again = run(&project, &[]);
            assert_eq!(again.expect_code(0).finished()["executed"], 0);
            (jobs, artifacts(&project))
        })
        .into();
    assert_eq!(all[0].1.len(), 18, "every node has its record");
    for (jobs, artifacts) in &all[1..] {
        assert_eq!(*artifacts, all[0].1, "-j{jobs} and -j1 differ");
    }
    // With -j1 one worker runs all nodes, the last of them after fifteen others. Now each node gets a new one.
    let project = Project::with_pipeline(SMALL);
    for node in ["original", "pru", "relearn[method=pru]", "relearn[method=retrain]", "evaluate[method=pru]", "table"] {
        run(&project, &[node]).expect_code(0);
    }
    let fresh = artifacts(&project);
    for (node, files) in &fresh {
        assert_eq!(*files, all[0].1[node], "{node}: a fresh and a used worker differ");
    }
}

#[test]
fn a_killed_worker_fails_its_node_with_the_reason_and_the_rest_goes_on() {
    let project = Project::with_pipeline(LONG);
    let child = start(&project, &["--json", "-j", "2"]);
    let worker = wait_until_training(&project);
    kill_process(worker, Signal::KILL).expect("it runs");
    let output = finish(child, Duration::from_secs(20));
    output.expect_code(1);
    let ended = outcomes(&output);
    assert_eq!((ended["train"].as_str(), ended["evaluate"].as_str()), ("failed", "skipped"));
    assert_eq!(ended["beside"], "executed");
    let failed = output.events().into_iter().find(|event| event["outcome"] == "failed").expect("one fails");
    assert!(failed["reason"].to_string().contains("SIGKILL"), "{failed}");
    expect_no_worker_within(&project, Duration::from_secs(2));
}

#[test]
fn an_aborting_worker_fails_its_node_with_the_signal_and_leaves_no_result() {
    let project = Project::with_pipeline(LONG);
    let child = start(&project, &["--json"]);
    let worker = wait_until_training(&project);
    kill_process(worker, Signal::ABORT).expect("it runs");
    let output = finish(child, Duration::from_secs(20));
    output.expect_code(1);
    let failed = output.events().into_iter().find(|event| event["outcome"] == "failed").expect("one fails");
    assert!(failed["reason"].to_string().contains("SIGABRT"), "{failed}");
    assert!(!artifacts(&project).contains_key("train"));
}

#[test]
fn ctrl_c_while_training_returns_soon_and_keeps_what_is_done() {
    let project = Project::with_pipeline(LONG);
    let child = start(&project, &["-j", "2"]);
    wait_until_training(&project);
    signal(&child, Signal::INT);
    let output = finish(child, Duration::from_secs(6));
    output.expect_code(130).expect_stderr(&["stopping"]);
    expect_no_worker_within(&project, Duration::from_secs(2));
    let done = artifacts(&project);
    assert!(!done.contains_key("train"), "what was stopped leaves no artifact");
    let again = project.pru_flow(&["run", "pipeline.yaml", "split", "--json"]);
    assert_eq!(again.expect_code(0).finished()["cached"], 2);
}

#[test]
fn a_killed_engine_takes_its_worker_with_it() {
    let project = Project::with_pipeline(LONG);
    let mut child = start(&project, &[]);
    wait_until_training(&project);
    signal(&child, Signal::KILL);
    child.wait().expect("it is our child");
    expect_no_worker_within(&project, Duration::from_secs(2));
}

#[test]
fn a_record_says_on_what_a_node_ran_and_how_long() {
    let project = Project::with_pipeline(SMALL);
    let output = run(&project, &["original"]);
    output.expect_code(0);
    for event in output.events() {
        assert_eq!(event["schema"], 1, "{event}");
    }
    let store = LocalStore::open(&project.path(".pru-flow")).expect("a run has made it");
    let mut records = store.records().expect("the store is readable");
    let original = records.find(|entry| entry.result.node == "original").expect("it ran").result;
    assert_eq!(original.provenance["device"], "cpu");
    assert!(original.measurements.contains_key("wall_seconds"), "{:?}", original.measurements);
}

#[test]
fn cuda_where_there_is_none_is_refused_before_anything_runs() {
    let project = Project::with_pipeline(SMALL);
    worker();
    let doctor = project.pru_flow(&["doctor"]);
    if !doctor.stdout.contains("cuda       none") {
        // There is a device: the one after the last is refused all the same.
        let output = project.pru_flow(&["run", "pipeline.yaml", "--device", "cuda:99"]);
        output.expect_code(2).expect_stderr(&["cuda:99"]);
        return;
    }
    let output = project.pru_flow(&["run", "pipeline.yaml", "--device", "cuda"]);
    output.expect_code(2).expect_stderr(&["cuda:0", "no CUDA device", "--device cpu"]);
    assert!(artifacts(&project).is_empty(), "nothing was run");
}

fn script(project: &Project, text: &str) -> PathBuf {
    let path = project.write("fake-worker", text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    path
}

/// Runs with another program in the worker's place.
fn run_with(project: &Project, program: &Path) -> Output {
    let mut command = project.command(&["run", "pipeline.yaml", "original", "--json"]);
    command.env("PRU_FLOW_WORKER", program);
    Output::of(command)
}

#[test]
fn what_is_no_worker_is_told_at_once_and_the_engine_does_not_wait_for_it() {
    let frame = |text: &str| {
        let [a, b, c, d] = (text.len() as u32).to_le_bytes();
        format!("printf '\\{a:03o}\\{b:03o}\\{c:03o}\\{d:03o}{}' >&0", text.replace('%', "%%"))
    };
    let old = r#"{"Hello":{"build_id":"0123456789abcdef","libtorch":"2.11.0","cuda_devices":0}}"#;
    let build = pru_flow_stages::protocol::BUILD_ID;
    let libtorch = format!(r#"{{"Hello":{{"build_id":"{build}","libtorch":"2.110.0","cuda_devices":0}}}}"#);
    let cases = [
        ("runs on another libtorch", format!("{}; sleep 60", frame(&libtorch)), &["libtorch 2.110.0", "LIBTORCH"][..]),
        (
            "exits",
            "echo these are its last words >&2; exit 3".to_owned(),
            &["did not come up", "exit code 3", "last words"][..],
        ),
        ("ends without a word", "exit 0".to_owned(), &["did not come up"]),
        ("prints where it may", "echo garbage; exit 0".to_owned(), &["did not come up", "garbage"]),
        ("says what is no message", "echo this is no message >&0; sleep 60".to_owned(), &["did not come up"]),
        ("says half a message", format!("{}; exit 1", frame(&old[..20])), &["did not come up"]),
        ("says another message", format!("{}; sleep 60", frame(r#"{"Done":null}"#)), &["does not greet"]),
        ("closes the socket and stays", "exec 0>&-; sleep 60".to_owned(), &["did not come up"]),
        (
            "is of another build",
            format!("{}; sleep 60", frame(old)),
            &["built from other sources", "cargo xtask build"],
        ),
    ];
    for (what, text, expected) in cases {
        let project = Project::with_pipeline(SMALL);
        let output = run_with(&project, &script(&project, &format!("#!/bin/sh\n{text}\n")));
        output.expect_code(1);
        let failed = output.events().into_iter().find(|event| event["outcome"] == "failed").expect("one fails");
        for part in expected {
            assert!(failed["reason"].to_string().contains(part), "a worker that {what}: {failed}");
        }
        assert!(output.wall < Duration::from_secs(5), "a worker that {what}: {:?}", output.wall);
        assert_eq!(outcomes(&output)["split"], "executed", "what needs no worker runs");
    }
}

#[test]
fn a_worker_that_says_nothing_can_be_stopped() {
    let project = Project::with_pipeline(SMALL);
    let program = script(&project, "#!/bin/sh\ntouch up\nsleep 300\n");
    let mut command = project.command(&["run", "pipeline.yaml", "original"]);
    command.env("PRU_FLOW_WORKER", &program).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary was built with this test");
    let begin = Instant::now();
    while !project.path("up").exists() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the worker is not started");
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, Signal::INT);
    finish(child, Duration::from_secs(4)).expect_code(130);
}

#[test]
fn a_missing_worker_is_told_with_how_to_build_it() {
    let project = Project::with_pipeline(SMALL);
    let output = run_with(&project, &project.path("nowhere"));
    output.expect_code(1);
    let failed = output.events().into_iter().find(|event| event["outcome"] == "failed").expect("one fails");
    assert!(failed["reason"].to_string().contains("nowhere"), "{failed}");
}

#[test]
fn a_worker_is_started_so_that_float32_means_float32_on_every_device() {
    let project = Project::with_pipeline(SMALL);
    let program = script(&project, "#!/bin/sh\nenv > seen\n");
    let mut command = project.command(&["run", "pipeline.yaml", "original"]);
    command.env("PRU_FLOW_WORKER", &program).env("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1");
    command.env("NVIDIA_TF32_OVERRIDE", "1").env("ONEDNN_DEFAULT_FPMATH_MODE", "BF16");
    Output::of(command).expect_code(1);
    let seen = project.read("seen");
    assert!(seen.lines().any(|line| line == "NVIDIA_TF32_OVERRIDE=0"), "{seen}");
    for variable in ["TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE"] {
        assert!(!seen.contains(variable), "{seen}");
    }
}
