//! Nodes that cannot run, as a reference of theirs fits no cell: `--set classes=[0]` took away what a figure names, or a
//! `when` did. They stop only what needs them.

use std::collections::BTreeMap;

use crate::graph::{Graph, NodeId};
use crate::problem::{Problem, Problems, Span};

/// A reference of a node that fits no cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfit {
    /// Where it stands, and what it says where several stand at one place: the same for all cells of a stage.
    pub place: (Span, String),
    /// What is wrong with it in this cell.
    pub problem: Problem,
}

/// Nodes that a run goes without, and why.
pub struct LeftOut {
    /// The nodes: those that are broken, and all that need them.
    pub nodes: Vec<NodeId>,
    /// What is wrong.
    pub problems: Problems,
}

impl Graph {
    /// For every node the one whose references do not fit and without which it cannot run: itself, or one that it needs.
    #[must_use]
    pub fn broken_by(&self) -> Vec<Option<NodeId>> {
        let mut broken = vec![None; self.nodes.len()];
        if self.nodes.iter().any(|node| !node.unfit.is_empty()) {
            for &id in &self.order {
                let own = (!self.nodes[id].unfit.is_empty()).then_some(id);
                broken[id] = own.or_else(|| self.producers(id).into_iter().find_map(|producer| broken[producer]));
            }
        }
        broken
    }

    /// The nodes of a run for `targets` (see [`Self::closure`]). When no target is named it goes without those that are
    /// broken.
    ///
    /// # Errors
    /// What is wrong with nodes that a target needs, or with all there are.
    pub fn wanted(&self, targets: &[NodeId]) -> Result<(Vec<bool>, Option<LeftOut>), Problems> {
        let wanted = self.closure(targets);
        let broken = self.broken_by();
        let nodes: Vec<NodeId> = (0..self.nodes.len()).filter(|id| wanted[*id] && broken[*id].is_some()).collect();
        if nodes.is_empty() {
            return Ok((wanted, None));
        }
        let problems = self.unfit(&nodes);
        let own = (0..self.nodes.len()).filter(|id| broken[*id].is_none() && !self.nodes[*id].imported);
        let whole: Vec<NodeId> = own.collect();
        if !targets.is_empty() || whole.is_empty() {
            return Err(problems);
        }
        Ok((self.closure(&whole), Some(LeftOut { nodes, problems })))
    }

    /// What is wrong with the references of these nodes: once for all cells that have one.
    #[must_use]
    pub fn unfit(&self, nodes: &[NodeId]) -> Problems {
        let mut by_place: BTreeMap<&(Span, String), (&Problem, usize)> = BTreeMap::new();
        for unfit in nodes.iter().flat_map(|id| &self.nodes[*id].unfit) {
            by_place.entry(&unfit.place).and_modify(|(_, others)| *others += 1).or_insert((&unfit.problem, 0));
        }
        let mut problems = Problems::default();
        for (problem, others) in by_place.into_values() {
            problems.push(of_cells(problem.clone(), others));
        }
        problems
    }
}

/// A problem of one cell that so many others have too.
#[must_use]
pub fn of_cells(mut problem: Problem, others: usize) -> Problem {
    if others > 0 {
        problem.message.push_str(&format!(" (and {others} more cells)"));
    }
    problem
}
