//! Which tokens each protocol scores and what it reads before them, against the references' own algorithms.

use std::collections::BTreeMap;

use odyssey::error::Error;
use odyssey::model::ModelConfig;
use odyssey::spool::Spool;
use odyssey::text::{Document, Join, TokenStream};

use super::*;

const PREFIX: u32 = 999;

/// A protocol that begins with [`PREFIX`] where it begins with a token.
fn protocol(name: ProtocolName, context: usize, stride: Option<usize>) -> Protocol {
    let mut config = ModelConfig::read(&model_folder("gpt2_tied")).unwrap();
    config.bos_token_id = Some(3);
    let always = StreamOptions { bos: Bos::Always, ..StreamOptions::default() };
    let made = Protocol::for_model(name, Some(context), stride, &config, None, &always).unwrap();
    Protocol { prefix: made.prefix.map(|_| PREFIX), ..made }
}

/// What is read before each scored token, by its place in the stream. No token is scored twice.
fn contexts(protocol: &Protocol, stream: &TokenStream) -> BTreeMap<usize, Vec<u32>> {
    let mut contexts = BTreeMap::new();
    for window in protocol.windows(&stream.document) {
        assert!(window.scored < window.end && window.read() <= protocol.context, "{window:?}");
        for token in window.scored..window.end {
            let read: Vec<u32> = window.prefix.into_iter().chain(stream.ids[window.start..token].to_vec()).collect();
            assert!(!read.is_empty(), "nothing predicts token {token}");
            assert_eq!(read.len(), window.distance(token));
            assert_eq!(contexts.insert(token, read), None, "token {token} is scored twice");
        }
    }
    contexts
}

/// Where each document begins, and its tokens.
fn documents(stream: &TokenStream) -> Vec<(usize, Vec<u32>)> {
    let mut start = 0;
    let parts = stream.document.chunk_by(|a, b| a == b).map(|part| {
        start += part.len();
        (start - part.len(), stream.ids[start - part.len()..start].to_vec())
    });
    parts.collect()
}

/// Lengths of documents: single tokens, shorter than a window, exactly one, one more, several, with and without a rest.
fn streams(context: usize) -> Vec<TokenStream> {
    let n = context;
    let lengths: [&[usize]; 9] = [
        &[2],
        &[1, 1, 1],
        &[n - 1, n],
        &[n],
        &[n + 1],
        &[2 * n],
        &[2 * n + 1],
        &[1, 3 * n - 1, 1, n, 2],
        &[5 * n / 2, 7],
    ];
    lengths.iter().map(|lengths| id_stream(lengths)).collect()
}

/// `get_rolling_token_windows` of lm-evaluation-harness with one token of context, then `make_disjoint_window`.
fn lm_evaluation_harness(tokens: &[u32], max_seq_len: usize) -> BTreeMap<usize, Vec<u32>> {
    let mut pairs = Vec::new();
    let first = max_seq_len.min(tokens.len());
    pairs.push(([&[PREFIX], &tokens[..first - 1]].concat(), 0..first));
    let mut predicted = first;
    while predicted < tokens.len() {
        let end = (predicted + max_seq_len).min(tokens.len());
        pairs.push((tokens[end - max_seq_len - 1..end - 1].to_vec(), predicted..end));
        predicted = end;
    }
    let mut contexts = BTreeMap::new();
    for (read, predicted) in pairs {
        let context = &read[..read.len() - (predicted.len() - 1)];
        for token in predicted.clone() {
            contexts.insert(token, [context, &tokens[predicted.start..token]].concat());
        }
    }
    contexts
}

#[test]
fn rolling_reads_what_lm_evaluation_harness_reads() {
    for context in [2, 3, 8, 64] {
        let rolling = protocol(ProtocolName::Rolling, context, None);
        for stream in streams(context) {
            let mut expected = BTreeMap::new();
            for (start, tokens) in documents(&stream) {
                expected.extend(lm_evaluation_harness(&tokens, context).into_iter().map(|(t, read)| (start + t, read)));
            }
            assert_eq!(expected.len(), stream.ids.len());
            assert_eq!(contexts(&rolling, &stream), expected, "context {context}");
        }
    }
}

