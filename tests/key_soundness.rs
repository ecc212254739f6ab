//! The key, seen from outside: a project, single changes that must make a node run again, and single changes that must
//! not. A stale hit would be a wrong result, a false miss a wasted day.

mod hermetic;

use std::collections::BTreeMap;
use std::path::Path;

use hermetic::Project;
use pru_flow_stages::dataset::{Dataset, Pixels};

const PIPELINE: &str = r#"# A comment.
version: 1
name: soundness
params: {lr: 1, word: hello, seed: 3, values: [a, b], unused: 1}
stages:
  glyphs:
    uses: data/glyphs
    with: {seed: "${params.seed}", train: 60, test: 20}
  import:
    uses: data/import
    with: {path: data/set.safetensors, test_fraction: 0.25, seed: 2}
  split:
    uses: data/split
    with: {seed: 5, request_fraction: 0.25}
    inputs: {data: glyphs.train}
  train:
    uses: train/original
    with: {epochs: 2, optimizer: {lr: "${params.lr}", weight_decay: 0}, seed: 4}
    inputs: {data: split.train}
  script:
    command: "sh scripts/run.sh ${params.word} ${inputs.text} ${outputs.out}"
    code: [scripts/lib, scripts/extra.sh]
    inputs: {text: tool.copy}
    outputs: {out: {name: out.txt}}
  tool:
    command: [./bin/tool, data/input.txt, "${outputs.copy}"]
    outputs: {copy: {name: copy.txt}}
  path_tool:
    command: [on-the-path, "${outputs.o}"]
    outputs: {o: {name: o.txt}}
  link:
    command: "cp data/link.txt ${outputs.o}"
    outputs: {o: {name: o.txt}}
  cells:
    command: "echo the same > ${outputs.o}"
    outputs: {o: {name: o.txt}}
    matrix: {value: "${params.values}"}
    resources: {cpus: 1}
  gather:
    command: "cat ${inputs.all} > ${outputs.all}"
    inputs: {all: "cells[*]"}
    outputs: {all: {name: all.txt}}
"#;

/// Nodes that need no libtorch; all others wait for nothing but these.
const PLAIN: [&str; 9] = ["glyphs", "import", "split", "script", "tool", "path_tool", "link", "cells", "gather"];

fn write(root: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder is writable");
    std::fs::write(path, content).expect("the folder is writable");
}

fn program(root: &Path, name: &str, content: &str) {
    use std::os::unix::fs::PermissionsExt;
    write(root, name, content);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(root.join(name), mode).expect("the file is ours");
}

fn link(root: &Path, name: &str, target: &str) {
    let _ = std::fs::remove_file(root.join(name));
    std::os::unix::fs::symlink(target, root.join(name)).expect("the folder is writable");
}

/// Twenty images, all of one brightness.
fn set(brightness: u8) -> Vec<u8> {
    let data = Dataset {
        shape: [20, 1, 4, 4],
        pixels: Pixels::U8(vec![brightness; 20 * 16]),
        labels: (0..20).map(|n| n % 4).collect(),
        positions: (0..20).collect(),
    };
    data.to_bytes().expect("the tensors fit their shapes")
}

fn project() -> Project {
    let project = Project::with_pipeline(PIPELINE);
    let root = project.root();
    write(&root, "data/set.safetensors", set(7));
    write(&root, "data/input.txt", "input\n");
    write(&root, "data/one.txt", "one\n");
    write(&root, "data/two.txt", "two\n");
    link(&root, "data/link.txt", "one.txt");
    write(&root, "scripts/run.sh", ". scripts/extra.sh\necho $1 > $3\ncat $2 >> $3\n");
    write(&root, "scripts/extra.sh", "# nothing\n");
    write(&root, "scripts/lib/a.sh", "# a\n");
    write(&root, "scripts/lib/deep/b.sh", "# b\n");
    program(&root, "bin/tool", "#!/bin/sh\ncp $1 $2\n");
    program(&root, "path/on-the-path", "#!/bin/sh\necho x > $1\n");
    program(&root, "other-path/on-the-path", "#!/bin/sh\necho y > $1\n");
    project
}

