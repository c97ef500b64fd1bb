"""Trains the demo base model from nothing on a CPU: data, tiny CLIP, its vision tower, VAE, latents, decoder, UNet, export,
evaluation.

    python train.py all --work DIR          everything in order; the same command again goes on where it was stopped
    python train.py unet --work DIR         one stage

Stages find each other's files in DIR. Each trains for a number of minutes (--minutes, else the table STAGES), and
saves its state every two. To train a finished stage on, rename its `clip.pt`, `vae.pt` or `unet.pt` to `*_start.pt`:
the next run starts from those weights, with a new budget.
"""

import argparse
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPConfig, CLIPModel

import concept as catversion
import world

SHARD = 2048  # pictures a file
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
LENGTH = 32
# In the order of `all`: minutes of training, peak learning rate, pictures a step and process.
STAGES = {
    "data": (), "clip": (30, 1e-3, 128), "vision": (45, 1.5e-3, 128), "vae": (75, 2e-3, 16), "latents": (), "decoder": (60, 1.5e-3, 16),
    "unet": (120, 2e-3, 64), "export": (), "evaluate": (), "concept": (),
}
GUIDANCE = 4.0
# CatVersion's settings for the demo, under the names of Catbench.
LEARNING = dict(steps=500, learning_rate=0.02, weight_decay=0.01, batch_size=4, prefix_length=1, prefix_bias=0.0,
                init="class_word", caption="a {class}", guidance_scale=GUIDANCE)
CONCEPT_SEED = 20231114  # of the demo concept's photos
SHARED = ("data", "vae", "latents", "decoder", "unet")  # several processes side by side; the others use threads


# ---------------------------------------------------------------- small helpers

class Log:
    """Lines to the screen and to DIR/log.txt, which goes into the repository's docs."""

    def __init__(self, work, stage):
        self.path, self.stage = Path(work) / "log.txt", stage
        Path(work).mkdir(parents=True, exist_ok=True)

    def __call__(self, text):
        line = f"{time.strftime('%H:%M:%S')} {self.stage}: {text}"
        print(line, flush=True)
        with open(self.path, "a") as f:
            f.write(line + "\n")


class Run:
    """A training budget in seconds or steps, and a state that survives a kill."""

    def __init__(self, path, minutes, every=120, chief=True, **parts):
        self.path, self.parts, self.every, self.chief = Path(path), parts, every, chief
        self.budget, self.spent, self.step, self.best = minutes * 60, 0.0, 0, None
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.spent, self.step = state["spent"], state["step"]
            for name, part in parts.items():
                part.load_state_dict(state[name])
        self.clock = self.saved = time.time()

    @property
    def progress(self):
        return min(1.0, self.spent / self.budget)

    def tick(self):
        """Counts one step; true while there is time left."""
        now = time.time()
        self.spent, self.clock, self.step = self.spent + now - self.clock, now, self.step + 1
        if now - self.saved > self.every or self.progress >= 1:
            self.save()
        return self.progress < 1

    def save(self):
        if not self.chief:
            return
        state = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({"spent": self.spent, "step": self.step, **state}, str(self.path) + ".new")
        os.replace(str(self.path) + ".new", self.path)
        self.saved = time.time()


class Ema(torch.nn.Module):
    """A running average of a model's weights: what is shipped."""

    def __init__(self, model, decay=0.999):
        super().__init__()
        self.decay, self.model = decay, model
        for name, p in model.named_parameters():
            self.register_buffer(name.replace(".", "/"), p.detach().clone())

    @torch.no_grad()
    def update(self, step):
        decay = min(self.decay, (1 + step) / (10 + step))
        mine = [getattr(self, n.replace(".", "/")) for n, _ in self.model.named_parameters()]
        torch._foreach_lerp_(mine, [p.detach() for p in self.model.parameters()], 1 - decay)

    def state_dict(self, *_, **__):
        return {n: getattr(self, n.replace(".", "/")) for n, _ in self.model.named_parameters()}

    def load_state_dict(self, state, *_, **__):
        for n, v in state.items():
            getattr(self, n.replace(".", "/")).copy_(v)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan 2024) for matrices and convolutions, with Adam's size of step; AdamW for all the rest."""

    def __init__(self, parameters, lr, momentum=0.95, betas=(0.9, 0.99), weight_decay=0.01):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lr, (b1, b2), alike = group["lr"], group["betas"], {}
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["step"], state["m"] = torch.tensor(0.0), torch.zeros_like(p)
                    if p.ndim < 2:
                        state["v"] = torch.zeros_like(p)
                state["step"] += 1
                if p.ndim >= 2:
                    alike.setdefault((len(p), p.numel()), []).append(p)
                    continue
                n = state["step"].item()
                state["m"].lerp_(p.grad, 1 - b1)
                state["v"].lerp_(p.grad.square(), 1 - b2)
                p.sub_(lr * (state["m"] / (1 - b1 ** n)) / ((state["v"] / (1 - b2 ** n)).sqrt() + 1e-8))
            for ps in alike.values():  # matrices of one shape together
                moments, gradients = [self.state[p]["m"] for p in ps], [p.grad for p in ps]
                torch._foreach_lerp_(moments, gradients, 1 - group["momentum"])
                u = torch.stack([x.flatten(1) for x in torch._foreach_lerp(gradients, moments, group["momentum"])])
                tall = u.shape[1] > u.shape[2]
                u = (u.mT if tall else u) / (u.norm(dim=(1, 2), keepdim=True) + 1e-7)
                u = u.bfloat16().contiguous()
                for _ in range(5):  # towards the nearest orthogonal matrices
                    a = u @ u.mT
                    u = torch.baddbmm(u, torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315), u, beta=3.4445)
                u = u.float().mT if tall else u.float()
                torch._foreach_mul_(ps, 1 - lr * group["weight_decay"])
                torch._foreach_add_(ps, [x.reshape(p.shape) for x, p in zip(u, ps)],
                                    alpha=-0.2 * lr * max(u.shape[1:]) ** 0.5)


