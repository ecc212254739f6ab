//! What expressions give, what they wait for, and what is said of those that give nothing.

use std::time::{Duration, Instant};

use super::*;
use crate::problem::{Problems, TextId};
use crate::template::{Coordinate, Results, Scope};
use crate::yaml::parse;

const PARAMS: &str = "
epochs: 10
lr: 0.1
one: 1.0
base: runs
my-rate: 3
none: null
full: true
list: [3, 1, 2]
deep: {mnist: {lr: 0.5}, cifar-10: {lr: 0.25, sizes: [8, 16]}}
tuned: '${stages.tune.outputs.settings.lr}'
rates: {tuned: '${stages.tune.outputs.settings.lr * 10}', plain: 2}
";

fn coordinate(axis: &str, value: &str, attributes: Option<&str>) -> Coordinate {
    let attributes = attributes.map(|text| Arc::new(parse(text).unwrap()));
    Coordinate { axis: axis.into(), value: parse(value).unwrap(), attributes }
}

fn filled(text: &str, results: Results<'_>) -> Result<Node, Problems> {
    let params = Arc::new(parse(PARAMS).unwrap());
    let matrix = [
        coordinate("class", "3", None),
        coordinate("setting", "mnist", None),
        coordinate("country", "uk", Some("{epochs: 4, opt: {lr: 2, tuned: '${stages.tune.outputs.settings.lr}'}}")),
    ];
    let mut problems = Problems::default();
    let node = Node::new(Value::Text(text.to_owned()), Span::file(0, 1));
    let filled = Scope::new(&params, Some(&matrix)).with_results(results).fill(&node, &mut problems);
    problems.into_result(filled)
}

#[track_caller]
fn value(expression: &str) -> Value {
    filled(&format!("${{{expression}}}"), Results::Refused).unwrap_or_else(|told| panic!("{told:#?}")).value
}

/// Message and help of the one problem.
#[track_caller]
fn told(text: &str) -> (String, String) {
    let problems = filled(text, Results::Refused).unwrap_err();
    let all: Vec<_> = problems.iter().collect();
    assert_eq!(all.len(), 1, "{text}: {all:#?}");
    (all[0].message.clone(), all[0].help.clone().unwrap_or_default())
}

#[test]
fn numbers_are_computed_exactly_and_keep_their_types() {
    assert_eq!(value("params.epochs * 2"), Value::Int(20));
    assert_eq!(value("params.lr * 3"), Value::Float(0.1 * 3.0));
    assert_eq!(value("params.epochs / 4"), Value::Float(2.5));
    assert_eq!(value("params.epochs // 4"), Value::Int(2));
    assert_eq!(value("2 ** 10 - params.my-rate"), Value::Int(1021));
    assert_eq!(value("params.one + 1"), Value::Float(2.0));
    assert_eq!(value("params.epochs - 1"), Value::Int(9));
    assert_eq!(value("(params.lr * 10) | int"), Value::Int(1));
    assert_eq!(value("9223372036854775806 + 1"), Value::Int(i64::MAX));
    assert_eq!(value("params.list | sum"), Value::Int(6));
    assert_eq!(value("-params.epochs"), Value::Int(-10));
}

