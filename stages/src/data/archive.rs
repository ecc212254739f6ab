//! Reads the files of a tar, plain or gzipped, without unpacking it. Links, and paths that lead out of the archive, are
//! refused, and so is an archive that was cut off. Knows nothing of what the files are.

use std::io::{BufRead, Cursor, Read};
use std::path::{Component, Path};

use flate2::bufread::MultiGzDecoder;
use tar::Archive;

/// Gives every file for which `wanted` is true to `visit`, by the names of its path, in the order of the archive. A
/// wanted file of more than `most_bytes` is refused.
pub(super) fn each_file(
    mut reader: impl BufRead,
    most_bytes: u64,
    wanted: impl Fn(&[&str]) -> bool,
    visit: impl FnMut(&[&str], Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let mut head = Vec::new();
    reader.by_ref().take(2).read_to_end(&mut head).map_err(not_a_tar)?;
    let gzipped = head == [0x1f, 0x8b];
    let whole = Cursor::new(head).chain(reader);
    if gzipped {
        walk(MultiGzDecoder::new(whole), most_bytes, wanted, visit)
    } else {
        walk(whole, most_bytes, wanted, visit)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it so")]
fn not_a_tar(error: std::io::Error) -> String {
    format!("not a readable tar, or cut off: {error}")
}

fn walk(
    reader: impl Read,
    most_bytes: u64,
    wanted: impl Fn(&[&str]) -> bool,
    mut visit: impl FnMut(&[&str], Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let mut archive = Archive::new(Counted { reader, bytes: 0 });
    let mut end_of_entries = 0;
    for entry in archive.entries().map_err(not_a_tar)? {
        let mut entry = entry.map_err(not_a_tar)?;
        end_of_entries = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
        let path = entry.path().map_err(not_a_tar)?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let names = plain_components(&path)?;
        if kind.is_symlink() || kind.is_hard_link() {
            return Err(format!("{} is a link; archives with links are refused", path.display()));
        }
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            return Err(format!("{} is neither a file nor a folder", path.display()));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if !wanted(&names) {
            continue;
        }
        let size = entry.size();
        if size > most_bytes {
            return Err(format!("{} has {size} bytes; at most {most_bytes} were expected", path.display()));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(not_a_tar)?;
        if bytes.len() as u64 != size {
            return Err(format!("cut off in {}: {} of {size} bytes", path.display(), bytes.len()));
        }
        visit(&names, bytes)?;
    }
    // To the end: only there does gzip have its checksum.
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(not_a_tar)?;
    if rest.bytes < end_of_entries + BLOCK {
        return Err("not a readable tar, or cut off: it lacks the empty block at its end".to_owned());
    }
    Ok(())
}

/// A tar's unit: entries are padded to it, and an empty one marks the end.
const BLOCK: u64 = 512;

/// Counts what is read: the tar reader takes a file that was cut off between two entries for a whole one.
struct Counted<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// The names of a path inside an archive; `.` is dropped, and anything that could leave the archive is refused.
fn plain_components(path: &Path) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => {
                let name = name.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))?;
                names.push(name.to_owned());
            }
            _ => return Err(format!("{} leads out of the archive", path.display())),
        }
    }
    Ok(names)
}
