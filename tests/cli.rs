//! The command line as a user meets it: help, exit codes, what each command prints and where, and that looking
//! changes nothing.

mod hermetic;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hermetic::{Output, Project};
use serde_json::Value;

/// Two commands in a row, a folder as output, and a table; nothing that needs libtorch.
const PIPELINE: &str = r#"
version: 1
name: small
params: {word: hello, train: 20, seeds: [1, 2]}
stages:
  say: {command: "echo ${params.word} > ${outputs.text}; echo said it", outputs: {text: {name: text.txt}}}
  copy:
    command: "mkdir ${outputs.folder}; cp ${inputs.text} ${outputs.folder}/a.txt; cp ${inputs.text} ${outputs.folder}/b.txt; cp ${inputs.text} ${outputs.note}"
    inputs: {text: say.text}
    outputs: {folder: {name: folder}, note: {name: note.txt}}
  glyphs:
    uses: data/glyphs
    with: {seed: "${matrix.seed}", train: "${params.train}", test: 10}
    matrix: {seed: "${params.seeds}"}
"#;

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                all.insert(path.clone(), Vec::new());
                waiting.push(path);
            } else {
                all.insert(path.clone(), std::fs::read(&path).expect("a file"));
            }
        }
    }
    all
}

/// A project whose pipeline has run.
fn run_once() -> Project {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    project
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

#[test]
fn every_command_has_help_with_examples() {
    let project = Project::new();
    let help = project.pru_flow(&["--help"]);
    help.expect_code(0);
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("Exit codes:"), "{}", help.stdout);
    let commands = help.stdout.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<String> = commands
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect();
    let expected = [
        "run",
        "plan",
        "init",
        "check",
        "schema",
        "explain",
        "graph",
        "report",
        "get",
        "commit",
        "import",
        "log",
        "runs",
        "show",
        "diff",
        "stages",
        "doctor",
        "completions",
        "man",
    ];
    assert_eq!(commands, expected);
    for command in expected {
        for flag in ["--help", "-h"] {
            let help = project.pru_flow(&[command, flag]);
            help.expect_code(0);
            assert_eq!(help.stderr, "");
            let example = format!("  pru-flow {command}");
            assert!(help.stdout.contains("Examples:") && help.stdout.contains(&example), "{command}: {}", help.stdout);
        }
    }
    assert_eq!(
        project.pru_flow(&["--version"]).expect_code(0).stdout,
        format!("pru-flow {}\n", env!("CARGO_PKG_VERSION"))
    );
    project.pru_flow(&[]).expect_code(2);
}

#[test]
fn exit_codes_tell_done_failed_wrong_and_would_run_apart() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["plan", "pipeline.yaml"]).expect_code(0);
    project.pru_flow(&["plan", "pipeline.yaml", "--exit-code"]).expect_code(5);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    project.pru_flow(&["plan", "pipeline.yaml", "--exit-code"]).expect_code(0);
    project.pru_flow(&["run", "pipeline.yaml", "--nonsense"]).expect_code(2);
    project.write("bad.yaml", "version: 1\nname: t\nstages:\n  a: {command: exit 3, outputs: [o]}\n");
    let failed = project.pru_flow(&["run", "bad.yaml"]);
    failed.expect_code(1).expect_stderr(&["failed", "exit"]);
}

#[test]
fn plan_prints_every_node_with_status_key_and_why_and_changes_nothing() {
    let project = Project::with_pipeline(PIPELINE);
    let before = files(&project.root());
    let plan = project.pru_flow(&["plan", "pipeline.yaml", "--json"]);
    let shown = json(plan.expect_code(0));
    assert_eq!(shown["schema"], 1);
    let nodes: Vec<&Value> = shown["nodes"].as_array().expect("a list").iter().collect();
    let names: Vec<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
    assert_eq!(names, ["say", "copy", "glyphs[seed=1]", "glyphs[seed=2]"]);
    assert_eq!(nodes[0]["status"], "run");
    assert_eq!(nodes[0]["key"].as_str().expect("a key").len(), 64);
    assert_eq!(nodes[1]["status"], "unknown");
    assert_eq!(nodes[1]["key"], Value::Null);
    assert!(nodes[1]["why"].as_str().expect("a reason").contains("say"), "{}", nodes[1]);
    for node in &nodes {
        let fields: Vec<&String> = node.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["name", "status", "key", "why"]);
    }
    project.pru_flow(&["plan", "pipeline.yaml"]).expect_code(0);
    project.pru_flow(&["explain", "pipeline.yaml", "say"]).expect_code(0);
    project.pru_flow(&["get", "pipeline.yaml", "say", "--to", "x"]).expect_code(1);
    project.pru_flow(&["log", "pipeline.yaml", "say"]).expect_code(1);
    assert_eq!(files(&project.root()), before, "a look made something");

    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let before = files(&project.root());
    let shown = json(&project.pru_flow(&["plan", "pipeline.yaml", "--json"]));
    assert!(shown["nodes"].as_array().expect("a list").iter().all(|node| node["status"] == "cached"), "{shown}");
    let changed = project.pru_flow(&["plan", "pipeline.yaml", "--set", "word=bye"]);
    assert!(changed.stdout.contains("changed"), "{}", changed.stdout);
    project.pru_flow(&["explain", "pipeline.yaml", "say", "--set", "word=bye"]).expect_code(0);
    assert_eq!(files(&project.root()), before, "a look into a store changed it");
}

