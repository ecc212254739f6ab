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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::official::{Content, OfficialFile, Stated};
    use super::*;
    use crate::io::Attempt;

    /// Four plain files of one 1 x 1 image each, and their gzipped form.
    fn files() -> Vec<[Vec<u8>; 2]> {
        let plain = [
            vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 77],
            vec![0, 0, 8, 1, 0, 0, 0, 1, 2],
            vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 78],
            vec![0, 0, 8, 1, 0, 0, 0, 1, 3],
        ];
        let gzip = |bytes: &Vec<u8>| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, bytes).unwrap();
            encoder.finish().unwrap()
        };
        plain.into_iter().map(|bytes| [gzip(&bytes), bytes]).collect()
    }

    fn stated(bytes: &[u8]) -> Stated {
        Stated { hex: Box::leak(given::md5(&[bytes]).into_boxed_str()), by: "this test", verified: false }
    }

    /// A published set of exactly those files; with the digests of the plain ones where `plain` says so.
    fn published(plain: bool) -> &'static OfficialSet {
        let names = super::super::official::MNIST.files;
        let file = |(official, [zipped, content]): (&OfficialFile, [Vec<u8>; 2])| {
            let name = official.holds[0].name;
            let holds = vec![Content { name, md5: plain.then(|| stated(&content)) }].leak();
            OfficialFile { bytes: zipped.len() as u64, md5: stated(&zipped), sha256: stated(&[]), holds, ..*official }
        };
        let files: Vec<OfficialFile> = names.iter().zip(files()).map(file).collect();
        Box::leak(Box::new(OfficialSet { files: files.leak(), ..super::super::official::MNIST }))
    }

    fn run(official: &'static OfficialSet, require_official: bool, root: &Path) -> Result<Facts, StageError> {
        let set = IdxSet { official, npz: None, classes: 10, size: [1, 1], otherwise: "", require_official };
        let sources = set.sources(Some(&SourcePath(root.to_owned()))).into_iter().map(|source| {
            let there = source.candidates.into_iter().find(|path| path.exists()).expect(&source.hint);
            (source.name.to_owned(), there)
        });
        let attempt = Attempt {
            stage: "data/mnist".to_owned(),
            params: serde_json::Value::Null,
            inputs: std::collections::BTreeMap::new(),
            sources: sources.collect(),
            folder: root.join("run"),
            kept: root.join("kept"),
            device: "cpu".to_owned(),
            threads: 1,
            log: root.join("log"),
        };
        let io = StageIo::new(&attempt, std::sync::Arc::default(), |_| ())?;
        set.run(&io)?;
        let facts = std::fs::read(root.join("run/out/facts")).unwrap();
        Ok(serde_json::from_slice(&facts).unwrap())
    }

    /// A folder of the four files; `zipped` says which of them are gzipped.
    fn folder(zipped: [bool; 4]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for ((official, [gz, plain]), zipped) in super::super::official::MNIST.files.iter().zip(files()).zip(zipped) {
            let (name, bytes) = if zipped { (official.name, gz) } else { (official.holds[0].name, plain) };
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn a_file_is_official_by_the_digest_of_the_archive_or_of_what_is_in_it() {
        let judge = |plain_known: bool, zipped: [bool; 4]| {
            let facts = run(published(plain_known), false, folder(zipped).path()).unwrap();
            assert_eq!(facts.official, facts.files.iter().all(|file| file.official));
            let plain_md5 = |file: &[Vec<u8>; 2]| format!("md5:{}", given::md5(&[&file[1]]));
            assert!(facts.files.iter().map(|file| file.digest.clone()).eq(files().iter().map(plain_md5)));
            facts.files.into_iter().map(|file| file.official).collect::<Vec<_>>()
        };
        assert_eq!(judge(true, [true; 4]), [true; 4]);
        assert_eq!(judge(true, [false; 4]), [true; 4]);
        assert_eq!(judge(false, [true; 4]), [true; 4]);
        // Of the plain files nobody states a digest: what is not known to be official is not called so.
        assert_eq!(judge(false, [true, false, true, false]), [true, false, true, false]);
    }

    #[test]
    fn files_packed_anew_are_official_and_one_other_byte_is_not() {
        let folder = folder([false; 4]);
        let [_, content] = &files()[0];
        let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        std::io::Write::write_all(&mut stored, content).unwrap();
        let path = folder.path().join("train-images-idx3-ubyte.gz");
        std::fs::write(&path, stored.finish().unwrap()).unwrap();
        assert!(run(published(true), true, folder.path()).unwrap().official);

        let mut other = content.clone();
        *other.last_mut().unwrap() += 1;
        std::fs::write(&path, other).unwrap();
        let facts = run(published(true), false, folder.path()).unwrap();
        let official: Vec<bool> = facts.files.iter().map(|file| file.official).collect();
        assert_eq!((facts.official, official), (false, vec![false, true, true, true]));
        let error = run(published(true), true, folder.path()).unwrap_err().to_string();
        assert!(error.contains("train-images-idx3-ubyte is md5:"), "{error}");
        assert!(!error.contains("train-labels-idx1-ubyte is"), "{error}");
        let expected = format!("md5:{} was expected (read in this test, never yet checked", given::md5(&[content]));
        assert!(error.contains(&expected), "{error}");
    }
}
