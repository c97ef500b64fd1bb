"""Make tests/fixtures/torch: small files of torch.save with all that real checkpoints hold, and their tensors as safetensors.

    python tests/parity/torch_files.py            # writes tests/fixtures/torch
    python tests/parity/torch_files.py --out DIR  # somewhere else, to compare
"""

import argparse
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file


def lightning():
    """A class of a module that readers do not have, as PyTorch Lightning leaves in its checkpoints."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    sys.modules[module.__name__] = module
    sys.modules["pytorch_lightning"] = types.ModuleType("pytorch_lightning")
    sys.modules["pytorch_lightning.callbacks"] = types.ModuleType("pytorch_lightning.callbacks")
    return module.ModelCheckpoint


def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    g = torch.Generator().manual_seed(5)
    whole = torch.randn(6, 8, generator=g)
    tensors = {
        "plain": torch.randn(3, 4, 2, generator=g),
        "half": torch.randn(5, generator=g).half(),
        "bfloat": torch.randn(2, 3, generator=g).bfloat16(),
        "double": torch.randn(4, generator=g).double(),
        "transposed": torch.randn(4, 3, generator=g).t(),
        "channels_last": torch.randn(2, 3, 2, 2, generator=g).to(memory_format=torch.channels_last),
        "rows": whole[2:5],
        "columns": whole[:, 1:7:2],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2, 2, generator=g)),
    }
    callback = lightning()()
    callback.best = np.float64(0.25)
    callback.paths = {"a": np.arange(3), "b": Path("x")}
    checkpoint = {
        "epoch": 3,
        "global_step": 875000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": OrderedDict(**tensors, ids=torch.arange(7), flags=torch.tensor([True, False])),
        "callbacks": {type(callback): callback, "sets": {1, 2}, "more": defaultdict(list, a=[1.5, None, True, 2**70, -(2**40)])},
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.randn(3, generator=g)}}}],
        "lr_schedulers": [],
    }
    checkpoint["state_dict"]._metadata = OrderedDict([("", {"version": 1})])
    torch.save(checkpoint, folder / "checkpoint.ckpt")
    torch.save(checkpoint, folder / "protocol4.ckpt", pickle_protocol=4)
    inversion = {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.randn(2, 4, generator=g))}),
        "name": "mug", "step": 500, "sd_checkpoint": None, "sd_checkpoint_name": None,
    }
    torch.save(inversion, folder / "inversion.pt")
    # As some trainers name it; the optimizer's numbers beside it are no part of the model.
    trainer = {"model": OrderedDict(rows=tensors["rows"]), "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "step": 7}
    torch.save(trainer, folder / "model.pt")
    torch.save({"a": torch.ones(2)}, folder / "old.pt", _use_new_zipfile_serialization=False)
    reference = {name: tensor.detach().float().contiguous().clone() for name, tensor in tensors.items()}
    reference["inversion"] = inversion["string_to_param"]["*"].detach().clone()
    save_file(reference, folder / "reference.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "fixtures/torch")
    make(parser.parse_args().out)
