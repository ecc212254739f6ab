//! What a running stage can reach: its inputs, sources, output paths, and the way to report progress.
//!
//! A stage gets no path of the store. It reads the artifacts that its [`Attempt`] names, and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pru_flow_cache::Digest;
use serde::{Deserialize, Serialize};

use crate::diverged::is_mark;
use crate::stage::StageError;

/// One attempt at running a node: all that an executor needs. Written as JSON for worker processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// The stage's name.
    pub stage: String,
    /// Normalised params.
    pub params: serde_json::Value,
    /// Artifacts by port.
    pub inputs: BTreeMap<String, Vec<Input>>,
    /// Source files by name: the path as resolved by the engine.
    pub sources: BTreeMap<String, PathBuf>,
    /// A fresh folder: outputs are written to `folder/out/<output>`, scratch files to `folder/scratch`.
    pub folder: PathBuf,
    /// A folder that outlives the attempt until one succeeds, the same for every attempt at one action; made when the
    /// stage asks for it.
    pub kept: PathBuf,
    /// `cpu` or `cuda:<i>`.
    pub device: String,
    /// Threads to compute with.
    pub threads: u32,
    /// The file that the stage's stdout and stderr go to.
    pub log: PathBuf,
}

/// One artifact given to a port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    /// Coordinates of the node that made it, in declaration order of the axes; empty without a matrix.
    pub coordinates: Vec<(String, String)>,
    /// Its files: one with an empty name for a file, else the folder's members in order of name.
    pub files: Vec<InputFile>,
}

/// One file of an artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InputFile {
    /// Path inside the folder, empty for a single file.
    pub name: String,
    digest: Digest,
    /// Where the bytes lie; private, so that no stage walks from here to what it may not see.
    path: PathBuf,
}

impl InputFile {
    /// Names a file of an artifact; `path` is where its verified bytes lie.
    #[must_use]
    pub fn new(name: impl Into<String>, digest: Digest, path: PathBuf) -> Self {
        Self { name: name.into(), digest, path }
    }

    /// Reads the file and checks its digest.
    ///
    /// # Errors
    /// When it cannot be read, or its bytes are not those that the key was computed from.
    pub fn read(&self) -> Result<Vec<u8>, StageError> {
        let bytes =
            std::fs::read(&self.path).map_err(|e| StageError::io(format!("reading the input {}", self.name), e))?;
        if Digest::of(&bytes) != self.digest {
            return Err(StageError::input(&self.name, format!("the bytes are not those of digest {}", self.digest)));
        }
        Ok(bytes)
    }
}

impl Input {
    /// The value on an axis of the node that made this artifact.
    #[must_use]
    pub fn coordinate(&self, axis: &str) -> Option<&str> {
        self.coordinates.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
    }

    /// Whether the training that should have made it diverged.
    #[must_use]
    pub fn diverged(&self) -> bool {
        self.files.iter().any(|file| is_mark(&file.digest))
    }

    /// Reads an artifact that is a single file.
    ///
    /// # Errors
    /// When it is a folder, cannot be read or is damaged.
    pub fn read(&self) -> Result<Vec<u8>, StageError> {
        match self.files.as_slice() {
            [file] if file.name.is_empty() => file.read(),
            _ => Err(StageError::failed("a single file was expected here, and a folder was given")),
        }
    }
}

/// What a running stage tells the outside. Never part of an artifact.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum StageEvent {
    /// One more unit of work is done.
    Progress(Progress),
    /// A measurement for the record (seconds, bytes, samples): never part of a result's content.
    Measured {
        /// Name with its unit last, for instance `train_seconds`.
        name: String,
        /// The value.
        value: f64,
    },
}

/// How far a stage is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Progress {
    /// What is counted: `epoch`, `file`.
    pub unit: String,
    /// Units done.
    pub done: u64,
    /// Units in all, 0 when unknown.
    pub total: u64,
    /// Mean training loss of the last unit.
    pub loss: Option<f64>,
    /// Accuracy, 0 to 1.
    pub accuracy: Option<f64>,
    /// Samples per second.
    pub samples_per_s: Option<f64>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.unit, self.done)?;
        if self.total > 0 {
            write!(f, "/{}", self.total)?;
        }
        if let Some(loss) = self.loss {
            write!(f, "  loss {loss:.4}")?;
        }
        if let Some(accuracy) = self.accuracy {
            write!(f, "  accuracy {accuracy:.4}")?;
        }
        self.samples_per_s.map_or(Ok(()), |rate| write!(f, "  {rate:.0} samples/s"))
    }
}

/// Counts what a stage reads of its data, batch by batch: a sample that is read twice counts twice.
#[derive(Debug, Default)]
pub struct Reads(Mutex<BTreeMap<i64, Read>>);

/// What was read of one class.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    samples: u64,
    bytes: u64,
}

impl Reads {
    /// A batch was read: the class of each sample, and what a sample takes as it is stored.
    pub fn add(&self, classes: impl Iterator<Item = i64>, sample_bytes: u64) {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for class in classes {
            let of_class = read.entry(class).or_default();
            of_class.samples += 1;
            of_class.bytes += sample_bytes;
        }
    }

    /// Samples read, and bytes of all classes but the one to be forgotten.
    fn totals(&self, forget_class: Option<u32>) -> (u64, u64) {
        let read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = read.iter().filter(|(class, _)| forget_class.is_none_or(|f| **class != i64::from(f)));
        (read.values().map(|of_class| of_class.samples).sum(), others.map(|(_, of_class)| of_class.bytes).sum())
    }
}

