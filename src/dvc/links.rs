//! Which stage reads what another writes, by their paths. Tells outputs that are in each other's way, stages that wait
//! for each other, and files of other stages that a command names without depending on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::files::Files;
use super::paths::{Place, is_inside};
use super::reader::Told;
use super::resolve::{Edge, Group, ROOT_HELP, Stage};
use super::shell;
use crate::command::CommandLine;
use crate::command_files::files_named_in;
use crate::problem::{Problem, Span};

/// A stage of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StageId {
    /// The group.
    pub group: usize,
    /// The stage in it.
    pub stage: usize,
}

/// An output of every stage of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OutId {
    /// The group.
    pub group: usize,
    /// Its place among the outputs of a stage.
    pub out: usize,
}

/// What a path that is read is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// Outputs, and of which stages of their group.
    pub outs: BTreeMap<OutId, BTreeSet<usize>>,
    /// Whether the path itself is read as a file: no stage writes it, or anything in it.
    pub itself: bool,
    /// Files and folders in it that no stage writes, where stages write others.
    pub beside: Vec<Place>,
}

/// What a stage reads.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// For each of its `deps`.
    pub deps: Vec<Sources>,
    /// For each file of its `params`.
    pub params: Vec<Sources>,
    /// Outputs that its command names, without a word of them in `deps`.
    pub named: BTreeMap<OutId, BTreeSet<usize>>,
}

/// What all stages read, by group and stage.
pub(super) type AllLinks = Vec<Vec<Links>>;

/// Connects all stages.
pub(super) fn connect(groups: &[Group], files: &Files, told: &mut Told) -> AllLinks {
    let mut connector = Connector { groups, files, told, outs: BTreeMap::new() };
    connector.collect_outs();
    let mut links: AllLinks = Vec::new();
    for (group, all) in groups.iter().enumerate() {
        let stages = (0..all.stages.len()).map(|stage| connector.links(StageId { group, stage }));
        links.push(stages.collect());
    }
    if connector.tell_circle(&links) {
        return links;
    }
    for (group, all) in groups.iter().enumerate() {
        for stage in 0..all.stages.len() {
            connector.connect_named(StageId { group, stage }, &mut links);
        }
    }
    links
}

struct Connector<'a> {
    groups: &'a [Group],
    files: &'a Files,
    told: &'a mut Told,
    /// Who writes a path.
    outs: BTreeMap<String, (StageId, usize)>,
}

/// How many files beside outputs are named one by one.
const BESIDE_MAX: usize = 50;

