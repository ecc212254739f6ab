//! Results without outputs: training diverged, and a mark stands in the place of every output. Tells why.

use pru_flow_cache::ActionResult;
use pru_flow_stages::diverged::is_mark;

/// The entry of a record's provenance that tells why there are marks.
const REASON: &str = "diverged";

/// Why a result has marks in the place of its outputs; none when it has outputs.
#[must_use]
pub fn reason(result: &ActionResult) -> Option<&str> {
    let marked = result.outputs.values().flat_map(|output| &output.files).any(|file| is_mark(&file.digest));
    marked.then(|| result.provenance.get(REASON).map_or("NaN or infinite numbers", String::as_str))
}

/// A reason as an entry of the provenance.
#[must_use]
pub fn entry(reason: String) -> (String, String) {
    (REASON.to_owned(), reason)
}
