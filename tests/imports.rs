//! `import:`: stages and params of other files under a name, which run only when needed and hit the records that the
//! files themselves made.

mod hermetic;

use hermetic::refusal::{assert_refused, problems};
use hermetic::{Output, Project};
use serde_json::Value;

const PAPER: &str = r#"version: 1
name: paper
params: {seeds: [1, 2], size: 20, noise: {fine: 0.25}, axis: seed, picked: "${stages.tune.outputs.settings.${params.axis}}"}
stages:
  data:
    uses: data/glyphs
    with: {train: "${params.size}", test: 10, noise: "${params.noise.fine}", seed: "${matrix.seed}"}
    matrix: {seed: "${params.seeds}"}
  split:
    uses: data/split
    with: {seed: "${matrix.seed}"}
    inputs: {data: data.train}
    matrix: {seed: "${params.seeds}"}
  tune:
    command: "echo '{\"seed\": 5}' > ${outputs.settings}; cat ${inputs.all} > ${outputs.all}"
    inputs: {all: "data[*].train"}
    outputs: {settings: {name: settings.json}, all: {name: all.bin}}
  picked:
    uses: data/glyphs
    with: {train: 20, test: 10, seed: "${params.picked}"}
  table: {command: "cat local.txt > ${outputs.o}", outputs: {o: {name: table.txt}}}
"#;

const BEYOND: &str = r#"version: 1
name: beyond
import: {paper: paper.yaml}
params: {n: 3}
stages:
  again:
    uses: data/split
    with: {seed: "${matrix.seed}", request_fraction: 0.5}
    inputs: {data: paper.data.train}
    matrix: {seed: "${params.paper.seeds}"}
  count: {command: "cat ${inputs.x} | wc -c > ${outputs.o}", inputs: {x: "paper.data[seed=*].test"}, outputs: [o]}
"#;

fn project(beyond: &str) -> Project {
    let project = Project::new();
    project.write("pipelines/paper.yaml", PAPER);
    project.write("pipelines/beyond.yaml", beyond);
    project.write("local.txt", "local\n");
    project
}

fn plan(project: &Project, pipeline: &str, more: &[&str]) -> Value {
    let output = project.pru_flow(&[&["plan", pipeline, "--json"], more].concat());
    serde_json::from_str(&output.expect_code(0).stdout).expect("one object")
}

fn names(plan: &Value) -> Vec<String> {
    let nodes = plan["nodes"].as_array().expect("a list");
    nodes.iter().map(|node| node["name"].as_str().expect("a name").to_owned()).collect()
}

#[track_caller]
fn field<'a>(plan: &'a Value, name: &str, field: &str) -> &'a Value {
    let nodes = plan["nodes"].as_array().expect("a list");
    &nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no {name} in {plan:#}"))[field]
}

fn run(project: &Project, pipeline: &str, more: &[&str]) -> Output {
    project.pru_flow(&[&["run", pipeline, "--json"], more].concat())
}

#[track_caller]
fn executed(output: &Output) -> Vec<String> {
    output.expect_code(0);
    let all = output.outcomes().into_iter();
    let mut names: Vec<String> = all.filter(|(_, ended)| ended == "executed").map(|(name, _)| name).collect();
    names.sort();
    names
}

const PAPER_FILE: &str = "pipelines/paper.yaml";
const BEYOND_FILE: &str = "pipelines/beyond.yaml";