#[test]
fn texts_booleans_lists_and_mappings_come_out_as_they_are() {
    assert_eq!(value("params.base ~ '/' ~ matrix.class"), Value::Text("runs/3".into()));
    assert_eq!(value("matrix.class in [0, 3]"), Value::Bool(true));
    assert_eq!(value("params.lr if matrix.class > 5 else 0.5"), Value::Float(0.5));
    assert_eq!(value("not params.full"), Value::Bool(false));
    assert_eq!(value("none"), Value::Null);
    let list = |expression: &str| match value(expression) {
        Value::List(items) => items.into_iter().map(|item| item.value).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(list("params.list | sort"), [1, 2, 3].map(Value::Int));
    assert_eq!(list("range(2) | list + [params.base]"), [Value::Int(0), Value::Int(1), Value::Text("runs".into())]);
    assert_eq!(list("params.list"), [3, 1, 2].map(Value::Int));
    assert_eq!(list("params['list']"), [3, 1, 2].map(Value::Int));
    let map = filled("${ {'a': params.lr, 'b': params.deep.mnist} }", Results::Refused).unwrap();
    assert_eq!(map.to_json(), serde_json::json!({"a": 0.1, "b": {"lr": 0.5}}));
}

#[test]
fn names_are_looked_up_wherever_they_stand() {
    assert_eq!(value("params[matrix.setting ~ ''] is defined"), Value::Bool(false));
    assert_eq!(value("params.deep[matrix.setting].lr"), Value::Float(0.5));
    assert_eq!(value("params['deep']['cifar-10'].sizes[1] + 1"), Value::Int(17));
    assert_eq!(value("params.deep.cifar-10.sizes.1 + 1"), Value::Int(17));
    assert_eq!(value("params.deep.${matrix.setting}.lr * 2"), Value::Float(1.0));
    assert_eq!(value("matrix.country == 'uk' and matrix.country.epochs * 2 == 8"), Value::Bool(true));
    assert_eq!(value("matrix.country.opt.lr"), Value::Int(2));
    assert_eq!(value("matrix | length"), Value::Int(3));
    assert_eq!(value("params.deep | join(',')"), Value::Text("mnist,cifar-10".into()), "in the order of the file");
    let spliced = filled("e${params.epochs * 2}-${params.one * 1}-${params.lr + 0.2}", Results::Refused).unwrap();
    assert_eq!(spliced.value, Value::Text("e20-1-0.30000000000000004".into()));
}

#[test]
fn what_is_not_there_is_a_problem_only_where_it_is_needed() {
    assert_eq!(value("params.lrr | default(7)"), Value::Int(7));
    assert_eq!(value("matrix.lr is defined"), Value::Bool(false));
    assert_eq!(value("params.none is none"), Value::Bool(true));
    assert_eq!(value("matrix.lr if matrix.class == 9 else 0.5"), Value::Float(0.5));
    assert_eq!(told("${params.epoch * 2}"), ("unknown param `params.epoch`".into(), "did you mean `epochs`?".into()));
    assert_eq!(told("${1 + params.deep['mnst'].lr}").1, "did you mean `mnist`?");
    assert_eq!(told("${params['deep']['mnist'].lrr}").0, "`params.deep.mnist` has no `lrr`");
    assert_eq!(told("${matrix.clas + 1}").1.split(';').next(), Some("did you mean `class`?"));
    assert_eq!(told("${matrix.country.epoch + 1}").1, "did you mean `epochs`?");
    assert!(told("${matrix.class.epochs + 1}").1.contains("class: {first: {epochs: ...}"));
    assert!(told("${params.epochs-1}").1.contains("a minus has spaces around it"));
    assert!(told("${2 * params.epochs-1}").1.contains("a minus has spaces around it"));
    assert_eq!(told("${parms.lr * 2}").0, "unknown name `parms` in `${parms.lr * 2}`");
    assert!(told("${parms.lr * 2}").1.starts_with("did you mean `params`?"));
    assert!(told("${HOME:-x}").1.contains("$${"));
}

#[test]
fn what_has_no_value_says_so_in_few_words() {
    for (expression, message) in [
        ("1 / (params.epochs - 10)", "division by zero"),
        ("params.epochs % 0", "division by zero"),
        ("1.0 / 0", "division by zero"),
        ("params.base + 1", "tried to use + operator on unsupported types string and number"),
        ("1e308 * 10", "not a finite number"),
        ("2 ** 64", "too large a number"),
        ("params.lr | rund", "there is no filter `rund`"),
        ("params.lr is big", "there is no test `big`"),
        ("params.none + 1", "none and number"),
        ("params.lr *", "cannot be read: unexpected end of input"),
        ("params.a b", "cannot be read: unexpected input"),
        ("params.lr(2)", "has no value"),
        ("stages['tune']", "`stages` names no output of a stage"),
        ("[params.x]", "unknown param `params.x`"),
    ] {
        let (said, help) = told(&format!("${{{expression}}}"));
        assert!(said.contains(message), "{expression}: {said}");
        assert!(!said.contains("__"), "{said}");
        assert!(!help.is_empty());
    }
    assert_eq!(told("${params.lr | rund}").1, "did you mean `round`?");
    assert!(told("${params.base + 1}").1.contains("`~` joins texts"));
    assert!(told("x-${params.list}").0.contains("cannot stand inside a text"));
    assert!(told("${params.${params.base ~ '/x'}.lr * 2}").0.contains("no part of a name"));
}

#[test]
fn no_expression_takes_long_or_much() {
    let start = Instant::now();
    for bomb in [
        "'x' * 1000000000",
        "'x' * 100000000",
        "'x' * 2000000",
        "[[1] * 900] * 900",
        "('x' * 10000) * 10000",
        "[1] * 100000000",
        "range(1000000000) | list",
        "range(100000) | map('string') | join | length * 0 ~ 'x' * 80000000",
        "'%1000000000d' | format(1)",
        "9 ** 9 ** 9 ** 9",
    ] {
        told(&format!("${{{bomb}}}"));
    }
    for many in [900, 100_000] {
        told(&format!("${{{}1{}}}", "(".repeat(many), ")".repeat(many)));
        told(&format!("${{{}'x'}}", "-".repeat(many)));
        told(&format!("${{'x' {}}}", "+ 1 ".repeat(many / 2)));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn neither_state_nor_clock_nor_chance_is_in_reach() {
    for name in ["debug()", "namespace()", "now()", "random()", "env.HOME ~ ''", "lipsum()", "self ~ ''"] {
        let (message, _) = told(&format!("${{{name}}}"));
        assert!(message.contains("unknown name"), "{name}: {message}");
    }
    assert!(told("${[1, 2] | random}").0.contains("there is no filter `random`"));
}

/// What an expression asks for while results are not known, and what it gives with `lr` = 0.5.
fn awaited(text: &str) -> (Vec<String>, Value) {
    let noted = RefCell::default();
    let before = filled(text, Results::Noted(&noted)).unwrap_or_else(|told| panic!("{told:#?}"));
    let noted: Vec<String> = noted.into_inner().into_iter().map(|one| one.reference).collect();
    assert_eq!(before.holds_awaited(), !noted.is_empty(), "{text}");
    let known = ["stages.tune.outputs.settings.lr", "stages.t[v=\"a b\"].outputs.s.lr", "stages.t.outputs.s.k"];
    let known = known.map(|name| (name.to_owned(), Value::Float(0.5))).into_iter().collect();
    let after = filled(text, Results::Known(&known)).unwrap_or_else(|told| panic!("{told:#?}"));
    (noted, after.value)
}

#[test]
fn results_of_stages_are_awaited_as_a_whole_and_put_in_when_they_are_known() {
    let lr = "stages.tune.outputs.settings.lr".to_owned();
    assert_eq!(awaited("${stages.tune.outputs.settings.lr * 2}"), (vec![lr.clone()], Value::Float(1.0)));
    assert_eq!(
        awaited("x${params.epochs * stages.tune.outputs.settings.lr}"),
        (vec![lr.clone()], Value::Text("x5".into()))
    );
    assert_eq!(awaited("${params.tuned * 2}"), (vec![lr.clone()], Value::Float(1.0)));
    assert_eq!(awaited("${params['tuned'] * 2}"), (vec![lr.clone()], Value::Float(1.0)));
    assert_eq!(awaited("${params['rates'].tuned}"), (vec![lr.clone()], Value::Float(5.0)));
    assert_eq!(awaited("${matrix.country.opt['tuned']}"), (vec![lr.clone()], Value::Float(0.5)));
    assert_eq!(awaited("${stages.tune.outputs.settings.lr is defined}"), (vec![lr.clone()], Value::Bool(true)));
    // What an expression does not come to is not waited for.
    assert_eq!(awaited("${stages.tune.outputs.settings.lr if matrix.class == 9 else 2}"), (vec![], Value::Int(2)));
    assert_eq!(awaited("${params.rates['plain']}"), (vec![], Value::Int(2)));
    let both = "${stages.t[v=\"a b\"].outputs.s.lr + stages.t.outputs.s.k}";
    assert_eq!(awaited(both).0.len(), 2);
    assert_eq!(awaited(both).1, Value::Float(1.0));
    let (list, after) = awaited("${params.rates}");
    assert_eq!(list, [lr]);
    assert_eq!(Node::new(after, Span::file(0, 0)).to_json(), serde_json::json!({"tuned": 5.0, "plain": 2}));
}

#[test]
fn where_results_may_not_stand_an_expression_with_one_is_refused_as_the_result_is() {
    let plain = told("${stages.tune.outputs.settings.lr}");
    assert!(plain.0.contains("is known only when that stage has run"));
    assert_eq!(told("${stages.tune.outputs.settings.lr * 2}"), plain);
    assert_eq!(told("${stages.tune.outputs.settings.lr is defined}"), plain);
    assert_eq!(value("stages.tune.outputs.settings.lr if false else 1"), Value::Int(1));
}

#[test]
fn a_path_that_begins_with_one_of_the_command_line_is_one_of_the_command_line() {
    let mut base = parse("{base: data, sub: other}").unwrap();
    if let Value::Map(entries) = &mut base.value {
        entries[0].1.origin = Span::new(TextId::Argument(0), 0, 4);
    }
    let params = Arc::new(base);
    let given = |text: &str| {
        let node = Node::new(Value::Text(text.to_owned()), Span::file(0, 1));
        Scope::new(&params, None).fill(&node, &mut Problems::default()).from_command_line()
    };
    assert!(given("${params.base ~ '/x'}"));
    assert!(given("${params.base if true else params.sub}"));
    assert!(!given("${params.sub ~ params.base}"));
    assert!(!given("${params.base | length}"));
}

#[test]
fn an_expression_is_compiled_once_for_many_cells() {
    let params = Arc::new(parse(PARAMS).unwrap());
    let node = Node::new(Value::Text("${params.epochs * matrix.class}".to_owned()), Span::file(0, 1));
    for class in 0..2_000 {
        let matrix = [coordinate("class", &class.to_string(), None)];
        let filled = Scope::new(&params, Some(&matrix)).fill(&node, &mut Problems::default());
        assert_eq!(filled.value, Value::Int(10 * class));
    }
    assert_eq!(COMPILED.with_borrow(HashMap::len), 1);
}
