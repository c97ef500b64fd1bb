"""Stable Diffusion 1.5 at full size with random weights, and what PyTorch computes from them. Not part of the tests: it
takes 5 GB of disk and 12 GB of memory.

    python tests/parity/full_size.py make DIR                 # the diffusers folder, then DIR/reference.safetensors
    python tests/parity/full_size.py original DIR             # the same weights as DIR.safetensors and DIR.ckpt
    cargo run --release --example full_size -- DIR            # the same in catbench, held to 1e-5
    cargo run --release --example full_size -- DIR DIR.ckpt   # from another form of the weights
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

import original
from export import CAPTIONS, GUIDANCE, LAST_LAYERS, give_inputs, randomize, save, scheduler_config, text_forward
from tiny_tokenizer import write_tokenizer

STEPS = 3
SIZE = 64  # latents


UNET = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": SIZE},
    "sd2": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True, "sample_size": 96},
}
TEXT = {
    "sd1": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768, "hidden_act": "quick_gelu"},
    "sd2": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23, "hidden_act": "gelu"},
}


def models(family, **tokens):
    """The UNet, the VAE and the text encoder of Stable Diffusion 1.5 ("sd1") or 2.1 ("sd2"), as their configs give them;
    `tokens`: special ones of the tokenizer."""
    unet = UNet2DConditionModel(**UNET[family])  # the other defaults are Stable Diffusion's
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
                        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, sample_size=512)
    text = {"num_hidden_layers": 12, "max_position_embeddings": 77, "vocab_size": 49408, **tokens, **TEXT[family]}
    return unet, vae, CLIPTextModel(CLIPTextConfig(**text))


def make(folder):
    """The architecture of runwayml/stable-diffusion-v1-5, as its configs give it."""
    tokens = write_tokenizer(folder / "tokenizer", model_max_length=77, tokenizer_json=True)
    unet, vae, text = models("sd1", **{**tokens, "vocab_size": 49408})
    scheduler = DDIMScheduler(**scheduler_config(clip_sample=False))
    save(folder, randomize(text, 1), randomize(unet, 2), randomize(vae, 3), scheduler)


def reference(folder):
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    te, unet, vae = (m.eval().requires_grad_(False) for m in (pipe.text_encoder, pipe.unet, pipe.vae))
    inputs, out = {}, {}
    give = give_inputs(inputs, 7, torch.float32)

    def tokenize(texts):
        return pipe.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    ids = inputs["text.ids"] = tokenize(CAPTIONS[:1])
    uncond = inputs["ddim.uncond_ids"] = tokenize([""])
    layers = range(te.config.num_hidden_layers - LAST_LAYERS, te.config.num_hidden_layers)
    rows = {i: tuple(give(f"prefix.n1.{kv}.{i}", 2 * i + (kv == "v"), 1, 768) for kv in "kv") for i in layers}
    with torch.no_grad():
        out["text.plain"] = te(ids).last_hidden_state
        out["text.n1_b0"] = text_forward(te, ids, rows)
        posterior = vae.encode(give("vae.pixels", 120, 1, 3, 8 * SIZE, 8 * SIZE).clamp(-1, 1)).latent_dist
        out["vae.mean"], out["vae.std"] = posterior.mean, posterior.std
        out["vae.decoded"] = vae.decode(give("vae.latents", 121, 1, 4, SIZE, SIZE)).sample
        ddim = DDIMScheduler.from_config(pipe.scheduler.config)
        ddim.set_timesteps(STEPS)
        x = give("ddim.latents", 130, 1, 4, SIZE, SIZE)
        context = torch.cat([text_forward(te, uncond), text_forward(te, ids, rows)])
        for step in ddim.timesteps:
            e_uncond, e_text = unet(torch.cat([x, x]), step, context).sample.chunk(2)
            x = ddim.step(e_uncond + GUIDANCE * (e_text - e_uncond), step, x).prev_sample
        out["ddim.final_latents"] = x
    t = inputs["unet.timesteps"] = torch.tensor([481])
    leaves = {i: tuple(r.clone().requires_grad_() for r in kv) for i, kv in rows.items()}
    x, target = give("grad.latents", 110, 1, 4, SIZE, SIZE), give("grad.target", 111, 1, 4, SIZE, SIZE)
    out["unet.out"] = unet(x, t, text_forward(te, ids, leaves)).sample
    F.mse_loss(out["unet.out"], target).backward()
    for i, (k, v) in leaves.items():
        out[f"grad.k.{i}"], out[f"grad.v.{i}"] = k.grad, v.grad
    save_file({k: v.detach().contiguous() for k, v in {**inputs, **out}.items()}, folder / "reference.safetensors")
    scalars = {"layers": list(layers), "ddim": {"steps": STEPS, "guidance_scale": GUIDANCE}}
    (folder / "reference.json").write_text(json.dumps(scalars) + "\n")
    print({k: f"{v.square().mean().sqrt():.3g}" for k, v in out.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "reference", "original"], help="reference: without making the weights again")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == "make":
        args.folder.mkdir(parents=True, exist_ok=True)
        make(args.folder)
    if args.what == "original":
        tensors = original.convert(args.folder)
        original.save(tensors, args.folder.with_name(args.folder.name + ".safetensors"))
        original.save(tensors, args.folder.with_name(args.folder.name + ".ckpt"))
    else:
        reference(args.folder)


if __name__ == "__main__":
    main()
