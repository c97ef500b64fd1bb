//! What `torch.save` writes, read without Python (`tests/parity/torch_files.py` made the files).

use std::collections::BTreeSet;

use candle_core::Tensor;
use catbench::diffusion::TensorFile;

use super::fixture;

fn open(name: &str) -> TensorFile {
    TensorFile::open(&fixture("torch").join(name)).unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_checkpoint_gives_the_tensors_of_its_state_dict_and_its_step() {
    let reference = open("reference.safetensors");
    for name in ["checkpoint.ckpt", "protocol4.ckpt"] {
        let file = open(name);
        for (tensor, _) in reference.tensors().filter(|(tensor, _)| *tensor != "inversion") {
            let (got, want) = (file.tensor(tensor).unwrap(), reference.tensor(tensor).unwrap());
            assert_eq!(got.dims(), want.dims(), "{name} {tensor}");
            assert_eq!(bits(&got), bits(&want), "{name} {tensor}");
        }
        let found: BTreeSet<&str> = file.tensors().map(|(tensor, _)| tensor).collect();
        let mut expected: BTreeSet<&str> = reference.tensors().map(|(tensor, _)| tensor).collect();
        expected.remove("inversion");
        expected.extend(["ids", "flags"]);
        assert_eq!(found, expected, "{name}");
        assert_eq!((file.number("global_step"), file.number("epoch")), (Some(875_000), Some(3)));
    }
}

#[test]
fn nested_dictionaries_give_dotted_names() {
    let file = open("inversion.pt");
    let names: Vec<&str> = file.tensors().map(|(name, _)| name).collect();
    let embedding = names.iter().find(|name| name.starts_with("string_to_param") && name.ends_with(".*")).unwrap();
    assert_eq!(
        bits(&file.tensor(embedding).unwrap()),
        bits(&open("reference.safetensors").tensor("inversion").unwrap())
    );
    assert_eq!(file.number("step"), Some(500));
}

#[test]
fn a_checkpoint_under_the_name_model_is_that_model_without_its_optimizer() {
    let file = open("model.pt");
    assert_eq!(file.tensors().map(|(name, _)| name).collect::<Vec<_>>(), ["rows"]);
    assert_eq!(bits(&file.tensor("rows").unwrap()), bits(&open("reference.safetensors").tensor("rows").unwrap()));
    assert_eq!(file.number("step"), Some(7));
}

#[test]
fn only_floats_are_weights() {
    let error = open("checkpoint.ckpt").tensor("ids").unwrap_err().to_string();
    assert!(error.contains("checkpoint.ckpt") && error.contains("ids") && error.contains("LongStorage"), "{error}");
}

#[test]
fn the_form_before_pytorch_1_6_is_refused_by_name() {
    let error = TensorFile::open(&fixture("torch/old.pt")).err().unwrap().to_string();
    assert!(error.contains("before 1.6") && error.contains("torch.save it again"), "{error}");
}
