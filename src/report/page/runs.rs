//! What stands behind the numbers: for every node that a number came from, what it was made with, where and when; and
//! the command that makes a number's runs again. Data for the page's script, each text once.
//!
//! Knows nothing of how tables look.

use std::collections::{BTreeMap, BTreeSet};

use pru_flow_cache::ActionResult;
use pru_flow_stages::tables::Layout;
use serde_json::{Value, json};

use crate::graph::{Graph, NodeId};
use crate::plan::{Plan, Status};
use crate::selector::node_name;

/// Nodes that a command names one by one; beyond that it names the table that needs them.
const NAMED_MAX: usize = 12;

/// Collects nodes and cells for the page.
pub struct Runs<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    states: BTreeMap<NodeId, Status>,
    commands: Commands,
    places: BTreeMap<NodeId, usize>,
    nodes: Vec<Value>,
    texts: Vec<String>,
    text_places: BTreeMap<String, usize>,
    cells: Vec<Value>,
}

/// How the pipeline is run.
#[derive(Clone, Debug)]
pub struct Commands {
    /// `pru-flow run pipeline.yaml --set a=b --store there`: what is missing.
    pub missing: String,
    /// The same without the store.
    pub without_store: String,
}

impl Commands {
    /// Makes `what` anew, in a store that holds nothing yet.
    #[must_use]
    pub fn anew(&self, what: &str) -> String {
        let what = if what.is_empty() { String::new() } else { format!(" {what}") };
        format!("{}{what} --store again", self.without_store)
    }
}

