//! Pipeline -> [`Graph`]: cells of every matrix, params with defaults, inputs and results resolved to nodes, order.
//!
//! Reports every problem of the pipeline and of what it imports in one pass. Reads no file and knows nothing of what
//! is cached.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pru_flow_stages::{Arity, Port, Sees};
use rayon::prelude::*;

use crate::graph::{Graph, GraphNode, NeededResult, NodeId, PortInputs, Waiting, Work};
use crate::matrix::{Coordinates, cells};
use crate::order::{Ordered, order};
use crate::params::ParamTypes;
use crate::pipeline::{self, Pipeline, StageSpec};
use crate::problem::{Problem, Problems, Span, did_you_mean, suggest};
use crate::recipe::{Bases, Recipe};
use crate::selector::{ResultName, Selector, node_name};
use crate::template::{Awaited, Results};
use crate::yaml::{Node, Value};

/// Expands a pipeline whose params are settled (see `overrides`). Everything that is wrong with it goes to `problems`:
/// with any, the graph is of no use.
#[must_use]
pub fn expand(pipeline: &Pipeline, bases: &Bases, problems: &mut Problems) -> Graph {
    let mut expansion = Expansion {
        bases: Arc::new(bases.clone()),
        nodes: Vec::new(),
        by_stage: BTreeMap::new(),
        types: BTreeMap::new(),
        unfit: BTreeMap::new(),
    };
    expansion.add_pipeline(pipeline, "", problems);
    for id in 0..expansion.nodes.len() {
        expansion.connect(id, problems);
        expansion.connect_results(id, problems);
    }
    let Expansion { nodes, unfit, .. } = expansion;
    for (mut problem, others) in unfit.into_values() {
        if others > 0 {
            problem.message.push_str(&format!(" (and {others} more cells)"));
        }
        problems.push(problem);
    }
    let ordered: Vec<Ordered<'_>> = nodes.iter().map(Cell::ordered).collect();
    let order = order(&ordered, problems);
    let nodes = nodes.into_iter().map(|cell| cell.node).collect();
    Graph { nodes, order }
}

struct Expansion<'a> {
    bases: Arc<Bases>,
    nodes: Vec<Cell<'a>>,
    /// Nodes by the full name of their stage.
    by_stage: BTreeMap<String, StageCells>,
    types: BTreeMap<&'static str, Arc<ParamTypes>>,
    /// References that do not fit a cell, by place and text: the first problem, and how many other cells have it.
    unfit: BTreeMap<(Span, String), (Problem, usize)>,
}

/// The nodes of a stage.
#[derive(Default)]
struct StageCells {
    /// In the order of the matrix.
    all: Vec<NodeId>,
    /// The same by their value on each axis.
    by_value: HashMap<String, HashMap<String, Vec<NodeId>>>,
    /// Whether one has an axis that cannot be told, which is a problem of its own.
    untold: bool,
}

impl StageCells {
    fn add(&mut self, id: NodeId, cell: &Cell<'_>) {
        self.all.push(id);
        for (axis, value) in &cell.node.coordinates {
            self.by_value.entry(axis.clone()).or_default().entry(value.clone()).or_default().push(id);
        }
        self.untold |= cell.is_untold();
    }

    /// At least those that have one of these values, in the order of the matrix: a stage may have thousands of cells, of which
    /// each of thousands of others needs a few.
    fn with<'c>(&self, values: impl Iterator<Item = (&'c str, &'c str)>) -> &[NodeId] {
        let of_axis = values.filter_map(|(axis, value)| Some((self.by_value.get(axis)?, value)));
        // A cell without the axis has no value that could differ.
        let on_all = of_axis.filter(|(of_axis, _)| of_axis.values().map(Vec::len).sum::<usize>() == self.all.len());
        let found = on_all.map(|(of_axis, value)| of_axis.get(value).map_or(&[][..], Vec::as_slice));
        found.min_by_key(|ids| ids.len()).unwrap_or(&self.all)
    }
}

