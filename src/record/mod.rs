//! Recorded runs: what every run leaves in the store's folder, and how it is found and read again.
//!
//! ```text
//! runs/ID/events.jsonl       how it went: one JSON object a line; the first says what was run, the last how it ended
//! node-lists/DIGEST.jsonl    its nodes: name, key, producers; runs that end alike share one list
//! ```
//!
//! - [`write`]: the [`Recorder`], which hears a run. [`node_list`]: the lists of nodes. [`commit`]: git's.
//! - [`read`]: a run as it was recorded, whole or cut off. [`find`]: all of them, and the one that a name means.
//! - [`metrics`]: the numbers in what its nodes made. [`compare`]: two runs side by side.
//! - [`critical_path`], [`timeline`], [`trace`]: where the time went, as a list, as bars and for a viewer.
//!
//! Knows nothing of pipelines as they are now: a run is read without its pipeline's file.

pub mod commit;
pub mod compare;
pub mod critical_path;
pub mod find;
pub mod metrics;
pub mod node_list;
pub mod read;
pub mod timeline;
pub mod trace;
pub mod write;

pub use find::{find, list};
pub use read::{Ending, NodeEnd, Run, RunNode, Summary};
pub use write::{About, Recorder};

/// The folder of runs in a store's folder.
pub const RUNS: &str = "runs";
/// The file of a run.
pub const EVENTS: &str = "events.jsonl";
/// The folder of lists of nodes in a store's folder.
pub const NODE_LISTS: &str = "node-lists";
