//! `command:` stages: any program, run in the project's root, its output in the node's log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use pru_flow_cache::How;
use pru_flow_stages::protocol::{Failure, FailureKind};

use super::confine::{self, Confinement, Placeholders};
use super::running::Running;
use super::watcher::{Watcher, kill_group};
use super::worker::describe;
use super::workspace::is_as_stored;
use super::{Message, Shared, Task, failed, output_path};
use super::{installed, log_tail};
use crate::command::{CommandLine, CommandWork, Sandbox, relative};
use crate::keying::Given;
use crate::places::Places;

/// Hidden subcommand: waits until it may go, confines itself where it is told to, then becomes the program in its
/// arguments. So no program runs before the watcher knows of it.
pub const SUBCOMMAND: &str = "__exec";

impl Shared {
    /// Runs `what` with the paths of the node's outputs cleared, and puts back what was there if it fails.
    pub(super) fn in_workspace<T>(
        &self,
        task: &Task,
        what: impl FnOnce(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let paths: Vec<PathBuf> = task.outputs.iter().filter_map(|output| output.path.clone()).collect();
        if paths.is_empty() || super::diverged::input_of(task).is_some() {
            return what(self);
        }
        let cannot = |error: std::io::Error| failed(format!("the paths of the outputs cannot be cleared: {error}"));
        let before = self.workspace.clear(&paths).map_err(cannot)?;
        match what(self) {
            Ok(done) => {
                for note in before.let_go(&self.outside).map_err(cannot)? {
                    let _ = self.messages.send(Message::Note(note));
                }
                Ok(done)
            }
            Err(failure) => {
                before.put_back();
                Err(failure)
            }
        }
    }

    /// Runs the command of a node, in the folder of an attempt.
    pub(super) fn run_command(
        &self,
        task: &Task,
        work: &CommandWork,
        folder: &Path,
        log: &Path,
        running: &Running,
    ) -> Result<(), Failure> {
        let places = self.places(task, work, folder)?;
        let watcher = self.watcher().map_err(failed)?;
        let root = self.workspace.path(Path::new(""));
        let words = words(work, &places)?;
        let mut sandbox = match work.sandbox {
            Sandbox::Enforce => Some(Enforced::prepare(task, work, (&root, folder), &words).map_err(failed)?),
            Sandbox::Off | Sandbox::Warn => None,
        };
        let ran = run((work, &words), &root, log, sandbox.as_ref(), watcher, running);
        if let Some(sandbox) = &mut sandbox {
            sandbox.outputs.remove_unwritten();
        }
        let done = ran.and_then(|()| check_outputs(task, &root, folder).map_err(failed));
        done.map_err(|failure| match sandbox.and_then(|_| confine::hint(&log_tail(log, HINT_LINES))) {
            Some(hint) => Failure { message: format!("{}; {hint}", failure.message), ..failure },
            None => failure,
        })
    }

    /// Copies of inputs in the attempt's folder, inputs that lie in the project, and the paths of the outputs.
    fn places(&self, task: &Task, work: &CommandWork, folder: &Path) -> Result<Places, Failure> {
        let cannot = |error: &dyn std::fmt::Display| failed(format!("preparing the attempt's folder: {error}"));
        let mut inputs = BTreeMap::new();
        for (port, artifacts) in &task.inputs {
            let mut paths = Vec::new();
            for (index, given) in artifacts.iter().enumerate() {
                let copies = folder.join("in").join(port);
                let copies = if task.gathers(port) { copies.join(index.to_string()) } else { copies };
                paths.push(self.give(work, given, &copies).map_err(|e| cannot(&e))?);
            }
            inputs.insert(port.clone(), paths);
        }
        let root = self.workspace.path(Path::new(""));
        for (port, names) in &work.files {
            let found = names.iter().filter_map(|name| task.sources.iter().find(|found| found.name == *name));
            let path = |path: &Path| path.strip_prefix(&root).map_or(path.to_owned(), |path| relative(&work.cwd, path));
            inputs.insert(port.clone(), found.map(|found| path(&found.path)).collect());
        }
        let mut outputs = BTreeMap::new();
        for output in &task.outputs {
            let path = match &output.path {
                Some(path) => relative(&work.cwd, path),
                None => output_path(task, folder, output),
            };
            if output.path.is_none() {
                fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(|e| cannot(&e))?;
            }
            outputs.insert(output.name.clone(), path);
        }
        Ok(Places { inputs, outputs })
    }

    /// The path under which a command finds an artifact: where it lies in the project, or a copy.
    fn give(&self, work: &CommandWork, given: &Given, copies: &Path) -> Result<PathBuf, String> {
        if let Some(path) = &given.output.path {
            let result = (&*given.result, given.output.name.as_str());
            let at = (&*self.store, &*self.outside);
            for note in self.workspace.place(at, path, result, given.output.hard_link)? {
                let _ = self.messages.send(Message::Note(note));
            }
            return Ok(relative(&work.cwd, path));
        }
        let target = copies.join(&given.output.file_name);
        fs::create_dir_all(if given.folder { &target } else { copies }).map_err(|e| e.to_string())?;
        for file in &given.files {
            let to = if file.name.is_empty() { target.clone() } else { target.join(&file.name) };
            self.store.restore(&given.result, &file.digest, &to, How::Copy).map_err(|e| e.to_string())?;
        }
        Ok(target)
    }

    /// Inputs that lie in the project must still be what the key says.
    pub(super) fn check_placed(&self, task: &Task) -> Result<(), Failure> {
        if !matches!(task.work, crate::graph::Work::Command(_)) {
            return Ok(());
        }
        for given in task.inputs.values().flatten() {
            let (Some(path), Some(stored)) = (&given.output.path, given.result.outputs.get(&given.output.name)) else {
                continue;
            };
            if !is_as_stored(&self.workspace.path(path), stored, &self.outside) {
                let path = path.display();
                return Err(failed(format!(
                    "{path}, an input, changed while the stage ran; its result is not cached: run again, and if the \
                     stage itself changes it, let it write to a path of its own"
                )));
            }
        }
        Ok(())
    }
}

/// Lines of a log in which a denied access is looked for.
const HINT_LINES: usize = 50;

/// What a confined command can reach, and what was made for it.
struct Enforced {
    confinement: Confinement,
    outputs: Placeholders,
    /// Its own folder for temporary files.
    temporary: PathBuf,
}

impl Enforced {
    /// Makes the outputs that have a path, so that they, and nothing beside them, can be written.
    fn prepare(
        task: &Task,
        work: &CommandWork,
        (root, folder): (&Path, &Path),
        words: &[String],
    ) -> Result<Self, String> {
        let cannot = |path: &Path, error: std::io::Error| format!("preparing {}: {error}", path.display());
        let (temporary, out) = (folder.join("tmp"), folder.join("out"));
        for path in [&temporary, &out] {
            fs::create_dir_all(path).map_err(|error| cannot(path, error))?;
        }
        let mut outputs = Placeholders::default();
        let mut confinement = Confinement { write: vec![temporary.clone(), out], ..Confinement::default() };
        for (path, is_folder) in task.outputs.iter().filter_map(|o| Some((o.path.as_ref()?, o.folder == Some(true)))) {
            let path = root.join(path);
            outputs.add(&path, is_folder).map_err(|error| cannot(&path, error))?;
            confinement.write.push(path);
        }
        let given = task.inputs.values().flatten().filter_map(|given| given.output.path.as_ref());
        let sources = task.sources.iter().filter(|found| found.is_file());
        confinement.read.extend(sources.map(|found| found.path.clone()));
        confinement.read.extend(given.map(|path| root.join(path)));
        confinement.read.push(folder.join("in"));
        // Python looks for modules beside a script.
        let code = task.code.iter().flat_map(|code| &code.found.files);
        let beside = code.filter_map(|file| file.parent()).filter(|folder| folder.starts_with(root));
        confinement.list.extend(beside.map(Path::to_owned).collect::<BTreeSet<_>>());
        let path = std::env::var_os("PATH").unwrap_or_default();
        confinement.read.extend(installed::software(words, &path, root, &root.join(&work.cwd)));
        Ok(Self { confinement, outputs, temporary })
    }
}

/// The program and its arguments.
fn words(work: &CommandWork, places: &Places) -> Result<Vec<String>, Failure> {
    Ok(match places.fill(&work.line).map_err(failed)? {
        CommandLine::Shell(text) => vec!["sh".to_owned(), "-c".to_owned(), text],
        CommandLine::Words(words) => words,
    })
}

/// Runs a command and waits for its end.
fn run(
    (work, words): (&CommandWork, &[String]),
    root: &Path,
    log: &Path,
    sandbox: Option<&Enforced>,
    watcher: &Arc<Watcher>,
    running: &Running,
) -> Result<(), Failure> {
    let cannot_log = |e| failed(format!("the log {} cannot be written: {e}", log.display()));
    let log = File::options().create(true).append(true).open(log).map_err(cannot_log)?;
    let cannot = |error: std::io::Error| failed(format!("`{}` cannot be started: {error}", words[0]));
    let mut child = super::this_program()
        .arg(SUBCOMMAND)
        .args(words)
        .current_dir(root.join(&work.cwd))
        .env_clear()
        .envs(work.pass_env.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))))
        .envs(work.variables())
        .envs(sandbox.map(|sandbox| ("TMPDIR", &sandbox.temporary)))
        .stdin(Stdio::piped())
        .stdout(log.try_clone().map_err(cannot)?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let group = child.id();
    let listed = watcher.add(group);
    running.set_command(group);
    // Without the byte the child ends by itself; in any case it is waited for.
    let pipe = child.stdin.take();
    let go = listed.and_then(|()| {
        pipe.map_or(Ok(()), |mut pipe| confine::let_go(&mut pipe, sandbox.map(|sandbox| &sandbox.confinement)))
    });
    let status = child.wait().and_then(|status| go.map(|()| status));
    running.clear();
    // What the program has left running goes with it.
    kill_group(group, rustix::process::Signal::KILL);
    watcher.remove(group);
    match status.map_err(cannot)? {
        status if status.success() => Ok(()),
        status if running.was_stopped() => Err(Failure { kind: FailureKind::Cancelled, message: describe(status) }),
        status => Err(failed(describe(status))),
    }
}

