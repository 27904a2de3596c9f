//! Results of studies that never ran, for tests of what shows them.

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;

use odyssey::compare::{ClassChange, Handful, LineBreakParts, Passage, PassageToken, TypeChange, Without};
use odyssey::similarity::{Distances, Measure};
use odyssey::stats::Estimate;
use odyssey::study::{
    AblationRow, Call, Correlation, DomainChange, Influence, NullDistance, PartIntervals, PartialCorrelation,
    RestartControl, Row, RowEvidence, StudyResults,
};
use odyssey::text::{Join, Overlap, TokenClass};

pub const HOSTILE: [&str; 4] = ["<script>alert(1)</script>", "\"'&", "a\u{1b}[31m\0b\u{7}", "\u{202e}evil\u{200f}"];
pub const NAMES: [&str; 25] = [
    "wiki_general",
    "wiki_military_history",
    "wiki_politics",
    "wiki_science_health",
    "wiki_religion",
    "wiki_film_tv",
    "wiki_sports",
    "wiki_nature",
    "arxiv_physics.hist-ph",
    "speeches",
    "contracts",
    "arxiv_q-bio.PE",
    "arxiv_q-fin.ST",
    "arxiv_physics.space-ph",
    "arxiv_cs.CL",
    "math_word_problems",
    "arxiv_econ.EM",
    "novels",
    "man_pages",
    "kjv_bible",
    "tinystories",
    "arxiv_math.CT",
    "dialogue",
    "python_code",
    "math_latex",
];

/// A number between -1 and 1 that depends on `index` and `salt` in no obvious way.
pub fn wobble(index: usize, salt: usize) -> f64 {
    ((index * 37 + salt * 101) as f64 * 12.9898).sin()
}

pub fn domain_name(index: usize) -> String {
    match index / NAMES.len() {
        0 => NAMES[index % NAMES.len()].to_owned(),
        round => format!("{}_{round}", NAMES[index % NAMES.len()]),
    }
}

pub fn group_of(domain: &str) -> &'static str {
    if domain.starts_with("wiki") {
        "Wikipedia"
    } else if domain.starts_with("arxiv") {
        "arXiv"
    } else {
        "other"
    }
}

pub fn type_change(token: &str, class: TokenClass, contribution: f64) -> TypeChange {
    TypeChange {
        id: token.len() as u32,
        token: token.to_owned(),
        class,
        count: 1234,
        share: 0.02,
        before: 3.0,
        after: 3.0 + contribution / 0.02,
        contribution,
        contribution_ci95: [contribution - 0.003, contribution + 0.003],
    }
}

pub fn passage(delta: f64) -> Passage {
    let text =
        "The history of the abbey\n\n=<br> Early \"years\" = \nIt was founded in 1132 & dissolved\u{202e} in 1539 .";
    let mut tokens: Vec<PassageToken> = text
        .split_inclusive([' ', '\n'])
        .enumerate()
        .map(|(i, piece)| PassageToken {
            text: piece.to_owned(),
            before: Some(3.0),
            after: Some(3.0 + delta as f32 + 4.0 * wobble(i, 9) as f32),
        })
        .collect();
    tokens[0] = PassageToken { text: tokens[0].text.clone(), before: None, after: None };
    Passage { document: 7, byte: 1204, delta, tokens }
}

