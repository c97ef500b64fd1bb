"""Scoring throughput, from JPEG files to scores, in transformers and in catbench, in turn, in one run.

    pip install -r tests/parity/requirements.txt
    python tests/parity/score_models.py DIR --only clip-b32       # ViT-B/32 with random weights
    cargo build --release --example score
    python tests/benches/compare_score.py DIR/clip-b32 [--threads 2] [--pictures 101] [--rounds 3]

Both read the same 512 x 512 JPEGs (5 photos, the rest samples), fill outside the same masks, and embed every picture
whole, masked and with the mask grown and shrunk, and the prompts. The model is loaded before the clock runs. transformers does it as its users do: Pillow,
`CLIPImageProcessorPil`, batches of 16. Printed: the seconds of each round, pictures a second of the best, their ratio (bar:
1.3), and the scores of both, which must agree.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def make_pictures(folder, count):
    random = np.random.default_rng(1)
    for i in range(count):
        small = random.integers(0, 256, (12, 12, 3)).astype(np.uint8)
        Image.fromarray(small).resize((512, 512), Image.Resampling.BICUBIC).save(folder / f"{i:04}.jpg", quality=92)
    return sorted(folder.glob("*.jpg"))


def by_transformers(model, processor, tokenizer, files):
    import torch

    def unit(rows):
        return rows / rows.norm(dim=-1, keepdim=True)

    def embed(pictures):
        parts = []
        for i in range(0, len(pictures), 16):
            pixels = processor(pictures[i : i + 16], return_tensors="pt")["pixel_values"]
            parts.append(unit(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)))
        return torch.cat(parts)

    began = time.perf_counter()
    pictures = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    y, x = np.mgrid[:512, :512]
    x, y = abs(x - 256), abs(y - 256)
    # By a disc of 5 % of the box of 255 x 255.
    grown = np.maximum(x - 127, 0) ** 2 + np.maximum(y - 127, 0) ** 2 <= 13**2
    masks = [mask[..., None].astype(np.uint8) for mask in (np.maximum(x, y) < 128, grown, np.maximum(x, y) < 115)]
    masked = [[p * mask for p in pictures] for mask in masks]
    prompts = [f"a photo of a teapot {i % 10}" for i in range(len(files) - 5)]
    with torch.no_grad():
        (a, *others), b = [embed(look) for look in masked], embed(pictures)
        distinct = sorted(set(prompts))
        ids = tokenizer(distinct, padding="max_length", return_tensors="pt").input_ids
        texts = unit(model.text_projection(model.text_model(input_ids=ids).pooler_output))
        t = texts[[distinct.index(p) for p in prompts]]
        scores = {"masked_clip_i": float((a[5:] @ a[:5].T).mean()), "clip_t": float((b[5:] * t).sum(-1).mean())}
        for other in (b, *others):
            (other[5:] @ other[:5].T).mean()
    return time.perf_counter() - began, scores


def by_catbench(binary, model, files, threads):
    command = ["taskset", "-c", ",".join(map(str, range(threads))), binary, model, *files]
    text = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "RAYON_NUM_THREADS": str(threads)}).stdout
    values = {key: float(value) for key, value in (line.split() for line in text.splitlines())}
    return values.pop("seconds"), values


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/examples/score")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=101)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    import torch
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.set_num_threads(args.threads)
    model = CLIPModel.from_pretrained(args.model).eval()
    processor, tokenizer = CLIPImageProcessorPil.from_pretrained(args.model), CLIPTokenizer.from_pretrained(args.model)
    best = {}
    with tempfile.TemporaryDirectory() as folder:
        files = make_pictures(Path(folder), args.pictures)
        for _ in range(args.rounds):
            for name, run in (("transformers", lambda: by_transformers(model, processor, tokenizer, files)),
                              ("catbench", lambda: by_catbench(args.binary, args.model, files, args.threads))):
                seconds, scores = run()
                best[name] = min(best.get(name, seconds), seconds)
                print(f"{name:<14}{seconds:8.2f} s  " + "  ".join(f"{key} {value:.6f}" for key, value in scores.items()), flush=True)
    for name, seconds in best.items():
        print(f"{name:<14}{args.pictures / seconds:8.2f} pictures/s")
    print(f"ratio {best['transformers'] / best['catbench']:.2f} (bar 1.3)")


if __name__ == "__main__":
    main()
