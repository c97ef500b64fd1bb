"""Make tests/fixtures/textual_inversion: what PyTorch, diffusers and transformers compute of Textual Inversion with the tiny models.

    python tests/parity/textual_inversion.py            # writes tests/fixtures/textual_inversion
    python tests/parity/textual_inversion.py --out DIR  # somewhere else, to compare

The word is learned as examples/textual_inversion of diffusers does it: its tokens are put behind the vocabulary, the whole table of
the text encoder gets a gradient and a step of AdamW, and all rows but the new ones are set back. Latents, noise, timesteps and masks
of the steps are those of `reference.safetensors` of the model, `train.*`.

| name in `sd1.safetensors`, `sd2.safetensors` | what |
|---|---|
| `start.<n>` | the vectors [n, D] that gradients and most trainings start from |
| `start.<case>` | those that a training starts from which starts from a word of the vocabulary |
| `ids.<captions>.<n>` | token ids of each caption of a batch, n vectors |
| `hidden.<captions>.<n>` | the hidden states of these with `start.<n>` |
| `gradient.<captions>.<n>`, `loss.<captions>.<n>` | of the mean squared error, of the draw of the first step |
| `<case>.vectors` | the vectors after each of five steps, [5, n, D] |
| `<case>.losses` | the loss of each step |
| `<case>.hidden` | the hidden state [1, T, D] of the prompt with the last vectors |
| `<case>.half` | the same half way from the start to the last vectors |
| `<case>.latents`, `<case>.picture` | one guided picture of the prompt |
| `<case>.loaded` | its bytes by a fresh pipeline that loads the file by `load_textual_inversion` |

`sd1.json` and `sd2.json` have the settings, and `rounding`: the relative distance to the same in float64.

`<model>-<case>.safetensors` are the files that were loaded, as Catbench exports them to the byte. `<model>-<case>-script.safetensors` and
`.bin` are what diffusers' script writes of the same vectors; diffusers makes the same picture with them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline
from diffusers.optimization import get_scheduler
from diffusers.utils import logging
from safetensors.torch import load_file, save_file

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
MODELS = {"sd1": ("tiny_sd1", 41), "sd2": ("tiny_sd2", 42)}
WORD = "<teapot>"
STEPS = 5
# A batch of captions each; those of several texts are among the paper's templates about an object.
CAPTIONS = {
    "middle": ["a photo of a {} on grass"],
    "twice": ["{} on a {}"],
    "within": ["two {}s, a{}?"],
    # Of three vectors the last has no place.
    "cut": ["a red striped teapot on {}"],
    "two": ["the photo of a {}", "a photo of the {}"],
}
TEMPLATES = ["a photo of a {}", "the photo of a {}", "a photo of the {}"]
CASES = {
    "constant": dict(n=1, caption="a photo of a {} on grass", lr_scheduler="constant", warmup=0, steps=5, init_word=None, masked=False),
    # Of each step the captions of both photos.
    "cosine": dict(n=3, captions=[[0, 1], [2, 0], [1, 2], [0, 2], [1, 1]], lr_scheduler="cosine", warmup=2, steps=8, init_word=None,
                   masked=False),
    "from_word": dict(n=3, caption="{} on a {}", lr_scheduler="constant", warmup=0, steps=5, init_word="photo", masked=True),
}
LR, DECAY = 0.01, 0.01
PROMPT, SEED, PICTURE_STEPS, GUIDANCE = "a photo of a {} on grass", 7, 5, 5.0


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pipeline(model, dtype=torch.float32):
    pipe = StableDiffusionPipeline.from_pretrained(FIXTURES / model, dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    for part in (pipe.text_encoder, pipe.unet, pipe.vae):
        part.to(dtype).eval().requires_grad_(False)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    return pipe


class Word:
    """A new word of `n` vectors in the text encoder of a pipeline of its own, as diffusers' script has it."""

    def __init__(self, model, dtype, n, vectors=None, init_word=None):
        self.pipe = pipeline(model, dtype)
        self.tokenizer, self.text_encoder = self.pipe.tokenizer, self.pipe.text_encoder
        tokens = [WORD] + [f"{WORD}_{i}" for i in range(1, n)]
        assert self.tokenizer.add_tokens(tokens) == n
        self.ids = self.tokenizer.convert_tokens_to_ids(tokens)
        self.text_encoder.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        self.table = self.text_encoder.get_input_embeddings().weight
        if init_word:
            [start] = self.tokenizer.encode(init_word, add_special_tokens=False)
            vectors = self.table[start].clone().expand(n, -1)
        self.put(vectors)
        self.start = self.vectors()

    def put(self, vectors):
        with torch.no_grad():
            self.table[self.ids] = vectors.to(self.table.dtype)

    def vectors(self):
        return self.table.detach()[self.ids].clone()

    def tokenize(self, captions):
        word = " ".join(self.tokenizer.convert_ids_to_tokens(self.ids))
        texts = [caption.format(*[word] * caption.count("{}")) for caption in captions]
        return self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    def hidden(self, captions):
        return self.text_encoder(self.tokenize(captions)).last_hidden_state

    def loss(self, captions, draw):
        ddpm = DDPMScheduler.from_config(self.pipe.scheduler.config)
        latents, noise, timesteps, mask = draw
        v = ddpm.config.prediction_type == "v_prediction"
        target = ddpm.get_velocity(latents, noise, timesteps) if v else noise
        hidden = self.hidden(captions)
        hidden = hidden.expand(len(latents), -1, -1)
        pred = self.pipe.unet(ddpm.add_noise(latents, noise, timesteps), timesteps, hidden).sample
        if mask is None:
            return F.mse_loss(pred, target)
        return ((mask * (pred - target) ** 2).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * pred.shape[1])).mean()