#[test]
fn doc_scores_every_token_with_the_prefix_or_one_token_before_its_window() {
    for context in [2, 3, 8, 64] {
        let doc = protocol(ProtocolName::Doc, context, None);
        for stream in streams(context) {
            let mut expected = BTreeMap::new();
            for (start, tokens) in documents(&stream) {
                for token in 0..tokens.len() {
                    let window = token / context * context;
                    let read = match window {
                        0 => [&[PREFIX], &tokens[..token]].concat(),
                        _ => tokens[window - 1..token].to_vec(),
                    };
                    expected.insert(start + token, read);
                }
            }
            assert_eq!(contexts(&doc, &stream), expected, "context {context}");
        }
    }
}

#[test]
fn half_windows_read_and_score_what_llama_cpp_does() {
    for context in [3, 4, 7, 64] {
        for prefix in [None, Some(PREFIX)] {
            let half = Protocol { prefix, ..protocol(ProtocolName::HalfWindow, context, None) };
            for stream in streams(context) {
                let mut expected = BTreeMap::new();
                for chunk in 0..stream.ids.len() / context {
                    let start = chunk * context;
                    let mut tokens = stream.ids[start..start + context].to_vec();
                    if let Some(bos) = prefix {
                        tokens[0] = bos;
                    }
                    // n_ctx − 1 − n_ctx/2 logits from n_ctx/2 on; each predicts the token after its own.
                    for logits in context / 2..context - 1 {
                        expected.insert(start + logits + 1, tokens[..=logits].to_vec());
                    }
                }
                assert_eq!(contexts(&half, &stream), expected, "context {context}");
            }
        }
    }
}

