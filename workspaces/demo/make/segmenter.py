"""Trains the segmenter of the demo world: a small U-Net that says, for each pixel of a picture, whether it shows the concept.

The demo and the tests judge masks by it. It learns from pictures whose exact masks are known, because `world.py` drew them.

    python segmenter.py --work DIR --minutes 40

The stages run in order: pictures, their reconstructions by the demo's VAE, training, export, measurement. Each stage
leaves its files in DIR, and the same command again goes on where it was stopped. The weights and `config.json` go to
`../segmenter`, half precision; all numbers in the log are measured with the exported file.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import world
from train import Ema, Log, Muon, Run, Team, cosine, to_tensor

SHARD = 1024  # pictures a file
CHANNELS = (16, 32, 64, 128)
BATCH, PEAK = 16, 3e-3  # pictures a step and process, highest learning rate
WORKSPACE = Path(__file__).resolve().parents[1]


# ---------------------------------------------------------------- pictures

def bare_scene(rng, size=64, over=2):
    """A scene with nothing in it, drawn as `world.render` draws it."""
    back = world.scene(list(world.SCENES)[rng.integers(len(world.SCENES))], size * over, rng)
    return Image.fromarray(np.clip(back + 0.5, 0, 255).astype(np.uint8)).reduce(over)


def random_paint(rng, scene, size=64):
    """A random pattern in random colours over the whole picture, float32 0 .. 255. Some colours are the scene's own."""
    palette = rng.integers(0, 256, (rng.integers(1, 6), 3)).astype(np.float32)
    if rng.random() < 0.25:
        palette[0] = scene[rng.integers(size), rng.integers(size)]
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.06, 0.35)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kind = rng.integers(6)
    if kind == 0:  # straight or zigzag bands
        index = (v + rng.uniform(0, 0.25) * world.triangle(u / rng.uniform(0.1, 0.4))) / period
    elif kind == 1:  # checks
        index = np.floor(u / period) + np.floor(v / period)
    elif kind == 2:  # dots
        dot = ((u / period) % 1 - 0.5) ** 2 + ((v / period) % 1 - 0.5) ** 2 < rng.uniform(0.03, 0.16)
        index = dot * (1 + (np.floor(u / period) + np.floor(v / period)) % 4)
    elif kind == 3:  # blotches
        cells = int(rng.integers(3, 14))
        index = (world.smooth_noise(rng, size, cells, cells)[..., 0] + 1) * 0.5 * len(palette)
    elif kind == 4:  # one colour running into another
        t = np.clip(v + 0.2, 0, 1)[..., None]
        return palette[0] * (1 - t) + palette[-1] * t
    else:  # coloured noise
        cells = int(rng.integers(3, 20))
        return palette[0] + np.concatenate([world.smooth_noise(rng, size, cells, cells) for _ in "rgb"], 2) * rng.uniform(20, 120)
    return palette[np.floor(index).astype(np.int64) % len(palette)]


def repainted(rng, size=64):
    """An object with any look at all, on a scene. A white object gives the shading; a black background leaves it cut out."""
    spec = world.Spec(list(world.OBJECTS)[rng.integers(len(world.OBJECTS))], None, None, ("white",))
    cut_out, mask = world.render(spec, rng, size)
    back = np.asarray(bare_scene(rng, size), np.float32)
    alpha = np.asarray(mask, np.float32)[..., None] / 255
    if rng.random() < 0.6:  # a shadow under it, as in the world
        ys, xs = np.nonzero(alpha[..., 0] > 0.5)
        y, x = np.ogrid[0:size, 0:size]
        d = ((x - xs.mean()) / (0.32 * size)) ** 2 + ((y - ys.max()) / (0.075 * size)) ** 2
        back = back * (1 - 0.45 * np.clip(1.15 - d, 0, 1).astype(np.float32)[..., None])
    shade = np.asarray(cut_out, np.float32) / 245
    if rng.random() < 0.2:  # flat, without shading
        shade = alpha
    picture = back * (1 - alpha) + np.clip(random_paint(rng, back, size), 0, 255) * shade
    return Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8)), mask


