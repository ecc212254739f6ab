//! What is installed for a Python: when it is asked, what it is asked with, and what its answer changes.

use std::fs;
use std::path::PathBuf;

use super::Project;
use crate::code::seen::now_ns;
use crate::code::{CodeError, CodeReader, CommandCode, Line, Look, differences};

/// A moment by which all that was written before has settled.
fn later(reader: &CodeReader) -> Look<'_> {
    reader.look_at(now_ns() + 10_000_000_000)
}

fn train(project: &Project, look: &Look<'_>) -> Result<CommandCode, CodeError> {
    project.code_in(look, Line::Shell("python train.py"), ".").map(|code| code.as_ref().clone())
}

fn text(project: &Project, reader: &CodeReader) -> String {
    train(project, &later(reader)).unwrap().pythons[0].text()
}

fn install(project: &Project, distribution: &str) {
    fs::create_dir_all(project.machine("site").join(format!("{distribution}.dist-info"))).unwrap();
}

fn remove(project: &Project, distribution: &str) {
    fs::remove_dir(project.machine("site").join(format!("{distribution}.dist-info"))).unwrap();
}

fn project() -> Project {
    let project = Project::new(&[("train.py", "import own"), ("own.py", "")]);
    install(&project, "numpy-1.26.4");
    project
}

#[test]
fn the_text_names_version_and_distributions_and_an_upgrade_changes_it() {
    let (project, reader) = (project(), CodeReader::new(None));
    let before = text(&project, &reader);
    assert_eq!(before, "CPython 3.11.2\nnumpy==1.26.4\n");
    remove(&project, "numpy-1.26.4");
    install(&project, "numpy-2.0.0");
    install(&project, "SciPy-1.11");
    let now = text(&project, &reader);
    assert_eq!(now, "CPython 3.11.2\nnumpy==2.0.0\nscipy==1.11\n");
    assert_eq!(differences(&before, &now), ["numpy 1.26.4 -> 2.0.0", "scipy 1.11 is new"]);
    assert_eq!(project.asked(), 2);
}

#[test]
fn python_is_asked_once_and_again_when_anything_changes_on_which_its_answer_depends() {
    let (project, reader) = (project(), CodeReader::new(None));
    for _ in 0..3 {
        text(&project, &reader);
    }
    assert_eq!(project.asked(), 1);
    let pth = project.machine("site/more.pth");
    let changes: [(&str, &dyn Fn()); 5] = [
        ("a distribution", &|| install(&project, "scipy-1.11")),
        ("a new .pth", &|| fs::write(&pth, "").unwrap()),
        ("a line in a .pth", &|| fs::write(&pth, "/more\n").unwrap()),
        ("pyvenv.cfg", &|| fs::write(project.machine("pyvenv.cfg"), "home = /x\n").unwrap()),
        ("the interpreter", &|| drop(project.python("bin/python", "CPython 3.11.3"))),
    ];
    let mut asked = 1;
    for (what, change) in changes {
        change();
        asked += 1;
        for _ in 0..2 {
            text(&project, &reader);
        }
        assert_eq!(project.asked(), asked, "{what}");
    }
    assert!(text(&project, &reader).starts_with("CPython 3.11.3\nnumpy==1.26.4\n"));
    // What has nothing to do with it.
    project.write("data.csv", "");
    fs::write(project.machine("home/x"), "").unwrap();
    text(&project, &reader);
    assert_eq!(project.asked(), asked);
}

#[test]
fn an_answer_is_kept_from_run_to_run() {
    let project = project();
    let kept = project.machine("store/index/python.json");
    let run = || {
        let reader = CodeReader::new(Some(kept.clone()));
        let text = text(&project, &reader);
        reader.save().unwrap();
        text
    };
    let first = run();
    assert_eq!((run(), project.asked()), (first.clone(), 1));
    let bytes = fs::read(&kept).unwrap();
    // Whatever happens to the file, the answer is right.
    for damaged in [&b""[..], b"x", &bytes[..bytes.len() / 2], b"{}", &[&bytes[..], b" "].concat()] {
        let asked = project.asked();
        fs::write(&kept, damaged).unwrap();
        assert_eq!(run(), first);
        assert_eq!(project.asked(), asked + 1);
    }
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&kept, damaged).unwrap();
        assert_eq!(run(), first, "byte {at}");
    }
    install(&project, "scipy-1.11");
    assert_eq!(run(), "CPython 3.11.2\nnumpy==1.26.4\nscipy==1.11\n");
    assert_eq!(run(), "CPython 3.11.2\nnumpy==1.26.4\nscipy==1.11\n");
}

