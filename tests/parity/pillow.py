"""Exports what Pillow makes of small pictures: tests/fixtures/pillow, read by tests/suite/image.rs.

Made with Pillow 13.0.0. Run again: python tests/parity/pillow.py

The sizes are such that every Pillow gives the same: from 13 on it resizes vertically first when the height shrinks much
more than the width, which changes the last bit.
"""

from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path(__file__).parent.parent / "fixtures" / "pillow"
SIZES = [(37, 23), (16, 16), (64, 40), (5, 91), (37, 10), (11, 23), (1, 1), (100, 30)]
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def graphic(width, height):
    """Hard edges, gradients and noise: what makes resampling overshoot and round."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width]
    red = np.where((x // 5 + y // 4) % 2, 255, 0)
    green = x * 255 // max(width - 1, 1)
    blue = rng.integers(0, 256, (height, width))
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    source = graphic(37, 23)
    source.save(OUT / "source.png")
    for name, resample in FILTERS.items():
        for width, height in SIZES:
            source.resize((width, height), resample).save(OUT / f"{name}_{width}x{height}.png")
            grey = source.getchannel("B").resize((width, height), resample)
            grey.save(OUT / f"{name}_grey_{width}x{height}.png")

    photo = source.resize((60, 44), Image.Resampling.BICUBIC)
    photo.save(OUT / "progressive.jpg", quality=90, progressive=True)
    photo.save(OUT / "restarts.jpg", quality=90, subsampling=0, restart_marker_rows=1)
    photo.convert("CMYK").save(OUT / "cmyk.jpg", quality=95, subsampling=0)
    photo.convert("L").save(OUT / "grey.jpg", quality=95)
    for name in ["progressive", "restarts", "cmyk", "grey"]:
        Image.open(OUT / f"{name}.jpg").convert("RGB").save(OUT / f"{name}.jpg.png")


if __name__ == "__main__":
    main()
