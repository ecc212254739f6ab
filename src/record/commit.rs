//! The commit that a project's checkout stands on, read from git's own files: no git need be installed.
//!
//! Whether files differ from the commit is not looked at: what decides a result is keyed by content anyway.

use std::fs;
use std::path::{Path, PathBuf};

/// References lead to references no deeper than this.
const DEPTH_MAX: usize = 5;

/// The commit of the checkout whose root is `root`, as hexadecimal digits; `None` where there is none.
#[must_use]
pub fn of(root: &Path) -> Option<String> {
    let folder = git_folder(&root.join(".git"))?;
    // A worktree has its own HEAD; branches lie in the repository that it belongs to.
    let common = read(&folder.join("commondir")).map_or_else(|| folder.clone(), |common| folder.join(common));
    let mut text = read(&folder.join("HEAD"))?;
    for _ in 0..DEPTH_MAX {
        let Some(name) = text.strip_prefix("ref: ") else { return is_commit(&text).then_some(text) };
        // A reference's name is a path: one that leads elsewhere is none of git's.
        if name.split('/').any(|part| part == "..") || name.starts_with('/') {
            return None;
        }
        text = read(&common.join(name)).or_else(|| packed(&common, name))?;
    }
    None
}

/// `.git` itself, or the folder that it names: in a worktree and a submodule it is a file.
fn git_folder(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let text = read(path)?;
    let folder = text.strip_prefix("gitdir: ")?;
    Some(path.parent()?.join(folder))
}

/// A reference that `git gc` has put into the one file of many.
fn packed(common: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(common.join("packed-refs")).ok()?;
    let line = text.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' '))?;
    Some(line.to_owned())
}

/// A file of one line.
fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef01234567";
    const TWO: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_branch_a_packed_one_a_detached_head_and_a_worktree_have_their_commit() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(of(root), None);
        write(root, ".git/HEAD", "ref: refs/heads/main\n");
        assert_eq!(of(root), None, "a branch without a commit yet");
        write(root, ".git/packed-refs", &format!("# pack-refs with: peeled\n{TWO} refs/heads/main\n^{ONE}\n"));
        assert_eq!(of(root).as_deref(), Some(TWO));
        write(root, ".git/refs/heads/main", &format!("{ONE}\n"));
        assert_eq!(of(root).as_deref(), Some(ONE), "a reference's own file comes first");
        write(root, ".git/worktrees/w/HEAD", "ref: refs/heads/main\n");
        write(root, ".git/worktrees/w/commondir", "../..\n");
        write(root, "w/.git", &format!("gitdir: {}\n", root.join(".git/worktrees/w").display()));
        assert_eq!(of(&root.join("w")).as_deref(), Some(ONE));
        write(root, ".git/HEAD", &format!("{TWO}\n"));
        assert_eq!(of(root).as_deref(), Some(TWO));
    }

    #[test]
    fn what_is_no_repository_has_none() {
        let folder = tempfile::tempdir().unwrap();
        for head in ["", "ref: refs/heads/../../../secret", "ref: /etc/hostname", "ref: HEAD", "main", "ref: "] {
            write(folder.path(), ".git/HEAD", head);
            assert_eq!(of(folder.path()), None, "{head}");
        }
    }
}
