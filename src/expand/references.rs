//! Which nodes a reference means, seen from a cell: `train[lr=0.1].model`.
//!
//! Axes that both stages have are matched by name; a cell without an axis is free on it. What is left free is gathered, or
//! must be one cell.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Cell, Expansion};
use crate::command::names_a_file;
use crate::graph::{NodeId, Output};
use crate::pipeline::{Pipeline, StageSpec, Work};
use crate::problem::{Problem, Problems, Span, did_you_mean, suggest};
use crate::selector::Selector;
use crate::yaml::{Node, Value};

/// The nodes of a stage.
#[derive(Default)]
pub(super) struct StageCells {
    /// In the order of the matrix.
    pub(super) all: Vec<NodeId>,
    /// Every axis that some of them have, in the order in which they come.
    axes: Vec<String>,
    by_axis: HashMap<String, AxisCells>,
    /// Whether one has an axis that cannot be told, which is a problem of its own.
    untold: bool,
    /// Cells that the stage's `when` takes away, and where that stands.
    away: Vec<Vec<(String, String)>>,
    when: Option<Span>,
    /// What the stage writes.
    outputs: Vec<Output>,
}

/// The nodes of a stage by their value on an axis.
#[derive(Default)]
struct AxisCells {
    by_value: HashMap<String, Vec<NodeId>>,
    /// How many have the axis.
    count: usize,
    /// Those that do not have it.
    without: Vec<NodeId>,
}

impl StageCells {
    pub(super) fn of(spec: &StageSpec) -> Self {
        Self { when: spec.when.as_ref().map(|when| when.span), ..Self::default() }
    }

    pub(super) fn add_away(&mut self, coordinates: Vec<(String, String)>) {
        self.add_axes(&coordinates);
        self.away.push(coordinates);
    }

    pub(super) fn has_away(&self) -> bool {
        !self.away.is_empty()
    }

    fn add_axes(&mut self, coordinates: &[(String, String)]) {
        for (axis, _) in coordinates {
            if !self.by_axis.contains_key(axis) {
                self.axes.push(axis.clone());
                self.by_axis.insert(axis.clone(), AxisCells::default());
            }
        }
    }

    pub(super) fn add(&mut self, id: NodeId, cell: &Cell<'_>) {
        self.all.push(id);
        self.add_axes(&cell.node.coordinates);
        for (axis, value) in &cell.node.coordinates {
            let of_axis = self.by_axis.entry(axis.clone()).or_default();
            of_axis.by_value.entry(value.clone()).or_default().push(id);
            of_axis.count += 1;
        }
        self.untold |= cell.is_untold();
    }

    /// All cells are there, and write this.
    pub(super) fn finish(&mut self, outputs: Vec<Output>) {
        self.outputs = outputs;
        for of_axis in self.by_axis.values_mut().filter(|of_axis| of_axis.count < self.all.len()) {
            let mut with: Vec<NodeId> = of_axis.by_value.values().flatten().copied().collect();
            with.sort_unstable();
            of_axis.without = self.all.iter().copied().filter(|id| with.binary_search(id).is_err()).collect();
        }
    }

    /// At least those that have one of these values or lack its axis, in the order of the matrix: a stage may have
    /// thousands of cells, of which each of thousands of others needs a few.
    fn with<'c>(&self, values: impl Iterator<Item = (&'c str, &'c str)>) -> Cow<'_, [NodeId]> {
        let on_axis = values.filter_map(|(axis, value)| {
            let of_axis = self.by_axis.get(axis)?;
            Some((of_axis, of_axis.by_value.get(value).map_or(&[][..], Vec::as_slice)))
        });
        match on_axis.min_by_key(|(of_axis, ids)| ids.len() + of_axis.without.len()) {
            None => Cow::Borrowed(&self.all),
            Some((of_axis, ids)) if of_axis.without.is_empty() => Cow::Borrowed(ids),
            Some((of_axis, ids)) => {
                let mut both = [ids, &of_axis.without].concat();
                both.sort_unstable();
                Cow::Owned(both)
            }
        }
    }
}

