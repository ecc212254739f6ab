//! `tables/accuracy` and `tables/relearn` on small inputs whose numbers were worked out by hand.

use pru_flow_stages::diverged::MARK;
use serde_json::{Value, json};

use crate::attempt::{Done, Setup};

fn metrics(forget: f64, retain: f64, overall: f64) -> Value {
    json!({"forget": forget, "retain": retain, "overall": overall, "per_class": [forget, retain]})
}

type Coordinates<'a> = [(&'a str, &'a str); 3];

fn at<'a>(method: &'a str, class: &'a str, seed: &'a str) -> Coordinates<'a> {
    [("method", method), ("class", class), ("seed", seed)]
}

fn accuracy(params: Value, results: &[(Coordinates, Value)]) -> Result<Done, String> {
    let setup = Setup::new("tables/accuracy", params);
    results
        .iter()
        .fold(setup, |setup, (coordinates, value)| setup.input("results", coordinates, value.to_string().as_bytes()))
        .run()
}

/// A curve with `A_f` and `A_r` before relearning and after 1 and 10 epochs.
fn curve(forget: [f64; 3], retain: [f64; 3]) -> Value {
    let epochs: Vec<Value> = [0, 1, 10]
        .into_iter()
        .zip(forget.into_iter().zip(retain))
        .map(|(epoch, (f, r))| json!({"epoch": epoch, "forget": f, "retain": r, "overall": 0.5, "loss": null}))
        .collect();
    json!({"forget_class": 0, "epochs": epochs})
}

fn relearn(params: Value, curves: &[(Coordinates, Value)]) -> Result<Done, String> {
    let setup = Setup::new("tables/relearn", params);
    curves
        .iter()
        .fold(setup, |setup, (coordinates, value)| setup.input("curves", coordinates, value.to_string().as_bytes()))
        .run()
}

/// Two methods, two classes, three seeds. `A_f` of pru by seed, averaged over classes: .01, .02, .03.
fn three_seeds() -> Vec<(Coordinates<'static>, Value)> {
    let mut results = Vec::new();
    for (seed, forget) in [("7", 0.01), ("8", 0.02), ("9", 0.03)] {
        results.push((at("pru", "0", seed), metrics(2.0 * forget, 0.80, 0.72)));
        results.push((at("pru", "3", seed), metrics(0.0, 0.90, 0.82)));
        results.push((at("original", "0", seed), metrics(0.98, 0.97, 0.9712)));
        results.push((at("original", "3", seed), metrics(0.98, 0.97, 0.9712)));
    }
    results
}

const ACCURACY_MARKDOWN: &str = "\
# Accuracy after unlearning

Accuracy on the test set in percent: A_f of the forgotten class, A_r of the remaining classes, A_o of all. Mean over class (0, 3), then over seed (7, 8, 9); ± is half the width of Student's t 95 % interval over the n seeds.

| %   |          PRU |     original |
|:----|-------------:|-------------:|
| A_f |  2.00 ± 2.48 | 98.00 ± 0.00 |
| A_r | 85.00 ± 0.00 | 97.00 ± 0.00 |
| A_o | 77.00 ± 0.00 | 97.12 ± 0.00 |
| n   |            3 |            3 |

A_f by class, mean over the seeds there are:

| A_f, %  |         PRU |     original |
|:--------|------------:|-------------:|
| class=0 | 4.00 ± 4.97 | 98.00 ± 0.00 |
| class=3 | 0.00 ± 0.00 | 98.00 ± 0.00 |
";

#[test]
fn accuracy_is_averaged_over_classes_then_seeds_with_students_interval() {
    let done = accuracy(json!({"layout": {"labels": {"pru": "PRU"}}}), &three_seeds()).unwrap();
    // Means by seed in percent 1, 2, 3: deviation 1, and 4.3027 / sqrt(3) = 2.484.
    assert_eq!(done.text("markdown"), ACCURACY_MARKDOWN);
    let latex = done.text("latex");
    assert!(
        latex.contains(
            "    \\% & PRU & original \\\\\n    \\midrule\n    $A_f$ & $2.00 \\pm 2.48$ & $98.00 \\pm 0.00$ \\\\"
        ),
        "{latex}"
    );
    assert!(latex.contains("\\toprule") && latex.contains("\\bottomrule"));
}

