//! Token tables cut into pieces compute, train and save as whole ones do.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use odyssey::adapt::data::{MicroBatch, Order, Packing, TrainingWindows};
use odyssey::adapt::objective::Objective;
use odyssey::adapt::optimizer::{AdamW, AdamWConfig};
use odyssey::adapt::training_step;
use odyssey::model::parameters::to_host;
use odyssey::model::weights::WeightFiles;
use odyssey::model::{LanguageModel, LoadedModel, ModelConfig, save, token_ids};

use crate::common::{id_stream, model_folder};

const CASES: [&str; 3] = ["gpt2_tied", "llama_mha", "llama_gqa"];

fn whole(case: &str) -> LoadedModel {
    LoadedModel::open(&model_folder(case), &Device::flex()).unwrap()
}

/// Tables in pieces of a few hundred rows at most, the last one shorter.
fn in_pieces(case: &str) -> LoadedModel {
    let files = WeightFiles::open(&model_folder(case)).unwrap().with_largest_piece(200 * 4 * 48);
    LoadedModel::from_files(
        ModelConfig::read(&model_folder(case)).unwrap(),
        &model_folder(case),
        files,
        &Device::flex(),
    )
    .unwrap()
}

fn batch() -> MicroBatch {
    TrainingWindows::new(id_stream(&[500]), 48, Packing::Stream, Order::File, 0).unwrap().micro_batch(&[0, 1, 2])
}

fn values(model: &LanguageModel) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    model.published().into_iter().map(|p| (p.name.clone(), p.shape.clone(), p.values().unwrap())).collect()
}

#[test]
fn the_tables_really_are_in_several_pieces() {
    for case in CASES {
        assert_eq!(whole(case).model.head().table().pieces().len(), 1, "{case}");
        assert!(in_pieces(case).model.head().table().pieces().len() >= 3, "{case}");
        assert_eq!(in_pieces(case).model.head().rows(), 512, "{case}");
    }
}

#[test]
fn logits_loss_and_gradients_are_those_of_the_whole_table() {
    for case in CASES {
        let (whole, pieces) = (whole(case), in_pieces(case));
        let ids: Vec<u32> = (0..512).step_by(11).collect();
        let logits = |model: &LoadedModel| {
            to_host(model.model.logits(token_ids(&[&ids], &Device::flex())).flatten(0, 2)).unwrap()
        };
        assert!(close(&logits(&whole), &logits(&pieces), 1e-5), "{case}: logits");

        let backward = |model: LoadedModel| {
            let batch = batch();
            let backward = Objective::default().backward(&model.model.train(), &batch, batch.weight()).unwrap();
            let gradients: Vec<(String, Vec<f32>)> =
                backward.gradients.into_iter().map(|(name, g)| (name, to_host(g).unwrap())).collect();
            (to_host(backward.loss).unwrap()[0], gradients)
        };
        let ((loss, gradients), (loss_pieces, gradient_pieces)) = (backward(whole), backward(pieces));
        assert!((loss - loss_pieces).abs() < 1e-5, "{case}: loss {loss} against {loss_pieces}");
        // Gradients of a table's pieces, in order, are that of the table.
        for (name, gradient) in gradients {
            let pieces: Vec<f32> = gradient_pieces
                .iter()
                .filter(|(piece, _)| piece == &name || piece.starts_with(&format!("{name}#")))
                .flat_map(|(_, gradient)| gradient.clone())
                .collect();
            assert!(close(&gradient, &pieces, 1e-5), "{case}: gradient of {name}");
        }
    }
}

#[test]
fn training_and_saving_give_the_checkpoint_of_the_whole_table() {
    for case in CASES {
        let train = |model: LoadedModel| {
            let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() });
            let start = model.model.clone().train();
            (0..5).fold(start, |model, _| {
                training_step(&Objective::default(), model, &mut optimizer, &[batch()], 1e-3, Some(1.0)).unwrap().model
            })
        };
        let (a, b) = (values(&train(whole(case))), values(&train(in_pieces(case))));
        assert_eq!(a.len(), b.len(), "{case}");
        for ((name, shape, whole), (piece_name, piece_shape, pieces)) in a.iter().zip(&b) {
            assert_eq!((name, shape), (piece_name, piece_shape), "{case}");
            // The keys' bias of GPT-2 has no gradient but noise, which Adam turns into steps.
            let tolerance = if name.ends_with("c_attn.bias") { 1e-2 } else { 1e-4 };
            assert!(close(whole, pieces, tolerance), "{case}: {name}");
        }
    }
}

#[test]
fn a_model_in_pieces_is_saved_bit_for_bit_as_it_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, model) in [("whole", whole("llama_mha")), ("pieces", in_pieces("llama_mha"))] {
        std::fs::create_dir(path(name)).unwrap();
        save(&model.model, &model, &path(name)).unwrap();
    }
    let bytes = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(bytes(&path("whole")) == bytes(&path("pieces")), "the saved files differ");
}

fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < tolerance)
}
