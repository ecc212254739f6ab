//! What the stages of a group read, in our terms: references to outputs of other stages, files, values of files.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{Files, Unread};
use super::links::{AllLinks, Links, OutId, Sources};
use super::paths::{Place, is_inside};
use super::reader::Told;
use super::references::{Producer, Reader};
use super::render::{Renderer, escaped};
use super::resolve::{Edge, Group, Params, Stage};
use super::translate::{Unit, named_path};
use crate::problem::{Problem, suggest};
use crate::yaml::{Node, Value};

/// An input.
#[derive(Debug)]
pub(super) struct Input<'a> {
    /// The path that it gets its name from.
    pub path: String,
    pub found: Found<'a>,
}

/// What an input is.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Outputs of stages.
    References(Vec<String>),
    /// A path as it is written.
    File(&'a Edge),
    /// Files and folders that were found.
    Files(Vec<Place>),
}

/// Everything that connects stages.
pub(super) struct Inputs<'a> {
    pub groups: &'a [Group],
    pub links: &'a AllLinks,
    pub units: &'a [Unit],
}

impl<'a> Inputs<'a> {
    /// What the cells of a group read (`None`), or one stage of it. `None` when no references say it for all cells.
    pub(super) fn of(&self, index: usize, stage: Option<usize>) -> Option<Vec<Input<'a>>> {
        let group = &self.groups[index];
        let chosen: Vec<usize> = stage.map_or_else(|| (0..group.stages.len()).collect(), |stage| vec![stage]);
        let stages: Vec<&'a Stage> = chosen.iter().map(|stage| &group.stages[*stage]).collect();
        let links: Vec<&'a Links> = chosen.iter().map(|stage| &self.links[index][*stage]).collect();
        let reader = Reader { stages, matrix: self.units[index].matrix.as_ref() };
        let Some(first) = reader.stages.first().copied() else { return Some(Vec::new()) };
        let mut inputs: Vec<Input<'a>> = Vec::new();
        for (at, dep) in first.deps.iter().enumerate() {
            let again =
                |earlier: usize| reader.stages.iter().all(|stage| stage.deps[earlier].place == stage.deps[at].place);
            if matches!(dep.place, Place::Remote(_)) || (0..at).any(again) {
                continue;
            }
            let sources: Vec<&Sources> = links.iter().map(|links| &links.deps[at]).collect();
            self.add(dep, &sources, &reader, &mut inputs)?;
        }
        for (at, params) in first.params.iter().enumerate() {
            let sources: Vec<&Sources> = links.iter().map(|links| &links.params[at]).collect();
            if reading(params, sources[0]) != Reading::Values {
                self.add(&params.file, &sources, &reader, &mut inputs)?;
            }
        }
        let named: Vec<&BTreeMap<OutId, BTreeSet<usize>>> = links.iter().map(|links| &links.named).collect();
        for (out, references) in self.all_references(&named, &reader)? {
            let path = named_path(&self.groups[out.group].stages[0].outs[out.out]);
            push(Input { path, found: Found::References(references) }, &mut inputs);
        }
        Some(inputs)
    }

    fn add(
        &self,
        edge: &'a Edge,
        sources: &[&Sources],
        reader: &Reader<'_>,
        inputs: &mut Vec<Input<'a>>,
    ) -> Option<()> {
        let path = named_path(edge);
        let first = sources.first()?;
        if sources.iter().any(|sources| sources.itself != first.itself || sources.beside != first.beside) {
            return None;
        }
        if first.itself {
            push(Input { path, found: Found::File(edge) }, inputs);
            return Some(());
        }
        let outs: Vec<&BTreeMap<OutId, BTreeSet<usize>>> = sources.iter().map(|sources| &sources.outs).collect();
        let references = self.all_references(&outs, reader)?;
        let mut name = path.clone();
        if let [(out, _)] = references.as_slice() {
            let output = &self.groups[out.group].stages[*first.outs[out].iter().next()?].outs[out.out];
            // A file in an output is read as all of that output.
            if let (Place::Inside(inner), Place::Inside(outer)) = (&edge.place, &output.place)
                && is_inside(inner, outer)
            {
                name = named_path(output);
            }
        }
        let references: Vec<String> = references.into_iter().flat_map(|(_, references)| references).collect();
        if !references.is_empty() {
            push(Input { path: name, found: Found::References(references) }, inputs);
        }
        if !first.beside.is_empty() {
            push(Input { path: format!("{path}_files"), found: Found::Files(first.beside.clone()) }, inputs);
        }
        Some(())
    }

    fn all_references(
        &self,
        outs: &[&BTreeMap<OutId, BTreeSet<usize>>],
        reader: &Reader<'_>,
    ) -> Option<Vec<(OutId, Vec<String>)>> {
        let first = outs.first()?;
        if outs.iter().any(|outs| !outs.keys().eq(first.keys())) {
            return None;
        }
        let one = |out: &OutId| {
            let wanted: Vec<&BTreeSet<usize>> = outs.iter().map(|outs| &outs[out]).collect();
            Some((*out, self.references(*out, &wanted, reader)?))
        };
        first.keys().map(one).collect()
    }

    fn references(&self, out: OutId, wanted: &[&BTreeSet<usize>], reader: &Reader<'_>) -> Option<Vec<String>> {
        let (group, unit) = (&self.groups[out.group], &self.units[out.group]);
        let name = |stage: usize| unit.names.get(stage).map_or("", String::as_str);
        let stages = match &unit.matrix {
            Some(matrix) => Producer { name: name(0), matrix, stages: &group.stages }.references(reader, wanted)?,
            None => {
                let (first, others) = wanted.split_first()?;
                if others.iter().any(|other| other != first) {
                    return None;
                }
                first.iter().map(|stage| name(*stage).to_owned()).collect()
            }
        };
        let output = unit.outs.get(out.out)?;
        Some(stages.into_iter().map(|stage| format!("{stage}.{output}")).collect())
    }
}

