//! Problems of a pipeline, rendered with file, line and column, the line itself, a caret and what to type next.
//!
//! Written for 100 columns: long lines of a file are cut around the caret, long sentences are wrapped.

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::broken::LeftOut;
use crate::graph::Graph;
use crate::problem::{Problem, Problems, SourceText, Span, TextId};
use crate::project::Unloadable;

/// Columns that a message may take.
const WIDTH: usize = 100;
/// Columns of a line of the file that are shown.
const LINE_WIDTH: usize = 90;
/// More problems than this are counted, not shown.
const SHOWN: usize = 100;

/// All problems of a pipeline as text for stderr, with colours.
#[must_use]
pub fn render(unloadable: Unloadable) -> String {
    let Unloadable { source, problems } = unloadable;
    let problems = problems.sorted();
    let count = problems.len();
    let places = Places::of(&source);
    let mut out: String = problems.iter().take(SHOWN).map(|problem| places.render(problem)).collect();
    if count > SHOWN {
        out.push_str(&format!("... and {} more\n\n", count - SHOWN));
    }
    let noun = if count == 1 { "problem" } else { "problems" };
    out.push_str(&format!("{}: {count} {noun}; nothing was run\n", source.name()));
    out
}

/// The problems of one node alone, for its log.
#[must_use]
pub fn render_for_node(source: &SourceText, problems: &Problems) -> String {
    let places = Places::of(source);
    problems.clone().sorted().iter().map(|problem| places.render(problem)).collect()
}

/// More names than this are counted, not shown.
const NAMED: usize = 8;

/// A warning of the nodes that a run goes without.
#[must_use]
pub fn render_left_out(source: &SourceText, graph: &Graph, left_out: &LeftOut) -> String {
    let yellow = Style::new().fg_color(Some(AnsiColor::Yellow.into())).bold();
    let nodes = &left_out.nodes;
    let names: Vec<&str> = nodes.iter().take(NAMED).map(|id| graph.nodes[*id].name.as_str()).collect();
    let more = if nodes.len() > NAMED { format!(" and {} more", nodes.len() - NAMED) } else { String::new() };
    let (noun, verb) = if nodes.len() == 1 { ("node", "is") } else { ("nodes", "are") };
    let text = format!("{} {noun} cannot run and {verb} left out: {}{more}", nodes.len(), names.join(", "));
    let mut out = format!("{yellow}warning{yellow:#}: {}\n", wrap(&text, "warning: ".len(), 9));
    for problem in left_out.problems.clone().sorted() {
        out.push_str(&format!("  {}\n", wrap(&in_one_line(source, &problem), 2, 4)));
    }
    out
}

/// Where a problem is, as `file:line:column`, and what it is, in one line.
#[must_use]
pub fn in_one_line(source: &SourceText, problem: &Problem) -> String {
    let places = Places::of(source);
    let place = problem.span.map(|span| places.find(span).words());
    place.map_or_else(|| problem.message.clone(), |place| format!("{place}: {}", problem.message))
}

/// The texts that places refer to, with the beginnings of every file's lines.
struct Places<'a> {
    source: &'a SourceText,
    lines: Vec<Vec<usize>>,
}

/// A place as it is shown.
struct Place<'a> {
    /// The file's name or `--set`.
    name: &'a str,
    /// The line's number, from 1.
    line: usize,
    /// The line's text.
    text: &'a str,
    /// First byte in the line.
    start: usize,
    /// One past the last byte in the line.
    end: usize,
}

impl<'a> Places<'a> {
    fn of(source: &'a SourceText) -> Self {
        let lines = source.files.iter().map(|file| {
            let newlines = file.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(newlines).collect()
        });
        Self { source, lines: lines.collect() }
    }

