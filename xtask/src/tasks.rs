//! The tasks: which commands run, in what order, and what a failure of one means for the others.
//!
//! It does not know where libtorch comes from; every task begins with [`setup`], which is silent when it is there.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::download::{Progress, WHEELS};
use crate::host::Host;
use crate::libtorch::{self, Libtorch, SetupError};

/// The engine, without libtorch, and the worker, with it. One call of cargo would unify their features, and the
/// engine would be linked to libtorch.
const ENGINE: [&str; 2] = ["-p", "pru-flow"];
const WORKER: [&str; 6] = ["-p", "pru-flow-stages", "--features", "torch", "--bin", "pru-flow-torch"];

/// The two programs, as cargo names them.
const PROGRAMS: [&str; 2] = ["pru-flow", "pru-flow-torch"];

/// Sets libtorch up.
pub fn setup(host: &Host) -> Result<(), Failure> {
    libtorch(host).map(drop)
}

/// Sets up, then builds both programs.
pub fn build(host: &Host, release: bool) -> Result<(), Failure> {
    libtorch(host)?;
    for mut step in builds(host, release) {
        step.run()?;
    }
    Ok(())
}

/// Sets up, builds and runs every test. All steps run; the first failure gives the exit status.
pub fn test(host: &Host, args: &[OsString]) -> Result<(), Failure> {
    let libtorch = libtorch(host)?;
    let tests = |what: &[&str]| {
        let mut step = Step::cargo(host, &["test", "--no-fail-fast"]);
        step.args(what);
        if !args.is_empty() {
            step.args(["--"]).args(args);
        }
        step
    };
    let mut stages = tests(&["-p", "pru-flow-stages", "--features", "torch"]);
    // A build script's link arguments do not reach documentation tests.
    stages.command.env("CARGO_ENCODED_RUSTDOCFLAGS", rustdoc_flags(&libtorch.lib));
    let mut steps = builds(host, false);
    // The end-to-end tests of the last one find the worker beside the engine.
    steps.extend([tests(&["-p", "pru-flow-cache", "-p", "xtask"]), stages, tests(&ENGINE)]);

    let begin = Instant::now();
    let mut report = Vec::new();
    let mut first_failure = None;
    for mut step in steps {
        let begin = Instant::now();
        let result = step.run();
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        report.push(format!("  {word:6}  {:>12}  {step}", Took(begin.elapsed())));
        first_failure = first_failure.or(result.err());
    }
    eprintln!("\n{}\n  total   {:>12}", report.join("\n"), Took(begin.elapsed()));
    first_failure.map_or(Ok(()), Err)
}

/// Sets up, builds release and runs the default pipeline.
pub fn quickstart(host: &Host) -> Result<(), Failure> {
    build(host, true)?;
    let program = profile_folder("release")?.join(PROGRAMS[0]);
    let mut step = Step { command: host.command(program) };
    step.args(["run", "pipelines/quickstart.yaml"]);
    step.run()
}

/// Sets up, builds release and copies both programs to `root/bin`.
pub fn install(host: &Host, root: Option<PathBuf>) -> Result<(), Failure> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = root
        .or_else(|| folder("CARGO_INSTALL_ROOT"))
        .or_else(|| folder("CARGO_HOME"))
        .or_else(|| folder("HOME").map(|home| home.join(".cargo")))
        .ok_or_else(|| Failure::Other("HOME is not set; say where to install with `--root DIR`".to_owned()))?;
    let libtorch = libtorch(host)?;
    build(host, true)?;
    let bin = std::path::absolute(root.join("bin")).map_err(|why| Failure::file("find", &root, &why))?;
    fs::create_dir_all(&bin).map_err(|why| Failure::file("make", &bin, &why))?;
    let built = profile_folder("release")?;
    for program in PROGRAMS {
        let target = bin.join(program);
        replace(&built.join(program), &target).map_err(|why| Failure::file("write", &target, &why))?;
        eprintln!("installed {}", target.display());
    }
    eprintln!(
        "pru-flow-torch looks for libtorch in {} (its run path; LD_LIBRARY_PATH goes first)",
        libtorch.lib.display()
    );
    if !env::split_paths(&host.path).any(|folder| folder == bin) {
        eprintln!("{} is not on PATH", bin.display());
    }
    Ok(())
}

fn libtorch(host: &Host) -> Result<Libtorch, Failure> {
    let mut out = io::stderr();
    let terminal = out.is_terminal();
    libtorch::set_up(host, &WHEELS, &mut Progress::new(&mut out, terminal)).map_err(Failure::Setup)
}

fn builds(host: &Host, release: bool) -> Vec<Step> {
    [&ENGINE[..], &WORKER[..]]
        .into_iter()
        .map(|what| {
            let mut step = Step::cargo(host, &["build"]);
            if release {
                step.args(["--release"]);
            }
            step.args(what);
            step
        })
        .collect()
}

/// The user's flags for rustdoc, and a run path to libtorch, separated as cargo wants them.
fn rustdoc_flags(lib: &Path) -> OsString {
    const SEPARATOR: &str = "\u{1f}";
    let mut flags = env::var_os("CARGO_ENCODED_RUSTDOCFLAGS").unwrap_or_else(|| {
        let plain = env::var("RUSTDOCFLAGS").unwrap_or_default();
        plain.split_whitespace().collect::<Vec<_>>().join(SEPARATOR).into()
    });
    if !flags.is_empty() {
        flags.push(SEPARATOR);
    }
    flags.push("-Clink-arg=-Wl,-rpath,");
    flags.push(lib);
    flags
}

