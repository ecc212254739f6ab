//! Where boxes and lines go: columns from left to right, each box right of all that it reads.
//!
//! The steps are those of Sugiyama, Tagawa and Toda: a column for each box; bends where a line passes columns; an order
//! in each column with few crossings; heights that make lines straight. All lines from one box to far ones share their
//! bends, so that a box that many read sends out one line that forks, and not twenty beside each other. Knows sizes and
//! who reads whom, and no names.

use std::collections::BTreeMap;

/// Blank between two boxes of a column, and beside a line that passes.
const GAP_BOX: f64 = 12.0;
const GAP_LINE: f64 = 9.0;
/// Blank between columns: more where more lines run.
const GAP_COLUMN: (f64, f64) = (44.0, 110.0);
const MARGIN: f64 = 10.0;
/// How often orders and heights are improved; more changes nothing that is seen.
const ORDER_SWEEPS: usize = 24;
const HEIGHT_SWEEPS: usize = 60;

/// A picture's geometry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Width and height of all.
    pub size: (f64, f64),
    /// Of each box.
    pub boxes: Vec<Place>,
    /// All lines, each piece once.
    pub lines: Vec<Line>,
}

/// Where a box is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// Its left side.
    pub x: f64,
    /// Its upper side.
    pub y: f64,
    /// Its width: that of its column.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// A piece of a line, between two columns or across one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Where it begins.
    pub from: (f64, f64),
    /// Where it ends.
    pub to: (f64, f64),
    /// Whether it ends at a box.
    pub arrow: bool,
}

/// A box, or a bend of lines that pass a column.
struct Item {
    column: usize,
    /// The box; `None` for a bend.
    shape: Option<usize>,
    height: f64,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Lays out boxes of these sizes, each with those that it reads. Boxes that read later ones (a circle) are drawn with a
/// line back.
#[must_use]
pub fn layout(sizes: &[(f64, f64)], from: &[Vec<usize>]) -> Layout {
    let columns = columns(from);
    let mut items = items(sizes, from, &columns);
    let count = columns.iter().max().map_or(0, |last| last + 1);
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); count];
    for item in first_order(&items) {
        order[items[item].column].push(item);
    }
    improve_order(&items, &mut order);
    let heights = heights(&items, &order);
    place(&mut items, &order, &heights, sizes, from)
}