#[test]
fn only_what_is_needed_of_an_import_runs_and_its_keys_are_those_of_the_file_itself() {
    let project = project(BEYOND);
    let planned = plan(&project, BEYOND_FILE, &[]);
    assert_eq!(
        names(&planned),
        ["paper.data[seed=1]", "paper.data[seed=2]", "again[seed=1]", "again[seed=2]", "count"]
    );
    let direct = plan(&project, PAPER_FILE, &[]);
    for cell in ["data[seed=1]", "data[seed=2]"] {
        assert_eq!(field(&planned, &format!("paper.{cell}"), "key"), field(&direct, cell, "key"), "{cell}");
        assert!(field(&direct, cell, "key").is_string());
    }
    // What the file itself ran is a hit, and the other way round.
    assert_eq!(executed(&run(&project, PAPER_FILE, &["data[seed=1]"])), ["data[seed=1]"]);
    assert_eq!(
        executed(&run(&project, BEYOND_FILE, &[])),
        ["again[seed=1]", "again[seed=2]", "count", "paper.data[seed=2]"]
    );
    assert_eq!(executed(&run(&project, PAPER_FILE, &["data"])), Vec::<String>::new());
    // Anything of it can be asked for by name.
    assert_eq!(
        executed(&run(&project, BEYOND_FILE, &["paper.split[seed=2]", "paper.table"])),
        ["paper.split[seed=2]", "paper.table"]
    );
    assert_eq!(project.read(".pru-flow/results/beyond/paper.table/table.txt"), "local\n", "paths start at the root");
}

#[test]
fn every_node_of_an_import_has_the_key_that_it_has_without() {
    let project = project(BEYOND);
    run(&project, PAPER_FILE, &[]).expect_code(0);
    let direct = plan(&project, PAPER_FILE, &[]);
    let all = ["paper.data", "paper.split", "paper.tune", "paper.picked", "paper.table"];
    let again = run(&project, BEYOND_FILE, &all);
    assert_eq!(executed(&again), Vec::<String>::new());
    assert_eq!(again.finished()["cached"], 7);
    let events = again.events();
    for name in names(&direct) {
        let ended = events.iter().find(|e| e["event"] == "node_finished" && e["node"] == format!("paper.{name}"));
        assert_eq!(ended.expect("it is in the run")["key"], *field(&direct, &name, "key"), "{name}");
    }
}

#[test]
fn get_log_explain_and_selectors_take_the_names() {
    let project = project(BEYOND);
    run(&project, BEYOND_FILE, &["paper.tune"]).expect_code(0);
    let printed = project.pru_flow(&["get", BEYOND_FILE, "paper.tune:settings", "--to", "-"]);
    assert_eq!(printed.expect_code(0).stdout, "{\"seed\": 5}\n");
    project.pru_flow(&["log", BEYOND_FILE, "paper.data[seed=1]"]).expect_code(0);
    let explained = project.pru_flow(&["explain", BEYOND_FILE, "paper.picked"]).expect_code(0).stdout.clone();
    assert!(explained.contains("paper.picked  would run"), "{explained}");
    assert!(
        explained.contains("${stages.tune.outputs.settings.seed} is 5, from settings of paper.tune"),
        "{explained}"
    );
    let output = project.pru_flow(&["run", BEYOND_FILE, "paper.spilt"]);
    output.expect_code(2).expect_stderr(&["no stage `paper.spilt`", "did you mean `paper.split`?"]);
}

#[test]
fn params_come_from_the_file_then_from_the_importer_then_from_the_command_line() {
    let import = "import: {paper: {file: paper.yaml, params: {seeds: \"${params.mine}\", noise: {fine: 0.5}}}}";
    let text = BEYOND.replace("import: {paper: paper.yaml}", import).replace("{n: 3}", "{n: 3, mine: [4, 5]}");
    let project = project(&text);
    let planned = plan(&project, BEYOND_FILE, &[]);
    assert_eq!(
        names(&planned),
        ["paper.data[seed=4]", "paper.data[seed=5]", "again[seed=4]", "again[seed=5]", "count"]
    );
    let same = ["--set", "seeds=[4, 5]", "--set", "noise.fine=0.5"];
    assert_eq!(
        field(&planned, "paper.data[seed=4]", "key"),
        field(&plan(&project, PAPER_FILE, &same), "data[seed=4]", "key")
    );
    assert_eq!(names(&plan(&project, BEYOND_FILE, &["--set", "mine=[6]"]))[0], "paper.data[seed=6]");
    let set = ["--set", "mine=[6]", "--set", "paper.seeds=[7]", "--set", "paper.size=30"];
    let set = plan(&project, BEYOND_FILE, &set);
    assert_eq!(names(&set), ["paper.data[seed=7]", "again[seed=7]", "count"]);
    let direct = ["--set", "seeds=[7]", "--set", "noise.fine=0.5", "--set", "size=30"];
    assert_eq!(
        field(&set, "paper.data[seed=7]", "key"),
        field(&plan(&project, PAPER_FILE, &direct), "data[seed=7]", "key")
    );
}

