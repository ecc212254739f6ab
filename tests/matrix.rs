//! The cells of a matrix in all its forms: attributes, nested axes, axes walked together, values from files, sweeps; and
//! how cells with different axes are named and read.

mod hermetic;

use std::time::{Duration, Instant};

use hermetic::Project;
use hermetic::graphs::{HEAD, command, graph, graph_with, names, params, read_by, reader, source, try_graph};
use hermetic::refusal::{problems, refused, stages};
use pru_flow::command::CommandLine;
use pru_flow::overrides::Changes;
use serde_json::json;

/// Names of the cells of one stage with this matrix.
#[track_caller]
fn cells(matrix: &str) -> Vec<String> {
    let graph = graph(&format!("stages:\n{}", source("a", matrix)));
    names(&graph).iter().map(|name| name.strip_prefix('a').expect("the stage").to_owned()).collect()
}

/// The words of a command, joined.
#[track_caller]
fn said(graph: &pru_flow::graph::Graph, node: &str) -> String {
    match command(graph, node) {
        CommandLine::Words(words) => words.join(" "),
        CommandLine::Shell(text) => text.clone(),
    }
}

const COUNTRIES: &str = "{uk: {epochs: 3}, us: {epochs: 10, matrix: {lr: [1, 2]}}}";

#[test]
fn labels_have_attributes_and_axes_of_their_own() {
    let text = format!(
        "params: {{lr: 0.1}}
stages:
  g:
    uses: data/glyphs
    with: {{train: \"${{matrix.country.epochs}}\", seed: \"${{matrix.lr | default(0)}}\"}}
    matrix: {{country: {COUNTRIES}}}
  c:
    command: [echo, \"${{matrix.country}}\", \"${{matrix.country.name}}\", \"${{matrix.country.opt.lr}}\", \"${{matrix.country.twice}}\"]
    outputs: [o]
    matrix:
      seed: [7, 8]
      country: {{uk: {{name: Britain, opt: {{lr: 1}}, twice: \"${{params.lr * matrix.seed}}\"}}, us: {{name: America, opt: {{lr: 2}}, twice: \"x-${{matrix.country}}\"}}}}
"
    );
    let graph = graph(&text);
    assert_eq!(names(&graph)[..3], ["g[country=uk]", "g[country=us,lr=1]", "g[country=us,lr=2]"]);
    assert_eq!(names(&graph)[3..5], ["c[seed=7,country=uk]", "c[seed=7,country=us]"]);
    let of = |node: &str| (params(&graph, node)["train"].clone(), params(&graph, node)["seed"].clone());
    assert_eq!(of("g[country=uk]"), (json!(3), json!(0)));
    assert_eq!(of("g[country=us,lr=2]"), (json!(10), json!(2)));
    assert_eq!(said(&graph, "c[seed=8,country=uk]"), "echo uk Britain 1 0.8");
    assert_eq!(said(&graph, "c[seed=8,country=us]"), "echo us America 2 x-us");
}

#[test]
fn labels_may_come_from_a_param_and_are_what_they_look_like() {
    let text = "
params: {sets: {\"0\": {k: 1}, 0.25: {k: 2}, b: null}}
stages:
  g: {uses: data/glyphs, with: {seed: \"${matrix.s.k}\", noise: \"${matrix.s}\"}, matrix: {s: \"${params.sets}\", exclude: [{s: b}]}}
";
    let graph = graph(text);
    assert_eq!(names(&graph), ["g[s=0]", "g[s=0.25]"]);
    assert_eq!(params(&graph, "g[s=0.25]")["noise"], 0.25);
    let set = graph_with(text, &["sets={1: {k: 3}, b: null}"]);
    assert_eq!(params(&set, "g[s=1]")["seed"], 3);
}

#[test]
fn nested_axes_nest_further_and_multiply_with_those_around_them() {
    let matrix =
        "{m: [x, y], c: {a: null, b: {matrix: {d: {p: null, q: {matrix: {e: [1, 2], exclude: [{e: 2}]}}}}}}, s: [7]}";
    assert_eq!(
        cells(matrix),
        [
            "[m=x,c=a,s=7]",
            "[m=x,c=b,d=p,s=7]",
            "[m=x,c=b,d=q,e=1,s=7]",
            "[m=y,c=a,s=7]",
            "[m=y,c=b,d=p,s=7]",
            "[m=y,c=b,d=q,e=1,s=7]"
        ]
    );
    let own = "{n: [1, 2], c: {a: {base: 10, matrix: {k: \"${[matrix.n * matrix.c.base, 3]}\"}}}}";
    assert_eq!(cells(own), ["[n=1,c=a,k=10]", "[n=1,c=a,k=3]", "[n=2,c=a,k=20]", "[n=2,c=a,k=3]"]);
}

#[test]
fn zipped_axes_are_walked_together() {
    assert_eq!(
        cells("{zip: {a: [1, 2], b: [x, y]}, s: [7, 8]}"),
        ["[a=1,b=x,s=7]", "[a=1,b=x,s=8]", "[a=2,b=y,s=7]", "[a=2,b=y,s=8]"]
    );
    assert_eq!(cells("{zip: [{a: 1, b: x}, {b: y, a: 2}]}"), ["[a=1,b=x]", "[a=2,b=y]"]);
    assert_eq!(cells("{zip: [{a: [1, 2], b: [x, y]}, {c: [3], d: [4]}]}"), ["[a=1,b=x,c=3,d=4]", "[a=2,b=y,c=3,d=4]"]);
    assert_eq!(
        cells("{zip: {a: {p: null, q: {matrix: {k: [1, 2]}}}, b: [x, y]}}"),
        ["[a=p,b=x]", "[a=q,k=1,b=y]", "[a=q,k=2,b=y]"]
    );
    let text = format!("params: {{rows: [{{a: 1, b: x}}]}}\nstages:\n{}", source("a", "{zip: \"${params.rows}\"}"));
    assert_eq!(names(&graph(&text)), ["a[a=1,b=x]"]);
}

#[test]
fn include_and_exclude_work_on_every_form() {
    let nested = |more: &str| cells(&format!("{{s: [7, 8], country: {COUNTRIES}, {more}}}"));
    assert_eq!(
        nested("exclude: [{lr: 1}, {country: uk, s: 7}]"),
        ["[s=7,country=us,lr=2]", "[s=8,country=uk]", "[s=8,country=us,lr=2]"]
    );
    let few = "exclude: [{s: 7}, {s: 8, country: us}]";
    assert_eq!(
        nested(&format!("{few}, include: [{{s: 9, country: us}}]")),
        ["[s=8,country=uk]", "[s=9,country=us,lr=1]", "[s=9,country=us,lr=2]"]
    );
    assert_eq!(
        nested(&format!("{few}, include: [{{s: 9, country: us, lr: 5}}]")),
        ["[s=8,country=uk]", "[s=9,country=us,lr=5]"]
    );
    assert_eq!(
        nested(&format!("{few}, include: [{{s: 9, country: {{fr: {{epochs: 4}}}}}}]")),
        ["[s=8,country=uk]", "[s=9,country=fr]"]
    );
    assert_eq!(
        cells("{zip: {a: [1, 2], b: [x, y]}, exclude: [{b: y}], include: [{a: 3, b: z}]}"),
        ["[a=1,b=x]", "[a=3,b=z]"]
    );
    // An included label has the attributes that it has elsewhere.
    let text = format!(
        "stages:\n  g: {{uses: data/glyphs, with: {{train: \"${{matrix.country.epochs}}\", seed: \"${{matrix.s}}\"}}, matrix: {{s: [1], country: {COUNTRIES}, include: [{{s: 2, country: uk}}]}}}}\n"
    );
    assert_eq!(params(&graph(&text), "g[s=2,country=uk]")["train"], 3);
}

#[test]
fn a_cell_without_an_axis_is_free_on_it() {
    let matrix = format!("{{country: {COUNTRIES}}}");
    let text = format!(
        "stages:\n{}{}{}{}{}{}",
        source("train", &matrix),
        reader("test", &matrix, "train.o"),
        reader("of_us", "{lr: [1, 2]}", "\"train[country=us].o\""),
        reader("of_uk", "{lr: [1, 2]}", "\"train[country=uk].o\""),
        reader("all", "", "\"train[*].o\""),
        reader("by_rate", "{lr: [1, 2]}", "\"train[country=*].o\"")
    );
    let graph = graph(&text);
    assert_eq!(read_by(&graph, "test[country=uk]", "x"), ["train[country=uk]"]);
    assert_eq!(read_by(&graph, "test[country=us,lr=2]", "x"), ["train[country=us,lr=2]"]);
    assert_eq!(read_by(&graph, "of_us[lr=2]", "x"), ["train[country=us,lr=2]"]);
    assert_eq!(read_by(&graph, "of_uk[lr=2]", "x"), ["train[country=uk]"]);
    assert_eq!(read_by(&graph, "all", "x").len(), 3);
    assert_eq!(read_by(&graph, "by_rate[lr=2]", "x"), ["train[country=uk]", "train[country=us,lr=2]"]);
    let select = |name: &str| graph.select(&[name.to_owned()]).expect(name);
    assert_eq!(select("train"), [0, 1, 2]);
    assert_eq!(select("train[country=us]"), [1, 2]);
    assert_eq!(select("train[lr=1]"), [1]);
    assert!(graph.select(&["train[lt=1]".to_owned()]).expect_err("no such axis").contains("did you mean `lr`?"));
    for (id, node) in graph.nodes.iter().enumerate() {
        assert_eq!(graph.select_one(&node.name), Ok((id, None)));
    }
}

#[test]
fn a_needed_cell_that_several_fit_is_told_by_the_axes_that_are_free() {
    let text = format!(
        "{HEAD}stages:\n{}{}",
        source("train", &format!("{{country: {COUNTRIES}}}")),
        reader("b", "{country: [us]}", "train.o")
    );
    let Err(problems) = try_graph(&text, &[]) else { panic!("it is refused") };
    let problem = problems.iter().next().expect("one");
    assert_eq!(problem.message, "one cell of `train` is needed here, 2 fit");
    assert_eq!(problem.help.as_deref(), Some("give lr: `train[lr=...]`"));
}

/// Nodes of `plan`.
#[track_caller]
fn planned(project: &Project, more: &[&str]) -> Vec<String> {
    let output = project.pru_flow(&[&["plan", "pipeline.yaml", "--json"], more].concat());
    let plan: serde_json::Value = serde_json::from_str(&output.expect_code(0).stdout).expect("one object");
    let nodes = plan["nodes"].as_array().expect("a list").iter();
    nodes.map(|node| node["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn values_come_from_files_of_every_kind() {
    let project = Project::with_pipeline(&stages(
        "  a: {command: [echo, \"${matrix.v}\"], outputs: [o], matrix: {v: {file: values.json}}}
  b: {command: [echo, \"${matrix.v.k}\"], outputs: [o], matrix: {v: {file: deep/labels.yaml}}}
  c: {command: [echo, \"${matrix.v}\"], outputs: [o], matrix: {v: {file: lines.txt}}}
  d: {command: \"echo ${matrix.v.rate * 2} ${matrix.v.name} > ${outputs.o}\", outputs: [o], matrix: {v: {file: table.csv, column: id}}}
  e: {uses: data/glyphs, with: {seed: \"${matrix.v}\"}, matrix: {v: {file: one.tsv}}}
",
    ));
    project.write("values.json", "[1, \"two\", 0.5]");
    project.write("deep/labels.yaml", "x: {k: 1}\ny: {k: 2, matrix: {z: [3]}}\n");
    project.write("lines.txt", "\u{feff}7\r\n\r\n  007\n12e8\n1e-3\ntrue\nlast one");
    project.write("table.csv", "id,rate,name\n1,0.5,\"a, b\"\n2,3,c\n");
    project.write("one.tsv", "seed\n4\n5\n");
    let nodes = planned(&project, &[]);
    let expected = [
        "a[v=1]",
        "a[v=two]",
        "a[v=0.5]",
        "b[v=x]",
        "b[v=y,z=3]",
        "c[v=7]",
        "c[v=007]",
        "c[v=12e8]",
        "c[v=0.001]",
        "c[v=true]",
        "c[v=\"last one\"]",
        "d[v=1]",
        "d[v=2]",
        "e[v=4]",
        "e[v=5]",
    ];
    assert_eq!(nodes, expected);
    let output = project.pru_flow(&["run", "pipeline.yaml", "d"]);
    output.expect_code(0);
    let printed = project.pru_flow(&["get", "pipeline.yaml", "d[v=1]", "--to", "-"]);
    assert_eq!(printed.stdout, "1 a, b\n");
}

#[test]
fn the_path_of_a_file_starts_at_the_root_and_that_of_set_in_the_current_folder() {
    let project = Project::new();
    let text = format!(
        "{HEAD}params: {{seeds: s.txt}}\nstages:\n  a: {{uses: data/glyphs, with: {{seed: \"${{matrix.s}}\"}}, matrix: {{s: {{file: \"${{params.seeds}}\"}}}}}}\n"
    );
    project.write("pipelines/p.yaml", text);
    project.write("s.txt", "1\n");
    project.write("here/s.txt", "2\n");
    let plan = |args: &[&str]| {
        let output = project.pru_flow_in("here", &[&["plan", "../pipelines/p.yaml", "--json"], args].concat());
        let plan: serde_json::Value = serde_json::from_str(&output.expect_code(0).stdout).expect("one object");
        plan["nodes"][0]["name"].as_str().expect("a name").to_owned()
    };
    assert_eq!(plan(&[]), "a[s=1]");
    assert_eq!(plan(&["--set", "seeds=s.txt"]), "a[s=2]");
    // What was read is known with the graph.
    let loaded = pru_flow::project::Project::load(&project.path("pipelines/p.yaml"), Changes::default(), None)
        .expect("it is a pipeline");
    assert_eq!(loaded.graph.files, [project.path("s.txt").canonicalize().expect("it is there")]);
}

#[test]
fn what_is_wrong_with_a_file_of_values_is_told_at_its_line() {
    let project = Project::with_pipeline(&stages(
        "  a: {command: x, outputs: [o], matrix: {v: {file: gone.txt}}}
  b: {command: x, outputs: [o], matrix: {v: {file: bad.json}}}
  c: {command: x, outputs: [o], matrix: {v: {file: table.csv, column: idd}}}
  d: {command: x, outputs: [o], matrix: {v: {file: table.csv}}}
  e: {command: x, outputs: [o], matrix: {v: {file: ragged.csv, column: id}}}
  f: {command: x, outputs: [o], matrix: {v: {file: holes.csv, column: id}}}
  g: {command: x, outputs: [o], matrix: {v: {file: twice.txt}}}
  h: {command: x, outputs: [o], matrix: {v: {file: lists.yaml}}}
  i: {command: x, outputs: [o], matrix: {v: {file: twice.txt, column: a}}}
  j: {command: x, outputs: [o], matrix: {v: {file: empty.txt}}}
  k: {command: x, outputs: [o], matrix: {v: {file: latin.txt}}}
  l: {command: x, outputs: [o], matrix: {v: {file: twice.txt, colum: a}}}
  m: {command: x, outputs: [o], matrix: {v: {file: text.yaml}}}
",
    ));
    project.write("bad.json", "[1, 2\n");
    project.write("table.csv", "id,name\n1,a\n");
    project.write("ragged.csv", "id,name\n1,a\n2\n");
    project.write("holes.csv", "id,name\n1,a\n,b\n");
    project.write("twice.txt", "1\n2\n1\n");
    project.write("lists.yaml", "- 1\n- [2]\n");
    project.write("empty.txt", "\n\n");
    project.write("latin.txt", b"a\nb\xe9\n");
    project.write("text.yaml", "just text");
    let output = project.pru_flow(&["plan", "pipeline.yaml"]);
    output.expect_code(2);
    let found = problems(&output);
    for (message, place) in [
        ("cannot read the values in `gone.txt`: there is no such file", "pipeline.yaml:4:52"),
        ("unclosed bracket", "bad.json:1:1"),
        ("no column `idd`", "pipeline.yaml:6:71"),
        ("did you mean `id`?", "table.csv:1:1"),
        ("`table.csv` has 2 columns", "pipeline.yaml:7:52"),
        ("this row has 1 columns, and those before it 2", "ragged.csv:3:1"),
        ("there is no value in the column `id`", "holes.csv:3:1"),
        ("two nodes are called `g[v=1]`", "twice.txt:3:1"),
        ("a value of the axis `v` is a single value, not a list", "lists.yaml:2:3"),
        ("only a table", "pipeline.yaml:12:71"),
        ("`empty.txt` holds no value", "pipeline.yaml:13:52"),
        ("not UTF-8", "latin.txt:2:2"),
        ("unknown field `colum` of values from a file", "pipeline.yaml:15:63"),
        ("a list of values was expected, not text", "text.yaml:1:1"),
    ] {
        let told = found.iter().any(|one| one.contains(message) && one.contains(place));
        assert!(told, "{message} at {place}:\n{}", output.stderr);
    }
    assert!(found.iter().all(|one| one.contains("= help:")), "{}", output.stderr);
    assert!(found.len() <= 16, "{}", output.stderr);
}

#[test]
fn what_is_wrong_with_a_matrix_is_told_at_its_place_and_once() {
    let with = |matrix: &str| {
        stages(&format!(
            "  a: {{command: x, outputs: [o], matrix: {matrix}}}\n  r: {{command: x, inputs: {{x: \"a[*]\"}}, outputs: [o]}}\n"
        ))
    };
    refused(
        &with("{c: [¦{x: 1}, ¦{y: 2}]}"),
        &[
            ("a value of the axis `c` is a single value, not a mapping", "name it: `c: {first: {...}, second: {...}}`"),
            ("a value of the axis `c` is a single value, not a mapping", "${matrix.c.ATTRIBUTE}"),
        ],
    );
    refused(&with("{c: {x: ¦3}}"), &[("`x` of the axis `c` has attributes, each with a name", "x: {value: ...}")]);
    refused(&with("{c: ¦{}}"), &[("a list with at least one value, not an empty mapping", "c: [1, 2, 3]")]);
    refused(&with("{c: {x: {matrix: ¦3}}}"), &[("`matrix` is a mapping, not a whole number", "matrix: {class")]);
    refused(
        &with("{c: {x: {matrix: {¦c: [1]}}}}"),
        &[("`c` gives an axis that there is already", "a name of its own")],
    );
    refused(
        &with("{c: {x: {matrix: {d: [1]}}}, ¦d: [2]}"),
        &[("`d` gives an axis that there is already", "a name of its own")],
    );
    refused(&with("{¦zip: {a: [1, 2], b: [3]}}"), &[("as many values each: `a` has 2, `b` has 1", "outside `zip`")]);
    refused(
        &with("{zip: ¦[1, 2]}"),
        &[("`zip` is a mapping of axes that are walked together, not a list", "zip: {model")],
    );
    refused(
        &with("{zip: [{a: 1, b: 2}, ¦{a: 1}]}"),
        &[("this row gives no value for the axis `b`", "names every axis")],
    );
    refused(&with("{zip: [{a: 1}, {a: 2, ¦other: 1}]}"), &[("unknown matrix axis `other`", "axes: `a`")]);
    refused(
        &with("{zpi: {a: ¦[1, 2], b: ¦[3, 4]}}"),
        &[
            ("`a` of the axis `zpi` has attributes", "`zip: {...}`"),
            ("`b` of the axis `zpi` has attributes", "`zip: {...}`"),
        ],
    );
    let country = format!("country: {COUNTRIES}");
    refused(
        &with(&format!("{{{country}, exclude: [{{¦lrr: 1}}]}}")),
        &[("unknown matrix axis `lrr`", "did you mean `lr`?")],
    );
    refused(
        &with(&format!("{{{country}, exclude: [¦{{lr: 3}}]}}")),
        &[("this `exclude` leaves out nothing", "remove it")],
    );
    refused(
        &with(&format!("{{{country}, include: [{{country: ¦fr}}]}}")),
        &[("the axis `country` has no value `fr`", "values: `uk`, `us`; or give its attributes")],
    );
    refused(
        &with(&format!("{{{country}, s: [1], include: [¦{{country: uk}}]}}")),
        &[("this `include` gives no value for the axis `s`", "names every axis")],
    );
    // What is unknown of one axis says nothing of others, and nothing twice.
    refused(
        &stages(
            "  a: {command: [echo, \"${matrix.lr}\"], outputs: [o], matrix: {sweep: ¦[1]}}\n  r: {command: x, inputs: {x: \"a[lr=1]\"}, outputs: [o]}\n",
        ),
        &[("`sweep` is a mapping, not a list", "sweep: {samples: 20")],
    );
    refused(
        &stages(
            "  a: {command: [echo, ¦\"${matrix.c.other}\", ¦\"${matrix.d}\"], outputs: [o], matrix: {c: {x: {k: 1}}}}\n",
        ),
        &[
            ("`matrix.c` is `x`, which has no attribute `other`", "attributes: `k`"),
            ("unknown matrix axis `d`", "`${matrix.d | default(0)}`"),
        ],
    );
}

#[test]
fn a_sweep_draws_cells_that_stay_when_it_grows() {
    let matrix = |samples: u32| {
        format!(
            "{{m: [x, y], sweep: {{samples: {samples}, seed: 7, lr: {{log_uniform: [1e-4, 0.1]}}, width: {{int_uniform: [16, 256]}}}}}}"
        )
    };
    let few = cells(&matrix(3));
    let more = cells(&matrix(30));
    assert_eq!((few.len(), more.len()), (6, 60));
    assert!(few.iter().all(|cell| more.contains(cell)), "{few:?}\n{more:?}");
    assert!(few[0].starts_with("[m=x,lr=0.0") && few[0].contains(",width="), "{few:?}");
    // Bounds may be params.
    let text = "params: {low: 0.5, n: 4}\nstages:\n  a: {command: x, outputs: [o], matrix: {sweep: {samples: \"${params.n}\", k: {uniform: [\"${params.low}\", 1]}}}}\n";
    assert_eq!(graph(text).nodes.len(), 4);
    assert_eq!(graph_with(text, &["n=9"]).nodes.len(), 9);
}

#[test]
fn a_sweep_that_grew_runs_only_what_is_new() {
    let project = Project::new();
    let write = |samples: u32| {
        project.write("pipeline.yaml", stages(&format!(
            "  try: {{command: \"echo ${{matrix.lr}} > ${{outputs.o}}\", outputs: [o], matrix: {{sweep: {{samples: {samples}, lr: {{uniform: [0, 1]}}}}}}}}\n  best: {{command: \"sort -g ${{inputs.x}} | head -n 1 > ${{outputs.o}}\", inputs: {{x: \"try[*]\"}}, outputs: [o]}}\n"
        )));
    };
    write(3);
    assert_eq!(project.pru_flow(&["run", "pipeline.yaml", "--json"]).expect_code(0).finished()["executed"], 4);
    write(5);
    let again = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
    assert_eq!(again.expect_code(0).finished()["executed"], 3, "two samples and the best of all");
    assert_eq!(again.finished()["cached"], 3);
}

#[test]
fn what_is_wrong_with_a_sweep_is_told() {
    let with = |sweep: &str| {
        stages(&format!("  a: {{command: [echo, \"${{matrix.lr}}\"], outputs: [o], matrix: {{sweep: {sweep}}}}}\n"))
    };
    let many = stages(
        "  a: {command: [echo, \"${matrix.lr}\"], outputs: [o], matrix: {¦sweep: {sample: ¦3, lr: {¦unifrom: [0, 1]}, k: {uniform: ¦[1, 0]}, l: {choice: \
         ¦[]}, m: {log_uniform: ¦[0, 1]}, n: {int_uniform: ¦[1, 2.5]}, o: {normal: ¦[0, 0]}, p: ¦[1, 2]}}}\n",
    );
    refused(
        &many,
        &[
            ("`sweep` does not say how many cells it draws", "add `samples: 20`"),
            ("the axis `sample` of a sweep says how it is drawn", "as one of `{uniform: [0.5, 0.99]}`"),
            ("unknown way to draw: `unifrom`", "did you mean `uniform`?"),
            ("`uniform` takes two numbers, the smaller one first", "k: {uniform: [0.5, 0.99]}"),
            ("`choice` takes a list of single values", "l: {choice: [sgd, adam]}"),
            ("`log_uniform` takes two numbers above 0", "m: {log_uniform"),
            ("`int_uniform` takes two whole numbers", "n: {int_uniform"),
            ("`normal` takes a mean and a deviation above 0", "o: {normal"),
            ("the axis `p` of a sweep says how it is drawn", "as one of"),
        ],
    );
    refused(
        &with("{samples: ¦0, lr: {uniform: [0, 1]}}"),
        &[("`samples` is a whole number from 1 to 1000000", "samples: 20")],
    );
    refused(&with("{samples: 3, seed: ¦x, lr: {uniform: [0, 1]}}"), &[("`seed` is a whole number from 0", "seed: 20")]);
    refused(
        &stages("  a: {command: x, outputs: [o], matrix: {¦sweeep: {samples: 3, lr: {uniform: [0, 1]}}, s: [1]}}\n"),
        &[("unknown field `sweeep` in a matrix", "did you mean `sweep`?")],
    );
}

#[test]
fn an_axis_of_a_hundred_thousand_values_costs_as_much_for_each_as_a_short_one() {
    // Both stages are as long: a reference finds its cell at once.
    let took = |n: u32| {
        let text = format!(
            "params: {{k: 2}}\nstages:\n  a: {{command: [echo, \"${{matrix.s * params.k}}\"], outputs: [o], matrix: {{s: \"${{range({n}) | list}}\"}}}}\n{}",
            reader("b", &format!("{{s: \"${{range({n}) | list}}\"}}"), "a.o")
        );
        let start = Instant::now();
        let graph = graph(&text);
        assert_eq!(graph.nodes.len() as u32, 2 * n);
        start.elapsed()
    };
    took(1000);
    let (short, long) = (took(5_000), took(100_000));
    assert!(long < short.mul_f64(20.0 * 3.0) + Duration::from_secs(1), "{short:?} for 5,000, {long:?} for 100,000");
}
