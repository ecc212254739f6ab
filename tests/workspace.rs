//! Outputs that lie in the project: made, moved aside, put back, restored, adopted, published, dropped; and who may
//! write and read which path.

mod hermetic;

use hermetic::Project;
use hermetic::refusal::refused;

/// `prepare` writes `data/n.txt`, `sum` adds it up into `out/sum.txt`.
const SUM: &str = r#"version: 1
name: sum
params: {n: 3}
stages:
  prepare:
    command: "seq ${params.n} > ${outputs.numbers}; echo ran >> ran.txt"
    outputs: {numbers: data/n.txt}
  sum:
    command: "awk '{s += $1} END {print s}' ${inputs.numbers} > out/sum.txt"
    inputs: {numbers: prepare.numbers}
    outputs: {sum: out/sum.txt}
"#;

fn run(project: &Project, more: &[&str]) -> hermetic::Output {
    project.pru_flow(&[&["run", "pipeline.yaml", "--json"], more].concat())
}

#[track_caller]
fn outcomes(project: &Project, more: &[&str]) -> Vec<String> {
    let output = run(project, more);
    output.expect_code(0);
    let mut all: Vec<String> = output.outcomes().into_iter().map(|(node, how)| format!("{node} {how}")).collect();
    all.sort();
    all
}

#[test]
fn outputs_lie_at_their_paths_and_come_back_without_running_when_they_are_missing() {
    let project = Project::with_pipeline(SUM);
    assert_eq!(outcomes(&project, &[]), ["prepare executed", "sum executed"]);
    assert_eq!(project.read("out/sum.txt"), "6\n");
    for remove in [&["out"][..], &["data"], &["out", "data"]] {
        for folder in remove {
            std::fs::remove_dir_all(project.path(folder)).unwrap();
        }
        assert_eq!(outcomes(&project, &[]), ["prepare cached", "sum cached"]);
        assert_eq!((project.read("data/n.txt"), project.read("out/sum.txt")), ("1\n2\n3\n".into(), "6\n".into()));
    }
    assert_eq!(outcomes(&project, &["--set", "n=4"]), ["prepare executed", "sum executed"]);
    assert_eq!(project.read("out/sum.txt"), "10\n");
    assert_eq!(outcomes(&project, &[]), ["prepare cached", "sum cached"]);
    assert_eq!(project.read("out/sum.txt"), "6\n", "the older result is back");
    assert_eq!(project.read("ran.txt"), "ran\nran\n");
    assert!(!project.path(".pru-flow/aside").exists(), "all of it was in the store");
}

#[test]
fn a_touched_output_is_left_alone_and_an_edited_one_is_kept_aside_and_restored() {
    let project = Project::with_pipeline(SUM);
    outcomes(&project, &[]);
    project.write("data/n.txt", "1\n2\n3\n");
    assert_eq!(outcomes(&project, &[]), ["prepare cached", "sum cached"]);
    project.write("data/n.txt", "edited by hand\n");
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(0).expect_stderr(&["data/n.txt held something that is not in the store; it is kept as"]);
    assert_eq!(project.read("data/n.txt"), "1\n2\n3\n");
    let kept: Vec<_> = std::fs::read_dir(project.path(".pru-flow/aside")).unwrap().flatten().collect();
    let kept = kept.iter().map(|e| e.path().join("data/n.txt")).find(|p| p.exists()).expect("it is kept");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "edited by hand\n");
}

#[test]
fn what_was_there_before_a_failed_attempt_is_back_after_it() {
    let project = Project::with_pipeline(
        "version: 1\nname: f\nstages:\n  f:\n    command: \"test ! -e out/a && mkdir out/a && echo half > out/a/x && exit 3\"\n    \
         outputs: {a: out/a}\n",
    );
    project.write("out/a/mine.txt", "mine");
    project.write("out/beside.txt", "beside");
    run(&project, &[]).expect_code(1);
    assert_eq!(project.read("out/a/mine.txt"), "mine");
    let mut names: Vec<_> = std::fs::read_dir(project.path("out")).unwrap().flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "beside.txt"]);
    assert!(!project.path("out/a/x").exists());
}

