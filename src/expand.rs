//! Pipeline -> [`Graph`]: cells of every matrix, params with defaults, inputs resolved to nodes, order.
//!
//! Reports every problem of the file in one pass. Reads no file and knows nothing of what is cached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use pru_flow_stages::{Arity, Port, Resources, Sees};

use crate::command_files::files_named_in;
use crate::graph::{CommandLine, ExternalFile, Graph, GraphNode, NodeId, Output, PortInputs, Work};
use crate::matrix::cells;
use crate::params::ParamTypes;
use crate::pipeline::{self, Pipeline, StageSpec};
use crate::problem::{Problem, Problems, Span, suggest};
use crate::resources;
use crate::selector::{Selector, node_name};
use crate::template::{Later, Part, Scope, split};
use crate::yaml::{Node, Value};

/// Folders against which relative paths are resolved.
#[derive(Clone, Debug)]
pub struct Bases {
    /// The project's root: for paths in the pipeline.
    pub root: PathBuf,
    /// The current folder: for paths on the command line.
    pub current: PathBuf,
}

impl Bases {
    fn resolve(&self, text: &str, from_command_line: bool) -> PathBuf {
        let base = if from_command_line { &self.current } else { &self.root };
        base.join(text)
    }
}

/// Expands a pipeline. Everything that is wrong with it goes to `problems`: with any, the graph is of no use.
pub fn expand(pipeline: &Pipeline, bases: &Bases, problems: &mut Problems) -> Graph {
    let mut expansion = Expansion {
        pipeline,
        bases,
        nodes: Vec::new(),
        by_stage: BTreeMap::new(),
        types: BTreeMap::new(),
        unfit: BTreeMap::new(),
    };
    for spec in &pipeline.stages {
        expansion.add_cells(spec, problems);
    }
    for id in 0..expansion.nodes.len() {
        expansion.connect(id, problems);
    }
    let Expansion { nodes, unfit, .. } = expansion;
    for (mut problem, others) in unfit.into_values() {
        if others > 0 {
            problem.message.push_str(&format!(" (and {others} more cells)"));
        }
        problems.push(problem);
    }
    let order = order(&nodes, problems);
    let nodes = nodes.into_iter().map(|cell| cell.node).collect();
    Graph { nodes, order }
}

struct Expansion<'a> {
    pipeline: &'a Pipeline,
    bases: &'a Bases,
    nodes: Vec<Cell<'a>>,
    by_stage: BTreeMap<&'a str, Vec<NodeId>>,
    types: BTreeMap<&'static str, Rc<ParamTypes>>,
    /// References that do not fit a cell, by place: the first problem, and how many other cells have it.
    unfit: BTreeMap<Span, (Problem, usize)>,
}

/// A node on its way into the graph.
struct Cell<'a> {
    node: GraphNode,
    spec: &'a StageSpec,
    matrix: Vec<(String, Node)>,
    /// Producers with the places of the references that name them, to tell a cycle.
    read_at: Vec<(NodeId, Span)>,
}

impl<'a> Expansion<'a> {
    fn add_cells(&mut self, spec: &'a StageSpec, problems: &mut Problems) {
        let cells = cells(spec, &self.pipeline.params, problems);
        for matrix in cells {
            let coordinates: Vec<(String, String)> =
                matrix.iter().map(|(axis, value)| (axis.clone(), value.scalar_text().unwrap_or_default())).collect();
            let name = node_name(&spec.name.text, &coordinates);
            let scope = Scope {
                params: &self.pipeline.params,
                matrix: spec.matrix.as_ref().map(|_| matrix.as_slice()),
                later: None,
            };
            let Some((work, outputs, mut resources, sources)) = self.work(spec, &scope, problems) else { continue };
            let device = resources::read(spec, &scope, &mut resources, problems);
            let node = GraphNode {
                stage: spec.name.text.clone(),
                coordinates,
                name,
                work,
                inputs: BTreeMap::new(),
                outputs,
                resources,
                device,
                sources,
                span: self.source_span(spec),
            };
            self.by_stage.entry(&spec.name.text).or_default().push(self.nodes.len());
            self.nodes.push(Cell { node, spec, matrix, read_at: Vec::new() });
        }
        // A stage whose cells are all wrong is still a stage: references to it are no further problem.
        self.by_stage.entry(&spec.name.text).or_default();
    }

