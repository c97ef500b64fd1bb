#!/usr/bin/env python3
"""A list of pictures killed -9 at random moments, beside an undisturbed one; pictures a second; random replays.

    cargo build --release && python3 tests/benches/batches.py [--pictures 1000] [--kills 20] [--replays 50]

On the demo model with an untrained concept. Says whether all pictures are there, none twice, none torn, and all equal to
those of the undisturbed batch; how many were made a second, and with how much memory; and whether so many of them, as many of
each sampler, come out the same when they are made again. A list that ends before its last kill is begun anew, and the kills go
on: the exit code is 0 only after all of them."""

import argparse
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/catbench"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", type=Path, default=PROGRAM)
parser.add_argument("--pictures", type=int, default=1000)
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--replays", type=int, default=50)
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--seed", type=int, default=7)
args = parser.parse_args()
random.seed(args.seed)


def hashes(batch):
    files = [path for folder in (batch, batch / "masks") for path in folder.iterdir() if path.is_file()]
    pictures = [path for path in files if path.suffix == ".png" or path.name.startswith(".")]
    return {str(path.relative_to(batch)): hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures}


def events(batch):
    path = batch / "events.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def told(batch):
    return [event["path"] for event in events(batch) if event["type"] == "sample"]


with tempfile.TemporaryDirectory() as home:
    home = Path(home)
    shutil.copytree(ROOT / "workspaces/demo", home / "demo", ignore=shutil.ignore_patterns("runs", "samples", "make", "docs"))
    environment = {**os.environ, "CATBENCH_HOME": str(home)}

    def catbench(*words):
        made = subprocess.run([args.program, *words, "--json"], env=environment, capture_output=True, text=True)
        if not made.stdout.strip():
            raise SystemExit(made.stderr)
        return json.loads(made.stdout.splitlines()[-1])

    catbench("train", "demo", "--steps", "4", "--sample-every", "0", "--validate-every", "0")
    samplers = "{ddim|pndm|euler|euler_ancestral|dpmpp_2m|unipc}"
    each = max(args.pictures // 20, 1)
    scenes = "{on grass|at night|in snow|on a table|by the sea|in a city|in a room|on sand|in a forest|on a shelf}"
    listed = home / "list.txt"
    listed.write_text(f"a {{red|blue}} {{concept}} {scenes} --seed {{1..{each}}} --steps {args.steps}\n")
    began = time.monotonic()
    whole = Path(catbench("sample", "demo", "--prompts", str(listed), "--batch-size", str(args.batch_size))["path"])
    seconds = time.monotonic() - began
    expected, count = hashes(whole), len(told(whole))
    print(f"undisturbed: {count} pictures of {args.steps} steps in {seconds:.1f} s, {count / seconds:.2f} a second")

    kills, lists, whole_again = 0, 0, True
    while kills < args.kills or lists == 0:
        killed = whole.with_name(f"20991231-2359{lists:02}-zzzz")
        killed.mkdir()
        for name in ("batch.toml", "pictures.jsonl"):
            shutil.copy(whole / name, killed / name)
        lists += 1
        here, over = 0, False
        while not over:
            runner = subprocess.Popen([args.program, "runner", str(killed)], env=environment)
            try:
                # On average all kills are over when half of the pictures are made.
                runner.wait(random.uniform(0.05, seconds / args.kills) if kills < args.kills else None)
                over = True
            except subprocess.TimeoutExpired:
                runner.kill()
                runner.wait()
                kills, here = kills + 1, here + 1
        found, names = hashes(killed), told(killed)
        print(f"killed {here} times: {len(names)} pictures told of, {len(set(names))} different")
        print("files equal to the undisturbed ones:", found == expected)
        whole_again &= found == expected and len(names) == len(set(names)) == count
    print(f"{kills} kills of {args.kills}, in {lists} list(s)")
    print(f"most memory of a process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")

    listed.write_text(
        f"a (big:1.2) {{concept}} {scenes} --sampler {samplers} --seed {{1..3}} --steps 6\n"
        f"a {{concept}} {scenes} --sampler {{euler|dpmpp_2m|unipc}} --karras --strength {{0.5|2}} --steps 6 -n 1\n"
    )
    batches = [
        Path(catbench("sample", "demo", "--prompts", str(listed), "--noise", noise)["path"]) for noise in ("catbench", "torch")
    ]
    # As many of each sampler, with and without Karras, with each noise, as the number allows.
    kinds = {}
    for batch in batches:
        settings = [json.loads(line) for line in (batch / "pictures.jsonl").read_text().splitlines()]
        for name in told(batch):
            made = settings[int(name.split("-")[0]) - 1]
            kinds.setdefault((made["sampler"], made["karras"], made["noise"]), []).append(batch / name)
    for pictures in kinds.values():
        random.shuffle(pictures)
    turns = itertools.zip_longest(*kinds.values())
    some = [picture for turn in turns for picture in turn if picture is not None][: args.replays]
    covered = {kind for kind, pictures in kinds.items() if set(pictures) & set(some)}
    print(f"kinds of sampler among them: {len(covered)} of {len(kinds)}")
    same = sum(catbench("replay", str(picture))["same"] for picture in some)
    print(f"replays equal in every pixel: {same} of {len(some)}")
    subprocess.run([args.program, "daemon", "stop"], env=environment, capture_output=True)
    all_replayed = same == len(some) == args.replays and len(covered) == len(kinds)
    raise SystemExit(0 if whole_again and kills == args.kills and all_replayed else 1)