#[test]
fn what_a_killed_run_moved_aside_is_put_back_by_the_next_one() {
    let project = Project::with_pipeline(
        "version: 1\nname: k\nstages:\n  k:\n    command: \"echo half > a.txt; touch started; sleep 60\"\n    outputs: {a: a.txt}\n",
    );
    project.write("a.txt", "mine");
    let mut child = project.command(&["run", "pipeline.yaml"]).spawn().unwrap();
    while !project.path("started").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(project.read("a.txt"), "half\n");
    child.kill().unwrap();
    child.wait().unwrap();
    project.write(
        "pipeline.yaml",
        "version: 1\nname: k\nstages:\n  b: {command: \"cat a.txt > ${outputs.o}\", outputs: [o]}\n",
    );
    run(&project, &[]).expect_code(0);
    assert_eq!(project.read("a.txt"), "mine");
}

#[test]
fn an_output_of_nobody_s_knowledge_is_kept_when_a_stage_replaces_it() {
    let project = Project::with_pipeline(SUM);
    project.write("out/sum.txt", "worth keeping");
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(0).expect_stderr(&["out/sum.txt held something that is not in the store; it is kept as"]);
    assert_eq!(project.read("out/sum.txt"), "6\n");
}

#[test]
fn an_input_that_changes_while_a_stage_runs_is_named_and_nothing_is_cached() {
    let text = "version: 1\nname: m\nstages:\n  a: {command: \"echo 1 > ${outputs.x}\", outputs: {x: x.txt}}\n  \
                b: {command: \"cat ${inputs.x} ${inputs.y} > ${outputs.o}; echo 2 >> CHANGED\", inputs: {x: a.x, y: ./y.txt}, outputs: [o]}\n";
    for changed in ["x.txt", "y.txt"] {
        let project = Project::with_pipeline(&text.replace("CHANGED", changed));
        project.write("y.txt", "y");
        let output = project.pru_flow(&["run", "pipeline.yaml"]);
        output.expect_code(1).expect_stderr(&[changed, "changed while the stage ran; its result is not cached"]);
    }
}

#[test]
fn a_file_is_an_input_by_its_path_and_a_folder_of_the_project_is_where_a_command_runs() {
    let text = "version: 1\nname: c\nstages:\n  a:\n    command: \"pwd > ${outputs.where}; cat ${inputs.raw} local.txt > ${outputs.text}\"\n    \
                cwd: src\n    inputs: {raw: ./data/raw.txt}\n    outputs: {where: out/where.txt, text: out/text.txt}\n";
    let project = Project::with_pipeline(text);
    project.write("data/raw.txt", "raw\n");
    project.write("src/local.txt", "local\n");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    assert_eq!(project.read("out/text.txt"), "raw\nlocal\n");
    assert!(project.read("out/where.txt").trim_end().ends_with("/src"));
    assert_eq!(outcomes(&project, &[]), ["a cached"]);
    project.write("data/raw.txt", "other\n");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    project.write("src/local.txt", "changed\n");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    assert_eq!(project.read("out/text.txt"), "other\nchanged\n");
    std::fs::remove_file(project.path("data/raw.txt")).unwrap();
    run(&project, &[]).expect_code(2).expect_stderr(&["raw.txt is missing", "it is named under `inputs:`"]);
}

#[test]
fn only_the_values_that_a_stage_reads_of_a_file_decide() {
    let text = "version: 1\nname: r\nstages:\n  a: {command: \"cat params.yaml > ${outputs.o}\", reads: {params.yaml: [train.lr, list.1]}, outputs: [o]}\n";
    let project = Project::with_pipeline(text);
    project.write("params.yaml", "train: {lr: 0.1, epochs: 3}\nlist: [1, 2]\n");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    project.write("params.yaml", "list: [7, 2] # changed\ntrain: {lr: 1e-1, epochs: 5}\n");
    assert_eq!(outcomes(&project, &[]), ["a cached"]);
    for other in ["train: {lr: 0.2}\nlist: [1, 2]\n", "train: {lr: 0.1}\nlist: [1, 3]\n"] {
        project.write("params.yaml", other);
        assert_eq!(outcomes(&project, &[]), ["a executed"]);
    }
    project.write("params.yaml", "train: {rate: 0.1}\nlist: [1]\n");
    let output = run(&project, &[]);
    output.expect_code(2).expect_stderr(&["has no value `train.lr`", "values there: `rate`", "has no value `list.1`"]);
}

