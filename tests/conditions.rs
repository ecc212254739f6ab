//! Which cells are there (`when`), what becomes of references that fit no cell, and which nodes a name on the command line
//! means.

mod hermetic;

use hermetic::Project;
use hermetic::graphs::{HEAD, graph, graph_with, names, read_by, reader, source};
use hermetic::refusal::{assert_refused, problems, refused, refused_with, stages};
use pru_flow::graph::Graph;
use pru_flow::overrides::Changes;

/// Commands that write a line: what they read does not matter.
fn stage(name: &str, more: &str) -> String {
    format!("  {name}: {{command: \"echo {name} > ${{outputs.o}}\", outputs: [o]{more}}}\n")
}

#[test]
fn a_cell_is_there_when_its_condition_holds() {
    let text = format!(
        "params: {{full: false, only: [1, 3]}}\nstages:\n{}{}{}",
        stage("always", ", when: true"),
        stage("extra", ", when: \"${params.full}\""),
        stage("some", ", when: \"${matrix.s in params.only or params.full}\", matrix: {s: [1, 2, 3]}")
    );
    assert_eq!(names(&graph(&text)), ["always", "some[s=1]", "some[s=3]"]);
    assert_eq!(names(&graph_with(&text, &["full=true"])), ["always", "extra", "some[s=1]", "some[s=2]", "some[s=3]"]);
    assert_eq!(names(&graph_with(&text, &["only=[2]"])), ["always", "some[s=2]"]);
    // What is wrong with a cell that is not there is nobody's problem.
    let wrong = "stages:\n  a: {uses: data/glyphs, with: {noise: \"${7 if matrix.s == 1 else 0.5}\"}, when: \"${matrix.s != 1}\", matrix: {s: [1, 2]}}\n";
    assert_eq!(names(&graph(wrong)), ["a[s=2]"]);
}

#[test]
fn a_condition_is_true_or_false() {
    refused(
        &stages(&format!(
            "{}{}{}",
            stage("a", ", when: ¦\"no\""),
            stage("b", ", when: ¦\"${matrix.s}\", matrix: {s: [1, 2]}"),
            stage("c", ", when: ¦\"${stages.a.outputs.o.x}\"")
        )),
        &[
            ("`when` is true or false, not text", "when: \"${params.full}\""),
            ("`when` is true or false, not a whole number", "write `true`, `false`"),
            ("is known only when that stage has run", "it may stand as a value"),
        ],
    );
}

#[test]
fn who_gathers_or_has_an_optional_input_goes_without_what_a_condition_takes_away() {
    let text = format!(
        "params: {{full: false}}\nstages:\n{}{}{}{}",
        stage("extra", ", when: \"${params.full}\""),
        stage("some", ", when: \"${matrix.s != 2}\", matrix: {s: [1, 2, 3]}"),
        reader("all", "", "[extra.o, \"some[*].o\"]"),
        "  g: {uses: data/glyphs}\n  old: {uses: train/original, inputs: {data: g.train}, when: \"${params.full}\"}\n  \
         new: {uses: train/original, inputs: {data: g.train, start: old.model}}\n"
    );
    let without = graph(&text);
    assert_eq!(read_by(&without, "all", "x"), ["some[s=1]", "some[s=3]"]);
    let new = without.nodes.iter().find(|node| node.name == "new").expect("it is there");
    assert!(!new.inputs.contains_key("start") && new.unfit.is_empty());
    let full = graph_with(&text, &["full=true"]);
    assert_eq!(read_by(&full, "all", "x"), ["extra", "some[s=1]", "some[s=3]"]);
    assert_eq!(read_by(&full, "new", "start"), ["old"]);
    // Nothing at all may be left, which the command sees as no word.
    let project = Project::with_pipeline(&stages(&format!(
        "{}  all: {{command: \"echo ${{inputs.x}} end > ${{outputs.o}}\", inputs: {{x: \"a[*]\"}}, outputs: [o]}}\n",
        stage("a", ", when: false, matrix: {s: [1, 2]}")
    )));
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    assert_eq!(project.pru_flow(&["get", "pipeline.yaml", "all", "--to", "-"]).stdout, "end\n");
}

#[test]
fn a_name_that_is_mistyped_is_told_even_where_no_cell_is_left() {
    let with = |reference: &str| {
        stages(&format!("{}{}", stage("away", ", when: false, matrix: {seed: [1]}"), reader("r", "", reference)))
    };
    refused(&with("¦awy.o"), &[("no stage `awy`", "did you mean `away`?")]);
    refused(&with("¦\"away[*].oo\""), &[("`away` has no output `oo`", "did you mean `o`?")]);
    refused(&with("¦\"away[sede=1].o\""), &[("`away` has no matrix axis `sede`", "did you mean `seed`?")]);
}

