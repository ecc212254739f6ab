//! Params that are results of other stages: `${stages.tune.outputs.settings.lr}`. What a plan knows of them, what
//! enters the key, which cell's result is taken, and what is said when something does not fit.

mod hermetic;

use hermetic::refusal::{problems, refused, refused_with};
use hermetic::{Output, Project};
use serde_json::Value;

/// A stage that writes its settings for each of two data sets, and two that read them.
const PIPELINE: &str = r#"version: 1
name: tuned
params: {fine: 0.25, coarse: 0.5, noise: "${stages.tune.outputs.settings.noise}", part: noise}
stages:
  tune:
    command: "echo '{\"noise\": '${params.${matrix.set}}', \"deep\": {\"train\": [20, 30]}}' > ${outputs.settings}"
    outputs: {settings: {name: settings.json}}
    matrix: {set: [fine, coarse]}
  made:
    uses: data/glyphs
    with: {train: 20, test: 10, noise: "${params.noise}"}
    matrix: {set: [coarse, fine], seed: [1]}
  written:
    command: [sh, -c, "echo $0 > $1", "noise ${stages.tune[set=fine].outputs.settings.${params.part}}", "${outputs.o}"]
    outputs: {o: {name: o.txt}}
"#;

fn plan(project: &Project, more: &[&str]) -> Value {
    let output = project.pru_flow(&[&["plan", "pipeline.yaml", "--json"], more].concat());
    serde_json::from_str(&output.expect_code(0).stdout).expect("one object")
}

#[track_caller]
fn node<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let nodes = plan["nodes"].as_array().expect("a list");
    nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no {name} in {plan:#}"))
}

fn run(project: &Project, more: &[&str]) -> Output {
    project.pru_flow(&[&["run", "pipeline.yaml", "--json"], more].concat())
}

#[track_caller]
fn executed(output: &Output) -> Vec<String> {
    output.expect_code(0);
    let mut names: Vec<String> =
        output.outcomes().into_iter().filter(|(_, ended)| ended == "executed").map(|(name, _)| name).collect();
    names.sort();
    names
}

/// The key that a node of the pipeline has when the value is written into it.
fn key_with(noise: &str) -> Value {
    let text = PIPELINE.replace("\"${params.noise}\"", noise);
    node(&plan(&Project::with_pipeline(&text), &[]), "made[set=fine,seed=1]")["key"].clone()
}

#[test]
fn a_plan_waits_for_the_stage_and_knows_the_key_once_it_has_run() {
    let project = Project::with_pipeline(PIPELINE);
    let before = plan(&project, &[]);
    let made = node(&before, "made[set=coarse,seed=1]");
    assert_eq!((&made["status"], &made["key"]), (&"unknown".into(), &Value::Null));
    assert_eq!(made["why"], "waits for tune[set=coarse]");
    assert_eq!(node(&before, "written")["why"], "waits for tune[set=fine]");
    let shown = project.pru_flow(&["plan", "pipeline.yaml"]).expect_code(0).stdout.clone();
    assert!(shown.contains("unknown  made[set=fine,seed=1]"), "{shown}");

    assert_eq!(executed(&run(&project, &["tune"])), ["tune[set=coarse]", "tune[set=fine]"]);
    let between = plan(&project, &[]);
    for name in ["made[set=coarse,seed=1]", "made[set=fine,seed=1]", "written"] {
        assert_eq!(node(&between, name)["status"], "run", "{name}");
    }
    // Only the value is in the key: the same as if it were written in the pipeline, in its own type.
    assert_eq!(node(&between, "made[set=fine,seed=1]")["key"], key_with("0.25"));
    assert_eq!(node(&between, "made[set=coarse,seed=1]")["key"], key_with("0.5"));

    assert_eq!(executed(&run(&project, &[])).len(), 3);
    let after = plan(&project, &[]);
    for name in ["made[set=coarse,seed=1]", "made[set=fine,seed=1]", "written"] {
        assert_eq!(node(&after, name)["status"], "cached", "{name}");
        assert_eq!(node(&after, name)["key"], node(&between, name)["key"], "{name}");
    }
    assert_eq!(executed(&run(&project, &[])), Vec::<String>::new());
    assert_eq!(project.pru_flow(&["get", "pipeline.yaml", "written", "--to", "-"]).stdout, "noise 0.25\n");
}