#[test]
fn variables_are_keyed_by_their_digest_and_inherited_ones_not_at_all() {
    let text = "version: 1\nname: e\nstages:\n  a: {command: \"echo $GIVEN ${SECRET:+has a secret} > ${outputs.o}\", env: {GIVEN: hunter2}, pass_env: [SECRET], outputs: {o: o.txt}}\n";
    let text = text.replace("${SECRET:+", "$${SECRET:+");
    let project = Project::with_pipeline(&text);
    let with_secret = |secret: &str| {
        let mut command = project.command(&["run", "pipeline.yaml", "--json"]);
        command.env("SECRET", secret);
        hermetic::Output::of(command)
    };
    with_secret("one").expect_code(0);
    assert_eq!(project.read("o.txt"), "hunter2 has a secret\n");
    assert_eq!(with_secret("two").outcomes(), [("a".to_owned(), "cached".to_owned())]);
    let plan = project.pru_flow(&["plan", "pipeline.yaml", "--json"]);
    assert!(!plan.stdout.contains("hunter2"), "{}", plan.stdout);
    project.write("pipeline.yaml", text.replace("hunter2", "hunter3"));
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
}

#[test]
fn two_nodes_never_write_one_path_and_nobody_reads_another_s_unasked() {
    let head = "version: 1\nname: w\nstages:\n";
    let both = "  a: {command: \"true\", outputs: {o: out/x}}\n  b: {command: \"true\", outputs: {o: ¦out/x}}\n";
    refused(&format!("{head}{both}"), &[("`a.o` and `b.o` are both written to `out/x`", "give each its own path")]);
    let cells = "  a: {command: \"true\", outputs: {o: ¦out/x}, matrix: {s: [1, 2, 3]}}\n";
    refused(&format!("{head}{cells}"), &[("both written to `out/x`", "${matrix.s}/out/x")]);
    let nested = "  a: {command: \"true\", outputs: {o: out}}\n  b: {command: \"true\", outputs: {o: ¦out/x/y}}\n";
    refused(&format!("{head}{nested}"), &[("lies inside `a.o` (`out`)", "move one of them")]);
    for reads in ["cat out/x > ${outputs.o}", "cat out/x/part > ${outputs.o}", "ls out > ${outputs.o}"] {
        let text = format!(
            "{head}  a: {{command: \"true\", outputs: {{x: out/x}}}}\n  ¦b: {{command: \"{reads}\", outputs: [o]}}\n"
        );
        refused(&text, &[("is the output `x` of `a`, to which `b` is not connected", "inputs: {x: a.x}")]);
        let connected = text.replace('¦', "").replace("outputs: [o]", "inputs: {x: a.x}, outputs: [o]");
        Project::with_pipeline(&connected).pru_flow(&["plan", "pipeline.yaml"]).expect_code(0);
    }
    let file = "  a: {command: \"true\", outputs: {x: out/x}}\n  ¦b: {command: \"true\", inputs: {x: ./out/x}, outputs: [o]}\n";
    refused(&format!("{head}{file}"), &[("is the output `x` of `a`", "inputs: {x: a.x}")]);
    let own = "  ¦a: {command: \"true\", inputs: {x: ./out/x}, outputs: {x: out/x}}\n";
    refused(&format!("{head}{own}"), &[("is an output of `a`, and among the files that it reads", "reads others")]);
    let publish =
        "  a: {command: \"true\", outputs: {x: out/x}}\npublish: {¦out/x: a.x, t: a.x, ¦t/u: a.x, ¦../v: a.x}\n";
    refused(
        &format!("{head}{publish}"),
        &[
            ("`out/x` is published, and an output of `a.x`", "a path of its own"),
            ("`t/u` is published twice", "one path for each"),
            ("`../v` is not a path in the project", "publish:"),
        ],
    );
}

#[test]
fn what_is_published_is_written_when_it_changed_and_only_then() {
    let text = format!("{SUM}publish: {{results/table.txt: sum.sum}}\n");
    let project = Project::with_pipeline(&text);
    outcomes(&project, &[]);
    assert_eq!(project.read("results/table.txt"), "6\n");
    let time = || std::fs::metadata(project.path("results/table.txt")).unwrap().modified().unwrap();
    let before = time();
    outcomes(&project, &[]);
    assert_eq!(time(), before);
    outcomes(&project, &["--set", "n=4"]);
    assert_eq!(project.read("results/table.txt"), "10\n");
}