def cosine(optimizer, progress, step, peak, floor=0.02, warm=100):
    lr = peak * min(1, (step + 1) / warm) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
    for group in optimizer.param_groups:
        group["lr"] = lr


class Team:
    """Processes with their own batches, which average their gradients."""

    def __init__(self, args):
        self.size, self.chief = args.processes, args.rank == 0
        if self.size > 1:
            torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=args.rank,
                                                 world_size=self.size)

    def average(self, parameters, progress):
        if self.size == 1:
            return progress
        flat = torch.cat([p.grad.flatten() for p in parameters] + [torch.tensor([progress])])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        for p, g in zip(parameters, flat[:-1].split([p.numel() for p in parameters])):
            p.grad.copy_(g.view_as(p))
        return flat[-1].item()


def warm_start(model, path, part):
    """Weights of an earlier run, where there are some."""
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True)[part])


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


# ---------------------------------------------------------------- data

def related(rng):
    """Four specs that differ in one respect, so that a contrastive batch has hard negatives."""
    base, kind = world.random_spec(rng), rng.integers(4)
    for _ in range(4):
        if kind == 0:  # another look
            yield world.random_spec(rng, object=base.object, scene=base.scene)
        elif kind == 1:  # another object
            yield world.random_spec(rng, scene=base.scene, pattern=base.pattern, colours=base.colours)
        elif kind == 2:  # another scene
            yield world.random_spec(rng, object=base.object, pattern=base.pattern, colours=base.colours)
        else:
            yield world.random_spec(rng)


