//! `pru-flow report`: a page of a pipeline that is complete, half done or not begun, of hostile text, and in a browser.

mod hermetic;

use std::path::{Path, PathBuf};
use std::process::Command;

use hermetic::{Output, Project};
use serde_json::Value;

/// Runs that tell their method and seed by the numbers they write: 3 methods x 2 seeds.
const PIPELINE: &str = r#"
version: 1
name: paper
params: {lr: 0.25, methods: [original, pru, "a<b>&\"c"]}
stages:
  data:
    command: "echo data > ${outputs.o}"
    outputs: {o: {name: o.txt}}
  train:
    command: [sh, -c, "cat ${inputs.data} > ${outputs.o}; echo \"$1\" >> ${outputs.o}; echo ${params.lr} >> ${outputs.o}", sh, "${matrix.method}"]
    inputs: {data: data}
    outputs: {o: {name: o.txt}}
    matrix: {method: "${params.methods}", seed: [1, 2]}
  evaluate:
    command: "cat ${inputs.model} > /dev/null; printf '{\"forget_class\": 9, \"forget\": 0.25, \"retain\": 0.%s5, \"overall\": 0.875, \"per_class\": []}' ${matrix.seed} > ${outputs.metrics}"
    inputs: {model: "train[method=${matrix.method},seed=${matrix.seed}]"}
    outputs: {metrics: {name: metrics.json}}
    matrix: {method: "${params.methods}", seed: [1, 2]}
  accuracy:
    uses: tables/accuracy
    with: {title: "Accuracy </h3><script>alert(1)</script> of <b>all</b>"}
    inputs: {results: "evaluate[*].metrics"}
  drawing:
    command: "printf '<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"80\" height=\"40\"><script>document.title=\"broken into\"</script><rect width=\"80\" height=\"40\" fill=\"teal\"/></svg>' > ${outputs.plot}"
    inputs: {t: accuracy.csv}
    outputs: {plot: {name: plot.svg}}
"#;

fn page(project: &Project, args: &[&str]) -> String {
    let output = project.pru_flow(&[&["report", "pipeline.yaml", "--out", "-"], args].concat());
    output.expect_code(0);
    output.stdout
}

/// Where the data begin.
const DATA: &str = "type=\"application/json\">";

/// What the page knows of its numbers.
fn data(page: &str) -> Value {
    let start = page.find(DATA).expect("the page has data") + DATA.len();
    let end = page[start..].find("</script>").expect("the data end");
    serde_json::from_str(&page[start..start + end]).expect("the data are JSON")
}

/// Cell `place`'s facts by name, its command, and the names of its runs.
fn cell(data: &Value, place: usize) -> (Value, String, Vec<String>) {
    let cell = &data["cells"][place];
    let facts = cell["facts"].as_array().expect("facts").iter();
    let facts = facts.map(|pair| (pair[0].as_str().expect("a name").to_owned(), pair[1].clone())).collect();
    let index = |value: &Value| value.as_u64().expect("a place") as usize;
    let command = data["texts"][index(&cell["command"])].as_str().expect("a command").to_owned();
    let runs = cell["runs"].as_array().expect("runs").iter();
    let runs = runs.map(|run| data["nodes"][index(run)]["name"].as_str().expect("a name").to_owned());
    (Value::Object(facts), command, runs.collect())
}

