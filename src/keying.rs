//! The description that decides reuse: node + results of its producers + files from outside -> [`Action`].
//!
//! What is left out on purpose: names of nodes, paths, device, threads, and members of a data set that the stage
//! may not see.

use std::collections::BTreeMap;
use std::sync::Arc;

use pru_flow_cache::{Action, ActionInput, ActionResult, Digest, Gathered, Member, OutputFile, Value};
use pru_flow_stages::Sees;

use crate::command::{CommandLine, CommandWork};
use crate::graph::{Graph, GraphNode, NodeId, Output, PortInputs, Work};
use crate::sources::Found;

/// One artifact on its way into a node.
#[derive(Clone, Debug)]
pub struct Given {
    /// The node that made it.
    pub producer: NodeId,
    /// That node's coordinates, without the axes that all artifacts of the port share with the node that is given them.
    pub coordinates: Vec<(String, String)>,
    /// The output that it is.
    pub output: Output,
    /// Whether it is a folder.
    pub folder: bool,
    /// The files that this node is given, those that it may see.
    pub files: Vec<OutputFile>,
    /// The result that holds them.
    pub result: Arc<ActionResult>,
}

/// Artifacts by port.
pub type GivenInputs = BTreeMap<String, Vec<Given>>;

/// The artifacts that a node is given, when all its producers are done.
///
/// # Errors
/// When a producer has no result yet, or a data port is connected to something that is no data set.
pub fn given(
    graph: &Graph,
    id: NodeId,
    work: &Work,
    results: &[Option<Arc<ActionResult>>],
) -> Result<GivenInputs, String> {
    let node = &graph.nodes[id];
    let mut all = GivenInputs::new();
    for (port, inputs) in &node.inputs {
        let shared = shared_axes(graph, id, inputs);
        let mut artifacts = Vec::with_capacity(inputs.from.len());
        for (producer, output) in &inputs.from {
            let source = &graph.nodes[*producer];
            let result = results[*producer].as_ref().ok_or_else(|| format!("waits for {}", source.name))?;
            let mut artifact = select(work, port, inputs, *producer, source, output, result)?;
            artifact.coordinates.retain(|(axis, _)| !shared.contains(&axis.as_str()));
            artifacts.push(artifact);
        }
        all.insert(port.clone(), artifacts);
    }
    Ok(all)
}

/// An artifact that a node waits for, or has.
pub struct Awaited {
    /// As in [`Given`].
    pub coordinates: Vec<(String, String)>,
    /// None while its producer has no result.
    pub given: Option<Given>,
}

/// As [`given`], with as much as there is: every producer of every port, in order.
///
/// # Errors
/// When a data port is connected to something that is no data set.
pub fn awaited(
    graph: &Graph,
    id: NodeId,
    work: &Work,
    results: &[Option<Arc<ActionResult>>],
) -> Result<BTreeMap<String, Vec<Awaited>>, String> {
    let mut all = BTreeMap::new();
    for (port, inputs) in &graph.nodes[id].inputs {
        let shared = shared_axes(graph, id, inputs);
        let mut artifacts = Vec::with_capacity(inputs.from.len());
        for (producer, output) in &inputs.from {
            let source = &graph.nodes[*producer];
            let mut coordinates = source.coordinates.clone();
            coordinates.retain(|(axis, _)| !shared.contains(&axis.as_str()));
            let result = results[*producer].as_ref();
            let selected = result.map(|result| select(work, port, inputs, *producer, source, output, result));
            let given = selected.transpose()?.map(|given| Given { coordinates: coordinates.clone(), ..given });
            artifacts.push(Awaited { coordinates, given });
        }
        all.insert(port.clone(), artifacts);
    }
    Ok(all)
}

/// Axes on which every producer has the node's own value: they tell a gathering stage nothing.
fn shared_axes<'a>(graph: &'a Graph, id: NodeId, inputs: &PortInputs) -> Vec<&'a str> {
    let own = &graph.nodes[id].coordinates;
    let same = |axis: &String, value: &String| {
        let producers = inputs.from.iter().map(|(producer, _)| &graph.nodes[*producer].coordinates);
        producers.flatten().all(|(a, v)| a != axis || v == value)
    };
    own.iter().filter(|(axis, value)| same(axis, value)).map(|(axis, _)| axis.as_str()).collect()
}

