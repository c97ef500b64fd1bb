"""Make tests/fixtures/original: the tiny models of export.py as torch.save'd files in the original naming, the names and
shapes of Stable Diffusion 1.5 and 2.1, and what CLIP's own tokenizer gives.

    python tests/parity/original_files.py            # writes tests/fixtures/original
    python tests/parity/original_files.py --out DIR  # somewhere else, to compare
"""

import argparse
import gzip
import json
from pathlib import Path

import torch
from transformers import CLIPTokenizer

import full_size
import original
from tiny_tokenizer import END, START, TRICKY, byte_symbols

ROOT = Path(__file__).resolve().parents[2]
MORE = [
    "a photo of sks dog in the style of van gogh, 4k, trending on artstation!",
    "Teapot!!! (masterpiece:1.2), [bad] {anatomy} <lora:x:1>",
    "l'été à la plage; d'où?",
    "3D render of a ②-handled mug, ½ full",
    "a " * 100,
]


def shapes(family):
    """Every tensor of a checkpoint of `family` and its shape."""
    with torch.device("meta"):
        unet, vae, text = full_size.models(family)
    tensors = original.convert_parts(unet.state_dict(), vae.state_dict(), text.state_dict(), unet.config, vae.config)
    configs = {"unet": dict(unet.config), "vae": dict(vae.config), "text_encoder": text.config.to_dict()}
    told = {
        "unet": ["block_out_channels", "layers_per_block", "cross_attention_dim", "attention_head_dim", "in_channels", "out_channels",
                 "sample_size", "down_block_types", "up_block_types", "norm_num_groups"],
        "vae": ["block_out_channels", "layers_per_block", "latent_channels", "scaling_factor", "norm_num_groups"],
        "text_encoder": ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "hidden_act",
                         "max_position_embeddings"],
    }
    counts = {"unet": unet, "vae": vae, "text_encoder": text}
    return {
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in counts.items()},
        "configs": {part: {key: configs[part][key] for key in keys} for part, keys in told.items()},
    }


def tokenizer():
    """Ids of tricky texts by transformers' fast tokenizer of the built-in merges, padded as 1.x and as 2.x."""
    text = gzip.decompress((ROOT / "src/diffusion/clip_merges/merges.txt.gz").read_bytes()).decode()
    merges = [tuple(line.split(" ")) for line in text.splitlines()]
    symbols = byte_symbols()
    names = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in merges), START, END]
    vocab = {name: i for i, name in enumerate(names)}
    assert len(vocab) == 49408
    cases = []
    for pad in (END, "!"):
        clip = CLIPTokenizer(vocab=vocab, merges=merges, unk_token=END, bos_token=START, eos_token=END, pad_token=pad, model_max_length=77)
        cases.append([clip(s, padding="max_length", truncation=True).input_ids for s in TRICKY + MORE])
    # Only the ids before the padding differ from text to text.
    def trim(ids):
        while len(ids) > 1 and ids[-1] == ids[-2]:
            ids = ids[:-1]
        return ids
    return [{"text": s, "sd1": trim(a), "sd2": trim(b)} for s, a, b in zip(TRICKY + MORE, *cases)]


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    for name, step in (("tiny_sd1", None), ("tiny_sd2", 875000)):
        original.save(original.convert(ROOT / "tests/fixtures" / name), out / f"{name}.ckpt", step)
    with open(out / "full_size.json.gz", "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
        packed.write(json.dumps({family: shapes(family) for family in ("sd1", "sd2")}).encode())
    (out / "tokenizer.json").write_text(json.dumps(tokenizer(), ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tests/fixtures/original")
    main(parser.parse_args().out)
