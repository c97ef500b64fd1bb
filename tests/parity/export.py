"""Make tests/fixtures: tiny models with random weights and what PyTorch computes from them.

    python tests/parity/export.py            # writes tests/fixtures
    python tests/parity/export.py --out DIR  # somewhere else, to compare

Everything is computed in float32 from fixed seeds. The whole thing is computed once more in float64, and the relative
distance between the two is kept in each reference.json as `rounding`: how far float32 alone can be from the truth,
so that a tolerance of 1e-5 means something.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tiny_tokenizer import TRICKY, write_tokenizer

LAST_LAYERS = 3  # the prefix stands in the last three self-attention layers


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomize(model, seed):
    """Random values for every weight, also for biases and norms, so that no error hides behind a 0 or a 1."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=g)
            if name.endswith("logit_scale"):
                continue
            if p.ndim == 1 and name.endswith("weight"):
                p.copy_(1 + 0.2 * noise)
            elif p.ndim == 1:
                p.copy_(0.1 * noise)
            elif name.endswith("_embedding.weight") and p.ndim == 2:
                p.copy_(0.7 * noise)
            else:
                fan_in = p[0].numel()
                p.copy_(noise / math.sqrt(fan_in))
    return model.eval().requires_grad_(False)


# --- CatVersion in the CLIP text encoder (section 3.3 of the paper) -------------------------------------------------


def text_forward(te, ids, prefix=None, bias=0.0):
    """[B, T] ids -> [B, T, D]; prefix is {layer: (k [n, D], v [n, D])}; bias is prefix_bias + ln(strength)."""
    h = te.embeddings(input_ids=ids)
    for i, layer in enumerate(te.encoder.layers):
        h = encoder_layer(layer, h, (prefix or {}).get(i), bias)
    return te.final_layer_norm(h)


def encoder_layer(layer, h, rows, bias):
    a = layer.self_attn
    b, t, d = h.shape
    x = layer.layer_norm1(h)
    q, k, v = a.q_proj(x) / math.sqrt(a.head_dim), a.k_proj(x), a.v_proj(x)
    mask = torch.full((t, t), float("-inf"), dtype=h.dtype).triu(1)
    if rows is not None:
        k = torch.cat([rows[0].expand(b, -1, -1), k], dim=1)
        v = torch.cat([rows[1].expand(b, -1, -1), v], dim=1)
        mask = torch.cat([torch.full((t, len(rows[0])), bias, dtype=h.dtype), mask], dim=1)

    def heads(x):
        return x.view(b, -1, a.num_heads, a.head_dim).transpose(1, 2)

    p = F.softmax(heads(q) @ heads(k).transpose(-1, -2) + mask, dim=-1)
    h = h + a.out_proj((p @ heads(v)).transpose(1, 2).reshape(b, t, d))
    return h + layer.mlp(layer.layer_norm2(h))


def class_word_rows(te, ids, position, n):
    """Keys and values of the class word's last token in each concatenated layer, of one caption [1, T]."""
    rows, h = {}, te.embeddings(input_ids=ids)
    for i, layer in enumerate(te.encoder.layers):
        if i >= len(te.encoder.layers) - LAST_LAYERS:
            x = layer.layer_norm1(h)[:, position]
            rows[i] = (layer.self_attn.k_proj(x).expand(n, -1).clone(), layer.self_attn.v_proj(x).expand(n, -1).clone())
        h = encoder_layer(layer, h, None, 0.0)
    return rows


def noise_loss(pred, target, mask=None):
    if mask is None:
        return F.mse_loss(pred, target)
    per_sample = (mask * (pred - target) ** 2).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * pred.shape[1])
    return per_sample.mean()


# --- the models ------------------------------------------------------------------------------------------------------


def text_config(**more):
    return CLIPTextConfig(
        **{
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 5,
            "num_attention_heads": 3,
            "max_position_embeddings": 16,
            "projection_dim": 24,
            **more,
        }
    )


def scheduler_config(**more):
    return {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "steps_offset": 1,
        "set_alpha_to_one": False,
        **more,
    }


