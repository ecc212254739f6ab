//! `pru-flow check`: whether pipelines are right, without looking into a store. For editors and hooks before a commit.

use std::path::PathBuf;

use clap::Args;

use super::{DONE, Exit, PipelineSettings, WRONG_USAGE, complain, print};
use crate::project::Project;
use crate::report::problems;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow check pipelines/*.yaml
  pru-flow check pipeline.yaml --set epochs=1

As a hook of pre-commit:
  - repo: local
    hooks: [{id: pru-flow, name: pru-flow check, entry: pru-flow check, language: system, files: ^pipelines/.*\\.yaml$}]";

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The pipelines' files.
    #[arg(required = true)]
    pipelines: Vec<PathBuf>,
    #[command(flatten)]
    settings: PipelineSettings,
}

pub(super) fn check(args: &CheckArgs) -> Result<u8, Exit> {
    let mut code = DONE;
    for pipeline in &args.pipelines {
        match args.settings.load(pipeline) {
            Ok(project) => print(summary(pipeline, &project).as_bytes()),
            Err(Exit::Problems(unloadable)) => {
                code = WRONG_USAGE;
                complain(&problems::render(*unloadable));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(code)
}

fn summary(pipeline: &std::path::Path, project: &Project) -> String {
    let nodes = project.graph.nodes.len();
    let s = if nodes == 1 { "" } else { "s" };
    format!("{}: right, {nodes} node{s}\n", pipeline.display())
}
