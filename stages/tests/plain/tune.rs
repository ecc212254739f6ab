//! `tune/grid` on small inputs made by hand.

use pru_flow_stages::diverged::MARK;
use serde_json::{Value, json};

use crate::attempt::{Done, Setup};

fn metrics(forget: f64, retain: f64) -> Value {
    json!({"forget_class": 0, "forget": forget, "retain": retain, "overall": 0.5})
}

/// Runs the stage over settings of one axis; `original` is its `A_r`.
fn tune(params: Value, results: &[(&[(&str, &str)], Value)], original: Option<f64>) -> Result<Done, String> {
    let mut setup = Setup::new("tune/grid", params);
    for (coordinates, value) in results {
        setup = setup.input("results", coordinates, value.to_string().as_bytes());
    }
    if let Some(retain) = original {
        setup = setup.input("original", &[], metrics(0.98, retain).to_string().as_bytes());
    }
    setup.run()
}

/// What is chosen of (lr, `A_f`, `A_r`).
#[track_caller]
fn settings(grid: &[(&str, f64, f64)], original: Option<f64>) -> Value {
    let coordinates: Vec<[(&str, &str); 2]> = grid.iter().map(|(lr, ..)| [("class", "0"), ("lr", *lr)]).collect();
    let results: Vec<(&[(&str, &str)], Value)> =
        coordinates.iter().zip(grid).map(|(at, (_, f, r))| (at.as_slice(), metrics(*f, *r))).collect();
    let done = tune(json!({"axes": ["lr"]}), &results, original).unwrap();
    serde_json::from_str(&done.text("settings")).unwrap()
}

#[test]
fn of_settings_that_forget_the_one_that_keeps_most_is_chosen() {
    let grid = [("0.1", 0.0, 0.3), ("0.01", 0.009, 0.91), ("0.001", 0.01, 0.95), ("0.0001", 0.98, 0.97)];
    let chosen = settings(&grid, None);
    assert_eq!(
        chosen,
        json!({
            "lr": 0.01, "rule": "met", "chosen": "highest A_r among settings with A_f < 1 %",
            "A_f": 0.009, "A_r": 0.91, "tried": 4,
        })
    );
    assert_eq!(settings(&grid, Some(0.99)), chosen, "the original is of no use where the rule is met");
}

#[test]
fn where_none_forgets_the_one_that_forgets_most_and_keeps_half_is_chosen_and_marked() {
    // As boundary_expand did: the rate that forgets more destroys the rest.
    let grid = [("0.0005", 0.018, 0.906), ("0.05", 0.012, 0.47), ("0.005", 0.015, 0.48)];
    let chosen = settings(&grid, Some(0.96));
    assert_eq!((&chosen["lr"], &chosen["rule"]), (&json!(0.005), &json!("not met")));
    assert_eq!(chosen["chosen"], "lowest A_f among settings with A_r of at least 50 % of the original's");
    let done = tune(json!({"axes": ["lr"]}), &[(&[("lr", "1")], metrics(0.02, 0.9))], None);
    let error = done.err().expect("the second rule needs the original");
    assert!(error.contains("no setting has A_f < 1 %") && error.contains("as `original`"), "{error}");
}

#[test]
fn where_none_keeps_half_either_the_one_that_keeps_most_is_chosen_and_marked() {
    let chosen = settings(&[("1", 0.5, 0.1), ("2", 0.02, 0.2), ("3", 0.9, 0.4), ("4", 0.8, 0.4)], Some(0.96));
    assert_eq!((&chosen["lr"], &chosen["rule"]), (&json!(4), &json!("not met")));
    assert_eq!(chosen["chosen"], "highest A_r, as no setting keeps 50 % of the original's");
}

#[test]
fn ties_go_to_the_other_accuracy_and_then_to_the_smaller_value() {
    assert_eq!(settings(&[("2", 0.005, 0.9), ("1", 0.004, 0.9)], None)["lr"], 1);
    assert_eq!(settings(&[("10", 0.0, 0.9), ("9", 0.0, 0.9)], None)["lr"], 9, "by size, not as text");
    assert_eq!(settings(&[("9", 0.0, 0.9), ("10", 0.0, 0.9)], None)["lr"], 9, "whatever the order of the inputs");
    assert_eq!(settings(&[("1", 0.5, 0.8), ("2", 0.5, 0.9)], Some(0.9))["lr"], 2);
    // Exactly half is kept.
    assert_eq!(settings(&[("1", 0.5, 0.45), ("2", 0.4, 0.449)], Some(0.9))["lr"], 1);
}

