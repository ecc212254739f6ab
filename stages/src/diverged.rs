//! A training that diverged: its loss or a weight became NaN or infinite.
//!
//! That is a result like any other, since the same settings diverge again: it is stored under the node's key, with a
//! mark in the place of every output. A stage that is given a mark has nothing to compute from and counts as diverged
//! too; only one that gathers the artifacts of many nodes runs without these, and says so.

use std::sync::LazyLock;

use pru_flow_cache::Digest;

/// The file that stands for an output of a training that diverged; in the place of a folder, one with it alone.
pub const MARK: &[u8] = b"{\"pru_flow\":\"diverged\"}\n";

/// Whether a file is [`MARK`].
#[must_use]
pub fn is_mark(digest: &Digest) -> bool {
    static OF_MARK: LazyLock<Digest> = LazyLock::new(|| Digest::of(MARK));
    *digest == *OF_MARK
}
