//! A project in a folder of its own, and the binary run in it as a user runs it: no home, no settings, no terminal.
//! Knows nothing of what any test is about.

// Each test binary uses a part of this kit.
#![allow(dead_code)]

pub mod graphs;
pub mod refusal;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A temporary project: a folder with a `.git` marker, so that it is its own root wherever the tests run.
pub struct Project {
    folder: tempfile::TempDir,
}

/// What a run of the binary left behind.
#[derive(Debug)]
pub struct Output {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Stdout as text.
    pub stdout: String,
    /// Stdout as bytes.
    pub bytes: Vec<u8>,
    /// Stderr as text.
    pub stderr: String,
    /// From start to end.
    pub wall: Duration,
}

impl Project {
    /// An empty project.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir_all(folder.path().join("project/.git")).expect("the folder is writable");
        std::fs::create_dir_all(folder.path().join("home")).expect("the folder is writable");
        Self { folder }
    }

    /// A project that holds `pipeline.yaml`.
    pub fn with_pipeline(text: &str) -> Self {
        let project = Self::new();
        project.write("pipeline.yaml", text);
        project
    }

    /// The root.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The folder that commands take for the user's home.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A path inside the project.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root().join(relative)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder is writable");
        std::fs::write(&path, content).expect("the folder is writable");
        path
    }

    /// Reads a file as text.
    pub fn read(&self, relative: impl AsRef<Path>) -> String {
        let path = self.path(relative);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The binary, ready to run in the root with nothing of this process's environment but what it needs.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pru-flow"));
        command.args(args).current_dir(self.root()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.folder.path().join("home")).env("NO_COLOR", "1");
        for name in ["PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Runs the binary in the root.
    pub fn pru_flow(&self, args: &[&str]) -> Output {
        Output::of(self.command(args))
    }

    /// Runs the binary in a folder of the project.
    pub fn pru_flow_in(&self, folder: &str, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.current_dir(self.path(folder));
        Output::of(command)
    }
}

impl Output {
    /// Runs a command to its end.
    pub fn of(mut command: Command) -> Self {
        let start = Instant::now();
        let output = command.output().expect("the binary was built with this test");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            wall: start.elapsed(),
        }
    }

    /// Fails the test unless the exit code is `code`; shows what was said.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "exit code\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless stderr holds all of these, each on one line as a reader sees it.
    #[track_caller]
    pub fn expect_stderr(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "stderr does not say `{part}`:\n{}", self.stderr);
        }
        self
    }

    /// The events of `--json`: every line of stdout is one object.
    #[track_caller]
    pub fn events(&self) -> Vec<serde_json::Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in `{line}`"));
        self.stdout.lines().map(read).collect()
    }

    /// How each node of a `--json` run ended, in the order of the events.
    #[track_caller]
    pub fn outcomes(&self) -> Vec<(String, String)> {
        let events = self.events();
        let finished = events.iter().filter(|event| event["event"] == "node_finished");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        finished.map(|event| (text(&event["node"]), text(&event["outcome"]))).collect()
    }

    /// The last event of a `--json` run: the counts.
    #[track_caller]
    pub fn finished(&self) -> serde_json::Value {
        let events = self.events();
        let last = events.into_iter().rev().find(|event| event["event"] == "run_finished");
        last.unwrap_or_else(|| panic!("no run_finished in:\n{}\n--- stderr\n{}", self.stdout, self.stderr))
    }
}