#[test]
fn all_that_was_tried_is_written_with_the_choice_marked() {
    let at = |lr: &'static str, how: &'static str| [("how", how), ("class", "0"), ("lr", lr)];
    let cells = [at("0.1", "a|b"), at("0.01", "a|b"), at("0.1", "c")];
    let values = [metrics(0.0, 0.5), metrics(0.0, 0.75), metrics(0.5, 1.0)];
    let results: Vec<(&[(&str, &str)], Value)> = cells.iter().map(<[_; 3]>::as_slice).zip(values).collect();
    let done = tune(json!({"axes": ["lr", "how"], "threshold": 0.02}), &results, Some(0.9)).unwrap();
    let expected = "\
# Settings tried

Chosen: highest A_r among settings with A_f < 2 %.
The original's A_r is 90.00 %.

|   lr |  how | A_f, % | A_r, % |        |
|-----:|-----:|-------:|-------:|-------:|
| 0.01 | a\\|b |   0.00 |  75.00 | chosen |
|  0.1 | a\\|b |   0.00 |  50.00 |        |
|  0.1 |    c |  50.00 | 100.00 |        |
";
    assert_eq!(done.text("tried"), expected);
    assert_eq!(
        done.text("csv"),
        "lr,how,A_f,A_r,chosen\n0.01,a|b,0,0.75,true\n0.1,a|b,0,0.5,false\n0.1,c,0.5,1,false\n"
    );
    let chosen: Value = serde_json::from_str(&done.text("settings")).unwrap();
    assert_eq!((&chosen["lr"], &chosen["how"]), (&json!(0.01), &json!("a|b")));
    let not_met = tune(json!({"axes": ["lr"]}), &[(&[("lr", "1")], metrics(0.5, 0.8))], Some(0.9)).unwrap();
    assert!(not_met.text("tried").contains("Rule not met: no setting has A_f < 1 %. Chosen: lowest A_f"));
}

#[test]
fn what_is_missing_or_comes_twice_is_named() {
    let error = |params: Value, results: &[(&[(&str, &str)], Value)]| {
        tune(params, results, Some(0.9)).err().expect("it was to fail")
    };
    let lr = json!({"axes": ["lr"]});
    let one: (&[(&str, &str)], Value) = (&[("lr", "1"), ("class", "0")], metrics(0.0, 0.9));
    let text = error(lr.clone(), &[one.clone(), (&[("lr", "2"), ("class", "0")], json!({"forget": 0.1}))]);
    assert!(text.contains("results[lr=2, class=0]") && text.contains("no `retain` (A_r)"), "{text}");
    let text = error(lr.clone(), &[(&[("lr", "2")], json!({"forget": null, "retain": 0.1}))]);
    assert!(text.contains("results[lr=2]") && text.contains("`forget` (A_f) has no value"), "{text}");
    let text = error(lr.clone(), &[(&[("lr", "2")], json!({"forget": 1.5, "retain": 0.1}))]);
    assert!(text.contains("`forget` is 1.5; 0 to 1"), "{text}");
    let text = error(lr.clone(), &[(&[("rate", "2")], metrics(0.0, 0.9))]);
    assert!(text.contains("results[rate=2]") && text.contains("no coordinate `lr`"), "{text}");
    let text = error(lr.clone(), &[one.clone(), (&[("lr", "2"), ("class", "3")], metrics(0.0, 0.9))]);
    assert!(text.contains("[class=0] and [class=3] differ in more than the tuned axes"), "{text}");
    let text = error(lr.clone(), &[one.clone(), one.clone()]);
    assert!(text.contains("the setting 1 comes twice"), "{text}");
    assert!(error(lr, &[]).contains("no artifact is connected"));
    for (params, told) in [
        (json!({"axes": []}), "axes: at least one"),
        (json!({"axes": ["lr", "lr"]}), "`lr` is named twice"),
        (json!({"axes": ["A_f"]}), "`A_f` is another field"),
        (json!({"axes": ["lr"], "threshold": 0}), "threshold: is 0"),
        (json!({"axes": ["lr"], "retain_share": 2}), "retain_share: is 2"),
        (json!({}), "missing field `axes`"),
    ] {
        let text = error(params, std::slice::from_ref(&one));
        assert!(text.contains(told), "{text}");
    }
}

/// `None` is a training that diverged.
fn tune_rates(grid: &[(&'static str, Option<f64>)]) -> Result<Done, String> {
    let add = |setup: Setup, (rate, retain): &(&'static str, Option<f64>)| {
        let content = retain.map(|retain| metrics(0.0, retain).to_string().into_bytes());
        setup.input("results", &[("rate", *rate)], content.as_deref().unwrap_or(MARK))
    };
    grid.iter().fold(Setup::new("tune/grid", json!({"axes": ["rate"]})), add).run()
}

#[test]
fn a_setting_that_diverged_is_shown_and_never_chosen() {
    let done = tune_rates(&[("1", Some(0.25)), ("2", Some(0.5)), ("3", None)]).unwrap();
    let chosen: Value = serde_json::from_str(&done.text("settings")).unwrap();
    assert_eq!((&chosen["rate"], &chosen["tried"]), (&json!(2), &json!(3)));
    assert!(done.text("tried").contains("|    3 | diverged | diverged |        |"), "{}", done.text("tried"));
    assert_eq!(done.text("csv"), "rate,A_f,A_r,chosen\n1,0,0.25,false\n2,0,0.5,true\n3,,,false\n");
    let none = tune_rates(&[("1", None), ("2", None)]).err().unwrap();
    assert_eq!(none, "training diverged with every setting: there is none to choose");
}
