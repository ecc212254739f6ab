//! Every form of import, each in a project that also has files that are not imported.

use super::{Project, follows, follows_and_warns};

/// Files that no test imports: each would be found if too much was followed.
const UNRELATED: [(&str, &str); 4] = [
    ("unrelated.py", "import also_unrelated"),
    ("also_unrelated.py", ""),
    ("pkg/unrelated.py", ""),
    ("data/x.csv", "1"),
];

#[track_caller]
fn train(files: &[(&str, &str)], expected: &[&str]) {
    let all: Vec<(&str, &str)> = UNRELATED.iter().chain(files).copied().collect();
    follows(&all, "python train.py --lr 0.1", expected);
}

#[track_caller]
fn train_warns(files: &[(&str, &str)], expected: &[&str], warnings: &[&str]) {
    let all: Vec<(&str, &str)> = UNRELATED.iter().chain(files).copied().collect();
    follows_and_warns(&all, "python train.py --lr 0.1", expected, warnings);
}

/// The files, and a script with this text.
fn with<'a>(files: &[(&'a str, &'a str)], text: &'a str) -> Vec<(&'a str, &'a str)> {
    [files, &[("train.py", text)]].concat()
}

#[test]
fn a_script_alone_is_one_file() {
    train(&[("train.py", "import os, sys, numpy\nprint('import unrelated')\n# import unrelated\n")], &["train.py"]);
}

#[test]
fn plain_imports_load_a_module_and_the_packages_above_it() {
    let files = [("m.py", ""), ("a/__init__.py", ""), ("a/b/__init__.py", ""), ("a/b/c.py", ""), ("a/b/d.py", "")];
    train(&with(&files, "import m"), &["m.py", "train.py"]);
    train(&with(&files, "import os, m as x"), &["m.py", "train.py"]);
    train(&with(&files, "import a"), &["a/__init__.py", "train.py"]);
    train(&with(&files, "import a.b"), &["a/__init__.py", "a/b/__init__.py", "train.py"]);
    train(&with(&files, "import a.b.c as d"), &["a/__init__.py", "a/b/__init__.py", "a/b/c.py", "train.py"]);
    train(&with(&files, "import a . b \\\n . c"), &["a/__init__.py", "a/b/__init__.py", "a/b/c.py", "train.py"]);
}

#[test]
fn names_that_are_taken_from_a_package_may_be_modules() {
    let files = [("a/__init__.py", "x = 1"), ("a/b.py", ""), ("a/c.py", ""), ("m.py", "n = 2"), ("n.py", "")];
    train(&with(&files, "from a import b"), &["a/__init__.py", "a/b.py", "train.py"]);
    train(&with(&files, "from a import (\n  x,\n  b as q,  # both\n)"), &["a/__init__.py", "a/b.py", "train.py"]);
    train(&with(&files, "from a import x"), &["a/__init__.py", "train.py"]);
    train(&with(&files, "from a.b import c"), &["a/__init__.py", "a/b.py", "train.py"]);
    // `n` is a name in the module `m`, though there is a file of that name.
    train(&with(&files, "from m import n"), &["m.py", "train.py"]);
}

#[test]
fn a_star_imports_what_a_package_says() {
    let files = [("a/b.py", ""), ("a/c.py", ""), ("a/d/__init__.py", ""), ("a/d/e.py", "")];
    let with_init = |init| [&files[..], &[("train.py", "from a import *"), ("a/__init__.py", init)]].concat();
    train(&with_init("x = 1"), &["a/__init__.py", "train.py"]);
    train(&with_init("__all__ = ['b', 'x']"), &["a/__init__.py", "a/b.py", "train.py"]);
    train(&with_init("__all__ = ['b']\n__all__ += ('c',)"), &["a/__init__.py", "a/b.py", "a/c.py", "train.py"]);
    let all = ["a/__init__.py", "a/b.py", "a/c.py", "a/d/__init__.py", "a/d/e.py", "train.py"];
    train(&with_init("from glob import glob\n__all__ = [x[:-3] for x in glob('*.py')]"), &all);
}

