//! The cells of a stage's matrix: the product of its axes, less `exclude`, plus `include`.
//!
//! ```yaml
//! matrix:
//!   class: [0, 3, 8]                                # a list of single values, or a `${...}` that gives one
//!   country:                                        # labels with attributes: `${matrix.country.epochs}`
//!     uk: {epochs: 3}
//!     us: {epochs: 10, matrix: {lr: [1, 2]}}        # axes that this value alone has
//!   seed: {file: seeds.csv, column: seed}           # values of a file (see `file`)
//!   zip: {a: [1, 2], b: [x, y]}                     # axes that are walked together; or a list of rows, or of such mappings
//!   sweep: {samples: 20, lr: {uniform: [0, 1]}}     # drawn values (see `sweep`)
//!   exclude: [{class: 3, country: uk}]
//!   include: [{class: 9, country: uk, seed: 1, ...}]
//! ```
//!
//! An axis may refer to those before it. Labels and values of files are read as YAML reads them: `3` is a number. Knows
//! nothing of what its cells are for.

mod chosen;
pub mod file;
mod sweep;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use crate::pipeline::{MatrixSpec, StageSpec};
use crate::problem::{Problem, Problems, Span, suggest};
use crate::selector::node_name;
use crate::template::{Coordinate, Scope, refers_to_results};
use crate::yaml::{Key, Node, Value};
use file::ValueFiles;

/// Coordinates of one cell, in declaration order of the axes.
pub type Coordinates = Vec<Coordinate>;

/// What one value of an axis stands for: its coordinate; or several that begin with it, when it brings axes of its own.
type AxisValue = Vec<Coordinates>;

/// Axes that are written as one: values walked together, and values drawn.
const ZIP: &str = "zip";
const SWEEP: &str = "sweep";

/// All cells of a stage; one without coordinates when it has no matrix.
#[must_use]
pub fn cells(
    spec: &StageSpec,
    params: &Arc<Node>,
    files: &mut ValueFiles<'_>,
    problems: &mut Problems,
) -> Vec<Coordinates> {
    let Some(matrix) = &spec.matrix else { return vec![Vec::new()] };
    let made = Maker { params, files, problems }.cells(matrix, &[]);
    check_unique(spec, &made, problems);
    if made.cells.is_empty() {
        let problem = Problem::new(format!("the matrix of `{}` has no cell", spec.name.text), spec.name.span);
        problems.push(problem.help("`exclude` leaves out every cell: remove one of its items"));
    }
    made.cells
}

/// Cells on their way.
struct Made {
    cells: Vec<Coordinates>,
    /// Every axis that some of them have.
    axes: Vec<Arc<str>>,
}

impl Made {
    /// Whether a value is not known, which is a problem already: then nothing can be said of what it would be.
    fn is_untold(&self) -> bool {
        self.cells.iter().flatten().any(|one| one.value.value == Value::Wrong)
    }

    /// Every cell with every one of these coordinates.
    fn multiply(&mut self, more: Vec<Coordinates>) {
        if matches!(self.cells.as_slice(), [only] if only.is_empty()) {
            self.cells = more;
            return;
        }
        let with = |cell: &Coordinates, more: &Coordinates| cell.iter().chain(more).cloned().collect();
        self.cells = self.cells.iter().flat_map(|cell| more.iter().map(move |more| with(cell, more))).collect();
    }
}

struct Maker<'m, 'f> {
    params: &'m Arc<Node>,
    files: &'m mut ValueFiles<'f>,
    problems: &'m mut Problems,
}