/// A number's facts for the page, in the order in which they are shown.
pub type Facts = Vec<(&'static str, String)>;

impl<'a> Runs<'a> {
    /// None yet.
    #[must_use]
    pub fn new(graph: &'a Graph, plan: &'a Plan, commands: Commands) -> Self {
        let states = plan.nodes.iter().map(|node| (node.id, node.status)).collect();
        let (places, text_places) = (BTreeMap::new(), BTreeMap::new());
        Self {
            graph,
            plan,
            states,
            commands,
            places,
            nodes: Vec::new(),
            texts: Vec::new(),
            text_places,
            cells: Vec::new(),
        }
    }

    /// Adds a number: the nodes that it is from, those that it lacks, and what is known of it. Gives its place.
    /// `all_of_it` names all of these nodes, and perhaps others, in one word.
    pub fn cell(&mut self, all_of_it: &str, from: &[NodeId], lacks: &[NodeId], facts: &Facts) -> usize {
        let runs: Vec<usize> = from.iter().map(|id| self.node(*id)).collect();
        let mut all: Vec<NodeId> = from.iter().chain(lacks).copied().collect();
        all.sort_unstable();
        all.dedup();
        let names = self.selectors(&all).unwrap_or_else(|| vec![all_of_it.to_owned()]);
        let names: Vec<String> = names.iter().map(|name| crate::shell::quote(name)).collect();
        let names = names.join(" ");
        let (command, anew) = (format!("{} {names}", self.commands.missing), self.commands.anew(&names));
        let facts: Vec<Value> = facts.iter().map(|(name, text)| json!([name, text])).collect();
        let (command, anew) = (self.text(command), self.text(anew));
        self.cells.push(json!({"facts": facts, "runs": runs, "command": command, "anew": anew}));
        self.cells.len() - 1
    }

    /// By what, where and when the nodes behind a number were made, in short: for a glance. The dialog has it by node.
    #[must_use]
    pub fn makers(&self, from: &[NodeId]) -> Facts {
        let trials = Layout::default().trials;
        let seeds = from.iter().filter_map(|id| {
            let mut axes = self.graph.nodes[*id].coordinates.iter();
            axes.find(|(axis, _)| *axis == trials).map(|(_, value)| value.clone())
        });
        let results = || from.iter().filter_map(|id| self.plan.results[*id].as_deref());
        let of = |name: &'static str| results().filter_map(move |result| result.provenance.get(name).cloned());
        let dates: BTreeSet<String> = results().filter_map(started).collect();
        let dates: Vec<&str> = [dates.first(), dates.last()].into_iter().flatten().map(String::as_str).collect();
        let facts = [
            ("seed", all(seeds)),
            ("device", all(of("device"))),
            ("code", all(of("code"))),
            (
                "date",
                if dates.first() == dates.last() {
                    dates.first().copied().unwrap_or_default().to_owned()
                } else {
                    dates.join(" to ")
                },
            ),
        ];
        facts.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }

    /// The data as JSON that may stand in an HTML element.
    #[must_use]
    pub fn into_json(self) -> String {
        let data = json!({"texts": self.texts, "nodes": self.nodes, "cells": self.cells});
        // These three occur in texts alone, where they may be written so; else a text could end the element.
        data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }

    fn text(&mut self, text: String) -> usize {
        if let Some(place) = self.text_places.get(&text) {
            return *place;
        }
        self.texts.push(text.clone());
        self.text_places.insert(text, self.texts.len() - 1);
        self.texts.len() - 1
    }

    /// The place of a node, which is added with all that it is from.
    fn node(&mut self, id: NodeId) -> usize {
        if let Some(place) = self.places.get(&id) {
            return *place;
        }
        // Producers first, without recursion: chains of stages may be long.
        let mut open = vec![id];
        while let Some(&last) = open.last() {
            let waits = self.graph.producers(last).into_iter().find(|producer| !self.places.contains_key(producer));
            match waits {
                Some(producer) => open.push(producer),
                None => {
                    open.pop();
                    let described = self.describe(last);
                    self.nodes.push(described);
                    self.places.insert(last, self.nodes.len() - 1);
                }
            }
        }
        self.places[&id]
    }

    fn describe(&mut self, id: NodeId) -> Value {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let from: Vec<usize> = graph.producers(id).iter().map(|producer| self.places[producer]).collect();
        let state = if self.states.get(&id) == Some(&Status::Cached) { "cached" } else { "missing" };
        let mut described = json!({"name": node.name, "state": state, "from": from});
        if let Some(result) = self.plan.results[id].clone() {
            let facts: Vec<Value> =
                provenance(&result).into_iter().map(|(name, text)| json!([name, self.text(text)])).collect();
            described["facts"] = Value::from(facts);
            let params: Value = result.action.params.to_json();
            described["params"] = Value::from(self.text(in_lines(&params)));
        }
        described
    }

    /// The shortest selectors that name these nodes and no other; none when that takes too many.
    fn selectors(&self, nodes: &[NodeId]) -> Option<Vec<String>> {
        let mut stages: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
        for id in nodes {
            stages.entry(&self.graph.nodes[*id].stage).or_default().push(*id);
        }
        let mut names = Vec::new();
        for group in stages.values() {
            names.extend(
                self.in_one(group)
                    .map(|name| vec![name])
                    .or_else(|| self.by_axis(group))
                    .unwrap_or_else(|| group.iter().map(|id| self.graph.nodes[*id].name.clone()).collect()),
            );
        }
        (!names.is_empty() && names.len() <= NAMED_MAX).then_some(names)
    }

    /// One selector by the values that the nodes, all of one stage, have in common; none when it names others too.
    fn in_one(&self, nodes: &[NodeId]) -> Option<String> {
        let first = &self.graph.nodes[*nodes.first()?];
        let mut common = first.coordinates.clone();
        common.retain(|pair| nodes.iter().all(|id| self.graph.nodes[*id].coordinates.contains(pair)));
        let name = node_name(&first.stage, &common);
        (self.graph.select(std::slice::from_ref(&name)).ok()? == nodes).then_some(name)
    }

    /// One selector for each value on an axis.
    fn by_axis(&self, nodes: &[NodeId]) -> Option<Vec<String>> {
        let axes = &self.graph.nodes[*nodes.first()?].coordinates;
        (0..axes.len()).find_map(|axis| {
            let mut groups: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
            for id in nodes {
                groups.entry(&self.graph.nodes[*id].coordinates.get(axis)?.1).or_default().push(*id);
            }
            let names: Option<Vec<String>> = groups.values().map(|group| self.in_one(group)).collect();
            names.filter(|names| names.len() < nodes.len())
        })
    }
}

/// The different texts, in the order in which they come.
fn all(texts: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for text in texts {
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen.join(", ")
}

/// When the node began.
pub(super) fn started(result: &ActionResult) -> Option<String> {
    date(result.provenance.get("started_unix_ms")?.parse().ok()?)
}

/// What a record says of how, where and when it was made.
fn provenance(result: &ActionResult) -> Facts {
    let of = |name: &str| result.provenance.get(name).cloned();
    let stage = format!("{} (version {})", result.action.stage, result.action.version);
    let seconds = result.measurements.get("wall_seconds").map(|seconds| format!("{seconds:.2} s"));
    let tools: Vec<String> =
        result.action.toolchain.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let facts = [
        ("stage", Some(stage)),
        ("device", of("device")),
        ("started", started(result)),
        ("took", seconds),
        ("code", of("code")),
        ("toolchain", Some(tools.join(", ")).filter(|tools| !tools.is_empty())),
        ("machine", of("machine")),
        ("threads", of("threads")),
        ("run as", Some(result.node.clone())),
        ("key", Some(result.key.to_string())),
    ];
    facts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

/// `2026-03-01 12:00:00 UTC`.
fn date(unix_ms: i64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(unix_ms).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Params for a reader: a line each, nested ones by dotted names.
#[must_use]
pub fn in_lines(params: &Value) -> String {
    let mut lines = Vec::new();
    flatten("", params, &mut lines);
    lines.join("\n")
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, inner) in fields {
                flatten(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, inner, lines);
            }
        }
        Value::String(text) => lines.push(format!("{path}: {text}")),
        Value::Object(_) if path.is_empty() => {}
        other => lines.push(format!("{path}: {other}")),
    }
}
