//! A DVC project as a pipeline of ours: `dvc.yaml`, its `params.yaml` and `vars` -> the text of a pipeline that runs the
//! same commands on the same files.
//!
//! ```text
//!  dvc.yaml -> reader -> Document -> resolve (context, template) -> Group of Stages -> links (who reads whom)
//!                                                                        |                  |
//!                                                  text <- write <- Draft <- translate (axes, references, inputs, render)
//! ```
//!
//! - [`document`], [`reader`]: what is written, and what of it has no counterpart. [`template`]: `${...}` as DVC reads
//!   it. [`data`]: values as DVC reads and prints them. [`files`]: files beside `dvc.yaml`. [`paths`]: where paths lead.
//! - [`context`], [`resolve`]: every stage as DVC runs it, each text with the origin of its values. [`shell`]: several
//!   commands as one. [`links`]: outputs that other stages read.
//! - [`axes`]: groups that are a matrix. [`references`]: outputs named from a matrix. [`inputs`], [`render`], [`naming`]:
//!   inputs, texts and names of ours. [`translate`] puts them together; [`draft`] is the result, and [`write`] its text.
//!
//! Knows the YAML reader, problems, and what the engine says of paths and of words of commands; nothing of graphs.

mod axes;
mod context;
mod data;
mod document;
mod draft;
mod files;
mod inputs;
mod links;
mod naming;
mod paths;
mod reader;
mod references;
mod render;
mod resolve;
mod shell;
mod template;
mod translate;
mod write;

use std::path::Path;

use crate::problem::{Problem, Problems, SourceText};
use crate::yaml;
use files::Files;
use reader::Told;

/// A pipeline made from a DVC project.
#[derive(Debug)]
pub struct Imported {
    /// Its text.
    pub text: String,
    /// How many stages it has.
    pub stages: usize,
    /// What is left out or differs, each with its place.
    pub notes: Problems,
    /// The texts that the places refer to.
    pub source: SourceText,
}

/// A `dvc.yaml` that cannot be imported.
#[derive(Debug)]
pub struct Refused {
    /// All that is wrong with it.
    pub problems: Problems,
    /// The texts that the places refer to.
    pub source: SourceText,
}

/// Reads the file `path`, which is called `shown` in messages, of a project with this root.
///
/// # Errors
/// Everything that is wrong with it, or that no pipeline can say.
pub fn import(path: &Path, shown: &str, root: &Path) -> Result<Imported, Box<Refused>> {
    let mut files = Files::new(root.to_owned());
    let mut told = Told::default();
    let text = read(path, shown, &mut files, &mut told).and_then(|text| translate(path, &text, &mut files, &mut told));
    told.settle();
    let Told { problems, notes, .. } = told;
    match text {
        Some((text, stages)) if problems.is_empty() => Ok(Imported { text, stages, notes, source: files.source }),
        _ => Err(Box::new(Refused { problems, source: files.source })),
    }
}

fn read(path: &Path, shown: &str, files: &mut Files, told: &mut Told) -> Option<String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()));
    match text {
        Ok(text) => {
            files.add(shown.to_owned(), text.clone());
            Some(text)
        }
        Err(why) => {
            files.add(shown.to_owned(), String::new());
            let problem = Problem::of_file(format!("cannot read `{shown}`: {why}"));
            told.problems.push(problem.help("give the path of a `dvc.yaml`"));
            None
        }
    }
}

fn translate(path: &Path, text: &str, files: &mut Files, told: &mut Told) -> Option<(String, usize)> {
    let root = yaml::read(text, crate::problem::TextId::File(0), &mut told.problems)?;
    let document = reader::read(&data::as_dvc_reads(root, text), told);
    let folder = path.parent().and_then(|folder| folder.strip_prefix(&files.root).ok());
    let Some(folder) = folder.and_then(Path::to_str).map(str::to_owned) else {
        let problem = Problem::of_file("the file lies outside of the project that the pipeline is to lie in");
        told.problems.push(problem.help(resolve::ROOT_HELP));
        return None;
    };
    let (groups, global) = resolve::resolve(&document, &folder, files, told);
    let links = links::connect(&groups, files, told);
    if !told.problems.is_empty() {
        return None;
    }
    let place = if folder.is_empty() { files.root.clone() } else { files.root.join(&folder) };
    if place.join("dvc.lock").exists() {
        told.notes.push(Problem::of_file(
            "`dvc.lock` is not read: every stage runs once, or `pru-flow commit` adopts its outputs",
        ));
    }
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = naming::valid(&name, "dvc");
    let draft = translate::translate((name, &folder), (&groups, global), &links, files, told);
    if draft.stages.is_empty() {
        let span = document.definitions.first().map(|definition| definition.name.span);
        let problem = Problem { span, ..Problem::of_file("there are no stages to import") };
        told.problems.push(problem.help("every list that its stages go over is empty"));
        return None;
    }
    let comments = ["Made from a dvc.yaml by `pru-flow import`.".to_owned()];
    Some((write::pipeline(&draft, &comments), draft.stages.len()))
}
