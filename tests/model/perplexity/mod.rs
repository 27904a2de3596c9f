//! Perplexity of real models on real text, against PyTorch's and f64 reference values.

mod commands;
mod positions;
mod protocols;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use odyssey::evaluate::{Protocol, ProtocolName, ProtocolResult, ScoredStream, TextResult, Window, evaluate};
use odyssey::kernels::cross_entropy::ChunkSoftmax;
use odyssey::model::parameters::to_host;
use odyssey::model::{LoadedModel, ModelConfig};
use odyssey::progress::Silent;
use odyssey::text::{Bos, Corpus, DocumentRule, Split, StreamOptions, open_corpus};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::common::{id_stream, model_folder, test_data};

const PROTOCOLS: [ProtocolName; 6] = [
    ProtocolName::Disjoint,
    ProtocolName::Strided,
    ProtocolName::Rolling,
    ProtocolName::HalfWindow,
    ProtocolName::Doc,
    ProtocolName::M2d2Exact,
];

fn read_json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&std::fs::read(test_data().join(path)).unwrap()).unwrap()
}

fn open(folder: &str) -> LoadedModel {
    LoadedModel::open(&test_data().join(folder), &Device::flex()).unwrap()
}

fn score(
    model: &LoadedModel,
    corpus: &Corpus,
    options: StreamOptions,
    name: ProtocolName,
    stride: Option<usize>,
) -> (ScoredStream, TextResult) {
    let tokenizer = model.tokenizer().unwrap();
    let protocol = Protocol::for_model(name, None, stride, &model.config, tokenizer.as_ref(), &options).unwrap();
    let whole = ProtocolResult::new(protocol, DocumentRule::File, &options, tokenizer.as_ref());
    let stream = model.stream(corpus, tokenizer.as_ref(), &whole.stream()).unwrap();
    let scored = evaluate(&model.model, &model.device, &stream, &protocol, &mut Silent).unwrap();
    let row = scored.summary("text", &stream, &protocol).unwrap();
    (scored, row)
}

/// The golden negative log-likelihoods of a row, in the order of the stream.
fn golden_tokens(text: &str, row: &str) -> Option<Vec<f64>> {
    let bytes = std::fs::read(test_data().join(format!("reference/perplexity/nll_{text}.safetensors"))).ok()?;
    let view = SafeTensors::deserialize(&bytes).unwrap().tensor(&format!("{row}.f64")).unwrap().data().to_vec();
    Some(bytemuck::pod_collect_to_vec(&view))
}

#[machine::needs(test_data)]
#[test]
fn stories260k_continues_greedily_as_llama2_c_does() {
    let model = open("data/stories260K");
    let tokenizer = model.tokenizer().unwrap().unwrap();
    let ids = model.model.greedy(&[1], 256, 512, &model.device).unwrap();
    // llama2.c stops at a begin-of-text token; so does its printed text.
    let text: String = ids[1..].iter().take_while(|&&id| id != 1).map(|&id| tokenizer.token_text(id)).collect();
    let golden = std::fs::read_to_string(test_data().join("data/stories260K/golden_greedy.txt")).unwrap();
    let golden = golden.trim_end();
    assert_eq!(golden.chars().count(), 565);
    assert_eq!(text.trim_start().chars().take(565).collect::<String>(), golden);
}