def make_sd1(folder):
    """As SD 1.5 lies on disk: one shard each in float32, a PNDM scheduler config, tokenizer as vocab + merges and as
    tokenizer.json, `text_model.` names with a position_ids buffer, the VAE's attention in its old names."""
    tokens = write_tokenizer(folder / "tokenizer", model_max_length=16, tokenizer_json=True)
    text_encoder = randomize(CLIPTextModel(text_config(hidden_act="quick_gelu", **tokens)), 11)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        attention_head_dim=4,
        norm_num_groups=8,
        cross_attention_dim=24,
    )
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    scheduler = PNDMScheduler(**scheduler_config(skip_prk_steps=True))
    save(folder, text_encoder, randomize(unet, 12), randomize(vae, 13), scheduler)

    config_path = folder / "scheduler/scheduler_config.json"
    config = json.loads(config_path.read_text())
    del config["prediction_type"], config["timestep_spacing"]  # SD 1.5's config is older than both
    config_path.write_text(json.dumps({**config, "clip_sample": False}, indent=2) + "\n")

    rename(folder / "text_encoder/model.safetensors", lambda k: "text_model." + k.removeprefix("text_model."),
           {"text_model.embeddings.position_ids": torch.arange(16)[None]})
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old_name(k):
        for new, name in old.items():
            k = k.replace(f"attentions.0.{new}.", f"attentions.0.{name}.")
        return k

    rename(folder / "vae/diffusion_pytorch_model.safetensors", old_name)


def make_sd2(folder):
    """As SD 2.x: v prediction, linear projections, heads per block, erf GELU, "!" as padding, tokenizer as vocab +
    merges only; UNet in float16 shards, text encoder in bfloat16 under the names of transformers 5."""
    tokens = write_tokenizer(folder / "tokenizer", model_max_length=16, tokenizer_json=False, pad="!")
    text_encoder = randomize(CLIPTextModel(text_config(hidden_act="gelu", num_attention_heads=4, **tokens)), 21)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 24, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=[2, 4, 4],
        norm_num_groups=4,
        cross_attention_dim=24,
        use_linear_projection=True,
    )
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=(12, 12),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=3,
        sample_size=32,
        scaling_factor=0.25,
    )
    scheduler = DDIMScheduler(**scheduler_config(clip_sample=False, prediction_type="v_prediction"))
    save(
        folder,
        text_encoder.to(torch.bfloat16),
        randomize(unet, 22).to(torch.float16),
        randomize(vae, 23),
        scheduler,
        unet_shard="160KB",
    )


def save(folder, text_encoder, unet, vae, scheduler, unet_shard="10GB"):
    text_encoder.save_pretrained(folder / "text_encoder")
    unet.save_pretrained(folder / "unet", max_shard_size=unet_shard)
    vae.save_pretrained(folder / "vae")
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for path in folder.rglob("config.json"):  # do not keep where it was made
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2) + "\n")


def rename(path, new_name, extra=None):
    save_file({**{new_name(k): v for k, v in load_file(path).items()}, **(extra or {})}, path, {"format": "pt"})


# --- references ------------------------------------------------------------------------------------------------------

CAPTIONS = ["a teapot", "a photo of a striped teapot on grass"]
# (name, rows, prefix_bias, strength); the effective bias is prefix_bias + ln(strength)
PREFIX_CASES = [("n1_b0", 1, 0.0, 1.0), ("n1_b1", 1, 1.0, 1.0), ("n3_b0", 3, 0.0, 1.0), ("n3_b1", 3, 1.0, 1.0), ("n3_b1_s04", 3, 1.0, 0.4)]
GRADIENT_CASES = [("n1_b0", 1, 0.0), ("n3_b1", 3, 1.0)]
TRAIN_CASES = [("train", 1, 0.0, False), ("train_masked", 3, 1.0, True)]  # name, rows, prefix_bias, masked loss
DDIM_STEPS, OTHER_STEPS, GUIDANCE, TRAIN_STEPS = 10, 3, 7.5, 5


def give_inputs(inputs, seed, dtype):
    """Random inputs by name, the same in every dtype, kept in `inputs`."""

    def give(name, k, *shape):
        inputs[name] = randn(seed * 1000 + k, *shape)
        return inputs[name].to(dtype)

    return give


