"""Recomputes the scores of `catbench score --sample` from files alone, with numpy, Pillow and transformers and none of
Catbench's code: an independent reading of the definitions in src/metrics/measure.rs.

    python tests/parity/masked_scores.py --clip DIR [--dino DIR] --photos DIR --masks DIR --samples DIR [--class-word WORD]

Samples are PNGs whose text chunk `prompt`, or the record in `catbench`, says what they show; their masks are in `masks/` in their folder. Masks have the
name of their picture with the ending .png; one whose text chunk `confidence` is below 0.5, or that marks nothing or
everything, is doubtful, and so is a sample of one colour. Prints one JSON object: fill -> crop -> score -> value. `clip_t_scene` is CLIP-T with the prompt without the
concept; `mask_dependence` is masked CLIP-I with all masks grown and shrunk by 5 % of their box, `dino_mask_dependence` the same of masked
DINO, `without_doubtful` the scores without samples whose mask is doubtful, `photo_scores` those of each photo against the others.
A sample of one colour has scores of 0, one whose mask marks nothing masked scores of 0.

    python tests/parity/masked_scores.py --fixture

makes tests/fixtures/masked_scores anew, which tests/suite/metrics.rs holds Catbench to.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from transformers import CLIPModel, CLIPTokenizer, ViTModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

FIXTURES = Path(__file__).parent.parent / "fixtures"
FILLS = ("black", "white", "grey", "mean")
CROPS = ("whole", "mask_box")
DOUBTFUL_BELOW = 0.5


def read(path):
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def read_mask(path):
    return np.asarray(Image.open(path).convert("L")) if path.is_file() else None


def read_prompt(path):
    text = Image.open(path).text
    return text["prompt"] if "prompt" in text else json.loads(text["catbench"])["picture"]["prompt"]


def read_confidence(path):
    return float(Image.open(path).text.get("confidence", "nan")) if path.is_file() else float("nan")


def within(marked, radius):
    """Where a pixel that is marked lies within a disc: the disc moved along all of its pixels."""
    height, width = marked.shape
    near = np.zeros_like(marked)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dx * dx + dy * dy <= radius * radius:
                to = near[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
                to |= marked[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
    return near


def grown_or_shrunk(mask, grow):
    ys, xs = np.nonzero(mask >= 128)
    if len(xs) == 0:
        return mask
    area = (xs.max() - xs.min() + 1) * (ys.max() - ys.min() + 1)
    radius = max(1, int(np.floor(0.05 * np.sqrt(area) + 0.5)))
    if grow:
        return np.where(within(mask >= 128, radius), 255, mask).astype(np.uint8)
    shrunk = np.where(within(mask < 128, radius), 0, mask).astype(np.uint8)
    return shrunk if (shrunk >= 128).any() else mask


def colour(fill, mean):
    return {"black": (0, 0, 0), "white": (255,) * 3, "grey": (128,) * 3, "mean": tuple(int(np.floor(255 * m + 0.5)) for m in mean)}[fill]


def cut(picture, mask, fill, crop):
    """The picture that a masked score sees."""
    if mask is None:
        return picture
    inside = mask[..., None].astype(np.int64)
    filled = ((picture * inside + np.array(fill) * (255 - inside) + 127) // 255).astype(np.uint8)
    ys, xs = np.nonzero(mask >= 128)
    if crop == "whole" or len(xs) == 0:
        return filled
    box = filled[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    height, width = box.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = fill
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = box
    return square


class Judge:
    """A model, its preprocessing, and the mean colour of that."""

    def __init__(self, folder, kind):
        settings = json.loads((folder / "preprocessor_config.json").read_text())
        if kind == "clip":
            self.model, self.processor = CLIPModel.from_pretrained(folder).eval(), CLIPImageProcessorPil.from_pretrained(folder)
            self.tokenizer = CLIPTokenizer.from_pretrained(folder)
        else:
            size = settings["size"] if isinstance(settings["size"], dict) else {"height": settings["size"], "width": settings["size"]}
            self.model = ViTModel.from_pretrained(folder).eval()
            self.processor = ViTImageProcessorPil(size=size, resample=settings["resample"], image_mean=settings["image_mean"], image_std=settings["image_std"])
        self.kind, self.mean = kind, settings["image_mean"]

    @torch.no_grad()
    def pictures(self, pictures):
        pixels = torch.cat([self.processor(Image.fromarray(p), return_tensors="pt")["pixel_values"] for p in pictures])
        if self.kind == "clip":
            out = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)
        else:
            out = self.model(pixel_values=pixels).last_hidden_state[:, 0]
        return (out / out.norm(dim=-1, keepdim=True)).numpy().astype(np.float64)

    @torch.no_grad()
    def texts(self, texts):
        ids = self.tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
        out = self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)
        return (out / out.norm(dim=-1, keepdim=True)).numpy().astype(np.float64)


def likeness(judge, photos, samples, fill, crop):
    """For each sample the mean over the photos: masked, with masks grown, with masks shrunk, and whole."""

    def with_mask(change):
        return lambda p, m: cut(p, None if m is None else change(m), colour(fill, judge.mean), crop)

    masked = [lambda m: m, lambda m: grown_or_shrunk(m, True), lambda m: grown_or_shrunk(m, False)]
    values = []
    for look in [with_mask(change) for change in masked] + [lambda p, m: p]:
        a, b = (judge.pictures([look(*pair) for pair in side]) for side in (samples, photos))
        values.append((a @ b.T).mean(1))
    return values


def photo_scores(clip, dino, photos, said, scenes, fill, crop):
    """Each photo against the others, masked and whole, and against the prompt that fits it best."""

    def others(judge, look):
        embeds = judge.pictures([look(*pair) for pair in photos])
        cosines = embeds @ embeds.T
        return float(cosines[~np.eye(len(photos), dtype=bool)].mean())

    def both(judge):
        masked = others(judge, lambda p, m: cut(p, m, colour(fill, judge.mean), crop))
        return masked, others(judge, lambda p, m: p)

    masked, whole = both(clip)
    embeds = clip.pictures([p for p, _ in photos])
    clip_t, scene = (float((embeds @ clip.texts(texts).T).max(1).mean()) for texts in (said, scenes))
    row = {"masked_clip_i": masked, "clip_i": whole, "clip_t": clip_t, "balance": (max(masked, 0) * max(clip_t, 0)) ** 0.5, "clip_t_scene": scene}
    if dino is not None:
        row["masked_dino"], row["dino"] = both(dino)
    return row


def table_row(clip, dino, texts, which):
    """The scores over the samples in `which`."""
    masked, grown, shrunk, whole, text = (float(values[which].mean()) for values in (*clip, texts[0]))
    row = {"masked_clip_i": masked, "clip_i": whole, "clip_t": text, "balance": (max(masked, 0) * max(text, 0)) ** 0.5}
    row["clip_t_scene"] = float(texts[1][which].mean())
    row["mask_dependence"] = {"grown": grown, "shrunk": shrunk}
    if dino is not None:
        row["masked_dino"], grown, shrunk, row["dino"] = (float(values[which].mean()) for values in dino)
        row["dino_mask_dependence"] = {"grown": grown, "shrunk": shrunk}
    return row


def scores(clip, dino, photos, samples, prompts, class_word, doubtful):
    one_colour = np.array([bool((p == p[0, 0]).all()) for p, _ in samples])
    empty = np.array([m is not None and not m.any() for _, m in samples])
    full = np.array([m is not None and bool((m == 255).all()) for _, m in samples])
    doubtful = doubtful | empty | full | one_colour
    whole, masked = ~one_colour, ~(one_colour | empty)
    said = [prompt.replace("{concept}", class_word) for prompt in prompts]
    scenes = [" ".join(prompt.replace("{concept}", "").split()) for prompt in prompts]
    embeds = clip.pictures([p for p, _ in samples])
    texts = [(embeds * clip.texts(text)).sum(-1) * whole for text in (said, scenes)]
    table = {}

    def likeness_of(judge, fill, crop):
        if judge is None:
            return None
        *with_masks, of_whole = likeness(judge, photos, samples, fill, crop)
        return [values * masked for values in with_masks] + [of_whole * whole]

    for fill in FILLS:
        for crop in CROPS:
            by_clip, by_dino = (likeness_of(judge, fill, crop) for judge in (clip, dino))
            row = table_row(by_clip, by_dino, texts, np.ones(len(samples), bool))
            if doubtful.any() and not doubtful.all():
                row["without_doubtful"] = table_row(by_clip, by_dino, texts, ~doubtful)
            row["photo_scores"] = photo_scores(clip, dino, photos, said, scenes, fill, crop)
            table.setdefault(fill, {})[crop] = row
    return table


def load(args):
    names = sorted(p for p in args.photos.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    photos = [(read(p), read_mask(args.masks / f"{p.stem}.png")) for p in names]
    files = sorted(args.samples.glob("*.png"))
    samples = [(read(p), read_mask(args.samples / "masks" / p.name)) for p in files]
    prompts = [read_prompt(p) for p in files]
    doubtful = np.array([read_confidence(args.samples / "masks" / p.name) < DOUBTFUL_BELOW for p in files])
    return photos, samples, prompts, args.class_word, doubtful


def make_fixture(folder):
    """Photos and samples of odd sizes; soft and hard masks, one that touches the border, one that marks nothing, one missing;
    one that is doubtful and one that is not; a sample of one colour."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("photos", "masks", "samples/masks"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(8)

    def picture(width, height, tint):
        noise = random.integers(0, 90, (height, width, 3))
        y, x = np.mgrid[:height, :width]
        return np.clip(noise + np.array(tint) + (x // 6 + y // 5)[..., None] % 2 * 60, 0, 255).astype(np.uint8)

    def disc(width, height, x, y, radius, soft):
        ys, xs = np.mgrid[:height, :width]
        edge = (radius - np.hypot(xs - x, ys - y)) / soft
        return np.clip(edge * 255, 0, 255).astype(np.uint8)

    photos = [("beach", 61, 47, (160, 80, 20), disc(61, 47, 30, 20, 15, 0.01)), ("table", 40, 66, (20, 120, 60), disc(40, 66, 12, 50, 18, 6.0)),
              ("snow", 48, 48, (150, 150, 160), None)]
    for name, width, height, tint, mask in photos:
        Image.fromarray(picture(width, height, tint)).save(folder / "photos" / f"{name}.png")
        if mask is not None:
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    masks = [disc(52, 52, 25, 25, 17, 0.01), disc(52, 52, 3, 30, 14, 4.0), disc(52, 52, 40, 20, 9.3, 1.0), np.zeros((52, 52), np.uint8), None, np.full((52, 52), 255, np.uint8), disc(52, 52, 20, 30, 12, 1.0)]
    for i, mask in enumerate(masks):
        text = PngInfo()
        text.add_itxt("prompt", ["a {concept} on grass", "a {concept} in the snow"][i % 2])
        text.add_itxt("seed", str(i // 2))
        made = np.full((52, 52, 3), 7, np.uint8) if i == 6 else picture(52, 52, (30 * i, 90, 150 - 20 * i))
        Image.fromarray(made).save(folder / "samples" / f"{i:03}.png", pnginfo=text)
        if mask is not None:
            said = PngInfo()
            if i < 2:
                said.add_text("mask_made_by", "base_model")
                said.add_text("confidence", ["0.93", "0.49"][i])
            Image.fromarray(mask).save(folder / "samples" / "masks" / f"{i:03}.png", pnginfo=said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("clip", "dino", "photos", "masks", "samples"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--class-word", default="teapot")
    parser.add_argument("--fixture", action="store_true")
    args = parser.parse_args()
    folder = FIXTURES / "masked_scores"
    if args.fixture:
        make_fixture(folder)
        args.clip, args.dino = FIXTURES / "tiny_clip", FIXTURES / "tiny_dino"
        args.photos, args.masks, args.samples = folder / "photos", folder / "masks", folder / "samples"
    elif None in (args.clip, args.photos, args.masks, args.samples):
        parser.error("--clip, --photos, --masks and --samples, or --fixture")
    dino = Judge(args.dino, "dino") if args.dino else None
    table = json.dumps(scores(Judge(args.clip, "clip"), dino, *load(args)), indent=1)
    if args.fixture:
        (folder / "expected.json").write_text(table + "\n")
    else:
        print(table)


if __name__ == "__main__":
    main()
