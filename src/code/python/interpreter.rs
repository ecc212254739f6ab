//! Asks an interpreter, once, what it is and where it looks for modules. The answer is good as long as the interpreter's
//! file, its `pyvenv.cfg`, its folders of installed distributions and the `.pth` files in them are the same.
//!
//! It is asked with the variables that the command will see, but without `PYTHONPATH`: folders named there are followed
//! as the project's own, and change from command to command. It is not asked with `-I`: the command runs without it, and
//! sees the user's own folder of distributions.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::environment::{Environment, Installed};
use crate::code::CodeError;
use crate::code::seen::{Disk, Eyes, Memo, Witnesses};

const ASK: &str = include_str!("ask.py");
const MARK: &str = "pru-flow-python:";
/// How long an interpreter may take to answer; a cold network file system needs some seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// Variables of Python that decide where it looks for what is installed. All others of its own are kept from it.
const OWN_VARIABLES: [&str; 4] = ["PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONPLATLIBDIR"];
/// Other variables on which an answer may depend.
const VARIABLES: [&str; 6] = ["HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_VERSION", "PYENV_ROOT", "PYENV_DIR"];

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::code) struct Question {
    path: PathBuf,
    variables: Vec<(String, String)>,
    /// The working folder, on which only a program that chooses another one depends.
    folder: Option<PathBuf>,
}

/// What was answered, and on what that depends.
#[derive(Debug)]
pub(in crate::code) struct Answer {
    environment: Result<Arc<Environment>, CodeError>,
    pub witnesses: Witnesses,
    pub seen_ns: i64,
    /// The last look in which the witnesses held.
    checked: AtomicU64,
    /// Whether the program starts another one that it chooses by rules of its own: asked anew in every look.
    chooses: bool,
}

/// An answer as it is kept from run to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::code) struct KeptAnswer {
    pub question: Question,
    pub environment: Environment,
    pub witnesses: Witnesses,
    pub seen_ns: i64,
}

/// Interpreters that were asked.
#[derive(Debug, Default)]
pub(in crate::code) struct Interpreters {
    known: Memo<Question, Arc<Answer>>,
    /// Held while one is asked: threads that want the same answer wait for it. How many were asked.
    asking: Mutex<usize>,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(in crate::code) struct Asker<'a> {
    pub folder: &'a Path,
    pub variables: &'a BTreeMap<String, String>,
    pub disk: &'a Disk,
    /// The number of the look, and when it began.
    pub look: u64,
    pub seen_ns: i64,
}

impl Interpreters {
    /// Whether any had to be asked.
    pub fn has_asked(&self) -> bool {
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) > 0
    }

    /// Takes an answer from an earlier run.
    pub fn restore(&self, kept: KeptAnswer) {
        let answer = Answer {
            environment: Ok(Arc::new(kept.environment)),
            witnesses: kept.witnesses,
            seen_ns: kept.seen_ns,
            checked: AtomicU64::new(0),
            chooses: false,
        };
        self.known.set(kept.question, Arc::new(answer));
    }

    /// The answers that may be kept.
    pub fn to_keep(&self) -> Vec<KeptAnswer> {
        let keep = |(question, answer): (Question, Arc<Answer>)| {
            let environment = answer.environment.as_ref().ok().filter(|_| !answer.chooses)?;
            let (witnesses, seen_ns) = (answer.witnesses.clone(), answer.seen_ns);
            Some(KeptAnswer { question, environment: Environment::clone(environment), witnesses, seen_ns })
        };
        let mut kept: Vec<KeptAnswer> = self.known.to_vec().into_iter().filter_map(keep).collect();
        kept.sort_by(|a, b| a.question.cmp(&b.question));
        kept
    }

    /// What is installed for the interpreter at `path`; all that the answer depends on is noted in `eyes`.
    pub fn environment(
        &self,
        path: &Path,
        asker: Asker<'_>,
        eyes: &mut Eyes<'_>,
    ) -> Result<Arc<Environment>, CodeError> {
        let answer = match self.answer(path, asker) {
            Some(answer) => answer,
            None => {
                let mut asked = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                match self.answer(path, asker) {
                    Some(answer) => answer,
                    None => {
                        *asked += 1;
                        self.ask(path, asker)
                    }
                }
            }
        };
        eyes.seen.extend(&answer.witnesses);
        answer.environment.clone()
    }

    /// An answer that is still good.
    fn answer(&self, path: &Path, asker: Asker<'_>) -> Option<Arc<Answer>> {
        let mut answer = self.known.get(&question(path, asker, false))?;
        if answer.chooses {
            answer = self.known.get(&question(path, asker, true))?;
        }
        if answer.checked.load(Ordering::Relaxed) >= asker.look {
            return Some(answer);
        }
        if !answer.witnesses.still_hold(asker.disk, answer.seen_ns) {
            return None;
        }
        answer.checked.fetch_max(asker.look, Ordering::Relaxed);
        Some(answer)
    }

    fn ask(&self, path: &Path, asker: Asker<'_>) -> Arc<Answer> {
        let mut eyes = Eyes::new(asker.disk);
        eyes.identity(path);
        let told = ask(path, asker);
        let chooses = told.as_ref().is_ok_and(|told| !is_same(path, &told.executable));
        let environment = told.map(|told| Arc::new(told.into_environment(path, &mut eyes)));
        // What failed may be repaired in any way; what another program chooses may change in any way.
        eyes.seen.restless = chooses || environment.is_err();
        let answer = Answer {
            environment,
            witnesses: eyes.seen,
            seen_ns: asker.seen_ns,
            checked: AtomicU64::new(asker.look),
            chooses,
        };
        let answer = Arc::new(answer);
        self.known.set(question(path, asker, false), Arc::clone(&answer));
        if chooses {
            self.known.set(question(path, asker, true), Arc::clone(&answer));
        }
        answer
    }
}