#[test]
fn one_seed_has_no_interval_and_says_so() {
    let done = accuracy(json!({"title": "Quick | look"}), &three_seeds()[..4]).unwrap();
    let text = done.text("markdown");
    assert!(text.starts_with("# Quick \\| look\n"), "{text}");
    assert!(text.contains("Mean over class (0, 3), seed 7, 1 trial: no interval."), "{text}");
    assert!(text.contains("| A_f | 1.00 |    98.00 |") || text.contains("|  1.00 |    98.00 |"), "{text}");
    assert!(!text.contains('±'), "{text}");
}

#[test]
fn a_missing_run_is_named_and_its_seed_leaves_the_mean() {
    let mut results = three_seeds();
    results.retain(|(coordinates, _)| *coordinates != at("pru", "3", "9"));
    let text = accuracy(json!({}), &results).unwrap().text("markdown");
    // Seeds 7 and 8 give 1 and 2: mean 1.5, and 12.7062 * sqrt(0.5) / sqrt(2) = 6.35.
    assert!(text.contains("|  1.50 ± 6.35 (2 of 3) |"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("| n ") && line.contains("2 of 3")), "{text}");
    assert!(text.contains("pru: missing (class=3, seed=9); incomplete trials are left out of its means."), "{text}");
    assert!(!text.contains("original: missing"), "{text}");
}

#[test]
fn a_null_is_no_zero() {
    let mut results = three_seeds();
    results[0].1 = json!({"forget": null, "retain": 0.8, "overall": 0.72});
    let text = accuracy(json!({}), &results).unwrap().text("markdown");
    // Seeds 8 and 9 give 2 and 3.
    assert!(text.contains("2.50 ± 6.35 (2 of 3)"), "{text}");
    assert!(text.contains("pru: A_f has no value for (class=0, seed=7); left out of its means."), "{text}");
}

#[test]
fn ordered_columns_come_first_even_without_runs() {
    let text =
        accuracy(json!({"layout": {"order": ["retrain", "original"]}}), &three_seeds()).unwrap().text("markdown");
    let header = text.lines().find(|line| line.starts_with("| %")).unwrap();
    let columns: Vec<&str> = header.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(columns, ["%", "retrain", "original", "pru"]);
    assert!(text.contains("retrain: missing every run"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("| A_f |       - |")), "{text}");
}

#[test]
fn an_axis_that_no_param_names_gets_a_table_for_each_value() {
    let setup = Setup::new("tables/accuracy", json!({}));
    let text = ["10", "9"]
        .into_iter()
        .fold(setup, |setup, width| {
            let coordinates = [("method", "pru"), ("width", width)];
            setup.input("results", &coordinates, metrics(0.1, 0.9, 0.8).to_string().as_bytes())
        })
        .run()
        .unwrap()
        .text("markdown");
    let (nine, ten) = (text.find("## width=9\n").unwrap(), text.find("## width=10\n").unwrap());
    assert!(nine < ten, "{text}");
}

#[test]
fn bad_artifacts_and_params_are_refused_by_coordinates_and_field() {
    let error = |value: Value| accuracy(json!({}), &[(at("pru", "0", "7"), value)]).err().unwrap();
    let percent = error(metrics(97.0, 0.9, 0.8));
    assert_eq!(percent, "results[method=pru, class=0, seed=7]: `forget` is 97; 0 to 1 was expected");
    assert!(error(json!({"forget": 0.1})).contains("missing field `retain`"));
    let twice = vec![three_seeds()[0].clone(), three_seeds()[0].clone()];
    assert!(
        accuracy(json!({}), &twice).err().unwrap().contains("two artifacts have the coordinates [method=pru, class=0")
    );
    let axis = accuracy(json!({"layout": {"columns": "how"}}), &three_seeds()).err().unwrap();
    assert!(axis.contains("no artifact has a coordinate `how`"), "{axis}");
    let roles = accuracy(json!({"layout": {"average": ["seed"]}}), &three_seeds()).err().unwrap();
    assert!(roles.starts_with("layout.average: `seed` is already the axis of the trials"), "{roles}");
    assert!(accuracy(json!({}), &[]).err().unwrap().contains("no artifact is connected"));
}