/// A running stage's access to the outside.
pub struct StageIo<'a> {
    attempt: &'a Attempt,
    cancelled: Arc<AtomicBool>,
    reads: Arc<Reads>,
    events: Box<dyn FnMut(StageEvent) + 'a>,
}

impl<'a> StageIo<'a> {
    /// Opens the attempt: creates its output and scratch folders.
    ///
    /// # Errors
    /// When the folders cannot be created.
    pub fn new(
        attempt: &'a Attempt,
        cancelled: Arc<AtomicBool>,
        events: impl FnMut(StageEvent) + 'a,
    ) -> Result<Self, StageError> {
        for folder in ["out", "scratch"] {
            let path = attempt.folder.join(folder);
            std::fs::create_dir_all(&path).map_err(|e| StageError::io(format!("creating {}", path.display()), e))?;
        }
        Ok(Self { attempt, cancelled, reads: Arc::default(), events: Box::new(events) })
    }

    /// The single artifact of a port.
    ///
    /// # Errors
    /// When the port has none or several.
    pub fn input(&self, port: &str) -> Result<&'a Input, StageError> {
        match self.inputs(port) {
            [input] => Ok(input),
            inputs => {
                Err(StageError::input(port, format!("one artifact was expected, {} are connected", inputs.len())))
            }
        }
    }

    /// All artifacts of a port, in the order that the key lists.
    #[must_use]
    pub fn inputs(&self, port: &str) -> &'a [Input] {
        self.attempt.inputs.get(port).map_or(&[], Vec::as_slice)
    }

    /// The path of a source file or folder, by the name that [`crate::Stage::sources`] gave it.
    ///
    /// # Errors
    /// When the stage declared no such source.
    pub fn source(&self, name: &str) -> Result<&'a Path, StageError> {
        self.attempt
            .sources
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| StageError::input(name, "no such source was declared"))
    }

    /// Where an output is to be written: a file's path, or a folder that the stage creates and fills.
    #[must_use]
    pub fn output(&self, name: &str) -> PathBuf {
        self.attempt.folder.join("out").join(name)
    }

    /// Writes a whole output file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&self, output: &str, bytes: &[u8]) -> Result<(), StageError> {
        let path = self.output(output);
        std::fs::write(&path, bytes).map_err(|e| StageError::io(format!("writing the output {output}"), e))
    }

    /// Writes a whole output file as one line of JSON.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_json(&self, output: &str, content: &impl Serialize) -> Result<(), StageError> {
        let mut json =
            serde_json::to_vec(content).map_err(|e| StageError::failed(format!("writing the output {output}: {e}")))?;
        json.push(b'\n');
        self.write(output, &json)
    }

    /// Writes one member of an output folder.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_member(&self, output: &str, member: &str, bytes: &[u8]) -> Result<(), StageError> {
        let path = self.output(output).join(member);
        let parent = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, bytes))
            .map_err(|e| StageError::io(format!("writing {member} of the output {output}"), e))
    }

    /// A folder for the stage's own temporary files.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.attempt.folder.join("scratch")
    }

    /// A folder for what the next attempt can go on from, when this one fails, is stopped or killed. Another attempt
    /// at the same action may be using it at this moment, in this process or in another one; and since it may hold
    /// anything, nothing in it may decide a byte of an output unchecked. The stage removes what is of no more use; what
    /// it leaves goes after a week.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn kept(&self) -> Result<&'a Path, StageError> {
        let path = &self.attempt.kept;
        std::fs::create_dir_all(path).map_err(|e| StageError::io(format!("creating {}", path.display()), e))?;
        Ok(path)
    }

    /// `cpu` or `cuda:<i>`.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.attempt.device
    }

    /// Threads to compute with: the declared `cpus`.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.attempt.threads
    }

    /// Whether the run was asked to stop: poll it at least once a second of work.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// As [`Self::cancelled`], for use with `?`.
    ///
    /// # Errors
    /// [`StageError::Cancelled`] when the run was asked to stop.
    pub fn check_cancelled(&self) -> Result<(), StageError> {
        if self.cancelled() { Err(StageError::Cancelled) } else { Ok(()) }
    }

    /// Tells how far the work is.
    pub fn progress(&mut self, progress: Progress) {
        (self.events)(StageEvent::Progress(progress));
    }

    /// Records a measurement.
    pub fn measure(&mut self, name: &str, value: f64) {
        (self.events)(StageEvent::Measured { name: name.to_owned(), value });
    }

    /// Counts what the stage reads of its data.
    #[must_use]
    pub fn reads(&self) -> &Arc<Reads> {
        &self.reads
    }

    /// Records `sample_passes`, the samples that were read in batches, each as often as it was (several forward passes over
    /// one batch are one), and, where a class is to be forgotten, `retain_read_bytes`, what those of all other classes
    /// take as they are stored. Records nothing where no batch was read.
    pub fn measure_reads(&mut self, forget_class: Option<u32>) {
        let (samples, retain_bytes) = self.reads.totals(forget_class);
        if samples == 0 {
            return;
        }
        self.measure("sample_passes", samples as f64);
        if forget_class.is_some() {
            self.measure("retain_read_bytes", retain_bytes as f64);
        }
    }
}
