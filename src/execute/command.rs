//! `command:` stages: any program, run in the project's root, its output in the node's log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use pru_flow_stages::protocol::{Failure, FailureKind};

use super::confine;
use super::running::Running;
use super::watcher::{Watcher, kill_group};
use super::worker::describe;
use crate::graph::CommandLine;
use crate::template::{Part, split};

/// Hidden subcommand: waits until it may go, confines itself where it is told to, then becomes the program in its
/// arguments. So no program runs before the watcher knows of it.
pub const SUBCOMMAND: &str = "__exec";

/// Variables that a command inherits; all others are cleared, as they are not part of the key. What these hold is not
/// either: a command's result must not depend on them.
const ENVIRONMENT: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "VIRTUAL_ENV", "CONDA_PREFIX"];

/// Variables that every command is given: `sort` and `date` are to say the same everywhere.
const FIXED: [(&str, &str); 2] = [("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];

/// Paths that the placeholders of a command stand for.
pub struct Places {
    /// Project root: where the command runs.
    pub root: PathBuf,
    /// Inputs by name; several for one that gathers.
    pub inputs: BTreeMap<String, Vec<PathBuf>>,
    /// Outputs by name.
    pub outputs: BTreeMap<String, PathBuf>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// Runs a command and waits for its end.
///
/// # Errors
/// How it failed.
pub fn run(line: &CommandLine, places: &Places, watcher: &Arc<Watcher>, running: &Running) -> Result<(), Failure> {
    let failed = |message: String| Failure { kind: FailureKind::Failed, message };
    let words = match line {
        CommandLine::Shell(text) => vec!["sh".to_owned(), "-c".to_owned(), fill(text, places, true).map_err(failed)?],
        CommandLine::Words(words) => {
            let filled = words.iter().map(|word| fill_word(word, places)).collect::<Result<Vec<_>, _>>();
            filled.map_err(failed)?.concat()
        }
    };
    let log = File::options().create(true).append(true).open(&places.log);
    let log = log.map_err(|e| failed(format!("the log {} cannot be written: {e}", places.log.display())))?;
    let cannot = |error: std::io::Error| failed(format!("`{}` cannot be started: {error}", words[0]));
    let mut child = super::this_program()
        .arg(SUBCOMMAND)
        .args(&words)
        .current_dir(&places.root)
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| std::env::var_os(name).map(|value| (*name, value))))
        .envs(FIXED)
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
    let go = listed.and_then(|()| pipe.map_or(Ok(()), |mut pipe| pipe.write_all(b"g")));
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

/// One word of a command; a word that is one placeholder becomes as many words as it has paths.
fn fill_word(word: &str, places: &Places) -> Result<Vec<String>, String> {
    match split(word)?.as_slice() {
        [Part::Reference(path)] => Ok(places.look_up(path)?.iter().map(|path| path.display().to_string()).collect()),
        _ => fill(word, places, false).map(|filled| vec![filled]),
    }
}

/// `text` with `${inputs.x}` and `${outputs.y}` replaced by paths.
fn fill(text: &str, places: &Places, quoted: bool) -> Result<String, String> {
    let mut out = String::new();
    for part in split(text)? {
        match part {
            Part::Literal(literal) => out.push_str(literal),
            Part::Reference(path) => {
                let paths: Vec<String> = places.look_up(path)?.iter().map(|p| p.display().to_string()).collect();
                let shown = |path: &String| if quoted { shell_quote(path) } else { path.clone() };
                out.push_str(&paths.iter().map(shown).collect::<Vec<_>>().join(" "));
            }
        }
    }
    Ok(out)
}

impl Places {
    fn look_up(&self, path: &str) -> Result<Vec<PathBuf>, String> {
        let found = match path.split_once('.') {
            Some(("inputs", name)) => self.inputs.get(name).cloned(),
            Some(("outputs", name)) => self.outputs.get(name).map(|path| vec![path.clone()]),
            _ => None,
        };
        found.ok_or_else(|| format!("`${{{path}}}` names no input or output of this stage"))
    }
}

/// `text` as one word of the shell, whatever is in it.
#[must_use]
pub fn shell_quote(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./=:,+@%".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Checks that every declared output was written, and names what lies beside it.
///
/// # Errors
/// The outputs that are missing.
pub fn check_outputs(outputs: &BTreeMap<String, PathBuf>) -> Result<(), String> {
    for (name, path) in outputs {
        if path.symlink_metadata().is_err() {
            let folder = path.parent().unwrap_or(path);
            let mut beside: Vec<String> = fs::read_dir(folder)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
                .collect();
            beside.sort();
            let beside = if beside.is_empty() {
                "nothing was written".to_owned()
            } else {
                format!("written: {}", beside.join(", "))
            };
            return Err(format!("the declared output `{name}` was not written ({beside})"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_reach_a_program_as_one_word_whatever_they_hold() {
        for value in ["a b", "$(touch x)", "`id`", "a'b", "\"", ";rm", "", "\n", "-n", "*", "\\"] {
            let script = format!("printf %s {}", shell_quote(value));
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            let expected = if value == "-n" { "-n" } else { value };
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{value:?}");
        }
    }
}
