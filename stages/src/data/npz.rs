//! numpy's npz and npy: a zip of one array of unsigned bytes in C order, as Kuzushiji-MNIST is published.
//!
//! Nothing is unpickled: an array of objects is refused like any other type. Knows nothing of classes.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::given::GivenFile;
use super::idx::ByteArray;
use crate::stage::StageError;

/// Longest header of an npy file that is read; numpy's own have about a hundred bytes.
const HEADER_MOST: u32 = 64 << 10;

/// Reads an npz file of one array, which must have `dimensions` dimensions; `holds` says what for messages (`images`,
/// `labels`).
pub(super) fn read(file: &GivenFile, dimensions: u8, holds: &str) -> Result<ByteArray, StageError> {
    parse(&file.bytes, dimensions, holds).map_err(|problem| StageError::input(&file.shown, problem))
}

fn parse(bytes: &[u8], dimensions: u8, holds: &str) -> Result<ByteArray, String> {
    let unreadable = |e: zip::result::ZipError| format!("not a readable npz, or cut off: {e}");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(unreadable)?;
    if archive.len() != 1 {
        let names = archive.file_names().map(|name| name.map_or_else(|_| "?".to_owned(), std::borrow::Cow::into_owned));
        let names = names.collect::<Vec<_>>().join(", ");
        return Err(format!("the npz holds {} files ({names}); one array of {holds} was expected", archive.len()));
    }
    let array = archive.by_index(0).map_err(unreadable)?;
    parse_npy(array, dimensions, holds)
}

fn parse_npy(mut reader: impl Read, dimensions: u8, holds: &str) -> Result<ByteArray, String> {
    let cut_off = |e: std::io::Error| format!("the array is damaged or cut off: {e}");
    let mut head = [0; 8];
    reader.read_exact(&mut head).map_err(cut_off)?;
    let &[0x93, b'N', b'U', b'M', b'P', b'Y', major, _] = &head else {
        return Err("the npz holds no numpy array".to_owned());
    };
    let mut length = [0; 4];
    let length_bytes = if major == 1 { 2 } else { 4 };
    reader.read_exact(&mut length[..length_bytes]).map_err(cut_off)?;
    let length = u32::from_le_bytes(length);
    if !(1..=3).contains(&major) || length > HEADER_MOST {
        return Err(format!("an npy header of version {major} and {length} bytes, which is none of numpy's"));
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header).map_err(cut_off)?;
    let sizes = read_header(&String::from_utf8_lossy(&header))?;
    let shape = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    if sizes.len() != usize::from(dimensions) {
        return Err(format!("an array of {shape}; {dimensions} dimension(s) of {holds} were expected"));
    }
    let length = sizes
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
        .filter(|&length| i64::try_from(length).is_ok())
        .ok_or_else(|| format!("the header states {shape} bytes, which no file holds"))?;
    let mut bytes = Vec::new();
    // One byte more than stated tells trailing bytes; a header that lies costs no memory.
    reader.take(length as u64 + 1).read_to_end(&mut bytes).map_err(cut_off)?;
    if bytes.len() != length {
        let found = if bytes.len() > length { "more".to_owned() } else { bytes.len().to_string() };
        return Err(format!("the header states {shape} = {length} bytes of {holds}, {found} follow"));
    }
    Ok(ByteArray { sizes, bytes })
}

/// The sizes that a header states: a Python dictionary such as
/// `{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 28, 28), }`.
fn read_header(text: &str) -> Result<Vec<usize>, String> {
    let after = |name: &str| -> Option<&str> {
        let (_, rest) = text.split_once(&format!("'{name}'"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let unreadable = || format!("an npy header that cannot be read: {}", text.trim());
    let descr = after("descr").ok_or_else(unreadable)?;
    if !descr.starts_with("'|u1'") {
        let found = descr.split([',', '}']).next().unwrap_or_default();
        return Err(format!("an array of {found}; unsigned bytes ('|u1') were expected"));
    }
    if !after("fortran_order").ok_or_else(unreadable)?.starts_with("False") {
        return Err("an array in Fortran order; C order was expected".to_owned());
    }
    let shape = after("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')')).ok_or_else(unreadable)?.0;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    sizes.map(|size| size.parse().map_err(|_| unreadable())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    fn error(header: &str, values: &[u8]) -> String {
        parse_npy(npy(header, values).as_slice(), 1, "labels").unwrap_err()
    }

    #[test]
    fn numpys_header_is_read() {
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }          \n";
        let array = parse_npy(npy(header, &[7, 8, 9]).as_slice(), 1, "labels").unwrap();
        assert_eq!(array, ByteArray { sizes: vec![3], bytes: vec![7, 8, 9] });
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2)}";
        let array = parse_npy(npy(header, &[1, 2, 3, 4]).as_slice(), 3, "images").unwrap();
        assert_eq!(array.sizes, [1, 2, 2]);
    }

    #[test]
    fn other_types_orders_and_shapes_are_refused() {
        let with = |descr: &str, order: &str, shape: &str| {
            error(&format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"), &[1, 2, 3])
        };
        assert!(with("'<i8'", "False", "(3,)").contains("an array of '<i8'; unsigned bytes"));
        assert!(with("'|O'", "False", "(3,)").contains("an array of '|O'; unsigned bytes"));
        assert!(with("'|u1'", "True", "(3,)").contains("Fortran order"));
        assert!(with("'|u1'", "False", "(3, 1)").contains("an array of 3 x 1; 1 dimension(s) of labels"));
        assert!(with("'|u1'", "False", "(4,)").contains("states 4 = 4 bytes of labels, 3 follow"));
        assert!(with("'|u1'", "False", "(2,)").contains("states 2 = 2 bytes of labels, more follow"));
        assert!(with("'|u1'", "False", "(x,)").contains("cannot be read"));
        assert!(with("'|u1'", "False", "(-1,)").contains("cannot be read"));
        assert!(error("{}", &[]).contains("cannot be read"));
        let huge = "{'descr': '|u1', 'fortran_order': False, 'shape': (18446744073709551615, 2), }";
        assert!(parse_npy(npy(huge, &[]).as_slice(), 2, "labels").unwrap_err().contains("which no file holds"));
    }

    #[test]
    fn a_header_that_lies_about_its_own_length_costs_no_memory() {
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend(u32::MAX.to_le_bytes());
        assert!(parse_npy(bytes.as_slice(), 1, "labels").unwrap_err().contains("none of numpy's"));
        assert!(parse_npy(&b"\x93NUMPY"[..], 1, "labels").unwrap_err().contains("cut off"));
        assert!(parse_npy(&b"PK\x03\x04aaaa"[..], 1, "labels").unwrap_err().contains("no numpy array"));
    }
}
