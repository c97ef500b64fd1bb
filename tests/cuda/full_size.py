#!/usr/bin/env python3
"""Makes a base model with the shapes of Stable Diffusion 1.5 out of the demo's: for counts and times at full size.

    full_size.py DEMO_MODEL OUT                 all numbers are zero: the files are sparse and take no space
    full_size.py DEMO_MODEL OUT --random SEED   normal numbers that keep the size of what goes through; needs NumPy, 2 GB of disk

The numbers are float16. It keeps the demo's tokenizer and scheduler.
"""

import json
import math
import shutil
import struct
import sys
from pathlib import Path

demo, out = map(Path, sys.argv[1:3])
random = None
if "--random" in sys.argv:
    import numpy

    random = numpy.random.default_rng(int(sys.argv[sys.argv.index("--random") + 1]))
BLOCKS, CONTEXT, TIME, LATENT = [320, 640, 1280, 1280], 768, 1280, 4
tensors = {}


def numbers(name, shape):
    """The bytes of a tensor: matrices and kernels scaled by what they sum over, norms as they begin in a training."""
    if len(shape) == 1:
        return numpy.full(shape, float("norm" in name and name.endswith("weight")), "<f2").tobytes()
    inner = math.prod(shape[1:])
    return (random.standard_normal(shape, "f4") / math.sqrt(inner)).astype("<f2").tobytes()


def linear(name, inner, outer, bias=True):
    tensors[f"{name}.weight"] = [outer, inner]
    if bias:
        tensors[f"{name}.bias"] = [outer]


def conv(name, inner, outer, kernel=3):
    tensors[f"{name}.weight"] = [outer, inner, kernel, kernel]
    tensors[f"{name}.bias"] = [outer]


def norm(name, width):
    tensors[f"{name}.weight"] = tensors[f"{name}.bias"] = [width]


def resnet(name, inner, outer, time=None):
    norm(f"{name}.norm1", inner)
    conv(f"{name}.conv1", inner, outer)
    if time:
        linear(f"{name}.time_emb_proj", time, outer)
    norm(f"{name}.norm2", outer)
    conv(f"{name}.conv2", outer, outer)
    if inner != outer:
        conv(f"{name}.conv_shortcut", inner, outer, 1)


def transformer(name, width):
    norm(f"{name}.norm", width)
    conv(f"{name}.proj_in", width, width, 1)
    block = f"{name}.transformer_blocks.0"
    for part, context in (("attn1", width), ("attn2", CONTEXT)):
        linear(f"{block}.{part}.to_q", width, width, bias=False)
        linear(f"{block}.{part}.to_k", context, width, bias=False)
        linear(f"{block}.{part}.to_v", context, width, bias=False)
        linear(f"{block}.{part}.to_out.0", width, width)
    for i in (1, 2, 3):
        norm(f"{block}.norm{i}", width)
    linear(f"{block}.ff.net.0.proj", width, 8 * width)
    linear(f"{block}.ff.net.2", 4 * width, width)
    conv(f"{name}.proj_out", width, width, 1)


def unet():
    conv("conv_in", LATENT, BLOCKS[0])
    linear("time_embedding.linear_1", BLOCKS[0], TIME)
    linear("time_embedding.linear_2", TIME, TIME)
    skips, width = [BLOCKS[0]], BLOCKS[0]
    for i, block in enumerate(BLOCKS):
        for j in range(2):
            resnet(f"down_blocks.{i}.resnets.{j}", width, block, TIME)
            width = block
            if i < 3:
                transformer(f"down_blocks.{i}.attentions.{j}", block)
            skips.append(block)
        if i < 3:
            conv(f"down_blocks.{i}.downsamplers.0.conv", block, block)
            skips.append(block)
    for j in range(2):
        resnet(f"mid_block.resnets.{j}", width, width, TIME)
    transformer("mid_block.attentions.0", width)
    for i, block in enumerate(reversed(BLOCKS)):
        for j in range(3):
            resnet(f"up_blocks.{i}.resnets.{j}", width + skips.pop(), block, TIME)
            width = block
            if i > 0:
                transformer(f"up_blocks.{i}.attentions.{j}", block)
        if i < 3:
            conv(f"up_blocks.{i}.upsamplers.0.conv", block, block)
    norm("conv_norm_out", width)
    conv("conv_out", width, LATENT)


def vae():
    blocks = [128, 256, 512, 512]

    def middle(name):
        for j in range(2):
            resnet(f"{name}.mid_block.resnets.{j}", 512, 512)
        norm(f"{name}.mid_block.attentions.0.group_norm", 512)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            linear(f"{name}.mid_block.attentions.0.{part}", 512, 512)

    conv("encoder.conv_in", 3, 128)
    width = 128
    for i, block in enumerate(blocks):
        for j in range(2):
            resnet(f"encoder.down_blocks.{i}.resnets.{j}", width, block)
            width = block
        if i < 3:
            conv(f"encoder.down_blocks.{i}.downsamplers.0.conv", block, block)
    middle("encoder")
    norm("encoder.conv_norm_out", 512)
    conv("encoder.conv_out", 512, 2 * LATENT)
    conv("quant_conv", 2 * LATENT, 2 * LATENT, 1)
    conv("post_quant_conv", LATENT, LATENT, 1)
    conv("decoder.conv_in", LATENT, 512)
    middle("decoder")
    for i, block in enumerate(reversed(blocks)):
        for j in range(3):
            resnet(f"decoder.up_blocks.{i}.resnets.{j}", width, block)
            width = block
        if i < 3:
            conv(f"decoder.up_blocks.{i}.upsamplers.0.conv", block, block)
    norm("decoder.conv_norm_out", 128)
    conv("decoder.conv_out", 128, 3)


def text_encoder():
    tensors["text_model.embeddings.token_embedding.weight"] = [49408, 768]
    tensors["text_model.embeddings.position_embedding.weight"] = [77, 768]
    for i in range(12):
        layer = f"text_model.encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{layer}.self_attn.{part}", 768, 768)
        norm(f"{layer}.layer_norm1", 768)
        norm(f"{layer}.layer_norm2", 768)
        linear(f"{layer}.mlp.fc1", 768, 3072)
        linear(f"{layer}.mlp.fc2", 3072, 768)
    norm("text_model.final_layer_norm", 768)


def write(path):
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        if random is None:
            file.truncate(8 + len(text) + at)
        else:
            for name, shape in tensors.items():
                file.write(numbers(name, shape))
    tensors.clear()


shutil.copytree(demo, out, ignore=shutil.ignore_patterns("*.safetensors"))
CHANGES = {
    "unet": {
        "attention_head_dim": 8, "block_out_channels": BLOCKS, "cross_attention_dim": CONTEXT, "in_channels": LATENT,
        "out_channels": LATENT, "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 64,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    },
    "vae": {
        "block_out_channels": [128, 256, 512, 512], "latent_channels": LATENT, "layers_per_block": 2, "norm_num_groups": 32,
        "sample_size": 512, "scaling_factor": 0.18215,
    },
    "text_encoder": {
        "hidden_size": 768, "intermediate_size": 3072, "max_position_embeddings": 77, "num_attention_heads": 12,
        "num_hidden_layers": 12, "projection_dim": 768, "vocab_size": 49408,
    },
}
for part, changes in CHANGES.items():
    config = out / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes, indent=2))
for part, make, name in (
    ("unet", unet, "diffusion_pytorch_model"),
    ("vae", vae, "diffusion_pytorch_model"),
    ("text_encoder", text_encoder, "model"),
):
    make()
    write(out / part / f"{name}.safetensors")
