//! What a stage is: the [`Stage`] trait, its ports, and the type-erased [`StageDef`] that the engine works with.
//!
//! Knows nothing of pipelines, keys, stores or schedulers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::io::StageIo;

/// One kind of work, for instance `unlearn/pru`. One file per stage, one line in [`crate::BUILTINS`].
///
/// Two runs with equal params, sources and inputs must write equal bytes: randomness comes from
/// [`crate::rng`], never from the clock, the environment, the device or the number of threads.
pub trait Stage: 'static {
    /// The stage's params, as written under `with:`. Use `#[serde(deny_unknown_fields)]`; doc comments
    /// become the help that `pru-flow stages NAME` prints. Params enter the key with their defaults filled in, but for
    /// paths ([`SourcePath`]) and those marked `#[schemars(extend("x-unkeyed" = true))]`, which must decide no byte of
    /// any output (where to look, how long to wait). Both marks count at the top level of `with:` only.
    type Params: DeserializeOwned + Serialize + JsonSchema;

    /// The name that `uses:` takes.
    const NAME: &'static str;
    /// Bumped whenever the same inputs could give other bytes; enters the key.
    const VERSION: u32;
    /// One sentence for `pru-flow stages`.
    const SUMMARY: &'static str;
    /// Libraries that decide the output's bytes; their versions enter the key.
    const TOOLCHAIN: &'static [Tool] = &[];
    /// What the stage reads from other stages.
    const INPUTS: &'static [Port];
    /// What it writes.
    const OUTPUTS: &'static [OutputPort];

    /// Problems that types cannot express (ranges, combinations), as (field, what is wrong).
    fn check(_params: &Self::Params) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Problems of params and connected inputs taken together, as (param or input, what is wrong).
    fn check_inputs(_params: &Self::Params, _connected: &[&str]) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Files from outside that the stage reads; the key holds their content, never their path.
    fn sources(_params: &Self::Params) -> Vec<Source> {
        Vec::new()
    }

    /// What one run needs, unless the pipeline's `resources:` says otherwise.
    fn resources(_params: &Self::Params) -> Resources {
        Resources::default()
    }

    /// The class to be forgotten: decides which members [`Sees::Forget`] and [`Sees::Retain`] ports get.
    fn forget_class(_params: &Self::Params) -> Option<u32> {
        None
    }

    /// Does the work.
    ///
    /// # Errors
    /// [`StageError`]: becomes the node's outcome; other nodes go on.
    fn run(_params: Self::Params, _io: &mut StageIo) -> Result<(), StageError> {
        Err(StageError::NeedsWorker(Self::NAME))
    }
}

/// A library whose version is part of what a stage computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// libtorch: the stage runs in a worker process.
    Libtorch,
    /// The JPEG and PNG decoder.
    ImageDecoder,
    /// What turns SVG into pixels, with its font.
    SvgRenderer,
}

impl Tool {
    /// The name and version that enter the key.
    #[must_use]
    pub const fn fingerprint(self) -> (&'static str, &'static str) {
        match self {
            Self::Libtorch => ("libtorch", "2.11"),
            Self::ImageDecoder => ("image and zune-jpeg", "0.25 and 0.5"),
            Self::SvgRenderer => ("resvg and Arimo", "0.49 and 1.341"),
        }
    }
}

/// An input of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// The name under `inputs:`.
    pub name: &'static str,
    /// One sentence of help.
    pub doc: &'static str,
    /// One artifact, perhaps one, or the artifacts of many nodes.
    pub arity: Arity,
    /// Which members of a data set the stage is given.
    pub sees: Sees,
}

impl Port {
    /// A port that takes exactly one artifact.
    #[must_use]
    pub const fn one(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, arity: Arity::One, sees: Sees::Both }
    }

    /// A port that may be left unconnected.
    #[must_use]
    pub const fn optional(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, arity: Arity::Optional, sees: Sees::Both }
    }

    /// A port that gathers the artifacts of many nodes, each with its coordinates.
    #[must_use]
    pub const fn gather(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, arity: Arity::Gather, sees: Sees::Both }
    }

    /// A data port through which only the members that `sees` allows are given to the stage.
    #[must_use]
    pub const fn data(name: &'static str, sees: Sees, doc: &'static str) -> Self {
        Self { name, doc, arity: Arity::One, sees }
    }

    /// A data set of `sees`, or none.
    #[must_use]
    pub const fn optional_data(name: &'static str, sees: Sees, doc: &'static str) -> Self {
        Self { name, doc, arity: Arity::Optional, sees }
    }
}