/// The folder of a profile's programs. This program lies in such a folder itself, wherever the user's settings put
/// it (`CARGO_TARGET_DIR`, `build.target-dir`, `build.target`).
fn profile_folder(profile: &str) -> Result<PathBuf, Failure> {
    let own = env::current_exe().map_err(|why| Failure::Other(format!("cannot tell where xtask lies: {why}")))?;
    let target = own.parent().and_then(Path::parent);
    target.map(|target| target.join(profile)).ok_or_else(|| Failure::Other("xtask lies in no folder".to_owned()))
}

/// Copies a program so that `target` is the old one or the new one at every moment.
fn replace(built: &Path, target: &Path) -> io::Result<()> {
    let fresh = target.with_extension(format!("{}.tmp", std::process::id()));
    let copied = fs::copy(built, &fresh).and_then(|_| fs::rename(&fresh, target));
    if copied.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    copied
}

/// A command that is printed before it runs.
struct Step {
    command: Command,
}

impl Step {
    fn cargo(host: &Host, args: &[&str]) -> Self {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut step = Self { command: host.command(cargo) };
        // The steps run in the checkout, whereas the user's relative folder is meant from where they stand.
        if let Some(target) = env::var_os("CARGO_TARGET_DIR").filter(|target| !target.is_empty()) {
            step.command.env("CARGO_TARGET_DIR", std::path::absolute(&target).unwrap_or_else(|_| target.into()));
        }
        step.args(args);
        step
    }

    fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.command.args(args);
        self
    }

    fn run(&mut self) -> Result<(), Failure> {
        eprintln!("$ {self}");
        match self.command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::Command { line: self.to_string(), status }),
            Err(why) => Err(Failure::Other(format!("cannot start `{self}`: {why}"))),
        }
    }
}

/// As a user would type it: `cargo` without its folder, words with spaces in quotes.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Path::new(self.command.get_program());
        let program = if program.file_name() == Some(OsStr::new("cargo")) { Path::new("cargo") } else { program };
        write!(f, "{}", program.display())?;
        for arg in self.command.get_args().map(OsStr::to_string_lossy) {
            let plain = !arg.is_empty() && arg.chars().all(|c| c.is_alphanumeric() || "-_=./:,+@".contains(c));
            if plain { write!(f, " {arg}")? } else { write!(f, " '{}'", arg.replace('\'', r"'\''"))? }
        }
        Ok(())
    }
}

/// A duration since some moment, as `4.2 s` or `3 min 12 s`.
struct Took(Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = if seconds < 60 {
            format!("{:.1} s", self.0.as_secs_f64())
        } else {
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        };
        f.pad(&text)
    }
}

/// Why a task ended early.
#[derive(Debug)]
pub enum Failure {
    /// There is no libtorch to build with.
    Setup(SetupError),
    /// A command said that it failed.
    Command { line: String, status: ExitStatus },
    /// Anything else, in a sentence.
    Other(String),
}

impl Failure {
    fn file(doing: &str, path: &Path, why: &io::Error) -> Self {
        Self::Other(format!("cannot {doing} {}: {why}", path.display()))
    }

    /// The status that `xtask` ends with: that of the command, 128 more than a signal as shells have it, else 1.
    pub fn exit_status(&self) -> u8 {
        let Self::Command { status, .. } = self else { return 1 };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(why) => write!(f, "{why}"),
            Self::Command { line, status } => write!(f, "`{line}` failed ({status})"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(root: &Path) -> Host {
        Host { root: root.to_path_buf(), ..Host::of_this_process() }
    }

    #[test]
    fn a_step_is_printed_as_one_would_type_it() {
        let mut step = Step { command: Command::new("/some/where/cargo") };
        step.args(["test", "-p", "x", "--", "a b", "it's", ""]);
        assert_eq!(step.to_string(), r"cargo test -p x -- 'a b' 'it'\''s' ''");
    }

    #[test]
    fn the_engine_is_built_without_the_feature_and_the_worker_with_it() {
        let lines: Vec<String> = builds(&host(Path::new("/")), true).iter().map(Step::to_string).collect();
        assert_eq!(lines[0], "cargo build --release -p pru-flow");
        assert_eq!(lines[1], "cargo build --release -p pru-flow-stages --features torch --bin pru-flow-torch");
    }

    #[test]
    fn a_failed_command_gives_its_own_exit_status() {
        let host = host(Path::new("/"));
        let status = |script: &str| {
            let mut step = Step { command: host.command("sh") };
            step.args(["-c", script]).run().expect_err(script).exit_status()
        };
        assert_eq!(status("exit 7"), 7);
        assert_eq!(status("kill -9 $$"), 137);
        let missing = Step { command: host.command("/no/such/program") }.run().expect_err("there is none");
        assert_eq!(missing.exit_status(), 1);
        assert!(missing.to_string().contains("/no/such/program"), "{missing}");
    }

    #[test]
    fn a_replaced_program_is_another_file_so_that_a_running_one_goes_on() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [built, target] = ["built", "target"].map(|name| folder.path().join(name));
        fs::write(&built, "new").expect("writable");
        fs::set_permissions(&built, fs::Permissions::from_mode(0o755)).expect("permitted");
        fs::write(&target, "old").expect("writable");
        let before = fs::metadata(&target).expect("there").ino();
        replace(&built, &target).expect("replaced");
        let after = fs::metadata(&target).expect("there");
        assert_eq!(fs::read_to_string(&target).expect("readable"), "new");
        assert_ne!(after.ino(), before);
        assert_eq!(after.mode() & 0o777, 0o755);
        replace(&folder.path().join("none"), &target).expect_err("there is nothing to copy");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 2, "a temporary file is left");
    }

    #[test]
    fn a_duration_reads_in_seconds_and_then_in_minutes() {
        assert_eq!(Took(Duration::from_millis(4_230)).to_string(), "4.2 s");
        assert_eq!(Took(Duration::from_secs(192)).to_string(), "3 min 12 s");
    }
}
