"""Write Stable Diffusion at its real size with random weights, as diffusers saves it and as one file in the original naming.

    python tests/parity/full_size.py DIR                   # SD 1.5: DIR/folder, DIR/model.safetensors, DIR/model.ckpt
    python tests/parity/full_size.py DIR --family sd2 --dtype float16

3.4 GB each in float32 (SD 1.5). The tokenizer is left out: the program's own is the real one.
"""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

import original

UNET = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64},
    "sd2": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True, "sample_size": 96},
}
TEXT = {
    "sd1": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "hidden_act": "quick_gelu"},
    "sd2": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23, "hidden_act": "gelu"},
}


def models(family, seed=0):
    """The UNet, the VAE and the text encoder as `family` has them, freshly initialised."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**UNET[family])
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=512,
    )
    return unet, vae, CLIPTextModel(CLIPTextConfig(**TEXT[family]))


def write(out, family="sd1", dtype=torch.float32):
    folder = out / "folder"
    unet, vae, text = models(family)
    unet.to(dtype).save_pretrained(folder / "unet")
    vae.to(dtype).save_pretrained(folder / "vae")
    text.to(dtype).save_pretrained(folder / "text_encoder")
    del unet, vae, text
    prediction = "epsilon" if family == "sd1" else "v_prediction"
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
                  steps_offset=1, prediction_type=prediction).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}\n')
    tensors = original.convert(folder)
    original.save(tensors, out / "model.safetensors")
    original.save(tensors, out / "model.ckpt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", choices=UNET, default="sd1")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out, args.family, getattr(torch, args.dtype))