/// A node on its way into the graph.
struct Cell<'a> {
    node: GraphNode,
    recipe: Arc<Recipe>,
    pipeline: &'a Pipeline,
    /// What stands before names of its file: `paper.`; empty for the pipeline's own.
    prefix: Arc<str>,
    matrix: Coordinates,
    /// Results of other stages that it needs.
    awaited: Vec<Awaited>,
    /// Producers with the places of the references that name them, to tell a cycle.
    read_at: Vec<(NodeId, Span)>,
}

impl Cell<'_> {
    fn spec(&self) -> &StageSpec {
        &self.recipe.spec
    }

    /// Whether the value on one of its axes is wrong.
    fn is_untold(&self) -> bool {
        self.matrix.iter().any(|one| one.value.value == Value::Wrong)
    }

    fn ordered(&self) -> Ordered<'_> {
        let stage = (self.node.stage.as_str(), self.spec().name.span);
        Ordered { stage, producers: self.node.producers(), read_at: &self.read_at }
    }
}

impl<'a> Expansion<'a> {
    /// Adds the cells of a file's stages, after those of the files that it imports.
    fn add_pipeline(&mut self, pipeline: &'a Pipeline, prefix: &str, problems: &mut Problems) {
        for import in &pipeline.imports {
            if let Some(imported) = &import.pipeline {
                self.add_pipeline(imported, &format!("{prefix}{}.", import.name.text), problems);
            }
        }
        let params = Arc::new(pipeline.params.clone());
        let prefix: Arc<str> = Arc::from(prefix);
        for spec in &pipeline.stages {
            let types = match &spec.work {
                pipeline::Work::Uses(def) => {
                    Some(Arc::clone(self.types.entry(def.name).or_insert_with(|| Arc::new(ParamTypes::of(def)))))
                }
                pipeline::Work::Command(_) | pipeline::Work::Unknown => None,
            };
            let (params, bases) = (Arc::clone(&params), Arc::clone(&self.bases));
            let recipe = Arc::new(Recipe { spec: spec.clone(), params, bases, types });
            self.add_cells(pipeline, &prefix, &recipe, problems);
        }
    }

    fn add_cells(&mut self, pipeline: &'a Pipeline, prefix: &Arc<str>, recipe: &Arc<Recipe>, problems: &mut Problems) {
        let spec = &recipe.spec;
        let stage = format!("{prefix}{}", spec.name.text);
        let mut added = StageCells::default();
        // Stages may have thousands of cells, whose descriptions have nothing to do with each other.
        let describe = |matrix: Coordinates| {
            let (awaited, mut problems) = (RefCell::new(Vec::new()), Problems::default());
            let described = recipe.describe(&matrix, Results::Noted(&awaited), &mut problems);
            let described = described.map(|described| (described, recipe.outputs(&matrix, &mut problems)));
            (matrix, described, awaited.into_inner(), problems)
        };
        let cells = cells(spec, &recipe.params, problems);
        for (matrix, described, awaited, told) in cells.into_par_iter().map(describe).collect::<Vec<_>>() {
            problems.extend(told);
            let Some((described, outputs)) = described else { continue };
            let coordinates: Vec<(String, String)> =
                matrix.iter().map(|one| (one.axis.to_string(), one.value.scalar_text().unwrap_or_default())).collect();
            let node = GraphNode {
                stage: stage.clone(),
                name: node_name(&stage, &coordinates),
                coordinates,
                described,
                inputs: BTreeMap::new(),
                outputs,
                span: recipe.source_span(),
                imported: !prefix.is_empty(),
            };
            let (recipe, prefix) = (Arc::clone(recipe), Arc::clone(prefix));
            let cell = Cell { node, recipe, pipeline, prefix, matrix, awaited, read_at: Vec::new() };
            added.add(self.nodes.len(), &cell);
            self.nodes.push(cell);
        }
        // A stage whose cells are all wrong is still a stage: references to it are no further problem.
        self.by_stage.insert(stage, added);
    }

