//! Earlier results of the store: what was nearest to a node's action, and in which fields it differs.

use pru_flow_cache::{Action, Difference, LocalStore, Maintain, RecordEntry, StoreError};

/// All results in the store, read once.
pub struct History(Vec<RecordEntry>);

impl History {
    /// Reads the store's records.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn read(store: &LocalStore) -> Result<Self, StoreError> {
        Ok(Self(store.records()?.collect()))
    }

    /// The earlier result of the same stage that differs in the fewest fields; of equals the one of the same node,
    /// then the latest.
    #[must_use]
    pub fn nearest(&self, action: &Action, node: &str) -> Option<(&RecordEntry, Vec<Difference>)> {
        let same_stage = self.0.iter().filter(|entry| entry.result.action.stage == action.stage);
        same_stage
            .map(|entry| (entry, entry.result.action.diff(action)))
            .filter(|(_, differences)| !differences.is_empty())
            .min_by_key(|(entry, differences)| {
                (entry.result.node != node, differences.len(), std::cmp::Reverse(entry.modified))
            })
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
