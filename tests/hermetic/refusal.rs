//! A pipeline that is to be refused, with marks where its problems must be told.

use std::time::Duration;

use super::{Output, Project};

/// What a stage's pipeline begins with.
pub const HEAD: &str = "version: 1\nname: t\n";
/// A mark in a pipeline: a problem must be told at the character that follows.
pub const MARK: char = '¦';

/// The text without its marks, and their places as `line:column`.
pub fn marked(text: &str) -> (String, Vec<String>) {
    let (mut clean, mut places) = (String::new(), Vec::new());
    for c in text.chars() {
        if c == MARK {
            let line = clean.matches('\n').count() + 1;
            let column = clean.chars().rev().take_while(|c| *c != '\n').count() + 1;
            places.push(format!("{line}:{column}"));
        } else {
            clean.push(c);
        }
    }
    (clean, places)
}

/// The problems in stderr, each on one line, however it was wrapped.
pub fn problems(output: &Output) -> Vec<String> {
    let blocks = output.stderr.split("error: ").skip(1);
    blocks.map(|block| block.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Nothing ran, nothing was made, and what is said is fit to be read.
#[track_caller]
pub fn assert_refused(project: &Project, output: &Output) {
    output.expect_code(2);
    assert_eq!(output.stdout, "", "stdout must be empty");
    assert!(!project.path(".pru-flow").exists(), "a store was made");
    assert!(output.stderr.starts_with("error: "), "{}", output.stderr);
    assert!(!output.stderr.contains('\u{1b}'), "escape codes without a terminal");
    assert!(output.wall < Duration::from_secs(5), "took {:?}", output.wall);
    for line in output.stderr.lines() {
        assert!(line.chars().count() <= 100, "a line of {} columns: {line}", line.chars().count());
    }
}

/// `pipeline` has exactly these problems, in the order of its marks: parts of the message and of the help.
#[track_caller]
pub fn refused_with(pipeline: &str, arguments: &[&str], expected: &[(&str, &str)]) -> Output {
    let (text, places) = marked(pipeline);
    let project = Project::with_pipeline(&text);
    let mut args = vec!["run", "pipeline.yaml", "--json"];
    args.extend(arguments);
    let output = project.pru_flow(&args);
    assert_refused(&project, &output);
    let found = problems(&output);
    assert_eq!(found.len(), expected.len(), "number of problems:\n{}", output.stderr);
    for (index, ((message, help), found)) in expected.iter().zip(&found).enumerate() {
        assert!(found.contains(message), "problem {index} does not say `{message}`:\n{found}");
        assert!(
            found.contains(&format!("= help: {help}")) || found.contains("= help:") && found.contains(help),
            "problem {index} does not help with `{help}`:\n{found}"
        );
        if let Some(place) = places.get(index) {
            let place = format!("--> pipeline.yaml:{place} |");
            assert!(found.contains(&place), "problem {index} is not at `{place}`:\n{found}");
        }
        assert!(found.contains('^'), "problem {index} has no caret:\n{found}");
    }
    output
}

#[track_caller]
pub fn refused(pipeline: &str, expected: &[(&str, &str)]) -> Output {
    refused_with(pipeline, &[], expected)
}

/// A pipeline whose `stages:` are these lines.
pub fn stages(lines: &str) -> String {
    format!("{HEAD}stages:\n{lines}")
}
