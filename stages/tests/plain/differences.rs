//! `tables/differences` on small inputs whose numbers were worked out by hand.

use serde_json::{Value, json};

use crate::attempt::{Done, Setup};

/// `A_f` and `A_r` by (class 0, class 3) of each method, seed by seed.
type Runs<'a> = &'a [(&'a str, &'a str, [f64; 2], [f64; 2])];

/// `A_f` of pru less that of delete: -.10 -.20 | -.20 -.30 | -.05 -.15, by seed -.15, -.25, -.10: mean -.16667, deviation
/// .076376, half width 4.302653 x .076376 / sqrt(3) = .189729. `A_r`: .02 .03 | .03 .04 | .02 .04, by seed .025, .035,
/// .030: mean .03, deviation .005, half width .012421.
const RUNS: Runs = &[
    ("delete", "7", [0.30, 0.40], [0.80, 0.70]),
    ("delete", "8", [0.50, 0.60], [0.70, 0.60]),
    ("delete", "9", [0.10, 0.20], [0.90, 0.80]),
    ("pru", "7", [0.20, 0.20], [0.82, 0.73]),
    ("pru", "8", [0.30, 0.30], [0.73, 0.64]),
    ("pru", "9", [0.05, 0.05], [0.92, 0.84]),
];

fn setup(params: Value, runs: Runs, leave_out: &[(&str, &str, &str)]) -> Setup {
    let mut setup = Setup::new("tables/differences", params);
    for (method, seed, forget, retain) in runs {
        for (place, class) in ["0", "3"].into_iter().enumerate() {
            if leave_out.contains(&(method, seed, class)) {
                continue;
            }
            let point = json!({"epoch": 0, "forget": forget[place], "retain": retain[place], "overall": 0.5});
            let curve = json!({"forget_class": class.parse::<u32>().unwrap(), "epochs": [point]});
            let coordinates = [("method", *method), ("class", class), ("seed", *seed)];
            setup = setup.input("runs", &coordinates, curve.to_string().as_bytes());
        }
    }
    setup
}

fn run(params: Value, runs: Runs) -> Result<Done, String> {
    setup(params, runs, &[]).run()
}

/// The cells of the first grid's row, without padding.
#[track_caller]
fn row(text: &str, start: &str) -> Vec<String> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let found = text.lines().find(|line| line.starts_with(&format!("| {start}")));
    cells(found.unwrap_or_else(|| panic!("no row {start}:\n{text}")))
}

#[test]
fn differences_are_paired_within_trial_and_class_and_the_interval_is_over_trials() {
    let done = run(json!({"reference": "delete", "layout": {"labels": {"pru": "PRU"}}}), RUNS).unwrap();
    let text = done.text("markdown");
    // Six pairs taken for six trials would give 4.2 points of interval and decide this.
    assert_eq!(row(&text, "A_f")[1..4], ["A_f", "0", "-16.67 ± 18.97 undecided"], "{text}");
    assert_eq!(row(&text, "A_r")[3], "+3.00 ± 1.24 higher", "{text}");
    assert!(text.contains("Difference from delete:") && text.contains("| %   | epoch |"), "{text}");
    assert!(text.contains("mean over class (0, 3), then over seed"), "{text}");
    let latex = done.text("latex");
    assert!(latex.contains("$-16.67 \\pm 18.97$ undecided"), "{latex}");
}

