//! `tables/measures` on small artifacts whose means were worked out by hand.

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use crate::attempt::{Done, Setup};

/// Method, class, seed, and what the file holds.
type Run = (&'static str, &'static str, &'static str, Value);

fn probe(forget: f64, auc: f64) -> Value {
    json!({"linear": {"forget": forget, "retain": 0.5}, "auc": auc, "fitted_on": [10, 100]})
}

/// Linear `A_f` by seed, over classes 0 and 3. pru: .2, .3, .4; retrain: .1, .1, .4: less it .1, .2, 0.
fn probes() -> Vec<Run> {
    let mut runs = Vec::new();
    for (seed, pru, retrain) in
        [("7", [0.1, 0.3], [0.1, 0.1]), ("8", [0.2, 0.4], [0.2, 0.0]), ("9", [0.3, 0.5], [0.4, 0.4])]
    {
        for (place, class) in ["0", "3"].into_iter().enumerate() {
            runs.push(("retrain", class, seed, probe(retrain[place], 0.5)));
            runs.push(("pru", class, seed, probe(pru[place], 0.75)));
        }
    }
    runs
}

fn setup(params: Value, runs: &[Run]) -> Setup {
    runs.iter().fold(Setup::new("tables/measures", params), |setup, (method, class, seed, file)| {
        let at = [("method", *method), ("class", *class), ("seed", *seed)];
        setup.input("results", &at, file.to_string().as_bytes())
    })
}

fn table(measures: Value, more: Value, runs: &[Run]) -> Result<Done, String> {
    let mut params = more;
    params["measures"] = measures;
    setup(params, runs).run()
}

fn document(done: &Done) -> Value {
    serde_json::from_slice(&done.bytes("json")).unwrap()
}

#[track_caller]
fn grid(done: &Done, name: &str) -> Value {
    let table = document(done);
    let grids = table["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).cloned();
    grids.unwrap_or_else(|| panic!("no grid {name}"))
}

/// The cell of a row and a column.
#[track_caller]
fn cell(done: &Done, name: &str, label: &str, column: usize) -> Value {
    let grid = grid(done, name);
    let is_row = |row: &&Value| row["labels"].as_array().unwrap().iter().any(|cell| cell["text"] == label);
    let rows = grid["rows"].as_array().unwrap();
    let row = rows.iter().find(is_row).unwrap_or_else(|| panic!("no row {label}: {grid}"));
    row["cells"][column].clone()
}

#[track_caller]
fn is_close(value: &Value, expected: f64) {
    assert!(value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-9), "{value} is not {expected}");
}

const EXPLAINED: &str = "Mean over class (0, 3), then over seed (7, 8, 9); ± is half the width of Student's t 95 % interval \
     over the n seeds. probe A_f is linear.forget; samples is fitted_on.1.";

#[test]
fn a_measure_is_averaged_over_classes_then_seeds_with_its_own_unit_and_decimals() {
    let measures = json!([
        {"field": "linear.forget", "label": "probe A_f", "percent": true, "decimals": 1},
        {"field": "auc"}, {"field": "fitted_on.1", "label": "samples", "decimals": 0}]);
    let done = table(measures, json!({"layout": {"labels": {"pru": "PRU"}}}), &probes()).unwrap();
    let text = done.text("markdown");
    assert!(text.starts_with("# Measures\n") && text.contains(EXPLAINED), "{text}");
    // retrain by seed .1, .1, .4: deviation .173205, half width 4.302653 x .1 = .430265. pru .2, .3, .4: .248414.
    let row = |start: &str| -> Vec<String> {
        let line =
            text.lines().find(|line| line.starts_with(&format!("| {start}"))).unwrap_or_else(|| panic!("{text}"));
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    assert_eq!(row("measure"), ["measure", "retrain", "PRU"]);
    assert_eq!(row("probe A_f"), ["probe A_f, %", "20.0 ± 43.0", "30.0 ± 24.8"], "{text}");
    assert_eq!(row("auc"), ["auc", "0.500 ± 0.000", "0.750 ± 0.000"]);
    assert_eq!(row("samples"), ["samples", "100 ± 0", "100 ± 0"]);
    assert_eq!(row("n "), ["n", "3", "3"]);
    let found = cell(&done, "means", "probe A_f, %", 1);
    is_close(&found["value"], 30.0);
    is_close(&found["sd"], 10.0);
    assert_eq!((&found["unit"], &found["decimals"], &found["n"]), (&json!("percent"), &json!(1), &json!(3)));
    assert_eq!((&found["classes"], &found["at"]), (&json!(2), &json!({"method": "pru", "metric": "probe A_f"})));
    assert_eq!(found["runs"].as_array().unwrap().len(), 6);
    assert_eq!(cell(&done, "means", "auc", 1)["unit"], "1");
    assert!(done.text("latex").contains("probe A\\_f, \\% & $20.0 \\pm 43.0$ & $30.0 \\pm 24.8$"));
}

#[test]
fn the_difference_from_the_reference_is_paired_within_seed_and_class() {
    let measures = json!([{"field": "linear.forget", "label": "x"}, {"field": "auc", "percent": true}]);
    let done = table(measures.clone(), json!({"reference": "retrain"}), &probes()).unwrap();
    assert_eq!(grid(&done, "differences")["columns"].as_array().unwrap().len(), 1);
    // By seed .1, .2, 0: mean .1, deviation .1, half width .248414.
    let found = cell(&done, "differences", "x", 0);
    is_close(&found["value"], 0.1);
    is_close(&found["sd"], 0.1);
    assert_eq!((&found["verdict"], &found["pairs"], &found["unit"]), (&json!("undecided"), &json!(6), &json!("1")));
    assert_eq!(found["at"], json!({"method": "pru", "less": "retrain", "metric": "x"}));
    let text = done.text("markdown");
    assert!(text.contains("+0.100 ± 0.248 undecided") && text.contains("+25.000 ± 0.000 higher"), "{text}");
    assert!(text.contains("Difference from retrain within each seed and class"), "{text}");
    // Without one run of retrain that pair is left out: seed 7 rests on class 3 alone, .3 - .1.
    let runs: Vec<Run> = probes().into_iter().skip(1).collect();
    let fewer = table(measures, json!({"reference": "retrain"}), &runs).unwrap();
    let found = cell(&fewer, "differences", "x", 0);
    is_close(&found["value"], (0.2 + 0.2 + 0.0) / 3.0);
    assert_eq!((&found["pairs"], &found["pairs_of"]), (&json!(5), &json!(6)));
    assert_eq!(found["missing"], json!(["retrain: (class=0, seed=7)"]));
    let unknown = table(json!([{"field": "auc"}]), json!({"reference": "delete"}), &probes()).err().unwrap();
    assert_eq!(unknown, "there is no column `delete` to compare with: retrain, pru");
}

#[test]
fn missing_runs_and_nulls_are_named_and_never_averaged_over() {
    let mut runs = probes();
    // pru: class 0 of seed 7 has no auc; class 3 of seed 9 is not there.
    runs[1].3["auc"] = Value::Null;
    runs.pop();
    let done = table(json!([{"field": "linear.forget"}, {"field": "auc"}]), json!({}), &runs).unwrap();
    let text = done.text("markdown");
    assert!(text.contains("pru: missing (class=3, seed=9); incomplete trials are left out of its means."), "{text}");
    assert!(text.contains("pru: no value of auc for (class=0, seed=7); left out of its means."), "{text}");
    assert!(!text.contains("retrain: missing") && !text.contains("retrain: no value"), "{text}");
    let forget = cell(&done, "means", "linear.forget", 1);
    is_close(&forget["value"], 0.25);
    assert_eq!(
        (&forget["n"], &forget["trials"], &forget["missing"]),
        (&json!(2), &json!(3), &json!(["(class=3, seed=9)"]))
    );
    let auc = cell(&done, "means", "auc", 1);
    assert_eq!((&auc["n"], &auc["missing"]), (&json!(1), &json!(["(class=3, seed=9)", "no value: (class=0, seed=7)"])));
    assert!(text.contains("0.250 ± 0.635 (2 of 3)") && text.contains("0.750 (1 of 3)"), "{text}");
}

#[test]
fn planned_runs_leave_a_table_of_dashes() {
    let at = [("method", "pru"), ("class", "0"), ("seed", "7")];
    let params = json!({"measures": [{"field": "blocks.*.cka", "label": "CKA of *"}]});
    let text = Setup::new("tables/measures", params).planned("results", &at).run().unwrap().text("markdown");
    assert!(text.contains("| CKA of \\* |      - |") && text.contains("pru: missing every run"), "{text}");
}

fn changed(conv: f64, bias: Option<f64>) -> Value {
    json!({"tensors": [
        {"name": "conv1.0.weight", "kind": "extractor", "relative": conv, "absolute": 1.0, "unchanged": false},
        {"name": "conv1.1.bias", "kind": "normalisation", "relative": bias, "absolute": 1.0, "unchanged": false},
        {"name": "classifier.0.weight", "kind": "classifier", "relative": 0.0, "absolute": 0.0, "unchanged": true}]})
}

#[test]
fn a_star_makes_a_row_of_each_and_over_makes_one_of_all() {
    let mut more = changed(0.6, None);
    more["tensors"].as_array_mut().unwrap().push(json!({"name": "fc", "kind": "new", "relative": 0.3}));
    let runs = [("pru", "0", "7", changed(0.2, Some(0.4))), ("delete", "0", "7", more)];
    let measures = json!([
        {"field": "tensors.*.relative", "label": "change of *"},
        {"field": "tensors.*[kind=extractor].relative", "label": "extractor"},
        {"field": "tensors[name=classifier.0.weight].unchanged", "label": "classifier unchanged"},
        {"field": "tensors.*.relative", "label": "largest", "over": "max"},
        {"field": "tensors.*.relative", "label": "smallest", "over": "min"},
        {"field": "tensors[kind=normalisation].relative", "label": "mean", "over": "mean"}]);
    let done = table(measures, json!({"layout": {"labels": {"conv1.1.bias": "shift"}}}), &runs).unwrap();
    let means = grid(&done, "means");
    let labels: Vec<&str> =
        means["rows"].as_array().unwrap().iter().map(|row| row["labels"][0]["text"].as_str().unwrap()).collect();
    let rows = ["change of conv1.0.weight", "change of shift", "change of classifier.0.weight", "change of fc"];
    assert_eq!(labels[..4], rows, "what any run has");
    let others = ["extractor conv1.0.weight", "classifier unchanged", "largest", "smallest", "mean", "n"];
    assert_eq!(labels[4..], others);
    let value = |label: &str, column: usize| cell(&done, "means", label, column)["value"].clone();
    is_close(&value("change of conv1.0.weight", 1), 0.6);
    is_close(&value("extractor conv1.0.weight", 0), 0.2);
    is_close(&value("classifier unchanged", 0), 1.0);
    is_close(&value("largest", 0), 0.4);
    is_close(&value("smallest", 0), 0.0);
    is_close(&value("mean", 0), 0.4);
    assert!(value("largest", 1).is_null(), "of a null there is no largest");
    let text = done.text("markdown").replace('\\', "");
    assert!(text.contains("pru: no value of change of fc for every run;"), "{text}");
    assert!(text.contains("delete: no value of change of shift, largest, smallest, mean for every run;"), "{text}");
    assert!(text.contains("largest is the largest over tensors.*.relative"), "{text}");
}

fn accuracies(forget: f64, retain: f64) -> Value {
    json!({"forget_class": 0, "forget": forget, "retain": retain, "overall": 0.5})
}

/// One class and two seeds, so that intervals are there; pru at the second seed has no retrain beside it.
fn compared() -> Vec<Run> {
    vec![
        ("original", "0", "7", accuracies(0.9, 0.95)),
        ("original", "0", "8", accuracies(0.8, 0.95)),
        ("retrain", "0", "7", accuracies(0.0, 0.9)),
        ("pru", "0", "7", accuracies(0.1, 0.7)),
        ("pru", "0", "8", accuracies(0.2, 0.6)),
    ]
}

#[test]
fn derived_measures_compare_with_the_run_of_the_same_seed_and_class() {
    let measures = json!([{"derived": "tow"}, {"derived": "average_gap"}, {"derived": "selectivity", "percent": true},
        {"derived": "retain_times_forgotten"}, {"derived": "ratio", "field": "retain", "reference": "original"}]);
    let done = table(measures, json!({"reference": "retrain"}), &compared()).unwrap();
    let value = |label: &str, column: usize| cell(&done, "means", label, column)["value"].clone();
    // Of pru seed 7 alone has a retrain.
    is_close(&value("ToW", 2), 0.9 * 0.8);
    is_close(&value("ToW", 1), 1.0);
    is_close(&value("average gap", 2), 0.15);
    // Seed 7: (.9 - .1) - (.95 - .7) = .55; seed 8: (.8 - .2) - (.95 - .6) = .25.
    is_close(&value("selectivity, %", 2), 40.0);
    is_close(&value("selectivity, %", 0), 0.0);
    is_close(&value("A_r (1 - A_f)", 2), f64::midpoint(0.7 * 0.9, 0.6 * 0.8));
    is_close(&value("ratio", 2), 0.65 / 0.95);
    let tow = cell(&done, "means", "ToW", 2);
    assert_eq!((&tow["n"], &tow["missing"], &tow["runs"]), (&json!(1), &json!(["retrain: seed=8"]), &json!([2, 3])));
    assert_eq!(cell(&done, "means", "selectivity, %", 2)["n"], json!(2));
    let text = done.text("markdown");
    let formula = "ToW is (1 - |d A_f|) (1 - |d A_r|) on test accuracies, d the difference from retrain (A_f: forget, A_r: retain)";
    assert!(text.replace('\\', "").contains(formula), "{text}");
    // What is compared already is not compared again.
    let differences = grid(&done, "differences");
    assert_eq!(differences["rows"].as_array().unwrap().len(), 1);
    is_close(&cell(&done, "differences", "A_r (1 - A_f)", 1)["value"], 0.7 * 0.9 - 0.9);
}

#[test]
fn a_derived_measure_pairs_class_with_class_and_has_no_ratio_over_zero() {
    let runs = [
        ("original", "0", "7", accuracies(0.5, 0.8)),
        ("original", "3", "7", accuracies(0.0, 0.4)),
        ("pru", "0", "7", accuracies(0.25, 0.4)),
        ("pru", "3", "7", accuracies(0.25, 0.4)),
    ];
    let ratio = |field: &str| json!({"derived": "ratio", "field": field, "label": field, "reference": "original"});
    let done = table(json!([ratio("retain"), ratio("forget")]), json!({}), &runs).unwrap();
    is_close(&cell(&done, "means", "retain", 1)["value"], f64::midpoint(0.5, 1.0));
    let of_zero = cell(&done, "means", "forget", 1);
    assert_eq!((&of_zero["value"], &of_zero["n"]), (&Value::Null, &json!(0)), "of class 3 the original's A_f is 0");
    assert!(!done.text("markdown").contains("inf"), "{}", done.text("markdown"));
}

#[test]
fn derived_measures_read_curves_and_refuse_what_is_no_accuracy() {
    let curve = |last: f64| {
        json!({"epochs": [{"epoch": 0, "forget": 0.0, "retain": 0.5},
        {"epoch": 10, "forget": last, "retain": 0.75}]})
    };
    let runs = [("retrain", "0", "7", curve(0.0)), ("pru", "0", "7", curve(0.25))];
    let [f, r] = ["epochs[epoch=10].forget", "epochs[epoch=10].retain"];
    let measures = json!([{"derived": "tow", "label": "ToW at 10", "forget": f, "retain": r},
        {"field": "epochs.*.forget", "label": "highest A_f", "over": "max"}]);
    let done = table(measures, json!({}), &runs).unwrap();
    is_close(&cell(&done, "means", "ToW at 10", 1)["value"], 0.75);
    is_close(&cell(&done, "means", "highest A_f", 1)["value"], 0.25);
    let percent = [("retrain", "0", "7", accuracies(0.0, 90.0))];
    let refused = table(json!([{"derived": "tow"}]), json!({}), &percent).err().unwrap();
    assert_eq!(refused, "results: [method=retrain, class=0, seed=7]: `retain` is 90; 0 to 1 was expected");
}

#[test]
fn a_divided_column_is_compared_with_the_reference_divided_alike_or_undivided() {
    let compared = |references: &[(&[(&str, &str)], f64)]| {
        let pru: [(&[(&str, &str)], f64); 2] =
            [(&[("method", "pru"), ("part", "a")], 3.0), (&[("method", "pru"), ("part", "b")], 4.0)];
        let params = json!({"layout": {"within": "part"}, "reference": "retrain", "measures": [{"field": "x"}]});
        let all = references.iter().chain(&pru);
        let setup = all.fold(Setup::new("tables/measures", params), |setup, (at, x)| {
            setup.input("results", at, json!({ "x": x }).to_string().as_bytes())
        });
        let done = setup.run().unwrap();
        assert_eq!(grid(&done, "differences")["columns"].as_array().unwrap().len(), 2);
        [0, 1].map(|column| cell(&done, "differences", "x", column)["value"].clone())
    };
    let alike =
        compared(&[(&[("method", "retrain"), ("part", "b")], 0.5), (&[("method", "retrain"), ("part", "a")], 1.0)]);
    assert_eq!(alike, [json!(2.0), json!(3.5)]);
    assert_eq!(compared(&[(&[("method", "retrain")], 1.5)]), [json!(1.5), json!(2.5)]);
}

#[test]
fn means_without_the_tuned_class_and_classes_apart() {
    let more = json!({"without": {"class": 0}, "per_class": true, "deviation": true});
    let done = table(json!([{"field": "linear.forget", "label": "x"}]), more, &probes()).unwrap();
    // pru at class 3: .3, .4, .5.
    is_close(&cell(&done, "means_without", "x", 1)["value"], 0.4);
    assert_eq!(cell(&done, "means_without", "x", 1)["at"]["without"], "class=0");
    let apart = cell(&done, "members", "class=0", 1);
    is_close(&apart["value"], 0.2);
    assert_eq!((&apart["n"], &apart["classes"], &apart["at"]["class"]), (&json!(3), &json!(1), &json!("0")));
    let text = done.text("markdown");
    assert!(text.contains("Without class 0, mean over class (3):") && text.contains("s is the standard deviation"));
    assert!(
        text.lines().any(|line| line.starts_with("| x ") && line.contains("| s ") && line.contains("0.100")),
        "{text}"
    );
}

#[test]
fn parquet_and_csv_hold_what_was_read() {
    let done = table(json!([{"field": "linear.*", "decimals": 4}, {"field": "auc"}]), json!({}), &probes()).unwrap();
    let reader = SerializedFileReader::new(std::fs::File::open(done.path("parquet")).unwrap()).unwrap();
    let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    // Twelve runs of three numbers each.
    assert_eq!(rows.len(), 36, "{rows:?}");
    let is_there = |text: &str| rows.iter().any(|row| row.contains(text));
    assert!(is_there("method: \"pru\"") && is_there("metric: \"linear.forget\", value: 0.5"), "{rows:?}");
    assert!(is_there("epoch: null, metric: \"auc\", value: 0.75"), "{rows:?}");
    let csv = done.text("csv");
    assert!(csv.lines().any(|line| line.starts_with("means,mean,1,pru,auc,0.75,0,0,3,3,2,")), "{csv}");
    let again = table(json!([{"field": "linear.*", "decimals": 4}, {"field": "auc"}]), json!({}), &probes()).unwrap();
    for output in ["markdown", "csv", "latex", "json", "parquet"] {
        assert_eq!(done.bytes(output), again.bytes(output), "{output}");
    }
}

#[test]
fn wrong_paths_and_params_are_told_where_they_are() {
    let error = |measures: Value| table(measures, json!({}), &probes()).err().unwrap();
    let nowhere = error(json!([{"field": "linear.forgt"}]));
    assert_eq!(nowhere, "results: no artifact has `linear.forgt`: `linear` is an object with forget, retain");
    let object = error(json!([{"field": "linear"}]));
    assert!(object.starts_with("results[method=retrain, class=0, seed=7]: `linear` is an object"), "{object}");
    assert_eq!(error(json!([])), "measures: at least one is needed");
    let twice = error(json!([{"field": "auc"}, {"field": "linear.forget", "label": "auc"}]));
    assert_eq!(twice, "measures: two are called `auc`: give one a `label`");
    assert!(error(json!([{"field": "auc", "percnt": true}])).contains("unknown field `percnt`"));
    let none = error(json!([{"derived": "selectivity", "forget": "auc", "retain": "auc"}]));
    assert_eq!(none, "there is no column `original` to compare with: retrain, pru");
    let tensors = [("pru", "0", "7", changed(0.1, Some(0.5)))];
    let several = table(json!([{"field": "tensors[absolute=1].relative"}]), json!({}), &tensors).err().unwrap();
    assert!(several.contains("leads to several numbers of one name: say what is taken `over` them"), "{several}");
}
