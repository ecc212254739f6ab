//! Commands: what of the project enters their key, what they are given, and that equal ones are computed once.

mod hermetic;

use hermetic::Project;

fn pipeline(command: &str) -> String {
    format!("version: 1\nname: commands\nstages:\n  it:\n    command: {command}\n    outputs: {{o: {{name: o.txt}}}}\n")
}

#[track_caller]
fn key(project: &Project) -> String {
    let output = project.pru_flow(&["plan", "pipeline.yaml", "--json"]);
    output.expect_code(0);
    let plan: serde_json::Value = serde_json::from_str(&output.stdout).expect("a plan is JSON");
    plan["nodes"][0]["key"].as_str().expect("a command's key is known").to_owned()
}

#[test]
fn a_file_that_a_command_names_is_part_of_its_key_however_the_shell_writes_it() {
    for command in [
        r#""sh a.sh; echo > ${outputs.o}""#,
        r#""(cd . && ./a.sh) > ${outputs.o}""#,
        r#""sort <a.sh > ${outputs.o}""#,
        r#""cat a.sh|sort > ${outputs.o}""#,
        r#""tool --config=a.sh > ${outputs.o}""#,
        r#""x=$(cat a.sh) && echo $x > ${outputs.o}""#,
        r#""cat 'a.sh' > ${outputs.o}""#,
        r#"[sh, -c, "sh a.sh > ${outputs.o}"]"#,
        r#"[sh, --config=a.sh, "${outputs.o}"]"#,
        "[sh, folder]",
        r#""sh folder > ${outputs.o}""#,
    ] {
        let project = Project::with_pipeline(&pipeline(command));
        project.write("a.sh", "echo one\n");
        project.write("folder/b.sh", "echo one\n");
        let before = key(&project);
        assert_eq!(key(&project), before, "{command}");
        project.write(if command.contains("folder") { "folder/b.sh" } else { "a.sh" }, "echo other\n");
        assert_ne!(key(&project), before, "{command}");
    }
}

#[test]
fn a_folder_that_cannot_be_part_of_a_key_is_refused_and_not_left_out() {
    let project = Project::with_pipeline(&pipeline(r#""sh other > ${outputs.o}""#));
    project.write("other/.pru-flow/VERSION", "1\n");
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(2).expect_stderr(&["holds a store", "name the files and folders in it"]);
}

#[test]
fn what_a_command_prints_does_not_depend_on_the_user_s_language_or_time_zone() {
    let project = Project::with_pipeline(&pipeline(r#""echo $LC_ALL $TZ $LANG > ${outputs.o}""#));
    let mut command = project.command(&["run", "pipeline.yaml"]);
    command.env("LC_ALL", "de_DE.UTF-8").env("LANG", "de_DE.UTF-8").env("TZ", "Asia/Tokyo");
    hermetic::Output::of(command).expect_code(0);
    assert_eq!(project.read(".pru-flow/results/commands/it/o.txt"), "C.UTF-8 UTC\n");
}

#[test]
fn cells_with_one_key_are_computed_once_in_a_run() {
    for jobs in ["-j1", "-j4"] {
        let project = Project::with_pipeline(
            r#"
version: 1
name: equal
stages:
  cell:
    command: "echo x >> $PWD/count.log; sleep 0.2; seq 2000 > ${outputs.o}"
    outputs: {o: {name: o.txt}}
    matrix: {i: [1, 2, 3, 4]}
  all:
    command: "cat ${inputs.cells} > ${outputs.o}"
    inputs: {cells: "cell[*]"}
    outputs: {o: {name: o.txt}}
"#,
        );
        let output = project.pru_flow(&["run", "pipeline.yaml", jobs, "--json"]);
        output.expect_code(0);
        let finished = output.finished();
        assert_eq!((&finished["executed"], &finished["cached"]), (&2.into(), &3.into()), "{jobs}: {finished}");
        assert_eq!(project.read("count.log"), "x\n", "{jobs}");
    }
}

#[test]
fn cells_with_one_key_each_tell_their_failure_and_a_stop_leaves_none_waiting() {
    let project = Project::with_pipeline(
        r#"
version: 1
name: equal
stages:
  cell:
    command: "sleep 0.1; false > ${outputs.o}"
    outputs: {o: {name: o.txt}}
    matrix: {i: [1, 2, 3]}
"#,
    );
    let output = project.pru_flow(&["run", "pipeline.yaml", "-j4", "--json"]);
    output.expect_code(1);
    assert_eq!(output.finished()["failed"], 3, "{}", output.stdout);
    let output = project.pru_flow(&["run", "pipeline.yaml", "-j4", "--json", "--fail-fast"]);
    output.expect_code(1);
    assert_eq!((&output.finished()["failed"], &output.finished()["skipped"]), (&1.into(), &2.into()));
}

#[test]
fn outputs_of_one_command_have_names_of_their_own() {
    let text = pipeline(r#""echo > ${outputs.o}""#).replace("{name: o.txt}}", "{name: o.txt}, p: {name: o.txt}}");
    let output = Project::with_pipeline(&text).pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(2).expect_stderr(&["the outputs `o` and `p` have one file name"]);
}

#[test]
fn looking_at_a_pipeline_writes_nothing_into_an_empty_folder() {
    let project = Project::with_pipeline(&pipeline(r#""echo > ${outputs.o}""#));
    std::fs::create_dir(project.path("store")).expect("a folder can be made");
    project.pru_flow(&["plan", "pipeline.yaml", "--store", "store"]).expect_code(0);
    assert_eq!(std::fs::read_dir(project.path("store")).expect("it is there").count(), 0);
}

#[test]
fn the_pipeline_in_the_readme_plans() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("it is there");
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let output = Project::with_pipeline(block).pru_flow(&["plan", "pipeline.yaml", "--json"]);
        output.expect_code(0);
        assert!(output.stdout.contains("\"name\":\"table\""), "{}", output.stdout);
    }
}
