//! Stages of DVC -> [`Draft`]: which groups are a matrix, what everything is called, and what each stage reads.

use std::collections::BTreeSet;
use std::path::Path;

use super::axes::{Matrix, Slot};
use super::context::From;
use super::draft::{Draft, DraftStage};
use super::files::Files;
use super::inputs::{Found, Inputs, as_texts, read_values};
use super::links::{AllLinks, Links};
use super::naming::{for_paths, fresh, valid};
use super::paths::Place;
use super::reader::Told;
use super::render::{Globals, Renderer, escaped, needs_no_quotes};
use super::resolve::{Edge, Group, Params, Part, Stage};
use super::shell::{Command, compose};
use crate::problem::Problem;
use crate::yaml::Node;

/// A group in our terms.
pub(super) struct Unit {
    /// One name for all of its cells, or one for each stage.
    pub names: Vec<String>,
    /// Its matrix; `None` for single stages.
    pub matrix: Option<Matrix>,
    /// The names of its outputs.
    pub outs: Vec<String>,
    /// The commands of its stages.
    commands: Vec<Command>,
}

/// Translates all groups of a file in `folder`; `global` are the values that all of them may name.
pub(super) fn translate(
    (name, folder): (String, &str),
    (groups, global): (&[Group], Node),
    links: &AllLinks,
    files: &mut Files,
    told: &mut Told,
) -> Draft {
    let globals = Globals::new(global);
    let mut units: Vec<Unit> = groups.iter().map(|group| unit(group, &globals, told)).collect();
    // A stage that is written out may leave another without a reference that fits all its cells.
    loop {
        let inputs = Inputs { groups, links, units: &units };
        let unfit = |index: &usize| units[*index].matrix.is_some() && inputs.of(*index, None).is_none();
        let Some(index) = (0..groups.len()).find(unfit) else { break };
        units[index].matrix = None;
        tell_written_out(&groups[index], "its items read outputs that one reference does not name", told);
    }
    name_all(groups, &mut units, told);
    for (group, unit) in groups.iter().zip(&units) {
        tell_about_commands(group, unit, told);
    }
    let translation = Translation { inputs: Inputs { groups, links, units: &units }, globals: &globals, folder };
    let mut stages = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let one_by_one = units[index].matrix.is_none();
        let all = if one_by_one { (0..group.stages.len()).map(Some).collect() } else { vec![None] };
        stages.extend(all.into_iter().filter_map(|stage| translation.stage(index, stage, files, told)));
    }
    if globals.are_copies() {
        told.notes.push(Problem::of_file(
            "`params:` holds copies of values that templates take from files: where scripts read these files, change both",
        ));
    }
    Draft { name, params: globals.params(), stages }
}

fn unit(group: &Group, globals: &Globals, told: &mut Told) -> Unit {
    let commands: Vec<Command> = group.stages.iter().map(command).collect();
    let slots: Vec<Vec<Slot>> =
        group.stages.iter().zip(&commands).map(|(stage, command)| slots(stage, command)).collect();
    let matrix = if group.axes.is_empty() || group.stages.is_empty() {
        None
    } else {
        match same_places(group).and_then(|()| Matrix::of(group, &slots, globals)) {
            Ok(matrix) => Some(matrix),
            Err(why) => {
                tell_written_out(group, &why, told);
                None
            }
        }
    };
    let paths = group.stages.first().map_or_else(Vec::new, |stage| stage.outs.iter().map(named_path).collect());
    let outs = if paths.is_empty() { vec![DONE.to_owned()] } else { for_paths(&paths) };
    Unit { names: Vec::new(), matrix, outs, commands }
}

/// The output of a stage that has none in DVC.
const DONE: &str = "done";

fn command(stage: &Stage) -> Command {
    let touch = || {
        let bash = compose(&stage.commands, stage.by_lines, None).bash;
        // For bash the text is one of several words, in which nothing is quoted.
        let path = if bash { format!("'${{outputs.{DONE}}}'") } else { format!("${{outputs.{DONE}}}") };
        vec![Part::Literal("touch ".to_owned()), Part::Ours(path)]
    };
    compose(&stage.commands, stage.by_lines, stage.outs.is_empty().then(touch))
}

