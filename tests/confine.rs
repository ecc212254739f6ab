//! `sandbox: enforce` with real programs: what they declare they can do, and nothing else of the file system.

mod hermetic;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hermetic::Project;
use pru_flow::execute::confine::{Confinement, Placeholders, available, hint, let_go};
use pru_flow::execute::installed::software;

/// A project with a declared and an undeclared file, and an attempt's folder outside it.
struct Place {
    project: Project,
    attempt: tempfile::TempDir,
    confinement: Confinement,
}

/// How a program ended, and all that it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    log: String,
}

impl Place {
    /// `None`, with a word why, where the kernel cannot confine.
    fn new() -> Option<Self> {
        if let Err(reason) = available() {
            eprintln!("skipped: no Landlock: {reason}");
            return None;
        }
        let project = Project::new();
        project.write("data/declared.csv", "declared\n");
        project.write("data/secret.csv", "secret\n");
        project.write("other/result.txt", "of another stage\n");
        let attempt = tempfile::tempdir().expect("a temporary folder can be made");
        for name in ["out", "tmp"] {
            fs::create_dir(attempt.path().join(name)).expect("the folder is writable");
        }
        let confinement = Confinement {
            read: vec![project.path("data/declared.csv")],
            list: Vec::new(),
            write: vec![attempt.path().join("out"), attempt.path().join("tmp")],
        };
        Some(Self { project, attempt, confinement })
    }

    fn out(&self, name: &str) -> PathBuf {
        self.attempt.path().join("out").join(name)
    }

    /// Runs a program as the engine does, in the project's root.
    fn run(&self, words: &[&str]) -> Ended {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut confinement = self.confinement.clone();
        confinement.read.extend(software(&all, &path, &self.project.root(), &self.project.root()));
        let log = self.attempt.path().join("log");
        // As the engine opens it: each writes at the end.
        let file = File::options().create(true).append(true).open(&log).expect("the folder is writable");
        file.set_len(0).expect("it is a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pru-flow"));
        command.arg("__exec").args(words).current_dir(self.project.root()).env_clear().env("PATH", path);
        command.env("HOME", "/nowhere").env("TMPDIR", self.attempt.path().join("tmp")).env("OUT", self.out(""));
        command.stdin(Stdio::piped()).stdout(file.try_clone().expect("it is open")).stderr(file);
        let mut child = command.spawn().expect("the binary was built with this test");
        let mut pipe = child.stdin.take().expect("it is a pipe");
        let_go(&mut pipe, Some(&confinement)).expect("the child reads");
        drop(pipe);
        let code = child.wait().expect("it is our child").code();
        Ended { code, log: fs::read_to_string(&log).expect("it was made above") }
    }

    fn sh(&self, text: &str) -> Ended {
        self.run(&["sh", "-c", text])
    }
}

impl Ended {
    #[track_caller]
    fn works(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}", self.log);
        self
    }

    /// Failed, and for no other reason than that it was not allowed to.
    #[track_caller]
    fn is_denied(&self) -> &Self {
        assert_ne!(self.code, Some(0), "{}", self.log);
        let hint = hint(&self.log).unwrap_or_else(|| panic!("the log does not say so: {}", self.log));
        assert!(hint.contains("sandbox: enforce"), "{hint}");
        self
    }
}

fn has_python() -> bool {
    let works = Command::new("python3").arg("-c").arg("").status().is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: no python3");
    }
    works
}

#[test]
fn a_declared_input_can_be_read_and_an_undeclared_file_cannot() {
    let Some(place) = Place::new() else { return };
    assert_eq!(place.sh("cat data/declared.csv").works().log, "declared\n");
    let ways = [
        "cat data/secret.csv",
        "while read line; do echo $line; done < data/secret.csv",
        "cd data && cat secret.csv",
        "ln -s $PWD/data/secret.csv $TMPDIR/link && cat $TMPDIR/link",
        "ln data/secret.csv $TMPDIR/hard && cat $TMPDIR/hard",
        "mv data/secret.csv $TMPDIR/moved && cat $TMPDIR/moved",
        "cp data/secret.csv $OUT/x",
        "cat /proc/self/cwd/data/secret.csv",
        "ls data",
        "ls .",
        // Children are confined as their parents are.
        "sh -c 'cat data/secret.csv & wait $!'",
    ];
    for way in ways {
        let ended = place.sh(way);
        ended.is_denied();
        assert!(!ended.log.contains("secret\n"), "{way}: {}", ended.log);
    }
    // What is not prevented, as the documentation says: to ask whether something is there.
    place.sh("test -f data/secret.csv && test -d data && cd data && pwd").works();
    // A folder that is declared, with all below it.
    let mut whole = place;
    whole.confinement.read.push(whole.project.path("data"));
    assert_eq!(whole.sh("cd data && cat *.csv").works().log, "declared\nsecret\n");
    whole.sh("cat other/result.txt").is_denied();
}

