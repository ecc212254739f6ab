//! Who writes where in the project: no two nodes to one path, and nobody reads what another writes without being
//! connected to it. A word of a command that lies at an output is no source: it is written, or connected.

use std::collections::BTreeSet;
use std::path::Path;

use super::Cell;
use crate::graph::{Described, NodeId, Publish, Work};
use crate::problem::{Problem, Problems, Span};
use crate::written::{Paths, Written, related, settle};

/// Checks all paths, and takes from the sources of commands what is no source.
pub(super) fn check(
    nodes: &mut [Cell<'_>],
    publish: &[(Span, Publish)],
    root: &Path,
    problems: &mut Problems,
) -> Paths {
    let mut told = BTreeSet::new();
    let mut paths = Paths::new();
    for (node, cell) in nodes.iter().enumerate() {
        for (output, path) in cell.node.outputs.iter().enumerate().filter_map(|(at, o)| Some((at, o.path.clone()?))) {
            if let Some(first) = paths.insert(path, Written { node, output }) {
                tell_twice(nodes, first, Written { node, output }, &mut told, problems);
            }
        }
    }
    for (path, inner) in &paths {
        let around = path.ancestors().skip(1).find_map(|folder| paths.get(folder));
        if let Some(outer) = around {
            tell_nested(nodes, *outer, *inner, &mut told, problems);
        }
    }
    check_published(nodes, publish, &paths, problems);
    if !paths.is_empty() {
        for reader in 0..nodes.len() {
            // What waits for results is described, and settled, when they are there.
            if matches!(nodes[reader].node.described.work, Work::Waiting(_)) {
                continue;
            }
            let mut described = std::mem::replace(&mut nodes[reader].node.described, Described::nothing());
            let node_of = |id: NodeId| &nodes[id].node;
            settle((&node_of, reader), &mut described, &paths, root, problems);
            nodes[reader].node.described = described;
        }
    }
    paths
}

fn named(nodes: &[Cell<'_>], written: Written) -> String {
    let node = &nodes[written.node].node;
    format!("`{}.{}`", node.name, node.outputs[written.output].name)
}

fn place(nodes: &[Cell<'_>], written: Written) -> Span {
    nodes[written.node]
        .spec()
        .outputs
        .get(written.output)
        .map_or(nodes[written.node].node.span, |spec| spec.path.as_ref().map_or(spec.name.span, |node| node.span))
}

fn shown(nodes: &[Cell<'_>], written: Written) -> String {
    let path = nodes[written.node].node.outputs[written.output].path.as_deref();
    path.unwrap_or(Path::new("")).display().to_string()
}

/// Once for each two places: the cells of a matrix have the same mistake.
fn tell_twice(
    nodes: &[Cell<'_>],
    first: Written,
    second: Written,
    told: &mut BTreeSet<(Span, Span)>,
    problems: &mut Problems,
) {
    let (at, other) = (place(nodes, second), place(nodes, first));
    if !told.insert((other, at)) {
        return;
    }
    let (path, one, two) = (shown(nodes, second), named(nodes, first), named(nodes, second));
    let problem = Problem::new(format!("{one} and {two} are both written to `{path}`"), at);
    let axis = nodes[second.node].node.coordinates.first().map(|(axis, _)| axis.clone());
    problems.push(match axis.filter(|_| at == other) {
        Some(axis) => problem.help(format!("give each cell its own path, as in `${{matrix.{axis}}}/{path}`")),
        None => problem.also(other, "the other").help("give each its own path"),
    });
}

fn tell_nested(
    nodes: &[Cell<'_>],
    outer: Written,
    inner: Written,
    told: &mut BTreeSet<(Span, Span)>,
    problems: &mut Problems,
) {
    let (at, other) = (place(nodes, inner), place(nodes, outer));
    if told.insert((other, at)) {
        let (one, two) = (named(nodes, inner), named(nodes, outer));
        let message = format!("{one} (`{}`) lies inside {two} (`{}`)", shown(nodes, inner), shown(nodes, outer));
        let problem = Problem::new(message, at).also(other, "the folder");
        problems.push(problem.help("an output is a file or a folder of its own: move one of them"));
    }
}

fn check_published(nodes: &[Cell<'_>], publish: &[(Span, Publish)], paths: &Paths, problems: &mut Problems) {
    for (at, (span, one)) in publish.iter().enumerate() {
        let overlaps = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
        if let Some(written) = related(&one.path, paths).first() {
            let message = format!("`{}` is published, and an output of {}", one.path.display(), named(nodes, *written));
            problems.push(
                Problem::new(message, *span)
                    .also(place(nodes, *written), "the output")
                    .help("publish to a path of its own"),
            );
        }
        if let Some((other, _)) = publish[..at].iter().find(|(_, other)| overlaps(&other.path, &one.path)) {
            let problem = Problem::new(format!("`{}` is published twice", one.path.display()), *span);
            problems.push(problem.also(*other, "the other").help("one path for each"));
        }
    }
}
