//! `table.json` as a table stage writes it, read leniently: a page shows what it can.
//!
//! Knows nothing of HTML, and not which node wrote it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The format that this reads.
const FORMAT: u32 = 1;

/// A whole table.
#[derive(Debug, Deserialize)]
pub struct Document {
    format: u32,
    /// The heading.
    pub title: String,
    /// The coordinates of every gathered artifact; cells name them by their place.
    pub runs: Vec<BTreeMap<String, String>>,
    /// What is shown, in order.
    pub parts: Vec<Part>,
}

/// A piece of a table.
#[derive(Debug, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    /// The heading of what follows.
    Heading {
        /// What it says.
        text: String,
    },
    /// A sentence.
    Note {
        /// What it says.
        text: String,
    },
    /// Cells in rows and columns.
    Grid(Grid),
}

/// Cells in rows and columns.
#[derive(Debug, Deserialize)]
pub struct Grid {
    /// `means`, `means_without`, `trial`, `members`, `claim`, `differences`, `all_pairs`.
    pub name: String,
    /// What it shows; may be empty.
    pub caption: String,
    /// Heads of the columns of labels.
    pub labels: Vec<String>,
    /// Heads of the columns of cells.
    pub columns: Vec<Head>,
    /// All rows.
    pub rows: Vec<Row>,
}

/// The head of a column.
#[derive(Debug, Deserialize)]
pub struct Head {
    /// Its own.
    pub text: String,
    /// Neighbours with one group stand under its name.
    pub group: Option<String>,
}

/// A row.
#[derive(Debug, Deserialize)]
pub struct Row {
    /// What it is of.
    pub labels: Vec<Cell>,
    /// Its values.
    pub cells: Vec<Cell>,
}

/// What stands in a cell.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cell {
    /// Text.
    Text {
        /// What it says.
        text: String,
    },
    /// The name of a metric, as `A_f`.
    Metric {
        /// The name.
        text: String,
    },
    /// A number with two decimals.
    Number {
        /// The number.
        value: Option<f64>,
    },
    /// So many of so many.
    Count {
        /// There are.
        n: u64,
        /// There should be.
        of: u64,
    },
    /// No value.
    Empty,
    /// A mean over trials.
    Mean(Box<Figure>),
    /// A mean over trials of quotients.
    Ratio(Box<Figure>),
    /// A mean over trials of paired differences.
    PairedDifference(Box<Figure>),
}

/// A mean over trials with all that is known of it.
#[derive(Debug, Deserialize)]
pub struct Figure {
    /// Its coordinates: axes, `metric`, `epoch`.
    pub at: BTreeMap<String, String>,
    /// `percent`, `1` or `percent points`.
    pub unit: String,
    /// How many of the value are shown.
    #[serde(default = "two")]
    pub decimals: usize,
    /// The mean.
    pub value: Option<f64>,
    /// Half the width of the 95 % interval over trials.
    pub half_width: Option<f64>,
    /// The sample deviation over trials.
    pub sd: Option<f64>,
    /// Trials that the value is over.
    pub n: u64,
    /// Trials that there should be.
    pub trials: u64,
    /// Classes averaged within a trial.
    pub classes: u64,
    /// The paper's.
    pub published: Option<f64>,
    /// Ours less the paper's.
    pub difference: Option<f64>,
    /// `within`, `outside` or `not comparable`.
    pub mark: Option<String>,
    /// Why that mark.
    pub reason: Option<String>,
    /// Pairs of a difference.
    pub pairs: Option<u64>,
    /// Pairs that there should be.
    pub pairs_of: Option<u64>,
    /// `lower`, `higher` or `undecided`.
    pub verdict: Option<String>,
    /// What the value lacks, in words.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Places in [`Document::runs`].
    pub runs: Vec<usize>,
}

const fn two() -> usize {
    2
}

impl Document {
    /// Reads `table.json`.
    ///
    /// # Errors
    /// When it is none, or of another format.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let document: Self = serde_json::from_slice(bytes).map_err(|e| format!("its table.json is none: {e}"))?;
        if document.format == FORMAT {
            Ok(document)
        } else {
            Err(format!("its table.json has format {}; this version reads format {FORMAT}", document.format))
        }
    }
}