def draw(given, step, dtype, masked):
    latents, noise, masks = (given[f"train.{name}"][step].to(dtype) for name in ("latents", "noise", "masks"))
    return latents, noise, given["train.timesteps"][step], masks if masked else None


def train(word, case, given, dtype):
    word.table.requires_grad_(True)
    before = word.table.detach().clone()
    optimizer = torch.optim.AdamW([word.table], lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=DECAY)
    schedule = get_scheduler(case["lr_scheduler"], optimizer, num_warmup_steps=case["warmup"], num_training_steps=case["steps"])
    frozen = torch.ones(len(before), dtype=torch.bool)
    frozen[min(word.ids):max(word.ids) + 1] = False
    vectors, losses = [], []
    for step in range(STEPS):
        captions = [TEMPLATES[i] for i in case["captions"][step]] if "captions" in case else [case["caption"]]
        loss = word.loss(captions, draw(given, step, dtype, case["masked"]))
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        with torch.no_grad():
            word.table[frozen] = before[frozen]
        vectors.append(word.vectors())
        losses.append(loss.detach())
    word.table.requires_grad_(False)
    return torch.stack(vectors), torch.stack(losses)


def references(model, seed, dtype):
    given = load_file(FIXTURES / model / "reference.safetensors")
    width = pipeline(model).text_encoder.config.hidden_size
    inputs = {f"start.{n}": 0.7 * randn(seed * 10 + n, n, width) for n in (1, 3)}
    out = {}
    for n in (1, 3):
        for name, captions in CAPTIONS.items():
            word = Word(model, dtype, n, inputs[f"start.{n}"])
            word.table.requires_grad_(True)
            loss = word.loss(captions, draw(given, 0, dtype, False))
            loss.backward()
            inputs[f"ids.{name}.{n}"] = word.tokenize(captions)
            out[f"hidden.{name}.{n}"] = word.hidden(captions).detach()
            out[f"gradient.{name}.{n}"], out[f"loss.{name}.{n}"] = word.table.grad[word.ids], loss.detach()[None]
    for name, case in CASES.items():
        word = Word(model, dtype, case["n"], inputs[f"start.{case['n']}"], case["init_word"])
        if case["init_word"]:
            inputs[f"start.{name}"] = word.start.float()
        vectors, losses = train(word, case, given, dtype)
        out[f"{name}.vectors"], out[f"{name}.losses"] = vectors, losses
        out[f"{name}.hidden"] = word.hidden([PROMPT]).detach()
        size, channels = word.pipe.unet.config.sample_size, word.pipe.unet.config.in_channels
        noise = randn(SEED, 1, channels, size, size).to(dtype)
        # The pipeline puts the other tokens behind the first.
        latents = word.pipe(PROMPT.format(WORD), latents=noise, num_inference_steps=PICTURE_STEPS, guidance_scale=GUIDANCE,
                            output_type="latent").images
        out[f"{name}.latents"] = latents
        out[f"{name}.picture"] = word.pipe.vae.decode(latents / word.pipe.vae.config.scaling_factor).sample
        word.put(word.start + 0.5 * (vectors[-1] - word.start))
        out[f"{name}.half"] = word.hidden([PROMPT]).detach()
    return out, inputs


def loaded(model, file):
    """The picture's bytes [H, W, 3] by diffusers, which finds the word in `file`."""
    pipe = pipeline(model)
    pipe.load_textual_inversion(str(file))
    [picture] = pipe(PROMPT.format(WORD), generator=torch.Generator("cpu").manual_seed(SEED), num_inference_steps=PICTURE_STEPS,
                     guidance_scale=GUIDANCE).images
    return torch.from_numpy(np.array(picture.convert("RGB")))


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


def write(out_folder, short, model, seed):
    out, inputs = references(model, seed, torch.float32)
    exact, _ = references(model, seed, torch.float64)
    rounding = {name: float(f"{relative(x, exact[name]):.1e}") for name, x in out.items()}
    for name in CASES:
        file = out_folder / f"{short}-{name}.safetensors"
        vectors = {WORD: out[f"{name}.vectors"][-1].clone()}
        save_file(vectors, file)
        out[f"{name}.loaded"] = loaded(model, file)
        script, unsafe = (out_folder / f"{short}-{name}-script{end}" for end in (".safetensors", ".bin"))
        save_file(vectors, script, metadata={"format": "pt"})
        torch.save(vectors, unsafe)
        assert all(torch.equal(loaded(model, other), out[f"{name}.loaded"]) for other in (script, unsafe))
    save_file({name: x.contiguous() for name, x in {**inputs, **out}.items()}, out_folder / f"{short}.safetensors")
    says = {
        "word": WORD,
        "captions": CAPTIONS,
        "templates": TEMPLATES,
        "cases": [{"name": name, **case} for name, case in CASES.items()],
        "train": {"steps": STEPS, "lr": LR, "weight_decay": DECAY},
        "picture": {"prompt": PROMPT, "seed": SEED, "steps": PICTURE_STEPS, "guidance_scale": GUIDANCE},
        "rounding": rounding,
    }
    (out_folder / f"{short}.json").write_text(json.dumps(says, indent=1) + "\n")
    worst = sorted(rounding.items(), key=lambda kv: -kv[1])[:6]
    print(short, "float32 against float64, worst:", worst)
    for name in CASES:
        vectors = out[f"{name}.vectors"]
        print(" ", name, "losses", out[f"{name}.losses"].tolist(), "moved", relative(vectors[-1], vectors[0]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FIXTURES / "textual_inversion")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for short, (model, seed) in MODELS.items():
        write(folder, short, model, seed)
