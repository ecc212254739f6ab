//! How often and how long nodes may run, in which order, and beside which others.

mod hermetic;

use std::time::{Duration, Instant};

use hermetic::Project;
use hermetic::refusal::refused;

const HEAD: &str = "version: 1\nname: p\nstages:\n";

fn run(text: &str, more: &[&str]) -> (Project, hermetic::Output) {
    let project = Project::with_pipeline(&format!("{HEAD}{text}"));
    let output = project.pru_flow(&[&["run", "pipeline.yaml", "--json"], more].concat());
    (project, output)
}

#[test]
fn a_stage_that_fails_is_tried_again_as_often_as_it_says() {
    // What is counted lies outside the project: a file of it would be a source that changes.
    let flaky = |n: u32| {
        format!(
            "  a: {{command: \"echo x >> $HOME/count; test $(wc -l < $HOME/count) -ge 3 && echo > ${{outputs.o}}\", \
             retries: {n}, outputs: [o]}}\n"
        )
    };
    let (project, output) = run(&flaky(2), &[]);
    output.expect_code(0);
    assert_eq!(output.outcomes(), [("a".to_owned(), "executed".to_owned())]);
    assert_eq!(std::fs::read_to_string(project.home().join("count")).unwrap().lines().count(), 3);
    let (project, output) = run(&flaky(1), &[]);
    output.expect_code(1);
    assert_eq!(output.outcomes(), [("a".to_owned(), "failed".to_owned())], "it ends once");
    assert_eq!(std::fs::read_to_string(project.home().join("count")).unwrap().lines().count(), 2);
}

#[test]
fn a_stage_that_runs_too_long_is_stopped_and_has_failed_and_its_children_are_gone() {
    let start = Instant::now();
    let text = "  a: {command: \"sleep 77 & sleep 77\", timeout: 0.5, outputs: [o]}\n  \
                b: {command: \"echo > ${outputs.o}\", outputs: [o]}\n";
    let (_project, output) = run(text, &[]);
    output.expect_code(1);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(output.stdout.contains("it ran longer than its timeout of 0.5 s, and was stopped"), "{}", output.stdout);
    assert_eq!((&output.finished()["executed"], &output.finished()["failed"]), (&1.into(), &1.into()));
    let (_project, output) = run("  a: {command: \"sleep 77\", timeout: 300ms, retries: 1, outputs: [o]}\n", &[]);
    output.expect_code(1);
    assert_eq!(output.finished()["failed"], 1);
}

#[test]
fn a_resource_of_the_user_s_own_is_never_used_beyond_its_limit_and_needs_one() {
    let stage = |n: u32| {
        format!(
            "  s{n}: {{command: \"mkdir lock-{n} && ls -d lock-* | wc -l > ${{outputs.o}}; sleep 0.2; rmdir lock-{n}\", \
             resources: {{database: 1}}, outputs: {{o: o{n}.txt}}}}\n"
        )
    };
    let stages = (0..6).map(stage).collect::<Vec<_>>().concat();
    let (_project, output) = run(&stages, &["-j6", "--cpus", "6"]);
    output
        .expect_code(2)
        .expect_stderr(&["`s0` needs `database`, of which no limit is known", "limits: {database: 2}"]);
    for (limits, arguments) in
        [("limits: {database: 2}\n", vec![]), ("limits: {database: 5}\n", vec!["--limit", "database=2"])]
    {
        let (project, output) = run(&format!("{stages}{limits}"), &[&["-j6", "--cpus", "6"], &arguments[..]].concat());
        output.expect_code(0);
        let seen: Vec<u32> = (0..6).map(|n| project.read(format!("o{n}.txt")).trim().parse().unwrap()).collect();
        assert_eq!(seen.iter().max(), Some(&2), "{seen:?}");
    }
}

#[test]
fn a_higher_priority_goes_first() {
    let stage = |(name, priority): (&str, u32)| {
        format!("  {name}: {{command: \"echo > ${{outputs.o}}\", priority: {priority}, outputs: [o]}}\n")
    };
    let stages = [("a", 0), ("b", 1), ("c", 2)].map(stage).concat();
    let (_project, output) = run(&stages, &["-j1"]);
    let names: Vec<String> = output.outcomes().into_iter().map(|(node, _)| node).collect();
    // All are resolved before any starts, but for the first, which finds the machine free.
    assert_eq!(names, ["a", "c", "b"]);
}

#[test]
fn defaults_hold_for_every_stage_that_does_not_say_otherwise() {
    let text = "  a: {command: \"echo $A $B > ${outputs.o}\", outputs: {o: a.txt}}\n  \
                b: {command: \"echo $A $B > ${outputs.o}\", env: {B: own}, outputs: {o: b.txt}}\n  \
                c: {uses: data/glyphs}\ndefaults: {env: {A: one, B: two}, retries: 1}\n";
    let (project, output) = run(text, &["a", "b"]);
    output.expect_code(0);
    assert_eq!((project.read("a.txt"), project.read("b.txt")), ("one two\n".into(), "one own\n".into()));
}

#[test]
fn wrong_policies_are_told_where_they_stand() {
    refused(
        &format!(
            "{HEAD}  a: {{command: \"true\", outputs: [o], retries: ¦-1, timeout: ¦never, priority: ¦high, always: ¦2, \
             resources: {{database: ¦many, ¦cpu: 2}}}}\ndefaults: {{¦retires: 2}}\nlimits: {{database: ¦x}}\n"
        ),
        &[
            ("`retries` is a whole number", "retries: 2"),
            ("`timeout` is a time", "30min"),
            ("`priority` is a whole number", "priority: 5"),
            ("`always` is true or false", "always: true"),
            ("`database`, a resource of your own, is a whole number", "database: 1"),
            ("unknown resource `cpu`", "did you mean `cpus`?"),
            ("unknown field `retires` in `defaults`", "did you mean `retries`?"),
            ("the limit of `database` is a whole number", "limits: {database: 2}"),
        ],
    );
}
