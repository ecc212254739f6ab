# Prints, as one line of JSON behind a mark, where this Python looks for modules and what it is. Runs on Python 2.7 too.
import sys

if sys.path and sys.path[0] == "":
    del sys.path[0]  # The working folder: no module in it is to be mistaken for one of Python's own.

import json
import os
import platform

try:
    import sysconfig
except ImportError:
    sysconfig = None
try:
    import site
except ImportError:
    site = None


def installed():
    """Folders in which distributions are installed; some may not be there yet."""
    folders = []
    if sysconfig:
        folders += [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    if site:
        folders += getattr(site, "getsitepackages", list)()
        if getattr(site, "ENABLE_USER_SITE", None):
            folders.append(site.getusersitepackages())
    # A folder that others were installed to as a whole, reached by a line in a `.pth` file.
    for folder in sys.path:
        if os.path.isdir(folder) and any(name.endswith(".dist-info") for name in os.listdir(folder)):
            folders.append(folder)
    return unique(folders)


def own():
    """Folders of the standard library."""
    folders = [os.path.dirname(os.__file__)]
    if sysconfig:
        folders += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    return unique(folders)


def unique(folders):
    seen = []
    for folder in folders:
        if folder and os.path.abspath(folder) not in seen:
            seen.append(os.path.abspath(folder))
    return seen


def inside(folder, others):
    return any(folder == other or folder.startswith(os.path.join(other, "")) for other in others)


def outside():
    """Folders on `sys.path` that belong to neither."""
    known = installed() + own()
    folders = [folder for folder in unique(sys.path) if not inside(folder, known)]
    return [folder for folder in folders if not os.path.basename(folder).startswith("python3") or os.path.isdir(folder)]


def linked():
    """Modules that a finder of setuptools takes from where they are edited."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            for package, path in getattr(module, "MAPPING", {}).items():
                found.setdefault(package, []).append(path)
            for package, paths in getattr(module, "NAMESPACES", {}).items():
                found.setdefault(package, []).extend(paths)
    return found


version = platform.python_version()
flags = getattr(sys, "abiflags", "")
print("")
print(
    "pru-flow-python:"
    + json.dumps(
        {
            "version": platform.python_implementation() + " " + version + (" (" + flags + ")" if flags else ""),
            "executable": sys.executable or "",
            "prefix": sys.prefix,
            "installed": installed(),
            "outside": outside(),
            "linked": linked(),
        }
    )
)