#[test]
fn a_run_from_nothing_gives_what_a_run_in_steps_gives() {
    let project = Project::with_pipeline(PIPELINE);
    assert_eq!(executed(&run(&project, &["-j3"])).len(), 5);
    assert_eq!(node(&plan(&project, &[]), "made[set=fine,seed=1]")["key"], key_with("0.25"));
    // A node alone brings the stage that it waits for, and of that the one cell.
    let project = Project::with_pipeline(PIPELINE);
    assert_eq!(executed(&run(&project, &["made[set=fine]"])), ["made[set=fine,seed=1]", "tune[set=fine]"]);
}

#[test]
fn another_value_runs_what_reads_it_and_the_same_value_runs_nothing() {
    let project = Project::with_pipeline(PIPELINE);
    run(&project, &[]).expect_code(0);
    let other = run(&project, &["--set", "fine=0.125"]);
    assert_eq!(executed(&other), ["made[set=fine,seed=1]", "tune[set=fine]", "written"]);
    assert_eq!(
        project.pru_flow(&["get", "pipeline.yaml", "written", "--to", "-", "--set", "fine=0.125"]).stdout,
        "noise 0.125\n"
    );
    assert_eq!(executed(&run(&project, &[])), Vec::<String>::new(), "and the way back is a hit");
    // The stage runs anew and comes to the same: its readers are left alone.
    project.write("pipeline.yaml", PIPELINE.replace("command: \"echo", "command: \": anew; echo"));
    assert_eq!(executed(&run(&project, &[])), ["tune[set=coarse]", "tune[set=fine]"]);
    // A number that is written differently is the same value.
    project.write("pipeline.yaml", PIPELINE.replace("'${params.${matrix.set}}'", "'${params.${matrix.set}}e0'"));
    assert_eq!(executed(&run(&project, &[])), ["tune[set=coarse]", "tune[set=fine]"]);
}

#[test]
fn a_lost_output_that_holds_a_value_is_made_again() {
    // Too long to lie in the record.
    let project =
        Project::with_pipeline(&PIPELINE.replace("echo '{", "(cat long.txt; echo '{").replace("}}' > ", "}}') > "));
    project.write("long.txt", " ".repeat(5000));
    run(&project, &[]).expect_code(0);
    for folder in std::fs::read_dir(project.path(".pru-flow/blobs")).expect("the store is there").flatten() {
        std::fs::remove_dir_all(folder.path()).expect("it is ours");
    }
    let planned = plan(&project, &["--set", "part=deep.train.1"]);
    let why = node(&planned, "written")["why"].as_str().expect("a reason").to_owned();
    assert!(why.contains("waits for tune[set=fine], whose stored output is missing"), "{why}");
    let again = run(&project, &["written", "--set", "part=deep.train.1"]);
    assert_eq!(executed(&again), ["tune[set=fine]", "written"]);
    assert_eq!(
        project.pru_flow(&["get", "pipeline.yaml", "written", "--to", "-", "--set", "part=deep.train.1"]).stdout,
        "noise 30\n"
    );
}

#[test]
fn explain_shows_the_value_and_where_it_came_from() {
    let project = Project::with_pipeline(PIPELINE);
    let explain = |more: &[&str]| {
        let output = project.pru_flow(&[&["explain", "pipeline.yaml", "made[set=fine]"], more].concat());
        output.expect_code(0).stdout.clone()
    };
    assert!(
        explain(&[]).contains("made[set=fine,seed=1]  unknown: waits for tune[set=fine]\n  tune[set=fine]  would run")
    );
    run(&project, &[]).expect_code(0);
    let shown = explain(&[]);
    assert!(
        shown.contains("  ${stages.tune.outputs.settings.noise} is 0.25, from settings of tune[set=fine]\n"),
        "{shown}"
    );
    let object: Value = serde_json::from_str(&explain(&["--json"])).expect("one object");
    assert_eq!(
        object["chain"][0]["values"],
        serde_json::json!([{"reference": "stages.tune.outputs.settings.noise", "value": 0.25, "node": "tune[set=fine]", "output": "settings"}])
    );
    // What a change of the tuned value changes is named by the param.
    run(&project, &["tune", "--set", "fine=0.75"]).expect_code(0);
    let changed = explain(&["--set", "fine=0.75"]);
    assert!(changed.contains("params.noise") && changed.contains("0.25 -> 0.75"), "{changed}");
}

