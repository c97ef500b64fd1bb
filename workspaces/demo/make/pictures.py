"""Pictures of the demo world with exact masks, as `catbench mask bench demo DIR` takes them: a folder for each class word, with
`images` and `masks`. The same seed gives the same pictures.

With --hard they are of a kind that the world has not: the object is small, or grey and noisy, or behind another one. Makers of
masks fail on many of these, which shows whether they know it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import world


def small(spec, rng, size):
    """The object at 3/8 of its size, anywhere in the scene."""
    picture = Image.fromarray(np.clip(world.scene(spec.scene, size, rng), 0, 255).astype(np.uint8))
    part, part_mask = world.render(replace(spec, scene=None), rng, size * 3 // 8)
    place = tuple(int(x) for x in rng.integers(0, size - part.width, 2))
    mask = Image.new("L", picture.size)
    picture.paste(part, place, part_mask)
    mask.paste(part_mask, place)
    return picture, mask


def noisy(spec, rng, size):
    """A third of the contrast, and noise."""
    picture, mask = world.render(spec, rng, size)
    pixels = np.asarray(picture, np.float32) * 0.35 + 83
    return Image.fromarray(np.clip(pixels + rng.normal(0, 14, pixels.shape), 0, 255).astype(np.uint8)), mask


def hidden(spec, rng, size):
    """Another object in front of it."""
    picture, mask = world.render(spec, rng, size)
    others = [name for name in world.OBJECTS if name != spec.object]
    front, front_mask = world.render(world.random_spec(rng, object=others[rng.integers(len(others))], scene=None), rng, size)
    side = int(rng.integers(size * 2 // 5, size * 7 // 10))
    front, front_mask = (image.resize((side, side), Image.BICUBIC) for image in (front, front_mask))
    place = tuple(int(x) for x in rng.integers(-size // 10, size - side + size // 10, 2))
    picture.paste(front, place, front_mask)
    mask.paste(0, place, front_mask)
    return picture, mask


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--out", required=True, help="the folder DIR")
parser.add_argument("--count", type=int, default=200)
parser.add_argument("--seed", type=int, default=20261129)
parser.add_argument("--size", type=int, default=64, help="width and height in pixels")
parser.add_argument("--hard", action="store_true", help="objects that are small, noisy or hidden")
args = parser.parse_args()

rng = np.random.default_rng(args.seed)
kinds = (small, noisy, hidden) if args.hard else (world.render,)
for number in range(args.count):
    spec = world.random_spec(rng)
    picture, mask = kinds[number % len(kinds)](spec, rng, args.size)
    for kind, image in (("images", picture), ("masks", mask)):
        folder = Path(args.out) / spec.object / kind
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number:05d}.png")
