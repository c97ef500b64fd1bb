#!/usr/bin/env python3
"""Whether pictures leave anything behind: the workbench in a real xterm with sixel pictures and in tmux with half blocks.

    cargo build --release
    python3 tests/terminals.py target/release/catbench HOME [--changes 200] [--keep FOLDER] [--only xterm|tmux]

In HOME, a home with a demo that was trained at least once, keys are pressed at random (screens, lists, pictures enlarged, help,
palette) and the terminal's size changes now and then. After every tenth change the screen is compared with that of the
program drawn anew (a change of size and back, which clears it), and at the end with that of another one that was started in
that place: no cell may differ, and in xterm no more than a quarter of the pixels of any 8 x 16 (the edges of a character lie in the
next cell, and come and go with it). Needs Debian's xvfb, xterm, xdotool, imagemagick and tmux.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

SCREENS = "1234567"
# What is pressed on any screen; each brings other pictures, or takes them away.
MOVES = ["Down", "Up", "Right", "Left", "Next", "Prior", "Tab", "Return", "Escape", "question", "Escape", "bracketleft",
         "bracketright", "plus", "v", "colon", "Escape"]
SIZES = [(150, 48), (100, 30), (80, 24), (130, 40)]
SEED = 5
# Pixels: about a cell.
BLOCK = (8, 16)


def run(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


class Xterm:
    """An xterm of its own X server."""

    name = "xterm"

    def __init__(self, command):
        self.folder = tempfile.mkdtemp()
        read, write = os.pipe()
        self.server = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-nolisten", "tcp"],
                                       pass_fds=[write], stderr=subprocess.DEVNULL)
        self.environment = os.environ | {"DISPLAY": ":" + os.read(read, 20).decode().strip(), "LC_ALL": "C.UTF-8"}
        options = ["decTerminalID: vt340", "numColorRegisters: 256", "sixelScrolling: false", "allowWindowOps: true",
                   "cursorBlink: false"]
        arguments = [part for option in options for part in ("-xrm", f"XTerm*{option}")]
        self.terminal = subprocess.Popen(
            ["xterm", "-ti", "vt340", *arguments, "-fa", "DejaVu Sans Mono", "-fs", "10", "-geometry", "150x48", "-bg", "#121212",
             "-fg", "#cccccc", "-e", *command], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(3)
        # Keys go to the window under the pointer.
        run("xdotool", "mousemove", "60", "60", env=self.environment)
        self.window = run("xdotool", "search", "--class", "xterm", env=self.environment).split()[-1]

    def press(self, key):
        run("xdotool", "key", "--clearmodifiers", key, env=self.environment)

    def resize(self, columns, rows):
        run("xdotool", "windowsize", "--usehints", self.window, str(columns), str(rows), env=self.environment)

    def seen(self, file):
        """What is on the screen, as a file of its pixels."""
        file = file.with_suffix(".png")
        last = file.with_suffix(".last.png")
        if file.exists():
            file.rename(last)
        run("import", "-window", "root", str(file), env=self.environment)
        return file, last

    def same(self, first, second):
        if not (first.exists() and second.exists()):
            return False
        pixels = subprocess.run(["convert", str(first), str(second), "-compose", "difference", "-composite", "-separate",
                                 "-evaluate-sequence", "max", "-depth", "8", "pgm:-"], check=True, capture_output=True).stdout
        header = re.match(rb"P5\s+(\d+)\s+(\d+)\s+255\s", pixels)
        width, differing = int(header[1]), {}
        for at, difference in enumerate(pixels[header.end():]):
            if difference:
                block = (at % width // BLOCK[0], at // width // BLOCK[1])
                differing[block] = differing.get(block, 0) + 1
        return max(differing.values(), default=0) * 4 <= BLOCK[0] * BLOCK[1]

    def end(self):
        for process in (self.terminal, self.server):
            process.terminate()
            process.wait()
        shutil.rmtree(self.folder)


class Tmux:
    """A tmux of its own server."""

    name = "tmux"
    KEYS = {"Next": "PageDown", "Prior": "PageUp", "Return": "Enter", "question": "?", "bracketleft": "[", "bracketright": "]",
            "plus": "+", "colon": ":"}

    def __init__(self, command):
        self.socket = f"catbench-{os.getpid()}-{time.monotonic_ns()}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "48", *command)
        self.tmux("set", "-g", "status", "off")
        self.resize(150, 48)
        time.sleep(3)

    def tmux(self, *arguments):
        return run("tmux", "-L", self.socket, *arguments)

    def press(self, key):
        self.tmux("send-keys", self.KEYS.get(key, key))

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def seen(self, file):
        """What is on the screen: each cell with its colours."""
        file = file.with_suffix(".txt")
        last = file.with_suffix(".last.txt")
        if file.exists():
            file.rename(last)
        file.write_text("\n".join(cells(self.tmux("capture-pane", "-p", "-e", "-N"))))
        return file, last

    def same(self, first, second):
        return first.exists() and second.exists() and first.read_text() == second.read_text()

    def end(self):
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True)


def cells(text):
    """Each line with each of its characters and the style that has, however tmux has put that into escape sequences."""
    style = {}
    for line in text.split("\n"):
        row = []
        for part in re.findall(r"\x1b\[[0-9;]*m|[^\x1b]", line):
            if part.startswith("\x1b"):
                set_style(style, [int(code or 0) for code in part[2:-1].split(";")])
            else:
                row.append(f"{part}{sorted(seen(part, style).items()) or ''}")
        yield "".join(row).rstrip()


def seen(character, style):
    """What is seen of a character's style: of a blank no colour but what is behind it."""
    if character != " " or style.keys() & {4, 5, 7, 9}:
        return style
    return {code: value for code, value in style.items() if code not in (1, 2, 3, 38)}


