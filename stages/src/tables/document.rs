//! What a table stage prints, before it is text: headings, notes and grids of cells that know where they come from.
//!
//! Knows nothing of Markdown, LaTeX or JSON.

use super::comparison::Comparison;
use super::metrics::Metric;
use super::slices::Coordinates;
use super::statistics::Mean;

/// A whole table.
pub(super) struct Document {
    pub title: String,
    pub parts: Vec<Part>,
    /// The coordinates of every gathered artifact, in the order of the port: cells name them by their place here.
    pub runs: Vec<Coordinates>,
}

/// A piece of a document.
pub(super) enum Part {
    Heading(String),
    Note(String),
    Grid(Grid),
}

/// A table; every row has as many labels as `labels` and as many cells as `columns`.
pub(super) struct Grid {
    /// What it shows, for programs: `means`, `means_without`, `trial`, `members`, `claim`, `differences`, `all_pairs`.
    pub name: &'static str,
    pub caption: String,
    pub labels: Vec<Label>,
    pub columns: Vec<Head>,
    pub rows: Vec<Row>,
    /// Whether text shows the deviation over trials below each mean.
    pub deviation: bool,
}

/// The head of a column of labels.
pub(super) struct Label {
    pub text: String,
    pub right: bool,
}

/// The head of a column of cells.
pub(super) struct Head {
    pub text: String,
    /// Neighbours with one group stand under its name.
    pub group: Option<String>,
}

/// A row.
pub(super) struct Row {
    pub labels: Vec<Cell>,
    pub cells: Vec<Cell>,
    /// Whether something new begins here.
    pub begins: bool,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Metric(Metric),
    /// The number of trials.
    Trials,
    /// A number with two decimals.
    Number(f64),
    /// So many of so many that there should be.
    Count {
        n: usize,
        of: usize,
    },
    /// A mean over trials.
    Figure(Box<Figure>),
    /// No value.
    Missing,
}

/// The decimals of accuracies, as the paper prints them.
pub(super) const DECIMALS: usize = 2;

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Percent,
    /// A quotient of two accuracies.
    Ratio,
    /// A difference in percent points.
    Points,
    /// None.
    Plain,
    /// A difference of numbers without a unit.
    Difference,
}

impl Unit {
    /// How many of it are in one.
    pub(super) const fn factor(self) -> f64 {
        match self {
            Self::Percent | Self::Points => 100.0,
            Self::Ratio | Self::Plain | Self::Difference => 1.0,
        }
    }

    /// Whether text always shows the sign.
    pub(super) const fn is_signed(self) -> bool {
        matches!(self, Self::Points | Self::Difference)
    }
}

/// A mean over trials with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    pub unit: Unit,
    /// How many text shows.
    pub decimals: usize,
    /// None where no trial is complete.
    pub mean: Option<Mean>,
    /// Trials that there should be.
    pub trials: usize,
    /// Classes, or whatever else is averaged over within a trial.
    pub classes: usize,
    /// Its coordinates: axes, `metric`, `epoch`.
    pub at: Coordinates,
    /// Places in [`Document::runs`] of those that it is computed from.
    pub runs: Vec<usize>,
    /// What it should be computed from too, in words.
    pub missing: Vec<String>,
    pub comparison: Option<Comparison>,
    /// Of a paired difference.
    pub paired: Option<Paired>,
}

/// Pairs of two methods within (trial, class).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Paired {
    pub pairs: usize,
    /// Pairs that there should be.
    pub of: usize,
    pub verdict: Verdict,
}

/// What a difference's interval says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Lower,
    Higher,
    Undecided,
}

impl Verdict {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
            Self::Undecided => "undecided",
        }
    }
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn number(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Number)
    }

    pub(super) fn figure(&self) -> Option<&Figure> {
        match self {
            Self::Figure(figure) => Some(figure),
            _ => None,
        }
    }
}

impl Label {
    pub(super) fn left(text: impl Into<String>) -> Self {
        Self { text: text.into(), right: false }
    }

    pub(super) fn right(text: impl Into<String>) -> Self {
        Self { text: text.into(), right: true }
    }
}

impl Head {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), group: None }
    }
}

impl Grid {
    /// Its figures, in order.
    pub(super) fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.rows.iter().flat_map(|row| &row.cells).filter_map(Cell::figure)
    }
}

impl Document {
    /// Its grids, in order.
    pub(super) fn grids(&self) -> impl Iterator<Item = &Grid> {
        self.parts.iter().filter_map(|part| match part {
            Part::Grid(grid) => Some(grid),
            Part::Heading(_) | Part::Note(_) => None,
        })
    }
}