#[test]
fn a_complete_pipeline_shows_its_table_and_behind_each_number_the_runs_and_their_makers() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let page = page(&project, &[]);
    for part in ["<b>15</b> of <b>15</b> nodes", ">complete<", ">final<", "methods: ", "lr: 0.25", ">25.00", ">20.00"] {
        assert!(page.contains(part), "the page lacks `{part}`:\n{page}");
    }
    let data = data(&page);
    let places = 0..data["cells"].as_array().expect("cells").len();
    let found = places.map(|place| cell(&data, place)).find(|(facts, ..)| {
        let of = facts["of"].as_str().unwrap_or_default();
        of.contains("metric A_r") && of.contains("method pru")
    });
    let (facts, command, runs) = found.expect("the table has A_r of pru");
    assert_eq!(runs, ["evaluate[method=pru,seed=1]", "evaluate[method=pru,seed=2]"]);
    assert_eq!(command, "pru-flow run pipeline.yaml 'evaluate[method=pru]'");
    assert!(facts["ours"].as_str().is_some_and(|ours| ours.starts_with("20.0000 % ±")), "{facts}");
    assert!(facts["n"].as_str().is_some_and(|n| n.starts_with("2 of 2 trials")), "{facts}");
    assert_eq!((&facts["seed"], &facts["device"]), (&"1, 2".into(), &"cpu".into()));
    assert!(facts["code"].as_str().is_some_and(|code| code.starts_with("pru-flow ") && !code.contains(',')), "{facts}");
    let today = facts["date"]
        .as_str()
        .is_some_and(|date| date.starts_with("20") && date.contains(':') && date.ends_with("UTC"));
    assert!(today, "{facts}");
    // The same is seen without a click.
    assert!(page.contains("\nseed: 1, 2\ndevice: cpu\ncode: pru-flow "), "{page}");
    let nodes = data["nodes"].as_array().expect("nodes");
    let node = |name: &str| nodes.iter().find(|node| node["name"] == name).expect("the node is behind a number");
    let train = node("train[method=pru,seed=2]");
    let told: Vec<&str> = train["facts"].as_array().expect("facts").iter().filter_map(|f| f[0].as_str()).collect();
    for fact in ["device", "started", "code", "machine", "key"] {
        assert!(told.contains(&fact), "{fact} is not among {told:?}");
    }
    let params = &data["texts"][train["params"].as_u64().expect("params") as usize];
    assert!(params.as_str().is_some_and(|params| params.contains("echo 0.25")), "{params}");
    let from = node("evaluate[method=pru,seed=2]")["from"][0].as_u64().expect("a producer") as usize;
    assert_eq!(nodes[from]["name"], "train[method=pru,seed=2]");
}

#[test]
fn the_command_of_a_number_is_one_that_the_program_takes() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "--set", "lr=0.5"]).expect_code(0);
    let data = data(&page(&project, &["--set", "lr=0.5"]));
    for place in 0..data["cells"].as_array().expect("cells").len() {
        let (_, command, runs) = cell(&data, place);
        let anew = data["cells"][place]["anew"].as_u64().expect("a place") as usize;
        assert_eq!(data["texts"][anew], format!("{command} --store again"), "nothing of it is cached there");
        let rest = command.strip_prefix("pru-flow ").expect("a command of this program");
        let mut shell = Command::new("sh");
        shell.current_dir(project.root()).env("NO_COLOR", "1").env("HOME", project.root());
        shell.args(["-c", &format!("\"$0\" {rest} --json")]).arg(env!("CARGO_BIN_EXE_pru-flow"));
        let output = Output::of(shell);
        output.expect_code(0);
        let outcomes = output.outcomes();
        for run in &runs {
            assert!(outcomes.contains(&(run.clone(), "cached".to_owned())), "{command}: {outcomes:?}");
        }
    }
}

#[test]
fn a_half_done_pipeline_shows_what_there_is_says_what_is_missing_and_keeps_nothing() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "evaluate[seed=1]", "evaluate[method=pru]"]).expect_code(0);
    let plan = || project.pru_flow(&["plan", "pipeline.yaml"]).expect_code(0).stdout.clone();
    let before = plan();
    let page = page(&project, &[]);
    for part in ["incomplete: 4 of 6 runs", ">incomplete<", "drawing:plot", "it has not been drawn yet", "1/2"] {
        assert!(page.contains(part), "the page lacks `{part}`:\n{page}");
    }
    let data = data(&page);
    let cells = data["cells"].as_array().expect("cells").len();
    let original = (0..cells).map(|place| cell(&data, place)).find(|(facts, ..)| {
        let of = facts["of"].as_str().unwrap_or_default();
        of.contains("metric A_f") && of.contains("method original")
    });
    let (facts, command, runs) = original.expect("the table has A_f of original");
    assert_eq!(runs, ["evaluate[method=original,seed=1]"]);
    assert!(facts["n"].as_str().is_some_and(|n| n.starts_with("1 of 2 trials")), "{facts}");
    assert!(facts["missing"].as_str().is_some_and(|missing| missing.contains('2')), "{facts}");
    // It makes what is missing too.
    assert_eq!(command, "pru-flow run pipeline.yaml 'evaluate[method=original]'");
    assert_eq!(plan(), before, "nothing is cached by looking");
    let left = std::fs::read_dir(project.path(".pru-flow/tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "attempts are removed");
}

#[test]
fn a_page_of_named_nodes_has_these_and_what_they_need_and_its_command_names_them() {
    let project = Project::with_pipeline(PIPELINE);
    let (all, one) = (page(&project, &[]), page(&project, &["accuracy"]));
    assert!(all.contains("drawing:plot") && !one.contains("drawing:plot"));
    assert!(one.contains(">evaluate<") && one.contains("pru-flow run pipeline.yaml accuracy"));
    let unknown = project.pru_flow(&["report", "pipeline.yaml", "acuracy"]);
    unknown.expect_code(2);
    assert!(unknown.stderr.contains("did you mean `accuracy`"), "{}", unknown.stderr);
}

#[test]
fn a_pipeline_that_never_ran_has_a_page_and_no_store_is_made() {
    let project = Project::with_pipeline(PIPELINE);
    let output = project.pru_flow(&["report", "pipeline.yaml"]);
    output.expect_code(0).expect_stderr(&["report.html"]);
    let page = project.read("report.html");
    for part in [
        "<b>0</b> of <b>15</b> nodes",
        "incomplete: 0 of 6 runs",
        "none of its runs is there yet",
        "<h3>Accuracy &lt;/h3",
    ] {
        assert!(page.contains(part), "the page lacks `{part}`:\n{page}");
    }
    assert!(!project.path(".pru-flow").exists());
}

#[test]
fn text_of_pipelines_and_artifacts_never_becomes_markup() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    let page = page(&project, &[]);
    assert!(page.contains("Accuracy &lt;/h3&gt;&lt;script&gt;alert(1)&lt;/script&gt; of &lt;b&gt;all&lt;/b&gt;"));
    assert!(page.contains("a&lt;b&gt;&amp;"), "the method's name is shown");
    for raw in ["<script>alert", "<b>all", "a<b>", "broken into", "<rect width=\"80\""] {
        assert!(!page.contains(raw), "`{raw}` stands in the page");
    }
    assert_eq!(page.matches("<script").count(), 2, "the data, and the page's own script");
    assert_eq!(page.matches("data:image/svg+xml;base64,").count(), 1);
}

