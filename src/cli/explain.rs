//! `pru-flow explain`: why a node would run, or what made it what it is.

use clap::Args;
use serde_json::json;

use super::{DONE, Exit, PipelineArgs, print};
use crate::graph::Graph;
use crate::history::History;
use crate::plan::{Plan, PlannedNode, Status, plan as plan_nodes};
use crate::report::problems;
use crate::yaml::Node;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow explain pipelines/mnist.yaml 'relearn[method=pru,class=3,seed=7]' --set relearn.lr=0.002";

#[derive(Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The node.
    node: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(args: &ExplainArgs) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let graph = &project.graph;
    let (id, _) = graph.select_one(&args.node).map_err(Exit::usage)?;
    let (store, stat) = project.look_into_store()?;
    let plan = plan_nodes(graph, &graph.closure(&[id]), store.as_ref(), &stat)?;
    let history = match (&plan.history, &store) {
        (None, Some(store)) => Some(History::read(store, &plan.results)?),
        _ => None,
    };
    let history = plan.history.as_ref().or(history.as_ref());
    let chain = chain_to_cause(graph, &plan, id);
    let cause = chain.last().copied().unwrap_or(&plan.nodes[0]);
    let name = |node: &PlannedNode| graph.nodes[node.id].name.clone();
    let nearest = cause
        .action
        .as_ref()
        .zip(history)
        .and_then(|(action, history)| history.nearest(action, &name(cause), usize::MAX));
    if args.json {
        let differences = nearest.as_ref().map(|(entry, differences)| {
            let fields = differences.iter().map(|d| json!({"field": d.field, "before": d.before, "after": d.after}));
            json!({"key": entry.result.key.to_string(), "node": entry.result.node, "fields": fields.collect::<Vec<_>>()})
        });
        let object = json!({
            "schema": 1,
            "node": graph.nodes[id].name,
            "chain": chain.iter().map(|node| in_json(graph, node)).collect::<Vec<_>>(),
            "key": cause.key.map(|key| key.to_string()),
            "nearest": differences,
        });
        print(format!("{object}\n").as_bytes());
        return Ok(DONE);
    }
    let mut text = String::new();
    for (depth, node) in chain.iter().enumerate() {
        let indent = "  ".repeat(depth);
        let status = match node.status {
            Status::Cached => "cached: its result is in the store".to_owned(),
            Status::Run => "would run: no result has its key".to_owned(),
            Status::Unknown => format!("unknown: {}", node.why),
            Status::Fails => format!("would fail: {}", node.why),
            Status::Broken => format!("cannot run: {}", node.why),
        };
        text.push_str(&format!("{indent}{}  {status}\n", name(node)));
        for value in &node.values {
            text.push_str(&format!("{indent}  ${{{}}} is {}\n", value.reference, value.in_words(graph)));
        }
    }
    let wrong = problems::render_for_node(&project.source, &cause.problems);
    text.push_str(&anstream::adapter::strip_str(&wrong).to_string());
    if let Some(key) = cause.key {
        text.push_str(&format!("  key {key}\n"));
    }
    match nearest {
        None if cause.action.is_some() => text.push_str("  the store holds no other result of this stage\n"),
        None => {}
        Some((entry, differences)) => {
            let when =
                jiff::Timestamp::try_from(entry.modified).map(|t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
            let when = when.unwrap_or_default();
            text.push_str(&format!("  compared with the nearest other result, {} of {when}:\n", entry.result.node));
            let width = differences.iter().map(|d| d.field.chars().count()).max().unwrap_or(0);
            for d in &differences {
                text.push_str(&format!("    {:<width$}  {} -> {}\n", d.field, d.before, d.after));
            }
        }
    }
    print(text.as_bytes());
    Ok(DONE)
}

/// A node of the chain.
fn in_json(graph: &Graph, node: &PlannedNode) -> serde_json::Value {
    let values = node.values.iter().map(|known| {
        let value = Node::new(known.value.clone(), known.at.span).to_json();
        let producer = &graph.nodes[known.producer].name;
        json!({"reference": known.reference, "value": value, "node": producer, "output": known.output})
    });
    let values: Vec<serde_json::Value> = values.collect();
    json!({"node": graph.nodes[node.id].name, "status": node.status, "why": node.why, "values": values})
}

/// From the node along producers that would run or fail, or cannot run, to the one whose own description has changed.
fn chain_to_cause<'a>(graph: &Graph, plan: &'a Plan, id: usize) -> Vec<&'a PlannedNode> {
    let of = |id: usize| plan.nodes.iter().find(|node| node.id == id);
    let mut chain: Vec<&PlannedNode> = of(id).into_iter().collect();
    while let Some(last) = chain.last().filter(|node| matches!(node.status, Status::Unknown | Status::Broken)) {
        // The first producer that would run is the nearest cause; one that is as this one is leads on.
        let producers: Vec<&PlannedNode> = graph.producers(last.id).into_iter().filter_map(of).collect();
        let waits = last.status == Status::Unknown;
        let run = producers.iter().find(|node| waits && matches!(node.status, Status::Run | Status::Fails));
        match run.or_else(|| producers.iter().find(|node| node.status == last.status)) {
            Some(next) => chain.push(next),
            None => break,
        }
    }
    chain
}
