//! Where things lie: the pipeline's file, the project's root, the store, logs and results. Loads a pipeline up to its
//! graph, the one way for every command.

use std::fs;
use std::path::{Path, PathBuf};

use pru_flow_cache::{LocalStore, StatCache, StoreError};

use crate::expand::{Bases, expand};
use crate::graph::Graph;
use crate::overrides;
use crate::pipeline::Pipeline;
use crate::problem::{Problem, Problems, Span};

/// The pipeline that is built in, for a first run without any file.
const QUICKSTART: &str = include_str!("../pipelines/quickstart.yaml");

/// A pipeline's text and the arguments that change it: what a problem's place refers to.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// The file's name as the user typed it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The `--set` arguments.
    pub arguments: Vec<String>,
}

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
    /// Its nodes.
    pub graph: Graph,
    /// The store's folder.
    pub store_folder: PathBuf,
}

impl Project {
    /// Loads `pipeline` with its `--set` arguments; `store` overrides where results lie.
    ///
    /// # Errors
    /// Everything that is wrong with the file or the arguments.
    pub fn load(pipeline: &Path, arguments: &[String], store: Option<&Path>) -> Result<Self, Box<Unloadable>> {
        let name = pipeline.display().to_string();
        let mut source = SourceText { name, text: String::new(), arguments: arguments.to_vec() };
        let result = read(pipeline, &mut source.text).and_then(|root| Self::build(&source, root, store));
        result.map_err(|problems| Box::new(Unloadable { source, problems }))
    }

    fn build(source: &SourceText, root: PathBuf, store: Option<&Path>) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let Some(mut pipeline) = Pipeline::read(&source.text, &mut problems) else { return Err(problems) };
        overrides::apply(&mut pipeline, &source.arguments, &mut problems);
        let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let graph = expand(&pipeline, &Bases { root: root.clone(), current: current.clone() }, &mut problems);
        let store_folder = store.map_or_else(|| root.join(".pru-flow"), |store| current.join(store));
        problems.into_result(Self { source: source.clone(), name: pipeline.name, root, graph, store_folder })
    }

    /// Opens the store, and the remembered digests of outside files.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_store(&self) -> Result<(LocalStore, StatCache), StoreError> {
        let store = LocalStore::open(&self.store_folder)?;
        let stat = StatCache::load(&self.store_folder);
        Ok((store, stat))
    }

    /// The store if there is one: to look at a pipeline makes none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn look_into_store(&self) -> Result<(Option<LocalStore>, StatCache), StoreError> {
        let is_store = self.store_folder.join("VERSION").exists();
        let store = is_store.then(|| LocalStore::open(&self.store_folder)).transpose()?;
        Ok((store, StatCache::load(&self.store_folder)))
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

    /// Recorded runs.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.store_folder.join("runs")
    }
}

/// Reads the pipeline into `text` and finds the project's root.
fn read(pipeline: &Path, text: &mut String) -> Result<PathBuf, Problems> {
    let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let bytes = match fs::read(pipeline) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && pipeline == Path::new("quickstart") => {
            QUICKSTART.clone_into(text);
            return Ok(current);
        }
        Err(error) => {
            let problem = Problem::of_file(format!("cannot read the pipeline: {error}"));
            let help = "give the path of a pipeline, or `quickstart` for the one that is built in";
            return Err(Problems::one(problem.help(help)));
        }
    };
    *text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        // Each bad byte is shown as one replacement character, so the place stays the same.
        *text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let problem =
            Problem::new("the pipeline is not UTF-8", Span::file(at, at + char::REPLACEMENT_CHARACTER.len_utf8()));
        Problems::one(problem.label("no character").help("save the file as UTF-8"))
    })?;
    let absolute = current.join(pipeline);
    let folder = fs::canonicalize(absolute.parent().unwrap_or(&current)).unwrap_or(current);
    let root = folder.ancestors().find(|f| f.join("pru-flow.toml").exists() || f.join(".git").exists());
    Ok(root.unwrap_or(&folder).to_owned())
}
