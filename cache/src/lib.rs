//! The content-addressed store: blobs by digest, results by key.
//!
//! ```text
//! Action --key()--> ActionKey --get_results--> ActionResult (a hit) --materialise/restore--> files
//!    |                                            ^
//!    +-- run it --> files in attempt_folder() --publish--> blobs, then the record
//! ```
//!
//! - [`digest`]: BLAKE3 digests, the names of blobs.
//! - [`canon`]: values and their one encoding; keys and records are made of these bytes.
//! - [`action`]: all that decides a result, its key, and how two actions differ.
//! - [`record`]: a result and its self-checking bytes.
//! - [`names`]: which names files inside an artifact may have.
//! - [`store`]: what every store can do.
//! - [`local`]: the store in a folder; `publish` writes to it, `check` verifies, `restore` puts files back where a user
//!   has them, `attempts` owns `tmp/`.
//! - [`stat_cache`]: digests of files outside the store, remembered by stat (the mechanism is in `stat_index`).
//! - [`fs`]: the calls to the file system, behind a seam that tests make fail.
//!
//! `FORMAT.md` beside this crate states the bytes and the order of writing. The crate knows nothing of pipelines,
//! stages or libtorch.

pub mod action;
mod attempts;
pub mod canon;
mod check;
pub mod digest;
mod fields;
pub mod fs;
pub mod local;
pub mod names;
mod publish;
pub mod record;
mod restore;
pub mod stat_cache;
mod stat_index;
pub mod store;

pub use action::{Action, ActionError, ActionInput, ActionKey, Difference, Gathered, Member};
pub use attempts::ABANDONED;
pub use canon::{CanonError, Value};
pub use digest::Digest;
pub use fields::FieldError;
pub use local::LocalStore;
pub use names::BadName;
pub use publish::{Finished, Publication, Published};
pub use record::{ActionResult, Output, OutputFile, RecordError, WriterId};
pub use restore::{How, Restoration};
pub use stat_cache::{SourceError, StatCache};
pub use store::{BlobEntry, Maintain, OutputProblem, Put, RecordEntry, RecordName, Store, StoreError, Stored, Verdict};
