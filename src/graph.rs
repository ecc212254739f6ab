//! The graph of nodes that a pipeline stands for: one node a cell of each stage, edges from producers to consumers.
//!
//! Holds no digests and no states: what is cached is found out in `plan` and while running.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use pru_flow_stages::{OutputKind, Resources, Sees, StageDef};

use crate::broken::Unfit;
use crate::command::CommandWork;
use crate::policy::Policy;
use crate::problem::{Problems, Span};
use crate::written::Paths;
use crate::yaml::{Node, Value};

/// Index of a node in [`Graph::nodes`].
pub type NodeId = usize;

/// One cell of one stage.
#[derive(Clone)]
pub struct GraphNode {
    /// The stage's name.
    pub stage: String,
    /// Axis and value, in declaration order.
    pub coordinates: Vec<(String, String)>,
    /// `stage[axis=value,...]`: for people and provenance, never part of a key.
    pub name: String,
    /// What it does, and what that takes.
    pub described: Described,
    /// What it reads from other nodes, by port.
    pub inputs: BTreeMap<String, PortInputs>,
    /// What it writes.
    pub outputs: Vec<Output>,
    /// Where its stage stands in the pipeline, for messages.
    pub span: Span,
    /// Whether its stage comes from an imported file: then it runs only when something needs it.
    pub imported: bool,
    /// References of it that fit no cell: with any, it cannot run.
    pub unfit: Vec<Unfit>,
}

impl GraphNode {
    /// The nodes that it needs, each once, in ascending order.
    #[must_use]
    pub fn producers(&self) -> Vec<NodeId> {
        let read = self.inputs.values().flat_map(|port| &port.from).map(|(node, _)| *node);
        let mut all: Vec<NodeId> = read.chain(self.described.results().iter().map(|result| result.producer)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// What a node does, and what that takes.
#[derive(Clone)]
pub struct Described {
    /// What it does.
    pub work: Work,
    /// What it draws on.
    pub resources: Resources,
    /// Where it is to run.
    pub device: Device,
    /// Files that it reads from outside.
    pub sources: Vec<ExternalFile>,
    /// How often and how long it may run.
    pub policy: Policy,
    /// Whatever else it draws on that is limited, by name.
    pub named: BTreeMap<String, u32>,
}

impl Described {
    /// No work at all.
    #[must_use]
    pub fn nothing() -> Self {
        let describe: Describe = Arc::new(|_, _| None);
        Self::of(Work::Waiting(Waiting { stage: None, results: Vec::new(), describe }))
    }

    /// Work that takes no more than a core.
    #[must_use]
    pub fn of(work: Work) -> Self {
        Self {
            work,
            resources: Resources::default(),
            device: Device::Auto,
            sources: Vec::new(),
            policy: Policy::default(),
            named: BTreeMap::new(),
        }
    }

    /// The results of other nodes without which the work is not known.
    #[must_use]
    pub fn results(&self) -> &[NeededResult] {
        match &self.work {
            Work::Waiting(waiting) => &waiting.results,
            Work::Builtin { .. } | Work::Command(_) => &[],
        }
    }
}

/// What a node does.
#[derive(Clone)]
pub enum Work {
    /// Known when these results of other nodes are.
    Waiting(Waiting),
    /// A built-in stage with normalised params.
    Builtin {
        /// The stage.
        def: &'static StageDef,
        /// Params with defaults filled in and paths resolved.
        params: serde_json::Value,
        /// Names of the params that stay out of the key: paths, since sources are keyed by content, and what decides
        /// no byte of any output.
        unkeyed_params: Vec<String>,
        /// The class to be forgotten.
        forget_class: Option<u32>,
    },
    /// Any program.
    Command(Arc<CommandWork>),
}

impl Work {
    /// The built-in stage.
    #[must_use]
    pub const fn stage(&self) -> Option<&'static StageDef> {
        match self {
            Self::Builtin { def, .. } => Some(def),
            Self::Waiting(waiting) => waiting.stage,
            Self::Command(_) => None,
        }
    }
}

/// Work that depends on values in outputs of other nodes.
#[derive(Clone)]
pub struct Waiting {
    /// The built-in stage; `None` for a command.
    pub stage: Option<&'static StageDef>,
    /// What it depends on.
    pub results: Vec<NeededResult>,
    /// Gives the work, once the values are there.
    pub describe: Describe,
}

/// From values, by reference, to what a node does; with problems, what it gives is of no use.
pub type Describe = Arc<dyn Fn(&BTreeMap<String, Value>, &mut Problems) -> Option<Described> + Send + Sync>;

/// A value in a JSON output of another node.
#[derive(Clone, Debug)]
pub struct NeededResult {
    /// As it is named in the pipeline: `stages.tune.outputs.settings.lr`.
    pub reference: String,
    /// Where that stands. It has no value.
    pub at: Node,
    /// The node that makes the output.
    pub producer: NodeId,
    /// The output.
    pub output: String,
    /// The dotted path in it; empty for all of it.
    pub path: String,
}

/// A file or folder from outside that a node reads: keyed by content, never by path.
#[derive(Clone, Debug)]
pub struct ExternalFile {
    /// The name under which the key lists it.
    pub name: String,
    /// The first of these that exists is taken.
    pub candidates: Vec<PathBuf>,
    /// Whether a folder may be meant.
    pub folders: bool,
    /// What to put there; `None` for a word of a command that may or may not be a file.
    pub hint: Option<String>,
    /// The value in it that is read, by its dotted path; `None` for all of it.
    pub value: Option<String>,
}

/// What a port is connected to.
#[derive(Clone, Debug)]
pub struct PortInputs {
    /// Whether the port gathers: then order and coordinates enter the key.
    pub gather: bool,
    /// Which members of a data set are given.
    pub sees: Sees,
    /// Producers and the names of their outputs, in order.
    pub from: Vec<(NodeId, String)>,
}

/// An output of a node.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its name as a file outside the store.
    pub file_name: String,
    /// Whether it must be a folder (`Some(true)`) or a file; `None` for a command's, which may be either.
    pub folder: Option<bool>,
    /// Where it lies in the project, from the root; `None` for one that lies in the store alone.
    pub path: Option<PathBuf>,
    /// Whether it stays when nothing needs it any more.
    pub keep: bool,
    /// Whether the file at `path` shares its bytes with the store.
    pub hard_link: bool,
}

impl Output {
    /// The output of a built-in stage.
    #[must_use]
    pub fn builtin(port: &pru_flow_stages::OutputPort) -> Self {
        let (file_name, folder) = match port.kind {
            OutputKind::File { file_name } => (file_name, false),
            OutputKind::Folder => (port.name, true),
        };
        let (name, file_name) = (port.name.to_owned(), file_name.to_owned());
        Self { name, file_name, folder: Some(folder), path: None, keep: true, hard_link: false }
    }
}

/// Where a node is to run: placement, never part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Device {
    /// CUDA where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device.
    Cuda(u32),
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("`{text}` is no device: use auto, cpu, cuda or cuda:0")),
        }
    }
}

