//! Problems of a pipeline, rendered with file, line and column, the line itself, a caret and what to type next.

use std::fmt::Write;
use std::io::IsTerminal;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::problem::{Problem, Span};
use crate::project::{SourceText, Unloadable};

/// All problems of a pipeline as text for stderr.
#[must_use]
pub fn render(unloadable: Unloadable) -> String {
    let Unloadable { source, problems } = unloadable;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut out = String::new();
    let problems = problems.sorted();
    let count = problems.len();
    for problem in problems {
        let shown = Shown::new(&source, problem);
        // Writing to a string does not fail.
        let _ = handler.render_report(&mut out, &shown);
        out.push('\n');
    }
    let noun = if count == 1 { "problem" } else { "problems" };
    let _ = writeln!(out, "{}: {count} {noun}; nothing was run", source.name);
    out
}

/// A problem with the text that its places refer to.
#[derive(Debug)]
struct Shown {
    problem: Problem,
    code: NamedSource<String>,
    argument: Option<usize>,
    file: String,
}

impl Shown {
    fn new(source: &SourceText, problem: Problem) -> Self {
        let argument = problem.span.and_then(|span| span.argument);
        let code = match argument.and_then(|index| source.arguments.get(index)) {
            Some(text) => NamedSource::new("--set", text.clone()),
            None => NamedSource::new(&source.name, source.text.clone()),
        };
        Self { problem, code, argument, file: source.name.clone() }
    }

    fn label(&self, span: Span, text: Option<String>) -> Option<LabeledSpan> {
        (span.argument == self.argument).then(|| LabeledSpan::new(text, span.start, span.end - span.start))
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.problem.span.is_none() {
            write!(f, "{}: ", self.file)?;
        }
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.map(|_| &self.code as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let main = self.problem.span.and_then(|span| self.label(span, self.problem.label.clone()));
        let also = self.problem.also.iter().filter_map(|(span, text)| self.label(*span, Some(text.clone())));
        Some(Box::new(main.into_iter().chain(also)))
    }
}
