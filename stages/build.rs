//! Two facts that only the build knows: the build id, and where the worker finds libtorch when it starts.
//!
//! The engine and the worker are built by separate calls of cargo, with other features and often at another time.
//! Both carry `PRU_FLOW_BUILD_ID`, which depends on the sources of `stages` and `cache` and on the version alone, so
//! that an engine refuses a worker of other sources. It does not know the profile, the features or the folder.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The sources that the engine and the worker share, as seen from this package.
const SHARED: [&str; 2] = ["src", "../cache/src"];

fn main() {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let id = build_id(&package, &variable("CARGO_PKG_VERSION"))
        .unwrap_or_else(|why| panic!("cannot read the sources of stages and cache for the build id: {why}"));
    for folder in SHARED {
        println!("cargo:rerun-if-changed={folder}");
    }
    println!("cargo:rustc-env=PRU_FLOW_BUILD_ID={id}");
    if env::var_os("CARGO_FEATURE_TORCH").is_some() {
        // `torch-sys` says which libtorch it was linked to, whether it came from LIBTORCH or from a Python.
        println!("cargo:rerun-if-env-changed=LIBTORCH");
        add_run_paths(Path::new(&variable("DEP_TCH_LIBTORCH_LIB")));
    }
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|why| panic!("cargo sets {name} for build scripts: {why}"))
}

/// The first 16 hexadecimal digits of the BLAKE3 digest over version, names and contents.
fn build_id(package: &Path, version: &str) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    add(version.as_bytes());
    for folder in SHARED {
        let mut files = Vec::new();
        collect_files(&package.join(folder), folder, &mut files)?;
        files.sort();
        for (name, path) in files {
            add(name.as_bytes());
            add(&fs::read(path)?);
        }
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// Adds the files below `folder`, each with its name relative to this package.
fn collect_files(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Editors keep their files beside the sources.
        if own.starts_with('.') || own.ends_with('~') {
            continue;
        }
        let name = format!("{name}/{own}");
        if path.is_dir() {
            collect_files(&path, &name, files)?;
        } else {
            files.push((name, path));
        }
    }
    Ok(())
}

/// Has the worker and the tests look for libtorch without any environment variable. `LD_LIBRARY_PATH` goes first,
/// because these become RUNPATH.
fn add_run_paths(lib: &Path) {
    let mut places = Vec::new();
    // Without links: an installed worker goes on when the checkout moves or its link leads to another release.
    if let Ok(resolved) = lib.canonicalize() {
        println!("cargo:rerun-if-changed={}", resolved.join("libtorch_cpu.so").display());
        places.push(resolved.display().to_string());
    }
    places.push(lib.display().to_string());
    // From `target/PROFILE/` and from the tests' `target/PROFILE/deps/`, wherever the checkout lies by then.
    places.push("$ORIGIN/../../.libtorch/torch/lib".to_owned());
    places.push("$ORIGIN/../../../.libtorch/torch/lib".to_owned());
    // From `bin/` beside a `lib/`, as in a package.
    places.push("$ORIGIN/../lib".to_owned());
    for place in places {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
    }
}
