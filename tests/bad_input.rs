//! Bad files, names and arguments through the binary: every problem of a file in one pass, each with its place, a
//! caret and what to type next; exit 2, and nothing is run or written.

mod hermetic;

use std::time::Duration;

use hermetic::Project;
use hermetic::refusal::{HEAD, assert_refused, marked, problems, refused, refused_with, stages};

#[test]
fn a_pipeline_that_cannot_be_read_says_so() {
    let project = Project::new();
    let output = project.pru_flow(&["run", "nowhere.yaml", "--json"]);
    assert_refused(&project, &output);
    output.expect_stderr(&["cannot read the pipeline", "--> nowhere.yaml", "quickstart"]);
    let output = project.pru_flow(&["plan", "."]);
    assert_refused(&project, &output);
    output.expect_stderr(&["cannot read the pipeline"]);

    project.write("pipeline.yaml", b"version: 1\nname: caf\xe9\n");
    let output = project.pru_flow(&["plan", "pipeline.yaml"]);
    assert_refused(&project, &output);
    output.expect_stderr(&["not UTF-8", "--> pipeline.yaml:2:10", "^", "save the file as UTF-8"]);
}

#[test]
fn a_file_that_is_no_mapping_says_what_it_needs() {
    refused("", &[("the pipeline is empty", "it needs `version: 1`, `name:` and `stages:`")]);
    refused("# nothing\n", &[("the pipeline is empty", "it needs `version: 1`")]);
    refused("¦- a\n- b\n", &[("a pipeline is a mapping, not a list", "it needs `version: 1`")]);
    refused("¦text\n", &[("a pipeline is a mapping, not text", "it needs `version: 1`")]);
    refused(
        "¦x: 1\n",
        &[
            (
                "unknown field `x` in the pipeline",
                "fields: `version`, `name`, `import`, `params`, `defaults`, `limits`, `stages`, `publish`",
            ),
            ("the pipeline has no `version`", "add `version: 1`"),
            ("the pipeline has no `name`", "add `name: my-experiment`"),
            ("the pipeline has no `stages`", "add `stages:"),
        ],
    );
}

#[test]
fn yaml_that_does_not_parse_is_told_at_its_place() {
    let one = |text: &str| {
        let project = Project::with_pipeline(text);
        let output = project.pru_flow(&["plan", "pipeline.yaml"]);
        assert_refused(&project, &output);
        assert_eq!(problems(&output).len(), 1, "{}", output.stderr);
        assert!(output.stderr.contains("--> pipeline.yaml:"), "{}", output.stderr);
        output
    };
    one("version: 1\n---\nversion: 1\n").expect_stderr(&["one YAML document", ":3:1", "remove the `---`"]);
    one("version: 1\nstages:\n\ta: 1\n").expect_stderr(&["a tab", ":3:", "indent with spaces"]);
    one("version: 1\nname: [1\n").expect_stderr(&["unclosed bracket", ":2:7"]);
    one("a: 1\nb: \"x\n").expect_stderr(&["unclosed quote", ":2:"]);
    one("a: 1\nb: c: d\n").expect_stderr(&["a second `:`", ":2:5", "quote a text"]);
    one("version: 1\nname: x\0y\n").expect_stderr(&[":2:"]);
    one("a: 1\nb: *missing\n").expect_stderr(&["unknown anchor", ":2:4"]);
    one("a: 1\nb: &b {c: *b}\n").expect_stderr(&["inside what it names", ":2:"]);
    one("a: 1\nb: 'it's'\n").expect_stderr(&["write `''` for a quote", ":2:"]);
    one("stages:\n  a: {with: {n: ${params.n}}}\n").expect_stderr(&[":2:", "a reference is quoted"]);
}

#[test]
fn yaml_bombs_end_quickly() {
    let mut alias = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        alias.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", ")));
    }
    let quadratic = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(20_000), "*a, ".repeat(20_000));
    let deep = "[".repeat(100_000);
    let deep_maps = "{a: ".repeat(100_000);
    let merge = "a: &a {x: 1}\nb: {<<: *a}\n".to_owned();
    for (name, bomb) in
        [("alias", alias), ("quadratic", quadratic), ("deep", deep), ("maps", deep_maps), ("merge", merge)]
    {
        let project = Project::with_pipeline(&bomb);
        let output = project.pru_flow(&["plan", "pipeline.yaml"]);
        assert_refused(&project, &output);
        assert!(output.wall < Duration::from_secs(2), "{name} took {:?}", output.wall);
    }
}

