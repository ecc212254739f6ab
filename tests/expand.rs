//! What a pipeline means: cells, names, references between cells, values put in for `${...}`, `--set`, and where
//! paths lead. Through the binary where a user would see it, through the library for random pipelines.

mod hermetic;

use std::collections::BTreeSet;
use std::path::PathBuf;

use hermetic::graphs::{HEAD, command, graph, graph_with, names, params, read_by, reader, source, try_graph};
use hermetic::{Output, Project};
use proptest::prelude::*;
use pru_flow::command::CommandLine;
use pru_flow::problem::Problems;
use pru_flow::selector::Selector;

#[test]
fn an_optional_input_that_is_nothing_in_a_cell_is_not_connected() {
    let text = |port: &str| {
        format!(
            "params: {{a: {{start: null}}, b: {{start: old.model}}}}
stages:
  data: {{uses: data/glyphs}}
  old: {{uses: train/original, inputs: {{data: data.train}}}}
  new: {{uses: train/original, inputs: {{data: data.train, {port}: \"${{params.${{matrix.at}}.start}}\"}}, matrix: {{at: [a, b]}}}}
"
        )
    };
    let started = graph(&text("start"));
    let connected =
        |node: &str| started.nodes.iter().find(|one| one.name == node).unwrap().inputs.contains_key("start");
    assert!(!connected("new[at=a]"));
    assert_eq!(read_by(&started, "new[at=b]", "start"), ["old"]);
    // An input that is needed cannot be nothing, and a param that is not there is no nothing.
    let needed = text("data").replace("data: data.train, data:", "data:");
    let problems = format!("{:?}", try_graph(&format!("{HEAD}{needed}"), &[]).err());
    assert!(problems.contains("an input names an output of a stage, not nothing"), "{problems}");
    let unknown = text("start").replace("a: {start: null}", "a: {begin: null}");
    assert!(try_graph(&format!("{HEAD}{unknown}"), &[]).is_err());
}

#[test]
fn cells_are_the_product_of_the_axes_in_declaration_order() {
    let graph = graph(&format!("stages:\n{}", source("a", "{method: [x, y], class: [3, 0], seed: [7]}")));
    assert_eq!(
        names(&graph),
        [
            "a[method=x,class=3,seed=7]",
            "a[method=x,class=0,seed=7]",
            "a[method=y,class=3,seed=7]",
            "a[method=y,class=0,seed=7]"
        ]
    );
}

#[test]
fn exclude_takes_cells_away_and_include_adds_some() {
    let matrix = "{m: [x, y], s: [1, 2, 3], exclude: [{m: x, s: 2}, {s: 3}], include: [{s: 9, m: z}]}";
    let graph = graph(&format!("stages:\n{}", source("a", matrix)));
    assert_eq!(names(&graph), ["a[m=x,s=1]", "a[m=y,s=1]", "a[m=y,s=2]", "a[m=z,s=9]"]);
}

#[test]
fn the_values_of_an_axis_may_be_those_of_a_value_before_it() {
    let params = "params: {mnist: {classes: [0, 1]}, cifar: {classes: [45]}}\n";
    let matrix = "{set: [mnist, cifar], class: \"${params.${matrix.set}.classes}\", seed: [7, 8]}";
    let graph = graph(&format!("{params}stages:\n{}", source("a", matrix)));
    let expected = [
        "a[set=mnist,class=0,seed=7]",
        "a[set=mnist,class=0,seed=8]",
        "a[set=mnist,class=1,seed=7]",
        "a[set=mnist,class=1,seed=8]",
        "a[set=cifar,class=45,seed=7]",
        "a[set=cifar,class=45,seed=8]",
    ];
    assert_eq!(names(&graph), expected);
}

#[test]
fn an_axis_that_depends_on_one_behind_it_or_on_an_unknown_value_is_told_once() {
    let params = "params: {mnist: {classes: [0, 1]}}\n";
    for (matrix, about) in [
        ("{class: \"${params.${matrix.set}.classes}\", set: [mnist]}", "matrix"),
        ("{seed: [7, 8, 9], set: [nist], class: \"${params.${matrix.set}.classes}\"}", "nist"),
    ] {
        let text = format!("{HEAD}{params}stages:\n{}", source("a", matrix));
        let Err(problems) = try_graph(&text, &[]) else { panic!("{matrix} is refused") };
        assert_eq!(problems.iter().count(), 1, "{problems:#?}");
        let problem = problems.iter().next().expect("one");
        assert!(format!("{problem:?}").contains(about), "{problem:?}");
    }
}

#[test]
fn odd_values_are_quoted_in_names_and_selected_by_them() {
    let text = format!("stages:\n{}", source("a", "{v: [\"a b\", \"x,y]\", 1e-4, true, -3, \"\", ä, a/b]}"));
    let graph = graph(&text);
    assert_eq!(
        names(&graph),
        ["a[v=\"a b\"]", "a[v=\"x,y]\"]", "a[v=0.0001]", "a[v=true]", "a[v=-3]", "a[v=\"\"]", "a[v=\"ä\"]", "a[v=a/b]"]
    );
    for (id, node) in graph.nodes.iter().enumerate() {
        assert_eq!(graph.select(std::slice::from_ref(&node.name)).expect("its own name"), [id]);
    }
}

#[test]
fn axes_of_one_name_are_matched_and_the_rest_is_gathered() {
    let text = format!(
        "stages:\n{}{}{}",
        source("a", "{m: [x, y], s: [1, 2]}"),
        reader("same", "{s: [1, 2], m: [x, y]}", "a.o"),
        reader("over_m", "{s: [1, 2]}", "\"a[m=*].o\"")
    );
    let one = graph(&text);
    assert_eq!(read_by(&one, "same[s=2,m=x]", "x"), ["a[m=x,s=2]"]);
    assert_eq!(read_by(&one, "over_m[s=2]", "x"), ["a[m=x,s=2]", "a[m=y,s=2]"]);
    // A list, too, gathers; and a command without a star needs one cell.
    let list = graph(&format!(
        "stages:\n{}{}",
        source("a", "{m: [x, y], s: [1, 2]}"),
        reader("some", "{s: [1, 2]}", "[\"a[m=y].o\", \"a[m=x].o\"]")
    ));
    assert_eq!(read_by(&list, "some[s=1]", "x"), ["a[m=y,s=1]", "a[m=x,s=1]"]);
    let bare = format!("{HEAD}stages:\n{}{}", source("a", "{m: [x, y]}"), reader("b", "", "a.o"));
    assert!(try_graph(&bare, &[]).is_err());
}

#[test]
fn a_star_takes_all_cells_and_explicit_coordinates_win_over_the_context() {
    let text = format!(
        "stages:\n{}{}{}{}{}",
        source("a", "{m: [x, y], s: [1, 2]}"),
        reader("all", "{s: [1, 2]}", "\"a[*].o\""),
        reader("all_s", "{m: [x], s: [1]}", "\"a[s=*].o\""),
        reader("other", "{m: [x], s: [1]}", "\"a[s=2].o\""),
        reader("templated", "{k: [x, y]}", "\"a[s=1, m=${matrix.k}].o\"")
    );
    let graph = graph(&text);
    assert_eq!(read_by(&graph, "all[s=1]", "x"), ["a[m=x,s=1]", "a[m=x,s=2]", "a[m=y,s=1]", "a[m=y,s=2]"]);
    assert_eq!(read_by(&graph, "all_s[m=x,s=1]", "x"), ["a[m=x,s=1]", "a[m=x,s=2]"]);
    assert_eq!(read_by(&graph, "other[m=x,s=1]", "x"), ["a[m=x,s=2]"]);
    assert_eq!(read_by(&graph, "templated[k=y]", "x"), ["a[m=y,s=1]"]);
}

#[test]
fn a_port_that_gathers_takes_every_cell_that_is_left_free() {
    let text = "\
stages:
  e:
    uses: evaluate
    inputs: {model: m.model, data: g.test}
    matrix: {method: [a, b], seed: [1, 2]}
  m: {uses: model/import, with: {path: w.safetensors}}
  g: {uses: data/glyphs}
  table: {uses: tables/accuracy, inputs: {results: e.metrics}}
  tables: {uses: tables/accuracy, inputs: {results: e.metrics}, matrix: {method: [b]}}
";
    let graph = graph(text);
    assert_eq!(read_by(&graph, "table", "results").len(), 4);
    assert_eq!(read_by(&graph, "tables[method=b]", "results"), ["e[method=b,seed=1]", "e[method=b,seed=2]"]);
    // Producers come first, else the order of the file.
    let order: Vec<&str> = graph.order.iter().map(|id| graph.nodes[*id].stage.as_str()).collect();
    assert_eq!(order, ["m", "g", "e", "e", "e", "e", "table", "tables"]);
}

#[test]
fn a_whole_reference_keeps_its_type_and_a_spliced_one_becomes_text() {
    let text = "\
params: {n: 30, noise: 0.25, range: [0.5, 0.75], deep: {x: {scale: [1.0, 1.1]}}, word: a b, title: t}
stages:
  g:
    uses: data/glyphs
    with: {train: \"${params.n}\", noise: \"${params.noise}\", contrast: \"${params.range}\", scale: \"${params.deep.${matrix.k}.scale}\", seed: \"${matrix.s}\"}
    matrix: {k: [x], s: [4]}
  c:
    command: [echo, \"${params.n}\", \"n-${params.n}-${params.noise}\", \"$${HOME}\", \"${outputs.o}\", \"${params.range}\"]
    outputs: {o: \"out-${params.n}.txt\"}
  s: {command: \"echo ${params.word} $${HOME} $$ $(id) ${outputs.o}\", outputs: [o]}
";
    let graph = graph(text);
    let read = params(&graph, "g[k=x,s=4]");
    assert_eq!(read["train"], 30);
    assert_eq!(read["noise"], 0.25);
    assert_eq!(read["contrast"], serde_json::json!([0.5, 0.75]));
    assert_eq!(read["scale"], serde_json::json!([1.0, 1.1]));
    assert_eq!(read["seed"], 4);
    let words = ["echo", "30", "n-30-0.25", "$${HOME}", "${outputs.o}", "0.5", "0.75"];
    assert_eq!(command(&graph, "c"), &CommandLine::Words(words.map(str::to_owned).to_vec()));
    assert_eq!(graph.nodes[1].outputs[0].file_name, "out-30.txt");
    let shell = "echo 'a b' $${HOME} $$ $(id) ${outputs.o}";
    assert_eq!(command(&graph, "s"), &CommandLine::Shell(shell.to_owned()));
}

#[test]
fn a_command_sees_its_values_as_they_are_and_escaped_references_as_text() {
    let project = Project::with_pipeline(&format!(
        "{HEAD}params: {{odd: \"it's $(touch bad) ${{x}} `id`\"}}\nstages:\n  a: {{command: \"v=5; echo ${{params.odd}} $${{v}} > \
         ${{outputs.o}}\", outputs: [o]}}\n  b: {{command: [cp, \"${{inputs.x}}\", \"${{outputs.o}}\"], inputs: {{x: a}}, \
         outputs: [o]}}\n"
    ).replace("${x}", "$${x}"));
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let printed = project.pru_flow(&["get", "pipeline.yaml", "b", "--to", "-"]);
    assert_eq!(printed.stdout, "it's $(touch bad) $${x} `id` 5\n");
    assert!(!project.path("bad").exists(), "a value was run as a command");
}

#[test]
fn params_that_are_left_out_and_those_at_their_default_are_one() {
    let text = "stages:\n  a: {uses: data/glyphs}\n  b: {uses: data/glyphs, with: {train: 4000, noise: 0.1, wobble: 1.4e-1}}\n";
    let graph = graph(text);
    assert_eq!(params(&graph, "a"), params(&graph, "b"));
}

#[test]
fn set_gives_numbers_lists_and_text_their_declared_types() {
    let text = "\
params: {n: 30, noise: 0.5, range: [0.5, 0.75], flag: false, title: x, any: null}
stages:
  g: {uses: data/glyphs, with: {train: \"${params.n}\", noise: \"${params.noise}\", contrast: \"${params.range}\"}}
  c: {command: [echo, \"${params.title}\", \"${params.flag}\", \"${params.any}\"], outputs: [o]}
";
    let set = ["n=50", "noise=1", "range=[0.2, 0.4]", "flag=true", "title=7", "any=seven eight"];
    let graph = graph_with(text, &set);
    let read = params(&graph, "g");
    assert_eq!((&read["train"], &read["noise"]), (&50.into(), &1.0.into()));
    assert_eq!(read["contrast"], serde_json::json!([0.2, 0.4]));
    let words = ["echo", "7", "true", "seven eight"];
    assert_eq!(command(&graph, "c"), &CommandLine::Words(words.map(str::to_owned).to_vec()));
    // The last of several wins.
    assert_eq!(params(&graph_with(text, &["n=50", "any=1", "n=60"]), "g")["train"], 60);
}

#[test]
fn set_of_an_axis_changes_the_cells() {
    let text = "params: {seeds: [1]}\nstages:\n  g: {uses: data/glyphs, with: {seed: \"${matrix.s}\"}, matrix: {s: \"${params.seeds}\"}}\n";
    assert_eq!(names(&graph_with(text, &["seeds=[7, 8, 9]"])), ["g[s=7]", "g[s=8]", "g[s=9]"]);
}

#[test]
fn selectors_name_a_stage_a_cell_or_some_cells_in_any_order() {
    let graph = graph(&format!("stages:\n{}{}", source("a", "{m: [x, y], s: [1, 2]}"), reader("b", "", "\"a[*].o\"")));
    let select = |name: &str| graph.select(&[name.to_owned()]).expect(name);
    assert_eq!(select("a"), [0, 1, 2, 3]);
    assert_eq!(select("a[m=y]"), [2, 3]);
    assert_eq!(select("a[s=1,m=y]"), [2]);
    assert_eq!(select(" a[ s = 1 , m = \"y\" ] "), [2]);
    assert_eq!(select("a[s=*]"), [0, 1, 2, 3]);
    assert_eq!(graph.select(&["b".to_owned(), "a[s=2]".to_owned(), "a[s=2]".to_owned()]).expect("both"), [1, 3, 4]);
    assert_eq!(graph.closure(&[2]), [false, false, true, false, false]);
    assert_eq!(graph.closure(&[4]), [true; 5]);
}

/// Where each of these projects looks for `w.bin`, which only `place` has.
fn import(project: &Project, folder: &str, pipeline: &str, extra: &[&str]) -> Output {
    let mut args = vec!["plan", pipeline];
    args.extend(extra);
    project.pru_flow_in(folder, &args)
}

#[test]
fn paths_in_a_pipeline_start_at_the_root_and_paths_of_set_in_the_current_folder() {
    let project = Project::new();
    let text = format!(
        "{HEAD}params: {{file: w.bin, folder: sub}}\nstages:\n  a: {{uses: data/import, with: {{path: \"${{params.file}}\", test_fraction: \
         0.5}}}}\n  b: {{uses: data/import, with: {{path: \"${{params.folder}}/w.bin\", test_fraction: 0.5}}}}\n"
    );
    project.write("pipelines/p.yaml", text);
    project.write("w.bin", "1");
    project.write("sub/w.bin", "2");
    project.write("here/mine/w.bin", "3");
    project.write("here/w.bin", "4");
    let from_yaml = import(&project, "here", "../pipelines/p.yaml", &[]);
    assert!(!from_yaml.expect_code(0).stdout.contains("missing"), "{}", from_yaml.stdout);
    let keys = |folder: &str, extra: &[&str]| -> Vec<String> {
        let pipeline = if folder == "." { "pipelines/p.yaml" } else { "../pipelines/p.yaml" };
        let plan = import(&project, folder, pipeline, &[&["--json"], extra].concat());
        let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("one object");
        let nodes = plan["nodes"].as_array().expect("a list");
        nodes.iter().map(|node| node["key"].as_str().unwrap_or("missing").to_owned()).collect()
    };
    // From anywhere, the pipeline means the same.
    assert_eq!(keys(".", &[]), keys("here", &[]));
    // The key is of the content, so what `--set` found tells where it looked.
    project.write("same/w.bin", "4");
    assert_eq!(keys("here", &["--set", "file=w.bin"])[0], keys(".", &["--set", "file=same/w.bin"])[0]);
    assert_ne!(keys("here", &["--set", "file=w.bin"])[0], keys("here", &[])[0]);
    // Put in at the beginning of a longer path, too.
    assert_ne!(keys("here", &["--set", "folder=mine"])[1], "missing");
    assert_eq!(keys(".", &["--set", "folder=mine"])[1], "missing");
}

#[test]
fn the_root_is_the_nearest_folder_with_a_mark_else_the_pipelines_own() {
    let text = format!("{HEAD}stages:\n  a: {{command: \"pwd > ${{outputs.o}}\", outputs: [o]}}\n");
    let project = Project::new();
    let root_of = |pipeline: &str| {
        project.pru_flow(&["run", pipeline]).expect_code(0);
        let printed = project.pru_flow(&["get", pipeline, "a", "--to", "-"]).stdout;
        PathBuf::from(printed.trim())
    };
    let canonical = |path: PathBuf| path.canonicalize().expect("it is there");
    project.write("deep/er/p.yaml", &text);
    assert_eq!(root_of("deep/er/p.yaml"), canonical(project.root()));
    assert!(project.path(".pru-flow").is_dir() && !project.path("deep/er/.pru-flow").exists());
    project.write("deep/pru-flow.toml", "");
    assert_eq!(root_of("deep/er/p.yaml"), canonical(project.path("deep")));
    std::fs::remove_dir_all(project.path(".git")).expect("the mark");
    project.write("lone/p.yaml", &text);
    assert_eq!(root_of("lone/p.yaml"), canonical(project.path("lone")));
}

/// A value of an axis, as YAML; now and then one that is none. Whole numbers come often enough to come again.
fn axis_value() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => (-9_i64..9).prop_map(|i| i.to_string()),
        4 => (-2.0_f64..2.0).prop_map(|f| format!("{f:?}")),
        4 => "[a-z]{1,4}".prop_map(|text| format!("\"{text}\"")),
        4 => "[ -~]{0,6}".prop_map(|text| serde_json::Value::from(text).to_string()),
        2 => Just("true".to_owned()),
        1 => Just("null".to_owned()),
        1 => Just("[1]".to_owned()),
    ]
}

/// A matrix with some axes, of which items of `exclude` and `include` name a few.
fn matrix() -> impl Strategy<Value = String> {
    let axes = prop::collection::vec(prop::collection::vec(axis_value(), 1..4), 1..4);
    let item = || prop::collection::vec(prop::option::of(axis_value()), 0..4);
    let items = || prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(item(), 0..3)];
    (axes, items(), items()).prop_map(|(axes, exclude, include)| {
        let mut parts: Vec<String> =
            axes.iter().enumerate().map(|(i, values)| format!("a{i}: [{}]", values.join(", "))).collect();
        for (name, items) in [("exclude", exclude), ("include", include)] {
            let cell = |item: &Vec<Option<String>>| {
                let pairs = item.iter().enumerate().filter_map(|(i, v)| v.as_ref().map(|v| format!("a{i}: {v}")));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            };
            if !items.is_empty() {
                parts.push(format!("{name}: [{}]", items.iter().map(cell).collect::<Vec<_>>().join(", ")));
            }
        }
        format!("{{{}}}", parts.join(", "))
    })
}

/// Pieces of which pipelines are made, and of which broken ones are made too.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("version: 1\n".to_owned()),
        Just("name: t\n".to_owned()),
        Just("stages:\n".to_owned()),
        Just("  a: {uses: data/glyphs}\n".to_owned()),
        Just("  b:\n    uses: data/split\n".to_owned()),
        Just("    with: {seed: \"${matrix.s}\"}\n".to_owned()),
        Just("    inputs: {data: a.train}\n".to_owned()),
        Just("    matrix: {s: [1, 2]}\n".to_owned()),
        Just("params: &p {x: [1, {y: *p}]}\n".to_owned()),
        Just("    inputs: {data: \"${params.${\"}\n".to_owned()),
        "[-:{}\\[\\]&*!|>'\"%@`#,? \n\ta-cä\u{feff}$.0-9]{0,12}",
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Every place lies inside the text, at characters: else a message about it could not be shown.
fn check_places(text: &str, problems: &Problems) {
    for problem in problems {
        let places = problem.span.iter().chain(problem.also.iter().map(|(span, _)| span));
        for span in places.filter(|span| !span.is_argument()) {
            assert!(text.get(span.start..span.end).is_some(), "{span:?} of {text:?}: {}", problem.message);
        }
        assert!(!problem.message.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_matrices_give_distinct_names_or_problems(one in matrix(), two in matrix()) {
        let text = format!(
            "{HEAD}stages:\n{}{}",
            source("s", &one),
            reader("r", &two, "\"s[*].o\"")
        );
        match try_graph(&text, &[]) {
            Ok(graph) => {
                let distinct: BTreeSet<&str> = names(&graph).into_iter().collect();
                prop_assert_eq!(distinct.len(), graph.nodes.len());
                prop_assert_eq!(graph.order.len(), graph.nodes.len());
                for (id, node) in graph.nodes.iter().enumerate() {
                    let selector = Selector::parse(&node.name, ':');
                    prop_assert!(selector.is_ok(), "{}", node.name);
                    // A value that is `*` is quoted, so that it is no star.
                    prop_assert_eq!(graph.select(std::slice::from_ref(&node.name)), Ok(vec![id]));
                }
            }
            Err(problems) => check_places(&text, &problems),
        }
    }

    #[test]
    fn random_text_is_a_pipeline_or_a_problem_but_no_panic(text in yamlish()) {
        if let Err(problems) = try_graph(&text, &[]) {
            prop_assert!(!problems.is_empty());
            check_places(&text, &problems);
        }
    }

    #[test]
    fn random_set_arguments_are_applied_or_told(path in "[a-c.=]{0,6}", value in any::<String>()) {
        let text = format!("{HEAD}params: {{a: 1, b: {{c: [1]}}}}\nstages: {{s: {{uses: data/glyphs}}}}\n");
        let argument = format!("{path}={value}");
        if let Err(problems) = try_graph(&text, &[&argument]) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn random_references_lead_somewhere_or_are_told(reference in "[a-z$\\{\\}.\\[\\]=*,\" ]{0,16}") {
        let reference = serde_json::Value::from(reference).to_string();
        let text = format!("{HEAD}params: {{a: {{b: 1}}}}\nstages:\n{}{}", source("a", "{b: [c, d]}"), reader("r", "{b: [c]}", &reference));
        if let Err(problems) = try_graph(&text, &[]) {
            check_places(&text, &problems);
        }
    }
}