/// Two seeds. After 10 epochs `boundary_shrink` is ahead of pru by .7 - .4 (.3 but for rounding) and by .1.
fn two_curves() -> Vec<(Coordinates<'static>, Value)> {
    vec![
        (at("original", "0", "7"), curve([0.98, 0.95, 0.81], [0.97, 0.97, 0.98])),
        (at("boundary_shrink", "0", "7"), curve([0.10, 0.60, 0.70], [0.80, 0.97, 0.98])),
        (at("pru", "0", "7"), curve([0.0, 0.10, 0.40], [0.60, 0.90, 0.97])),
        (at("original", "0", "8"), curve([0.96, 0.95, 0.90], [0.97, 0.97, 0.98])),
        (at("boundary_shrink", "0", "8"), curve([0.10, 0.20, 0.55], [0.80, 0.97, 0.98])),
        (at("pru", "0", "8"), curve([0.0, 0.20, 0.45], [0.60, 0.90, 0.99])),
    ]
}

const RELEARN_MARKDOWN: &str = "\
# Accuracy after relearning

Accuracy on the test set in percent after epochs of relearning on the remaining classes; epoch 0 is before it. A_f is of the forgotten class, A_r of the remaining classes. Each value is the mean over class (0). A_f/orig is A_f divided by that of original after the same epoch, where that is above 0.

seed 7:

| %        | epoch | original | boundary_shrink |   PRU |
|:---------|------:|---------:|----------------:|------:|
| A_f      |     0 |    98.00 |           10.00 |  0.00 |
| A_f      |    10 |    81.00 |           70.00 | 40.00 |
| A_r      |     0 |    97.00 |           80.00 | 60.00 |
| A_r      |    10 |    98.00 |           98.00 | 97.00 |
| A_f/orig |     0 |     1.00 |            0.10 |  0.00 |
| A_f/orig |    10 |     1.00 |            0.86 |  0.49 |

seed 8:

| %        | epoch | original | boundary_shrink |   PRU |
|:---------|------:|---------:|----------------:|------:|
| A_f      |     0 |    96.00 |           10.00 |  0.00 |
| A_f      |    10 |    90.00 |           55.00 | 45.00 |
| A_r      |     0 |    97.00 |           80.00 | 60.00 |
| A_r      |    10 |    98.00 |           98.00 | 99.00 |
| A_f/orig |     0 |     1.00 |            0.10 |  0.00 |
| A_f/orig |    10 |     1.00 |            0.61 |  0.50 |

Mean over 2 seeds, ± half the 95 % interval:

| %        | epoch |      original | boundary_shrink |           PRU |
|:---------|------:|--------------:|----------------:|--------------:|
| A_f      |     0 | 97.00 ± 12.71 |    10.00 ± 0.00 |   0.00 ± 0.00 |
| A_f      |    10 | 85.50 ± 57.18 |   62.50 ± 95.30 | 42.50 ± 31.77 |
| A_r      |     0 |  97.00 ± 0.00 |    80.00 ± 0.00 |  60.00 ± 0.00 |
| A_r      |    10 |  98.00 ± 0.00 |    98.00 ± 0.00 | 98.00 ± 12.71 |
| A_f/orig |     0 |   1.00 ± 0.00 |     0.10 ± 0.01 |   0.00 ± 0.00 |
| A_f/orig |    10 |   1.00 ± 0.00 |     0.74 ± 1.61 |   0.50 ± 0.04 |
| n        | seeds |             2 |               2 |             2 |

Claim: after 10 epochs of relearning, A_f of boundary_shrink is above that of PRU by at least 30.00 points.

| seed | boundary_shrink |   PRU | difference | shown |
|:-----|----------------:|------:|-----------:|------:|
| 7    |           70.00 | 40.00 |      30.00 |   yes |
| 8    |           55.00 | 45.00 |      10.00 |    no |

The claim is shown in 1 of 2 seeds.
";

#[test]
fn relearning_shows_every_seed_their_mean_and_how_often_the_claim_holds() {
    let params = json!({"epochs": [0, 10], "layout": {"labels": {"pru": "PRU"}},
        "claim": {"better": "pru", "worse": "boundary_shrink", "margin": 0.3, "epoch": 10}});
    let done = relearn(params, &two_curves()).unwrap();
    assert_eq!(done.text("markdown"), RELEARN_MARKDOWN);
    let latex = done.text("latex");
    assert!(latex.contains("boundary\\_shrink") && latex.contains("$A_f / A_f^{\\mathrm{orig}}$ & 0 & "), "{latex}");
}

