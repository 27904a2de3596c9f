//! Perplexity of real models on real text, against PyTorch's and f64 reference values.

mod common;

use std::path::Path;

use burn::tensor::Device;
use odyssey::evaluate::{Protocol, ProtocolName, ScoredStream, Window, evaluate};
use odyssey::model::LoadedModel;
use odyssey::progress::Silent;
use odyssey::text::{Bos, Corpus, DocumentRule, Split, StreamOptions, open_corpus};
use serde_json::Value;

use common::test_data;

fn json(path: impl AsRef<Path>) -> Value {
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
) -> ScoredStream {
    let tokenizer = model.tokenizer().unwrap();
    let stream = model.stream(corpus, tokenizer.as_ref(), &options).unwrap();
    let protocol = Protocol::new(name, None, stride, model.config.context()).unwrap();
    evaluate(&model.model, &model.device, &stream, &protocol, &mut Silent).unwrap()
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the shared test data")]
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

#[test]
#[cfg_attr(not(test_data), ignore = "needs the shared test data")]
fn disjoint_and_strided_perplexities_of_stories260k_equal_the_reference() {
    let model = open("data/stories260K");
    let reference = json("reference/perplexity/perplexity.json");
    let stride = reference["stride"].as_u64().unwrap() as usize;
    let rows = [
        ("a_disjoint_no_bos", ProtocolName::Disjoint, Bos::Never),
        ("a_disjoint_bos_once_at_stream_start", ProtocolName::Disjoint, Bos::Auto),
        ("b_strided_no_bos", ProtocolName::Strided, Bos::Never),
        ("b_strided_bos_at_start", ProtocolName::Strided, Bos::Always),
    ];
    for (text, expected) in reference["texts"].as_object().unwrap() {
        let path = test_data().join(format!("reference/perplexity/texts/{text}.txt"));
        let corpus = Corpus::read(&path, DocumentRule::File).unwrap();
        for (row, name, bos) in rows {
            let options = StreamOptions { bos, ..StreamOptions::default() };
            let stride = (name == ProtocolName::Strided).then_some(stride);
            let scored = score(&model, &corpus, options, name, stride);
            let (sum, count) = scored.total();
            assert_eq!(count as u64, expected[row]["scored_tokens"].as_u64().unwrap(), "{text} {row}");
            let golden = expected[row]["float64"]["mean_nll"].as_f64().unwrap();
            let mean = sum / count as f64;
            println!("{text} {row}: {mean:.7}, off by {:.1e}", mean - golden);
            assert!((mean - golden).abs() < 2e-5, "{text} {row}: {mean} against {golden}");
        }
    }
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the shared test data")]
fn bits_per_byte_and_word_perplexity_follow_from_the_sum_and_the_texts_bytes_and_words() {
    let model = open("data/stories260K");
    let reference = &json("reference/perplexity/perplexity.json")["texts"]["novels"];
    let path = test_data().join("reference/perplexity/texts/novels.txt");
    let corpus = Corpus::read(&path, DocumentRule::File).unwrap();
    let stream = model.stream(&corpus, model.tokenizer().unwrap().as_ref(), &StreamOptions::default()).unwrap();
    let protocol = Protocol::new(ProtocolName::Disjoint, None, None, 512).unwrap();
    let scored = evaluate(&model.model, &model.device, &stream, &protocol, &mut Silent).unwrap();
    let row = scored.summary("novels", &stream).unwrap();
    let sum = reference["a_disjoint_bos_once_at_stream_start"]["float64"]["nll_sum"].as_f64().unwrap();
    let bytes = reference["bytes"].as_f64().unwrap();
    let words = reference["words_re_split_whitespace"].as_f64().unwrap();
    assert!((row.bits_per_byte.unwrap() - sum / bytes / 2f64.ln()).abs() < 2e-5);
    assert!((row.word_ppl.unwrap().ln() - sum / words).abs() < 1e-4);
    assert!(row.ppl_ci95[0] < row.ppl && row.ppl < row.ppl_ci95[1]);
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the shared test data")]
fn zero_shot_loss_of_wiki_gpt2_on_every_domain_equals_pytorchs() {
    let model = open("models/wiki-gpt2");
    let table = json("models/wiki-gpt2/reference_adaptation.json");
    let mut worst: f64 = 0.0;
    for domain in table["domains"].as_array().unwrap() {
        let name = domain["domain"].as_str().unwrap();
        let path = test_data().join("data/domains").join(name);
        let corpus = open_corpus(&path, Split::Test, DocumentRule::BlankLine).unwrap();
        let scored = score(&model, &corpus, StreamOptions::default(), ProtocolName::Disjoint, None);
        let golden = domain["zero_shot"]["nll_per_token"].as_f64().unwrap();
        assert_eq!(scored.total().1 as u64, domain["zero_shot"]["tokens"].as_u64().unwrap(), "{name}");
        let error = (scored.mean_nll() - golden).abs();
        assert!(error < 1e-4, "{name}: {} against {golden}", scored.mean_nll());
        worst = worst.max(error);
    }
    println!("largest difference over the domains: {worst:.1e} nats per token");
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the shared test data")]
fn first_window_of_wiki_gpt2_equals_pytorchs_token_by_token() {
    let model = open("models/wiki-gpt2");
    let golden = json("models/wiki-gpt2/golden_window.json");
    let numbers = |key: &str| golden[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<f64>>();
    let ids: Vec<u32> = numbers("ids").into_iter().map(|id| id as u32).collect();
    let window = [Window { start: 0, end: ids.len(), scored: 1 }];
    let nll = odyssey::evaluate::score::score(&model.model, &model.device, &ids, &window, 1, &mut Silent).unwrap();
    for (ours, golden) in nll[1..].iter().zip(numbers("nll")) {
        assert!((f64::from(*ours) - golden).abs() < 1e-3, "{ours} against {golden}");
    }
}

#[test]
fn every_token_is_scored_at_most_once_and_strided_windows_leave_out_only_the_first() {
    for tokens in [2, 3, 63, 64, 65, 100, 128, 1000] {
        for (name, stride) in
            [(ProtocolName::Disjoint, None), (ProtocolName::Strided, Some(7)), (ProtocolName::Strided, Some(64))]
        {
            let protocol = Protocol::new(name, Some(64), stride, 64).unwrap();
            let mut times = vec![0; tokens];
            for Window { start, end, scored } in protocol.windows(tokens) {
                assert!(end - start <= 64 && scored > start && end <= tokens);
                times[scored..end].iter_mut().for_each(|t| *t += 1);
            }
            let unscored = times.iter().filter(|&&t| t == 0).count();
            // Windows that do not overlap leave the first token of each unscored.
            let expected = if stride.unwrap_or(64) == 64 { tokens.div_ceil(64) } else { 1 };
            assert_eq!(unscored, expected, "{name:?} {tokens}");
            assert!(times.iter().all(|&t| t <= 1), "{name:?} {tokens}");
        }
    }
}

#[test]
fn strided_tokens_have_at_least_context_minus_stride_tokens_before_them() {
    let protocol = Protocol::new(ProtocolName::Strided, Some(64), Some(16), 64).unwrap();
    for Window { start, scored, .. } in protocol.windows(500).into_iter().skip(1) {
        assert!(scored - start >= 64 - 16);
    }
}
