"""Draws the subjects of the demo protocol: the look that the demo world holds out, on eight of its objects, five photos each
with exact masks. The same every time.

    python subjects.py     # writes ../subjects
"""

from pathlib import Path

import numpy as np
import world

OUT = Path(__file__).parent.parent / "subjects"
OBJECTS = ("teapot", "mug", "car", "backpack", "shoe", "clock", "cap", "house")
SCENES = ("table", "grass", "beach", "plain blue", "city")
SEED = 4711


def main():
    for number, name in enumerate(OBJECTS):
        rng = np.random.default_rng([SEED, number])
        folder = OUT / name
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "masks").mkdir(exist_ok=True)
        for scene in SCENES:
            spec = world.Spec(name, scene, "zigzag", ("yellow", "teal", "purple"))
            assert world.held_out(spec)
            picture, mask = world.render(spec, rng, 64)
            file = f"{scene.split()[-1]}.png"
            picture.save(folder / "images" / file, optimize=True)
            mask.save(folder / "masks" / file, optimize=True)


if __name__ == "__main__":
    main()
