//! What stands in the place of `${...}`, and what changes params from outside: expressions, `--params` and `--set`.

mod hermetic;

use hermetic::Project;
use hermetic::graphs::{HEAD, command, graph, graph_with, names, params, read_by, source};
use hermetic::refusal::{assert_refused, problems, refused, stages};
use pru_flow::command::CommandLine;

fn words(words: &[&str]) -> CommandLine {
    CommandLine::Words(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn expressions_stand_wherever_references_do() {
    let text = "\
params: {epochs: 10, base: runs, classes: [0, 3, 5], rates: {small: 0.1, large: 0.2}}
stages:
  g:
    uses: data/glyphs
    with: {train: \"${params.epochs * 100}\", noise: \"${params.rates[matrix.size] / 2}\"}
    matrix: {size: \"${params.rates | list}\"}
    resources: {cpus: \"${2 if matrix.size == 'large' else 1}\"}
  c:
    command: [echo, \"${params.base ~ '/' ~ matrix.class}\", \"e${params.epochs * 2}\", \"${params.classes[1:]}\", \"${outputs.o}\"]
    outputs: {o: \"${'odd' if matrix.class is odd else 'even'}.txt\"}
    matrix: {class: \"${params.classes | select('lt', 5) | list}\"}
  s: {command: \"echo ${params.base ~ ' x'} > ${outputs.o}\", inputs: {g: \"g[size=${'sm' ~ 'all'}].train\"}, outputs: [o]}
";
    let graph = graph(text);
    assert_eq!(names(&graph), ["g[size=small]", "g[size=large]", "c[class=0]", "c[class=3]", "s"]);
    assert_eq!(params(&graph, "g[size=large]")["train"], 1000);
    assert_eq!(params(&graph, "g[size=large]")["noise"], 0.1);
    let cpus: Vec<u32> = graph.nodes[..2].iter().map(|node| node.described.resources.cpus).collect();
    assert_eq!(cpus, [1, 2]);
    let expected = words(&["echo", "runs/3", "e20", "3", "5", "${outputs.o}"]);
    assert_eq!(command(&graph, "c[class=3]"), &expected);
    assert_eq!(graph.nodes[3].outputs[0].file_name, "odd.txt");
    assert_eq!(command(&graph, "s"), &CommandLine::Shell("echo 'runs x' > ${outputs.o}".to_owned()));
    assert_eq!(read_by(&graph, "s", "g"), ["g[size=small]"]);
    // They follow `--set`.
    let set = graph_with(text, &["epochs=3", "rates={small: 0.5, large: 0.7}"]);
    assert_eq!(params(&set, "g[size=small]")["train"], 300);
    assert_eq!(params(&set, "g[size=small]")["noise"], 0.25);
}

#[test]
fn a_wrong_expression_is_told_at_its_place_with_what_to_write() {
    refused(
        &format!(
            "params: {{lr: 0.1, base: x}}\n{}",
            stages(
                "  a: {uses: data/glyphs, with: {train: ¦\"${params.lrr * 2}\", noise: ¦\"${params.lr / 0}\"}}\n  b: {command: \
             [echo, ¦\"${params.base + 1}\", ¦\"${parms.lr * 2}\", ¦\"${params.lr *}\", ¦\"${stages.a.outputs.train.x * 2}\"], outputs: \
             {o: ¦\"${stages.a.outputs.train.x * 2}\"}}\n  c: {command: ¦\"echo ${VAR:-x}\", outputs: [o]}\n",
            )
        ),
        &[
            ("unknown param `params.lrr`", "did you mean `lr`?"),
            ("`${params.lr / 0}` has no value: division by zero", "${params.epochs * 2}"),
            ("tried to use + operator on unsupported types string and number", "`~` joins texts"),
            ("unknown name `parms`", "did you mean `params`?"),
            ("`${params.lr *}` cannot be read: unexpected end of input", "${params.epochs * 2}"),
            ("the output `train` of `a` is no JSON", "JSON outputs: `facts`"),
            ("is known only when that stage has run, and is used here before", "under `with:`"),
            ("`${VAR:-x}` cannot be read", "write `$${` for the shell's own `${`"),
        ],
    );
}

#[test]
fn a_stage_waits_for_the_results_in_an_expression_and_computes_with_them() {
    let project = Project::with_pipeline(
        "version: 1
name: t
params: {n: 3, twice: \"${stages.tune.outputs.settings.lr * 2}\"}
import: {other: other.yaml}
stages:
  tune: {command: \"echo '{\\\"lr\\\": 0.1, \\\"k\\\": 4}' > ${outputs.settings}\", outputs: {settings: {name: s.json}}}
  use: {command: \"echo ${stages.tune.outputs.settings.lr * params.n} ${params.twice} ${other.x} > ${outputs.o}\", outputs: [o]}
"
        .replace(" ${other.x}", " ${params.other.rate}")
        .as_str(),
    );
    project.write(
        "other.yaml",
        "version: 1
name: o
params: {base: 10, rate: \"${params.base + stages.t.outputs.s.lr}\"}
stages:
  t: {command: \"echo '{\\\"lr\\\": 7}' > ${outputs.s}\", outputs: {s: {name: s.json}}}
",
    );
    let planned = project.pru_flow(&["plan", "pipeline.yaml"]);
    planned.expect_code(0);
    assert!(planned.stdout.contains("waits for tune"), "{}", planned.stdout);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let printed = project.pru_flow(&["get", "pipeline.yaml", "use", "--to", "-"]);
    assert_eq!(printed.stdout, "0.30000000000000004 0.2 17\n");
}

#[test]
fn names_in_quotes_and_odd_names_need_no_special_care() {
    let graph = graph(&format!(
        "params: {{my-rate: 2, \"a b\": 5}}\nstages:\n{}",
        source("a", "{v: [\"${params.my-rate + params['a b']}\", \"${'}' ~ '{'}\"]}")
    ));
    assert_eq!(names(&graph), ["a[v=7]", "a[v=\"}{\"]"]);
}

const DECLARED: &str = "params: {epochs: 10, rate: 0.5, deep: {a: 1, b: [1, 2]}, open: {}, any: null}
stages:
  c: {command: [echo, '${params.epochs}', '${params.rate}', '${params.deep.a}', '${params.deep.b}', '${params.any}'], outputs: [o]}
";

/// What the command of `c` prints with these arguments.
#[track_caller]
fn echoed(project: &Project, args: &[&str]) -> String {
    let text = project.read("pipeline.yaml").replace("[echo, ", "[sh, -c, 'echo \"$@\" > ${outputs.o}', sh, ");
    project.write("pipeline.yaml", text);
    project.pru_flow(&[&["run", "pipeline.yaml"], args].concat()).expect_code(0);
    project.pru_flow(&[&["get", "pipeline.yaml", "c", "--to", "-"], args].concat()).stdout.trim().to_owned()
}

#[test]
fn a_file_of_params_is_merged_over_those_of_the_pipeline_in_any_of_three_forms() {
    let declared = format!("{HEAD}{}", DECLARED.replace("any: null", "any: x"));
    let project = Project::with_pipeline(&declared);
    project.write("one.yaml", "epochs: 20\ndeep: {b: [3]}\n");
    project.write("two.json", r#"{"rate": 1, "deep": {"a": 7}}"#);
    project.write("here/three.toml", "epochs = 30\n[deep]\nb = [5, 6]\n");
    project.write("empty.yaml", "# nothing\n");
    assert_eq!(echoed(&project, &[]), "10 0.5 1 1 2 x");
    assert_eq!(echoed(&project, &["--params", "one.yaml"]), "20 0.5 1 3 x");
    assert_eq!(echoed(&project, &["--params", "one.yaml", "--params", "two.json"]), "20 1 7 3 x");
    let all = ["--params", "one.yaml", "--params", "two.json", "--params", "here/three.toml", "--params", "empty.yaml"];
    assert_eq!(echoed(&project, &all), "30 1 7 5 6 x");
    // The last file wins, and `--set` over all of them, wherever it stands.
    assert_eq!(echoed(&project, &["--params", "here/three.toml", "--params", "one.yaml"]), "20 0.5 1 3 x");
    assert_eq!(echoed(&project, &["--set", "epochs=1", "--params", "one.yaml"]), "1 0.5 1 3 x");
}

#[test]
fn what_is_wrong_with_a_file_of_params_is_told_at_its_place_in_it() {
    let project = Project::with_pipeline(&format!("{HEAD}{DECLARED}"));
    project.write("a.yaml", "epoch: 1\nrate: fast\ndeep:\n  c: 1\n  a: [1]\nopen: {x: 1}\nany: y\n");
    project.write("b.toml", "epochs = 1\nrate = ]\n");
    project.write("c.json", "[1]");
    let output = project.pru_flow(&[
        "run",
        "pipeline.yaml",
        "--params",
        "a.yaml",
        "--params",
        "b.toml",
        "--params",
        "c.json",
        "--params",
        "d.yaml",
        "--params",
        "e.txt",
    ]);
    assert_refused(&project, &output);
    let found = problems(&output);
    for (message, place, help) in [
        ("unknown param `epoch`", "a.yaml:1:1", "did you mean `epochs`?"),
        ("`params.rate` is a number, and text is given", "a.yaml:2:7", "its own value is `0.5`"),
        ("unknown param `deep.c`", "a.yaml:4:3", "did you mean `a`?"),
        ("`params.deep.a` is a whole number, and a list is given", "a.yaml:5:6", "its own value is `1`"),
        ("", "b.toml:2:", "a param is written as `epochs = 10`"),
        ("a mapping of params was expected, not a list", "c.json:1:1", "epochs: 10"),
        ("cannot read the params in `d.yaml`: there is no such file", "", "its path starts in the current folder"),
        ("`--params e.txt`: what kind of file it is", "", "name it `.yaml`, `.json` or `.toml`"),
    ] {
        let told = found.iter().any(|one| one.contains(message) && one.contains(place) && one.contains(help));
        assert!(told, "{message} at {place}:\n{}", output.stderr);
    }
    assert_eq!(found.len(), 8, "{}", output.stderr);
}

#[test]
fn a_file_of_params_reaches_imports_and_wins_over_what_the_importing_file_gives() {
    let project = Project::with_pipeline(&format!(
        "{HEAD}import: {{p: {{file: p.yaml, params: {{n: 2}}}}}}\nparams: {{k: 1}}\nstages:\n  c: {{command: [echo, \"${{params.k}}\", \"${{params.p.n}}\"], outputs: [o]}}\n"
    ));
    project.write("p.yaml", format!("{HEAD}params: {{n: 1}}\nstages:\n{}", source("a", "{s: [1]}")));
    project.write("x.yaml", "p: {n: 3}\n");
    project.write("y.yaml", "p: {m: 3}\n");
    project.write("z.yaml", "p: 3\n");
    assert_eq!(echoed(&project, &[]), "1 2");
    assert_eq!(echoed(&project, &["--params", "x.yaml"]), "1 3");
    assert_eq!(echoed(&project, &["--params", "x.yaml", "--set", "p.n=4"]), "1 4");
    let told =
        |file: &str| project.pru_flow(&["plan", "pipeline.yaml", "--params", file]).expect_code(2).stderr.clone();
    assert!(told("y.yaml").contains("unknown param `p.m`") && told("y.yaml").contains("did you mean `n`?"));
    assert!(told("z.yaml").contains("`p` is an import") && told("z.yaml").contains("--> z.yaml:1:4"));
}

#[test]
fn paths_in_a_file_of_params_start_at_the_root_as_in_the_pipeline() {
    let project = Project::new();
    project.write("pipelines/p.yaml", format!("{HEAD}params: {{path: none.bin}}\nstages:\n  a: {{uses: data/import, with: {{path: \"${{params.path}}\", test_fraction: 0.5}}}}\n"));
    project.write("w.bin", "1");
    project.write("here/my.yaml", "path: w.bin\n");
    let planned = project.pru_flow_in("here", &["plan", "../pipelines/p.yaml", "--params", "my.yaml"]);
    assert!(!planned.expect_code(0).stdout.contains("missing"), "{}", planned.stdout);
}