    fn connect(&mut self, id: NodeId, problems: &mut Problems) {
        let recipe = Arc::clone(&self.nodes[id].recipe);
        let spec = &recipe.spec;
        let ports: Option<&[Port]> = match &spec.work {
            pipeline::Work::Uses(def) => Some(def.inputs),
            pipeline::Work::Command(_) | pipeline::Work::Unknown => None,
        };
        let mut inputs = BTreeMap::new();
        // Ports that were meant by a name that is unknown: they are told there.
        let mut meant = Vec::new();
        for (key, references) in &spec.inputs {
            let port = match ports {
                None => None,
                Some(ports) => match ports.iter().find(|port| port.name == key.text) {
                    Some(port) => Some(port),
                    None => {
                        let help = suggest(&key.text, "inputs", ports.iter().map(|port| port.name));
                        let message = format!("`{}` has no input `{}`", spec.name.text, key.text);
                        meant.extend(
                            ports.iter().map(|port| port.name).filter(|name| help.contains(&format!("mean `{name}`"))),
                        );
                        problems.push(Problem::new(message, key.span).help(help));
                        continue;
                    }
                },
            };
            let gather = match port {
                Some(port) => port.arity == Arity::Gather,
                // A command's input gathers when it says so: by a list, or by `[*]` or `[axis=*]`.
                None => references.len() > 1 || references.iter().any(asks_for_many),
            };
            if port.is_some_and(|port| port.arity == Arity::Optional) && self.is_nothing(id, references) {
                continue;
            }
            let mut from = Vec::new();
            for reference in references {
                let found = self.resolve(id, reference, gather, problems);
                self.nodes[id].read_at.extend(found.iter().map(|(producer, _)| (*producer, reference.span)));
                from.extend(found);
            }
            if let (false, [first, _, ..]) = (gather, references.as_slice()) {
                let message = format!("the input `{}` takes one artifact, {} are given", key.text, references.len());
                let help = format!("give one: `{}: stage.output`", key.text);
                problems.push(Problem::new(message, first.span).help(help));
            }
            inputs.insert(key.text.clone(), PortInputs { gather, sees: port.map_or(Sees::Both, |p| p.sees), from });
        }
        for port in ports.into_iter().flatten() {
            if port.arity != Arity::Optional && !inputs.contains_key(port.name) && !meant.contains(&port.name) {
                let message = format!("`{}` needs the input `{}`: {}", spec.name.text, port.name, port.doc);
                let help = format!("add `inputs: {{{}: stage.output}}`", port.name);
                problems.push(Problem::new(message, spec.name.span).help(help));
            }
        }
        let connected: Vec<&str> = inputs.keys().map(String::as_str).collect();
        recipe.check_inputs(&self.nodes[id].node.described.work, &connected, problems);
        self.nodes[id].node.inputs = inputs;
    }

    /// Finds the nodes whose results a node waits for, and makes the work wait for them.
    fn connect_results(&mut self, id: NodeId, problems: &mut Problems) {
        let mut results: Vec<NeededResult> = Vec::new();
        for awaited in std::mem::take(&mut self.nodes[id].awaited) {
            if results.iter().any(|known| known.reference == awaited.reference) {
                continue;
            }
            let found = self.find_result(&self.nodes[id], &awaited);
            if let Some(result) = self.told(found, &awaited.at, &awaited.reference, problems) {
                self.nodes[id].read_at.push((result.producer, awaited.at.span));
                results.push(result);
            }
        }
        if results.is_empty() {
            return;
        }
        let cell = &mut self.nodes[id];
        let stage = cell.node.described.work.stage();
        let (recipe, matrix) = (Arc::clone(&cell.recipe), cell.matrix.clone());
        let connected: Vec<String> = cell.node.inputs.keys().cloned().collect();
        let describe = Arc::new(move |values: &BTreeMap<String, Value>, problems: &mut Problems| {
            let described = recipe.describe(&matrix, Results::Known(values), problems)?;
            let connected: Vec<&str> = connected.iter().map(String::as_str).collect();
            recipe.check_inputs(&described.work, &connected, problems);
            Some(described)
        });
        cell.node.described.work = Work::Waiting(Waiting { stage, results, describe });
    }