#[test]
fn one_seed_has_its_block_and_no_mean() {
    let params = json!({"claim": {"better": "pru", "worse": "boundary_shrink"}});
    let text = relearn(params, &two_curves()[..3]).unwrap().text("markdown");
    assert!(text.contains("The claim is shown in 1 of 1 seed."), "{text}");
    assert!(!text.contains("Mean over 1"), "{text}");
}

#[test]
fn an_epoch_or_method_that_is_not_there_is_stated_and_shows_nothing() {
    let params = json!({"epochs": [0, 5], "claim": {"better": "pru", "worse": "scrub"}});
    let text = relearn(params, &two_curves()[..3]).unwrap().text("markdown");
    assert!(text.contains("pru: A_f after epoch 5 has no value for every run; left out of its means."), "{text}");
    assert!(text.contains("The claim is shown in 0 of 1 seed.") && text.contains("not known"), "{text}");
}

#[test]
fn a_ratio_that_one_seed_lacks_has_no_mean() {
    let mut curves = two_curves();
    curves[3].1 = curve([0.0, 0.95, 0.90], [0.97, 0.97, 0.98]);
    let text = relearn(json!({"epochs": [0, 10]}), &curves).unwrap().text("markdown");
    let mean = &text[text.find("Mean over 2 seeds").unwrap()..];
    let row = mean.lines().find(|line| line.starts_with("| A_f/orig |     0 |")).unwrap();
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    assert_eq!(cells[3..6], ["-", "-", "-"], "{text}");
    assert!(mean.contains("|    1.00 ± 0.00 |     0.74 ± 1.61 |   0.50 ± 0.04 |"), "{text}");
}

#[test]
fn the_same_curves_give_the_same_bytes() {
    let run = || relearn(json!({}), &two_curves()).unwrap();
    let (one, two) = (run(), run());
    for output in ["markdown", "csv", "latex", "json", "parquet"] {
        assert_eq!(one.bytes(output), two.bytes(output), "{output}");
    }
}

#[test]
fn bad_curves_and_claims_are_refused() {
    let error = |value: Value| relearn(json!({}), &[(at("pru", "0", "7"), value)]).err().unwrap();
    let twice = json!({"epochs": [{"epoch": 1, "forget": 0, "retain": 0, "overall": 0}, {"epoch": 1, "forget": 0, "retain": 0, "overall": 0}]});
    assert!(error(twice).contains("epoch 1 occurs twice"));
    assert!(error(json!({"epochs": [{"epoch": 1}]})).contains("missing field `forget`"));
    let claim = |claim: Value| relearn(json!({ "claim": claim }), &two_curves()).err().unwrap();
    assert!(claim(json!({"better": "pru", "worse": "pru"})).contains("compared with itself"));
    assert!(claim(json!({"better": "pru", "worse": "x", "margin": 30})).contains("margin 30 is not between"));
    assert!(relearn(json!({"epochs": []}), &two_curves()).err().unwrap().starts_with("epochs"));
}

#[test]
fn a_run_that_diverged_is_missing_and_told_apart_from_one_that_is_not_there() {
    let with = |marked: &[&str]| {
        let setup = Setup::new("tables/accuracy", json!({}));
        let add = |setup: Setup, (at, value): &(Coordinates, Value)| {
            let value = value.to_string();
            let is_marked = at[0].1 == "pru" && marked.contains(&at[2].1);
            setup.input("results", at, if is_marked { MARK } else { value.as_bytes() })
        };
        three_seeds().iter().fold(setup, add)
    };
    let text = with(&["8"]).run().unwrap().text("markdown");
    assert!(text.contains("pru: missing seed=8 (diverged); incomplete trials are left out of its means."), "{text}");
    let text = with(&["7", "8", "9"]).run().unwrap().text("markdown");
    assert!(text.contains("pru: missing every run (diverged);"), "{text}");
    let planned = with(&["8"]).planned("results", &at("pru", "5", "9")).run().unwrap();
    let text = planned.text("markdown");
    assert!(text.contains("(class=5, seed=9)") && !text.contains("(class=5, seed=9) (diverged)"), "{text}");
    assert!(text.contains("(class=0, seed=8) (diverged), (class=3, seed=8) (diverged)"), "{text}");
    let json: Value = serde_json::from_str(&planned.text("json")).unwrap();
    assert!(json.to_string().contains("(class=0, seed=8) (diverged)"), "{json}");
}
