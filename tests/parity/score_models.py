"""Score models of real size with random weights, and what transformers computes from them. Not part of the tests: it takes
1.2 GB of disk and 3 GB of memory.

    python tests/parity/score_models.py DIR                  # ViT-B/32, B/16, L/14 as CLIP, ViT-S/16 as DINO; references
    cargo run --release --example score_models -- DIR        # the same in catbench, held to 1e-5

`--only clip-b32` makes one of clip-b32, clip-b16, clip-l14, dino-s16.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, ViTConfig, ViTModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from export import randomize
from tiny_tokenizer import write_tokenizer

TEXTS = ["a photo of a teapot", "", "a striped backpack in front of a brick wall in the city at night"]
# name: width, layers, heads and patch of the vision tower; width and heads of the text tower; projection
CLIPS = {"clip-b32": (768, 12, 12, 32, 512, 8, 512), "clip-b16": (768, 12, 12, 16, 512, 8, 512), "clip-l14": (1024, 24, 16, 14, 768, 12, 768)}


def pictures():
    """Three of odd sizes: hard edges and noise."""
    random = np.random.default_rng(3)
    for width, height in [(640, 427), (300, 500), (224, 224)]:
        y, x = np.mgrid[:height, :width]
        noise = random.integers(0, 120, (height, width, 3))
        yield Image.fromarray(np.clip(noise + ((x // 31 + y // 23) % 2)[..., None] * 130, 0, 255).astype(np.uint8))


def references(folder, model, inputs, run):
    """In float64 for the numbers, in float32 for how far rounding alone takes them."""
    model.save_pretrained(folder)
    for i, picture in enumerate(pictures()):
        picture.save(folder / f"picture-{i}.png")
    with torch.no_grad():
        rounded = run(model.float(), inputs)
        exact = run(model.double(), {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()})
    for name in exact:
        print(folder.name, name, "float32 of torch:", f"{float((rounded[name].double() - exact[name]).norm() / exact[name].norm()):.1e}")
    save_file({k: v.float().contiguous() for k, v in exact.items()}, folder / "reference.safetensors")


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


def make_clip(folder, width, layers, heads, patch, text_width, text_heads, projection):
    folder.mkdir(parents=True, exist_ok=True)
    tokens = write_tokenizer(folder, model_max_length=77, tokenizer_json=True)
    tokens["vocab_size"] = 49408
    text = dict(hidden_size=text_width, intermediate_size=4 * text_width, num_hidden_layers=12, num_attention_heads=text_heads, hidden_act="quick_gelu", projection_dim=projection, **tokens)
    vision = dict(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads, image_size=224, patch_size=patch, hidden_act="quick_gelu", projection_dim=projection)
    model = randomize(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)), 41).eval()
    processor = CLIPImageProcessorPil()
    processor.save_pretrained(folder)
    ids = CLIPTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", return_tensors="pt").input_ids
    pixels = processor(list(pictures()), return_tensors="pt")["pixel_values"]

    def run(model, inputs):
        image = model.visual_projection(model.vision_model(pixel_values=inputs["pixels"]).pooler_output)
        text = model.text_projection(model.text_model(input_ids=inputs["ids"]).pooler_output)
        return {"image_embeds": unit(image), "text_embeds": unit(text)}

    (folder / "texts.json").write_text(json.dumps(TEXTS))
    references(folder, model, {"pixels": pixels, "ids": ids}, run)


def make_dino(folder):
    folder.mkdir(parents=True, exist_ok=True)
    config = ViTConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536, image_size=224, patch_size=16)
    processor = ViTImageProcessorPil()
    processor.save_pretrained(folder)
    pixels = processor(list(pictures()), return_tensors="pt")["pixel_values"]
    run = lambda model, inputs: {"image_embeds": unit(model(pixel_values=inputs["pixels"]).last_hidden_state[:, 0])}
    references(folder, randomize(ViTModel(config), 42).eval(), {"pixels": pixels}, run)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=[*CLIPS, "dino-s16"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, sizes in CLIPS.items():
        if args.only in (None, name):
            make_clip(args.folder / name, *sizes)
    if args.only in (None, "dino-s16"):
        make_dino(args.folder / "dino-s16")


if __name__ == "__main__":
    main()
