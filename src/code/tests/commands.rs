//! What a command line runs: programs and Pythons, behind wrappers and in environments of tools.

use super::{Project, follows, follows_and_warns};

const FILES: [(&str, &str); 4] =
    [("train.py", "import lib"), ("lib.py", ""), ("unrelated.py", ""), ("pkg/__init__.py", "")];
const TRAIN: [&str; 2] = ["lib.py", "train.py"];

#[test]
fn python_is_found_behind_options_and_wrappers() {
    for text in [
        "python train.py",
        "python3 -u train.py --x",
        "python -W ignore -X importtime -B train.py",
        "python -Wignore -OO ./train.py",
        "python --check-hash-based-pycs never train.py",
        "env A=b CUDA_VISIBLE_DEVICES=0 python train.py",
        "A=b python train.py",
        "nice -n 5 python train.py",
        "timeout 5m python train.py",
        "time python train.py",
        "nice timeout -k 5 1h env -u X python3 train.py",
        "env -S 'python -u' train.py",
        "mpirun -np 4 python train.py",
        "srun --gres=gpu:1 python -u train.py",
        "python train.py && echo done",
        "mkdir -p out; python train.py > out/log 2>&1 | cat",
        "python train.py || python -c pass",
        "find . -name x | xargs -n 1 python train.py",
        "python 'train.py'",
        "\"python\" \"train.py\"",
        "exec python train.py",
        "python < train.py",
        "$(which python) train.py",
        "python -m cProfile -o out.prof train.py",
        "python -m torch.distributed.run --nproc_per_node 2 train.py --x 1",
    ] {
        follows(&FILES, text, &TRAIN);
    }
}

#[test]
fn a_list_of_words_is_read_as_a_program_sees_it() {
    let project = Project::new(&FILES);
    for words in [
        &["python", "train.py"][..],
        &["env", "A=b", "python3", "-u", "train.py", "--x", "a b"],
        &["bash", "-c", "python train.py"],
        &["python", "train.py", "${inputs.data}", "--out=${outputs.model}"],
    ] {
        let code = project.words(words).unwrap();
        assert_eq!(project.names(&code), TRAIN, "{words:?}");
        assert_eq!(code.warnings, [], "{words:?}");
        assert_eq!(code.pythons.len(), 1, "{words:?}");
    }
    // Without a shell, its signs mean nothing.
    assert_eq!(project.names(&project.words(&["python", "-c", "pass", ";", "train.py"]).unwrap()), TRAIN);
    assert_eq!(project.names(&project.words(&["python", "$X"]).unwrap()), [""; 0]);
}

#[test]
fn placeholders_of_the_pipeline_are_no_reason_to_warn() {
    let text = "python train.py ${inputs.data} > ${outputs.log} && ${inputs.tool} x && python ${inputs.script}";
    follows(&FILES, text, &TRAIN);
}

#[test]
fn programs_are_told_by_where_they_lie() {
    let project = Project::new(&FILES);
    project.program("bin/sort", "\x7fELF");
    project.program("bin/mywrap", "\x7fELF");
    project.program("other/awk", "\x7fELF");
    project.program("project/tools/solve", "\x7fELF");
    std::fs::write(project.machine("bin/data"), "not a program").unwrap();
    let programs = |text: &str| project.programs(&project.shell(text));
    assert_eq!(programs("sort x | sort -u > y"), ["bin/sort"]);
    assert_eq!(programs("./tools/solve && sort x"), ["tools/solve", "bin/sort"]);
    assert_eq!(programs("mywrap python train.py"), ["bin/mywrap"]);
    assert_eq!(programs("nice sort x"), ["bin/sort"], "what only runs another program is none");
    assert_eq!(programs("PATH=../other:$PATH; awk x"), ["other/awk"]);
    assert_eq!(programs("awk x"), [""; 0], "it is not on the PATH; the shell will say so");
    assert_eq!(programs("data x; echo sort; cd sort; [ sort ]; test sort"), [""; 0]);
    assert_eq!(programs("sort() { cat; }; sort x"), [""; 0], "a function of the text");
    let code = project.shell("sort x");
    assert_eq!(code.programs[0].name, "sort");
    assert_eq!(code.pythons, []);
}

#[test]
fn a_program_that_is_not_there_is_an_error_that_says_what_to_do() {
    let project = Project::without_python(&FILES);
    let error = project.words(&["nosuch", "x"]).unwrap_err();
    assert_eq!(error.message, "the program `nosuch` is not on the PATH");
    assert!(error.help.contains("install it"), "{}", error.help);
    assert_eq!(project.words(&["./nosuch", "x"]).unwrap_err().message, "there is no program at `./nosuch`");
    assert_eq!(project.words(&["python", "train.py"]).unwrap_err().message, "there is no program `python` on the PATH");
    project.python("bin/python3", "CPython 3.11.2");
    let error = project.words(&["python", "train.py"]).unwrap_err();
    assert_eq!(error.help, "there is `python3`");
    let error = project.words(&[".venv/bin/python", "train.py"]).unwrap_err();
    assert_eq!(error.message, "there is no Python at `.venv/bin/python`");
    // Where one of several is there, the text may be choosing.
    let code = project.shell("python train.py || python3 train.py");
    assert_eq!((project.names(&code), code.pythons.len()), (TRAIN.map(str::to_owned).to_vec(), 1));
}

