//! `pru-flow show`: one recorded run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pru_flow_cache::LocalStore;
use serde_json::{Value, json};

use super::{DONE, Exit, StoreArgs, columns_of_stdout, print, print_in_colour, runs, write_or_print};
use crate::project::look_into;
use crate::record::compare::{params_of, read_results};
use crate::record::critical_path::critical_path;
use crate::record::timeline::timeline;
use crate::record::trace::trace;
use crate::record::{NodeEnd, Run, RunNode, metrics};
use crate::report::columns::Columns;
use crate::report::{by_stage, duration};
use crate::shell::quote as shell_quote;

pub(super) const EXAMPLES: &str = "\
A run is named by its id, the beginning of its id, `last`, or `last~1` for the one before.

Examples:
  pru-flow show                             the last run
  pru-flow show last~1 --metrics            all numbers in what its nodes made
  pru-flow show --timeline                  when each node ran, as bars
  pru-flow show --critical-path             which nodes decided how long it took
  pru-flow show --trace trace.json          for https://ui.perfetto.dev or chrome://tracing
  pru-flow show 20261124T0232 --json        as one JSON object";

/// Metrics that are shown unless all are asked for.
const METRICS_SHOWN: usize = 12;

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct ShowArgs {
    /// The run.
    #[arg(default_value = "last")]
    run: String,
    #[command(flatten)]
    store: StoreArgs,
    /// List cached nodes one by one, too.
    #[arg(long)]
    nodes: bool,
    /// Show all metrics: numbers in the JSON outputs of nodes [default: up to 12 of them].
    #[arg(long)]
    metrics: bool,
    /// Show only when nodes ran, as bars: by stage where there are many, by node with `--nodes`.
    #[arg(long)]
    timeline: bool,
    /// Show only the chain of nodes that decided how long the run took.
    #[arg(long)]
    critical_path: bool,
    /// Write a trace for Perfetto or `chrome://tracing`; `-` for stdout.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "timeline", "critical_path"])]
    trace: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long, conflicts_with_all = ["timeline", "critical_path"])]
    json: bool,
}

pub(super) fn show(args: &ShowArgs) -> Result<u8, Exit> {
    let run = args.store.whole_run(&args.run)?;
    if let Some(file) = &args.trace {
        return write_or_print(file, format!("{}\n", trace(&run)).as_bytes());
    }
    if args.timeline || args.critical_path {
        show_time(args, &run);
        return Ok(DONE);
    }
    let store = look_into(&args.store.folder())?;
    let metrics = metrics_of(&run, store.as_ref())?;
    let text = if args.json { in_json(&run, &metrics) } else { in_words(args, &run, &metrics) };
    print(text.as_bytes());
    Ok(DONE)
}

fn show_time(args: &ShowArgs, run: &Run) {
    let mut text = String::new();
    if args.timeline {
        text.push_str(&timeline(run, columns_of_stdout(), args.nodes));
    }
    if args.critical_path {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}{}", critical_in_words(run)));
    }
    print_in_colour(&text);
}

fn critical_in_words(run: &Run) -> String {
    let steps = critical_path(run);
    if steps.is_empty() {
        let why = if run.is_listed() { "nothing ran" } else { "a run that did not end does not tell who reads whom" };
        return format!("no critical path: {why}\n");
    }
    let (wall, sum) = (run.summary.wall, steps.iter().map(|step| step.wall).sum::<Duration>());
    let share = |part: Duration| format!("{:.0} %", 100.0 * part.as_secs_f64() / wall.as_secs_f64().max(1e-9));
    let mut columns = Columns::indented(2).right(&[0, 1, 2, 3]);
    columns.row(["begin", "waited", "took", "share", "node"]);
    for step in &steps {
        let times = [step.begin, step.waited, step.wall].map(duration);
        columns.row(times.into_iter().chain([share(step.wall), run.nodes[step.place].name.clone()]));
    }
    let nodes = if steps.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", steps.len()) };
    format!(
        "critical path: {nodes}, {} of {} ({}); with any number of cores the run takes as long\n{}",
        duration(sum),
        duration(wall),
        share(sum),
        columns.text()
    )
}

/// Metrics by node, in the order of the run.
type Metrics<'a> = Vec<(&'a str, BTreeMap<String, serde_json::Number>)>;

fn metrics_of<'a>(run: &'a Run, store: Option<&LocalStore>) -> Result<Metrics<'a>, Exit> {
    let Some(store) = store else { return Ok(Vec::new()) };
    let results = read_results(run.nodes.iter(), Some(store))?;
    let of = |node: &'a RunNode| {
        let result = results.get(&node.key?)?;
        Some((node.name.as_str(), metrics::of(store, result))).filter(|(_, metrics)| !metrics.is_empty())
    };
    Ok(run.nodes.iter().filter_map(of).collect())
}

fn in_words(args: &ShowArgs, run: &Run, metrics: &Metrics) -> String {
    let mut text = header(run);
    let params = params_of(&run.params);
    if !params.is_empty() {
        let mut columns = Columns::indented(2);
        for (name, value) in &params {
            columns.row([name.clone(), value.to_string()]);
        }
        text.push_str(&format!("\nParams\n{}", columns.text()));
    }
    text.push_str(&metrics_in_words(metrics, args.metrics));
    text.push_str(&nodes_in_words(run, args.nodes));
    for note in &run.notes {
        text.push_str(&format!("\nnote: {note}\n"));
    }
    text
}

