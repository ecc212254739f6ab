//! The figures on small inputs: what they draw is in their CSV, in numbers worked out by hand; what they show is in the
//! text of the SVG; and the bytes are the same every time.

use serde_json::{Value, json};

use crate::attempt::{Done, Setup};

type At<'a> = &'a [(&'a str, &'a str)];

fn run(stage: &'static str, port: &str, params: Value, inputs: &[(At, Option<Value>)]) -> Result<Done, String> {
    let setup = Setup::new(stage, params);
    let connect = |setup: Setup, (at, value): &(At, Option<Value>)| match value {
        Some(value) => setup.input(port, at, value.to_string().as_bytes()),
        None => setup.planned(port, at),
    };
    inputs.iter().fold(setup, connect).run()
}

/// The rows of a CSV without commas in its fields, each by its heads.
fn rows(csv: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let heads = lines.next().unwrap();
    lines.map(|line| heads.iter().cloned().zip(line).collect()).collect()
}

/// The row with these values, one by one.
fn row(csv: &str, wanted: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let fits =
        |row: &std::collections::BTreeMap<String, String>| wanted.iter().all(|(head, value)| row[*head] == *value);
    let found: Vec<_> = rows(csv).into_iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{wanted:?} in\n{csv}");
    found.into_iter().next().unwrap()
}

#[track_caller]
fn close(text: &str, expected: f64) {
    let found: f64 = text.parse().unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

/// The text of all elements, a line each, tags taken out.
fn texts(svg: &str) -> Vec<String> {
    let elements = svg.lines().filter(|line| line.starts_with("<text"));
    let plain = |line: &str| {
        let mut text = String::new();
        let mut inside = false;
        for c in line.chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                _ if !inside => text.push(c),
                _ => {}
            }
        }
        text
    };
    elements.map(plain).collect()
}

#[track_caller]
fn shows(done: &Done, wanted: &str) {
    let svg = done.text("svg");
    assert!(texts(&svg).join(" ").contains(wanted), "`{wanted}` is not in\n{}", texts(&svg).join("\n"));
}

/// Reads the SVG as XML, and holds what every figure promises.
fn check_svg(svg: &str) {
    let options = resvg::usvg::roxmltree::ParsingOptions::default();
    let document = resvg::usvg::roxmltree::Document::parse_with_options(svg, options).unwrap();
    for node in document.descendants().filter(resvg::usvg::roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(["svg", "title", "rect", "path", "g", "text", "tspan"].contains(&name), "an element <{name}>");
        for attribute in node.attributes() {
            let allowed =
                !["id", "class", "style", "href"].contains(&attribute.name()) && !attribute.name().starts_with("on");
            assert!(allowed, "an attribute {}", attribute.name());
            assert!(!attribute.value().contains("NaN") && !attribute.value().contains("inf"), "{attribute:?}");
        }
    }
    let ground =
        document.root_element().children().find(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "rect")));
    assert_eq!(ground.and_then(|rect| rect.attribute("fill")), Some("#ffffff"));
}

/// Width and height in pixels, after decoding the whole picture.
fn size_of_png(bytes: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::Png).unwrap().to_rgba8();
    assert!(picture.pixels().all(|pixel| pixel.0[3] == 255), "the ground is not white everywhere");
    let dark = picture.pixels().filter(|pixel| pixel.0[..3].iter().all(|value| *value < 90)).count();
    assert!(dark > 500, "there is no text: {dark} dark pixels");
    picture.dimensions()
}

fn curve(forget: [f64; 3], retain: [f64; 3]) -> Value {
    let points = [0, 1, 10].into_iter().zip(forget.into_iter().zip(retain));
    let epochs: Vec<Value> = points
        .map(|(epoch, (f, r))| json!({"epoch": epoch, "forget": f, "retain": r, "overall": 0.5, "loss": null}))
        .collect();
    json!({"forget_class": 0, "epochs": epochs})
}

/// Two methods, two classes, three seeds; `A_f` of pru after 10 epochs by seed, averaged over classes: .1, .2, .3.
/// An artifact's coordinates, and its content unless it is missing.
type Given<'a> = (Vec<(&'a str, &'a str)>, Option<Value>);

