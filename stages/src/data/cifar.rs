//! What the binary versions of CIFAR-10 and CIFAR-100 share: records of label bytes and 32 x 32 pixels, plane by plane
//! (red, green, blue), in a tar.gz or its extracted folder; their checks, and whether they are the official ones.

use std::collections::BTreeMap;
use std::path::Path;

use super::facts::{Facts, FileFacts};
use super::given::{self, GivenFile};
use super::official::{OfficialFile, OfficialSet};
use super::{archive, in_file_order, write_train_and_test};
use crate::dataset::{Dataset, Pixels};
use crate::io::StageIo;
use crate::stage::{Source, SourcePath, StageError};

/// Height and width.
const SIDE: usize = 32;
/// Bytes of the three planes.
const IMAGE_BYTES: usize = 3 * SIDE * SIDE;
/// Largest data file that is read; the largest official one has 153,700,000 bytes.
const MOST_BYTES: u64 = 1 << 30;

/// A data set in CIFAR's binary form, and what is asked of it.
pub(super) struct Cifar {
    /// What is published: one archive, whose last data file is the test set and all before it the training set.
    pub official: &'static OfficialSet,
    /// The folder inside the archive.
    pub folder: &'static str,
    /// The bytes before the pixels: what each is, and how many values it may take. The last is the class.
    pub labels: &'static [(&'static str, u8)],
    /// Whether files that are not the official ones are refused.
    pub require_official: bool,
}

/// The data files in memory, and what is known of them.
struct Given {
    files: BTreeMap<&'static str, GivenFile>,
    /// Of the archive, when they came in one.
    archive: Option<FileFacts>,
}

impl Cifar {
    fn archive(&self) -> &'static OfficialFile {
        &self.official.files[0]
    }

    /// The archive or folder at `path`, or in the folder `path`; none when it comes through the input.
    pub(super) fn sources(&self, path: Option<&SourcePath>) -> Vec<Source> {
        let Some(SourcePath(path)) = path else { return Vec::new() };
        let archive = self.archive();
        vec![Source {
            name: "path",
            candidates: vec![path.join(archive.name), path.join(self.folder), path.clone()],
            hint: format!(
                "put {} ({} bytes), or the folder {} that is in it, there, or let `data/download` fetch it: `inputs: \
                 {{files: STAGE.files}}`",
                archive.name, archive.bytes, self.folder
            ),
        }]
    }

    /// Reads all files, writes `train`, `test` and `facts`.
    pub(super) fn run(&self, io: &StageIo) -> Result<(), StageError> {
        let given = if io.inputs(given::FILES.name).is_empty() {
            self.read_path(io.source("path")?)?
        } else {
            self.read_input(io)?
        };
        let Given { mut files, archive } = given;
        let within = archive.as_ref().is_some_and(|archive| archive.official);
        let mut facts: Vec<FileFacts> = archive.into_iter().collect();
        let mut parts = [Part::default(), Part::default()];
        let holds = self.archive().holds;
        for (index, content) in holds.iter().enumerate() {
            io.check_cancelled()?;
            let file = files.remove(content.name).ok_or_else(|| self.lacks("the data set", content.name))?;
            facts.push(FileFacts::judge(content.name, &given::md5(&[&file.bytes]), content.md5, within));
            self.append(&mut parts[usize::from(index + 1 == holds.len())], &file)?;
        }
        let [train, test] = parts.map(Part::into_dataset);
        let facts = Facts {
            dataset: self.official.name.to_owned(),
            official: facts.iter().filter(|file| file.name != self.archive().name).all(|file| file.official),
            train: train.len(),
            test: test.len(),
            classes: self.labels.last().map_or(0, |(_, classes)| usize::from(*classes)),
            files: facts,
        };
        if self.require_official {
            facts.require_official(self.official)?;
        }
        facts.write(io)?;
        write_train_and_test(io, &train, &test)
    }

    fn read_path(&self, path: &Path) -> Result<Given, StageError> {
        if !path.is_dir() {
            return self.read_archive(&given::read(path)?);
        }
        let mut files = BTreeMap::new();
        for content in self.archive().holds {
            let file = path.join(content.name);
            if !file.is_file() {
                return Err(self.lacks(&path.display().to_string(), content.name));
            }
            files.insert(content.name, given::read(&file)?);
        }
        Ok(Given { files, archive: None })
    }

    fn read_input(&self, io: &StageIo) -> Result<Given, StageError> {
        let archive = [self.archive().name.to_owned()];
        if let Some(archive) = given::named(io, &archive)? {
            return self.read_archive(&archive);
        }
        let mut files = BTreeMap::new();
        for content in self.archive().holds {
            let Some(file) = given::named(io, &[content.name.to_owned()])? else {
                return Err(given::missing(io, &archive, self.official));
            };
            files.insert(content.name, file);
        }
        Ok(Given { files, archive: None })
    }

    fn read_archive(&self, given: &GivenFile) -> Result<Given, StageError> {
        let content = |names: &[&str]| {
            self.archive().holds.iter().map(|content| content.name).find(|name| names.last() == Some(name))
        };
        let mut files = BTreeMap::new();
        let visit = |names: &[&str], bytes: Vec<u8>| {
            let shown = format!("{}: {}", given.shown, names.join("/"));
            let name = content(names).ok_or("a file that was not asked for")?;
            match files.insert(name, GivenFile { shown, bytes }) {
                Some(_) => Err(format!("{name} occurs twice")),
                None => Ok(()),
            }
        };
        archive::each_file(given.bytes.as_slice(), MOST_BYTES, |names| content(names).is_some(), visit)
            .map_err(|problem| self.advise(&given.shown, &problem))?;
        if let Some(absent) = self.archive().holds.iter().find(|content| !files.contains_key(content.name)) {
            return Err(self.lacks(&given.shown, absent.name));
        }
        let md5 = given::md5(&[&given.bytes]);
        let facts = FileFacts::judge(self.archive().name, &md5, Some(self.archive().md5), false);
        Ok(Given { files, archive: Some(facts) })
    }

    /// Takes the records of one data file.
    fn append(&self, part: &mut Part, file: &GivenFile) -> Result<(), StageError> {
        let record = self.labels.len() + IMAGE_BYTES;
        if file.bytes.is_empty() || !file.bytes.len().is_multiple_of(record) {
            let problem = format!(
                "{} bytes are not a whole number of images of {record} bytes: the file is cut off, or none of {}'s \
                 binary version",
                file.bytes.len(),
                self.official.title
            );
            return Err(self.advise(&file.shown, &problem));
        }
        part.pixels.reserve(file.bytes.len());
        for (at, record) in file.bytes.chunks_exact(record).enumerate() {
            let (labels, pixels) = record.split_at(self.labels.len());
            for (&label, (what, count)) in labels.iter().zip(self.labels) {
                if label >= *count {
                    let problem =
                        format!("{what} {label} of image {at} is out of range; 0 to {} was expected", count - 1);
                    return Err(self.advise(&file.shown, &problem));
                }
            }
            part.labels.extend(labels.last().map(|&label| i64::from(label)));
            part.pixels.extend_from_slice(pixels);
        }
        Ok(())
    }

    fn lacks(&self, whose: &str, name: &str) -> StageError {
        self.advise(whose, &format!("there is no {name} in it"))
    }

    /// What is wrong with a file, and what would be right.
    fn advise(&self, name: &str, problem: &str) -> StageError {
        let archive = self.archive();
        let problem = format!(
            "{problem} (the official {} has {} bytes and the MD5 {}; `data/download` fetches it)",
            archive.name, archive.bytes, archive.md5.hex
        );
        StageError::input(name, problem)
    }
}