/// Adds an input that is not there yet: several files of one output are one input.
fn push<'a>(input: Input<'a>, inputs: &mut Vec<Input<'a>>) {
    let same = |known: &Input<'_>| match (&known.found, &input.found) {
        (Found::References(one), Found::References(two)) => one == two,
        _ => false,
    };
    if !inputs.iter().any(same) {
        inputs.push(input);
    }
}

/// How a file of params is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Only the values that are named.
    Values,
    /// All of it, as DVC does.
    Whole,
    /// All of it, where DVC reads values: why.
    Instead(&'static str),
}

fn reading(params: &Params, sources: &Sources) -> Reading {
    let path = match &params.file.place {
        Place::Inside(path) | Place::Outside(path) | Place::Remote(path) => path,
        Place::Root => "",
    };
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        _ if params.values.is_empty() => Reading::Whole,
        _ if !sources.itself => Reading::Instead("a stage writes it"),
        "yaml" | "yml" | "json" | "toml" => Reading::Values,
        _ => Reading::Instead("values are read of YAML, JSON and TOML files"),
    }
}

/// The values of files that a stage reads: path and dotted paths in it.
pub(super) fn read_values(
    stage: &Stage,
    links: &Links,
    renderer: &Renderer<'_>,
    files: &mut Files,
    told: &mut Told,
) -> Vec<(String, Vec<String>)> {
    let mut reads = Vec::new();
    for (params, sources) in stage.params.iter().zip(&links.params) {
        let file = &params.file;
        let written = file.text.written();
        match reading(params, sources) {
            Reading::Values => {}
            Reading::Whole => continue,
            Reading::Instead(why) => {
                told.note(format!("`{written}` is an input as a whole: {why}"), file.text.at);
                continue;
            }
        }
        let path = match &file.place {
            Place::Inside(path) => path.clone(),
            place => place.as_input(&files.root),
        };
        tell_missing(params, files, told);
        reads.push((path, params.values.iter().map(|value| renderer.text(&value.parts, false)).collect()));
    }
    reads
}

/// Notes values that are not there: a run would stop at them, as DVC does.
fn tell_missing(params: &Params, files: &mut Files, told: &mut Told) {
    let written = params.file.text.written();
    let values = match files.values(&params.file.place, told) {
        Ok(values) => values,
        Err(Unread::Told) => return,
        Err(Unread::Because(why)) => {
            told.note_first(format!("`{written}` {why}"), params.file.text.at);
            return;
        }
    };
    for value in &params.values {
        let path = value.filled();
        if let Err((step, known)) = find(&values, &path) {
            let problem = Problem::new(format!("`{written}` has no value `{path}`"), value.at);
            let help = suggest(step, "values there", known.iter().map(String::as_str));
            told.notes.push(problem.help(help));
        }
    }
}

/// Follows a dotted path; else the step at which it ends, and what is there.
fn find<'p>(root: &Node, path: &'p str) -> Result<(), (&'p str, Vec<String>)> {
    let mut node = root;
    for step in path.split('.') {
        let (next, known) = match &node.value {
            Value::Map(entries) => (node.get(step), entries.iter().map(|(key, _)| key.text.clone()).collect()),
            Value::List(items) => (step.parse::<usize>().ok().and_then(|index| items.get(index)), Vec::new()),
            _ => (None, Vec::new()),
        };
        node = next.ok_or((step, known))?;
    }
    Ok(())
}

/// Files that were found, as inputs.
pub(super) fn as_texts(places: &[Place], files: &Files) -> Vec<String> {
    places.iter().map(|place| escaped(&place.as_input(&files.root))).collect()
}
