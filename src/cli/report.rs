//! `pru-flow report`.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, PipelineArgs, PipelineSettings, write_or_print};
use crate::report::page;
use crate::report::page::collect::{Named, collect};

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow report pipelines/mnist.yaml --set data.root=DIR       report.html
  pru-flow report pipelines/paper.yaml --out paper.html          while it runs, or after
  pru-flow report pipelines/paper.yaml table1 table2             two tables and what they need
  pru-flow report quickstart --out - | less";

#[derive(Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Nodes to show, with all they need [default: all]: `table1`, `relearn[method=pru]`.
    nodes: Vec<String>,
    /// The page to write; `-` for stdout.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

pub(super) fn report(args: &ReportArgs) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let targets = project.graph.select(&args.nodes).map_err(Exit::usage)?;
    let (store, stat) = project.look_into_store()?;
    let PipelineArgs { pipeline, settings: PipelineSettings { params, set, store: place } } = &args.pipeline;
    let named = Named { pipeline, nodes: &args.nodes, params, set, store: place.as_deref() };
    let page = page::html(&collect(&project, &targets, &named, store, &stat)?);
    write_or_print(&args.out, page.as_bytes())
}