fn curves() -> Vec<Given<'static>> {
    let mut all = Vec::new();
    for (seed, back) in [("7", 0.1), ("8", 0.2), ("9", 0.3)] {
        for (class, factor) in [("0", 0.5), ("3", 1.5)] {
            let at = |method| vec![("method", method), ("class", class), ("seed", seed)];
            all.push((at("original"), Some(curve([0.9, 0.85, 0.8], [0.97, 0.97, 0.98]))));
            all.push((at("pru"), Some(curve([0.0, 0.05, back * factor], [0.8, 0.9, 0.95]))));
        }
    }
    all
}

fn relearning(params: Value, curves: &[Given<'_>]) -> Result<Done, String> {
    let inputs: Vec<(At, Option<Value>)> = curves.iter().map(|(at, value)| (at.as_slice(), value.clone())).collect();
    run("figures/relearning", "curves", params, &inputs)
}

#[test]
fn relearning_draws_class_means_over_trials_with_students_interval() {
    let done = relearning(json!({}), &curves()).unwrap();
    let csv = done.text("data");
    let after = row(&csv, &[("method", "pru"), ("epoch", "10"), ("metric", "A_f")]);
    // Seeds .1, .2, .3: deviation .1, and 4.302653 / sqrt(3) x .1.
    close(&after["mean"], 0.2);
    assert!((after["half_width"].parse::<f64>().unwrap() - 0.248_413_77).abs() < 1e-7, "{after:?}");
    assert_eq!(after["n"], "3");
    // .1 / .8, .2 / .8, .3 / .8.
    close(&row(&csv, &[("method", "pru"), ("epoch", "10"), ("metric", "A_f/orig")])["mean"], 0.25);
    close(&row(&csv, &[("method", "pru"), ("epoch", "0"), ("metric", "A_r")])["mean"], 0.8);
    shows(&done, "Mean over class (0, 3), then over 3 seeds.");
    shows(&done, "Af / that of original");
    check_svg(&done.text("svg"));
}

#[test]
fn without_an_original_there_is_no_quotient() {
    let curves: Vec<_> = curves().into_iter().filter(|(at, _)| at[0].1 == "pru").collect();
    let done = relearning(json!({}), &curves).unwrap();
    assert!(!done.text("data").contains("A_f/orig"));
    assert!(!texts(&done.text("svg")).iter().any(|text| text.contains("that of")));
}

#[test]
fn a_missing_run_is_noted_with_the_trials_that_are_drawn() {
    let mut curves = curves();
    let at = curves.iter().position(|(at, _)| at == &[("method", "pru"), ("class", "3"), ("seed", "9")]).unwrap();
    for missing in [true, false] {
        // Planned and not there yet, or not in the pipeline at all: the same for a reader.
        if missing {
            curves[at].1 = None;
        } else {
            curves.remove(at);
        }
        let done = relearning(json!({"layout": {"labels": {"pru": "PRU"}}}), &curves).unwrap();
        shows(&done, "PRU (2 of 3 seeds)");
        shows(&done, "PRU: missing (class=3, seed=9); incomplete trials are left out of its means.");
        let after = row(&done.text("data"), &[("method", "pru"), ("epoch", "10"), ("metric", "A_f")]);
        close(&after["mean"], 0.15);
        assert_eq!(after["n"], "2");
    }
}

#[test]
fn hostile_names_stay_text_in_every_place() {
    let name = "</text><script>alert(1)</script>\u{1b}[2J\u{202e}&\"'";
    let value = Some(curve([0.0, 0.1, 0.2], [0.8, 0.9, 0.95]));
    let at = [("method", name), ("setting", "a<b")];
    let other = [("method", name), ("setting", "]]>")];
    let inputs: [(At, Option<Value>); 2] = [(&at, value.clone()), (&other, value)];
    let done = run("figures/relearning", "curves", json!({"title": "<svg onload=\"x\">"}), &inputs).unwrap();
    let svg = done.text("svg");
    check_svg(&svg);
    assert!(!svg.contains("<script") && svg.contains("&lt;/text&gt;&lt;script&gt;"), "{svg}");
    assert!(svg.contains("&lt;svg onload=&quot;x&quot;&gt;"));
    assert!(!svg.contains(['\u{1b}', '\u{202e}']));
    let formula = [("method", "=cmd()"), ("seed", "7")];
    let inputs: [(At, Option<Value>); 1] = [(&formula, Some(curve([0.0, 0.1, 0.2], [0.8, 0.9, 0.95])))];
    let csv = run("figures/relearning", "curves", json!({}), &inputs).unwrap().text("data");
    assert!(csv.contains("\n'=cmd(),"), "{csv}");
}

/// `relative` of the classifier's weight is 0 and unchanged where `head` is none.
fn change(conv: f64, head: Option<f64>) -> Value {
    let tensor = |name: &str, kind: &str, relative: Option<f64>, unchanged: bool| json!({"name": name, "kind": kind, "relative": relative, "absolute": 0.5, "unchanged": unchanged});
    json!({"tensors": [
        tensor("conv1.0.weight", "extractor", Some(conv), false),
        tensor("conv1.1.weight", "normalisation", Some(0.5), false),
        tensor("conv1.1.running_mean", "statistic", None, false),
        tensor("conv1.1.num_batches_tracked", "statistic", Some(1.0), false),
        tensor("classifier.0.weight", "classifier", Some(head.unwrap_or(0.0)), head.is_none()),
    ]})
}

fn changes(changes: &[(At, Option<Value>)]) -> Result<Done, String> {
    run("figures/parameter_change", "changes", json!({}), changes)
}

/// Where the marks of a method lie: the ends of the moves that its markers begin with.
fn marks(svg: &str, method: &str) -> Vec<(f64, f64)> {
    let groups = svg.split("<g><title>").filter(|group| group.starts_with(&format!("{method}</title>")));
    // The legend has text, the panels have none.
    let drawn = groups.filter_map(|group| group.split("</g>").next()).filter(|group| !group.contains("<text"));
    let fills = drawn.flat_map(|group| group.lines().filter(|line| line.contains("stroke-width=\"0.4\"")));
    let starts = fills.flat_map(|line| line.split('M').skip(1));
    let place = |start: &str| {
        let end = start.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ' ' | '-')).unwrap();
        let (x, y) = start[..end].split_once(' ').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    };
    starts.map(place).collect()
}

