//! `pru-flow plan`.

use clap::Args;
use serde_json::json;

use super::{DONE, Exit, PipelineArgs, WOULD_RUN, print};
use crate::plan::{Status, plan as plan_nodes};

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow plan pipelines/mnist.yaml --set data.root=DIR
  pru-flow plan pipelines/mnist.yaml --set relearn.lr=0.002 --json
  pru-flow plan pipelines/paper.yaml --exit-code     5 when something would run";

#[derive(Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Exit with 5 when something would run.
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn plan(args: &PlanArgs) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let (store, stat) = project.look_into_store()?;
    let graph = &project.graph;
    let plan = plan_nodes(graph, &graph.closure(&[]), store.as_ref(), &stat)?;
    let count = |status| plan.nodes.iter().filter(|node| node.status == status).count();
    let (cached, run, unknown) = (count(Status::Cached), count(Status::Run), count(Status::Unknown));
    if args.json {
        let nodes = plan.nodes.iter().map(|node| {
            json!({
                "name": graph.nodes[node.id].name,
                "status": node.status,
                "key": node.key.map(|key| key.to_string()),
                "why": node.why,
            })
        });
        print(format!("{}\n", json!({"schema": 1, "nodes": nodes.collect::<Vec<_>>()})).as_bytes());
    } else {
        let width = plan.nodes.iter().map(|node| graph.nodes[node.id].name.chars().count()).max().unwrap_or(0).min(60);
        let mut text = String::new();
        for node in &plan.nodes {
            let word = match node.status {
                Status::Cached => "cached",
                Status::Run => "run",
                Status::Unknown => "unknown",
                Status::Fails => "fails",
            };
            text.push_str(&format!("{word:<8} {:<width$}  {}\n", graph.nodes[node.id].name, node.why));
        }
        let fails = count(Status::Fails);
        let fails = if fails > 0 { format!(", {fails} would fail") } else { String::new() };
        text.push_str(&format!("{cached} cached, {run} to run, {unknown} unknown until then{fails}\n"));
        print(text.as_bytes());
    }
    Ok(if args.exit_code && cached < plan.nodes.len() { WOULD_RUN } else { DONE })
}