#[test]
fn a_command_may_write_any_table_and_the_page_stands() {
    for (content, said) in [
        ("not json", "its table.json is none"),
        (r#"{"format": 9, "title": "t", "runs": [], "parts": []}"#, "has format 9"),
        (
            r#"{"format": 1, "title": "t", "runs": [], "parts": [{"part": "grid", "name": "<i>n", "caption": "<i>c", "labels": ["<i>l"], "columns": [{"text": "<i>h", "group": "<i>g"}], "rows": [{"labels": [], "cells": [{"kind": "mean", "at": {"<i>a": "<i>v"}, "unit": "<i>u", "value": 1e300, "half_width": null, "sd": null, "n": 1, "trials": 1, "classes": 0, "mark": "<i>m", "published": 1, "difference": 2, "verdict": "<i>x", "runs": [0, 77]}, {"kind": "text", "text": "<i>t"}]}]}]}"#,
            "&lt;i&gt;h",
        ),
    ] {
        let project = Project::with_pipeline(
            "version: 1\nname: odd\nstages:\n  it:\n    command: \"cat given > ${outputs.t}\"\n    outputs: {t: {name: table.json}}\n",
        );
        project.write("given", content);
        project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
        let page = page(&project, &[]);
        assert!(page.contains(said), "{content}: {page}");
        assert!(!page.contains("<i>") || page.contains("<i>A</i>"), "{page}");
    }
}

#[test]
fn the_page_needs_no_network_and_the_same_store_gives_the_same_bytes() {
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml", "evaluate[method=pru]"]).expect_code(0);
    let first = page(&project, &[]);
    for outside in ["http:", "https:", "//www", "url(", "@import", "<link", "<iframe", "src=\"/", "<base", " onclick"] {
        assert!(!first.contains(outside), "`{outside}` stands in the page");
    }
    assert!(first.contains("default-src 'none'"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(page(&project, &[]), first);
}

#[test]
fn the_page_says_by_what_its_results_were_made_without_a_click() {
    let project = Project::with_pipeline(PIPELINE);
    assert!(page(&project, &[]).contains("Nothing has run yet."));
    project.pru_flow(&["run", "pipeline.yaml", "evaluate[method=pru]"]).expect_code(0);
    let page = page(&project, &["--store", ".pru-flow"]);
    let section = &page[page.find("<section id=\"provenance\"").expect("it is there")..];
    let cells: Vec<&str> =
        section.split("<td>").skip(1).map(|cell| cell.split("</td>").next().expect("text")).collect();
    let [code, machine, device, threads, nodes, started] = cells.as_slice() else { panic!("{cells:?}") };
    assert!(code.starts_with("pru-flow ") && machine.contains(std::env::consts::ARCH), "{cells:?}");
    assert_eq!((*device, *threads, *nodes), ("cpu", "1", "5"));
    assert!(started.ends_with("UTC"), "{started}");
    assert!(
        section.contains("pru-flow run pipeline.yaml --store .pru-flow<"),
        "what is missing is made where the rest is"
    );
    assert!(section.contains("pru-flow run pipeline.yaml --store again<"));
}

#[test]
fn a_page_that_cannot_be_written_is_an_error_and_not_a_panic() {
    let project = Project::with_pipeline(PIPELINE);
    project.write("file", "");
    let output = project.pru_flow(&["report", "pipeline.yaml", "--out", "file/report.html"]);
    output.expect_code(1).expect_stderr(&["file/report.html"]);
}

/// A Chromium that this machine has.
fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PRU_FLOW_CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|program| program.is_file())
}

/// Chromium on a page of the project, after that page's scripts have run.
fn browse(program: &Path, project: &Project, what: &[&str], page: &str) -> String {
    let mut command = Command::new(program);
    command.args(["--headless", "--disable-gpu", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"]);
    command.arg("--allow-file-access-from-files").args(what);
    command.arg(format!("--user-data-dir={}", project.path("browser").display()));
    command.arg("--virtual-time-budget=2000").arg(format!("file://{}", project.path(page).display()));
    let output = Output::of(command);
    output.expect_code(0);
    output.stdout
}

/// The page's elements after its script has run.
fn in_browser(program: &Path, project: &Project, anchor: &str) -> String {
    browse(program, project, &["--dump-dom"], &format!("report.html#{anchor}"))
}

#[test]
fn a_browser_opens_the_page_and_shows_what_is_behind_a_number() {
    let Some(program) = chromium() else {
        eprintln!("skipped: no Chromium on PATH; PRU_FLOW_CHROMIUM=PROGRAM names one");
        return;
    };
    let project = Project::with_pipeline(PIPELINE);
    project.pru_flow(&["run", "pipeline.yaml"]).expect_code(0);
    project.pru_flow(&["report", "pipeline.yaml"]).expect_code(0);
    let closed = in_browser(&program, &project, "");
    assert!(closed.contains("<title>paper · pru-flow report</title>"), "no script of the picture ran: {closed}");
    assert!(!closed.contains("<dialog id=\"behind\" aria-labelledby=\"behind-title\" open"), "{closed}");
    let open = in_browser(&program, &project, "cell-0");
    let dialog = &open[open.find("<dialog").expect("the page has a dialog")..];
    let dialog = &dialog[..dialog.find("</dialog>").expect("it ends")];
    for part in
        ["open=\"\"", "Make it again", "pru-flow run pipeline.yaml", "--store again", "From 2 runs", "evaluate["]
    {
        assert!(dialog.contains(part), "the dialog lacks `{part}`:\n{dialog}");
    }
}

/// As [`PIPELINE`], with `methods` of long names, and a stage that unlearns, which is planned.
fn wide_pipeline(methods: usize) -> String {
    let names: Vec<String> = (0..methods).map(|n| format!("boundary_of_method_{n}")).collect();
    let beside = "  model: {command: \"echo m > ${outputs.m}\", outputs: [m]}\n  mask: {uses: unlearn/bias_mask, with: {forget_class: 1}, inputs: {model: model.m}}\n";
    let stages = PIPELINE.replace("[original, pru, \"a<b>&\\\"c\"]", &format!("[{}]", names.join(", ")));
    format!("{stages}{beside}")
}

/// Opens the report in a frame so wide, with the styles of a medium made to hold, and gives what a script finds there.
fn look(program: &Path, project: &Project, width: u32, medium: &str) -> Value {
    let script = r##"
      const frame = document.getElementById("frame");
      frame.addEventListener("load", () => {
        const page = frame.contentDocument, found = {};
        for (const rule of page.styleSheets[0].cssRules) {
          if (rule.media && MEDIUM && rule.media.mediaText.includes(MEDIUM)) rule.media.mediaText = "all";
        }
        const style = (element) => frame.contentWindow.getComputedStyle(element);
        const all = (selector) => [...page.querySelectorAll(selector)];
        found.page = page.documentElement.scrollWidth;
        found.tables = all("table.grid").map((table) => Math.ceil(table.getBoundingClientRect().width));
        found.pictures = all("figure img").map((picture) => picture.getBoundingClientRect().width);
        found.ground = all("figure img").map((picture) => style(picture).backgroundColor);
        found.shown = all("nav, dialog, .copy").filter((element) => style(element).display !== "none").length;
        // Numbers of a column end at one place.
        const ends = new Map();
        for (const number of all("#tables .ours")) {
          const cell = number.closest("td"), key = [...cell.parentElement.children].indexOf(cell);
          const end = Math.round(cell.getBoundingClientRect().right - number.getBoundingClientRect().right);
          ends.set(key, (ends.get(key) || new Set()).add(end));
        }
        found.ends = [...ends.values()].map((places) => places.size);
        found.lines = all(".number .ours").map((text) => Math.round(text.getBoundingClientRect().height / parseFloat(style(text).fontSize)));
        const light = (colour) => {
          const [r, g, b] = colour.match(/[\d.]+/g).map((part) => part / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = light(style(page.body).backgroundColor);
        const contrast = (element) => {
          const ink = light(style(element).color);
          return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        };
        found.faint = all("h1, h2, h3, p, a, th, td, .number span, .badge, figcaption").filter((e) => contrast(e) < 4.5).map((e) => e.outerHTML);
        found.dark = ground < 0.2;
        document.getElementById("found").textContent = JSON.stringify(found);
      });
    "##;
    let script = script.replace("MEDIUM", &format!("{medium:?}"));
    let frame = format!(
        "<!doctype html><meta charset=utf-8><iframe id=frame style=\"border:0;width:{width}px;height:900px\"></iframe><pre \
         id=found></pre><script>{script}frame.src = 'report.html';</script>"
    );
    project.write("frame.html", frame);
    let seen = browse(program, project, &["--dump-dom", "--window-size=1400,1000"], "frame.html");
    let found = seen.split_once("<pre id=\"found\">").expect("the frame has it").1;
    let found =
        found.split_once("</pre>").expect("it ends").0.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

#[test]
fn a_telephone_a_dark_room_and_paper_show_all_of_the_page() {
    let Some(program) = chromium() else {
        eprintln!("skipped: no Chromium on PATH; PRU_FLOW_CHROMIUM=PROGRAM names one");
        return;
    };
    let project = Project::with_pipeline(&wide_pipeline(8));
    project.pru_flow(&["run", "pipeline.yaml", "drawing"]).expect_code(0);
    project.pru_flow(&["report", "pipeline.yaml"]).expect_code(0);

    let telephone = look(&program, &project, 390, "");
    assert!(telephone["page"].as_f64().is_some_and(|width| width <= 390.0), "the page itself is wider: {telephone}");
    assert!(numbers(&telephone["tables"]).iter().any(|width| *width > 390.0), "tables scroll: {telephone}");
    assert!(numbers(&telephone["pictures"]).iter().all(|width| *width >= 500.0), "too small to read: {telephone}");
    assert!(telephone["ends"].as_array().is_some_and(|ends| ends.len() == 8), "{telephone}");
    assert!(numbers(&telephone["ends"]).iter().all(|places| *places < 1.5), "a column is ragged: {telephone}");

    for (medium, dark) in [("", false), ("dark", true), ("print", false)] {
        let seen = look(&program, &project, 1200, medium);
        assert_eq!(seen["dark"], dark, "{medium}");
        assert_eq!(seen["faint"], serde_json::json!([]), "text that can hardly be read ({medium})");
        assert_eq!(seen["ground"], serde_json::json!(["rgb(255, 255, 255)"]), "a figure is drawn for white ({medium})");
    }
    // What is between the margins of an upright A4 page.
    let paper = look(&program, &project, 703, "print");
    assert!(numbers(&paper["tables"]).iter().all(|width| *width <= 703.0), "a table is cut: {paper}");
    assert_eq!(paper["shown"], 0, "what cannot be clicked is left out");
    assert!(paper["page"].as_f64().is_some_and(|width| width <= 703.0), "{paper}");
}

#[test]
fn a_table_of_many_columns_is_printed_across_the_page_and_no_other() {
    let Some(program) = chromium() else {
        eprintln!("skipped: no Chromium on PATH; PRU_FLOW_CHROMIUM=PROGRAM names one");
        return;
    };
    for (methods, across) in [(8, false), (12, true)] {
        let project = Project::with_pipeline(&wide_pipeline(methods));
        project.pru_flow(&["run", "pipeline.yaml", "accuracy"]).expect_code(0);
        project.pru_flow(&["report", "pipeline.yaml"]).expect_code(0);
        let file = project.path("report.pdf");
        browse(&program, &project, &[&format!("--print-to-pdf={}", file.display())], "report.html");
        let bytes = std::fs::read(&file).expect("it was printed");
        let pdf = String::from_utf8_lossy(&bytes);
        let pages: Vec<f64> = pdf
            .split("/MediaBox [0 0 ")
            .skip(1)
            .map(|size| size.split(' ').next().expect("a width").parse().expect("a number"))
            .collect();
        assert_eq!(pages.iter().any(|width| *width > 800.0), across, "{methods} methods: {pages:?}");
        assert!(pages.iter().any(|width| *width < 700.0), "{methods} methods: {pages:?}");
    }
}