impl Connector<'_> {
    fn stage(&self, id: StageId) -> &Stage {
        &self.groups[id.group].stages[id.stage]
    }

    fn collect_outs(&mut self) {
        for (group, all) in self.groups.iter().enumerate() {
            for (stage, one) in all.stages.iter().enumerate() {
                for (out, edge) in one.outs.iter().enumerate() {
                    self.add_out((StageId { group, stage }, out), edge);
                }
            }
        }
    }

    fn add_out(&mut self, id: (StageId, usize), edge: &Edge) {
        let at = edge.text.at;
        let Place::Inside(path) = &edge.place else {
            let (message, help) = match &edge.place {
                Place::Remote(path) => (
                    format!("`{path}` is an output on another machine, which pru-flow does not write"),
                    "write it to a file of the project, and copy that file in the command or elsewhere",
                ),
                Place::Root => ("an output cannot be the project itself".to_owned(), "name a file or folder in it"),
                _ => (format!("the output `{}` lies outside of the project", edge.text.written()), ROOT_HELP),
            };
            self.told.wrong(message, at, help);
            return;
        };
        let nested = self.related(path);
        let Some((other, index)) = nested.first().copied() else {
            self.outs.insert(path.clone(), id);
            return;
        };
        let (one, two) = (self.stage(id.0), self.stage(other));
        let other_edge = &two.outs[index];
        let whose =
            if one.name == two.name { "twice".to_owned() } else { format!("by `{}` and `{}`", two.name, one.name) };
        let message = if other_edge.place == edge.place {
            format!("`{path}` is written {whose}")
        } else {
            let other_path = other_edge.text.filled();
            format!("the outputs `{other_path}` and `{path}` lie in each other (`{}`, `{}`)", two.name, one.name)
        };
        let mut problem = Problem::new(message, at);
        if other_edge.text.at != at {
            problem = problem.also(other_edge.text.at, "the other");
        }
        let is_group = !self.groups[id.0.group].axes.is_empty();
        let help = if is_group {
            "give every item its own path, as in `models/${item}.pt`"
        } else {
            "DVC refuses it, too: give each its own path"
        };
        self.told.problems.push(problem.help(help));
    }

    /// The outputs that lie at a path, around it or in it.
    fn related(&self, path: &str) -> Vec<(StageId, usize)> {
        let around = Path::new(path).ancestors().filter_map(|folder| self.outs.get(folder.to_str()?));
        let mut all: Vec<(StageId, usize)> = around.copied().collect();
        all.extend(self.inside(path).map(|(_, id)| id));
        all
    }

    fn inside<'s>(&'s self, path: &'s str) -> impl Iterator<Item = (&'s str, (StageId, usize))> {
        let from = format!("{path}/");
        let later = self.outs.range(from.clone()..).map(|(other, id)| (other.as_str(), *id));
        later.take_while(move |(other, _)| other.starts_with(&from))
    }

    fn links(&mut self, id: StageId) -> Links {
        let groups = self.groups;
        let stage = &groups[id.group].stages[id.stage];
        let deps = stage.deps.iter().map(|dep| self.sources(id, dep)).collect();
        let params = stage.params.iter().map(|params| self.sources(id, &params.file)).collect();
        Links { deps, params, named: BTreeMap::new() }
    }

    fn sources(&mut self, id: StageId, dep: &Edge) -> Sources {
        let mut sources = Sources::default();
        let path = match &dep.place {
            Place::Inside(path) => path.as_str(),
            Place::Root => "",
            Place::Outside(_) | Place::Remote(_) => {
                sources.itself = true;
                return sources;
            }
        };
        let related = if path.is_empty() { self.outs.values().copied().collect() } else { self.related(path) };
        if related.is_empty() && !path.is_empty() {
            sources.itself = true;
            return sources;
        }
        let mut whole = None;
        for (producer, out) in related {
            let edge = &self.stage(producer).outs[out];
            if producer == id {
                let message = format!("`{}` is read and written by `{}`", dep.text.written(), self.stage(id).name);
                let problem = Problem::new(message, dep.text.at).also(edge.text.at, "it is written here");
                self.told.problems.push(problem.help("DVC refuses it, too: remove one of them"));
                continue;
            }
            if let Place::Inside(other) = &edge.place
                && is_inside(path, other)
            {
                whole = Some((edge.text.written(), self.groups[producer.group].name.text.clone()));
            }
            sources.outs.entry(OutId { group: producer.group, out }).or_default().insert(producer.stage);
        }
        if let Some((folder, stage)) = whole {
            let message = format!("`{}` is read as all of `{folder}`, the output of `{stage}`", dep.text.written());
            self.told.note(message, dep.text.at);
        }
        if !self.outs.contains_key(path)
            && !Path::new(path).ancestors().any(|folder| self.outs.contains_key(folder.to_str().unwrap_or("")))
        {
            sources.beside = self.beside(path, dep);
        }
        sources
    }

    /// What lies in the folder `path`, some of which stages write, beside their outputs.
    fn beside(&mut self, path: &str, dep: &Edge) -> Vec<Place> {
        let mut found = Vec::new();
        self.look_into(path, &mut found);
        let folder = dep.text.written();
        if found.is_empty() {
            self.told.note(format!("`{folder}` is read as the outputs in it"), dep.text.at);
            return Vec::new();
        }
        let shown: Vec<String> = found.iter().take(5).map(|path| format!("`{path}`")).collect();
        let more =
            if found.len() > shown.len() { format!(" and {} more", found.len() - shown.len()) } else { String::new() };
        if found.len() > BESIDE_MAX {
            let message = format!(
                "`{folder}` is read as the outputs in it; other files in it are left out: {}{more}",
                shown.join(", ")
            );
            self.told.note(message, dep.text.at);
            return Vec::new();
        }
        let message = format!(
            "`{folder}` is read as the outputs in it, and what lies beside them now: {}{more}",
            shown.join(", ")
        );
        self.told.note(message, dep.text.at);
        found.into_iter().map(Place::Inside).collect()
    }

    fn look_into(&self, folder: &str, found: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(self.files.root.join(folder)) else { return };
        let mut names: Vec<String> = Vec::new();
        for name in entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()) {
            match name.strip_suffix(".dvc") {
                Some("") => {}
                // What a `.dvc` file stands for may not have been fetched yet.
                Some(tracked) => names.push(tracked.to_owned()),
                None if name.starts_with(".git") || name == ".pru-flow" => {}
                None => names.push(name),
            }
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if self.outs.contains_key(&path) {
                continue;
            }
            if self.inside(&path).next().is_some() {
                self.look_into(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    /// Tells stages that wait for each other. Whether there are any.
    fn tell_circle(&mut self, links: &AllLinks) -> bool {
        let Some(circle) = circle(links) else { return false };
        let names: Vec<&str> = circle.iter().chain(circle.first()).map(|id| self.stage(*id).name.as_str()).collect();
        let message = format!("the stages wait for each other: {}", names.join(" -> "));
        let first = &self.groups[circle[0].group].name;
        self.told.wrong(message, first.span, "DVC refuses it, too: remove one of the `deps`");
        true
    }

    /// Connects outputs of other stages that a command names. DVC does not: it runs the stages in any order.
    fn connect_named(&mut self, id: StageId, links: &mut AllLinks) {
        let groups = self.groups;
        let stage = &groups[id.group].stages[id.stage];
        let command = shell::compose(&stage.commands, false, None);
        let text: String = command.parts.iter().map(super::resolve::Part::text).collect();
        let root = &self.files.root;
        let words = files_named_in(&CommandLine::Shell(text), root, &root.join(&stage.folder));
        for word in words.iter().filter(|word| word.hint.is_none()) {
            let path = word.candidates.first().and_then(|path| path.strip_prefix(root).ok()).and_then(Path::to_str);
            let Some(path) = path.filter(|path| !path.is_empty()) else { continue };
            let related = self.related(path);
            if related.iter().any(|(producer, _)| *producer == id) {
                continue;
            }
            for (producer, out) in related {
                let key = OutId { group: producer.group, out };
                if reads(&links[id.group][id.stage], key, producer.stage) {
                    continue;
                }
                let at = stage.commands.first().map_or(Span::file(0, 0), |command| command.at);
                let (this, that) = (&groups[id.group].name.text, &groups[producer.group].name.text);
                if depends(links, producer, id) {
                    let message = format!("the command of `{this}` names `{path}`, which `{that}` writes after it");
                    self.told.note(message, at);
                    continue;
                }
                let out = self.stage(producer).outs[out].text.written();
                let message = format!(
                    "the command of `{this}` names `{out}` of `{that}` without depending on it: it is an input"
                );
                self.told.note(message, at);
                links[id.group][id.stage].named.entry(key).or_default().insert(producer.stage);
            }
        }
    }
}

fn all_sources(links: &Links) -> impl Iterator<Item = (&OutId, &BTreeSet<usize>)> {
    let sources = links.deps.iter().chain(&links.params).flat_map(|sources| &sources.outs);
    sources.chain(&links.named)
}

fn reads(links: &Links, out: OutId, stage: usize) -> bool {
    all_sources(links).any(|(known, stages)| *known == out && stages.contains(&stage))
}

fn producers(links: &AllLinks, id: StageId) -> Vec<StageId> {
    let sources = all_sources(&links[id.group][id.stage]);
    sources.flat_map(|(out, stages)| stages.iter().map(|stage| StageId { group: out.group, stage: *stage })).collect()
}

/// Whether `stage` needs `other`, directly or through others.
fn depends(links: &AllLinks, stage: StageId, other: StageId) -> bool {
    let (mut open, mut seen) = (vec![stage], BTreeSet::new());
    while let Some(id) = open.pop() {
        if id == other {
            return true;
        }
        if seen.insert(id) {
            open.extend(producers(links, id));
        }
    }
    false
}

/// Stages of which each reads the next, and the last the first.
fn circle(links: &AllLinks) -> Option<Vec<StageId>> {
    let mut done = BTreeSet::new();
    let all = links
        .iter()
        .enumerate()
        .flat_map(|(group, stages)| (0..stages.len()).map(move |stage| StageId { group, stage }));
    for start in all {
        // Each stage on the way, with its producers that are still to be looked at.
        let mut way: Vec<(StageId, Vec<StageId>)> = vec![(start, producers(links, start))];
        while let Some((id, open)) = way.last_mut() {
            let Some(next) = open.pop() else {
                done.insert(*id);
                way.pop();
                continue;
            };
            if let Some(at) = way.iter().position(|(known, _)| *known == next) {
                return Some(way[at..].iter().map(|(id, _)| *id).collect());
            }
            if !done.contains(&next) {
                way.push((next, producers(links, next)));
            }
        }
        done.insert(start);
    }
    None
}