fn header(run: &Run) -> String {
    let (summary, start) = (&run.summary, &run.summary.start);
    let file = start.file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
    let command: Vec<String> = start.command.iter().map(|word| shell_quote(word)).collect();
    let on = [&start.host, &start.machine].into_iter().flatten().cloned().collect::<Vec<_>>().join(", ");
    let when = format!("{}, took {}", start.time.strftime("%Y-%m-%d %H:%M:%S UTC"), duration(summary.wall));
    let mut columns = Columns::default();
    columns.row(["run", summary.id()]);
    columns.row(["pipeline", &format!("{}{file}", start.pipeline)]);
    if !command.is_empty() {
        columns.row(["command", &format!("pru-flow {}", command.join(" "))]);
    }
    columns.row(["started", &when]);
    columns.row(["ended", &summary.ending.in_words()]);
    if !on.is_empty() {
        columns.row(["on", &on]);
    }
    if let Some(commit) = &start.commit {
        columns.row(["commit", commit]);
    }
    if let Some(version) = &start.version {
        columns.row(["pru-flow", version]);
    }
    let totals = &summary.totals;
    let mut counts = format!("{} executed, {} cached", totals.executed, totals.cached);
    for (count, word) in
        [(totals.diverged, "of these diverged"), (totals.failed, "failed"), (totals.skipped, "not run")]
    {
        if count > 0 {
            counts.push_str(&format!(", {count} {word}"));
        }
    }
    columns.row(["nodes", &format!("{counts} of {}", start.nodes)]);
    columns.text()
}

fn metrics_in_words(metrics: &Metrics, all: bool) -> String {
    let rows = || metrics.iter().flat_map(|(node, of)| of.iter().map(move |(name, number)| (node, name, number)));
    let count = rows().count();
    if count == 0 {
        return String::new();
    }
    let shown = if all { count } else { count.min(METRICS_SHOWN) };
    let mut columns = Columns::indented(2);
    for (node, name, number) in rows().take(shown) {
        columns.row([format!("{node}:{name}"), number.to_string()]);
    }
    let more =
        if shown < count { format!("  and {} more; `--metrics` shows all\n", count - shown) } else { String::new() };
    format!("\nMetrics\n{}{more}", columns.text())
}

/// Nodes that ran by time, then those that did not, folded by stage unless `all` are asked for.
fn nodes_in_words(run: &Run, all: bool) -> String {
    let mut ran: Vec<&RunNode> = run.nodes.iter().filter(|node| !node.stretches.is_empty()).collect();
    ran.sort_by_key(|node| node.stretches.first().map(|stretch| stretch.begin));
    let mut columns = Columns::indented(2).right(&[0, 1]);
    columns.row(["begin", "took", "", "node"]);
    for node in &ran {
        let begin = node.stretches.first().map(|stretch| stretch.begin).unwrap_or_default();
        let took = if node.end == NodeEnd::Unfinished { "?".to_owned() } else { duration(node.took()) };
        let reason = node.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        columns.row([duration(begin), took, node.end.word().to_owned(), format!("{}{reason}", node.name)]);
    }
    let rest: Vec<&RunNode> = run.nodes.iter().filter(|node| node.stretches.is_empty()).collect();
    if all {
        for node in &rest {
            let reason = node.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            columns.row(["", "", node.end.word(), &format!("{}{reason}", node.name)]);
        }
    }
    let mut text = if ran.is_empty() && (!all || rest.is_empty()) {
        String::new()
    } else {
        format!("\nNodes\n{}", columns.text())
    };
    if !all && !rest.is_empty() {
        text.push('\n');
        text.push_str(&folded(&rest));
    }
    text
}

/// `cached    train ×27, evaluate ×3`, a line for each way to end.
fn folded(nodes: &[&RunNode]) -> String {
    let mut ends: BTreeMap<NodeEnd, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        ends.entry(node.end).or_default().push(&node.name);
    }
    let mut columns = Columns::indented(2);
    for (end, names) in ends {
        columns.row([end.word(), &by_stage(names)]);
    }
    columns.text()
}

fn in_json(run: &Run, metrics: &Metrics) -> String {
    let mut object = runs::in_json(&run.summary);
    object["schema"] = json!(1);
    object["params"] = json!(run.params);
    object["notes"] = json!(run.notes);
    let path = critical_path(run).into_iter().map(|step| {
        let (waited, wall) = (step.waited.as_millis() as u64, step.wall.as_millis() as u64);
        json!({"node": run.nodes[step.place].name, "waited_ms": waited, "wall_ms": wall})
    });
    object["critical_path"] = path.collect();
    let measured: BTreeMap<&str, &BTreeMap<String, serde_json::Number>> =
        metrics.iter().map(|(node, metrics)| (*node, metrics)).collect();
    let nodes = run.nodes.iter().map(|node| {
        let stretches = node.stretches.iter().map(
            |stretch| json!({"begin_ms": stretch.begin.as_millis() as u64, "wall_ms": stretch.wall.as_millis() as u64}),
        );
        let producers: Vec<&str> = node.producers.iter().map(|place| run.nodes[*place].name.as_str()).collect();
        json!({
            "name": node.name,
            "outcome": node.end.word(),
            "key": node.key.map(|key| key.to_string()),
            "producers": producers,
            "ran": stretches.collect::<Vec<Value>>(),
            "reason": node.reason,
            "log_tail": node.log_tail,
            "metrics": measured.get(node.name.as_str()),
        })
    });
    object["list"] = nodes.collect();
    format!("{object}\n")
}
