//! `pru-flow get`.

use std::path::PathBuf;

use clap::Args;
use pru_flow_cache::{ActionResult, How};

use super::{DONE, Exit, PipelineArgs, STAGE_FAILED, print, shown};
use crate::diverged;
use crate::plan::plan as plan_nodes;
use crate::problem::suggest;
use crate::values::read_output;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow get pipelines/mnist.yaml 'original[seed=7]:model' --to model.safetensors
  pru-flow get pipelines/mnist.yaml 'split[seed=7]:train' --to train/        a folder
  pru-flow get quickstart table:markdown --to -                   to stdout";

#[derive(Args)]
pub(super) struct GetArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The node, and after `:` the output if it has several.
    node: String,
    /// Where to put the copy; `-` for stdout.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
}

pub(super) fn get(args: &GetArgs) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let graph = &project.graph;
    let (id, output) = graph.select_one(&args.node).map_err(Exit::usage)?;
    let (store, stat) = project.look_into_store()?;
    let plan = plan_nodes(graph, &graph.closure(&[id]), store.as_ref(), &stat)?;
    let node = &graph.nodes[id];
    let (Some(result), Some(store)) = (&plan.results[id], &store) else {
        let message = format!("{} has no result yet; `pru-flow run` it first", node.name);
        return Err(Exit::Message(message, STAGE_FAILED));
    };
    if let Some(reason) = diverged::reason(result) {
        return Err(Exit::Message(format!("{} has no outputs: {reason}", node.name), STAGE_FAILED));
    }
    let name = output_name(result, output.as_deref(), &node.name)?;
    let stored = &result.outputs[&name];
    let failed = |message: String| Exit::Message(message, STAGE_FAILED);
    if args.to.as_os_str() == "-" {
        print(&read_output(store, result, stored).map_err(|unreadable| failed(unreadable.to_string()))?);
        return Ok(DONE);
    }
    for file in &stored.files {
        let to = if file.name.is_empty() { args.to.clone() } else { args.to.join(&file.name) };
        if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|e| failed(format!("{}: {e}", parent.display())))?;
        }
        store.restore(result, &file.digest, &to, How::Copy).map_err(|e| failed(e.to_string()))?;
    }
    eprintln!("{} ({} files)", shown(&args.to), stored.files.len());
    Ok(DONE)
}

fn output_name(result: &ActionResult, asked: Option<&str>, node: &str) -> Result<String, Exit> {
    let known: Vec<&str> = result.outputs.keys().map(String::as_str).collect();
    match (asked, known.as_slice()) {
        (Some(name), _) if known.contains(&name) => Ok(name.to_owned()),
        (Some(name), _) => {
            Err(Exit::usage(format!("{node} has no output `{name}`; {}", suggest(name, "outputs", known))))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(Exit::usage(format!(
            "{node} has several outputs; name one: {node}:{}",
            known.join(&format!(", {node}:"))
        ))),
    }
}
