#!/usr/bin/env python3
"""One graph for pru-flow and ninja, timed side by side: cold, no-op, one leaf edited, one leaf touched.

    benches/engines.py [N]          needs ninja on PATH and target/release/pru-flow (cargo xtask build --release)

The graph: one source stage, N stages that each read it and a leaf of their own, one sink that reads all N. Every stage
is `cksum FILES > OUT`. ninja compares times of files, pru-flow their content; pru-flow also keeps every result in its
store, durably. Printed: CPU seconds (user and system, children included) and wall seconds, and pru-flow over ninja.
"""
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENGINE = Path(__file__).resolve().parent.parent / "target" / "release" / "pru-flow"


def write_leaves(folder, n):
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    (folder / "in" / "src").write_text("00000000 src\n")
    for i in range(n):
        (folder / "in" / f"l{i}").write_text(f"00000000 l{i}\n")


def write_ninja(folder, n):
    lines = ["rule run", "  command = cksum $in > $out", "build out/src: run in/src"]
    lines += [f"build out/m{i}: run out/src in/l{i}" for i in range(n)]
    lines.append("build out/sink: run " + " ".join(f"out/m{i}" for i in range(n)))
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def write_pru_flow(folder, n):
    (folder / "pru-flow.toml").write_text("")
    stages = {"src": {"command": "cksum in/src > ${outputs.sum}", "outputs": {"sum": "out/src"}}}
    for i in range(n):
        stages[f"m{i}"] = {
            "command": f"cksum ${{inputs.src}} in/l{i} > ${{outputs.sum}}",
            "inputs": {"src": "src.sum"},
            "outputs": {"sum": f"out/m{i}"},
        }
    stages["sink"] = {
        "command": "cksum ${inputs.all} > ${outputs.sum}",
        "inputs": {"all": [f"m{i}.sum" for i in range(n)]},
        "outputs": {"sum": "out/sink"},
    }
    # JSON is YAML.
    (folder / "bench.yaml").write_text(json.dumps({"version": 1, "name": "bench", "stages": stages}))


def timed(command, folder):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{command} failed in {folder}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime), wall


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    tools = {
        "ninja": (["ninja", "-j2"], write_ninja),
        "pru-flow": ([str(ENGINE), "run", "bench.yaml", "-j2"], write_pru_flow),
    }
    with tempfile.TemporaryDirectory() as temporary:
        rows = {}
        for name, (command, write) in tools.items():
            folder = Path(temporary) / name
            write_leaves(folder, n)
            write(folder, n)
            leaf = folder / "in" / f"l{n // 2}"
            rows[name] = {"cold": timed(command, folder)}
            # Files younger than two seconds are hashed again, as their times cannot be trusted yet.
            time.sleep(2.5)
            timed(command, folder)
            rows[name]["no-op"] = min(timed(command, folder) for _ in range(5))
            leaf.write_text("11111111 edited\n")
            rows[name]["leaf edited"] = timed(command, folder)
            os.utime(leaf)
            rows[name]["leaf touched"] = timed(command, folder)
        print(f"N = {n} stages; CPU seconds (wall seconds)")
        for case in rows["ninja"]:
            (ninja_cpu, ninja_wall), (our_cpu, our_wall) = rows["ninja"][case], rows["pru-flow"][case]
            print(f"{case:<13} ninja {ninja_cpu:7.3f} ({ninja_wall:6.3f})   "
                  f"pru-flow {our_cpu:7.3f} ({our_wall:6.3f})   ratio {our_cpu / max(ninja_cpu, 1e-3):6.1f}")


if __name__ == "__main__":
    main()
