//! A run for people: live bars with ETA on a terminal, plain lines elsewhere. Writes to stderr, so that stdout holds
//! nothing but what was asked for.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pru_flow_cache::ActionKey;
use pru_flow_stages::io::Progress;

use super::{duration, problems};
use crate::problem::SourceText;
use crate::run::{Ended, Observer, Totals};

/// How often a running node writes a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Writes for people.
pub struct Human {
    bars: Option<Bars>,
    verbose: bool,
    source: SourceText,
    nodes: usize,
    done: usize,
    started: BTreeMap<String, Instant>,
    last_line: BTreeMap<String, Instant>,
}

struct Bars {
    multi: MultiProgress,
    all: ProgressBar,
    nodes: BTreeMap<String, ProgressBar>,
}

impl Human {
    /// `verbose` names every cached node too; problems have their places in `source`.
    #[must_use]
    pub fn new(verbose: bool, source: SourceText) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let all = multi.add(ProgressBar::new(0).with_style(style("{bar:24} {pos}/{len} nodes, {elapsed} {msg}")));
            Bars { multi, all, nodes: BTreeMap::new() }
        });
        Self { bars, verbose, source, nodes: 0, done: 0, started: BTreeMap::new(), last_line: BTreeMap::new() }
    }

    fn line(&self, text: &str) {
        let write = || {
            // Nobody reads stderr any more: the run goes on.
            let _ = writeln!(anstream::stderr(), "{text}");
        };
        match &self.bars {
            Some(bars) => bars.multi.suspend(write),
            None => write(),
        }
    }

    fn show(&self, name: &str, progress: &Progress) -> String {
        let mut text = progress.to_string();
        if let Some(start) = self.started.get(name).filter(|_| progress.done > 0 && progress.total > progress.done) {
            let each = start.elapsed().as_secs_f64() / progress.done as f64;
            let left = each * (progress.total - progress.done) as f64;
            text.push_str(&format!("  ETA {}", duration(Duration::from_secs_f64(left))));
        }
        text
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// `text` in a colour, which `anstream` takes away where it is not wanted.
fn colour(colour: AnsiColor, text: &str) -> String {
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

impl Observer for Human {
    fn started(&mut self, nodes: usize) {
        self.nodes = nodes;
        if let Some(bars) = &self.bars {
            bars.all.set_length(nodes as u64);
            bars.all.enable_steady_tick(Duration::from_millis(500));
        }
    }

    fn node_started(&mut self, name: &str, _key: &ActionKey) {
        self.started.insert(name.to_owned(), Instant::now());
        match &mut self.bars {
            Some(bars) => {
                let bar = ProgressBar::new(0).with_style(style("  {spinner} {prefix}  {elapsed}  {msg}"));
                let bar = bars.multi.insert_before(&bars.all, bar);
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                bars.nodes.insert(name.to_owned(), bar);
            }
            None => self.line(&format!("{:<9} {name}", "start")),
        }
    }

    fn progress(&mut self, name: &str, progress: &Progress) {
        let text = self.show(name, progress);
        if let Some(bar) = self.bars.as_ref().and_then(|bars| bars.nodes.get(name)) {
            bar.set_message(text);
            return;
        }
        let due = self.last_line.get(name).or_else(|| self.started.get(name)).is_none_or(|t| t.elapsed() >= LINE_EVERY);
        if due {
            self.last_line.insert(name.to_owned(), Instant::now());
            self.line(&format!("{:<9} {name}  {text}", "running"));
        }
    }

    fn node_finished(&mut self, name: &str, _key: Option<&ActionKey>, ended: &Ended, wall: Duration) {
        self.done = (self.done + 1).min(self.nodes);
        if let Some(bars) = &mut self.bars {
            if let Some(bar) = bars.nodes.remove(name) {
                bar.finish_and_clear();
            }
            bars.all.set_position(self.done as u64);
        }
        let count = format!("[{}/{}]", self.done, self.nodes);
        match ended {
            Ended::Executed => {
                let word = colour(AnsiColor::Green, "executed ");
                self.line(&format!("{word} {name}  {}  {count}", duration(wall)));
            }
            Ended::Cached if self.verbose => self.line(&format!("cached    {name}")),
            Ended::Cached | Ended::Cancelled => {}
            Ended::Diverged { cached: true, .. } if !self.verbose => {}
            Ended::Diverged { reason, .. } => {
                self.line(&format!("{} {name}: {reason}  {count}", colour(AnsiColor::Yellow, "diverged ")));
            }
            Ended::Failed(reason, log) => {
                self.line(&format!("{} {name}: {reason}", colour(AnsiColor::Red, "failed   ")));
                for line in log.lines() {
                    self.line(&format!("          | {line}"));
                }
            }
            Ended::Refused(wrong) => {
                let message = wrong.iter().next().map_or("", |problem| problem.message.as_str());
                self.line(&format!("{} {name}: {message}", colour(AnsiColor::Red, "failed   ")));
                for line in problems::render_for_node(&self.source, wrong).lines() {
                    self.line(&format!("          | {line}"));
                }
            }
            Ended::Skipped(because) => {
                let word = colour(AnsiColor::Yellow, "skipped  ");
                self.line(&format!("{word} {name}  (needs {because})"));
            }
        }
    }

    fn note(&mut self, text: &str) {
        self.line(&format!("{} {text}", colour(AnsiColor::Yellow, "note:    ")));
    }

    fn finished(&mut self, totals: &Totals, wall: Duration) {
        if let Some(bars) = &self.bars {
            bars.all.finish_and_clear();
        }
        let mut parts = vec![format!("{} executed", totals.executed), format!("{} cached", totals.cached)];
        if totals.diverged > 0 {
            parts.push(colour(AnsiColor::Yellow, &format!("{} of these diverged", totals.diverged)));
        }
        if totals.failed > 0 {
            parts.push(colour(AnsiColor::Red, &format!("{} failed", totals.failed)));
        }
        if totals.skipped > 0 {
            parts.push(format!("{} not run", totals.skipped));
        }
        self.line(&format!("{} in {}", parts.join(", "), duration(wall)));
    }
}