/// A column for each box: right of all that it reads, and no further from what it is joined to than needed.
fn columns(from: &[Vec<usize>]) -> Vec<usize> {
    let forward = |place: usize| from[place].iter().copied().filter(move |from| *from < place);
    let mut columns: Vec<usize> = Vec::with_capacity(from.len());
    for place in 0..from.len() {
        columns.push(forward(place).map(|from| columns[from] + 1).max().unwrap_or(0));
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); from.len()];
    for place in 0..from.len() {
        forward(place).for_each(|from| readers[from].push(place));
    }
    // What is read more often than it reads is pulled to its readers: one line is shorter for each.
    for _ in 0..from.len().min(20) {
        let mut moved = false;
        for place in (0..from.len()).rev() {
            let Some(nearest) = readers[place].iter().map(|reader| columns[*reader] - 1).min() else { continue };
            if readers[place].len() > forward(place).count() && nearest > columns[place] {
                columns[place] = nearest;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    // The first column is not left empty.
    let first = columns.iter().copied().min().unwrap_or(0);
    columns.iter().map(|column| column - first).collect()
}

fn items(sizes: &[(f64, f64)], from: &[Vec<usize>], columns: &[usize]) -> Vec<Item> {
    let new = |column, shape, height| Item { column, shape, height, before: Vec::new(), after: Vec::new() };
    let mut items: Vec<Item> =
        sizes.iter().enumerate().map(|(place, size)| new(columns[place], Some(place), size.1)).collect();
    let mut bends: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let join = |items: &mut Vec<Item>, first: usize, second: usize| {
        if !items[first].after.contains(&second) {
            items[first].after.push(second);
            items[second].before.push(first);
        }
    };
    for (place, all) in from.iter().enumerate() {
        for &source in all.iter().filter(|source| columns[**source] < columns[place]) {
            let mut last = source;
            for column in columns[source] + 1..columns[place] {
                let bend = *bends.entry((source, column)).or_insert_with(|| {
                    items.push(new(column, None, 0.0));
                    items.len() - 1
                });
                join(&mut items, last, bend);
                last = bend;
            }
            join(&mut items, last, place);
        }
    }
    items
}

/// Boxes as they are met when following lines from the first: what belongs together lies together.
fn first_order(items: &[Item]) -> Vec<usize> {
    let mut order = Vec::with_capacity(items.len());
    let mut seen = vec![false; items.len()];
    for start in 0..items.len() {
        let mut open = vec![start];
        while let Some(item) = open.pop() {
            if !std::mem::replace(&mut seen[item], true) {
                order.push(item);
                open.extend(items[item].after.iter().rev().chain(items[item].before.iter().rev()));
            }
        }
    }
    order
}

/// Sorts each column by where its neighbours lie, to and fro, and keeps what crosses least.
fn improve_order(items: &[Item], order: &mut Vec<Vec<usize>>) {
    let mut best = (crossings(items, order), order.clone());
    for sweep in 0..ORDER_SWEEPS {
        let to_right = sweep % 2 == 0;
        let columns: Vec<usize> =
            if to_right { (1..order.len()).collect() } else { (0..order.len().max(1) - 1).rev().collect() };
        for column in columns {
            let place = places(items.len(), order);
            let middle = |item: &usize| {
                let joined = if to_right { &items[*item].before } else { &items[*item].after };
                let mut joined: Vec<usize> = joined.iter().map(|other| place[*other]).collect();
                joined.sort_unstable();
                // The median, between two of them for an even number; what is joined to nothing stays where it is.
                match joined.len() {
                    0 => place[*item] * 2,
                    n if n % 2 == 1 => joined[n / 2] * 2,
                    n => joined[n / 2 - 1] + joined[n / 2],
                }
            };
            order[column].sort_by_key(middle);
        }
        exchange(items, order);
        let now = crossings(items, order);
        if now < best.0 {
            best = (now, order.clone());
        }
    }
    *order = best.1;
}

/// Exchanges neighbours where that saves crossings.
fn exchange(items: &[Item], order: &mut [Vec<usize>]) {
    for column in 0..order.len() {
        let place = places(items.len(), order);
        let crossed = |upper: usize, lower: usize| {
            let count = |upper: &[usize], lower: &[usize]| -> usize {
                upper.iter().map(|a| lower.iter().filter(|b| place[**b] < place[*a]).count()).sum()
            };
            count(&items[upper].before, &items[lower].before) + count(&items[upper].after, &items[lower].after)
        };
        let members = &mut order[column];
        for _ in 0..members.len().min(8) {
            let mut exchanged = false;
            for at in 1..members.len() {
                let (upper, lower) = (members[at - 1], members[at]);
                if crossed(lower, upper) < crossed(upper, lower) {
                    members.swap(at - 1, at);
                    exchanged = true;
                }
            }
            if !exchanged {
                break;
            }
        }
    }
}

/// The place of each item in its column.
fn places(count: usize, order: &[Vec<usize>]) -> Vec<usize> {
    let mut places = vec![0; count];
    for members in order {
        members.iter().enumerate().for_each(|(place, item)| places[*item] = place);
    }
    places
}

fn crossings(items: &[Item], order: &[Vec<usize>]) -> usize {
    let place = places(items.len(), order);
    let mut count = 0;
    for members in order {
        // Lines of one column from top to bottom: two cross where their ends are the other way round. Ends are counted in
        // a Fenwick tree, so that thousands of lines take no longer than a glance.
        let mut ends: Vec<usize> = Vec::new();
        for item in members {
            let mut own: Vec<usize> = items[*item].after.iter().map(|other| place[*other]).collect();
            own.sort_unstable();
            ends.extend(own);
        }
        let mut tree = vec![0_usize; ends.iter().max().map_or(0, |last| last + 2)];
        for (seen, end) in ends.iter().enumerate() {
            let (mut not_below, mut at) = (0, end + 1);
            while at > 0 {
                not_below += tree[at];
                at &= at - 1;
            }
            count += seen - not_below;
            let mut at = end + 1;
            while at < tree.len() {
                tree[at] += 1;
                at += at & at.wrapping_neg();
            }
        }
    }
    count
}

/// The middle of each item: as near as can be to what it is joined to, in the order of its column.
fn heights(items: &[Item], order: &[Vec<usize>]) -> Vec<f64> {
    let mut middles = vec![0.0; items.len()];
    for members in order {
        let offsets = offsets(items, members);
        members.iter().zip(offsets).for_each(|(item, offset)| middles[*item] = offset);
    }
    for sweep in 0..HEIGHT_SWEEPS {
        let (before, after) = match sweep {
            _ if sweep + 8 >= HEIGHT_SWEEPS => (true, true),
            _ => (sweep % 2 == 0, sweep % 2 == 1),
        };
        let columns: Vec<usize> = if before { (0..order.len()).collect() } else { (0..order.len()).rev().collect() };
        for column in columns {
            settle(items, &order[column], (before, after), &mut middles);
        }
    }
    straighten(items, order, &mut middles);
    middles
}

/// Gives all bends of a line one height where there is room: that of the box that it comes from or goes to, if it can be.
fn straighten(items: &[Item], order: &[Vec<usize>], middles: &mut [f64]) {
    let place = places(items.len(), order);
    let is_bend = |item: &usize| items[*item].shape.is_none();
    for start in (0..items.len()).filter(|item| is_bend(item) && !items[*item].before.iter().any(is_bend)) {
        let mut bends = vec![start];
        while let Some(next) = bends.last().and_then(|last| items[*last].after.iter().copied().find(is_bend)) {
            bends.push(next);
        }
        let (mut lowest, mut highest) = (f64::NEG_INFINITY, f64::INFINITY);
        for bend in &bends {
            let members = &order[items[*bend].column];
            let offsets = offsets(items, members);
            let at = place[*bend];
            if let Some(above) = at.checked_sub(1) {
                lowest = lowest.max(middles[members[above]] + offsets[at] - offsets[above]);
            }
            if let Some(below) = members.get(at + 1) {
                highest = highest.min(middles[*below] - offsets[at + 1] + offsets[at]);
            }
        }
        let ends =
            [&items[start].before, &items[bends[bends.len() - 1]].after].into_iter().filter(|ends| ends.len() == 1);
        let wishes: Vec<f64> = ends.map(|ends| middles[ends[0]]).collect();
        let mean = bends.iter().map(|bend| middles[*bend]).sum::<f64>() / bends.len() as f64;
        let fits = |wish: &&f64| (lowest..=highest).contains(*wish);
        if lowest <= highest {
            let height = wishes.iter().find(fits).copied().unwrap_or_else(|| mean.clamp(lowest, highest));
            for bend in bends {
                middles[bend] = height;
            }
        }
    }
}

/// Distances from the first item of a column at which all lie as near as they may.
fn offsets(items: &[Item], members: &[usize]) -> Vec<f64> {
    let mut offsets = Vec::with_capacity(members.len());
    let mut at = 0.0;
    for (index, item) in members.iter().enumerate() {
        if let Some(last) = index.checked_sub(1).map(|last| members[last]) {
            let gap = if items[last].shape.is_some() && items[*item].shape.is_some() { GAP_BOX } else { GAP_LINE };
            at += f64::midpoint(items[last].height, items[*item].height) + gap;
        }
        offsets.push(at);
    }
    offsets
}

/// Puts the items of a column where they want to be, in their order and not too near: the least squares under these
/// bounds, by pooling neighbours that want past each other.
fn settle(items: &[Item], members: &[usize], (before, after): (bool, bool), middles: &mut [f64]) {
    let offsets = offsets(items, members);
    // Of each pool: the sum of weights, the weighted sum of wishes, how many items it has.
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(members.len());
    for (item, offset) in members.iter().zip(&offsets) {
        let (mut weight, mut wish) = (0.01, 0.01 * middles[*item]);
        let own = &items[*item];
        let joined = own.before.iter().filter(|_| before).chain(own.after.iter().filter(|_| after));
        for other in joined {
            // A line that passes columns is to be straight before all else.
            let stiff = match (own.shape, items[*other].shape) {
                (None, None) => 8.0,
                (None, _) | (_, None) => 2.0,
                _ => 1.0,
            };
            weight += stiff;
            wish += stiff * middles[*other];
        }
        pools.push((weight, wish - weight * offset, 1));
        while let [.., (w0, s0, n0), (w1, s1, n1)] = pools.as_slice() {
            if s0 / w0 <= s1 / w1 {
                break;
            }
            let pooled = (w0 + w1, s0 + s1, n0 + n1);
            pools.truncate(pools.len() - 2);
            pools.push(pooled);
        }
    }
    let settled = pools.iter().flat_map(|(weight, sum, count)| std::iter::repeat_n(sum / weight, *count));
    for ((item, offset), at) in members.iter().zip(&offsets).zip(settled) {
        middles[*item] = at + offset;
    }
}

fn place(
    items: &mut [Item],
    order: &[Vec<usize>],
    middles: &[f64],
    sizes: &[(f64, f64)],
    from: &[Vec<usize>],
) -> Layout {
    let round = |number: f64| (number * 10.0).round() / 10.0;
    let top = |item: usize| middles[item] - items[item].height / 2.0;
    let highest = (0..items.len()).map(top).fold(f64::INFINITY, f64::min);
    let y_of = |item: usize| round(middles[item] - highest + MARGIN);
    // Left and right side of every column.
    let mut sides: Vec<(f64, f64)> = Vec::with_capacity(order.len());
    let mut x = MARGIN;
    for members in order {
        let width =
            members.iter().filter_map(|item| items[*item].shape).map(|shape| sizes[shape].0).fold(0.0, f64::max);
        sides.push((round(x), round(x + width)));
        let lines: usize = members.iter().map(|item| items[*item].after.len()).sum();
        x += width + (GAP_COLUMN.0 + 1.5 * lines as f64).min(GAP_COLUMN.1);
    }
    let mut layout = Layout { boxes: vec![Place::default(); sizes.len()], ..Layout::default() };
    let mut bottom: f64 = 0.0;
    for (index, item) in items.iter().enumerate() {
        let (left, right) = sides[item.column];
        if let Some(shape) = item.shape {
            let y = round(y_of(index) - item.height / 2.0);
            layout.boxes[shape] = Place { x: left, y, width: round(right - left), height: item.height };
            bottom = bottom.max(y + item.height);
        } else {
            bottom = bottom.max(y_of(index));
            layout.lines.push(Line { from: (left, y_of(index)), to: (right, y_of(index)), arrow: false });
        }
        for next in &item.after {
            let (from, to) = ((right, y_of(index)), (sides[items[*next].column].0, y_of(*next)));
            layout.lines.push(Line { from, to, arrow: items[*next].shape.is_some() });
        }
    }
    // Lines back, where boxes read each other.
    for (place, all) in from.iter().enumerate() {
        for &source in all.iter().filter(|source| items[**source].column >= items[place].column) {
            let (start, end) = (layout.boxes[source], layout.boxes[place]);
            let from = (round(start.x + start.width), round(start.y + start.height / 2.0));
            layout.lines.push(Line { from, to: (end.x, round(end.y + end.height / 2.0)), arrow: true });
        }
    }
    let width = sides.last().map_or(0.0, |(_, right)| *right);
    layout.size = (round(width + MARGIN), round(bottom + MARGIN));
    layout
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "sides of one column are the same number")]
mod tests {
    use super::*;

    /// Boxes of which each reads some before it, the same for every run of the test.
    fn graph(seed: u64, boxes: usize) -> (Vec<(f64, f64)>, Vec<Vec<usize>>) {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below.max(1)
        };
        let sizes = (0..boxes).map(|_| (60.0 + next(100) as f64, 30.0)).collect();
        let from = (0..boxes).map(|place| {
            let mut from: Vec<usize> = (0..next(4)).filter(|_| place > 0).map(|_| next(place)).collect();
            from.sort_unstable();
            from.dedup();
            from
        });
        (sizes, from.collect())
    }

    #[test]
    fn no_boxes_overlap_each_is_right_of_what_it_reads_and_no_line_passes_through_one() {
        for seed in 0..60 {
            let (sizes, from) = graph(seed, 3 + seed as usize);
            let found = layout(&sizes, &from);
            assert_eq!(found, layout(&sizes, &from), "the same each time");
            for (at, one) in found.boxes.iter().enumerate() {
                assert!(one.width >= sizes[at].0 && one.x >= 0.0 && one.y >= 0.0, "{seed}: {one:?}");
                assert!(one.x + one.width <= found.size.0 && one.y + one.height <= found.size.1, "{seed}: {one:?}");
                assert!(from[at].iter().all(|from| found.boxes[*from].x + found.boxes[*from].width < one.x), "{seed}");
                for other in &found.boxes[..at] {
                    let apart = one.x != other.x || one.y >= other.y + other.height || other.y >= one.y + one.height;
                    assert!(apart, "{seed}: {one:?} and {other:?}");
                }
                for line in &found.lines {
                    let across = line.from.0 <= one.x && line.to.0 >= one.x + one.width;
                    let inside = line.from.1 > one.y && line.from.1 < one.y + one.height;
                    assert!(!(across && inside), "{seed}: {line:?} through {one:?}");
                }
            }
        }
    }

    #[test]
    fn every_reader_is_reached_from_what_it_reads_along_the_lines() {
        for seed in 0..30 {
            let (sizes, from) = graph(seed, 25);
            let found = layout(&sizes, &from);
            for (at, all) in from.iter().enumerate() {
                for source in all {
                    let start = found.boxes[*source];
                    let mut open = vec![(start.x + start.width, start.y + start.height / 2.0)];
                    let mut reached = Vec::new();
                    while let Some(point) = open.pop() {
                        for line in found.lines.iter().filter(|line| line.from == point) {
                            if line.arrow { reached.push(line.to) } else { open.push(line.to) }
                        }
                    }
                    let end = found.boxes[at];
                    let near =
                        |point: &&(f64, f64)| point.0 == end.x && (point.1 - end.y - end.height / 2.0).abs() < 0.2;
                    assert!(reached.iter().any(|point| near(&point)), "{seed}: {source} to {at}");
                }
            }
        }
    }

    #[test]
    fn crossings_are_counted_as_by_hand_and_those_that_need_not_be_are_gone() {
        // Two pairs, drawn crosswise at first.
        let found = layout(&[(60.0, 30.0); 4], &[vec![], vec![], vec![1], vec![0]]);
        let y = |at: usize| found.boxes[at].y;
        assert_eq!((y(0) < y(1), y(3) < y(2)), (y(0) < y(1), y(0) < y(1)));
        let (sizes, from) = graph(7, 40);
        let items = items(&sizes, &from, &columns(&from));
        let mut order: Vec<Vec<usize>> = vec![Vec::new(); 40];
        (0..items.len()).for_each(|item| order[items[item].column].push(item));
        let place = places(items.len(), &order);
        let mut by_hand = 0;
        for (a, one) in items.iter().enumerate() {
            for (b, other) in items.iter().enumerate().filter(|(b, other)| *b != a && other.column == one.column) {
                let pairs = one.after.iter().flat_map(|x| other.after.iter().map(move |y| (x, y)));
                by_hand += pairs.filter(|(x, y)| place[a] < place[b] && place[**x] > place[**y]).count();
            }
        }
        assert!(by_hand > 0);
        assert_eq!(crossings(&items, &order), by_hand);
        improve_order(&items, &mut order);
        assert!(crossings(&items, &order) < by_hand / 2, "{} of {by_hand}", crossings(&items, &order));
    }

    #[test]
    fn nothing_one_box_and_boxes_that_read_each_other_are_drawn() {
        assert_eq!(layout(&[], &[]).boxes, []);
        assert_eq!(layout(&[(60.0, 30.0)], &[vec![]]).size, (80.0, 50.0));
        let circle = layout(&[(60.0, 30.0); 2], &[vec![1], vec![0]]);
        assert_eq!(circle.lines.iter().filter(|line| line.arrow).count(), 2);
        assert_eq!(circle.lines.iter().filter(|line| line.to.0 < line.from.0).count(), 1, "{circle:?}");
    }
}
