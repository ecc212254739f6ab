//! What is left after the worst: kill -9 at any moment, signals, a full disk, floods of output, many processes on one
//! store. Nothing acknowledged is lost, no process and no lock stays behind.

mod hermetic;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hermetic::{Output, Project};
use rustix::process::{Pid, Signal, kill_process};

/// Twelve short stages in three rows of four, and the last reads the ends of all rows. Every stage has a child of its own.
fn rows() -> String {
    let mut text = "version: 1\nname: rows\nstages:\n".to_owned();
    for row in ["a", "b", "c"] {
        for place in 0..4 {
            let before = format!("{row}{}", place - 1);
            let (inputs, read) = match place {
                0 => (String::new(), format!("seq {row}1 2>&1; seq 1200")),
                _ => (format!("    inputs: {{o: {before}.o}}\n"), "cat ${inputs.o}".to_owned()),
            };
            // The child that is left in the background must go with its stage.
            text.push_str(&format!(
                "  {row}{place}:\n    command: \"sleep 60 & sleep 0.02; ({read}; echo {row}{place}) > ${{outputs.o}}\"\n\
                 {inputs}    outputs: {{o: {{name: o.txt}}}}\n"
            ));
        }
    }
    text.push_str(
        "  table:\n    command: \"cat ${inputs.a} ${inputs.b} ${inputs.c} > ${outputs.o}\"\n    \
         inputs: {a: a3.o, b: b3.o, c: c3.o}\n    outputs: {o: {name: table.txt}}\n",
    );
    text
}

/// What runs in the project's folder: every child of a run does, and so do the run itself and its watcher.
fn processes(project: &Project) -> Vec<String> {
    let root = project.root().canonicalize().expect("the project is there");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        // One that has ended meanwhile has no folder any more, a zombie none that can be read.
        if fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder.starts_with(&root)) {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            found.push(format!("{} {words}", entry.file_name().display()));
        }
    }
    found
}

