//! Pipeline -> [`Graph`]: cells of every matrix, params with defaults, inputs and results resolved to nodes, order.
//!
//! Reports every problem of the pipeline and of what it imports in one pass. Reads no file but those that hold values of
//! axes, and knows nothing of what is cached.

mod published;
mod references;
mod writes;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use pru_flow_stages::{Arity, Port, Sees};
use rayon::prelude::*;

use crate::broken::{Unfit, of_cells};
use crate::graph::{Graph, GraphNode, NeededResult, NodeId, PortInputs, Waiting, Work};
use crate::matrix::file::ValueFiles;
use crate::matrix::{Coordinates, cells};
use crate::order::{Ordered, order};
use crate::params::ParamTypes;
use crate::pipeline::{self, Pipeline, StageSpec};
use crate::problem::{Problem, Problems, SourceText, Span, suggest};
use crate::recipe::{Bases, Recipe};
use crate::selector::{ResultName, Selector, node_name};
use crate::template::{Awaited, Results};
use crate::yaml::{Node, Value};
use references::{Need, Reader, Refused, StageCells, asks_for_many};

/// Expands a pipeline whose params are settled (see `overrides`). Everything that is wrong with it goes to `problems`:
/// with any, the graph is of no use. Files that are read on the way are added to `source`.
#[must_use]
pub fn expand(pipeline: &Pipeline, bases: &Bases, source: &mut SourceText, problems: &mut Problems) -> Graph {
    let mut expansion = Expansion {
        bases: Arc::new(bases.clone()),
        files: ValueFiles::new(bases, source),
        nodes: Vec::new(),
        by_stage: BTreeMap::new(),
        types: BTreeMap::new(),
        several: BTreeMap::new(),
    };
    expansion.add_pipeline(pipeline, "", problems);
    for id in 0..expansion.nodes.len() {
        expansion.connect(id, problems);
        expansion.connect_results(id, problems);
    }
    let publish = expansion.publish(pipeline, problems);
    let limits = published::limits(pipeline, problems);
    let Expansion { mut nodes, several, files, by_stage, .. } = expansion;
    for (problem, others) in several.into_values() {
        problems.push(of_cells(problem, others));
    }
    let away = by_stage.into_iter().filter(|(_, cells)| cells.has_away()).map(|(stage, _)| stage).collect();
    let ordered: Vec<Ordered<'_>> = nodes.iter().map(Cell::ordered).collect();
    let order = order(&ordered, problems);
    drop(ordered);
    let paths = writes::check(&mut nodes, &publish, &bases.root, problems);
    let nodes = nodes.into_iter().map(|cell| cell.node).collect();
    let publish = publish.into_iter().map(|(_, publish)| publish).collect();
    let graph = Graph { nodes, order, files: files.read(), away, limits, publish, paths, root: bases.root.clone() };
    if !problems.is_empty() {
        // Nothing runs, so all that is wrong is told at once.
        let all: Vec<NodeId> = (0..graph.nodes.len()).collect();
        problems.extend(graph.unfit(&all));
    }
    graph
}

fn coordinates(matrix: &Coordinates) -> Vec<(String, String)> {
    matrix.iter().map(|one| (one.axis.to_string(), one.value.scalar_text().unwrap_or_default())).collect()
}

/// Whether the cell is there, by its stage's `when`.
fn is_there(recipe: &Recipe, matrix: &Coordinates, problems: &mut Problems) -> bool {
    let Some(when) = &recipe.spec.when else { return true };
    let filled = recipe.scope(matrix).fill(when, problems);
    match filled.value {
        Value::Bool(there) => there,
        Value::Wrong => true,
        _ => {
            let help = "write `true`, `false`, or what gives one of them: `when: \"${params.full}\"`";
            let message = format!("`when` is true or false, not {}", filled.kind());
            problems.push(Problem::new(message, when.span).help(help));
            true
        }
    }
}

