//! Finds out what there is to show: the plan, every table with the nodes behind its numbers, every picture, the settings.
//!
//! Reads the store and computes unfinished tables without keeping them; knows nothing of HTML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pru_flow_cache::{ActionResult, LocalStore, OutputFile, StoreError};
use pru_flow_stages::Arity;

use super::costs::{Costs, costs};
use super::document::Document;
use super::runs::Commands;
use super::table::{Behind, Run};
use crate::execute::preview::run_uncached;
use crate::graph::{Graph, GraphNode, NodeId, Work};
use crate::keying::{Awaited, awaited};
use crate::plan::{Plan, plan};
use crate::project::Project;
use crate::report::picture;
use crate::shell::quote as shell_quote;
use crate::sources::Outside;
use crate::values::{self, read_bytes};

/// The name of a table's file for programs.
const TABLE: &str = "table.json";
/// Larger pictures would make the page unwieldy.
const PICTURE_BYTES_MAX: u64 = 8 << 20;

/// What there is to show.
pub struct Collected<'a> {
    /// The pipeline's name.
    pub name: String,
    /// Its nodes.
    pub graph: &'a Graph,
    /// What became of them.
    pub plan: Plan,
    /// Stages that the pipeline needs.
    pub stages: picture::Picture,
    /// Tables in the order of the file.
    pub tables: Vec<TableNode>,
    /// Pictures in the order of the file.
    pub pictures: Vec<Picture>,
    /// What unlearning took; none where nothing unlearns.
    pub costs: Option<Costs>,
    /// Params by import.
    pub params: Vec<(String, serde_json::Value)>,
    /// How it is run.
    pub commands: Commands,
}

/// A node that writes a table.
pub struct TableNode {
    /// Its place among the tables.
    pub place: usize,
    /// The node's name.
    pub name: String,
    /// Its heading as the pipeline has it, where there is no table yet.
    planned_title: String,
    /// Whether this is its last word.
    pub state: State,
    /// The table, or why there is none.
    pub content: Result<Document, String>,
    runs: Vec<Run>,
}

/// How much of a table there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it is in the store.
    Complete,
    /// Computed for the page from so many of so many runs.
    Incomplete {
        /// Runs that are there.
        there: usize,
        /// Runs that there should be.
        of: usize,
    },
}

/// A picture that a node writes.
pub struct Picture {
    /// The node, and the file.
    pub name: String,
    /// Its bytes, or why there are none.
    pub content: Result<Vec<u8>, String>,
}

impl TableNode {
    /// Its heading.
    #[must_use]
    pub fn title(&self) -> &str {
        self.content.as_ref().map_or(&self.planned_title, |document| &document.title)
    }

    /// What its numbers are from.
    pub(super) fn behind(&self) -> Behind<'_> {
        Behind { table: &self.name, runs: &self.runs }
    }
}

/// The pipeline as named on the command line, for the commands on the page.
pub struct Named<'a> {
    /// The pipeline's file.
    pub pipeline: &'a Path,
    /// The nodes, where some were named.
    pub nodes: &'a [String],
    /// Files of params.
    pub params: &'a [PathBuf],
    /// The `--set` arguments.
    pub set: &'a [String],
    /// The store, where one was named.
    pub store: Option<&'a Path>,
}

/// Looks at the store for `targets` and all that they need; for everything where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn collect<'a>(
    project: &'a Project,
    targets: &[NodeId],
    named: &Named,
    store: Option<LocalStore>,
    outside: &Outside,
) -> Result<Collected<'a>, StoreError> {
    let graph = &project.graph;
    let store = store.map(Arc::new);
    // What cannot run is not missed, unless it is asked for.
    let wanted = graph.wanted(targets).map_or_else(|_| graph.closure(targets), |(wanted, _)| wanted);
    let plan = plan(graph, &wanted, store.as_deref(), outside)?;
    let look = Look { graph, plan: &plan, store: store.as_ref() };
    let ids = || (0..graph.nodes.len()).filter(|id| wanted[*id]);
    let tables = ids().filter_map(|id| look.table(id)).enumerate().map(|(place, table)| TableNode { place, ..table });
    let (tables, pictures) = (tables.collect(), ids().flat_map(|id| look.pictures(id)).collect());
    let commands = commands(named);
    let (stages, costs) = (picture::of_stages(&project.name, graph, &wanted, Some(&plan)), costs(graph, &plan));
    let (name, params) = (project.name.clone(), project.params.clone());
    Ok(Collected { name, graph, plan, stages, tables, pictures, costs, params, commands })
}

fn commands(named: &Named) -> Commands {
    let quoted = |before: &str, text: &str| format!("{before}{}", shell_quote(text));
    let run = quoted("pru-flow run ", &named.pipeline.display().to_string());
    let all = |before: &str, texts: &[String]| texts.iter().map(|text| quoted(before, text)).collect::<String>();
    let params = named.params.iter().map(|path| quoted(" --params ", &path.display().to_string()));
    let (nodes, sets) = (all(" ", named.nodes), params.collect::<String>() + &all(" --set ", named.set));
    let store = named.store.map(|store| quoted(" --store ", &store.display().to_string())).unwrap_or_default();
    Commands { missing: format!("{run}{nodes}{sets}{store}"), without_store: format!("{run}{sets}") }
}