#[test]
fn imports_anywhere_in_a_file_count() {
    let files = [("f.py", ""), ("g.py", ""), ("h.py", ""), ("i.py", ""), ("j.py", "")];
    let text = "\
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import f
def train():
    import g
    class A:
        import j
try:
    import h
except ImportError:
    import i
";
    let all = [&files[..], &[("train.py", text)]].concat();
    train(&all, &["f.py", "g.py", "h.py", "i.py", "j.py", "train.py"]);
}

#[test]
fn imports_are_followed_through_files_and_circles_end() {
    let files = [
        ("train.py", "import a"),
        ("a.py", "import b"),
        ("b.py", "import c\nimport a"),
        ("c.py", "import train\nimport c"),
    ];
    train(&files, &["a.py", "b.py", "c.py", "train.py"]);
}

#[test]
fn relative_imports_start_at_the_package_of_the_file() {
    let files = [
        ("train.py", "import a.b.c"),
        ("a/__init__.py", ""),
        ("a/x.py", ""),
        ("a/y.py", "from . import x"),
        ("a/b/__init__.py", "from . import d"),
        ("a/b/c.py", "from .e import name\nfrom .. import y\nfrom ..z import w\nfrom ... import train"),
        ("a/b/d.py", ""),
        ("a/b/e.py", ""),
        ("a/b/unrelated.py", ""),
        ("a/z/__init__.py", "from .w import v"),
        ("a/z/w.py", ""),
        // At the top, these names are others.
        ("x.py", ""),
        ("y.py", ""),
        ("d.py", ""),
    ];
    let expected = [
        "a/__init__.py",
        "a/b/__init__.py",
        "a/b/c.py",
        "a/b/d.py",
        "a/b/e.py",
        "a/x.py",
        "a/y.py",
        "a/z/__init__.py",
        "a/z/w.py",
        "train.py",
    ];
    train(&files, &expected);
}

#[test]
fn a_local_module_that_shadows_is_found_first() {
    train(
        &[("train.py", "import json, numpy.linalg"), ("json.py", ""), ("numpy/__init__.py", "")],
        &["json.py", "numpy/__init__.py", "train.py"],
    );
}

#[test]
fn folders_without_init_are_packages_without_a_file() {
    let files =
        [("space/a.py", "from . import b"), ("space/b.py", ""), ("space/c.py", ""), ("train.py", "import space.a")];
    train(&files, &["space/a.py", "space/b.py", "train.py"]);
}

#[test]
fn compiled_modules_are_files_too() {
    let files = [
        ("train.py", "import fast, a.slow"),
        ("fast.cpython-311-x86_64-linux-gnu.so", "\x7fELF import unrelated"),
        ("a/__init__.py", ""),
        ("a/slow.pyd", ""),
        ("faster.so", ""),
    ];
    train(&files, &["a/__init__.py", "a/slow.pyd", "fast.cpython-311-x86_64-linux-gnu.so", "train.py"]);
}

#[test]
fn literal_names_are_followed_wherever_python_takes_them() {
    let files = [
        ("a/__init__.py", ""),
        ("a/b.py", "from importlib import import_module as load\nload('.c', __package__)\n"),
        ("a/c.py", ""),
        ("m.py", ""),
    ];
    let b = ["a/__init__.py", "a/b.py", "a/c.py", "train.py"];
    train(&with(&files, "import importlib\nimportlib.import_module('a.b')"), &b);
    train(&with(&files, "import importlib as il\nNAME = 'a' + '.b'\nil.import_module(NAME)"), &b);
    train(&with(&files, "import importlib\nimportlib.import_module(name='.b', package='a')"), &b[..]);
    train(&with(&files, "__import__('m')"), &["m.py", "train.py"]);
    train(&with(&files, "import runpy\nrunpy.run_module('m')"), &["m.py", "train.py"]);
    train(&with(&files, "import runpy\nrunpy.run_path('a/c.py')"), &["a/c.py", "train.py"]);
    train(&with(&files, "exec(open('m.py').read())"), &["m.py", "train.py"]);
    train(&with(&files, "exec('import m')"), &["m.py", "train.py"]);
    train(
        &with(&files, "import importlib.util as u\nspec = u.spec_from_file_location('x', 'a/c.py')"),
        &["a/c.py", "train.py"],
    );
}