/// Becomes the program: the main of the hidden subcommand. Returns only when that fails.
#[must_use]
pub fn exec(words: &[std::ffi::OsString]) -> u8 {
    let Some((program, arguments)) = words.split_first() else { return 125 };
    // Descriptor 0 itself, unbuffered; then nothing, so that no program waits for input that never comes.
    let pipe = rustix::io::dup(rustix::stdio::stdin()).map(File::from);
    let Ok(confinement) = pipe.map_err(Into::into).and_then(confine::wait_for_go) else { return 125 };
    if let Some(error) = confinement.and_then(|confinement| confinement.apply().err()) {
        eprintln!("not run: {error}");
        return 125;
    }
    let error = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    eprintln!("{}: {error}", Path::new(program).display());
    if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
}

/// Checks that every declared output was written, and names what lies beside it.
///
/// # Errors
/// The outputs that are missing.
fn check_outputs(task: &Task, root: &Path, folder: &Path) -> Result<(), String> {
    for output in &task.outputs {
        let path = output.path.as_ref().map_or_else(|| output_path(task, folder, output), |path| root.join(path));
        if path.symlink_metadata().is_err() {
            let beside = path.parent().unwrap_or(&path);
            let mut beside: Vec<String> = fs::read_dir(beside)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
                .filter(|name| !name.starts_with(".pru-flow"))
                .collect();
            beside.sort();
            let more = beside.len().saturating_sub(BESIDE_MAX);
            beside.truncate(BESIDE_MAX);
            let mut there = beside.join(", ");
            if more > 0 {
                there.push_str(&format!(" and {more} more"));
            }
            let name = &output.name;
            return Err(match &output.path {
                Some(path) => {
                    let there = if there.is_empty() { "nothing".to_owned() } else { there };
                    format!("the declared output `{name}` was not written to {} (beside it: {there})", path.display())
                }
                None if there.is_empty() => {
                    format!("the declared output `{name}` was not written (nothing was written)")
                }
                None => format!("the declared output `{name}` was not written (written: {there})"),
            });
        }
    }
    Ok(())
}

/// More names than this are counted.
const BESIDE_MAX: usize = 8;