#[track_caller]
fn expect_no_process_within(project: &Project, limit: Duration) {
    let start = Instant::now();
    loop {
        let left = processes(project);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < limit, "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(project: &Project, args: &[&str]) -> Child {
    let mut command = project.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary was built with this test")
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
    kill_process(pid, signal).expect("it still runs");
}

/// Waits for the end; kills it and fails the test when that takes too long.
#[track_caller]
fn end_of(mut child: Child, limit: Duration) -> Output {
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("it is our child") {
            Some(status) => break status,
            None if start.elapsed() > limit => {
                let _ = child.kill();
                panic!("still running after {limit:?}");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let wall = start.elapsed();
    let (mut bytes, mut stderr) = (Vec::new(), Vec::new());
    child.stdout.take().expect("it is piped").read_to_end(&mut bytes).expect("a pipe can be read");
    child.stderr.take().expect("it is piped").read_to_end(&mut stderr).expect("a pipe can be read");
    Output {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        wall,
    }
}

/// The events that the runs so far have recorded; a killed one may have been cut within a line.
fn recorded(project: &Project) -> Vec<serde_json::Value> {
    let runs = fs::read_dir(project.path(".pru-flow/runs")).into_iter().flatten().flatten();
    let texts = runs.filter_map(|run| fs::read_to_string(run.path().join("events.jsonl")).ok());
    texts.flat_map(|text| text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>()).collect()
}

fn nodes_of(events: &[serde_json::Value], kind: &str, outcome: Option<&str>) -> BTreeSet<String> {
    let wanted = |event: &&serde_json::Value| event["event"] == kind && outcome.is_none_or(|o| event["outcome"] == o);
    events.iter().filter(wanted).filter_map(|event| event["node"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn wait_for_start_of(project: &Project, node: &str) {
    let start = Instant::now();
    while !nodes_of(&recorded(project), "node_started", None).contains(node) {
        assert!(start.elapsed() < Duration::from_secs(20), "{node} is not started");
        std::thread::sleep(Duration::from_millis(10));
    }
    // From the event to the process itself.
    std::thread::sleep(Duration::from_millis(150));
}

#[track_caller]
fn expect_empty(folder: &Path) {
    let left: Vec<PathBuf> = fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Numbers that look random and are the same in every run of the tests.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Kills runs at random moments until `kills` have hit a run; after every few it is let finish.
fn kill_at_random_moments(seed: u64, kills: usize) {
    let reference = Project::with_pipeline(&rows());
    reference.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let table = reference.read(".pru-flow/results/rows/table/table.txt");
    let mut draw = Draw(seed);
    let (mut hit, mut acknowledged_in_all) = (0, 0);
    while hit < kills {
        let project = Project::with_pipeline(&rows());
        let mut acknowledged = BTreeSet::new();
        for _ in 0..=draw.below(4) {
            // Early and late moments: what is acknowledged is as late as the run is long.
            let latest = if draw.below(3) == 0 { 60_000 } else { 450_000 };
            let moment = Duration::from_micros(draw.below(latest));
            let mut child = start(&project, &["run", "pipeline.yaml", "--json"]);
            std::thread::sleep(moment);
            if child.try_wait().expect("it is our child").is_none() {
                signal(&child, Signal::KILL);
                hit += 1;
            }
            child.wait().expect("it is our child");
            expect_no_process_within(&project, Duration::from_secs(2));
            let events = recorded(&project);
            let executed_now = nodes_of(&events, "node_finished", Some("executed"));
            acknowledged.extend(executed_now);
        }
        acknowledged_in_all += acknowledged.len();
        let output = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
        let outcomes: BTreeMap<String, String> = output.expect_code(0).outcomes().into_iter().collect();
        for node in &acknowledged {
            assert_eq!(outcomes[node], "cached", "seed {seed}: {node} was acknowledged and is lost");
        }
        assert_eq!(project.read(".pru-flow/results/rows/table/table.txt"), table, "seed {seed}");
        expect_no_process_within(&project, Duration::from_secs(2));
        expect_empty(&project.path(".pru-flow/tmp"));
        expect_empty(&project.path(".pru-flow/quarantine"));
    }
    assert!(acknowledged_in_all > kills / 2, "kills that come before anything is done show nothing");
}

#[test]
fn a_kill_at_any_moment_loses_no_acknowledged_stage_and_leaves_no_process_first_half() {
    kill_at_random_moments(1, 32);
}

#[test]
fn a_kill_at_any_moment_loses_no_acknowledged_stage_and_leaves_no_process_second_half() {
    kill_at_random_moments(2, 32);
}

const SLOW: &str = r#"
version: 1
name: slow
stages:
  fast: {command: "echo done > ${outputs.o}", outputs: [o]}
  slow: {command: "sleep 300 & sleep 300; cp ${inputs.o} ${outputs.o}", inputs: {o: fast.o}, outputs: [o]}
  after: {command: "cp ${inputs.o} ${outputs.o}", inputs: {o: slow.o}, outputs: [o]}
"#;

#[test]
fn ctrl_c_stops_what_runs_keeps_what_is_done_and_says_so() {
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let project = Project::with_pipeline(SLOW);
        let child = start(&project, &["run", "pipeline.yaml"]);
        wait_for_start_of(&project, "slow");
        signal(&child, sent);
        let output = end_of(child, Duration::from_secs(5));
        output.expect_code(code).expect_stderr(&["stopping", "1 node"]);
        expect_no_process_within(&project, Duration::from_secs(1));
        let events = recorded(&project);
        assert_eq!(nodes_of(&events, "node_finished", Some("executed")), ["fast".to_owned()].into());
        assert_eq!(
            nodes_of(&events, "node_finished", Some("cancelled")),
            ["after".to_owned(), "slow".to_owned()].into()
        );
        expect_empty(&project.path(".pru-flow/tmp"));
        let again = project.pru_flow(&["run", "pipeline.yaml", "fast", "--json"]);
        assert_eq!(again.expect_code(0).finished()["cached"], 1);
    }
}

/// A command that will not stop when it is asked to, with a child that will not either.
const STUBBORN: &str = r#"
version: 1
name: stubborn
stages:
  stubborn:
    command: "trap '' TERM; (while :; do sleep 0.1; done) & while :; do sleep 0.1; done"
    outputs: [o]
"#;

#[test]
fn a_second_ctrl_c_kills_what_does_not_stop() {
    let project = Project::with_pipeline(STUBBORN);
    let mut child = start(&project, &["run", "pipeline.yaml"]);
    wait_for_start_of(&project, "stubborn");
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(700));
    assert!(child.try_wait().expect("it is our child").is_none(), "it waits for the stage to stop");
    signal(&child, Signal::INT);
    end_of(child, Duration::from_secs(4)).expect_code(130).expect_stderr(&["stopping at once"]);
    expect_no_process_within(&project, Duration::from_secs(1));
}

#[test]
fn what_does_not_stop_is_killed_when_its_time_is_up() {
    let project = Project::with_pipeline(STUBBORN);
    let child = start(&project, &["run", "pipeline.yaml"]);
    wait_for_start_of(&project, "stubborn");
    signal(&child, Signal::TERM);
    let output = end_of(child, Duration::from_secs(16));
    output.expect_code(143);
    assert!(output.wall > Duration::from_secs(9), "it was given its time: {:?}", output.wall);
    expect_no_process_within(&project, Duration::from_secs(1));
}

#[test]
fn a_stage_inside_the_engine_stops_when_it_is_asked_to() {
    let text = "version: 1\nname: inside\nstages:\n  glyphs: {uses: data/glyphs, with: {train: 1000000}}\n";
    let project = Project::with_pipeline(text);
    let child = start(&project, &["run", "pipeline.yaml"]);
    wait_for_start_of(&project, "glyphs");
    signal(&child, Signal::INT);
    end_of(child, Duration::from_secs(8)).expect_code(130);
    expect_empty(&project.path(".pru-flow/tmp"));
}

#[test]
fn a_stage_takes_its_background_processes_with_it() {
    let project = Project::with_pipeline(
        "version: 1\nname: daemon\nstages:\n  d:\n    command: \"(sleep 300 &) ; nohup sleep 300 >/dev/null 2>&1 & echo x > ${outputs.o}\"\n    outputs: [o]\n",
    );
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    expect_no_process_within(&project, Duration::from_secs(1));
}

/// Runs with a limit on the size of every file, which gives the error of a full disk without one.
fn limited(project: &Project, kib: u32, more: &[&str]) -> Output {
    let run = project.command(&[]);
    let mut command = std::process::Command::new("bash");
    let script = format!("ulimit -f {kib}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(run.get_program()).args(["run", "pipeline.yaml", "--json"]).args(more);
    command.current_dir(project.root()).stdin(Stdio::null());
    Output::of(command)
}

#[test]
fn no_room_for_an_output_is_told_with_the_stage_and_nothing_is_cached() {
    let text = r#"
version: 1
name: full
stages:
  inside: {uses: data/glyphs, with: {train: 2000, test: 10}}
  small: {command: "seq 100 > ${outputs.o}", outputs: [o]}
  large: {command: "seq 1000000 > ${outputs.o}", outputs: [o]}
  reader: {command: "tail -n 1 ${inputs.o} > ${outputs.o}", inputs: {o: large.o}, outputs: [o]}
"#;
    let project = Project::with_pipeline(text);
    let output = limited(&project, 1024, &[]);
    output.expect_code(1);
    let outcomes: BTreeMap<String, String> = output.outcomes().into_iter().collect();
    let ended: Vec<(&str, &str)> = outcomes.iter().map(|(node, outcome)| (node.as_str(), outcome.as_str())).collect();
    assert_eq!(ended, [("inside", "failed"), ("large", "failed"), ("reader", "skipped"), ("small", "executed")]);
    for event in output.events().iter().filter(|event| event["outcome"] == "failed") {
        let told = event.to_string();
        // The program's own words, or the engine's.
        let expected = if event["node"] == "large" { "File size limit exceeded" } else { "File too large" };
        assert!(told.contains(expected), "{told}");
    }
    expect_empty(&project.path(".pru-flow/tmp"));
    let without = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
    assert_eq!(without.expect_code(0).finished()["executed"], 3);
    assert_eq!(without.finished()["cached"], 1, "what was done before is kept");
}

#[test]
fn no_room_for_a_copy_of_an_input_is_told_with_the_stage_and_the_path() {
    let project = Project::with_pipeline(
        "version: 1\nname: copy\nstages:\n  large: {command: \"seq 1000000 > ${outputs.o}\", outputs: [o]}\n  \
         reader: {command: \"tail -n 1 ${inputs.o} > ${outputs.o}\", inputs: {o: large.o}, outputs: [o]}\n",
    );
    project.pru_flow(&["run", "pipeline.yaml", "large"]).expect_code(0);
    let output = limited(&project, 1024, &[]);
    output.expect_code(1);
    let events = output.events();
    let failed = events.iter().find(|event| event["outcome"] == "failed").expect("one fails");
    assert_eq!(failed["node"], "reader");
    let reason = failed["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("/in/o/o") && reason.contains("too large"), "{reason}");
    expect_empty(&project.path(".pru-flow/tmp"));
    assert_eq!(project.pru_flow(&["run", "pipeline.yaml", "--json"]).expect_code(0).finished()["executed"], 1);
}

#[test]
fn a_flood_of_output_costs_no_memory_and_its_escapes_reach_no_terminal() {
    // One line of 50 MB, then what a terminal would obey, then time to look at the engine.
    let project = Project::with_pipeline(
        "version: 1\nname: flood\nstages:\n  flood:\n    command: \"head -c 50000000 /dev/zero | tr '\\\\0' x; \
         printf '\\\\033]0;title\\\\007\\\\033[31m\\\\000\\\\377 the end\\\\n'; exit 3\"\n    outputs: [o]\n  \
         wait: {command: \"sleep 2; echo > ${outputs.o}\", outputs: [o]}\n",
    );
    let mut child = start(&project, &["run", "pipeline.yaml", "-j", "2"]);
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak_kib = 0;
    while child.try_wait().expect("it is our child").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = end_of(child, Duration::from_secs(1));
    output.expect_code(1).expect_stderr(&["the end", "exit code 3"]);
    assert!(peak_kib > 1000 && peak_kib < 100 * 1024, "the engine had {peak_kib} KiB at most");
    assert!(!output.stderr.contains(['\x1b', '\x07', '\0']), "control characters of a log reach the terminal");
    // Where stderr is no terminal escapes are dropped anyway, so look at what is given to be shown.
    let failed = recorded(&project).into_iter().find(|event| event["outcome"] == "failed").expect("one fails");
    let tail = failed["log_tail"].as_str().expect("a failure shows the end of the log");
    assert!(
        tail.contains("the end") && !tail.contains(|c: char| c.is_control() && c != '\n'),
        "{:?}",
        &tail[tail.len() - 60..]
    );
    assert!(output.stderr.len() < 100_000, "{} bytes were shown", output.stderr.len());
}

#[test]
fn eight_processes_on_one_store_do_not_disturb_each_other() {
    let mut text = "version: 1\nname: crowd\nstages:\n".to_owned();
    for n in 0..19 {
        let lines = 1500 + n;
        text.push_str(&format!("  s{n:02}: {{command: \"seq {lines} > ${{outputs.o}}\", outputs: [o]}}\n"));
    }
    let inputs = (0..19).map(|n| format!("i{n:02}: s{n:02}.o")).collect::<Vec<_>>().join(", ");
    let words = (0..19).map(|n| format!("${{inputs.i{n:02}}}")).collect::<Vec<_>>().join(" ");
    text.push_str(&format!(
        "  table: {{command: \"cat {words} > ${{outputs.o}}\", inputs: {{{inputs}}}, outputs: {{o: {{name: table.txt}}}}}}\n"
    ));
    let alone = Project::with_pipeline(&text);
    alone.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let table = alone.read(".pru-flow/results/crowd/table/table.txt");
    let project = Project::with_pipeline(&text);
    let children: Vec<Child> = (0..8).map(|_| start(&project, &["run", "pipeline.yaml", "--json"])).collect();
    for child in children {
        let output = child.wait_with_output().expect("it is our child");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains("not deterministic"), "{text}");
    }
    assert_eq!(project.read(".pru-flow/results/crowd/table/table.txt"), table);
    let again = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
    assert_eq!(again.expect_code(0).finished()["cached"], 20);
    expect_empty(&project.path(".pru-flow/tmp"));
    expect_empty(&project.path(".pru-flow/quarantine"));
}

#[test]
fn secrets_in_the_environment_reach_no_command_and_no_file() {
    let project = Project::with_pipeline(
        "version: 1\nname: secrets\nstages:\n  env: {command: \"env > ${outputs.o}; env; env >&2\", outputs: {o: {name: env.txt}}}\n",
    );
    let canary = "canary-5f1c2e";
    let mut command = project.command(&["run", "pipeline.yaml", "-vv"]);
    for name in ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "LD_LIBRARY_PATH", "PYTHONPATH", "GIT_DIR", "PASSWORD"] {
        command.env(name, canary);
    }
    let output = Output::of(command);
    output.expect_code(0);
    assert!(!output.stderr.contains(canary) && !output.stdout.contains(canary));
    let text = project.read(".pru-flow/results/secrets/env/env.txt");
    assert!(text.contains("PATH="), "the command has what programs need: {text}");
    let mut folders = vec![project.root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("it is readable");
                let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
                assert!(!found, "{} holds a secret", path.display());
            }
        }
    }
}
