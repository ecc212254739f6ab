//! `pru-flow runs`.

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, StoreArgs, print};
use crate::record::{Ending, Summary, list};
use crate::report::columns::Columns;
use crate::report::duration;
use crate::shell::quote as shell_quote;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow runs                             the last 20
  pru-flow runs pipelines/mnist.yaml        of one pipeline, by its file or its name
  pru-flow runs -n 0 --json | jq '.runs[] | select(.exit != 0) | .id'";

/// Runs that are shown unless more are asked for.
const SHOWN: usize = 20;

#[derive(Args)]
pub(super) struct RunsArgs {
    /// Only runs of this pipeline: its file, or its name.
    pipeline: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// How many to list, 0 for all [default: 20].
    #[arg(short = 'n', long, value_name = "N")]
    number: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn runs(args: &RunsArgs) -> u8 {
    let folder = args.store.folder();
    let mut runs = list(&folder);
    if let Some(pipeline) = &args.pipeline {
        runs.retain(|run| run.start.pipeline == *pipeline || run.start.file.as_ref() == Some(pipeline));
    }
    let shown = match args.number.unwrap_or(SHOWN) {
        0 => runs.len(),
        number => number.min(runs.len()),
    };
    if args.json {
        let object = json!({"schema": 1, "runs": runs[..shown].iter().map(in_json).collect::<Vec<Value>>()});
        print(format!("{object}\n").as_bytes());
        return DONE;
    }
    if runs.is_empty() {
        print(format!("no run is recorded in {}\n", folder.display()).as_bytes());
        return DONE;
    }
    let mut columns = Columns::default().right(&[3, 4, 5, 6]);
    columns.row(["run", "started (UTC)", "pipeline", "executed", "cached", "failed", "took", "ended", "asked for"]);
    for run in &runs[..shown] {
        columns.row(row(run));
    }
    let mut text = columns.text();
    if shown < runs.len() {
        text.push_str(&format!("and {} earlier; `-n 0` lists all\n", runs.len() - shown));
    }
    print(text.as_bytes());
    DONE
}

fn row(run: &Summary) -> [String; 9] {
    let ended = match run.ending {
        Ending::Ended { exit: Some(0) } => "done".to_owned(),
        Ending::Ended { exit: Some(code) } => format!("exit {code}"),
        Ending::Ended { exit: None } => "ended".to_owned(),
        Ending::Running => "running".to_owned(),
        Ending::CutOff => "cut off".to_owned(),
    };
    [
        run.id().to_owned(),
        run.start.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        run.start.pipeline.clone(),
        run.totals.executed.to_string(),
        run.totals.cached.to_string(),
        run.totals.failed.to_string(),
        duration(run.wall),
        ended,
        asked_for(run),
    ]
}

/// The nodes that were asked for, and what was changed.
fn asked_for(run: &Summary) -> String {
    run.start.targets.iter().chain(&run.start.set).map(|word| shell_quote(word)).collect::<Vec<_>>().join(" ")
}

/// A run in short.
pub(super) fn in_json(run: &Summary) -> Value {
    let start = &run.start;
    let (state, exit) = match run.ending {
        Ending::Ended { exit } => ("ended", exit),
        Ending::Running => ("running", None),
        Ending::CutOff => ("cut off", None),
    };
    json!({
        "id": run.id(),
        "started": start.time.to_string(),
        "state": state,
        "exit": exit,
        "wall_ms": run.wall.as_millis() as u64,
        "pipeline": start.pipeline,
        "file": start.file,
        "command": start.command,
        "set": start.set,
        "targets": start.targets,
        "nodes": start.nodes,
        "executed": run.totals.executed,
        "cached": run.totals.cached,
        "diverged": run.totals.diverged,
        "failed": run.totals.failed,
        "skipped": run.totals.skipped,
        "commit": start.commit,
        "host": start.host,
        "machine": start.machine,
        "version": start.version,
        "jobs": start.jobs,
        "cpus": start.cpus,
    })
}