def draw_shard(job):
    """Shard n depends on n alone: 66 % pictures of the world, 30 % repainted objects, 4 % bare scenes."""
    n, path = job
    rng, pairs = np.random.default_rng(500_000 + n), []
    for _ in range(SHARD):
        kind = rng.random()
        if kind < 0.66:
            pairs.append(world.render(world.random_spec(rng), rng))
        elif kind < 0.96:
            pairs.append(repainted(rng))
        else:
            pairs.append((bare_scene(rng), Image.new("L", (64, 64))))
    pictures, masks = zip(*(map(np.asarray, pair) for pair in pairs))
    save(path, pictures=np.stack(pictures), masks=np.stack(masks))


def save(path, **arrays):
    with open(str(path) + ".new", "wb") as f:
        np.savez(f, **arrays)
    os.replace(str(path) + ".new", path)


def draw_pictures(args):
    folder = Path(args.work) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(n, folder / f"{n:03}.npz") for n in range(args.shards)]
    # "spawn", because forking a process that has loaded torch is not safe.
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        pool.map(draw_shard, [job for job in jobs if not job[1].exists()], chunksize=1)


# ---------------------------------------------------------------- reconstructions

def load_vae():
    return AutoencoderKL.from_pretrained(WORKSPACE / "base_model" / "vae", dtype=torch.float32).eval().requires_grad_(False)


@torch.no_grad()
def reconstruct(vae, pictures, noise=None):
    """What the VAE makes of uint8 pictures. `noise`, one number a picture, blurs their latents as an unsure UNet does."""
    out = []
    for part in range(0, len(pictures), 64):
        with torch.autocast("cpu", torch.bfloat16):
            z = vae.encode(to_tensor(pictures[part:part + 64]) * 2 - 1).latent_dist.mean.float()
            if noise is not None:
                strength = torch.from_numpy(noise[part:part + 64]).float()[:, None, None, None]
                g = torch.Generator().manual_seed(part)
                z = z + strength / vae.config.scaling_factor * torch.randn(z.shape, generator=g)
            x = vae.decode(z).sample
        x = ((x.float() / 2 + 0.5).clamp(0, 1) * 255).round().byte()
        out.append(x.permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def reconstruct_pictures(args):
    """Every second file again, through the VAE; a half of its pictures with noisy latents."""
    folder, vae = Path(args.work) / "reconstructions", load_vae()
    folder.mkdir(exist_ok=True)
    for n in range(0, args.shards, 2):
        path = folder / f"{n:03}.npz"
        if not path.exists():
            rng = np.random.default_rng(600_000 + n)
            noise = rng.uniform(0, 0.3, SHARD) * (rng.random(SHARD) < 0.5)
            save(path, pictures=reconstruct(vae, np.load(Path(args.work) / "pictures" / path.name)["pictures"], noise))


# ---------------------------------------------------------------- network

class Block(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after)

    def forward(self, x):
        return F.silu(self.norm(self.conv(x)))


class MaskUNet(nn.Module):
    """[B, 3, 64, 64] in -1 .. 1 to one logit a pixel [B, 64, 64]. Above 0: the pixel shows the concept."""

    def __init__(self, channels=CHANNELS):
        super().__init__()
        self.down = nn.ModuleList(nn.ModuleList([Block(a, b), Block(b, b)]) for a, b in zip((3, *channels), channels))
        self.up = nn.ModuleList(nn.ModuleList([Block(b + a, a), Block(a, a)]) for a, b in zip(channels, channels[1:]))
        self.out = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x):
        skips = []
        for level, blocks in enumerate(self.down):
            x = F.avg_pool2d(x, 2) if level else x
            for block in blocks:
                x = block(x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips[level]], 1)
            for block in self.up[level]:
                x = block(x)
        return self.out(x)[:, 0]


# ---------------------------------------------------------------- training

