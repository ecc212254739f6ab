//! Paths of a DVC project as paths from the root of ours, in text. Looks at no disk.

use std::path::Path;

use crate::command::{plain, relative};

/// What a path of `dvc.yaml` leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A file or folder in the project, from its root: never empty.
    Inside(String),
    /// The project's root itself.
    Root,
    /// A file or folder elsewhere on this machine: an absolute path.
    Outside(String),
    /// Something that is no file of this machine: `s3://bucket/data`.
    Remote(String),
}

impl Place {
    /// What `text` means in the folder `folder`, which is given from the root, of a project with this root.
    pub(super) fn of(text: &str, folder: &str, root: &Path) -> Self {
        if is_remote(text) {
            return Self::Remote(text.to_owned());
        }
        let path = plain(&root.join(folder).join(text));
        match path.strip_prefix(root) {
            Ok(inside) if inside.as_os_str().is_empty() => Self::Root,
            Ok(inside) => Self::Inside(inside.to_string_lossy().into_owned()),
            Err(_) => Self::Outside(path.to_string_lossy().into_owned()),
        }
    }

    /// How it is written as an input: with a slash before anything else could be read from it.
    pub(super) fn as_input(&self, root: &Path) -> String {
        match self {
            Self::Inside(path) => format!("./{path}"),
            Self::Root => "./".to_owned(),
            // What lies beside the project stays where it is when both are moved.
            Self::Outside(path) => match root.parent() {
                Some(parent) if parent.parent().is_some() && Path::new(path).starts_with(parent) => {
                    relative(root, Path::new(path)).to_string_lossy().into_owned()
                }
                _ => path.clone(),
            },
            Self::Remote(path) => path.clone(),
        }
    }
}

/// Whether a path names a place on another machine: `scheme://`.
pub(super) fn is_remote(text: &str) -> bool {
    let scheme = text.split("://").next().unwrap_or("");
    scheme.len() < text.len()
        && !scheme.is_empty()
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Whether `inner` lies in the folder `outer`, and is not the same.
pub(super) fn is_inside(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_starts_in_its_stage_s_folder_and_is_told_from_the_root() {
        let root = Path::new("/p/q");
        for (text, folder, place) in [
            ("data/x", "", Place::Inside("data/x".into())),
            ("./data//x/", "", Place::Inside("data/x".into())),
            ("../x", "src", Place::Inside("x".into())),
            ("x", "src/deep", Place::Inside("src/deep/x".into())),
            ("/p/q/x", "src", Place::Inside("x".into())),
            (".", "", Place::Root),
            ("..", "src", Place::Root),
            ("../x", "", Place::Outside("/p/x".into())),
            ("/etc/x", "", Place::Outside("/etc/x".into())),
            ("s3://b/x", "src", Place::Remote("s3://b/x".into())),
            ("remote://storage/x", "", Place::Remote("remote://storage/x".into())),
        ] {
            assert_eq!(Place::of(text, folder, root), place, "{text}");
        }
    }

    #[test]
    fn an_input_is_written_so_that_it_is_read_as_a_file() {
        let root = Path::new("/p/q");
        for (text, input) in [("x", "./x"), ("../x", "../x"), ("/etc/x", "/etc/x"), ("a[1]/x", "./a[1]/x")] {
            assert_eq!(Place::of(text, "", root).as_input(root), input, "{text}");
        }
    }

    #[test]
    fn a_folder_s_name_is_no_prefix_of_a_name() {
        assert!(is_inside("data/x", "data"));
        assert!(!is_inside("data2/x", "data") && !is_inside("data", "data"));
    }
}