impl<'m> Maker<'m, '_> {
    /// The cells of a matrix inside a cell with the coordinates `around`, which they begin with.
    fn cells(&mut self, matrix: &MatrixSpec, around: &[Coordinate]) -> Made {
        let axes = around.iter().map(|one| Arc::clone(&one.axis)).collect();
        let mut made = Made { cells: vec![around.to_vec()], axes };
        for (key, node) in &matrix.axes {
            self.add(&mut made, key, node);
        }
        for item in &matrix.exclude {
            self.exclude(&mut made, item);
        }
        let included: Vec<Coordinates> =
            matrix.include.iter().flat_map(|item| self.included(matrix, &made, item, around)).collect();
        made.cells.extend(included);
        made
    }

    fn scope<'s>(&self, cell: &'s [Coordinate]) -> Scope<'s>
    where
        'm: 's,
    {
        Scope::new(self.params, (!cell.is_empty()).then_some(cell))
    }

    /// Multiplies the cells with one more entry of a matrix, whose values may depend on those before it:
    /// `${params.${matrix.setting}.classes}`.
    fn add(&mut self, made: &mut Made, key: &Key, node: &Node) {
        let depends = made.cells.iter().any(|cell| !cell.is_empty()) && names_an_axis(node);
        if !depends {
            let more: Vec<Coordinates> = self.values(key, node, &[]).into_iter().flatten().collect();
            if self.new_axes(made, key, &more) {
                made.multiply(more);
            }
            return;
        }
        let mut grown = Vec::new();
        // One wrong value on an axis before it would be told once a cell.
        let mut told = false;
        for cell in std::mem::take(&mut made.cells) {
            let mut here = Problems::default();
            let mut maker = Maker { params: self.params, files: &mut *self.files, problems: &mut here };
            let more: Vec<Coordinates> = maker.values(key, node, &cell).into_iter().flatten().collect();
            if !told && !here.is_empty() {
                told = true;
                self.problems.extend(here);
            }
            let mut one = Made { cells: vec![cell], axes: Vec::new() };
            one.multiply(more);
            grown.extend(one.cells);
        }
        let before = made.axes.clone();
        for axis in grown.iter().flatten().map(|one| &one.axis) {
            if !made.axes.contains(axis) {
                made.axes.push(Arc::clone(axis));
            }
        }
        made.cells = grown;
        let twice =
            |cell: &Coordinates| before.iter().any(|axis| cell.iter().filter(|one| one.axis == *axis).count() > 1);
        if made.cells.iter().any(twice) {
            self.twice(key);
        }
    }

    /// Notes the axes of `more`; none of them may be there before.
    fn new_axes(&mut self, made: &mut Made, key: &Key, more: &[Coordinates]) -> bool {
        let before = made.axes.len();
        for axis in more.iter().flatten().map(|one| &one.axis) {
            if made.axes[..before].contains(axis) {
                self.twice(key);
                return false;
            }
            if !made.axes[before..].contains(axis) {
                made.axes.push(Arc::clone(axis));
            }
        }
        true
    }

    fn twice(&mut self, key: &Key) {
        let problem = Problem::new(format!("`{}` gives an axis that there is already", key.text), key.span);
        self.problems.push(problem.help("give every axis of a cell a name of its own"));
    }

    /// The values of an entry in a cell, each with what it stands for.
    fn values(&mut self, key: &Key, node: &Node, cell: &[Coordinate]) -> Vec<AxisValue> {
        match key.text.as_str() {
            ZIP => self.zipped(key, node, cell),
            SWEEP => {
                let filled = self.scope(cell).fill(node, self.problems);
                sweep::draws(key, &filled, self.problems).into_iter().map(|one| vec![one]).collect()
            }
            _ => self.axis(key, node, cell),
        }
    }

    /// The values of one axis; a single [`Value::Wrong`] stands for those that cannot be told.
    fn axis(&mut self, key: &Key, node: &Node, cell: &[Coordinate]) -> Vec<AxisValue> {
        match &node.value {
            Value::Map(entries) if !entries.is_empty() && !file::is_file(node) => {
                self.labelled(key, entries, cell, true)
            }
            _ => {
                let filled = self.scope(cell).fill(node, self.problems);
                if file::is_file(&filled) {
                    return match self.files.values(&filled, self.problems) {
                        Some(values) => self.given(key, &values, cell),
                        None => vec![wrong(key, node)],
                    };
                }
                self.given(key, &filled, cell)
            }
        }
    }

    /// Values as they are: of a param, or of a file.
    fn given(&mut self, key: &Key, node: &Node, cell: &[Coordinate]) -> Vec<AxisValue> {
        match &node.value {
            Value::Map(entries) if !entries.is_empty() => self.labelled(key, entries, cell, false),
            _ => listed(key, node, self.problems),
        }
    }

    /// Values with attributes. What stands in the pipeline itself may refer to params and to axes before it.
    fn labelled(&mut self, key: &Key, entries: &[(Key, Node)], cell: &[Coordinate], fill: bool) -> Vec<AxisValue> {
        entries.iter().map(|(label, node)| self.label(key, label, node, cell, fill)).collect()
    }

    fn label(&mut self, key: &Key, label: &Key, node: &Node, cell: &[Coordinate], fill: bool) -> AxisValue {
        let fields = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            value => {
                if *value != Value::Wrong {
                    let message =
                        format!("`{}` of the axis `{}` has attributes, each with a name", label.text, key.text);
                    let help = match value {
                        Value::List(_) => "axes that are walked together stand in `zip: {...}`".to_owned(),
                        _ => format!("{}: {{value: ...}}", label.text),
                    };
                    self.problems.push(node.problem(message).help(help));
                }
                return wrong(key, node);
            }
        };
        let value = Node::new(scalar(&label.text), label.span);
        let mut here = Coordinate { axis: Arc::from(key.text.as_str()), value, attributes: None };
        let mut inside: Coordinates = cell.to_vec();
        inside.push(here.clone());
        let scope = self.scope(&inside);
        let own = fields.iter().filter(|(name, _)| name.text != "matrix");
        let mut given = |node: &Node| if fill { attribute(&scope, node, self.problems) } else { node.clone() };
        let own = own.map(|(name, node)| (name.clone(), given(node))).collect();
        here.attributes = Some(Arc::new(Node { value: Value::Map(own), ..*node }));
        let Some((_, matrix)) = fields.iter().find(|(name, _)| name.text == "matrix") else { return vec![vec![here]] };
        inside.pop();
        inside.push(here);
        match MatrixSpec::read(matrix, self.problems) {
            Some(spec) => {
                let nested = self.cells(&spec, &inside);
                nested.cells.into_iter().map(|mut nested| nested.split_off(cell.len())).collect()
            }
            None => wrong(key, node),
        }
    }

    /// Axes that are walked together.
    fn zipped(&mut self, key: &Key, node: &Node, cell: &[Coordinate]) -> Vec<AxisValue> {
        let filled;
        let node = if let Value::Text(_) = &node.value {
            filled = self.scope(cell).fill(node, self.problems);
            &filled
        } else {
            node
        };
        match &node.value {
            Value::Map(columns) if !columns.is_empty() => self.columns(key, columns, cell),
            Value::List(items) if !items.is_empty() && items.iter().all(|item| matches!(item.value, Value::Map(_))) => {
                let rows: Vec<Node> = items.iter().map(|item| self.scope(cell).fill(item, self.problems)).collect();
                if rows.iter().all(is_row) {
                    return self.rows(&rows);
                }
                let mut made = Made { cells: vec![Vec::new()], axes: Vec::new() };
                for item in items {
                    let Value::Map(columns) = &item.value else { continue };
                    let more = self.columns(key, columns, cell).concat();
                    if self.new_axes(&mut made, key, &more) {
                        made.multiply(more);
                    }
                }
                made.cells.into_iter().map(|cell| vec![cell]).collect()
            }
            value => {
                if *value != Value::Wrong {
                    let message = format!("`zip` is a mapping of axes that are walked together, not {}", node.kind());
                    self.problems.push(node.problem(message).help("zip: {model: [small, large], lr: [0.1, 0.01]}"));
                }
                vec![wrong(key, node)]
            }
        }
    }

    fn columns(&mut self, key: &Key, columns: &[(Key, Node)], cell: &[Coordinate]) -> Vec<AxisValue> {
        let values: Vec<(&Key, Vec<AxisValue>)> =
            columns.iter().map(|(axis, node)| (axis, self.axis(axis, node, cell))).collect();
        let untold = values.iter().find_map(|(axis, values)| {
            Some((axis, values.iter().flatten().flatten().find(|one| one.value.value == Value::Wrong)?))
        });
        let counts: Vec<usize> = values.iter().map(|(_, values)| values.len()).collect();
        let count = counts.first().copied().unwrap_or(0);
        if untold.is_some() || counts.iter().any(|other| *other != count) {
            if untold.is_none() {
                let all: Vec<String> =
                    values.iter().map(|(axis, values)| format!("`{}` has {}", axis.text, values.len())).collect();
                let message = format!("axes that are walked together have as many values each: {}", all.join(", "));
                let problem = Problem::new(message, key.span);
                self.problems.push(problem.help("outside `zip` every value of one meets every value of the others"));
            }
            return vec![vec![columns.iter().flat_map(|(axis, node)| wrong(axis, node).concat()).collect()]];
        }
        let row = |at: usize| {
            let mut made = Made { cells: vec![Vec::new()], axes: Vec::new() };
            for (_, values) in &values {
                made.multiply(values[at].clone());
            }
            made.cells
        };
        (0..count).map(row).collect()
    }

    /// Rows of values, each with the axes of the first.
    fn rows(&mut self, rows: &[Node]) -> Vec<AxisValue> {
        let entries = |row: &'_ Node| if let Value::Map(entries) = &row.value { entries.clone() } else { Vec::new() };
        let axes: Vec<Key> = rows.first().map(entries).unwrap_or_default().into_iter().map(|(key, _)| key).collect();
        let mut all = Vec::new();
        for row in rows {
            for (key, _) in entries(row).iter().filter(|(key, _)| axes.iter().all(|axis| axis.text != key.text)) {
                self.unknown_axis(key, axes.iter().map(|axis| axis.text.as_str()));
            }
            let cell = axes.iter().map(|axis| match row.get(&axis.text) {
                Some(value) => coordinate(&axis.text, value.clone()),
                None => {
                    let message = format!("this row gives no value for the axis `{}`", axis.text);
                    self.problems.push(Problem::new(message, row.span).help("a row names every axis of the first one"));
                    coordinate(&axis.text, Node { value: Value::Wrong, ..*row })
                }
            });
            all.push(vec![cell.collect()]);
        }
        all
    }

    fn unknown_axis<'n>(&mut self, key: &Key, known: impl IntoIterator<Item = &'n str> + Clone) {
        let problem = Problem::new(format!("unknown matrix axis `{}`", key.text), key.span);
        self.problems.push(problem.help(suggest(&key.text, "axes", known)));
    }
}

