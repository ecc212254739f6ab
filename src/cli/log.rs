//! `pru-flow log`.

use clap::Args;

use super::{DONE, Exit, PipelineArgs, STAGE_FAILED, print};
use crate::execute::log_path;
use crate::plan::plan as plan_nodes;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow log pipelines/mnist.yaml 'original[seed=7]'";

#[derive(Args)]
pub(super) struct LogArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The node.
    node: String,
}

pub(super) fn log(args: &LogArgs) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let graph = &project.graph;
    let (id, _) = graph.select_one(&args.node).map_err(Exit::usage)?;
    let (store, stat) = project.look_into_store()?;
    let plan = plan_nodes(graph, &graph.closure(&[id]), store.as_ref(), &stat)?;
    let name = &graph.nodes[id].name;
    let planned = plan.nodes.iter().find(|node| node.id == id);
    let Some(key) = planned.and_then(|node| node.key) else {
        let why = planned.map_or("", |node| node.why.as_str());
        return Err(Exit::Message(format!("{name} has not run: {why}"), STAGE_FAILED));
    };
    let path = log_path(&project.logs(), &key);
    match std::fs::read(&path) {
        Ok(bytes) => print(&bytes),
        Err(_) => {
            let message = format!("{name} has no log here: it has not run, or its result came from elsewhere");
            return Err(Exit::Message(message, STAGE_FAILED));
        }
    }
    Ok(DONE)
}