#[test]
fn a_change_of_exactly_zero_lies_on_a_line_of_its_own() {
    let at = |method, seed| [("method", method), ("class", "0"), ("seed", seed)];
    let (a, b) = (at("pru", "7"), at("pru", "8"));
    let (c, d) = (at("described", "7"), at("described", "8"));
    let done = changes(&[
        (&a, Some(change(1e-3, None))),
        (&b, Some(change(3e-3, None))),
        (&c, Some(change(1e-3, None))),
        (&d, Some(change(1e-3, Some(2e-9)))),
    ])
    .unwrap();
    let csv = done.text("data");
    let head = |method| row(&csv, &[("method", method), ("tensor", "classifier.0.weight")]);
    assert_eq!([&head("pru")["mean"], &head("described")["mean"]], ["0", "0.000000001"]);
    close(&row(&csv, &[("method", "pru"), ("tensor", "conv1.0.weight")])["mean"], 2e-3);
    shows(&done, "exactly 0");
    let svg = done.text("svg");
    let line = svg.lines().find(|line| line.contains("stroke-dasharray=\"1 1.5\"")).expect("there is a line of zeros");
    let zero: f64 =
        line.split('M').nth(1).unwrap().split(' ').nth(1).unwrap().split('L').next().unwrap().parse().unwrap();
    // The first panel holds two marks of each method: of conv1 and of the classifier.
    let (pru, described) = (marks(&svg, "pru")[1], marks(&svg, "described")[1]);
    assert!((pru.1 - zero).abs() < 0.05, "{pru:?} is not on the line at {zero}");
    assert!(described.1 < zero - 5.0, "{described:?} is on the line at {zero}");
    check_svg(&svg);
}

#[test]
fn without_a_zero_there_is_no_line_for_it() {
    let at = [("method", "described")];
    let done = changes(&[(&at, Some(change(1e-3, Some(1e-2))))]).unwrap();
    assert!(!texts(&done.text("svg")).iter().any(|text| text.contains("exactly 0")), "nothing is 0 here");
}

