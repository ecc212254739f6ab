//! Bad params, matrices, templates and resources through the binary; see `bad_input.rs`.

mod hermetic;

use hermetic::refusal::{HEAD, refused, refused_with, stages};

#[test]
fn params_of_the_wrong_type_are_told_with_what_the_stage_says_of_them() {
    refused(
        &stages(
            "  a:\n    uses: data/glyphs\n    with: {train: ¦many, noise: ¦[0.1], scale: ¦0.5, seed: ¦1.5, stroke: [¦thin, \
             2.0]}\n  b:\n    uses: train/original\n    with:\n      model: {width: ¦wide, ¦widht: 1}\n      optimizer: \
             {lr: ¦fast, weight_decay: 0}\n      epochs: ¦-3\n      order: ¦shufled\n      momentum_reset: ¦no\n    \
             inputs: {data: a.train}\n",
        ),
        &[
            ("`train` takes a whole number, not the text `many`", "Number of training images"),
            ("`noise` takes a number, not a list", "Standard deviation of the noise"),
            ("`scale` takes a list, not a number (`0.5`)", "Smallest and largest size"),
            ("`seed` takes a whole number, not a number (`1.5`)", "Decides every image"),
            ("`stroke.0` takes a number, not the text `thin`", "Thinnest and thickest stroke"),
            ("`model.width` takes a number, not the text `wide`", "Width factor"),
            ("unknown param `model.widht` of `train/original`", "did you mean `width`?"),
            ("`optimizer.lr` takes a number, not the text `fast`", "Learning rate, above 0"),
            ("`epochs` takes a whole number from 0, not -3", "Passes over the data"),
            ("`order` takes `shuffled` or `sequential`, not `shufled`", "did you mean `shuffled`?"),
            ("`momentum_reset` takes a boolean, not the text `no`", "Start every epoch with zero momentum"),
        ],
    );
}

#[test]
fn numbers_that_are_none_or_out_of_range_are_told() {
    refused(
        &stages(
            "  a:\n    uses: data/glyphs\n    with: {train: ¦0, test: ¦5000000000, noise: ¦.nan, slant: ¦-1.0, shift: ¦.inf, \
             seed: ¦18446744073709551615}\n  b:\n    uses: train/original\n    with: {epochs: ¦0, optimizer: {lr: ¦-0.1, \
             weight_decay: 0, momentum: ¦1.5}}\n    inputs: {data: a.train}\n",
        ),
        &[
            ("`train`: 0 is not between 1 and 1000000", "Number of training images"),
            ("`test` takes a whole number up to 4294967295, not 5000000000", "Number of test images"),
            ("NaN is not a finite number", "write a finite number"),
            ("`slant`: -1 is not between 0 and 1", "Largest slant"),
            ("inf is not a finite number", "write a finite number"),
            ("18446744073709551615 is too large", "whole numbers reach from"),
            ("`epochs` is 0; at least 1 is needed", "Passes over the data"),
            ("`optimizer.lr` is -0.1; a finite number above 0 is needed", "Learning rate"),
            ("`optimizer.momentum` is 1.5; 0 <= momentum < 1 is needed", "Momentum"),
        ],
    );
}

#[test]
fn a_param_or_input_that_is_missing_is_told_with_its_documentation() {
    refused(
        &stages("  a: {uses: data/glyphs}\n  ¦b:\n    uses: data/split\n    inputs: {data: a.train}\n"),
        &[("`b` has no param `seed`, which `data/split` needs", "add `seed: ...` under `with:`")],
    )
    .expect_stderr(&["np.random.seed"]);
    refused(
        &stages("  a: {uses: data/glyphs}\n  ¦b:\n    uses: data/split\n    with: {seed: 7}\n"),
        &[("`b` needs the input `data`: the data set", "add `inputs: {data: stage.output}`")],
    );
    refused(
        &stages(
            "  a: {uses: data/glyphs}\n  b:\n    uses: train/original\n    with: {optimizer: ¦{lr: 0.1}}\n    inputs: \
             {data: a.train}\n",
        ),
        &[(
            "`optimizer` has no `weight_decay`, which `train/original` needs",
            "under `optimizer:`: `weight_decay` (number)",
        )],
    )
    // All of a mapping is underlined, not only its brace.
    .expect_stderr(&[&format!(" {}\n", "^".repeat("{lr: 0.1}".len()))]);
    // The wrong name is told, and that the right one is missing is not told again.
    refused(
        &stages(
            "  a: {uses: data/glyphs}\n  b:\n    uses: train/original\n    with: {optimizer: {¦learning_rate: 0.1, \
             weight_decay: 0}}\n    inputs: {data: a.train}\n",
        ),
        &[("unknown param `optimizer.learning_rate` of `train/original`", "did you mean `lr`?")],
    );
}

