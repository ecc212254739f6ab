//! `pru-flow run`.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use pru_flow_cache::LocalStore;

use super::{DONE, Exit, PipelineArgs, STAGE_FAILED, complain, print, shown};
use crate::diverged;
use crate::execute::workspace::Workspace;
use crate::graph::{Device, Graph, NodeId};
use crate::project::{Project, Unloadable};
use crate::record::{About, Recorder};
use crate::report::Both;
use crate::report::human::Human;
use crate::report::json::JsonLines;
use crate::report::problems;
use crate::results;
use crate::run::{Observer, RunEnd, RunOptions, run as run_nodes};
use crate::sources::Outside;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow run quickstart
  pru-flow run pipelines/mnist.yaml --set data.root=DIR -j 2
  pru-flow run pipelines/mnist.yaml 'relearn[method=pru]' --set relearn.lr=0.002
  pru-flow run pipelines/mnist.yaml --from original --until 'relearn[method=pru]'     what lies between them
  pru-flow run pipelines/mnist.yaml --force 'original[seed=7]'     once more, though it is cached
  pru-flow run pipelines/mnist.yaml 'original[seed=7]+'               one original, and all that is made of it
  pru-flow run pipelines/mnist.yaml --json | jq -r 'select(.event == \"node_finished\") | .node'";

#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Nodes to run, with all they need [default: all]: `relearn`, `relearn[method=pru]`, `table*`; `original+` with all
    /// that needs them.
    nodes: Vec<String>,
    /// Run up to these nodes: the same as naming them.
    #[arg(long, value_name = "NODE")]
    until: Vec<String>,
    /// Run these nodes and what depends on them, up to those that are named, with all that it needs.
    #[arg(long, value_name = "NODE")]
    from: Vec<String>,
    /// Nodes to run at once [default: the number of cores].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Cores to use in all [default: those of the machine].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cpus: Option<u32>,
    /// Where stages that compute with libtorch run: auto, cpu, cuda or cuda:0 [default: as the pipeline says].
    #[arg(long, value_name = "D")]
    device: Option<Device>,
    /// Run these nodes although they have a result, and replace it: `relearn`, `relearn[method=pru]`.
    #[arg(long, value_name = "NODE")]
    force: Vec<String>,
    /// How much there is of a resource of your own [default: as the pipeline says under `limits:`].
    #[arg(long, value_name = "NAME=N", value_parser = limit)]
    limit: Vec<(String, u32)>,
    /// After a failure, run what does not depend on it (the default).
    #[arg(long, overrides_with = "fail_fast")]
    keep_going: bool,
    /// After a failure, start nothing more.
    #[arg(long, overrides_with = "keep_going")]
    fail_fast: bool,
    /// Print events as JSON on stdout, one object a line, and nothing else.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RunArgs, verbose: bool) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let targets = targets(args, &project.graph)?;
    let refused = |problems| Box::new(Unloadable { source: project.source.clone(), problems });
    let (wanted, left_out) = project.graph.wanted(&targets).map_err(refused)?;
    if let Some(left_out) = left_out {
        complain(&problems::render_left_out(&project.source, &project.graph, &left_out));
    }
    let (store, stat) = project.open_store()?;
    let (store, stat) = (Arc::new(store), Arc::new(stat));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = RunOptions {
        jobs: args.jobs.map_or(cores, usize::from),
        cpus: args.cpus.unwrap_or(cores as u32),
        device: args.device,
        fail_fast: args.fail_fast,
        force: forced(&project, &wanted, &args.force)?,
        limits: args.limit.iter().cloned().collect(),
    };
    let mut recorded = record(&project, args, &options)?;
    let run_id = recorded.id().to_owned();
    let mut human = Human::new(verbose, project.source.clone());
    let mut json = JsonLines::new(std::io::stdout(), &run_id, &project.name, project.source.clone());
    let told: &mut dyn Observer = if args.json { &mut json } else { &mut human };
    let mut both = Both(&mut recorded, told);
    let end = run_nodes(&project, &wanted, (Arc::clone(&store), Arc::clone(&stat)), &options, &mut both);
    stat.save();
    if let Err(error) = store.save_index() {
        tracing::debug!("the verified blobs are not remembered: {error}");
    }
    let end = match end {
        Ok(end) => end,
        Err(problems) => {
            recorded.discard();
            return Err(refused(problems).into());
        }
    };
    let copied = copy_results(&project, &wanted, &store, &end).and_then(|mut copied| {
        copied.extend(publish(&project, (&store, &stat), &end)?);
        Ok(copied)
    });
    let code = match end.signal {
        _ if copied.is_err() => STAGE_FAILED,
        Some(signal) => 128 + signal as u8,
        None if end.totals.failed > 0 || has_diverged(&project, &wanted, &end) => STAGE_FAILED,
        None => DONE,
    };
    recorded.close(&project.graph, &wanted, &end, code);
    let copied = copied?;
    if !args.json {
        show_results(&copied);
    }
    Ok(code)
}