    fn find(&self, span: Span) -> Place<'a> {
        let nothing = ("", "", 0, 0);
        let (name, text, from, line) = match span.text {
            TextId::Argument(index) => {
                let argument = self.source.arguments.get(index);
                argument.map_or(nothing, |argument| ("--set", argument.as_str(), 0, 0))
            }
            TextId::File(index) => {
                self.source.files.get(index).zip(self.lines.get(index)).map_or(nothing, |(file, lines)| {
                    let line = lines.partition_point(|start| *start <= span.start).saturating_sub(1);
                    let rest = file.text.get(lines[line]..).unwrap_or("");
                    (file.name.as_str(), rest.split('\n').next().unwrap_or(""), lines[line], line)
                })
            }
        };
        let text = text.strip_suffix('\r').unwrap_or(text);
        let inside = |at: usize| boundary(text, at.saturating_sub(from).min(text.len()));
        Place { name, line: line + 1, text, start: inside(span.start), end: inside(span.end) }
    }

    fn render(&self, problem: &Problem) -> String {
        let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
        let bold = Style::new().bold();
        let head = wrap(&problem.message, "error: ".len(), 7);
        let mut out = format!("{red}error{red:#}{bold}: {head}{bold:#}\n");
        let main = problem.span.map(|span| self.find(span));
        let also: Vec<(Place<'_>, &str)> =
            problem.also.iter().map(|(span, label)| (self.find(*span), label.as_str())).collect();
        let last = main.iter().chain(also.iter().map(|(place, _)| place)).map(|place| place.line).max().unwrap_or(0);
        let gutter = last.to_string().len();
        match &main {
            Some(place) => {
                let label = problem.label.as_deref().unwrap_or("");
                out.push_str(&place.head(gutter, "-->"));
                out.push_str(&place.show(gutter, '^', label, red));
            }
            None => out.push_str(&format!("{:gutter$}--> {}\n", "", self.source.name())),
        }
        let cyan = Style::new().fg_color(Some(AnsiColor::Cyan.into()));
        let mut shown = main.as_ref().map(|place| (place.name, place.line));
        for (place, label) in &also {
            if shown.is_none_or(|(name, line)| (name, line + 1) != (place.name, place.line)) {
                out.push_str(&place.head(gutter, ":::"));
            }
            out.push_str(&place.show(gutter, '-', label, cyan));
            shown = Some((place.name, place.line));
        }
        if let Some(help) = &problem.help {
            let help = wrap(help, gutter + " = help: ".len(), gutter + 9);
            out.push_str(&format!("{:gutter$} {cyan}= help{cyan:#}: {help}\n", ""));
        }
        out.push('\n');
        out
    }
}

impl Place<'_> {
    /// `file:line:column`.
    fn words(&self) -> String {
        let column = self.text[..self.start].chars().count() + 1;
        match self.name {
            "--set" => format!("--set:{column}"),
            name => format!("{name}:{}:{column}", self.line),
        }
    }

    fn head(&self, gutter: usize, arrow: &str) -> String {
        format!("{:gutter$}{arrow} {}\n", "", self.words())
    }

    fn show(&self, gutter: usize, mark: char, label: &str, style: Style) -> String {
        let (text, before, marked) = self.window();
        let marks = String::from(mark).repeat(marked.max(1));
        let number = if self.name == "--set" { String::new() } else { self.line.to_string() };
        let text = format!("{number:>gutter$} | {text}");
        // Where the label would run over the page it stands before the marks.
        let width = label.width() + 1;
        let over = gutter + 3 + before + marks.len() + width > WIDTH;
        let (before, words) = match label {
            "" => (before, marks),
            label if over && before >= width => (before - width, format!("{label} {marks}")),
            label => (before, format!("{marks} {label}")),
        };
        let pad = " ".repeat(before);
        format!("{:gutter$} |\n{}\n{:gutter$} | {pad}{style}{words}{style:#}\n", "", text.trim_end(), "")
    }

    /// The part of the line around the place: its text, and the columns before and under the caret.
    fn window(&self) -> (String, usize, usize) {
        let (before, rest) = self.text.split_at(self.start);
        let (marked, after) = rest.split_at(self.end.max(self.start) - self.start);
        // Half of the page for what comes before, and whatever the rest leaves free.
        let behind = printable(head(rest, LINE_WIDTH)).width().min(LINE_WIDTH / 2);
        let kept = tail(before, LINE_WIDTH - behind);
        let dots = if kept.len() < before.len() { "..." } else { "" };
        let shown_before = format!("{dots}{}", printable(kept));
        let left = LINE_WIDTH.saturating_sub(shown_before.width());
        let cut = head(marked, left);
        let shown_marked = printable(cut);
        let left = left.saturating_sub(shown_marked.width());
        let shown_after = if cut.len() < marked.len() { "" } else { head(after, left) };
        let more = if cut.len() + shown_after.len() < rest.len() { "..." } else { "" };
        let text = format!("{shown_before}{shown_marked}{}{more}", printable(shown_after));
        (text, shown_before.width(), shown_marked.width())
    }
}