#[test]
fn a_script_that_is_not_there_is_a_warning() {
    follows_and_warns(&FILES, "python made.py", &[], &["`made.py` is run, and is not there yet"]);
    follows_and_warns(&FILES, "bash made.sh", &[], &["`made.sh` is run, and is not there yet"]);
}

#[test]
fn files_that_are_no_code_are_left_out_whatever_their_names() {
    let project = Project::new(&FILES);
    let reader = super::CodeReader::new(None);
    let (root, made) = (project.root(), project.write("out/made.py", ""));
    let code = |not_code: &[std::path::PathBuf]| {
        let line = super::Line::Shell("python train.py --to out/made.py");
        let variables = project.seen();
        let command = super::Command { line, root: &root, folder: &root, variables: &variables, not_code };
        project.names(&reader.look().of_command(&command).unwrap())
    };
    assert_eq!(code(&[]), ["lib.py", "out/made.py", "train.py"]);
    assert_eq!(code(&[made]), TRAIN);
}

#[test]
fn programs_that_distributions_bring_are_told_by_their_python() {
    let project = Project::new(&FILES);
    let python = project.python("venv/bin/python", "CPython 3.12.1");
    project.program("venv/bin/torchrun", &format!("#!{}\nfrom torch import run\nimport lib\n", python.display()));
    let long = format!("#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\nimport sys\n", python.display());
    project.program("venv/bin/accelerate", &long);
    let check = |text: &str, files: &[&str]| {
        let code = project.shell(text);
        let versions: Vec<&str> = code.pythons.iter().map(|python| python.version()).collect();
        assert_eq!(versions, ["CPython 3.12.1"], "{text}");
        assert_eq!(
            (project.names(&code), project.programs(&code)),
            (files.iter().map(|f| (*f).to_owned()).collect(), vec![]),
            "{text}"
        );
        assert_eq!(code.warnings, [], "{text}");
    };
    check("../venv/bin/torchrun --nproc 2 train.py --lr 1", &TRAIN);
    check("../venv/bin/torchrun -m pkg", &["pkg/__init__.py"]);
    check("PATH=../venv/bin:$PATH accelerate launch train.py", &TRAIN);
    check("source ../venv/bin/activate && torchrun train.py", &TRAIN);
    check("source ../venv/bin/activate; python train.py", &TRAIN);
    check("../venv/bin/python train.py", &TRAIN);
}

#[test]
fn a_program_of_the_machine_in_python_is_told_by_its_content_unless_it_is_installed_beside_python() {
    let project = Project::new(&FILES);
    project.program("opt/tool", "#!/usr/bin/env python3\nimport helper\n");
    std::fs::write(project.machine("opt/helper.py"), "").unwrap();
    let code = project.shell("../opt/tool");
    assert_eq!(project.names(&code), ["opt/helper.py", "opt/tool"]);
    assert_eq!(code.pythons.len(), 1);
}

#[test]
fn environments_of_tools_are_found() {
    let mut project = Project::new(&FILES);
    project.write("pyproject.toml", "");
    project.write("uv.lock", "");
    project.write("src/x.py", "import lib");
    project.python("project/.venv/bin/python", "CPython 3.12.1");
    let version = |project: &Project, text: &str| {
        let code = project.shell(text);
        assert_eq!(code.warnings, [], "{text}");
        code.pythons.iter().map(|python| python.version().to_owned()).collect::<Vec<_>>()
    };
    for text in [
        "uv run train.py",
        "uv run python train.py",
        "uv run --frozen --with numpy python -u train.py",
        "cd src && uv run python ../train.py",
        "poetry run python train.py",
        "pdm run python train.py",
    ] {
        assert_eq!(version(&project, text), ["CPython 3.12.1"], "{text}");
    }
    assert_eq!(project.names(&project.shell("uv run train.py")), ["lib.py", "train.py", "uv.lock"]);
    assert_eq!(project.names(&project.shell("poetry run python train.py")), TRAIN);
    assert_eq!(project.names(&project.shell("uv run -m pkg")), ["pkg/__init__.py", "uv.lock"]);
    project.python("conda/envs/ml/bin/python", "CPython 3.10.9");
    project.program("conda/bin/conda", "\x7fELF");
    let path = format!("{}:{}", project.machine("bin").display(), project.machine("conda/bin").display());
    project.set("PATH", &path);
    for text in [
        "conda run -n ml python train.py",
        "conda activate ml && python train.py",
        "conda run -p ../conda/envs/ml python train.py",
    ] {
        assert_eq!(version(&project, text), ["CPython 3.10.9"], "{text}");
    }
    std::fs::create_dir_all(project.machine("home/.conda")).unwrap();
    let list = format!("/nowhere/ml\n{}\n", project.machine("conda/envs/ml").display());
    std::fs::write(project.machine("home/.conda/environments.txt"), list).unwrap();
    project.set("PATH", &project.machine("bin").display().to_string());
    assert_eq!(version(&project, "micromamba run -n ml python train.py"), ["CPython 3.10.9"]);
    project.python("project/.pixi/envs/default/bin/python", "CPython 3.13.0");
    assert_eq!(version(&project, "pixi run python train.py"), ["CPython 3.13.0"]);
}

