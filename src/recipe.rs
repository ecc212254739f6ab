//! What one cell of a stage does: `with:`, `command:`, `code:` and `resources:` as written -> the work, the files that
//! it reads from outside, and what it draws on. Done while the pipeline is expanded; for a cell that waits for results
//! of other stages it is done again when these are known. Knows nothing of other cells and of inputs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pru_flow_stages::StageDef;

use crate::command_files::files_named_in;
use crate::graph::{CommandLine, Described, ExternalFile, Output, Work};
use crate::params::ParamTypes;
use crate::pipeline::{self, StageSpec};
use crate::problem::{Problem, Problems, Span};
use crate::resources;
use crate::template::{Coordinate, Later, Part, Results, Scope, split};
use crate::yaml::{Node, Value};

/// Folders against which relative paths are resolved.
#[derive(Clone, Debug)]
pub struct Bases {
    /// The project's root: for paths in the pipeline.
    pub root: PathBuf,
    /// The current folder: for paths on the command line.
    pub current: PathBuf,
}

impl Bases {
    /// Where a path leads.
    #[must_use]
    pub fn resolve(&self, text: &str, from_command_line: bool) -> PathBuf {
        let base = if from_command_line { &self.current } else { &self.root };
        base.join(text)
    }
}

/// A stage as written, with all that its cells share.
pub struct Recipe {
    /// The stage.
    pub spec: StageSpec,
    /// The params of the file that it stands in.
    pub params: Arc<Node>,
    /// Where its paths start.
    pub bases: Arc<Bases>,
    /// Types of the params of a built-in stage.
    pub types: Option<Arc<ParamTypes>>,
}

impl Recipe {
    /// What names mean in the cell with these coordinates.
    #[must_use]
    pub fn scope<'a>(&'a self, matrix: &'a [Coordinate]) -> Scope<'a> {
        Scope::new(&self.params, self.spec.matrix.as_ref().map(|_| matrix))
    }

    /// Describes the cell with these coordinates. `None` when even the stage's kind is not known. With wrong or awaited
    /// params the description stands all the same, without them, so that what is wrong with the cell's inputs, and with
    /// those who read it, is told in the same pass.
    #[must_use]
    pub fn describe(&self, matrix: &[Coordinate], results: Results<'_>, problems: &mut Problems) -> Option<Described> {
        let scope = self.scope(matrix);
        let with_results = scope.with_results(results);
        let mut described = match &self.spec.work {
            pipeline::Work::Unknown => return None,
            pipeline::Work::Uses(def) => self.builtin(def, &with_results, problems),
            pipeline::Work::Command(node) => {
                let inputs = self.spec.inputs.iter().map(|(key, _)| key.text.as_str()).collect();
                let outputs = self.spec.outputs.iter().map(|(key, _)| key.text.as_str()).collect();
                let later = Later { inputs, outputs };
                let command = command_line(node, &with_results.with_later(&later), problems);
                let mut sources = files_named_in(&command, &self.bases.root);
                sources.extend(self.spec.code.iter().filter_map(|node| self.code(node, &scope, problems)));
                Described { sources, ..Described::of(Work::Command { command }) }
            }
        };
        described.device = resources::read(&self.spec, &scope, &mut described.resources, problems);
        Some(described)
    }

    fn builtin(&self, def: &'static StageDef, scope: &Scope<'_>, problems: &mut Problems) -> Described {
        let unkeyed_params = self.types.as_ref().map_or_else(Vec::new, |types| types.unkeyed());
        let Some(params) = self.params(scope, problems) else {
            let params = serde_json::Value::Null;
            return Described::of(Work::Builtin { def, params, unkeyed_params, forget_class: None });
        };
        let sources = (def.sources)(&params).into_iter().map(|source| ExternalFile {
            name: source.name.to_owned(),
            candidates: source.candidates,
            folders: true,
            hint: Some(source.hint),
        });
        Described {
            resources: (def.resources)(&params),
            sources: sources.collect(),
            ..Described::of(Work::Builtin { def, forget_class: (def.forget_class)(&params), params, unkeyed_params })
        }
    }

    fn params(&self, scope: &Scope<'_>, problems: &mut Problems) -> Option<serde_json::Value> {
        let types = self.types.as_ref()?;
        let with = match &self.spec.with {
            Some(node) => scope.fill(node, problems),
            None => Node::new(Value::Map(Vec::new()), self.spec.name.span),
        };
        let mut json = with.to_json();
        for field in types.paths() {
            if let (Some(node), Some(slot)) = (with.get(field), json.get_mut(field))
                && let Some(text) = node.scalar_text()
            {
                let path = self.bases.resolve(&text, node.from_command_line());
                *slot = serde_json::Value::from(path.to_string_lossy().into_owned());
            }
        }
        types.read(&self.spec.name.text, &with, json, problems)
    }

    /// What the stage itself says of the inputs that are connected, beside its params.
    pub fn check_inputs(&self, work: &Work, connected: &[&str], problems: &mut Problems) {
        // Wrong params have been told, and are no ground to judge by; awaited ones are not there.
        let Work::Builtin { def, params, .. } = work else { return };
        let Some(types) = self.types.as_ref().filter(|_| !params.is_null()) else { return };
        for (name, message) in (def.check_inputs)(params, connected) {
            let (message, help) = types.wrong(name, &message);
            let param = self.spec.with.as_ref().and_then(|with| with.get(name));
            let input = || self.spec.inputs.iter().find(|(key, _)| key.text == name).map(|(key, _)| key.span);
            let problem = match param {
                Some(param) => param.problem(message),
                None => Problem::new(message, input().unwrap_or(self.spec.name.span)),
            };
            problems.push(problem.maybe_help(help));
        }
    }

