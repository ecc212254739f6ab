//! What people and programs see of a run: `human` on a terminal or in a log, `json` lines, text in `columns`, the page
//! of `pru-flow report`, the `picture` of a graph, and problems with their carets. Only `cli`, `report` and nothing else prints.

pub mod columns;
pub mod human;
pub mod json;
pub mod page;
pub mod picture;
pub mod problems;

use std::collections::BTreeMap;
use std::time::Duration;

use pru_flow_cache::ActionKey;
use pru_flow_stages::io::Progress;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::run::{Ended, Observer, Totals};

/// Tells two observers.
pub struct Both<'a>(pub &'a mut dyn Observer, pub &'a mut dyn Observer);

impl Observer for Both<'_> {
    fn started(&mut self, nodes: usize) {
        self.0.started(nodes);
        self.1.started(nodes);
    }

    fn node_started(&mut self, name: &str, key: &ActionKey) {
        self.0.node_started(name, key);
        self.1.node_started(name, key);
    }

    fn progress(&mut self, name: &str, progress: &Progress) {
        self.0.progress(name, progress);
        self.1.progress(name, progress);
    }

    fn node_finished(&mut self, name: &str, key: Option<&ActionKey>, ended: &Ended, wall: Duration) {
        self.0.node_finished(name, key, ended, wall);
        self.1.node_finished(name, key, ended, wall);
    }

    fn note(&mut self, text: &str) {
        self.0.note(text);
        self.1.note(text);
    }

    fn finished(&mut self, totals: &Totals, wall: Duration) {
        self.0.finished(totals, wall);
        self.1.finished(totals, wall);
    }
}

/// A duration for people: `0.24 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ if seconds < 60.0 => format!("{seconds:.1} s"),
        60..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `text` in at most so many columns.
#[must_use]
pub fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

/// Two texts that differ, each cut to the part that does where they are long: a command's line, a list.
#[must_use]
pub fn changed_part(before: &str, after: &str) -> (String, String) {
    const SHORT: usize = 48;
    const AROUND: usize = 10;
    let (old, new): (Vec<char>, Vec<char>) = (before.chars().collect(), after.chars().collect());
    if old.len() <= SHORT && new.len() <= SHORT {
        return (before.to_owned(), after.to_owned());
    }
    let shorter = old.len().min(new.len());
    let same_start = (0..shorter).take_while(|at| old[*at] == new[*at]).count();
    let is_same_end = |at: &usize| old[old.len() - 1 - at] == new[new.len() - 1 - at];
    let same_end = (0..shorter - same_start).take_while(is_same_end).count();
    let cut = |text: &[char]| {
        let (from, to) = (same_start.saturating_sub(AROUND), (text.len() - same_end + AROUND).min(text.len()));
        let middle = &text[from..to];
        let middle: String = if middle.len() > 2 * SHORT {
            middle[..SHORT].iter().chain(['…'].iter()).chain(&middle[middle.len() - SHORT..]).collect()
        } else {
            middle.iter().collect()
        };
        let (before, after) = (if from > 0 { "…" } else { "" }, if to < text.len() { "…" } else { "" });
        format!("{before}{middle}{after}")
    };
    (cut(&old), cut(&new))
}

/// Nodes by their names, folded by stage: `original, train ×27`.
#[must_use]
pub fn by_stage<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut stages: Vec<(&str, usize)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        let stage = name.split('[').next().unwrap_or(name);
        let place = *places.entry(stage).or_insert_with(|| {
            stages.push((stage, 0));
            stages.len() - 1
        });
        stages[place].1 += 1;
    }
    let shown = stages.iter().map(|(stage, count)| match count {
        1 => (*stage).to_owned(),
        _ => format!("{stage} ×{count}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_texts_the_part_that_differs_is_shown() {
        assert_eq!(changed_part("0.1", "0.25"), ("0.1".to_owned(), "0.25".to_owned()));
        let command =
            |lr: &str| format!("python3 train.py --data /some/where/far/away.csv --lr {lr} --epochs 100 --out here");
        let (before, after) = changed_part(&command("0.1"), &command("0.25"));
        assert_eq!((before.as_str(), after.as_str()), ("…sv --lr 0.1 --epochs …", "…sv --lr 0.25 --epochs …"));
        let long = "x".repeat(500);
        let (before, after) = changed_part("é", &long);
        assert_eq!((before.as_str(), after.chars().count()), ("é", 97), "{after}");
        assert_eq!(changed_part(&long, &"x".repeat(501)).0, format!("…{}", "x".repeat(10)));
        assert_eq!(changed_part("", &long).0, "");
    }

    #[test]
    fn a_text_is_cut_to_the_columns_that_a_reader_sees() {
        assert_eq!(shortened("日本語", 4), "日…");
        assert_eq!(shortened("日本語", 6), "日本語");
        assert_eq!(shortened("abc", 0), "…");
    }

    #[test]
    fn nodes_are_folded_by_stage_in_the_order_in_which_they_come() {
        assert_eq!(by_stage(["b[x=1]", "a", "b[x=2]", "paper.c"]), "b ×2, a, paper.c");
        assert_eq!(by_stage([]), "");
    }
}