def set_style(style, codes):
    while codes:
        code = codes.pop(0)
        if code == 0:
            style.clear()
        elif code in (38, 48):
            length = 4 if codes[0] == 2 else 2
            style[code] = codes[:length]
            del codes[:length]
        elif code in (39, 49):
            style.pop(code - 1, None)
        elif code in (22, 23, 24, 27):
            for on in {22: (1, 2), 23: (3,), 24: (4,), 27: (7,)}[code]:
                style.pop(on, None)
        else:
            style[code] = True


def settled(terminal, file):
    """The file of what is seen once looks over a while see the same: an answer of the terminal that comes together with a key
    is not noticed, and pictures wait a second for it."""
    alike = 0
    for _ in range(60):
        now, last = terminal.seen(file)
        alike = alike + 1 if terminal.same(now, last) else 0
        if alike == 4:
            last.unlink()
            return now
        time.sleep(0.4)
    raise SystemExit(f"{terminal.name}: the screen never comes to rest: {file}")


def differs(terminal, what, first, second):
    if terminal.same(first, second):
        return False
    print(f"{terminal.name}: {what}: {first} is not what {second} is", flush=True)
    return True


def try_out(kind, command, changes, folder):
    terminal, chance, wrong = kind(command), random.Random(SEED), 0
    size = SIZES[0]
    for change in range(1, changes + 1):
        kind_of_change = chance.random()
        if kind_of_change < 0.1:
            size = chance.choice(SIZES)
            terminal.resize(*size)
        elif kind_of_change < 0.4:
            terminal.press(chance.choice(SCREENS))
        else:
            for _ in range(chance.randint(1, 4)):
                terminal.press(chance.choice(MOVES))
        time.sleep(chance.choice([0, 0.05, 0.3]))
        if change % 10 == 0:
            # A list that lies over the screen may be scrolled otherwise once its height has changed.
            for _ in range(3):
                terminal.press("Escape")
                time.sleep(0.1)
            name = f"{terminal.name}-{change:03}"
            before = settled(terminal, folder / name)
            # What is drawn anew is drawn on a cleared screen.
            terminal.resize(size[0] - 7, size[1] - 3)
            time.sleep(0.5)
            terminal.resize(*size)
            time.sleep(0.5)
            wrong += differs(terminal, f"after {change} changes", before, settled(terminal, folder / f"{name}-anew"))
    for _ in range(6):
        terminal.press("Escape")
    terminal.resize(*SIZES[0])
    terminal.press("1")
    terminal.press("Home")
    last = settled(terminal, folder / f"{terminal.name}-last")
    terminal.press("q")
    time.sleep(1)
    terminal.end()
    other = kind(command)
    other.press("1")
    other.press("Home")
    wrong += differs(other, "at the end", last, settled(other, folder / f"{other.name}-fresh"))
    other.press("q")
    time.sleep(1)
    other.end()
    print(f"{kind.name}: {changes} changes, {wrong} of {changes // 10 + 1} looks with something left over", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catbench", type=pathlib.Path)
    parser.add_argument("home", type=pathlib.Path)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--keep", type=pathlib.Path, help="where pictures of the screens go")
    parser.add_argument("--only", choices=["xterm", "tmux"])
    arguments = parser.parse_args()
    folder = arguments.keep or pathlib.Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    environment = [f"CATBENCH_HOME={arguments.home.resolve()}", "COLORTERM=truecolor", "CATBENCH_THEME=dark"]
    command = ["env", "-u", "TMUX", "-u", "NO_COLOR", *environment, str(arguments.catbench.resolve()), "open", "demo"]
    kinds = [kind for kind in (Xterm, Tmux) if arguments.only in (None, kind.name)]
    sys.exit(any([try_out(kind, command, arguments.changes, folder) for kind in kinds]))


if __name__ == "__main__":
    main()