#[test]
fn two_nodes_of_one_name_are_told_at_the_value_that_comes_again() {
    let with = |matrix: &str| stages(&format!("  a:\n    uses: data/glyphs\n    matrix: {matrix}\n"));
    refused(&with("{s: [1, 2, ¦1]}"), &[("two nodes are called `a[s=1]`", "repeats a value")])
        .expect_stderr(&["again", "first"]);
    refused(&with("{s: [1, 2], include: [{s: ¦2}]}"), &[("two nodes are called `a[s=2]`", "repeats a value")]);
    refused(&with("{s: [1, ¦\"1\"]}"), &[("two nodes are called `a[s=1]`", "repeats a value")]);
    refused(&with("{s: [1, ¦1], t: [1, 2, 3]}"), &[("two nodes are called `a[s=1,t=1]`", "repeats a value")]);
}

#[test]
fn a_matrix_that_makes_no_sense_is_told() {
    let with = |matrix: &str| stages(&format!("  ¦a:\n    uses: data/glyphs\n    matrix: {matrix}\n"));
    let at = |matrix: &str| with(matrix).replace("¦a:", "a:");
    refused(&at("¦[1]"), &[("`matrix` is a mapping", "matrix: {class: [0, 3, 8]")]);
    refused(&at("¦{}"), &[("`matrix` has no axis", "add one")]);
    refused(&at("{s: ¦[]}"), &[("the axis `s` is a list with at least one value, not an empty one", "s: [1, 2, 3]")]);
    refused(&at("{s: ¦3}"), &[("the axis `s` is a list with at least one value, not a whole number", "s: [3]")]);
    refused(
        &at("{s: [¦{x: 1}, ¦[2]]}"),
        &[
            ("a value of the axis `s` is a single value, not a mapping", "name it: `s: {first: {...}, second: {...}}`"),
            ("a value of the axis `s` is a single value, not a list", "s: 3"),
        ],
    );
    refused(&at("{s: [1, 2], exclude: [¦{s: 3}]}"), &[("this `exclude` leaves out nothing", "remove it")]);
    refused(&at("{s: [1, 2], exclude: [¦{}]}"), &[("this `exclude` leaves out nothing", "remove it")]);
    refused(&with("{s: [1], exclude: [{s: 1}]}"), &[("the matrix of `a` has no cell", "remove one of its items")]);
    refused(&at("{s: [1], t: [1], include: [¦{s: 3}]}"), &[("gives no value for the axis `t`", "names every axis")]);
    refused(
        &at("{s: [1], include: ¦3, exclude: ¦[4]}"),
        &[("`include` is a list of cells", "include: [{"), ("`exclude` is a list of cells", "exclude: [{")],
    );
    refused(&at("{seed: [1, 2], exclude: [{¦sede: 1}]}"), &[("unknown matrix axis `sede`", "did you mean `seed`?")]);
    refused(&at("{¦2x: [1]}"), &[("`2x` is no name for a matrix axis", "names begin with a letter")]);
}

#[test]
fn an_axis_from_a_param_of_the_wrong_kind_shows_the_param_too() {
    let text = format!(
        "{HEAD}params:\n  seeds: 7\nstages:\n  a:\n    uses: data/glyphs\n    with: {{seed: \"${{matrix.seed}}\"}}\n    \
         matrix: {{seed: ¦\"${{params.seeds}}\"}}\n"
    );
    refused(&text, &[("the axis `seed` is a list with at least one value, not a whole number", "write it: [7]")])
        .expect_stderr(&["::: pipeline.yaml:4:10", "its value"]);
}

#[test]
fn one_bad_param_in_a_hundred_cells_is_told_once() {
    let seeds: Vec<String> = (0..100).map(|i| i.to_string()).collect();
    let text = stages(&format!(
        "  a:\n    uses: data/glyphs\n    with: {{seed: \"${{matrix.s}}\", train: ¦0, ¦tset: 3}}\n    matrix: {{s: [{0}]}}\n  \
         b:\n    uses: data/split\n    with: {{seed: \"${{matrix.s}}\"}}\n    inputs: {{data: ¦\"a[s=200].train\"}}\n    \
         matrix: {{s: [{0}]}}\n",
        seeds.join(", ")
    ));
    refused(
        &text,
        &[
            ("`train`: 0 is not between", "Number of training images"),
            ("unknown param `tset`", "did you mean `test`?"),
            ("no cell of `a` fits `b[s=0]` (and 99 more cells)", "there are a[s=0], a[s=1]"),
        ],
    );
}