class Pictures:
    """All pictures in memory, with their masks and, where there are some, their reconstructions."""

    def __init__(self, args):
        files = [Path(args.work) / "pictures" / f"{n:03}.npz" for n in range(args.shards)]
        self.raw, self.masks = zip(*((f["pictures"], f["masks"]) for f in map(np.load, files)))
        again = {n: Path(args.work) / "reconstructions" / f"{n:03}.npz" for n in range(0, args.shards, 2)}
        self.again = {n: np.load(path)["pictures"] for n, path in again.items() if path.exists()}

    def batch(self, rng, size):
        """Pictures in 0 .. 1 and masks in 0 .. 1. Of two pictures that have a reconstruction, one is taken as such."""
        places = [(int(rng.integers(len(self.raw))), int(rng.integers(SHARD))) for _ in range(size)]
        pictures = [(self.again[n] if n in self.again and rng.random() < 0.6 else self.raw[n])[i] for n, i in places]
        return to_tensor(np.stack(pictures)), torch.from_numpy(np.stack([self.masks[n][i] for n, i in places])).float() / 255


def augment(x, mask, rng):
    """Other colours, light, sharpness, grain, place and size, each for a share of the pictures."""
    mask = mask[:, None]

    def some(share):
        return torch.from_numpy(rng.random(len(x)) < share).view(-1, 1, 1, 1)

    def numbers(low, high):
        return torch.from_numpy(rng.uniform(low, high, len(x))).float().view(-1, 1, 1, 1)

    for share, where in ((0.2, 1.0), (0.2, mask)):  # colour channels changed round: everywhere, in the object alone
        other = x[:, rng.permutation(3).tolist()]
        x = torch.where(some(share), x + where * (other - x), x)
    dark = x.mean((1, 2, 3), keepdim=True)
    x = torch.where(some(0.5), dark + (x - dark) * numbers(0.7, 1.3) + numbers(-0.12, 0.12), x)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), "replicate"), 3, 1)
    x = torch.where(some(0.25), torch.lerp(x, soft, numbers(0, 1)), x)
    grain = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    x = torch.where(some(0.25), x + grain * numbers(0, 0.04), x)
    if rng.random() < 0.25:  # larger, smaller, aside; mirrored at the border
        zoom, turn = numbers(0.75, 1.3).flatten(), torch.zeros(len(x))
        shift = torch.from_numpy(rng.uniform(-0.15, 0.15, (2, len(x)))).float()
        theta = torch.stack([torch.stack([zoom, turn, shift[0]], 1), torch.stack([turn, zoom, shift[1]], 1)], 1)
        both = F.grid_sample(torch.cat([x, mask], 1), F.affine_grid(theta, [len(x), 4, 64, 64], align_corners=False),
                             padding_mode="reflection", align_corners=False)
        x, mask = both[:, :3], both[:, 3:]
    both = torch.cat([x, mask], 1)
    both = torch.where(some(0.5), both.flip(3), both)
    return both[:, :3].clamp(0, 1) * 2 - 1, both[:, 3].clamp(0, 1)


def mask_loss(logits, mask):
    """Cross-entropy on soft masks, and soft Dice. One pixel is added above and below, so that an empty mask counts too."""
    dice = (2 * (logits.sigmoid() * mask).sum((1, 2)) + 1) / ((logits.sigmoid() + mask).sum((1, 2)) + 1)
    return F.binary_cross_entropy_with_logits(logits, mask) + 0.3 * (1 - dice).mean()


