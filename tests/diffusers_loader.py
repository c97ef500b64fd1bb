#!/usr/bin/env python3
"""Whether a concept learned here makes the same pictures in diffusers, on the demo model, and a word learned there the same here.

    cargo build && python3 tests/diffusers_loader.py [PROGRAM]       # trains a few steps, exports, compares
    python3 tests/diffusers_loader.py PROGRAM --fixtures             # writes tests/fixtures/diffusers, which tests/parity reads

Needs what tests/parity/requirements.txt lists. About two minutes. The bar is 2 of 255 on every number of every picture."""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from diffusers.utils import logging
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[1]
LOADER = "catversion_diffusers.py"
BAR = 2
PROMPTS = ["a {concept} on grass", "a red apple on grass", "two {concept} at night"]
SEED, STEPS, GUIDANCE = 11, 12, 5.0
# (our name, diffusers' class, strength, negative prompt, attention of the text encoder)
CASES = [
    ("ddim", DDIMScheduler, 1.0, "", "sdpa"),
    ("euler", EulerDiscreteScheduler, 0.5, "", "eager"),
    ("dpmpp_2m", DPMSolverMultistepScheduler, 1.7, "a {concept} in snow", "sdpa"),
]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", type=Path, nargs="?", default=ROOT / "target/debug/catbench")
parser.add_argument("--fixtures", action="store_true")
args = parser.parse_args()
torch.set_num_threads(1)
logging.set_verbosity_error()
logging.disable_progress_bar()
wrong = []


def check(what, right):
    print("ok  " if right else "NOT ", what)
    if not right:
        wrong.append(what)


def worst(ours, theirs):
    return max(int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max()) for a, b in zip(ours, theirs, strict=True))


