//! What unlearning took, from the measurements in the records: time, memory, and data read, by setting and method.
//!
//! Only nodes count that ran alone on their machine, as `resources: {exclusive: true}` asks for: beside other nodes a node
//! is slower. Nodes of another machine, device or number of threads are not averaged with these. Tries of a rate search
//! are no unlearning that a table shows. Knows nothing of HTML.

use std::collections::{BTreeMap, BTreeSet};

use pru_flow_cache::ActionResult;
use pru_flow_stages::tables::{Layout, Mean, mean, seconds_of_unlearning};

use crate::graph::{Graph, GraphNode, NodeId};
use crate::plan::Plan;

/// What stages that unlearn are called.
const UNLEARN: &str = "unlearn/";
/// That which all others are compared with.
const RETRAIN: &str = "unlearn/retrain";
/// Stages that search for a rate.
const TUNE: &str = "tune/";
/// The axis that names what was unlearned where, as the paper's settings are named.
const SETTING: &str = "setting";
/// The axis of the forget set, and what the set is called there that the paper's times are taken to be of.
const FORGET_SET: (&str, [&str; 2]) = ("forget_on", ["d_f", "train"]);

/// Values on axes.
type Coordinates = Vec<(String, String)>;

/// What unlearning took.
#[derive(Debug)]
pub struct Costs {
    /// Settings of which a node was measured.
    pub settings: Vec<Setting>,
    /// All nodes that unlearn.
    pub nodes: usize,
    /// Those of them that have a result, but ran beside others, or do not say.
    pub beside: usize,
    /// Those that have no result.
    pub missing: usize,
}

/// What was unlearned where, measured on one kind of machine.
#[derive(Debug)]
pub struct Setting {
    /// Values on the axes that tell it from the others; empty where there is one.
    pub fixed: Coordinates,
    /// Machine, device and threads.
    pub machine: String,
    /// Retraining first, then in the order of the file.
    pub methods: Vec<Method>,
}

/// One method in one setting.
#[derive(Debug)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// The stage of the pipeline.
    pub stage: String,
    /// Nodes that were measured.
    pub measured: Vec<NodeId>,
    /// Nodes that were not, here.
    pub left_out: Vec<NodeId>,
    /// Seconds of training; none where nothing is trained.
    pub train_seconds: Option<Mean>,
    /// Seconds from start to end, with reading and writing.
    pub wall_seconds: Option<Mean>,
    /// The most memory of the machine that a worker held.
    pub peak_memory_bytes: Option<Mean>,
    /// Samples read in batches.
    pub sample_passes: Option<Mean>,
    /// Bytes read of samples of remaining classes.
    pub retain_read_bytes: Option<Mean>,
    /// How many times as long retraining takes: the quotient of the mean seconds of training.
    pub speedup: Option<f64>,
    /// What the paper shows, in seconds.
    pub published_seconds: Option<f64>,
}

/// The nodes of one method in one setting, measured or not.
struct Group<'a> {
    stage: &'a str,
    def: &'static str,
    /// On the axis of the methods.
    method: Option<&'a str>,
    fixed: Coordinates,
    nodes: Vec<NodeId>,
}

/// What the plan's records say; none where no node unlearns.
#[must_use]
pub fn costs(graph: &Graph, plan: &Plan) -> Option<Costs> {
    let groups = groups(graph, plan);
    let all = || groups.iter().flat_map(|group| &group.nodes);
    all().next()?;
    let alone = |id: &NodeId| plan.results[*id].as_deref().filter(|result| ran_alone(result));
    let missing = all().filter(|id| plan.results[**id].is_none()).count();
    let measured = all().filter(|id| alone(id).is_some()).count();
    let nodes = all().count();
    let mut settings = Vec::new();
    for fixed in wholes(&groups) {
        let here: Vec<&Group> = groups.iter().filter(|group| is_part(&group.fixed, &fixed)).collect();
        let found = here.iter().flat_map(|group| &group.nodes).filter_map(alone);
        let machines: BTreeSet<String> = found.map(machine).collect();
        for machine_name in machines {
            let on_it = |id: &NodeId| alone(id).filter(|result| machine(result) == machine_name);
            let methods = methods(&here, &fixed, on_it);
            settings.push(Setting { fixed: fixed.clone(), machine: machine_name, methods });
        }
    }
    Some(Costs { settings, nodes, beside: nodes - missing - measured, missing })
}

