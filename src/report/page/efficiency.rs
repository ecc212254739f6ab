//! The table of what unlearning took, and Figure S1, as HTML; every row opens the runs that it is from.
//!
//! All text is escaped by the templates; knows nothing of stores.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use pru_flow_stages::figures::times::{self, Time, times};
use pru_flow_stages::tables::Mean;

use super::costs::{Costs, Method, Setting};
use super::runs::{Facts, Runs};

const TITLE: &str = "What unlearning took";
const FIGURE: &str = "Time of unlearning (Figure S1)";

/// The section, headed as the page's others.
#[must_use]
pub fn section(costs: &Costs, runs: &mut Runs) -> Markup {
    let tables: Vec<Markup> = costs.settings.iter().map(|setting| table(setting, runs)).collect();
    html! {
        section #efficiency {
            h2 { "Efficiency" }
            article {
                h3 { (TITLE) }
                p.note { (left_out(costs)) }
                @if costs.settings.is_empty() {
                    p.note {
                        "Times can be compared only between nodes that ran beside nothing else. Give the stages that unlearn "
                        code { "resources: {exclusive: true}" } ", and run them in a store that does not have them yet ("
                        code { "--store" } "): a cached result keeps the time it was made in."
                    }
                }
                @for table in &tables { (table) }
                @if !tables.is_empty() { (legend(costs)) }
            }
            @if !costs.settings.is_empty() {
                figure {
                    img alt=(FIGURE) src=(format!("data:image/svg+xml;base64,{}", STANDARD.encode(figure(costs))));
                    figcaption { (FIGURE) ", from the records of the nodes" }
                }
            }
        }
    }
}

/// How many nodes count, and why the others do not.
fn left_out(costs: &Costs) -> String {
    let Costs { nodes, beside, missing, .. } = *costs;
    let mut text = format!("{} of {} measured alone on their machine", nodes - beside - missing, plural(nodes, "node"));
    if beside + missing > 0 {
        let why = [(beside, "that ran beside others, or whose record does not say"), (missing, "without a result yet")];
        let why: Vec<String> = why.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}")).collect();
        text.push_str(&format!("; left out: {}", why.join(", ")));
    }
    text.push('.');
    text
}

fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// What the columns mean.
fn legend(costs: &Costs) -> Markup {
    let methods = || costs.settings.iter().flat_map(|setting| &setting.methods);
    html! {
        p.note {
            "Means over nodes (all seeds and classes), with Student\u{2019}s t 95 % interval. Training: the method\u{2019}s own work, without reading and \
             writing files. RTE: mean training time of retraining over that of the method. Memory: the most that the worker process held on the \
             machine, libtorch itself included; memory of a GPU is not in it. Sample passes: samples read in batches, each as \
             often as it was. Retain data: bytes of samples of the remaining classes, likewise."
        }
        @if methods().any(|method| method.published_seconds.is_some()) {
            p.note {
                "Paper: read off the bars of its Figure S1, measured on a machine that it does not name; only the order of methods can be compared."
            }
        }
    }
}

fn table(setting: &Setting, runs: &mut Runs) -> Markup {
    let paper = setting.methods.iter().any(|method| method.published_seconds.is_some());
    let caption = caption(setting);
    html! {
        p.caption { (caption) }
        div.scroll.sheet tabindex="0" role="region" aria-label=(caption) {
            table.grid {
                thead {
                    tr {
                        th scope="col" { "method" }
                        @for name in ["nodes", "training", "RTE", "whole node", "peak memory", "sample passes", "retain data"] {
                            th.value scope="col" { (name) }
                        }
                        @if paper { th.value scope="col" { "paper" } }
                    }
                }
                tbody { @for method in &setting.methods { (row(setting, method, paper, runs)) } }
            }
        }
    }
}

fn caption(setting: &Setting) -> String {
    let name = name(setting);
    if name.is_empty() { setting.machine.clone() } else { format!("{name} · {}", setting.machine) }
}

/// `cifar10-allcnn, d_f`.
fn name(setting: &Setting) -> String {
    setting.fixed.iter().map(|(axis, value)| format!("{axis} {value}")).collect::<Vec<_>>().join(", ")
}

fn row(setting: &Setting, method: &Method, paper: bool, runs: &mut Runs) -> Markup {
    let Method { measured, left_out, .. } = method;
    let count = measured.len() + left_out.len();
    let facts = [facts(setting, method), runs.makers(measured)].concat();
    let hint: Vec<String> = facts.iter().map(|(name, text)| format!("{name}: {text}")).collect();
    let hint = hint.join("\n");
    let place = runs.cell(&method.stage, measured, left_out, &facts);
    let number = |text: Option<String>, width: Option<String>| {
        html! {
            td.value {
                @match text {
                    None => "–",
                    Some(text) => button.number type="button" data-cell=(place) title=(hint) {
                        span.ours { (text) @if let Some(width) = width { span.width { " ±" (width) } } }
                    }
                }
            }
        }
    };
    let half = |mean: Option<Mean>| mean.and_then(|mean| mean.half_width);
    html! {
        tr {
            th scope="row" { (method.name) }
            td.value {
                @if left_out.is_empty() { (count) } @else { span.lack { (measured.len()) " of " (count) } }
            }
            (number(method.train_seconds.map(|m| seconds(m.value)), half(method.train_seconds).map(seconds)))
            (number(method.speedup.map(digits), None))
            (number(method.wall_seconds.map(|m| seconds(m.value)), half(method.wall_seconds).map(seconds)))
            (number(method.peak_memory_bytes.map(|m| bytes(m.value)), None))
            (number(method.sample_passes.map(|m| grouped(m.value)), None))
            (number(method.retain_read_bytes.map(|m| bytes(m.value)), None))
            @if paper { td.value { (method.published_seconds.map_or_else(|| "–".to_owned(), |s| format!("about {} s", digits(s)))) } }
        }
    }
}