fn coordinate(axis: &str, value: Node) -> Coordinate {
    Coordinate { axis: Arc::from(axis), value, attributes: None }
}

/// An attribute, filled but for texts that refer to results: these are put in where it is used.
fn attribute(scope: &Scope<'_>, node: &Node, problems: &mut Problems) -> Node {
    let value = match &node.value {
        Value::Text(text) if refers_to_results(text) => return node.clone(),
        Value::List(items) => Value::List(items.iter().map(|item| attribute(scope, item, problems)).collect()),
        Value::Map(entries) => {
            Value::Map(entries.iter().map(|(key, node)| (key.clone(), attribute(scope, node, problems))).collect())
        }
        _ => return scope.fill(node, problems),
    };
    Node { value, ..*node }
}

/// What stands for the values of an axis that cannot be told.
fn wrong(key: &Key, node: &Node) -> AxisValue {
    vec![vec![coordinate(&key.text, Node { value: Value::Wrong, ..*node })]]
}

/// A mapping from axes to single values.
fn is_row(node: &Node) -> bool {
    let single = |node: &Node| node.scalar_text().is_some() || node.value == Value::Wrong;
    matches!(&node.value, Value::Map(entries) if !entries.is_empty() && entries.iter().all(|(_, node)| single(node)))
}

