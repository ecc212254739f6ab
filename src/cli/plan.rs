//! `pru-flow plan`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, Exit, PipelineArgs, WOULD_RUN, print};
use crate::graph::Graph;
use crate::history::History;
use crate::plan::{Plan, PlannedNode, Status, plan as plan_nodes};
use crate::report::duration;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow plan pipelines/mnist.yaml --set data.root=DIR
  pru-flow plan pipelines/mnist.yaml 'relearn[method=pru]' --nodes     what this slice needs, node by node
  pru-flow plan pipelines/mnist.yaml --params laptop.yaml --set relearn.lr=0.002 --json
  pru-flow plan pipelines/paper.yaml --exit-code     5 when something would run";

/// Of more nodes than this only the counts are shown, unless they are asked for.
const NODES_SHOWN: usize = 60;

#[derive(Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Nodes to plan, with all they need [default: all]: `relearn`, `relearn[method=pru]`, `table*`; `original+` with all
    /// that needs them.
    targets: Vec<String>,
    /// List every node [default: up to 60 of them].
    #[arg(long)]
    nodes: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Exit with 5 when something would run.
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn plan(args: &PlanArgs) -> Result<u8, Exit> {
    let project = args.pipeline.load()?;
    let graph = &project.graph;
    let targets = graph.select(&args.targets).map_err(Exit::usage)?;
    let (store, stat) = project.look_into_store()?;
    let plan = plan_nodes(graph, &graph.closure(&targets), store.as_ref(), &stat)?;
    let groups = group(graph, &plan);
    if args.json {
        print(in_json(graph, &plan, &groups).as_bytes());
    } else {
        let mut text = String::new();
        if args.nodes || plan.nodes.len() <= NODES_SHOWN {
            text.push_str(&node_lines(graph, &plan));
            text.push('\n');
        }
        text.push_str(&table(&groups));
        text.push_str(&total(&groups));
        if !args.nodes && plan.nodes.len() > NODES_SHOWN {
            text.push_str("`--nodes` lists each of them, and why.\n");
        }
        print(text.as_bytes());
    }
    let would_run = plan.nodes.iter().any(|node| !matches!(node.status, Status::Cached | Status::Broken));
    Ok(if args.exit_code && would_run { WOULD_RUN } else { DONE })
}

/// The nodes of one stage.
#[derive(Default)]
struct Group {
    stage: String,
    counts: BTreeMap<Status, usize>,
    /// Seconds that its nodes that are not cached are expected to take, as far as that is known.
    seconds: f64,
    /// Nodes of which it is not.
    not_estimated: usize,
}

/// Nodes by stage, in the order in which the first of each comes.
fn group(graph: &Graph, plan: &Plan) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for planned in &plan.nodes {
        let node = &graph.nodes[planned.id];
        let place = *places.entry(&node.stage).or_insert_with(|| {
            groups.push(Group { stage: node.stage.clone(), ..Group::default() });
            groups.len() - 1
        });
        let group = &mut groups[place];
        *group.counts.entry(planned.status).or_default() += 1;
    }
    let durations = plan.history.as_ref().map(History::durations).unwrap_or_default();
    for group in &mut groups {
        let first = graph.nodes.iter().find(|node| node.stage == group.stage);
        let each = first.and_then(|node| durations.median(node));
        let left = group.left();
        match each {
            Some(each) => group.seconds = each * left as f64,
            None => group.not_estimated = left,
        }
    }
    groups
}

/// What each status is called.
const WORDS: [(Status, &str); 5] = [
    (Status::Cached, "cached"),
    (Status::Run, "run"),
    (Status::Unknown, "unknown"),
    (Status::Fails, "fails"),
    (Status::Broken, "broken"),
];

impl Group {
    fn count(&self, status: Status) -> usize {
        self.counts.get(&status).copied().unwrap_or(0)
    }

    /// Nodes that a run would have to run, or may have to.
    fn left(&self) -> usize {
        self.count(Status::Run) + self.count(Status::Unknown)
    }

    /// What these are expected to take, in words; empty when nothing is left.
    fn estimate(&self) -> String {
        match self.left() {
            0 => String::new(),
            _ if self.not_estimated > 0 => "not known".to_owned(),
            _ => duration(Duration::from_secs_f64(self.seconds)),
        }
    }
}

