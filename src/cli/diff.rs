//! `pru-flow diff`: two recorded runs side by side.

use std::collections::BTreeMap;

use clap::Args;
use pru_flow_cache::Difference;
use serde_json::{Value, json};

use super::{DONE, Exit, StoreArgs, print, runs};
use crate::project::look_into;
use crate::record::Run;
use crate::record::compare::{Comparison, KeyChange, Row, compare};
use crate::report::columns::Columns;
use crate::report::{by_stage, changed_part, duration};

pub(super) const EXAMPLES: &str = "\
A run is named by its id, the beginning of its id, `last`, or `last~1` for the one before.

Examples:
  pru-flow diff                             the last run and the one before
  pru-flow diff last~3                      the last run and an earlier one
  pru-flow diff last~1 last --all           with what is equal, too
  pru-flow diff last~1 last --csv > changes.csv";

/// Nodes that a line names.
const NAMED: usize = 3;
/// Rows of a table that are shown; the other forms have all.
const ROWS_SHOWN: usize = 200;

#[derive(Args)]
pub(super) struct DiffArgs {
    /// The first run.
    #[arg(default_value = "last~1")]
    before: String,
    /// The second run.
    #[arg(default_value = "last")]
    after: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Show params and metrics that are equal, too.
    #[arg(long)]
    all: bool,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print a CSV table: kind, name, before, after, change.
    #[arg(long)]
    csv: bool,
}

pub(super) fn diff(args: &DiffArgs) -> Result<u8, Exit> {
    let (before, after) = (args.store.whole_run(&args.before)?, args.store.whole_run(&args.after)?);
    let store = look_into(&args.store.folder())?;
    let compared = compare(&before, &after, store.as_ref(), args.all)?;
    let text = match (args.json, args.csv) {
        (true, _) => in_json(&before, &after, &compared),
        (_, true) => in_csv(&compared),
        _ => in_words(&before, &after, &compared),
    };
    print(text.as_bytes());
    Ok(DONE)
}

fn in_words(before: &Run, after: &Run, compared: &Comparison) -> String {
    let mut columns = Columns::default().right(&[3, 4]);
    columns.row(["", "run", "pipeline", "executed", "cached", "took"]);
    for (word, Run { summary, .. }) in [("before", before), ("after", after)] {
        let counts = [summary.totals.executed.to_string(), summary.totals.cached.to_string()];
        let [executed, cached] = counts;
        let took = duration(summary.wall);
        columns.row([word, summary.id(), &summary.start.pipeline, &executed, &cached, &took]);
    }
    let mut text = columns.text();
    text.push_str(&table("Params", &compared.params));
    text.push_str(&table("Metrics", &compared.metrics));
    text.push_str(&keys_in_words(&compared.keys));
    for (names, which) in [(&compared.only_before, "first"), (&compared.only_after, "second")] {
        if !names.is_empty() {
            text.push_str(&format!("\nOnly in the {which} run\n  {}\n", some(names)));
        }
    }
    let Comparison { params, metrics, keys, only_before, only_after } = compared;
    if params.is_empty() && metrics.is_empty() && keys.is_empty() && only_before.is_empty() && only_after.is_empty() {
        text.push_str("\nno difference: the same params, and every node has the same key\n");
    }
    text
}

fn table(title: &str, rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut columns = Columns::indented(2).right(&[1, 2, 3]);
    columns.row(["", "before", "after", "change"]);
    for row in rows.iter().take(ROWS_SHOWN) {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
        columns.row([row.name.clone(), shown(&row.before), shown(&row.after), row.change().unwrap_or_default()]);
    }
    let more = rows.len().saturating_sub(ROWS_SHOWN);
    let more = if more > 0 { format!("  and {more} more; `--csv` and `--json` have all\n") } else { String::new() };
    format!("\n{title}\n{}{more}", columns.text())
}

/// Nodes whose key differs, by what differs: a param that 27 cells share is shown once.
fn keys_in_words(keys: &[KeyChange]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for KeyChange { node, fields } in keys {
        let why = match fields {
            Err(why) => format!("    {why}\n"),
            Ok(fields) => reasons(fields),
        };
        let place = *places.entry(why.clone()).or_insert_with(|| {
            groups.push((why, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(node.clone());
    }
    let groups: Vec<String> = groups.iter().map(|(why, nodes)| format!("  {}\n{why}", some(nodes))).collect();
    format!("\nNodes whose key differs: {}\n{}", keys.len(), groups.concat())
}

/// Digests of artifacts differ from node to node and tell a reader nothing: one line for all that a port was given.
fn reasons(fields: &[Difference]) -> String {
    let mut lines: Vec<[String; 2]> = Vec::new();
    for field in fields {
        let line = match field.field.strip_prefix("inputs.") {
            Some(port) => {
                let port = port.split(['[', '/', ' ']).next().unwrap_or(port);
                [format!("inputs.{port}"), "differs".to_owned()]
            }
            None => {
                let (before, after) = changed_part(&field.before, &field.after);
                [field.field.clone(), format!("{before} -> {after}")]
            }
        };
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    let mut columns = Columns::indented(4);
    for line in lines {
        columns.row(line);
    }
    columns.text()
}

/// A few nodes by name, more by stage.
fn some(nodes: &[String]) -> String {
    if nodes.len() <= NAMED {
        return nodes.join(", ");
    }
    by_stage(nodes.iter().map(String::as_str))
}

fn in_csv(compared: &Comparison) -> String {
    let mut text = "kind,name,before,after,change\n".to_owned();
    let mut line = |cells: [&str; 5]| {
        text.push_str(&cells.map(csv_cell).join(","));
        text.push('\n');
    };
    for (kind, rows) in [("param", &compared.params), ("metric", &compared.metrics)] {
        for row in rows {
            let shown = |value: &Option<Value>| match value {
                None => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
            };
            line([kind, &row.name, &shown(&row.before), &shown(&row.after), &row.change().unwrap_or_default()]);
        }
    }
    for KeyChange { node, fields } in &compared.keys {
        match fields {
            Ok(fields) => {
                for Difference { field, before, after } in fields {
                    line(["key", &format!("{node}:{field}"), before, after, ""]);
                }
            }
            Err(why) => line(["key", node, "", "", why]),
        }
    }
    compared.only_before.iter().for_each(|node| line(["node", node, "there", "", ""]));
    compared.only_after.iter().for_each(|node| line(["node", node, "", "there", ""]));
    text
}

fn csv_cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn in_json(before: &Run, after: &Run, compared: &Comparison) -> String {
    let row = |row: &Row| json!({"name": row.name, "before": row.before, "after": row.after, "change": row.change()});
    let key = |change: &KeyChange| match &change.fields {
        Ok(fields) => {
            let fields = fields.iter().map(|d| json!({"field": d.field, "before": d.before, "after": d.after}));
            json!({"node": change.node, "fields": fields.collect::<Vec<Value>>()})
        }
        Err(why) => json!({"node": change.node, "fields": null, "why": why}),
    };
    let object = json!({
        "schema": 1,
        "before": runs::in_json(&before.summary),
        "after": runs::in_json(&after.summary),
        "params": compared.params.iter().map(row).collect::<Vec<Value>>(),
        "metrics": compared.metrics.iter().map(row).collect::<Vec<Value>>(),
        "keys": compared.keys.iter().map(key).collect::<Vec<Value>>(),
        "only_before": compared.only_before,
        "only_after": compared.only_after,
    });
    format!("{object}\n")
}
