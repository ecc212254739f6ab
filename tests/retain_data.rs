//! A method that may see only the forget class: its key names nothing of the retain classes, it hits when they change,
//! and code that tries every way through its [`StageIo`] reaches none of them.

mod hermetic;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hermetic::Project;
use pru_flow::execute::{Task, describe};
use pru_flow::graph::Device;
use pru_flow::overrides::Changes;
use pru_flow::plan::{At, plan, resolve};
use pru_flow_cache::{ActionResult, Digest, LocalStore};
use pru_flow_stages::dataset::{Dataset, Pixels};
use pru_flow_stages::io::{Attempt, StageIo};
use pru_flow_stages::model::architecture::{Architecture, ModelParams, Role};

const FORGET: u8 = 2;
const CLASSES: u8 = 4;
/// Images of a class: some parts are small enough for a record, others are not.
const IMAGES: usize = 20;

const PIPELINE: &str = r"
version: 1
name: retain
stages:
  data: {uses: data/import, with: {path: set.safetensors, test_fraction: 0.1}}
  split: {uses: data/split, with: {seed: 7}, inputs: {data: data.train}}
  model: {uses: model/import, with: {path: model.safetensors, model: {width: 0.0625}}}
  bn_only: {uses: unlearn/bn_only, with: {forget_class: 2}, inputs: {model: model.model, data: split.train}}
  pru: {uses: unlearn/pru, with: {forget_class: 2}, inputs: {model: model.model, data: split.train}}
  random_label: {uses: unlearn/random_label, with: {forget_class: 2}, inputs: {model: model.model, data: split.train}}
  boundary_shrink:
    uses: unlearn/boundary_shrink
    with: {forget_class: 2}
    inputs: {model: model.model, data: split.train}
  retrain: {uses: unlearn/retrain, with: {forget_class: 2}, inputs: {data: split.train}}
  relearn:
    uses: relearn
    with: {forget_class: 2}
    inputs: {model: model.model, data: split.request, test: split.validation}
";

/// Every image of class c is filled with `brightness[c]`.
fn set(brightness: [u8; CLASSES as usize]) -> Vec<u8> {
    let n = IMAGES * CLASSES as usize;
    let class = |row: usize| row % CLASSES as usize;
    let data = Dataset {
        shape: [n, 1, 28, 28],
        pixels: Pixels::U8((0..n).flat_map(|row| [brightness[class(row)]; 28 * 28]).collect()),
        labels: (0..n).map(|row| class(row) as i64).collect(),
        positions: (0..n as i64).collect(),
    };
    data.to_bytes().expect("the tensors fit their shapes")
}

/// A state dict of the right names and shapes, all zero, as a safetensors file.
fn model() -> Vec<u8> {
    let params: ModelParams = serde_json::from_str(r#"{"width": 0.0625}"#).expect("a width is enough");
    let architecture = Architecture::new(&params, 1).expect("a network of this width exists");
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for tensor in architecture.tensors() {
        let (dtype, size) = if tensor.role == Role::BatchesTracked { ("I64", 8) } else { ("F32", 4) };
        let begin = end;
        end += size * tensor.shape.iter().product::<usize>();
        let spec = serde_json::json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [begin, end]});
        header.insert(tensor.name, spec);
    }
    let header = serde_json::Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; end]].concat()
}

fn project(brightness: [u8; CLASSES as usize]) -> Project {
    let project = Project::with_pipeline(PIPELINE);
    project.write("set.safetensors", set(brightness));
    project.write("model.safetensors", model());
    project.pru_flow(&["run", "pipeline.yaml", "split", "model"]).expect_code(0);
    project
}

fn load(project: &Project) -> pru_flow::project::Project {
    let path = project.path("pipeline.yaml");
    pru_flow::project::Project::load(&path, Changes::default(), None).unwrap_or_else(|problem| panic!("{problem:?}"))
}

