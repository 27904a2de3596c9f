//! KL and agreement of two models' predictions, against sums over logits in f64.

use burn::tensor::Device;
use odyssey::evaluate::divergence::divergence;
use odyssey::evaluate::{Protocol, ProtocolName, Window};
use odyssey::model::parameters::to_host;
use odyssey::model::weights::WeightFiles;
use odyssey::model::{LoadedModel, token_ids};
use odyssey::progress::Silent;

use crate::common::{id_stream, model_folder};

fn base() -> LoadedModel {
    LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap()
}

/// The base with every weight scaled a little, so that it predicts something else.
fn other(folder: &LoadedModel) -> LoadedModel {
    let model = folder.model.clone().map_parameters(|_, _, values| values * 0.9);
    LoadedModel { model, ..folder.clone() }
}

fn windows(tokens: &[u32]) -> Vec<Window> {
    let protocol = Protocol::new(ProtocolName::Strided, Some(40), Some(25), 64).unwrap();
    protocol.windows(&vec![0; tokens.len()])
}

/// ln p of every token of the vocabulary at every scored position, one row each, from whole logits.
fn log_probabilities(model: &LoadedModel, ids: &[u32]) -> Vec<Vec<f64>> {
    let mut rows = Vec::new();
    for Window { start, end, scored, .. } in windows(ids) {
        let logits = model.model.logits(token_ids(&[&ids[start..end - 1]], &model.device));
        let [_, _, vocabulary] = logits.dims();
        let logits = to_host(logits.flatten(0, 2)).unwrap();
        for row in logits.chunks_exact(vocabulary).skip(scored - start - 1) {
            let row: Vec<f64> = row.iter().map(|&logit| f64::from(logit)).collect();
            let normaliser = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            rows.push(row.into_iter().map(|logit| logit - normaliser).collect());
        }
    }
    rows
}

fn likeliest(row: &[f64]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

#[test]
fn divergence_equals_the_sum_over_the_vocabulary() {
    let base = base();
    let other = other(&base);
    let ids = id_stream(&[130]).ids;
    let found = divergence(&base, &other, &ids, &windows(&ids), &mut Silent).unwrap();
    let (p, q) = (log_probabilities(&base, &ids), log_probabilities(&other, &ids));
    assert_eq!(found.positions, 129);
    assert_eq!(p.len(), 129);
    let kl = p.iter().zip(&q).map(|(p, q)| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()).sum::<f64>();
    let agreed = p.iter().zip(&q).filter(|(p, q)| likeliest(p) == likeliest(q)).count();
    assert!(kl / 129.0 > 1e-3, "the two models differ enough to mean something: {kl}");
    assert!((found.kl - kl / 129.0).abs() < 1e-5, "{} against {}", found.kl, kl / 129.0);
    assert_eq!(found.top1_agreement, agreed as f64 / 129.0);
    assert!(agreed < 129, "they do not agree everywhere");
}

#[test]
fn a_model_does_not_diverge_from_itself_however_its_table_is_cut() {
    let base = base();
    let files = WeightFiles::open(&model_folder("gpt2_tied")).unwrap().with_largest_piece(100 * 4 * 48);
    let pieces =
        LoadedModel::from_files(base.config.clone(), &model_folder("gpt2_tied"), files, &Device::flex()).unwrap();
    let ids = id_stream(&[130]).ids;
    let same = divergence(&base, &base, &ids, &windows(&ids), &mut Silent).unwrap();
    assert_eq!((same.kl, same.top1_agreement), (0.0, 1.0));
    let in_pieces = divergence(&pieces, &pieces, &ids, &windows(&ids), &mut Silent).unwrap();
    assert_eq!((in_pieces.kl, in_pieces.top1_agreement), (0.0, 1.0));
    // How a table is cut is nobody's business, and two models may be cut differently.
    let other = other(&base);
    let [whole, cut] =
        [&base, &pieces].map(|before| divergence(before, &other, &ids, &windows(&ids), &mut Silent).unwrap());
    assert!((whole.kl - cut.kl).abs() < 1e-6, "{} against {}", whole.kl, cut.kl);
    assert_eq!(whole.top1_agreement, cut.top1_agreement);
}
