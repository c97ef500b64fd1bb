"""Make tests/fixtures/adapters and tests/fixtures/embeddings: files that PyTorch wrote, and what diffusers reads from them.

    python tests/parity/adapters.py                # writes tests/fixtures
    python tests/parity/adapters.py --check FILE   # an exported adapter: as torch.load with weights_only reads it

Adapters have the layout of the files that the authors of CatVersion released: a dictionary of four names, all the same
flat float32 parameter, saved with torch.save. Here for the text encoder of tiny_sd1 (last layers 2, 3, 4; width 24).
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

FIXTURES = Path(__file__).parents[1] / "fixtures"
LAYERS, WIDTH = (2, 3, 4), 24
IN_MODEL = "prefix_tuning.prefix_tunings.prefix_tuning1.clip_text_model_self_prefix.control_trans"
IN_LAYER = "text_model.encoder.layers.{}.self_attn.prefix_tuning.pool.prefix_tunings.prefix_tuning1" \
    ".clip_text_model_self_prefix.control_trans"
NAMES = [IN_LAYER.format(layer) for layer in LAYERS] + [IN_MODEL]
PROMPTS = ["a <cat-toy> on grass", "a teapot, <Cat-Toy>, and cat-word", "cat-word <many> a a a a a a a a a a a a"]


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def adapters(folder):
    flat = randn(1, 2 * len(LAYERS) * WIDTH)
    # As released: four names, one storage.
    torch.save({name: flat for name in NAMES}, folder / "shared.bin")
    # The same after a copy of each tensor, as a rewritten file has it.
    torch.save({name: flat.clone() for name in NAMES}, folder / "separate.bin")
    # A view of a larger storage: its numbers do not start at its beginning.
    inside = torch.cat([randn(2, 7), flat, randn(3, 5)])[7:-5]
    torch.save({name: inside for name in NAMES}, folder / "inside.bin")
    # Each layer's name with its own part.
    parts = {name: flat[2 * WIDTH * i:2 * WIDTH * (i + 1)] for i, name in enumerate(NAMES[:-1])}
    torch.save(parts, folder / "parts.bin")
    # For another text encoder.
    wide = randn(4, 2 * len(LAYERS) * 32)
    torch.save({name: wide for name in NAMES}, folder / "wide.bin")
    save_file({"flat": flat}, folder / "reference.safetensors")


def embeddings(folder):
    one, two, many = randn(5, WIDTH), randn(6, 2, WIDTH), randn(7, 5, WIDTH)
    torch.save({"<cat-toy>": torch.nn.Parameter(one)}, folder / "diffusers.bin")
    save_file({"<cat-toy>": one}, folder / "diffusers.safetensors")
    web_ui = {
        "string_to_token": {"*": 265}, "string_to_param": {"*": torch.nn.Parameter(two)}, "name": "cat-word", "step": 500,
        "sd_checkpoint": None, "sd_checkpoint_name": None,
    }
    torch.save(web_ui, folder / "web_ui.pt")
    save_file({"emb_params": many}, folder / "many.safetensors")
    torch.save({"<cat-toy>": randn(8, 32)}, folder / "wide.bin")

    pipe = StableDiffusionPipeline.from_pretrained(FIXTURES / "tiny_sd1", safety_checker=None)
    pipe.load_textual_inversion(str(folder / "diffusers.bin"))
    pipe.load_textual_inversion(str(folder / "web_ui.pt"))
    pipe.load_textual_inversion(str(folder), weight_name="many.safetensors", token="<many>")
    length = pipe.text_encoder.config.max_position_embeddings
    hidden, ids = [], []
    for prompt in PROMPTS:
        text = pipe.maybe_convert_prompt(prompt, pipe.tokenizer)
        tokens = pipe.tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        ids.append(tokens.input_ids[0].tolist())
        with torch.no_grad():
            hidden.append(pipe.text_encoder(tokens.input_ids)[0][0])
    save_file({"hidden": torch.stack(hidden), "one": one, "two": two, "many": many}, folder / "reference.safetensors")
    (folder / "reference.json").write_text(json.dumps({"prompts": PROMPTS, "ids": ids}, indent=1) + "\n")
    print(json.dumps(ids))


def check(path):
    """What the released code would find: torch's own safe reader, four names, one storage."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    tensors = list(state.values())
    flat = tensors[0]
    assert all(torch.equal(flat, other) for other in tensors)
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == 1
    print(json.dumps({"names": list(state), "dtype": str(flat.dtype), "shape": list(flat.shape), "sum": flat.double().sum().item()}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", type=Path)
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
    else:
        torch.set_num_threads(1)
        for make in (adapters, embeddings):
            folder = FIXTURES / make.__name__
            folder.mkdir(exist_ok=True)
            make(folder)