#[test]
fn explain_names_the_field_with_both_values() {
    let project = run_once();
    let explained = project.pru_flow(&["explain", "pipeline.yaml", "glyphs[seed=2]", "--set", "train=30"]);
    let line = explained.expect_code(0).stdout.lines().find(|line| line.contains("train")).expect("the field");
    assert!(line.contains("20 -> 30"), "{}", explained.stdout);
    assert!(explained.stdout.contains("would run"), "{}", explained.stdout);
    assert!(!explained.stdout.contains("noise"), "only what differs: {}", explained.stdout);
    let shown = json(&project.pru_flow(&["explain", "pipeline.yaml", "glyphs[seed=2]", "--set", "train=30", "--json"]));
    assert_eq!(shown["schema"], 1);
    assert_eq!(shown["node"], "glyphs[seed=2]");
    let fields = shown["nearest"]["fields"].as_array().expect("fields");
    assert_eq!(fields.len(), 1, "{shown}");
    let cached = project.pru_flow(&["explain", "pipeline.yaml", "say"]);
    assert!(cached.expect_code(0).stdout.contains("cached"), "{}", cached.stdout);
    // What is behind a node that cannot be known yet is followed to its cause.
    let chain = project.pru_flow(&["explain", "pipeline.yaml", "copy", "--set", "word=bye"]);
    assert!(chain.stdout.contains("hello") && chain.stdout.contains("bye"), "{}", chain.stdout);
}

#[test]
fn get_copies_a_file_or_a_folder_or_writes_to_stdout() {
    let project = run_once();
    project.pru_flow(&["get", "pipeline.yaml", "say", "--to", "out/here.txt"]).expect_code(0);
    assert_eq!(project.read("out/here.txt"), "hello\n");
    project.pru_flow(&["get", "pipeline.yaml", "copy:folder", "--to", "out/folder"]).expect_code(0);
    assert_eq!(project.read("out/folder/a.txt"), "hello\n");
    assert_eq!(project.read("out/folder/b.txt"), "hello\n");
    let printed = project.pru_flow(&["get", "pipeline.yaml", "copy:note", "--to", "-"]);
    assert_eq!(printed.expect_code(0).stdout, "hello\n");
    // A copy is the user's own: to change it changes nothing in the store.
    std::fs::write(project.path("out/here.txt"), "mine").expect("a copy can be written");
    let again = project.pru_flow(&["get", "pipeline.yaml", "say", "--to", "-"]);
    assert_eq!(again.stdout, "hello\n");

    let unknown = project.pru_flow(&["get", "pipeline.yaml", "copy:folders", "--to", "x"]);
    unknown.expect_code(2).expect_stderr(&["copy has no output `folders`", "did you mean `folder`?"]);
    let several = project.pru_flow(&["get", "pipeline.yaml", "copy", "--to", "x"]);
    several.expect_code(2).expect_stderr(&["several outputs", "copy:folder", "copy:note"]);
    let not_run = project.pru_flow(&["get", "pipeline.yaml", "say", "--to", "x", "--set", "word=bye"]);
    not_run.expect_code(1).expect_stderr(&["say has no result yet", "pru-flow run"]);
    let cells = project.pru_flow(&["get", "pipeline.yaml", "glyphs:train", "--to", "x"]);
    cells.expect_code(2).expect_stderr(&["names 2 nodes", "glyphs[seed=1]"]);
    assert!(!project.path("x").exists());
}

#[test]
fn log_prints_what_a_node_wrote() {
    let project = run_once();
    let log = project.pru_flow(&["log", "pipeline.yaml", "say"]);
    assert!(log.expect_code(0).stdout.contains("said it"), "{}", log.stdout);
    let not_run = project.pru_flow(&["log", "pipeline.yaml", "say", "--set", "word=bye"]);
    not_run.expect_code(1).expect_stderr(&["error: say has no log here"]);
}