#[test]
fn a_plain_value_on_the_command_line_takes_the_place_of_the_result() {
    let project = Project::with_pipeline(PIPELINE);
    let planned = plan(&project, &["--set", "noise=0.25"]);
    assert_eq!(node(&planned, "made[set=fine,seed=1]")["key"], key_with("0.25"));
    assert_eq!(executed(&run(&project, &["made[set=fine]", "--set", "noise=0.25"])), ["made[set=fine,seed=1]"]);
    // And another result the place of a value.
    let text = PIPELINE.replace("\"${stages.tune.outputs.settings.noise}\"", "0.1");
    let project = Project::with_pipeline(&text);
    let planned = plan(&project, &["--set", "noise=${stages.tune.outputs.settings.noise}"]);
    assert_eq!(node(&planned, "made[set=fine,seed=1]")["why"], "waits for tune[set=fine]");
}

#[test]
fn a_value_can_stand_deep_in_params_and_decide_what_a_node_draws_on_and_reads() {
    let project = Project::with_pipeline(
        r#"version: 1
name: deep
params: {all: {contrast: ["${stages.say.outputs.it.low}", 0.75]}}
stages:
  say:
    command: "echo '{\"low\": 0.5, \"file\": \"set.bin\", \"n\": 30, \"what\": \"a b'\\''c $(id)\"}' > ${outputs.it}"
    outputs: {it: {name: it.txt}}
  made:
    uses: data/glyphs
    with: {train: "${stages.say.outputs.it.n}", test: 10, contrast: "${params.all.contrast}"}
  read:
    uses: data/import
    with: {path: "${stages.say.outputs.it.file}", test_fraction: 0.5}
  shell:
    command: "echo ${stages.say.outputs.it.what} > ${outputs.o}"
    outputs: [o]
"#,
    );
    let output = run(&project, &["made", "shell"]);
    output.expect_code(0);
    assert_eq!(project.pru_flow(&["get", "pipeline.yaml", "shell", "--to", "-"]).stdout, "a b'c $(id)\n");
    let planned = plan(&project, &[]);
    assert_eq!(node(&planned, "made")["status"], "cached");
    // A path starts at the root, and its file is looked for as soon as its name is known.
    let why = node(&planned, "read")["why"].as_str().expect("a reason").to_owned();
    assert!(why.contains("project/set.bin is missing"), "{why}");
    let failed = run(&project, &["read"]);
    failed.expect_code(1);
    assert!(failed.stdout.contains("set.bin is missing"), "{}", failed.stdout);
}

