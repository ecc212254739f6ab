//! Which files a module of Python is, among folders in which modules are looked for, by Python's own rules. What is not
//! found there is not local: the standard library, or installed. Reads no file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::code::seen::Eyes;

/// The folders in which one program looks for modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// In order: the first one that has a module wins.
    pub ordered: Vec<PathBuf>,
    /// Those that code or a shell's text may add anywhere: what they have counts beside what is found in the others.
    pub added: Vec<PathBuf>,
    /// Paths of single modules, by name: packages that are installed as links to where they are edited.
    pub linked: BTreeMap<String, Vec<PathBuf>>,
}

/// A module or package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its files: a module's own, a package's `__init__.py`; none for a folder without one.
    pub files: Vec<PathBuf>,
    /// The folders in which its modules lie; none for a module.
    pub folders: Vec<PathBuf>,
}

impl Found {
    fn is_namespace(&self) -> bool {
        self.files.is_empty()
    }

    /// Both: either of them may be the one that is loaded.
    pub fn merge(&mut self, other: Self) {
        for (all, more) in [(&mut self.files, other.files), (&mut self.folders, other.folders)] {
            for path in more {
                if !all.contains(&path) {
                    all.push(path);
                }
            }
        }
    }

    fn some(self) -> Option<Self> {
        (!self.files.is_empty() || !self.folders.is_empty()).then_some(self)
    }
}

/// The module `name`, a name without dots, at the top.
pub fn top(eyes: &mut Eyes<'_>, roots: &Roots, name: &str) -> Option<Found> {
    let mut found = first(eyes, &roots.ordered, name).unwrap_or_default();
    for root in &roots.added {
        if let Some(more) = in_folder(eyes, root, name) {
            found.merge(more);
        }
    }
    found.some()
}

/// The module of this full name that is taken from where it is edited.
pub fn linked(eyes: &mut Eyes<'_>, roots: &Roots, name: &str) -> Option<Found> {
    let mut found = Found::default();
    for path in roots.linked.get(name).into_iter().flatten() {
        let (Some(folder), Some(own)) = (path.parent(), path.file_name().and_then(|own| own.to_str())) else {
            continue;
        };
        if let Some(more) = in_folder(eyes, folder, own) {
            found.merge(more);
        }
    }
    found.some()
}

/// The module `name` in a package; of one that may be several (`any`), in each of them.
pub fn below(eyes: &mut Eyes<'_>, package: &Found, name: &str, any: bool) -> Option<Found> {
    if !any {
        return first(eyes, &package.folders, name);
    }
    let mut found = Found::default();
    for folder in &package.folders {
        if let Some(more) = in_folder(eyes, folder, name) {
            found.merge(more);
        }
    }
    found.some()
}

/// The first module or package of that name; if there is none, all folders of that name together are one.
fn first(eyes: &mut Eyes<'_>, folders: &[PathBuf], name: &str) -> Option<Found> {
    let mut namespace = Found::default();
    for folder in folders {
        match in_folder(eyes, folder, name) {
            Some(found) if found.is_namespace() => namespace.merge(found),
            Some(found) => return Some(found),
            None => {}
        }
    }
    namespace.some()
}

fn in_folder(eyes: &mut Eyes<'_>, folder: &Path, name: &str) -> Option<Found> {
    let listing = eyes.listing(folder)?;
    let own = folder.join(name);
    let is_folder = listing.has_folder(name);
    if is_folder {
        let files = module_files(eyes, &own, "__init__");
        if !files.is_empty() {
            return Some(Found { files, folders: vec![own] });
        }
    }
    let files = module_files(eyes, folder, name);
    if !files.is_empty() {
        return Some(Found { files, folders: Vec::new() });
    }
    is_folder.then(|| Found { files: Vec::new(), folders: vec![own] })
}

/// The files in a folder that are the module `name`: its text and what it is compiled to, or bytecode without a text.
fn module_files(eyes: &mut Eyes<'_>, folder: &Path, name: &str) -> Vec<PathBuf> {
    let Some(listing) = eyes.listing(folder) else { return Vec::new() };
    let start = format!("{name}.");
    let files = listing.files_from(&start).filter(|file| is_module_ending(&file[start.len()..]));
    let mut files: Vec<PathBuf> = files.map(|file| folder.join(file)).collect();
    let bytecode = format!("{name}.pyc");
    if files.is_empty() && listing.has_file(&bytecode) {
        files.push(folder.join(bytecode));
    }
    files
}

