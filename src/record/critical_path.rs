//! The chain of nodes that decided how long a run had to take: each waits for the one before it, and no other chain
//! took longer. More cores make a run no shorter than this.

use std::time::Duration;

use super::read::{Run, RunNode};

/// A node on the critical path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in [`Run::nodes`].
    pub place: usize,
    /// When it began, from the start of the run.
    pub begin: Duration,
    /// How long it was ready and did not run: something else ran, or the run had not come to it.
    pub waited: Duration,
    /// How long it ran.
    pub wall: Duration,
}

/// The critical path of a run, first to last; nodes that did not run take no time and are left out. Empty where
/// nothing ran, or nothing is known of who reads whom.
#[must_use]
pub fn critical_path(run: &Run) -> Vec<Step> {
    if !run.is_listed() {
        return Vec::new();
    }
    // Of each node: the longest time that it and a chain before it took, and the node before it in that chain.
    let mut longest: Vec<(Duration, Option<usize>)> = Vec::with_capacity(run.nodes.len());
    for node in &run.nodes {
        let mut before: Option<usize> = None;
        for &producer in &node.producers {
            if before.is_none_or(|known| longest[producer].0 > longest[known].0) {
                before = Some(producer);
            }
        }
        let sum = before.map_or(Duration::ZERO, |before| longest[before].0) + node.took();
        longest.push((sum, before));
    }
    let mut last: Option<usize> = None;
    for place in 0..longest.len() {
        if last.is_none_or(|known| longest[place].0 > longest[known].0) {
            last = Some(place);
        }
    }
    let mut places = Vec::new();
    while let Some(place) = last {
        places.push(place);
        last = longest[place].1;
    }
    steps(run, places.into_iter().rev())
}

fn steps(run: &Run, places: impl Iterator<Item = usize>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for place in places {
        let node = &run.nodes[place];
        let Some(first) = node.stretches.first() else { continue };
        let ready = node.producers.iter().filter_map(|producer| run.nodes[*producer].ended_at()).max();
        let waited = first.begin.saturating_sub(ready.unwrap_or_default());
        steps.push(Step { place, begin: first.begin, waited, wall: node.took() });
    }
    steps
}

impl RunNode {
    /// How long it ran in all.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.stretches.iter().map(|stretch| stretch.wall).sum()
    }

    /// When it ended; `None` when it did not run.
    fn ended_at(&self) -> Option<Duration> {
        self.stretches.last().map(super::read::Stretch::end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{Ran, run};
    use super::*;

    fn path(nodes: &[Ran]) -> Vec<(String, u64, u64)> {
        let run = run(nodes);
        let steps = critical_path(&run);
        let shown = |step: &Step| {
            (run.nodes[step.place].name.clone(), step.waited.as_millis() as u64, step.wall.as_millis() as u64)
        };
        steps.iter().map(shown).collect()
    }

    #[test]
    fn the_longest_chain_is_found_whatever_ran_beside_it() {
        let found = path(&[
            ("a", Some((0, 10)), &[]),
            ("b", Some((0, 50)), &[]),
            ("c", Some((60, 30)), &[0, 1]),
            ("d", Some((15, 60)), &[0]),
            ("e", None, &[2, 3]),
        ]);
        assert_eq!(found, [("b".to_owned(), 0, 50), ("c".to_owned(), 10, 30)]);
    }

    #[test]
    fn what_was_cached_takes_no_time_and_is_left_out() {
        let found =
            path(&[("a", None, &[]), ("b", Some((5, 10)), &[0]), ("c", None, &[1]), ("d", Some((15, 1)), &[2])]);
        assert_eq!(found, [("b".to_owned(), 5, 10), ("d".to_owned(), 15, 1)]);
        assert_eq!(path(&[("a", None, &[]), ("b", None, &[0])]), []);
        assert_eq!(path(&[]), []);
    }
}
