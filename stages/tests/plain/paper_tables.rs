//! Tables in the paper's layout with its figures beside ours, and what they write for programs.

use std::collections::BTreeMap;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};

use crate::attempt::{Done, Setup};

/// The paper's figures, read apart from the code that looks them up.
fn published() -> Value {
    serde_yaml::from_str(include_str!("../../src/tables/published.yaml")).unwrap()
}

/// MNIST is the official one, CIFAR-10 a folder of JPEG files.
fn origin(setting: &str) -> Value {
    match setting {
        "mnist" => json!({"dataset": "mnist", "official": true, "train": 60_000, "test": 10_000}),
        _ => json!({"dataset": "image_folder", "official": false, "train": 50_000, "test": 10_000}),
    }
}

fn model(network: &str) -> Value {
    json!({"architecture": network, "width": "1", "image_size": "224", "patch": "16", "layers": "12",
        "heads": "12", "dim": "768", "mlp": "3072", "channels": "3", "classes": "10"})
}

/// A curve with the same `A_f` and `A_r` at each epoch, or what `at` gives.
fn curve(class: u32, setting: &Value, epochs: &[u32], at: impl Fn(u32) -> (Value, Value)) -> Value {
    let point = |epoch: &u32| {
        let (forget, retain) = at(*epoch);
        json!({"epoch": epoch, "forget": forget, "retain": retain, "overall": 0.5, "loss": null})
    };
    let points: Vec<Value> = epochs.iter().map(point).collect();
    let origin = json!({"dataset": setting["dataset"], "official": true, "train": setting["train"], "test": 10_000});
    let network = setting["network"].as_str().unwrap();
    json!({"forget_class": class, "model": model(network), "origin": origin, "test_samples": 10_000, "epochs": points})
}

/// The rows of every grid, cells without padding.
fn rows(text: &str) -> Vec<Vec<String>> {
    let grid = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|:"));
    grid.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[track_caller]
fn row(text: &str, labels: &[&str]) -> Vec<String> {
    let starts = |row: &Vec<String>| row.iter().zip(labels).all(|(cell, label)| cell == label);
    let found = rows(text).into_iter().find(starts).unwrap_or_else(|| panic!("no row {labels:?}:\n{text}"));
    found[labels.len()..].to_vec()
}

const SEEDS: [(&str, f64); 3] = [("7", -0.01), ("8", 0.0), ("9", 0.01)];

/// Two settings. Classes vary far more than trials: by class (c - 4.5) x `spread`, by seed -.01, 0, .01. So the mean
/// over classes and trials is `base`, the deviation over trials 1 point, the half width 4.302653 / sqrt(3) = 2.484138.
fn two_settings() -> Vec<(Vec<(&'static str, String)>, Value)> {
    let methods = [
        ("original", None, 0.98, 0.97, 0.001),
        ("pru", Some("train"), 0.05, 0.86, 0.005),
        ("pru", Some("request"), 0.03, 0.80, 0.003),
    ];
    let mut runs = Vec::new();
    for setting in ["mnist", "cifar10-allcnn"] {
        for (method, part, forget, retain, spread) in methods {
            for class in 0..10_u32 {
                for (seed, shift) in SEEDS {
                    let more = (f64::from(class) - 4.5) * spread + shift;
                    let metrics = json!({"forget_class": class, "forget": forget + more, "retain": retain + more,
                        "overall": 0.5, "per_class": [], "n": [4000, 6000], "model": model("all_cnn"), "origin": origin(setting)});
                    let mut at = vec![("setting", setting.to_owned()), ("method", method.to_owned())];
                    at.extend(part.map(|part| ("forget_on", part.to_owned())));
                    at.extend([("class", class.to_string()), ("seed", seed.to_owned())]);
                    runs.push((at, metrics));
                }
            }
        }
    }
    runs
}

fn table1_params() -> Value {
    json!({
        "title": "Table 1",
        "layout": {"rows": ["setting"], "within": "forget_on", "labels": {"mnist": "MNIST", "train": "D_f"}},
        "metrics": ["A_r", "A_f"], "deviation": true, "per_class": false,
        "published": {"table": "table1", "settings": {"mnist": "mnist-allcnn"},
            "forget_sets": {"train": "d_f", "request": "d_new_f"}},
    })
}

fn gathered(stage: &'static str, port: &str, params: Value, runs: &[(Vec<(&'static str, String)>, Value)]) -> Setup {
    runs.iter().fold(Setup::new(stage, params), |setup, (at, value)| {
        let at: Vec<(&str, &str)> = at.iter().map(|(axis, value)| (*axis, value.as_str())).collect();
        setup.input(port, &at, value.to_string().as_bytes())
    })
}