#[test]
fn what_needs_a_cell_that_is_away_is_left_out_and_refused_when_it_is_asked_for() {
    let text = stages(&format!(
        "{}{}{}{}",
        stage("base", ""),
        stage("extra", ", when: ¦false, inputs: {x: base}").replace('¦', ""),
        stage("figure", ", inputs: {x: extra.o}"),
        stage("paper", ", inputs: {x: figure.o, y: base.o}")
    ));
    let project = Project::with_pipeline(&text);
    let planned = project.pru_flow(&["plan", "pipeline.yaml"]);
    planned.expect_code(0);
    for line in [
        "run      base",
        "broken   figure  `figure` needs a cell of `extra` that its `when` takes away",
        "broken   paper   needs figure, which cannot run",
        "0 cached, 1 to run, 0 unknown until then, 2 cannot run",
    ] {
        assert!(planned.stdout.contains(line), "{line}:\n{}", planned.stdout);
    }
    let output = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
    output.expect_code(0).expect_stderr(&[
        "warning: 2 nodes cannot run and are left out: figure, paper",
        "pipeline.yaml:6:",
        "needs a cell of `extra`",
    ]);
    assert_eq!(output.finished()["executed"], 1);
    let planned = project.pru_flow(&["plan", "pipeline.yaml", "--exit-code"]);
    planned.expect_code(0);
    for target in ["figure", "paper", "base+"] {
        let output = project.pru_flow(&["run", "pipeline.yaml", target]);
        output.expect_code(2).expect_stderr(&[
            "error: `figure` needs a cell of `extra`",
            "this is false there",
            "give `figure` the same `when`",
            "nothing was run",
        ]);
        assert_eq!(problems(&output).len(), 1, "{}", output.stderr);
    }
    let explained = project.pru_flow(&["explain", "pipeline.yaml", "paper"]);
    explained.expect_code(0);
    assert!(
        explained.stdout.contains("paper  cannot run: needs figure")
            && explained.stdout.contains("give `figure` the same"),
        "{}",
        explained.stdout
    );
    project
        .pru_flow(&["run", "pipeline.yaml", "extra"])
        .expect_code(2)
        .expect_stderr(&["`extra` has no cell: its `when` is false"]);
    project.pru_flow(&["report", "pipeline.yaml", "--out", "-"]).expect_code(0);
}

#[test]
fn a_cell_that_set_takes_away_stops_only_what_names_it() {
    let text = format!(
        "{HEAD}params: {{classes: [0, 9]}}\nstages:\n{}{}{}",
        stage("train", ", matrix: {class: \"${params.classes}\"}"),
        stage("figure", ", inputs: {x: \"train[class=9].o\"}"),
        stage("figures", ", inputs: {x: \"train[class=${matrix.c}].o\"}, matrix: {c: [8, 9]}")
    );
    let project = Project::with_pipeline(&text);
    let output = project.pru_flow(&["run", "pipeline.yaml", "--set", "classes=[0]", "--json"]);
    output.expect_code(0).expect_stderr(&[
        "warning: 3 nodes cannot run and are left out: figure, figures[c=8], figures[c=9]",
        "no cell of `train` fits `figure`",
        "no cell of `train` fits `figures[c=8]` (and 1 more cells)",
    ]);
    assert_eq!(output.finished()["executed"], 1);
    project.pru_flow(&["run", "pipeline.yaml", "figure"]).expect_code(0);
    project.pru_flow(&["run", "pipeline.yaml", "figures[c=9]"]).expect_code(0);
    let output = project.pru_flow(&["run", "pipeline.yaml", "figures"]);
    output
        .expect_code(2)
        .expect_stderr(&["no cell of `train` fits `figures[c=8]`", "there are train[class=0], train[class=9]"]);
    // When nothing can run, that is an error.
    let all = stages(&stage("a", ", matrix: {s: [1]}, inputs: {x: ¦\"a[s=2].o\"}"));
    refused(&all, &[("no cell of `a` fits `a[s=1]`", "there are a[s=1]")]);
    // With another mistake in the file all of them are told.
    refused_with(
        &stages(&format!(
            "{}{}",
            stage("train", ", matrix: {class: [0]}, ¦inpts: {}"),
            stage("figure", ", inputs: {x: ¦\"train[class=9].o\"}")
        )),
        &[],
        &[
            ("unknown field `inpts`", "did you mean `inputs`?"),
            ("no cell of `train` fits `figure`", "there are train[class=0]"),
        ],
    );
}