#[test]
fn a_figure_tells_its_pairs_and_the_runs_that_it_is_from() {
    let done = run(json!({"reference": "delete"}), RUNS).unwrap();
    let table: Value = serde_json::from_slice(&done.bytes("json")).unwrap();
    let grid = table["parts"].as_array().unwrap().iter().find(|part| part["name"] == "differences").unwrap();
    let cell = &grid["rows"][1]["cells"][0];
    let at = json!({"method": "pru", "less": "delete", "metric": "A_r", "epoch": "0"});
    assert_eq!(
        (&cell["kind"], &cell["at"], &cell["unit"]),
        (&json!("paired_difference"), &at, &json!("percent points"))
    );
    assert_eq!((&cell["verdict"], &cell["n"], &cell["classes"]), (&json!("higher"), &json!(3), &json!(2)));
    assert_eq!((&cell["pairs"], &cell["pairs_of"]), (&json!(6), &json!(6)));
    assert!((cell["value"].as_f64().unwrap() - 3.0).abs() < 1e-9 && (cell["sd"].as_f64().unwrap() - 0.5).abs() < 1e-9);
    assert!((cell["half_width"].as_f64().unwrap() - 1.242_069).abs() < 1e-6, "{cell}");
    assert_eq!(cell["runs"].as_array().unwrap().len(), 12);
    let csv = done.text("csv");
    assert!(csv.starts_with("grid,kind,unit,method,less,metric,epoch,value,half_width,sd,n,"), "{csv}");
    assert!(csv.contains("differences,paired_difference,percent points,pru,delete,A_r,0,"), "{csv}");
}

#[test]
fn a_pair_that_one_method_lacks_is_left_out_of_both_and_told() {
    // Without delete's class 3 of seed 8: -.15, -.20, -.10: deviation .05, half width .124207.
    let done = setup(json!({"reference": "delete"}), RUNS, &[("delete", "8", "3")]).run().unwrap();
    let text = done.text("markdown");
    assert_eq!(row(&text, "A_f")[3], "-15.00 ± 12.42 lower (5 of 6 pairs)", "{text}");
    assert!(text.contains("delete: missing (class=3, seed=8); pairs with these are left out."), "{text}");
    // Without all of seed 8 there are two trials: -.15, -.10: half width 12.7062 x .035355 / sqrt(2) = .317655.
    let out = [("pru", "8", "0"), ("delete", "8", "3")];
    let text = setup(json!({"reference": "delete"}), RUNS, &out).run().unwrap().text("markdown");
    assert_eq!(row(&text, "A_f")[3], "-12.50 ± 31.77 (2 of 3) undecided (4 of 6 pairs)", "{text}");
}

#[test]
fn one_trial_decides_nothing_and_a_constant_difference_does() {
    let one = run(json!({"reference": "delete"}), &[RUNS[0], RUNS[3]]).unwrap().text("markdown");
    assert_eq!(row(&one, "A_f")[3], "-15.00 undecided", "{one}");
    let constant: Runs = &[
        ("a", "7", [0.5, 0.25], [0.5, 0.5]),
        ("a", "8", [0.5, 0.5], [0.5, 0.5]),
        ("b", "7", [0.75, 0.5], [0.5, 0.5]),
        ("b", "8", [0.75, 0.75], [0.5, 0.5]),
    ];
    let text = run(json!({"reference": "a"}), constant).unwrap().text("markdown");
    assert_eq!(row(&text, "A_f")[3], "+25.00 ± 0.00 higher", "{text}");
    assert_eq!(row(&text, "A_r")[3], "0.00 ± 0.00 undecided", "{text}");
}

#[test]
fn all_pairs_are_a_matrix_that_mirrors_itself() {
    let text = run(json!({"all_pairs": true, "metrics": ["A_r"]}), RUNS).unwrap().text("markdown");
    assert_eq!(row(&text, "A_r")[1..5], ["A_r", "epoch", "delete", "pru"], "{text}");
    assert_eq!(row(&text, "delete")[1..5], ["delete", "0", "", "-3.00 ± 1.24 lower"], "{text}");
    assert_eq!(row(&text, "pru")[1..5], ["pru", "0", "+3.00 ± 1.24 higher", ""], "{text}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let error = |params: Value| run(params, RUNS).err().unwrap();
    assert_eq!(error(json!({})), "reference: is needed, or `all_pairs: true`");
    assert!(error(json!({"reference": "scrub"})).contains("no column `scrub` to compare with: delete, pru"));
    assert!(error(json!({"reference": "pru", "metrics": ["A_f/orig"]})).starts_with("metrics: `A_f/orig`"));
    let within = json!({"reference": "pru", "layout": {"within": "forget_on"}});
    assert!(error(within).starts_with("layout.within: columns are not divided here: name `forget_on` under `rows`"));
    assert_eq!(error(json!({"reference": "pru", "epochs": [1, 1]})), "epochs: 1 is named twice");
}