#[test]
fn results_of_an_import_can_be_waited_for_by_name_and_by_its_params() {
    let more = "  named: {uses: data/glyphs, with: {train: 20, test: 10, seed: \"${stages.paper.tune.outputs.settings.seed}\"}}
  by_param: {uses: data/glyphs, with: {train: 20, test: 10, seed: \"${params.paper.picked}\"}}
  plain: {uses: data/glyphs, with: {train: 20, test: 10, seed: 5}}\n";
    let project = project(&format!("{BEYOND}{more}"));
    let planned = plan(&project, BEYOND_FILE, &[]);
    for name in ["named", "by_param"] {
        assert_eq!(field(&planned, name, "why"), "waits for paper.tune");
    }
    assert!(!names(&planned).contains(&"paper.picked".to_owned()));
    run(&project, BEYOND_FILE, &["paper.tune"]).expect_code(0);
    let planned = plan(&project, BEYOND_FILE, &[]);
    for name in ["named", "by_param"] {
        assert_eq!(field(&planned, name, "key"), field(&planned, "plain", "key"), "{name}");
    }
    // A param that decides the name decides it from outside too.
    let other = plan(&project, BEYOND_FILE, &["--set", "paper.axis=class"]);
    assert_eq!(field(&other, "by_param", "status"), "fails");
    assert_eq!(field(&other, "by_param", "why"), "the output `settings` of paper.tune has no `class`");
}

#[test]
fn imports_of_imports_have_names_of_two_parts_and_start_in_their_own_folder() {
    let project = project(BEYOND);
    project.write(
        "more/deep.yaml",
        "version: 1\nname: deep\nimport: {beyond: {file: ../pipelines/beyond.yaml, params: {paper: {seeds: [2]}}}}\nstages:\n  \
         it: {uses: data/split, with: {seed: 1}, inputs: {data: \"beyond.paper.data[seed=2].train\"}}\n  \
         that: {uses: data/split, with: {seed: 1}, inputs: {data: beyond.paper.picked.train}}\n",
    );
    let refused = project.pru_flow(&["plan", "more/deep.yaml"]);
    assert_refused(&project, &refused);
    refused.expect_stderr(&["`beyond` has no param `paper`", "--> more/deep.yaml:3:"]);
    let text = project.read("more/deep.yaml").replace(", params: {paper: {seeds: [2]}}", "");
    project.write("more/deep.yaml", text);
    let set = ["--set", "beyond.paper.seeds=[2]"];
    let planned = plan(&project, "more/deep.yaml", &set);
    assert_eq!(
        names(&planned),
        ["beyond.paper.data[seed=2]", "beyond.paper.tune", "beyond.paper.picked", "it", "that"]
    );
    let direct = plan(&project, PAPER_FILE, &["--set", "seeds=[2]"]);
    assert_eq!(field(&planned, "beyond.paper.data[seed=2]", "key"), field(&direct, "data[seed=2]", "key"));
    assert_eq!(executed(&run(&project, "more/deep.yaml", &set)).len(), 5);
}

/// The problems of a project whose main file is `main`, each on one line.
#[track_caller]
fn told(files: &[(&str, &str)], arguments: &[&str], expected: &[&[&str]]) {
    let project = project(BEYOND);
    for (name, text) in files {
        project.write(name, format!("version: 1\nname: t\n{text}"));
    }
    let output = project.pru_flow(&[&["plan", files[0].0], arguments].concat());
    assert_refused(&project, &output);
    let found = problems(&output);
    assert_eq!(found.len(), expected.len(), "{}", output.stderr);
    for (parts, found) in expected.iter().zip(&found) {
        for part in *parts {
            assert!(found.contains(part), "`{part}` is not in:\n{found}");
        }
    }
}

#[test]
fn what_is_wrong_in_an_imported_file_is_told_with_its_name_and_line() {
    let bad = "params: {size: 3}\nstages:\n  a: {uses: data/glyphs, with: {train: x, nois: 1}}\n  b: {uses: data/split, with: {seed: 1}, inputs: {data: aa.train}}\n";
    let main =
        "import: {bad: bad.yaml}\nstages:\n  c: {uses: data/split, with: {sed: 1}, inputs: {data: bad.a.tran}}\n";
    told(
        &[("p/main.yaml", main), ("p/bad.yaml", bad)],
        &[],
        &[
            &["unknown param `sed`", "--> p/main.yaml:5:32", "did you mean `seed`?"],
            &["`bad.a` has no output `tran`", "--> p/main.yaml:5:56", "did you mean `train`?"],
            &["`train` takes a whole number, not the text `x`", "--> p/bad.yaml:5:40"],
            &["unknown param `nois`", "--> p/bad.yaml:5:43", "did you mean `noise`?"],
            &["no stage `aa`", "--> p/bad.yaml:6:57", "did you mean `a`?"],
        ],
    );
    let project = project(
        "version: 1\nname: t\nimport: {paper: paper.yaml, latin: latin.yaml}\nstages: {a: {uses: data/glyphs}}\n",
    );
    project.write("pipelines/latin.yaml", b"version: 1\nname: caf\xe9\n");
    let output = project.pru_flow(&["plan", BEYOND_FILE]);
    output.expect_code(2).expect_stderr(&["not UTF-8", "--> pipelines/latin.yaml:2:10"]);
}

#[test]
fn an_import_that_cannot_be_read_is_told_once_and_what_reads_it_is_not() {
    let main = "import: {no: nowhere.yaml}\nstages:\n  c: {uses: data/split, with: {seed: \"${params.no.seed}\"}, inputs: {data: no.a.train}}\n";
    told(
        &[("p/main.yaml", main)],
        &[],
        &[&[
            "cannot import `nowhere.yaml`: there is no such file",
            "--> p/main.yaml:3:14",
            "the folder of this file (`p`)",
        ]],
    );
    let main = "import: {x: other.yaml}\nstages: {a: {uses: data/glyphs}}\n";
    told(
        &[("main.yaml", main), ("other.yaml", "import: {y: main.yaml}\nstages: {a: {uses: data/glyphs}}\n")],
        &[],
        &[&[
            "the files import each other in a circle: main.yaml -> other.yaml -> main.yaml",
            "--> other.yaml:3:13",
            "remove one of these imports",
        ]],
    );
    // Every file imports the next one twice.
    let files: Vec<(String, String)> = (0..8)
        .map(|i| {
            (
                format!("f{i}.yaml"),
                format!("import: {{a: f{0}.yaml, b: f{0}.yaml}}\nstages: {{a: {{uses: data/glyphs}}}}\n", i + 1),
            )
        })
        .chain([("f8.yaml".to_owned(), "stages: {a: {uses: data/glyphs}}\n".to_owned())])
        .collect();
    let project = Project::new();
    for (name, text) in &files {
        project.write(name, format!("version: 1\nname: t\n{text}"));
    }
    let output = project.pru_flow(&["plan", "f0.yaml"]);
    assert_refused(&project, &output);
    output.expect_stderr(&["more than 64 files are imported"]);
}

#[test]
fn the_shape_of_an_import_is_checked() {
    let stages = "stages: {a: {uses: data/glyphs}}\n";
    let with = |import: &str| format!("import: {import}\n{stages}");
    let one = |import: &str, parts: &[&str]| told(&[("pipelines/m.yaml", &with(import))], &[], &[parts]);
    one("paper.yaml", &["`import` is a mapping from names to files", "import: {paper: paper.yaml}"]);
    one("[paper.yaml]", &["`import` is a mapping from names to files", "import: {paper: paper.yaml}"]);
    one("{paper: 3}", &["an import names a file, not a whole number"]);
    one("{paper: {params: {size: 1}}}", &["the import `paper` has no `file`", "add `file: paper.yaml`"]);
    one(
        "{paper: {file: paper.yaml, parms: {size: 1}}}",
        &["unknown field `parms` in the import `paper`", "did you mean `params`?"],
    );
    one("{p.q: paper.yaml}", &["`p.q` is no name for a import"]);
    one("{paper: \"${params.x}.yaml\"}", &["the file of an import is named as it is"]);
    one("{a: paper.yaml}", &["`a` is an import and a stage", "give one of them another name"]);
    one("{paper: {file: paper.yaml, params: {sizes: 1}}}", &["`paper` has no param `sizes`", "did you mean `size`?"]);
    one(
        "{paper: {file: paper.yaml, params: {noise: {fin: 1}}}}",
        &["`paper` has no param `noise.fin`", "did you mean `fine`?"],
    );
    one(
        "{paper: {file: paper.yaml, params: {size: x}}}",
        &["`size` of `paper` is a whole number, and text is given", "its own value is `20`"],
    );
    one("{paper: {file: paper.yaml, params: {size: \"${params.x}\"}}}", &["unknown param `params.x`"]);
    one(
        "{paper: {file: paper.yaml, params: {size: \"${stages.a.outputs.x.y}\"}}}",
        &["is known only when that stage has run", "under `with:`"],
    );
    let clash = "params: {paper: 1}\nimport: {paper: paper.yaml}\nstages: {a: {uses: data/glyphs}}\n";
    told(&[("pipelines/m.yaml", clash)], &[], &[&["`paper` is an import and a param", "the param"]]);
    let read = "import: {paper: paper.yaml}\nstages:\n  c: {uses: data/split, with: {seed: 1}, inputs: {data: R}}\n";
    let reads = |reference: &str, parts: &[&str]| {
        told(&[("pipelines/m.yaml", &read.replace('R', reference))], &[], &[parts]);
    };
    reads("paper", &["`paper` is an import, not a stage", "as in `paper.data`"]);
    reads("paper.dat.train", &["no stage `dat`", "did you mean `data`?"]);
    reads("picked.train", &["no stage `picked`", "did you mean `paper.picked`?"]);
    reads("\"paper.data[sed=1].train\"", &["`paper.data` has no matrix axis `sed`", "did you mean `seed`?"]);
}

#[test]
fn set_reaches_into_imports_and_says_where_a_path_ends() {
    let one = |set: &str, parts: &[&str]| {
        told(
            &[("pipelines/m.yaml", "import: {paper: paper.yaml}\nstages: {a: {uses: data/glyphs}}\n")],
            &["--set", set],
            &[parts],
        );
    };
    one("paper.sizes=3", &["unknown param `paper.sizes`", "--> --set:1", "did you mean `paper.size`?"]);
    one("paper.fine=3", &["unknown param `paper.fine`", "did you mean `paper.noise.fine`?"]);
    one("paper.size.x=3", &["`params.paper.size` is a whole number: nothing is below it", "`--set paper.size=...`"]);
    one(
        "paper.size=x",
        &["`params.paper.size` is a whole number, and text was given", "its value in the file is `20`"],
    );
    one("paper={}", &["`paper` is an import", "`--set paper.PARAM=...`"]);
    one("papr.size=3", &["unknown param `papr.size`"]);
}

#[test]
fn a_value_that_does_not_fit_an_imported_node_is_told_at_its_line_in_that_file() {
    let project = project(BEYOND);
    let text = PAPER.replace("\\\"seed\\\": 5", "\\\"seed\\\": \\\"five\\\"");
    project.write(PAPER_FILE, text);
    let output = run(&project, BEYOND_FILE, &["paper.picked"]);
    output.expect_code(1);
    let events = output.events();
    let failed = events.iter().find(|e| e["node"] == "paper.picked" && e["outcome"] == "failed").expect("it failed");
    let reason = failed["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("pipelines/paper.yaml:20:39: `seed` takes a whole number"), "{reason}");
}