/// The texts of a stage, in an order that is the same for all of a group.
fn slots(stage: &Stage, command: &Command) -> Vec<Slot> {
    let edges = stage.deps.iter().chain(&stage.outs).map(|edge| &edge.text);
    let values = stage.params.iter().flat_map(|params| std::iter::once(&params.file.text).chain(&params.values));
    let texts = stage.wdir.iter().chain(edges).chain(values);
    let mut slots: Vec<Slot> = texts.map(|text| (text.parts.clone(), false)).collect();
    slots.push((command.parts.clone(), true));
    slots
}

/// Paths that are written in one way for some stages, and in another for others, cannot be one text.
fn same_places(group: &Group) -> Result<(), String> {
    let kinds = |stage: &Stage| -> Vec<std::mem::Discriminant<Place>> {
        stage.deps.iter().chain(&stage.outs).map(|edge| std::mem::discriminant(&edge.place)).collect()
    };
    // An absolute path is written as one from the root, which an item in it does not allow.
    let absolute = |edge: &Edge| edge.text.filled().starts_with('/') && matches!(edge.place, Place::Inside(_));
    let all = || group.stages.iter().flat_map(|stage| stage.deps.iter().chain(&stage.outs));
    if all().any(|edge| absolute(edge) && edge.text.without_values() != edge.text.filled()) {
        return Err("its items name absolute paths".to_owned());
    }
    // The file of values is named once, and not for each item.
    let files = |stage: &Stage| -> Vec<Option<Place>> {
        let place = |params: &Params| (!params.values.is_empty()).then(|| params.file.place.clone());
        stage.params.iter().map(place).collect()
    };
    let Some(first) = group.stages.first() else { return Ok(()) };
    if group.stages.iter().any(|stage| files(stage) != files(first)) {
        return Err("each item reads values of a file of its own".to_owned());
    }
    let bash = |stage: &Stage| compose(&stage.commands, stage.by_lines, None).bash;
    if group.stages.iter().any(|stage| kinds(stage) != kinds(first) || bash(stage) != bash(first)) {
        return Err("its items differ in more than single values".to_owned());
    }
    Ok(())
}

fn tell_written_out(group: &Group, why: &str, told: &mut Told) {
    let count = group.stages.len();
    let stages = if count == 1 { "stage" } else { "stages" };
    told.note(format!("`{}` is written out as {count} {stages}: {why}", group.name.text), group.name.span);
}

/// The path of an output or input as names are made of it: without what differs between the stages of a group.
pub(super) fn named_path(edge: &Edge) -> String {
    let literal = edge.text.without_values();
    if literal.chars().any(char::is_alphanumeric) { literal } else { edge.text.filled() }
}

fn name_all(groups: &[Group], units: &mut [Unit], told: &mut Told) {
    let mut taken = BTreeSet::new();
    // Names that need no change come first, so that none of them is taken by another.
    let same = |group: &Group| valid(&group.name.text, "stage") == group.name.text;
    let (first, second): (Vec<usize>, Vec<usize>) = (0..groups.len()).partition(|index| same(&groups[*index]));
    for index in first.into_iter().chain(second) {
        let (group, unit) = (&groups[index], &mut units[index]);
        if group.axes.is_empty() || unit.matrix.is_some() {
            let name = fresh(&valid(&group.name.text, "stage"), &mut taken);
            if name != group.name.text {
                told.note(format!("the stage `{}` is called `{name}` here", group.name.text), group.name.span);
            }
            unit.names = vec![name];
        }
    }
    for (group, unit) in groups.iter().zip(units).filter(|(_, unit)| unit.names.is_empty()) {
        let name = |stage: &Stage| fresh(&valid(&stage.name.replace('@', "_"), "stage"), &mut taken);
        unit.names = group.stages.iter().map(name).collect();
    }
}

fn tell_about_commands(group: &Group, unit: &Unit, told: &mut Told) {
    let (Some(stage), Some(command)) = (group.stages.first(), unit.commands.first()) else { return };
    let at = stage.commands.first().map_or(group.name.span, |text| text.at);
    let name = &group.name.text;
    if command.bash {
        told.note(
            format!("the command of `{name}` is run by bash, whose syntax it has; DVC takes the user's shell"),
            at,
        );
    }
    if command.continued {
        let why = "lines that end in `\\` go on in the next, though DVC runs each line of a text by itself";
        told.note(format!("the command of `{name}`: {why}"), at);
    }
    if stage.outs.is_empty() {
        told.note(format!("`{name}` has no outputs: an empty file `{DONE}` says that it succeeded"), group.name.span);
    }
    for part in &command.parts {
        if let Part::Value { text, from: From::Params(_), written } = part
            && !needs_no_quotes(text)
        {
            let why = "as a param it would be one word, in quotes";
            told.note(format!("`${{{written}}}` is put into the command of `{name}` as it is: {why}"), at);
        }
    }
    let text: String = command.parts.iter().map(Part::text).collect();
    for variable in ["DVC_ROOT", "DVC_STAGE"].iter().filter(|variable| text.contains(*variable)) {
        told.note(
            format!("the command of `{name}` reads `${variable}`, which only DVC sets: give it under `env:`"),
            at,
        );
    }
    if text.split(|c: char| c.is_whitespace() || ";&|(".contains(c)).any(|word| word == "dvc") {
        told.note(format!("the command of `{name}` calls `dvc`"), at);
    }
}

