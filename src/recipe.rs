//! What one cell of a stage does: `with:`, `command:`, `code:` and `resources:` as written -> the work, the files that
//! it reads from outside, and what it draws on. Done while the pipeline is expanded; for a cell that waits for results
//! of other stages it is done again when these are known. Knows nothing of other cells and of inputs.

mod command;

use std::path::PathBuf;
use std::sync::Arc;

use pru_flow_stages::{OutputPort, StageDef};

use crate::graph::{Described, ExternalFile, Output, Work};
use crate::params::ParamTypes;
use crate::pipeline::{self, StageSpec};
use crate::policy;
use crate::problem::{Problem, Problems, Span};
use crate::resources;
use crate::template::{Coordinate, Results, Scope};
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
            pipeline::Work::Command(node) => command::describe(self, node, &scope, &with_results, problems),
        };
        described.device = resources::read(&self.spec, &scope, &mut described, problems);
        described.policy = policy::read(&self.spec.policy, &scope, problems);
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
            value: None,
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

    /// What the cell with these coordinates writes.
    #[must_use]
    pub fn outputs(&self, matrix: &[Coordinate], problems: &mut Problems) -> Vec<Output> {
        match &self.spec.work {
            pipeline::Work::Unknown => Vec::new(),
            pipeline::Work::Uses(def) => def.outputs.iter().map(|port| self.builtin_output(port)).collect(),
            pipeline::Work::Command(_) => command::outputs(&self.spec, &self.scope(matrix), problems),
        }
    }

    fn builtin_output(&self, port: &OutputPort) -> Output {
        let said = self.spec.outputs.iter().find(|said| said.name.text == port.name);
        Output { keep: said.is_none_or(|said| said.keep), ..Output::builtin(port) }
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