    fn code(&self, node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Option<ExternalFile> {
        let filled = scope.fill(node, problems);
        let Some(text) = filled.scalar_text() else {
            if filled.value != Value::Wrong {
                let message = format!("`code` names files, not {}", filled.kind());
                problems.push(filled.problem(message).help("code: [train.py, model.py]"));
            }
            return None;
        };
        let path = self.bases.resolve(&text, filled.from_command_line());
        let hint = Some("it is named under `code:`".to_owned());
        Some(ExternalFile { name: format!("code:{text}"), candidates: vec![path], folders: true, hint })
    }

    /// What the cell with these coordinates writes.
    #[must_use]
    pub fn outputs(&self, matrix: &[Coordinate], problems: &mut Problems) -> Vec<Output> {
        match &self.spec.work {
            pipeline::Work::Unknown => Vec::new(),
            pipeline::Work::Uses(def) => def.outputs.iter().map(Output::builtin).collect(),
            pipeline::Work::Command(_) => {
                let scope = self.scope(matrix);
                let outputs = self.spec.outputs.iter();
                let outputs: Vec<Output> =
                    outputs.map(|(key, node)| command_output(&key.text, node, &scope, problems)).collect();
                check_file_names(&self.spec, &outputs, problems);
                outputs
            }
        }
    }

    /// Where a missing file is told: at the param that names it, else at the stage.
    #[must_use]
    pub fn source_span(&self) -> Span {
        let path = match (&self.types, &self.spec.with) {
            (Some(types), Some(with)) => types.paths().iter().find_map(|field| with.get(field)),
            _ => None,
        };
        path.map_or(self.spec.name.span, |node| node.span)
    }
}

fn command_line(node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> CommandLine {
    match &node.value {
        Value::List(items) => {
            let words = items.iter().flat_map(|item| match scope.fill(item, problems) {
                Node { value: Value::Wrong | Value::Awaited, .. } => Vec::new(),
                // A whole `${params.list}` is as many words as it has values.
                Node { value: Value::List(values), .. } => values,
                one => vec![one],
            });
            let words = words.collect::<Vec<Node>>();
            let told = |word: &Node| matches!(word.value, Value::Wrong | Value::Awaited);
            for word in words.iter().filter(|word| word.scalar_text().is_none() && !told(word)) {
                let message = format!("a word of a command is a single value, not {}", word.kind());
                problems.push(word.problem(message).help("command: [python3, train.py, --lr, \"${params.lr}\"]"));
            }
            CommandLine::Words(words.iter().filter_map(Node::scalar_text).collect())
        }
        _ => CommandLine::Shell(shell_text(node, scope, problems)),
    }
}

/// The text for the shell, with every value put in quoted: a value is never read as syntax.
fn shell_text(node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> String {
    let text = node.scalar_text().unwrap_or_default();
    let Ok(parts) = split(&text) else {
        // Tells what is wrong.
        let _ = scope.fill(node, problems);
        return text;
    };
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Literal(literal) => out.push_str(&literal.replace("${", "$${")),
            Part::Reference(path) => {
                let reference = Node { value: Value::Text(format!("${{{path}}}")), ..*node };
                let later = matches!(path.split('.').next(), Some("inputs" | "outputs"));
                let filled = scope.fill(&reference, problems);
                match filled.scalar_text() {
                    Some(value) if later => out.push_str(&value),
                    Some(value) => out.push_str(&crate::execute::shell_quote(&value)),
                    None if matches!(filled.value, Value::Wrong | Value::Awaited) => {}
                    None => {
                        let message = format!("`${{{path}}}` is {}, not a single value", filled.kind());
                        problems.push(filled.problem(message).help("a list of words takes a list: `command: [...]`"));
                    }
                }
            }
        }
    }
    out
}

/// Copies of outputs lie side by side under their file names.
fn check_file_names(spec: &StageSpec, outputs: &[Output], problems: &mut Problems) {
    for (index, output) in outputs.iter().enumerate() {
        if let Some(first) = outputs[..index].iter().find(|other| other.file_name == output.file_name) {
            let message = format!("the outputs `{}` and `{}` have one file name", first.name, output.name);
            problems.push(Problem::new(message, spec.outputs[index].1.span).help("give each its own"));
        }
    }
}

fn command_output(name: &str, node: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Output {
    let filled = scope.fill(node, problems);
    let file_name = filled.scalar_text().unwrap_or_default();
    let path = Path::new(&file_name);
    let plain = filled.holds_wrong()
        || !matches!(node.value, Value::Text(_))
        || path.components().count() == 1 && path.file_name().is_some_and(|f| f.to_str() == Some(&file_name));
    if !plain {
        let problem = Problem::new(format!("the output `{name}` is a plain file name, not `{file_name}`"), node.span);
        problems.push(problem.help("the command writes it to the path that `${outputs.NAME}` stands for"));
    }
    Output { name: name.to_owned(), file_name, folder: None }
}