    fn find_result(&self, cell: &Cell<'_>, awaited: &Awaited) -> Result<NeededResult, Refused> {
        let Awaited { reference, at } = awaited;
        let always = |(message, help): (String, String)| Refused::Always(at.problem(message).help(help));
        let name = ResultName::parse(reference).map_err(always)?;
        let (stages, selector) = Self::locate(cell, name.stage, at)?;
        let selector = Selector { output: Some(name.output.to_owned()), ..selector };
        let found = self.resolve_selector(cell, &stages, &selector, at, false)?;
        // One cell was asked for.
        let (producer, output) = found.into_iter().next().ok_or(Refused::Told)?;
        let written = self.nodes[producer].node.outputs.iter().find(|known| known.name == output);
        let is_json = |file_name: &str| std::path::Path::new(file_name).extension().is_some_and(|e| e == "json");
        // What a command writes is seen when it is there.
        if let Some(written) = written.filter(|known| known.folder.is_some() && !is_json(&known.file_name)) {
            let stage = &self.nodes[producer].node.stage;
            let message = format!("the output `{output}` of `{stage}` is no JSON: it is `{}`", written.file_name);
            let all = self.nodes[producer].node.outputs.iter().filter(|known| is_json(&known.file_name));
            let all: Vec<&str> = all.map(|known| known.name.as_str()).collect();
            let none = || "none of its outputs is JSON".to_owned();
            let help = if all.is_empty() { none() } else { suggest(&output, "JSON outputs", all) };
            return Err(always((message, help)));
        }
        Ok(NeededResult { reference: reference.clone(), at: at.clone(), producer, output, path: name.path.to_owned() })
    }

    /// Tells why a reference leads nowhere: once for all cells whose context does not fit it.
    fn told<T>(&mut self, outcome: Result<T, Refused>, at: &Node, text: &str, problems: &mut Problems) -> Option<T> {
        match outcome {
            Ok(found) => return Some(found),
            Err(Refused::Told) => {}
            Err(Refused::Always(problem)) => problems.push(problem),
            Err(Refused::Here(problem)) => {
                let place = (at.span, text.to_owned());
                self.unfit.entry(place).and_modify(|(_, others)| *others += 1).or_insert((problem, 0));
            }
        }
        None
    }

    /// Whether what is written as an input stands for `null` in this cell, as `"${params.${matrix.setting}.start}"` may.
    fn is_nothing(&self, id: NodeId, references: &[Node]) -> bool {
        let [reference] = references else { return false };
        let cell = &self.nodes[id];
        // What is wrong with it is told where it is resolved.
        cell.recipe.scope(&cell.matrix).fill(reference, &mut Problems::default()).value == Value::Null
    }

    /// The nodes that a reference means, seen from node `id`: axes that both have are matched by name; what is left
    /// free is gathered, or must be one cell.
    fn resolve(
        &mut self,
        id: NodeId,
        reference: &Node,
        gather: bool,
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
        let found = Self::locate(cell, &text, &filled)
            .and_then(|(stages, selector)| self.resolve_selector(cell, &stages, &selector, &filled, gather));
        self.told(found, reference, "", problems).unwrap_or_default()
    }