fn limit(text: &str) -> Result<(String, u32), String> {
    let parsed = text.split_once('=').and_then(|(name, n)| Some((name.to_owned(), n.parse().ok()?)));
    parsed.ok_or_else(|| "a limit is NAME=N, as in `database=2`".to_owned())
}

/// What the run is for: all, the nodes that are named, and what lies between `--from` and these.
fn targets(args: &RunArgs, graph: &Graph) -> Result<Vec<NodeId>, Exit> {
    let select = |names: &[String]| graph.select(names).map_err(Exit::usage);
    let mut named = select(&args.nodes)?;
    named.extend(select(&args.until)?);
    if args.from.is_empty() {
        return Ok(named);
    }
    let from = args.from.iter().map(|name| format!("{}+", name.trim_end_matches('+')));
    let after = select(&from.collect::<Vec<_>>())?;
    if named.is_empty() {
        return Ok(after);
    }
    let before = graph.closure(&named);
    let between: Vec<NodeId> = after.into_iter().filter(|id| before[*id]).collect();
    if between.is_empty() {
        let (from, until) = (args.from.join(" and "), [&args.nodes[..], &args.until].concat().join(" and "));
        return Err(Exit::usage(format!("{until} does not depend on {from}: nothing lies between them")));
    }
    Ok(between)
}

/// The nodes that are to run in any case.
fn forced(project: &Project, wanted: &[bool], names: &[String]) -> Result<BTreeSet<NodeId>, Exit> {
    let forced = project.graph.select(names).map_err(Exit::usage)?;
    if let Some(id) = forced.iter().find(|id| !wanted[**id]) {
        let name = &project.graph.nodes[*id].name;
        return Err(Exit::usage(format!("{name} is not part of this run: name it among the nodes to run, too")));
    }
    Ok(forced.into_iter().collect())
}

/// Writes what the pipeline publishes, as far as it is there.
fn publish(
    project: &Project,
    (store, outside): (&LocalStore, &Outside),
    end: &RunEnd,
) -> Result<Vec<results::Copied>, Exit> {
    let workspace = Workspace::open(&project.root, store.root());
    let published = results::publish(&project.graph, &workspace, (store, outside), &end.results);
    published.map_err(|message| Exit::Message(message, STAGE_FAILED))
}

/// Whether anything that the run is for is not there, as a training diverged; tables and figures go without such nodes.
fn has_diverged(project: &Project, wanted: &[bool], end: &RunEnd) -> bool {
    let last = results::last_nodes(&project.graph, wanted);
    last.into_iter().filter_map(|id| end.results[id].as_deref()).any(|result| diverged::reason(result).is_some())
}

fn record(project: &Project, args: &RunArgs, options: &RunOptions) -> Result<Recorder, Exit> {
    // As it is typed, so that the command can be given again.
    let flag = |flag: &'static str, names: &[String]| -> Vec<String> {
        names.iter().flat_map(|name| [flag.to_owned(), name.clone()]).collect()
    };
    let asked = [args.nodes.clone(), flag("--from", &args.from), flag("--until", &args.until)].concat();
    let about = About {
        pipeline: &project.name,
        file: &args.pipeline.pipeline,
        root: &project.root,
        set: &project.source.arguments,
        targets: &asked,
        params: &project.params,
        jobs: options.jobs,
        cpus: options.cpus,
    };
    let store = &project.store_folder;
    Recorder::begin(store, &about, project.source.clone())
        .map_err(|e| Exit::Message(format!("the run cannot be recorded in {}: {e}", store.display()), STAGE_FAILED))
}

fn copy_results(
    project: &Project,
    wanted: &[bool],
    store: &LocalStore,
    end: &RunEnd,
) -> Result<Vec<results::Copied>, Exit> {
    let mut all = Vec::new();
    for id in results::last_nodes(&project.graph, wanted) {
        if let Some(result) = &end.results[id] {
            let copied = results::copy(store, (&project.root, &project.results()), &project.graph.nodes[id], result);
            all.extend(copied.map_err(|message| Exit::Message(message, STAGE_FAILED))?);
        }
    }
    Ok(all)
}

/// More tables than this are named, not shown.
const TABLES_SHOWN: usize = 4;

fn show_results(copied: &[results::Copied]) {
    let mut text = String::new();
    for table in copied.iter().filter_map(|one| one.markdown.as_ref()).take(TABLES_SHOWN) {
        text.push_str(&format!("\n{}\n", table.trim_end()));
    }
    if !copied.is_empty() {
        text.push_str("\nOutputs:\n");
    }
    for one in copied {
        text.push_str(&format!("  {}\n", shown(&one.path)));
    }
    print(text.as_bytes());
}