/// The training or the test set on its way.
#[derive(Default)]
struct Part {
    pixels: Vec<u8>,
    labels: Vec<i64>,
}

impl Part {
    fn into_dataset(self) -> Dataset {
        in_file_order([self.labels.len(), 3, SIDE, SIDE], Pixels::U8(self.pixels), self.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::super::official::{CIFAR100, Content, Stated};
    use super::*;

    fn stated(bytes: &[u8]) -> Stated {
        Stated { hex: Box::leak(given::md5(&[bytes]).into_boxed_str()), by: "this test", verified: false }
    }

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// The facts of `archive` where `official` is the official archive, of which `train` and `test` are the content.
    fn facts(official: &[u8], train: Option<&[u8]>, test: Option<&[u8]>, archive: &[u8]) -> Facts {
        let content = |name, bytes: Option<&[u8]>| Content { name, md5: bytes.map(stated) };
        let holds = vec![content("train.bin", train), content("test.bin", test)].leak();
        let file = OfficialFile { md5: stated(official), holds, ..CIFAR100.files[0] };
        let set = Box::leak(Box::new(OfficialSet { files: vec![file].leak(), ..CIFAR100 }));
        let cifar = Cifar { official: set, folder: "x", labels: &[("label", 10)], require_official: false };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        std::fs::write(&path, archive).unwrap();
        let attempt = crate::io::Attempt {
            stage: "data/cifar100".to_owned(),
            params: serde_json::Value::Null,
            inputs: BTreeMap::new(),
            sources: BTreeMap::from([("path".to_owned(), path)]),
            folder: folder.path().join("run"),
            kept: folder.path().join("kept"),
            device: "cpu".to_owned(),
            threads: 1,
            log: folder.path().join("log"),
        };
        let io = StageIo::new(&attempt, std::sync::Arc::default(), |_| ()).unwrap();
        cifar.run(&io).unwrap();
        serde_json::from_slice(&std::fs::read(folder.path().join("run/out/facts")).unwrap()).unwrap()
    }

    #[test]
    fn images_are_official_by_the_archive_or_by_every_file_in_it() {
        let (train, test) = (vec![1; 1 + IMAGE_BYTES], vec![2; 1 + IMAGE_BYTES]);
        let archive = tar(&[("a/train.bin", &train), ("a/test.bin", &test)]);
        let anew = tar(&[("b/test.bin", &test), ("b/train.bin", &train)]);
        let judge = |official: &[u8], train: Option<&[u8]>, test: Option<&[u8]>, archive: &[u8]| {
            let facts = facts(official, train, test, archive);
            (facts.official, facts.files.iter().map(|file| file.official).collect::<Vec<_>>())
        };
        assert_eq!(judge(&archive, None, None, &archive), (true, vec![true, true, true]));
        assert_eq!(judge(&archive, Some(&train), Some(&test), &anew), (true, vec![false, true, true]));
        assert_eq!(judge(&archive, Some(&train), Some(&train), &anew), (false, vec![false, true, false]));
        assert_eq!(judge(&archive, None, Some(&test), &anew), (false, vec![false, false, true]));
    }
}
