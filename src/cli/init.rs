//! `pru-flow init`: a first pipeline with comments, ready to run.

use std::path::PathBuf;

use clap::Args;

use super::{DONE, Exit, STAGE_FAILED, print};
use crate::schema;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow init                    pipeline.yaml and schema.json in this folder
  pru-flow init experiments && pru-flow run experiments/pipeline.yaml";

const STARTER: &str = include_str!("../../pipelines/examples/starter.yaml");

#[derive(Args)]
pub(super) struct InitArgs {
    /// The folder, which is made if need be [default: this one].
    folder: Option<PathBuf>,
}

pub(super) fn init(args: &InitArgs) -> Result<u8, Exit> {
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from("."));
    let pipeline = folder.join("pipeline.yaml");
    if pipeline.exists() {
        return Err(Exit::usage(format!("{} is there already; name another folder", pipeline.display())));
    }
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        // Before the pipeline: whoever sees that sees all.
        std::fs::write(folder.join("schema.json"), schema::text())?;
        std::fs::write(&pipeline, STARTER)
    };
    write().map_err(|error| Exit::Message(format!("{}: {error}", folder.display()), STAGE_FAILED))?;
    let shown = pipeline.display();
    print(
        format!("{shown} is there, with comments (schema.json is for editors). Next:\n  pru-flow plan {shown}\n  pru-flow run {shown}\n")
            .as_bytes(),
    );
    Ok(DONE)
}