/// Whether a text in it has a reference with `matrix` in it.
fn names_an_axis(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.contains("${") && text.contains("matrix"),
        Value::List(items) => items.iter().any(names_an_axis),
        Value::Map(entries) => entries.iter().any(|(_, node)| names_an_axis(node)),
        _ => false,
    }
}

/// The values of an axis that is a list.
fn listed(key: &Key, node: &Node, problems: &mut Problems) -> Vec<AxisValue> {
    let name = &key.text;
    let values = match &node.value {
        Value::Wrong => return vec![wrong(key, node)],
        Value::List(items) if !items.is_empty() => items,
        _ => {
            let what = match &node.value {
                Value::List(_) => "an empty one",
                Value::Map(_) => "an empty mapping",
                _ => node.kind(),
            };
            let message = format!("the axis `{name}` is a list with at least one value, not {what}");
            let example = node.scalar_text().unwrap_or_else(|| "1, 2, 3".to_owned());
            let written = if node.origin == node.span { name.as_str() } else { "write it" };
            problems.push(node.problem(message).help(format!("{written}: [{example}]")));
            return vec![wrong(key, node)];
        }
    };
    let axis: Arc<str> = Arc::from(name.as_str());
    let value = |value: &Node| {
        let value = if let Value::Map(_) = value.value {
            let message = format!("a value of the axis `{name}` is a single value, not a mapping");
            let help = format!(
                "name it: `{name}: {{first: {{...}}, second: {{...}}}}`, and `${{matrix.{name}.ATTRIBUTE}}` is what it holds"
            );
            problems.push(value.problem(message).help(help));
            Node { value: Value::Wrong, ..*value }
        } else {
            single(name, value, problems)
        };
        vec![vec![Coordinate { axis: Arc::clone(&axis), value, attributes: None }]]
    };
    values.iter().map(value).collect()
}