#[test]
fn outputs_and_the_temporary_folder_can_be_written_and_nothing_beside_them() {
    let Some(place) = Place::new() else { return };
    let script = "mkdir $OUT/folder && echo a > $OUT/folder/a && mv $OUT/folder/a $OUT/b && echo c >> $OUT/b \
                  && sort -o $OUT/b $OUT/b && ln -s b $OUT/link && rm $OUT/link && rmdir $OUT/folder \
                  && t=$(mktemp) && echo t > $t && mv $t $OUT/t && echo z > /dev/null";
    place.sh(script).works();
    assert_eq!(fs::read_to_string(place.out("b")).unwrap(), "a\nc\n");
    let before = tree(&place.project.root());
    let ways = [
        "echo x > stray.txt",
        "echo x > data/declared.csv",
        "echo x >> data/secret.csv",
        "echo x > other/result.txt",
        "mkdir folder",
        "rm data/declared.csv",
        "rm other/result.txt",
        "mv other/result.txt other/renamed.txt",
        "mv data/declared.csv $OUT/moved",
        "echo x > $OUT/y && mv $OUT/y stray.txt",
        "echo x > $OUT/z && ln $OUT/z stray.txt",
        "ln -s /etc/passwd stray",
        "truncate -s 0 data/secret.csv",
        "echo x > /etc/pru-flow-test-stray",
        "mkfifo stray",
        "mknod $OUT/zero c 1 5 2>&1 || { echo Permission denied; exit 1; }",
        // In the attempt's own folder, beside what was given to it.
        "echo x > $OUT/../stray",
    ];
    for way in ways {
        place.sh(way).is_denied();
    }
    assert_eq!(tree(&place.project.root()), before);
    assert!(!Path::new("/etc/pru-flow-test-stray").exists());
    assert!(!place.attempt.path().join("stray").exists() && !place.out("zero").exists());
}

/// All files below a folder with their content.
fn tree(folder: &Path) -> Vec<(PathBuf, Option<String>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it can be read").flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path.clone());
            }
            found.push((path.clone(), fs::read_to_string(path).ok()));
        }
    }
    found.sort();
    found
}

#[test]
fn an_output_in_a_folder_with_other_things_is_written_and_its_neighbours_are_not() {
    let Some(mut place) = Place::new() else { return };
    let mut placeholders = Placeholders::default();
    for (name, folder) in [("other/mine.txt", false), ("plots", true), ("other/forgotten.txt", false)] {
        placeholders.add(&place.project.path(name), folder).unwrap();
        place.confinement.write.push(place.project.path(name));
    }
    place.sh("echo 1 > other/mine.txt && echo 2 >> other/mine.txt && mkdir -p plots/a && echo 3 > plots/a/b").works();
    place.sh("echo x > other/result.txt").is_denied();
    place.sh("echo x > other/new.txt").is_denied();
    place.sh("echo x > plots/c && mv plots/c other/result.txt").is_denied();
    assert_eq!(placeholders.remove_unwritten(), [place.project.path("other/forgotten.txt")]);
    assert_eq!(place.project.read("other/mine.txt"), "1\n2\n");
    assert_eq!(place.project.read("plots/a/b"), "3\n");
    assert_eq!(place.project.read("other/result.txt"), "of another stage\n");
}