/// Whether the record says that its node ran beside nothing else.
fn ran_alone(result: &ActionResult) -> bool {
    result.provenance.get("exclusive").is_some_and(|said| said == "true")
}

/// Where times can be compared.
fn machine(result: &ActionResult) -> String {
    let of = |name: &str| result.provenance.get(name).map_or("unknown", String::as_str);
    let threads = of("threads");
    let noun = if threads == "1" { "thread" } else { "threads" };
    format!("{}, on {}, {threads} {noun}", of("machine"), of("device"))
}

/// The nodes that unlearn for a table, by stage, method and setting, in the order of the file.
fn groups<'a>(graph: &'a Graph, plan: &Plan) -> Vec<Group<'a>> {
    let shown = shown(graph, plan);
    let mut groups: Vec<Group> = Vec::new();
    let mut places: BTreeMap<(&str, Option<&str>, Coordinates), usize> = BTreeMap::new();
    for (id, node) in graph.nodes.iter().enumerate().filter(|(id, _)| shown.contains(id)) {
        let Some(def) = node.described.work.stage().filter(|def| def.name.starts_with(UNLEARN)) else { continue };
        let (method, fixed) = roles(node);
        let place = *places.entry((&node.stage, method, fixed.clone())).or_insert_with(|| {
            groups.push(Group { stage: &node.stage, def: def.name, method, fixed, nodes: Vec::new() });
            groups.len() - 1
        });
        groups[place].nodes.push(id);
    }
    groups.sort_by_key(|group| group.def != RETRAIN);
    groups
}

/// The nodes of the plan that something other than a search for a rate needs.
fn shown(graph: &Graph, plan: &Plan) -> BTreeSet<NodeId> {
    let planned: BTreeSet<NodeId> = plan.nodes.iter().map(|node| node.id).collect();
    let searches = |id: NodeId| graph.nodes[id].described.work.stage().is_some_and(|def| def.name.starts_with(TUNE));
    let consumers = graph.consumers();
    let is_last = |id: &NodeId| !consumers[*id].iter().any(|consumer| planned.contains(consumer));
    let mut open: Vec<NodeId> = planned.iter().copied().filter(is_last).collect();
    let mut shown = BTreeSet::new();
    while let Some(id) = open.pop() {
        if shown.insert(id) && !searches(id) {
            open.extend(graph.producers(id));
        }
    }
    shown
}

/// A node's value on the axis of the methods, and those on the axes over which nothing is averaged: the parts that axes
/// play in tables, where these say nothing else.
fn roles(node: &GraphNode) -> (Option<&str>, Coordinates) {
    let layout = Layout::default();
    let method = node.coordinates.iter().find(|(axis, _)| *axis == layout.columns).map(|(_, value)| value.as_str());
    let averaged = |axis: &String| *axis == layout.columns || *axis == layout.trials || layout.average.contains(axis);
    let mut fixed: Coordinates = node.coordinates.iter().filter(|(axis, _)| !averaged(axis)).cloned().collect();
    fixed.sort();
    (method, fixed)
}

/// The settings that are no part of another: a method without an axis stands for all its values, as a retrained network
/// does for all forget sets.
fn wholes(groups: &[Group]) -> Vec<Coordinates> {
    let distinct: BTreeSet<&Coordinates> = groups.iter().map(|group| &group.fixed).collect();
    let mut wholes: Vec<Coordinates> = Vec::new();
    for Group { fixed, .. } in groups {
        let inside = || distinct.iter().any(|other| other.len() > fixed.len() && is_part(fixed, other));
        if !wholes.contains(fixed) && !inside() {
            wholes.push(fixed.clone());
        }
    }
    wholes
}

fn is_part(fixed: &Coordinates, whole: &Coordinates) -> bool {
    fixed.iter().all(|pair| whole.contains(pair))
}

