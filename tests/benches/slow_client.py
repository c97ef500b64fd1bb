#!/usr/bin/env python3
"""What clients that never read cost a training: its speed with them against its speed without, in turn, in one run.

    cargo build --release
    python3 tests/benches/slow_client.py target/release/catbench

One training of the demo concept goes on all the time. In every other window so many clients are connected, each of which
has asked for all events of the training or for all changes, and reads nothing. The first step after each switch belongs
to neither side. Printed: the mean seconds of a step of both sides, their ratio, and the median of the
ratios of neighbouring windows, which a machine that slows down or speeds up on the way does not shift.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "workspaces/demo"


def silent(path, run, follows):
    """A client that asks and never reads."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    greeting = client.makefile().readline()
    request = {"request": "follow", "job": str(run), "since_seq": 0} if follows else {"request": "watch", "concept": None}
    for message in (json.loads(greeting), {"id": 1, "message": request}):
        client.sendall(json.dumps(message).encode() + b"\n")
    return client


def steps(run):
    """The seconds of each step so far, in order. A last line that is not whole yet is none."""
    events = run / "events.jsonl"
    lines = events.read_text().split("\n")[:-1] if events.exists() else []
    return [event["seconds"] for event in map(json.loads, lines) if event["type"] == "step"]


def wait(run, count):
    while len(done := steps(run)) < count:
        time.sleep(0.2)
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--windows", type=int, default=12, help="of each kind")
    parser.add_argument("--steps", type=int, default=40, help="of each window")
    args = parser.parse_args()
    program = args.program.resolve()
    with tempfile.TemporaryDirectory() as home:
        shutil.copytree(DEMO, f"{home}/demo", ignore=shutil.ignore_patterns("runs", "samples", "make"))
        environment = {**os.environ, "CATBENCH_HOME": home}

        def catbench(*words):
            return subprocess.run([program, *words], env=environment, check=True, capture_output=True, text=True).stdout

        quick = ["--sample-every", "0", "--validate-every", "0", "--checkpoint-every", "100000"]
        job = json.loads(catbench("train", "demo", "--detach", "--json", "--steps", "100000", *quick))
        run = Path(job["path"])
        seconds = {False: [], True: []}
        try:
            at = len(wait(run, 2 * args.steps))
            for i in range(2 * args.windows):
                # Off, on, on, off, ...: a drift of the machine's speed weighs on both alike.
                on = i % 4 in (1, 2)
                clients = [silent(f"{home}/.catbench/socket", run, k % 2 == 0) for k in range(args.clients if on else 0)]
                at = len(steps(run)) + 1
                window = wait(run, at + args.steps)[at : at + args.steps]
                seconds[on].append(statistics.mean(window))
                for client in clients:
                    client.close()
        finally:
            catbench("jobs", "cancel", "--kill", str(job["job"]))
            catbench("daemon", "stop")
    pairs = [on / off for off, on in zip(seconds[False], seconds[True])]
    off, on = (statistics.mean(seconds[side]) for side in (False, True))
    print(f"seconds a step: {off:.4f} without, {on:.4f} with {args.clients} clients that never read")
    print(f"ratio of the means {on / off:.4f}; of neighbouring windows: median {statistics.median(pairs):.4f},")
    print(f"from {min(pairs):.4f} to {max(pairs):.4f} in {len(pairs)} pairs of {args.steps} steps")


if __name__ == "__main__":
    main()
