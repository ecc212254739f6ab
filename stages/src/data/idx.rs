//! The IDX format of MNIST: big-endian magic `0 0 TYPE DIMS`, one 32-bit size a dimension, then the values.
//!
//! Only unsigned bytes (TYPE 8) are read, plain or gzipped (told by content, not by name). Knows nothing of classes.

use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::given::{GivenFile, md5};
use crate::stage::StageError;

/// An array of bytes, as an IDX file holds one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ByteArray {
    /// Sizes, outermost first.
    pub sizes: Vec<usize>,
    /// Row-major.
    pub bytes: Vec<u8>,
}

impl ByteArray {
    /// The MD5 of the plain IDX file that holds this array.
    pub(super) fn idx_md5(&self) -> String {
        let mut header = vec![0, 0, 8, self.sizes.len() as u8];
        header.extend(self.sizes.iter().flat_map(|&size| (size as u32).to_be_bytes()));
        md5(&[&header, &self.bytes])
    }
}

/// Reads a file that must have `dimensions` dimensions; `holds` says what for messages (`images`, `labels`).
pub(super) fn read(file: &GivenFile, dimensions: u8, holds: &str) -> Result<ByteArray, StageError> {
    let bytes = file.bytes.as_slice();
    let gzipped = bytes.starts_with(&[0x1f, 0x8b]);
    if gzipped { parse(MultiGzDecoder::new(bytes), dimensions, holds) } else { parse(bytes, dimensions, holds) }
        .map_err(|problem| match problem {
            Problem::Content(text) => StageError::input(&file.shown, text),
            Problem::Io(e) => StageError::input(&file.shown, format!("the gzip stream is damaged or cut off: {e}")),
        })
}

enum Problem {
    Content(String),
    Io(std::io::Error),
}

fn parse(mut reader: impl Read, dimensions: u8, holds: &str) -> Result<ByteArray, Problem> {
    let magic =
        word(&mut reader)?.ok_or_else(|| Problem::Content("the file ends before its magic number".to_owned()))?;
    let expected = [0, 0, 8, dimensions];
    if magic != expected {
        return Err(Problem::Content(wrong_magic(magic, expected, holds)));
    }
    let mut sizes = Vec::new();
    for dimension in 0..dimensions {
        let size = word(&mut reader)?
            .ok_or_else(|| Problem::Content(format!("the file ends in its header, before size {dimension}")))?;
        sizes.push(u32::from_be_bytes(size) as usize);
    }
    let shape = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    let length = sizes
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
        .filter(|&length| i64::try_from(length).is_ok())
        .ok_or_else(|| Problem::Content(format!("the header states {shape} bytes, which no file holds")))?;
    let mut bytes = Vec::new();
    // One byte more than stated tells a file with trailing bytes; a header that lies costs no memory.
    reader.take(length as u64 + 1).read_to_end(&mut bytes).map_err(Problem::Io)?;
    if bytes.len() < length {
        let found = bytes.len();
        return Err(Problem::Content(format!(
            "truncated: the header states {shape} = {length} bytes of {holds}, {found} follow"
        )));
    }
    if bytes.len() > length {
        return Err(Problem::Content(format!(
            "bytes follow after the {shape} = {length} bytes of {holds} that the header states"
        )));
    }
    Ok(ByteArray { sizes, bytes })
}

/// Four bytes, or nothing when the stream ends before them.
fn word(reader: &mut impl Read) -> Result<Option<[u8; 4]>, Problem> {
    let mut word = [0; 4];
    match reader.read_exact(&mut word) {
        Ok(()) => Ok(Some(word)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(Problem::Io(e)),
    }
}

fn wrong_magic(found: [u8; 4], expected: [u8; 4], holds: &str) -> String {
    let [found_text, expected_text] = [found, expected].map(|magic| format!("{:08x}", u32::from_be_bytes(magic)));
    let guess = match found {
        [0, 0, 8, 1] => ", which is that of labels",
        [0, 0, 8, 3] => ", which is that of images",
        [0, 0, 9..=14, _] => ", which is that of other values than unsigned bytes",
        _ => ", which is not that of an IDX file of bytes",
    };
    format!("the magic number is {found_text}{guess}; {expected_text} was expected for {holds}")
}