fn key(project: &Project, node: &str) -> String {
    let output = project.pru_flow(&["plan", "pipeline.yaml", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&output.expect_code(0).stdout).expect("one object");
    let nodes = plan["nodes"].as_array().expect("a list");
    let node = nodes.iter().find(|planned| planned["name"] == node).expect("every node is planned");
    node["key"].as_str().unwrap_or_else(|| panic!("no key yet: {node}")).to_owned()
}

const FORGET_ONLY: [&str; 4] = ["bn_only", "pru", "random_label", "boundary_shrink"];

#[test]
fn other_pixels_of_retain_classes_leave_a_forget_only_node_s_key_alone() {
    let (one, other, forget) = (project([1, 2, 3, 4]), project([1, 9, 3, 8]), project([1, 2, 7, 4]));
    for node in FORGET_ONLY {
        assert_eq!(key(&one, node), key(&other, node), "{node} may not depend on retain data");
        assert_ne!(key(&one, node), key(&forget, node), "{node} depends on forget data");
    }
    for node in ["retrain", "relearn"] {
        assert_ne!(key(&one, node), key(&other, node), "{node} depends on retain data");
    }
    assert_eq!(key(&one, "retrain"), key(&forget, "retrain"), "retraining may not depend on forget data");
}

/// What the engine gives the node, and the digests of all retain data.
fn attempt_of(project: &Project, node: &str, folder: &Path) -> (Attempt, BTreeSet<String>, LocalStore) {
    let loaded = load(project);
    let (store, stat) = loaded.look_into_store().expect("the store is readable");
    let store = store.expect("a run has made it");
    let graph = &loaded.graph;
    let planned = plan(graph, &vec![true; graph.nodes.len()], Some(&store), &stat).expect("the store is readable");
    let position = |name: &str| graph.nodes.iter().position(|n| n.name == name).expect("the pipeline has it");
    let id = position(node);
    let look = stat.code.look();
    let resolved = resolve(graph, id, &planned.results, At { store: None, outside: &stat, look: &look })
        .expect("its inputs are there");
    let result = |name: &str| planned.results[position(name)].clone().expect("it ran");
    let retain = retain_digests(&result("split"), &result("data"));
    assert!(retain.len() >= 9, "three parts of three classes, and the whole set");
    let task = Task {
        id,
        name: node.to_owned(),
        action: resolved.action,
        key: resolved.key,
        work: graph.nodes[id].described.work.clone(),
        inputs: resolved.inputs,
        sources: resolved.sources,
        code: None,
        environments: Vec::new(),
        outputs: graph.nodes[id].outputs.clone(),
        threads: 1,
        device: Device::Cpu,
        exclusive: false,
        replace: false,
    };
    let action = format!("{:?}", task.action);
    let sees_retain = retain.iter().any(|digest| action.contains(digest));
    assert_eq!(sees_retain, node == "retrain", "{node}: what its action names decides its key");
    let attempt = describe(&store, &task, folder, "cpu", &folder.join("log"));
    let attempt = attempt.unwrap_or_else(|failure| panic!("{}", failure.message));
    // Small inputs lie in a folder that goes with the store.
    (attempt, retain, store)
}

fn retain_digests(split: &Arc<ActionResult>, data: &Arc<ActionResult>) -> BTreeSet<String> {
    let of_retain = |name: &str| !name.contains(&format!("class-{FORGET}."));
    let parts = split.outputs.values().flat_map(|output| &output.files).filter(|file| of_retain(&file.name));
    let whole = data.outputs.values().flat_map(|output| &output.files);
    parts.chain(whole).map(|file| file.digest.to_string()).collect()
}

/// Everything that a stage can get hold of by asking: bytes of inputs, sources and files at output and scratch paths.
fn ransack(io: &mut StageIo<'_>) -> Vec<Vec<u8>> {
    let mut loot = Vec::new();
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        "/",
        "*",
        "data",
        "model",
        "test",
        "train",
        "retain",
        "split",
        "split.train",
        "data.train",
        "request",
        "validation",
        "set.safetensors",
        "path",
        "data ",
        "DATA",
        "data/../data",
        "data\0",
    ]
    .map(str::to_owned)
    .into();
    for class in 0..CLASSES {
        let file = format!("class-{class}.safetensors");
        names.extend([
            format!("data/{file}"),
            format!("../in/{file}"),
            format!("train/{file}"),
            format!("../{file}"),
            file,
        ]);
    }
    for name in &names {
        for input in io.inputs(name) {
            loot.extend(input.read());
            loot.extend(input.files.iter().filter_map(|file| file.read().ok()));
            loot.extend(Dataset::from_input(name, input).ok().and_then(|data| data.to_bytes().ok()));
            // The index beyond the last, and coordinates that might name other cells.
            assert!(input.files.get(input.files.len()).is_none());
            assert!(input.coordinates.is_empty(), "an input of one artifact tells nothing that is not in the key");
        }
        loot.extend(io.input(name).and_then(pru_flow_stages::io::Input::read));
        loot.extend(io.source(name).ok().and_then(|path| std::fs::read(path).ok()));
        let places = [io.output(name), io.scratch().join(name), io.output("x").join(name)];
        loot.extend(places.iter().filter_map(|path| std::fs::read(path).ok()));
    }
    loot
}

/// Whether there is a pixel of a retain class in it, by its brightness; each class has its own.
fn shows(bytes: &[u8], brightness: u8) -> bool {
    bytes.windows(28).any(|row| row.iter().all(|pixel| *pixel == brightness))
}

#[test]
fn a_hostile_stage_reaches_no_retain_data_by_any_port_index_member_or_path() {
    let brightness = [201, 202, 203, 204];
    let project = project(brightness);
    for node in FORGET_ONLY {
        let folder = project.path("attempt");
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        let (attempt, retain, _store) = attempt_of(&project, node, &folder);
        let text = serde_json::to_string(&attempt).expect("an attempt is written as JSON");
        for digest in &retain {
            assert!(!text.contains(digest.as_str()), "{node}: the attempt names {digest}");
        }
        let files: Vec<&str> = attempt.inputs["data"][0].files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(files, ["class-2.safetensors"]);
        let mut io = StageIo::new(&attempt, Arc::new(AtomicBool::new(false)), |_| ()).expect("the folder is writable");
        let loot = ransack(&mut io);
        assert!(loot.iter().any(|bytes| shows(bytes, brightness[2])), "the forget data is there to be found");
        for class in [0, 1, 3] {
            assert!(!loot.iter().any(|bytes| shows(bytes, brightness[class])), "{node} got hold of class {class}");
        }
        assert!(loot.iter().all(|bytes| !retain.contains(&Digest::of(bytes).to_string())));
    }
    // The same search does find it where it may be seen: else finding nothing means nothing.
    let (attempt, _, _store) = attempt_of(&project, "retrain", &project.path("attempt"));
    let mut io = StageIo::new(&attempt, Arc::new(AtomicBool::new(false)), |_| ()).expect("the folder is writable");
    let loot = ransack(&mut io);
    assert!([0, 1, 3].iter().all(|class| loot.iter().any(|bytes| shows(bytes, brightness[*class]))));
    assert!(!loot.iter().any(|bytes| shows(bytes, brightness[2])), "and a retain-only node finds no forget data");
}