#[test]
fn disjoint_and_strided_windows_leave_out_only_what_nothing_predicts() {
    for tokens in [2, 3, 63, 64, 65, 100, 128, 1000] {
        let stream = id_stream(&[tokens]);
        for (name, stride) in [
            (ProtocolName::Disjoint, 64),
            (ProtocolName::M2d2Exact, 64),
            (ProtocolName::Strided, 7),
            (ProtocolName::Strided, 64),
        ] {
            let contexts = contexts(&protocol(name, 64, Some(stride)), &stream);
            // Windows that do not overlap leave the first token of each unscored.
            let unscored = if stride == 64 { tokens.div_ceil(64) } else { 1 };
            assert_eq!(contexts.len(), tokens - unscored, "{name} {tokens}");
            if name == ProtocolName::Strided {
                assert!(contexts.iter().all(|(&token, read)| read.len() >= token.min(64 - stride).max(1)));
            }
        }
    }
    let [disjoint, m2d2] = [ProtocolName::Disjoint, ProtocolName::M2d2Exact].map(|name| protocol(name, 64, None));
    assert_eq!(disjoint.windows(&[0; 200]), m2d2.windows(&[0; 200]), "only the mean differs");
    let shortest = contexts(&protocol(ProtocolName::Disjoint, 2, None), &id_stream(&[5]));
    assert_eq!(shortest.into_keys().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_document_scores_the_same_alone_as_among_others() {
    let model = LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap();
    for name in [ProtocolName::Rolling, ProtocolName::Doc] {
        let protocol =
            Protocol::for_model(name, Some(16), None, &model.config, None, &StreamOptions::default()).unwrap();
        assert_eq!(protocol.prefix, Some(0), "the model's begin-of-text token");
        let score =
            |stream: &TokenStream| evaluate(&model.model, &model.device, stream, &protocol, &mut Silent).unwrap().nll;
        let all = id_stream(&[1, 40, 16, 3, 17, 1]);
        let together = score(&all);
        for (start, ids) in documents(&all) {
            let zeros = Spool::from(vec![0; ids.len()]);
            let alone = TokenStream { document: zeros.clone(), byte: zeros, ids: ids.into(), ..all.clone() };
            for (token, alone) in score(&alone).into_iter().enumerate() {
                let among = together[start + token];
                assert!((alone - among).abs() < 1e-5, "{name}, token {token} from {start}: {alone} and {among}");
            }
        }
    }
}

#[test]
fn the_prefix_is_begin_of_text_or_else_end_of_text_and_needs_to_be_there() {
    let mut config = ModelConfig::read(&model_folder("gpt2_tied")).unwrap();
    let made = |config: &ModelConfig, name, options: &StreamOptions| {
        Protocol::for_model(name, None, None, config, None, options)
    };
    let prefix = |config: &ModelConfig, name, bos| {
        made(config, name, &StreamOptions { bos, ..StreamOptions::default() }).unwrap().prefix
    };
    (config.bos_token_id, config.eos_token_id) = (Some(5), Some(6));
    for name in [ProtocolName::Rolling, ProtocolName::Doc] {
        assert_eq!(prefix(&config, name, Bos::Never), Some(5), "--bos says how the documents' own tokens begin");
    }
    assert_eq!(prefix(&config, ProtocolName::Disjoint, Bos::Always), None);
    // llama.cpp writes a begin-of-text token where the tokenizer adds one; this model has no tokenizer that does.
    assert_eq!(prefix(&config, ProtocolName::HalfWindow, Bos::Always), Some(5));
    assert_eq!(prefix(&config, ProtocolName::HalfWindow, Bos::Auto), None);
    config.bos_token_id = None;
    assert_eq!(prefix(&config, ProtocolName::Rolling, Bos::Auto), Some(6));

    let refused = |made: Result<Protocol, Error>, says: &str| {
        let error = made.unwrap_err();
        assert!(matches!(error, Error::Input { .. }) && error.to_string().contains(says), "{error}");
    };
    config.eos_token_id = Some(512);
    refused(made(&config, ProtocolName::Rolling, &StreamOptions::default()), "token 512, which does not fit");
    config.eos_token_id = None;
    for name in [ProtocolName::Rolling, ProtocolName::Doc] {
        refused(made(&config, name, &StreamOptions::default()), "put `bos_token_id` or `eos_token_id` into");
        refused(Protocol::new(name, None, None, 64), "put `bos_token_id` or `eos_token_id` into");
    }
    refused(
        made(&config, ProtocolName::HalfWindow, &StreamOptions { bos: Bos::Always, ..StreamOptions::default() }),
        "bos = \"always\": the model has no begin-of-text token",
    );
    assert!(made(&config, ProtocolName::HalfWindow, &StreamOptions::default()).is_ok());
}

#[test]
fn documents_that_are_read_by_themselves_have_nothing_between_them_and_all_begin_alike() {
    let documents = [[5].as_slice(), &[9], &[8, 6, 7]].map(Document::Ids);
    let corpus = Corpus::new(Path::new("books.jsonl"), None, documents).unwrap();
    let whole = |name, bos| {
        let options = StreamOptions { bos, ..StreamOptions::default() };
        ProtocolResult::new(protocol(name, 8, None), DocumentRule::File, &options, None)
    };
    let stream = |whole: ProtocolResult| {
        let stream = TokenStream::build(&corpus, None, Some(9), Some(8), 10, &whole.stream()).unwrap();
        (stream.ids.to_vec(), stream.document.to_vec())
    };
    for name in [ProtocolName::Rolling, ProtocolName::Doc] {
        assert_eq!(whole(name, Bos::Never).join, Join::Apart);
        assert_eq!(stream(whole(name, Bos::Never)), (vec![5, 9, 8, 6, 7], vec![0, 1, 2, 2, 2]));
        // Never before another: the last document has its own.
        assert_eq!(stream(whole(name, Bos::Always)), (vec![8, 5, 8, 9, 8, 6, 7], vec![0, 0, 1, 1, 2, 2, 2]));
    }
    let joined = stream(whole(ProtocolName::Disjoint, Bos::Always));
    assert_eq!(joined, (vec![8, 5, 9, 9, 9, 8, 6, 7], vec![0, 0, 0, 1, 1, 2, 2, 2]));
}

#[test]
fn protocols_that_differ_in_anything_have_other_fingerprints_and_say_in_what() {
    let base = StreamOptions::default();
    let whole = |protocol, rule, options: &StreamOptions| ProtocolResult::new(protocol, rule, options, None);
    let disjoint = protocol(ProtocolName::Disjoint, 64, None);
    let plain = whole(disjoint, DocumentRule::BlankLine, &base);
    let rolling = protocol(ProtocolName::Rolling, 64, None);
    for (other, says) in [
        (
            whole(protocol(ProtocolName::Disjoint, 32, None), DocumentRule::BlankLine, &base),
            "context (64 and 32), stride (64 and 32)",
        ),
        (
            whole(protocol(ProtocolName::Strided, 64, Some(64)), DocumentRule::BlankLine, &base),
            "protocol (disjoint and strided)",
        ),
        (
            whole(protocol(ProtocolName::M2d2Exact, 64, None), DocumentRule::BlankLine, &base),
            "protocol (disjoint and m2d2-exact)",
        ),
        (
            whole(rolling, DocumentRule::BlankLine, &base),
            "protocol (disjoint and rolling), prefix (none and 999), join (eot and apart)",
        ),
        (whole(disjoint, DocumentRule::File, &base), "document (blank-line and file)"),
        (whole(disjoint, DocumentRule::BlankLine, &StreamOptions { bos: Bos::Never, ..base }), "bos (auto and never)"),
        (
            whole(disjoint, DocumentRule::BlankLine, &StreamOptions { join: Join::BlankLine, ..base }),
            "join (eot and blank-line)",
        ),
    ] {
        assert_ne!(plain.fingerprint, other.fingerprint, "{says}");
        assert_eq!(plain.difference(&other), says);
    }
    let other_prefix = whole(Protocol { prefix: Some(1), ..rolling }, DocumentRule::BlankLine, &base);
    let rolling = whole(rolling, DocumentRule::BlankLine, &base);
    assert_ne!(rolling.fingerprint, other_prefix.fingerprint);
    assert_eq!(rolling.difference(&other_prefix), "prefix (999 and 1)");
    // A result read back is the same protocol.
    let read: ProtocolResult = serde_json::from_str(&serde_json::to_string(&rolling).unwrap()).unwrap();
    assert_eq!(read, rolling);
}

#[test]
fn a_mean_weighted_as_m2d2_does_differs_from_the_plain_one_only_by_a_short_last_window() {
    let disjoint = protocol(ProtocolName::Disjoint, 8, None);
    let m2d2 = protocol(ProtocolName::M2d2Exact, 8, None);
    for (tokens, biased) in [(64, false), (67, true), (65, false), (3, false)] {
        let stream = id_stream(&[tokens]);
        let scored = positions::pretend(&stream, &disjoint);
        let [plain, row] = [&disjoint, &m2d2].map(|protocol| scored.summary("text", &stream, protocol).unwrap());
        let mut sum = 0.0;
        let mut counted = 0;
        for window in scored.nll.chunks(8).filter(|window| window.len() > 1) {
            let targets: Vec<f64> = window[1..].iter().map(|&nll| f64::from(nll)).collect();
            sum += targets.iter().sum::<f64>() / targets.len() as f64 * window.len() as f64;
            counted += window.len();
        }
        assert!((row.nll - sum / counted as f64).abs() < 1e-12, "{tokens} tokens");
        assert_eq!((row.nll - plain.nll).abs() > 1e-6, biased, "{tokens} tokens");
        assert_eq!(row.scored, plain.scored);
    }
}
