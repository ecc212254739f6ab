//! Where things lie: the pipeline's file, the project's root, the store, logs and results. Loads a pipeline up to its
//! graph, the one way for every command.

use std::path::{Path, PathBuf};

use pru_flow_cache::{LocalStore, StoreError};

use crate::expand::expand;
use crate::graph::Graph;
use crate::import;
use crate::overrides::{self, Changes};
use crate::params_file;
use crate::pipeline::Pipeline;
use crate::problem::{Problem, Problems, SourceFile, SourceText, TextId};
use crate::recipe::Bases;
use crate::sources::Outside;
use crate::yaml::Node;

/// The pipeline that is built in, for a first run without any file.
const QUICKSTART: &str = include_str!("../pipelines/quickstart.yaml");

/// A pipeline that could not be loaded.
#[derive(Debug)]
pub struct Unloadable {
    /// The text that the places refer to.
    pub source: SourceText,
    /// All that is wrong.
    pub problems: Problems,
}

/// A loaded pipeline and its places.
pub struct Project {
    /// The pipeline's text.
    pub source: SourceText,
    /// Its name.
    pub name: String,
    /// The project's root.
    pub root: PathBuf,
    /// The params of the pipeline and of those that it imports, after `--set`; imports by name, itself without one.
    pub params: Vec<(String, serde_json::Value)>,
    /// Its nodes.
    pub graph: Graph,
    /// The store's folder.
    pub store_folder: PathBuf,
}

impl Project {
    /// Loads `pipeline` with what the command line changes; `store` overrides where results lie.
    ///
    /// # Errors
    /// Everything that is wrong with the file or the changes.
    pub fn load(pipeline: &Path, changes: Changes<'_>, store: Option<&Path>) -> Result<Self, Box<Unloadable>> {
        let mut source = SourceText { files: Vec::new(), arguments: changes.set.to_vec() };
        let mut problems = Problems::default();
        match build(pipeline, changes, &mut source, &mut problems) {
            Some((pipeline, root, graph)) if problems.is_empty() => {
                let store_folder = store.map_or_else(|| root.join(".pru-flow"), |store| current_folder().join(store));
                let mut params = Vec::new();
                collect_params(&pipeline, "", &mut params);
                Ok(Self { source, name: pipeline.name, root, params, graph, store_folder })
            }
            _ => Err(Box::new(Unloadable { source, problems })),
        }
    }

    /// Opens the store, and the remembered digests of outside files.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_store(&self) -> Result<(LocalStore, Outside), StoreError> {
        let store = LocalStore::open(&self.store_folder)?;
        let outside = Outside::load(&self.store_folder);
        Ok((store, outside))
    }

    /// The store if there is one: to look at a pipeline makes none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn look_into_store(&self) -> Result<(Option<LocalStore>, Outside), StoreError> {
        Ok((look_into(&self.store_folder)?, Outside::load(&self.store_folder)))
    }

    /// Logs by key.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.store_folder.join("logs")
    }

    /// Copies of the last outputs of this pipeline.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.store_folder.join("results").join(&self.name)
    }
}

/// The store in a folder, if there is one.
///
/// # Errors
/// When it cannot be opened.
pub fn look_into(store_folder: &Path) -> Result<Option<LocalStore>, StoreError> {
    store_folder.join("VERSION").exists().then(|| LocalStore::open(store_folder)).transpose()
}

/// The store's folder for commands that name no pipeline: `store`, or that of the project around the current folder.
#[must_use]
pub fn store_folder(store: Option<&Path>) -> PathBuf {
    let current = current_folder();
    match store {
        Some(store) => current.join(store),
        None => {
            let is_there = |folder: &&Path| folder.join(".pru-flow").is_dir() || is_root(folder);
            current.ancestors().find(is_there).unwrap_or(&current).join(".pru-flow")
        }
    }
}

fn is_root(folder: &Path) -> bool {
    folder.join("pru-flow.toml").exists() || folder.join(".git").exists()
}

fn current_folder() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

/// The params of `pipeline`, which is imported as `name`, and of what it imports itself.
fn collect_params(pipeline: &Pipeline, name: &str, all: &mut Vec<(String, serde_json::Value)>) {
    all.push((name.to_owned(), pipeline.params.to_json()));
    for import in &pipeline.imports {
        if let Some(imported) = &import.pipeline {
            let own = &import.name.text;
            let path = if name.is_empty() { own.clone() } else { format!("{name}.{own}") };
            collect_params(imported, &path, all);
        }
    }
}

/// The pipeline, the project's root and the graph.
fn build(
    file: &Path,
    changes: Changes<'_>,
    source: &mut SourceText,
    problems: &mut Problems,
) -> Option<(Pipeline, PathBuf, Graph)> {
    let (id, root) = read(file, source, problems)?;
    let text = source.files.first().map(|file| file.text.clone()).unwrap_or_default();
    let mut pipeline = Pipeline::read(&text, id, problems)?;
    import::load(&mut pipeline, file, source, problems);
    let files: Vec<Node> = changes.params.iter().filter_map(|path| params_file::read(path, source, problems)).collect();
    overrides::apply(&mut pipeline, &files, changes.set, problems);
    let bases = Bases { root: root.clone(), current: current_folder() };
    let graph = expand(&pipeline, &bases, source, problems);
    Some((pipeline, root, graph))
}

/// Reads the pipeline's own file, and finds the project's root.
fn read(pipeline: &Path, source: &mut SourceText, problems: &mut Problems) -> Option<(TextId, PathBuf)> {
    let current = current_folder();
    let shown = pipeline.display().to_string();
    let id = match import::read_file(pipeline, shown.clone(), source, problems) {
        Ok(id) => id?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && pipeline == Path::new("quickstart") => {
            source.files.push(SourceFile { name: shown, text: QUICKSTART.to_owned() });
            return Some((TextId::File(0), current));
        }
        Err(error) => {
            source.files.push(SourceFile { name: shown, text: String::new() });
            let problem = Problem::of_file(format!("cannot read the pipeline: {error}"));
            problems.push(problem.help("give the path of a pipeline, or `quickstart` for the one that is built in"));
            return None;
        }
    };
    Some((id, root_of(pipeline)))
}

/// The root of the project in which a pipeline's file lies, or is to lie: the nearest folder above it with
/// `pru-flow.toml` or `.git`, else its own.
#[must_use]
pub fn root_of(pipeline: &Path) -> PathBuf {
    let current = current_folder();
    let absolute = current.join(pipeline);
    let folder = std::fs::canonicalize(absolute.parent().unwrap_or(&current)).unwrap_or(current);
    let root = folder.ancestors().find(|folder| is_root(folder));
    root.unwrap_or(&folder).to_owned()
}
