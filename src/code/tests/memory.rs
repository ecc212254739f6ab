//! What is remembered, and that a new look sees every change.

use std::fs;
use std::sync::Arc;

use super::Project;
use crate::code::seen::now_ns;
use crate::code::{CodeReader, CommandCode, Line, Look};

fn later(reader: &CodeReader) -> Look<'_> {
    reader.look_at(now_ns() + 10_000_000_000)
}

fn code(project: &Project, look: &Look<'_>, text: &str) -> Arc<CommandCode> {
    project.code_in(look, Line::Shell(text), ".").unwrap()
}

#[test]
fn commands_that_differ_in_numbers_share_what_was_found() {
    let mut project = Project::new(&[("train.py", "import m"), ("m.py", ""), ("run.sh", "python train.py")]);
    let reader = CodeReader::new(None);
    let look = reader.look();
    for (one, other) in [
        ("python train.py --lr 0.1 out/1.csv", "python train.py --lr 1e-3 out/2.csv > log"),
        ("SEED=1 python train.py", "SEED=2 python train.py"),
        ("SEED=1 bash run.sh 1", "SEED=22 bash run.sh 22 33"),
    ] {
        assert!(Arc::ptr_eq(&code(&project, &look, one), &code(&project, &look, other)), "{one}");
    }
    let text = "bash run.sh";
    project.set("SEED", "1");
    let one = code(&project, &look, text);
    project.set("SEED", "2");
    assert!(Arc::ptr_eq(&one, &code(&project, &look, text)), "numbers in the environment");
    assert_eq!(project.names(&one), ["m.py", "run.sh", "train.py"]);
    assert!(
        !Arc::ptr_eq(&one, &code(&project, &look, "bash run.sh other.py")) || !project.root().join("other.py").exists()
    );
}

#[test]
fn a_new_look_sees_every_change_and_an_unchanged_project_is_not_walked_again() {
    let project = Project::new(&[
        ("s/train.py", "import a.b, late, shadow\nfrom a import maybe\n"),
        ("s/a/__init__.py", ""),
        ("s/a/b.py", ""),
        ("s/late/x.py", ""),
        ("lib/shadow.py", ""),
    ]);
    let reader = CodeReader::new(None);
    let text = "PYTHONPATH=lib python s/train.py";
    let base = ["lib/shadow.py", "s/a/__init__.py", "s/a/b.py", "s/train.py"];
    let check = |more: &[&str], less: &[&str], what: &str| {
        let mut expected: Vec<&str> = base.iter().chain(more).copied().filter(|name| !less.contains(name)).collect();
        expected.sort_unstable();
        let found = code(&project, &later(&reader), text);
        assert_eq!(project.names(&found), expected, "{what}");
        let again = code(&project, &later(&reader), text);
        assert!(Arc::ptr_eq(&found, &again), "{what}: nothing changed, and it was walked again");
    };
    check(&[], &[], "at first");
    project.write("s/a/b.py", "from . import c");
    check(&[], &[], "an import of what is not there");
    project.write("s/a/c.py", "");
    check(&["s/a/c.py"], &[], "the file that was missing");
    project.write("s/a/maybe.py", "");
    check(&["s/a/c.py", "s/a/maybe.py"], &[], "a name becomes a module");
    project.write("s/late.py", "");
    check(&["s/a/c.py", "s/a/maybe.py", "s/late.py"], &[], "a module wins over a folder");
    project.write("s/shadow.py", "");
    check(&["s/a/c.py", "s/a/maybe.py", "s/late.py", "s/shadow.py"], &[], "a module nearer by");
    fs::remove_file(project.root().join("lib/shadow.py")).unwrap();
    fs::remove_file(project.root().join("s/late.py")).unwrap();
    check(&["s/a/c.py", "s/a/maybe.py", "s/shadow.py"], &["lib/shadow.py"], "files go");
    fs::rename(project.root().join("s/a"), project.root().join("s/z")).unwrap();
    check(&["s/shadow.py"], &["lib/shadow.py", "s/a/__init__.py", "s/a/b.py"], "a folder goes");
    // Text of the same length, within one tick of the clock.
    project.write("s/train.py", "import m1");
    project.write("s/m1.py", "");
    project.write("s/m2.py", "");
    assert_eq!(project.names(&code(&project, &reader.look(), text)), ["s/m1.py", "s/train.py"]);
    project.write("s/train.py", "import m2");
    assert_eq!(project.names(&code(&project, &reader.look(), text)), ["s/m2.py", "s/train.py"]);
}

