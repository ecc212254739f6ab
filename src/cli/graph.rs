//! `pru-flow graph`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Exit, PipelineArgs, write_or_print};
use crate::plan::plan as plan_nodes;
use crate::report::picture::{self, dot, mermaid, svg};

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow graph pipelines/paper.yaml --out paper.svg      its stages, coloured by what is cached
  pru-flow graph pipelines/mnist.yaml table --nodes --out table.svg
  pru-flow graph pipelines/paper.yaml --format mermaid     for a README
  pru-flow graph quickstart --format dot | dot -Tpdf > quickstart.pdf";

/// An SVG of more boxes than this nobody can read.
const BOXES_MAX: usize = 2000;

#[derive(Args)]
pub(super) struct GraphArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Nodes to draw, with all they need [default: all]: `table1`, `relearn[method=pru]`.
    targets: Vec<String>,
    /// What to write [default: as the name of the file says, else svg].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Draw every node, and not stages.
    #[arg(long)]
    nodes: bool,
    /// Where to write it; `-` for stdout.
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A picture.
    Svg,
    /// For Graphviz.
    Dot,
    /// For Markdown.
    Mermaid,
}

impl GraphArgs {
    fn format(&self) -> Format {
        let by_name = || match self.out.extension()?.to_str()? {
            "dot" | "gv" => Some(Format::Dot),
            "mmd" | "mermaid" => Some(Format::Mermaid),
            _ => None,
        };
        self.format.or_else(by_name).unwrap_or(Format::Svg)
    }
}

pub(super) fn graph(args: &GraphArgs) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let graph = &project.graph;
    let wanted = graph.closure(&graph.select(&args.targets).map_err(Exit::usage)?);
    let (store, stat) = project.look_into_store()?;
    // Without a store nothing is cached: to say so of every box would say nothing.
    let plan = store.as_ref().map(|store| plan_nodes(graph, &wanted, Some(store), &stat)).transpose()?;
    let draw = if args.nodes { picture::of_nodes } else { picture::of_stages };
    let picture = draw(&project.name, graph, &wanted, plan.as_ref());
    let text = match args.format() {
        Format::Dot => dot::text(&picture),
        Format::Mermaid => mermaid::text(&picture),
        Format::Svg if picture.shapes.len() > BOXES_MAX => {
            let (count, help) = (picture.shapes.len(), "name a node to draw what it needs, or leave out `--nodes`");
            return Err(Exit::usage(format!("a picture of {count} boxes cannot be read: {help}")));
        }
        Format::Svg => svg::file(&picture),
    };
    write_or_print(&args.out, text.as_bytes())
}
