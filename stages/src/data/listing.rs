//! Finds the image files `train/<class>/<file>` and `test/<class>/<file>` in a folder or a tar (plain or gzipped), in
//! order of their paths. Links are refused. Decodes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::archive;
use crate::stage::StageError;

/// Largest image file; anything bigger in an archive is no image of a data set.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// One image file.
#[derive(Debug)]
pub(super) struct Member {
    /// `train` or `test`.
    pub part: &'static str,
    /// The name of its folder.
    pub class: String,
    /// `train/<class>/<file>`, for messages and for the order.
    pub path: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Member {
    /// The file's bytes.
    pub(super) fn read(&self) -> Result<std::borrow::Cow<'_, [u8]>, String> {
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes.into()),
            Content::File(path) => std::fs::read(path).map(Into::into).map_err(|e| e.to_string()),
        }
    }
}

/// The image files of the folder or archive at `path`, in order of their paths (by bytes).
pub(super) fn list(path: &Path) -> Result<Vec<Member>, StageError> {
    let metadata = std::fs::metadata(path).map_err(|e| StageError::io(format!("looking at {}", path.display()), e))?;
    let members = if metadata.is_dir() { list_folder(path)? } else { list_tar(path)? };
    Ok(members.into_values().collect())
}

/// What a path inside the data set means.
enum Place {
    Image {
        part: &'static str,
        class: String,
    },
    /// A file that is none of the data set's: hidden, or outside `train` and `test`.
    Ignored,
}

fn place(components: &[&str]) -> Result<Place, String> {
    let part = match components.first() {
        Some(&"train") => "train",
        Some(&"test") => "test",
        _ => return Ok(Place::Ignored),
    };
    if components.iter().any(|name| name.starts_with('.')) {
        return Ok(Place::Ignored);
    }
    let &[_, class, file] = components else {
        return Err(format!("a file at {}; {part}/<class>/<file> was expected", components.join("/")));
    };
    let extension = file.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("jpg" | "jpeg" | "png") => Ok(Place::Image { part, class: class.to_owned() }),
        _ => Err(format!("{} is no .jpg, .jpeg or .png", components.join("/"))),
    }
}

type Members = BTreeMap<String, Member>;

fn insert(members: &mut Members, components: &[&str], content: Content) -> Result<(), String> {
    let Place::Image { part, class } = place(components)? else { return Ok(()) };
    let path = components.join("/");
    let member = Member { part, class, path: path.clone(), content };
    match members.insert(path, member) {
        Some(twice) => Err(format!("{} occurs twice", twice.path)),
        None => Ok(()),
    }
}

fn list_folder(root: &Path) -> Result<Members, StageError> {
    let mut members = Members::new();
    let mut pending: Vec<Vec<String>> = ["train", "test"]
        .into_iter()
        .filter(|part| root.join(part).symlink_metadata().is_ok())
        .map(|part| vec![part.to_owned()])
        .collect();
    while let Some(components) = pending.pop() {
        let path = components.iter().fold(root.to_path_buf(), |path, name| path.join(name));
        let in_path = |problem: String| StageError::input(path.display().to_string(), problem);
        let io = |e| StageError::io(format!("looking at {}", path.display()), e);
        let kind = path.symlink_metadata().map_err(io)?.file_type();
        if kind.is_symlink() {
            return Err(in_path("a link; copy what it points at, so that the data set is one piece".to_owned()));
        } else if kind.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(io)? {
                let name = entry.map_err(io)?.file_name();
                let name = name.to_str().ok_or_else(|| in_path(format!("{} is not UTF-8", name.display())))?;
                pending.push(components.iter().cloned().chain([name.to_owned()]).collect());
            }
        } else if kind.is_file() {
            let names: Vec<&str> = components.iter().map(String::as_str).collect();
            insert(&mut members, &names, Content::File(path.clone())).map_err(in_path)?;
        } else {
            return Err(in_path("neither a file nor a folder".to_owned()));
        }
    }
    Ok(members)
}

fn list_tar(path: &Path) -> Result<Members, StageError> {
    let io = |e| StageError::io(format!("reading {}", path.display()), e);
    let file = BufReader::new(File::open(path).map_err(io)?);
    let mut members = Members::new();
    archive::each_file(
        file,
        MAX_FILE_BYTES,
        |_| true,
        |names, bytes| insert(&mut members, names, Content::Bytes(bytes)),
    )
    .map_err(|problem| StageError::input(path.display().to_string(), problem))?;
    Ok(members)
}
