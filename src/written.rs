//! Which node writes which path of the project, and what that means for the files that others read: a word of a command
//! that lies at an output is no source, for it is written, or connected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::graph::{Described, ExternalFile, GraphNode, NodeId, Work};
use crate::problem::{Problem, Problems};

/// An output with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The node.
    pub node: NodeId,
    /// The output's place among those of the node.
    pub output: usize,
}

/// Outputs by their paths from the project's root.
pub type Paths = BTreeMap<PathBuf, Written>;

/// The outputs that lie at a path, around it or below it.
#[must_use]
pub fn related(path: &Path, paths: &Paths) -> Vec<Written> {
    let around = path.ancestors().filter_map(|folder| paths.get(folder));
    let below = paths.range(path.to_owned()..).skip_while(|(other, _)| *other == path);
    around.chain(below.take_while(|(other, _)| other.starts_with(path)).map(|(_, written)| written)).copied().collect()
}

/// Takes from the sources of node `reader`, which is described so, what is no source, and tells what it reads of others
/// without being connected to them.
pub fn settle<'g>(
    (node_of, reader): (&dyn Fn(NodeId) -> &'g GraphNode, NodeId),
    described: &mut Described,
    paths: &Paths,
    root: &Path,
    problems: &mut Problems,
) {
    let is_command = matches!(described.work, Work::Command(_));
    described.sources.retain(|source| {
        let inside = source.candidates.iter().filter_map(|path| path.strip_prefix(root).ok());
        let written: Vec<Written> = inside.flat_map(|path| related(path, paths)).collect();
        let is_word = is_command && source.hint.is_none();
        let own = written.iter().any(|written| written.node == reader);
        if is_word && own {
            return false;
        }
        let other = written.iter().find(|written| own || !is_word || !is_connected(node_of, reader, **written));
        if let Some(other) = other {
            problems.push(unconnected(node_of, reader, source, *other, is_command));
        }
        written.is_empty()
    });
}

fn is_connected<'g>(node_of: &dyn Fn(NodeId) -> &'g GraphNode, reader: NodeId, written: Written) -> bool {
    let output = &node_of(written.node).outputs[written.output].name;
    let from = node_of(reader).inputs.values().flat_map(|port| &port.from);
    from.into_iter().any(|(from, name)| *from == written.node && name == output)
}

fn unconnected<'g>(
    node_of: &dyn Fn(NodeId) -> &'g GraphNode,
    reader: NodeId,
    source: &ExternalFile,
    written: Written,
    is_command: bool,
) -> Problem {
    let (node, producer) = (node_of(reader), node_of(written.node));
    let output = &producer.outputs[written.output].name;
    let (kind, text) = source.name.split_once(':').unwrap_or(("", &source.name));
    let text = if kind == "input" { source.candidates[0].display().to_string() } else { text.to_owned() };
    if reader == written.node {
        let message = format!("`{text}` is an output of `{}`, and among the files that it reads", node.stage);
        return Problem::new(message, node.span).help("a stage writes its outputs, and reads others");
    }
    let message =
        format!("`{text}` is the output `{output}` of `{}`, to which `{}` is not connected", producer.name, node.stage);
    let problem = Problem::new(message, node.span).also(producer.span, "it is made here");
    problem.help(if is_command {
        format!("connect it: `inputs: {{{output}: {}.{output}}}`", producer.stage)
    } else {
        "a built-in stage cannot read files that the pipeline itself writes".to_owned()
    })
}
