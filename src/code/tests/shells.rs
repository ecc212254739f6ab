//! Scripts of the shell, and texts: what they source and run.

use super::{Project, follows, follows_and_warns};

/// Scripts that any test may run, and some that none does.
const FILES: [(&str, &str); 9] = [
    ("train.py", "import lib"),
    ("lib.py", ""),
    ("prepare.py", ""),
    ("unrelated.py", ""),
    ("unrelated.sh", "python unrelated.py"),
    ("src/train.py", "import own"),
    ("src/own.py", ""),
    ("steps/one.sh", "python prepare.py"),
    ("steps/two.sh", "echo two"),
];
const TRAIN: [&str; 3] = ["lib.py", "run.sh", "train.py"];

#[track_caller]
fn script(text: &str, expected: &[&str]) {
    let files = [&FILES[..], &[("run.sh", text)]].concat();
    follows(&files, "bash run.sh --lr 0.1", expected);
    follows(&files, "sh run.sh", expected);
}

#[track_caller]
fn script_warns(text: &str, expected: &[&str], warnings: &[&str]) {
    let files = [&FILES[..], &[("run.sh", text)]].concat();
    follows_and_warns(&files, "bash run.sh", expected, warnings);
}

#[test]
fn a_script_of_the_shell_is_followed_into_what_it_runs() {
    script("#!/bin/bash\nset -euo pipefail\npython train.py \"$@\"\n", &TRAIN);
    script("python \\\n  train.py \\\n  --x 1\n", &TRAIN);
    script("if [ -f x ]; then python train.py; fi\n", &TRAIN);
    script("for x in 1 2 3; do\n  python train.py --x $x &\ndone\nwait\n", &TRAIN);
    script("while read x; do (python train.py $x) || exit 1; done < list.txt\n", &TRAIN);
    script("case $1 in\n  a|b) python train.py ;;\n  *) echo none ;;\nesac\n", &TRAIN);
    script("main() {\n  local x=1\n  python train.py\n}\nmain\n", &TRAIN);
    script("function main {\n  python train.py\n}\nmain\n", &TRAIN);
    script("x=$(python train.py | tail -1)\necho `date`\n", &TRAIN);
    script("diff <(python train.py) expected.txt\n", &TRAIN);
    script("[[ $x == 'a' && -n \"$y\" ]] && python train.py\n((i < 3)) && echo\n", &TRAIN);
    script("time nice -n 5 python train.py 2>&1 | tee log.txt\n", &TRAIN);
    script("{ python train.py; } > log 2>&1\n", &TRAIN);
    script("trap 'rm -f tmp' EXIT\npython train.py\n", &TRAIN);
    script("cat <<EOF > note.txt\npython unrelated.py\nEOF\npython train.py\n", &TRAIN);
    script("# python unrelated.py\necho 'python unrelated.py' # bash unrelated.sh\npython train.py\n", &TRAIN);
    script("bash -c 'python train.py'\n", &TRAIN);
    script("eval \"python train.py\"\n", &TRAIN);
    script("echo none\n", &["run.sh"]);
}

#[test]
fn scripts_run_scripts_and_circles_end() {
    script("bash steps/one.sh\nsh ./steps/two.sh\n", &["prepare.py", "run.sh", "steps/one.sh", "steps/two.sh"]);
    script("bash run.sh again\n", &["run.sh"]);
    script(
        "for step in steps/*.sh; do bash \"$step\"; done\n",
        &["prepare.py", "run.sh", "steps/one.sh", "steps/two.sh"],
    );
    script("for s in steps/t?o.sh; do sh $s; done\n", &["run.sh", "steps/two.sh"]);
}

#[test]
fn sourced_files_are_followed_and_their_variables_count() {
    let env = ("env.sh", "SCRIPT=train.py\nexport PYTHON=python\n");
    let expected = ["env.sh", "lib.py", "run.sh", "train.py"];
    for text in [
        "source env.sh\n$PYTHON $SCRIPT\n",
        ". ./env.sh\n\"$PYTHON\" \"$SCRIPT\"\n",
        "source \"$(dirname \"$0\")/env.sh\"\n${PYTHON} ${SCRIPT}\n",
        "DIR=\"$( cd \"$( dirname \"${BASH_SOURCE[0]}\" )\" && pwd )\"\nsource $DIR/env.sh\n$PYTHON $DIR/$SCRIPT\n",
        ". ${0%/*}/env.sh; $PYTHON $SCRIPT",
    ] {
        let files = [&FILES[..], &[("run.sh", text), env]].concat();
        follows(&files, "bash run.sh", &expected);
    }
    let files = [&FILES[..], &[env]].concat();
    follows(&files, ". ./env.sh && $PYTHON $SCRIPT", &["env.sh", "lib.py", "train.py"]);
}

