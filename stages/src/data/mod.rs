//! Where data sets come from and how they are split. Nothing here needs libtorch, and no float kernel decides a byte:
//! every stage gives the same bytes on every machine and for any number of threads.
//!
//! A data set leaves these stages as one safetensors file ([`crate::dataset`]); [`split`] takes it apart by class.

mod archive;
mod cifar;
pub mod cifar10;
pub mod cifar100;
mod decode;
pub mod download;
pub mod facts;
pub mod fashion_mnist;
mod given;
pub mod glyphs;
mod idx;
mod idx_set;
pub mod image_folder;
pub mod import;
mod jpeg;
pub mod kuzushiji_mnist;
mod listing;
pub mod mnist;
mod npz;
mod numpy;
mod official;
mod raster;
mod shapes;
pub mod split;

use crate::dataset::{Dataset, Pixels};
use crate::io::StageIo;
use crate::stage::StageError;

/// Most classes a data set may have: a label beyond it is damage rather than a class, and would become a file each.
const MAX_CLASSES: i64 = 10_000;

/// A data set whose samples stand in the order of their file.
fn in_file_order(shape: [usize; 4], pixels: Pixels, labels: Vec<i64>) -> Dataset {
    let positions = (0..shape[0] as i64).collect();
    Dataset { shape, pixels, labels, positions }
}

/// Runs `work` on as many rayon threads as the node declared, never on more.
fn on_threads<T: Send>(io: &StageIo, work: impl FnOnce() -> T + Send) -> Result<T, StageError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(io.threads().max(1) as usize)
        .build()
        .map_err(|e| StageError::failed(format!("starting {} threads: {e}", io.threads())))?;
    Ok(pool.install(work))
}

/// Writes the outputs `train` and `test` of a stage that makes both.
fn write_train_and_test(io: &StageIo, train: &Dataset, test: &Dataset) -> Result<(), StageError> {
    io.write("train", &train.to_bytes()?)?;
    io.write("test", &test.to_bytes()?)
}