struct Look<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    store: Option<&'a Arc<LocalStore>>,
}

impl Look<'_> {
    fn table(&self, id: NodeId) -> Option<TableNode> {
        let node = &self.graph.nodes[id];
        let output = &node.outputs.iter().find(|output| output.file_name == TABLE)?.name;
        let described = values::describe(self.graph, id, &self.plan.results, self.store.map(|store| &**store));
        let inputs = match &described {
            Ok((described, _)) => awaited(self.graph, id, &described.work, &self.plan.results),
            Err(_) => Err("it waits for params that are results of other nodes".to_owned()),
        };
        let port = gathering_port(node);
        let runs = inputs.as_ref().ok().and_then(|inputs| Some(runs(node, port?, inputs))).unwrap_or_default();
        let (state, bytes) = match (&self.plan.results[id], self.store) {
            (Some(result), Some(store)) => (State::Complete, read(store, result, output)),
            (_, store) => {
                let there = runs.iter().filter(|run| run.there).count();
                let bytes = match (inputs, described, store) {
                    (Err(why), _, _) => Err(why),
                    (Ok(inputs), Ok((described, _)), Some(store)) if there > 0 => {
                        run_uncached(store, &described, &inputs, output)
                    }
                    _ => Err("none of its runs is there yet".to_owned()),
                };
                (State::Incomplete { there, of: runs.len() }, bytes)
            }
        };
        let planned_title = planned_title(node).unwrap_or(&node.name).to_owned();
        let content = bytes.and_then(|bytes| Document::read(&bytes));
        Some(TableNode { place: 0, name: node.name.clone(), planned_title, state, content, runs })
    }

    fn pictures(&self, id: NodeId) -> Vec<Picture> {
        let node = &self.graph.nodes[id];
        let Some((result, store)) = self.plan.results[id].as_ref().zip(self.store) else {
            let waiting = node.outputs.iter().filter(|output| is_svg(&output.file_name));
            let none = || Err("it has not been drawn yet".to_owned());
            return waiting.map(|o| Picture { name: format!("{}:{}", node.name, o.name), content: none() }).collect();
        };
        let mut pictures = Vec::new();
        for output in &node.outputs {
            let Some(stored) = result.outputs.get(&output.name) else { continue };
            for file in &stored.files {
                let file_name = if file.name.is_empty() { &output.file_name } else { &file.name };
                if is_svg(file_name) {
                    let inside = if file.name.is_empty() { String::new() } else { format!("/{file_name}") };
                    let name = format!("{}:{}{inside}", node.name, output.name);
                    pictures.push(Picture { name, content: picture(store, result, file) });
                }
            }
        }
        pictures
    }
}

/// The param `title` of a table.
fn planned_title(node: &GraphNode) -> Option<&str> {
    let Work::Builtin { params, .. } = &node.described.work else { return None };
    params.get("title")?.as_str().filter(|title| !title.is_empty())
}

fn is_svg(file_name: &str) -> bool {
    Path::new(file_name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"))
}

fn picture(store: &LocalStore, result: &ActionResult, file: &OutputFile) -> Result<Vec<u8>, String> {
    if file.bytes > PICTURE_BYTES_MAX {
        return Err(format!("it has {} MiB, more than a page should hold", file.bytes >> 20));
    }
    read_bytes(store, result, file).map_err(|unreadable| unreadable.to_string())
}

fn read(store: &LocalStore, result: &ActionResult, output: &str) -> Result<Vec<u8>, String> {
    let stored = result.outputs.get(output).ok_or_else(|| format!("its result has no output `{output}`"))?;
    values::read_output(store, result, stored).map_err(|unreadable| unreadable.to_string())
}

/// The port whose artifacts a table's cells name: the one that it must be given many of; of a command, the only one.
fn gathering_port(node: &GraphNode) -> Option<&str> {
    match node.described.work.stage() {
        Some(def) => def.inputs.iter().find(|port| port.arity == Arity::Gather).map(|port| port.name),
        None => node.inputs.keys().next().filter(|_| node.inputs.len() == 1).map(String::as_str),
    }
}

fn runs(node: &GraphNode, port: &str, inputs: &BTreeMap<String, Vec<Awaited>>) -> Vec<Run> {
    let (Some(connected), Some(artifacts)) = (node.inputs.get(port), inputs.get(port)) else { return Vec::new() };
    let both = connected.from.iter().zip(artifacts);
    let run = |((node, _), artifact): (&(NodeId, String), &Awaited)| Run {
        coordinates: artifact.coordinates.clone(),
        node: *node,
        there: artifact.given.is_some(),
    };
    both.map(run).collect()
}
