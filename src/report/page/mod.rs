//! The page of `pru-flow report`: everything that a pipeline has to show so far as one HTML file that needs no network.
//!
//! [`collect`] finds out what there is to show and [`costs`] what unlearning took, [`table`], [`efficiency`] and
//! [`runs`] write its parts, [`html`](fn@html) the whole. No clock: the same store gives the same bytes. Text of
//! pipelines, artifacts and records is escaped by the templates; pictures are images, in which no script runs; and the
//! page's policy allows one script, its own.

pub mod collect;
mod costs;
mod document;
mod efficiency;
mod runs;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html as markup};
use sha2::{Digest as _, Sha256};

use collect::{Collected, Picture, State, TableNode};
use runs::Runs;

use super::picture::svg;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
#[must_use]
pub fn html(collected: &Collected) -> String {
    let mut runs = Runs::new(collected.graph, &collected.plan, collected.commands.clone());
    let tables: Vec<Markup> = collected.tables.iter().map(|table| table_section(table, &mut runs)).collect();
    let efficiency = collected.costs.as_ref().map(|costs| efficiency::section(costs, &mut runs));
    let script = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'; base-uri 'none'; \
         form-action 'none'"
    );
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (collected.name) " · pru-flow report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(collected))
                main {
                    section #tables {
                        h2 { "Tables" }
                        @if tables.is_empty() { p.note { "No stage of this pipeline writes a table." } }
                        @for table in &tables { (table) }
                    }
                    @if let Some(efficiency) = &efficiency { (efficiency) }
                    (pictures(&collected.pictures))
                    section #stages {
                        h2 { "Stages" }
                        div.scroll tabindex="0" role="region" aria-label="Graph of stages" {
                            (svg::part(&collected.stages))
                        }
                    }
                    (settings(collected))
                    (provenance(collected))
                    (rerun(collected))
                }
                dialog #behind aria-labelledby="behind-title" {
                    form method="dialog" { button.close type="submit" aria-label="Close" { "×" } }
                    h3 #behind-title {}
                    div #behind-body {}
                }
                script type="application/json" #data { (PreEscaped(runs.into_json())) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn header(collected: &Collected) -> Markup {
    let nodes: usize = collected.stages.shapes.iter().map(|stage| stage.nodes).sum();
    let cached: usize = collected.stages.shapes.iter().map(|stage| stage.cached).sum();
    let complete = collected.tables.iter().filter(|table| table.state == State::Complete).count();
    markup! {
        header {
            h1 { (collected.name) }
            p.state {
                @if cached == nodes { span.badge.done { "complete" } } @else { span.badge.part { "incomplete" } }
                " " b { (cached) } " of " b { (nodes) } " nodes have their result, " b { (nodes - cached) } " are missing; "
                b { (complete) } " of " b { (collected.tables.len()) } " tables are final."
            }
            progress max=(nodes.max(1)) value=(cached) aria-label="Nodes that have their result" {}
            nav {
                @for (place, table) in collected.tables.iter().enumerate() {
                    a href=(format!("#table-{place}")) { (table.title()) }
                }
                @if collected.costs.is_some() { a href="#efficiency" { "Efficiency" } }
                @if !collected.pictures.is_empty() { a href="#figures" { "Figures" } }
                a href="#stages" { "Stages" }
                a href="#settings" { "Settings" }
                a href="#provenance" { "Provenance" }
                a href="#rerun" { "Run again" }
            }
            p.hint { "Click or tap a number for where it comes from: seed and params, device, code, date, and the command that makes it again. A pointer that rests on it sees the same in short." }
        }
    }
}

fn table_section(table: &TableNode, runs: &mut Runs) -> Markup {
    markup! {
        article id=(format!("table-{}", table.place)) {
            h3 { (table.title()) }
            p.origin {
                code { (table.name) } " "
                @match &table.state {
                    State::Complete => span.badge.done { "final" },
                    State::Incomplete { there, of } if there == of => {
                        span.badge.part { "not run yet" } " all " (of) " runs are there; computed for this page"
                    }
                    State::Incomplete { there, of } => {
                        span.badge.part { "incomplete: " (there) " of " (of) " runs" }
                        @if *there > 0 { " computed for this page from what is there" }
                    }
                }
            }
            @match &table.content {
                Ok(document) => (table::parts(document, &table.behind(), runs)),
                Err(why) => p.note { "Nothing to show: " (why) "." },
            }
        }
    }
}

fn pictures(pictures: &[Picture]) -> Markup {
    markup! {
        @if !pictures.is_empty() {
            section #figures {
                h2 { "Figures" }
                @for picture in pictures {
                    figure {
                        @match &picture.content {
                            Ok(bytes) => {
                                // As an image it runs no script and loads nothing, whatever is in it.
                                img alt=(picture.name)
                                    src=(format!("data:image/svg+xml;base64,{}", STANDARD.encode(bytes)));
                            }
                            Err(why) => p.note { "Nothing to show: " (why) "." },
                        }
                        figcaption { code { (picture.name) } }
                    }
                }
            }
        }
    }
}

fn settings(collected: &Collected) -> Markup {
    markup! {
        section #settings {
            h2 { "Settings" }
            @for (import, params) in &collected.params {
                @if !import.is_empty() { h3 { "Imported as " code { (import) } } }
                pre { (runs::in_lines(params)) }
            }
        }
    }
}

/// By what and where the results were made, for all nodes together: what a printed page can say of its numbers.
fn provenance(collected: &Collected) -> Markup {
    let mut makers: BTreeMap<[&str; 4], (usize, BTreeSet<String>)> = BTreeMap::new();
    let all = collected.plan.nodes.iter().filter_map(|node| collected.plan.results[node.id].as_deref());
    for result in all {
        let of = |name: &str| result.provenance.get(name).map_or("unknown", String::as_str);
        let (nodes, dates) = makers.entry(["code", "machine", "device", "threads"].map(of)).or_default();
        *nodes += 1;
        dates.extend(runs::started(result));
    }
    markup! {
        section #provenance {
            h2 { "Provenance" }
            @if makers.is_empty() { p.note { "Nothing has run yet." } } @else {
                div.scroll.sheet tabindex="0" role="region" aria-label="Provenance" {
                    table.grid {
                        thead { tr {
                            @for name in ["code", "machine", "device", "threads", "nodes", "started"] { th scope="col" { (name) } }
                        } }
                        tbody {
                            @for (made_with, (nodes, dates)) in &makers {
                                tr {
                                    @for text in made_with { td { (text) } }
                                    td { (nodes) }
                                    td { (dates.first().map_or("", String::as_str)) @if dates.len() > 1 { " to " (dates.last().map_or("", String::as_str)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rerun(collected: &Collected) -> Markup {
    markup! {
        section #rerun {
            h2 { "Run again" }
            p { "What is missing, and nothing else:" }
            (command(&collected.commands.missing))
            p { "Everything anew, in a store of its own:" }
            (command(&collected.commands.anew("")))
        }
    }
}

fn command(text: &str) -> Markup {
    markup! { div.command { pre { code { (text) } } button.copy type="button" { "Copy" } } }
}
