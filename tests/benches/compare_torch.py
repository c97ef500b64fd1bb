"""Time one CatVersion training step in PyTorch + diffusers and in catbench, in turn, in one run.

    pip install -r tests/parity/requirements.txt          # torch, diffusers, transformers
    cargo build --release --example train_step
    python tests/benches/compare_torch.py                 # the demo model, batch 4, 2 threads
    python tests/benches/compare_torch.py --model SD15 --batch 1 --latents 64 --steps 1 --warm-up 1      # a real one
    python tests/benches/compare_torch.py --model SD15 --batch 1 --latents 64 --steps 1 --warm-up 1 --forward

Both do the same work: the text encoder's concatenated layers from a cached hidden state, the noisy latents, the UNet,
the mean squared error, the gradient to the residual embeddings alone (frozen weights need none), AdamW. Float32. With --forward, a guided forward pass of the
UNet instead: twice the batch, no gradient.
Each round runs one process of either, so heat and neighbours hit both; a process loads, takes a few steps to warm up,
then times each step. Printed: best and median step of all rounds, their ratios, and the peak memory of each process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def torch_steps(model, batch, size, steps, warm_up, threads, forward, device="cpu", dtype="float32", compiled=False):
    """Seconds of each of `steps` training steps, or forward passes, in PyTorch. On a graphics card, pictures lie channels last, and five
    steps are timed together, so that none waits for the one before."""
    import math

    import torch
    import torch.nn.functional as F
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    number = getattr(torch, dtype)
    on_card = device != "cpu"
    unet = UNet2DConditionModel.from_pretrained(model / "unet", dtype=number).requires_grad_(False).to(device)
    te = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=number).requires_grad_(False).to(device)
    if on_card:
        unet.to(memory_format=torch.channels_last)
    if compiled:
        unet.compile()
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    ddpm = DDPMScheduler.from_pretrained(model / "scheduler")
    velocity = ddpm.config.prediction_type == "v_prediction"
    c, size, d = unet.config.in_channels, size or unet.config.sample_size, te.config.hidden_size
    length = te.config.max_position_embeddings
    ids = tokenizer(["a teapot"], padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids.to(device)
    t = ids.shape[1]
    mask = torch.full((t, t), float("-inf"), dtype=number, device=device).triu(1)
    prefix_mask = torch.cat([torch.zeros(t, 1, dtype=number, device=device), mask], dim=1)
    layers = te.encoder.layers
    first = len(layers) - 3
    row = lambda: torch.randn(1, d, device=device, requires_grad=True)  # noqa: E731
    rows = [(row(), row()) for _ in layers[first:]]
    optimizer = torch.optim.AdamW([r for kv in rows for r in kv], lr=0.01)

    def heads(x, a):
        return x.view(len(x), -1, a.num_heads, a.head_dim).transpose(1, 2)

    with torch.no_grad():
        cached = te.embeddings(input_ids=ids)
        for layer in layers[:first]:
            cached = layer(cached, attention_mask=mask)

    def context():
        h = cached
        for layer, (k, v) in zip(layers[first:], rows):
            a, x = layer.self_attn, layer.layer_norm1(h)
            q = a.q_proj(x) / math.sqrt(a.head_dim)
            # What is learned is float32.
            k, v = torch.cat([k[None].to(number), a.k_proj(x)], 1), torch.cat([v[None].to(number), a.v_proj(x)], 1)
            p = F.softmax(heads(q, a) @ heads(k, a).transpose(-1, -2) + prefix_mask, dim=-1)
            h = h + a.out_proj((p @ heads(v, a)).transpose(1, 2).reshape(1, t, d))
            h = h + layer.mlp(layer.layer_norm2(h))
        return te.final_layer_norm(h).expand(batch, -1, -1)

    latents = torch.randn(batch, c, size, size, dtype=number, device=device)
    if on_card:
        latents = latents.to(memory_format=torch.channels_last)
    guided, half = torch.cat([context(), context()]).detach(), torch.tensor(500, device=device)

    def step():
        if forward:
            with torch.no_grad():
                return unet(torch.cat([latents, latents]), half, guided).sample
        noise, ts = torch.randn_like(latents), torch.randint(0, ddpm.config.num_train_timesteps, (batch,), device=device)
        target = ddpm.get_velocity(latents, noise, ts) if velocity else noise
        pred = unet(ddpm.add_noise(latents, noise, ts), ts, context()).sample
        optimizer.zero_grad()
        F.mse_loss(pred.float(), target.float()).backward()
        optimizer.step()

    at_once, seconds = 5 if on_card else 1, []
    for _ in range((warm_up + steps) // at_once):
        start = time.perf_counter()
        for _ in range(at_once):
            step()
        if on_card:
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / at_once)
    return seconds[warm_up // at_once:]


def measure(command, env):
    """Run a process that prints {"seconds": [...]} last; its step times and its peak resident memory in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{err}")
    return json.loads(out.splitlines()[-1])["seconds"], usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "workspaces/demo/base_model", help="a diffusers folder")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a process")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before those")
    parser.add_argument("--latents", type=int, help="height and width; the model's own without")
    parser.add_argument("--forward", action="store_true", help="a guided forward pass instead of a training step")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="in catbench, against PyTorch without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--binary", type=Path, help="the built train_step example")
    parser.add_argument("--side", choices=["torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps({"seconds": torch_steps(
            args.model, args.batch, args.latents, args.steps, args.warm_up, args.threads, args.forward)}))
        return

    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = args.binary or target / "release/examples/train_step"
    if not binary.exists():
        sys.exit(f"{binary} is not there: cargo build --release --example train_step")
    env = {**os.environ, "RAYON_NUM_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1"}
    # As a runner is started (src/sys.rs); PyTorch gets it too.
    env["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    shared = ["--model", args.model, "--batch", str(args.batch), "--steps", str(args.steps), "--warm-up", str(args.warm_up)]
    shared += ["--latents", str(args.latents)] * bool(args.latents) + ["--forward"] * args.forward
    commands = {
        "torch": [sys.executable, __file__, "--side", "torch", "--threads", str(args.threads), *shared],
        "catbench": [binary, *shared, *["--gradient-checkpointing"] * args.gradient_checkpointing],
    }
    seconds, peak = {name: [] for name in commands}, dict.fromkeys(commands, 0.0)
    for turn in range(args.rounds):
        for name, command in commands.items():
            times, memory = measure(command, env)
            seconds[name].append(times)
            peak[name] = max(peak[name], memory)
            print(f"round {turn + 1} {name:9} best {min(times) * 1e3:7.1f} ms  median {statistics.median(times) * 1e3:7.1f} ms", flush=True)
    best = {name: min(map(min, rounds)) for name, rounds in seconds.items()}
    median = {name: statistics.median(statistics.median(r) for r in rounds) for name, rounds in seconds.items()}
    for label, of in (("best", best), ("median", median)):
        print(f"{label:6} torch {of['torch'] * 1e3:.1f} ms, catbench {of['catbench'] * 1e3:.1f} ms, ratio {of['catbench'] / of['torch']:.2f}")
    print(f"peak   torch {peak['torch']:.0f} MiB, catbench {peak['catbench']:.0f} MiB, ratio {peak['catbench'] / peak['torch']:.2f}")


if __name__ == "__main__":
    main()