def references(folder, seed, dtype):
    """Every reference tensor of one pipeline folder, computed in dtype from the very same inputs."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    te, unet, vae = pipe.text_encoder.to(dtype), pipe.unet.to(dtype), pipe.vae.to(dtype)
    for m in (te, unet, vae):
        m.eval().requires_grad_(False)
    ddim = DDIMScheduler.from_config(pipe.scheduler.config)
    d, layers = te.config.hidden_size, range(te.config.num_hidden_layers - LAST_LAYERS, te.config.num_hidden_layers)
    c, size = unet.config.in_channels, unet.config.sample_size
    out, inputs = {}, {}
    give = give_inputs(inputs, seed, dtype)

    def tokenize(texts):
        return pipe.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    # text encoder
    ids = inputs["text.ids"] = tokenize(CAPTIONS)
    uncond = tokenize([""])
    out["text.plain"] = te(ids).last_hidden_state
    assert (text_forward(te, ids) - out["text.plain"]).norm() / out["text.plain"].norm() < 3e-7
    prefixes = {
        n: {i: tuple(give(f"prefix.n{n}.{kv}.{i}", 10 * n + 2 * i + (kv == "v"), n, d) for kv in "kv") for i in layers}
        for n in (1, 3)
    }
    for name, n, bias, strength in PREFIX_CASES:
        out[f"text.{name}"] = text_forward(te, ids, prefixes[n], bias + math.log(strength))

    # the class word's own keys and values, "a teapot"
    word = len(pipe.tokenizer("teapot", add_special_tokens=False).input_ids)
    position = 1 + 1 + word - 1  # start, "a", then the word's last token
    for i, (k, v) in class_word_rows(te, ids[:1], position, 2).items():
        out[f"init.k.{i}"], out[f"init.v.{i}"] = k, v

    # UNet: per-sample timesteps, not square
    t = inputs["unet.timesteps"] = torch.tensor([17, 981])
    context = give("unet.context", 102, 2, ids.shape[1], d)
    out["unet.out"] = unet(give("unet.latents", 100, 2, c, size, size + 4), t, context).sample

    # gradient through UNet and text encoder
    x, target = give("grad.latents", 110, 2, c, size, size), give("grad.target", 111, 2, c, size, size)
    for name, n, bias in GRADIENT_CASES:
        rows = {i: tuple(r.clone().requires_grad_() for r in kv) for i, kv in prefixes[n].items()}
        loss = F.mse_loss(unet(x, t, text_forward(te, ids, rows, bias)).sample, target)
        loss.backward()
        out[f"grad.{name}.loss"] = loss.detach()[None]
        for i, (k, v) in rows.items():
            out[f"grad.{name}.k.{i}"], out[f"grad.{name}.v.{i}"] = k.grad, v.grad

    # VAE
    posterior = vae.encode(give("vae.pixels", 120, 2, 3, 32, 40).clamp(-1, 1)).latent_dist
    out["vae.mean"], out["vae.std"], out["vae.logvar"] = posterior.mean, posterior.std, posterior.logvar
    out["vae.decoded"] = vae.decode(give("vae.latents", 121, 2, c, size, size + 2)).sample

    # one guided picture, eta 0; the unconditional branch reads no prefix
    ddim.set_timesteps(DDIM_STEPS)
    x = give("ddim.latents", 130, 2, c, size, size)
    context = torch.cat([text_forward(te, uncond.expand(2, -1)), text_forward(te, ids, prefixes[1], 0.0)])
    inputs["ddim.uncond_ids"] = uncond
    for i, step in enumerate(ddim.timesteps):
        e_uncond, e_text = unet(torch.cat([x, x]), step, context).sample.chunk(2)
        x = ddim.step(e_uncond + GUIDANCE * (e_text - e_uncond), step, x).prev_sample
        if i == 0:
            out["ddim.after_one_step"] = x
    out["ddim.final_latents"] = x
    out["ddim.picture"] = vae.decode(x / vae.config.scaling_factor).sample

    # the same weights taken to predict the other thing, guided, a few steps
    v = ddim.config.prediction_type == "v_prediction"
    other = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="epsilon" if v else "v_prediction")
    other.set_timesteps(OTHER_STEPS)
    x = inputs["ddim.latents"].to(dtype)
    for step in other.timesteps:
        e_uncond, e_text = unet(torch.cat([x, x]), step, context).sample.chunk(2)
        x = other.step(e_uncond + GUIDANCE * (e_text - e_uncond), step, x).prev_sample
    out["ddim.other.final_latents"] = x

    # the scheduler alone, eta 0.7, with given model outputs and noises, for both kinds of prediction
    for kind in ("epsilon", "v_prediction"):
        s = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type=kind)
        s.set_timesteps(DDIM_STEPS)
        x = give("eta.latents", 140, 2, c, 4, 4)
        outputs, noises = give("eta.outputs", 141, DDIM_STEPS, 2, c, 4, 4), give("eta.noises", 142, DDIM_STEPS, 2, c, 4, 4)
        trajectory = []
        for i, step in enumerate(s.timesteps):
            x = s.step(outputs[i], step, x, eta=0.7, variance_noise=noises[i]).prev_sample
            trajectory.append(x)
        out[f"eta.{kind}"] = torch.stack(trajectory)

    # forward process, per-sample timesteps
    ddpm = DDPMScheduler.from_config(pipe.scheduler.config)
    ts = inputs["noise.timesteps"] = torch.tensor([0, 1, 250, 499, 750, 999])
    x, e = give("noise.latents", 150, 6, c, 4, 4), give("noise.noise", 151, 6, c, 4, 4)
    out["noise.noisy"], out["noise.velocity"] = ddpm.add_noise(x, e, ts), ddpm.get_velocity(x, e, ts)
    out["noise.alphas_cumprod"] = ddpm.alphas_cumprod

    # five steps of training, both samples of the batch with the caption "a teapot"
    latents, noise = give("train.latents", 160, TRAIN_STEPS, 2, c, size, size), give("train.noise", 161, TRAIN_STEPS, 2, c, size, size)
    ts = inputs["train.timesteps"] = torch.randint(0, 1000, (TRAIN_STEPS, 2), generator=torch.Generator().manual_seed(seed))
    masks = give("train.masks", 162, TRAIN_STEPS, 2, 1, size, size).clamp(0, 1)
    inputs["train.masks"] = masks.float()
    for name, n, bias, masked in TRAIN_CASES:
        rows = {i: tuple(r.clone().requires_grad_() for r in kv) for i, kv in prefixes[n].items()}
        params = [r for kv in rows.values() for r in kv]
        optimizer = torch.optim.AdamW(params, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
        losses = []
        for step in range(TRAIN_STEPS):
            noisy = ddpm.add_noise(latents[step], noise[step], ts[step])
            v = ddpm.config.prediction_type == "v_prediction"
            target = ddpm.get_velocity(latents[step], noise[step], ts[step]) if v else noise[step]
            pred = unet(noisy, ts[step], text_forward(te, ids[:1].expand(2, -1), rows, bias)).sample
            loss = noise_loss(pred, target, masks[step] if masked else None)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            for i, (k, v) in rows.items():
                out[f"{name}.{step + 1}.k.{i}"], out[f"{name}.{step + 1}.v.{i}"] = k.detach().clone(), v.detach().clone()
        out[f"{name}.losses"] = torch.stack(losses)

    scalars = {
        "captions": CAPTIONS,
        "class_word": "teapot",
        "class_word_position": position,
        "layers": list(layers),
        "prefix_cases": [dict(zip(("name", "n", "prefix_bias", "strength"), case)) for case in PREFIX_CASES],
        "gradient_cases": [dict(zip(("name", "n", "prefix_bias"), case)) for case in GRADIENT_CASES],
        "ddim": {"steps": DDIM_STEPS, "other_steps": OTHER_STEPS, "guidance_scale": GUIDANCE, "eta": 0.7},
        "ddim_timesteps": {n: schedule(ddim, n) for n in (1, 7, 10, 30, 50)},
        "prediction_type": ddim.config.prediction_type,
        "scaling_factor": vae.config.scaling_factor,
        "train": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "steps": TRAIN_STEPS},
        "train_cases": [dict(zip(("name", "n", "prefix_bias", "masked"), case)) for case in TRAIN_CASES],
        "tokenizer": [{"text": s, "ids": tokenize([s])[0].tolist()} for s in TRICKY],
    }
    return out, inputs, scalars


def schedule(ddim, steps):
    ddim.set_timesteps(steps)
    return ddim.timesteps.tolist()


def write_references(folder, seed):
    out, inputs, scalars = references(folder, seed, torch.float32)
    exact, _, _ = references(folder, seed, torch.float64)
    scalars["rounding"] = {k: float(f"{relative(v, exact[k]):.1e}") for k, v in out.items()}
    tensors = {k: v.to(torch.int64 if v.dtype == torch.int64 else torch.float32).contiguous() for k, v in {**inputs, **out}.items()}
    save_file(tensors, folder / "reference.safetensors")
    (folder / "reference.json").write_text(json.dumps(scalars, indent=1, ensure_ascii=False) + "\n")
    worst = sorted(scalars["rounding"].items(), key=lambda kv: -kv[1])[:6]
    print(folder.name, "float32 against float64, worst:", worst)
    print("  losses", out["train.losses"].tolist(), "picture rms", float(out["ddim.picture"].square().mean().sqrt()),
          "latents rms", float(out["ddim.final_latents"].square().mean().sqrt()))


def relative(a, b):
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm())


# --- CLIP for the scores ----------------------------------------------------------------------------------------------


def make_clip(folder):
    """A CLIPModel folder, odd-sized pictures, and their pixels, image and text embeddings."""
    tokens = write_tokenizer(folder, model_max_length=16, tokenizer_json=True)
    config = CLIPConfig(
        text_config=text_config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu", projection_dim=20, **tokens).to_dict(),
        vision_config={"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": 32,
                       "patch_size": 8, "hidden_act": "quick_gelu", "projection_dim": 20},
        projection_dim=20,
    )
    model = randomize(CLIPModel(config), 31)
    model.save_pretrained(folder)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for i, (name, mode, size) in enumerate([("tall", "RGB", (37, 53)), ("wide", "RGB", (101, 48)), ("small", "RGB", (19, 23)),
                                            ("grey", "L", (45, 32)), ("alpha", "RGBA", (40, 41)), ("exact", "RGB", (32, 32))]):
        draw_picture(i, mode, size).save(images / f"{name}.png")
    names = sorted(p.name for p in images.iterdir())
    opened = [Image.open(images / n) for n in names]
    pixels = processor(opened, return_tensors="pt")["pixel_values"]
    raw = processor(opened, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    texts = ["a teapot", "", "a photo of a striped teapot on grass", "two teapots and a cat in the snow at night, zigzag, yellow"]
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    out = {"pixel_values": pixels, "pixels": raw.to(torch.uint8), "text_ids": ids}
    rounding = {}
    for dtype in (torch.float64, torch.float32):
        m = model.to(dtype)
        o = m(input_ids=ids, pixel_values=pixels.to(dtype))
        for k in ("image_embeds", "text_embeds"):
            if dtype == torch.float32:
                rounding[k] = float(f"{relative(o[k], out[k]):.1e}")
            out[k] = o[k]
    save_file({k: v.contiguous() for k, v in out.items()}, folder / "reference.safetensors")
    (folder / "reference.json").write_text(json.dumps({"images": names, "texts": texts, "rounding": rounding}, indent=1) + "\n")
    print(folder.name, rounding)


def draw_picture(seed, mode, size):
    """Noise under hard-edged shapes: what resampling gets wrong shows."""
    w, h = size
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (h, w, 4), dtype=np.uint8), "RGBA")
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x0, x1 = sorted(rng.integers(0, w, 2).tolist())
        y0, y1 = sorted(rng.integers(0, h, 2).tolist())
        draw.rectangle([x0, y0, x1, y1], fill=tuple(rng.integers(0, 256, 4).tolist()))
    return image.convert(mode)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "fixtures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.set_verbosity_error()
    for name, make, seed in (("tiny_sd1", make_sd1, 1), ("tiny_sd2", make_sd2, 2), ("tiny_clip", make_clip, None)):
        folder = args.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        if seed is not None:
            write_references(folder, seed)


if __name__ == "__main__":
    main()