#[test]
fn a_forced_node_runs_again_and_its_result_is_replaced_and_only_what_changed_follows() {
    let text = SUM.replace("seq ${params.n}", "cat seed.txt >/dev/null; seq ${params.n}");
    let project = Project::with_pipeline(&text);
    project.write("seed.txt", "x");
    outcomes(&project, &[]);
    assert_eq!(outcomes(&project, &["--force", "prepare"]), ["prepare executed", "sum cached"]);
    assert_eq!(outcomes(&project, &[]), ["prepare cached", "sum cached"]);
    assert_eq!(project.read("ran.txt"), "ran\nran\n");
    run(&project, &["prepare", "--force", "sum"]).expect_code(2).expect_stderr(&["sum is not part of this run"]);
    // Not deterministic: the new result takes the place of the old one.
    let dice = "version: 1\nname: d\nstages:\n  d: {command: \"date +%N > ${outputs.o}\", outputs: {o: o.txt}}\n";
    let project = Project::with_pipeline(dice);
    outcomes(&project, &[]);
    let first = project.read("o.txt");
    assert_eq!(outcomes(&project, &["--force", "d"]), ["d executed"]);
    let second = project.read("o.txt");
    assert_ne!(first, second);
    outcomes(&project, &[]);
    assert_eq!(project.read("o.txt"), second);
}

#[test]
fn a_stage_that_always_runs_does_and_what_reads_it_only_when_it_changed() {
    let text =
        SUM.replace("    outputs: {numbers: data/n.txt}", "    outputs: {numbers: data/n.txt}\n    always: true");
    let project = Project::with_pipeline(&text);
    outcomes(&project, &[]);
    assert_eq!(outcomes(&project, &[]), ["prepare executed", "sum cached"]);
    assert_eq!(project.read("ran.txt"), "ran\nran\n");
}

#[test]
fn an_output_that_is_not_kept_goes_after_its_last_reader_and_is_made_again_on_need() {
    let text = "version: 1\nname: k\nparams: {a: 1}\nstages:\n  \
                big: {command: \"seq 5000 > ${outputs.n}; seq 5000 9999 > ${outputs.m}; echo ran >> ran.txt\", outputs: {n: {keep: false}, m: {path: m.txt, keep: false}}}\n  \
                a: {command: \"wc -l < ${inputs.n} > ${outputs.o}; echo ${params.a} >> ${outputs.o}\", inputs: {n: big.n}, outputs: [o]}\n  \
                b: {command: \"wc -c < ${inputs.m} > ${outputs.o}\", inputs: {m: big.m}, outputs: [o]}\n  \
                same: {command: \"seq 5000 9999 > ${outputs.m}\", outputs: [m]}\n";
    let project = Project::with_pipeline(text);
    assert_eq!(outcomes(&project, &[]).len(), 4);
    let blobs = || walk(&project.path(".pru-flow/blobs"));
    assert!(!project.path("m.txt").exists());
    assert_eq!(blobs(), 1, "what another result keeps stays");
    assert_eq!(outcomes(&project, &[]), ["a cached", "b cached", "big cached", "same cached"]);
    assert_eq!(project.read("ran.txt"), "ran\n");
    let output = run(&project, &["--set", "a=2"]);
    output.expect_code(0);
    assert_eq!(output.outcomes().last().unwrap().1, "executed");
    assert_eq!(project.read("ran.txt"), "ran\nran\n", "it was needed once more");
    assert_eq!(blobs(), 1);
    run(&project, &["big"]).expect_code(0);
    assert_eq!(project.read("m.txt").lines().count(), 5000, "the run was for it");
}

fn walk(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}

#[test]
fn values_are_quoted_wherever_they_stand_in_a_text_for_the_shell() {
    let text = "version: 1\nname: q\nparams: {v: \"a $(touch pwned) 'b' \\\"c\\\" `touch pwned`\"}\nstages:\n  \
                a: {command: \"printf '%s\\n' ${params.v} \\\"${params.v}\\\" '${params.v}' > ${outputs.o}\", outputs: {o: \"dir with 'quotes'/o.txt\"}}\n";
    let project = Project::with_pipeline(text);
    outcomes(&project, &[]);
    let line = "a $(touch pwned) 'b' \"c\" `touch pwned`\n";
    assert_eq!(project.read("dir with 'quotes'/o.txt"), line.repeat(3));
    assert!(!project.path("pwned").exists());
    let heredoc = "version: 1\nname: q\nparams: {v: \"a b\"}\nstages:\n  a:\n    command: ¦\"cat > ${outputs.o} <<END\\n${params.v}\\nEND\"\n    outputs: [o]\n";
    refused(heredoc, &[("`${params.v}` cannot stand in a here-document", "give it as a variable")]);
}