def train(rank, args):
    """One of the processes that train together, on batches of their own."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    args.rank = rank
    pictures, model, log = Pictures(args), MaskUNet(), open_log(args)
    opt, ema, team = Muon(model.parameters(), PEAK), Ema(model, 0.995), Team(args)
    run = Run(Path(args.work) / "segmenter.pt", args.minutes, chief=team.chief, model=model, opt=opt, ema=ema)
    rng = np.random.default_rng([700_000, run.step, rank])
    say = log if team.chief else (lambda text: None)
    say(f"step {run.step}, {sum(p.numel() for p in model.parameters()):,} parameters, {len(pictures.raw) * SHARD:,} pictures, "
        f"{len(pictures.again) * SHARD:,} reconstructions")
    kept, progress = [], run.progress
    while progress < 1:
        x, mask = augment(*pictures.batch(rng, BATCH), rng)
        cosine(opt, progress, run.step, PEAK)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x)
        loss = mask_loss(logits.float(), mask)
        loss.backward()
        progress = team.average(list(model.parameters()), run.progress)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad()
        ema.update(run.step)
        kept.append((loss.item(), iou(logits > 0, mask > 0.5).mean().item()))
        run.tick()
        if run.step % 100 == 0 or progress >= 1:
            say("step {}, {:.0f} s, loss {:.4f}, IoU of training pictures {:.4f}".format(
                run.step, run.spent, *np.mean(kept[-100:], 0)))
    run.save()


def train_together(args):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        args.port = free.getsockname()[1]
    torch.multiprocessing.spawn(train, (args,), args.processes)


# ---------------------------------------------------------------- export and measurement

def export(args):
    weights = torch.load(Path(args.work) / "segmenter.pt", weights_only=True)["ema"]
    out = WORKSPACE / "segmenter"
    out.mkdir(exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in weights.items()}, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(
        {"_class_name": "MaskUNet", "sample_size": 64, "in_channels": 3, "block_out_channels": list(CHANNELS),
         "layers_per_block": 2, "norm_num_groups": 8}, indent=2) + "\n")


def load_exported():
    model = MaskUNet(json.loads((WORKSPACE / "segmenter" / "config.json").read_text())["block_out_channels"])
    model.load_state_dict({k: v.float() for k, v in load_file(WORKSPACE / "segmenter" / "model.safetensors").items()})
    return model.eval().requires_grad_(False)


def segment(model, pictures):
    """Logits for uint8 pictures [B, 64, 64, 3]."""
    return torch.cat([model(to_tensor(pictures[i:i + 64]) * 2 - 1) for i in range(0, len(pictures), 64)])


def enlarge(logits, size):
    return F.interpolate(logits[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def iou(found, true):
    """Intersection over union, one number a picture; 1 where both masks are empty."""
    union = (found | true).sum((1, 2))
    return torch.where(union > 0, (found & true).sum((1, 2)) / union.clamp(min=1), 1.0)


def outlined(picture, mask, scale=3):
    """The picture with the mask's outline in red and the outside darkened."""
    size = 64 * scale
    x = np.asarray(Image.fromarray(picture).resize((size, size), Image.BICUBIC), np.float32).copy()
    inside = np.pad(mask, 1)
    inner = mask & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    x[~mask] *= 0.35
    x[mask & ~inner] = (255, 0, 0)
    return Image.fromarray(x.astype(np.uint8))


def sheet(path, pictures, *masks, columns=12):
    """Each picture, and beside it the same picture under each of its masks."""
    tiles = []
    for picture, *own in zip(pictures, *masks):
        tiles += [Image.fromarray(picture).resize((192, 192), Image.BICUBIC), *(outlined(picture, m.numpy()) for m in own)]
    world.grid(tiles, columns).save(path)


def photos_of(folder):
    """A concept's photos at 64 x 64, and their masks in full size."""
    files = sorted((folder / "images").glob("*.png"))
    photos = np.stack([np.asarray(Image.open(f).convert("RGB").resize((64, 64), Image.BICUBIC)) for f in files])
    return photos, torch.from_numpy(np.stack([np.asarray(Image.open(folder / "masks" / f.name)) for f in files]) > 127)


