"""Diffusers' names of Stable Diffusion's tensors to those of the original code (CompVis, Stability AI), in one file.

    python tests/parity/original.py FOLDER model.safetensors   # one file of the diffusers folder FOLDER
    python tests/parity/original.py FOLDER model.ckpt          # the same as torch.save writes it

`convert(folder)` gives the same as a dictionary. The numbers are those of the folder, in their own types.
"""

import argparse
import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    **{new: name for name, both in {"q": ("to_q", "query"), "k": ("to_k", "key"), "v": ("to_v", "value"),
                                    "proj_out": ("to_out.0", "proj_attn")}.items() for new in both},
}


def load_part(folder):
    """All tensors of one part: a file or shards."""
    files = sorted(folder.glob("*.safetensors"))
    assert files, folder
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def unet_name(name, layers):
    """Name in the original UNet; `layers` is layers_per_block."""
    fixed = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
             "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    for ours, theirs in fixed.items():
        if name.startswith(ours + "."):
            return theirs + name[len(ours):]

    def resnet(rest):
        part, leaf = rest.rsplit(".", 1)
        return f"{RESNET[part]}.{leaf}"

    if m := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", name):
        side, block, kind, j, rest = m.groups()
        index = int(block) * (layers + 1) + int(j) + (side == "down")
        blocks = "input_blocks" if side == "down" else "output_blocks"
        return f"{blocks}.{index}.{'0.' + resnet(rest) if kind == 'resnets' else '1.' + rest}"
    if m := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.*)", name):
        return f"input_blocks.{(int(m[1]) + 1) * (layers + 1)}.0.op.{m[2]}"
    if m := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.*)", name):
        return f"output_blocks.{int(m[1]) * (layers + 1) + layers}.UPSAMPLER.conv.{m[2]}"
    m = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name)
    return f"middle_block.{2 * int(m[2])}.{resnet(m[3])}" if m[1] == "resnets" else f"middle_block.1.{m[3]}"


def convert_unet(tensors, layers):
    out = {unet_name(name, layers): tensor for name, tensor in tensors.items()}
    # The upsampler comes third where an attention is second.
    for name in [n for n in out if ".UPSAMPLER." in n]:
        index = name.split(".")[1]
        place = 2 if f"output_blocks.{index}.1.norm.weight" in out else 1
        out[name.replace("UPSAMPLER", str(place))] = out.pop(name)
    return out


def vae_name(name, blocks):
    if m := re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(.*)", name):
        half, side, block, rest = m.groups()
        block = int(block) if side == "down" else blocks - 1 - int(block)
        rest = re.sub(r"^resnets\.(\d+)", r"block.\1", rest)
        rest = re.sub(r"^(down|up)samplers\.0", r"\1sample", rest).replace("conv_shortcut", "nin_shortcut")
        return f"{half}.{side}.{block}.{rest}"
    if m := re.match(r"(encoder|decoder)\.mid_block\.resnets\.(\d)\.(.*)", name):
        return f"{m[1]}.mid.block_{int(m[2]) + 1}.{m[3]}"
    if m := re.match(r"(encoder|decoder)\.mid_block\.attentions\.0\.(.*)\.(weight|bias)", name):
        return f"{m[1]}.mid.attn_1.{VAE_ATTENTION[m[2]]}.{m[3]}"
    return name.replace("conv_norm_out", "norm_out")


def convert_vae(tensors, blocks):
    out = {}
    for name, tensor in tensors.items():
        name = vae_name(name, blocks)
        if ".attn_1." in name and tensor.ndim == 2:  # the original's linear maps are 1 x 1 convolutions
            tensor = tensor[:, :, None, None]
        out[name] = tensor
    return out


def convert_clip(tensors):
    """CLIP-L: as transformers named it then."""
    return {"transformer.text_model." + name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


def convert_open_clip(tensors, seed=0):
    """OpenCLIP: fused q, k, v, and the last layer, which Stable Diffusion 2 does not use (here random)."""
    tensors = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    tensors.pop("embeddings.position_ids", None)
    out = {
        "positional_embedding": tensors.pop("embeddings.position_embedding.weight"),
        "token_embedding.weight": tensors.pop("embeddings.token_embedding.weight"),
        "ln_final.weight": tensors.pop("final_layer_norm.weight"),
        "ln_final.bias": tensors.pop("final_layer_norm.bias"),
    }
    layers = 1 + max(int(name.split(".")[2]) for name in tensors)
    for i in range(layers):
        for leaf in ("weight", "bias"):
            for ours, theirs in OPEN_CLIP.items():
                out[f"transformer.resblocks.{i}.{theirs}.{leaf}"] = tensors.pop(f"encoder.layers.{i}.{ours}.{leaf}")
            qkv = [tensors.pop(f"encoder.layers.{i}.self_attn.{x}_proj.{leaf}") for x in "qkv"]
            out[f"transformer.resblocks.{i}.attn.in_proj_{leaf}"] = torch.cat(qkv)
    assert not tensors, list(tensors)
    g = torch.Generator().manual_seed(seed)
    last = f"transformer.resblocks.{layers - 1}."
    for name in [n for n in out if n.startswith(last)]:
        unused = name.replace(last, f"transformer.resblocks.{layers}.")
        out[unused] = torch.randn(out[name].shape, generator=g).to(out[name].dtype)
    width = out["ln_final.bias"].shape[0]
    out["text_projection"] = torch.randn(width, width, generator=g).to(out["ln_final.bias"].dtype)
    out["logit_scale"] = torch.tensor(4.6)
    return {"model." + name: tensor for name, tensor in out.items()}


def convert(folder, leftovers=True):
    """Original name -> tensor of the diffusers folder; with what training leaves in such files, to be ignored."""
    folder = Path(folder)
    parts = [load_part(folder / part) for part in ("unet", "vae", "text_encoder")]
    configs = [json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae")]
    return convert_parts(*parts, *configs, leftovers)


def convert_parts(unet, vae, text, unet_config, vae_config, leftovers=True):
    """The same of the tensors of each part by name."""
    unet = convert_unet(unet, unet_config["layers_per_block"])
    vae = convert_vae(vae, len(vae_config["block_out_channels"]))
    text = convert_open_clip(text) if unet_config.get("use_linear_projection") else convert_clip(text)
    out = {
        **{"model.diffusion_model." + name: tensor for name, tensor in unet.items()},
        **{"first_stage_model." + name: tensor for name, tensor in vae.items()},
        **{"cond_stage_model." + name: tensor for name, tensor in text.items()},
    }
    if leftovers:
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        out.update({"betas": betas, "alphas_cumprod": (1 - betas).cumprod(0), "model_ema.decay": torch.tensor(0.9999),
                    "model_ema.num_updates": torch.tensor(875000),
                    "model_ema.diffusion_modeltime_embed0weight": torch.zeros(4)})
    return {name: tensor.contiguous() for name, tensor in out.items()}


def save(tensors, path, global_step=None):
    """One file: what torch.save writes for `.ckpt`, safetensors for all else."""
    if Path(path).suffix == ".ckpt":
        step = {} if global_step is None else {"global_step": global_step}
        torch.save({"pytorch-lightning_version": "1.4.2", **step, "state_dict": tensors}, path)
    else:
        save_file(tensors, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    save(convert(args.folder), args.out)