#[test]
fn the_log_can_be_opened_once_more_and_a_script_of_the_project_runs() {
    let Some(mut place) = Place::new() else { return };
    let ended = place.sh("echo one > /dev/stderr; echo two >> /dev/stdout; echo three | tee -a /dev/stderr");
    assert!(ended.works().log.contains("two\n") && ended.log.contains("three\n"), "{}", ended.log);
    let script = place.project.write("bin/tool.sh", "#!/bin/sh\necho tool\n");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    place.run(&["bin/tool.sh"]).is_denied();
    place.confinement.read.push(script);
    assert_eq!(place.run(&["bin/tool.sh"]).works().log, "tool\n");
}

#[test]
fn python_starts_imports_what_is_declared_and_makes_temporary_files_and_processes() {
    let Some(mut place) = Place::new() else { return };
    if !has_python() {
        return;
    }
    // In a folder that it cannot read.
    place.run(&["python3", "-c", "import os, json, ssl; print(os.getcwd())"]).works();
    let denied = place.run(&["python3", "-c", "open('data/secret.csv')"]);
    assert!(denied.is_denied().log.contains("PermissionError"));
    place.run(&["python3", "-c", "import os; os.listdir('.')"]).is_denied();
    let script = "import json, multiprocessing, os, tempfile\n\
                  import helper, package.inner\n\
                  def double(x):\n    return 2 * x\n\
                  if __name__ == '__main__':\n    \
                      assert open('data/declared.csv').read() == 'declared\\n'\n    \
                      with tempfile.NamedTemporaryFile('w') as f:\n        f.write('x')\n    \
                      with multiprocessing.Pool(2) as pool:\n        \
                          json.dump(pool.map(double, [1, 2, helper.three, package.inner.four]), \
                                    open(os.environ['OUT'] + '/r.json', 'w'))\n";
    let code = [
        place.project.write("train.py", script),
        place.project.write("helper.py", "three = 3\n"),
        place.project.write("package/__init__.py", ""),
        place.project.write("package/inner.py", "four = 4\n"),
    ];
    place.project.write("package/undeclared.py", "");
    place.confinement.read.extend(code);
    // Python finds modules by listing folders: without that, what is there is not found.
    let ended = place.run(&["python3", "train.py"]);
    assert!(ended.log.contains("No module named 'helper'"), "{}", ended.log);
    place.confinement.list.push(place.project.root());
    place.run(&["python3", "train.py"]).works();
    assert_eq!(fs::read_to_string(place.out("r.json")).unwrap(), "[2, 4, 6, 8]");
    assert!(!place.project.path("__pycache__").exists(), "its cache is no output");
    // Listed is not read.
    place.run(&["python3", "-c", "import package.undeclared"]).is_denied();
    assert!(place.sh("ls data").works().log.contains("secret.csv"));
    place.sh("cat data/secret.csv").is_denied();
}

#[test]
fn nothing_runs_when_the_confinement_cannot_be_made_or_was_not_told_in_full() {
    let Some(mut place) = Place::new() else { return };
    place.confinement.write.push(place.project.path("models/missing.pt"));
    let ended = place.sh("echo ran");
    assert_eq!(ended.code, Some(125));
    assert!(ended.log.contains("missing.pt is not there") && !ended.log.contains("ran"), "{}", ended.log);

    for told in [&b""[..], b"c", b"c\x05\0\0\0\0\0\0\0r/us", b"x"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pru-flow"));
        command.args(["__exec", "sh", "-c", "echo ran"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built with this test");
        std::io::Write::write_all(&mut child.stdin.take().expect("it is a pipe"), told).expect("the child reads");
        let mut said = String::new();
        child.stdout.take().expect("it is a pipe").read_to_string(&mut said).expect("it is text");
        assert_eq!((child.wait().expect("it is our child").code(), said.as_str()), (Some(125), ""), "{told:?}");
    }
}

#[test]
fn a_path_of_any_bytes_can_be_declared() {
    use std::os::unix::ffi::OsStrExt;
    let Some(mut place) = Place::new() else { return };
    let odd = place.project.path(OsStr::from_bytes(b"data/a b'\"\n\xff.csv"));
    fs::write(&odd, "odd\n").unwrap();
    place.sh("cat data/a*.csv || echo Permission denied; exit 1").is_denied();
    place.confinement.read.push(odd);
    place.confinement.list.push(place.project.path("data"));
    assert_eq!(place.sh("cat data/a*.csv").works().log, "odd\n");
}
