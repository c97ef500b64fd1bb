#!/usr/bin/env python3
"""10,000 concepts with 100,000 samples: how long `concept list` and `daemon rebuild` take, and what the daemon needs.

usage: library.py path/to/catbench
"""

import json
import os
import subprocess
import sys
import tempfile
import time

CONCEPTS, SAMPLES = 10_000, 10
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db00000"
    "000049454e44ae426082"
)
BATCH = 'concept = "{0}"\nclass_word = "mug"\nbase_model = "/models/sd15"\n[sample]\n'


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def make(home):
    for i in range(CONCEPTS):
        name = f"concept-{i:05}"
        folder = f"{home}/{name}"
        write(f"{folder}/concept.toml", f'name = "{name}"\nclass_word = "mug"\nbase_model = "/models/sd15"\ntags = ["t{i % 7}"]\n')
        for photo in range(2):
            write(f"{folder}/images/{photo}.png", PNG)
        batch = f"{folder}/samples/20261123-000000-0000"
        write(f"{batch}/batch.toml", BATCH.format(name))
        events = [{"type": "started", "pid": 1, "steps": 0, "resumed_from": 0}]
        events += [
            {"type": "sample", "step": 500, "path": f"{s:03}.png", "prompt": "a {concept} on grass", "seed": s, "learned": True}
            for s in range(SAMPLES)
        ]
        for s in range(SAMPLES):
            write(f"{batch}/{s:03}.png", PNG)
        events.append({"type": "finished", "seconds": 1.0})
        lines = [json.dumps({"seq": n, "time": "2026-11-23T13:45:01Z", **event}) for n, event in enumerate(events)]
        write(f"{batch}/events.jsonl", "\n".join(lines) + "\n")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as home:
        make(home)
        environment = {**os.environ, "CATBENCH_HOME": home}

        def run(*args):
            began = time.perf_counter()
            done = subprocess.run([program, *args], env=environment, capture_output=True)
            if done.returncode:
                raise SystemExit(f"{args}: {done.stderr.decode()}")
            return time.perf_counter() - began, done.stdout

        def megabytes(pid):
            with open(f"/proc/{pid}/status") as status:
                fields = dict(line.split(":", 1) for line in status)
            return {key: int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM")}

        print(f"first list (store made): {run('concept', 'list')[0]:.2f} s")
        times = sorted(run("concept", "list", "--json")[0] for _ in range(9))
        print(f"concept list --json: median {times[4] * 1e3:.1f} ms of {len(times)}")
        times = sorted(run("concept", "list")[0] for _ in range(9))
        print(f"concept list: median {times[4] * 1e3:.1f} ms of {len(times)}")
        seconds, out = run("daemon", "rebuild", "--json")
        print(f"rebuild: {seconds:.2f} s, {out.decode().strip()}")
        pid = json.loads(run("daemon", "status", "--json")[1])["daemon"]["pid"]
        print(f"daemon: {megabytes(pid)}")
        run("daemon", "stop")
        print(f"start and first list: {run('concept', 'list')[0]:.2f} s")
        run("daemon", "stop")


if __name__ == "__main__":
    main()
