//! The graph as a picture: of stages, with their cells folded, or of nodes; as SVG, DOT or Mermaid.
//!
//! [`of_stages`] and [`of_nodes`] say what is drawn, [`layout`] where, [`svg`], [`dot`] and [`mermaid`] how. The same
//! graph gives the same bytes. Knows nothing of stores: how far each node is comes from a plan, where there is one.

pub mod dot;
pub mod layout;
pub mod mermaid;
pub mod svg;

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, NodeId};
use crate::plan::{Plan, Status};

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// The pipeline's name.
    pub title: String,
    /// Boxes, each after all that it reads.
    pub shapes: Vec<Shape>,
    /// Whether it is known what is cached.
    pub states: bool,
}

/// A box: a stage or a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub name: String,
    /// Nodes in it.
    pub nodes: usize,
    /// Of these, such as have their result.
    pub cached: usize,
    /// Such as would fail.
    pub fails: usize,
    /// Places of the boxes that it reads, all before its own, in order.
    pub from: Vec<usize>,
}

/// How far a box is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody looked.
    Unknown,
    /// All of it is cached.
    Done,
    /// A part of it is.
    Part,
    /// Nothing of it is.
    None,
    /// Something in it would fail.
    Fails,
}

impl State {
    /// All states, with the class of each in a picture.
    pub const CLASSES: [(Self, &'static str); 5] = [
        (Self::Unknown, "unknown"),
        (Self::Done, "done"),
        (Self::Part, "part"),
        (Self::None, "none"),
        (Self::Fails, "fails"),
    ];

    /// Its class in a picture.
    #[must_use]
    pub fn class(self) -> &'static str {
        Self::CLASSES.iter().find(|(state, _)| *state == self).map_or("", |(_, class)| class)
    }
}

impl Picture {
    /// How far a box of this picture is.
    #[must_use]
    pub fn state(&self, shape: &Shape) -> State {
        match shape {
            _ if !self.states => State::Unknown,
            _ if shape.fails > 0 => State::Fails,
            _ if shape.cached == shape.nodes => State::Done,
            _ if shape.cached > 0 => State::Part,
            _ => State::None,
        }
    }
}

impl Shape {
    /// `train ×27`.
    #[must_use]
    pub fn label(&self) -> String {
        if self.nodes == 1 { self.name.clone() } else { format!("{} ×{}", self.name, self.nodes) }
    }
}

/// A box for every stage of the `wanted` nodes.
#[must_use]
pub fn of_stages(title: &str, graph: &Graph, wanted: &[bool], plan: Option<&Plan>) -> Picture {
    draw(title, graph, wanted, plan, |id| graph.nodes[id].stage.clone())
}

/// A box for every one of the `wanted` nodes.
#[must_use]
pub fn of_nodes(title: &str, graph: &Graph, wanted: &[bool], plan: Option<&Plan>) -> Picture {
    draw(title, graph, wanted, plan, |id| graph.nodes[id].name.clone())
}

fn draw(title: &str, graph: &Graph, wanted: &[bool], plan: Option<&Plan>, name: impl Fn(NodeId) -> String) -> Picture {
    let states: BTreeMap<NodeId, Status> =
        plan.iter().flat_map(|plan| &plan.nodes).map(|node| (node.id, node.status)).collect();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut shape_of: Vec<usize> = vec![usize::MAX; graph.nodes.len()];
    let mut shapes: Vec<Shape> = Vec::new();
    let mut from: Vec<BTreeSet<usize>> = Vec::new();
    for &id in graph.order.iter().filter(|id| wanted[**id]) {
        let name = name(id);
        let place = *places.entry(name.clone()).or_insert_with(|| {
            shapes.push(Shape { name, ..Shape::default() });
            from.push(BTreeSet::new());
            shapes.len() - 1
        });
        shape_of[id] = place;
        let shape = &mut shapes[place];
        shape.nodes += 1;
        shape.cached += usize::from(states.get(&id) == Some(&Status::Cached));
        shape.fails += usize::from(states.get(&id) == Some(&Status::Fails));
        from[place]
            .extend(graph.producers(id).iter().map(|producer| shape_of[*producer]).filter(|from| *from != place));
    }
    for (shape, from) in shapes.iter_mut().zip(from) {
        shape.from = from.into_iter().collect();
    }
    Picture { title: title.to_owned(), shapes: in_order(&shapes), states: plan.is_some() }
}

/// Boxes so that each comes after all that it reads; where two read each other, as cells of stages may, the first comes
/// first.
fn in_order(shapes: &[Shape]) -> Vec<Shape> {
    let mut order: Vec<usize> = Vec::with_capacity(shapes.len());
    let mut waits: Vec<usize> = shapes.iter().map(|shape| shape.from.len()).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); shapes.len()];
    for (place, shape) in shapes.iter().enumerate() {
        shape.from.iter().for_each(|from| readers[*from].push(place));
    }
    let mut ready: BTreeSet<usize> = (0..shapes.len()).filter(|place| waits[*place] == 0).collect();
    let mut left: BTreeSet<usize> = (0..shapes.len()).collect();
    while let Some(place) = ready.pop_first().or_else(|| left.first().copied()) {
        if !left.remove(&place) {
            continue;
        }
        order.push(place);
        for reader in &readers[place] {
            waits[*reader] = waits[*reader].saturating_sub(1);
            if waits[*reader] == 0 && left.contains(reader) {
                ready.insert(*reader);
            }
        }
    }
    let mut new_place = vec![0; shapes.len()];
    order.iter().enumerate().for_each(|(new, old)| new_place[*old] = new);
    let moved = |old: &usize| {
        let shape = &shapes[*old];
        let mut from: Vec<usize> = shape.from.iter().map(|from| new_place[*from]).collect();
        from.sort_unstable();
        Shape { from, ..shape.clone() }
    };
    order.iter().map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn shape(name: &str, from: &[usize]) -> Shape {
        Shape { name: name.to_owned(), nodes: 1, from: from.to_vec(), ..Shape::default() }
    }

    #[test]
    fn boxes_come_after_what_they_read_and_those_that_read_each_other_come_too() {
        let names = |shapes: &[Shape]| shapes.iter().map(|shape| shape.name.clone()).collect::<String>();
        let sorted = in_order(&[shape("a", &[2]), shape("b", &[0]), shape("c", &[]), shape("d", &[])]);
        assert_eq!(names(&sorted), "cabd");
        assert_eq!(
            sorted.iter().map(|shape| shape.from.clone()).collect::<Vec<_>>(),
            [vec![], vec![0], vec![1], vec![]]
        );
        let circle = in_order(&[shape("a", &[1]), shape("b", &[0]), shape("c", &[1])]);
        assert_eq!(names(&circle), "abc");
    }

    #[test]
    fn a_box_s_state_is_that_of_all_its_nodes() {
        let of = |cached, fails, states| {
            let shape = Shape { cached, fails, nodes: 3, ..shape("s", &[]) };
            Picture { states, ..Picture::default() }.state(&shape)
        };
        assert_eq!(
            [of(3, 0, true), of(1, 0, true), of(0, 0, true), of(1, 1, true), of(3, 0, false)],
            [State::Done, State::Part, State::None, State::Fails, State::Unknown]
        );
    }
}
