//! The code of a command node: its line with paths in it and its variables -> what `code` finds, as sources and tools of
//! its key. What cannot be followed is told once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pru_flow_cache::Digest;

use crate::code::{self, CodeReader, CommandCode, Environment, Line, Look, Variables};
use crate::command::{Code, CommandLine, CommandWork, relative};
use crate::graph::{ExternalFile, Graph, NodeId, Output};
use crate::places::Places;
use crate::sources::{Found, Missing, Outside};

/// What is known of a command's code, and how it was found: so that it can be looked for once more.
#[derive(Clone, Debug)]
pub struct NodeCode {
    line: CommandLine,
    root: PathBuf,
    folder: PathBuf,
    variables: Arc<Variables>,
    not_code: Vec<PathBuf>,
    /// What was found.
    pub found: Arc<CommandCode>,
}

/// What the code adds to a key.
#[derive(Clone, Debug, Default)]
pub struct Keyed {
    /// Files and programs.
    pub sources: Vec<Found>,
    /// Versions of languages.
    pub tools: BTreeMap<String, String>,
    /// Texts of what is installed, by their digests.
    pub environments: Vec<(Digest, String)>,
}

impl NodeCode {
    /// The code of node `id`, which runs `work`.
    ///
    /// # Errors
    /// When a program is not there, or a Python does not answer.
    pub fn find(
        graph: &Graph,
        id: NodeId,
        (work, sources): (&CommandWork, &[ExternalFile]),
        (outside, look): (&Outside, &Look<'_>),
    ) -> Result<Self, Missing> {
        let node = &graph.nodes[id];
        let places = places(graph, id, work, sources);
        let wrong = |message: String| Missing { message, help: None };
        let line = places.fill(&work.line).map_err(wrong)?;
        let artifacts = node.inputs.values().flat_map(|port| &port.from);
        let given = artifacts.filter_map(|(producer, output)| output_of(graph, *producer, output)?.path.as_ref());
        let own = node.outputs.iter().filter_map(|output| output.path.as_ref());
        let not_code = given.chain(own).map(|path| graph.root.join(path)).collect();
        let (root, folder) = (graph.root.clone(), graph.root.join(&work.cwd));
        let variables = outside.variables(work);
        let mut code = Self { line, root, folder, variables, not_code, found: Arc::default() };
        code.found = code.look(look).map_err(|error| Missing { message: error.message, help: Some(error.help) })?;
        Ok(code)
    }

    fn look(&self, look: &Look<'_>) -> Result<Arc<CommandCode>, code::CodeError> {
        let line = match &self.line {
            CommandLine::Shell(text) => Line::Shell(text),
            CommandLine::Words(words) => Line::Words(words),
        };
        let Self { root, folder, variables, not_code, .. } = self;
        look.of_command(&code::Command { line, root, folder, variables, not_code })
    }

    /// Whether a look at the disk as it is now finds the same.
    #[must_use]
    pub fn is_unchanged(&self, reader: &CodeReader) -> bool {
        self.look(&reader.look()).is_ok_and(|now| now == self.found)
    }

    /// What it adds to the key of a node whose other sources are `found`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn keyed(&self, work: &CommandWork, found: &[Found], outside: &Outside) -> Result<Keyed, Missing> {
        let mut keyed = Keyed::default();
        let mut add = |name: String, path: &Path| -> Result<(), Missing> {
            if !found.iter().any(|known| known.path == path && known.value.is_none()) {
                keyed.sources.push(outside.found(name, path)?);
            }
            Ok(())
        };
        for program in &self.found.programs {
            add(format!("program:{}", program.name), &program.path)?;
        }
        if work.code == Code::Followed {
            for path in &self.found.files {
                let shown = path.strip_prefix(&self.root).unwrap_or(path);
                add(format!("code:{}", shown.display()), path)?;
            }
        }
        for (index, python) in self.found.pythons.iter().enumerate() {
            let twin = if index == 0 { String::new() } else { format!("-{}", index + 1) };
            keyed.tools.insert(format!("python{twin}"), python.version().to_owned());
            if !work.locked_environment {
                let (digest, text) = digest(python);
                keyed.sources.push(Found::environment(format!("python{twin}:environment"), digest));
                keyed.environments.push((digest, text));
            }
        }
        Ok(keyed)
    }

    /// What could not be followed, in words; nothing where the code is listed.
    pub fn warnings<'c>(&'c self, work: &CommandWork, stage: &'c str) -> impl Iterator<Item = String> + 'c {
        let followed = work.code == Code::Followed;
        self.found.warnings.iter().filter(move |_| followed).map(move |warning| {
            let place = match (&warning.file, warning.line) {
                (Some(file), line) => {
                    let file = file.strip_prefix(&self.root).unwrap_or(file).display();
                    line.map_or_else(|| format!("{file}"), |line| format!("{file}:{line}"))
                }
                (None, _) => format!("the command of `{stage}`"),
            };
            format!("{place}: {}; {}", warning.message, warning.help)
        })
    }
}

fn digest(python: &Environment) -> (Digest, String) {
    let text = python.text();
    (Digest::of(text.as_bytes()), text)
}

fn output_of<'g>(graph: &'g Graph, producer: NodeId, output: &str) -> Option<&'g Output> {
    graph.nodes[producer].outputs.iter().find(|known| known.name == output)
}

/// Where inputs and outputs lie, as far as that is known before the node runs; a file that is made only then has no
/// code in it.
fn places(graph: &Graph, id: NodeId, work: &CommandWork, sources: &[ExternalFile]) -> Places {
    let node = &graph.nodes[id];
    let made = |kind: &str, name: &str| PathBuf::from(format!("/nowhere/{kind}/{name}"));
    let mut places = Places::default();
    for (port, inputs) in &node.inputs {
        let path = |(producer, output): &(NodeId, String)| {
            let path = output_of(graph, *producer, output).and_then(|output| output.path.as_ref());
            path.map_or_else(|| made("in", port), |path| relative(&work.cwd, path))
        };
        places.inputs.insert(port.clone(), inputs.from.iter().map(path).collect());
    }
    for (port, names) in &work.files {
        let found = names.iter().filter_map(|name| sources.iter().find(|source| source.name == *name));
        let path = |source: &ExternalFile| source.candidates.first().cloned().unwrap_or_default();
        places.inputs.insert(port.clone(), found.map(path).collect());
    }
    for output in &node.outputs {
        let path = output.path.as_ref().map_or_else(|| made("out", &output.name), |path| relative(&work.cwd, path));
        places.outputs.insert(output.name.clone(), path);
    }
    places
}
