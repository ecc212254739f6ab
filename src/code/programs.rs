//! Where the programs of a command lie: on the PATH, in the environments of `uv`, `conda` and the like, behind the
//! shims of pyenv. Looks at the disk, starts nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::language::is_python;
use super::runs::Runs;
use super::seen::{Eyes, plain};
use super::wrappers::Via;

/// Where programs are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    pub runs: &'a Runs,
    pub variables: &'a BTreeMap<String, String>,
}

/// Where a program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// There.
    At(PathBuf),
    /// Nowhere.
    Nowhere,
    /// In an environment that is not there, or that cannot be told; why, and what to do.
    Unclear(String),
}

impl Search<'_> {
    /// The folder in which the command runs first.
    pub fn folder(&self) -> &Path {
        self.runs.folders.first().map_or(Path::new("/"), PathBuf::as_path)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The program of this name or path.
    pub fn program(&self, eyes: &mut Eyes<'_>, name: &str, via: Option<&Via>) -> Located {
        if name.contains('/') {
            let paths = self.runs.folders.iter().map(|folder| plain(&folder.join(name)));
            return paths.into_iter().find(|path| is_program(eyes, path)).map_or(Located::Nowhere, Located::At);
        }
        let mut unclear = None;
        for via in via.into_iter().chain(&self.runs.activated) {
            match self.environment(eyes, via) {
                Ok(folder) => {
                    let path = folder.join("bin").join(name);
                    if is_program(eyes, &path) {
                        return Located::At(path);
                    }
                }
                Err(why) => unclear = unclear.or(Some(why)),
            }
        }
        // The PATH has a Python for sure, and surely not the one that is meant.
        if let Some(why) = unclear.clone().filter(|_| is_python(name)) {
            return Located::Unclear(why);
        }
        let paths = self.runs.paths.iter().map(String::as_str).chain(self.variable("PATH"));
        for folder in paths.flat_map(|path| path.split(':')) {
            let path = plain(&self.folder().join(folder).join(name));
            if is_program(eyes, &path) {
                return Located::At(self.behind_shim(eyes, &path).unwrap_or(path));
            }
        }
        unclear.map_or(Located::Nowhere, Located::Unclear)
    }

    /// The folder of an environment.
    fn environment(&self, eyes: &mut Eyes<'_>, via: &Via) -> Result<PathBuf, String> {
        match via {
            Via::Environment(name) if name.contains('/') => {
                let folders = self.runs.folders.iter().map(|folder| plain(&folder.join(name)));
                let found = folders.into_iter().find(|folder| eyes.is_folder(folder));
                found.ok_or_else(|| format!("there is no environment in `{name}`"))
            }
            Via::Environment(name) => {
                self.conda(eyes, name).ok_or_else(|| format!("the conda environment `{name}` cannot be found"))
            }
            Via::Uv(project) => {
                let start = self.folder().join(project.as_deref().unwrap_or("."));
                let root = above(eyes, &plain(&start), &["pyproject.toml"]);
                let named = self.variable("UV_PROJECT_ENVIRONMENT").unwrap_or(".venv");
                let folder =
                    root.map(|root| root.join(named)).or_else(|| self.variable("VIRTUAL_ENV").map(PathBuf::from));
                let found = folder.filter(|folder| eyes.is_folder(folder));
                found.ok_or_else(|| "the environment of `uv run` is not there yet (`uv sync` makes it)".to_owned())
            }
            Via::Venv(tool) => {
                let active = self.variable("VIRTUAL_ENV").map(PathBuf::from);
                let root = above(eyes, self.folder(), &["pyproject.toml", "Pipfile"]);
                let found =
                    active.or_else(|| root.map(|root| root.join(".venv"))).filter(|folder| eyes.is_folder(folder));
                found.ok_or_else(|| format!("where `{tool}` keeps its environment cannot be told: there is no `.venv`"))
            }
            Via::Pixi(name) => {
                let root = above(eyes, self.folder(), &["pixi.toml", "pyproject.toml"]);
                let found = root.map(|root| root.join(".pixi/envs").join(name)).filter(|folder| eyes.is_folder(folder));
                found.ok_or_else(|| format!("the pixi environment `{name}` is not there yet (`pixi install` makes it)"))
            }
        }
    }

    /// The lock file that an environment is made from when the command runs.
    pub fn lock(&self, eyes: &mut Eyes<'_>, via: &Via) -> Option<PathBuf> {
        let (project, marks, lock): (_, &[&str], _) = match via {
            Via::Uv(project) => (project.as_deref(), &["pyproject.toml"], "uv.lock"),
            Via::Pixi(_) => (None, &["pixi.toml", "pyproject.toml"], "pixi.lock"),
            Via::Venv(_) | Via::Environment(_) => return None,
        };
        let start = plain(&self.folder().join(project.unwrap_or(".")));
        let lock = above(eyes, &start, marks)?.join(lock);
        eyes.is_file(&lock).then_some(lock)
    }

    /// An environment of conda by its name: beside the active one, below the installation that `conda` lies in, or in
    /// the list that conda keeps of all.
    fn conda(&self, eyes: &mut Eyes<'_>, name: &str) -> Option<PathBuf> {
        let mut bases: Vec<PathBuf> = Vec::new();
        for active in ["CONDA_PREFIX", "MAMBA_ROOT_PREFIX"].iter().filter_map(|name| self.variable(name)) {
            let active = PathBuf::from(active);
            bases.extend(
                active
                    .ancestors()
                    .nth(2)
                    .filter(|_| active.parent().is_some_and(|p| p.ends_with("envs")))
                    .map(Path::to_owned),
            );
            bases.push(active);
        }
        let path = self.variable("PATH").unwrap_or_default();
        for folder in path.split(':').map(Path::new) {
            if eyes.is_file(&folder.join("conda")) {
                bases.extend(folder.parent().map(Path::to_owned));
            }
        }
        let mut found: Vec<PathBuf> = bases.iter().map(|base| base.join("envs").join(name)).collect();
        if name == "base" {
            found
                .extend(bases.into_iter().filter(|base| !base.parent().is_some_and(|parent| parent.ends_with("envs"))));
        }
        if let Some(home) = self.variable("HOME") {
            let list = eyes.bytes(&Path::new(home).join(".conda/environments.txt")).unwrap_or_default();
            let list = String::from_utf8_lossy(&list).into_owned();
            found.extend(list.lines().map(PathBuf::from).filter(|folder| folder.ends_with(name)));
        }
        found.into_iter().find(|folder| eyes.is_folder(folder))
    }

    /// The program that a shim of pyenv starts, chosen as pyenv chooses: by `PYENV_VERSION`, the nearest
    /// `.python-version`, or the version that is set for all.
    fn behind_shim(&self, eyes: &mut Eyes<'_>, path: &Path) -> Option<PathBuf> {
        let shims = path.parent().filter(|folder| folder.ends_with("shims"))?;
        let (root, name) = (shims.parent()?, path.file_name()?);
        let versions = root.join("versions");
        if !eyes.is_folder(&versions) {
            return None;
        }
        let text = |eyes: &mut Eyes<'_>, path: &Path| {
            let text = eyes.bytes(path).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
            let names: Vec<String> = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned)
                .collect();
            (!names.is_empty()).then_some(names)
        };
        let start = self.variable("PYENV_DIR").map_or_else(|| self.folder().to_owned(), PathBuf::from);
        let chosen = match self.variable("PYENV_VERSION") {
            Some(names) => names.split(':').map(str::to_owned).collect(),
            None => {
                let local = start.ancestors().find_map(|folder| text(eyes, &folder.join(".python-version")));
                local.or_else(|| text(eyes, &root.join("version"))).unwrap_or_else(|| vec!["system".to_owned()])
            }
        };
        for version in &chosen {
            if version == "system" {
                let folders = self.variable("PATH").unwrap_or_default().split(':').map(Path::new);
                let mut others = folders.filter(|folder| *folder != shims).map(|folder| folder.join(name));
                if let Some(found) = others.find(|path| is_program(eyes, path)) {
                    return Some(found);
                }
                continue;
            }
            let version = version.strip_prefix("python-").unwrap_or(version);
            let exact = versions.join(version);
            let folder = if eyes.is_folder(&exact) { Some(exact) } else { latest(eyes, &versions, version) };
            let found = folder.map(|folder| folder.join("bin").join(name)).filter(|path| is_program(eyes, path));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// The greatest installed version that begins so: `3.11` is the latest `3.11.x`.
fn latest(eyes: &mut Eyes<'_>, versions: &Path, start: &str) -> Option<PathBuf> {
    let start = format!("{start}.");
    let listing = eyes.listing(versions)?;
    let numbers = |name: &str| name.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>().ok();
    let folders = listing.all().filter(|(name, folder)| *folder && name.starts_with(&start));
    let greatest = folders.filter_map(|(name, _)| Some((numbers(name)?, name))).max()?;
    Some(versions.join(greatest.1))
}

/// The nearest folder, from `start` up, that holds one of these files.
fn above(eyes: &mut Eyes<'_>, start: &Path, files: &[&str]) -> Option<PathBuf> {
    let found = start.ancestors().find(|folder| files.iter().any(|file| eyes.is_file(&folder.join(file))));
    found.map(Path::to_owned)
}

fn is_program(eyes: &mut Eyes<'_>, path: &Path) -> bool {
    eyes.identity(path).is_some_and(|identity| identity.file && identity.executable)
}