fn table1(runs: &[(Vec<(&'static str, String)>, Value)]) -> Done {
    gathered("tables/accuracy", "results", table1_params(), runs).run().unwrap()
}

fn grid(done: &Done, name: &str) -> Value {
    let table: Value = serde_json::from_slice(&done.bytes("json")).unwrap();
    let parts = table["parts"].as_array().unwrap();
    parts.iter().find(|part| part["name"] == name).unwrap_or_else(|| panic!("no grid {name}")).clone()
}

fn close(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-6)
}

#[test]
fn one_grid_holds_all_settings_with_published_ours_deviation_and_difference() {
    let done = table1(&two_settings());
    let text = done.text("markdown");
    assert_eq!(rows(&text)[0], ["setting", "%", "", "original", "pru, D_f", "pru, request"], "{text}");
    let line = |setting, metric, name| row(&text, &[setting, metric, name]);
    assert_eq!(line("MNIST", "A_r", "published"), ["99.40", "84.98", "86.45"]);
    assert_eq!(line("MNIST", "A_r", "ours"), ["97.00 ± 2.48", "86.00 ± 2.48", "80.00 ± 2.48"]);
    assert_eq!(line("MNIST", "A_r", "s"), ["1.00", "1.00", "1.00"]);
    // The bound is 3.19 points.
    assert_eq!(line("MNIST", "A_r", "difference"), ["-2.40 within", "+1.02 within", "-6.45 outside"]);
    assert_eq!(line("MNIST", "A_f", "difference"), ["-1.38 within", "+5.00 outside", "+3.00 within"]);
    assert_eq!(line("cifar10-allcnn", "A_r", "published"), ["84.17", "77.86", "84.59"]);
    let apart = line("cifar10-allcnn", "A_r", "difference");
    assert_eq!(apart, ["+12.83 n.c. (a)", "+8.14 n.c. (a)", "-4.59 n.c. (a)"]);
    let reason = "(a) not comparable: full width; data image_folder not official, 50000 + 10000 images; n = 3 trials of 10 classes.";
    assert!(text.contains(reason), "{text}");
    assert!(text.contains("Of the paper: Table 1 gives 0.09 as A_f of PRU with D_new_f"), "{text}");
    assert_eq!(line("cifar10-allcnn", "n", ""), ["3", "3", "3"]);
}

#[test]
fn every_figure_can_be_traced_to_its_runs() {
    let runs = two_settings();
    let done = table1(&runs);
    let table: Value = serde_json::from_slice(&done.bytes("json")).unwrap();
    assert_eq!((&table["format"], &table["title"]), (&json!(1), &json!("Table 1")));
    assert_eq!(table["runs"].as_array().unwrap().len(), runs.len());
    let means = grid(&done, "means");
    assert_eq!(means["columns"][2], json!({"text": "request", "group": "pru"}));
    assert_eq!(
        means["rows"][0]["labels"],
        json!([{"kind": "text", "text": "MNIST"}, {"kind": "metric", "text": "A_r"}])
    );
    let cell = &means["rows"][0]["cells"][1];
    let at = json!({"setting": "mnist", "method": "pru", "forget_on": "train", "metric": "A_r", "epoch": "0"});
    assert_eq!((&cell["kind"], &cell["unit"], &cell["at"]), (&json!("mean"), &json!("percent"), &at));
    assert!(close(&cell["value"], 86.0) && close(&cell["sd"], 1.0) && close(&cell["half_width"], 2.484_138), "{cell}");
    assert_eq!((&cell["n"], &cell["trials"], &cell["classes"]), (&json!(3), &json!(3), &json!(10)));
    assert!(close(&cell["published"], 84.98) && close(&cell["difference"], 1.02), "{cell}");
    assert_eq!((&cell["mark"], &cell["reason"]), (&json!("within"), &json!("within 3.19 points")));
    let indices: Vec<usize> = cell["runs"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
    assert_eq!(indices.len(), 30);
    for (index, run) in table["runs"].as_array().unwrap().iter().enumerate() {
        let is_of_it = run["setting"] == "mnist" && run["method"] == "pru" && run["forget_on"] == "train";
        assert_eq!(indices.contains(&index), is_of_it, "{run}");
        let own: BTreeMap<&str, &str> = runs[index].0.iter().map(|(axis, value)| (*axis, value.as_str())).collect();
        assert_eq!(*run, json!(own), "artifact {index}");
    }
    let other = &means["rows"][3]["cells"][0];
    assert_eq!((&other["mark"], &other["missing"]), (&json!("not comparable"), &Value::Null));
    assert!(other["reason"].as_str().unwrap().starts_with("full width; data image_folder not official"), "{other}");
}

#[test]
fn a_mean_over_fewer_trials_says_so_everywhere_and_has_no_mark() {
    let mut runs = two_settings();
    let lost = |at: &[(&str, String)]| {
        let is = |axis: &str, value: &str| at.iter().any(|(a, v)| *a == axis && v == value);
        is("setting", "mnist") && is("forget_on", "train") && is("class", "4") && is("seed", "9")
    };
    runs.retain(|(at, _)| !lost(at));
    let done = table1(&runs);
    let text = done.text("markdown");
    // Trials 7 and 8: mean 85.5, deviation .7071, half width 12.7062 x .7071 / sqrt(2) = 6.35.
    assert_eq!(row(&text, &["MNIST", "A_r", "ours"])[1], "85.50 ± 6.35 (2 of 3)", "{text}");
    assert_eq!(row(&text, &["MNIST", "A_r", "difference"])[1], "+0.52 n.c. (a)", "{text}");
    assert_eq!(row(&text, &["MNIST", "n", ""]), ["3", "2 of 3", "3"], "{text}");
    assert!(text.contains("(a) not comparable: full width; data mnist official, 60000 + 10000 images; n = 2 trials"));
    assert!(text.contains("MNIST, pru, D_f: missing (class=4, seed=9); incomplete trials are left out"), "{text}");
    let cell = grid(&done, "means")["rows"][0]["cells"][1].clone();
    assert_eq!((&cell["n"], &cell["trials"]), (&json!(2), &json!(3)));
    assert_eq!(cell["missing"], json!(["(class=4, seed=9)"]));
    assert_eq!(cell["runs"].as_array().unwrap().len(), 20);
    let csv = done.text("csv");
    let line = csv.lines().find(|line| line.starts_with("means,mean,percent,mnist,pru,train,A_r,0,85.")).unwrap();
    assert!(line.contains(",2,3,10,84.98,") && line.ends_with("\"(class=4, seed=9)\""), "{line}");
}

#[test]
fn planned_runs_are_counted_as_missing_with_their_trial_and_class() {
    let setup =
        |seed: &str, setup: Setup| setup.planned("results", &[("method", "pru"), ("class", "0"), ("seed", seed)]);
    let metrics = json!({"forget": 0.25, "retain": 0.5, "overall": 0.5});
    let one = Setup::new("tables/accuracy", json!({})).input(
        "results",
        &[("method", "pru"), ("class", "0"), ("seed", "7")],
        metrics.to_string().as_bytes(),
    );
    let done = setup("9", setup("8", one)).run().unwrap();
    let text = done.text("markdown");
    assert_eq!(row(&text, &["A_f"]), ["25.00 (1 of 3)"], "{text}");
    assert!(text.contains("pru: missing seed=8, seed=9;"), "{text}");
    let table: Value = serde_json::from_slice(&done.bytes("json")).unwrap();
    assert_eq!(table["runs"][2], json!({"method": "pru", "class": "0", "seed": "9"}));
    let nothing = setup("7", Setup::new("tables/accuracy", json!({}))).run().unwrap().text("markdown");
    assert_eq!(row(&nothing, &["A_f"]), ["-"], "{nothing}");
    assert_eq!(row(&nothing, &["n"]), ["0 of 1"], "{nothing}");
}

#[test]
fn classes_apart_are_over_trials_and_never_counted_as_trials() {
    let params = json!({"layout": {"rows": ["setting"], "within": "forget_on"}});
    let done = gathered("tables/accuracy", "results", params, &two_settings()).run().unwrap();
    let members = grid(&done, "members");
    assert_eq!(members["rows"].as_array().unwrap().len(), 20);
    let cell = &members["rows"][3]["cells"][1];
    // Class 3 of pru on MNIST: .05 - 1.5 x .005.
    assert!(close(&cell["value"], 4.25) && close(&cell["half_width"], 2.484_138), "{cell}");
    assert_eq!((&cell["n"], &cell["classes"], &cell["at"]["class"]), (&json!(3), &json!(1), &json!("3")));
    assert!(cell["published"].is_null() && cell["runs"].as_array().unwrap().len() == 3);
    let text = done.text("markdown");
    assert!(text.contains("A_f by class, mean over the seeds there are:"), "{text}");
}

/// The layout of each of the paper's tables, as `pipelines/paper.yaml` has it.
fn layouts() -> Vec<(&'static str, &'static str, Value)> {
    let rows = |columns: &str, within: Option<&str>| json!({"rows": ["setting"], "columns": columns, "within": within});
    let curves = |table: &str, epochs: Value, layout: Value, published: Value| {
        let mut published = published;
        published["table"] = json!(table);
        json!({"epochs": epochs, "layout": layout, "metrics": ["A_r", "A_f"], "each_trial": false, "published": published})
    };
    let by_method = || rows("method", None);
    let relearn = |table| ("tables/relearn", table, curves(table, json!([1, 5, 10]), by_method(), json!({})));
    let accuracy = |table: &'static str, within| {
        let params = json!({"layout": rows("method", within), "metrics": ["A_r", "A_f"], "per_class": false,
            "published": {"table": table}});
        ("tables/accuracy", table, params)
    };
    let parameters = json!({"columns": {"d_f": "pru_d_f_parameters", "d_new_f": "pru_d_new_f_parameters"}});
    let table = "supplement_table3";
    vec![
        accuracy("table1", Some("forget_on")),
        relearn("table2"),
        relearn("table3"),
        ("tables/relearn", "table4", curves("table4", json!([0, 1, 5, 10]), by_method(), json!({}))),
        ("tables/relearn", "table5", curves("table5", json!([0, 1, 2, 3]), by_method(), json!({}))),
        ("tables/relearn", table, curves(table, json!([0, 1, 5, 10]), rows("parameters", None), parameters)),
        accuracy("supplement_table5", None),
        relearn("supplement_table6"),
    ]
}

/// Coordinates of a run and what it measured.
type Made = (Vec<(&'static str, String)>, Value);

/// Runs that measured exactly what the paper prints, of a table in its layout; and how many figures there are.
fn as_printed(table: &str, params: &Value) -> (Vec<Made>, usize) {
    let (all, mut runs, mut figures) = (published(), Vec::new(), 0);
    let columns = all["tables"][table]["columns"].as_array().unwrap();
    let axis = if table == "supplement_table3" { "parameters" } else { "method" };
    for block in all["tables"][table]["figures"].as_array().unwrap() {
        let name = block["setting"].as_str().unwrap();
        let setting = &all["settings"][name];
        let epochs: Vec<u32> = block["A_f"].as_object().unwrap().keys().map(|epoch| epoch.parse().unwrap()).collect();
        for (place, column) in columns.iter().enumerate() {
            let column = column.as_str().unwrap();
            let is_reference = params["layout"]["within"].is_string() && ["original", "retrain"].contains(&column);
            if is_reference && block["forget_set"] != "d_f" {
                continue;
            }
            let value = |metric: &str, epoch: u32| -> Value {
                block[metric][epoch.to_string()][place].as_f64().map_or(Value::Null, |percent| json!(percent / 100.0))
            };
            let printed = |metric| epochs.iter().filter(|epoch| value(metric, **epoch).is_number()).count();
            figures += printed("A_f") + printed("A_r");
            for class in setting["forget_classes"].as_array().unwrap() {
                for (seed, _) in SEEDS {
                    let class = class.as_u64().unwrap() as u32;
                    let curve = curve(class, setting, &epochs, |epoch| (value("A_f", epoch), value("A_r", epoch)));
                    let own = column.trim_start_matches("pru_").trim_end_matches("_parameters");
                    let own = if axis == "parameters" { own } else { column };
                    let mut at = vec![("setting", name.to_owned()), (axis, own.to_owned())];
                    if params["layout"]["within"].is_string() && !is_reference {
                        at.push(("forget_on", block["forget_set"].as_str().unwrap().to_owned()));
                    }
                    at.extend([("class", class.to_string()), ("seed", seed.to_owned())]);
                    runs.push((at, curve));
                }
            }
        }
    }
    (runs, figures)
}

#[test]
fn every_figure_of_every_table_stands_beside_the_run_that_measured_it() {
    for (stage, table, params) in layouts() {
        let (runs, figures) = as_printed(table, &params);
        let port = if stage == "tables/accuracy" { "results" } else { "curves" };
        let done = gathered(stage, port, params, &runs).run().unwrap();
        let means = grid(&done, "means");
        let rows = means["rows"].as_array().unwrap();
        let cells = rows.iter().flat_map(|row| row["cells"].as_array().unwrap());
        let compared: Vec<&Value> = cells.filter(|cell| cell["published"].is_number()).collect();
        assert_eq!(compared.len(), figures, "{table}");
        for cell in compared {
            assert!(close(&cell["difference"], 0.0) && close(&cell["sd"], 0.0), "{table}: {cell}");
            let mark = if table == "table5" { "not comparable" } else { "within" };
            assert_eq!(cell["mark"], mark, "{table}: {cell}");
        }
        let text = done.text("markdown");
        assert!(text.contains("Published: the paper's figures"), "{table}");
        assert!(!text.contains("missing"), "{table}: {text}");
        let latex = done.text("latex");
        for both in ["{table}", "{tabular}", "{document}"] {
            let of = |word: &str| latex.matches(&format!("\\{word}{both}")).count();
            assert_eq!(of("begin"), of("end"), "{table}: {both}");
        }
    }
}

/// The rows of a Parquet file, as text.
fn parquet_rows(path: &Path) -> (Vec<String>, Vec<Vec<String>>, Option<String>) {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata();
    let names = metadata.schema_descr().columns().iter().map(|column| column.name().to_owned()).collect();
    let created = metadata.created_by().map(str::to_owned);
    let text = |field: &Field| match field {
        Field::Null => "null".to_owned(),
        Field::Str(text) => text.clone(),
        Field::Int(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        other => panic!("{other:?}"),
    };
    let rows = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().get_column_iter().map(|(_, field)| text(field)).collect::<Vec<String>>());
    (names, rows.collect(), created)
}

#[test]
fn parquet_holds_every_value_of_every_run_with_its_coordinates() {
    let metrics = json!({"forget_class": 3, "forget": 0.25, "retain": 0.1, "overall": null, "per_class": [0.5, null]});
    let curve = json!({"forget_class": 3, "epochs": [
        {"epoch": 0, "forget": 0.0, "retain": 1.0, "overall": 0.9, "loss": null},
        {"epoch": 1, "forget": 0.75, "retain": 1.0, "overall": 0.9, "loss": 0.125}]});
    let setup = || {
        Setup::new("tables/relearn", json!({"epochs": [0]}))
            .input("curves", &[("method", "original"), ("epoch", "x")], metrics.to_string().as_bytes())
            .input("curves", &[("method", "pru"), ("forget_on", "träin"), ("epoch", "x")], curve.to_string().as_bytes())
            .planned("curves", &[("method", "delete"), ("epoch", "x")])
    };
    let done = setup().run().unwrap();
    assert_eq!(done.bytes("parquet"), setup().run().unwrap().bytes("parquet"));
    let (names, rows, created) = parquet_rows(&done.path("parquet"));
    assert_eq!(names, ["method", "axis_epoch", "forget_on", "forget_class", "epoch", "metric", "value"]);
    assert_eq!(created.as_deref(), Some("pru-flow"));
    let lines: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
    let expected = [
        "original x null 3 0 A_f 0.25",
        "original x null 3 0 A_r 0.1",
        "original x null 3 0 A_o null",
        "original x null 3 0 accuracy_class_0 0.5",
        "original x null 3 0 accuracy_class_1 null",
        "pru x träin 3 0 A_f 0",
        "pru x träin 3 0 A_r 1",
        "pru x träin 3 0 A_o 0.9",
        "pru x träin 3 1 A_f 0.75",
        "pru x träin 3 1 A_r 1",
        "pru x träin 3 1 A_o 0.9",
        "pru x träin 3 1 loss 0.125",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_csv_has_a_line_for_each_figure_unrounded() {
    let metrics = |forget: f64| json!({"forget": forget, "retain": 0.5, "overall": 0.5}).to_string();
    let text = Setup::new("tables/accuracy", json!({"metrics": ["A_f"]}))
        .input("results", &[("method", "=pru"), ("seed", "7")], metrics(0.123_456_789).as_bytes())
        .input("results", &[("method", "=pru"), ("seed", "8")], metrics(0.123_456_789).as_bytes())
        .run()
        .unwrap()
        .text("csv");
    assert_eq!(
        text,
        "grid,kind,unit,method,metric,epoch,value,half_width,sd,n,trials,classes,published,difference,mark,reason,pairs,\
         pairs_of,verdict,missing\nmeans,mean,percent,'=pru,A_f,0,12.3456789,0,0,2,2,1,,,,,,,,\n"
    );
}

#[test]
fn references_and_params_that_are_none_are_refused() {
    let error = |setup: Setup| setup.run().err().unwrap();
    let runs = &two_settings()[..1];
    let mut params = table1_params();
    params["published"]["table"] = json!("table6");
    let text = error(gathered("tables/accuracy", "results", params, runs));
    assert!(text.starts_with("published.table: the paper has no `table6` here: supplement_table3"), "{text}");
    let params = json!({"metrics": ["A_f", "A_f"]});
    assert_eq!(error(gathered("tables/accuracy", "results", params, runs)), "metrics: `A_f` is named twice");
    let params = json!({"claim": {"better": "a", "worse": "b"}, "layout": {"within": "x"}});
    assert!(error(gathered("tables/relearn", "curves", params, runs)).starts_with("claim: is about whole columns"));
    let params = json!({"layout": {"rows": ["method"]}});
    let text = error(gathered("tables/relearn", "curves", params, runs));
    assert_eq!(text, "layout.rows: `method` is already the axis of the columns");
}