#[test]
fn tensors_that_are_not_drawn_are_in_the_data_with_every_run() {
    let (a, b) = ([("method", "pru"), ("seed", "7")], [("method", "pru"), ("seed", "8")]);
    let done = changes(&[(&a, Some(change(1e-3, None))), (&b, Some(change(3e-3, None)))]).unwrap();
    assert_eq!(row(&done.text("data"), &[("tensor", "conv1.1.num_batches_tracked")])["panel"], "");
    assert_eq!(row(&done.text("data"), &[("tensor", "conv1.1.running_mean")])["mean"], "");
    shows(&done, "pru: no relative change of conv1.1.running_mean, which was all 0 before.");
    let runs = done.text("runs");
    assert_eq!(runs.lines().count(), 1 + 2 * 5);
    let first = row(&runs, &[("seed", "8"), ("tensor", "classifier.0.weight")]);
    assert_eq!((first["unchanged"].as_str(), first["kind"].as_str()), ("true", "classifier"));
}

#[test]
fn networks_of_different_tensors_share_no_panel() {
    let (a, b) = ([("method", "pru")], [("method", "other")]);
    let short = json!({"tensors": [{"name": "fc.weight", "kind": "classifier", "relative": 0.1, "absolute": 0.1, "unchanged": false}]});
    let error = changes(&[(&a, Some(change(1e-3, None))), (&b, Some(short))]).err().unwrap();
    assert!(error.contains("the network of `other` has other tensors"), "{error}");
    let negative = json!({"tensors": [{"name": "fc.weight", "kind": "classifier", "relative": -0.1, "absolute": 0.1, "unchanged": false}]});
    assert!(changes(&[(&a, Some(negative))]).err().unwrap().contains("changes[method=pru]: the change of `fc.weight`"));
}

/// Samples of class 2 of three classes, with their predictions.
fn seen(predicted: &[u32]) -> Value {
    let mut histogram = [0; 3];
    for class in predicted {
        histogram[*class as usize] += 1;
    }
    let probability: Vec<f64> = predicted.iter().map(|class| if *class == 2 { 0.9 } else { 0.25 }).collect();
    let distance: Vec<f64> = (0..predicted.len()).map(|n| 0.5 + n as f64 / 4.0).collect();
    json!({"forget_class": 2, "probability": probability, "distance": distance, "predicted": predicted,
        "histogram": histogram})
}

#[test]
fn perception_shows_every_sample_and_the_share_that_is_forgotten() {
    let (a, b) = ([("method", "pru")], [("method", "boundary_expand")]);
    let done = run(
        "figures/perception",
        "perceptions",
        json!({"layout": {"order": ["boundary_expand", "absent"], "labels": {"boundary_expand": "BoundExpand"}}}),
        &[(&a, Some(seen(&[0, 1, 0, 0]))), (&b, Some(seen(&[0, 2, 1, 1])))],
    )
    .unwrap();
    let svg = done.text("svg");
    check_svg(&svg);
    let titles: Vec<String> =
        texts(&svg).into_iter().filter(|t| ["BoundExpand", "0.75", "pru", "1.00"].contains(&t.as_str())).collect();
    assert_eq!(titles, ["BoundExpand", "0.75", "pru", "1.00"]);
    let marks = |colour: &str| -> usize {
        let lines = svg.lines().filter(|line| line.contains("stroke-linecap=\"round\"") && line.contains(colour));
        lines.map(|line| line.matches('M').count()).sum()
    };
    assert_eq!((marks("#0072b2"), marks("#d55e00")), (7, 1));
    shows(&done, "absent: missing every run.");
    assert_eq!(done.text("data").lines().count(), 1 + 8);
    let sample = row(&done.text("data"), &[("method", "boundary_expand"), ("sample", "1")]);
    assert_eq!((&*sample["distance"], &*sample["probability"], &*sample["predicted"]), ("0.75", "0.9", "2"));
}

