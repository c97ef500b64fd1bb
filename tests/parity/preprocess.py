"""Exports what transformers' image processors make of pictures of many shapes and modes: tests/fixtures/preprocess, read
by tests/suite/preprocess.rs.

Run again: python tests/parity/preprocess.py

- `pictures/*.png`: one of every kind of PNG; `reference.safetensors` has their RGB pixels as Pillow reads them upright
  (`<name>.rgb`) and after `CLIPImageProcessor` (`<name>.clip`) and `ViTImageProcessor` (`<name>.vit`) at 32 x 32, all uint8.
- `shapes.json`: random shapes, whose pixels are a formula that both sides compute, and the SHA-256 of the results.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

OUT = Path(__file__).parent.parent / "fixtures" / "preprocess"
CLIP = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_convert_rgb=True)
VIT = ViTImageProcessorPil(size={"height": 32, "width": 32})


def formula(width, height, seed):
    """Noise from integers alone, on blocks with hard edges."""
    y, x, c = np.mgrid[:height, :width, :3].astype(np.uint64)
    mixed = x * np.uint64(2654435761) + y * np.uint64(40503) + c * np.uint64(97) + np.uint64(seed) * np.uint64(7919)
    noise = (mixed ^ (mixed >> np.uint64(13))) * np.uint64(1274126177) >> np.uint64(16)
    block = ((x // 7 + y // 5 + c) % 2) * np.uint64(200)
    return ((noise % np.uint64(56)) + block).astype(np.uint8)


def pictures():
    """name, picture, options of its file"""
    colour = lambda w, h, seed=1: Image.fromarray(formula(w, h, seed))
    alpha = lambda w, h: Image.fromarray(formula(w, h, 9)[..., 0])
    yield "rgb", colour(45, 37), {}
    yield "square", colour(32, 32), {}
    yield "small", colour(5, 9), {}
    yield "one", colour(1, 1), {}
    yield "line_tall", colour(1, 1000), {}
    yield "line_wide", colour(1000, 1), {}
    yield "tall", colour(41, 160), {}
    yield "wide", colour(160, 41), {}
    yield "grey", colour(50, 40).convert("L"), {}
    yield "bits", colour(50, 40).convert("1"), {}
    yield "palette", colour(50, 40).quantize(60), {}
    yield "palette_small", colour(33, 47).quantize(4), {"bits": 2}
    yield "palette_index", colour(50, 40).quantize(60), {"transparency": 3}
    yield "palette_alpha", colour(50, 40).quantize(60), {"transparency": bytes(range(0, 240, 4))}
    yield "grey_key", colour(50, 40).convert("L").point(lambda v: v // 32 * 32), {"transparency": 64}
    yield "rgb_key", colour(50, 40).point(lambda v: v // 128 * 128), {"transparency": (128, 0, 128)}
    with_alpha = colour(50, 40)
    with_alpha.putalpha(alpha(50, 40))
    yield "rgba", with_alpha, {}
    grey_alpha = colour(50, 40).convert("LA")
    grey_alpha.putalpha(alpha(50, 40))
    yield "grey_alpha", grey_alpha, {}
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif_{orientation}", colour(48, 35), {"exif": exif}


def deep():
    """16-bit PNGs, which Pillow does not write in colour: by hand."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for name, kind, channels in (("deep_grey", 0, 1), ("deep_rgb", 2, 3), ("deep_grey_alpha", 4, 2), ("deep_rgba", 6, 4)):
        w, h = 44, 39
        high = np.concatenate([formula(w, h, 3), formula(w, h, 4)], -1)[..., :channels].astype(np.uint16)
        low = np.concatenate([formula(w, h, 5), formula(w, h, 6)], -1)[..., :channels].astype(np.uint16)
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in (high << 8 | low))
        header = struct.pack(">IIBBBBB", w, h, 16, kind, 0, 0, 0)
        yield name, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def whole(processor, picture):
    out = processor(picture, do_rescale=False, do_normalize=False, do_convert_rgb=True, return_tensors="np")["pixel_values"][0]
    assert out.dtype == np.uint8 or (out == np.round(out)).all()
    return np.ascontiguousarray(out.transpose(1, 2, 0)).astype(np.uint8)


def main():
    (OUT / "pictures").mkdir(parents=True, exist_ok=True)
    for name, picture, options in pictures():
        picture.save(OUT / "pictures" / f"{name}.png", **options)
    for name, data in deep():
        (OUT / "pictures" / f"{name}.png").write_bytes(data)
    CLIP.save_pretrained(OUT / "clip")
    VIT.save_pretrained(OUT / "vit")

    from transformers.image_transforms import convert_to_rgb

    expected = {}
    for path in sorted((OUT / "pictures").glob("*.png")):
        upright = ImageOps.exif_transpose(Image.open(path))
        expected[f"{path.stem}.rgb"] = torch.from_numpy(np.array(convert_to_rgb(upright)))
        expected[f"{path.stem}.clip"] = torch.from_numpy(whole(CLIP, upright))
        expected[f"{path.stem}.vit"] = torch.from_numpy(whole(VIT, upright))
    save_file(expected, OUT / "reference.safetensors")

    random = np.random.default_rng(5)
    shapes = []
    for seed in range(300):
        longest = [40, 120, 400][seed % 3]
        width, height = (int(n) for n in random.integers(1, longest, 2))
        picture = Image.fromarray(formula(width, height, seed))
        sums = [hashlib.sha256(whole(processor, picture).tobytes()).hexdigest()[:16] for processor in (CLIP, VIT)]
        shapes.append([width, height, *sums])
    (OUT / "shapes.json").write_text("[\n" + ",\n".join(json.dumps(shape) for shape in shapes) + "\n]\n")


if __name__ == "__main__":
    main()