#[test]
fn what_a_reference_cannot_mean_is_told_with_what_to_type() {
    let with = |value: &str| {
        format!(
            "version: 1\nname: t\nstages:\n  tune: {{command: \"true\", outputs: {{settings: {{name: s.json}}}}, matrix: {{set: [a, b]}}}}\n  \
             g: {{uses: data/glyphs}}\n  \
             use: {{uses: data/glyphs, with: {{noise: ¦\"{value}\"}}, matrix: {{set: [a, b], k: [1]}}}}\n"
        )
    };
    refused(&with("${stages.tun.outputs.settings.lr}"), &[("no stage `tun`", "did you mean `tune`?")]);
    refused(
        &with("${stages.tune.outputs.setting.lr}"),
        &[("`tune` has no output `setting`", "did you mean `settings`?")],
    );
    refused(
        &with("${stages.tune.settings.lr}"),
        &[("names no output of a stage", "${stages.STAGE.outputs.OUTPUT.FIELD}")],
    );
    refused(&with("${stages.tune.outputs.settings.}"), &[("a name is missing", "${stages.STAGE.outputs")]);
    refused(
        &with("${stages.g.outputs.train.x}"),
        &[("the output `train` of `g` is no JSON: it is `train.safetensors`", "JSON outputs: `facts`")],
    );
    refused_with(
        &with("${stages.tune[set=c].outputs.settings.lr}"),
        &["use"],
        &[("no cell of `tune` fits `use[set=a,k=1]` (and 1 more cells)", "there are tune[set=a], tune[set=b]")],
    );
    refused(
        &with("${stages.tune[*].outputs.settings.lr}"),
        &[("one cell of `tune` is needed here, 2 fit (and 1 more cells)", "give set: `tune[set=...]`")],
    );
    refused(
        &with("${stages.tune[st=a].outputs.settings.lr}"),
        &[("`tune` has no matrix axis `st`", "did you mean `set`?")],
    );
    refused(
        &with("${params.${stages.tune.outputs.settings.lr}}"),
        &[("is known only when that stage has run", "under `with:` and in `command:`")],
    );
    refused(
        &with("${stages.use.outputs.train.x}"),
        &[("the output `train` of `use` is no JSON", "JSON outputs: `facts`")],
    );
}

#[test]
fn a_result_stands_where_it_can_be_waited_for_and_nowhere_else() {
    let result = "\"${stages.tune.outputs.s.x}\"";
    let tune = "  tune: {command: \"true\", outputs: {s: {name: s.json}}}\n";
    for field in [
        "uses: data/glyphs, matrix: {n: ¦R}",
        "uses: data/glyphs, matrix: {n: [¦R]}",
        "uses: data/glyphs, resources: {cpus: ¦R}",
        "uses: data/split, with: {seed: 1}, inputs: {data: ¦R}",
        "command: \"true\", outputs: {o: ¦R}",
        "command: \"true\", outputs: [o], code: ¦R",
    ] {
        let field = field.replace('R', result);
        let text = format!("version: 1\nname: t\nstages:\n{tune}  it: {{{field}}}\n");
        let told = [("`${stages.tune.outputs.s.x}` is known only when that stage has run", "under `with:`")];
        refused(&text, &told);
    }
    // By way of a param it is told where it is used, and where it was written.
    let text = format!(
        "version: 1\nname: t\nparams: {{n: {result}}}\nstages:\n{tune}  it: {{uses: data/glyphs, matrix: {{n: ¦\"${{params.n}}\"}}}}\n"
    );
    let told = refused(&text, &[("is known only when that stage has run", "under `with:`")]);
    assert!(told.stderr.contains("its value") && told.stderr.contains("::: pipeline.yaml:3:13"), "{}", told.stderr);
    refused_with(
        &text.replace('¦', ""),
        &["--set", "n=${stages.tune.outputs.s.y}"],
        &[("outputs.s.y", "under `with:`")],
    );
}

#[test]
fn stages_that_wait_for_each_other_are_told_as_a_cycle() {
    let text = "version: 1\nname: t\nstages:\n  \
        ¦a: {command: \"echo ${stages.b.outputs.o.x} > ${outputs.o}\", outputs: [o]}\n  \
        b: {command: \"cat ${inputs.a} > ${outputs.o}\", inputs: {a: a.o}, outputs: [o]}\n  \
        ¦c: {command: \"echo ${stages.c.outputs.o} > ${outputs.o}\", outputs: [o]}\n";
    let told = refused(
        text,
        &[
            ("the stages form a cycle: a -> b -> a", "remove one of these inputs"),
            ("the stages form a cycle: c -> c", "remove one of these inputs"),
        ],
    );
    assert!(told.stderr.contains("`a` reads `b`") && told.stderr.contains("`b` reads `a`"), "{}", told.stderr);
    let text = "version: 1\nname: t\nparams: {p: \"${stages.g.outputs.x.${params.p}}\"}\nstages:\n  g: {uses: data/glyphs, with: {train: ¦\"${params.p}\"}}\n";
    refused(text, &[("params name each other in a circle", "give one of them a plain value")]);
}