#[test]
fn perceptions_that_contradict_themselves_are_refused() {
    let at = [("method", "pru")];
    let error = |change: &dyn Fn(&mut Value)| {
        let mut value = seen(&[0, 2]);
        change(&mut value);
        run("figures/perception", "perceptions", json!({}), &[(&at, Some(value))]).err().unwrap()
    };
    assert!(error(&|v| v["histogram"] = json!([2, 0, 0])).contains("its histogram is not that of its predictions"));
    assert!(error(&|v| v["predicted"] = json!([0, 7])).contains("class 7 is none of its 3"));
    assert!(error(&|v| v["distance"] = json!([1.0])).contains("lists are of different lengths"));
    assert!(error(&|v| v["probability"] = json!([0.5, 97.0])).contains("a probability is 97"));
    assert!(error(&|v| v["forget_class"] = json!(3)).starts_with("perceptions[method=pru]"));
}

#[test]
fn divergences_from_retrain_are_shown_with_both_epsilons_and_without_the_class() {
    let at = |method| [("method", method)];
    let (a, b, c) = (at("pru"), at("retrain"), at("boundary_expand"));
    let inputs: [(At, Option<Value>); 3] =
        [(&a, Some(seen(&[0, 0, 1, 1]))), (&b, Some(seen(&[0, 1, 1, 1]))), (&c, Some(seen(&[0, 1, 2, 2])))];
    let params = json!({"published": {"boundary_expand": 3.82}});
    let done = run("figures/predictions", "perceptions", params, &inputs).unwrap();
    let csv = done.text("divergence");
    let pru = row(&csv, &[("method", "pru")]);
    // S = (1/2, 1/2, 0) against (1/4, 3/4, 0): the empty bins are equal, so .5 ln(4/3) / (1 + eps).
    let plain = 0.5 * (4.0_f64 / 3.0).ln();
    close(&pru["kl_1e-6"], plain / (1.0 + 1e-6));
    close(&pru["kl_1e-10"], plain / (1.0 + 1e-10));
    close(&pru["kl_without_f_1e-6"], plain);
    // (1/4, 1/4, 1/2) against (1/4, 3/4, eps), whose sum is 1 + eps.
    let expand = row(&csv, &[("method", "boundary_expand")]);
    for (name, epsilon) in [("kl_1e-6", 1e-6_f64), ("kl_1e-10", 1e-10)] {
        close(&expand[name], 0.25 * (1.0_f64 / 3.0).ln() + 0.5 * (0.5 / epsilon).ln() + (1.0 + epsilon).ln());
    }
    close(&expand["kl_without_f_1e-10"], plain);
    assert_eq!((&*expand["published"], &*expand["not_predicted_as_f"], &*pru["published"]), ("3.82", "2", ""));
    assert_eq!(rows(&csv).len(), 2, "Retrain has no row");
    // .25 ln(1/3) + .5 ln(.5e6) = 6.2866; with 1e-10 10.8918.
    for wanted in ["boundary_expand 6.29 10.89 0.14 0.14 3.82", "pru 0.14 0.14 0.14 0.14 \u{2013}"] {
        shows(&done, wanted);
    }
    check_svg(&done.text("svg"));
    let bin = row(&done.text("data"), &[("method", "retrain"), ("predicted", "1")]);
    assert_eq!((&*bin["count"], &*bin["percent"]), ("3", "75"));
}

#[test]
fn without_retrain_there_is_no_divergence_and_the_figure_says_so() {
    let at = [("method", "pru")];
    let done = run("figures/predictions", "perceptions", json!({}), &[(&at, Some(seen(&[0, 1])))]).unwrap();
    shows(&done, "There is no run of retrain, and so no divergence.");
    assert_eq!(done.text("divergence").lines().count(), 1);
    let other = [("method", "retrain")];
    let mut wider = seen(&[0, 1]);
    wider["histogram"] = json!([1, 1, 0, 0]);
    let inputs: [(At, Option<Value>); 2] = [(&at, Some(seen(&[0, 1]))), (&other, Some(wider))];
    let error = run("figures/predictions", "perceptions", json!({}), &inputs).err().unwrap();
    assert!(error.contains("different numbers"), "{error}");
}