    /// `None` when even the stage's kind is not known. With wrong params the node stands all the same, so that what
    /// is wrong with its inputs, and with those who read it, is told in the same pass.
    fn work(
        &mut self,
        spec: &StageSpec,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Option<(Work, Vec<Output>, Resources, Vec<ExternalFile>)> {
        match &spec.work {
            pipeline::Work::Unknown => None,
            pipeline::Work::Uses(def) => {
                let types = Rc::clone(self.types.entry(def.name).or_insert_with(|| Rc::new(ParamTypes::of(def))));
                let outputs = def.outputs.iter().map(Output::builtin).collect();
                let mut node = Work::Builtin {
                    def,
                    params: serde_json::Value::Null,
                    unkeyed_params: types.unkeyed(),
                    forget_class: None,
                };
                let Some(read) = self.params(&types, spec, scope, problems) else {
                    return Some((node, outputs, Resources::default(), Vec::new()));
                };
                let resources = (def.resources)(&read);
                let sources = (def.sources)(&read).into_iter().map(|source| ExternalFile {
                    name: source.name.to_owned(),
                    candidates: source.candidates,
                    folders: true,
                    hint: Some(source.hint),
                });
                let sources = sources.collect();
                if let Work::Builtin { params, forget_class, .. } = &mut node {
                    *forget_class = (def.forget_class)(&read);
                    *params = read;
                }
                Some((node, outputs, resources, sources))
            }
            pipeline::Work::Command(node) => {
                let inputs = spec.inputs.iter().map(|(key, _)| key.text.as_str()).collect();
                let outputs = spec.outputs.iter().map(|(key, _)| key.text.as_str()).collect();
                let later = Later { inputs, outputs };
                let command = command_line(node, &Scope { later: Some(&later), ..*scope }, problems);
                let outputs = spec.outputs.iter().map(|(key, node)| command_output(&key.text, node, scope, problems));
                let outputs: Vec<Output> = outputs.collect();
                check_file_names(spec, &outputs, problems);
                let mut sources = files_named_in(&command, &self.bases.root);
                sources.extend(spec.code.iter().filter_map(|node| self.code(node, scope, problems)));
                Some((Work::Command { command }, outputs, Resources::default(), sources))
            }
        }
    }

    fn params(
        &self,
        types: &ParamTypes,
        spec: &StageSpec,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Option<serde_json::Value> {
        let with = match &spec.with {
            Some(node) => scope.fill(node, problems),
            None => Node::new(Value::Map(Vec::new()), spec.name.span),
        };
        let mut json = with.to_json();
        for field in types.paths() {
            if let (Some(node), Some(slot)) = (with.get(field), json.get_mut(field))
                && let Some(text) = node.scalar_text()
            {
                let path = self.bases.resolve(&text, node.from_command_line());
                *slot = serde_json::Value::from(path.to_string_lossy().into_owned());
            }
        }
        types.read(&spec.name.text, &with, json, problems)
    }

    /// Where a missing file is told: at the param that names it, else at the stage.
    fn source_span(&self, spec: &StageSpec) -> Span {
        let path = match (&spec.work, &spec.with) {
            (pipeline::Work::Uses(def), Some(with)) => {
                self.types.get(def.name).and_then(|types| types.paths().iter().find_map(|field| with.get(field)))
            }
            _ => None,
        };
        path.map_or(spec.name.span, |node| node.span)
    }

    fn code(&self, node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Option<ExternalFile> {
        let filled = scope.fill(node, problems);
        let Some(text) = filled.scalar_text() else {
            if filled.value != Value::Wrong {
                let message = format!("`code` names files, not {}", filled.kind());
                problems.push(filled.problem(message).help("code: [train.py, model.py]"));
            }
            return None;
        };
        let path = self.bases.resolve(&text, filled.from_command_line());
        let hint = Some("it is named under `code:`".to_owned());
        Some(ExternalFile { name: format!("code:{text}"), candidates: vec![path], folders: true, hint })
    }

    fn connect(&mut self, id: NodeId, problems: &mut Problems) {
        let spec = self.nodes[id].spec;
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
        self.check_inputs(id, &inputs, problems);
        self.nodes[id].node.inputs = inputs;
    }

    /// What the stage itself says of its inputs beside its params.
    fn check_inputs(&self, id: NodeId, inputs: &BTreeMap<String, PortInputs>, problems: &mut Problems) {
        let Cell { node, spec, .. } = &self.nodes[id];
        // Wrong params have been told, and are no ground to judge by.
        let Work::Builtin { def, params, .. } = &node.work else { return };
        let Some(types) = self.types.get(def.name).filter(|_| !params.is_null()) else { return };
        let connected: Vec<&str> = inputs.keys().map(String::as_str).collect();
        for (name, message) in (def.check_inputs)(params, &connected) {
            let (message, help) = types.wrong(name, &message);
            let param = spec.with.as_ref().and_then(|with| with.get(name));
            let input = || spec.inputs.iter().find(|(key, _)| key.text == name).map(|(key, _)| key.span);
            let problem = match param {
                Some(param) => param.problem(message),
                None => Problem::new(message, input().unwrap_or(spec.name.span)),
            };
            problems.push(problem.maybe_help(help));
        }
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
        let matrix = cell.spec.matrix.as_ref().map(|_| cell.matrix.as_slice());
        let scope = Scope { params: &self.pipeline.params, matrix, later: None };
        let filled = scope.fill(reference, problems);
        let Some(text) = filled.scalar_text() else {
            if filled.value != Value::Wrong {
                let message = format!("an input names an output of a stage, not {}", filled.kind());
                problems.push(filled.problem(message).help("write `stage.output`"));
            }
            return Vec::new();
        };
        let selector = match Selector::parse(&text, '.') {
            Ok(selector) => selector,
            Err(message) => {
                problems.push(filled.problem(message).help("name an output: `stage.output`"));
                return Vec::new();
            }
        };
        match self.resolve_selector(cell, &selector, &filled, gather) {
            Ok(found) => found,
            Err(Refused::Told) => Vec::new(),
            Err(Refused::Always(problem)) => {
                problems.push(problem);
                Vec::new()
            }
            Err(Refused::Here(problem)) => {
                self.unfit.entry(reference.span).and_modify(|(_, others)| *others += 1).or_insert((problem, 0));
                Vec::new()
            }
        }
    }

    fn resolve_selector(
        &self,
        cell: &Cell<'_>,
        selector: &Selector,
        reference: &Node,
        gather: bool,
    ) -> Result<Vec<(NodeId, String)>, Refused> {
        let always = |message: String, help: String| Refused::Always(reference.problem(message).help(help));
        let Some(candidates) = self.by_stage.get(selector.stage.as_str()) else {
            let help = suggest(&selector.stage, "stages", self.by_stage.keys().copied());
            return Err(always(format!("no stage `{}`", selector.stage), help));
        };
        let first = candidates.first().map(|id| &self.nodes[*id].node).ok_or(Refused::Told)?;
        let axes: Vec<&str> = first.coordinates.iter().map(|(axis, _)| axis.as_str()).collect();
        for (axis, _) in &selector.axes {
            if !axes.contains(&axis.as_str()) {
                let message = format!("`{}` has no matrix axis `{axis}`", selector.stage);
                return Err(always(message, suggest(axis, "axes", axes)));
            }
        }
        let output = output_name(first, selector).map_err(|(message, help)| always(message, help))?;
        let shared = |axis: &str| !selector.all && !selector.axes.iter().any(|(name, _)| name == axis);
        let matched: Vec<NodeId> = candidates
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
        let untold = |cell: &Cell<'_>| cell.matrix.iter().any(|(_, value)| value.value == Value::Wrong);
        match matched.as_slice() {
            // Where an axis cannot be told, neither can what fits.
            _ if untold(cell) || candidates.iter().any(|id| untold(&self.nodes[*id])) => Err(Refused::Told),
            [] => {
                let message = format!("no cell of `{}` fits `{}`", selector.stage, cell.node.name);
                let names: Vec<&str> = candidates.iter().take(4).map(|id| self.nodes[*id].node.name.as_str()).collect();
                let more = if candidates.len() > 4 { ", ..." } else { "" };
                let help = format!("there are {}{more}", names.join(", "));
                Err(Refused::Here(reference.problem(message).help(help)))
            }
            [_] => Ok(vec![(matched[0], output)]),
            many if gather => Ok(many.iter().map(|id| (*id, output.clone())).collect()),
            many => {
                let free = |axis: &&str| selector.all || !cell.node.coordinates.iter().any(|(a, _)| a == axis);
                let named = |axis: &&str| !selector.axes.iter().any(|(name, value)| name == axis && value.is_some());
                let free: Vec<&str> = axes.iter().copied().filter(|axis| free(axis) && named(axis)).collect();
                let message = format!("one cell of `{}` is needed here, {} fit", selector.stage, many.len());
                let help = format!("give {}: `{}[{}=...]`", free.join(" and "), selector.stage, free.join("=...,"));
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
    Selector::parse(&text, '.').is_ok_and(|s| s.all || s.axes.iter().any(|(_, value)| value.is_none()))
}

/// The output that a reference means; else what is wrong, and what to write.
fn output_name(producer: &GraphNode, selector: &Selector) -> Result<String, (String, String)> {
    let known = producer.outputs.iter().map(|output| output.name.as_str());
    match (&selector.output, producer.outputs.as_slice()) {
        (Some(output), _) if known.clone().any(|name| name == output) => Ok(output.clone()),
        (Some(output), _) => {
            let message = format!("`{}` has no output `{output}`", selector.stage);
            Err((message, suggest(output, "outputs", known.collect::<Vec<_>>())))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            let names: Vec<String> = known.map(|name| format!("`{}.{name}`", selector.stage)).collect();
            Err((format!("`{}` has several outputs", selector.stage), format!("name one: {}", names.join(", "))))
        }
    }
}

fn command_line(node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> CommandLine {
    match &node.value {
        Value::List(items) => {
            let words = items.iter().flat_map(|item| match scope.fill(item, problems) {
                Node { value: Value::Wrong, .. } => Vec::new(),
                // A whole `${params.list}` is as many words as it has values.
                Node { value: Value::List(values), .. } => values,
                one => vec![one],
            });
            let words = words.collect::<Vec<Node>>();
            let bad = words.iter().filter(|word| word.scalar_text().is_none() && word.value != Value::Wrong);
            for word in bad {
                let message = format!("a word of a command is a single value, not {}", word.kind());
                problems.push(word.problem(message).help("command: [python3, train.py, --lr, \"${params.lr}\"]"));
            }
            CommandLine::Words(words.iter().filter_map(Node::scalar_text).collect())
        }
        _ => CommandLine::Shell(shell_text(node, scope, problems)),
    }
}

/// The text for the shell, with every value put in quoted: a value is never read as syntax.
fn shell_text(node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> String {
    let text = node.scalar_text().unwrap_or_default();
    let Ok(parts) = split(&text) else {
        // Tells what is wrong.
        let _ = scope.fill(node, problems);
        return text;
    };
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Literal(literal) => out.push_str(&literal.replace("${", "$${")),
            Part::Reference(path) => {
                let reference = Node { value: Value::Text(format!("${{{path}}}")), ..*node };
                let later = matches!(path.split('.').next(), Some("inputs" | "outputs"));
                let filled = scope.fill(&reference, problems);
                match filled.scalar_text() {
                    Some(value) if later => out.push_str(&value),
                    Some(value) => out.push_str(&crate::execute::shell_quote(&value)),
                    None if filled.value == Value::Wrong => {}
                    None => {
                        let message = format!("`${{{path}}}` is {}, not a single value", filled.kind());
                        problems.push(filled.problem(message).help("a list of words takes a list: `command: [...]`"));
                    }
                }
            }
        }
    }
    out
}

/// Copies of outputs lie side by side under their file names.
fn check_file_names(spec: &StageSpec, outputs: &[Output], problems: &mut Problems) {
    for (index, output) in outputs.iter().enumerate() {
        if let Some(first) = outputs[..index].iter().find(|other| other.file_name == output.file_name) {
            let message = format!("the outputs `{}` and `{}` have one file name", first.name, output.name);
            problems.push(Problem::new(message, spec.outputs[index].1.span).help("give each its own"));
        }
    }
}

fn command_output(name: &str, node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Output {
    let filled = scope.fill(node, problems);
    let file_name = filled.scalar_text().unwrap_or_default();
    let path = Path::new(&file_name);
    let plain = filled.holds_wrong()
        || !matches!(node.value, Value::Text(_))
        || path.components().count() == 1 && path.file_name().is_some_and(|f| f.to_str() == Some(&file_name));
    if !plain {
        let problem = Problem::new(format!("the output `{name}` is a plain file name, not `{file_name}`"), node.span);
        problems.push(problem.help("the command writes it to the path that `${outputs.NAME}` stands for"));
    }
    Output { name: name.to_owned(), file_name, folder: None }
}

fn order(nodes: &[Cell<'_>], problems: &mut Problems) -> Vec<NodeId> {
    let mut graph: DiGraph<NodeId, ()> = DiGraph::new();
    let indices: Vec<NodeIndex> = (0..nodes.len()).map(|id| graph.add_node(id)).collect();
    for (id, cell) in nodes.iter().enumerate() {
        for (producer, _) in cell.node.inputs.values().flat_map(|port| &port.from) {
            graph.add_edge(indices[*producer], indices[id], ());
        }
    }
    if toposort(&graph, None).is_ok() {
        return file_order(nodes);
    }
    let mut told: Vec<Vec<&str>> = Vec::new();
    for component in tarjan_scc(&graph) {
        let ids: Vec<NodeId> = component.iter().map(|index| graph[*index]).collect();
        let cyclic = ids.len() > 1 || graph.contains_edge(component[0], component[0]);
        if cyclic {
            report_cycle(nodes, &ids, &mut told, problems);
        }
    }
    Vec::new()
}

/// Producers first, else the order of the file, so that plans read like the pipeline.
fn file_order(nodes: &[Cell<'_>]) -> Vec<NodeId> {
    let mut waiting: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut consumers = vec![Vec::new(); nodes.len()];
    for (id, cell) in nodes.iter().enumerate() {
        let mut producers: Vec<NodeId> =
            cell.node.inputs.values().flat_map(|port| port.from.iter().map(|(node, _)| *node)).collect();
        producers.sort_unstable();
        producers.dedup();
        waiting.push(producers.len());
        for producer in producers {
            consumers[producer].push(id);
        }
    }
    let mut ready: std::collections::BTreeSet<NodeId> = (0..nodes.len()).filter(|id| waiting[*id] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(id) = ready.pop_first() {
        order.push(id);
        for &consumer in &consumers[id] {
            waiting[consumer] -= 1;
            if waiting[consumer] == 0 {
                ready.insert(consumer);
            }
        }
    }
    order
}

/// Walks from consumer to producer inside the component until a node comes again.
fn report_cycle<'a>(nodes: &[Cell<'a>], component: &[NodeId], told: &mut Vec<Vec<&'a str>>, problems: &mut Problems) {
    let next = |id: NodeId| {
        let producers = nodes[id].node.inputs.values().flat_map(|port| port.from.iter().map(|(node, _)| *node));
        producers.filter(|producer| component.contains(producer)).min()
    };
    let mut path = vec![component.iter().copied().min().unwrap_or(component[0])];
    while let Some(producer) = next(path[path.len() - 1]) {
        if let Some(at) = path.iter().position(|id| *id == producer) {
            path.drain(..at);
            break;
        }
        path.push(producer);
    }
    path.reverse();
    // It is told from the stage that stands first in the file.
    let first = path.iter().enumerate().min_by_key(|(_, id)| **id).map_or(0, |(at, _)| at);
    path.rotate_left(first);
    let stages: Vec<&'a str> = path.iter().map(|id| nodes[*id].spec.name.text.as_str()).collect();
    let mut sorted = stages.clone();
    sorted.sort_unstable();
    if told.contains(&sorted) {
        return;
    }
    told.push(sorted);
    let names: Vec<&str> = stages.iter().chain(stages.first()).copied().collect();
    let message = format!("the stages form a cycle: {}", names.join(" -> "));
    let mut problem = Problem::new(message, nodes[path[0]].spec.name.span);
    for (producer, consumer) in path.iter().zip(path.iter().cycle().skip(1)) {
        let reads = nodes[*consumer].read_at.iter().find(|(id, _)| id == producer);
        if let Some((_, span)) = reads {
            let [producer, consumer] = [producer, consumer].map(|id| &nodes[*id].spec.name.text);
            problem = problem.also(*span, format!("`{consumer}` reads `{producer}`"));
        }
    }
    problems.push(problem.help("remove one of these inputs"));
}