    /// Which file's stages a reference is about, as the prefix of their names, and the selector within it.
    fn locate(cell: &Cell<'_>, text: &str, reference: &Node) -> Result<(String, Selector), Refused> {
        let (mut pipeline, mut prefix, mut rest) = (cell.pipeline, cell.prefix.to_string(), text.trim());
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

    fn resolve_selector(
        &self,
        cell: &Cell<'_>,
        prefix: &str,
        selector: &Selector,
        reference: &Node,
        gather: bool,
    ) -> Result<Vec<(NodeId, String)>, Refused> {
        let always = |message: String, help: String| Refused::Always(reference.problem(message).help(help));
        let Some(candidates) = self.by_stage.get(&format!("{prefix}{}", selector.stage)) else {
            let help = self.nearest_stage(prefix, &selector.stage);
            return Err(always(format!("no stage `{}`", selector.stage), help));
        };
        let stage = format!("{}{}", prefix.strip_prefix(&*cell.prefix).unwrap_or(prefix), selector.stage);
        let first = candidates.all.first().map(|id| &self.nodes[*id].node).ok_or(Refused::Told)?;
        let axes: Vec<&str> = first.coordinates.iter().map(|(axis, _)| axis.as_str()).collect();
        for (axis, _) in &selector.axes {
            if !axes.contains(&axis.as_str()) {
                let message = format!("`{stage}` has no matrix axis `{axis}`");
                return Err(always(message, suggest(axis, "axes", axes)));
            }
        }
        let output = output_name(first, &stage, selector).map_err(|(message, help)| always(message, help))?;
        let shared = |axis: &str| !selector.all && !selector.axes.iter().any(|(name, _)| name == axis);
        let own = cell.node.coordinates.iter().filter(|(axis, _)| shared(axis));
        let own = own.map(|(axis, value)| (axis.as_str(), value.as_str()));
        let named = selector.axes.iter().filter_map(|(axis, value)| Some((axis.as_str(), value.as_deref()?)));
        let matched: Vec<NodeId> = candidates
            .with(own.chain(named))
            .iter()
            .copied()
            .filter(|id| {
                let theirs = &self.nodes[*id].node.coordinates;
                let same = |(axis, value): &(String, String)| {
                    !shared(axis) || cell.node.coordinates.iter().all(|(a, v)| a != axis || v == value)
                };
                selector.matches(theirs) && theirs.iter().all(same)
            })
            .collect();
        match matched.as_slice() {
            // Where an axis cannot be told, neither can what fits.
            _ if cell.is_untold() || candidates.untold => Err(Refused::Told),
            [] => {
                let message = format!("no cell of `{stage}` fits `{}`", cell.node.name);
                let names: Vec<&str> =
                    candidates.all.iter().take(4).map(|id| self.nodes[*id].node.name.as_str()).collect();
                let more = if candidates.all.len() > 4 { ", ..." } else { "" };
                let help = format!("there are {}{more}", names.join(", "));
                Err(Refused::Here(reference.problem(message).help(help)))
            }
            [_] => Ok(vec![(matched[0], output)]),
            many if gather => Ok(many.iter().map(|id| (*id, output.clone())).collect()),
            many => {
                let free = |axis: &&str| selector.all || !cell.node.coordinates.iter().any(|(a, _)| a == axis);
                let named = |axis: &&str| !selector.axes.iter().any(|(name, value)| name == axis && value.is_some());
                let free: Vec<&str> = axes.iter().copied().filter(|axis| free(axis) && named(axis)).collect();
                let message = format!("one cell of `{stage}` is needed here, {} fit", many.len());
                let help = format!("give {}: `{stage}[{}=...]`", free.join(" and "), free.join("=...,"));
                Err(Refused::Here(reference.problem(message).help(help)))
            }
        }
    }
}

/// Why a reference leads nowhere.
enum Refused {
    /// Something else is wrong, and told.
    Told,
    /// It is wrong in every cell.
    Always(Problem),
    /// It does not fit this cell.
    Here(Problem),
}

/// Whether a reference has a `*` in its brackets.
fn asks_for_many(reference: &Node) -> bool {
    let text = reference.scalar_text().unwrap_or_default();
    // What stands before the stage's own name are imports.
    let stage = text.find('[').and_then(|open| text[..open].rfind('.')).map_or(0, |dot| dot + 1);
    Selector::parse(&text[stage..], '.').is_ok_and(|s| s.all || s.axes.iter().any(|(_, value)| value.is_none()))
}

/// The output that a reference means; else what is wrong, and what to write.
fn output_name(producer: &GraphNode, stage: &str, selector: &Selector) -> Result<String, (String, String)> {
    let known = producer.outputs.iter().map(|output| output.name.as_str());
    match (&selector.output, producer.outputs.as_slice()) {
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