/// How many artifacts a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// Any number, in a stable order, each with the coordinates of the node that made it.
    Gather,
}

/// Which classes of a data set a port gives. A data set is a folder with one file `class-<c>.safetensors`
/// a class; the engine puts only the allowed files into the action, so nothing else enters the key or reaches the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// Only the class to be forgotten.
    Forget,
    /// All classes but the one to be forgotten.
    Retain,
    /// Everything.
    Both,
}

impl Sees {
    /// Whether the file `member` of a data set may be seen.
    #[must_use]
    pub fn allows(self, member: &str, forget_class: Option<u32>) -> bool {
        let is_forget = forget_class.is_some_and(|f| member == class_member(f));
        match self {
            Self::Both => true,
            Self::Forget => is_forget,
            Self::Retain => !is_forget,
        }
    }
}

/// The file name of one class in a data set's folder.
#[must_use]
pub fn class_member(class: u32) -> String {
    format!("class-{class}.safetensors")
}

/// An output of a stage.
#[derive(Clone, Copy, Debug)]
pub struct OutputPort {
    /// The name after the dot in `stage.output`; for a file its name with extension is `file`.
    pub name: &'static str,
    /// One sentence of help.
    pub doc: &'static str,
    /// A file (with the name it gets when it is copied out) or a folder.
    pub kind: OutputKind,
}

impl OutputPort {
    /// A single file; `file_name` is what `pru-flow get` and the results folder call it.
    #[must_use]
    pub const fn file(name: &'static str, file_name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, kind: OutputKind::File { file_name } }
    }

    /// A folder of files.
    #[must_use]
    pub const fn folder(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, kind: OutputKind::Folder }
    }
}

/// File or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// One file.
    File {
        /// Its name outside the store.
        file_name: &'static str,
    },
    /// A folder of files.
    Folder,
}

/// A path to a file or folder outside the store, given in a param. Relative paths are resolved by the engine
/// (against the project's root, or the current folder when given on the command line) before a stage sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourcePath(pub PathBuf);

impl JsonSchema for SourcePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SourcePath".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // The engine finds path params by this format: it resolves them and leaves them out of the key.
        schemars::json_schema!({"type": "string", "format": "path"})
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A file or folder that a stage reads from outside the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name under which the stage opens it ([`StageIo::source`]).
    pub name: &'static str,
    /// Candidates in order of preference: the first that exists is taken (`x.gz` or `x`).
    pub candidates: Vec<PathBuf>,
    /// What to put there, for the message when none exists.
    pub hint: String,
}

/// What one run of a stage draws on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Cores; also the number of threads a stage computes with.
    pub cpus: u32,
    /// Bytes of memory, 0 when not stated.
    pub memory_bytes: u64,
    /// Devices.
    pub gpus: u32,
    /// Bytes of device memory, 0 when not stated.
    pub gpu_memory_bytes: u64,
    /// Nothing else runs beside it (for measurements of time).
    pub exclusive: bool,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpus: 1, memory_bytes: 0, gpus: 0, gpu_memory_bytes: 0, exclusive: false }
    }
}