#[test]
fn of_a_name_that_is_computed_all_that_it_may_be_counts_with_a_warning() {
    let files = [
        ("methods/__init__.py", ""),
        ("methods/one.py", ""),
        ("methods/two/__init__.py", ""),
        ("methods/two/x.py", ""),
        ("m_a.py", ""),
        ("m_b.py", ""),
        ("other.py", ""),
    ];
    let methods = ["methods/__init__.py", "methods/one.py", "methods/two/__init__.py", "methods/two/x.py", "train.py"];
    let what = "imports a module that only a run can name: every local one that it may name counts";
    for call in [
        "import_module(f'methods.{x}')",
        "import_module('methods.' + x)",
        "import_module('methods.%s' % x)",
        "import_module('methods.{}'.format(x))",
    ] {
        let text = format!("from importlib import import_module\nimport sys\nx = sys.argv[1]\n{call}\n");
        train_warns(&with(&files, &text), &methods, &[&format!("train.py:4: `{call}` {what}")]);
    }
    let text = "from importlib import import_module\nimport_module(f'm_{x}')\n";
    train_warns(
        &with(&files, text),
        &["m_a.py", "m_b.py", "train.py"],
        &[&format!("train.py:2: `import_module(f'm_{{x}}')` {what}")],
    );
}

#[test]
fn what_only_a_run_can_tell_is_named_with_its_line() {
    let m = ("m.py", "");
    let cases = [
        (
            "import importlib\nimportlib.import_module(name)",
            2,
            "`importlib.import_module(name)` imports a module that only a run can name",
        ),
        ("def f(m):\n    __import__(m)\nm = 'm'", 2, "`__import__(m)` imports a module that only a run can name"),
        ("x = 1\nexec(code)", 2, "`exec(code)` runs code that only a run can tell"),
        ("y = eval(text)", 1, "`eval(text)` runs code that only a run can tell"),
        ("import runpy\n\nrunpy.run_path(path)", 3, "`runpy.run_path(path)` runs a file that only a run can name"),
        (
            "import sys\nsys.path.append(folder())",
            2,
            "`sys.path.append(folder())` adds a folder that only a run can tell to where modules are looked for",
        ),
        ("import sys\nsys.path.remove('x')", 2, "`sys.path.remove('x')` changes where modules are looked for"),
        ("import sys\nsys.path = other()", 2, "`sys.path = other()` changes where modules are looked for"),
        ("__path__ = []", 1, "`__path__ = []` changes where a package's modules are looked for"),
    ];
    for (text, line, message) in cases {
        train_warns(&[m, ("train.py", text)], &["train.py"], &[&format!("train.py:{line}: {message}")]);
    }
    // What looks like it and is not.
    train(
        &[m, ("train.py", "model.eval()\nself.exec(x)\ndf.eval(text)\ndef evaluate(x): pass\nevaluate(x)")],
        &["train.py"],
    );
}

#[test]
fn folders_that_code_adds_are_searched_as_far_as_they_can_be_computed() {
    let files = [
        ("src/m.py", "import n"),
        ("src/n.py", ""),
        ("lib/m2.py", ""),
        ("src/deep/o.py", ""),
        ("src/unrelated2.py", ""),
    ];
    let m = ["src/m.py", "src/n.py", "train.py"];
    for folder in [
        "'src'",
        "\"./src\"",
        "os.path.join(os.path.dirname(__file__), 'src')",
        "os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib', os.pardir, 'src')",
        "os.path.dirname(__file__) + '/src'",
        "str(Path(__file__).parent / 'src')",
        "str(Path(__file__).resolve().parent.joinpath('src'))",
        "str(pathlib.Path(__file__).parents[0] / 'src' / 'deep' / '..')",
        "os.path.join(os.getcwd(), 'src')",
        "HERE",
    ] {
        let setup = "import os, sys, pathlib\nfrom pathlib import Path\nROOT = Path(__file__).parent\nHERE = str(ROOT / 'src')\n";
        for call in [
            format!("sys.path.insert(0, {folder})"),
            format!("sys.path.append({folder})"),
            format!("sys.path += [{folder}]"),
            format!("sys.path = [{folder}] + sys.path"),
            format!("sys.path[:0] = [{folder}]"),
        ] {
            let text = format!("{setup}{call}\nimport m\n");
            train(&[&files[..], &[("train.py", &text)]].concat(), &m);
        }
    }
    // A folder that is added by a file deep inside counts for all.
    let files =
        [("train.py", "import a\nimport m2"), ("a.py", "import sys\nsys.path.append('lib')"), ("lib/m2.py", "")];
    train(&files, &["a.py", "lib/m2.py", "train.py"]);
}