pub fn row(index: usize, strategy: &str, seed: u64) -> Row {
    let domain = domain_name(index);
    let mmd2 = 0.02 + 0.3 * (index % NAMES.len()) as f64 / 25.0 + 0.02 * wobble(index, 1);
    let delta = 0.12 - 0.9 * mmd2 + 0.05 * wobble(index, 2);
    let half = 0.02 + 0.02 * wobble(index, 3).abs();
    let zero_shot_ppl = 30.0 + 400.0 * mmd2;
    let curve = |wiggle: f64| {
        (0..80_u64)
            .map(|i| {
                (
                    i * 10,
                    zero_shot_ppl.ln()
                        + delta * (1.0 - (-(i as f64) / 20.0).exp())
                        + wiggle * wobble(i as usize, index),
                )
            })
            .collect::<Vec<_>>()
    };
    Row {
        group: group_of(&domain).to_owned(),
        model: "gpt2".to_owned(),
        strategy: strategy.to_owned(),
        seed,
        device: "cpu".to_owned(),
        fingerprint: format!("{:016x}", index * 977),
        zero_shot_ppl,
        adapted_ppl: zero_shot_ppl * delta.exp(),
        delta,
        delta_ci95: [delta - half, delta + half],
        similarity: Distances {
            samples: 1000,
            ..[
                (Measure::Mmd2, Estimate::from(mmd2)),
                (Measure::Frechet, 10_f64.powf(-1.0 + 10.0 * mmd2).into()),
                (Measure::CentroidCosine, (1.0 - mmd2).into()),
                (Measure::Energy, Err("too few samples".to_owned()).into()),
                (Measure::UnigramJs, (0.08 + mmd2).into()),
                (Measure::UnigramCrossEntropy, (6.0 + 5.0 * mmd2).into()),
                (Measure::VocabularyOverlap, (0.9 - mmd2).into()),
                (Measure::NewlineRate, (0.02 + 0.01 * wobble(index, 4).abs()).into()),
            ]
            .into_iter()
            .collect()
        },
        newline_rate: 0.02 + 0.01 * wobble(index, 4).abs(),
        overlap: Some(Overlap {
            test_13grams_in_train: Some(0.001 * index as f64),
            near_duplicate_documents: Some(0.0),
            reason: None,
        }),
        train_tokens: 280_469,
        evidence: RowEvidence { available_tokens: Some(280_470), ..Default::default() },
        test_tokens: 35_652,
        train_loss: curve(0.08),
        valid_loss: curve(0.0).into_iter().step_by(10).collect(),
        top_types: vec![
            type_change("\n", TokenClass::Newline, 0.05),
            type_change(" the", TokenClass::FunctionWord, 0.02),
            type_change(HOSTILE[0], TokenClass::Other, 0.01),
            type_change(" engine", TokenClass::WordStart, -0.01),
            type_change("ing", TokenClass::WordPiece, -0.04),
        ],
        classes: TokenClass::ALL
            .into_iter()
            .enumerate()
            .map(|(i, class)| ClassChange {
                class,
                count: 4000,
                share: 0.125,
                before: 3.0,
                after: 3.0 + wobble(index, i),
                contribution: 0.125 * wobble(index, i),
            })
            .collect(),
        handful: Handful {
            types: 17,
            share_of_worsening: 0.903,
            held_out_share_of_top_10: Some(0.71),
            held_out_share_of_random_10: Some(0.012),
            ..Handful::default()
        },
        without: BTreeMap::from([
            (
                "newline".to_owned(),
                Without {
                    scored: 34_000,
                    before: Some(40.0),
                    after: Some(38.0),
                    delta: Some(delta - 0.05),
                    ..Without::default()
                },
            ),
            ("handful".to_owned(), Without::default()),
        ]),
        passages: vec![passage(0.8), passage(-0.6)],
        seconds: 61.5,
        domain,
        ..Row::default()
    }
}

pub fn correlation(x: &str, scope: &str, of: &str, r: f64) -> Correlation {
    Correlation {
        x: x.to_owned(),
        scope: scope.to_owned(),
        of: of.to_owned(),
        n: 25,
        pearson: Estimate { p: Some(0.0031), ci95: Some([r - 0.1, r + 0.1]), ..r.into() },
        spearman: Estimate { p: Some(0.0004), ..(r * 0.9).into() },
        kendall: Estimate { p: Some(0.21), ..(r * 0.7).into() },
        ..Correlation::default()
    }
}

pub fn made_up(domains: usize) -> StudyResults {
    let of = "gpt2 / full";
    let mut correlations: Vec<Correlation> = Measure::shown()
        .filter(|measure| *measure != Measure::Energy)
        .map(|measure| {
            let r = if measure == Measure::Mmd2 { 0.87 } else { 0.55 };
            correlation(measure.key(), "pooled", of, if measure.is_similarity() { r } else { -r })
        })
        .collect();
    correlations.push(correlation("mmd2", "within:arXiv", of, -0.31));
    correlations.push(Correlation {
        n: 2,
        pearson: Estimate { reason: Some("fewer than three domains".to_owned()), ..Estimate::default() },
        spearman: Estimate::default(),
        kendall: Estimate::default(),
        ..correlation("mmd2", "within:other", of, 0.0)
    });
    StudyResults {
        schema: "odyssey.study/1".to_owned(),
        name: "Twenty-five domains".to_owned(),
        version: "0.1.0".to_owned(),
        settings: "[training]\nlearning_rate = 5e-5\n".to_owned(),
        rows: (0..domains).map(|index| row(index, "full", 1)).collect(),
        null: vec![NullDistance {
            model: "gpt2".to_owned(),
            reference: "wiki_general".to_owned(),
            distances: [(Measure::Mmd2, -0.0001), (Measure::UnigramJs, 0.0212)].into_iter().collect(),
        }],
        correlations: if domains < 3 { Vec::new() } else { correlations },
        ..StudyResults::default()
    }
}