/// Why a stage did not finish.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The stage's own reason, in a full sentence.
    #[error("{0}")]
    Failed(String),
    /// A bad input or source file; `name` is the port or source.
    #[error("{name}: {problem}")]
    Input {
        /// The port's or source's name, or its path.
        name: String,
        /// What is wrong with it and what was expected.
        problem: String,
    },
    /// A loss or a weight became NaN or infinite, as it will each time: where and what, a sentence. See
    /// [`crate::divergence`].
    #[error("{0}")]
    Diverged(String),
    /// The run was asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// The stage computes with libtorch, which this binary does not hold.
    #[error("`{0}` runs in the worker `pru-flow-torch`; build it with `cargo xtask build`")]
    NeedsWorker(&'static str),
    /// Reading or writing failed.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

impl StageError {
    /// A failure with a message.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// A training that diverged.
    pub fn diverged(message: impl Into<String>) -> Self {
        Self::Diverged(message.into())
    }

    /// A bad input.
    pub fn input(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Input { name: name.into(), problem: problem.into() }
    }

    /// An error of reading or writing.
    pub fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}

/// What a stage's own checks find, as (param or input, what is wrong).
pub type FieldProblems = Vec<(&'static str, String)>;

/// A stage with its types erased: one row of [`crate::BUILTINS`].
#[derive(Clone, Copy)]
pub struct StageDef {
    /// See [`Stage::NAME`].
    pub name: &'static str,
    /// See [`Stage::VERSION`].
    pub version: u32,
    /// See [`Stage::SUMMARY`].
    pub summary: &'static str,
    /// See [`Stage::TOOLCHAIN`].
    pub toolchain: &'static [Tool],
    /// See [`Stage::INPUTS`].
    pub inputs: &'static [Port],
    /// See [`Stage::OUTPUTS`].
    pub outputs: &'static [OutputPort],
    /// The JSON Schema of the params, with defaults and docs.
    pub schema: fn() -> schemars::Schema,
    /// Reads params, fills in defaults and writes them again, so that omitted and default are one.
    pub normalise: fn(&serde_json::Value) -> Result<serde_json::Value, ParamError>,
    /// See [`Stage::check`]; takes normalised params, as do the rest.
    pub check: fn(&serde_json::Value) -> FieldProblems,
    /// See [`Stage::check_inputs`].
    pub check_inputs: fn(&serde_json::Value, &[&str]) -> FieldProblems,
    /// See [`Stage::sources`].
    pub sources: fn(&serde_json::Value) -> Vec<Source>,
    /// See [`Stage::resources`].
    pub resources: fn(&serde_json::Value) -> Resources,
    /// See [`Stage::forget_class`].
    pub forget_class: fn(&serde_json::Value) -> Option<u32>,
    /// See [`Stage::run`].
    pub run: fn(&serde_json::Value, &mut StageIo) -> Result<(), StageError>,
}

/// A param that does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// Dotted path of the field, empty for the whole.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

impl StageDef {
    /// Erases the types of `S`.
    #[must_use]
    pub const fn of<S: Stage>() -> Self {
        Self {
            name: S::NAME,
            version: S::VERSION,
            summary: S::SUMMARY,
            toolchain: S::TOOLCHAIN,
            inputs: S::INPUTS,
            outputs: S::OUTPUTS,
            schema: || {
                schemars::generate::SchemaSettings::draft07()
                    .with(|s| s.inline_subschemas = true)
                    .into_generator()
                    .into_root_schema_for::<S::Params>()
            },
            normalise: normalise::<S>,
            check: |params| S::check(&read::<S>(params)),
            check_inputs: |params, connected| S::check_inputs(&read::<S>(params), connected),
            sources: |params| S::sources(&read::<S>(params)),
            resources: |params| S::resources(&read::<S>(params)),
            forget_class: |params| S::forget_class(&read::<S>(params)),
            run: |params, io| S::run(read::<S>(params), io),
        }
    }

    /// Whether the stage runs in a worker process with libtorch.
    #[must_use]
    pub fn needs_worker(&self) -> bool {
        self.toolchain.contains(&Tool::Libtorch)
    }
}

fn read<S: Stage>(params: &serde_json::Value) -> S::Params {
    S::Params::deserialize(params).expect("params were normalised by the same type")
}

fn normalise<S: Stage>(params: &serde_json::Value) -> Result<serde_json::Value, ParamError> {
    let read: S::Params = serde_path_to_error::deserialize(params).map_err(|e| {
        let path = e.path().to_string();
        ParamError { path: if path == "." { String::new() } else { path }, message: e.into_inner().to_string() }
    })?;
    serde_json::to_value(read).map_err(|e| ParamError { path: String::new(), message: e.to_string() })
}