#[test]
fn where_a_folder_is_added_both_modules_of_one_name_count() {
    let files = [("train.py", "import sys\nsys.path.insert(0, 'src')\nimport m"), ("m.py", ""), ("src/m.py", "")];
    train(&files, &["m.py", "src/m.py", "train.py"]);
}

#[test]
fn a_module_is_started_from_the_working_folder_with_its_packages() {
    let files = [
        ("pkg/__init__.py", ""),
        ("pkg/__main__.py", "from . import work"),
        ("pkg/work.py", "import top"),
        ("pkg/train.py", "from .work import x"),
        ("pkg/top.py", ""),
        ("top.py", ""),
        ("other.py", ""),
    ];
    let main = ["pkg/__init__.py", "pkg/__main__.py", "pkg/work.py", "top.py"];
    follows(&files, "python -m pkg --x 1", &main);
    follows(&files, "python -um pkg", &main);
    follows(&files, "python -W ignore -X utf8 -mpkg", &main);
    follows(&files, "python pkg", &["pkg/__main__.py"]);
    follows(&files, "python -m pkg.train", &["pkg/__init__.py", "pkg/train.py", "pkg/work.py", "top.py"]);
    follows(&files, "python -m pytest", &[]);
    // A script's own folder is searched, not the working folder.
    follows(&files, "python pkg/work.py", &["pkg/top.py", "pkg/work.py"]);
}

#[test]
fn code_in_the_command_is_followed_too() {
    let files = [("m.py", "import n"), ("n.py", ""), ("o.py", "")];
    follows(&files, "python -c 'import m; print(1)'", &["m.py", "n.py"]);
    follows(&files, "python -uc 'import n'", &["n.py"]);
    follows(&files, "python - <<'END'\nimport n\nEND\n", &["n.py"]);
    follows(&files, "python <<END\nfrom m import x\nEND\npython -c 'import o'", &["m.py", "n.py", "o.py"]);
    follows_and_warns(&files, "python -c 'exec(x)'", &[], &["`exec(x)` runs code that only a run can tell"]);
}

#[test]
fn folders_of_pythonpath_are_searched_in_order() {
    let files = [("a/m.py", ""), ("b/m.py", ""), ("b/n.py", ""), ("s/train.py", "import m, n"), ("n.py", "")];
    let mut project = Project::new(&files);
    project.set("PYTHONPATH", "a:b");
    assert_eq!(project.names(&project.shell("python s/train.py")), ["a/m.py", "b/n.py", "s/train.py"]);
    project.set("PYTHONPATH", &format!("{}:a", project.root().join("b").display()));
    assert_eq!(project.names(&project.shell("python s/train.py")), ["b/m.py", "b/n.py", "s/train.py"]);
    project.set("PYTHONPATH", "");
    assert_eq!(project.names(&project.shell("python s/train.py")), ["s/train.py"]);
    // What the text itself sets is added; which one wins is not told.
    project.set("PYTHONPATH", "a");
    let code = project.shell("PYTHONPATH=b:$PYTHONPATH python s/train.py");
    assert_eq!(project.names(&code), ["a/m.py", "b/m.py", "b/n.py", "s/train.py"]);
    let code = project.shell("env PYTHONPATH=b python s/train.py");
    assert_eq!(project.names(&code), ["a/m.py", "b/m.py", "b/n.py", "s/train.py"]);
}

