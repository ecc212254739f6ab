//! Pipeline -> [`Graph`]: cells of every matrix, params with defaults, inputs resolved to nodes, order.
//!
//! Reports every problem of the file in one pass. Reads no file and knows nothing of what is cached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use pru_flow_stages::{Arity, Port, Resources, Sees, StageDef};

use crate::graph::{CommandLine, Device, ExternalFile, Graph, GraphNode, NodeId, Output, PortInputs, Work};
use crate::matrix::cells;
use crate::pipeline::{self, Pipeline, StageSpec};
use crate::problem::{Problem, Problems, Span, suggest};
use crate::selector::{Selector, node_name};
use crate::template::Scope;
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

/// Expands a pipeline.
///
/// # Errors
/// Everything that is wrong with it.
pub fn expand(pipeline: &Pipeline, bases: &Bases) -> Result<Graph, Problems> {
    let mut problems = Problems::default();
    let mut expansion = Expansion { pipeline, bases, nodes: Vec::new(), by_stage: BTreeMap::new() };
    for spec in &pipeline.stages {
        expansion.add_cells(spec, &mut problems);
    }
    for id in 0..expansion.nodes.len() {
        expansion.connect(id, &mut problems);
    }
    let Expansion { nodes, .. } = expansion;
    let order = order(pipeline, &nodes, &mut problems);
    let nodes = nodes.into_iter().map(|cell| cell.node).collect();
    problems.into_result(Graph { nodes, order })
}

struct Expansion<'a> {
    pipeline: &'a Pipeline,
    bases: &'a Bases,
    nodes: Vec<Cell<'a>>,
    by_stage: BTreeMap<&'a str, Vec<NodeId>>,
}

