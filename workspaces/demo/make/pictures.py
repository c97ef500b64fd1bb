"""Pictures of the demo world with exact masks, as `catbench mask bench demo DIR` takes them: a folder for each class word, with
`images` and `masks`. The same seed gives the same pictures."""

import argparse
from pathlib import Path

import numpy as np

import world

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--out", required=True, help="the folder DIR")
parser.add_argument("--count", type=int, default=200)
parser.add_argument("--seed", type=int, default=20261129)
parser.add_argument("--size", type=int, default=64, help="width and height in pixels")
args = parser.parse_args()

rng = np.random.default_rng(args.seed)
for number in range(args.count):
    spec = world.random_spec(rng)
    picture, mask = world.render(spec, rng, args.size)
    for kind, image in (("images", picture), ("masks", mask)):
        folder = Path(args.out) / spec.object / kind
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number:05d}.png")
