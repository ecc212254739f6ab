//! `data/download` against a server on this machine that cuts off, stalls and lies.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pru_flow_stages::io::StageEvent;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::attempt::{Done, Setup, error_of, put};
use crate::server::{Reply, Request, Server, serve};

const STAGE: &str = "data/download";
const NAME: &str = "a.bin";

/// A file of 300,000 bytes in which no two places look alike.
fn file() -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..300_000).map(|_| next()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn demanded(name: &str, bytes: &[u8]) -> Value {
    json!({"name": name, "bytes": bytes.len(), "sha256": sha256(bytes)})
}

fn params(mirrors: &[&Server]) -> Value {
    let mirrors: Vec<String> = mirrors.iter().map(|server| server.url()).collect();
    json!({"files": [demanded(NAME, &file())], "mirrors": mirrors, "tries": 2})
}

fn run(mirrors: &[&Server]) -> Result<Done, String> {
    Setup::new(STAGE, params(mirrors)).run()
}

/// Runs against one server and expects the file.
#[track_caller]
fn fetched(server: &Server) -> Done {
    let done = run(&[server]).unwrap();
    assert!(done.bytes("files/a.bin") == file(), "other bytes");
    done
}

/// Bytes that came over the network.
fn received(done: &Done) -> u64 {
    done.measured("received_bytes") as u64
}

fn asked(from: &[Option<u64>]) -> Vec<(String, Option<u64>)> {
    from.iter().map(|from| (NAME.to_owned(), *from)).collect()
}

/// A server that has the file and honours ranges.
fn honest() -> Server {
    serve(|request| Reply::file(&file(), request))
}

#[test]
fn files_come_whole_under_their_names_each_asked_for_once() {
    let (one, two) = (file(), b"two".to_vec());
    let (served_one, served_two) = (one.clone(), two.clone());
    let server = serve(move |request| {
        Reply::file(if request.path == "/base/a.bin" { &served_one } else { &served_two }, request)
    });
    let kept = tempfile::tempdir().unwrap();
    let kept = kept.path().join("kept");
    let params = json!({
        "files": [demanded(NAME, &one), demanded("b-2.tar.gz", &two)], "mirrors": [format!("{}/base/", server.url())],
    });
    let done = Setup::new(STAGE, params).kept(&kept).run().unwrap();
    assert_eq!((done.bytes("files/a.bin") == one, done.bytes("files/b-2.tar.gz")), (true, two));
    assert_eq!(std::fs::read_dir(done.path("files")).unwrap().count(), 2);
    assert_eq!(server.asked(), [(NAME.to_owned(), None), ("b-2.tar.gz".to_owned(), None)]);
    assert_eq!(received(&done), 300_003);
    assert!(!kept.exists(), "nothing is left behind");
}

#[test]
fn a_file_that_was_cut_off_goes_on_where_it_stopped() {
    let server = serve(|request| match request.index {
        0 => Reply::file(&file(), request).cut_off(100_000),
        1 => Reply::file(&file(), request).cut_off(150_000),
        _ => Reply::file(&file(), request),
    });
    let done = fetched(&server);
    assert_eq!(server.asked(), asked(&[None, Some(100_000), Some(250_000)]));
    assert_eq!(received(&done), 300_000);
}

#[test]
fn a_stalled_connection_is_given_up_and_gone_on_from() {
    let server = serve(|request| match request.index {
        0 => Reply::file(&file(), request).stalled(120_000),
        _ => Reply::file(&file(), request),
    });
    let mut params = params(&[&server]);
    params["stall_seconds"] = json!(2);
    let start = Instant::now();
    let done = Setup::new(STAGE, params).run().unwrap();
    assert!(done.bytes("files/a.bin") == file());
    assert_eq!(server.asked(), asked(&[None, Some(120_000)]));
    assert_eq!(received(&done), 300_000);
    assert!((2..25).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_never_answers_is_told_as_stalled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let params = json!({"files": [demanded(NAME, b"x")], "mirrors": [url], "stall_seconds": 1, "tries": 1});
    let error = error_of(STAGE, params);
    assert!(error.contains("stalled: not a byte for 1 s (one try without a byte more)"), "{error}");
}

#[test]
fn what_a_failed_attempt_received_is_where_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let broken = serve(|request| match request.index {
        0 => Reply::file(&file(), request).cut_off(200_000),
        _ => Reply::status("404 Not Found"),
    });
    let error = Setup::new(STAGE, params(&[&broken])).kept(&kept).run().err().unwrap();
    assert!(error.contains("answers with status 404") && error.contains("what came so far is kept"), "{error}");
    assert!(kept.is_dir());
    let server = honest();
    let done = Setup::new(STAGE, params(&[&server])).kept(&kept).run().unwrap();
    assert!(done.bytes("files/a.bin") == file());
    assert_eq!(server.asked(), asked(&[Some(200_000)]));
    assert_eq!(received(&done), 100_000);
    assert!(!kept.exists());
}

/// Runs with `partial` as what an earlier attempt left.
fn run_from(partial: &[u8], server: &Server) -> Result<Done, String> {
    let kept = tempfile::tempdir().unwrap();
    put(&kept.path().join("a.bin.part"), partial);
    Setup::new(STAGE, params(&[server])).kept(kept.path()).run()
}

#[test]
fn kept_bytes_that_are_wrong_decide_nothing() {
    for (partial, requests) in [
        (vec![0; 1000], &[Some(1000), None][..]),
        (vec![0; 300_000], &[None]),
        (vec![0; 300_001], &[None]),
        (file()[..299_999].to_vec(), &[Some(299_999)]),
        (file(), &[]),
    ] {
        let server = honest();
        let done = run_from(&partial, &server).unwrap();
        assert!(done.bytes("files/a.bin") == file(), "{} bytes kept", partial.len());
        assert_eq!(server.asked(), asked(requests), "{} bytes kept", partial.len());
    }
}

#[test]
fn a_second_attempt_at_the_same_time_does_not_touch_what_the_first_one_keeps() {
    let kept = tempfile::tempdir().unwrap();
    let lock = std::fs::File::create(kept.path().join("lock")).unwrap();
    lock.lock().unwrap();
    put(&kept.path().join("a.bin.part"), b"of the first");
    let server = honest();
    let done = Setup::new(STAGE, params(&[&server])).kept(kept.path()).run().unwrap();
    assert!(done.bytes("files/a.bin") == file());
    assert_eq!(server.asked(), asked(&[None]));
    assert_eq!(std::fs::read(kept.path().join("a.bin.part")).unwrap(), b"of the first");
    let broken = serve(|_| Reply::status("404 Not Found"));
    let error = Setup::new(STAGE, params(&[&broken])).kept(kept.path()).run().err().unwrap();
    assert!(!error.contains("is kept"), "{error}");
    drop(lock);
    std::fs::remove_file(kept.path().join("a.bin.part")).unwrap();
    Setup::new(STAGE, params(&[&broken])).kept(kept.path()).run().err().unwrap();
    assert!(!kept.path().exists(), "an attempt that received nothing leaves nothing");
}

#[test]
fn a_server_that_ignores_ranges_is_followed_from_the_start() {
    let server = serve(|request| match request.index {
        0 => Reply::whole(&file()).cut_off(100_000),
        _ => Reply::whole(&file()),
    });
    fetched(&server);
    assert_eq!(server.asked(), asked(&[None, Some(100_000)]));
}

#[test]
fn a_server_that_ignores_ranges_and_always_cuts_off_is_left_in_the_end() {
    let server = serve(|_| Reply::whole(&file()).cut_off(100_000));
    let error = run(&[&server]).err().unwrap();
    assert!(error.contains("after 100000 of 300000 bytes: "), "{error}");
    assert!(error.contains("(2 tries in a row without a byte more)"), "{error}");
    assert_eq!(server.asked(), asked(&[None, Some(100_000), Some(100_000)]));
}

#[test]
fn a_range_that_begins_elsewhere_is_not_believed() {
    for lie in [0, 50_000, 150_000] {
        let server = serve(move |request| match request.from {
            None if request.index == 0 => Reply::file(&file(), request).cut_off(100_000),
            None => Reply::whole(&file()),
            Some(_) => Reply::part(&file(), lie),
        });
        fetched(&server);
        assert_eq!(server.asked(), asked(&[None, Some(100_000), None]), "{lie}");
    }
}

#[test]
fn a_range_that_lies_about_its_place_is_found_out_by_the_digest() {
    let server = serve(|request| match request.from {
        None if request.index == 0 => Reply::file(&file(), request).cut_off(100_000),
        None => Reply::whole(&file()),
        // As many bytes as are wanted, and not those.
        Some(from) => Reply { body: vec![0; 200_000], ..Reply::part(&file(), from) },
    });
    fetched(&server);
    assert_eq!(server.asked(), asked(&[None, Some(100_000), None]));
}

#[test]
fn a_refused_range_is_followed_by_a_new_start() {
    let server = serve(|request| match request.from {
        None if request.index == 0 => Reply::file(&file(), request).cut_off(100_000),
        None => Reply::whole(&file()),
        Some(_) => Reply::status("416 Range Not Satisfiable"),
    });
    fetched(&server);
    assert_eq!(server.asked(), asked(&[None, Some(100_000), None]));
}

#[test]
fn wrong_bytes_of_the_right_length_are_asked_of_the_next_mirror() {
    let mut wrong = file();
    wrong[299_999] ^= 1;
    let found = sha256(&wrong);
    let liar = serve(move |request| Reply::file(&wrong, request));
    let server = honest();
    assert!(run(&[&liar, &server]).unwrap().bytes("files/a.bin") == file());
    assert_eq!((liar.asked(), server.asked()), (asked(&[None]), asked(&[None])));
    let error = run(&[&liar]).err().unwrap();
    let expected = format!(
        "a.bin cannot be fetched:\n  {}/a.bin: sends other bytes than the official ones: sha256 {found}; {} was expected",
        liar.url(),
        sha256(&file())
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn a_mirror_that_lies_and_cuts_off_does_not_go_on_for_ever() {
    let server = serve(|request| match request.from {
        None => Reply::whole(&vec![0; 300_000]).cut_off(100_000),
        Some(from) => Reply::part(&vec![0; 300_000], from),
    });
    let error = run(&[&server]).err().unwrap();
    assert!(error.contains("sends other bytes"), "{error}");
    assert_eq!(server.asked(), asked(&[None, Some(100_000), None, Some(100_000)]));
}

#[test]
fn a_wrong_length_is_refused_before_and_while_it_is_sent() {
    let page = serve(|_| Reply::whole(b"<html>Log in</html>").header("Content-Type", "text/html"));
    let error = run(&[&page]).err().unwrap();
    assert!(error.contains("offers 19 bytes (text/html); 300000 were expected"), "{error}");
    assert_eq!(page.asked(), asked(&[None]));

    let longer = serve(|request| match request.from {
        None => Reply::file(&file(), request).cut_off(100_000),
        Some(from) => Reply::part(&[file(), vec![0]].concat(), from),
    });
    let error = run(&[&longer]).err().unwrap();
    assert!(error.contains("offers 300001 bytes"), "{error}");

    // Without a stated length.
    let unstated = |body: Vec<u8>| serve(move |_| Reply::status("200 OK").body(&body));
    let error = run(&[&unstated([file(), vec![0; 100_000]].concat())]).err().unwrap();
    assert!(error.contains("sends more than the 300000 bytes expected"), "{error}");
    let error = run(&[&unstated(file()[..5000].to_vec())]).err().unwrap();
    assert!(error.contains("after 5000 of 300000 bytes"), "{error}");
    fetched(&unstated(file()));
}

#[test]
fn a_missing_file_is_asked_of_the_next_mirror_which_is_asked_first_from_then_on() {
    let empty = serve(|_| Reply::status("404 Not Found"));
    let server = honest();
    let params = json!({
        "files": [demanded(NAME, &file()), demanded("b.bin", &file())], "mirrors": [empty.url(), server.url()],
    });
    Setup::new(STAGE, params).run().unwrap();
    assert_eq!(empty.asked(), asked(&[None]));
    assert_eq!(server.asked(), [(NAME.to_owned(), None), ("b.bin".to_owned(), None)]);
}

#[test]
fn a_busy_server_is_asked_again_and_one_that_refuses_is_not() {
    for (status, again) in [("503 Busy", true), ("429 Slow Down", true), ("403 Forbidden", false), ("410 Gone", false)]
    {
        let server = serve(move |request| match request.index {
            0 => Reply::status(status),
            _ => Reply::file(&file(), request),
        });
        let done = run(&[&server]);
        assert_eq!((done.is_ok(), server.asked().len()), (again, if again { 2 } else { 1 }), "{status}");
        if let Err(error) = done {
            assert!(error.contains(&format!("answers with status {}", &status[..3])), "{error}");
        }
    }
}

#[test]
fn redirects_are_followed_with_the_range_and_not_in_a_circle() {
    let target = honest();
    let place = target.url();
    let server = serve(move |request| match request.index {
        0 => Reply::file(&file(), request).cut_off(100_000),
        _ => Reply::status("302 Found").header("Location", &format!("{place}/elsewhere/a.bin")),
    });
    fetched(&server);
    assert_eq!(target.asked(), asked(&[Some(100_000)]));
    let circle = serve(|_| Reply::status("301 Moved").header("Location", "/again/a.bin"));
    let error = run(&[&circle]).err().unwrap();
    assert!(error.contains("redirect"), "{error}");
    assert!(circle.asked().len() < 50, "{}", circle.asked().len());
}

#[test]
fn a_file_that_is_said_to_be_packed_stays_as_it_is() {
    let server = serve(|request| Reply::file(&file(), request).header("Content-Encoding", "x-gzip"));
    fetched(&server);
    let server = serve(|request| Reply::file(&file(), request).header("Content-Encoding", "gzip"));
    fetched(&server);
}

#[test]
fn a_request_to_stop_is_heard_while_the_server_stalls() {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let server = serve(move |request: &Request| {
        seen.store(true, Ordering::Relaxed);
        Reply::file(&file(), request).stalled(1000)
    });
    let mut params = params(&[&server]);
    params["stall_seconds"] = json!(60);
    let start = Instant::now();
    let error = Setup::new(STAGE, params).cancelled_by(&stop).run().err().unwrap();
    assert_eq!(error, "stopped on request");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn progress_counts_to_the_end() {
    let server = serve(|request| match request.index {
        0 => Reply::file(&file(), request).cut_off(100_000),
        _ => Reply::file(&file(), request),
    });
    let done = fetched(&server);
    let told: Vec<(u64, u64)> = done
        .events
        .iter()
        .filter_map(|event| match event {
            StageEvent::Progress(progress) => Some((progress.done, progress.total)),
            StageEvent::Measured { .. } => None,
        })
        .collect();
    assert!(told.len() >= 3 && told.len() <= 110, "{}", told.len());
    assert!(told.is_sorted() && told.iter().all(|(_, total)| *total == 300), "{told:?}");
    assert_eq!(told.last(), Some(&(300, 300)));
}

#[test]
fn without_a_network_the_error_says_which_files_to_put_where() {
    // A port of this machine on which nothing listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with = |dataset: &str| {
        error_of(STAGE, json!({"dataset": dataset, "mirrors": [format!("http://{closed}/x/")], "tries": 1}))
    };
    let error = with("mnist");
    assert!(!error.contains("is kept"), "nothing came: {error}");
    let begin =
        format!("train-images-idx3-ubyte.gz cannot be fetched:\n  http://{closed}/x/train-images-idx3-ubyte.gz: ");
    assert!(error.starts_with(&begin) && error.contains("refused"), "{error}");
    for part in [
        "put these files into a folder and give it to `data/mnist` as `root` in place of the input `files`:",
        "  train-images-idx3-ubyte.gz  9912422 bytes  md5 f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "  t10k-labels-idx1-ubyte.gz  4542 bytes  md5 ",
        "other mirrors are named by `mirrors`",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
    let error = with("cifar100");
    assert!(error.contains("give it to `data/cifar100` as `path`"), "{error}");
    assert!(error.contains("  cifar-100-binary.tar.gz  168513733 bytes"), "{error}");
}

#[test]
fn the_official_size_is_demanded_of_a_named_data_set() {
    let server = serve(|request| Reply::file(b"not MNIST", request));
    let error = error_of(STAGE, json!({"dataset": "fashion_mnist", "mirrors": [server.url()]}));
    assert!(error.contains("offers 9 bytes (no type stated); 26421880 were expected"), "{error}");
}

#[test]
fn a_reader_takes_what_was_downloaded() {
    let idx = |kind: u8, sizes: &[u32], values: &[u8]| {
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
        [&[0, 0, 8, kind][..], &sizes, values].concat()
    };
    let files = [
        ("train-images-idx3-ubyte", idx(3, &[2, 28, 28], &[9; 2 * 784])),
        ("train-labels-idx1-ubyte", idx(1, &[2], &[3, 4])),
        ("t10k-images-idx3-ubyte", idx(3, &[1, 28, 28], &[8; 784])),
        ("t10k-labels-idx1-ubyte", idx(1, &[1], &[5])),
    ];
    let served = files.clone();
    let server = serve(move |request| {
        let file = served.iter().find(|(name, _)| request.path.ends_with(name));
        file.map_or_else(|| Reply::status("404 Not Found"), |(_, bytes)| Reply::file(bytes, request))
    });
    let demanded: Vec<Value> = files.iter().map(|(name, bytes)| demanded(name, bytes)).collect();
    let done = Setup::new(STAGE, json!({"files": demanded, "mirrors": [server.url()]})).run().unwrap();
    let read = |name: &str| std::fs::read(done.path("files").join(name)).unwrap();
    let given: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, _)| (*name, read(name))).collect();
    let given: Vec<(&str, &[u8])> = given.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let read = Setup::new("data/mnist", json!({})).folder_input("files", &given).run().unwrap();
    assert_eq!((read.dataset("train").labels, read.dataset("test").labels), (vec![3, 4], vec![5]));
}

#[test]
fn params_that_demand_no_digest_or_name_no_mirror_are_refused() {
    let good = demanded("a", b"x");
    let files = |file: Value| json!({"files": [file], "mirrors": ["http://127.0.0.1:1/"]});
    let changed = |field: &str, value: Value| {
        let mut file = good.clone();
        file[field] = value;
        error_of(STAGE, files(file))
    };
    assert!(error_of(STAGE, files(json!({"name": "a", "bytes": 1}))).contains("missing field `sha256`"));
    assert!(changed("sha256", json!("")).contains("is not 64 lowercase hexadecimal digits"));
    assert!(changed("sha256", json!("A".repeat(64))).contains("is not 64 lowercase hexadecimal digits"));
    assert!(changed("bytes", json!(0)).contains("is to have 0 bytes"));
    for name in ["", "..", "a/b", "/a", ".hidden", "a b", "a?b"] {
        assert!(changed("name", json!(name)).contains("is no file name"), "{name}");
    }
    let error = |params: Value| error_of(STAGE, params);
    assert!(error(json!({"dataset": "glyphs"})).contains("unknown variant `glyphs`"));
    assert!(error(json!({})).starts_with("dataset: needs a value"));
    assert!(error(json!({"dataset": "mnist", "files": [good]})).contains("not both"));
    assert!(error(json!({"files": [good]})).starts_with("mirrors: needs a value"));
    assert!(error(json!({"files": [good, good], "mirrors": ["http://h/"]})).contains("named twice"));
    assert!(error(json!({"files": [], "mirrors": ["http://h/"]})).contains("at least one file"));
    for url in ["ftp://h/", "h/mnist", "http://", "http:///a", "https://h/a?b", "http://h/a b"] {
        assert!(error(json!({"dataset": "mnist", "mirrors": [url]})).contains("is no base URL"), "{url}");
    }
    assert!(error(json!({"dataset": "mnist", "mirrors": []})).contains("at least one is needed"));
    for field in ["connect_seconds", "stall_seconds", "tries"] {
        assert!(error(json!({"dataset": "mnist", field: 0})).starts_with(field), "{field}");
    }
}

#[test]
fn an_unwritable_place_is_an_error_and_no_reason_to_ask_another_mirror() {
    let server = honest();
    let kept = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(kept.path().join("a.bin.part/in the way")).unwrap();
    let error = Setup::new(STAGE, params(&[&server])).kept(Path::new(kept.path())).run().err().unwrap();
    assert!(error.contains("a.bin.part"), "{error}");
}