/// A node on its way into the graph.
struct Cell<'a> {
    node: GraphNode,
    spec: &'a StageSpec,
    matrix: Vec<(String, Node)>,
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
                later: &[],
            };
            let Some((work, outputs, mut resources, sources)) = self.work(spec, &scope, problems) else { continue };
            let device = read_resources(spec, &scope, &mut resources, problems);
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
                span: spec.with.as_ref().map_or(spec.name.span, |with| with.span),
            };
            self.by_stage.entry(&spec.name.text).or_default().push(self.nodes.len());
            self.nodes.push(Cell { node, spec, matrix });
        }
        // A stage whose cells are all wrong is still a stage: references to it are no further problem.
        self.by_stage.entry(&spec.name.text).or_default();
    }

    fn work(
        &self,
        spec: &StageSpec,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Option<(Work, Vec<Output>, Resources, Vec<ExternalFile>)> {
        match &spec.work {
            pipeline::Work::Uses(def) => {
                let params = self.params(def, spec, scope, problems)?;
                let outputs = def.outputs.iter().map(Output::builtin).collect();
                let resources = (def.resources)(&params);
                let sources = (def.sources)(&params).into_iter().map(|source| ExternalFile {
                    name: source.name.to_owned(),
                    candidates: source.candidates,
                    hint: Some(source.hint),
                });
                let sources = sources.collect();
                let forget_class = (def.forget_class)(&params);
                let work = Work::Builtin { def, params, path_params: path_params(def), forget_class };
                Some((work, outputs, resources, sources))
            }
            pipeline::Work::Command(node) => {
                let scope = Scope { later: &["inputs", "outputs"], ..*scope };
                let command = command_line(node, &scope, problems)?;
                let outputs = spec.outputs.iter().map(|(key, node)| command_output(&key.text, node, &scope, problems));
                let outputs = outputs.collect();
                let mut sources = self.files_of(&command);
                sources.extend(spec.code.iter().filter_map(|node| self.code(node, &scope, problems)));
                Some((Work::Command { command }, outputs, Resources::default(), sources))
            }
        }
    }

    fn params(
        &self,
        def: &'static StageDef,
        spec: &StageSpec,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Option<serde_json::Value> {
        let mut found = Problems::default();
        let with = match &spec.with {
            Some(node) => scope.fill(node, &mut found),
            None => Node { value: Value::Map(Vec::new()), span: spec.name.span, from_command_line: false },
        };
        let params = self.fit_params(def, spec, &with, &mut found);
        let ok = found.is_empty();
        problems.extend(found);
        params.filter(|_| ok)
    }

    /// Reads params by the stage's own type; a field that does not fit is reported and left out, and the rest is
    /// read again, so that all problems are found in one pass.
    fn fit_params(
        &self,
        def: &'static StageDef,
        spec: &StageSpec,
        with: &Node,
        problems: &mut Problems,
    ) -> Option<serde_json::Value> {
        let mut json = with.to_json();
        for field in path_params(def) {
            if let (Some(node), Some(slot)) = (with.get(&field), json.get_mut(&field))
                && let Some(text) = node.scalar_text()
            {
                let path = self.bases.resolve(&text, node.from_command_line);
                *slot = serde_json::Value::from(path.to_string_lossy().into_owned());
            }
        }
        let known = field_names(def);
        if let Value::Map(entries) = &with.value {
            for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text)) {
                let help = suggest(&key.text, "params", known.iter().map(String::as_str));
                let message = format!("unknown param `{}` of `{}`", key.text, def.name);
                problems.push(Problem::new(message, key.span).help(help));
                remove(&mut json, &key.text);
            }
        }
        loop {
            let error = match (def.normalise)(&json) {
                Ok(params) => {
                    for (field, message) in (def.check)(&params) {
                        problems.push(Problem::new(format!("`{field}` {message}"), with.nearest(field).span));
                    }
                    return Some(params);
                }
                Err(error) => error,
            };
            let first = error.path.split(['.', '[']).next().unwrap_or("").to_owned();
            if first.is_empty() || json.get(&first).is_none() {
                // What is missing: told once, unless it was given and refused above.
                let refused = problems.iter().next().is_some();
                if !refused {
                    let message = format!("`{}` of `{}`: {}", spec.name.text, def.name, error.message);
                    problems.push(Problem::new(message, with.span).help(format!("see `pru-flow stages {}`", def.name)));
                }
                return None;
            }
            let at = with.nearest(&error.path);
            let message = format!("`{}`: {}", error.path, error.message);
            problems.push(Problem::new(message, at.span).maybe_help(typo_help(&error.message)));
            remove(&mut json, &first);
        }
    }

    fn code(&self, node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Option<ExternalFile> {
        let filled = scope.fill(node, problems);
        let Some(text) = filled.scalar_text() else {
            problems.push(Problem::new(format!("`code` names files, not {}", filled.kind()), node.span));
            return None;
        };
        let path = self.bases.resolve(&text, filled.from_command_line);
        let hint = Some("it is named under `code:`".to_owned());
        Some(ExternalFile { name: format!("code:{text}"), candidates: vec![path], hint })
    }

    /// The program and every word of a command that may be a file: an edited script is another key.
    fn files_of(&self, command: &CommandLine) -> Vec<ExternalFile> {
        let words: Vec<&str> = match command {
            CommandLine::Shell(text) => text.split_whitespace().map(|word| word.trim_matches(['\'', '"'])).collect(),
            CommandLine::Words(words) => words.iter().map(String::as_str).collect(),
        };
        let mut files = Vec::new();
        if let (CommandLine::Words(_), Some(program)) = (command, words.first())
            && !program.contains('/')
        {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let candidates = std::env::split_paths(&path).map(|folder| folder.join(program)).collect();
            let hint = Some(format!("the program `{program}` is not on the PATH"));
            files.push(ExternalFile { name: "program".to_owned(), candidates, hint });
        }
        let named = words.into_iter().filter(|word| !word.is_empty() && !word.contains("${") && !word.starts_with('-'));
        let mut named: Vec<&str> = named.collect();
        named.sort_unstable();
        named.dedup();
        files.extend(named.into_iter().map(|word| ExternalFile {
            name: format!("file:{word}"),
            candidates: vec![self.bases.root.join(word)],
            hint: None,
        }));
        files
    }

    fn connect(&mut self, id: NodeId, problems: &mut Problems) {
        let spec = self.nodes[id].spec;
        let ports: Option<&[Port]> = match &spec.work {
            pipeline::Work::Uses(def) => Some(def.inputs),
            pipeline::Work::Command(_) => None,
        };
        let mut inputs = BTreeMap::new();
        for (key, references) in &spec.inputs {
            let port = match ports {
                None => None,
                Some(ports) => match ports.iter().find(|port| port.name == key.text) {
                    Some(port) => Some(port),
                    None => {
                        let help = suggest(&key.text, "inputs", ports.iter().map(|port| port.name));
                        let message = format!("`{}` has no input `{}`", spec.name.text, key.text);
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
                from.extend(self.resolve(id, reference, gather, problems));
            }
            if let (false, [first, _, ..]) = (gather, references.as_slice()) {
                let message = format!("the input `{}` takes one artifact, {} are given", key.text, references.len());
                problems.push(Problem::new(message, first.span));
            }
            inputs.insert(key.text.clone(), PortInputs { gather, sees: port.map_or(Sees::Both, |p| p.sees), from });
        }
        for port in ports.into_iter().flatten() {
            if port.arity != Arity::Optional && !inputs.contains_key(port.name) {
                let message = format!("`{}` needs the input `{}`: {}", spec.name.text, port.name, port.doc);
                let help = format!("add `inputs: {{{}: stage.output}}`", port.name);
                problems.push(Problem::new(message, spec.name.span).help(help));
            }
        }
        self.nodes[id].node.inputs = inputs;
    }

    /// The nodes that a reference means, seen from node `id`: axes that both have are matched by name; what is left
    /// free is gathered, or must be one cell.
    fn resolve(&self, id: NodeId, reference: &Node, gather: bool, problems: &mut Problems) -> Vec<(NodeId, String)> {
        let cell = &self.nodes[id];
        let matrix = cell.spec.matrix.as_ref().map(|_| cell.matrix.as_slice());
        let scope = Scope { params: &self.pipeline.params, matrix, later: &[] };
        let mut found = Problems::default();
        let filled = scope.fill(reference, &mut found);
        let selector = match filled.scalar_text().map(|text| Selector::parse(&text, '.')) {
            Some(Ok(selector)) if found.is_empty() => selector,
            Some(Err(message)) if found.is_empty() => {
                problems.push(Problem::new(message, reference.span).help("name an output: `stage.output`"));
                return Vec::new();
            }
            _ => {
                problems.extend(found);
                return Vec::new();
            }
        };
        self.resolve_selector(cell, &selector, reference.span, gather).unwrap_or_else(|problem| {
            problems.extend(problem.map_or_else(Problems::default, Problems::one));
            Vec::new()
        })
    }

    /// `Err(None)`: wrong, but told elsewhere.
    fn resolve_selector(
        &self,
        cell: &Cell<'_>,
        selector: &Selector,
        span: Span,
        gather: bool,
    ) -> Result<Vec<(NodeId, String)>, Option<Problem>> {
        let Some(candidates) = self.by_stage.get(selector.stage.as_str()) else {
            let help = suggest(&selector.stage, "stages", self.by_stage.keys().copied());
            return Err(Some(Problem::new(format!("no stage `{}`", selector.stage), span).help(help)));
        };
        let first = candidates.first().map(|id| &self.nodes[*id].node).ok_or(None)?;
        let axes: Vec<&str> = first.coordinates.iter().map(|(axis, _)| axis.as_str()).collect();
        for (axis, _) in &selector.axes {
            if !axes.contains(&axis.as_str()) {
                let message = format!("`{}` has no matrix axis `{axis}`", selector.stage);
                return Err(Some(Problem::new(message, span).help(suggest(axis, "axes", axes))));
            }
        }
        let output = output_name(first, selector, span)?;
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
        match matched.as_slice() {
            [] => {
                let message = format!("no cell of `{}` fits `{}`", selector.stage, cell.node.name);
                let names: Vec<&str> = candidates.iter().take(4).map(|id| self.nodes[*id].node.name.as_str()).collect();
                Err(Some(Problem::new(message, span).help(format!("there are {}", names.join(", ")))))
            }
            [_] => Ok(vec![(matched[0], output)]),
            many if gather => Ok(many.iter().map(|id| (*id, output.clone())).collect()),
            many => {
                let free: Vec<&str> =
                    axes.iter().copied().filter(|axis| !cell.node.coordinates.iter().any(|(a, _)| a == axis)).collect();
                let message = format!("one cell of `{}` is needed here, {} fit", selector.stage, many.len());
                let help = format!("give {}: `{}[{}=...]`", free.join(" and "), selector.stage, free.join("=...,"));
                Err(Some(Problem::new(message, span).help(help)))
            }
        }
    }
}

/// Whether a reference has a `*` in its brackets.
fn asks_for_many(reference: &Node) -> bool {
    let text = reference.scalar_text().unwrap_or_default();
    Selector::parse(&text, '.').is_ok_and(|s| s.all || s.axes.iter().any(|(_, value)| value.is_none()))
}

fn output_name(producer: &GraphNode, selector: &Selector, span: Span) -> Result<String, Option<Problem>> {
    let known = producer.outputs.iter().map(|output| output.name.as_str());
    match (&selector.output, producer.outputs.as_slice()) {
        (Some(output), _) if known.clone().any(|name| name == output) => Ok(output.clone()),
        (Some(output), _) => {
            let message = format!("`{}` has no output `{output}`", selector.stage);
            Err(Some(Problem::new(message, span).help(suggest(output, "outputs", known.collect::<Vec<_>>()))))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            let names: Vec<String> = known.map(|name| format!("`{}.{name}`", selector.stage)).collect();
            let message = format!("`{}` has several outputs", selector.stage);
            Err(Some(Problem::new(message, span).help(format!("name one: {}", names.join(", ")))))
        }
    }
}

fn read_resources(spec: &StageSpec, scope: &Scope<'_>, resources: &mut Resources, problems: &mut Problems) -> Device {
    let mut device = Device::Auto;
    let Some(node) = &spec.resources else { return device };
    let filled = scope.fill(node, problems);
    let Value::Map(entries) = &filled.value else { return device };
    let known = ["cpus", "memory", "gpus", "gpu_memory", "exclusive", "device"];
    for (key, value) in entries {
        let result = match (key.text.as_str(), &value.value) {
            ("cpus", Value::Int(n)) if *n >= 1 => {
                u32::try_from(*n).map(|n| resources.cpus = n).map_err(|e| e.to_string())
            }
            ("cpus", _) => Err("`cpus` is a whole number from 1".to_owned()),
            ("gpus", Value::Int(n)) if *n >= 0 => {
                u32::try_from(*n).map(|n| resources.gpus = n).map_err(|e| e.to_string())
            }
            ("gpus", _) => Err("`gpus` is a whole number from 0".to_owned()),
            ("memory", _) => parse_bytes(value).map(|bytes| resources.memory_bytes = bytes),
            ("gpu_memory", _) => parse_bytes(value).map(|bytes| resources.gpu_memory_bytes = bytes),
            ("exclusive", Value::Bool(yes)) => {
                resources.exclusive = *yes;
                Ok(())
            }
            ("exclusive", _) => Err("`exclusive` is true or false".to_owned()),
            ("device", _) => value.scalar_text().unwrap_or_default().parse().map(|parsed| device = parsed),
            (other, _) => {
                let help = suggest(other, "resources", known);
                problems.push(Problem::new(format!("unknown resource `{other}`"), key.span).help(help));
                Ok(())
            }
        };
        if let Err(message) = result {
            problems.push(Problem::new(message, value.span));
        }
    }
    device
}

/// Bytes from `512MB`, `4GiB` or a plain number.
fn parse_bytes(node: &Node) -> Result<u64, String> {
    let text = node.scalar_text().unwrap_or_default();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{text}` is no amount of memory: write `512MiB` or `4GB`")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("`{text}` is no amount of memory: write `512MiB` or `4GB`"))?;
    Ok((number * factor) as u64)
}

fn command_line(node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Option<CommandLine> {
    match &scope.fill(node, problems).value {
        Value::Text(_) => shell_text(node, scope, problems).map(CommandLine::Shell),
        Value::List(items) => Some(CommandLine::Words(items.iter().filter_map(Node::scalar_text).collect())),
        _ => None,
    }
}

/// The text for the shell, with every value put in quoted: a value is never read as syntax.
fn shell_text(node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Option<String> {
    let text = node.scalar_text()?;
    let mut out = String::new();
    for part in crate::template::split(&text).ok()? {
        match part {
            crate::template::Part::Literal(literal) => out.push_str(literal),
            crate::template::Part::Reference(path) => {
                let whole = format!("${{{path}}}");
                let reference = Node { value: Value::Text(whole.clone()), ..node.clone() };
                let value = scope.fill(&reference, problems).scalar_text();
                match value {
                    Some(value) if value == whole => out.push_str(&whole),
                    Some(value) => out.push_str(&crate::execute::shell_quote(&value)),
                    None => problems.push(Problem::new(format!("`{whole}` is not a single value"), node.span)),
                }
            }
        }
    }
    Some(out)
}

fn command_output(name: &str, node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Output {
    let file_name = scope.fill(node, problems).scalar_text().unwrap_or_default();
    let path = Path::new(&file_name);
    let plain = path.components().count() == 1 && path.file_name().is_some_and(|f| f.to_str() == Some(&file_name));
    if !plain {
        let problem = Problem::new(format!("the output `{name}` is a plain file name, not `{file_name}`"), node.span);
        problems.push(problem.help("the command writes it to the path that `${outputs.NAME}` stands for"));
    }
    Output { name: name.to_owned(), file_name, folder: None }
}

/// Names of the params that hold paths, by the mark that `SourcePath` leaves in the schema.
fn path_params(def: &StageDef) -> Vec<String> {
    let schema = serde_json::Value::from((def.schema)());
    let Some(fields) = schema.get("properties").and_then(|p| p.as_object()) else { return Vec::new() };
    let is_path = |field: &serde_json::Value| {
        let format = |value: &serde_json::Value| value.get("format").and_then(|f| f.as_str()) == Some("path");
        format(field) || field.get("anyOf").and_then(|any| any.as_array()).is_some_and(|any| any.iter().any(format))
    };
    fields.iter().filter(|(_, field)| is_path(field)).map(|(name, _)| name.clone()).collect()
}

fn field_names(def: &StageDef) -> Vec<String> {
    let schema = serde_json::Value::from((def.schema)());
    schema.get("properties").and_then(|p| p.as_object()).map_or_else(Vec::new, |p| p.keys().cloned().collect())
}

fn remove(json: &mut serde_json::Value, field: &str) {
    if let Some(map) = json.as_object_mut() {
        map.remove(field);
    }
}

/// serde lists what a field or variant could be: a near one is a typo.
fn typo_help(message: &str) -> Option<String> {
    let (found, known) = message.split_once(", expected ")?;
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let known = quoted(known);
    crate::problem::did_you_mean(quoted(found).first()?, known.iter().map(String::as_str))
}

fn order(pipeline: &Pipeline, nodes: &[Cell<'_>], problems: &mut Problems) -> Vec<NodeId> {
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
            report_cycle(pipeline, nodes, &ids, &mut told, problems);
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
fn report_cycle<'a>(
    pipeline: &Pipeline,
    nodes: &[Cell<'a>],
    component: &[NodeId],
    told: &mut Vec<Vec<&'a str>>,
    problems: &mut Problems,
) {
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
    let stages: Vec<&'a str> = path.iter().map(|id| nodes[*id].spec.name.text.as_str()).collect();
    let mut sorted = stages.clone();
    sorted.sort_unstable();
    if told.contains(&sorted) {
        return;
    }
    told.push(sorted);
    let names: Vec<&str> = path.iter().chain(path.first()).map(|id| nodes[*id].spec.name.text.as_str()).collect();
    let spec = |name: &str| pipeline.stages.iter().find(|spec| spec.name.text == name);
    let mut problem =
        Problem::new(format!("the stages form a cycle: {}", names.join(" -> ")), nodes[path[0]].spec.name.span);
    for (producer, consumer) in stages.iter().zip(stages.iter().cycle().skip(1)) {
        let references = spec(consumer).into_iter().flat_map(|s| s.inputs.iter().flat_map(|(_, refs)| refs));
        let reads = |node: &&Node| node.scalar_text().is_some_and(|text| text.starts_with(producer));
        if let Some(reference) = references.clone().find(reads) {
            problem = problem.also(reference.span, format!("`{consumer}` reads `{producer}`"));
        }
    }
    problems.push(problem.help("remove one of these inputs"));
}
