//! `cargo xtask`: set-up, build, test, quickstart and install of pru-flow.
//!
//! This file reads the command line and hands over. It does not know how libtorch is found (`libtorch.rs`,
//! `download.rs`) nor which cargo calls a task makes (`tasks.rs`).

mod download;
mod host;
mod libtorch;
#[cfg(test)]
mod setup_tests;
mod tasks;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use host::Host;

const HELP: &str = "\
cargo xtask: set-up, build, test and quickstart of pru-flow

Usage: cargo xtask <TASK>

Tasks:
  quickstart            Sets up, builds release and runs pipelines/quickstart.yaml
  test [-- ARGS]        Sets up, builds and runs every test; ARGS go to the test programs
  setup                 Puts libtorch 2.11 (CPU) into the user's cache folder and links it as .libtorch
  build [--release]     Sets up, then builds pru-flow and its worker pru-flow-torch
  install [--root DIR]  Sets up, builds release and copies both programs to DIR/bin
                        (DIR: $CARGO_INSTALL_ROOT, else $CARGO_HOME, else ~/.cargo)
  help                  Prints this

Environment:
  LIBTORCH              A libtorch 2.11 of your own: the folder with include/ and lib/. Nothing is downloaded then
  LIBTORCH_USE_PYTORCH  If set: the PyTorch 2.11 of the Python on PATH. Nothing is downloaded then
  XDG_CACHE_HOME        Where the download is kept, under pru-flow/ (else ~/.cache)
  CARGO_TARGET_DIR      Where cargo builds, as always

Exit status: 0 done, 1 set-up or install failed, 2 wrong usage, otherwise that of the first command that failed.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    Setup,
    Build { release: bool },
    Test { args: Vec<OsString> },
    Quickstart,
    Install { root: Option<PathBuf> },
}

fn main() -> ExitCode {
    let task = match parse(std::env::args_os().skip(1).collect()) {
        Ok(task) => task,
        Err(wrong) => {
            eprintln!("error: {wrong}\nTry `cargo xtask help`.");
            return ExitCode::from(2);
        }
    };
    if task == Task::Help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let host = Host::of_this_process();
    let done = match task {
        Task::Help => unreachable!("printed above"),
        Task::Setup => tasks::setup(&host),
        Task::Build { release } => tasks::build(&host, release),
        Task::Test { args } => tasks::test(&host, &args),
        Task::Quickstart => tasks::quickstart(&host),
        Task::Install { root } => tasks::install(&host, root),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}

/// Reads the arguments that follow the program's name. The error says what is wrong with them.
fn parse(args: Vec<OsString>) -> Result<Task, String> {
    let mut args = args.into_iter();
    let Some(name) = args.next() else { return Err("a task is needed".to_owned()) };
    let rest: Vec<OsString> = args.collect();
    let own = rest.iter().take_while(|arg| *arg != "--");
    if name == "help" || name == "--help" || name == "-h" || own.clone().any(|arg| arg == "--help" || arg == "-h") {
        return Ok(Task::Help);
    }
    let task = match name.to_str() {
        Some("setup") => Task::Setup,
        Some("quickstart") => Task::Quickstart,
        Some("build") if rest == ["--release"] => return Ok(Task::Build { release: true }),
        Some("build") => Task::Build { release: false },
        Some("test") => return parse_test(rest),
        Some("install") => return parse_install(rest),
        _ => return Err(format!("there is no task `{}`", name.display())),
    };
    match rest.first() {
        None => Ok(task),
        Some(extra) => Err(format!("`{}` does not take `{}`", name.display(), extra.display())),
    }
}

fn parse_test(rest: Vec<OsString>) -> Result<Task, String> {
    let mut rest = rest.into_iter();
    match rest.next() {
        None => Ok(Task::Test { args: Vec::new() }),
        Some(dashes) if dashes == "--" => Ok(Task::Test { args: rest.collect() }),
        Some(extra) => Err(format!("`{}`: arguments for the test programs follow `--`", extra.display())),
    }
}

fn parse_install(rest: Vec<OsString>) -> Result<Task, String> {
    let mut root = None;
    let mut rest = rest.into_iter();
    while let Some(arg) = rest.next() {
        let folder = match arg.to_str() {
            Some("--root") => rest.next().unwrap_or_default(),
            Some(text) if text.starts_with("--root=") => OsString::from(&text["--root=".len()..]),
            _ => return Err(format!("`install` does not take `{}`", arg.display())),
        };
        if folder.is_empty() {
            return Err("`--root` needs a folder".to_owned());
        }
        root = Some(PathBuf::from(folder));
    }
    Ok(Task::Install { root })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn every_task_of_the_help_text_is_read() {
        assert_eq!(parsed("setup"), Ok(Task::Setup));
        assert_eq!(parsed("quickstart"), Ok(Task::Quickstart));
        assert_eq!(parsed("build"), Ok(Task::Build { release: false }));
        assert_eq!(parsed("build --release"), Ok(Task::Build { release: true }));
        assert_eq!(parsed("test"), Ok(Task::Test { args: vec![] }));
        assert_eq!(parsed("install"), Ok(Task::Install { root: None }));
        let root = Some(PathBuf::from("/opt/x"));
        assert_eq!(parsed("install --root /opt/x"), Ok(Task::Install { root: root.clone() }));
        assert_eq!(parsed("install --root=/opt/x"), Ok(Task::Install { root }));
        for line in ["help", "--help", "-h", "build --help", "test -h"] {
            assert_eq!(parsed(line), Ok(Task::Help), "{line}");
        }
    }

    #[test]
    fn what_follows_two_dashes_goes_to_the_tests_as_it_is() {
        let args = vec!["--nocapture".into(), "--help".into(), "--".into()];
        assert_eq!(parsed("test -- --nocapture --help --"), Ok(Task::Test { args }));
    }

    #[test]
    fn wrong_usage_names_the_word_that_is_wrong() {
        for (line, word) in [
            ("", "a task is needed"),
            ("quickstrat", "quickstrat"),
            ("setup now", "now"),
            ("build --relase", "--relase"),
            ("build --release twice", "--release"),
            ("test some_name", "some_name"),
            ("install --root", "--root"),
            ("install --root=", "--root"),
            ("install /opt", "/opt"),
        ] {
            let wrong = parsed(line).expect_err(line);
            assert!(wrong.contains(word), "{line}: {wrong}");
        }
    }
}
