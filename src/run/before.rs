//! What is found out before anything runs: what nodes need and what there is of it, and whether files, programs, devices
//! and limits are there.

use std::path::Path;

use pru_flow_stages::StageDef;

use super::RunOptions;
use crate::command_code::NodeCode;
use crate::execute::Executor;
use crate::graph::{Described, Device, Graph, GraphNode, Work};
use crate::problem::{Problem, Problems};
use crate::schedule::{Limits, Need};
use crate::sources::Outside;

pub(super) fn need(described: &Described, options: &RunOptions) -> Need {
    let Described { resources, policy, named, .. } = described;
    let on_gpu = needs_worker(&described.work)
        && match options.device.unwrap_or(described.device) {
            Device::Cpu => false,
            Device::Cuda(_) => true,
            Device::Auto => Path::new("/dev/nvidiactl").exists(),
        };
    Need {
        cpus: resources.cpus,
        gpus: if on_gpu { resources.gpus.max(1) } else { 0 },
        memory_bytes: resources.memory_bytes,
        exclusive: resources.exclusive,
        named: named.clone(),
        priority: policy.priority,
        retries: policy.retries,
    }
}

pub(super) fn limits(graph: &Graph, options: &RunOptions) -> Limits {
    let mut named = graph.limits.clone();
    named.extend(options.limits.iter().map(|(name, n)| (name.clone(), *n)));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total_kib =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    Limits {
        nodes: options.jobs,
        cpus: options.cpus,
        // One node at a time on a device, and only the first device is taken unasked: memory is not watched yet.
        gpus: 1,
        memory_bytes: total_kib.map_or(u64::MAX, |kib: u64| kib * 1024),
        named,
    }
}

/// A missing file is told before anything runs, for all nodes at once.
pub(super) fn check_sources(graph: &Graph, wanted: &[bool], outside: &Outside) -> Result<(), Problems> {
    let mut problems = Problems::default();
    let look = outside.code.look();
    for id in (0..graph.nodes.len()).filter(|id| wanted[*id]) {
        let node = &graph.nodes[id];
        let mut all = outside.find_all(&node.described.sources).err().unwrap_or_default();
        if let Work::Command(work) = &node.described.work {
            all.extend(NodeCode::find(graph, id, (work, &node.described.sources), (outside, &look)).err());
        }
        for missing in all {
            problems.push(Problem::new(missing.message, node.span).maybe_help(missing.help));
        }
    }
    problems.into_result(())
}

/// A resource of which nobody says how much there is would limit nothing.
pub(super) fn check_limits(graph: &Graph, wanted: &[bool], limits: &Limits) -> Result<(), Problems> {
    let mut problems = Problems::default();
    for node in graph.nodes.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(node, _)| node) {
        for name in node.described.named.keys().filter(|name| !limits.named.contains_key(*name)) {
            let problem =
                Problem::new(format!("`{}` needs `{name}`, of which no limit is known", node.stage), node.span);
            problems.push(
                problem.help(format!("add `limits: {{{name}: 2}}` to the pipeline, or run with `--limit {name}=2`")),
            );
        }
    }
    problems.into_result(())
}

pub(super) fn check_devices(
    graph: &Graph,
    wanted: &[bool],
    options: &RunOptions,
    executor: &Executor,
) -> Result<(), Problems> {
    let asked = graph.nodes.iter().zip(wanted).filter(|(node, wanted)| **wanted && needs_worker(&node.described.work));
    let asked: Vec<(u32, &GraphNode)> = asked
        .filter_map(|(node, _)| match options.device.unwrap_or(node.described.device) {
            Device::Cuda(index) => Some((index, node)),
            Device::Auto | Device::Cpu => None,
        })
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let hello = executor.hello().map_err(|message| Problems::one(Problem::of_file(message)))?;
    let mut problems = Problems::default();
    for (index, node) in asked.iter().filter(|(index, _)| *index >= hello.cuda_devices) {
        let there = match hello.cuda_devices {
            0 => "there is no CUDA device that libtorch can use".to_owned(),
            n => format!("there are {n} CUDA devices"),
        };
        let problem = Problem::new(format!("`{}` asks for cuda:{index}, and {there}", node.stage), node.span);
        problems.push(problem.help("run with `--device cpu`, or look at `pru-flow doctor`"));
    }
    problems.into_result(())
}

pub(super) fn needs_worker(work: &Work) -> bool {
    work.stage().is_some_and(StageDef::needs_worker)
}
