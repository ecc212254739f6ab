//! A pipeline that is to be written: the fields of ours that an import uses, as plain data.

use crate::yaml::{Node, Value};

/// A pipeline.
#[derive(Debug)]
pub(super) struct Draft {
    /// Its name.
    pub name: String,
    /// Its params: a mapping.
    pub params: Node,
    /// Its stages.
    pub stages: Vec<DraftStage>,
}

/// A stage.
#[derive(Debug)]
pub(super) struct DraftStage {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Axes of its cells.
    pub matrix: Vec<(String, AxisValues)>,
    /// What it runs.
    pub command: String,
    /// Whether that is for bash.
    pub bash: bool,
    /// Where it runs.
    pub cwd: Option<String>,
    /// Outputs of stages, or files: never both in one.
    pub inputs: Vec<(String, Vec<String>)>,
    /// Paths, or nothing for an output that has none.
    pub outputs: Vec<(String, Option<String>)>,
    /// Values of files, by their dotted paths.
    pub reads: Vec<(String, Vec<String>)>,
    /// Whether it runs in every run.
    pub always: bool,
}

/// The values of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AxisValues {
    /// `${params.NAME}`.
    Reference(String),
    /// Single values.
    List(Vec<Value>),
    /// Names with what belongs to them.
    Map(Vec<(String, Node)>),
}