struct Translation<'a> {
    inputs: Inputs<'a>,
    globals: &'a Globals,
    /// The folder of the file.
    folder: &'a str,
}

impl Translation<'_> {
    /// A group as one stage with a matrix (`None`), or one stage of it.
    fn stage(&self, index: usize, stage: Option<usize>, files: &mut Files, told: &mut Told) -> Option<DraftStage> {
        let (group, unit) = (&self.inputs.groups[index], &self.inputs.units[index]);
        let at = stage.unwrap_or(0);
        let (one, command) = (group.stages.get(at)?, unit.commands.get(at)?);
        let matrix = unit.matrix.as_ref();
        let renderer = Renderer { globals: self.globals, matrix };
        let cwd = match &one.wdir {
            Some(wdir) => renderer.folder(wdir, self.folder, &one.folder),
            None => escaped(self.folder),
        };
        let path = |edge: &Edge| renderer.path(edge, &cwd);
        let outputs = if one.outs.is_empty() {
            unit.outs.iter().map(|name| (name.clone(), None)).collect()
        } else {
            unit.outs.iter().cloned().zip(one.outs.iter().map(|edge| Some(path(edge)))).collect()
        };
        let found = self.inputs.of(index, stage)?;
        let names = for_paths(&found.iter().map(|input| input.path.clone()).collect::<Vec<_>>());
        let inputs = names.into_iter().zip(found).map(|(name, input)| {
            let all = match input.found {
                Found::References(references) => references,
                Found::File(edge) => vec![renderer.input(edge, &cwd)],
                Found::Files(places) => as_texts(&places, files),
            };
            (name, all)
        });
        let inputs = inputs.collect();
        let reads = read_values(one, &self.inputs.links[index][at], &renderer, files, told);
        tell_about_files(one, &self.inputs.links[index][at], files, told);
        Some(DraftStage {
            name: unit.names.get(at).or(unit.names.first())?.clone(),
            description: group.description.clone(),
            matrix: matrix.map_or_else(Vec::new, Matrix::written),
            command: renderer.text(&command.parts, true),
            bash: command.bash,
            cwd: Some(cwd).filter(|cwd| !cwd.is_empty()),
            inputs,
            outputs,
            reads,
            always: group.always || one.deps.iter().any(|dep| matches!(dep.place, Place::Remote(_))),
        })
    }
}

/// Tells inputs that are not there, or that DVC brings.
fn tell_about_files(stage: &Stage, links: &Links, files: &Files, told: &mut Told) {
    for (dep, _) in stage.deps.iter().zip(&links.deps).filter(|(_, sources)| sources.itself) {
        let written = dep.text.written();
        let path = match &dep.place {
            Place::Inside(path) => path,
            Place::Remote(_) => {
                let message =
                    format!("`{written}` lies on another machine and is not watched: the stage runs every time");
                told.note(message, dep.text.at);
                continue;
            }
            Place::Root | Place::Outside(_) => continue,
        };
        let tracked = Path::new(path).ancestors().filter(|path| !path.as_os_str().is_empty());
        let tracked = tracked.map(|path| format!("{}.dvc", path.display()));
        let Some(tracked) = tracked.into_iter().find(|file| files.root.join(file).is_file()) else { continue };
        if !files.exists(&dep.place) {
            told.note(format!("`{written}` is not there: `dvc pull {tracked}` brings it"), dep.text.at);
        }
        let text = std::fs::read_to_string(files.root.join(&tracked)).unwrap_or_default();
        if text.lines().any(|line| line.trim_end() == "deps:") {
            told.note(format!("`{tracked}` imports `{written}` from elsewhere: `dvc update` does that"), dep.text.at);
        }
    }
}