fn methods<'r>(
    groups: &[&Group],
    fixed: &Coordinates,
    measured: impl Fn(&NodeId) -> Option<&'r ActionResult>,
) -> Vec<Method> {
    let names: Vec<&str> = groups.iter().map(|group| name(group)).collect();
    let means = |group: &Group, what: &str| {
        let of = |id: &NodeId| measured(id)?.measurements.get(what).copied();
        mean(&group.nodes.iter().filter_map(of).collect::<Vec<_>>())
    };
    let retrain = groups.iter().find(|group| group.def == RETRAIN);
    let retrain = retrain.and_then(|group| means(group, "train_seconds"));
    let method = |(group, own): (&&Group, &&str)| {
        let (alone, left_out) = group.nodes.iter().partition(|id| measured(id).is_some());
        let train_seconds = means(group, "train_seconds");
        let twice = names.iter().filter(|name| *name == own).count() > 1;
        Method {
            name: if twice { format!("{own} ({})", group.stage) } else { (*own).to_owned() },
            stage: group.stage.to_owned(),
            measured: alone,
            left_out,
            train_seconds,
            wall_seconds: means(group, "wall_seconds"),
            peak_memory_bytes: means(group, "peak_memory_bytes"),
            sample_passes: means(group, "sample_passes"),
            retain_read_bytes: means(group, "retain_read_bytes"),
            speedup: retrain.zip(train_seconds).map(|(all, own)| all.value / own.value).filter(|s| s.is_finite()),
            published_seconds: published(fixed, group, own),
        }
    };
    groups.iter().zip(&names).map(method).collect()
}

/// What a method is called: its value on the axis of the methods, or else its stage, without the import's name.
fn name<'a>(group: &Group<'a>) -> &'a str {
    group.method.unwrap_or_else(|| group.stage.rsplit('.').next().unwrap_or(group.stage))
}