#[test]
fn an_imported_stage_that_is_broken_is_no_matter_until_it_is_needed() {
    let project = Project::with_pipeline(&format!(
        "{HEAD}import: {{p: p.yaml}}\nstages:\n{}",
        stage("own", ", inputs: {x: p.base.o}")
    ));
    project.write(
        "p.yaml",
        format!(
            "{HEAD}stages:\n{}{}",
            stage("base", ", matrix: {s: [1]}"),
            stage("bad", ", inputs: {x: \"base[s=2].o\"}")
        ),
    );
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(0);
    assert!(!output.stderr.contains("warning"), "{}", output.stderr);
    let output = project.pru_flow(&["run", "pipeline.yaml", "p.bad"]);
    output.expect_code(2).expect_stderr(&["no cell of `base` fits `p.bad`"]);
}

#[test]
fn a_result_of_a_cell_that_is_not_there_stops_only_what_waits_for_it() {
    let text = stages(
        "  tune: {command: \"echo '{\\\"lr\\\": 1}' > ${outputs.s}\", outputs: {s: {name: s.json}}, matrix: {k: [1]}}
  use: {command: [echo, ¦\"${stages.tune[k=2].outputs.s.lr * 2}\"], outputs: [o]}
",
    );
    refused_with(&text, &["use"], &[("no cell of `tune` fits `use`", "there are tune[k=1]")]);
    let project = Project::with_pipeline(&text.replace('¦', ""));
    let planned = project.pru_flow(&["plan", "pipeline.yaml"]);
    planned.expect_code(0);
    assert!(planned.stdout.contains("broken   use"), "{}", planned.stdout);
    project
        .pru_flow(&["run", "pipeline.yaml"])
        .expect_code(0)
        .expect_stderr(&["warning: 1 node cannot run and is left out: use"]);
}

#[test]
fn a_table_of_nothing_fails_or_is_empty_but_is_no_bug() {
    for uses in ["tables/accuracy", "tables/relearn", "figures/curves"] {
        let Some(def) = pru_flow_stages::find(uses) else { continue };
        let Some(port) = def.inputs.iter().find(|port| port.arity == pru_flow_stages::Arity::Gather) else { continue };
        let text = stages(&format!(
            "{}  t: {{uses: {uses}, inputs: {{{}: \"a[*]\"}}}}\n",
            stage("a", ", when: false, matrix: {s: [1]}"),
            port.name
        ));
        let project = Project::with_pipeline(&text);
        let output = project.pru_flow(&["run", "pipeline.yaml"]);
        assert!([0, 1, 2].contains(&output.code), "{uses}: {}", output.stderr);
        assert!(!output.stderr.contains("panicked") && !output.stderr.contains("a bug"), "{uses}: {}", output.stderr);
    }
}

/// Names of the nodes that these names on the command line mean.
#[track_caller]
fn selected<'g>(graph: &'g Graph, typed: &[&str]) -> Vec<&'g str> {
    let typed: Vec<String> = typed.iter().map(|name| (*name).to_owned()).collect();
    let ids = graph.select(&typed).unwrap_or_else(|told| panic!("{typed:?}: {told}"));
    ids.into_iter().map(|id| graph.nodes[id].name.as_str()).collect()
}

/// What is said of a name.
#[track_caller]
fn told(graph: &Graph, typed: &str) -> String {
    graph.select(&[typed.to_owned()]).expect_err(typed)
}

fn chain() -> Graph {
    graph(&format!(
        "stages:\n{}{}{}{}{}{}",
        source("data", "{set: [a, b]}"),
        reader("train", "{set: [a, b], lr: [0.1, 0.2]}", "data.o"),
        reader("test", "{set: [a, b], lr: [0.1, 0.2]}", "train.o"),
        reader("table_1", "", "\"test[*].o\""),
        reader("table_2", "{set: [a, b]}", "\"test[lr=0.1].o\""),
        stage("alone", "")
    ))
}

