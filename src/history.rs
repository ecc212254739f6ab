//! Earlier results of the store: what was nearest to a node's action, in which fields it differs, and how long nodes of
//! its kind took.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use pru_flow_cache::{Action, ActionKey, ActionResult, Difference, LocalStore, RecordName, StoreError};
use rayon::prelude::*;

use crate::estimate::Durations;

/// An earlier result.
pub struct Earlier {
    /// When it was written.
    pub modified: SystemTime,
    /// What it says.
    pub result: Arc<ActionResult>,
}

/// All results in the store, read once.
pub struct History {
    /// The latest first.
    entries: Vec<Earlier>,
    /// Places in `entries` by stage, and by stage and node.
    by_stage: BTreeMap<String, Vec<usize>>,
    by_node: BTreeMap<(String, String), Vec<usize>>,
}

impl History {
    /// Reads the store's records, but for those that were read already.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn read(store: &LocalStore, known: &[Option<Arc<ActionResult>>]) -> Result<Self, StoreError> {
        let known: HashMap<(ActionKey, &str), &Arc<ActionResult>> =
            known.iter().flatten().map(|result| ((result.key, result.writer.as_str()), result)).collect();
        let read = |RecordName { key, writer, modified }: RecordName| {
            let known = known.get(&(key, writer.as_str())).map(|result| Arc::clone(result));
            let result = known.or_else(|| store.record(&key, &writer).map(Arc::new))?;
            Some(Earlier { modified, result })
        };
        let mut entries: Vec<Earlier> = store.record_names()?.into_par_iter().filter_map(read).collect();
        entries.sort_by_key(|entry| (Reverse(entry.modified), entry.result.key));
        let (mut by_stage, mut by_node) = (BTreeMap::new(), BTreeMap::new());
        for (place, entry) in entries.iter().enumerate() {
            let (stage, node) = (&entry.result.action.stage, &entry.result.node);
            by_stage.entry(stage.clone()).or_insert_with(Vec::new).push(place);
            by_node.entry((stage.clone(), node.clone())).or_insert_with(Vec::new).push(place);
        }
        Ok(Self { entries, by_stage, by_node })
    }

    /// The earlier result of the same stage that differs in the fewest fields, of equals the latest: one of the same
    /// node, or, where there is none, one of the latest `others` of other nodes.
    #[must_use]
    pub fn nearest(&self, action: &Action, node: &str, others: usize) -> Option<(&Earlier, Vec<Difference>)> {
        let own = self.by_node.get(&(action.stage.clone(), node.to_owned()));
        let all = self.by_stage.get(&action.stage);
        let nearest = |places: &[usize]| {
            let entries = places.iter().map(|place| &self.entries[*place]);
            entries
                .map(|entry| (entry, entry.result.action.diff(action)))
                .filter(|(_, differences)| !differences.is_empty())
                .min_by_key(|(_, differences)| differences.len())
        };
        own.and_then(|own| nearest(own)).or_else(|| all.and_then(|all| nearest(&all[..others.min(all.len())])))
    }

    /// How long nodes took.
    #[must_use]
    pub fn durations(&self) -> Durations {
        let mut durations = Durations::default();
        self.entries.iter().for_each(|entry| durations.add(&entry.result));
        durations
    }
}

/// Differences in one line: `params.lr 0.001 -> 0.002`.
#[must_use]
pub fn in_one_line(differences: &[Difference]) -> String {
    let shown: Vec<String> =
        differences.iter().take(3).map(|d| format!("{} {} -> {}", d.field, d.before, d.after)).collect();
    let more = differences.len().saturating_sub(3);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