#[test]
fn outputs_that_were_made_before_are_adopted_without_running_anything() {
    let project = Project::with_pipeline(SUM);
    project.write("data/n.txt", "1\n2\n");
    let commit = |more: &[&str]| project.pru_flow(&[&["commit", "pipeline.yaml"], more].concat());
    let output = commit(&[]);
    output.expect_code(0);
    assert_eq!(
        output.stdout,
        "prepare  committed\nsum  not committed: out/sum.txt: No such file or directory (os error 2)\n"
    );
    assert_eq!(outcomes(&project, &[]), ["prepare cached", "sum executed"]);
    assert_eq!(project.read("out/sum.txt"), "3\n");
    assert!(!project.path("ran.txt").exists());
    project.write("out/sum.txt", "four\n");
    let output = commit(&["sum"]);
    output.expect_code(0);
    assert_eq!(output.stdout, "sum  committed\n");
    assert_eq!(outcomes(&project, &[]), ["prepare cached", "sum cached"]);
    assert_eq!(project.read("out/sum.txt"), "four\n");
    std::fs::remove_file(project.path("out/sum.txt")).unwrap();
    commit(&["sum"]).expect_code(1);
    assert_eq!(outcomes(&project, &[]), ["prepare cached", "sum cached"]);
    assert_eq!(project.read("out/sum.txt"), "four\n");
}

#[test]
fn a_hard_link_shares_its_bytes_with_the_store_and_an_edited_one_is_never_used() {
    use std::os::unix::fs::MetadataExt;
    let text = "version: 1\nname: l\nstages:\n  a: {command: \"seq 3000 > ${outputs.n}\", outputs: {n: {path: n.txt, link: hard}}}\n  \
                b: {command: \"wc -l < ${inputs.n} > ${outputs.o}\", inputs: {n: a.n}, outputs: {o: o.txt}}\n";
    let project = Project::with_pipeline(text);
    outcomes(&project, &[]);
    let links = || std::fs::metadata(project.path("n.txt")).unwrap().nlink();
    assert_eq!(links(), 2);
    std::fs::remove_file(project.path("n.txt")).unwrap();
    assert_eq!(outcomes(&project, &[]), ["a cached", "b cached"]);
    assert_eq!(links(), 2);
    // An edit through the link reaches the blob: it is noticed, and made anew.
    let path = project.path("n.txt");
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    std::fs::set_permissions(&path, permissions).unwrap();
    std::fs::write(&path, "edited\n").unwrap();
    assert_eq!(outcomes(&project, &["--force", "b"]), ["a executed", "b executed"]);
    assert_eq!((project.read("o.txt"), project.read("n.txt").lines().count()), ("3000\n".into(), 3000));
}

#[test]
fn two_runs_at_once_do_not_spoil_each_other_s_outputs() {
    let text = "version: 1\nname: t\nstages:\n  a: {command: \"echo a > out.txt; sleep 0.7; echo b >> out.txt\", outputs: {o: out.txt}}\n";
    let project = Project::with_pipeline(text);
    let mut first = project.command(&["run", "pipeline.yaml", "--json"]);
    let first = first.stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(350));
    run(&project, &["--force", "a"]).expect_code(0);
    assert!(first.wait_with_output().unwrap().status.success());
    assert_eq!(project.read("out.txt"), "a\nb\n");
    std::fs::remove_file(project.path("out.txt")).unwrap();
    assert_eq!(outcomes(&project, &[]), ["a cached"]);
    assert_eq!(project.read("out.txt"), "a\nb\n");
}

#[test]
fn from_and_until_cut_the_graph() {
    let text = "version: 1\nname: c\nstages:\n  \
                a: {command: \"echo a > ${outputs.o}\", outputs: [o]}\n  b: {command: \"cat ${inputs.a} > ${outputs.o}\", inputs: {a: a.o}, outputs: [o]}\n  \
                c: {command: \"cat ${inputs.b} > ${outputs.o}\", inputs: {b: b.o}, outputs: [o]}\n  other: {command: \"true > ${outputs.o}\", outputs: [o]}\n";
    let project = Project::with_pipeline(text);
    assert_eq!(outcomes(&project, &["--until", "b"]), ["a executed", "b executed"]);
    assert_eq!(outcomes(&project, &["--from", "b"]), ["a cached", "b cached", "c executed"]);
    assert_eq!(outcomes(&project, &["--from", "b", "--until", "b"]), ["a cached", "b cached"]);
    run(&project, &["--from", "b", "--until", "other"]).expect_code(2).expect_stderr(&["other does not depend on b"]);
    run(&project, &["--from", "bb"]).expect_code(2).expect_stderr(&["no stage `bb`"]);
}