#[test]
fn a_plus_before_or_after_a_name_adds_what_it_needs_or_what_needs_it() {
    let graph = chain();
    assert_eq!(selected(&graph, &["data[set=a]"]), ["data[set=a]"]);
    assert_eq!(
        selected(&graph, &["train[set=a,lr=0.1]+"]),
        ["train[set=a,lr=0.1]", "test[set=a,lr=0.1]", "table_1", "table_2[set=a]"]
    );
    assert_eq!(
        selected(&graph, &["+test[set=b,lr=0.2]"]),
        ["data[set=b]", "train[set=b,lr=0.2]", "test[set=b,lr=0.2]"]
    );
    assert_eq!(
        selected(&graph, &["+train[lr=0.2, set=b]+"]),
        ["data[set=b]", "train[set=b,lr=0.2]", "test[set=b,lr=0.2]", "table_1"]
    );
    assert_eq!(selected(&graph, &["train+"]).len(), 4 + 4 + 1 + 2);
    assert_eq!(selected(&graph, &["alone+", "+alone", "+data[set=a]"]), ["data[set=a]", "alone"]);
    assert_eq!(selected(&graph, &[" + test[set=a,lr=0.1] "]).len(), 3);
}

#[test]
fn stars_in_a_name_stand_for_any_letters_but_no_dot() {
    let graph = chain();
    assert_eq!(selected(&graph, &["table_*"]), ["table_1", "table_2[set=a]", "table_2[set=b]"]);
    assert_eq!(selected(&graph, &["table_?[set=b]"]), ["table_2[set=b]"]);
    assert_eq!(selected(&graph, &["t*t[lr=0.2]+"]), ["test[set=a,lr=0.2]", "test[set=b,lr=0.2]", "table_1"]);
    assert_eq!(selected(&graph, &["*"]).len(), graph.nodes.len());
    assert_eq!(
        told(&graph, "tabl?_*x"),
        "no stage is named as `tabl?_*x`; stages: `data`, `train`, `test`, `table_1`, `table_2`, `alone`"
    );
    assert!(
        told(&graph, "table_*[st=a]").contains("no stage named as `table_*` has the axis `st`; did you mean `set`?")
    );
    assert!(told(&graph, "t*[set=c]").contains("no cell of `t*` matches; there are train[set=a,lr=0.1]"));
    assert!(told(&graph, "tabel_1+").contains("did you mean `table_1`?"));
    assert!(told(&graph, "+").contains("names no stage"));
    // Where one node is needed, none of this is.
    assert!(graph.select_one("train+").expect_err("one node").contains("no stage `train+`"));
}

#[test]
fn a_star_does_not_reach_into_imports_unless_it_says_so() {
    let project = Project::with_pipeline(&format!(
        "{HEAD}import: {{p: p.yaml}}\nstages:\n{}",
        stage("own", ", inputs: {x: p.base.o}")
    ));
    project.write("p.yaml", format!("{HEAD}stages:\n{}{}", stage("base", ""), stage("other", "")));
    let loaded = pru_flow::project::Project::load(&project.path("pipeline.yaml"), Changes::default(), None)
        .expect("it is a pipeline");
    assert_eq!(selected(&loaded.graph, &["*"]), ["own"]);
    assert_eq!(selected(&loaded.graph, &["p.*"]), ["p.base", "p.other"]);
    assert_eq!(selected(&loaded.graph, &["*.b*+"]), ["p.base", "own"]);
}

#[test]
fn run_and_plan_take_these_names() {
    let project = Project::with_pipeline(&stages(&format!(
        "{}{}{}{}",
        stage("a", ", matrix: {s: [1, 2]}"),
        stage("b", ", inputs: {x: a.o}, matrix: {s: [1, 2]}"),
        stage("c", ", inputs: {x: \"b[*].o\"}"),
        stage("d", "")
    )));
    let planned = project.pru_flow(&["plan", "pipeline.yaml", "a[s=1]+", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&planned.expect_code(0).stdout).expect("one object");
    assert_eq!(plan["nodes"].as_array().map(Vec::len), Some(5), "what `c` needs is with it");
    let output = project.pru_flow(&["run", "pipeline.yaml", "b[s=2]", "d*", "--json"]);
    assert_eq!(output.expect_code(0).finished()["executed"], 3);
    let output = project.pru_flow(&["run", "pipeline.yaml", "e*"]);
    assert_refused_with_store(&project, &output);
    output.expect_stderr(&["no stage is named as `e*`"]);
}

/// As `assert_refused`, where a store is there already.
fn assert_refused_with_store(project: &Project, output: &hermetic::Output) {
    std::fs::remove_dir_all(project.path(".pru-flow")).expect("a store");
    assert_refused(project, output);
}
