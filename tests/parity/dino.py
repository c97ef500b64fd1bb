"""Exports a tiny DINO (transformers' ViTModel with random weights) and what PyTorch computes from it: tests/fixtures/tiny_dino,
read by tests/suite/metrics.rs.

Run again: python tests/parity/dino.py
"""

import json
import shutil
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from transformers import ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

OUT = Path(__file__).parent.parent / "fixtures" / "tiny_dino"
PICTURES = Path(__file__).parent.parent / "fixtures" / "preprocess" / "pictures"


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    torch.set_num_threads(1)
    config = ViTConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40, image_size=32, patch_size=8)
    model = ViTModel(config).eval()
    generator = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.1 if parameter.ndim == 1 or "embeddings" in name else parameter.shape[-1] ** -0.5
            parameter.copy_(noise * scale + (1.0 if "layernorm" in name and name.endswith("weight") else 0.0))
    model.save_pretrained(OUT)
    # As facebook/dino-vits16 has it: one number for both sides, mean and deviation of ImageNet.
    settings = {"do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor", "resample": 2, "size": 32,
                "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (OUT / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=settings["image_mean"], image_std=settings["image_std"])
    names = ["rgb", "tall", "rgba", "exif_6", "one"]
    pictures = [ImageOps.exif_transpose(Image.open(PICTURES / f"{name}.png")) for name in names]
    pixels = processor(pictures, do_convert_rgb=True, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        tokens = model.double()(pixel_values=pixels.double()).last_hidden_state[:, 0]
    embeds = tokens / tokens.norm(dim=-1, keepdim=True)
    save_file({"pixel_values": pixels, "embeds": embeds.float().contiguous()}, OUT / "reference.safetensors")
    (OUT / "reference.json").write_text(json.dumps({"pictures": names}) + "\n")


if __name__ == "__main__":
    main()
