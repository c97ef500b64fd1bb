#!/usr/bin/env python3
"""Whether a change made the training step slower: the median step of the demo's training by two programs, as a ratio.

    cargo build --release
    python3 tests/benches/compare_versions.py OLD-PROGRAM target/release/catbench [--pairs 10]

Both train at once, each on a core of its own, and change cores from pair to pair: what the machine does meanwhile, it does to
both. Each has a home of its own with the repository's demo. Printed: each pair, and the geometric mean of the ratios with its
95 % interval.
"""

import argparse
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

STEPS = 100
# The first ones wait for caches, the last for the end.
COUNTED = slice(5, 95)
ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(program, home, core):
    # The daemon keeps to the core that it was started on, and so does its runner.
    subprocess.run([program, "daemon", "stop"], env={**os.environ, "CATBENCH_HOME": home}, capture_output=True)
    command = ["taskset", "-c", str(core), program, "train", "demo", "--steps", str(STEPS)]
    command += ["--sample-every", "0", "--validate-every", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env={**os.environ, "CATBENCH_HOME": home}, **quiet)


def median_step(home):
    events = max(pathlib.Path(home, "demo/runs").glob("*/events.jsonl"), key=os.path.getmtime)
    steps = (json.loads(line) for line in events.read_text().splitlines())
    return statistics.median([step["seconds"] for step in steps if step["type"] == "step"][COUNTED])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=pathlib.Path)
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("--pairs", type=int, default=10)
    arguments = parser.parse_args()
    programs = [str(program.resolve()) for program in (arguments.old, arguments.new)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        homes = [f"{folder}/old", f"{folder}/new"]
        for home in homes:
            shutil.copytree(ROOT / "workspaces/demo", f"{home}/demo", ignore=shutil.ignore_patterns("runs", "samples"))
        logs = []
        for pair in range(arguments.pairs):
            trainings = [start(program, home, (i + pair) % 2) for i, (program, home) in enumerate(zip(programs, homes))]
            if any(training.wait() for training in trainings):
                raise SystemExit("a training failed")
            old, new = map(median_step, homes)
            logs.append(math.log(new / old))
            print(f"{1e3 * old:.2f} {1e3 * new:.2f} ms  {new / old:.3f}", flush=True)
        half = 1.96 * statistics.stdev(logs) / len(logs) ** 0.5
        print(f"new / old {math.exp(statistics.mean(logs)):.3f} ± {half:.3f} (geometric mean of {len(logs)} pairs)")
        for program, home in zip(programs, homes):
            subprocess.run([program, "daemon", "stop"], env={**os.environ, "CATBENCH_HOME": home}, capture_output=True)


if __name__ == "__main__":
    main()
