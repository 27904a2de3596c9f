//! Loss by position.

use odyssey::evaluate::Positions;
use odyssey::evaluate::positions::Bin;
use odyssey::text::TokenStream;

use super::*;

/// A stream scored without a model: the loss of a token is a number of its own.
pub fn pretend(stream: &TokenStream, protocol: &Protocol) -> ScoredStream {
    let mut nll = vec![f32::NAN; stream.ids.len()];
    let mut window = vec![0; stream.ids.len()];
    for (index, w) in protocol.windows(&stream.document).into_iter().enumerate() {
        for token in w.scored..w.end {
            nll[token] = 1.0 + ((token * 37) % 101) as f32 / 8.0;
            window[token] = index as u32;
        }
    }
    let TokenStream { ids, document, byte, .. } = stream.clone();
    ScoredStream { ids, nll, document, byte, window }
}

fn protocol(name: ProtocolName, context: usize) -> Protocol {
    let model = odyssey::model::ModelConfig::read(&model_folder("gpt2_tied")).unwrap();
    Protocol::for_model(name, Some(context), None, &model, None, &StreamOptions::default()).unwrap()
}

#[test]
fn bins_double_and_hold_every_scored_token_once() {
    for name in PROTOCOLS {
        for context in [3, 16, 64] {
            let scored = pretend(&id_stream(&[1, 40, 16, 3, 170, 1]), &protocol(name, context));
            let (sum, count) = scored.total();
            let Positions { window, document } = Positions::of(&scored, &protocol(name, context));
            for bins in [&window, &document] {
                assert_eq!(bins.iter().map(|bin| bin.count).sum::<usize>(), count, "{name} {context}");
                let total: f64 = bins.iter().map(|bin| bin.count as f64 * bin.nll).sum();
                assert!((total - sum).abs() < 1e-9 * sum, "{name} {context}: {total} against {sum}");
                assert!(bins.iter().all(|bin| bin.count > 0));
                for &Bin { from, to, .. } in bins {
                    assert!((from, to) == (0, 0) || from.is_power_of_two() && to == 2 * from - 1, "{from}–{to}");
                }
                assert!(bins.windows(2).all(|pair| pair[0].to < pair[1].from));
            }
            // Something is always read before a scored token, and never more than the context.
            assert!(window.iter().all(|bin| bin.from > 0 && bin.from <= context));
        }
    }
}

#[test]
fn distances_are_counted_in_tokens_before() {
    let bin = |from, to, nll: &[f32]| Bin {
        from,
        to,
        count: nll.len(),
        nll: nll.iter().map(|&nll| f64::from(nll)).sum::<f64>() / nll.len() as f64,
    };
    // Documents of 3 and 5 tokens, windows of 4: tokens 0 and 4 are not scored.
    let scored = pretend(&id_stream(&[3, 5]), &protocol(ProtocolName::Disjoint, 4));
    let n = &scored.nll;
    let positions = Positions::of(&scored, &protocol(ProtocolName::Disjoint, 4));
    assert_eq!(positions.window, [bin(1, 1, &[n[1], n[5]]), bin(2, 3, &[n[2], n[3], n[6], n[7]])]);
    assert_eq!(
        positions.document,
        [bin(0, 0, &[n[3]]), bin(1, 1, &[n[1]]), bin(2, 3, &[n[2], n[5], n[6]]), bin(4, 7, &[n[7]])]
    );
    // Rolling reads a prefix before each document; the last token of the second has all four before it.
    let scored = pretend(&id_stream(&[3, 5]), &protocol(ProtocolName::Rolling, 4));
    let n = &scored.nll;
    let positions = Positions::of(&scored, &protocol(ProtocolName::Rolling, 4));
    assert_eq!(
        positions.window,
        [bin(1, 1, &[n[0], n[3]]), bin(2, 3, &[n[1], n[2], n[4], n[5]]), bin(4, 7, &[n[6], n[7]])]
    );
    assert_eq!(
        positions.document,
        [bin(0, 0, &[n[0], n[3]]), bin(1, 1, &[n[1], n[4]]), bin(2, 3, &[n[2], n[5], n[6]]), bin(4, 7, &[n[7]])]
    );
}