#[test]
fn variables_may_hold_any_value_that_they_are_given() {
    script("S=train.py\npython $S\n", &TRAIN);
    script("PY=${PY:-python}\n$PY train.py\n", &TRAIN);
    script("CMD='python -u train.py'\n$CMD --x 1\n", &TRAIN);
    script("python \"${SCRIPT:-train.py}\"\n", &TRAIN);
    script("python ${1:-train.py}\n", &TRAIN);
    let both = ["lib.py", "prepare.py", "run.sh", "train.py"];
    script("if x; then S=train.py; else S=prepare.py; fi\npython $S\n", &both);
    script("for s in train.py prepare.py; do python $s; done\n", &both);
    script("all=(train.py prepare.py)\nfor s in \"${all[@]}\"; do python $s; done\n", &both);
    script("for n in train prepare; do python \"$n.py\"; done\n", &both);
    script("X=prepare\nexport S=$X.py\npython $S; python train.py\n", &both);
    script_warns("python $SCRIPT.py\n", &["run.sh"], &["run.sh:1: `.py` is run, and is not there yet"]);
    let unknown = "is run, and what it stands for cannot be told";
    let which = "run.sh:3: which Python runs `ROOT/train.py` cannot be told";
    script_warns("P=$(pick)\n\n$P train.py\n", &TRAIN, &[&format!("run.sh:3: `$P` {unknown}"), which]);
    script_warns(
        "S=$(pick)\npython $S\n",
        &["run.sh"],
        &["run.sh:2: `python` runs `$S`, and what it stands for cannot be told"],
    );
    script_warns(
        "source $(pick)\n",
        &["run.sh"],
        &["run.sh:1: `$(...)` is sourced, and what it stands for cannot be told"],
    );
    script_warns("source gone.sh\n", &["run.sh"], &["run.sh:1: `gone.sh` is sourced, and there is no such file"]);
    script_warns("X=$(pick)\neval $X\n", &["run.sh"], &["run.sh:2: what `eval` runs cannot be told"]);
    // What a script is given is looked at where it is given.
    script("exec \"$@\"\n", &["run.sh"]);
    script("python \"$1\"\n", &["run.sh"]);
}

#[test]
fn what_a_script_is_given_is_followed_where_it_is_named() {
    let files = [&FILES[..], &[("run.sh", "exec \"$@\"")]].concat();
    follows(&files, "bash run.sh python train.py", &TRAIN);
    for text in ["bash run.sh train.py", "bash run.sh --script=train.py"] {
        follows_and_warns(&files, text, &TRAIN, &["which Python runs `ROOT/train.py` cannot be told"]);
    }
}

#[test]
fn variables_of_the_environment_and_of_the_caller_reach_a_script() {
    let files = [&FILES[..], &[("run.sh", "python $S")]].concat();
    let mut project = Project::new(&files);
    project.set("S", "train.py");
    assert_eq!(project.names(&project.shell("bash run.sh")), TRAIN);
    project.set("S", "prepare.py");
    assert_eq!(project.names(&project.shell("bash run.sh")), ["prepare.py", "run.sh"]);
    project.variables.remove("S");
    assert_eq!(project.names(&project.shell("S=train.py bash run.sh")), TRAIN);
    assert_eq!(project.names(&project.shell("export S=train.py; bash run.sh")), TRAIN);
    // A number is not looked at: nodes that differ in nothing else share what is found.
    project.set("S", "3");
    assert_eq!(
        project.warnings(&project.shell("bash run.sh")),
        ["run.sh:1: `python` runs `$S`, and what it stands for cannot be told"]
    );
}

#[test]
fn a_change_of_folder_is_followed() {
    let own = ["src/own.py", "src/train.py"];
    let both = ["lib.py", "src/own.py", "src/train.py", "train.py"];
    follows(&[FILES[5], FILES[6]], "cd src && python train.py", &own);
    // Both folders may be the one: more is safe.
    follows(&FILES, "cd src && python train.py", &both);
    follows(&FILES, "(cd src; python own.py)", &["src/own.py"]);
    let files = [&FILES[..], &[("src/run.sh", "cd \"$(dirname \"$0\")\"\npython own.py\n")]].concat();
    follows(&files, "bash src/run.sh", &["src/own.py", "src/run.sh"]);
}