#[test]
fn templates_that_mean_nothing_are_told_once_each() {
    let with = |value: &str| {
        format!(
            "{HEAD}params: {{epochs: 3, deep: {{lr: 1}}}}\nstages:\n  a: {{uses: data/glyphs, with: {{train: ¦\"{value}\"}}}}\n"
        )
    };
    refused(&with("${params.epoch}"), &[("unknown param `params.epoch`", "did you mean `epochs`?")]);
    refused(&with("${params.deep.rl}"), &[("unknown param `params.deep.rl`", "did you mean `lr`?")]);
    refused(&with("${params.epochs.x}"), &[("a whole number has no `x`", "shorten the path")]);
    refused(&with("${params.epochs"), &[("`${` without its `}`", "write `$${` for a literal `${`")]);
    refused(&with("${}"), &[("`${}` names nothing", "write `$${`")]);
    refused(&with("${param.epochs}"), &[("begins with an unknown name", "did you mean `params`?")]);
    refused(&with("${env.HOME}"), &[("begins with an unknown name", "`params.`, `matrix.` or `stages.`")]);
    refused(&with("${matrix.x}"), &[("there is no matrix here", "add `matrix:` to the stage")]);
    refused(&with("${params.deep}"), &[("`train` takes a whole number, not a mapping", "Number of training images")]);
    refused(
        &with("x ${params.deep}"),
        &[("is a mapping, which cannot stand inside a text", "only a single value can")],
    );
    refused(&with("${inputs.x}"), &[("is a path that only a command knows", "connect stages under `inputs:`")]);
}

#[test]
fn a_value_that_came_from_a_param_is_shown_where_it_was_written() {
    let text = format!(
        "{HEAD}params:\n  epochs: many\nstages:\n  a: {{uses: data/glyphs, with: {{train: ¦\"${{params.epochs}}\"}}}}\n"
    );
    refused(&text, &[("`train` takes a whole number, not the text `many`", "Number of training images")])
        .expect_stderr(&["::: pipeline.yaml:4:11", "its value"]);
}

#[test]
fn resources_of_the_wrong_kind_are_told() {
    refused(
        &stages(
            "  a:\n    uses: data/glyphs\n    resources: {cpus: ¦0, gpus: ¦-1, memory: ¦lots, exclusive: ¦1, device: ¦gpu}\n",
        ),
        &[
            ("`cpus` is a whole number from 1", "resources: {cpus: 2}"),
            ("`gpus` is a whole number from 0", "resources: {gpus: 1}"),
            ("`lots` is no amount of memory", "resources: {memory: 4GiB}"),
            ("`exclusive` is true or false", "resources: {exclusive: true}"),
            ("`gpu` is no device", "resources: {device: cpu}"),
        ],
    );
}

#[test]
fn wrong_set_arguments_say_what_would_be_right() {
    let text = format!(
        "{HEAD}params: {{n: 3, lr: 0.1, deep: {{rate: 1}}, name: x, flag: true, list: [1]}}\nstages:\n  a: {{uses: \
         data/glyphs}}\n"
    );
    let one = |argument: &str, message: &str, help: &str| {
        refused_with(&text, &["--set", argument], &[(message, help)]).expect_stderr(&["--> --set:"]);
    };
    one("m=1", "unknown param `m`", "did you mean `n`?");
    one("deep.rte=1", "unknown param `deep.rte`", "did you mean `deep.rate`?");
    one("rate=1", "unknown param `rate`", "did you mean `deep.rate`?");
    one("n.x=1", "`params.n` is a whole number: nothing is below it", "write `--set n=...`");
    one("n=x", "`params.n` is a whole number, and text was given", "its value in the file is `3`");
    one("lr=fast", "`params.lr` is a number, and text was given", "`0.1`");
    one("flag=1", "`params.flag` is a boolean, and a whole number was given", "`true`");
    one("deep=1", "`params.deep` is a mapping, and a whole number was given", "{\"rate\":1}");
    one("list=1", "`params.list` is a list, and a whole number was given", "`[1]`");
    one("lr=.nan", "the value of `lr` cannot be read: NaN is not a finite number", "written as in the file");
    one("list=[1", "the value of `list` cannot be read", "written as in the file");
    one("n", "`--set` takes path=value", "--set relearn.lr=0.002");
    one("=1", "`--set` takes path=value", "--set relearn.lr=0.002");
    one(
        "a.train=5",
        "unknown param `a.train`",
        "declare `params: {a: {train: ...}}` and write `train: ${params.a.train}`",
    );
    one("a.x.lr=5", "unknown param `a.x.lr`", "declare `params: {a: {x: {lr: ...}}}`");
    refused_with(&text, &["--set", "n=x", "--set", "m=1"], &[("text was given", "3"), ("unknown param `m`", "`n`")]);
}

#[test]
fn a_set_value_that_a_stage_refuses_is_shown_as_it_was_typed() {
    let text =
        format!("{HEAD}params: {{n: 3}}\nstages:\n  a: {{uses: data/glyphs, with: {{train: \"${{params.n}}\"}}}}\n");
    let output =
        refused_with(&text, &["--set", "n=-4"], &[("`train` takes a whole number from 0, not -4", "Number of")]);
    output.expect_stderr(&["--> --set:3", "| n=-4\n", "used here", "::: pipeline.yaml:5:"]);
}
