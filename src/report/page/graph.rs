//! The graph of stages as a picture: columns from left to right, each stage right of all that it reads, with how many
//! of its nodes are there.
//!
//! Knows stages by their place in a list, and nothing of stores.

use maud::{Markup, html};

/// A stage of the picture.
pub struct StageBox {
    /// Its name.
    pub name: String,
    /// Nodes whose result is there.
    pub cached: usize,
    /// All nodes.
    pub nodes: usize,
    /// Places of the stages that it reads, all before its own.
    pub from: Vec<usize>,
}

const WIDTH: usize = 168;
const HEIGHT: usize = 42;
const GAP_X: usize = 64;
const GAP_Y: usize = 14;
/// Characters of a name that fit into a box.
const NAME_CHARS: usize = 21;

/// Column and row of every stage.
fn layout(stages: &[StageBox]) -> Vec<(usize, usize)> {
    let mut columns: Vec<usize> = Vec::with_capacity(stages.len());
    for stage in stages {
        let after = stage.from.iter().filter_map(|from| columns.get(*from)).map(|column| column + 1).max();
        columns.push(after.unwrap_or(0));
    }
    let count = columns.iter().max().map_or(0, |last| last + 1);
    let mut places = vec![(0, 0); stages.len()];
    for column in 0..count {
        let mut members: Vec<usize> = (0..stages.len()).filter(|stage| columns[*stage] == column).collect();
        // Near the middle of what it reads: fewer lines cross.
        let middle = |stage: &usize| {
            let rows: Vec<usize> = stages[*stage].from.iter().map(|from| places[*from].1).collect();
            (rows.iter().sum::<usize>() * 64).checked_div(rows.len()).unwrap_or(0)
        };
        members.sort_by_key(middle);
        for (row, stage) in members.into_iter().enumerate() {
            places[stage] = (column, row);
        }
    }
    places
}

/// Draws the stages.
#[must_use]
pub fn draw(stages: &[StageBox]) -> Markup {
    let places = layout(stages);
    let at = |stage: usize| (places[stage].0 * (WIDTH + GAP_X) + 2, places[stage].1 * (HEIGHT + GAP_Y) + 2);
    let size = |most: usize, side: usize, gap: usize| (most + 1) * (side + gap) - gap + 4;
    let width = size(places.iter().map(|place| place.0).max().unwrap_or(0), WIDTH, GAP_X);
    let height = size(places.iter().map(|place| place.1).max().unwrap_or(0), HEIGHT, GAP_Y);
    html! {
        svg.graph width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) role="img"
            aria-label="Stages and what they read" {
            @for (stage, to) in stages.iter().enumerate() {
                @for from in &to.from { path.edge d=(edge(at(*from), at(stage))) {} }
            }
            @for (stage, one) in stages.iter().enumerate() {
                @let (x, y) = at(stage);
                @let state = if one.cached == one.nodes { "done" } else if one.cached > 0 { "part" } else { "none" };
                g class=(format!("stage {state}")) transform=(format!("translate({x} {y})")) {
                    title { (one.name) ": " (one.cached) " of " (one.nodes) " nodes cached" }
                    rect.box width=(WIDTH) height=(HEIGHT) rx="6" {}
                    rect.bar x="10" y=(HEIGHT - 7) height="3" width=(WIDTH - 20) rx="1.5" {}
                    rect.full x="10" y=(HEIGHT - 7) height="3" rx="1.5"
                        width=((WIDTH - 20) * one.cached / one.nodes.max(1)) {}
                    text x="10" y="16" { (shortened(&one.name)) }
                    text.count x="10" y="30" { (one.cached) " / " (one.nodes) }
                }
            }
        }
    }
}

/// A curve from the right side of one box to the left side of another.
fn edge((x0, y0): (usize, usize), (x1, y1): (usize, usize)) -> String {
    let (x0, y0, y1) = (x0 + WIDTH, y0 + HEIGHT / 2, y1 + HEIGHT / 2);
    let bend = GAP_X / 2;
    format!("M{x0} {y0}C{} {y0} {} {y1} {x1} {y1}", x0 + bend, x1.saturating_sub(bend))
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS {
        return name.to_owned();
    }
    let start: String = name.chars().take(NAME_CHARS - 1).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_stands_right_of_all_that_it_reads_and_no_two_on_one_place() {
        let stage =
            |name: &str, from: &[usize]| StageBox { name: name.to_owned(), cached: 0, nodes: 1, from: from.to_vec() };
        let stages = [stage("a", &[]), stage("b", &[0]), stage("c", &[0]), stage("d", &[1, 2, 0]), stage("e", &[])];
        let places = layout(&stages);
        for (at, stage) in stages.iter().enumerate() {
            assert!(stage.from.iter().all(|from| places[*from].0 < places[at].0), "{places:?}");
            assert!((0..at).all(|other| places[other] != places[at]), "{places:?}");
        }
        assert_eq!(places[3].0, 2);
    }

    #[test]
    fn no_stages_and_long_names_are_drawn_too() {
        assert!(draw(&[]).into_string().starts_with("<svg"));
        assert_eq!(shortened("über_die_maßen_lange_stufe_é").chars().count(), NAME_CHARS);
    }
}