fn question(path: &Path, asker: Asker<'_>, in_folder: bool) -> Question {
    let names = OWN_VARIABLES.iter().chain(&VARIABLES);
    let set = names.filter_map(|name| Some(((*name).to_owned(), asker.variables.get(*name)?.clone())));
    Question { path: path.to_owned(), variables: set.collect(), folder: in_folder.then(|| asker.folder.to_owned()) }
}

/// Whether both lead to one file.
fn is_same(path: &Path, executable: &str) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(path).is_some_and(|path| real(Path::new(executable)) == Some(path))
}

/// What `ask.py` prints.
#[derive(Deserialize)]
struct Told {
    version: String,
    executable: String,
    prefix: PathBuf,
    installed: Vec<PathBuf>,
    outside: Vec<PathBuf>,
    linked: BTreeMap<String, Vec<PathBuf>>,
}

impl Told {
    /// Looks at all on which the answer depends, so that a change of any of it is seen.
    fn into_environment(self, path: &Path, eyes: &mut Eyes<'_>) -> Environment {
        eyes.identity(Path::new(&self.executable));
        for start in [path, Path::new(&self.executable)] {
            if let Some(folder) = start.parent() {
                eyes.identity(&folder.join("pyvenv.cfg"));
                eyes.identity(&folder.with_file_name("pyvenv.cfg"));
            }
        }
        for folder in &self.installed {
            eyes.identity(folder);
        }
        let installed = Installed::read(eyes, &self.installed, &self.prefix);
        let mut roots = self.outside;
        // Packages that are edited in place but reached by no path that Python tells: their folder, and the one in it
        // that is customary.
        for edited in installed.edited.iter().flat_map(|folder| [folder.join("src"), folder.clone()]) {
            if !roots.contains(&edited) {
                roots.push(edited);
            }
        }
        Environment { version: self.version, distributions: installed.lines, roots, linked: self.linked }
    }
}

fn ask(path: &Path, asker: Asker<'_>) -> Result<Told, CodeError> {
    tracing::debug!("asking {} what is installed for it", path.display());
    let failed = |why: String| {
        let help = "run it yourself to see why; a virtual environment whose Python is gone is made anew by \
                    `python3 -m venv --clear FOLDER` or `uv venv --clear`";
        CodeError { message: format!("the Python at {} does not answer: {why}", path.display()), help: help.to_owned() }
    };
    let variables = asker
        .variables
        .iter()
        .filter(|(name, _)| !name.starts_with("PYTHON") || OWN_VARIABLES.contains(&name.as_str()));
    let child = Command::new(path)
        .args(["-B", "-c", ASK])
        .current_dir(asker.folder)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| failed(error.to_string()))?;
    let (out, err) = (reading(child.stdout.take()), reading(child.stderr.take()));
    let ended = wait(&mut child).map_err(|error| failed(error.to_string()))?;
    if !ended {
        return Err(failed(format!("nothing after {} s", PATIENCE.as_secs())));
    }
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    let told = out.lines().rev().find_map(|line| line.strip_prefix(MARK));
    let last = err.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed nothing of use");
    let told = told.ok_or_else(|| failed(last.to_owned()))?;
    serde_json::from_str(told).map_err(|error| failed(format!("what it printed cannot be read ({error})")))
}

/// Reads all of a pipe, beside the other one: a full pipe would stop the child.
fn reading(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error counts: the mark tells whether it is enough.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Whether the child ended in time; it is gone in any case.
fn wait(child: &mut Child) -> std::io::Result<bool> {
    let begin = Instant::now();
    while child.try_wait()?.is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}
