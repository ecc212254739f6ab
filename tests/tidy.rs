//! The house rules, as tests: what a reader may rely on in every file, and what the two binaries may not cost.

mod hermetic;

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hermetic::Project;

/// Longer files are two files.
const LINES_MAX: usize = 600;

/// Files that may print: the outermost rooms, and what runs as a process of its own.
const PRINTERS: [&str; 6] =
    ["src/cli/", "src/report/", "src/main.rs", "xtask/", "stages/src/worker/main.rs", "src/execute/command.rs"];

/// Stages that measure time, for the record or for progress; never for an artifact.
const CLOCKS: [&str; 1] = ["stages/src/train/fit.rs"];

struct File {
    /// Relative to the repository's root, with `/`.
    name: String,
    text: String,
}

impl File {
    /// The numbered lines that are code, as far as a line tells: no comment, and none of the tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let lines = lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
        lines.filter(|(_, line)| !line.starts_with("//"))
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.name.starts_with(place))
    }
}

/// Every text file of the repository; what is built, fetched or stored is none of it.
fn all_files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let skipped = ["target", ".git", ".libtorch", ".pru-flow", "Cargo.lock", "__pycache__"];
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the repository is readable") {
            let path = entry.expect("the repository is readable").path();
            let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if skipped.contains(&own.as_str()) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = String::from_utf8(fs::read(&path).unwrap_or_default()) {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                found.push(File { name, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn rust_files() -> Vec<File> {
    let files: Vec<File> =
        all_files().into_iter().filter(|file| Path::new(&file.name).extension().is_some_and(|e| e == "rs")).collect();
    assert!(files.len() > 80, "the walk finds the sources: {}", files.len());
    files
}

#[track_caller]
fn expect_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long = |file: &File| (file.text.lines().count() > LINES_MAX).then(|| file.name.clone());
    expect_none("files of more than 600 lines", &rust_files().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let silent = |file: &File| (!file.text.starts_with("//! ")).then(|| file.name.clone());
    expect_none(
        "files without a first line of documentation",
        &rust_files().iter().filter_map(silent).collect::<Vec<_>>(),
    );
}

/// Lines of code outside `allowed` that hold one of `words`; the words are split here so as not to be found here.
fn lines_with(words: &[[&str; 2]], allowed: &[&str], only: &str) -> Vec<String> {
    let words: Vec<String> = words.iter().map(|parts| parts.concat()).collect();
    let mut found = Vec::new();
    for file in rust_files().iter().filter(|file| file.name.starts_with(only) && !file.is_in(allowed)) {
        for (number, line) in file.code().filter(|(_, line)| words.iter().any(|word| line.contains(word))) {
            found.push(format!("{}:{number}: {line}", file.name));
        }
    }
    found
}

#[test]
fn nothing_is_left_to_be_done() {
    let words = [["todo", "!("], ["unimplemented", "!("], ["dbg", "!("], ["todo", "!{"], ["TO", "DO"], ["FIX", "ME"]];
    expect_none("unfinished", &lines_with(&words, &[], ""));
}

#[test]
fn only_the_outermost_rooms_print() {
    let words = [["println", "!("], ["eprintln", "!("], ["print", "!("], ["std::io::", "stdout()"]];
    for room in ["src/", "stages/src/", "cache/src/"] {
        expect_none("prints", &lines_with(&words, &PRINTERS, room));
    }
}

#[test]
fn stages_read_neither_the_clock_nor_the_environment_nor_chance() {
    let words =
        [["std::", "env"], ["env::", "var"], ["System", "Time"], ["Inst", "ant"], ["thread_", "rng"], ["jiff", "::"]];
    let allowed = [&CLOCKS[..], &["stages/src/worker/", "stages/src/protocol.rs"]].concat();
    expect_none("not a function of params and inputs", &lines_with(&words, &allowed, "stages/src/"));
    for clock in CLOCKS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(clock);
        assert!(fs::read_to_string(file).is_ok_and(|text| text.contains("Instant")), "{clock} needs no exception");
    }
}

/// Rayon's reductions combine in an order that the load decides, and float addition is not associative.
fn has_unordered_reduction(code: &str) -> bool {
    let statements =
        code.split(';').filter_map(|statement| statement.split_once(".par_").or(statement.split_once("into_par")));
    statements
        .map(|(_, rest)| rest)
        .any(|rest| [".sum", ".reduce(", ".product", ".fold("].iter().any(|end| rest.contains(end)))
}

#[test]
fn no_stage_sums_floats_in_the_order_of_threads() {
    assert!(has_unordered_reduction("let a = x.par_iter().map(|x| x * 2.0).sum::<f64>();"));
    assert!(has_unordered_reduction("x.into_par_iter()\n.reduce(|| 0.0, add);"));
    assert!(!has_unordered_reduction("let a: Vec<f64> = x.par_iter().collect(); a.iter().sum::<f64>();"));
    let files = rust_files();
    let stages = files.iter().filter(|file| file.name.starts_with("stages/src/"));
    let bad = stages
        .filter(|file| has_unordered_reduction(&file.code().map(|(_, line)| line).collect::<Vec<_>>().join("\n")));
    expect_none("reductions on rayon", &bad.map(|file| file.name.clone()).collect::<Vec<_>>());
}

#[test]
fn no_text_names_a_machine_s_path_or_a_registry_s_host() {
    let words = [
        ["/ho", "me/"],
        ["/wo", "rk/"],
        ["/Us", "ers/"],
        ["/root", "/."],
        ["pypi", ".org"],
        ["python", "hosted.org"],
        ["index.", "crates.io"],
        ["static.", "crates.io"],
        ["registry.", "npmjs"],
        ["download.", "pytorch.org"],
    ];
    let words: Vec<String> = words.iter().map(|parts| parts.concat()).collect();
    let mut found = Vec::new();
    for file in all_files() {
        for (index, line) in file.text.lines().enumerate().filter(|(_, line)| words.iter().any(|w| line.contains(w))) {
            found.push(format!("{}:{}: {line}", file.name, index + 1));
        }
    }
    expect_none("true on one machine only", &found);
}

#[test]
fn every_pipeline_in_the_repository_parses_and_plans() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let files = fs::read_dir(folder).expect("there are pipelines").flatten().map(|entry| entry.path());
    let pipelines: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    assert!(pipelines.len() >= 2, "{pipelines:?}");
    let project = Project::new();
    // All of them first: one may import another.
    let written = pipelines.iter().map(|pipeline| {
        let text = fs::read_to_string(pipeline).expect("it is text");
        let name = pipeline.file_name().expect("it has a name").to_string_lossy().into_owned();
        project.write(&name, text);
        name
    });
    for name in written.collect::<Vec<String>>() {
        let output = project.pru_flow(&["plan", &name, "--json"]);
        let plan: serde_json::Value = serde_json::from_str(&output.expect_code(0).stdout).expect("one object");
        assert!(plan["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()), "{name} has nodes");
        assert!(!project.path(".pru-flow").exists(), "a plan changes nothing");
    }
}

// The binary.

fn number(bytes: &[u8], at: u64, size: usize) -> u64 {
    let at = usize::try_from(at).expect("a file fits in memory");
    bytes[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The libraries that a 64-bit little-endian ELF file needs: entries `DT_NEEDED` of its segment `PT_DYNAMIC`.
fn needed_libraries(bytes: &[u8]) -> Vec<String> {
    assert_eq!(&bytes[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
    let (table, size, count) = (number(bytes, 32, 8), number(bytes, 54, 2), number(bytes, 56, 2));
    // Of each segment: type, offset in the file, address, length in the file.
    let segments: Vec<[u64; 4]> = (0..count)
        .map(|index| table + index * size)
        .map(|at| {
            [number(bytes, at, 4), number(bytes, at + 8, 8), number(bytes, at + 16, 8), number(bytes, at + 32, 8)]
        })
        .collect();
    let dynamic = segments.iter().find(|segment| segment[0] == 2).expect("it is linked dynamically");
    let entries: Vec<(u64, u64)> = (0..dynamic[3] / 16)
        .map(|index| dynamic[1] + index * 16)
        .map(|at| (number(bytes, at, 8), number(bytes, at + 8, 8)))
        .collect();
    let address = entries.iter().find(|(tag, _)| *tag == 5).expect("there is a table of strings").1;
    let holds = |segment: &&[u64; 4]| segment[0] == 1 && (segment[2]..segment[2] + segment[3]).contains(&address);
    let segment = segments.iter().find(holds).expect("the table is loaded");
    let strings = address - segment[2] + segment[1];
    let text = |offset: u64| {
        let rest = &bytes[usize::try_from(strings + offset).expect("a file fits in memory")..];
        String::from_utf8_lossy(rest.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    entries.iter().filter(|(tag, _)| *tag == 1).map(|(_, offset)| text(*offset)).collect()
}

#[test]
fn the_engine_is_not_linked_to_libtorch() {
    let libraries = needed_libraries(&fs::read(env!("CARGO_BIN_EXE_pru-flow")).expect("it was built with this test"));
    assert!(libraries.iter().any(|library| library.starts_with("libc.so")), "{libraries:?}");
    let heavy = |library: &&String| ["torch", "c10", "cuda", "stdc++"].iter().any(|part| library.contains(part));
    assert_eq!(libraries.iter().find(heavy), None, "{libraries:?}");
    // The same reading does find it in the worker, where it is built.
    if let Ok(worker) = fs::read(Path::new(env!("CARGO_BIN_EXE_pru-flow")).with_file_name("pru-flow-torch")) {
        let libraries = needed_libraries(&worker);
        assert!(libraries.iter().any(|library| library.contains("torch")), "{libraries:?}");
    }
}

/// CPU time and peak memory of the engine when it has done all of `--version` but the last write: its stdout is a
/// socket that is full, so that it waits there to be looked at.
fn start_up() -> (Duration, u64) {
    let (_reader, mut writer) = UnixStream::pair().expect("sockets can be made");
    writer.set_nonblocking(true).expect("it is a socket");
    while match writer.write(&[b'x'; 4096]) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    } {}
    writer.set_nonblocking(false).expect("it is a socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pru-flow"));
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(OwnedFd::from(writer));
    let mut child = command.spawn().expect("it was built with this test");
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let read = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
    let begin = Instant::now();
    let mut before = String::new();
    // It waits when it sleeps and its CPU time stands still.
    let cpu_ns = loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = read("schedstat");
        let sleeps = read("stat").rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'));
        if sleeps && now == before {
            break now.split(' ').next().and_then(|ns| ns.parse().ok()).expect("Linux tells the CPU time in ns");
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "it does not come to its end");
        before = now;
    };
    let status = read("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak of memory");
    let kib = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number of KiB");
    child.kill().and_then(|()| child.wait()).expect("it is our child");
    (Duration::from_nanos(cpu_ns), kib)
}

/// The promise is 10 ms and 15 MB for a release build. A build for tests is less optimised; its bounds are wider, and
/// still far below what loading libtorch costs (some 330 ms and 115 MB).
#[test]
fn the_engine_starts_in_milliseconds_and_megabytes() {
    let runs: Vec<(Duration, u64)> = (0..10).map(|_| start_up()).collect();
    let cpu = runs.iter().map(|(cpu, _)| *cpu).min().expect("ten runs");
    let kib = runs.iter().map(|(_, kib)| *kib).min().expect("ten runs");
    let (cpu_max, kib_max) = if cfg!(debug_assertions) {
        (Duration::from_millis(60), 30 * 1024)
    } else {
        (Duration::from_millis(10), 15 * 1000)
    };
    println!("start-up: {cpu:?} of CPU, {kib} KiB");
    assert!(cpu < cpu_max, "{cpu:?} of CPU; at most {cpu_max:?}");
    assert!(kib < kib_max, "{kib} KiB; at most {kib_max}");
}