/// All that is known of a row, for its dialog.
fn facts(setting: &Setting, method: &Method) -> Facts {
    let of = name(setting);
    let interval = |mean: Mean| mean.half_width.map_or_else(String::new, |h| format!(" ± {h:.4} (t 95 % over nodes)"));
    let seconds = |mean: Mean| format!("{:.4} s{}, n = {}", mean.value, interval(mean), mean.n);
    let whole = |unit: &'static str| move |mean: Mean| format!("{} {unit}", grouped(mean.value));
    let mut facts = vec![("of", if of.is_empty() { method.name.clone() } else { format!("{}, {of}", method.name) })];
    let values = [
        ("training", method.train_seconds.map(seconds)),
        ("whole node", method.wall_seconds.map(seconds)),
        ("RTE", method.speedup.map(|speedup| format!("{speedup:.4}: retraining took so many times as long"))),
        ("memory", method.peak_memory_bytes.map(whole("bytes at most"))),
        ("read", method.sample_passes.map(whole("samples in batches"))),
        ("of retain data", method.retain_read_bytes.map(whole("bytes"))),
        ("paper", method.published_seconds.map(|s| format!("about {} s, read off a chart", digits(s)))),
        ("measured on", Some(setting.machine.clone())),
    ];
    facts.extend(values.into_iter().filter_map(|(name, text)| Some((name, text?))));
    if !method.left_out.is_empty() {
        let nodes = plural(method.left_out.len(), "node");
        facts.push(("left out", format!("{nodes} that did not run alone on this machine, or have no result")));
    }
    facts
}

/// Figure S1.
fn figure(costs: &Costs) -> String {
    let several = costs.settings.iter().any(|setting| setting.machine != costs.settings[0].machine);
    let setting = |setting: &Setting| {
        let values: Vec<&str> = setting.fixed.iter().map(|(_, value)| value.as_str()).collect();
        let name = if several { caption(setting) } else { values.join(", ") };
        times::Setting { name, times: setting.methods.iter().map(time).collect() }
    };
    let settings: Vec<times::Setting> = costs.settings.iter().map(setting).collect();
    let mut notes = vec![left_out(costs)];
    if !several {
        notes.extend(costs.settings.first().map(|setting| format!("Measured on {}.", setting.machine)));
    }
    times(FIGURE, &settings, &notes).svg
}

fn time(method: &Method) -> Time {
    Time {
        method: method.name.clone(),
        seconds: method.train_seconds.map(|mean| mean.value),
        half_width: method.train_seconds.and_then(|mean| mean.half_width),
        n: method.train_seconds.map_or(0, |mean| mean.n),
        published: method.published_seconds,
    }
}

/// `0.034 s`, `2.31 s`, `154 s`.
fn seconds(value: f64) -> String {
    format!("{} s", digits(value))
}

/// Three digits that count, and all before the point.
fn digits(value: f64) -> String {
    let before = if value.abs() >= 1.0 { value.abs().log10().floor() as i32 + 1 } else { 1 };
    let decimals = usize::try_from(3 - before).unwrap_or(0);
    let decimals = if value.abs() < 1.0 { 3 } else { decimals };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `0 B`, `12.5 kB`, `1.2 GB`: powers of 1000.
fn bytes(value: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut scaled = (value, 0);
    while scaled.0 >= 999.5 && scaled.1 + 1 < units.len() {
        scaled = (scaled.0 / 1000.0, scaled.1 + 1);
    }
    format!("{} {}", digits(scaled.0), units[scaled.1])
}

/// Thousands apart: `1 234 567`.
fn grouped(value: f64) -> String {
    let text = format!("{value:.0}");
    let mut grouped = String::with_capacity(text.len() + text.len() / 3);
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_are_worth() {
        assert_eq!(
            [0.0, 0.034_26, 0.5, 2.314, 15.0, 153.6, 12345.6].map(digits),
            ["0", "0.034", "0.5", "2.31", "15", "154", "12346"]
        );
        assert_eq!([0.0, 999.0, 999.7, 12_540.0, 3.2e9].map(bytes), ["0 B", "999 B", "1 kB", "12.5 kB", "3.2 GB"]);
        let spaced = |value: f64| grouped(value).replace('\u{202f}', " ");
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.4].map(spaced), ["0", "999", "1 000", "1 234 567"]);
    }
}