#[test]
fn a_change_within_a_tick_of_the_clock_is_not_missed() {
    let (project, reader) = (project(), CodeReader::new(None));
    for _ in 0..2 {
        // Nothing has settled: another change could leave the same times.
        train(&project, &reader.look()).unwrap();
    }
    assert_eq!(project.asked(), 2);
}

#[test]
fn a_look_asks_each_python_once_however_many_want_it() {
    let (project, reader) = (project(), CodeReader::new(None));
    let look = reader.look();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for script in 0..20 {
                    let text = format!("python train.py; python made_{script}.py");
                    project.code_in(&look, Line::Shell(&text), ".").unwrap();
                }
            });
        }
    });
    assert_eq!(project.asked(), 1);
}

#[test]
fn a_program_that_chooses_a_python_is_asked_in_every_look() {
    let (project, reader) = (project(), CodeReader::new(None));
    let real = project.python("real/python", "CPython 3.12.0");
    project.python_that_says(
        "bin/python",
        "CPython 3.12.0",
        &format!("\"executable\": {:?}", real.display().to_string()),
    );
    for look in 1..4 {
        let look_now = later(&reader);
        for _ in 0..3 {
            assert_eq!(train(&project, &look_now).unwrap().pythons[0].version(), "CPython 3.12.0");
        }
        assert_eq!(project.asked(), look);
    }
}

#[test]
fn a_python_that_does_not_answer_is_an_error_that_says_why() {
    let project = project();
    for (text, why) in [
        ("#!/bin/sh\necho first >&2; echo 'no such library' >&2; exit 1\n", "no such library"),
        ("#!/bin/sh\nexit 3\n", "it printed nothing of use"),
        ("#!/bin/sh\necho 'pru-flow-python:{}'\n", "what it printed cannot be read"),
        ("#!/nonexistent/interpreter\n", "No such file or directory"),
    ] {
        let path = project.program("bin/python", text);
        let error = train(&project, &CodeReader::new(None).look()).unwrap_err();
        assert!(
            error.message.starts_with(&format!("the Python at {} does not answer: {why}", path.display())),
            "{error}"
        );
        assert!(error.help.contains("--clear"), "{}", error.help);
    }
    // One that may or may not be run is no reason to stop.
    let code = project.shell("xyz python train.py; python3 train.py");
    assert_eq!(code.pythons.len(), 1);
}

#[test]
fn a_failure_is_not_tried_again_in_the_same_look_and_is_in_the_next() {
    let project = project();
    let asked = project.machine("asked").display().to_string();
    project.program("bin/python", &format!("#!/bin/sh\necho asked >> {asked}\nexit 1\n"));
    let reader = CodeReader::new(None);
    let look = later(&reader);
    for script in 0..5 {
        let text = format!("python train.py {script}; python other_{script}.py");
        assert!(project.code_in(&look, Line::Shell(&text), ".").is_err());
    }
    assert_eq!(project.asked(), 1);
    project.python("bin/python", "CPython 3.11.2");
    assert!(train(&project, &later(&reader)).is_ok());
}

#[test]
fn python_is_asked_with_the_variables_of_the_command_but_without_pythonpath() {
    let mut project = project();
    let path = project.machine("bin/python");
    let answer = r#"pru-flow-python:{"version": "'"$PYTHONPATH|$PYTHONUSERBASE|$PYTHONSTARTUP|$MINE"'", "executable": "'"$0"'", "prefix": "", "installed": [], "outside": [], "linked": {}}"#;
    project.program("bin/python", &format!("#!/bin/sh\nprintf '%s\\n' '{answer}'\n"));
    for (name, value) in [("PYTHONPATH", "p"), ("PYTHONUSERBASE", "u"), ("PYTHONSTARTUP", "s"), ("MINE", "m")] {
        project.set(name, value);
    }
    let reader = CodeReader::new(None);
    assert_eq!(train(&project, &later(&reader)).unwrap().pythons[0].version(), "|u||m", "{}", path.display());
    // What an answer depends on is part of the question.
    project.set("PYTHONUSERBASE", "v");
    assert_eq!(train(&project, &later(&reader)).unwrap().pythons[0].version(), "|v||m");
    project.set("PYTHONPATH", "q");
    assert_eq!(train(&project, &later(&reader)).unwrap().pythons[0].version(), "|v||m");
}