/// The paper's time, where it has one: it does not say of which forget set.
fn published(fixed: &Coordinates, group: &Group, name: &str) -> Option<f64> {
    let on = |axis: &str| fixed.iter().find(|(known, _)| known == axis).map(|(_, value)| value.as_str());
    let (axis, names) = FORGET_SET;
    let its_set = group.def == RETRAIN || on(axis).is_none_or(|found| names.contains(&found));
    seconds_of_unlearning(on(SETTING)?, name).filter(|_| its_set)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are sums and quotients of small whole numbers")]
mod tests {
    use std::sync::Arc;

    use pru_flow_cache::{Action, Value, WriterId};
    use pru_flow_stages::stage::Sees;

    use super::*;
    use crate::graph::{Described, PortInputs, Work};
    use crate::plan::{PlannedNode, Status};
    use crate::problem::{Problems, Span};

    /// A pipeline whose results are what a test says.
    #[derive(Default)]
    struct Ran {
        nodes: Vec<GraphNode>,
        results: Vec<Option<Arc<ActionResult>>>,
    }

    impl Ran {
        /// A node of a stage, which reads others; nothing ran yet.
        fn node(&mut self, stage: &str, def: &str, coordinates: &[(&str, &str)], from: &[NodeId]) -> NodeId {
            let work = Work::Builtin {
                def: pru_flow_stages::find(def).unwrap(),
                params: serde_json::Value::Null,
                unkeyed_params: Vec::new(),
                forget_class: None,
            };
            let from: Vec<(NodeId, String)> = from.iter().map(|id| (*id, "o".to_owned())).collect();
            let inputs = PortInputs { gather: true, sees: Sees::Both, from };
            self.nodes.push(GraphNode {
                stage: stage.to_owned(),
                coordinates: coordinates
                    .iter()
                    .map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()))
                    .collect(),
                name: format!("{stage}{coordinates:?}"),
                described: Described::of(work),
                inputs: BTreeMap::from([("i".to_owned(), inputs)]),
                outputs: Vec::new(),
                span: Span::file(0, 0),
                imported: false,
                unfit: Vec::new(),
            });
            self.results.push(None);
            self.nodes.len() - 1
        }

        /// The node ran, on a machine or with nothing said of whether alone.
        fn took(&mut self, id: NodeId, (machine, exclusive): (&str, Option<bool>), measured: &[(&str, f64)]) {
            let action = Action {
                stage: "s".to_owned(),
                version: 1,
                toolchain: BTreeMap::new(),
                params: Value::Null,
                sources: BTreeMap::new(),
                inputs: BTreeMap::new(),
            };
            let writer: WriterId = "me".parse().unwrap();
            let mut result = ActionResult::new(action, &self.nodes[id].name, writer).unwrap();
            result.measurements = measured.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
            let said = [("machine", machine), ("device", "cpu"), ("threads", "1")];
            result.provenance = said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            result.provenance.extend(exclusive.map(|yes| ("exclusive".to_owned(), yes.to_string())));
            self.results[id] = Some(Arc::new(result));
        }

        fn costs(self) -> Option<Costs> {
            let planned = |id: NodeId| PlannedNode {
                id,
                status: Status::Cached,
                action: None,
                key: None,
                why: String::new(),
                values: Vec::new(),
                problems: Problems::default(),
            };
            let nodes = (0..self.nodes.len()).map(planned).collect();
            let order = (0..self.nodes.len()).collect();
            let plan = Plan { nodes, results: self.results, history: None };
            costs(&Graph { nodes: self.nodes, order, ..Graph::default() }, &plan)
        }
    }

    const ALONE: (&str, Option<bool>) = ("here", Some(true));

    fn train(seconds: f64) -> [(&'static str, f64); 2] {
        [("train_seconds", seconds), ("wall_seconds", seconds + 1.0)]
    }

    #[test]
    fn only_nodes_that_say_that_they_ran_alone_are_averaged_and_the_others_are_counted() {
        let mut ran = Ran::default();
        let pru = ["1", "2", "3", "4", "5"].map(|seed| ran.node("pru", "unlearn/pru", &[("seed", seed)], &[]));
        let retrain = ["1", "2"].map(|seed| ran.node("retrain", "unlearn/retrain", &[("seed", seed)], &[]));
        let other = ran.node("original", "train/original", &[], &[]);
        ran.took(pru[0], ALONE, &[("train_seconds", 2.0), ("wall_seconds", 3.0), ("retain_read_bytes", 0.0)]);
        ran.took(pru[1], ALONE, &train(6.0));
        ran.took(pru[2], ("here", Some(false)), &train(1000.0));
        ran.took(pru[3], ("here", None), &train(1000.0));
        ran.took(retrain[0], ALONE, &train(10.0));
        ran.took(retrain[1], ALONE, &train(30.0));
        ran.took(other, ALONE, &train(1000.0));
        let costs = ran.costs().unwrap();
        assert_eq!((costs.nodes, costs.beside, costs.missing), (7, 2, 1));
        let [setting] = costs.settings.as_slice() else { panic!("{costs:?}") };
        assert_eq!(setting.machine, "here, on cpu, 1 thread");
        let [first, second] = setting.methods.as_slice() else { panic!("{setting:?}") };
        assert_eq!((first.name.as_str(), second.name.as_str()), ("retrain", "pru"), "retraining comes first");
        let mean = second.train_seconds.unwrap();
        // Two values 4 apart: deviation sqrt(8), 12.706 sqrt(8) / sqrt(2) = 25.412.
        assert_eq!((mean.value, mean.n), (4.0, 2));
        assert!((mean.half_width.unwrap() - 25.412_409).abs() < 1e-5, "{mean:?}");
        assert_eq!(second.wall_seconds.unwrap().value, 5.0);
        assert_eq!((first.speedup, second.speedup), (Some(1.0), Some(5.0)));
        assert_eq!((second.measured.len(), second.left_out.as_slice()), (2, &pru[2..]));
        assert_eq!(second.retain_read_bytes.unwrap().n, 1);
        assert!(second.peak_memory_bytes.is_none() && second.published_seconds.is_none());
    }

    #[test]
    fn what_lacks_an_axis_stands_for_all_its_values_and_the_paper_is_beside_its_own_forget_set() {
        let mut ran = Ran::default();
        let mnist = ("setting", "mnist-allcnn");
        let ids = [
            ran.node("paper.pru", "unlearn/pru", &[mnist, ("forget_on", "train")], &[]),
            ran.node("paper.pru", "unlearn/pru", &[mnist, ("forget_on", "request")], &[]),
            ran.node("ablation", "unlearn/pru", &[mnist, ("method", "pru"), ("forget_on", "train")], &[]),
            ran.node("retrain", "unlearn/retrain", &[("class", "3"), mnist], &[]),
            ran.node("retrain", "unlearn/retrain", &[("class", "3"), ("setting", "other")], &[]),
        ];
        for (id, seconds) in ids.into_iter().zip([1.0, 2.0, 4.0, 8.0]) {
            ran.took(id, ALONE, &train(seconds));
        }
        let costs = ran.costs().unwrap();
        let seen: Vec<(String, Vec<_>)> = costs
            .settings
            .iter()
            .map(|setting| {
                let methods =
                    setting.methods.iter().map(|m| (m.name.as_str(), m.speedup, m.published_seconds)).collect();
                (setting.fixed.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" "), methods)
            })
            .collect();
        // Nothing of the last setting was measured.
        let expected = [
            (
                "train mnist-allcnn".to_owned(),
                vec![
                    ("retrain", Some(1.0), Some(50.0)),
                    ("pru (paper.pru)", Some(8.0), Some(24.0)),
                    ("pru (ablation)", Some(2.0), Some(24.0)),
                ],
            ),
            ("request mnist-allcnn".to_owned(), vec![("retrain", Some(1.0), Some(50.0)), ("pru", Some(4.0), None)]),
        ];
        assert_eq!(seen, expected);
        assert_eq!((costs.nodes, costs.beside, costs.missing), (5, 0, 1));
    }

    #[test]
    fn times_of_different_machines_are_never_averaged_or_divided() {
        let mut ran = Ran::default();
        let pru = ["1", "2"].map(|seed| ran.node("pru", "unlearn/pru", &[("seed", seed)], &[]));
        let retrain = ran.node("retrain", "unlearn/retrain", &[], &[]);
        ran.took(pru[0], ALONE, &train(1.0));
        ran.took(pru[1], ("there", Some(true)), &train(100.0));
        ran.took(retrain, ("there", Some(true)), &train(300.0));
        let costs = ran.costs().unwrap();
        let of = |at: usize, method: usize| &costs.settings[at].methods[method];
        assert_eq!(costs.settings.len(), 2);
        assert_eq!((of(0, 1).train_seconds.unwrap().value, of(0, 1).speedup), (1.0, None));
        assert_eq!((of(1, 1).train_seconds.unwrap().value, of(1, 1).speedup), (100.0, Some(3.0)));
        assert!(of(0, 0).train_seconds.is_none() && of(0, 0).measured.is_empty());
        assert_eq!((of(0, 1).left_out.as_slice(), of(1, 1).left_out.as_slice()), (&pru[1..], &pru[..1]));
        assert_eq!((costs.beside, costs.missing), (0, 0));
    }

    #[test]
    fn tries_of_a_rate_search_are_no_unlearning_that_is_shown() {
        let mut ran = Ran::default();
        let tried = ran.node("try_pru", "unlearn/pru", &[("lr", "0.1")], &[]);
        let judged = ran.node("judge", "evaluate", &[("lr", "0.1")], &[tried]);
        let tune = ran.node("tune", "tune/grid", &[], &[judged]);
        let pru = ran.node("pru", "unlearn/pru", &[], &[tune]);
        ran.took(tried, ALONE, &train(1.0));
        ran.took(pru, ALONE, &train(2.0));
        let costs = ran.costs().unwrap();
        assert_eq!((costs.nodes, costs.settings.len()), (1, 1));
        assert_eq!(costs.settings[0].methods[0].measured, [pru]);
        let mut ran = Ran::default();
        ran.node("original", "train/original", &[], &[]);
        assert!(ran.costs().is_none(), "nothing unlearns");
    }
}
