//! `pru-flow commit`: takes outputs that lie at their paths for the results of their nodes, without running these.

use std::sync::Arc;

use clap::Args;

use super::{DONE, Exit, PipelineArgs, STAGE_FAILED, print};
use crate::adopt::{self, Adopted};

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow commit pipeline.yaml train           models/m.pt is what `train` would make: take it as its result
  pru-flow commit pipeline.yaml                 whatever has no result and whose outputs are all there";

#[derive(Args)]
pub(super) struct CommitArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Nodes whose outputs are right as they lie [default: all that have no result].
    nodes: Vec<String>,
}

pub(super) fn commit(args: &CommitArgs) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let asked = project.graph.select(&args.nodes).map_err(Exit::usage)?;
    let (store, outside) = project.open_store()?;
    let adopted = adopt::adopt(&project, &asked, &Arc::new(store), &outside)?;
    outside.save();
    let mut text = String::new();
    let mut failed = false;
    for (name, outcome) in &adopted {
        let line = match outcome {
            Adopted::Taken => "committed".to_owned(),
            Adopted::There => "has a result already".to_owned(),
            Adopted::Not(why) => {
                failed |= !asked.is_empty();
                format!("not committed: {why}")
            }
        };
        text.push_str(&format!("{name}  {line}\n"));
    }
    print(text.as_bytes());
    Ok(if failed { STAGE_FAILED } else { DONE })
}