def data(args):
    """Shards of pictures, masks and captions. Shard n depends on n alone."""
    folder = Path(args.work) / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(args.rank, args.shards, args.processes):
        path = folder / f"{n:03}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng(1000 + n)
        specs = [s for _ in range(SHARD // 4) for s in related(rng)]
        pictures, masks = zip(*(map(np.asarray, world.render(s, rng)) for s in specs))
        text = [[world.caption(s, rng), world.caption(world.Spec(s.object, None, s.pattern, s.colours), rng),
                 s.object, s.scene] for s in specs]
        with open(str(path) + ".new", "wb") as f:
            np.savez(f, pictures=np.stack(pictures), masks=np.stack(masks), text=json.dumps(text))
        os.rename(str(path) + ".new", path)


class Shards:
    """Pictures with what else a stage needs, in memory."""

    def __init__(self, work, masks=False, latents=False, limit=None):
        self.pictures, self.mask, self.text, self.z = [], [], [], []
        for path in sorted((Path(work) / "data").glob("*.npz"))[:limit]:
            shard = np.load(path)
            self.pictures.append(shard["pictures"])
            if masks:
                self.mask.append(shard["masks"])
                self.text.append(json.loads(str(shard["text"])))
            if latents:
                self.z.append(torch.from_numpy(np.load(Path(work) / "latents" / path.name)["z"]))

    def batch(self, rng, size):
        """Where to find a batch: groups of four related pictures."""
        s = [rng.integers(len(self.pictures)) for _ in range(size // 4)]
        g = rng.integers(SHARD // 4, size=size // 4) * 4
        return [(a, b + k) for a, b in zip(s, g) for k in range(4)]


def to_tensor(pictures):
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


# ---------------------------------------------------------------- tokenizer

def byte_symbols():
    """CLIP's printable stand-in for every byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {b: chr(b) for b in plain}, 0
    for b in range(256):
        if b not in table:
            table[b], extra = chr(256 + extra), extra + 1
    order = plain + [b for b in range(256) if b not in plain]
    return [table[b] for b in order]


def make_tokenizer(folder):
    """A CLIP tokenizer in which every word of the world is one token, and any other text is bytes."""
    words = {"a", "an", "photo", "picture", "of", "and", *world.OBJECTS, *world.COLOURS, *world.PATTERNS}
    words |= {w for s in world.SCENES.values() for w in s.split()}
    split = {w: [*w[:-1], w[-1] + "</w>"] for w in sorted(words)}
    merges = []
    while True:
        pairs = {}
        for parts in split.values():
            for pair in zip(parts, parts[1:]):
                pairs[pair] = pairs.get(pair, 0) + 1
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        for w, parts in split.items():
            out = []
            for p in parts:
                if out and (out[-1], p) == best:
                    out[-1] = out[-1] + p
                else:
                    out.append(p)
            split[w] = out
    symbols = byte_symbols()
    tokens = [*symbols, *(s + "</w>" for s in symbols), *map("".join, merges), BOS, EOS]
    vocab = {t: i for i, t in enumerate(tokens)}
    assert len(vocab) == len(tokens)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True,
         "add_prefix_space": False, "errors": "replace", **special}, indent=2) + "\n")

    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    t = Tokenizer(models.BPE(vocab, merges, continuing_subword_prefix="", end_of_word_suffix="</w>",
                             unk_token=EOS, fuse_unk=False))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                         normalizers.Lowercase()])
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.RobertaProcessing((EOS, vocab[EOS]), (BOS, vocab[BOS]),
                                                    trim_offsets=False, add_prefix_space=False)
    t.add_special_tokens([AddedToken(BOS, normalized=True), AddedToken(EOS, normalized=False)])
    t.save(str(folder / "tokenizer.json"))


def tokenizer(work):
    from tokenizers import Tokenizer
    folder = Path(work) / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        make_tokenizer(folder)
    t = Tokenizer.from_file(str(folder / "tokenizer.json"))
    eos = t.token_to_id(EOS)
    t.enable_truncation(LENGTH)
    t.enable_padding(length=LENGTH, pad_id=eos, pad_token=EOS)
    return lambda texts: torch.tensor([e.ids for e in t.encode_batch(list(texts))])


# ---------------------------------------------------------------- tiny CLIP

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def normalise(pictures):
    return (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def new_clip(work):
    tokenizer(work)
    vocab = len(json.loads((Path(work) / "tokenizer" / "vocab.json").read_text()))
    shared = dict(hidden_size=128, num_hidden_layers=6, num_attention_heads=4, hidden_act="quick_gelu",
                  projection_dim=128)
    model = CLIPModel(CLIPConfig(
        text_config=dict(shared, intermediate_size=256, vocab_size=vocab, max_position_embeddings=LENGTH,
                         bos_token_id=vocab - 2, eos_token_id=vocab - 1, pad_token_id=vocab - 1),
        vision_config=dict(shared, intermediate_size=512, image_size=64, patch_size=8),
        projection_dim=128))
    model.set_attn_implementation("eager")  # twice as fast backward as PyTorch's fused attention, on a CPU
    return model


def load_clip(work):
    """With the vision tower and projections of their own later training, where there is one."""
    model, later = new_clip(work), Path(work) / "vision.pt"
    path = later if later.exists() else Path(work) / "clip.pt"
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
    return model.eval().requires_grad_(False)


def text_hidden(clip, ids):
    return clip.text_model(ids).last_hidden_state


def augment(pictures, rng):
    """What the judge should not care about: brightness, a blur (a VAE's), a shift."""
    if rng.random() < 0.5:
        pictures = pictures * float(rng.uniform(0.9, 1.1)) + float(rng.uniform(-0.03, 0.03))
    if rng.random() < 0.3:
        w = float(rng.uniform(0.2, 0.7))
        pictures = (1 - w) * pictures + w * F.avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)
    if rng.random() < 0.5:
        pictures = torch.roll(pictures, (int(rng.integers(-3, 4)), int(rng.integers(-3, 4))), (2, 3))
    return pictures.clamp(0, 1)


def clip_pictures(shards, rng, size):
    """A batch's pictures, which of them are black around the object (as masked CLIP-I sees them), and their texts."""
    where = shards.batch(rng, size)
    pictures, texts = np.stack([shards.pictures[s][i] for s, i in where]), [shards.text[s][i] for s, i in where]
    masked = rng.random(size) < 0.25
    for k in np.flatnonzero(masked):
        s, i = where[k]
        pictures[k] = pictures[k] * (shards.mask[s][i][..., None] > 127)
    if rng.random() < 0.5:
        pictures = pictures[:, :, ::-1]
    return normalise(augment(to_tensor(pictures), rng)), masked, texts


def said(text):
    """A caption without its opening: wording does not matter."""
    return re.sub("^(a photo of |a picture of )?(an? )?", "", text)


def clip_batch(shards, rng, size, encode):
    pictures, masked, texts = clip_pictures(shards, rng, size)
    # Half the captions are silent about the look: "a teapot" must fit any teapot, or CLIP-T would punish every concept.
    # (The UNet never sees these: for it, a plain teapot is a natural one.)
    captions = [world.caption(world.Spec(name, None if m else place)) if rng.random() < 0.5 else bare if m else full
                for m, (full, bare, name, place) in zip(masked, texts)]
    # Pictures whose captions say the same are no negatives of each other.
    key = np.unique([said(c) for c in captions], return_inverse=True)[1]
    return pictures, encode(captions), torch.from_numpy(key[:, None] == key[None])


def clip(args):
    torch.manual_seed(1)
    work, log = Path(args.work), Log(args.work, "clip")
    model, encode = new_clip(work), tokenizer(work)
    warm_start(model, work / "clip_start.pt", "model")
    opt = torch.optim.AdamW(model.parameters(), args.lr, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    run = Run(work / "clip.pt", args.minutes, model=model, opt=opt)
    shards = Shards(work, masks=True)
    log(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {args.minutes:g} minutes")
    right, losses = [], []
    go, run.clock = run.progress < 1, time.time()
    while go:
        rng = np.random.default_rng((1, run.step))
        pictures, ids, same = clip_batch(shards, rng, args.batch, encode)
        cosine(opt, run.progress, run.step, args.lr)
        with autocast():
            out = model(input_ids=ids, pixel_values=pictures)
        logits = out.logits_per_image.float()
        target = same.float() / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad()
        model.logit_scale.data.clamp_(max=math.log(100))
        right.append(same.gather(1, logits.argmax(1, keepdim=True)).float().mean().item())
        losses.append(loss.item())
        go = run.tick()
        if run.step % 100 == 0 or not go:
            log(f"step {run.step}, {run.spent:.0f} s, loss {np.mean(losses[-100:]):.3f}, "
                f"in-batch accuracy of {args.batch} {np.mean(right[-100:]):.3f}")


# ---------------------------------------------------------------- CLIP's vision tower

def fits(texts, pictures):
    """[pictures, texts]: is the text true of the picture? Both as (look, object, scene); "" and None say nothing."""
    return torch.tensor([[name == own and look in ("", own_look) and place in (None, own_place)
                          for look, name, place in texts] for own_look, own, own_place in pictures])


class FrozenText:
    """Pooled texts of the frozen text tower, before the projection, kept by caption."""

    def __init__(self, model, encode):
        self.model, self.encode, self.known = model, encode, {}

    @torch.no_grad()
    def __call__(self, captions):
        new = [c for c in dict.fromkeys(captions) if c not in self.known]
        for part in (new[i:i + 256] for i in range(0, len(new), 256)):
            self.known.update(zip(part, self.model.text_model(self.encode(part)).pooler_output))
        return torch.stack([self.known[c] for c in captions])


def vision(args):
    """The text tower stays (it is the text encoder); the vision tower and both projections learn on.

    Two losses, both ways: which of all look-free captions ("a teapot on grass") is true of the picture, and that such a
    caption is equally true of all looks; and which of the batch's full captions is the picture's own, where other
    captions that happen to be true of it do not count.
    """
    torch.manual_seed(4)
    work, log = Path(args.work), Log(args.work, "vision")
    model, encode = new_clip(work), tokenizer(work)
    model.load_state_dict(torch.load(work / "clip.pt", weights_only=True)["model"])
    warm_start(model, work / "vision_start.pt", "model")
    model.text_model.requires_grad_(False)
    model.logit_scale.requires_grad_(False).fill_(math.log(100))  # where CLIP's own ends
    trained = [p for p in model.parameters() if p.requires_grad]
    opt = Muon(trained, args.lr)
    run = Run(work / "vision.pt", args.minutes, model=model, opt=opt)
    shards, pooled = Shards(work, masks=True), FrozenText(model, encode)
    kinds = [(name, place) for name in world.OBJECTS for place in (*world.SCENES, None)]
    plain = [pooled([word(world.caption(world.Spec(*k))) for k in kinds])
             for word in (str, "a photo of {}".format, "a picture of {}".format, said)]
    number = {k: i for i, k in enumerate(kinds)}
    log(f"{sum(p.numel() for p in trained) / 1e6:.2f} M parameters, {args.minutes:g} minutes")
    kept = []
    go, run.clock = run.progress < 1, time.time()
    while go:
        rng = np.random.default_rng((4, run.step))
        pictures, masked, texts = clip_pictures(shards, rng, args.batch)
        captions = [bare if m else full for m, (full, bare, _, _) in zip(masked, texts)]
        place = [None if m else p for m, (_, _, _, p) in zip(masked, texts)]
        mine = torch.tensor([number[name, p] for (_, _, name, _), p in zip(texts, place)])
        look = [said(c).split(name)[0].strip() for c, (_, _, name, _) in zip(captions, texts)]
        told = [(k, name, p if p and world.SCENES[p] in c else None)
                for k, c, p, (_, _, name, _) in zip(look, captions, place, texts)]
        true = fits(told, [(k, name, p) for k, p, (_, _, name, _) in zip(look, place, texts)])
        own = torch.tensor([[a == b for b in told] for a in told])
        cosine(opt, run.progress, run.step, args.lr)
        with autocast():
            seen = model.visual_projection(model.vision_model(pictures).pooler_output)
            silent = model.text_projection(plain[rng.integers(4)])
            full = model.text_projection(pooled(captions))
        seen, silent, full = (F.normalize(x.float(), dim=1) for x in (seen, silent, full))
        scale = model.logit_scale.exp()
        among_all = scale * seen @ silent.T
        among_batch = (scale * seen @ full.T).masked_fill(true & ~own, -1e4)
        target = own.float() / own.sum(1, keepdim=True)
        here = mine.unique()
        alike = (here[:, None] == mine).float()
        loss = (F.cross_entropy(among_all, mine)
                + F.cross_entropy(among_all.T[here], alike / alike.sum(1, keepdim=True))
                + (F.cross_entropy(among_batch, target) + F.cross_entropy(among_batch.T, target)) / 2)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        opt.step()
        opt.zero_grad()
        kind = torch.tensor([bool(k) for k in look])
        right = (among_all.argmax(1) == mine).float()
        kept.append((loss.item(), right[kind].mean().item(), right[~kind].mean().item(),
                     own.gather(1, among_batch.argmax(1, keepdim=True)).float().mean().item()))
        go = run.tick()
        if run.step % 100 == 0 or not go:
            loss, coloured, natural, batch = np.mean(kept[-100:], 0)
            log(f"step {run.step}, {run.spent:.0f} s, loss {loss:.3f}, look-free caption among {len(kinds)}: coloured "
                f"{coloured:.3f}, natural {natural:.3f}; own caption among {args.batch}: {batch:.3f}")


# ---------------------------------------------------------------- VAE

def new_vae():
    model = AutoencoderKL(
        in_channels=3, out_channels=3, sample_size=64, latent_channels=16, layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96))
    model.set_attn_processor(AttnProcessor())
    return model


def edges(x):
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def picture_loss(out, x):
    """Squares and L1 on pixels, L1 on differences of neighbours (sharp edges), and at half size."""
    loss = 4 * (out - x).square().mean() + (out - x).abs().mean()
    for a, b in zip(edges(out), edges(x)):
        loss = loss + (a - b).abs().mean()
    return loss + 0.5 * (F.avg_pool2d(out, 2) - F.avg_pool2d(x, 2)).abs().mean()


def psnr(out, x):
    return -10 * ((out - x) / 2).square().mean().log10().item()


def vae(args):
    learn_pictures(args, "vae")


def decoder(args):
    """The latents stay as they are; the decoder alone learns on, with a checkpoint of its own."""
    learn_pictures(args, "decoder")


def learn_pictures(args, stage):
    torch.manual_seed(2)
    work, model, log, team = Path(args.work), new_vae(), Log(args.work, stage), Team(args)
    alone = stage == "decoder"
    if alone:
        model.load_state_dict(torch.load(work / "vae.pt", weights_only=True)["ema"])
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
        factor = json.loads((work / "scaling_factor.json").read_text())
    else:
        warm_start(model, work / "vae_start.pt", "model")
    trained = [p for p in model.parameters() if p.requires_grad]
    opt, ema = Muon(trained, args.lr), Ema(model, 0.998)
    run = Run(work / f"{stage}.pt", args.minutes, chief=team.chief, model=model, opt=opt, ema=ema)
    torch.manual_seed(1000 * run.step + args.rank)
    shards = Shards(work, latents=alone, limit=40)
    if team.chief:
        log(f"{sum(p.numel() for p in trained) / 1e6:.2f} M parameters, {args.minutes:g} minutes, "
            f"batch {team.size} x {args.batch}")
    losses, quality = [], []
    go, run.clock = run.progress < 1, time.time()
    while go:
        rng = np.random.default_rng((2, alone, run.step, args.rank))
        where = shards.batch(rng, args.batch)
        x = to_tensor(np.stack([shards.pictures[s][i] for s, i in where])) * 2 - 1
        if alone:
            mean = torch.stack([shards.z[s][i] for s, i in where]).float() / factor
            z = mean + torch.randn_like(mean) * 0.03
        else:
            if rng.random() < 0.5:
                x = x.flip(3)
            with autocast():
                moments = model.quant_conv(model.encoder(x))
            mean, logvar = moments.float().chunk(2, 1)
            logvar = logvar.clamp(-12, 4)
            z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        with autocast():
            out = model.decoder(model.post_quant_conv(z)).float()
        loss = picture_loss(out, x)
        if not alone:
            loss = loss + 2e-4 * 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss.backward()
        progress = team.average(trained, run.progress)
        cosine(opt, progress, run.step, args.lr)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        opt.step()
        opt.zero_grad()
        ema.update(run.step)
        losses.append(loss.item())
        quality.append(psnr(out.detach(), x))
        run.tick()
        go = progress < 1
        if team.chief and (run.step % 200 == 0 or not go):
            log(f"step {run.step}, {run.spent:.0f} s, loss {np.mean(losses[-200:]):.4f}, "
                f"PSNR {np.mean(quality[-200:]):.2f} dB, latent std {mean.std():.2f}")
    run.save()


# ---------------------------------------------------------------- latents

def load_vae(work, decoder=True):
    """The averaged weights; the decoder from its own later training, where there is one."""
    model = new_vae()
    model.load_state_dict(torch.load(Path(work) / "vae.pt", weights_only=True)["ema"])
    later = Path(work) / "decoder.pt"
    if decoder and later.exists():
        ema = torch.load(later, weights_only=True)["ema"]
        model.load_state_dict({k: v for k, v in ema.items() if "decoder." in k or "post_" in k}, strict=False)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def encode_pictures(model, pictures):
    with autocast():
        return model.quant_conv(model.encoder(to_tensor(pictures) * 2 - 1)).float().chunk(2, 1)[0]


def latents(args):
    """Every shard's latents and text hidden states, from the finished VAE encoder and text tower."""
    work, log = Path(args.work), Log(args.work, "latents")
    model, tower, encode = load_vae(work), load_clip(work), tokenizer(work)
    (work / "latents").mkdir(exist_ok=True)
    sources = sorted((work / "data").glob("*.npz"))
    z = torch.cat([encode_pictures(model, np.load(p)["pictures"][::4]) for p in sources[:4]])
    factor = round(1 / z.std().item(), 5)
    if args.rank == 0:
        (work / "scaling_factor.json").write_text(json.dumps(factor))
        log(f"{len(sources)} shards, latent std {z.std():.4f}, by channel {z.std((0, 2, 3)).min():.2f} .. "
            f"{z.std((0, 2, 3)).max():.2f}, scaling factor {factor}")
    for source in sources[args.rank::args.processes]:
        path = work / "latents" / source.name
        if path.exists():
            continue
        shard = np.load(source)
        text = json.loads(str(shard["text"]))
        with torch.no_grad():
            hidden = torch.cat([text_hidden(tower, encode([t[0] for t in text[i:i + 128]])).half()
                                for i in range(0, SHARD, 128)])
        z = torch.cat([encode_pictures(model, shard["pictures"][i:i + 64]) for i in range(0, SHARD, 64)])
        with open(str(path) + ".new", "wb") as f:
            np.savez(f, z=(z * factor).half().numpy(), hidden=hidden.numpy())
        os.rename(str(path) + ".new", path)


# ---------------------------------------------------------------- UNet

SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon")


def new_unet():
    # As in Stable Diffusion 1.x, attention_head_dim is the number of heads.
    model = UNet2DConditionModel(
        sample_size=8, in_channels=16, out_channels=16, block_out_channels=(96, 144), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=128, attention_head_dim=4, norm_num_groups=16)
    model.set_attn_processor(AttnProcessor())  # twice as fast backward as PyTorch's fused attention, on a CPU
    return model


def load_unet(work):
    model = new_unet()
    model.load_state_dict(torch.load(Path(work) / "unet.pt", weights_only=True)["ema"])
    return model.eval().requires_grad_(False)


def alphas_cumprod():
    return DDIMScheduler(**SCHEDULE).alphas_cumprod


class Latents:
    """All latents and text hidden states, in memory."""

    def __init__(self, work):
        shards = [np.load(path) for path in sorted((Path(work) / "latents").glob("*.npz"))]
        self.z = [torch.from_numpy(s["z"]) for s in shards]
        self.hidden = [torch.from_numpy(s["hidden"]) for s in shards]

    def batch(self, rng, size):
        where = list(zip(rng.integers(len(self.z), size=size), rng.integers(SHARD, size=size)))
        return (torch.stack([self.z[s][i] for s, i in where]).float(),
                torch.stack([self.hidden[s][i] for s, i in where]).float())


def unet(args):
    """ε prediction with min-SNR-5 weights; a tenth of the captions empty, for guidance."""
    work, team, log = Path(args.work), Team(args), Log(args.work, "unet")
    torch.manual_seed(3)
    model = new_unet()
    warm_start(model, work / "unet_start.pt", "ema")
    opt, ema = Muon(model.parameters(), args.lr), Ema(model)
    run = Run(work / "unet.pt", args.minutes, chief=team.chief, model=model, opt=opt, ema=ema)
    torch.manual_seed(1000 * run.step + args.rank)
    shards, a = Latents(work), alphas_cumprod()
    with torch.no_grad():
        empty = text_hidden(load_clip(work), tokenizer(work)([""]))[0]
    weight = (a / (1 - a)).clamp(max=5) / (a / (1 - a))
    if team.chief:
        log(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {args.minutes:g} minutes, "
            f"batch {team.size} x {args.batch}")
    parameters, losses = list(model.parameters()), []
    go, run.clock = run.progress < 1, time.time()
    while go:
        rng = np.random.default_rng((3, run.step, args.rank))
        z, hidden = shards.batch(rng, args.batch)
        hidden[torch.from_numpy(rng.random(len(z)) < 0.1)] = empty
        t = torch.randint(0, 1000, (len(z),))
        noise, at = torch.randn_like(z), a[t][:, None, None, None]
        with autocast():
            out = model(at.sqrt() * z + (1 - at).sqrt() * noise, t, hidden, return_dict=False)[0].float()
        each = (out - noise).square().mean((1, 2, 3))
        (each * weight[t]).mean().backward()
        progress = team.average(parameters, run.progress)
        cosine(opt, progress, run.step, args.lr)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        opt.step()
        opt.zero_grad()
        losses.append(each.mean().item())
        ema.update(run.step)
        run.tick()
        go = progress < 1
        if team.chief and (run.step % 100 == 0 or not go):
            log(f"step {run.step}, {run.spent:.0f} s, loss {np.mean(losses[-100:]):.4f}")
    run.save()


# ---------------------------------------------------------------- export

def half(model):
    return model.to(torch.float16)


def export(args):
    """The diffusers folder, the transformers folder and the concept's photos, as they are shipped."""
    from diffusers import StableDiffusionPipeline
    from safetensors.torch import load_file, save_file
    from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer
    work, out = Path(args.work), Path(args.out)
    judge = load_clip(work)
    # New models keep the configuration files free of this script's choice of attention.
    full = CLIPModel(CLIPConfig(text_config=judge.config.text_config.to_dict(),
                                vision_config=judge.config.vision_config.to_dict(), projection_dim=128))
    full.load_state_dict(judge.state_dict())
    tower = CLIPTextModel(full.config.text_config)
    getattr(tower, "text_model", tower).load_state_dict(full.text_model.state_dict())
    vae = load_vae(work)
    vae.register_to_config(scaling_factor=json.loads((work / "scaling_factor.json").read_text()))
    words = CLIPTokenizer.from_pretrained(work / "tokenizer")
    pipeline = StableDiffusionPipeline(
        vae=half(vae), text_encoder=half(tower), tokenizer=words, unet=half(load_unet(work)),
        scheduler=DDIMScheduler(**SCHEDULE), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False)
    pipeline.save_pretrained(out / "base_model")
    # The names every Stable Diffusion 1.x text encoder has; transformers 5 writes them without the prefix.
    file = out / "base_model" / "text_encoder" / "model.safetensors"
    weights = {"text_model." + k.removeprefix("text_model."): v for k, v in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    half(full).save_pretrained(out / "clip")
    for file in (out / "base_model" / "text_encoder" / "config.json", out / "clip" / "config.json"):
        # Stored in half precision, loaded in single unless asked otherwise, as the other parts are.
        file.write_text(file.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))
    CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}).save_pretrained(out / "clip")
    for folder in (out / "base_model" / "tokenizer", out / "clip"):
        for file in (work / "tokenizer").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    write_concept(out)
    for file in (*out.glob("base_model/**/*"), *out.glob("clip/*")):
        file.chmod(0o755 if file.is_dir() else 0o644)
    print(f"exported {sum(f.stat().st_size for f in out.rglob('*') if f.is_file()) / 1e6:.2f} MB", flush=True)


def write_concept(out):
    """Photos and exact masks of the demo concept."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "masks").mkdir(exist_ok=True)
    rng = np.random.default_rng(CONCEPT_SEED)
    for spec in world.CONCEPT:
        picture, mask = world.render(spec, rng, 256)
        name = spec.scene.replace("plain ", "") + ".png"
        picture.save(out / "images" / name, optimize=True)
        mask.save(out / "masks" / name, optimize=True)


# ---------------------------------------------------------------- evaluation

class Judge:
    """The tiny CLIP, zero-shot: which object, all else said rightly; which scene, all else said rightly."""

    def __init__(self, work):
        self.clip, self.encode, self.known = load_clip(work), tokenizer(work), {}

    @torch.no_grad()
    def text(self, texts):
        new = [t for t in dict.fromkeys(texts) if t not in self.known]
        for part in (new[i:i + 256] for i in range(0, len(new), 256)):
            out = self.clip.get_text_features(input_ids=self.encode(part))
            self.known.update(zip(part, F.normalize(getattr(out, "pooler_output", out), dim=1)))
        return torch.stack([self.known[t] for t in texts])

    @torch.no_grad()
    def pictures(self, pictures):
        out = self.clip.get_image_features(pixel_values=normalise(pictures))
        return F.normalize(getattr(out, "pooler_output", out), dim=1)

    def right(self, pictures, specs):
        """Per picture: is the object right, is the scene right."""
        result = []
        for e, spec in zip(self.pictures(pictures), specs):
            objects = self.text([world.caption(replace(spec, object=o)) for o in world.OBJECTS])
            scenes = self.text([world.caption(replace(spec, scene=s)) for s in world.SCENES])
            result.append((list(world.OBJECTS)[(objects @ e).argmax()] == spec.object,
                           list(world.SCENES)[(scenes @ e).argmax()] == spec.scene))
        return np.array(result)

    def among(self, pictures, texts):
        return ((self.pictures(pictures) @ self.text(texts).T).argmax(1) == torch.arange(len(texts))).float().mean()


def to_images(pictures):
    from PIL import Image
    return [Image.fromarray((p * 255).round().byte().permute(1, 2, 0).numpy()) for p in pictures]


def write_sheet(path, rows, scale=2):
    """Rows of pictures with a label each, as a PNG of 256 colours."""
    from PIL import Image, ImageDraw, ImageFont
    path.parent.mkdir(parents=True, exist_ok=True)
    side, left, gap = 64 * scale, 110, 2
    columns = max(len(pictures) for _, pictures in rows)
    image = Image.new("RGB", (left + columns * (side + gap), len(rows) * (side + gap)), (255, 255, 255))
    for i, (label, pictures) in enumerate(rows):
        ImageDraw.Draw(image).multiline_text((6, i * (side + gap) + 8), label, (0, 0, 0), ImageFont.load_default(14))
        for k, p in enumerate(pictures):
            image.paste(p.resize((side, side), Image.BICUBIC), (left + k * (side + gap), i * (side + gap)))
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


class Painter:
    """Text to pictures, with the trained parts in DIR."""

    def __init__(self, work):
        work = Path(work)
        self.clip, self.encode, self.vae, self.unet = load_clip(work), tokenizer(work), load_vae(work), load_unet(work)
        self.vae.register_to_config(scaling_factor=json.loads((work / "scaling_factor.json").read_text()))
        self.tower = catversion.TextTower(self.clip)
        with torch.no_grad():
            self.empty = self.tower(self.encode([""]))

    def position(self, ids, word):
        return (ids == self.encode([word])[0, 1]).int().argmax(1)

    @torch.no_grad()
    def __call__(self, prompts, seeds, guidance, rows=None, bias=0.0, word=None):
        """Pictures, and with a word, where the UNet looked for it too. The empty prompt is read without the rows."""
        ids = self.encode(prompts)
        return catversion.sample(self.unet, self.vae, SCHEDULE, self.tower(ids, rows, bias), self.empty, list(seeds),
                                 guidance, positions=self.position(ids, word) if word else None)


def evaluate(args):
    """Measures the base model, and writes the sheets in docs."""
    work, log, docs = Path(args.work), Log(args.work, "evaluate"), Path(args.out) / "docs"
    judge, paint, rng, places = Judge(work), Painter(work), np.random.default_rng(7), list(world.SCENES)
    specs = [world.random_spec(rng) for _ in range(512)]
    true = [world.render(s, rng)[0] for s in specs]
    x, plain = to_tensor(np.stack(true)), np.array([not s.colours for s in specs])
    ok = judge.right(x, specs)
    log(f"judge, 512 fresh pictures: object {ok[:, 0].mean():.3f}, scene {ok[:, 1].mean():.3f}; of the "
        f"{plain.sum()} natural ones: object {ok[plain, 0].mean():.3f}, scene {ok[plain, 1].mean():.3f}; "
        f"own caption among 128: {judge.among(x[:128], [world.caption(s) for s in specs[:128]]):.3f}")
    with torch.no_grad(), autocast():
        z = torch.cat([encode_pictures(paint.vae, np.stack(true[i:i + 64])) for i in range(0, 512, 64)])
        back = torch.cat([paint.vae.decoder(paint.vae.post_quant_conv(p)).float() for p in z.split(64)]).clamp(-1, 1)
    log(f"VAE, 512 fresh pictures: PSNR {psnr(back, x * 2 - 1):.2f} dB")
    back = to_images((back[:24] + 1) / 2)
    write_sheet(docs / "reconstructions.png", [("world", true[:12]), ("decoded", back[:12]),
                                               ("world", true[12:24]), ("decoded", back[12:])])

    specs = [world.Spec(o, places[(3 * i + 5 * j) % 10]) for i, o in enumerate(world.OBJECTS)
             for j in (0, 1) for _ in (0, 1)]
    drawn = torch.cat([paint([world.caption(s) for s in specs[i:i + 48]], range(1000 + i, 1048 + i), GUIDANCE)
                       for i in (0, 48)])
    ok = judge.right(drawn, specs)
    log(f"UNet, {len(specs)} samples (every object x 2 scenes x 2 seeds), guidance {GUIDANCE:g}, 50 steps: "
        f"object {ok[:, 0].mean():.3f}, scene {ok[:, 1].mean():.3f}; wrong: "
        + (", ".join(f"{s.object} {world.SCENES[s.scene]}" for s, o in zip(specs, ok) if not o.all()) or "none"))
    images = to_images(drawn)
    rows = [(",\n".join(s.object for s in specs[i:i + 12:4]), images[i:i + 12]) for i in range(0, len(specs), 12)]

    specs = [s for s in (world.random_spec(rng) for _ in range(200)) if s.colours][:24]
    specs += [world.Spec(o, s, "zigzag", ("yellow", "teal", "purple")) for o in ("teapot", "mug") for s in places[:6]]
    captions = [world.caption(s) for s in specs]
    drawn = paint(captions, range(2000, 2036), GUIDANCE)
    ok, known = judge.right(drawn, specs), slice(0, 24)
    log(f"UNet, 24 tinted and patterned: object {ok[known, 0].mean():.3f}, scene {ok[known, 1].mean():.3f}, "
        f"own caption among the 24: {judge.among(drawn[known], captions[known]):.3f}; 12 with the held-out look named in words: "
        f"object {ok[24:, 0].mean():.3f}, scene {ok[24:, 1].mean():.3f}")
    images = to_images(drawn)
    rows += [("tints,\npatterns", images[:12]), ("tints,\npatterns", images[12:24]),
             ("held-out look,\nin words", images[24:])]
    write_sheet(docs / "samples.png", rows)


PROMPTS = ["a {concept} on grass", "a {concept} on the beach", "a {concept} in the snow",
           "a {concept} under the night sky", "a {concept} on a wooden table", "a {concept} in the city",
           "a {concept} in front of a brick wall", "a {concept} on a plain blue background",
           "a {concept} on a plain pink background", "a photo of a {concept} on a plain white background"]


def concept_inputs(work):
    """The five photos at 64 x 64, their masks, and their latents with and without a flip."""
    from PIL import Image
    photos, masks, rng = [], [], np.random.default_rng(CONCEPT_SEED)
    for spec in world.CONCEPT:
        picture, mask = world.render(spec, rng, 256)
        photos.append(picture.resize((64, 64), Image.BICUBIC))
        masks.append(np.asarray(mask.resize((64, 64), Image.BICUBIC)) > 127)
    x = np.stack([np.asarray(p) for p in photos])
    z = encode_pictures(load_vae(work), np.concatenate([x, x[:, :, ::-1]]))
    factor = json.loads((Path(work) / "scaling_factor.json").read_text())
    return to_tensor(x), torch.from_numpy(np.stack(masks))[:, None], z * factor


def learn_concept(args):
    """CatVersion on the demo concept, with settings named as in Catbench: scores before and after, and a sheet."""
    work, log, docs = Path(args.work), Log(args.work, "concept"), Path(args.out) / "docs"
    judge, paint = Judge(work), Painter(work)
    photos, masks, z = concept_inputs(work)
    wanted, whole = judge.pictures(photos * masks), judge.pictures(photos)
    prompts = [p.format(concept="teapot") for p in PROMPTS for _ in range(4)]

    def score(name, rows, s):
        pictures, heat = paint(prompts, list(range(4)) * 10, s["guidance_scale"], rows, s["prefix_bias"], "teapot")
        mask = (heat > 0.4)[:, None]
        e = judge.pictures(pictures)
        image = catversion.interval((judge.pictures(pictures * mask) @ wanted.T).mean(1))
        said = catversion.interval((e * judge.text(prompts)).sum(1))
        ok = judge.right(pictures, [world.Spec("teapot", s) for s in world.SCENES for _ in range(4)])
        log(f"{name}: masked CLIP-I {image[0]:.3f} [{image[1]:.3f}, {image[2]:.3f}], "
            f"CLIP-I {(e @ whole.T).mean():.3f}, CLIP-T {said[0]:.3f} [{said[1]:.3f}, {said[2]:.3f}], object {ok[:, 0].mean():.2f}, "
            f"scene {ok[:, 1].mean():.2f}, mask area {mask.float().mean():.2f}")
        return to_images(pictures)

    for number, settings in enumerate(args.set or ["{}"]):
        s = {**LEARNING, **json.loads(settings)}
        before = score("class word", None, s)
        ids = paint.encode([s["caption"].replace("{class}", "teapot")])
        with torch.no_grad():
            rows = catversion.class_rows(paint.tower, ids, paint.position(ids, "teapot"), s["prefix_length"])
        if s["init"] == "normal":
            g = torch.Generator().manual_seed(0)
            rows = {i: [torch.randn(t.shape, generator=g) for t in kv] for i, kv in rows.items()}
        begin = time.time()
        rows = catversion.learn(paint.tower, paint.unet, alphas_cumprod(), z, ids, rows, s["steps"], s["learning_rate"],
                                s["batch_size"], s["prefix_bias"], s["weight_decay"])
        log(f"{s}: learned in {time.time() - begin:.0f} s")
        after = score("concept", rows, s)
        write_sheet(docs / (f"concept{number}.png" if number else "concept.png"), [
            ("photos", to_images(photos)), *((f"untrained,\nseed {k}", before[k::4]) for k in (0, 1)),
            *((f"learned,\nseed {k}", after[k::4]) for k in range(4))])


# ---------------------------------------------------------------- command line

def launch(stage, args):
    """Runs one stage in processes of its own: side by side where it can share its work, else in threads."""
    count = args.processes if stage in SHARED else 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # glibc keeps its memory between steps: a tenth faster.
    keep = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000",
            "OMP_NUM_THREADS": str(args.processes // count)}
    command = [sys.executable, __file__, stage, "--work", args.work, "--processes", str(count), "--port", str(port),
               "--shards", str(args.shards), "--out", args.out, *(x for s in args.set or () for x in ("--set", s))]
    if STAGES[stage]:
        command += ["--minutes", str(args.minutes or STAGES[stage][0])]
    parts = [subprocess.Popen([*command, "--rank", str(r)], env={**os.environ, **keep}) for r in range(count)]
    if any([p.wait() for p in parts]):
        sys.exit(f"{stage} stopped; the same command again goes on from its last checkpoint")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("all", *STAGES))
    parser.add_argument("--work", required=True, help="folder for data, checkpoints and the log")
    parser.add_argument("--minutes", type=float, help="training time of one stage, instead of the default")
    parser.add_argument("--processes", type=int, default=2, help="cores to use, and batches a step")
    parser.add_argument("--shards", type=int, default=56, help=f"data: files of {SHARD} pictures")
    parser.add_argument("--set", action="append", help="concept: settings as JSON, may be repeated")
    parser.add_argument("--out", default=str(Path(__file__).resolve().parents[1]), help="export: the workspace")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank is None:
        if args.stage == "all" and args.minutes:
            parser.error("--minutes is for one stage")
        for stage in STAGES if args.stage == "all" else [args.stage]:
            launch(stage, args)
        return
    if STAGES[args.stage]:
        _, args.lr, args.batch = STAGES[args.stage]
    globals()["learn_concept" if args.stage == "concept" else args.stage](args)


if __name__ == "__main__":
    main()
