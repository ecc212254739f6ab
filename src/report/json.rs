//! Events as JSON, one object a line, each with `"schema":1`: for `--json`, and of what `record` keeps of a run.

use std::io::Write;
use std::time::Duration;

use pru_flow_cache::ActionKey;
use serde_json::{Value, json};

use super::problems;
use crate::problem::SourceText;
use crate::run::{Ended, Observer, Totals};

/// Writes events to `out`.
pub struct JsonLines<W: Write> {
    out: W,
    run_id: String,
    pipeline: String,
    source: SourceText,
}

impl<W: Write> JsonLines<W> {
    /// Events of the run `run_id` of `pipeline`, whose problems have their places in `source`.
    pub fn new(out: W, run_id: &str, pipeline: &str, source: SourceText) -> Self {
        Self { out, run_id: run_id.to_owned(), pipeline: pipeline.to_owned(), source }
    }

    /// Writes an event of this kind.
    pub fn write(&mut self, event: &str, fields: Value) {
        let mut line = json!({"schema": 1, "event": event, "time": jiff::Timestamp::now().to_string()});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields);
        }
        // In one piece: a run that is killed leaves whole lines. A reader that has gone away is no reason to lose the run.
        let _ = self.out.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.out.flush());
    }

    /// What is told of a node that has ended.
    #[must_use]
    pub fn finished_fields(&self, name: &str, key: Option<&ActionKey>, ended: &Ended, wall: Duration) -> Value {
        let mut fields = json!({
            "node": name,
            "key": key.map(ToString::to_string),
            "outcome": ended.word(),
            "wall_ms": wall.as_millis() as u64,
        });
        match ended {
            Ended::Failed(reason, log) => {
                fields["reason"] = json!(reason);
                fields["log_tail"] = json!(log);
            }
            Ended::Refused(wrong) => {
                let first = wrong.iter().next().map(|problem| problems::in_one_line(&self.source, problem));
                fields["reason"] = json!(first);
                let rendered = problems::render_for_node(&self.source, wrong);
                fields["log_tail"] = json!(anstream::adapter::strip_str(&rendered).to_string());
            }
            Ended::Diverged { reason, cached } => {
                fields["reason"] = json!(reason);
                fields["cached"] = json!(cached);
            }
            Ended::Skipped(because) => fields["because"] = json!(because),
            Ended::Executed | Ended::Cached | Ended::Cancelled => {}
        }
        fields
    }
}

impl<W: Write> Observer for JsonLines<W> {
    fn started(&mut self, nodes: usize) {
        let fields = json!({"run_id": self.run_id, "pipeline": self.pipeline, "nodes": nodes});
        self.write("run_started", fields);
    }

    fn node_started(&mut self, name: &str, key: &ActionKey) {
        self.write("node_started", json!({"node": name, "key": key.to_string()}));
    }

    fn node_finished(&mut self, name: &str, key: Option<&ActionKey>, ended: &Ended, wall: Duration) {
        let fields = self.finished_fields(name, key, ended, wall);
        self.write("node_finished", fields);
    }

    fn note(&mut self, text: &str) {
        self.write("note", json!({"text": text}));
    }

    fn finished(&mut self, totals: &Totals, wall: Duration) {
        self.write("run_finished", totals_fields(totals, wall));
    }
}

/// Counts of a run that is over, and what it took.
#[must_use]
pub fn totals_fields(totals: &Totals, wall: Duration) -> Value {
    let Totals { executed, cached, diverged, failed, skipped } = totals;
    json!({
        "executed": executed,
        "cached": cached,
        "diverged": diverged,
        "failed": failed,
        "skipped": skipped,
        "wall_ms": wall.as_millis() as u64,
    })
}
