//! A run as bars of text, a row for each node or, of many, for each stage. Knows the width and nothing else of the
//! terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use super::critical_path::critical_path;
use super::read::{NodeEnd, Run, RunNode, Stretch};
use crate::report::{duration, shortened};

/// More nodes than this are shown by stage.
const NODES_SHOWN: usize = 60;
/// A bar is never narrower.
const BAR_MIN: usize = 10;
/// How much of a row with so many nodes at once is filled.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The bars of a run for so many columns: by node with `nodes`, else as many fit a screen. With escape codes: nodes on
/// the critical path and failures have colours.
#[must_use]
pub fn timeline(run: &Run, columns: usize, nodes: bool) -> String {
    let mut ran: Vec<(usize, &RunNode)> =
        run.nodes.iter().enumerate().filter(|(_, node)| !node.stretches.is_empty()).collect();
    ran.sort_by_key(|(_, node)| node.stretches.first().map(|stretch| stretch.begin));
    let end = ran.iter().flat_map(|(_, node)| of(run, node)).map(|stretch| stretch.end()).max();
    let Some(end) = end.map(|end| end.max(run.summary.wall)) else { return "nothing ran\n".to_owned() };
    let rows = if nodes || ran.len() <= NODES_SHOWN { by_node(run, &ran) } else { by_stage(run, &ran) };
    draw(&rows, end, columns)
}

/// A line of the picture.
struct Row {
    name: String,
    took: Duration,
    stretches: Vec<Stretch>,
    /// Whether many may run at once: then the bar's height says how many.
    many: bool,
    style: Style,
}

fn by_node(run: &Run, ran: &[(usize, &RunNode)]) -> Vec<Row> {
    let critical: BTreeSet<usize> = critical_path(run).into_iter().map(|step| step.place).collect();
    let row = |(place, node): &(usize, &RunNode)| {
        let colour = match node.end {
            NodeEnd::Failed | NodeEnd::Unfinished => Some(AnsiColor::Red),
            NodeEnd::Diverged => Some(AnsiColor::Magenta),
            _ if critical.contains(place) => Some(AnsiColor::Yellow),
            _ => None,
        };
        let style = Style::new().fg_color(colour.map(Into::into));
        Row { name: node.name.clone(), took: node.took(), stretches: of(run, node).collect(), many: false, style }
    };
    ran.iter().map(row).collect()
}

fn by_stage(run: &Run, ran: &[(usize, &RunNode)]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut counts: Vec<usize> = Vec::new();
    for (_, node) in ran {
        let stage = node.name.split('[').next().unwrap_or(&node.name);
        let place = *places.entry(stage).or_insert_with(|| {
            let (name, style) = (stage.to_owned(), Style::new());
            rows.push(Row { name, took: Duration::ZERO, stretches: Vec::new(), many: true, style });
            counts.push(0);
            rows.len() - 1
        });
        counts[place] += 1;
        let row = &mut rows[place];
        row.took += node.took();
        row.stretches.extend(of(run, node));
        if node.end == NodeEnd::Failed {
            row.style = Style::new().fg_color(Some(AnsiColor::Red.into()));
        }
    }
    for (row, count) in rows.iter_mut().zip(counts).filter(|(_, count)| *count > 1) {
        row.name.push_str(&format!(" ×{count}"));
    }
    rows
}

/// When a node ran; one that has not ended runs on to the last event.
fn of<'a>(run: &'a Run, node: &'a RunNode) -> impl Iterator<Item = Stretch> + 'a {
    let last = node.stretches.len().saturating_sub(1);
    node.stretches.iter().enumerate().map(move |(place, stretch)| {
        let unfinished = node.end == NodeEnd::Unfinished && place == last;
        let wall = if unfinished { run.summary.wall.saturating_sub(stretch.begin) } else { stretch.wall };
        Stretch { wall, ..*stretch }
    })
}

fn draw(rows: &[Row], end: Duration, columns: usize) -> String {
    let took = |row: &Row| duration(row.took);
    let took_width = rows.iter().map(|row| took(row).width()).max().unwrap_or(0);
    let widest = rows.iter().map(|row| row.name.width()).max().unwrap_or(0);
    let name_width = widest.min((columns / 3).max(12));
    let bar_width = columns.saturating_sub(name_width + took_width + 4).max(BAR_MIN);
    let (zero, total) = ("0 s", duration(end));
    let gap = " ".repeat(bar_width.saturating_sub(zero.width() + total.width()).max(1));
    let mut text = format!("{}{zero}{gap}{total}\n", " ".repeat(name_width + took_width + 4));
    for row in rows {
        let name = shortened(&row.name, name_width);
        let blanks = " ".repeat(name_width - name.width());
        let (style, bar) = (row.style, bar(row, end, bar_width));
        let bar = bar.trim_end();
        text.push_str(&format!("{name}{blanks}  {:>took_width$}  {style}{bar}{style:#}\n", took(row)));
    }
    text
}