/// The nearest place at or before `at` where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Text as it may be printed: tabs as spaces, and no character that a terminal would obey.
fn printable(text: &str) -> String {
    let show = |c: char| match c {
        '\t' => "    ".to_owned(),
        '\u{feff}' => String::new(),
        c if c.is_control() => char::REPLACEMENT_CHARACTER.to_string(),
        c => c.to_string(),
    };
    text.chars().map(show).collect()
}

fn columns(c: char) -> usize {
    if c == '\t' { 4 } else { c.width().unwrap_or(1) }
}

/// The beginning of `text` that fits into `width` columns.
fn head(text: &str, width: usize) -> &str {
    let mut left = width;
    for (at, c) in text.char_indices() {
        if columns(c) > left {
            return &text[..at];
        }
        left -= columns(c);
    }
    text
}

/// The end of `text` that fits into `width` columns.
fn tail(text: &str, width: usize) -> &str {
    let mut left = width;
    for (at, c) in text.char_indices().rev() {
        if columns(c) > left {
            return &text[at + c.len_utf8()..];
        }
        left -= columns(c);
    }
    text
}

/// Breaks a sentence between words; `used` columns of its first line are taken, others are indented.
fn wrap(text: &str, used: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = used;
    for word in printable(text).split(' ') {
        let width = word.width();
        if column + 1 + width > WIDTH && column > indent && !out.is_empty() {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if !out.is_empty() {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::SourceFile;

    fn rendered(text: &str, problem: Problem) -> String {
        let files = vec![SourceFile { name: "p.yaml".to_owned(), text: text.to_owned() }];
        let source = SourceText { files, arguments: vec!["a=1".to_owned()] };
        anstream::adapter::strip_str(&render(Unloadable { source, problems: Problems::one(problem) })).to_string()
    }

    #[test]
    fn a_problem_shows_its_place_its_line_and_what_to_type() {
        let problem = Problem::new("unknown `b`", Span::file(7, 8)).label("here").also(Span::file(0, 1), "there");
        let expected = "\
error: unknown `b`
 --> p.yaml:2:3
  |
2 |   b: 2
  |   ^ here
 ::: p.yaml:1:1
  |
1 | a: 1
  | - there
  = help: write `c`

p.yaml: 1 problem; nothing was run
";
        assert_eq!(rendered("a: 1\n  b: 2\n", problem.help("write `c`")), expected);
    }

    #[test]
    fn no_line_is_wider_than_the_page_and_the_caret_stands_under_its_word() {
        let text = format!("{}ä名here{}\n", "x, ".repeat(200_000), ", y".repeat(200_000));
        let start = text.find("here").unwrap();
        let out =
            rendered(&text, Problem::new("words ".repeat(60), Span::file(start, start + 4)).help("help ".repeat(60)));
        assert!(out.lines().all(|line| line.width() <= WIDTH), "{out}");
        let lines: Vec<&str> = out.lines().collect();
        let caret = lines.iter().position(|line| line.contains('^')).unwrap();
        let at = lines[caret].find('^').unwrap();
        let above = lines[caret - 1];
        assert_eq!(above[..above.find("here").unwrap()].width(), at, "{out}");
        // Nor is one with words beside the caret.
        let text = format!("{}here", "x".repeat(86));
        let out = rendered(&text, Problem::new("x", Span::file(86, 90)).label("some words"));
        assert!(out.lines().all(|line| line.width() <= WIDTH) && out.contains("some words ^^^^\n"), "{out}");
    }

    #[test]
    fn places_beyond_the_text_and_odd_characters_do_no_harm() {
        for text in ["", "\u{feff}a: \u{7}\t1\r\n", "ä"] {
            for start in 0..12 {
                for end in 0..12 {
                    let out = rendered(text, Problem::new("x", Span::file(start, end)));
                    assert!(out.contains("p.yaml:") && !out.contains('\u{7}'), "{out}");
                }
            }
        }
        let argument = Span::new(TextId::Argument(0), 2, 3);
        assert!(rendered("", Problem::new("x", argument)).contains("--> --set:3\n"));
    }
}
