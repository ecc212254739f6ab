//! Pipelines as graphs, through the library, and pieces of such pipelines.

use std::path::PathBuf;

use pru_flow::command::CommandLine;
use pru_flow::expand::expand;
use pru_flow::graph::{Graph, Work};
use pru_flow::pipeline::Pipeline;
use pru_flow::problem::{Problems, SourceFile, SourceText, TextId};
use pru_flow::recipe::Bases;

/// What a pipeline begins with.
pub const HEAD: &str = "version: 1\nname: t\n";

/// The graph of a pipeline, or its problems.
pub fn try_graph(text: &str, arguments: &[&str]) -> Result<Graph, Problems> {
    let mut problems = Problems::default();
    let Some(mut pipeline) = Pipeline::read(text, TextId::File(0), &mut problems) else { return Err(problems) };
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    pru_flow::overrides::apply(&mut pipeline, &[], &arguments, &mut problems);
    let bases = Bases { root: PathBuf::from("/project"), current: PathBuf::from("/project/here") };
    let file = SourceFile { name: "pipeline.yaml".to_owned(), text: text.to_owned() };
    let mut source = SourceText { files: vec![file], arguments };
    let graph = expand(&pipeline, &bases, &mut source, &mut problems);
    problems.into_result(graph)
}

/// The graph of a pipeline that is right, with `--set` arguments.
#[track_caller]
pub fn graph_with(text: &str, arguments: &[&str]) -> Graph {
    try_graph(&format!("{HEAD}{text}"), arguments).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The graph of a pipeline that is right.
#[track_caller]
pub fn graph(text: &str) -> Graph {
    graph_with(text, &[])
}

/// Names of all nodes.
pub fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| node.name.as_str()).collect()
}

/// Names of the producers that the input `port` of `node` reads, in order.
#[track_caller]
pub fn read_by<'a>(graph: &'a Graph, node: &str, port: &str) -> Vec<&'a str> {
    let node = graph.nodes.iter().find(|one| one.name == node).unwrap_or_else(|| panic!("no node {node}"));
    node.inputs[port].from.iter().map(|(id, _)| graph.nodes[*id].name.as_str()).collect()
}

/// The params of a built-in node.
#[track_caller]
pub fn params<'a>(graph: &'a Graph, node: &str) -> &'a serde_json::Value {
    match &graph.nodes.iter().find(|one| one.name == node).expect("the node").described.work {
        Work::Builtin { params, .. } => params,
        Work::Command(_) | Work::Waiting(_) => panic!("{node} has no params"),
    }
}

/// The command line of a node.
#[track_caller]
pub fn command<'a>(graph: &'a Graph, node: &str) -> &'a CommandLine {
    match &graph.nodes.iter().find(|one| one.name == node).expect("the node").described.work {
        Work::Command(command) => &command.line,
        Work::Builtin { .. } | Work::Waiting(_) => panic!("{node} is no command"),
    }
}

/// A stage that writes `o` and has this matrix.
pub fn source(name: &str, matrix: &str) -> String {
    format!("  {name}: {{command: \"true\", outputs: [o], matrix: {matrix}}}\n")
}

/// A stage without a matrix, or with one, that reads `x`.
pub fn reader(name: &str, matrix: &str, reference: &str) -> String {
    let matrix = if matrix.is_empty() { String::new() } else { format!(", matrix: {matrix}") };
    format!("  {name}: {{command: \"true\", inputs: {{x: {reference}}}, outputs: [o]{matrix}}}\n")
}
