//! Follows the imports of one program in Python to all local files that it may load. Knows how modules are found and
//! what files import; knows no shell and no interpreter.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::python::modules::{Found, Roots, below, is_text, linked, names, top};
use super::python::syntax::{Exports, Import, Module, Order, Taken};
use super::runs::Place;
use super::seen::Eyes;

/// Files that one program may load; more are no project of anybody's.
const FILES_MAX: usize = 20_000;
/// Parts that the name of a module may have.
const PARTS_MAX: usize = 32;

/// Where a program starts.
#[derive(Clone, Debug)]
pub(super) enum Start {
    /// A file.
    File(PathBuf),
    /// A module, as `python -m` runs it.
    Module(String),
    /// A text that is no file.
    Code(Arc<Module>),
}

/// What a program was found to load.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub files: BTreeSet<PathBuf>,
    pub doubts: BTreeSet<(Place, String)>,
    /// Commands that its files run.
    pub commands: Vec<(Place, Order)>,
}

/// Reads what a file imports.
pub(super) type ReadModule<'a> = dyn Fn(&Path, &mut Eyes<'_>) -> Arc<Module> + 'a;

/// Follows one program. Its folders are those in which it may run.
pub(super) fn follow(
    start: &Start,
    mut roots: Roots,
    folders: &[PathBuf],
    eyes: &mut Eyes<'_>,
    read: &ReadModule<'_>,
) -> Followed {
    loop {
        let mut follower = Follower {
            eyes: &mut *eyes,
            read,
            folders,
            roots: &roots,
            modules: HashMap::new(),
            loaded: HashMap::new(),
            queue: Vec::new(),
            visited: HashSet::new(),
            added: Vec::new(),
            followed: Followed::default(),
        };
        follower.start(start);
        let Follower { added, followed, .. } = follower;
        if added.is_empty() {
            return followed;
        }
        // Code adds folders to those in which modules are looked for: everything may be found anew.
        roots.added.extend(added);
    }
}

struct Follower<'a, 'e, 'd> {
    eyes: &'e mut Eyes<'d>,
    read: &'a ReadModule<'a>,
    folders: &'a [PathBuf],
    roots: &'a Roots,
    /// Modules by their full names, as far as they have been looked for.
    modules: HashMap<String, Option<Rc<Found>>>,
    /// Those that are loaded, with the packages above them, or that are not local.
    loaded: HashMap<String, Option<Rc<Found>>>,
    /// Files to be read, with the packages that their relative imports start from.
    queue: Vec<(PathBuf, String)>,
    visited: HashSet<(PathBuf, String)>,
    added: Vec<PathBuf>,
    followed: Followed,
}