#[test]
fn a_method_is_joined_over_its_own_rates_and_a_reference_is_one_point() {
    let value = |retain: f64, forget: f64| Some(curve([0.0, 0.5, forget], [retain, 0.9, 0.9]));
    let at = |method, lr, seed| vec![("method", method), ("lr", lr), ("seed", seed)];
    let mut inputs = vec![(vec![("method", "original"), ("seed", "7")], value(0.99, 0.8))];
    inputs.push((vec![("method", "original"), ("seed", "8")], value(0.97, 0.9)));
    for (lr, retain, forget) in [("1e-2", 0.6, 0.0), ("0.001", 0.9, 0.7)] {
        inputs.push((at("random_label", lr, "7"), value(retain, forget)));
        inputs.push((at("random_label", lr, "8"), value(retain, forget + 0.1)));
    }
    inputs.push((at("pru", "0.1", "7"), value(0.85, 0.03)));
    inputs.push((at("pru", "0.1", "8"), None));
    let inputs: Vec<(At, Option<Value>)> = inputs.iter().map(|(at, value)| (at.as_slice(), value.clone())).collect();
    let done = run("figures/trade_off", "curves", json!({}), &inputs).unwrap();
    let csv = done.text("data");
    let points: Vec<(String, String)> =
        rows(&csv).iter().map(|row| (row["method"].clone(), row["lr"].clone())).collect();
    let expected = [("original", ""), ("random_label", "0.001"), ("random_label", "1e-2"), ("pru", "0.1")];
    assert_eq!(points, expected.map(|(method, lr)| (method.to_owned(), lr.to_owned())));
    let label = row(&csv, &[("method", "random_label"), ("lr", "0.001")]);
    close(&label["A_r_percent_before"], 90.0);
    close(&label["A_f_percent_after"], 75.0);
    assert_eq!((&*label["epochs"], &*label["A_f_n"]), ("10", "2"));
    close(&row(&csv, &[("method", "original")])["A_f_percent_after"], 85.0);
    shows(&done, "random_label: 0.001 to 1e-2");
    shows(&done, "pru (1 of 2 seeds): 0.1");
    shows(&done, "pru, lr 0.1: missing seed=8");
    assert!(
        !texts(&done.text("svg")).iter().any(|text| text.contains("every run")),
        "a rate of another method is not missed"
    );
    check_svg(&done.text("svg"));
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let (one, two) = (relearning(json!({}), &curves()).unwrap(), relearning(json!({}), &curves()).unwrap());
    for output in ["svg", "png", "data"] {
        assert_eq!(one.bytes(output), two.bytes(output), "{output}");
    }
}

#[test]
fn a_picture_is_the_figure_at_300_pixels_an_inch() {
    let done = relearning(json!({}), &curves()).unwrap();
    let svg = done.text("svg");
    let (_, after) = svg.split_once("viewBox=\"0 0 480 ").unwrap();
    let height: f64 = after.split('"').next().unwrap().parse().unwrap();
    assert_eq!(size_of_png(&done.bytes("png")), (2000, (height / 72.0 * 300.0).round() as u32));
}

#[test]
fn many_methods_are_shown_in_groups_that_all_have_the_references() {
    let names: Vec<String> = (0..25).map(|n| format!("method_{n}")).collect();
    let mut inputs: Vec<Given<'_>> = Vec::new();
    for name in ["original", "retrain"].into_iter().chain(names.iter().map(String::as_str)) {
        inputs.push((vec![("method", name), ("seed", "7")], Some(curve([0.0, 0.1, 0.2], [0.8, 0.9, 0.95]))));
    }
    let inputs: Vec<(At, Option<Value>)> = inputs.iter().map(|(at, value)| (at.as_slice(), value.clone())).collect();
    let done = run("figures/relearning", "curves", json!({}), &inputs).unwrap();
    let texts = texts(&done.text("svg"));
    let count = |wanted: &str| texts.iter().filter(|text| *text == wanted).count();
    assert_eq!((count("original"), count("retrain")), (5, 5));
    assert!(names.iter().all(|name| count(name) == 1));
}

#[test]
fn runs_that_are_all_planned_still_make_a_figure() {
    let (a, b) = ([("method", "pru"), ("seed", "7")], [("method", "retrain"), ("seed", "7")]);
    let stages = [
        ("figures/relearning", "curves"),
        ("figures/trade_off", "curves"),
        ("figures/parameter_change", "changes"),
        ("figures/perception", "perceptions"),
        ("figures/predictions", "perceptions"),
    ];
    for (stage, port) in stages {
        let done = run(stage, port, json!({}), &[(&a, None), (&b, None)]).unwrap();
        check_svg(&done.text("svg"));
        shows(&done, "pru: missing every run");
        assert!(run(stage, port, json!({}), &[]).err().unwrap().contains("no artifact is connected"), "{stage}");
    }
}