/// A value of an axis, which must be a single one.
fn single(axis: &str, value: &Node, problems: &mut Problems) -> Node {
    if value.scalar_text().is_some() || value.value == Value::Wrong {
        return value.clone();
    }
    let message = format!("a value of the axis `{axis}` is a single value, not {}", value.kind());
    problems.push(value.problem(message).help(format!("{axis}: 3")));
    Node { value: Value::Wrong, ..*value }
}

/// A text as YAML reads it where that is beyond doubt: `007` and `12e8` are names, not numbers.
fn scalar(text: &str) -> Value {
    let decimal = |text: &str| {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        unsigned.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part))
    };
    match (text, text.parse::<i64>(), text.parse::<f64>()) {
        ("true", ..) => Value::Bool(true),
        ("false", ..) => Value::Bool(false),
        (_, Ok(number), _) if number.to_string() == text => Value::Int(number),
        (_, _, Ok(number)) if number.is_finite() && (decimal(text) || format!("{number:e}") == text) => {
            Value::Float(number)
        }
        _ => Value::Text(text.to_owned()),
    }
}

fn same(a: &Coordinate, b: &Coordinate) -> bool {
    a.axis == b.axis && a.value.scalar_text() == b.value.scalar_text()
}

/// Two cells of one name: told at the value that comes again.
fn check_unique(spec: &StageSpec, made: &Made, problems: &mut Problems) {
    let state = RandomState::new();
    let hash = |cell: &Coordinates| {
        let mut hasher = state.build_hasher();
        for one in cell {
            (&one.axis, one.value.scalar_text()).hash(&mut hasher);
        }
        hasher.finish()
    };
    let mut seen: HashMap<u64, Vec<&Coordinates>> = HashMap::with_capacity(made.cells.len());
    let mut told = Vec::new();
    for cell in made.cells.iter().filter(|cell| cell.iter().all(|one| one.value.value != Value::Wrong)) {
        let alike = seen.entry(hash(cell)).or_default();
        let first =
            alike.iter().find(|other| other.len() == cell.len() && other.iter().zip(cell).all(|(a, b)| same(a, b)));
        let Some(first) = first else {
            alike.push(cell);
            continue;
        };
        tell_again(spec, made, (first, cell), &mut told, problems);
    }
}

fn tell_again(
    spec: &StageSpec,
    made: &Made,
    (first, cell): (&Coordinates, &Coordinates),
    told: &mut Vec<Span>,
    problems: &mut Problems,
) {
    // The axis that repeats is the one whose value stands in two places; a list from a param has its own.
    let again = cell.iter().zip(first).find(|(one, other)| one.value.origin != other.value.origin);
    let (span, also) =
        again.map_or((spec.name.span, None), |(one, other)| (one.value.origin, Some(other.value.origin)));
    if told.contains(&span) {
        return;
    }
    told.push(span);
    let texts: Vec<(String, String)> =
        cell.iter().map(|one| (one.axis.to_string(), one.value.scalar_text().unwrap_or_default())).collect();
    let name = node_name(&spec.name.text, &texts);
    let mut problem = Problem::new(format!("two nodes are called `{name}`"), span).label("again");
    if let Some(first) = also {
        problem = problem.also(first, "first");
    }
    let repeated = again.map_or(made.axes.first().map_or("", |axis| axis), |(one, _)| &*one.axis);
    problems.push(problem.help(format!("an axis (`{repeated}`) or an `include` repeats a value: remove one of them")));
}