with tempfile.TemporaryDirectory() as home:
    home = Path(home)
    shutil.copytree(ROOT / "workspaces/demo", home / "demo", ignore=shutil.ignore_patterns("runs", "samples", "make", "docs"))
    environment = {**os.environ, "CATBENCH_HOME": str(home)}
    program = args.program.resolve()

    def catbench(*words):
        made = subprocess.run([program, *words, "--json"], env=environment, capture_output=True, text=True)
        if made.returncode:
            raise SystemExit(made.stderr + made.stdout)
        return json.loads(made.stdout.splitlines()[-1])

    # Rows of two, of a bias of their own, in layers of choice: all that a file can say. The rate makes a few steps count.
    trained = catbench("train", "demo", "--steps", "20", "--learning-rate", "0.05", "--prefix-length", "2", "--prefix-bias", "0.5",
                       "--layers", "1,3", "--sample-every", "0", "--validate-every", "0")
    file = home / "there/demo.safetensors"
    file.parent.mkdir()
    catbench("concept", "export-diffusers", "demo", "--out", str(file))
    spec = importlib.util.spec_from_file_location("catversion_diffusers", file.with_name(LOADER))
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)

    def ours(sampler, strength=1.0, negative="", run=None):
        batch = catbench("sample", "demo", *(word for prompt in PROMPTS for word in ("--prompt", prompt)), "--noise", "torch",
                         "-n", "1", "--seed", str(SEED), "--steps", str(STEPS), "--guidance-scale", str(GUIDANCE),
                         "--sampler", sampler, "--strength", str(strength), "--negative-prompt", negative,
                         *(("--run", run) if run else ()))
        return [Image.open(path).convert("RGB") for path in sorted(Path(batch["path"]).glob("[0-9]*.png"))]

    def pipeline(kind, attention):
        pipe = StableDiffusionPipeline.from_pretrained(ROOT / "workspaces/demo/base_model", dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        pipe.text_encoder.set_attn_implementation(attention)
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
        return pipe

    def pictures(pipe, negative="", prompts=PROMPTS):
        noise = [torch.Generator("cpu").manual_seed(SEED) for _ in prompts]
        return pipe(prompts, negative_prompt=[negative] * len(prompts), num_inference_steps=STEPS, guidance_scale=GUIDANCE,
                    generator=noise).images

    plain = [prompt.replace("{concept}", "teapot") for prompt in PROMPTS]
    kept = []
    for sampler, kind, strength, negative, attention in CASES:
        pipe = pipeline(kind, attention)
        plain_negative = negative.replace("{concept}", "teapot")
        without = pictures(pipe, plain_negative, plain)
        with loader.load_catversion(pipe, file, strength=strength) as concept:
            theirs = pictures(pipe, negative)
            far = worst(ours(sampler, strength, negative), theirs)
            check(f"{sampler}, strength {strength}, {attention}: as ours, at most {far} of 255 apart", far <= BAR)
            check("  the concept changes its pictures", all(worst([theirs[i]], [without[i]]) > 20 for i in (0, 2)))
            check("  and no other", worst([theirs[1]], [without[1]]) == 0)
            concept.strength = 0
            check("  strength 0 is the plain pipeline", worst(pictures(pipe, negative), without) == 0)
        check("  unloaded, it is the plain pipeline", worst(pictures(pipe, plain_negative, plain), without) == 0)
        check("  and nothing of it is left", "encode_prompt" not in vars(pipe))
        kept.append(({"sampler": sampler, "strength": strength, "negative_prompt": negative}, theirs))

    pipe = pipeline(DDIMScheduler, "sdpa")
    with loader.load_catversion(pipe, file) as first, loader.load_catversion(pipe, file, placeholder="{other}"):
        both = pictures(pipe, prompts=["a {concept} on grass", "a {other} on grass", "a {concept} and a {other}"])
        # PyTorch may round the rows of one batch differently.
        far = worst([both[0]], [both[1]])
        check(f"two concepts by placeholders of their own, at most {far} of 255 apart", far <= BAR)
        first.unload()
        alone = pictures(pipe, prompts=["a {other} on grass", "a {other} on grass"])
        check("the one stays when the other goes", worst([alone[0]], [both[1]]) <= BAR)
        several = pipe("a {other} on grass", num_images_per_prompt=2, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
                       generator=[torch.Generator("cpu").manual_seed(SEED) for _ in range(2)]).images
        check("several pictures of a prompt", worst(several, alone) <= BAR)

    # The word of Textual Inversion, which diffusers loads by itself.
    for vectors in (1, 3):
        catbench("train", "demo", "--method", "textual_inversion", "--steps", "20", "--learning-rate", "0.05", "--batch-size", "2",
                 "--vectors", str(vectors), "--sample-every", "0", "--validate-every", "0")
        [exported] = catbench("concept", "export-diffusers", "demo", "--out", str(home / f"there/{vectors}-vectors/"))["files"]
        named = [prompt.replace("{concept}", "<demo>") for prompt in PROMPTS]
        pipe = pipeline(DDIMScheduler, "sdpa")
        without = pictures(pipe, prompts=plain)
        pipe.load_textual_inversion(exported)
        theirs = pictures(pipe, prompts=named)
        far = worst(ours("ddim"), theirs)
        check(f"a word of {vectors} loaded by load_textual_inversion: as ours, at most {far} of 255 apart", far <= BAR)
        check("  the word changes its pictures", all(worst([theirs[i]], [without[i]]) > 20 for i in (0, 2)))
        check("  and no other", worst([theirs[1]], [without[1]]) == 0)

        # Other vectors, as examples/textual_inversion of diffusers writes them.
        start = pipe.text_encoder.get_input_embeddings().weight.detach()
        other = {"<demo>": start[100:100 + vectors] * 0.5 + start[200:200 + vectors]}
        save_file(other, home / "there/learned_embeds.safetensors", metadata={"format": "pt"})
        torch.save(other, home / "there/learned_embeds.bin")
        for name in ("learned_embeds.safetensors", "learned_embeds.bin"):
            run = catbench("concept", "import-embedding", "demo", str(home / "there" / name))["run"]
            pipe = pipeline(DDIMScheduler, "sdpa")
            pipe.load_textual_inversion(str(home / "there" / name))
            theirs = pictures(pipe, prompts=named)
            far = worst(ours("ddim", run=run), theirs)
            check(f"  {name} imported: as diffusers has it, at most {far} of 255 apart", far <= BAR)
            check("    the word changes its pictures", all(worst([theirs[i]], [without[i]]) > 20 for i in (0, 2)))

    if args.fixtures and not wrong:
        out = ROOT / "tests/fixtures/diffusers"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        shutil.copy(sorted((Path(trained["path"]) / "checkpoints").glob("*.safetensors"))[-1], out / "checkpoint.safetensors")
        shutil.copy(file, out / "demo.safetensors")
        for case, theirs in kept:
            for i, picture in enumerate(theirs):
                picture.save(out / f"{case['sampler']}-{i}.png", optimize=True)
        loader_hash = hashlib.sha256(file.with_name(LOADER).read_bytes()).hexdigest()
        reference = {"prompts": PROMPTS, "seed": SEED, "steps": STEPS, "guidance_scale": GUIDANCE, "loader_sha256": loader_hash,
                     "cases": [case for case, _ in kept]}
        (out / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")
    subprocess.run([program, "daemon", "stop"], env=environment, capture_output=True)
sys.exit(1 if wrong else 0)