#[machine::needs(test_data)]
#[test]
fn every_protocol_on_stories260k_equals_its_reference_overall_and_token_by_token() {
    let model = open("data/stories260K");
    let reference = read_json("reference/perplexity/perplexity.json");
    let stride = reference["stride"].as_u64().unwrap() as usize;
    let rows = [
        ("a_disjoint_no_bos", ProtocolName::Disjoint, Bos::Never),
        ("a_disjoint_bos_once_at_stream_start", ProtocolName::Disjoint, Bos::Auto),
        ("b_strided_no_bos", ProtocolName::Strided, Bos::Never),
        ("b_strided_bos_at_start", ProtocolName::Strided, Bos::Always),
        ("c_lm_eval_default_add_bos_none", ProtocolName::Rolling, Bos::Auto),
        ("c_lm_eval_add_bos_false", ProtocolName::Rolling, Bos::Never),
        ("d_llama_cpp", ProtocolName::HalfWindow, Bos::Auto),
    ];
    let mut compared = 0;
    for (text, expected) in reference["texts"].as_object().unwrap() {
        let path = test_data().join(format!("reference/perplexity/texts/{text}.txt"));
        let corpus = Corpus::read(&path, DocumentRule::File).unwrap();
        for (row, name, bos) in rows {
            let options = StreamOptions { bos, ..StreamOptions::default() };
            let stride = (name == ProtocolName::Strided).then_some(stride);
            let (scored, summary) = score(&model, &corpus, options, name, stride);
            assert_eq!(summary.scored as u64, expected[row]["scored_tokens"].as_u64().unwrap(), "{text} {row}");
            let golden = |key: &str| expected[row]["float64"][key].as_f64();
            let mean = golden("mean_nll").unwrap();
            println!("{text} {row}: {:.7}, off by {:.1e}", summary.nll, summary.nll - mean);
            assert!((summary.nll - mean).abs() < 2e-5, "{text} {row}: {} against {mean}", summary.nll);
            assert!((summary.ppl / golden("ppl").unwrap() - 1.0).abs() < 2e-5, "{text} {row}");
            // lm-evaluation-harness also gives these.
            if let (Some(words), Some(bits)) = (golden("word_perplexity"), golden("bits_per_byte")) {
                let tokens_per_word = summary.scored as f64 / summary.words as f64;
                let off = summary.word_ppl.unwrap().ln() - words.ln();
                assert!(off.abs() < 2e-5 * tokens_per_word, "{text} {row}: word perplexity off by a factor 1 + {off}");
                let off = summary.bits_per_byte.unwrap() - bits;
                assert!(off.abs() < 2e-5, "{text} {row}: bits per byte off by {off}");
                compared += 1;
            }
            if let Some(golden) = golden_tokens(text, row) {
                let ours: Vec<f64> = scored.scored().map(|token| f64::from(scored.nll[token])).collect();
                assert_eq!(ours.len(), golden.len());
                let worst = ours.iter().zip(&golden).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < 2e-3, "{text} {row}: a token is off by {worst}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * 3 + rows.len(), "word perplexities of three texts, the tokens of one");
}

#[machine::needs(test_data)]
#[test]
fn m2d2s_mean_follows_from_the_reference_tokens_of_disjoint_windows() {
    let model = open("data/stories260K");
    let path = test_data().join("reference/perplexity/texts/tinystories.txt");
    let corpus = Corpus::read(&path, DocumentRule::File).unwrap();
    let never = StreamOptions { bos: Bos::Never, ..StreamOptions::default() };
    let (scored, row) = score(&model, &corpus, never, ProtocolName::M2d2Exact, None);

    // As validate_on_multiple_files.py has it: the mean over a window's targets times the window's tokens.
    let tokens = golden_tokens("tinystories", "a_disjoint_no_bos").unwrap();
    let windows = tokens.chunks(511);
    let sum: f64 = windows.map(|nll| nll.iter().sum::<f64>() / nll.len() as f64 * (nll.len() + 1) as f64).sum();
    let golden = sum / scored.ids.len() as f64;
    assert!((row.nll - golden).abs() < 2e-5, "{} against {golden}", row.nll);
    assert!((row.nll - scored.mean_nll()).abs() > 1e-6, "the bias is small, not nothing");
    assert!((row.bits_per_byte.unwrap() * row.bytes as f64 * 2f64.ln() / sum - 1.0).abs() < 2e-5);
    assert!(row.ppl_ci95[0] < row.ppl && row.ppl < row.ppl_ci95[1]);
}

#[machine::needs(test_data)]
#[test]
fn bits_per_byte_and_word_perplexity_follow_from_the_sum_and_the_texts_bytes_and_words() {
    let model = open("data/stories260K");
    let reference = &read_json("reference/perplexity/perplexity.json")["texts"]["novels"];
    let path = test_data().join("reference/perplexity/texts/novels.txt");
    let corpus = Corpus::read(&path, DocumentRule::File).unwrap();
    let (_, row) = score(&model, &corpus, StreamOptions::default(), ProtocolName::Disjoint, None);
    let sum = reference["a_disjoint_bos_once_at_stream_start"]["float64"]["nll_sum"].as_f64().unwrap();
    let bytes = reference["bytes"].as_f64().unwrap();
    let words = reference["words_re_split_whitespace"].as_f64().unwrap();
    assert!((row.bits_per_byte.unwrap() - sum / bytes / 2f64.ln()).abs() < 2e-5);
    assert!((row.word_ppl.unwrap().ln() - sum / words).abs() < 1e-4);
    assert!(row.ppl_ci95[0] < row.ppl && row.ppl < row.ppl_ci95[1]);
}

#[machine::needs(test_data)]
#[test]
fn zero_shot_loss_of_wiki_gpt2_on_every_domain_equals_pytorchs() {
    let model = open("models/wiki-gpt2");
    let table = read_json("models/wiki-gpt2/reference_adaptation.json");
    let mut worst: f64 = 0.0;
    for domain in table["domains"].as_array().unwrap() {
        let name = domain["domain"].as_str().unwrap();
        let path = test_data().join("data/domains").join(name);
        let corpus = open_corpus(&path, Split::Test, DocumentRule::BlankLine).unwrap();
        let (scored, _) = score(&model, &corpus, StreamOptions::default(), ProtocolName::Disjoint, None);
        let golden = domain["zero_shot"]["nll_per_token"].as_f64().unwrap();
        assert_eq!(scored.total().1 as u64, domain["zero_shot"]["tokens"].as_u64().unwrap(), "{name}");
        let error = (scored.mean_nll() - golden).abs();
        assert!(error < 1e-4, "{name}: {} against {golden}", scored.mean_nll());
        worst = worst.max(error);
    }
    println!("largest difference over the domains: {worst:.1e} nats per token");
}

#[machine::needs(test_data)]
#[test]
fn first_window_of_wiki_gpt2_equals_pytorchs_token_by_token() {
    let model = open("models/wiki-gpt2");
    let golden = read_json("models/wiki-gpt2/golden_window.json");
    let numbers = |key: &str| golden[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<f64>>();
    let ids: Vec<u32> = numbers("ids").into_iter().map(|id| id as u32).collect();
    let window = [Window { prefix: None, start: 0, end: ids.len(), scored: 1 }];
    let nll = odyssey::evaluate::score::score(&model.model, &model.device, &ids, &window, 1, &mut Silent).unwrap();
    for (ours, golden) in nll[1..].iter().zip(numbers("nll")) {
        assert!((f64::from(*ours) - golden).abs() < 1e-3, "{ours} against {golden}");
    }
}

#[test]
fn likelihoods_over_a_real_vocabulary_are_exact_to_a_millionth() {
    // Flat logits over GPT-2's vocabulary: a sum of 50,257 terms of like size, the hardest for f32.
    let (vocabulary, channels, positions) = (50_257_usize, 4_usize, 8_usize);
    let mut state = 7_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let rows: Vec<f32> = (0..vocabulary * channels).map(|_| draw()).collect();
    let hidden: Vec<f32> = (0..positions * channels).map(|_| 8.0 * draw()).collect();
    let config = json!({
        "model_type": "gpt2", "vocab_size": vocabulary, "n_positions": 8, "n_embd": channels, "n_layer": 1, "n_head": 1,
    });
    let config = ModelConfig::from_json("config.json", config.as_object().unwrap().clone()).unwrap();
    let model = LoadedModel::random(config, Path::new("."), 1, &Device::flex()).unwrap().model;
    let model = model.map_parameters(|name, _, old| match name.contains("wte") {
        true => Tensor::from_data(TensorData::new(rows.clone(), [rows.len()]), &old.device()),
        false => old,
    });
    let tensor = Tensor::<2>::from_data(TensorData::new(hidden.clone(), [positions, channels]), &Device::flex());
    let head = model.head();
    let targets: Vec<i32> = (0..positions as i32).map(|i| i * 5000).collect();
    let ids = Tensor::from_data(TensorData::new(targets.clone(), [positions, 1]), &Device::flex());
    let nll = to_host(ChunkSoftmax::new(tensor, &head).nll(&head, ids).flatten(0, 1)).unwrap();
    for (position, (&target, nll)) in targets.iter().zip(nll).enumerate() {
        let logit = |token: usize| -> f64 {
            let product = |c: usize| f64::from(hidden[position * channels + c]) * f64::from(rows[token * channels + c]);
            (0..channels).map(product).sum()
        };
        let normaliser = (0..vocabulary).map(|token| logit(token).exp()).sum::<f64>().ln();
        let exact = normaliser - logit(target as usize);
        assert!((f64::from(nll) - exact).abs() < 2e-6, "position {position}: {nll} instead of {exact}");
    }
}
