#!/usr/bin/env python3
"""Make the README's pictures of the workbench from the real program.

    cargo build --release
    python3 -m venv venv && venv/bin/pip install pyte pillow
    venv/bin/python tests/screenshots.py target/release/catbench

The demo is trained twice in a home of its own (about two minutes), then the workbench is opened in a pseudo-terminal, keys
are pressed, and each screen is drawn with a monospaced font (DejaVu Sans Mono, as Debian's fonts-dejavu-core has it).
"""

import argparse
import os
import pathlib
import pty
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import time
import fcntl

import pyte
from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 120, 36
CELL = (9, 18)
INK, PAPER = (212, 212, 212), (18, 18, 18)
# Which picture comes of which keys, and what must be on the screen by then.
SHOTS = [
    ("library", ["1"], "Concepts"),
    ("concept", ["\r"], "Findings"),
    ("workbench", ["3"], "▲ higher"),
    ("settings", ["t"], "a step)"),
    ("compare", ["\x1b", "4"], "The same prompt and seed"),
    ("samples", ["5"], "This one"),
]


class Terminal:
    """The program in a pseudo-terminal, and what is on its screen."""

    def __init__(self, command, environment):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def read(self, seconds):
        """Take in what comes until nothing has come for `seconds`."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                self.stream.feed(os.read(self.master, 65536))
            except OSError:
                return

    def wait_for(self, text):
        deadline = time.monotonic() + 60
        while text not in "\n".join(self.screen.display):
            self.read(0.2)
            if time.monotonic() > deadline:
                raise SystemExit(f"no {text!r} in\n" + "\n".join(self.screen.display))
        self.read(1.0)

    def press(self, key):
        os.write(self.master, key.encode())
        self.read(0.3)


def colour(name, usual):
    """A colour as pyte names it."""
    if name == "default":
        return usual
    named = {"red": (205, 49, 49), "green": (13, 188, 121), "brown": (229, 229, 16), "blue": (36, 114, 200),
             "magenta": (188, 63, 188), "cyan": (17, 168, 205), "white": (229, 229, 229), "black": (0, 0, 0)}
    return named.get(name) or tuple(int(name[i:i + 2], 16) for i in (0, 2, 4))


def draw(screen, fonts):
    """The screen as a picture. Blocks and braille are drawn, not taken from the font: they must meet without gaps."""
    width, height = CELL
    picture = Image.new("RGB", (COLUMNS * width, ROWS * height), PAPER)
    pen = ImageDraw.Draw(picture)
    cells = [(screen.buffer[y][x], x * width, y * height) for y in range(ROWS) for x in range(COLUMNS)]

    def colours(cell):
        ink, paper = colour(cell.fg, INK), colour(cell.bg, PAPER)
        return (paper, ink) if cell.reverse else (ink, paper)

    # All grounds before the first letter: an underscore reaches into the cell below.
    for cell, left, top in cells:
        pen.rectangle([left, top, left + width - 1, top + height - 1], fill=colours(cell)[1])
    for cell, left, top in cells:
        ink, _ = colours(cell)
        if cell.data == "▀":
            pen.rectangle([left, top, left + width - 1, top + height // 2 - 1], fill=ink)
        elif cell.data == "▌":
            pen.rectangle([left, top, left + width // 2 - 1, top + height - 1], fill=ink)
        elif "\u2800" <= cell.data <= "\u28ff":
            bits = ord(cell.data) - 0x2800
            for bit, (column, row) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]):
                if bits >> bit & 1:
                    dot_x, dot_y = left + 2 + column * 4, top + 2 + row * 4
                    pen.rectangle([dot_x, dot_y, dot_x + 1, dot_y + 1], fill=ink)
        elif cell.data.strip():
            pen.text((left, top + 1), cell.data, font=fonts[cell.bold], fill=ink)
    return picture


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catbench", type=pathlib.Path)
    parser.add_argument("--fonts", type=pathlib.Path, default=pathlib.Path("/usr/share/fonts/truetype/dejavu"))
    arguments = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    program = str(arguments.catbench.resolve())
    fonts = [ImageFont.truetype(str(arguments.fonts / name), 15) for name in ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")]
    with tempfile.TemporaryDirectory() as home:
        shutil.copytree(root / "workspaces/demo", pathlib.Path(home) / "demo", ignore=shutil.ignore_patterns("runs", "samples", "make", "docs"))
        environment = {name: value for name, value in os.environ.items() if name not in ("TMUX", "STY", "NO_COLOR")}
        environment |= {"CATBENCH_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor", "CATBENCH_IMAGES": "blocks"}
        for more in (["--prefix-length", "2"], []):
            subprocess.run([program, "train", "demo", "--evaluate", *more], env=environment, check=True, stdout=subprocess.DEVNULL)
        terminal = Terminal([program, "open"], environment)
        for name, keys, text in SHOTS:
            for key in keys:
                terminal.press(key)
            terminal.wait_for(text)
            draw(terminal.screen, fonts).save(root / f"workspaces/demo/docs/screens/{name}.png", optimize=True)
            print(f"{name}.png")
        terminal.press("q")
        subprocess.run([program, "daemon", "stop"], env=environment, check=True)


if __name__ == "__main__":
    main()
