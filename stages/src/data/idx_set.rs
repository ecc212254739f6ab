//! What MNIST and the data sets in its form share: four files, training and test images and labels, as IDX (plain or
//! gzipped) or as npz; their checks, and whether they are the official ones.

use super::facts::{Facts, FileFacts};
use super::given::{self, GivenFile};
use super::idx::{self, ByteArray};
use super::npz;
use super::official::OfficialSet;
use super::{in_file_order, write_train_and_test};
use crate::dataset::{Dataset, Pixels};
use crate::io::StageIo;
use crate::stage::{Source, SourcePath, StageError};

/// A data set in the form of MNIST, and what is asked of it.
pub(super) struct IdxSet {
    /// What is published.
    pub official: &'static OfficialSet,
    /// The names of the same four arrays as npz, where they are published so.
    pub npz: Option<[&'static str; 4]>,
    /// Labels are 0 to this less one.
    pub classes: u32,
    /// Height and width of every image.
    pub size: [u32; 2],
    /// What to say of images of another size or labels out of range.
    pub otherwise: &'static str,
    /// Whether files that are not the official ones are refused.
    pub require_official: bool,
}

/// Names of the sources, in the order of [`OfficialSet::files`].
const SOURCES: [&str; 4] = ["train-images", "train-labels", "test-images", "test-labels"];

/// One of the four files, read.
struct Part {
    shown: String,
    array: ByteArray,
    facts: FileFacts,
}

impl IdxSet {
    /// The four files in the folder `root`; none when they come through the input.
    pub(super) fn sources(&self, root: Option<&SourcePath>) -> Vec<Source> {
        let Some(SourcePath(root)) = root else { return Vec::new() };
        let source = |(index, name): (usize, &'static str)| {
            let file = &self.official.files[index];
            Source {
                name,
                candidates: self.names(index).into_iter().map(|name| root.join(name)).collect(),
                hint: format!(
                    "put {} ({} bytes; {} will do) of {} into {}, or let `data/download` fetch it: `inputs: {{files: \
                     STAGE.files}}`",
                    file.name,
                    file.bytes,
                    self.names(index)[1..].join(" or "),
                    self.official.title,
                    root.display()
                ),
            }
        };
        SOURCES.into_iter().enumerate().map(source).collect()
    }

    /// The names under which file `index` may lie, in order of preference.
    fn names(&self, index: usize) -> Vec<String> {
        let file = &self.official.files[index];
        let plain = file.holds[0].name;
        let dotted = plain.replace("-idx", ".idx");
        let npz = self.npz.map(|names| names[index].to_owned());
        [file.name.to_owned(), plain.to_owned(), dotted].into_iter().chain(npz).collect()
    }

    /// Reads all four, writes `train`, `test` and `facts`.
    pub(super) fn run(&self, io: &StageIo) -> Result<(), StageError> {
        let (train, train_facts) = self.read_pair(io, 0)?;
        let (test, test_facts) = self.read_pair(io, 2)?;
        let files: Vec<FileFacts> = train_facts.into_iter().chain(test_facts).collect();
        let facts = Facts {
            dataset: self.official.name.to_owned(),
            official: files.iter().all(|file| file.official),
            train: train.len(),
            test: test.len(),
            classes: self.classes as usize,
            files,
        };
        if self.require_official {
            facts.require_official(self.official)?;
        }
        facts.write(io)?;
        write_train_and_test(io, &train, &test)
    }

    /// The images at `index` with the labels that follow them.
    fn read_pair(&self, io: &StageIo, index: usize) -> Result<(Dataset, [FileFacts; 2]), StageError> {
        let images = self.read(io, index, 3, "images")?;
        let labels = self.read(io, index + 1, 1, "labels")?;
        let [count, height, width] = images.array.sizes[..] else { unreachable!("three dimensions were asked for") };
        let bad = |part: &Part, index: usize, problem: String| {
            Err(self.advise(StageError::input(&part.shown, problem), index))
        };
        let [expected_height, expected_width] = self.size.map(|size| size as usize);
        if (height, width) != (expected_height, expected_width) {
            let problem = format!(
                "the images are {height} x {width} pixels; {expected_height} x {expected_width} was expected{}",
                self.otherwise
            );
            return bad(&images, index, problem);
        }
        if count == 0 {
            return bad(&images, index, "the file holds no image".to_owned());
        }
        let values = &labels.array.bytes;
        if values.len() != count {
            let problem = format!("{} labels for the {count} images of {}", values.len(), images.shown);
            return bad(&labels, index + 1, problem);
        }
        if let Some(at) = values.iter().position(|&label| u32::from(label) >= self.classes) {
            let (label, highest) = (values[at], self.classes - 1);
            let problem =
                format!("label {label} of sample {at} is out of range; 0 to {highest} was expected{}", self.otherwise);
            return bad(&labels, index + 1, problem);
        }
        let values = labels.array.bytes.into_iter().map(i64::from).collect();
        let data = in_file_order([count, 1, height, width], Pixels::U8(images.array.bytes), values);
        Ok((data, [images.facts, labels.facts]))
    }

    fn read(&self, io: &StageIo, index: usize, dimensions: u8, holds: &str) -> Result<Part, StageError> {
        io.check_cancelled()?;
        let file = given::file(io, SOURCES[index], &self.names(index), self.official)?;
        let is_zip = file.bytes.starts_with(b"PK");
        let array = if is_zip { npz::read(&file, dimensions, holds) } else { idx::read(&file, dimensions, holds) };
        let array = array.map_err(|error| self.advise(error, index))?;
        let facts = self.judge(&file, &array, index);
        Ok(Part { shown: file.shown, array, facts })
    }

    fn judge(&self, file: &GivenFile, array: &ByteArray, index: usize) -> FileFacts {
        let official = &self.official.files[index];
        let whole = given::md5(&[&file.bytes]) == official.md5.hex;
        FileFacts::judge(official.holds[0].name, &array.idx_md5(), official.holds[0].md5, whole)
    }

    /// Adds to what is wrong with file `index` what would be right.
    fn advise(&self, error: StageError, index: usize) -> StageError {
        let file = &self.official.files[index];
        match error {
            StageError::Input { name, problem } => StageError::Input {
                name,
                problem: format!(
                    "{problem} (the official {} has {} bytes and the MD5 {}; `data/download` fetches it)",
                    file.name, file.bytes, file.md5.hex
                ),
            },
            other => other,
        }
    }
}