#[test]
fn every_builtin_stage_is_described_with_a_doc_for_every_param_and_port() {
    let project = Project::new();
    let list = project.pru_flow(&["stages"]);
    list.expect_code(0);
    assert_eq!(list.stdout.lines().count(), pru_flow_stages::BUILTINS.len());
    for def in pru_flow_stages::BUILTINS {
        let shown = project.pru_flow(&["stages", def.name]);
        shown.expect_code(0);
        assert!(shown.stdout.starts_with(def.name), "{}", shown.stdout);
        let lines: Vec<&str> = shown.stdout.lines().collect();
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut params = 0;
        let body = lines.iter().skip_while(|line| **line != "Params (with:)").skip(1);
        let body: Vec<&&str> = body.take_while(|line| !line.is_empty()).collect();
        for pair in body.windows(2) {
            let is_param = indent(pair[0]) % 4 == 2 && pair[0].contains(": ") && indent(pair[1]) == indent(pair[0]) + 4;
            params += usize::from(is_param);
        }
        let schema = Value::from((def.schema)());
        let declared = count_fields(&schema);
        assert!(params >= declared, "{}: {params} of {declared} params have a doc\n{}", def.name, shown.stdout);
        for name in def.inputs.iter().map(|port| port.name).chain(def.outputs.iter().map(|port| port.name)) {
            assert!(shown.stdout.contains(&format!("\n  {name}")), "{}: {name}", def.name);
        }
        assert!(!shown.stdout.contains("any value"), "{}: a param without a type\n{}", def.name, shown.stdout);
    }
}

/// Fields of a schema and of all mappings below it, as `pru-flow stages` shows them.
fn count_fields(schema: &Value) -> usize {
    let fields = pru_flow::params::fields_of(schema);
    fields.into_iter().flatten().map(|(_, field)| 1 + count_fields(field)).sum()
}

#[test]
fn completions_and_the_man_page_are_printed() {
    let project = Project::new();
    for (shell, part) in [("bash", "complete"), ("zsh", "#compdef pru-flow"), ("fish", "complete -c pru-flow")] {
        let script = project.pru_flow(&["completions", shell]);
        assert!(script.expect_code(0).stdout.contains(part), "{shell}");
        assert!(script.stdout.contains("explain"), "{shell}");
        assert_eq!(script.stderr, "");
    }
    project.pru_flow(&["completions", "tcsh"]).expect_code(2);
    let page = project.pru_flow(&["man"]);
    assert!(page.expect_code(0).stdout.contains(".TH pru-flow 1"), "{}", page.stdout);
}

#[test]
fn doctor_without_a_worker_says_what_to_do_and_leaves_nothing() {
    let project = Project::new();
    let before = files(&project.root());
    let mut command = project.command(&["doctor"]);
    command.env("PRU_FLOW_WORKER", project.path("no-worker"));
    let checked = Output::of(command);
    checked.expect_code(1);
    for part in ["pru-flow ", "cores", "store", "the first run makes it", "worker     PROBLEM", "no-worker"] {
        assert!(checked.stdout.contains(part), "`{part}`: {}", checked.stdout);
    }
    assert_eq!(files(&project.root()), before);
    // Beside a binary that stands alone, too.
    let alone = project.path("bin/pru-flow");
    std::fs::create_dir_all(project.path("bin")).expect("the folder is writable");
    // By a process of its own: were it written here, a test that forks meanwhile would hold it open for writing, and a
    // file that is being written cannot be run.
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_pru-flow")).arg(&alone).status();
    assert!(copied.is_ok_and(|status| status.success()), "the binary can be copied");
    let mut command = std::process::Command::new(&alone);
    command.arg("doctor").current_dir(project.root()).env_clear();
    let checked = Output::of(command);
    checked.expect_code(1);
    assert!(checked.stdout.contains("cargo xtask build"), "{}", checked.stdout);
}