impl Follower<'_, '_, '_> {
    fn start(&mut self, start: &Start) {
        // Python loads these by itself where it finds them.
        for name in ["sitecustomize", "usercustomize"] {
            self.load(name);
        }
        match start {
            Start::File(path) => self.enqueue(path.clone(), String::new()),
            Start::Module(name) => {
                self.load(name);
                self.load(&format!("{name}.__main__"));
            }
            Start::Code(module) => self.module(None, "", module),
        }
        while let Some((path, package)) = self.queue.pop() {
            let module = (self.read)(&path, self.eyes);
            self.module(Some(&path), &package, &module);
        }
    }

    fn enqueue(&mut self, path: PathBuf, package: String) {
        if self.followed.files.len() >= FILES_MAX {
            let doubt = format!("more than {FILES_MAX} files are imported; the others are not part of the key");
            self.followed.doubts.insert((Place { file: None, line: 1 }, doubt));
            return;
        }
        if self.visited.insert((path.clone(), package.clone())) {
            self.followed.files.insert(path.clone());
            if is_text(&path) {
                self.queue.push((path, package));
            }
        }
    }

    /// The module of a full name.
    fn find(&mut self, name: &str) -> Option<Rc<Found>> {
        if let Some(known) = self.modules.get(name) {
            return known.clone();
        }
        let found = match name.rsplit_once('.') {
            None => top(self.eyes, self.roots, name),
            Some((parent, own)) => {
                let several = !self.roots.added.is_empty() || !self.roots.linked.is_empty();
                self.find(parent).and_then(|parent| below(self.eyes, &parent, own, several))
            }
        };
        let found = match (found, linked(self.eyes, self.roots, name)) {
            (Some(mut found), Some(more)) => {
                found.merge(more);
                Some(found)
            }
            (found, more) => found.or(more),
        };
        let found = found.map(Rc::new);
        self.modules.insert(name.to_owned(), found.clone());
        found
    }

    /// Loads a module, and before it the packages that it lies in, as far as they are local.
    fn load(&mut self, name: &str) -> Option<Rc<Found>> {
        if let Some(known) = self.loaded.get(name) {
            return known.clone();
        }
        let found = self.load_each(name);
        self.loaded.insert(name.to_owned(), found.clone());
        found
    }

    fn load_each(&mut self, name: &str) -> Option<Rc<Found>> {
        if name.is_empty() || name.split('.').count() > PARTS_MAX {
            return None;
        }
        let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
        let mut last = None;
        for end in ends {
            let own = &name[..end];
            let found = self.find(own)?;
            let parent = own.rsplit_once('.').map_or("", |(parent, _)| parent);
            for file in &found.files {
                let is_init = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"__init__."));
                self.enqueue(file.clone(), if is_init { own } else { parent }.to_owned());
            }
            last = Some(found);
        }
        last
    }

    /// Goes through what a file does.
    fn module(&mut self, file: Option<&Path>, package: &str, module: &Module) {
        for import in &module.imports {
            self.import(package, import);
        }
        for place in &module.folders {
            for folder in self.folders {
                let Some(folder) = place.path(file, folder) else { continue };
                let is_known =
                    [&self.roots.ordered, &self.roots.added, &self.added].iter().any(|all| all.contains(&folder));
                if !is_known && self.eyes.is_folder(&folder) {
                    self.added.push(folder);
                }
            }
        }
        for place in &module.files {
            for folder in self.folders {
                if let Some(path) = place.path(file, folder).filter(|path| self.eyes.is_file(path)) {
                    self.enqueue(path, String::new());
                }
            }
        }
        let place = |line| Place { file: file.map(Path::to_owned), line };
        self.followed.doubts.extend(module.doubts.iter().map(|(line, doubt)| (place(*line), doubt.clone())));
        self.followed.commands.extend(module.commands.iter().map(|(line, order)| (place(*line), order.clone())));
    }

    fn import(&mut self, package: &str, import: &Import) {
        let Some(name) = full_name(package, import) else { return };
        match &import.names {
            Taken::Itself => {
                self.load(&name);
            }
            Taken::Name(own) => {
                if self.load(&name).is_some() {
                    self.load(&format!("{name}.{own}"));
                }
            }
            Taken::All => {
                if let Some(found) = self.load(&name) {
                    self.exports(&name, &found);
                }
            }
            Taken::Starting(start) => {
                let found = if name.is_empty() { None } else { self.load(&name) };
                match found {
                    Some(found) => self.all_below(&name, &found.folders, start),
                    None if name.is_empty() => {
                        let folders: Vec<PathBuf> =
                            self.roots.ordered.iter().chain(&self.roots.added).cloned().collect();
                        self.all_below("", &folders, start);
                    }
                    None => {}
                }
            }
        }
    }

    /// The modules that `from name import *` loads.
    fn exports(&mut self, name: &str, package: &Found) {
        for file in package.files.iter().filter(|file| is_text(file)) {
            match &(self.read)(file, self.eyes).exports {
                Exports::Unsaid => {}
                Exports::Names(names) => names.iter().for_each(|own| {
                    self.load(&format!("{name}.{own}"));
                }),
                Exports::Computed => self.all_below(name, &package.folders, ""),
            }
        }
    }

    /// Loads every module in folders whose name begins with `start`, and all that lies in these.
    fn all_below(&mut self, name: &str, folders: &[PathBuf], start: &str) {
        let owns: BTreeSet<String> = folders.iter().flat_map(|folder| names(self.eyes, folder, start)).collect();
        for own in owns {
            if self.followed.files.len() >= FILES_MAX {
                return;
            }
            let full = if name.is_empty() { own } else { format!("{name}.{own}") };
            if let Some(found) = self.load(&full) {
                self.all_below(&full, &found.folders, "");
            }
        }
    }
}

/// The full name of what is imported in a package; `None` when dots lead out of it, which Python refuses.
fn full_name(package: &str, import: &Import) -> Option<String> {
    if import.level == 0 {
        return Some(import.module.clone());
    }
    let parts: Vec<&str> = package.split('.').filter(|part| !part.is_empty()).collect();
    let base = parts.get(..parts.len().checked_sub(import.level - 1)?).filter(|base| !base.is_empty())?.join(".");
    Some(if import.module.is_empty() { base } else { format!("{base}.{}", import.module) })
}
