#!/usr/bin/env python3
"""Keys on a slow line: how long a key waits while pictures come, in a terminal that answers what it is asked.

    cargo build --release
    python3 tests/benches/slow_line.py target/release/catbench HOME [--line 1000000] [--way 0.01]

HOME is a home with a demo that was trained, so that every screen has pictures. The pseudo-terminal of 150 x 48 cells takes so
many bits a second and no more, whatever lies in buffers before it, and answers like a terminal at the end of that line: once
it has taken all that came before, and with half of `--way` seconds there and back. The screen is changed, pictures begin to
come, and after a while a key asks for the help. Printed for half blocks and for sixel: from the key to the help (50 and 100 of
100), and when the pictures of a screen are all there. Then, on a terminal that answers nothing: the first frame, bar 1 s.
"""

import argparse
import fcntl
import os
import pathlib
import pty
import re
import signal
import struct
import termios
import threading
import time

COLUMNS, ROWS = 150, 48
HELP = b"Keys"  # its title
FRAME_END = b"\x1b[?2026l"
PIECE = 256  # bytes that are taken at a time
# What is asked, and what xterm with sixel (or a terminal without) says to it.
ANSWERS = {b"\x1b[5n": b"\x1b[0n", b"\x1b]11;?\x1b\\": b"\x1b]11;rgb:1212/1212/1212\x1b\\", b"\x1b[6n": b"\x1b[1;1R"}
ATTRIBUTES = {"blocks": b"\x1b[?62;22c", "sixel": b"\x1b[?62;4;22c"}


class Terminal:
    def __init__(self, program, environment, pictures, line, way):
        self.line, self.way = line / 8, way
        self.answers = {**ANSWERS, b"\x1b[c": ATTRIBUTES[pictures]} if pictures else {}
        self.waits, self.awaited, self.last = None, b"", 0.0
        self.began = time.perf_counter()
        self.first = None
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe(program, [program, "open", "demo"], environment)
        # Pixels too, as a terminal with sixel has them.
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, COLUMNS * 8, ROWS * 16))
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        asked, seen, due = re.compile(b"|".join(map(re.escape, self.answers))) if self.answers else None, b"", 0.0
        while True:
            try:
                piece = os.read(self.master, PIECE)
            except OSError:
                return
            # The line is busy for so long with what it has taken.
            due = max(due, time.perf_counter()) + len(piece) / self.line
            time.sleep(max(due - time.perf_counter(), 0))
            self.last = time.perf_counter()
            seen = seen[-64:] + piece
            if self.first is None and FRAME_END in seen:
                self.first = self.last - self.began
            if self.waits:
                self.awaited += piece
                at = self.awaited.find(self.waits[0])
                if at >= 0 and FRAME_END in self.awaited[at:]:
                    self.waits[1].at = self.last
                    self.waits[1].set()
                    self.waits = None
            if asked:
                for question in asked.finditer(seen):
                    # Not twice: those whole before this piece have been answered.
                    if question.end() > len(seen) - len(piece):
                        threading.Timer(self.way, self.press, [self.answers[question.group()]]).start()

    def press(self, keys):
        os.write(self.master, keys)

    def wait_for(self, wanted, seconds=10):
        """Begin to wait for a frame with this in it; the result waits to its end, and says when that was."""
        found = threading.Event()
        self.awaited, self.waits = b"", (wanted, found)

        def end():
            if not found.wait(seconds):
                raise SystemExit(f"no {wanted!r} within {seconds} s")
            return found.at

        return end

    def settle(self, quiet=0.6, longest=30):
        """Until nothing has come for this long; when the last came."""
        end = time.perf_counter() + longest
        while time.perf_counter() < end and time.perf_counter() - self.last < quiet:
            time.sleep(0.02)
        return self.last

    def end(self):
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catbench", type=pathlib.Path)
    parser.add_argument("home", type=pathlib.Path)
    parser.add_argument("--line", type=float, default=1e6, help="bits a second")
    parser.add_argument("--way", type=float, default=0.01, help="seconds that an answer is on its way")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delays", type=float, nargs="+", default=[0.05, 0.3, 0.8], help="seconds from a screen to the key")
    arguments = parser.parse_args()
    program = str(arguments.catbench.resolve())
    unset = ("TMUX", "STY", "NO_COLOR", "COLORFGBG", "CATBENCH_IMAGES", "TERM_PROGRAM", "SSH_CONNECTION")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"CATBENCH_HOME": str(arguments.home.resolve()), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for pictures in ATTRIBUTES:
        terminal = Terminal(program, environment, pictures, arguments.line, arguments.way)
        time.sleep(2)
        terminal.settle()
        whole = []
        for screen in b"3572":
            pressed = time.perf_counter()
            terminal.press(bytes([screen]))
            time.sleep(0.1)
            whole.append(terminal.settle() - pressed)
        print(f"{pictures:<7} a screen with its pictures: {min(whole):.2f} to {max(whole):.2f} s", flush=True)
        for delay in arguments.delays:
            times = []
            for screen in b"2357" * arguments.rounds:
                terminal.press(bytes([screen]))
                time.sleep(delay)
                found = terminal.wait_for(HELP)
                pressed = time.perf_counter()
                terminal.press(b"?")
                times.append(1e3 * (found() - pressed))
                time.sleep(0.2)
                terminal.press(b"\x1b")
                time.sleep(0.2)
                terminal.press(b"1")
                time.sleep(0.2)
                terminal.settle()
            times.sort()
            print(f"{pictures:<7} key {delay:.2f} s after a screen: p50 {times[len(times) // 2]:4.0f}  max {times[-1]:4.0f} ms  ({len(times)} keys)", flush=True)
        terminal.end()
    firsts = []
    for _ in range(5):
        terminal = Terminal(program, environment, None, 1e9, 0)
        while terminal.first is None and time.perf_counter() - terminal.began < 5:
            time.sleep(0.01)
        firsts.append(terminal.first or float("inf"))
        terminal.end()
    print(f"silent  first frame {sorted(firsts)[2] * 1e3:.0f} ms, worst of 5 {max(firsts) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
