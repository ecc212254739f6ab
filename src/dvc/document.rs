//! What stands in a `dvc.yaml`, before any name in it is looked up.

use crate::problem::Span;
use crate::yaml::{Key, Node};

/// A `dvc.yaml`.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Values for all stages, beside `params.yaml`.
    pub vars: Vec<Vars>,
    /// The stages in the order of the file.
    pub definitions: Vec<Definition>,
}

/// Values that templates may use.
#[derive(Debug)]
pub(super) enum Vars {
    /// All of a file, or some of its fields.
    File { path: String, fields: Vec<String>, at: Span },
    /// Values written here: a mapping.
    Values(Node),
}

/// A stage, or a group of them.
#[derive(Debug)]
pub(super) struct Definition {
    /// Its name.
    pub name: Key,
    /// How many stages it stands for.
    pub cells: Cells,
    /// What they do.
    pub stage: StageText,
}

/// What the stages of a group differ in.
#[derive(Debug)]
pub(super) enum Cells {
    /// Nothing: it is one stage.
    One,
    /// Items of a list or entries of a mapping, or the name of one.
    Foreach(Node),
    /// The product of these lists.
    Matrix(Vec<(Key, Node)>),
}

/// A stage as written: texts with names in them.
#[derive(Debug, Default)]
pub(super) struct StageText {
    /// Commands that run one after another: texts.
    pub commands: Vec<Node>,
    /// Whether they are one text, of which DVC runs every line by itself.
    pub by_lines: bool,
    /// The folder in which all its paths start: a text.
    pub folder: Option<Node>,
    /// Files and folders that it reads: texts.
    pub deps: Vec<Node>,
    /// Files and folders that it writes, whether as outs, metrics or plots: texts.
    pub outs: Vec<Node>,
    /// Values of files that it reads.
    pub params: Vec<ParamsText>,
    /// Values for this stage alone.
    pub vars: Vec<Vars>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it runs every time.
    pub always: bool,
}

/// Values of a file that a stage reads.
#[derive(Debug)]
pub(super) struct ParamsText {
    /// The file: a text; `None` for `params.yaml`.
    pub file: Option<Node>,
    /// Dotted paths in it: texts. None of them means all of the file.
    pub values: Vec<Node>,
    /// Where they are named.
    pub at: Span,
}
