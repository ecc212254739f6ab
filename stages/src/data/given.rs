//! How a reader is given its files: by a param that names a folder, or through the input `files`, which `data/download`
//! fills. Knows nothing of what is in them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::{Digest, Md5};

use super::official::OfficialSet;
use crate::io::StageIo;
use crate::stage::{Port, StageError};

/// The input that stands in for the param.
pub(super) const FILES: Port =
    Port::optional("files", "a folder with the official files, as `data/download` makes it, in place of a path");

/// Largest file that is read whole. The largest official one has 170,052,171 bytes.
const MOST_BYTES: u64 = 2 << 30;

/// A file in memory.
pub(super) struct GivenFile {
    /// Its path, or its name in the input, for messages.
    pub shown: String,
    pub bytes: Vec<u8>,
}

/// What is wrong when not exactly one of the param and the input is given.
pub(super) fn check(param: &'static str, given: bool, connected: &[&str]) -> Vec<(&'static str, String)> {
    match (given, connected.contains(&FILES.name)) {
        (true, true) => vec![(param, "give it or the input `files`, not both".to_owned())],
        (false, false) => vec![(
            param,
            "needs a value, or connect the input `files`: `inputs: {files: STAGE.files}`, where STAGE uses `data/download`"
                .to_owned(),
        )],
        _ => Vec::new(),
    }
}

/// The file that has one of `names`, the first that is there: in the input `files`, where that is connected, else the
/// source `source`, which the engine took from the same names.
pub(super) fn file(io: &StageIo, source: &str, names: &[String], set: &OfficialSet) -> Result<GivenFile, StageError> {
    if io.inputs(FILES.name).is_empty() {
        return read(io.source(source)?);
    }
    named(io, names)?.ok_or_else(|| missing(io, names, set))
}

/// The file of the input `files` that has one of `names`, the first that is there.
pub(super) fn named(io: &StageIo, names: &[String]) -> Result<Option<GivenFile>, StageError> {
    let files = &io.input(FILES.name)?.files;
    let Some(file) = names.iter().find_map(|name| files.iter().find(|file| file.name == *name)) else {
        return Ok(None);
    };
    Ok(Some(GivenFile { shown: format!("{}/{}", FILES.name, file.name), bytes: file.read()? }))
}

/// That the input `files` holds none of `names`.
pub(super) fn missing(io: &StageIo, names: &[String], set: &OfficialSet) -> StageError {
    let files = io.inputs(FILES.name).iter().flat_map(|input| &input.files);
    let there: Vec<&str> = files.map(|file| file.name.as_str()).collect();
    let problem = format!(
        "it holds {}, and not {}: connect `files` of a `data/download` with `dataset: {}`",
        if there.is_empty() { "nothing".to_owned() } else { there.join(", ") },
        names.join(" or "),
        set.name
    );
    StageError::input(FILES.name, problem)
}

/// Reads a file from outside.
pub(super) fn read(path: &Path) -> Result<GivenFile, StageError> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|e| StageError::io(format!("opening {shown}"), e))?;
    let mut bytes = Vec::new();
    let reading = |e| StageError::io(format!("reading {shown}"), e);
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(reading)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(StageError::input(
            shown,
            format!("more than {MOST_BYTES} bytes; no file of a data set is so large"),
        ));
    }
    Ok(GivenFile { shown, bytes })
}

/// The MD5 of the parts one after another, in hexadecimal digits.
pub(super) fn md5(parts: &[&[u8]]) -> String {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// Lowercase hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