/// `py`, `so`, `pyd`, `cpython-311-x86_64-linux-gnu.so`.
fn is_module_ending(ending: &str) -> bool {
    match ending.rsplit_once('.') {
        None => matches!(ending, "py" | "so" | "pyd"),
        Some((tag, "so" | "pyd")) => ["cpython-", "abi3", "pypy", "cp3"].iter().any(|known| tag.starts_with(known)),
        Some(_) => false,
    }
}

/// The names of the modules in a folder that begin with `start`.
pub fn names(eyes: &mut Eyes<'_>, folder: &Path, start: &str) -> Vec<String> {
    let Some(listing) = eyes.listing(folder) else { return Vec::new() };
    let name = |(file, is_folder): (&str, bool)| {
        let name = match file.split_once('.') {
            Some((name, ending)) if !is_folder && is_module_ending(ending) => name,
            None if is_folder => file,
            _ => return None,
        };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let hidden = ["__pycache__", "__init__", "__main__"].contains(&name);
        (is_name && !hidden && name.starts_with(start)).then(|| name.to_owned())
    };
    let mut names: Vec<String> = listing.all().filter_map(name).collect();
    names.dedup();
    names
}

/// Whether a file of a module holds text that can be read for its imports.
pub fn is_text(file: &Path) -> bool {
    file.extension().is_none_or(|extension| extension != "so" && extension != "pyd" && extension != "pyc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::seen::Disk;

    fn project(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn found(folder: &tempfile::TempDir, roots: &[&str], name: &str) -> Option<(Vec<String>, usize)> {
        let disk = Disk::default();
        let roots = Roots { ordered: roots.iter().map(|root| folder.path().join(root)).collect(), ..Roots::default() };
        let mut eyes = Eyes::new(&disk);
        let mut names = name.split('.');
        let mut found = top(&mut eyes, &roots, names.next()?)?;
        for name in names {
            found = below(&mut eyes, &found, name, false)?;
        }
        let files = found.files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string());
        Some((files.collect(), found.folders.len()))
    }

    #[test]
    fn the_first_folder_that_has_a_module_wins_and_folders_without_init_are_joined() {
        let folder =
            project(&["a/m.py", "b/m.py", "a/space/x.py", "b/space/y.py", "b/late/__init__.py", "a/late/z.py"]);
        let file = |path: &str| Some((vec![path.to_owned()], 0));
        assert_eq!(found(&folder, &["a", "b"], "m"), file("a/m.py"));
        assert_eq!(found(&folder, &["b", "a"], "m"), file("b/m.py"));
        assert_eq!(found(&folder, &["a", "b"], "space"), Some((Vec::new(), 2)));
        assert_eq!(found(&folder, &["a", "b"], "space.x"), file("a/space/x.py"));
        assert_eq!(found(&folder, &["a", "b"], "space.y"), file("b/space/y.py"));
        assert_eq!(found(&folder, &["a"], "space.y"), None);
        // A package wins over folders of its name that come before it.
        assert_eq!(found(&folder, &["a", "b"], "late"), Some((vec!["b/late/__init__.py".to_owned()], 1)));
        assert_eq!(found(&folder, &["a", "b"], "late.z"), None);
    }

    #[test]
    fn a_package_wins_over_a_module_and_compiled_files_are_modules() {
        let folder = project(&[
            "p/__init__.py",
            "p.py",
            "q.py",
            "q/x.py",
            "c.cpython-311-x86_64-linux-gnu.so",
            "d.abi3.so",
            "e.so",
            "f.pyc",
            "g.py",
            "g.pyc",
            "h.other.so",
            "i.txt",
            "__pycache__/j.cpython-311.pyc",
            "k/__init__.cpython-312-darwin.so",
        ]);
        let files = |name| found(&folder, &["."], name).map(|(files, _)| files);
        let one = |path: &str| Some(vec![path.to_owned()]);
        assert_eq!(files("p"), one("p/__init__.py"));
        assert_eq!(files("q"), one("q.py"));
        assert_eq!(files("q.x"), None);
        assert_eq!(files("c"), one("c.cpython-311-x86_64-linux-gnu.so"));
        assert_eq!(files("d"), one("d.abi3.so"));
        assert_eq!(files("e"), one("e.so"));
        assert_eq!(files("f"), one("f.pyc"));
        assert_eq!(files("g"), one("g.py"));
        assert_eq!(files("k"), one("k/__init__.cpython-312-darwin.so"));
        for none in ["h", "i", "j", "__init__", "cpython-311"] {
            assert_eq!(files(none), None, "{none}");
        }
        let disk = Disk::default();
        let all = names(&mut Eyes::new(&disk), folder.path(), "");
        assert_eq!(all, ["c", "d", "e", "g", "k", "p", "q"]);
        assert_eq!(names(&mut Eyes::new(&disk), folder.path(), "p"), ["p"]);
    }
}