#[test]
fn scripts_without_an_extension_are_known_by_their_first_line() {
    let project = Project::new(&FILES);
    project.program("project/go", "#!/usr/bin/env bash\npython train.py\n");
    project.program("project/tool/predict", "#!/usr/bin/env python3\nimport helper\n");
    project.write("tool/helper.py", "");
    let names = |text: &str| project.names(&project.shell(text));
    assert_eq!(names("./go 3"), ["go", "lib.py", "train.py"]);
    assert_eq!(names("nohup ./go"), ["go", "lib.py", "train.py"]);
    assert_eq!(names("xyz ./go"), ["go", "lib.py", "train.py"]);
    assert_eq!(names("tool/predict --x"), ["tool/helper.py", "tool/predict"]);
    assert_eq!(names("bash go"), ["go", "lib.py", "train.py"]);
    // A file of data that is there is no script.
    project.write("data/table", "#!/usr/bin/env python3\nimport lib\n");
    assert_eq!(names("cat data/table"), [""; 0]);
}

#[test]
fn other_languages_are_one_file_with_a_warning() {
    let files = [
        ("fit.R", "source('other.R')"),
        ("other.R", ""),
        ("fit.jl", ""),
        ("look.ipynb", "{}"),
        ("sum.awk", ""),
        ("Makefile", "all:\n\tpython x.py"),
        ("rules.mk", ""),
        ("plot", "set term png"),
    ];
    let warn = |file: &str, language: &str| format!("{file}:1: is {language}, whose imports are not followed");
    for (text, file, language) in [
        ("Rscript fit.R --x", "fit.R", "R"),
        ("R -f fit.R", "fit.R", "R"),
        ("julia --project fit.jl", "fit.jl", "Julia"),
        ("papermill look.ipynb out.ipynb", "look.ipynb", "a notebook"),
        ("make all", "Makefile", "Make"),
        ("make -f rules.mk", "rules.mk", "Make"),
    ] {
        follows_and_warns(&files, text, &[file], &[&warn(file, language)]);
    }
    follows(&files, "awk -f sum.awk x.csv", &["sum.awk"]);
    let project = Project::new(&files);
    assert_eq!(project.shell("Rscript fit.R").warnings[0].help, "name them under `code:`");
}

#[test]
fn texts_that_nobody_writes_break_nothing() {
    let project = Project::new(&[]);
    let reader = super::CodeReader::new(None);
    for text in [
        "",
        " ",
        ";",
        "&&",
        ")",
        "(",
        "((",
        "$((",
        "${",
        "${x",
        "`",
        "\"",
        "'",
        "$(",
        "<<",
        "<<E",
        "<<E\n",
        "case",
        "case x in",
        "case x in a)",
        "case x in a) ;;",
        "for",
        "for x",
        "for x in",
        "if",
        "then fi",
        "function",
        "f()",
        "f() {",
        "[[",
        "a=(",
        "a=(b",
        "${x:-",
        "${x:-${y:-${z}}}",
        "$'",
        "$\"",
        "\\",
        "a\\",
        "<(",
        ">&",
        "2>",
        "x=",
        "~",
        "~x/y",
        "{a,b}",
        "{",
        "}",
        "!",
        "esac",
        ";;",
        "$",
        "$$",
        "${}",
        "${.}",
        "${a.b}",
        "é=ü ß",
        "$(é",
        "\u{1}*",
        "\0",
        "#",
        "a #b",
        "a#b",
        "python",
        "python -",
        "python -c",
        "python -m",
        "bash",
        "bash -c",
        "env",
        "env -S",
        "nice -n",
        "uv run",
        "conda run -n",
        "timeout",
        "eval",
        "source",
        "trap",
        "xargs",
        "make -C",
        "python -W",
        "$(dirname)",
        "$(cd x && pwd)",
        "$(pwd pwd)",
        "`pwd`",
        "cd",
        "cd -",
        "$0",
        "${0%/*}",
    ] {
        for text in [text.to_owned(), format!("{text}\n{text} x"), format!("x {text} {text}")] {
            let _ = project.code_in(&reader.look(), super::Line::Shell(&text), ".");
        }
    }
    // Deep nesting, and variables that are made of very many.
    let deep = format!("{}python x.py{}", "$(".repeat(5000), ")".repeat(5000));
    let braces = "${a:-".repeat(5000);
    let many: Vec<String> = (0..60).map(|i| format!("v{}=$v{i}$v{i}\n", i + 1)).collect();
    for text in [deep, braces, "(".repeat(100_000), format!("v0=x\n{}$v60", many.concat())] {
        let _ = project.code_in(&reader.look(), super::Line::Shell(&text), ".");
    }
}