impl Expansion<'_> {
    /// The nodes that a reference means, seen from node `id`: axes that both have are matched by name; what is left
    /// free is gathered, or must be one cell.
    pub(super) fn resolve(
        &mut self,
        id: NodeId,
        reference: &Node,
        need: Need,
        problems: &mut Problems,
    ) -> Vec<(NodeId, String)> {
        let cell = &self.nodes[id];
        let filled = cell.recipe.scope(&cell.matrix).fill(reference, problems);
        let Some(text) = filled.scalar_text() else {
            if filled.value != Value::Wrong {
                let message = format!("an input names an output of a stage, not {}", filled.kind());
                problems.push(filled.problem(message).help("write `stage.output`"));
            }
            return Vec::new();
        };
        if names_a_file(&text) {
            // In a command it would be a source, and not be asked for here.
            if matches!(cell.spec().work, Work::Uses(_)) {
                let message = format!("`{text}` is a file, and a built-in stage takes outputs of stages");
                problems.push(filled.problem(message).help("write `stage.output`"));
            }
            return Vec::new();
        }
        let reader = cell.reader();
        let found = Self::locate(&reader, &text, &filled)
            .and_then(|(stages, selector)| self.resolve_selector(&reader, &stages, &selector, &filled, need));
        self.told(id, found, reference, "", problems).unwrap_or_default()
    }

    /// Which file's stages a reference is about, as the prefix of their names, and the selector within it.
    pub(super) fn locate(reader: &Reader<'_>, text: &str, reference: &Node) -> Result<(String, Selector), Refused> {
        let (mut pipeline, mut prefix, mut rest) = (reader.pipeline, reader.prefix.to_owned(), text.trim());
        while let Some((first, more)) = rest.split_once('.') {
            let Some(import) = pipeline.imports.iter().find(|import| import.name.text == first) else { break };
            pipeline = import.pipeline.as_ref().ok_or(Refused::Told)?;
            prefix.push_str(&format!("{first}."));
            rest = more;
        }
        let selector = Selector::parse(rest, '.')
            .map_err(|message| Refused::Always(reference.problem(message).help("name an output: `stage.output`")))?;
        if let Some(import) = pipeline.imports.iter().find(|import| import.name.text == selector.stage) {
            let stages = import.pipeline.as_ref().map(|pipeline| &pipeline.stages).ok_or(Refused::Told)?;
            let stages: Vec<&str> = stages.iter().map(|stage| stage.name.text.as_str()).collect();
            let message = format!("`{}` is an import, not a stage", selector.stage);
            let help =
                format!("name one of its stages, as in `{}.{}`", selector.stage, stages.first().unwrap_or(&"STAGE"));
            return Err(Refused::Always(reference.problem(message).help(help)));
        }
        Ok((prefix, selector))
    }

    /// What to write for a stage that there is not, of the stages with this prefix.
    fn nearest_stage(&self, prefix: &str, stage: &str) -> String {
        let known = |prefix: &str| -> Vec<String> {
            let own = self.by_stage.keys().filter_map(|name| name.strip_prefix(prefix));
            own.filter(|name| !name.contains('.')).map(str::to_owned).collect()
        };
        let here = known(prefix);
        // A name of an imported stage without its prefix.
        let elsewhere = self.by_stage.keys().filter_map(|name| name.strip_prefix(prefix));
        let elsewhere: Vec<&str> = elsewhere.filter(|name| name.rsplit('.').next() == Some(stage)).collect();
        match elsewhere.as_slice() {
            [one] if did_you_mean(stage, here.iter().map(String::as_str)).is_none() => format!("did you mean `{one}`?"),
            _ => suggest(stage, "stages", here.iter().map(String::as_str)),
        }
    }

    pub(super) fn resolve_selector(
        &self,
        reader: &Reader<'_>,
        prefix: &str,
        selector: &Selector,
        reference: &Node,
        need: Need,
    ) -> Result<Vec<(NodeId, String)>, Refused> {
        let always = |message: String, help: String| Refused::Always(reference.problem(message).help(help));
        let Some(candidates) = self.by_stage.get(&format!("{prefix}{}", selector.stage)) else {
            let help = self.nearest_stage(prefix, &selector.stage);
            return Err(always(format!("no stage `{}`", selector.stage), help));
        };
        let stage = format!("{}{}", prefix.strip_prefix(reader.prefix).unwrap_or(prefix), selector.stage);
        // Where an axis cannot be told, neither can what fits.
        if reader.untold || candidates.untold || candidates.all.is_empty() && !candidates.has_away() {
            return Err(Refused::Told);
        }
        let axes: Vec<&str> = candidates.axes.iter().map(String::as_str).collect();
        for (axis, _) in &selector.axes {
            if !axes.contains(&axis.as_str()) {
                let message = format!("`{stage}` has no matrix axis `{axis}`");
                return Err(always(message, suggest(axis, "axes", axes)));
            }
        }
        let output = output_name(&candidates.outputs, &stage, selector);
        let output = output.map_err(|(message, help)| always(message, help))?;
        let shared = |axis: &str| !selector.all && !selector.axes.iter().any(|(name, _)| name == axis);
        let own = reader.coordinates.iter().filter(|(axis, _)| shared(axis));
        let own = own.map(|(axis, value)| (axis.as_str(), value.as_str()));
        let named = selector.axes.iter().filter_map(|(axis, value)| Some((axis.as_str(), value.as_deref()?)));
        let fits = |theirs: &[(String, String)]| {
            let same = |(axis, value): &(String, String)| {
                !shared(axis) || reader.coordinates.iter().all(|(a, v)| a != axis || v == value)
            };
            selector.matches(theirs) && theirs.iter().all(same)
        };
        let matched = candidates.with(own.chain(named));
        let matched: Vec<NodeId> =
            matched.iter().copied().filter(|id| fits(&self.nodes[*id].node.coordinates)).collect();
        match matched.as_slice() {
            [] => match candidates.when.filter(|_| candidates.away.iter().any(|away| fits(away))) {
                Some(_) if need != Need::One => Ok(Vec::new()),
                Some(when) => {
                    let message = format!("`{}` needs a cell of `{stage}` that its `when` takes away", reader.name);
                    let problem = reference.problem(message).also(when, "this is false there");
                    let help = format!("give `{}` the same `when`", reader.stage);
                    Err(Refused::None(problem.help(help)))
                }
                None => {
                    let message = format!("no cell of `{stage}` fits `{}`", reader.name);
                    Err(Refused::None(reference.problem(message).help(self.there_are(&candidates.all))))
                }
            },
            [_] => Ok(vec![(matched[0], output)]),
            many if need == Need::Many => Ok(many.iter().map(|id| (*id, output.clone())).collect()),
            many => {
                let free = |axis: &&str| selector.all || !reader.coordinates.iter().any(|(a, _)| a == axis);
                let named = |axis: &&str| !selector.axes.iter().any(|(name, value)| name == axis && value.is_some());
                let free: Vec<&str> = axes.iter().copied().filter(|axis| free(axis) && named(axis)).collect();
                let message = format!("one cell of `{stage}` is needed here, {} fit", many.len());
                let help = format!("give {}: `{stage}[{}=...]`", free.join(" and "), free.join("=...,"));
                Err(Refused::Several(reference.problem(message).help(help)))
            }
        }
    }

    fn there_are(&self, cells: &[NodeId]) -> String {
        let names: Vec<&str> = cells.iter().take(4).map(|id| self.nodes[*id].node.name.as_str()).collect();
        let more = if cells.len() > 4 { ", ..." } else { "" };
        if cells.is_empty() { "it has none".to_owned() } else { format!("there are {}{more}", names.join(", ")) }
    }
}

