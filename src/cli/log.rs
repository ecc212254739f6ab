//! `pru-flow log`.

use std::path::PathBuf;

use clap::Args;
use pru_flow_cache::ActionKey;

use super::{DONE, Exit, PipelineSettings, STAGE_FAILED, StoreArgs, print};
use crate::execute::log_path;
use crate::plan::plan as plan_nodes;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow log 'original[seed=7]'                            as it went in the last run
  pru-flow log --run last~1 'original[seed=7]'
  pru-flow log pipelines/mnist.yaml 'original[seed=7]'       of the pipeline as it is now";

#[derive(Args)]
pub(super) struct LogArgs {
    /// The pipeline's file, for the node as it is now [default: the node as it was in the last run].
    pipeline: Option<PathBuf>,
    /// The node.
    #[arg(required = true)]
    node: String,
    /// The run: its id or the beginning of it, `last`, `last~1`.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["pipeline", "set"])]
    run: Option<String>,
    /// Change a param: a path into `params:` and a value, as in `relearn.lr=0.002`.
    #[arg(long = "set", value_name = "PATH=VALUE", requires = "pipeline")]
    set: Vec<String>,
    /// Files that changed params of the run whose log is meant.
    #[arg(long = "params", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    params: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn log(args: &LogArgs) -> Result<u8, Exit> {
    let (name, key, logs) = match &args.pipeline {
        Some(pipeline) => of_pipeline(args, pipeline)?,
        None => of_run(args)?,
    };
    match std::fs::read(log_path(&logs, &key)) {
        Ok(bytes) => print(&bytes),
        Err(_) => {
            let message = format!("{name} has no log here: it has not run, or its result came from elsewhere");
            return Err(Exit::Message(message, STAGE_FAILED));
        }
    }
    Ok(DONE)
}

/// A node's name, its key, and where logs are.
type Logged = (String, ActionKey, PathBuf);

fn of_pipeline(args: &LogArgs, pipeline: &std::path::Path) -> Result<Logged, Exit> {
    let (pipeline, set, store) = (pipeline.to_owned(), args.set.clone(), args.store.store.clone());
    let project = PipelineSettings { params: args.params.clone(), set, store }.load(&pipeline)?;
    let graph = &project.graph;
    let (id, _) = graph.select_one(&args.node).map_err(Exit::usage)?;
    let (store, stat) = project.look_into_store()?;
    let plan = plan_nodes(graph, &graph.closure(&[id]), store.as_ref(), &stat)?;
    let name = graph.nodes[id].name.clone();
    let planned = plan.nodes.iter().find(|node| node.id == id);
    let Some(key) = planned.and_then(|node| node.key) else {
        let why = planned.map_or("", |node| node.why.as_str());
        return Err(Exit::Message(format!("{name} has not run: {why}"), STAGE_FAILED));
    };
    Ok((name, key, project.logs()))
}

fn of_run(args: &LogArgs) -> Result<Logged, Exit> {
    let run = args.store.whole_run(args.run.as_deref().unwrap_or("last"))?;
    let node = run.node(&args.node).map_err(Exit::usage)?;
    let key = node.key.ok_or_else(|| {
        let why = node.reason.clone().unwrap_or_else(|| node.end.word().to_owned());
        Exit::Message(format!("{} did not run in {}: {why}", node.name, run.summary.id()), STAGE_FAILED)
    })?;
    Ok((node.name.clone(), key, args.store.folder().join("logs")))
}
