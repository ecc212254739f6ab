//! `sandbox:` of a stage, through the binary: what a command writes beside its outputs is told, or prevented.

mod hermetic;

use hermetic::Project;
use pru_flow::execute::confine::available;

fn run(text: &str, files: &[(&str, &str)]) -> (Project, hermetic::Output) {
    let project = Project::with_pipeline(&format!("version: 1\nname: s\nstages:\n{text}"));
    for (path, content) in files {
        project.write(path, content);
    }
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    (project, output)
}

#[test]
fn what_is_written_beside_the_outputs_is_told_with_the_node_and_what_is_declared_is_not() {
    let stage = |sandbox: &str| {
        format!(
            "  a: {{command: \"mkdir -p out; echo 1 > ${{outputs.o}}; echo 2 > out/beside.txt; echo 3 > ${{outputs.p}}\", \
             outputs: {{o: out/o.txt, p: }}, sandbox: {sandbox}}}\npublish: {{paper/o.txt: a.o}}\n"
        )
    };
    let (_project, output) = run(&stage("warn"), &[]);
    output.expect_code(0).expect_stderr(&["out/beside.txt", "declare it under `outputs:`"]);
    assert!(!output.stderr.contains("out/o.txt") && !output.stderr.contains("paper"), "{}", output.stderr);
    let (_project, output) = run(&stage("off"), &[]);
    assert!(!output.expect_code(0).stderr.contains("beside"), "{}", output.stderr);
}

#[test]
fn a_confined_command_reads_what_it_declares_writes_its_outputs_and_nothing_else() {
    if let Err(reason) = available() {
        eprintln!("skipped: no Landlock: {reason}");
        return;
    }
    let files = [
        ("in/a.txt", "a\n"),
        ("secret.txt", "secret\n"),
        ("scripts/s.sh", ". scripts/lib.sh\n"),
        ("scripts/lib.sh", "cat \"$@\"\n"),
    ];
    let stage = |command: &str, more: &str| {
        format!(
            "  first: {{command: \"echo first > ${{outputs.x}}\", outputs: {{x: first/x.txt}}}}\n  \
             a:\n    command: \"{command}\"\n    sandbox: enforce\n    inputs: {{a: ./in/a.txt, x: first.x}}\n    \
             outputs: {{o: out/o.txt, log: , folder: out/folder/}}\n{more}"
        )
    };
    let folder = "echo > ${outputs.folder}/f; echo > ${outputs.log}";
    let works = format!(
        "sh scripts/s.sh ${{inputs.a}} ${{inputs.x}} > ${{outputs.o}}; echo t > $TMPDIR/t && cat $TMPDIR/t >> ${{outputs.o}}; {folder}"
    );
    let (project, output) = run(&stage(&works, ""), &files);
    output.expect_code(0);
    assert_eq!(project.read("out/o.txt"), "a\nfirst\nt\n");
    let hidden = "f=secret; cat $f.txt > ${outputs.o} && ";
    let beside = "echo > out/beside.txt && echo > ${outputs.o} && ";
    for denied in [hidden, beside] {
        let (project, output) = run(&stage(&format!("{denied}{folder}"), ""), &files);
        output.expect_code(1).expect_stderr(&["`sandbox: enforce` is on", "Declare it under"]);
        assert!(!project.path("out/o.txt").exists(), "nothing is left of the attempt");
        assert!(!project.path("out/beside.txt").exists());
    }
    let (_project, output) = run(&stage("echo > ${outputs.log}", ""), &files);
    output.expect_code(1).expect_stderr(&["the declared output `o` was not written"]);
}