#[test]
fn python_loads_sitecustomize_by_itself() {
    let mut project =
        Project::new(&[("lib/sitecustomize.py", "import other"), ("lib/other.py", ""), ("s/train.py", "")]);
    project.set("PYTHONPATH", "lib");
    assert_eq!(
        project.names(&project.shell("python s/train.py")),
        ["lib/other.py", "lib/sitecustomize.py", "s/train.py"]
    );
}

#[test]
fn a_script_behind_a_link_looks_where_it_lies() {
    let project = Project::new(&[("src/train.py", "import m"), ("src/m.py", ""), ("m.py", "")]);
    std::os::unix::fs::symlink("src/train.py", project.root().join("train.py")).unwrap();
    assert_eq!(project.names(&project.shell("python train.py")), ["src/m.py", "train.py"]);
}

#[test]
fn files_that_cannot_be_read_as_python_are_named_and_their_plain_imports_followed() {
    let text = "import m\nthis is no python at all (\nfrom n import x\ndef f(:\n  import o\n";
    let files = [("train.py", text), ("m.py", ""), ("n.py", ""), ("o.py", ""), ("p.py", "")];
    let project = Project::new(&files);
    let code = project.shell("python train.py");
    assert_eq!(project.names(&code), ["m.py", "n.py", "o.py", "train.py"]);
    let warnings = project.warnings(&code);
    assert!(
        matches!(warnings.as_slice(), [one] if one.contains("cannot be read as Python from here on")),
        "{warnings:?}"
    );
    // No text at all is read as far as it goes, and nothing breaks.
    let project = Project::new(&[("m.py", "")]);
    std::fs::write(project.root().join("train.py"), b"import m\n\xff\xfe\x00\x01((((").unwrap();
    assert_eq!(project.names(&project.shell("python train.py")), ["m.py", "train.py"]);
}

#[test]
fn old_syntax_and_new_is_read() {
    let files = [("m.py", ""), ("n.py", "")];
    train(&with(&files, "print 'x'\nimport m\n"), &["m.py", "train.py"]);
    train(
        &with(&files, "match x:\n    case 1:\n        import m\ntype A[T] = list[T]\nif (n := 1): import n\n"),
        &["m.py", "n.py", "train.py"],
    );
    train(
        &with(
            &files,
            "async def f[T](x: T):\n    async with a as b:\n        import m\n    x = f'{a!r:>{w}} {\"import n\"}'\n",
        ),
        &["m.py", "train.py"],
    );
}

#[test]
fn commands_that_code_runs_are_followed_as_far_as_they_are_literal() {
    let files =
        [("b.py", "import m"), ("m.py", ""), ("run.sh", "python c.py"), ("c.py", ""), ("lib/d.py", ""), ("e.py", "")];
    let b = ["b.py", "m.py", "train.py"];
    let setup = "import os, shlex, subprocess, sys\nfrom pathlib import Path\nHERE = Path(__file__).parent\n";
    for (call, expected) in [
        ("subprocess.run(['python', 'b.py', '--x', str(x)], check=True)", &b[..]),
        ("subprocess.check_call([sys.executable, 'b.py', *rest])", &b),
        ("subprocess.run(f'python b.py --seed {seed}', shell=True)", &b),
        ("cmd = ['python', 'b.py']\nsubprocess.Popen(cmd)", &b),
        ("os.system('python b.py > ' + out)", &b),
        ("subprocess.run(shlex.split('python b.py'))", &b),
        ("subprocess.run([sys.executable, str(HERE / 'lib' / 'd.py')])", &["lib/d.py", "train.py"]),
        ("subprocess.run(['bash', 'run.sh'])", &["c.py", "run.sh", "train.py"]),
        ("subprocess.run(['git', 'rev-parse', 'HEAD'])", &["train.py"]),
        ("subprocess.run([tool, '--version'])", &["train.py"]),
        ("subprocess.run(command)", &["train.py"]),
    ] {
        train(&with(&files, &format!("{setup}{call}\n")), expected);
    }
}
