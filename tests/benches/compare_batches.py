#!/usr/bin/env python3
"""Pictures a second and memory of a prompt list, here and in diffusers with its best batch size.

    cargo build --release && python3 tests/benches/compare_batches.py [--pictures 1000] [--program target/release/catbench]

The demo model without a concept; the same prompts, seeds, noise, sampler (DDIM), steps, guidance and size on both sides, two threads
each, one side at a time. Each side first tries batch sizes on a few pictures and takes its best. Then blocks take turns, each
a process of its own: `catbench runner FOLDER`, and this file with `--diffusers`. The time is from the first denoising to the
last PNG on disk; loading the program and the model is counted on neither side, and is told. Both write their PNGs; ours writes
a mask and a record with each. Memory is the most a process ever held (VmHWM). Says whether ours makes 1.5 times as many with
less memory; ends with 1 if not. Needs what tests/parity/requirements.txt lists, in the Python that runs this."""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BAR = 1.5
PROMPTS = [f"a {color} {thing} {scene}" for color in ("red", "blue") for thing in ("apple", "star", "teapot")
           for scene in ("on grass", "at night", "in the snow", "on a table")]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", type=Path, default=ROOT / "target/release/catbench")
parser.add_argument("--pictures", type=int, default=1000)
parser.add_argument("--blocks", type=int, default=2, help="into which the pictures of each side are parted")
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--guidance", type=float, default=4.0)
parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
parser.add_argument("--tried", type=int, default=32, help="pictures for each batch size that is tried")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--diffusers", metavar="JSON", help=argparse.SUPPRESS)
args = parser.parse_args()


def diffusers(job):
    """Make the pictures of a job, and print (seconds, seconds of loading, peak memory in KiB)."""
    began = time.monotonic()
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    torch.set_num_threads(job["threads"])
    with torch.inference_mode():
        pipe = StableDiffusionPipeline.from_pretrained(ROOT / "workspaces/demo/base_model", dtype=torch.float32, safety_checker=None)
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        loaded = time.monotonic()
        for first in range(0, len(job["pictures"]), job["size"]):
            batch = job["pictures"][first : first + job["size"]]
            noise = [torch.Generator("cpu").manual_seed(seed) for _, seed in batch]
            images = pipe([prompt for prompt, _ in batch], num_inference_steps=job["steps"], guidance_scale=job["guidance"],
                          generator=noise).images
            for i, image in enumerate(images, first):
                image.save(Path(job["out"]) / f"{i:05}.png")
    print(json.dumps([time.monotonic() - loaded, loaded - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))


if args.diffusers:
    diffusers(json.loads(args.diffusers))
    sys.exit()

# The processes' own threads are set by their libraries.
threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
environment = {**os.environ, **threads, "HF_HUB_OFFLINE": "1"}


def pictures(first, count):
    return [(PROMPTS[i % len(PROMPTS)], i) for i in range(first, first + count)]


def theirs(home, wanted, size):
    out = Path(tempfile.mkdtemp(dir=home))
    job = {"pictures": wanted, "size": size, "steps": args.steps, "guidance": args.guidance, "threads": args.threads, "out": str(out)}
    made = subprocess.run([sys.executable, __file__, "--diffusers", json.dumps(job)], env=environment, capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(made.stderr)
    assert len(list(out.glob("*.png"))) == len(wanted)
    return json.loads(made.stdout.splitlines()[-1])


def ours(home, wanted, size):
    """The same of a runner: the folder of a batch is what it is given."""
    folder = home / "demo/samples" / f"20990101-{time.monotonic_ns():020}"
    folder.mkdir()
    template = home / "template"
    shutil.copy(template / "batch.toml", folder / "batch.toml")
    toml = (folder / "batch.toml").read_text().replace("batch_size = 77", f"batch_size = {size}")
    (folder / "batch.toml").write_text(toml)
    line = json.loads((template / "pictures.jsonl").read_text().splitlines()[0])
    lines = [json.dumps({**line, "prompt": prompt, "seed": seed}) for prompt, seed in wanted]
    (folder / "pictures.jsonl").write_text("\n".join(lines) + "\n")
    began = time.time()
    runner = subprocess.Popen([args.program, "runner", str(folder)], env={**environment, "CATBENCH_HOME": str(home)})
    _, status, usage = os.wait4(runner.pid, 0)
    runner.returncode = os.waitstatus_to_exitcode(status)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    made = [event for event in events if event["type"] == "sample"]
    if runner.returncode or len(made) != len(wanted):
        raise SystemExit(f"{folder}: ended with {runner.returncode}, {len(made)} pictures of {len(wanted)}")
    start = max(when(event) for event in events if event["type"] == "progress" and event["phase"] == "load")
    end = max((folder / event["path"]).stat().st_mtime for event in made)
    return [end - start, start - began, usage.ru_maxrss]


def when(event):
    return datetime.fromisoformat(event["time"]).timestamp()


with tempfile.TemporaryDirectory() as home:
    home = Path(home)
    shutil.copytree(ROOT / "workspaces/demo", home / "demo", ignore=shutil.ignore_patterns("runs", "samples", "make", "docs"))

    def catbench(*words):
        made = subprocess.run([args.program, *words], env={**environment, "CATBENCH_HOME": str(home)}, capture_output=True, text=True)
        if made.returncode:
            raise SystemExit(made.stderr)
        return made.stdout

    # One picture by the command line: its batch is the form of all others.
    settings = ["--untrained", "-n", "1", "--noise", "torch", "--steps", str(args.steps), "--guidance-scale", str(args.guidance)]
    first = json.loads(catbench("sample", "demo", "--prompt", "a teapot", *settings, "--batch-size", "77", "--json").splitlines()[-1])
    shutil.move(first["path"], home / "template")
    (home / "demo/samples").mkdir(exist_ok=True)
    catbench("daemon", "stop")

    sides = {"catbench": ours, "diffusers": theirs}
    best = {}
    for name, make in sides.items():
        rates = {size: args.tried / make(home, pictures(0, args.tried), size)[0] for size in args.sizes}
        best[name] = max(rates, key=rates.get)
        print(f"{name:<10}", "  ".join(f"{size}: {rate:.2f}/s" for size, rate in rates.items()), f"  best: {best[name]}", flush=True)
    results = {name: [] for name in sides}
    each = max(args.pictures // args.blocks, 1)
    for block in range(args.blocks):
        for name, make in sides.items():
            results[name].append(make(home, pictures(block * each, each), best[name]))
            seconds, loading, memory = results[name][-1]
            print(f"{name:<10} {each} pictures in {seconds:.1f} s, {each / seconds:.2f}/s; {memory / 1024:.0f} MiB; loaded in {loading:.1f} s",
                  flush=True)
    rate = {name: each * len(blocks) / sum(seconds for seconds, _, _ in blocks) for name, blocks in results.items()}
    memory = {name: max(kib for _, _, kib in blocks) / 1024 for name, blocks in results.items()}
    ratio = rate["catbench"] / rate["diffusers"]
    print(f"catbench {rate['catbench']:.2f}/s, diffusers {rate['diffusers']:.2f}/s: {ratio:.2f} times, bar {BAR}")
    print(f"memory: {memory['catbench']:.0f} MiB against {memory['diffusers']:.0f} MiB")
    sys.exit(0 if ratio >= BAR and memory["catbench"] < memory["diffusers"] else 1)
