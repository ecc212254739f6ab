//! Means with and without the class that settings were tuned on, in the tables that have them.

use serde_json::{Value, json};

use crate::attempt::{Done, Setup};

/// `A_f` of pru by (class 0, class 3, class 5), seed by seed; `A_r` is 1 less it.
const FORGET: [(&str, [f64; 3]); 2] = [("7", [0.0, 0.2, 0.4]), ("8", [0.1, 0.3, 0.6])];
const CLASSES: [&str; 3] = ["0", "3", "5"];

fn point(forget: f64) -> Value {
    json!({"epoch": 0, "forget": forget, "retain": 1.0 - forget, "overall": 0.5})
}

/// With the coordinates of each run, as `evaluate` or as `relearn` writes it.
fn run(stage: &'static str, port: &str, params: Value, leave_out: &[(&str, &str)]) -> Result<Done, String> {
    let mut setup = Setup::new(stage, params);
    for (seed, values) in FORGET {
        for (class, forget) in CLASSES.into_iter().zip(values) {
            if leave_out.contains(&(class, seed)) {
                continue;
            }
            let measured = if port == "curves" { json!({"epochs": [point(forget)]}) } else { point(forget) };
            let at = [("method", "pru"), ("class", class), ("seed", seed)];
            setup = setup.input(port, &at, measured.to_string().as_bytes());
        }
    }
    setup.run()
}

fn accuracy(params: Value) -> Done {
    run("tables/accuracy", "results", params, &[]).unwrap()
}

fn grids(done: &Done) -> Vec<Value> {
    let table: Value = serde_json::from_slice(&done.bytes("json")).unwrap();
    table["parts"].as_array().unwrap().iter().filter(|part| part["part"] == "grid").cloned().collect()
}

#[track_caller]
fn is_close(value: &Value, expected: f64) {
    assert!((value.as_f64().unwrap() - expected).abs() < 1e-9, "{value} is not {expected}");
}

#[test]
fn the_means_without_the_tuned_class_stand_below_those_with_it() {
    let done = accuracy(json!({"without": {"class": 0}, "per_class": false}));
    let text = done.text("markdown");
    // By seed with class 0: 20 and 33.33; without: 30 and 45, so 37.5 with deviation 10.6066, and 12.7062 x 7.5 = 95.30.
    assert!(text.contains("| A_f | 26.67 ± 84.71 |"), "{text}");
    let below = &text[text.find("Without class 0, mean over class (3, 5):").expect("the second block has a title")..];
    assert!(below.contains("| A_f | 37.50 ± 95.30 |") && below.contains("| n   |             2 |"), "{text}");
    let without = &grids(&done)[1];
    assert_eq!(without["name"], "means_without");
    let cell = &without["rows"][0]["cells"][0];
    assert_eq!((&cell["classes"], &cell["at"]["without"]), (&json!(2), &json!("class=0")));
    let table: Value = serde_json::from_slice(&done.bytes("json")).unwrap();
    let classes: Vec<&str> = cell["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| table["runs"][place.as_u64().unwrap() as usize]["class"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["3", "5", "3", "5"]);
    let csv = done.text("csv");
    assert!(csv.lines().any(|line| line.starts_with("means_without,mean,percent,pru,class=0,A_f,0,37.5")), "{csv}");
}

#[test]
fn relearning_has_them_too_and_a_number_or_text_names_the_class() {
    for class in [json!(0), json!("0")] {
        let done = run("tables/relearn", "curves", json!({"epochs": [0], "without": {"class": class}}), &[]).unwrap();
        let grid = grids(&done).into_iter().find(|grid| grid["name"] == "means_without").unwrap();
        is_close(&grid["rows"][0]["cells"][0]["value"], 37.5);
    }
}

#[test]
fn a_run_of_the_left_out_class_is_missing_above_and_not_below() {
    let done = run("tables/accuracy", "results", json!({"without": {"class": 0}}), &[("0", "8")]).unwrap();
    let all = grids(&done);
    let cell = |grid: usize| &all[grid]["rows"][0]["cells"][0];
    assert_eq!((&cell(0)["n"], &cell(0)["missing"]), (&json!(1), &json!(["(class=0, seed=8)"])));
    assert_eq!((&cell(1)["n"], &cell(1)["missing"]), (&json!(2), &Value::Null));
}

#[test]
fn a_trial_can_be_left_out_and_of_two_values_either() {
    let done = accuracy(json!({"without": {"class": "0", "seed": 7}}));
    let text = done.text("markdown");
    assert!(text.contains("Without class 0 and seed 7, mean over class (3, 5):"), "{text}");
    let cell = &grids(&done)[1]["rows"][0]["cells"][0];
    is_close(&cell["value"], 45.0);
    assert_eq!((&cell["n"], &cell["trials"]), (&json!(1), &json!(1)));
}

#[test]
fn what_changes_nothing_or_leaves_nothing_is_said_and_has_no_block() {
    let unchanged = accuracy(json!({"without": {"class": 4}}));
    let text = unchanged.text("markdown");
    assert!(text.contains("No run here has class 4: the means above are those without."), "{text}");
    let only = [("3", "7"), ("5", "7"), ("3", "8"), ("5", "8")];
    let nothing = run("tables/accuracy", "results", json!({"without": {"class": 0}}), &only).unwrap();
    assert!(nothing.text("markdown").contains("Without class 0 nothing is left."));
    assert_eq!(
        (grids(&unchanged).len(), grids(&nothing).len()),
        (2, 1),
        "means, and classes apart where there are more"
    );
    let plain = accuracy(json!({}));
    assert!(!plain.text("markdown").contains("ithout"));
}

#[test]
fn an_axis_that_is_not_averaged_over_cannot_be_left_out_nor_several_values() {
    let error = |without: Value| run("tables/accuracy", "results", json!({ "without": without }), &[]).err().unwrap();
    assert_eq!(error(json!({"method": "pru"})), "without: `method` is not averaged over: `class`, `seed` are");
    assert!(error(json!({"class": [0, 3]})).starts_with("without: `class` is [0,3]; one value"));
}
