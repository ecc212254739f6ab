//! What of a command's code enters its key, through the binary: scripts, what they import, the interpreter and what is
//! installed for it; and what is said where it cannot be followed.

mod hermetic;

use std::os::unix::fs::PermissionsExt;

use hermetic::Project;

fn outcomes(project: &Project, more: &[&str]) -> Vec<String> {
    let output = project.pru_flow(&[&["run", "pipeline.yaml", "--json"], more].concat());
    output.expect_code(0);
    output.outcomes().into_iter().map(|(node, how)| format!("{node} {how}")).collect()
}

#[test]
fn an_edited_script_of_the_shell_or_what_it_sources_runs_again_and_nothing_else_does() {
    let text =
        "version: 1\nname: c\nstages:\n  a: {command: \"sh scripts/a.sh > ${outputs.o}\", outputs: {o: o.txt}}\n";
    let project = Project::with_pipeline(text);
    project.write("scripts/a.sh", ". scripts/lib.sh\nhello\n");
    project.write("scripts/lib.sh", "hello() { echo hello; }\n");
    project.write("scripts/other.sh", "echo other\n");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    project.write("scripts/other.sh", "echo changed\n");
    assert_eq!(outcomes(&project, &[]), ["a cached"]);
    project.write("scripts/lib.sh", "hello() { echo good morning; }\n");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    assert_eq!(project.read("o.txt"), "good morning\n");
}

#[test]
fn the_imports_of_a_script_are_part_of_its_key_wherever_they_lie() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let text =
        "version: 1\nname: c\nstages:\n  a: {command: [python3, src/main.py, \"${outputs.o}\"], outputs: {o: o.txt}}\n";
    let project = Project::with_pipeline(text);
    project.write("src/main.py", "import sys\nfrom pkg.model import name\nopen(sys.argv[1], 'w').write(name())\n");
    project.write("src/pkg/__init__.py", "");
    project.write("src/pkg/model.py", "from . import words\ndef name():\n    return words.WORD\n");
    project.write("src/pkg/words.py", "WORD = 'one'\n");
    project.write("src/pkg/unused.py", "WORD = 'one'\n");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    assert_eq!(outcomes(&project, &[]), ["a cached"]);
    project.write("src/pkg/unused.py", "WORD = 'two'\n");
    assert_eq!(outcomes(&project, &[]), ["a cached"]);
    project.write("src/pkg/words.py", "WORD = 'two'\n");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    assert_eq!(project.read("o.txt"), "two");
    // A module that now stands before another of its name.
    project.write("src/sys_like.py", "");
    assert_eq!(outcomes(&project, &[]), ["a cached"]);
}

#[test]
fn listed_code_stands_in_place_of_what_would_be_followed_and_what_cannot_be_is_named() {
    let text = |code: &str| {
        format!(
            "version: 1\nname: c\nstages:\n  a: {{command: \"sh a.sh > ${{outputs.o}}\", outputs: {{o: o.txt}}{code}}}\n"
        )
    };
    let project = Project::with_pipeline(&text(""));
    project.write("a.sh", ". ./$(sed 1q name.txt).sh\n. ./told.sh\nhello\n");
    project.write("lib.sh", "hello() { echo hello; }\n");
    project.write("told.sh", ":\n");
    project.write("name.txt", "lib\n");
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(0).expect_stderr(&["a.sh:1: ", "code:"]);
    project.write("pipeline.yaml", text(", code: [lib.sh, told.sh]"));
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(0);
    assert!(!output.stderr.contains("a.sh:1"), "{}", output.stderr);
    for (file, outcome) in [("lib.sh", "a executed"), ("told.sh", "a executed"), ("a.sh", "a executed")] {
        let content = format!("{}# changed\n", project.read(file));
        project.write(file, content);
        assert_eq!(outcomes(&project, &[]), [outcome], "{file}");
    }
}

#[test]
fn code_that_changes_while_it_runs_is_not_cached() {
    let text = "version: 1\nname: c\nstages:\n  a: {command: \"sh a.sh; echo > ${outputs.o}\", outputs: {o: o.txt}}\n";
    let project = Project::with_pipeline(text);
    project.write("a.sh", ". ./lib.sh\n");
    project.write("lib.sh", "true\necho '# changed' >> lib.sh\n");
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(1).expect_stderr(&["changed while the stage ran", "is not cached"]);
}

#[test]
fn a_program_that_is_not_there_is_told_before_anything_runs() {
    let text = "version: 1\nname: c\nstages:\n  a: {command: [nosuchprogram, x], outputs: [o]}\n  b: {command: \"true > ${outputs.o}\", outputs: [o]}\n";
    let project = Project::with_pipeline(text);
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(2).expect_stderr(&["nosuchprogram", "pipeline.yaml:4:3"]);
}

#[test]
fn another_program_of_the_same_name_runs_again() {
    let text = "version: 1\nname: c\nstages:\n  a: {command: [bin/tool, \"${outputs.o}\"], outputs: {o: o.txt}}\n";
    let project = Project::with_pipeline(text);
    let write = |word: &str| {
        let path = project.write("bin/tool", format!("#!/bin/sh\necho {word} > \"$1\"\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("one");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    assert_eq!(outcomes(&project, &[]), ["a cached"]);
    write("two");
    assert_eq!(outcomes(&project, &[]), ["a executed"]);
    assert_eq!(project.read("o.txt"), "two\n");
}