#[test]
fn packages_that_are_installed_to_be_edited_are_followed_where_they_lie() {
    let project = Project::new(&[
        ("scripts/train.py", "import lib.net, tool, named.sub, odd"),
        ("libs/src/lib/__init__.py", ""),
        ("libs/src/lib/net.py", "from . import layer"),
        ("libs/src/lib/layer.py", ""),
        ("libs/src/lib/unrelated.py", ""),
        ("apart/tool.py", "import helper"),
        ("apart/helper.py", ""),
        ("elsewhere/real/__init__.py", ""),
        ("elsewhere/real/sub.py", ""),
        ("plain/odd.py", ""),
    ]);
    let path = |name: &str| format!("{:?}", project.root().join(name).display().to_string());
    let fields = format!(
        "\"outside\": [{}], \"linked\": {{\"tool\": [{}], \"named\": [{}]}}",
        path("libs/src"),
        path("apart/tool"),
        path("elsewhere/real")
    );
    project.python_that_says("bin/python", "CPython 3.11.2", &fields);
    let info = project.machine("site/odd-1.0.dist-info");
    fs::create_dir_all(&info).unwrap();
    let url = format!("file://{}", project.root().join("plain").display());
    fs::write(info.join("direct_url.json"), format!(r#"{{"url": "{url}", "dir_info": {{"editable": true}}}}"#))
        .unwrap();
    let code = project.shell("python scripts/train.py");
    let expected = [
        "apart/tool.py",
        "elsewhere/real/__init__.py",
        "elsewhere/real/sub.py",
        "libs/src/lib/__init__.py",
        "libs/src/lib/layer.py",
        "libs/src/lib/net.py",
        "plain/odd.py",
        "scripts/train.py",
    ];
    // `helper` lies beside `tool`, but no path leads there: Python does not find it either.
    assert_eq!(project.names(&code), expected);
    assert_eq!(code.pythons[0].text(), "CPython 3.11.2\nodd==1.0 (editable)\n");
}

/// The program on the PATH of this process, if there is one.
fn real_python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("python3")).find(|path| path.is_file())
}

#[test]
fn a_real_python_answers() {
    // Only where there is none, nothing can be said of it.
    if real_python().is_none() {
        return;
    }
    let mut project = Project::without_python(&[("train.py", "import own, json"), ("own.py", ""), ("json.txt", "")]);
    for name in ["PATH", "HOME"] {
        project.set(name, &std::env::var(name).unwrap_or_default());
    }
    // A module in the working folder is not mistaken for one of Python's own while it is asked.
    project.write("platform.py", "raise SystemExit('the wrong one')");
    let reader = CodeReader::new(None);
    let code = project.code_in(&reader.look(), Line::Shell("python3 train.py"), ".").unwrap();
    let python = &code.pythons[0];
    let told = std::process::Command::new("python3").arg("--version").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let version = told.trim().strip_prefix("Python ").unwrap();
    assert_eq!(python.version().split(' ').nth(1), Some(version));
    assert_eq!(project.names(&code), ["own.py", "train.py"]);
    let lines: Vec<String> = python.text().lines().skip(1).map(str::to_owned).collect();
    let is_known = |line: &String| line.contains("==") || line.ends_with("(editable)");
    assert!(lines.iter().all(is_known) && lines.is_sorted(), "{lines:?}");
    let listed = std::process::Command::new("python3").args(["-m", "pip", "list", "--format=freeze"]).output().unwrap();
    for line in String::from_utf8_lossy(&listed.stdout).lines().filter(|_| listed.status.success()) {
        let line = line.to_lowercase().replace(['_', '.'], "-");
        let normal = |line: &String| line.to_lowercase().replace(['_', '.'], "-");
        assert!(lines.iter().any(|own| normal(own).starts_with(&line)), "{line} in {lines:?}");
    }
}