#[test]
fn programs_that_come_and_go_are_seen() {
    let mut project = Project::new(&[]);
    let path = format!("{}:{}", project.machine("first").display(), project.machine("bin").display());
    project.set("PATH", &path);
    let reader = CodeReader::new(None);
    let programs = |project: &Project| project.programs(&code(project, &later(&reader), "solve x"));
    assert_eq!(programs(&project), [""; 0]);
    project.program("bin/solve", "\x7fELF");
    assert_eq!(programs(&project), ["bin/solve"]);
    let first = project.program("first/solve", "\x7fELF");
    assert_eq!(programs(&project), ["first/solve"]);
    fs::remove_file(first).unwrap();
    assert_eq!(programs(&project), ["bin/solve"]);
}

#[test]
fn a_script_of_the_shell_that_changes_is_seen() {
    let project = Project::new(&[("run.sh", "python a.py"), ("a.py", ""), ("b.py", ""), ("env.sh", "S=a.py")]);
    let reader = CodeReader::new(None);
    let names = |text: &str| project.names(&code(&project, &later(&reader), text));
    assert_eq!(names("bash run.sh"), ["a.py", "run.sh"]);
    assert_eq!(names(". ./env.sh; python $S"), ["a.py", "env.sh"]);
    project.write("run.sh", "python b.py");
    project.write("env.sh", "S=b.py");
    assert_eq!(names("bash run.sh"), ["b.py", "run.sh"]);
    assert_eq!(names(". ./env.sh; python $S"), ["b.py", "env.sh"]);
}

#[test]
fn what_files_import_is_kept_from_run_to_run_and_a_changed_file_is_read_again() {
    let project = Project::new(&[("train.py", "import a"), ("a.py", "eval(x)"), ("b.py", "")]);
    let kept = project.machine("store/index/code");
    let run = || {
        let reader = CodeReader::new(Some(kept.clone()));
        let found = code(&project, &later(&reader), "python train.py");
        reader.save().unwrap();
        (project.names(&found), project.warnings(&found))
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let first = run();
    assert_eq!(first.0, ["a.py", "train.py"]);
    assert_eq!(first.1, ["a.py:1: `eval(x)` runs code that only a run can tell"]);
    assert_eq!(run(), first);
    let before = fs::read(&kept).unwrap();
    run();
    assert_eq!(fs::read(&kept).unwrap(), before, "nothing new, nothing else in the file");
    project.write("a.py", "import b");
    assert_eq!(run(), (names(&["a.py", "b.py", "train.py"]), vec![]));
    fs::remove_file(project.root().join("a.py")).unwrap();
    assert_eq!(run().0, ["train.py"]);
    project.write("train.py", "import b");
    assert_eq!(run().0, ["b.py", "train.py"]);
    assert!(!String::from_utf8(fs::read(&kept).unwrap()).unwrap().contains("a.py"), "a file that has gone is not kept");
    // A reader that looked at nothing writes nothing.
    let other = project.machine("other/index/code");
    CodeReader::new(Some(other.clone())).save().unwrap();
    assert!(!other.exists());
}

#[test]
fn folders_and_roots_are_part_of_what_is_remembered() {
    let project = Project::new(&[
        ("a/train.py", "import m"),
        ("a/m.py", ""),
        ("b/train.py", ""),
        ("b/run.sh", "python train.py"),
    ]);
    let reader = CodeReader::new(None);
    let look = reader.look();
    let names = |folder: &str| project.names(&project.code_in(&look, Line::Shell("python train.py"), folder).unwrap());
    assert_eq!(names("a"), ["a/m.py", "a/train.py"]);
    assert_eq!(names("b"), ["b/train.py"]);
}
