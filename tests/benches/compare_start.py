"""Time from the command to the first training step, in diffusers and in catbench, in turn, in one run.

    pip install -r tests/parity/requirements.txt          # torch, diffusers, transformers, pillow
    cargo build --release
    python tests/benches/compare_start.py --model SD15

Both begin with one photo and a diffusers folder, and get to where the first step would begin: interpreter or daemon and
queue, model files read, the photo encoded (without flips, so once), the text's hidden states cached. One more round comes
first, which fills the page cache. Printed: the seconds of each, and the ratio of the best.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def torch_start(model, photo, threads):
    """All that a training script of diffusers does before its first step."""
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline

    torch.set_num_threads(threads)
    pipeline = StableDiffusionPipeline.from_pretrained(model, safety_checker=None, dtype=torch.float32)
    scheduler = DDPMScheduler.from_pretrained(model / "scheduler")
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False)
    size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    pixels = np.asarray(Image.open(photo).convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    pixels = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    ids = pipeline.tokenizer(["a teapot"], padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist.sample() * pipeline.vae.config.scaling_factor
        pipeline.text_encoder(ids)
    scheduler.add_noise(latents, torch.randn_like(latents), torch.tensor([500]))


def catbench_start(binary, home, env):
    """Seconds from the command to the beginning of the first step."""
    began = datetime.now(timezone.utc)
    command = [binary, "train", "thing", "--steps", "1", "--batch-size", "1"]
    command += ["--flip-probability", "0", "--validate-every", "0", "--sample-every", "0", "--json"]
    env = {**env, "CATBENCH_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, env=env, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    events = [json.loads(line) for line in open(Path(json.loads(done.stdout)["path"]) / "events.jsonl")]
    step = next(event for event in events if event["type"] == "step")
    return (datetime.fromisoformat(step["time"][:26] + "+00:00") - began).total_seconds() - step["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "workspaces/demo/base_model", help="a diffusers folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--binary", type=Path, help="the built catbench")
    parser.add_argument("--photo", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.photo:
        return torch_start(args.model, args.photo, args.threads)

    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = args.binary or target / "release/catbench"
    env = {**os.environ, "RAYON_NUM_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1"}
    seconds = {"diffusers": [], "catbench": []}
    with tempfile.TemporaryDirectory() as home:
        concept = Path(home) / "thing"
        (concept / "images").mkdir(parents=True)
        photo = concept / "images" / "photo.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)).save(photo)
        (concept / "concept.toml").write_text(f'name = "thing"\nclass_word = "teapot"\nbase_model = "{args.model.resolve()}"\n')
        for turn in range(args.rounds + 1):
            began = time.perf_counter()
            subprocess.run([sys.executable, __file__, "--photo", photo, "--model", args.model, "--threads", str(args.threads)], env=env, check=True, stderr=subprocess.DEVNULL)
            times = {"diffusers": time.perf_counter() - began, "catbench": catbench_start(binary, home, env)}
            for name, value in times.items():
                print(f"{f'round {turn}' if turn else 'warm-up'} {name:9} {value:6.2f} s")
                if turn:
                    seconds[name].append(value)
        subprocess.run([binary, "daemon", "stop"], env={**env, "CATBENCH_HOME": home}, check=True, stdout=subprocess.DEVNULL)
    best = {name: min(values) for name, values in seconds.items()}
    print(f"best diffusers {best['diffusers']:.2f} s, catbench {best['catbench']:.2f} s, ratio {best['catbench'] / best['diffusers']:.2f}")


if __name__ == "__main__":
    main()
