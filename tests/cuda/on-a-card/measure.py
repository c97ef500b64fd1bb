#!/usr/bin/env python3
"""Times a model of the size of Stable Diffusion 1.5 with random weights, in catbench and in PyTorch with diffusers' modules, in turn.

    measure.py KIT OUT

A training step of CatVersion at batch 1, 2 and 4, and a guided denoising step, in bf16. PyTorch has its fused attention (SDPA),
channels_last, and for the first of them torch.compile too. Five steps of PyTorch are timed together: none waits for the one before. Its
guided step is the UNet alone; catbench's has guidance and the solver in it. Written: OUT/table.txt, and all numbers in OUT/table.json.
`counts.json` tells what a step asks of the card. The column `reckoned` is its arithmetic and its bytes at the card's two ceilings, one
after the other, each byte from memory: caches and what overlaps make less of it.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

KIT, OUT = map(Path, sys.argv[1:3])
CATBENCH = KIT / "bin/catbench"
HOME = Path(os.environ["CATBENCH_HOME"])
MODEL = OUT / "full_size"
BATCHES = (1, 2, 4)
STEPS, WARM_UP = 25, 10
ROUNDS = 2
# As `tests/cuda/full.rs` has them: operations a second in bf16 without sparsity, bytes a second.
CEILINGS = {"A100": (312e12, 2.04e12), "H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}


def used_memory():
    """MiB of the first card; none where nobody tells."""
    try:
        said = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"],
                              capture_output=True, text=True, check=True).stdout
        return int(said.split()[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None


class Peak(threading.Thread):
    """The most memory of the card while it runs, beside what was used before."""

    def __init__(self):
        super().__init__(daemon=True)
        self.before, self.most, self.ends = used_memory(), 0, threading.Event()

    def run(self):
        while self.before is not None and not self.ends.wait(0.1):
            self.most = max(self.most, used_memory() or 0)

    def mib(self):
        self.ends.set()
        self.join()
        return self.most - self.before if self.before is not None else None


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def newest(folder):
    return max(folder.iterdir())


def stop_runners():
    """A runner that waits for the next job keeps its memory: end it, and wait until it has."""
    run(CATBENCH, "daemon", "stop")
    home, deadline = f"CATBENCH_HOME={HOME}".encode(), time.time() + 30
    while time.time() < deadline:
        alive = False
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = environment.read_bytes().split(b"\0")
            except OSError:
                continue
            alive |= home in variables and environment.parent.name != str(os.getpid()) and is_runner(environment.parent)
        if not alive:
            return
        time.sleep(0.1)


def is_runner(process):
    try:
        return b"runner" in (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def training(batch):
    """Seconds of a step, MiB."""
    stop_runners()
    peak = Peak()
    peak.start()
    run(CATBENCH, "train", "full", "--device", "cuda:0", "--dtype", "bf16", "--layers", "9,10,11", "--batch-size", batch,
        "--steps", STEPS, "--sample-every", 0, "--validate-every", 0, "--checkpoint-every", STEPS)
    seconds = [event["seconds"] for event in events(newest(HOME / "full/runs")) if event.get("type") == "step"]
    return statistics.median(seconds[WARM_UP:]), peak.mib()


def sampling():
    """Seconds of a guided denoising step, MiB."""
    stop_runners()
    peak = Peak()
    peak.start()
    run(CATBENCH, "sample", "full", "--untrained", "--prompt", "a teapot", "--images", 1, "--steps", 100, "--device", "cuda:0", "--dtype", "bf16")
    told = [event for event in events(newest(HOME / "full/samples")) if event.get("type") == "progress" and event.get("phase") == "sample"]
    at = [(event["done"], datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()) for event in told if event["done"] < 100]
    at = [point for point in at if point[0] >= 10]
    if len(at) < 2:
        raise RuntimeError(f"a sampling told of {len(at)} moments between its steps: that gives no time of a step")
    (first, begin), (last, end) = at[0], at[-1]
    return (end - begin) / (last - first), peak.mib()


def torch_seconds(batch, forward, compiled):
    """The same in PyTorch, in a process of its own; none where there is no PyTorch with a card."""
    peak = Peak()
    peak.start()
    code = ("import json, sys; from pathlib import Path; import compare_torch as c; "
            "print(json.dumps(c.torch_steps(Path(sys.argv[1]), int(sys.argv[2]), 64, 30, 10, 8, sys.argv[3] == '1', "
            "device='cuda', dtype='bfloat16', compiled=sys.argv[4] == '1')))")
    said = run(sys.executable, "-c", code, MODEL, batch, int(forward), int(compiled), env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return statistics.median(json.loads(said.splitlines()[-1])), peak.mib()


def prepare():
    project = KIT / "project"
    # Where nothing is computed, numbers are not needed.
    random = [] if os.environ.get("SOFT_CUDA_COUNT_ONLY") else ["--random", 1]
    run(sys.executable, project / "tests/cuda/full_size.py", project / "workspaces/demo/base_model", MODEL, *random)
    run(CATBENCH, "concept", "new", "full", "--class", "teapot", "--images", project / "workspaces/demo/images", "--base-model", MODEL)
    wheels = sorted((KIT / "wheels").glob("*.whl"))
    if wheels:
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target", OUT / "site", *wheels)


def reckoned(counts):
    name = run("nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0").strip() if used_memory() is not None else ""
    for card, (operations, bytes_) in CEILINGS.items():
        if card in name and counts:
            return counts["product_operations"] / operations + (counts["bytes_read"] + counts["bytes_written"]) / bytes_
    return None


def main():
    begin = time.time()
    prepare()
    counts = json.loads((KIT / "project/tests/cuda/counts.json").read_text())
    works = [(f"training step, batch {batch}", lambda batch=batch: training(batch), (batch, False)) for batch in BATCHES]
    works.append(("guided denoising step", sampling, (1, True)))
    rows, missing, failed = [], None, []
    for name, ours, (batch, forward) in works:
        sides = {"catbench": [], "torch": [], "compiled": []}
        for _ in range(ROUNDS):
            try:
                sides["catbench"].append(ours())
            except RuntimeError as error:
                failed.append(f"{name}: {error}")
            # What is missing once is missing always.
            if not missing:
                try:
                    sides["torch"].append(torch_seconds(batch, forward, False))
                except RuntimeError as error:
                    missing = str(error)
        # Compiling takes a minute: once, and while there is time.
        if not missing and name == works[0][0] and time.time() - begin < 240:
            try:
                sides["compiled"].append(torch_seconds(batch, forward, True))
            except RuntimeError as error:
                failed.append(f"{name}, torch.compile: {error}")
        row = {"what": name, "reckoned": reckoned(counts.get(name))}
        for side, found in sides.items():
            if found:
                row[side] = {"seconds": min(seconds for seconds, _ in found), "mib": max((mib or 0 for _, mib in found), default=0)}
        rows.append(row)
        write(rows, missing, failed)
    if failed:
        sys.exit("\n".join(failed))


def write(rows, missing, failed):
    (OUT / "table.json").write_text(json.dumps({"rows": rows, "torch_missing": missing, "failed": failed}, indent=1))

    def cell(row, side):
        found = row.get(side)
        return f"{1000 * found['seconds']:9.1f} ms {found['mib']:6} MiB" if found else f"{'-':>23}"

    lines = [f"{'':26}{'catbench':>23}{'PyTorch':>23}{'torch.compile':>23}{'ratio':>8}{'reckoned':>11}"]
    for row in rows:
        both = row.get("catbench") and row.get("torch")
        ratio = f"{row['catbench']['seconds'] / row['torch']['seconds']:8.2f}" if both else f"{'-':>8}"
        time_ = f"{1000 * row['reckoned']:8.1f} ms" if row["reckoned"] else f"{'-':>11}"
        lines.append(f"{row['what']:26}{cell(row, 'catbench')}{cell(row, 'torch')}{cell(row, 'compiled')}{ratio}{time_}")
    if missing:
        lines.append(f"PyTorch was not compared: {missing.splitlines()[-1]}")
    lines += [f"FAILED: {one.splitlines()[0]}" for one in failed]
    (OUT / "table.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