/// The same with calls, a restart control and an ablation grid.
pub fn controlled(domains: usize) -> StudyResults {
    let mut results = made_up(domains);
    results.domains = results
        .rows
        .iter()
        .zip([Call::Worse, Call::Better, Call::NoDifference].into_iter().cycle())
        .map(|(row, call)| DomainChange {
            model: row.model.clone(),
            domain: row.domain.clone(),
            group: row.group.clone(),
            strategy: row.strategy.clone(),
            seeds: vec![1],
            delta: row.delta,
            delta_ci95: row.delta_ci95,
            over: "documents".to_owned(),
            clusters: 80,
            p: Some(0.012),
            q: Some(0.034),
            t_p: Some(0.05),
            call,
            error_rate: 0.05,
            smallest_effect: 0.0312,
            restart_delta: Some(0.1926),
            beyond_restart: Estimate {
                ci95: Some(row.delta_ci95.map(|end| end - 0.1926)),
                ..(row.delta - 0.1926).into()
            },
            ..DomainChange::default()
        })
        .collect();
    results.restart_control = vec![RestartControl {
        model: "gpt2".to_owned(),
        reference: HOSTILE[0].to_owned(),
        strategy: "full".to_owned(),
        seeds: vec![1],
        delta: Estimate { ci95: Some([0.18, 0.21]), ..0.1926.into() },
        held_out: "its test split".to_owned(),
        train_tokens: 196_608,
        test_tokens: 151_696,
        ..RestartControl::default()
    }];
    let names = results.rows.iter().map(|row| row.domain.clone()).take(3).collect::<Vec<_>>();
    for (at, name) in names.iter().map(String::as_str).chain(["reference corpus"]).enumerate() {
        for (train_join, cost) in [(Join::Eot, 0.0), (Join::None, 0.07)] {
            for (lr, change) in [(1e-4, -0.1), (1e-3, 0.1)] {
                for eval_join in [Join::Eot, Join::None] {
                    let delta = change + cost + 0.01 * at as f64;
                    results.ablation.push(AblationRow {
                        model: "gpt2".to_owned(),
                        domain: name.to_owned(),
                        control: at == names.len(),
                        strategy: "full".to_owned(),
                        train_join,
                        eval_join,
                        lr,
                        seeds: vec![1],
                        delta,
                        delta_ci95: [delta - 0.02, delta + 0.02],
                        parts: LineBreakParts {
                            newline: cost,
                            after_newline: 0.01,
                            boundary: Some(0.003),
                            rest: delta - cost - 0.013,
                        },
                        parts_ci95: Some(PartIntervals {
                            newline: [cost - 0.004, cost + 0.004],
                            after_newline: [0.005, 0.015],
                            boundary: [0.001, 0.0057],
                            rest: [-1.0, 1.0],
                        }),
                        restart_delta: Some(change + cost),
                        ..AblationRow::default()
                    });
                }
            }
        }
    }
    let pooled = &mut results.correlations[0];
    pooled.within_groups = Some(-0.123);
    pooled.partial = Some(PartialCorrelation {
        controls: vec!["newline_rate".to_owned()],
        pearson: Estimate { p: Some(0.021), ..(-0.456).into() },
    });
    pooled.influence = Some(Influence { domain: HOSTILE[0].to_owned(), pearson: -0.789 });
    pooled.warning = Some("mostly the contrast between groups".to_owned());
    results
}

pub fn empty() -> StudyResults {
    StudyResults { rows: Vec::new(), null: Vec::new(), correlations: Vec::new(), ..made_up(0) }
}

/// Two strategies and two seeds, hostile names, and an unfinished task.
pub fn many_arms() -> StudyResults {
    let mut results = made_up(6);
    results.rows.extend((0..6).map(|index| row(index, "full", 2)));
    results.rows.extend((0..6).map(|index| row(index, "lora", 1)));
    results.missing = vec!["adapt gpt2 to novels with lora, seed 2".to_owned()];
    results
}

pub fn hostile() -> StudyResults {
    let mut results = made_up(4);
    for (row, name) in results.rows.iter_mut().zip(HOSTILE) {
        row.domain = name.to_owned();
        row.group = name.to_owned();
        row.device = name.to_owned();
        row.top_types[0].token = name.to_owned();
        row.passages[0].tokens[1].text = name.to_owned();
        row.similarity[Measure::Energy].reason = Some(name.to_owned());
    }
    results.name = HOSTILE.concat();
    results.settings = HOSTILE.concat();
    results.missing = vec![HOSTILE.concat()];
    results.null[0].reference = HOSTILE[0].to_owned();
    results.correlations.push(correlation(HOSTILE[0], &format!("within:{}", HOSTILE[2]), "gpt2 / full", 0.1));
    results
}
