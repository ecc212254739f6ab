//! `data/download` and its readers through the binary: what is keyed, what a killed run leaves for the next one, and
//! what is said of inputs that do not go with params.

mod hermetic;
#[path = "../stages/tests/plain/server.rs"]
#[allow(dead_code, reason = "the stage's own tests use the rest")]
mod server;

use std::process::Stdio;
use std::time::{Duration, Instant};

use hermetic::Project;
use hermetic::refusal::{refused, stages};
use server::{Reply, Server, serve};

const NAMES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// 200 training and 100 test images, in the order of [`NAMES`].
fn files() -> [Vec<u8>; 4] {
    let images = |count: u8| {
        let pixels = (0..u32::from(count) * 784).map(|i| (i.wrapping_mul(i) / 7 % 251) as u8);
        [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28].into_iter().chain(pixels).collect()
    };
    let labels = |count: u8| [0, 0, 8, 1, 0, 0, 0, count].into_iter().chain((0..count).map(|i| i % 10)).collect();
    [images(200), labels(200), images(100), labels(100)]
}

/// SHA-256 of [`files`], as `sha256sum` tells them.
const SHA256: [&str; 4] = [
    "868568065a31e1134c8a5e7f712e9bb938a60e919ff162c7b25de03e23738097",
    "5da3ed91915be22a03984a54478498076ecabc4f2f8577bf1ea337a4d14dc85f",
    "67ca265d40f03ead8087372eb69938305ca7c395978f144542fc2595a86b2375",
    "000c2f6af9644a64c708412648db8be171b80526d581e6bfbd171e787748bdce",
];

fn pipeline(mirror: &str) -> String {
    let file = |((name, bytes), sha256): ((&str, Vec<u8>), &str)| {
        format!("        - {{name: {name}, bytes: {}, sha256: {sha256}}}\n", bytes.len())
    };
    let files: String = NAMES.into_iter().zip(files()).zip(SHA256).map(file).collect();
    format!(
        "version: 1\nname: t\nparams: {{mirror: \"{mirror}\", tries: 1}}\nstages:\n  fetch:\n    uses: data/download\n    \
         with:\n      mirrors: [\"${{params.mirror}}\"]\n      stall_seconds: 50\n      tries: \"${{params.tries}}\"\n      \
         files:\n{files}  mnist:\n    uses: data/mnist\n    inputs: {{files: fetch.files}}\n"
    )
}

fn honest() -> Server {
    serve(|request| {
        let file = NAMES.iter().zip(files()).find(|(name, _)| request.path.ends_with(*name));
        file.map_or_else(|| Reply::status("404 Not Found"), |(_, bytes)| Reply::file(&bytes, request))
    })
}

#[test]
fn what_was_downloaded_is_read_and_no_mirror_enters_a_key() {
    let server = honest();
    let project = Project::with_pipeline(&pipeline(&server.url()));
    let first = project.pru_flow(&["run", "pipeline.yaml", "--json"]);
    assert_eq!(first.expect_code(0).finished()["executed"], 2);
    assert_eq!(server.asked().len(), 4);
    project.pru_flow(&["get", "pipeline.yaml", "mnist:facts", "--to", "facts.json"]).expect_code(0);
    let facts = project.read("facts.json");
    let begin = "{\"dataset\":\"mnist\",\"official\":false,\"train\":200,\"test\":100,\"classes\":10,\"files\":[";
    assert!(facts.starts_with(begin), "{facts}");
    drop(server);
    for more in [&["--set", "mirror=http://127.0.0.1:1/"][..], &["--set", "tries=9"], &[]] {
        let args = [&["run", "pipeline.yaml", "--json"][..], more].concat();
        let again = project.pru_flow(&args);
        assert_eq!(again.expect_code(0).finished()["executed"], 0, "{more:?}");
    }
}

#[test]
fn a_run_that_was_killed_is_gone_on_from_by_the_next_one_from_another_mirror() {
    let stalling = serve(|request| Reply::file(&files()[0], request).stalled(100_000));
    let project = Project::with_pipeline(&pipeline(&stalling.url()));
    let mut command = project.command(&["run", "pipeline.yaml"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it was built with this test");
    let tmp = project.path(".pru-flow/tmp");
    let received = || {
        let kept =
            std::fs::read_dir(&tmp).ok()?.flatten().find(|e| e.file_name().to_string_lossy().starts_with("kept-"))?;
        Some(kept.path().join(format!("{}.part", NAMES[0])).metadata().ok()?.len())
    };
    let begin = Instant::now();
    while received() != Some(100_000) {
        assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", received());
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("it runs");
    child.wait().expect("it was killed");

    let server = honest();
    let mirror = format!("mirror={}", server.url());
    project.pru_flow(&["run", "pipeline.yaml", "--set", &mirror]).expect_code(0);
    assert_eq!(server.asked()[0], (NAMES[0].to_owned(), Some(100_000)));
    assert_eq!(received(), None, "what is of no more use is gone");
}

#[test]
fn a_failed_download_says_what_to_do_and_its_readers_are_skipped() {
    let project = Project::with_pipeline(
        "version: 1\nname: t\nstages:\n  fetch:\n    uses: data/download\n    with: {dataset: cifar10, mirrors: \
         [\"http://127.0.0.1:1/\"], tries: 1}\n  cifar:\n    uses: data/cifar10\n    inputs: {files: fetch.files}\n",
    );
    let output = project.pru_flow(&["run", "pipeline.yaml"]);
    output.expect_code(1).expect_stderr(&[
        "fetch: cifar-10-binary.tar.gz cannot be fetched:",
        "http://127.0.0.1:1/cifar-10-binary.tar.gz: ",
        "give it to `data/cifar10` as `path` in place of the input `files`:",
        "cifar-10-binary.tar.gz  170052171 bytes  md5 c32a1d4ab5d03f1284b67883e8d87530",
        "cifar  (needs fetch)",
    ]);
}

#[test]
fn a_reader_takes_a_path_or_an_input_and_is_told_where_it_has_both_or_none() {
    refused(
        &stages(
            "  f: {uses: data/download, with: {dataset: mnist}}\n  both:\n    uses: data/mnist\n    with: {root: ¦data}\n    \
             inputs: {files: f.files}\n  ¦none: {uses: data/cifar10}\n",
        ),
        &[
            ("`root`: give it or the input `files`, not both", "The folder of the four files"),
            ("`path` needs a value, or connect the input `files`", "The archive `cifar-10-binary.tar.gz`"),
        ],
    );
}

#[test]
fn a_download_without_a_digest_to_demand_is_refused() {
    refused(
        &stages(
            "  a: {uses: data/download, with: {dataset: ¦glyphs}}\n  b: {uses: data/download, with: {files: [¦{name: a, \
             bytes: 1}], mirrors: [\"http://127.0.0.1:1/\"]}}\n  c: {uses: data/download, with: {dataset: mnist, mirrors: \
             ¦[\"ftp://127.0.0.1/\"]}}\n",
        ),
        &[
            ("`dataset` takes `mnist` or `fashion_mnist`", "The data set whose official files are wanted"),
            ("`files.0` has no `sha256`, which `data/download` needs", "under `files.0:`"),
            ("`mirrors`: `ftp://127.0.0.1/` is no base URL", "Base URLs"),
        ],
    );
}