#[test]
fn an_environment_that_is_not_there_is_a_warning_and_no_other_python_is_taken_for_it() {
    let files = [&FILES[..], &[("pyproject.toml", "")]].concat();
    let project = Project::new(&files);
    for (text, message) in [
        ("uv run train.py", "the environment of `uv run` is not there yet (`uv sync` makes it)"),
        ("poetry run python train.py", "where `poetry` keeps its environment cannot be told: there is no `.venv`"),
        ("conda run -n ml python train.py", "the conda environment `ml` cannot be found"),
        ("conda activate ml; python train.py", "the conda environment `ml` cannot be found"),
        ("pixi run python train.py", "the pixi environment `default` is not there yet (`pixi install` makes it)"),
    ] {
        let code = project.shell(text);
        assert_eq!(project.names(&code), TRAIN, "{text}");
        assert_eq!(project.warnings(&code), [message], "{text}");
        assert_eq!(code.pythons, [], "{text}");
        assert_eq!(code.warnings[0].help, "name a lock file: `environment: {lock: uv.lock}`");
    }
}

#[test]
fn a_script_that_names_its_own_dependencies_is_warned_of_until_they_are_locked() {
    let project = Project::new(&[
        ("one.py", "# /// script\n# dependencies = [\"numpy\"]\n# ///\nimport numpy\n"),
        ("pyproject.toml", ""),
    ]);
    project.python("project/.venv/bin/python", "CPython 3.12.1");
    let warnings = project.warnings(&project.shell("uv run one.py"));
    assert_eq!(warnings, ["one.py:1: names its dependencies itself, and their versions are chosen when it runs"]);
    project.write("one.py.lock", "");
    let code = project.shell("uv run one.py");
    assert_eq!(project.names(&code), ["one.py", "one.py.lock"]);
    assert_eq!(code.warnings, []);
}

#[test]
fn what_runs_in_an_image_is_warned_of() {
    let project = Project::new(&FILES);
    project.program("bin/docker", "\x7fELF");
    project.program("bin/apptainer", "\x7fELF");
    project.write("x.sif", "");
    let code = project.shell("docker run --rm image:1 python train.py");
    assert_eq!(project.warnings(&code)[0], "what `docker` runs lies in an image that is no part of the key");
    assert!(project.names(&code).contains(&"train.py".to_owned()));
    let code = project.shell("apptainer exec x.sif python train.py");
    assert_eq!(project.names(&code), ["lib.py", "train.py", "x.sif"]);
    assert!(!project.warnings(&code).iter().any(|warning| warning.contains("image")), "{:?}", code.warnings);
}

#[test]
fn a_shim_of_pyenv_leads_to_the_version_that_pyenv_would_choose() {
    let mut project = Project::without_python(&FILES);
    for version in ["3.10.4", "3.11.9", "3.11.10"] {
        project.python(&format!("pyenv/versions/{version}/bin/python"), &format!("CPython {version}"));
    }
    project.program(
        "pyenv/versions/3.10.4/bin/tool",
        &format!("#!{}\n", project.machine("pyenv/versions/3.10.4/bin/python").display()),
    );
    for shim in ["python", "tool"] {
        project.program(&format!("pyenv/shims/{shim}"), "#!/usr/bin/env bash\nexec pyenv exec \"$@\"\n");
    }
    project.python("bin/python", "CPython 3.9.0");
    let path = format!("{}:{}", project.machine("pyenv/shims").display(), project.machine("bin").display());
    project.set("PATH", &path);
    let version = |project: &Project, text: &str| project.shell(text).pythons[0].version().to_owned();
    assert_eq!(version(&project, "python train.py"), "CPython 3.9.0", "nothing is chosen: the system's");
    std::fs::write(project.machine("pyenv/version"), "3.10.4\n").unwrap();
    assert_eq!(version(&project, "python train.py"), "CPython 3.10.4");
    assert_eq!(version(&project, "tool train.py"), "CPython 3.10.4");
    project.write(".python-version", "# ours\n3.11\n");
    assert_eq!(version(&project, "python train.py"), "CPython 3.11.10", "the latest that begins so");
    project.set("PYENV_VERSION", "3.11.9");
    assert_eq!(version(&project, "python train.py"), "CPython 3.11.9");
}