#[test]
fn run_json_writes_nothing_but_events_to_stdout() {
    let project = Project::with_pipeline(PIPELINE);
    let ran = project.pru_flow(&["run", "pipeline.yaml", "--json", "-v"]);
    let events = ran.expect_code(0).events();
    assert!(events.iter().all(|event| event["schema"] == 1 && event["event"].is_string()), "{}", ran.stdout);
    assert_eq!(events[0]["event"], "run_started");
    assert_eq!(events[events.len() - 1]["event"], "run_finished");
    let finished = ran.finished();
    assert_eq!((&finished["executed"], &finished["cached"]), (&Value::from(4), &Value::from(0)));
    assert!(finished["wall_ms"].is_u64() && finished["failed"] == 0 && finished["skipped"] == 0);
    for name in ["say", "copy", "glyphs[seed=1]", "glyphs[seed=2]"] {
        let of = |event: &str| events.iter().filter(|e| e["event"] == event && e["node"] == name).count();
        assert_eq!((of("node_started"), of("node_finished")), (1, 1), "{name}");
    }
    let again = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
    assert_eq!(again.finished()["cached"], 4);
    assert!(again.outcomes().iter().all(|(_, outcome)| outcome == "cached"));
    // The same events stay on disk.
    let runs: Vec<_> = std::fs::read_dir(project.path(".pru-flow/runs")).expect("runs").collect();
    assert_eq!(runs.len(), 2);
}

#[test]
fn naming_nodes_runs_them_and_what_they_need_only() {
    let project = Project::with_pipeline(PIPELINE);
    let ran = project.pru_flow(&["run", "pipeline.yaml", "copy", "--json"]);
    let outcomes = ran.expect_code(0).outcomes();
    let names: Vec<&str> = outcomes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["say", "copy"]);
    let ran = project.pru_flow(&["run", "pipeline.yaml", "glyphs[seed=2]", "--json"]);
    assert_eq!(ran.outcomes(), [("glyphs[seed=2]".to_owned(), "executed".to_owned())]);
}

#[test]
fn results_are_told_on_stdout_and_progress_on_stderr_without_escape_codes() {
    let project = Project::with_pipeline(PIPELINE);
    for colour in [None, Some(("NO_COLOR", "1"))] {
        let mut command = project.command(&["run", "pipeline.yaml", "--set", "word=x"]);
        command.env_remove("NO_COLOR").envs(colour);
        let ran = Output::of(command);
        ran.expect_code(0);
        assert!(ran.stdout.contains("Outputs:"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("executed") && ran.stderr.contains("executed"), "{}", ran.stderr);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }
    let mut command = project.command(&["plan", "nowhere.yaml"]);
    command.env_remove("NO_COLOR");
    assert!(!Output::of(command).stderr.contains('\u{1b}'));
    let mut command = project.command(&["plan", "nowhere.yaml"]);
    command.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
    assert!(Output::of(command).stderr.contains('\u{1b}'), "colours on request");
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    let project = Project::with_pipeline(PIPELINE);
    project.write(
        "bad.yaml",
        format!(
            "version: 1\nname: t\nstages:\n{}",
            (0..300).map(|i| format!("  a{i}: {{usse: {}}}", "x".repeat(50))).collect::<Vec<_>>().join("\n")
        ),
    );
    for args in [
        &["stages", "unlearn/pru"][..],
        &["--help"],
        &["completions", "bash"],
        &["man"],
        &["plan", "pipeline.yaml"],
        &["plan", "pipeline.yaml", "--json"],
        &["run", "pipeline.yaml", "--json"],
        &["run", "pipeline.yaml"],
        &["log", "pipeline.yaml", "say"],
        &["get", "pipeline.yaml", "say", "--to", "-"],
        &["explain", "pipeline.yaml", "say"],
        &["plan", "bad.yaml"],
        &["doctor"],
    ] {
        let code_of = |closed_stdout: bool| {
            let mut command = project.command(args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("the binary starts");
            let mut text = String::new();
            if closed_stdout {
                drop(child.stdout.take());
                let stderr = child.stderr.take();
                stderr.expect("a pipe").read_to_string(&mut text).expect("text");
            } else {
                drop(child.stderr.take());
                let stdout = child.stdout.take();
                stdout.expect("a pipe").read_to_string(&mut text).expect("text");
            }
            (child.wait().expect("it ends").code(), text)
        };
        for closed_stdout in [true, false] {
            let (code, text) = code_of(closed_stdout);
            assert!(matches!(code, Some(0..=2)), "{args:?}: {code:?} {text}");
            assert!(!text.contains("panicked"), "{args:?}: {text}");
        }
    }
}

#[test]
fn the_store_can_lie_elsewhere() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "--store", "elsewhere"]).expect_code(0);
    assert!(project.path("elsewhere").is_dir() && !project.path(".pru-flow").exists());
    let mut command = project.command(&["run", "pipeline.yaml", "--json"]);
    command.env("PRU_FLOW_STORE", project.path("elsewhere"));
    assert_eq!(Output::of(command).finished()["cached"], 4);
}

#[test]
fn quickstart_plans_without_any_file() {
    let project = Project::new();
    let plan = project.pru_flow(&["plan", "quickstart"]);
    assert!(plan.expect_code(0).stdout.contains("relearn[method=pru"), "{}", plan.stdout);
}
