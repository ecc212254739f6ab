//! What stands in the place of `${...}`, and what changes params from outside: expressions, `--params` and `--set`.

mod hermetic;

use hermetic::Project;
use hermetic::graphs::{command, graph, graph_with, names, params, read_by, source};
use hermetic::refusal::{refused, stages};
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
