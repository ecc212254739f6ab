//! Set-up on described machines: a `PATH` with a fake Python whose pip serves tiny wheels from a folder.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::FileOptions;

use crate::download::{Progress, WHEELS, Wheel, home};
use crate::host::Host;
use crate::libtorch::{Libtorch, SetupError, set_up};

/// A Python whose pip copies wheels from `index/` beside its own folder, and notes every call.
const PYTHON: &str = r#"
echo "$*" >> "$machine/calls"
echo "$TMPDIR" >> "$machine/scratch"
[ "$1 $2" = "-m pip" ] || exit 9
[ "$3" = download ] || exit 0
while [ $# -gt 1 ]; do
    [ "$1" = --dest ] && dest=$2
    shift
done
mkdir -p "$dest" && cp "$machine/index/${1%%=*}"-*.whl "$dest"
"#;

const TORCH_H: &str = "torch/include/torch/csrc/api/include/torch/torch.h";

/// A machine in a temporary folder.
struct Machine {
    folder: TempDir,
    wheels: Vec<Wheel<'static>>,
}

impl Machine {
    /// One with a Python, pip, and two wheels on its index.
    fn new() -> Self {
        let machine = Self::bare();
        machine.program("python3", PYTHON);
        machine
    }

    /// The same without Python.
    fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["bin", "index", "checkout", "cache"] {
            fs::create_dir(folder.path().join(name)).expect("a new folder");
        }
        let mut machine = Self { folder, wheels: Vec::new() };
        let runtime = [("nvidia/cu13/lib/libcudart.so.13", "cudart"), ("nvidia/cu13/lib/other.a", "not wanted")];
        machine.publish("runtime", &["nvidia/cu13/lib/libcudart.so.13"], &runtime);
        let torch = [
            ("torch/lib/libtorch_cpu.so", "cpu"),
            ("torch/lib/libtorch_cuda.so", "not wanted"),
            ("torch/lib/libtorch.so", "not wanted either"),
            (TORCH_H, "#pragma once"),
        ];
        machine.publish("torch", &["torch/lib/libtorch_cpu.so", "torch/include/"], &torch);
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Puts a wheel on the index and pins it.
    fn publish(&mut self, name: &'static str, members: &'static [&'static str], files: &[(&str, &str)]) {
        let path = self.at(&format!("index/{name}-1.0-py3-none-any.whl"));
        let mut archive = ZipWriter::new(File::create(&path).expect("a new file"));
        for (path, text) in files {
            archive.start_file(*path, FileOptions::default()).expect("a name");
            archive.write_all(text.as_bytes()).expect("written");
        }
        archive.finish().expect("a whole archive");
        let content = fs::read(&path).expect("readable");
        let sha256 = format!("{:x}", Sha256::digest(&content)).leak();
        let bytes = content.len() as u64;
        let wheel = Wheel { name, version: "1.0", platform: "any", sha256, bytes, unpacked_bytes: 100, members };
        self.wheels.push(wheel);
    }

    /// Puts a shell script on `PATH`, in a folder of its own.
    fn program_in(&self, folder: &str, name: &str, script: &str) {
        let path = self.at(folder).join(name);
        fs::create_dir_all(self.at(folder)).expect("a folder");
        let machine = self.folder.path().display();
        let script = format!("#!/bin/sh\nPATH=/usr/bin:/bin\nmachine='{machine}'\n{script}\n");
        fs::write(&path, script).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permitted");
    }

    fn program(&self, name: &str, script: &str) {
        self.program_in("bin", name, script);
    }

    /// A libtorch such as a user has unpacked, without any statement of its version.
    fn libtorch(&self, name: &str) -> PathBuf {
        let torch = self.at(name);
        for file in ["include/torch/csrc/api/include/torch/torch.h", "lib/libtorch_cpu.so"] {
            let file = torch.join(file);
            fs::create_dir_all(file.parent().expect("it has one")).expect("a folder");
            fs::write(file, "x").expect("writable");
        }
        torch
    }

    fn host(&self) -> Host {
        Host {
            root: self.at("checkout"),
            platform: ("linux".to_owned(), "x86_64".to_owned()),
            path: OsString::from(self.at("bin")),
            cache: Some(self.at("cache")),
            libtorch: None,
            libtorch_include: None,
            libtorch_lib: None,
            use_pytorch: false,
            any_version: false,
            virtual_env: false,
        }
    }

    /// Runs set-up and gives its result and what it said.
    fn set_up_as(&self, host: &Host) -> (Result<Libtorch, SetupError>, String) {
        let mut out = Vec::new();
        let result = set_up(host, &self.wheels, &mut Progress::new(&mut out, false));
        (result, String::from_utf8(out).expect("text"))
    }

    fn set_up(&self) -> (Result<Libtorch, SetupError>, String) {
        self.set_up_as(&self.host())
    }

    /// Runs set-up, which must fail, and gives its message; each must say what to do.
    fn refusal_as(&self, host: &Host) -> String {
        let (result, _) = self.set_up_as(host);
        let message = result.expect_err("set-up should fail").to_string();
        let advice = ["Set ", "set ", "Install", "Make", "Unset", "Run this again", "run this again"];
        assert!(advice.iter().any(|word| message.contains(word)), "it does not say what to do: {message}");
        message
    }

    fn refusal(&self) -> String {
        self.refusal_as(&self.host())
    }

    fn home(&self) -> PathBuf {
        home(&self.at("cache/pru-flow"), &self.wheels)
    }

    /// The names in the cache folder, without the lock.
    fn cached(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at("cache/pru-flow")) else { return Vec::new() };
        let names = entries.map(|entry| entry.expect("readable").file_name().display().to_string());
        names.filter(|name| name != "set-up.lock").collect()
    }

    fn downloads(&self) -> usize {
        let calls = fs::read_to_string(self.at("calls")).unwrap_or_default();
        calls.lines().filter(|call| call.contains("pip download")).count()
    }
}

fn assert_holds(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

#[test]
fn a_fresh_machine_gets_the_pinned_members_and_a_link() {
    let machine = Machine::new();
    let (result, said) = machine.set_up();
    let link = machine.at("checkout/.libtorch");
    let lib = link.join("torch/lib").canonicalize().expect("it is there");
    assert_eq!(result.expect("set up"), Libtorch { lib });
    assert_eq!(fs::read_link(&link).expect("a link"), machine.home());
    assert_eq!(read(&link.join("torch/lib/libtorch_cpu.so")), "cpu");
    assert_eq!(read(&link.join("nvidia/cu13/lib/libcudart.so.13")), "cudart");
    assert_eq!(read(&link.join(TORCH_H)), "#pragma once");
    assert_eq!(read(&link.join("torch/build-version")).trim(), "2.11.0");
    assert_eq!(read(&link.join("torch/lib/libtorch.so")).trim(), "INPUT(libtorch_cpu.so)");
    for unwanted in ["torch/lib/libtorch_cuda.so", "nvidia/cu13/lib/other.a"] {
        assert!(!link.join(unwanted).exists(), "{unwanted}");
    }
    assert_eq!(machine.cached().len(), 1, "something is left beside libtorch: {:?}", machine.cached());
    assert_holds(&said, &["runtime 1.0", "torch 1.0", "1 MB"]);
}

#[test]
fn pip_is_asked_for_the_pinned_file_on_any_machine_and_python() {
    let machine = Machine::new();
    machine.set_up().0.expect("set up");
    let calls = read(&machine.at("calls"));
    let download = calls.lines().find(|call| call.ends_with("torch===1.0")).expect("torch is asked for");
    let wanted = ["--no-deps", "--only-binary=:all:", "--python-version 3.11", "--abi cp311", "--platform any"];
    assert_holds(download, &wanted);
    // pip's own temporary folder may be too small for a wheel.
    let scratch = read(&machine.at("scratch"));
    let last = scratch.lines().last().expect("pip was called");
    assert!(Path::new(last).starts_with(machine.at("cache")), "pip unpacks in `{last}`");
}

#[test]
fn what_is_set_up_already_is_silent_and_needs_no_python() {
    let machine = Machine::new();
    let first = machine.set_up().0.expect("set up");
    fs::remove_file(machine.at("bin/python3")).expect("removed");
    let (second, said) = machine.set_up();
    assert_eq!(second.expect("still set up"), first);
    assert_eq!(said, "");
}

#[test]
fn another_checkout_shares_the_cache() {
    let machine = Machine::new();
    machine.set_up().0.expect("set up");
    let mut host = machine.host();
    host.root = machine.at("second");
    fs::create_dir(&host.root).expect("a folder");
    machine.set_up_as(&host).0.expect("set up");
    assert!(host.root.join(".libtorch/torch/lib/libtorch_cpu.so").is_file());
    assert_eq!(machine.downloads(), 2, "one for each wheel");
}

#[test]
fn a_libtorch_of_the_user_is_used_and_nothing_is_downloaded() {
    let machine = Machine::new();
    let torch = machine.libtorch("mine");
    fs::write(torch.join("build-version"), "2.11.0+cu130\n").expect("writable");
    let host = Host { libtorch: Some(torch.clone()), ..machine.host() };
    let (result, said) = machine.set_up_as(&host);
    assert_eq!(result.expect("it is one").lib, torch.join("lib").canonicalize().expect("there"));
    assert_eq!((said.as_str(), machine.downloads()), ("", 0));
    assert!(!machine.at("checkout/.libtorch").exists());
    // Its platform is the user's business.
    machine.set_up_as(&Host { platform: ("linux".into(), "aarch64".into()), ..host }).0.expect("it is one");
}

#[test]
fn the_version_of_a_users_libtorch_may_stand_in_its_headers() {
    let machine = Machine::new();
    let torch = machine.libtorch("mine");
    let host = Host { libtorch: Some(torch.clone()), ..machine.host() };
    assert_holds(&machine.refusal_as(&host), &["of unknown version"]);
    let header = torch.join("include/torch/headeronly/version.h");
    fs::create_dir_all(header.parent().expect("it has one")).expect("a folder");
    let stated = |minor: u32| {
        let define = |part: &str, number: u32| format!("/// x\n#define TORCH_VERSION_{part} {number}\n");
        fs::write(&header, define("MAJOR", 2) + &define("MINOR", minor) + &define("PATCH", 0)).expect("writable");
    };
    stated(11);
    machine.set_up_as(&host).0.expect("it is 2.11");
    stated(1);
    assert_holds(&machine.refusal_as(&host), &["2.1.0", "2.11"]);
    machine.set_up_as(&Host { any_version: true, ..host }).0.expect("the check is switched off");
}

#[test]
fn a_users_libtorch_that_cannot_be_used_is_refused_with_the_reason() {
    let machine = Machine::new();
    let as_given = |torch: &Path| Host { libtorch: Some(torch.to_path_buf()), ..machine.host() };
    assert_holds(&machine.refusal_as(&as_given(Path::new("mine"))), &["relative", "`mine`"]);
    assert_holds(&machine.refusal_as(&as_given(&machine.at("none"))), &["torch.h"]);
    let torch = machine.libtorch("mine");
    fs::write(torch.join("build-version"), "2.110.0").expect("writable");
    assert_holds(&machine.refusal_as(&as_given(&torch)), &["2.110.0"]);
    fs::remove_file(torch.join("lib/libtorch_cpu.so")).expect("removed");
    assert_holds(&machine.refusal_as(&as_given(&torch)), &["libtorch_cpu.so", "LIBTORCH"]);
}

#[test]
fn the_pytorch_of_the_users_python_is_used_when_asked_for() {
    let machine = Machine::bare();
    let torch = machine.libtorch("site/torch");
    let host = Host { use_pytorch: true, ..machine.host() };
    assert_holds(&machine.refusal_as(&host), &["no python3"]);
    machine.program("python3", "echo 2.11.0+cu130; echo $machine/site/torch");
    assert_eq!(machine.set_up_as(&host).0.expect("it is one").lib, torch.join("lib").canonicalize().expect("there"));
    machine.program("python3", "echo 2.10.0; echo $machine/site/torch");
    assert_holds(&machine.refusal_as(&host), &["2.10.0"]);
    machine.program("python3", "echo \"No module named 'torch'\" >&2; exit 1");
    assert_holds(&machine.refusal_as(&host), &["No module named 'torch'", "LIBTORCH_USE_PYTORCH"]);
}

#[test]
fn another_platform_is_told_to_bring_its_own() {
    let machine = Machine::new();
    for (os, processor) in [("linux", "aarch64"), ("macos", "x86_64")] {
        let host = Host { platform: (os.to_owned(), processor.to_owned()), ..machine.host() };
        assert_holds(&machine.refusal_as(&host), &[os, processor, "LIBTORCH"]);
    }
}

#[test]
fn a_machine_without_python_or_pip_is_told_what_to_install() {
    let machine = Machine::bare();
    assert_holds(&machine.refusal(), &["no python3", "apt-get install python3"]);
    machine.program("python3", "echo 'No module named pip' >&2; exit 1");
    assert_holds(&machine.refusal(), &["has no pip", "No module named pip", "python3-pip"]);
}

#[test]
fn a_python_without_pip_is_passed_over_for_one_with_it() {
    let machine = Machine::bare();
    machine.program("python3", "exit 1");
    machine.program_in("bin2", "python", PYTHON);
    let path = std::env::join_paths([machine.at("bin"), machine.at("bin2")]).expect("plain names");
    let host = Host { path, ..machine.host() };
    machine.set_up_as(&host).0.expect("set up");
}

#[test]
fn an_unreachable_index_shows_the_end_of_what_pip_said() {
    let machine = Machine::bare();
    let pip = r#"[ "$3" = download ] || exit 0
        for i in 1 2 3 4 5 6 7 8 9; do echo "WARNING: Retrying $i" >&2; done
        echo "ERROR: No matching distribution found for runtime===1.0" >&2; exit 1"#;
    machine.program("python3", pip);
    let message = machine.refusal();
    assert_holds(&message, &["runtime 1.0", "No matching distribution", "network", "Retrying 9"]);
    assert!(!message.contains("Retrying 1\n"), "the whole log is shown: {message}");
    assert_eq!(machine.cached(), Vec::<String>::new(), "something is left");
    assert!(!machine.at("checkout/.libtorch").exists());
}

#[test]
fn a_file_of_another_checksum_is_named_and_nothing_is_installed() {
    let mut machine = Machine::new();
    let wanted = "0".repeat(64);
    let got = machine.wheels[1].sha256;
    machine.wheels[1].sha256 = wanted.clone().leak();
    let message = machine.refusal();
    assert_holds(&message, &["torch-1.0-py3-none-any.whl", &wanted, got, "nothing was installed"]);
    assert_eq!(machine.cached(), Vec::<String>::new(), "something is left");
    assert!(!machine.at("checkout/.libtorch").exists());
}

#[test]
fn a_full_disk_is_told_with_the_room_that_is_needed() {
    let mut machine = Machine::new();
    machine.wheels[1].bytes = 500_000_000;
    machine.program("df", "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; echo '/ 9 9 2000 9% /'");
    assert_holds(&machine.refusal(), &["too full", "1101 MB", "3 MB are free", "XDG_CACHE_HOME"]);
    assert_eq!(machine.downloads(), 0, "it downloads before it looks");
    machine.program("df", "echo nonsense");
    let full = r#"[ "$3" = download ] || exit 0
        echo 'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device'; exit 1"#;
    machine.program("python3", full);
    assert_holds(&machine.refusal(), &["too full", "1101 MB"]);
    assert_eq!(machine.cached(), Vec::<String>::new(), "something is left");
}

#[test]
fn a_cache_folder_that_cannot_be_written_is_named() {
    let machine = Machine::new();
    let taken = machine.at("taken");
    fs::write(&taken, "a file").expect("writable");
    let host = Host { cache: Some(taken.clone()), ..machine.host() };
    assert_holds(&machine.refusal_as(&host), &[&taken.display().to_string(), "XDG_CACHE_HOME"]);
    assert_holds(&machine.refusal_as(&Host { cache: None, ..machine.host() }), &["HOME"]);
}

#[test]
fn a_wheel_that_lacks_a_member_or_leads_out_of_the_folder_is_refused() {
    let mut machine = Machine::new();
    machine.publish("odd", &["wanted"], &[("unwanted", "x")]);
    assert_holds(&machine.refusal(), &["odd-1.0", "wanted"]);
    let mut machine = Machine::new();
    machine.publish("odd", &["../"], &[("../escaped", "x")]);
    assert_holds(&machine.refusal(), &["odd-1.0", "leads out"]);
    assert_eq!(machine.cached(), Vec::<String>::new(), "something is left");
}

#[test]
fn two_set_ups_at_once_download_once() {
    let machine = Machine::new();
    let hosts = ["checkout", "second"].map(|name| {
        let _ = fs::create_dir(machine.at(name));
        Host { root: machine.at(name), ..machine.host() }
    });
    std::thread::scope(|scope| {
        for host in &hosts {
            scope.spawn(|| machine.set_up_as(host).0.expect("set up"));
        }
    });
    for host in &hosts {
        assert!(host.root.join(".libtorch/torch/lib/libtorch_cpu.so").is_file());
    }
    assert_eq!(machine.downloads(), 2, "one for each wheel");
    assert_eq!(machine.cached().len(), 1);
}

#[test]
fn what_a_killed_set_up_left_is_removed_by_the_next() {
    let machine = Machine::new();
    let left = machine.at("cache/pru-flow/.libtorch-1-0/site/torch");
    fs::create_dir_all(&left).expect("a folder");
    fs::write(left.join("half.so"), "ha").expect("writable");
    machine.set_up().0.expect("set up");
    assert_eq!(machine.cached().len(), 1, "{:?}", machine.cached());
}

#[test]
fn a_libtorch_that_lost_something_is_made_again() {
    let machine = Machine::new();
    machine.set_up().0.expect("set up");
    let cpu = machine.home().join("torch/lib/libtorch_cpu.so");
    for damage in ["shortened", "removed", "headers", "unlisted"] {
        match damage {
            "shortened" => fs::write(&cpu, "c"),
            "removed" => fs::remove_file(&cpu),
            "headers" => fs::remove_dir_all(machine.home().join("torch/include")),
            _ => fs::write(machine.home().join("contents.txt"), ""),
        }
        .expect("damaged");
        machine.set_up().0.expect(damage);
        assert_eq!(read(&cpu), "cpu", "{damage}");
        assert_holds(&read(&machine.home().join("contents.txt")), &["3 torch/lib/libtorch_cpu.so", "0 torch/include/"]);
        assert!(machine.home().join(TORCH_H).is_file(), "{damage}");
        assert_eq!(machine.cached().len(), 1, "{damage}: {:?}", machine.cached());
    }
}

#[test]
fn a_link_that_leads_elsewhere_is_replaced_and_its_target_left_alone() {
    let machine = Machine::new();
    let elsewhere = machine.libtorch("elsewhere/torch");
    symlink(machine.at("elsewhere"), machine.at("checkout/.libtorch")).expect("a link");
    machine.set_up().0.expect("set up");
    assert_eq!(fs::read_link(machine.at("checkout/.libtorch")).expect("a link"), machine.home());
    assert!(elsewhere.join("lib/libtorch_cpu.so").is_file());
    assert_eq!(fs::read_dir(machine.at("checkout")).expect("readable").count(), 1, "a temporary link is left");
}

#[test]
fn a_real_folder_in_place_of_the_link_is_used_or_refused_but_never_removed() {
    let machine = Machine::new();
    let torch = machine.libtorch("checkout/.libtorch/torch");
    assert_holds(&machine.refusal(), &[".libtorch", "Move it away"]);
    fs::write(torch.join("build-version"), "2.11.0").expect("writable");
    assert_eq!(machine.set_up().0.expect("it is one").lib, torch.join("lib").canonicalize().expect("there"));
    assert_eq!(machine.downloads(), 0);
    assert!(torch.join("lib/libtorch_cpu.so").is_file());
}

#[test]
fn other_pins_are_kept_in_another_folder() {
    let mut machine = Machine::new();
    let before = machine.home();
    machine.wheels[0].members = &["nvidia/"];
    assert_ne!(machine.home(), before);
}

#[test]
fn the_pinned_wheels_leave_cuda_out_and_are_fetched_smallest_first() {
    for wheel in WHEELS {
        assert!(wheel.sha256.len() == 64 && wheel.sha256.bytes().all(|digit| b"0123456789abcdef".contains(&digit)));
        assert!(!wheel.members.iter().any(|member| "torch/lib/libtorch_cuda.so".starts_with(member)), "{wheel:?}");
    }
    // What is wrong with the index or the network then shows after 2 MB.
    assert!(WHEELS.is_sorted_by_key(|wheel| wheel.bytes));
}
