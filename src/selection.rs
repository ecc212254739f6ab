//! Nodes as they are named on the command line: `train`, `train[lr=0.1]`, `table_*`, `train+` with all that needs it,
//! `+train` with all that it needs.

use crate::graph::{Graph, NodeId};
use crate::problem::suggest;
use crate::selector::{Selection, Selector};

impl Graph {
    /// The nodes that names on the command line mean, in the order of the graph.
    ///
    /// # Errors
    /// A sentence naming what is unknown, with what is near.
    pub fn select(&self, names: &[String]) -> Result<Vec<NodeId>, String> {
        let mut selected = vec![false; self.nodes.len()];
        for name in names {
            let Selection { selector, upstream, downstream } = Selection::parse(name)?;
            let matching = self.matching(&selector)?;
            let with_upstream = if upstream { self.closure(&matching) } else { Vec::new() };
            let downstream = if downstream { self.downstream(&matching) } else { Vec::new() };
            let upstream = (0..with_upstream.len()).filter(|id| with_upstream[*id]);
            for id in matching.into_iter().chain(upstream).chain(downstream) {
                selected[id] = true;
            }
        }
        Ok((0..self.nodes.len()).filter(|id| selected[*id]).collect())
    }

    /// The one node that a name on the command line means, with the output after `:`.
    ///
    /// # Errors
    /// When it names none or several.
    pub fn select_one(&self, name: &str) -> Result<(NodeId, Option<String>), String> {
        let selector = Selector::parse(name, ':')?;
        let matching = self.matching(&selector)?;
        // `train[country=us]` may be one cell and the beginning of others' names.
        let whole = matching.iter().find(|id| self.nodes[**id].coordinates.len() == selector.axes.len());
        match whole.map_or(matching.as_slice(), std::slice::from_ref) {
            [one] => Ok((*one, selector.output)),
            several => {
                let names: Vec<&str> = several.iter().take(5).map(|id| self.nodes[*id].name.as_str()).collect();
                let more = if several.len() > 5 { ", ..." } else { "" };
                Err(format!("`{name}` names {} nodes: {}{more}; name one", several.len(), names.join(", ")))
            }
        }
    }

    /// All nodes that need one of these.
    fn downstream(&self, ids: &[NodeId]) -> Vec<NodeId> {
        let consumers = self.consumers();
        let mut seen = vec![false; self.nodes.len()];
        let mut open = ids.to_vec();
        let mut found = Vec::new();
        while let Some(id) = open.pop() {
            for &consumer in &consumers[id] {
                if !std::mem::replace(&mut seen[consumer], true) {
                    found.push(consumer);
                    open.push(consumer);
                }
            }
        }
        found
    }

    /// The cells that a selector means, of one stage or of those whose names have its form.
    fn matching(&self, selector: &Selector) -> Result<Vec<NodeId>, String> {
        let pattern = selector.stage.as_str();
        let is_pattern = pattern.contains(['*', '?']);
        let meant = |stage: &str| if is_pattern { has_form(stage, pattern) } else { stage == pattern };
        let cells: Vec<NodeId> = (0..self.nodes.len()).filter(|id| meant(&self.nodes[*id].stage)).collect();
        if cells.is_empty() {
            return Err(self.no_stage(pattern, is_pattern));
        }
        let mut axes: Vec<&str> = Vec::new();
        for (axis, _) in cells.iter().flat_map(|id| &self.nodes[*id].coordinates) {
            if !axes.contains(&axis.as_str()) {
                axes.push(axis);
            }
        }
        if let Some((axis, _)) = selector.axes.iter().find(|(axis, _)| !axes.contains(&axis.as_str())) {
            let help = suggest(axis, "axes", axes);
            return Err(if is_pattern {
                format!("no stage named as `{pattern}` has the axis `{axis}`; {help}")
            } else {
                format!("`{pattern}` has no axis `{axis}`; {help}")
            });
        }
        let found: Vec<NodeId> =
            cells.iter().copied().filter(|id| selector.matches(&self.nodes[*id].coordinates)).collect();
        if found.is_empty() {
            let mut shown = cells.iter().filter(|id| !self.nodes[**id].coordinates.is_empty());
            let names: Vec<&str> = shown.by_ref().take(5).map(|id| self.nodes[*id].name.as_str()).collect();
            let more = if shown.next().is_some() { ", ..." } else { "" };
            let away = if self.away.contains(pattern) { " (its `when` takes some away)" } else { "" };
            return Err(format!("no cell of `{pattern}` matches{away}; there are {}{more}", names.join(", ")));
        }
        Ok(found)
    }

    fn no_stage(&self, name: &str, is_pattern: bool) -> String {
        if self.away.contains(name) {
            return format!("`{name}` has no cell: its `when` is false");
        }
        let mut stages: Vec<&str> = self.nodes.iter().map(|node| node.stage.as_str()).collect();
        stages.dedup();
        if !is_pattern {
            return format!("no stage `{name}`; {}", suggest(name, "stages", stages));
        }
        stages.retain(|stage| stage.contains('.') == name.contains('.'));
        let stages: Vec<String> = stages.iter().map(|stage| format!("`{stage}`")).collect();
        format!("no stage is named as `{name}`; stages: {}", stages.join(", "))
    }
}

/// Whether a stage's name is what a pattern says, in which `*` stands for any letters and `?` for one, but neither for
/// the dot between an import and its stage.
fn has_form(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    // Which beginnings of the name fit what was read of the pattern.
    let mut fits: Vec<bool> = (0..=name.len()).map(|length| length == 0).collect();
    for letter in pattern {
        let mut next = vec![false; name.len() + 1];
        for length in 0..=name.len() {
            let grown = |from: &[bool]| length > 0 && from[length - 1] && name[length - 1] != '.';
            next[length] = match letter {
                '*' => fits[length] || grown(&next),
                '?' => grown(&fits),
                letter => length > 0 && fits[length - 1] && name[length - 1] == letter,
            };
        }
        fits = next;
    }
    fits[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters_and_a_question_mark_for_one() {
        for (name, pattern, fits) in [
            ("table_1", "table_*", true),
            ("table_", "table_*", true),
            ("table", "table_*", false),
            ("table_1", "t*e*1", true),
            ("table_1", "*", true),
            ("table_1", "table_??", false),
            ("p.table", "*", false),
            ("p.table", "p.*", true),
            ("p.table", "*.*", true),
            ("p.table", "p?table", false),
            ("aab", "a*b", true),
            ("", "*", true),
        ] {
            assert_eq!(has_form(name, pattern), fits, "{name} {pattern}");
        }
    }
}