#[test]
fn a_line_of_three_megabytes_is_refused_with_a_line_that_can_be_read() {
    let long = format!(
        "{HEAD}params: {{{}, x: 1, x: 2}}\nstages: {{a: {{uses: data/glyphs}}}}\n",
        (0..200_000).map(|i| format!("k{i}: {i}")).collect::<Vec<_>>().join(",")
    );
    assert!(long.len() > 2_500_000);
    let project = Project::with_pipeline(&long);
    let output = project.pru_flow(&["plan", "pipeline.yaml"]);
    assert_refused(&project, &output);
    output.expect_stderr(&["duplicate key `x`", "..."]);
    assert!(output.stderr.len() < 2000, "{} bytes", output.stderr.len());
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_problem_and_places_stay_right() {
    let good = stages("  a: {uses: data/glyphs}\n");
    for text in [format!("\u{feff}{good}"), good.replace('\n', "\r\n")] {
        Project::with_pipeline(&text).pru_flow(&["plan", "pipeline.yaml"]).expect_code(0);
    }
    let bad = stages("  a: {¦usse: data/glyphs}\n").replace('\n', "\r\n");
    let output = refused(&bad, &[("unknown field `usse`", "did you mean `uses`?")]);
    assert!(!output.stderr.contains('\r'));
    let (text, _) = marked(&stages("  a: {usse: data/glyphs}\n"));
    let project = Project::with_pipeline(&format!("\u{feff}{text}"));
    project.pru_flow(&["plan", "pipeline.yaml"]).expect_code(2).expect_stderr(&["--> pipeline.yaml:4:7"]);
}

#[test]
fn duplicate_keys_show_both_places() {
    let output = refused(
        "version: 1\nname: t\n¦name: u\nstages:\n  a: {uses: data/glyphs}\n  ¦a: {uses: data/glyphs}\n",
        &[("duplicate key `name`", "remove one of them"), ("duplicate key `a`", "remove one of them")],
    );
    output.expect_stderr(&["second", "first", "::: pipeline.yaml:2:1", "::: pipeline.yaml:5:3"]);
}

#[test]
fn a_version_name_or_params_of_the_wrong_kind_are_told_together() {
    refused(
        "version: ¦2\nname: ¦[a]\nparams: ¦[1]\nstages: ¦3\n",
        &[
            ("this release reads version 1, not 2", "update pru-flow"),
            ("`name` is text", "name: my-experiment"),
            ("`params` is a mapping", "params: {epochs: 10}"),
            ("`stages` is a mapping with at least one stage, not a whole number", "uses: data/glyphs"),
        ],
    );
    refused(
        "version: ¦one\nname: ¦a/b\nstages: ¦{}\n",
        &[
            ("`version` is the whole number 1", "version: 1"),
            ("`a/b` is no name for a pipeline", "letters, digits, `_` and `-`"),
            ("`stages` is a mapping with at least one stage", "uses: data/glyphs"),
        ],
    );
}

#[test]
fn unknown_names_are_told_with_the_nearest_that_exists() {
    refused(
        &format!(
            "{HEAD}¦param: {{}}\nstages:\n  a: {{uses: ¦data/glyph}}\n  b:\n    uses: data/split\n    with: {{seed: 7, \
             ¦sede: 1}}\n    inputs: {{data: ¦aa.train}}\n  c:\n    uses: data/glyphs\n  d:\n    uses: data/split\n    \
             with: {{seed: 1}}\n    inputs: {{data: ¦c.trian}}\n    ¦matrx: {{x: [1]}}\n    resources: {{¦cpu: 1}}\n  \
             e:\n    uses: data/split\n    with: {{seed: 1}}\n    inputs: {{¦dta: c.train}}\n"
        ),
        &[
            ("unknown field `param` in the pipeline", "did you mean `params`?"),
            ("unknown stage `data/glyph`", "did you mean `data/glyphs`?"),
            ("unknown param `sede` of `data/split`", "did you mean `seed`?"),
            ("no stage `aa`", "did you mean `a`?"),
            ("`c` has no output `trian`", "did you mean `train`?"),
            ("unknown field `matrx` in the stage `d`", "did you mean `matrix`?"),
            ("unknown resource `cpu`", "did you mean `cpus`?"),
            ("`e` has no input `dta`", "did you mean `data`?"),
        ],
    );
}

#[test]
fn a_cycle_is_printed_from_stage_to_stage_with_its_places() {
    let cycle = |extra: &str| {
        stages(&format!(
            "  ¦a: {{command: cat, inputs: {{x: c.o}}, outputs: {{o: {{name: o.txt}}}}}}\n  b: {{command: cat, inputs: {{x: a.o}}, \
             outputs: {{o: {{name: o.txt}}}}}}\n  c: {{command: cat, inputs: {{x: b.o}}, outputs: {{o: {{name: o.txt}}}}}}\n{extra}"
        ))
    };
    let output = refused(&cycle(""), &[("the stages form a cycle: a -> b -> c -> a", "remove one of these inputs")]);
    output.expect_stderr(&[
        "`b` reads `a`",
        "`c` reads `b`",
        "`a` reads `c`",
        "4 |   a: ",
        "5 |   b: ",
        "6 |   c: ",
        "::: pipeline.yaml:4:33",
    ]);
    refused(
        &stages("  ¦me: {command: cat, inputs: {x: me.o}, outputs: {o: {name: o.txt}}}\n"),
        &[("the stages form a cycle: me -> me", "remove one of these inputs")],
    )
    .expect_stderr(&["`me` reads `me`"]);
    // Two cycles, and one with a matrix is told once, not once a cell.
    refused(
        &cycle(
            "  ¦d: {command: cat, inputs: {x: \"e.o\"}, outputs: {o: {name: o.txt}}, matrix: {s: [1, 2, 3]}}\n  e: {command: cat, \
             inputs: {x: d.o}, outputs: {o: {name: o.txt}}, matrix: {s: [1, 2, 3]}}\n",
        ),
        &[("a -> b -> c -> a", "remove"), ("d -> e -> d", "remove")],
    );
}

#[test]
fn references_that_lead_nowhere_are_told() {
    let with = |reference: &str| {
        stages(&format!(
            "  a:\n    uses: data/glyphs\n    matrix: {{s: [1, 2], t: [1, 2]}}\n  b:\n    uses: data/split\n    with: \
             {{seed: 1}}\n    inputs: {{data: ¦\"{reference}\"}}\n"
        ))
    };
    refused(&with("a.train"), &[("one cell of `a` is needed here, 4 fit", "give s and t: `a[s=...,t=...]`")]);
    refused(&with("a[s=1].train"), &[("one cell of `a` is needed here, 2 fit", "give t: `a[t=...]`")]);
    refused_with(&with("a[s=3,t=1].train"), &["b"], &[("no cell of `a` fits `b`", "there are a[s=1,t=1]")]);
    refused(&with("a[u=3].train"), &[("`a` has no matrix axis `u`", "did you mean")]);
    refused(&with("a[s=1,t=1]"), &[("`a` has several outputs", "name one: `a.train`, `a.test`")]);
    refused(&with("a[s=1"), &[("`]` is missing", "stage.output")]);
    refused(&with("a[s=1,t=1]."), &[("names no output", "stage.output")]);
    refused(&with("nothing.train"), &[("no stage `nothing`", "stages: `a`, `b`")]);
    let list = stages(
        "  a: {uses: data/glyphs}\n  b:\n    uses: data/split\n    with: {seed: 1}\n    inputs: {data: [¦a.train, a.test]}\n",
    );
    refused(&list, &[("the input `data` takes one artifact, 2 are given", "give one: `data: stage.output`")]);
    let number = stages("  a: {uses: data/split, with: {seed: 1}, inputs: {data: ¦3}}\n");
    refused(&number, &[("the input `data` names an output of a stage", "data: stage.output")]);
    let not_list = stages("  a: {uses: data/split, with: {seed: 1}, inputs: ¦[x]}\n");
    let output = Project::with_pipeline(&marked(&not_list).0).pru_flow(&["plan", "pipeline.yaml"]);
    output.expect_code(2).expect_stderr(&["`inputs` is a mapping"]);
}

#[test]
fn stages_that_are_no_stages_are_told() {
    refused(
        &stages(
            "  ¦a: {}\n  b: ¦3\n  c: {uses: data/glyphs, command: ¦cat}\n  d: {uses: ¦[x]}\n  ¦e: {command: cat}\n  f: \
             {command: ¦[], outputs: [o]}\n  g: {command: cat, outputs: {o: {name: ¦a/b}}}\n  h: {command: cat, outputs: {o: \
             ¦../x}}\n  i: {command: cat, outputs: ¦{}}\n  j: {command: cat, ¦with: {x: 1}, outputs: [o]}\n  k: {uses: \
             data/glyphs, outputs: [¦o], ¦code: x}\n  l: {command: ¦\"cat ${inputs.y}\", outputs: [o]}\n  ¦m n: {uses: \
             data/glyphs}\n  o: {command: cat, outputs: {o: ¦3}}\n",
        ),
        &[
            ("the stage `a` does nothing", "add `uses: train/original`"),
            ("the stage `b` is a mapping, not a whole number", "give it `uses:` or `command:`"),
            ("either `uses` or `command`, not both", "remove one of them"),
            ("`uses` names a stage", "uses: train/original"),
            ("the command `e` declares no output", "add `outputs: {result: out/result.txt}`"),
            ("`command` is a text for the shell, or a list of words", "command: [python3"),
            ("the output `o` has a plain file name, not `a/b`", "give a path in the project"),
            ("the output `o` lies in the project: `../x` is not a path in the project", "o: out/result.txt"),
            ("`outputs` names at least one output", "outputs: {result: out/result.txt}"),
            ("a command takes no `with`", "put the values into the command"),
            ("`data/glyphs` has no output `o`", "`train`"),
            ("a stage with `uses:` takes no `code`", "only a command does"),
            ("this command has no input `y`", "there are no inputs here"),
            ("`m n` is no name for a stage", "names begin with a letter"),
            ("the output `o` is a path in the project, or nothing, not a whole number", "o: out/result.txt"),
        ],
    );
}

#[test]
fn mistakes_of_every_layer_are_told_in_one_pass() {
    // Duplicate key, unknown field, unknown stage, bad template, bad param, bad output: YAML, shape, and expansion.
    refused_with(
        "version: 1\nname: t\nparams: {lr: 1, ¦lr: 2}\nstages:\n  a: {uses: data/glyphs, ¦wiht: {train: 3}}\n  b: {uses: \
         ¦data/splt, inputs: {data: a.train}}\n  c: {uses: data/glyphs, with: {train: ¦\"${params.rl}\", seed: ¦x}}\n  d: \
         {uses: data/split, with: {seed: 1}, inputs: {data: ¦c.tain}}\n",
        &["--set", "nowhere=1"],
        &[
            ("duplicate key `lr`", "remove one of them"),
            ("unknown field `wiht`", "did you mean `with`?"),
            ("unknown stage `data/splt`", "did you mean `data/split`?"),
            ("unknown param `params.rl`", "did you mean `lr`?"),
            ("`seed` takes a whole number, not the text `x`", "Decides every image"),
            ("`c` has no output `tain`", "did you mean `train`?"),
            ("unknown param `nowhere`", "params: `lr`"),
        ],
    )
    .expect_stderr(&["pipeline.yaml: 7 problems; nothing was run"]);
}

#[test]
fn unknown_nodes_and_wrong_options_are_refused_before_anything_runs() {
    let text = stages("  glyphs:\n    uses: data/glyphs\n    matrix: {s: [1, 2]}\n");
    let project = Project::with_pipeline(&text);
    for (args, said) in [
        (vec!["run", "pipeline.yaml", "glyph"], "did you mean `glyphs`?"),
        (vec!["run", "pipeline.yaml", "glyphs[t=1]"], "did you mean `s`?"),
        (vec!["run", "pipeline.yaml", "glyphs[s=3]"], "there are glyphs[s=1], glyphs[s=2]"),
        (vec!["run", "pipeline.yaml", "glyphs["], "`axis=value` was expected"),
        (vec!["run", "pipeline.yaml", ""], "names no stage"),
        (vec!["explain", "pipeline.yaml", "glyphs"], "names 2 nodes: glyphs[s=1], glyphs[s=2]; name one"),
        (vec!["run", "pipeline.yaml", "-j", "0"], "0 is not in 1.."),
        (vec!["run", "pipeline.yaml", "-j", "many"], "invalid value 'many'"),
        (vec!["run", "pipeline.yaml", "--cpus", "0"], "0 is not in 1.."),
        (vec!["run", "pipeline.yaml", "--device", "gpu"], "use auto, cpu, cuda or cuda:0"),
        (vec!["run"], "<PIPELINE>"),
        (vec!["runn", "pipeline.yaml"], "similar subcommands exist: 'runs', 'run'"),
        (vec!["run", "pipeline.yaml", "--sett", "a=1"], "--set"),
        (vec!["stages", "unlearn/puru"], "did you mean `unlearn/pru`?"),
    ] {
        let output = project.pru_flow(&args);
        output.expect_code(2).expect_stderr(&["error: ", said]);
        assert_eq!(output.stdout, "", "{args:?}");
        assert!(!project.path(".pru-flow").exists(), "{args:?} made a store");
    }
}

#[test]
fn nearly_every_typo_of_one_letter_is_answered_with_the_right_word() {
    const WORDS: &[(&str, &str)] = &[
        ("stages", "stages:\n  a: {uses: data/glyphs}\n"),
        ("params", "params: {x: 1}\nstages:\n  a: {uses: data/glyphs}\n"),
        ("uses", "stages:\n  a: {uses: data/glyphs}\n"),
        ("with", "stages:\n  a: {uses: data/glyphs, with: {train: 3}}\n"),
        ("matrix", "stages:\n  a: {uses: data/glyphs, matrix: {s: [1]}}\n"),
        ("resources", "stages:\n  a: {uses: data/glyphs, resources: {cpus: 1}}\n"),
        ("cpus", "stages:\n  a: {uses: data/glyphs, resources: {cpus: 1}}\n"),
        ("memory", "stages:\n  a: {uses: data/glyphs, resources: {memory: 1}}\n"),
        ("exclude", "stages:\n  a: {uses: data/glyphs, matrix: {s: [1, 2], exclude: [{s: 1}]}}\n"),
        ("data/glyphs", "stages:\n  a: {uses: data/glyphs}\n"),
        ("rotation_degrees", "stages:\n  a: {uses: data/glyphs, with: {rotation_degrees: 3.0}}\n"),
        ("train", "stages:\n  a: {uses: data/glyphs, with: {train: 3}}\n"),
        ("contrast", "stages:\n  a: {uses: data/glyphs, with: {contrast: [0.5, 0.6]}}\n"),
        (
            "optimizer",
            "stages:\n  g: {uses: data/glyphs}\n  a: {uses: train/original, with: {optimizer: {lr: 1, weight_decay: 0}}, inputs: {data: g.train}}\n",
        ),
        (
            "weight_decay",
            "stages:\n  g: {uses: data/glyphs}\n  a: {uses: train/original, with: {optimizer: {lr: 1, weight_decay: 0}}, inputs: {data: g.train}}\n",
        ),
        (
            "batch_size",
            "stages:\n  g: {uses: data/glyphs}\n  a: {uses: train/original, with: {batch_size: 3}, inputs: {data: g.train}}\n",
        ),
        (
            "sequential",
            "stages:\n  g: {uses: data/glyphs}\n  a: {uses: train/original, with: {order: sequential}, inputs: {data: g.train}}\n",
        ),
        ("inputs", "stages:\n  g: {uses: data/glyphs}\n  a: {uses: train/original, inputs: {data: g.train}}\n"),
    ];
    let project = Project::new();
    let (mut right, mut all, mut missed) = (0, 0, Vec::new());
    for (word, text) in WORDS {
        for (index, typo) in typos(word).into_iter().enumerate() {
            // `exclude` misspelt is an axis, which is no mistake by itself but for its values.
            let file = format!("typo-{index}.yaml");
            let at = text.rfind(word).expect("the word stands in the text");
            let mistaken = format!("{HEAD}{}{typo}{}", &text[..at], &text[at + word.len()..]);
            project.write(&file, mistaken);
            let output = project.pru_flow(&["plan", &file]);
            all += 1;
            let said: String = output.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            if output.code == 2 && said.contains(&format!("did you mean `{word}`?")) {
                right += 1;
            } else {
                missed.push(format!("{typo} for {word}"));
            }
        }
    }
    assert!(all >= 60, "{all} typos");
    assert!(right * 100 >= all * 95, "{right} of {all}; missed: {missed:?}");
}

/// A letter left out, two swapped, one doubled, one replaced: at the beginning, middle and end.
fn typos(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    let mut all = Vec::new();
    let mut left_out = letters.clone();
    left_out.remove(middle);
    all.push(left_out);
    let mut swapped = letters.clone();
    swapped.swap(middle - 1, middle);
    all.push(swapped);
    let mut doubled = letters.clone();
    doubled.insert(letters.len() - 1, letters[letters.len() - 1]);
    all.push(doubled);
    let mut replaced = letters.clone();
    replaced[1] = 'q';
    all.push(replaced);
    let all = all.into_iter().map(String::from_iter);
    all.filter(|typo| typo != word).collect()
}

#[test]
fn a_source_that_is_missing_is_told_before_anything_runs() {
    let text = stages(
        "  ok: {command: \"echo > ${outputs.o}\", outputs: [o]}\n  a: {uses: data/mnist, with: {root: ¦mnist}}\n  b: {uses: \
         data/image_folder, with: {path: ¦images.tar}}\n",
    );
    let (clean, places) = marked(&text);
    let project = Project::with_pipeline(&clean);
    let output = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
    output.expect_code(2);
    assert_eq!(output.stdout, "", "an event before the check");
    for place in places {
        assert!(output.stderr.contains(&format!("--> pipeline.yaml:{place}\n")), "{place}:\n{}", output.stderr);
    }
    output.expect_stderr(&["is missing", "= help: ", "images.tar"]);
    // To plan is still possible: it says what to put where.
    let output = project.pru_flow(&["plan", "pipeline.yaml"]);
    output.expect_code(0);
    assert!(output.stdout.contains("unknown") && output.stdout.contains("is missing"), "{}", output.stdout);
}

#[test]
fn a_source_of_bad_bytes_fails_its_stage_with_the_reason_and_others_go_on() {
    let idx = |magic: u32, counts: &[u32], bytes: &[u8]| {
        let mut all = magic.to_be_bytes().to_vec();
        all.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        all.extend(bytes);
        all
    };
    let images = idx(0x0803, &[2, 28, 28], &[7; 2 * 784]);
    let labels = idx(0x0801, &[2], &[1, 2]);
    let cases = [
        ("truncated", images[..900].to_vec(), labels.clone(), "train-images"),
        ("magic", idx(0x0804, &[2, 28, 28], &[7; 2 * 784]), labels.clone(), "magic"),
        ("label", images.clone(), idx(0x0801, &[2], &[1, 12]), "12"),
        ("size", idx(0x0803, &[2, 14, 14], &[7; 2 * 196]), labels.clone(), "14"),
    ];
    for (name, train_images, train_labels, said) in cases {
        let project = Project::with_pipeline(&stages(
            "  ok: {command: \"echo > ${outputs.o}\", outputs: [o]}\n  a: {uses: data/mnist, with: {root: data}}\n",
        ));
        project.write("data/train-images-idx3-ubyte", train_images);
        project.write("data/train-labels-idx1-ubyte", train_labels);
        project.write("data/t10k-images-idx3-ubyte", &images);
        project.write("data/t10k-labels-idx1-ubyte", &labels);
        let output = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
        output.expect_code(1);
        let events = output.events();
        let failed = events.iter().find(|event| event["outcome"] == "failed").expect("a failed node");
        assert_eq!(failed["node"], "a");
        let reason = failed["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(said), "{name}: {reason}");
        assert!(events.iter().any(|event| event["node"] == "ok" && event["outcome"] == "executed"), "{name}");
        assert_eq!(output.finished()["failed"], 1);
    }
    let project = Project::with_pipeline(&stages("  a: {uses: data/image_folder, with: {path: data}}\n"));
    for part in ["train", "test"] {
        project.write(format!("data/{part}/cat/1.jpg"), b"\xff\xd8\xff\xe0 no picture");
    }
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(1).expect_stderr(&["failed", "corrupt JPEG"]);
    let project = Project::with_pipeline(&stages("  a: {uses: model/import, with: {path: model.pt}}\n"));
    project.write("model.pt", b"PK\x03\x04 a pickle in a zip");
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(1).expect_stderr(&["failed", "safetensors"]);
}