/// Nodes and the order in which they can run.
#[derive(Clone, Default)]
pub struct Graph {
    /// All nodes, stage by stage in the order of the file.
    pub nodes: Vec<GraphNode>,
    /// A topological order: producers first, else the order of the file.
    pub order: Vec<NodeId>,
    /// Files, beside those of the pipeline itself, that decided which nodes there are.
    pub files: Vec<PathBuf>,
    /// Stages of which `when` takes cells away.
    pub away: BTreeSet<String>,
    /// How much of a resource of the user's own there is.
    pub limits: BTreeMap<String, u32>,
    /// Files outside the store that are copies of outputs.
    pub publish: Vec<Publish>,
    /// Outputs that lie in the project.
    pub paths: Paths,
    /// The project's root.
    pub root: PathBuf,
}

/// A file or folder outside the store that is a copy of an output.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Where it lies, from the project's root.
    pub path: PathBuf,
    /// The node that makes it.
    pub producer: NodeId,
    /// The output.
    pub output: String,
}

impl Graph {
    /// The producers of a node, each once.
    #[must_use]
    pub fn producers(&self, id: NodeId) -> Vec<NodeId> {
        self.nodes[id].producers()
    }

    /// Consumers of every node.
    #[must_use]
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.nodes.len()];
        for id in 0..self.nodes.len() {
            for producer in self.producers(id) {
                consumers[producer].push(id);
            }
        }
        consumers
    }

    /// `targets` and everything they need; when no target is named, all nodes but imported ones that no other needs.
    #[must_use]
    pub fn closure(&self, targets: &[NodeId]) -> Vec<bool> {
        let mut wanted: Vec<bool> = self.nodes.iter().map(|node| targets.is_empty() && !node.imported).collect();
        for target in targets {
            wanted[*target] = true;
        }
        for id in self.order.iter().rev() {
            if wanted[*id] {
                for producer in self.producers(*id) {
                    wanted[producer] = true;
                }
            }
        }
        wanted
    }
}