/// How many artifacts a reference is to lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Just one.
    One,
    /// One, or none when the `when` of its stage takes it away.
    AtMostOne,
    /// As many as there are.
    Many,
}

/// Who reads an output: what references are resolved against.
pub(super) struct Reader<'a> {
    /// The file that the reference stands in.
    pub pipeline: &'a Pipeline,
    /// What stands before names of that file.
    pub prefix: &'a str,
    /// For messages.
    pub name: &'a str,
    /// Its stage.
    pub stage: &'a str,
    /// Its own axes.
    pub coordinates: &'a [(String, String)],
    /// Whether one of its axes cannot be told.
    pub untold: bool,
}

/// Why a reference leads nowhere.
pub(super) enum Refused {
    /// Something else is wrong, and told.
    Told,
    /// It is wrong in every cell.
    Always(Problem),
    /// It fits several cells here, where one is needed.
    Several(Problem),
    /// It fits no cell here.
    None(Problem),
}

/// Whether a reference has a `*` in its brackets.
pub(super) fn asks_for_many(reference: &Node) -> bool {
    let text = reference.scalar_text().unwrap_or_default();
    // What stands before the stage's own name are imports.
    let stage = text.find('[').and_then(|open| text[..open].rfind('.')).map_or(0, |dot| dot + 1);
    Selector::parse(&text[stage..], '.').is_ok_and(|s| s.all || s.axes.iter().any(|(_, value)| value.is_none()))
}

/// The output that a reference means; else what is wrong, and what to write.
fn output_name(outputs: &[Output], stage: &str, selector: &Selector) -> Result<String, (String, String)> {
    let known = outputs.iter().map(|output| output.name.as_str());
    match (&selector.output, outputs) {
        (Some(output), _) if known.clone().any(|name| name == output) => Ok(output.clone()),
        (Some(output), _) => {
            let message = format!("`{stage}` has no output `{output}`");
            Err((message, suggest(output, "outputs", known.collect::<Vec<_>>())))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            let names: Vec<String> = known.map(|name| format!("`{stage}.{name}`")).collect();
            Err((format!("`{stage}` has several outputs"), format!("name one: {}", names.join(", "))))
        }
    }
}