#[test]
fn types_that_are_known_are_checked_before_the_value_is() {
    let text = "version: 1\nname: t\nstages:\n  tune: {command: \"true\", outputs: {s: {name: s.json}}}\n  \
        g: {uses: data/glyphs, with: {noise: \"${stages.tune.outputs.s.x}\", ¦tain: 3, seed: ¦x}}\n";
    refused(text, &[("unknown param `tain`", "did you mean `train`?"), ("`seed` takes a whole number", "`seed`")]);
}

/// A run in which the value is bad: what is said of the one node, with the rest going on.
#[track_caller]
fn bad_value(json: &str, reference: &str, place: &str, message: &str, help: &str) {
    let text = format!(
        "version: 1\nname: t\nstages:\n  tune: {{command: \"cat bad.txt > ${{outputs.s}}\", outputs: [s]}}\n  \
         use:\n    uses: data/glyphs\n    with: {{train: 20, test: 10, noise: \"${{stages.tune.outputs.{reference}}}\"}}\n  \
         after: {{uses: data/split, with: {{seed: 1}}, inputs: {{data: use.train}}}}\n  \
         beside: {{command: \"echo > ${{outputs.o}}\", outputs: [o]}}\n"
    );
    let project = Project::with_pipeline(&text);
    project.write("bad.txt", json);
    let output = run(&project, &[]);
    output.expect_code(1);
    let outcomes = output.outcomes();
    let of = |name: &str| outcomes.iter().find(|(node, _)| node == name).map(|(_, ended)| ended.as_str());
    assert_eq!((of("use"), of("after"), of("beside")), (Some("failed"), Some("skipped"), Some("executed")), "{json}");
    let events = output.events();
    let failed = events.iter().find(|e| e["event"] == "node_finished" && e["node"] == "use").expect("it ended");
    let reason = failed["reason"].as_str().expect("a reason");
    assert!(reason.starts_with(&format!("pipeline.yaml:{place}: ")), "{reason}");
    assert!(reason.contains(message), "{reason} does not say {message}");
    // For people it has its line and caret, as before a run.
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(1).expect_stderr(&[&format!("--> pipeline.yaml:{place}"), "^", "failed    use: "]);
    let told = problems(&output).concat().replace("| ", "");
    assert!(told.contains(message) && told.contains(help), "{}", output.stderr);
    // A plan says so before, and explain shows it.
    let planned = plan(&project, &[]);
    assert_eq!(node(&planned, "use")["status"], "fails");
    assert_eq!(node(&planned, "after")["status"], "unknown");
    let shown = project.pru_flow(&["plan", "pipeline.yaml"]).expect_code(0).stdout.clone();
    assert!(shown.contains("fails    use") && shown.contains("1 would fail"), "{shown}");
    let explained = project.pru_flow(&["explain", "pipeline.yaml", "after"]);
    let explained = explained.expect_code(0).stdout.clone();
    assert!(explained.contains(&format!("--> pipeline.yaml:{place}")), "{explained}");
    assert!(!explained.contains('\u{1b}'), "escape codes without a terminal: {explained:?}");
}