struct Expansion<'a> {
    bases: Arc<Bases>,
    /// Files that hold values of axes.
    files: ValueFiles<'a>,
    nodes: Vec<Cell<'a>>,
    /// Nodes by the full name of their stage.
    by_stage: BTreeMap<String, StageCells>,
    types: BTreeMap<&'static str, Arc<ParamTypes>>,
    /// References that fit several cells where one is needed, by place and text: the first problem, and how many other
    /// cells have it.
    several: BTreeMap<(Span, String), (Problem, usize)>,
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

    fn reader(&self) -> Reader<'_> {
        let (name, coordinates) = (&self.node.name, &self.node.coordinates);
        let stage = &self.spec().name.text;
        Reader { pipeline: self.pipeline, prefix: &self.prefix, name, stage, coordinates, untold: self.is_untold() }
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
        let mut added = StageCells::of(spec);
        // Stages may have thousands of cells, whose descriptions have nothing to do with each other.
        let describe = |matrix: Coordinates| {
            let (awaited, mut problems) = (RefCell::new(Vec::new()), Problems::default());
            if !is_there(recipe, &matrix, &mut problems) {
                return Err(coordinates(&matrix));
            }
            let described = recipe.describe(&matrix, Results::Noted(&awaited), &mut problems);
            let described = described.map(|described| (described, recipe.outputs(&matrix, &mut problems)));
            Ok((matrix, described, awaited.into_inner(), problems))
        };
        let cells = cells(spec, &recipe.params, &mut self.files, problems);
        let first = cells.first().cloned();
        for described in cells.into_par_iter().map(describe).collect::<Vec<_>>() {
            let (matrix, described, awaited, told) = match described {
                Ok(described) => described,
                Err(coordinates) => {
                    added.add_away(coordinates);
                    continue;
                }
            };
            problems.extend(told);
            let Some((described, outputs)) = described else { continue };
            let coordinates = coordinates(&matrix);
            let node = GraphNode {
                stage: stage.clone(),
                name: node_name(&stage, &coordinates),
                coordinates,
                described,
                inputs: BTreeMap::new(),
                outputs,
                span: recipe.source_span(),
                imported: !prefix.is_empty(),
                unfit: Vec::new(),
            };
            let (recipe, prefix) = (Arc::clone(recipe), Arc::clone(prefix));
            let cell = Cell { node, recipe, pipeline, prefix, matrix, awaited, read_at: Vec::new() };
            added.add(self.nodes.len(), &cell);
            self.nodes.push(cell);
        }
        // What the stage would write is known without any cell.
        let outputs = first.map(|first| recipe.outputs(&first, &mut Problems::default())).unwrap_or_default();
        added.finish(outputs);
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
        let files = match &self.nodes[id].node.described.work {
            Work::Command(command) => Some(Arc::clone(command)),
            _ => None,
        };
        let mut inputs = BTreeMap::new();
        // Ports that were meant by a name that is unknown: they are told there.
        let mut meant = Vec::new();
        for (key, references) in &spec.inputs {
            if files.as_ref().is_some_and(|command| command.files.contains_key(&key.text)) {
                continue;
            }
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
            let need = match port.map(|port| port.arity) {
                Some(Arity::Gather) => Need::Many,
                Some(Arity::Optional) => Need::AtMostOne,
                // A command's input gathers when it says so: by a list, or by `[*]` or `[axis=*]`.
                None if references.len() > 1 || references.iter().any(asks_for_many) => Need::Many,
                _ => Need::One,
            };
            let gather = need == Need::Many;
            if need == Need::AtMostOne && self.is_nothing(id, references) {
                continue;
            }
            let mut from = Vec::new();
            for reference in references {
                let found = self.resolve(id, reference, need, problems);
                self.nodes[id].read_at.extend(found.iter().map(|(producer, _)| (*producer, reference.span)));
                from.extend(found);
            }
            if let (false, [first, _, ..]) = (gather, references.as_slice()) {
                let message = format!("the input `{}` takes one artifact, {} are given", key.text, references.len());
                let help = format!("give one: `{}: stage.output`", key.text);
                problems.push(Problem::new(message, first.span).help(help));
            }
            if need == Need::AtMostOne && from.is_empty() {
                continue;
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
            if let Some(result) = self.told(id, found, &awaited.at, &awaited.reference, problems) {
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
        let reader = cell.reader();
        let (stages, selector) = Self::locate(&reader, name.stage, at)?;
        let selector = Selector { output: Some(name.output.to_owned()), ..selector };
        let found = self.resolve_selector(&reader, &stages, &selector, at, Need::One)?;
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

    /// Tells why a reference leads nowhere: once for all cells that have it. One that fits no cell is noted with the node,
    /// and stops no other.
    fn told<T>(
        &mut self,
        id: NodeId,
        outcome: Result<T, Refused>,
        at: &Node,
        text: &str,
        problems: &mut Problems,
    ) -> Option<T> {
        match outcome {
            Ok(found) => return Some(found),
            Err(Refused::Told) => {}
            Err(Refused::Always(problem)) => problems.push(problem),
            Err(Refused::Several(problem)) => {
                let place = (at.span, text.to_owned());
                self.several.entry(place).and_modify(|(_, others)| *others += 1).or_insert((problem, 0));
            }
            Err(Refused::None(problem)) => {
                self.nodes[id].node.unfit.push(Unfit { place: (at.span, text.to_owned()), problem });
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
}
