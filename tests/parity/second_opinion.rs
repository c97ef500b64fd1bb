//! candle-transformers' VAE, where it can be had without its random numbers: a reference that PyTorch did not write.

use candle_core::{DType, Device};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};
use catbench::diffusion::Vae;

use crate::fixture::{Reference, TOLERANCE, folder, relative_error};

#[test]
fn the_vae_decodes_as_candle_transformers_does() {
    let folder = folder("tiny_sd1/vae");
    let tensors =
        candle_core::safetensors::load(folder.join("diffusion_pytorch_model.safetensors"), &Device::Cpu).unwrap();
    let config = AutoEncoderKLConfig {
        block_out_channels: vec![8, 8, 16],
        layers_per_block: 2,
        latent_channels: 4,
        norm_num_groups: 4,
        use_quant_conv: true,
        use_post_quant_conv: true,
    };
    let builder = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let theirs = AutoEncoderKL::new(builder, 3, 3, config).unwrap();
    let latents = Reference::load("tiny_sd1").get("vae.latents");
    let ours = Vae::load(&folder).unwrap().decode(&latents).unwrap();
    assert!(relative_error(&ours, &theirs.decode(&latents).unwrap()) <= TOLERANCE);
}
