"""Exports what the original segment_anything and MobileSAM compute with weights made by a formula: tests/fixtures/segment_anything,
read by tests/suite/segment.rs, which makes the same weights by the same formula. So only names, shapes and results are kept.

Run again: python tests/parity/segment_anything.py
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

# This file has the name of the package.
sys.path = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).parent.resolve()]
import mobile_sam  # noqa: E402
import segment_anything  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from segment_anything import modeling  # noqa: E402

OUT = Path(__file__).parent.parent / "fixtures" / "segment_anything"
SIZE = (96, 64)
"""Width and height of the photo: not square, so that it is padded."""
PROMPTS = {"one": [(40, 20, 1)], "two": [(40, 20, 1), (80, 50, 0)], "box": [(40, 20, 1), (30, 40, 1)]}
BOXES = {"box": (20, 10, 70, 50)}
"""Left, top, right, bottom."""


def numbers(name, count):
    """`count` numbers in [-1, 1) that the name decides: splitmix64 from the FNV-1a hash of it."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def weight(name, shape):
    """Of a size that keeps activations near 1."""
    values = numbers(name, int(np.prod(shape)))
    if "gaussian_matrix" in name:
        pass
    elif len(shape) > 1:
        values *= (3 / np.prod(shape[1:])) ** 0.5
    elif name.endswith("weight") or name.endswith("running_var"):
        values = 1 + 0.1 * values
    else:
        values *= 0.1
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def small_vit():
    """SAM with a narrow encoder: one block with windows, one without. All else has its real size."""
    encoder = modeling.ImageEncoderViT(
        depth=2, embed_dim=32, img_size=1024, mlp_ratio=4, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), num_heads=2,
        patch_size=16, qkv_bias=True, use_rel_pos=True, global_attn_indexes=[1], window_size=14, out_chans=256)
    prompts = modeling.PromptEncoder(embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16)
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    decoder = modeling.MaskDecoder(num_multimask_outputs=3, transformer=transformer, transformer_dim=256, iou_head_depth=3,
                                   iou_head_hidden_dim=256)
    return modeling.Sam(encoder, prompts, decoder, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


def export(name, model, predictor, file="reference"):
    used = {key: value for key, value in model.state_dict().items() if value.is_floating_point() and not key.startswith("pixel_")}
    # MobileSAM's checkpoints carry a head for classes, which takes no part, and tables that are made of nothing but sizes.
    used = {key: value for key, value in used.items() if "head." not in key or "prediction_head" in key}
    shapes = {key: list(value.shape) for key, value in used.items()}
    model.load_state_dict({key: weight(key, shape) for key, shape in shapes.items()}, strict=False)
    # Only now: MobileSAM gathers its tables of attention biases here.
    model.train()
    model.eval()
    width, height = SIZE
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    photo = np.stack([x * 2, y * 3, (x * y) % 256], axis=-1).astype(np.uint8)
    predictor.set_image(photo)
    results = {}
    with torch.no_grad():
        for prompt, points in PROMPTS.items():
            coords, labels = np.array([p[:2] for p in points], dtype=np.float32), np.array([p[2] for p in points])
            moved = torch.from_numpy(predictor.transform.apply_coords(coords, predictor.original_size)).float()[None]
            box = np.array(BOXES[prompt], dtype=np.float32) if prompt in BOXES else None
            boxes = box if box is None else torch.from_numpy(predictor.transform.apply_boxes(box[None], predictor.original_size)).float()
            sparse, dense = model.prompt_encoder(points=(moved, torch.from_numpy(labels)[None]), boxes=boxes, masks=None)
            logits, quality = model.mask_decoder.predict_masks(
                image_embeddings=predictor.features, image_pe=model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense)
            masks, scores, _ = predictor.predict(coords, labels, box=box, multimask_output=len(points) == 1)
            results[f"{prompt}.logits"] = logits[0, :, ::4, ::4].contiguous()
            results[f"{prompt}.quality"] = quality[0].contiguous()
            results[f"{prompt}.mask"] = torch.from_numpy(masks[scores.argmax()].astype(np.uint8) * 255).contiguous()
            print(name, prompt, logits.std().item(), quality[0].tolist(), masks[scores.argmax()].mean())
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(results, folder / f"{file}.safetensors")
    (folder / "reference.json").write_text(json.dumps({"points": PROMPTS, "boxes": BOXES, "shapes": shapes}, indent=1) + "\n")


def approximate(module):
    for name, child in module.named_children():
        if isinstance(child, torch.nn.GELU):
            setattr(module, name, torch.nn.GELU(approximate="tanh"))
        else:
            approximate(child)


def main():
    torch.set_num_threads(1)
    vit, tiny = small_vit(), mobile_sam.build_sam_vit_t()
    export("vit", vit, segment_anything.SamPredictor(vit))
    export("tiny_vit", tiny, mobile_sam.SamPredictor(tiny))
    # And with the GELU that candle-transformers' encoder has, which tells it from every other difference.
    approximate(tiny.image_encoder)
    export("tiny_vit", tiny, mobile_sam.SamPredictor(tiny), "tanh")


if __name__ == "__main__":
    main()
