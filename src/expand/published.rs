//! What a pipeline says beside its stages: which outputs are copied into the project, and what there is of resources of
//! the user's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Expansion;
use super::references::{Need, Reader, Refused};
use crate::command::path_in_project;
use crate::graph::Publish;
use crate::pipeline::Pipeline;
use crate::problem::{Problem, Problems, Span};
use crate::template::Scope;
use crate::yaml::Value;

impl Expansion<'_> {
    /// The files that are copies of outputs, with the places of their paths.
    pub(super) fn publish(&mut self, pipeline: &Pipeline, problems: &mut Problems) -> Vec<(Span, Publish)> {
        let (mut all, params) = (Vec::new(), Arc::new(pipeline.params.clone()));
        for (key, reference) in &pipeline.publish {
            let path = match path_in_project(&key.text) {
                Ok(path) => path,
                Err(why) => {
                    let message = format!("what is published lies in the project: `{}` {why}", key.text);
                    problems.push(Problem::new(message, key.span).help("publish: {results/table1.tex: tables.latex}"));
                    continue;
                }
            };
            let filled = Scope::new(&params, None).fill(reference, problems);
            let Some(text) = filled.scalar_text() else { continue };
            let reader =
                Reader { pipeline, prefix: "", name: "publish", stage: "publish", coordinates: &[], untold: false };
            let found = Self::locate(&reader, &text, &filled)
                .and_then(|(stages, selector)| self.resolve_selector(&reader, &stages, &selector, &filled, Need::One));
            match found {
                Ok(found) => all.extend(
                    found
                        .into_iter()
                        .map(|(producer, output)| (key.span, Publish { path: path.clone(), producer, output })),
                ),
                Err(Refused::Always(problem) | Refused::Several(problem)) => problems.push(problem),
                // A slice of the pipeline has no such cell, and so nothing to copy.
                Err(Refused::Told | Refused::None(_)) => {}
            }
        }
        all
    }
}

/// How much of a resource of the user's own there is, by the pipeline.
pub(super) fn limits(pipeline: &Pipeline, problems: &mut Problems) -> BTreeMap<String, u32> {
    let (mut limits, params) = (BTreeMap::new(), Arc::new(pipeline.params.clone()));
    for (key, node) in &pipeline.limits {
        let filled = Scope::new(&params, None).fill(node, problems);
        match filled.value {
            Value::Int(n) if (0..=i64::from(u32::MAX)).contains(&n) => drop(limits.insert(key.text.clone(), n as u32)),
            Value::Wrong => {}
            _ => {
                let problem = filled.problem(format!("the limit of `{}` is a whole number from 0", key.text));
                problems.push(problem.help("limits: {database: 2}"));
            }
        }
    }
    limits
}
