//! What is known of a data set that was read: counts, and whether it is the published one. Downstream tables decide by
//! it whether a number may stand beside a published one.

use serde::{Deserialize, Serialize};

use super::official::{OfficialSet, Stated};
use crate::dataset::Dataset;
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, StageError};

/// The output of every stage that reads or makes a data set.
pub(super) const OUTPUT: OutputPort =
    OutputPort::file("facts", "facts.json", "counts, and whether this is the official data set, file by file");

/// The content of `facts.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The data set's name: `mnist`, `fashion_mnist`, `kuzushiji_mnist`, `cifar10`, `cifar100`, or of a set that nobody
    /// publishes `glyphs`, `image_folder`, `import`.
    pub dataset: String,
    /// Whether every file is the official one, by its digest.
    pub official: bool,
    /// Number of training images.
    pub train: usize,
    /// Number of test images.
    pub test: usize,
    /// Number of classes: labels are 0 to this less one.
    pub classes: usize,
    /// The files of a data set that is published; none of another.
    pub files: Vec<FileFacts>,
}

/// The port through which a stage that measures a network is told of the data set behind its inputs.
pub(crate) const PORT: Port = Port::optional(
    "facts",
    "`facts.json` of the data set, without which no table can set the result beside the paper's figures",
);

/// What a measurement tells of the data set behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// See [`Facts::dataset`].
    pub dataset: String,
    /// See [`Facts::official`].
    pub official: bool,
    /// Number of training images, before any split.
    pub train: usize,
    /// Number of test images.
    pub test: usize,
}

impl Origin {
    /// That of the artifact connected to [`PORT`], if there is one.
    ///
    /// # Errors
    /// When it is no `facts.json`.
    #[cfg(feature = "torch")]
    pub(crate) fn connected(io: &StageIo) -> Result<Option<Self>, StageError> {
        let Some(input) = io.inputs(PORT.name).first() else { return Ok(None) };
        let read = serde_json::from_slice(&input.read()?);
        let Facts { dataset, official, train, test, .. } =
            read.map_err(|e| StageError::input(PORT.name, format!("not a data set's facts: {e}")))?;
        Ok(Some(Self { dataset, official, train, test }))
    }
}

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// The published name of the file, or of the file inside the archive that is judged; never a path.
    pub name: String,
    /// `md5:` and the MD5 of its unpacked content; of an archive of several files, of the archive. An array that came as
    /// npz has the digest of the IDX file that holds the same.
    pub digest: String,
    /// Whether that, or the archive it came in, is the official one.
    pub official: bool,
}

impl FileFacts {
    /// A file judged by the MD5 of its content, if `stated`, or by `within`: whether the archive is the official one.
    pub(super) fn judge(name: &str, md5: &str, stated: Option<Stated>, within: bool) -> Self {
        let official = within || stated.is_some_and(|stated| stated.hex == md5);
        Self { name: name.to_owned(), digest: format!("md5:{md5}"), official }
    }
}

impl Facts {
    /// Of a data set that nobody publishes.
    pub(super) fn unpublished(dataset: &str, train: &Dataset, test: &Dataset, classes: usize) -> Self {
        Self {
            dataset: dataset.to_owned(),
            official: false,
            train: train.len(),
            test: test.len(),
            classes,
            files: Vec::new(),
        }
    }

    /// Writes the output `facts`.
    pub(super) fn write(&self, io: &StageIo) -> Result<(), StageError> {
        let mut text =
            serde_json::to_vec(self).map_err(|e| StageError::failed(format!("writing the output facts: {e}")))?;
        text.push(b'\n');
        io.write(OUTPUT.name, &text)
    }

    /// Refuses a data set of which a file is not the official one.
    pub(super) fn require_official(&self, set: &OfficialSet) -> Result<(), StageError> {
        if self.official {
            return Ok(());
        }
        let expected = |name: &str| -> Option<Stated> {
            let content = set.files.iter().flat_map(|file| file.holds).find(|content| content.name == name);
            content.and_then(|content| content.md5).or_else(|| {
                let holds = |file: &&super::official::OfficialFile| {
                    file.name == name || file.holds.iter().any(|content| content.name == name)
                };
                set.files.iter().find(holds).map(|file| file.md5)
            })
        };
        let lines: Vec<String> = self
            .files
            .iter()
            .filter(|file| !file.official)
            .map(|file| {
                let expected = expected(&file.name);
                let expected = expected.map_or_else(String::new, |stated| {
                    format!("; md5:{} was expected ({})", stated.hex, stated.origin())
                });
                format!("  {} is {}{expected}", file.name, file.digest)
            })
            .collect();
        let problem = format!(
            "these files are not the official ones of {}:\n{}\nput these in their place:\n{}\nor leave \
             `require_official` out: what is computed then is marked as not official",
            set.title,
            lines.join("\n"),
            set.listing()
        );
        Err(StageError::input("require_official", problem))
    }
}
