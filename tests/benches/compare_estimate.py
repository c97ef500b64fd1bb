"""The preflight's estimate of memory and time beside what a job then takes.

    cargo build --release
    python3 tests/benches/compare_estimate.py --model SD15 [--only plain checkpointed sample many]

Each job is first reckoned with `--dry-run`, then run, on one made-up photo. The peak is VmHWM of its runner, which stays for a while
after the job and is read then. Printed: both peaks and their ratio (bar: within 15 %), and both times. Ends with 1 beyond the bar.
"""

import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BAR = 0.15
TRAIN = ["train", "thing", "--steps", "2", "--validate-every", "0", "--sample-every", "0"]
JOBS = {
    "plain": [*TRAIN, "--batch-size", "1"],
    "checkpointed": [*TRAIN, "--batch-size", "1", "--gradient-checkpointing"],
    "batch of 2": [*TRAIN, "--batch-size", "2", "--gradient-checkpointing"],
    "sample": ["sample", "thing", "--untrained", "--prompt", "a teapot", "--steps", "2", "-n", "1"],
    # For a small model, whose batches are made side by side.
    "many": ["sample", "thing", "--untrained", "--prompt", "a teapot", "--steps", "10", "-n", "64", "--batch-size", "16"],
}


def write_photo(path, size=600):
    """A grey PNG of noise."""
    noise = random.Random(0)
    rows = b"".join(b"\0" + noise.randbytes(size) for _ in range(size))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def runner_peak(daemon):
    """MiB at the highest of the daemon's runner."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        except OSError:
            continue
        if int(status["PPid"]) == daemon and "VmHWM" in status:
            return int(status["VmHWM"].split()[0]) / 1024
    raise SystemExit("the runner is gone")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "workspaces/demo/base_model", help="a diffusers folder or one file")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/catbench")
    parser.add_argument("--only", nargs="+", choices=JOBS, default=[name for name in JOBS if name != "many"])
    args = parser.parse_args()
    missed = False
    for name in args.only:
        # A home and so a daemon and a runner each: a peak is not lowered again.
        with tempfile.TemporaryDirectory() as home:
            images = Path(home) / "thing/images"
            images.mkdir(parents=True)
            write_photo(images / "photo.png")
            model = args.model.resolve()
            (images.parent / "concept.toml").write_text(f'name = "thing"\nclass_word = "teapot"\nbase_model = "{model}"\n')

            def catbench(*words):
                env = {**os.environ, "CATBENCH_HOME": home}
                made = subprocess.run([args.program, *words, "--json"], env=env, capture_output=True, text=True)
                if made.returncode:
                    sys.exit(made.stderr)
                return json.loads(made.stdout.splitlines()[-1])

            estimate = catbench(*JOBS[name], "--dry-run")
            estimate = estimate.get("estimate", estimate)
            began = time.monotonic()
            catbench(*JOBS[name])
            seconds = time.monotonic() - began
            reckoned, peak = estimate["peak_bytes"] / 2**20, runner_peak(catbench("daemon", "status")["daemon"]["pid"])
            subprocess.run([args.program, "daemon", "stop"], env={**os.environ, "CATBENCH_HOME": home}, capture_output=True)
            off = reckoned / peak - 1
            missed |= abs(off) > BAR
            print(f"{name:<13} reckoned {reckoned:6.0f} MiB ({estimate['peak_in']}), measured {peak:6.0f} MiB: {off:+.1%};"
                  f"  time {estimate['time']['total_seconds']:.1f} s reckoned, {seconds:.1f} s with loading", flush=True)
    sys.exit(missed)


if __name__ == "__main__":
    main()
