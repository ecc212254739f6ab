//! Generated projects: what is followed is what Python itself loads.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command as Process;

use super::Project;

/// A sequence of numbers that look random, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    /// One below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// A module: its dotted name, and whether it is a package with an `__init__.py`.
struct Module {
    name: String,
    is_package: bool,
}

impl Module {
    fn file(&self) -> String {
        let path = self.name.replace('.', "/");
        if self.is_package { format!("{path}/__init__.py") } else { format!("{path}.py") }
    }

    fn package(&self) -> &str {
        if self.is_package { &self.name } else { self.name.rsplit_once('.').map_or("", |(package, _)| package) }
    }
}

/// Modules in packages up to three deep, some of them folders without an `__init__.py`.
fn modules(numbers: &mut Numbers) -> Vec<Module> {
    let mut packages = vec![String::new()];
    let mut modules = Vec::new();
    for index in 0..4 {
        let parent = packages[numbers.below(packages.len())].clone();
        if parent.matches('.').count() > 1 {
            continue;
        }
        let name = if parent.is_empty() { format!("p{index}") } else { format!("{parent}.p{index}") };
        if numbers.below(3) > 0 {
            modules.push(Module { name: name.clone(), is_package: true });
        }
        packages.push(name);
    }
    for index in 0..12 {
        let parent = &packages[numbers.below(packages.len())];
        let name = if parent.is_empty() { format!("m{index}") } else { format!("{parent}.m{index}") };
        modules.push(Module { name, is_package: false });
    }
    modules
}

/// A statement in a module of `package` that imports `target`, in one of the many forms.
fn import(numbers: &mut Numbers, package: &str, target: &str) -> String {
    let (parent, own) = target.rsplit_once('.').unwrap_or(("", target));
    let relative = || {
        // The dots lead up to the nearest package that both have.
        let shared = package.split('.').zip(parent.split('.')).take_while(|(a, b)| a == b && !a.is_empty()).count();
        let depth = package.split('.').filter(|part| !part.is_empty()).count();
        let rest: Vec<&str> = parent.split('.').filter(|part| !part.is_empty()).skip(shared).collect();
        (shared > 0).then(|| (".".repeat(depth - shared + 1), rest.join(".")))
    };
    match numbers.below(9) {
        0 => format!("import {target}"),
        1 => format!("import {target} as x"),
        2 => format!("from {target} import VALUE"),
        3 if !parent.is_empty() => format!("from {parent} import {own}"),
        4 => format!("import importlib; importlib.import_module('{target}')"),
        5 => format!("def load():\n    import {target}\nload()"),
        6 => format!("try:\n    import no_such_module\nexcept ImportError:\n    from {target} import VALUE as v"),
        7 | 8 if relative().is_some() => {
            let (dots, rest) = relative().unwrap_or_default();
            format!("from {dots}{rest} import {own}")
        }
        _ => format!("import os, {target}"),
    }
}

/// Writes a project whose `train.py` prints the files that it has loaded.
fn write(project: &Project, seed: u64) {
    let mut numbers = Numbers(seed);
    let modules = modules(&mut numbers);
    for (index, module) in modules.iter().enumerate() {
        // Each imports later ones only, so that none is needed before it is there; `__init__` files come first.
        let mut text = "VALUE = 1\n".to_owned();
        for _ in 0..numbers.below(4) {
            let later = &modules[index + 1..];
            if !later.is_empty() {
                let target = &later[numbers.below(later.len())];
                text.push_str(&import(&mut numbers, module.package(), &target.name));
                text.push('\n');
            }
        }
        project.write(&module.file(), &text);
    }
    let mut text = String::new();
    for _ in 0..3 {
        let target = &modules[numbers.below(modules.len())];
        text.push_str(&import(&mut numbers, "", &target.name));
        text.push('\n');
    }
    text.push_str(
        "import sys\nfor module in list(sys.modules.values()):\n    if getattr(module, '__file__', None):\n        print(module.__file__)\n",
    );
    project.write("train.py", &text);
}

#[test]
fn what_is_followed_is_what_python_loads() {
    let has_python = Process::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    // Only where there is no Python, there is nothing to agree with.
    if !has_python {
        return;
    }
    let mut sizes = BTreeSet::new();
    for seed in 0..24 {
        let project = Project::new(&[]);
        write(&project, seed);
        let output = Process::new("python3").args(["-B", "train.py"]).current_dir(project.root()).output().unwrap();
        assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
        let loaded = String::from_utf8(output.stdout).unwrap();
        let root = project.root().canonicalize().unwrap();
        let name = |path: PathBuf| Some(path.canonicalize().ok()?.strip_prefix(&root).ok()?.display().to_string());
        let lines = loaded.lines().map(|line| project.root().join(line));
        let loaded: BTreeSet<String> = lines.filter_map(name).collect();
        let code = project.shell("python train.py");
        let followed: BTreeSet<String> = project.names(&code).into_iter().collect();
        assert_eq!(followed, loaded, "seed {seed}");
        assert_eq!(project.warnings(&code), [""; 0], "seed {seed}");
        sizes.insert(followed.len());
    }
    assert!(sizes.len() > 4, "the projects are of many sizes: {sizes:?}");
}