/// How the pipeline is planned; the rest of the project is what it is.
#[derive(Clone, Default)]
struct Call {
    file: Option<&'static str>,
    folder: &'static str,
    more: Vec<&'static str>,
    environment: Vec<(&'static str, &'static str)>,
    /// A folder that comes first on the `PATH`.
    first: Option<&'static str>,
}

impl Call {
    fn output(&self, project: &Project, command: &str, store: &Path, more: &[&str]) -> hermetic::Output {
        let store = store.to_str().expect("a temporary path is text");
        let arguments =
            [&[command, self.file.unwrap_or("pipeline.yaml"), "--store", store, "--json"], more, &self.more];
        let mut call = project.command(&arguments.concat());
        call.current_dir(project.path(self.folder)).envs(self.environment.iter().copied());
        let folders = [self.first.unwrap_or("path"), "path"].map(|folder| project.path(folder).display().to_string());
        call.env("PATH", format!("{}:{}", folders.join(":"), std::env::var("PATH").unwrap_or_default()));
        hermetic::Output::of(call)
    }

    /// Keys by node; an empty one where the key is not known yet.
    fn keys(&self, project: &Project, store: &Path) -> BTreeMap<String, String> {
        let output = self.output(project, "plan", store, &[]);
        let plan: serde_json::Value = serde_json::from_str(&output.expect_code(0).stdout).expect("one object");
        let nodes = plan["nodes"].as_array().expect("a list of nodes").iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(&node["name"]), text(&node["key"]))).collect()
    }
}

struct Change {
    name: &'static str,
    apply: Box<dyn Fn(&Path)>,
    call: Call,
}

fn change(name: &'static str, apply: impl Fn(&Path) + 'static) -> Change {
    Change { name, apply: Box::new(apply), call: Call::default() }
}

fn called(name: &'static str, call: Call) -> Change {
    Change { name, apply: Box::new(|_| ()), call }
}

/// Replaces a part of the pipeline, which must be in it.
fn edit(name: &'static str, from: &'static str, to: &'static str) -> Change {
    change(name, move |root| {
        assert!(PIPELINE.contains(from), "{name}: the pipeline has no `{from}`");
        write(root, "pipeline.yaml", PIPELINE.replace(from, to));
    })
}

fn written(name: &'static str, file: &'static str, content: &'static str) -> Change {
    change(name, move |root| write(root, file, content))
}

/// The store that a first run filled, and the keys that it had.
struct Base {
    _project: Project,
    _folder: tempfile::TempDir,
    store: std::path::PathBuf,
    keys: BTreeMap<String, String>,
}

impl Base {
    fn new() -> Self {
        let project = project();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let store = folder.path().join("store");
        Call::default().output(&project, "run", &store, &PLAIN).expect_code(0);
        let keys = Call::default().keys(&project, &store);
        assert_eq!(keys.len(), 11);
        assert!(keys.values().all(|key| !key.is_empty()), "every key is known: {keys:?}");
        Self { _project: project, _folder: folder, store, keys }
    }

    /// The keys after a change to a fresh copy of the project, in another folder.
    fn keys_after(&self, change: &Change) -> BTreeMap<String, String> {
        let project = project();
        (change.apply)(&project.root());
        change.call.keys(&project, &self.store)
    }
}

