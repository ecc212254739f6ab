//! What people and programs see of a run: `human` on a terminal or in a log, `json` lines, text in `columns`, the page
//! of `pru-flow report`, and problems with their carets. Only `cli`, `report` and nothing else prints.

pub mod columns;
pub mod human;
pub mod json;
pub mod page;
pub mod problems;

use std::collections::BTreeMap;
use std::time::Duration;

use pru_flow_cache::ActionKey;
use pru_flow_stages::io::Progress;

use crate::run::{Ended, Observer, Totals};

/// Tells two observers.
pub struct Both<'a>(pub &'a mut dyn Observer, pub &'a mut dyn Observer);

impl Observer for Both<'_> {
    fn started(&mut self, nodes: usize) {
        self.0.started(nodes);
        self.1.started(nodes);
    }

    fn node_started(&mut self, name: &str, key: &ActionKey) {
        self.0.node_started(name, key);
        self.1.node_started(name, key);
    }

    fn progress(&mut self, name: &str, progress: &Progress) {
        self.0.progress(name, progress);
        self.1.progress(name, progress);
    }

    fn node_finished(&mut self, name: &str, key: Option<&ActionKey>, ended: &Ended, wall: Duration) {
        self.0.node_finished(name, key, ended, wall);
        self.1.node_finished(name, key, ended, wall);
    }

    fn note(&mut self, text: &str) {
        self.0.note(text);
        self.1.note(text);
    }

    fn finished(&mut self, totals: &Totals, wall: Duration) {
        self.0.finished(totals, wall);
        self.1.finished(totals, wall);
    }
}

/// A duration for people: `0.24 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ if seconds < 60.0 => format!("{seconds:.1} s"),
        60..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Nodes by their names, folded by stage: `original, train ×27`.
#[must_use]
pub fn by_stage<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut stages: Vec<(&str, usize)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        let stage = name.split('[').next().unwrap_or(name);
        let place = *places.entry(stage).or_insert_with(|| {
            stages.push((stage, 0));
            stages.len() - 1
        });
        stages[place].1 += 1;
    }
    let shown = stages.iter().map(|(stage, count)| match count {
        1 => (*stage).to_owned(),
        _ => format!("{stage} ×{count}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}