fn select(
    work: &Work,
    port: &str,
    inputs: &PortInputs,
    producer: NodeId,
    source: &GraphNode,
    output: &str,
    result: &Arc<ActionResult>,
) -> Result<Given, String> {
    let artifact = result.outputs.get(output).ok_or_else(|| format!("{} has no output `{output}`", source.name))?;
    let forget_class = match work {
        Work::Builtin { forget_class, .. } => *forget_class,
        Work::Command(_) | Work::Waiting(_) => None,
    };
    if inputs.sees != Sees::Both && !artifact.folder {
        return Err(format!("the port `{port}` takes a folder of classes (as `data/split` makes), not a single file"));
    }
    let files: Vec<OutputFile> =
        artifact.files.iter().filter(|file| inputs.sees.allows(&file.name, forget_class)).cloned().collect();
    if files.is_empty() && inputs.sees == Sees::Forget {
        let class = forget_class.map_or_else(|| "the forget class".to_owned(), |class| format!("class {class}"));
        return Err(format!("the data set of `{port}` ({}.{output}) has no {class}", source.name));
    }
    let output = source.outputs.iter().find(|known| known.name == output).cloned();
    let output = output.ok_or_else(|| format!("{} declares no such output", source.name))?;
    Ok(Given {
        producer,
        output,
        coordinates: source.coordinates.clone(),
        folder: artifact.folder,
        files,
        result: Arc::clone(result),
    })
}

/// The action of a node that does `work`, is given `inputs` and reads `sources`; a command runs with `tools`.
///
/// # Errors
/// When a param cannot be written canonically (not finite).
pub fn action(
    node: &GraphNode,
    work: &Work,
    inputs: &GivenInputs,
    sources: &[Found],
    tools: BTreeMap<String, String>,
) -> Result<Action, String> {
    let ports = inputs.iter().map(|(port, artifacts)| {
        let members = |given: &Given| -> Vec<Member> {
            given.files.iter().map(|file| Member { name: file.name.clone(), digest: file.digest }).collect()
        };
        let input = if node.inputs[port].gather {
            let gathered =
                artifacts.iter().map(|g| Gathered { coordinates: g.coordinates.clone(), members: members(g) });
            ActionInput::Gather(gathered.collect())
        } else {
            ActionInput::One(artifacts.first().map(members).unwrap_or_default())
        };
        (port.clone(), input)
    });
    let inputs = ports.collect();
    let (read, whole): (Vec<&Found>, Vec<&Found>) = sources.iter().partition(|found| found.value.is_some());
    let sources = whole.into_iter().map(|found| (found.name.clone(), found.digest)).collect();
    let action = match work {
        Work::Waiting(_) => return Err("its params are not known yet".to_owned()),
        Work::Builtin { def, params, unkeyed_params, .. } => {
            let mut keyed = params.clone();
            if let Some(map) = keyed.as_object_mut() {
                map.retain(|name, _| !unkeyed_params.contains(name));
            }
            let tools = def.toolchain.iter().map(|tool| tool.fingerprint());
            Action {
                stage: def.name.to_owned(),
                version: def.version,
                toolchain: tools.map(|(name, version)| (name.to_owned(), version.to_owned())).collect(),
                params: Value::from_json(&keyed).map_err(|e| e.to_string())?,
                sources,
                inputs,
            }
        }
        Work::Command(command) => Action {
            stage: COMMAND.to_owned(),
            version: COMMAND_VERSION,
            toolchain: tools,
            params: command_params(node, command, &read)?,
            sources,
            inputs,
        },
    };
    Ok(action)
}

/// What stands in a key for the name of a stage, where a command runs.
pub const COMMAND: &str = "command";

/// Changes whenever the engine runs commands in another way that their results may depend on. 2: outputs with a path
/// in the project, inputs under their own file names.
const COMMAND_VERSION: u32 = 2;

fn command_params(node: &GraphNode, work: &CommandWork, read: &[&Found]) -> Result<Value, String> {
    let line = match &work.line {
        CommandLine::Shell(text) => ("shell", Value::text(text)),
        CommandLine::Words(words) => ("words", Value::List(words.iter().map(Value::text).collect())),
    };
    let outputs = node.outputs.iter().map(|output| {
        let place = match &output.path {
            Some(path) => ("path", Value::text(path.to_string_lossy())),
            None => ("name", Value::text(&output.file_name)),
        };
        (output.name.clone(), Value::map([place]))
    });
    let mut params = vec![line, ("outputs", Value::map(outputs))];
    if !work.cwd.as_os_str().is_empty() {
        params.push(("cwd", Value::text(work.cwd.to_string_lossy())));
    }
    if !work.env.is_empty() {
        // A value may be a secret, and a record is shared.
        let digest = |(name, value): (&String, &String)| {
            (name.clone(), Value::text(Digest::of(format!("{name}\0{value}").as_bytes()).to_string()))
        };
        params.push(("env", Value::map(work.env.iter().map(digest))));
    }
    if !read.is_empty() {
        let mut values = Vec::new();
        for found in read {
            let json = found.value.as_ref().map_or(&serde_json::Value::Null, |(_, value)| value);
            values.push((found.name.clone(), Value::from_json(json).map_err(|e| format!("{}: {e}", found.name))?));
        }
        params.push(("reads", Value::map(values)));
    }
    Ok(Value::map(params))
}