#[test]
fn params_that_contradict_themselves_are_refused() {
    let error = |stage, port, params| run(stage, port, params, &[]).err().unwrap();
    let twice = error("figures/relearning", "curves", json!({"layout": {"average": ["seed"]}}));
    assert!(twice.starts_with("layout.average: `seed` is already the axis of the trials"), "{twice}");
    let rates = error("figures/trade_off", "curves", json!({"rates": "method"}));
    assert!(rates.contains("`method` is already the axis of the columns"), "{rates}");
    let order = error("figures/perception", "perceptions", json!({"layout": {"order": ["a", "a"]}}));
    assert!(order.contains("`a` is named twice"), "{order}");
    let published = error("figures/predictions", "perceptions", json!({"published": {"pru": -1.0}}));
    assert!(published.starts_with("published: the divergence of `pru` is -1"), "{published}");
}

#[test]
fn times_are_drawn_on_a_logarithmic_axis_with_what_was_not_measured() {
    use pru_flow_stages::figures::times::{Setting, Time, times};
    let time = |method: &str, seconds: Option<f64>, n| Time {
        method: method.to_owned(),
        seconds,
        half_width: seconds.map(|mean| mean / 10.0),
        n,
        published: Some(33.0),
    };
    let setting = |name: &str, times: Vec<Time>| Setting { name: name.to_owned(), times };
    let settings = [
        setting("MNIST", vec![time("Retrain", Some(100.0), 5), time("PRU", Some(10.0), 3)]),
        setting(
            "CIFAR-10",
            vec![time("Retrain", Some(1000.0), 5), time("PRU", None, 0), time("<b>", Some(f64::NAN), 1)],
        ),
    ];
    let drawing = times("Time", &settings, &["3 nodes are left out.".to_owned()]);
    check_svg(&drawing.svg);
    let texts = texts(&drawing.svg);
    for wanted in ["100 s (n = 5)", "10 s (n = 3)", "not measured", "3 nodes are left out.", "&lt;b&gt;"] {
        assert!(texts.iter().any(|text| text == wanted), "{wanted} in {texts:?}");
    }
    let png = drawing.png().unwrap();
    assert_eq!(size_of_png(&png).0, 2000);
    // Ten times as long is one power further: the same distance as from 100 to 1000.
    let svg = &drawing.svg;
    let marks: Vec<f64> = svg
        .lines()
        .filter(|line| line.contains("fill=\"#0072b2\"") && line.starts_with("<path"))
        .map(|line| line.split('M').nth(1).unwrap().split(' ').next().unwrap().parse().unwrap())
        .collect();
    // Drawn from below: PRU, then Retrain.
    let [_legend, pru, retrain, ..] = marks.as_slice() else { panic!("{marks:?}") };
    let ticks: Vec<f64> = svg
        .lines()
        .filter(|line| line.contains(">10</tspan>") && line.contains("text-anchor=\"middle\""))
        .map(|line| line.split("x=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
        .collect();
    assert!((retrain - pru - (ticks[1] - ticks[0])).abs() < 0.05, "{marks:?} {ticks:?}");
}

#[test]
fn what_enters_the_key_names_the_versions_that_draw() {
    let (name, version) = pru_flow_stages::Tool::SvgRenderer.fingerprint();
    assert_eq!(name, "resvg and Arimo");
    let lock = include_str!("../../../Cargo.lock");
    let (resvg, arimo) = version.split_once(" and ").unwrap();
    assert!(lock.contains(&format!("name = \"resvg\"\nversion = \"{resvg}.")), "resvg is not {resvg}");
    let font = include_bytes!("../../fonts/Arimo-Regular.ttf");
    let wide: Vec<u8> = format!("Version {arimo}").bytes().flat_map(|byte| [0, byte]).collect();
    assert!(font.windows(wide.len()).any(|bytes| bytes == wide), "the font is not {arimo}");
}