#[test]
fn a_value_that_does_not_fit_fails_its_node_at_its_place_and_the_rest_goes_on() {
    let at = "7:40";
    bad_value(r#"{"x": "high"}"#, "s.x", at, "`noise` takes a number, not the text `high`", "`noise` (number)");
    bad_value(r#"{"x": -3}"#, "s.x", at, "`noise`", "Standard deviation");
    bad_value(r#"{"lr": 1, "mean": 2}"#, "s.rl", at, "the output `s` of tune has no `rl`", "did you mean `lr`?");
    bad_value(r#"{"x": {"y": 1}}"#, "s.x", at, "`x` in the output `s` of tune is a mapping, not a single value", "`y`");
    bad_value(r#"{"x": null}"#, "s.x", at, "is nothing (`null`), not a single value", "look at it");
    bad_value(r#"{"x": [1]}"#, "s.x.1", at, "has no `x.1`", "a list of 1 there, counted from 0");
    bad_value("not json", "s.x", at, "the output `s` of tune is no JSON", "pru-flow get PIPELINE");
    bad_value("", "s", at, "is no JSON", "pru-flow get PIPELINE");
}

#[test]
fn what_a_stage_says_of_its_inputs_is_held_against_params_that_came_late() {
    let project = Project::with_pipeline(
        r#"version: 1
name: late
stages:
  say: {command: "echo '{\"root\": \"data\"}' > ${outputs.it}", outputs: {it: {name: it.json}}}
  files: {command: "mkdir ${outputs.files}; echo > ${outputs.files}/x", outputs: [files]}
  m:
    uses: data/mnist
    with: {root: "${stages.say.outputs.it.root}"}
    inputs: {files: files.files}
"#,
    );
    let output = run(&project, &["m"]);
    output.expect_code(1);
    let failed = output.events().into_iter().find(|e| e["node"] == "m" && e["outcome"] == "failed").expect("it failed");
    let reason = failed["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("pipeline.yaml:8:18: `root`"), "{reason}");
}

/// Settings tried on two data sets, the rule applied to each, and what is run with the choice.
const GRID: &str = r#"version: 1
name: grid
params: {rates: [1e-4, 0.25, 0.5]}
stages:
  measured:
    command: "grep '^${matrix.set} ${matrix.lr} ' measured.txt | awk '{print \"{\\\"forget\\\": \" $3 \", \\\"retain\\\": \" $4 \"}\"}' > ${outputs.metrics}"
    outputs: {metrics: {name: metrics.json}}
    matrix: {set: [a, b], lr: "${params.rates}"}
  original:
    command: "echo '{\"forget\": 0.98, \"retain\": 0.9}' > ${outputs.metrics}"
    outputs: {metrics: {name: metrics.json}}
  tune:
    uses: tune/grid
    with: {axes: [lr]}
    inputs: {results: measured.metrics, original: original.metrics}
    matrix: {set: [a, b]}
  final:
    uses: data/glyphs
    with: {train: 20, test: 10, noise: "${stages.tune.outputs.settings.lr}"}
    matrix: {set: [b, a]}
"#;

#[test]
fn the_rule_is_applied_to_ordinary_nodes_and_feeds_the_rest() {
    let measured = "a 0.0001 0.5 0.9\na 0.25 0.001 0.8\na 0.5 0 0.1\nb 0.0001 0.005 0.9\nb 0.25 0 0.8\nb 0.5 0 0.1\n";
    let project = Project::with_pipeline(GRID);
    project.write("measured.txt", measured);
    let first = run(&project, &[]);
    assert_eq!(executed(&first).len(), 6 + 1 + 2 + 2);
    let noise = |set: &str| {
        let explained = project.pru_flow(&["explain", "pipeline.yaml", &format!("final[set={set}]"), "--json"]);
        let object: Value = serde_json::from_str(&explained.expect_code(0).stdout).expect("one object");
        object["chain"][0]["values"][0]["value"].clone()
    };
    assert_eq!((noise("a"), noise("b")), (0.25.into(), 0.0001.into()));
    let tried = project.pru_flow(&["get", "pipeline.yaml", "tune[set=a]:tried", "--to", "-"]).stdout;
    assert!(tried.contains("|   0.25 |   0.10 |  80.00 | chosen |"), "{tried}");
    // Measured anew, another one is chosen for one data set: only what reads that runs again.
    project.write("measured.txt", measured.replace("b 0.5 0 0.1", "b 0.5 0 0.95"));
    let again: Vec<String> =
        executed(&run(&project, &[])).into_iter().filter(|name| !name.starts_with("measured")).collect();
    assert_eq!(again, ["final[set=b]", "tune[set=b]"]);
    assert_eq!((noise("a"), noise("b")), (0.25.into(), 0.5.into()));
    // A setting more, which is not chosen: the rule is applied anew, and nothing else runs.
    project.write("measured.txt", measured.replace("b 0.5 0 0.1", "b 0.5 0 0.95") + "a 2 0 0.2\nb 2 0 0.2\n");
    let more = executed(&run(&project, &["--set", "rates=[1e-4, 0.25, 0.5, 2]"]));
    assert!(!more.iter().any(|name| name.starts_with("final")) && more.contains(&"tune[set=a]".to_owned()), "{more:?}");
}