fn word(status: Status) -> &'static str {
    WORDS.iter().find(|(known, _)| *known == status).map_or("", |(_, word)| word)
}

fn node_lines(graph: &Graph, plan: &Plan) -> String {
    let name = |node: &PlannedNode| &graph.nodes[node.id].name;
    let width = plan.nodes.iter().map(|node| name(node).chars().count()).max().unwrap_or(0).min(60);
    let lines =
        plan.nodes.iter().map(|node| format!("{:<8} {:<width$}  {}\n", word(node.status), name(node), node.why));
    lines.collect()
}

/// How many nodes of each stage there are, with the columns that say something.
fn table(groups: &[Group]) -> String {
    let shown: Vec<(Status, &str)> =
        WORDS.into_iter().filter(|(status, _)| groups.iter().any(|group| group.count(*status) > 0)).collect();
    let width = groups.iter().map(|group| group.stage.chars().count()).max().unwrap_or(0).max("stage".len());
    let header: Vec<String> = shown.iter().map(|(_, word)| format!("{word:>8}")).collect();
    let mut text = format!("{:<width$} {:>8}{}  {}\n", "stage", "nodes", header.concat(), "estimate");
    for group in groups {
        let nodes: usize = group.counts.values().sum();
        let counts: Vec<String> = shown.iter().map(|(status, _)| format!("{:>8}", group.count(*status))).collect();
        let line = format!("{:<width$} {nodes:>8}{}  {}", group.stage, counts.concat(), group.estimate());
        text.push_str(&format!("{}\n", line.trim_end()));
    }
    text
}

/// Counts of all stages, and what is left to be done as far as earlier runs tell.
fn total(groups: &[Group]) -> String {
    let sum = |status| groups.iter().map(|group| group.count(status)).sum::<usize>();
    let fails = sum(Status::Fails);
    let fails = if fails > 0 { format!(", {fails} would fail") } else { String::new() };
    let broken = sum(Status::Broken);
    let broken = if broken > 0 { format!(", {broken} cannot run") } else { String::new() };
    let [cached, run, unknown] = [Status::Cached, Status::Run, Status::Unknown].map(sum);
    let mut text = format!("{cached} cached, {run} to run, {unknown} unknown until then{fails}{broken}\n");
    let (seconds, not_estimated) = estimate(groups);
    let left = run + unknown;
    if left > not_estimated {
        let time = duration(Duration::from_secs_f64(seconds));
        text.push_str(&format!("{time} one after another, by the median of earlier runs of each kind of stage"));
        if not_estimated > 0 {
            text.push_str(&format!("; not in it: {not_estimated} of {left} nodes, whose kind has not run yet"));
        }
        text.push('\n');
    } else if left > 0 {
        text.push_str("no estimate: nothing of these kinds has run yet\n");
    }
    text
}

/// Seconds that are left, and nodes that are not in them.
fn estimate(groups: &[Group]) -> (f64, usize) {
    (groups.iter().map(|group| group.seconds).sum(), groups.iter().map(|group| group.not_estimated).sum())
}

fn in_json(graph: &Graph, plan: &Plan, groups: &[Group]) -> String {
    let nodes = plan.nodes.iter().map(|node| {
        json!({
            "name": graph.nodes[node.id].name,
            "status": node.status,
            "key": node.key.map(|key| key.to_string()),
            "why": node.why,
        })
    });
    let stages = groups.iter().map(|group| {
        let mut object = json!({"stage": group.stage});
        for (status, word) in WORDS {
            object[word] = json!(group.count(status));
        }
        object["estimated_seconds"] = json!(group.seconds);
        object["not_estimated"] = json!(group.not_estimated);
        object
    });
    let (seconds, not_estimated) = estimate(groups);
    let object = json!({
        "schema": 1,
        "nodes": nodes.collect::<Vec<Value>>(),
        "stages": stages.collect::<Vec<Value>>(),
        "estimated_seconds": seconds,
        "not_estimated": not_estimated,
    });
    format!("{object}\n")
}