/// How much of each moment a row fills, as far as a character can tell.
fn bar(row: &Row, end: Duration, width: usize) -> String {
    let scale = width as f64 / end.as_secs_f64().max(1e-9);
    let mut filled = vec![0.0_f64; width];
    for stretch in &row.stretches {
        let (from, to) = (stretch.begin.as_secs_f64() * scale, stretch.end().as_secs_f64() * scale);
        let (first, last) = ((from as usize).min(width - 1), (to.ceil() as usize).clamp(1, width));
        for (cell, filled) in filled.iter_mut().enumerate().take(last).skip(first) {
            let covered = to.min(cell as f64 + 1.0) - from.max(cell as f64);
            // However short, what ran is seen.
            *filled += covered.max(0.05);
        }
    }
    if row.many {
        let most = filled.iter().copied().fold(1.0, f64::max);
        let level = |filled: f64| if filled > 0.0 { ((filled / most * 8.0).round() as usize).clamp(1, 8) } else { 0 };
        return filled.into_iter().map(|filled| LEVELS[level(filled)]).collect();
    }
    // A node runs or it does not: what fills less than half of a character is left to its neighbour.
    let is_short = filled.iter().all(|filled| *filled < 0.5);
    let one = |filled: f64| match filled {
        filled if filled >= 0.5 => '█',
        filled if filled > 0.0 && is_short => '▏',
        _ => ' ',
    };
    filled.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{Ran, run};
    use super::*;

    fn plain(run: &Run, columns: usize, nodes: bool) -> String {
        anstream::adapter::strip_str(&timeline(run, columns, nodes)).to_string()
    }

    #[test]
    fn bars_lie_where_nodes_ran_and_no_line_is_wider_than_the_terminal() {
        let run = run(&[
            ("first", Some((0, 500)), &[]),
            ("second[x=1]", Some((500, 500)), &[0]),
            ("third", None, &[1]),
            ("a_stage_with_a_very_long_name[axis=value]", Some((900, 100)), &[0]),
        ]);
        let text = plain(&run, 60, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines.iter().all(|line| line.width() <= 60), "{text}");
        let bar = |line: &str| {
            let chars: Vec<char> = line.chars().skip(20 + 6 + 4).collect();
            (chars.iter().position(|c| *c == '█'), chars.iter().filter(|c| **c == '█').count())
        };
        assert_eq!(bar(lines[1]), (Some(0), 15), "{text}");
        assert_eq!(bar(lines[2]), (Some(15), 15), "{text}");
        assert_eq!(bar(lines[3]), (Some(27), 3), "{text}");
        assert!(lines[3].starts_with("a_stage_with_a_very…  0.10 s"), "{text}");
    }

    #[test]
    fn many_nodes_are_a_row_a_stage_that_is_higher_where_more_ran() {
        let names: Vec<String> = (0..80).map(|n| format!("s[n={n}]")).collect();
        let mut nodes: Vec<Ran> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.as_str(), Some((n as u64 / 40 * 500, 500)), &[][..]))
            .collect();
        nodes.truncate(70);
        let run = run(&nodes);
        let text = plain(&run, 60, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[1].starts_with("s ×70 "), "{text}");
        assert!(lines[1].contains("██") && lines[1].ends_with("▆▆"), "40 at once, then 30: {text}");
        assert_eq!(plain(&run, 60, true).lines().count(), 71);
    }

    #[test]
    fn a_terminal_of_any_width_and_a_run_without_any_time_are_drawn() {
        let run = run(&[("one", Some((0, 0)), &[]), ("日本語日本語日本語", Some((0, 0)), &[])]);
        for columns in [0, 1, 20, 300] {
            assert!(plain(&run, columns, true).contains('▏'), "{columns}");
        }
        assert_eq!(plain(&super::super::read::tests::run(&[("a", None, &[])]), 80, false), "nothing ran\n");
    }
}
