"""Make tests/fixtures/samplers: what diffusers' samplers and torch's random numbers give.

    python tests/parity/samplers.py            # writes tests/fixtures/samplers
    python tests/parity/samplers.py --out DIR  # somewhere else, to compare

The tiny models are those of export.py, the pictures are of the demo base model; everything is in float32.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from diffusers.utils import logging
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent
# (our name, diffusers' class, what from_config is given besides the base model's config, Karras levels, eta)
SAMPLERS = [
    ("ddim", DDIMScheduler, {}, False, 0.0),
    ("ddim_eta", DDIMScheduler, {}, False, 0.7),
    ("pndm", PNDMScheduler, {"skip_prk_steps": True}, False, 0.0),
    ("euler", EulerDiscreteScheduler, {}, False, 0.0),
    ("euler_karras", EulerDiscreteScheduler, {}, True, 0.0),
    ("euler_ancestral", EulerAncestralDiscreteScheduler, {}, False, 0.0),
    ("dpmpp_2m", DPMSolverMultistepScheduler, {}, False, 0.0),
    ("dpmpp_2m_karras", DPMSolverMultistepScheduler, {}, True, 0.0),
    ("unipc", UniPCMultistepScheduler, {}, False, 0.0),
    ("unipc_karras", UniPCMultistepScheduler, {}, True, 0.0),
]
STEPS, GUIDANCE, SEEDS = (10, 25), 3.0, (3, 4)
PROMPTS = ["a teapot", "a photo of a striped teapot on grass"]
DRAWS = [3, 16, 5, 37, 64, 1, 2, 15, 17, 256]
RANDOM_SEEDS = [0, 7, 2**32 + 5]
SPACINGS = ["leading", "trailing", "linspace"]
# Pictures of the demo model: prompts, steps
DEMO_PROMPTS, DEMO_STEPS, DEMO_GUIDANCE = ["a red apple on grass", "a yellow star at night"], 20, 7.5


def scheduler(base, kind, more, karras):
    return kind.from_config(base, **more, **({"use_karras_sigmas": True} if karras else {}))


def generators():
    return [torch.Generator("cpu").manual_seed(seed) for seed in SEEDS]


def step(s, output, t, x, eta, noise):
    """One step, with the noise of a list of generators or given."""
    if isinstance(s, DDIMScheduler):
        more = {"eta": eta, "generator": noise} if isinstance(noise, list) else {"eta": eta, "variance_noise": noise}
        return s.step(output, t, x, **(more if eta > 0 else {})).prev_sample
    if isinstance(s, EulerAncestralDiscreteScheduler):
        return s.step(output, t, x, generator=noise).prev_sample
    return s.step(output, t, x).prev_sample


def tiny(name, out):
    """Guided latents of a tiny model by every sampler, from torch's noise."""
    pipe = StableDiffusionPipeline.from_pretrained(ROOT / "fixtures" / name, dtype=torch.float32)
    unet = pipe.unet.eval().requires_grad_(False)
    te = pipe.text_encoder.to(torch.float32)

    def encode(texts):
        return te(pipe.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids).last_hidden_state

    context = torch.cat([encode([""] * 2), encode(PROMPTS)])
    shape = (2, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    for label, kind, more, karras, eta in SAMPLERS:
        for steps in STEPS:
            s = scheduler(pipe.scheduler.config, kind, more, karras)
            s.set_timesteps(steps)
            g = generators()
            x = randn_tensor(shape, generator=g) * s.init_noise_sigma
            for t in s.timesteps:
                e_uncond, e_text = unet(s.scale_model_input(torch.cat([x, x]), t), t, context).sample.chunk(2)
                x = step(s, e_uncond + GUIDANCE * (e_text - e_uncond), t, x, eta, g)
            out[f"{name}.{label}.{steps}"] = x
            print(name, label, steps, float(x.square().mean().sqrt()))


def alone(out, scalars):
    """The samplers without a model, for every spacing and prediction: given outputs, given noise."""
    outputs = torch.randn(max(STEPS) + 1, 1, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    x0 = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    out["alone.outputs"], out["alone.latents"] = outputs, x0
    for spacing in SPACINGS:
        for prediction in ("epsilon", "v_prediction"):
            base = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
                    "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False,
                    "timestep_spacing": spacing, "prediction_type": prediction}
            for label, kind, more, karras, eta in SAMPLERS:
                for steps in STEPS:
                    s = scheduler(base, kind, more, karras)
                    s.set_timesteps(steps)
                    g = generators()[0]
                    x = x0 * s.init_noise_sigma
                    for i, t in enumerate(s.timesteps):
                        s.scale_model_input(x, t)
                        # The UNet's answer depends on what it is given.
                        x = step(s, outputs[i] + 0.1 * s.scale_model_input(x, t), t, x, eta, g if eta == 0 else [g])
                    name = f"alone.{spacing}.{prediction}.{label}.{steps}"
                    out[name] = x
                    scalars["timesteps"][f"{spacing}.{label}.{steps}"] = s.timesteps.double().tolist()


def demo(folder, scalars):
    """Whole pictures by diffusers' own pipeline, a generator a picture."""
    pipe = StableDiffusionPipeline.from_pretrained(ROOT.parent / "workspaces/demo/base_model", dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    base = pipe.scheduler.config
    for label, kind, more, karras, eta in SAMPLERS:
        pipe.scheduler = scheduler(base, kind, more, karras)
        images = pipe(DEMO_PROMPTS, num_inference_steps=DEMO_STEPS, guidance_scale=DEMO_GUIDANCE, eta=eta, generator=generators()).images
        for i, image in enumerate(images):
            image.save(folder / f"{label}-{i}.png", optimize=True)
    scalars["demo"] = {"prompts": DEMO_PROMPTS, "steps": DEMO_STEPS, "guidance_scale": DEMO_GUIDANCE}


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "fixtures/samplers")
    folder = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.set_verbosity_error()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    out = {}
    scalars = {"seeds": SEEDS, "steps": STEPS, "guidance_scale": GUIDANCE, "prompts": PROMPTS, "draws": DRAWS,
               "random_seeds": RANDOM_SEEDS, "spacings": SPACINGS, "timesteps": {},
               "samplers": [{"name": label, "karras": karras, "eta": eta} for label, _, _, karras, eta in SAMPLERS]}
    for seed in RANDOM_SEEDS:
        g = torch.Generator("cpu").manual_seed(seed)
        out[f"randn.{seed}"] = torch.cat([torch.randn(n, generator=g) for n in DRAWS])
    for name in ("tiny_sd1", "tiny_sd2"):
        tiny(name, out)
    alone(out, scalars)
    demo(folder, scalars)
    save_file({k: v.contiguous().float() for k, v in out.items()}, folder / "reference.safetensors")
    (folder / "reference.json").write_text(json.dumps(scalars) + "\n")


if __name__ == "__main__":
    main()