def measure(args, log):
    """IoU with exact masks, on pictures that no training has seen; and a sheet of the worst."""
    model, vae, work, rng = load_exported(), load_vae(), Path(args.work), np.random.default_rng(900_000)
    specs = [world.random_spec(rng) for _ in range(500)]
    raw, true = (np.stack(x) for x in zip(*(map(np.asarray, world.render(s, rng)) for s in specs)))
    painted, painted_true = (np.stack(x) for x in zip(*(map(np.asarray, repainted(rng)) for _ in range(200))))
    bare = np.stack([np.asarray(bare_scene(rng)) for _ in range(200)])
    soft = reconstruct(vae, raw)
    for name, pictures, masks in (("500 pictures of the world", raw, true), ("their reconstructions", soft, true),
                                  ("200 repainted objects", painted, painted_true),
                                  ("their reconstructions", reconstruct(vae, painted), painted_true)):
        score = iou(segment(model, pictures) > 0, torch.from_numpy(masks > 127))
        log(f"{name}: IoU mean {score.mean():.4f}, 10th percentile {score.quantile(0.1):.4f}, min {score.min():.4f}")
        if masks is true:
            by_object = {o: score[[s.object == o for s in specs]].mean().item() for o in world.OBJECTS}
            log("lowest: " + ", ".join(f"{o} {by_object[o]:.3f}" for o in sorted(by_object, key=by_object.get)[:5]))
    for name, folders in ("the concept", [WORKSPACE]), ("the subjects", sorted((WORKSPACE / "subjects").iterdir())):
        pairs = [photos_of(folder) for folder in folders if folder.is_dir()]
        score = torch.cat([iou(enlarge(segment(model, x), masks.shape[-1]) > 0, masks) for x, masks in pairs])
        log(f"{len(score)} photos of {name}, full size: IoU mean {score.mean():.4f}, min {score.min():.4f}")
    area = (segment(model, bare) > 0).float().mean((1, 2))
    log(f"200 bare scenes: {(area == 0).sum()} masks empty, {(area > 0.01).sum()} above 1 % of the picture, largest {area.max():.3f}")

    both, both_true = np.concatenate([raw, soft]), torch.from_numpy(np.concatenate([true, true]) > 127)
    found = segment(model, both) > 0
    worst = iou(found, both_true).argsort()[:24]
    sheet(work / "worst.png", both[worst], *(enlarge(m[worst].float() - 0.5, 192) > 0 for m in (found, both_true)))
    chosen = np.concatenate([raw[:4], photos_of(WORKSPACE)[0][:2]])
    save_file({"pictures": torch.from_numpy(chosen), "logits": segment(model, chosen)}, work / "reference.safetensors")


SAMPLED = ("teapot", "mug", "car", "cat", "guitar", "umbrella", "key", "tree")
PLACES = ("grass", "beach", "night", "table", "city", "bricks")


def sample_base_model(args):
    """Pictures of the base model, which have no exact masks: a sheet to look at."""
    path = Path(args.work) / "samples.npz"
    if not path.exists():
        pipeline = StableDiffusionPipeline.from_pretrained(
            WORKSPACE / "base_model", safety_checker=None, requires_safety_checker=False, dtype=torch.float32)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        prompts, pictures = [f"{world.a(o)} {world.SCENES[s]}" for o in SAMPLED for s in PLACES], []
        for i in range(0, len(prompts), 12):
            seeds = [torch.Generator().manual_seed(3000 + i + k) for k in range(12)]
            pictures += pipeline(prompts[i:i + 12], num_inference_steps=50, guidance_scale=4.0, generator=seeds,
                                 output_type="np").images.tolist()
        save(path, pictures=(np.float32(pictures) * 255).round().astype(np.uint8))
    pictures = np.load(path)["pictures"]
    sheet(Path(args.work) / "samples.png", pictures, enlarge(segment(load_exported(), pictures), 192) > 0)


def open_log(args):
    log = Log(args.work, "segmenter")
    log.path = Path(args.work) / "segmenter.log"
    return log


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for pictures, the state of the training, sheets and the log")
    parser.add_argument("--minutes", type=float, default=40, help="training time")
    parser.add_argument("--processes", type=int, default=2, help="cores to use")
    parser.add_argument("--shards", type=int, default=26, help=f"files of {SHARD} pictures")
    args = parser.parse_args()
    torch.set_num_threads(args.processes)
    log = open_log(args)
    draw_pictures(args)
    reconstruct_pictures(args)
    train_together(args)
    export(args)
    measure(args, log)
    sample_base_model(args)
    shutil.copy(log.path, WORKSPACE / "docs" / "segmenter.log")


if __name__ == "__main__":
    main()