fn must_rerun() -> Vec<(&'static str, Change)> {
    let call = |more: &[&'static str]| Call { more: more.to_vec(), ..Call::default() };
    vec![
        ("script", edit("a param in a command", "word: hello", "word: hallo")),
        ("script", called("a param on the command line", call(&["--set", "word=hallo"]))),
        ("script", written("the script named in the command", "scripts/run.sh", "echo other > $3\n")),
        ("script", written("a file under `code`", "scripts/extra.sh", "# something\n")),
        ("script", written("a file in a folder under `code`", "scripts/lib/deep/b.sh", "# bb\n")),
        ("script", written("a new file in a folder under `code`", "scripts/lib/c.sh", "")),
        (
            "script",
            change("a renamed file in a folder under `code`", |root| {
                std::fs::rename(root.join("scripts/lib/a.sh"), root.join("scripts/lib/z.sh")).expect("it is there");
            }),
        ),
        (
            "script",
            change("a removed file in a folder under `code`", |root| {
                std::fs::remove_file(root.join("scripts/lib/a.sh")).expect("it is there");
            }),
        ),
        ("script", edit("no more `code`", "    code: [scripts/lib, scripts/extra.sh]\n", "")),
        ("script", edit("the text of a command", "sh scripts/run.sh", "sh -e scripts/run.sh")),
        ("script", edit("an output's file name", "{out: {name: out.txt}}", "{out: {name: result.txt}}")),
        ("script", edit("one output more", "{out: {name: out.txt}}", "{out: {name: out.txt}, more: {name: more.txt}}")),
        ("script", edit("another input", "{text: tool.copy}", "{text: link.o}")),
        ("tool", written("a file named in a command", "data/input.txt", "other input\n")),
        ("tool", change("a program in the project", |root| program(root, "bin/tool", "#!/bin/sh\ncat $1 > $2\n"))),
        ("tool", edit("a word of a command", "data/input.txt", "data/one.txt")),
        ("path_tool", called("a program on the path", Call { first: Some("other-path"), ..Call::default() })),
        ("link", change("a link that leads elsewhere", |root| link(root, "data/link.txt", "two.txt"))),
        ("link", written("what a link leads to", "data/one.txt", "eins\n")),
        ("glyphs", edit("a seed", "seed: 3, values", "seed: 8, values")),
        ("glyphs", edit("a number of images", "train: 60", "train: 61")),
        ("split", edit("a stage's seed", "seed: 5, request", "seed: 6, request")),
        ("split", edit("a fraction", "request_fraction: 0.25", "request_fraction: 0.5")),
        ("split", edit("an input's output", "data: glyphs.train", "data: glyphs.test")),
        ("import", change("pixels of a source", |root| write(root, "data/set.safetensors", set(8)))),
        ("import", edit("a fraction of a source", "test_fraction: 0.25", "test_fraction: 0.5")),
        ("import", edit("the seed of a draw", "0.25, seed: 2", "0.25, seed: 3")),
        ("train", edit("a learning rate", "lr: 1,", "lr: 1.5,")),
        ("train", edit("epochs", "epochs: 2", "epochs: 3")),
        ("train", edit("a seed of training", "seed: 4", "seed: 5")),
        ("train", edit("a precision", "epochs: 2", "precision: f64, epochs: 2")),
        ("train", edit("a batch size", "epochs: 2", "batch_size: 32, epochs: 2")),
        ("train", edit("an order", "epochs: 2", "order: sequential, epochs: 2")),
        ("train", edit("a momentum", "weight_decay: 0}", "weight_decay: 0, momentum: 0.8}")),
        ("train", edit("a width", "epochs: 2", "model: {width: 0.5}, epochs: 2")),
        ("train", edit("other data", "inputs: {data: split.train}", "inputs: {data: split.validation}")),
        ("gather", edit("a coordinate that a gathering input prints", "values: [a, b]", "values: [a, c]")),
        ("gather", edit("a cell more", "values: [a, b]", "values: [a, b, c]")),
        ("gather", edit("a cell less", "values: [a, b]", "values: [a]")),
        ("gather", edit("the order of cells", "values: [a, b]", "values: [b, a]")),
        ("gather", edit("the name of an axis", "matrix: {value:", "matrix: {kind:")),
        ("gather", edit("fewer cells gathered", "cells[*]", "cells[value=a]")),
    ]
}

fn touch(root: &Path, name: &str) {
    let file = std::fs::File::options().append(true).open(root.join(name)).expect("the file is there");
    let time = std::time::SystemTime::now() - std::time::Duration::from_hours(24);
    file.set_modified(time).expect("the file is ours");
}

fn must_not_rerun() -> Vec<Change> {
    let call = |more: &[&'static str]| Call { more: more.to_vec(), ..Call::default() };
    vec![
        edit("nothing: another folder", "", ""),
        edit("a comment", "# A comment.", "# Another comment.\n\n# And one more."),
        edit("an empty line", "stages:\n", "\nstages:\n\n"),
        edit("the order of top-level keys", "version: 1\nname: soundness\n", "name: soundness\nversion: 1\n"),
        edit(
            "the order of a stage's keys",
            "    uses: data/glyphs\n    with: {seed: \"${params.seed}\", train: 60, test: 20}\n",
            "    with: {seed: \"${params.seed}\", train: 60, test: 20}\n    uses: data/glyphs\n",
        ),
        edit("the order of params", "train: 60, test: 20", "test: 20, train: 60"),
        edit(
            "block style",
            "with: {seed: 5, request_fraction: 0.25}",
            "with:\n      seed: 5\n      request_fraction: 0.25",
        ),
        edit("quotes", "word: hello", "word: 'hello'"),
        edit("a literal for a param", "seed: \"${params.seed}\"", "seed: 3"),
        change("a param's name", |root| {
            let text = PIPELINE.replace("params.word", "params.greeting").replace("word: hello", "greeting: hello");
            write(root, "pipeline.yaml", text);
        }),
        edit("a float that is written as one", "lr: 1,", "lr: 1.0,"),
        edit("a float with an exponent", "lr: 1,", "lr: 1e0,"),
        edit("a whole number for a float", "weight_decay: 0}", "weight_decay: 0.0}"),
        edit("a default that is written", "epochs: 2", "epochs: 2, batch_norm: train, order: shuffled, precision: f32"),
        edit(
            "a nested default that is written",
            "weight_decay: 0}",
            "weight_decay: 0, momentum: 0.9, nesterov: false}",
        ),
        edit(
            "a default of a plain stage that is written",
            "request_fraction: 0.25",
            "request_fraction: 0.25, validation_fraction: 0.2",
        ),
        edit("an unused param", "unused: 1", "unused: 2"),
        edit("the pipeline's name", "name: soundness", "name: another"),
        edit("cores", "resources: {cpus: 1}", "resources: {cpus: 2}"),
        edit("memory and company", "resources: {cpus: 1}", "resources: {memory: 1GiB, exclusive: true}"),
        edit(
            "a device",
            "inputs: {data: split.train}\n",
            "inputs: {data: split.train}\n    resources: {device: cpu}\n",
        ),
        edit("one output to read that has a name", "text: tool.copy", "text: tool"),
        edit("a stage more", "  gather:\n", "  more: {command: \"echo > ${outputs.o}\", outputs: [o]}\n  gather:\n"),
        change("another place in the file", |root| {
            let (before, gather) = PIPELINE.split_at(PIPELINE.find("  gather:").expect("it is there"));
            let (head, stages) = before.split_at(before.find("  glyphs:").expect("it is there"));
            write(root, "pipeline.yaml", format!("{head}{gather}{stages}"));
        }),
        change("the time of the script", |root| touch(root, "scripts/run.sh")),
        change("the time of a source", |root| touch(root, "data/set.safetensors")),
        change("the time of the pipeline", |root| touch(root, "pipeline.yaml")),
        change("a file written again", |root| write(root, "data/input.txt", "input\n")),
        written("a file that nobody names", "data/unrelated.txt", "x"),
        change("an empty folder under `code`", |root| {
            std::fs::create_dir(root.join("scripts/lib/empty")).expect("the folder is writable");
        }),
        change("a source in another place", |root| {
            std::fs::rename(root.join("data/set.safetensors"), root.join("moved.safetensors")).expect("it is there");
            write(root, "pipeline.yaml", PIPELINE.replace("data/set.safetensors", "moved.safetensors"));
        }),
        change("a link to the same content", |root| {
            std::fs::copy(root.join("data/one.txt"), root.join("data/uno.txt")).expect("it is there");
            link(root, "data/link.txt", "uno.txt");
        }),
        Change {
            name: "the pipeline in a folder of the project",
            apply: Box::new(|root| write(root, "pipelines/other.yaml", PIPELINE)),
            call: Call { file: Some("pipelines/other.yaml"), ..Call::default() },
        },
        called("another current folder", Call { folder: "data", file: Some("../pipeline.yaml"), ..Call::default() }),
        called("the same value on the command line", call(&["--set", "word=hello", "--set", "lr=1.0"])),
        called(
            "the environment",
            Call { environment: vec![("SECRET", "1"), ("LANG", "de_DE"), ("OMP_NUM_THREADS", "7")], ..Call::default() },
        ),
    ]
}

#[test]
fn every_change_that_must_run_a_node_again_does() {
    let base = Base::new();
    let changes = must_rerun();
    assert!(changes.len() >= 30);
    let mut stale = Vec::new();
    for (node, change) in &changes {
        let keys = base.keys_after(change);
        let key = keys.get(*node).unwrap_or_else(|| panic!("{}: there is no {node}", change.name));
        if *key == base.keys[*node] {
            stale.push((change.name, *node));
        }
    }
    assert!(stale.is_empty(), "{} of {} are stale: {stale:?}", stale.len(), changes.len());
}

#[test]
fn no_change_that_must_not_run_a_node_again_does() {
    let base = Base::new();
    let changes = must_not_rerun();
    assert!(changes.len() >= 30);
    let mut wasted = Vec::new();
    for change in &changes {
        let keys = base.keys_after(change);
        for (node, key) in base.keys.iter().filter(|(node, key)| keys.get(*node) != Some(key)) {
            wasted.push((change.name, node.clone(), key.clone()));
        }
    }
    assert!(wasted.is_empty(), "{} of {} run in vain: {wasted:#?}", wasted.len(), changes.len());
}

#[test]
fn a_renamed_stage_keeps_its_result_and_a_cell_keeps_it_when_others_come_and_go() {
    let base = Base::new();
    let renamed = edit("a stage's name", "  split:", "  parts:");
    let apply = move |root: &Path| {
        (renamed.apply)(root);
        let text = std::fs::read_to_string(root.join("pipeline.yaml")).expect("it is there");
        write(root, "pipeline.yaml", text.replace("split.train", "parts.train"));
    };
    let keys = base.keys_after(&change("a stage's name", apply));
    assert_eq!(keys["parts"], base.keys["split"]);
    assert_eq!(keys["train"], base.keys["train"]);
    let keys = base.keys_after(&edit("a command's name", "  link:\n", "  linked:\n"));
    assert_eq!(keys["linked"], base.keys["link"]);
    let more = base.keys_after(&edit("", "values: [a, b]", "values: [c, b, a]"));
    for cell in ["cells[value=a]", "cells[value=b]"] {
        assert_eq!(more[cell], base.keys[cell]);
    }
    let seen = base.keys_after(&edit("", "echo the same", "echo ${matrix.value}"));
    assert_ne!(seen["cells[value=a]"], seen["cells[value=b]"], "a coordinate that a command is given is in its key");
}

#[test]
fn how_a_run_is_carried_out_makes_no_difference() {
    let base = Base::new();
    for more in
        [&["-j", "1"][..], &["-j", "7"], &["--cpus", "1"], &["--device", "cpu"], &["--keep-going"], &["--fail-fast"]]
    {
        let project = project();
        let call = Call { environment: vec![("PRU_FLOW_LOG", "off")], ..Call::default() };
        let output = call.output(&project, "run", &base.store, &[&PLAIN, more].concat());
        assert_eq!(output.expect_code(0).finished()["executed"], 0, "{more:?}");
    }
}
