#!/usr/bin/env python3
"""How fast keys become frames in the workbench, in a home of 10,000 concepts and 100,000 samples, while a training tells of 200
events a second.

    cargo build --release
    python3 tests/benches/workbench.py target/release/catbench [--browse SECONDS [--pause SECONDS]]
    python3 tests/benches/workbench.py target/release/catbench --samples-in-one 100000

Everything goes through a real pseudo-terminal of 150 x 48 cells. A frame is over when the program ends its synchronized
update. Printed: the first frame and the whole library with a daemon running; from key to frame (50, 99 and 100 of 100) with
and without the training; the same on a line of 1 Mbit/s; bytes written and processor time in 2 idle seconds; memory before
and after browsing.

With `--samples-in-one N` there is one concept instead, with N samples in one sampling, and what is printed is from key to
frame on its samples: moving, rating, filtering, marking, large.
"""

import argparse
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import threading
import time

from library import BATCH, CONCEPTS, PNG, make, write

COLUMNS, ROWS = 150, 48
FRAME_END = b"\x1b[?2026l"
LINE = 125_000  # bytes a second: 1 Mbit/s


class Terminal:
    def __init__(self, program, environment, *arguments, line=None):
        self.line, self.read_bytes, self.tail = line, 0, b""
        self.began = time.perf_counter()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe(program, [program, *arguments], environment)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def read(self, seconds):
        """What comes within this time, a piece at a time."""
        if not select.select([self.master], [], [], seconds)[0]:
            return b""
        piece = os.read(self.master, 4096 if self.line else 65536)
        if self.line:
            time.sleep(len(piece) / self.line)
        self.read_bytes += len(piece)
        return piece

    def wait_for(self, wanted, seconds=60):
        """Until these bytes have come; how long that took, and what came."""
        began, seen = time.perf_counter(), b""
        while wanted not in seen:
            left = seconds - (time.perf_counter() - began)
            if left <= 0:
                raise SystemExit(f"no {wanted!r} in {len(seen)} bytes: {seen[-400:]!r}")
            seen += self.read(left)
        return time.perf_counter() - began, seen

    def settle(self, quiet=0.3, longest=10):
        end = time.perf_counter() + longest
        while time.perf_counter() < end and self.read(quiet):
            pass

    def press(self, key):
        """From the key to the end of the frame that it makes; none of a key that changes nothing here."""
        while self.read(0):
            pass
        began, seen = time.perf_counter(), b""
        os.write(self.master, key)
        while FRAME_END not in seen:
            if time.perf_counter() - began > 0.5:
                return None
            seen += self.read(0.05)
        return time.perf_counter() - began

    def status(self, name):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return next(line.split()[1] for line in text.splitlines() if line.startswith(name))

    def ticks(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def end(self):
        os.kill(self.pid, signal.SIGTERM)
        while True:
            try:
                if not os.read(self.master, 65536):
                    break
            except OSError:
                break
        os.waitpid(self.pid, 0)


class Training:
    """A run whose lock is held and whose events come at a steady pace."""

    def __init__(self, run, pace):
        self.run, self.pace, self.stop = run, pace, threading.Event()
        (run / "samples").mkdir(parents=True)
        (run / "run.toml").write_text(
            f'concept = "{run.parent.parent.name}"\nclass_word = "thing"\nbase_model = "/nowhere"\n[train]\n[evaluation]\n')
        self.lock = open(run / "runner.lock", "w")
        self.lock.write(str(os.getpid()))
        self.lock.flush()
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.events = open(run / "events.jsonl", "w")
        self.seq = 0
        self.tell(type="started", pid=os.getpid(), steps=1_000_000, resumed_from=0)
        threading.Thread(target=self.go_on, daemon=True).start()

    def tell(self, **event):
        record = {"seq": self.seq, "time": "2026-11-24T00:00:00Z", **event}
        self.events.write(json.dumps(record) + "\n")
        self.events.flush()
        self.seq += 1

    def go_on(self):
        step = 0
        while not self.stop.wait(1 / self.pace):
            step += 1
            loss = 0.1 + 0.05 * ((step * 7919) % 100) / 100
            self.tell(type="step", step=step, loss=loss, loss_by_quarter=[loss, None, None, None], seconds=0.005)

    def end(self):
        self.stop.set()
        self.lock.close()


def percentiles(times):
    times = sorted(1e3 * t for t in times if t is not None)
    at = lambda share: times[min(len(times) - 1, int(share * len(times)))]
    return f"p50 {at(0.5):5.1f}  p99 {at(0.99):5.1f}  max {times[-1]:5.1f} ms  ({len(times)} keys)"


def browse(terminal, rounds, run=False, pause=0):
    """Through the library and the screens of its first concept, as somebody looking around; with keys for the graph where it
    has a run. Each key changes what is seen; `pause` seconds between keys."""
    times = []
    library = [b"j"] * 20 + [b"\x1b[6~"] * 5 + [b"k"] * 10 + [b"G", b"S", b"S", b"S", b"S", b"g"]
    graph = [b"\x1b[D", b"\x1b[D", b"+", b"-", b"L", b"L", b"T", b"T", b">", b"<"] if run else []
    screens = [b"\r", b"\t", b"\t", b"3", *graph, b"4", b"5", b"6", b"7", b"1"]
    for _ in range(rounds):
        for key in library + screens:
            times.append(terminal.press(key))
            time.sleep(pause)
    return times


def make_one(home, count):
    """A concept with this many samples, of which every third has a prompt of its own."""
    folder = home / "many"
    write(f"{folder}/concept.toml", 'name = "many"\nclass_word = "mug"\nbase_model = "/models/sd15"\n')
    write(f"{folder}/images/0.png", PNG)
    batch = f"{folder}/samples/20261123-000000-0000"
    write(f"{batch}/batch.toml", BATCH.format("many"))
    lines = [{"type": "started", "pid": 1, "steps": 0, "resumed_from": 0}]
    for s in range(count):
        prompt = f"a {{concept}} on grass, view {s // 3}"
        lines.append({"type": "sample", "step": 500, "path": f"{s:06}.png", "prompt": prompt, "seed": s, "learned": True})
        with open(f"{batch}/{s:06}.png", "wb") as file:
            file.write(PNG)
    lines.append({"type": "finished", "seconds": 1.0})
    records = (json.dumps({"seq": n, "time": "2026-11-23T13:45:01Z", **line}) for n, line in enumerate(lines))
    write(f"{batch}/events.jsonl", "\n".join(records) + "\n")


def samples_in_one(program, home, environment, count):
    make_one(home, count)
    subprocess.run([program, "concept", "list"], env=environment, check=True, stdout=subprocess.DEVNULL)
    terminal = Terminal(program, environment, "open", "many")
    terminal.wait_for(FRAME_END)
    terminal.settle()
    os.write(terminal.master, b"5")
    # What was there before, `(0)`, is not drawn again.
    seconds, _ = terminal.wait_for(f"{count})".encode(), 120)
    print(f"{count} samples are there after {seconds:.2f} s")
    terminal.settle()
    keys = {
        "move": [b"\x1b[C"] * 40 + [b"\x1b[B"] * 40 + [b"\x1b[6~"] * 20 + [b"G", b"g"] * 10,
        "rate": [b"\x1b[C", b"+"] * 30,
        "mark": [b" "] * 40,
        "large": [b"\r", *[b"\x1b[C", b"+", b" "] * 15, b"\r"],
        "filter": [b"/", *[bytes([c]) for c in b"view 12"], b"\r", b"\x1b", b"\x1b"] * 4,
        "which": [b"f"] * 10,
    }
    for name, pressed in keys.items():
        print(f"keys, {name:<9} {percentiles([terminal.press(key) for key in pressed])}", flush=True)
    print(f"memory          {int(terminal.status('VmRSS')) / 1024:.0f} MiB, peak {int(terminal.status('VmHWM')) / 1024:.0f} MiB")
    terminal.end()
    subprocess.run([program, "daemon", "stop"], env=environment, check=True, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catbench", type=pathlib.Path)
    parser.add_argument("--browse", type=float, default=60, help="seconds of browsing for the memory")
    parser.add_argument("--pause", type=float, default=0, help="seconds between its keys")
    parser.add_argument("--samples-in-one", type=int, metavar="N", help="one concept with N samples, and nothing else")
    arguments = parser.parse_args()
    program = str(arguments.catbench.resolve())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = pathlib.Path(folder)
        environment = {name: value for name, value in os.environ.items() if name not in ("TMUX", "STY", "NO_COLOR")}
        environment |= {"CATBENCH_HOME": folder, "TERM": "xterm-256color", "COLORTERM": "truecolor", "CATBENCH_IMAGES": "blocks", "COLORFGBG": "15;0"}
        if arguments.samples_in_one:
            return samples_in_one(program, home, environment, arguments.samples_in_one)
        make(folder)
        subprocess.run([program, "daemon", "start"], env=environment, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([program, "concept", "list"], env=environment, check=True, stdout=subprocess.DEVNULL)

        firsts, wholes = [], []
        for _ in range(5):
            terminal = Terminal(program, environment, "open")
            terminal.wait_for(FRAME_END)
            firsts.append(1e3 * (time.perf_counter() - terminal.began))
            terminal.wait_for(f"({CONCEPTS})".encode())
            wholes.append(1e3 * (time.perf_counter() - terminal.began))
            terminal.end()
        print(f"first frame     {sorted(firsts)[2]:6.0f} ms (worst of 5 {max(firsts):.0f}); the whole library {sorted(wholes)[2]:.0f} ms")

        terminal = Terminal(program, environment, "open")
        terminal.wait_for(f"({CONCEPTS})".encode())
        terminal.settle()
        print(f"keys, quiet     {percentiles(browse(terminal, 6))}")
        training = Training(home / "concept-00000/runs/20261124-000000-load", 200)
        time.sleep(1.5)
        print(f"keys, training  {percentiles(browse(terminal, 6, run=True))}")
        training.end()
        terminal.settle(quiet=1.5)
        bytes_before, ticks_before = terminal.read_bytes, terminal.ticks()
        terminal.settle(quiet=2, longest=2)
        print(f"idle 2 s        {terminal.read_bytes - bytes_before} bytes, {terminal.ticks() - ticks_before} of 200 ticks")
        before, until = int(terminal.status("VmRSS")), time.perf_counter() + arguments.browse
        count = 0
        while time.perf_counter() < until:
            count += len(browse(terminal, 1, run=True, pause=arguments.pause))
        print(f"memory          {before / 1024:.0f} MiB, after {count} more keys {int(terminal.status('VmRSS')) / 1024:.0f} MiB, peak {int(terminal.status('VmHWM')) / 1024:.0f} MiB")
        terminal.end()

        terminal = Terminal(program, environment, "open", line=LINE)
        terminal.wait_for(f"({CONCEPTS})".encode())
        terminal.settle()
        print(f"keys, 1 Mbit/s  {percentiles([terminal.press(key) for key in [b'j'] * 30 + [b'k'] * 30])}")
        terminal.end()
        subprocess.run([program, "daemon", "stop"], env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
