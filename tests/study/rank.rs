//! Prediction rank: terms against counts by hand, ranks against transformers, and the commands that show them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use burn::tensor::Device;
use odyssey::model::weights::WeightFiles;
use odyssey::model::{LoadedModel, ModelConfig};
use odyssey::progress::Silent;
use odyssey::rank::score::{Question, questions_for, ranks};
use odyssey::rank::terms::{Lexicon, Term};
use odyssey::rank::words::{joins, sentences, words};
use odyssey::rank::{PromptSet, Ranks, rank, trimmed_mean};
use odyssey::text::Bos;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::cli::{Place, assert_has};
use crate::common::{fixture, model_folder, test_data};

fn pieces(text: &str, ranges: Vec<std::ops::Range<usize>>) -> Vec<&str> {
    ranges.into_iter().map(|range| &text[range]).collect()
}

#[test]
fn a_word_keeps_its_hyphens_and_apostrophes_and_nothing_else() {
    let text = "State-of-the-art (LSTM-based) models don't over-fit -- 'they' said; naïve x_1 2,5 Spanish–American";
    let expected = [
        "State-of-the-art",
        "LSTM-based",
        "models",
        "don't",
        "over-fit",
        "they",
        "said",
        "naïve",
        "x_1",
        "2",
        "5",
        "Spanish–American",
    ];
    assert_eq!(pieces(text, words(text)), expected);
}

#[test]
fn words_of_one_phrase_have_only_white_space_between_them() {
    assert!(joins(" ", "b") && joins("  \t", "B") && joins("\n", "b"));
    assert!(!joins(", ", "b") && !joins("", "b") && !joins("\n", "B") && !joins("\n\n", "b") && !joins(" (", "b"));
}

#[test]
fn a_sentence_ends_at_its_mark_but_not_after_a_short_form_or_at_a_wrapped_line() {
    let text = "Dr. J. Smith met e.g. Mr. Brown.  \"Is it so?\" He left at 5.30 p.m. today! (It rained.) Title\n\
                A line that is\nwrapped ends here. Last";
    let expected = [
        "Dr. J. Smith met e.g. Mr. Brown.",
        "\"Is it so?\"",
        "He left at 5.30 p.m. today!",
        "(It rained.)",
        "Title",
        "A line that is\nwrapped ends here.",
        "Last",
    ];
    assert_eq!(pieces(text, sentences(text)), expected);
}

/// Eleven words: steam and engine three times each, together twice.
const ENGINES: &str = "Steam engine runs. Iron steam engine stops. Steam rises. Engine idles.";

fn by_text(terms: Vec<Term>) -> BTreeMap<String, Term> {
    terms.into_iter().map(|term| (term.text.clone(), term)).collect()
}

#[test]
fn terms_have_the_counts_and_scores_that_are_counted_by_hand() {
    let (terms, generic) = Lexicon::new(&[ENGINES; 4]).terms(None);
    assert!(generic.is_empty());
    // "Iron steam", "engine runs" and the like stand only inside longer terms; "steam engine" also stands alone.
    let order: Vec<&str> = terms.iter().map(|term| term.text.as_str()).collect();
    assert_eq!(order[..2], ["steam engine", "iron steam engine stops"]);
    assert_eq!(
        BTreeSet::from_iter(&order[2..5]),
        BTreeSet::from([&"engine idles", &"steam engine runs", &"steam rises"])
    );
    assert_eq!(order[5..], ["engine", "steam"], "single words come last, where terms are few");

    let terms = by_text(terms);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    // 44 words; steam 12, engine 12, together 8: ln(8·44 / 12²) / ln(44/8).
    let together = (8.0 * 44.0 / 144.0_f64).ln() / (44.0 / 8.0_f64).ln();
    let engine = &terms["steam engine"];
    assert_eq!((engine.count, engine.documents), (8, 4));
    close(engine.cohesion, together);
    close(engine.weight, 8.0 * together);
    // Of four words: ln(p / Π pᵢ) / (−3 ln p) with p = p(iron) = p(stops) = 1/11.
    close(terms["iron steam engine stops"].cohesion, (11.0 * (44.0 / 12.0_f64).powi(2)).ln() / (3.0 * 11.0_f64.ln()));
    assert_eq!(terms["iron steam engine stops"].count, 4);
    close(terms["engine"].weight, 12.0);
}

#[test]
fn a_term_needs_three_documents_or_all() {
    let once = "Steam engine runs. Steam engine stops. Steam engine idles.";
    let none = |documents: &[&str]| !by_text(Lexicon::new(documents).terms(None).0).contains_key("steam engine");
    let other = "Nothing of this kind.";
    assert!(none(&[once, other, other, other]) && none(&[once, once, other, other]));
    assert!(!none(&[once, once, once, other]) && !none(&[once]));
}

#[test]
fn a_reference_removes_what_is_as_frequent_there_and_weighs_the_rest_by_idf() {
    let filler = "Quiet green hills lie far behind them. ".repeat(20);
    let reference = [format!("Steam rises. {filler}"), filler.clone()];
    let reference: Vec<&str> = reference.iter().map(String::as_str).collect();
    let documents = [ENGINES; 4];
    let lexicon = Lexicon::new(&documents);
    let without = by_text(lexicon.terms(None).0);
    let (terms, generic) = lexicon.terms(Some(&reference));
    let with = by_text(terms);
    assert!(generic.is_empty());
    // One of the two reference documents has "steam rises", none has "engine idles".
    let ratio = |term: &str| with[term].weight / without[term].weight;
    assert!((ratio("steam rises") - (3.0_f64 / 2.0).ln()).abs() < 1e-12);
    assert!((ratio("engine idles") - 3.0_f64.ln()).abs() < 1e-12);

    let (terms, generic) = lexicon.terms(Some(&documents));
    assert_eq!((terms, generic.len()), (vec![], 7), "in a text of the same kind all is generic");
    // Half of the domain's rate is the border.
    let scarce = ["Steam engine shows here. Old things there now, nobody else knows."];
    assert_eq!(words(scarce[0]).len(), 11);
    let (terms, _) = lexicon.terms(Some(&scarce));
    assert!(!by_text(terms).contains_key("steam engine"), "1/11 of the words is half of 8/44");
}

#[test]
fn plurals_are_one_term_and_function_words_stand_at_no_end() {
    let text =
        "The breach of contract. Breaches of contract. The law of the sea. Law of the seas. This contract of ours.";
    let terms = by_text(Lexicon::new(&[text; 5]).terms(None).0);
    let several: Vec<&str> = terms.keys().map(String::as_str).filter(|term| term.contains(' ')).collect();
    assert_eq!(several, ["breach of contract", "law of the sea"]);
}

/// Six subjects: a term and the words that go with it.
const SUBJECTS: [[&str; 5]; 6] = [
    ["coral reef", "polyp", "lagoon", "algae", "plankton"],
    ["steam engine", "boiler", "piston", "valve", "flywheel"],
    ["chess opening", "pawn", "knight", "gambit", "bishop"],
    ["bread dough", "yeast", "flour", "oven", "crust"],
    ["jazz trumpet", "solo", "rhythm", "quartet", "melody"],
    ["solar panel", "inverter", "voltage", "sunlight", "battery"],
];

/// Four documents of each subject.
fn train() -> Vec<String> {
    let document = |[term, a, b, c, d]: &[&str; 5], i: usize| {
        let [x, y] = [[a, b], [c, d], [b, c], [d, a]][i];
        format!("The {term} needs the {x}. Without the {y}, the {term} is nothing: no {a}, {b}, {c} or {d}.")
    };
    SUBJECTS.iter().flat_map(|subject| (0..4).map(move |i| document(subject, i))).collect()
}

/// Four sentences of each subject, with what should be asked for.
fn test() -> Vec<(String, [String; 2])> {
    let sentence = |[_, a, b, c, d]: &[&str; 5], i: usize| {
        let [x, y] = [[a, b], [c, d], [b, c], [d, a]][i];
        let prompt = format!("Few of those who came {i} years ago had heard of the");
        (format!("{prompt} {x} or even of the {y}."), [prompt, (*x).to_owned()])
    };
    SUBJECTS.iter().flat_map(|subject| (0..4).map(move |i| sentence(subject, i))).collect()
}

fn set(train: &[String], test: &[String]) -> PromptSet {
    let [train, test] = [train, test].map(|texts| texts.iter().map(String::as_str).collect::<Vec<_>>());
    PromptSet::of_texts(&train, &test, None)
}

fn asked(set: &PromptSet) -> BTreeSet<[String; 2]> {
    set.prompts.iter().map(|prompt| [prompt.prompt.clone(), prompt.target.clone()]).collect()
}

#[test]
fn a_prompt_ends_before_the_first_word_of_its_terms_list() {
    let (sentences, expected): (Vec<String>, Vec<_>) = test().into_iter().unzip();
    let found = set(&train(), &sentences);
    assert_eq!(found.reason, None);
    assert_eq!(found.similarity, "tfidf");
    assert_eq!(asked(&found), expected.into_iter().collect());
    for prompt in &found.prompts {
        let subject = &SUBJECTS[prompt.document.unwrap() / 4];
        assert!(subject.iter().any(|word| prompt.keyword.contains(word)), "{prompt:?}");
    }
    assert_eq!(found, set(&train(), &sentences), "the same texts give the same prompts");
}

#[test]
fn sentences_of_the_training_text_short_ones_and_repeated_ones_are_not_asked() {
    let mut sentences: Vec<String> = test().into_iter().map(|(sentence, _)| sentence).collect();
    sentences.push(sentences[0].clone());
    sentences.push("They all saw the big coral polyp.".to_owned());
    let documents = |more: String| {
        let train = [train(), vec![more]].concat();
        set(&train, &sentences).prompts.iter().filter_map(|prompt| prompt.document).collect::<BTreeSet<_>>()
    };
    let reversed: Vec<&str> = sentences[5].split(' ').rev().collect();
    let all = documents(reversed.join(" "));
    assert_eq!(all, (0..24).collect(), "neither the repeated sentence nor the short one");
    // The same sentence in other letters and with other punctuation.
    let without = documents(sentences[5].to_uppercase().replace('.', "!"));
    assert_eq!(all.difference(&without).collect::<Vec<_>>(), [&5]);
}

#[test]
fn a_target_does_not_stand_in_its_prompt_already() {
    let mut sentences: Vec<String> = test().into_iter().map(|(sentence, _)| sentence).collect();
    sentences[0] = "The polyp is what everybody here calls a polyp in a lagoon at sea.".to_owned();
    let found = set(&train(), &sentences);
    let prompt = found.prompts.iter().find(|prompt| prompt.document == Some(0)).unwrap();
    assert_eq!(prompt.target, "lagoon");
    assert_eq!(prompt.prompt, "The polyp is what everybody here calls a polyp in a");
}

#[test]
fn too_little_text_gives_a_reason_and_no_number() {
    let sentences: Vec<String> = test().into_iter().map(|(sentence, _)| sentence).collect();
    let few = set(&train(), &sentences[..19]);
    assert_eq!(few.prompts, []);
    assert!(few.reason.as_ref().unwrap().contains("19 prompts"), "{few:?}");
    let nothing = set(&["A few words".to_owned()], &sentences);
    assert!(nothing.reason.as_ref().unwrap().contains("0 terms"), "{nothing:?}");
}

fn of_ranks(ranks: &[(&str, u64)]) -> Ranks {
    Ranks {
        similarity: "tfidf".into(),
        keywords: ranks.iter().map(|(keyword, _)| (*keyword).to_owned()).collect(),
        ranks: ranks.iter().map(|(_, rank)| *rank).collect(),
        cut: 0,
        skipped: 0,
        reason: None,
    }
}

#[test]
fn a_summary_holds_the_numbers_counted_by_hand() {
    let ranks = [("a", 1), ("b", 1), ("c", 3), ("d", 10), ("e", 11), ("e", 1000), ("e", 7), ("a", 2)];
    let summary = of_ranks(&ranks).summary().unwrap();
    assert_eq!((summary.prompts, summary.keywords), (8, 5));
    // Sorted 1 1 2 3 7 10 11 1000; 20 % of 8 is one at either end.
    assert_eq!(summary.trimmed_mean, Some((1.0 + 2.0 + 3.0 + 7.0 + 10.0 + 11.0) / 6.0));
    assert_eq!(summary.median, Some(5.0));
    assert_eq!((summary.rank_1, summary.rank_10), (Some(0.25), Some(0.75)));
    let log = (1.0_f64 * 1.0 * 3.0 * 10.0 * 11.0 * 1000.0 * 7.0 * 2.0).ln() / 8.0;
    assert!((summary.mean_log_rank.unwrap() - log).abs() < 1e-12);
    let [low, high] = summary.mean_log_rank_ci95.unwrap();
    assert!(0.0 <= low && low < log && log < high, "{low} {log} {high}");
}

#[test]
fn the_trimmed_mean_is_that_of_scipy() {
    // scipy.stats.trim_mean(x, 0.2)
    assert_eq!(trimmed_mean(&[5]), 5.0);
    assert_eq!(trimmed_mean(&[1, 2, 3, 100]), 26.5);
    assert_eq!(trimmed_mean(&[1, 2, 3, 4, 100]), 3.0);
    assert_eq!(trimmed_mean(&[1, 1, 2, 4, 9, 16, 25, 36, 49, 640, 810]), 141.0 / 7.0);
}

#[test]
fn a_change_is_paired_and_its_interval_resamples_keywords() {
    let before: Vec<(&str, u64)> = vec![("a", 2), ("b", 20), ("c", 200), ("d", 2000), ("e", 20_000), ("e", 3)];
    let halved: Vec<(&str, u64)> = before.iter().map(|&(keyword, rank)| (keyword, rank * 2)).collect();
    let change = of_ranks(&before).change(&of_ranks(&halved)).unwrap();
    assert!((change.change.unwrap() - 2.0_f64.ln()).abs() < 1e-12);
    // Every prompt changes alike, so however different the prompts are, the change does not vary.
    assert!(change.change_ci95.unwrap().iter().all(|end| (end - 2.0_f64.ln()).abs() < 1e-12));
    let other = of_ranks(&[("b", 1); 6]);
    let refused = of_ranks(&before).change(&other).unwrap();
    assert!(refused.change.is_none() && refused.reason.unwrap().contains("same prompts"));
}

#[test]
fn few_keywords_have_no_interval_and_say_so() {
    let summary = of_ranks(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]).summary().unwrap();
    assert_eq!((summary.median, summary.mean_log_rank_ci95), (Some(2.5), None));
    assert!(summary.reason.unwrap().contains("4 keywords"));
}

/// A golden array of i64 or f64 of a small model.
fn golden<T: bytemuck::Pod>(case: &str, name: &str) -> (Vec<usize>, Vec<T>) {
    let bytes = fs::read(model_folder(case).join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data()))
}

/// 1 + the logits above the target's by more than `tie`, and by more than −`tie`.
fn between(logits: &[f64], target: usize, tie: f64) -> [u64; 2] {
    let above = |by: f64| {
        let others = logits.iter().enumerate().filter(|(id, _)| *id != target);
        1 + others.filter(|(_, logit)| **logit > logits[target] + by).count() as u64
    };
    [above(tie), above(-tie)]
}

#[test]
fn ranks_are_those_of_the_golden_logits_also_where_the_head_is_in_pieces() {
    for case in ["gpt2_tied", "llama_gqa", "qwen2", "neox_parallel"] {
        let (shape, ids) = golden::<i64>(case, "input_ids");
        let (_, logits) = golden::<f64>(case, "logits_f64");
        let (time, vocabulary) = (shape[1], logits.len() / ids.len());
        let mut questions = Vec::new();
        let mut expected = Vec::new();
        for position in (0..ids.len()).step_by(3) {
            let start = position / time * time;
            let target = (position * 37 + 5) % vocabulary;
            let ids = ids[start..=position].iter().map(|&id| id as u32).collect();
            questions.push(Question { ids, target: target as u32, cut: false });
            expected.push(between(&logits[position * vocabulary..][..vocabulary], target, 1e-4));
        }
        let folder = model_folder(case);
        let files = WeightFiles::open(&folder).unwrap().with_largest_piece(100 * 4 * 48);
        let config = ModelConfig::read(&folder).unwrap();
        let in_pieces = LoadedModel::from_files(config, &folder, files, &Device::flex()).unwrap();
        assert!(in_pieces.model.head().table().pieces().len() > 1, "{case}");
        let asked: Vec<&Question> = questions.iter().collect();
        for model in [LoadedModel::open(&folder, &Device::flex()).unwrap(), in_pieces] {
            let found = ranks(&model.model, &model.device, &asked, &mut Silent).unwrap();
            for (rank, [low, high]) in found.iter().zip(&expected) {
                assert!(low <= rank && rank <= high, "{case}: {rank} is not in {low}…{high}");
            }
        }
        let certain = expected.iter().filter(|[low, high]| low == high).count();
        assert!(certain * 10 >= expected.len() * 9, "{case}: too many logits tie to tell");
    }
}

#[test]
fn logits_that_are_not_finite_are_an_error_and_no_rank() {
    let place = Place::with_model();
    let path = place.path("model/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let at = tensors.tensor("transformer.ln_f.bias").unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    let mut broken = bytes.clone();
    broken[at..at + 4].copy_from_slice(&f32::MAX.to_le_bytes()); // more than a product can hold
    fs::write(&path, broken).unwrap();
    let model = LoadedModel::open(&place.path("model"), &Device::flex()).unwrap();
    let question = Question { ids: vec![1, 2, 3], target: 4, cut: false };
    let error = ranks(&model.model, &model.device, &[&question], &mut Silent).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}

/// `tests/scripts/rank_with_transformers.py` made `ranks.json` of the prompts beside it.
#[machine::needs(test_data)]
#[test]
fn ranks_of_real_prompts_are_those_of_transformers() {
    let set = PromptSet::read(&fixture("rank/prompts.jsonl")).unwrap();
    let reference: Value = serde_json::from_slice(&fs::read(fixture("rank/ranks.json")).unwrap()).unwrap();
    for (name, folder) in [("wiki-gpt2", "models/wiki-gpt2"), ("stories260K", "data/stories260K")] {
        let model = LoadedModel::open(&test_data().join(folder), &Device::flex()).unwrap();
        let tokenizer = model.tokenizer().unwrap().unwrap();
        let questions = questions_for(&set.prompts, &model, &tokenizer, Bos::Auto).unwrap();
        let found = rank(&set, &model.model, &model, Some(&tokenizer), Bos::Auto, &mut Silent).unwrap();
        assert_eq!((found.skipped, found.cut), (0, 1), "{name}");
        let rows = reference[name].as_array().unwrap();
        assert_eq!((rows.len(), found.ranks.len()), (24, 24));
        for ((row, question), rank) in rows.iter().zip(&questions).zip(&found.ranks) {
            let question = question.as_ref().unwrap();
            assert_eq!(json!(question.target), row["first"], "{name}: {row}");
            assert_eq!(json!(question.ids.len()), row["read"], "{name}: {row}");
            let ends = [&row["rank"][0], &row["rank"][1]].map(|end| end.as_u64().unwrap());
            assert!(ends[0] <= *rank && *rank <= ends[1], "{name}: {rank} is not {row}");
        }
    }
}

/// A domain of the six subjects in `domain`.
fn with_domain(place: &Place) {
    fs::create_dir(place.path("domain")).unwrap();
    let test: Vec<String> = test().into_iter().map(|(sentence, _)| sentence).collect();
    for (split, texts) in [("train", train()), ("valid", train()), ("test", test)] {
        place.write(&format!("domain/{split}.txt"), texts.join("\n\n"));
    }
}

#[machine::needs(test_data)]
#[test]
fn eval_shows_ranks_beside_perplexity_and_asks_the_same_prompts_again() {
    let place = Place::empty();
    with_domain(&place);
    let model = test_data().canonicalize().unwrap().join("models/wiki-gpt2");
    let eval = format!("eval --model {} --text domain --rank", model.display());
    let result = place.result(&format!("{eval} --rank-prompts prompts.jsonl"));
    let row = &result["texts"][0];
    assert_has(row, &["/ppl", "/rank/trimmed_mean", "/rank/mean_log_rank", "/rank/mean_log_rank_ci95", "/rank/median"]);
    assert_eq!((&row["rank"]["prompts"], &row["rank"]["similarity"]), (&json!(24), &json!("tfidf")));
    assert_eq!(String::from_utf8(place.read("prompts.jsonl")).unwrap().lines().count(), 24);

    let again = place.result(&format!("{eval} --rank-from prompts.jsonl"));
    let mut expected = row["rank"].clone();
    expected["similarity"] = json!("given");
    assert_eq!(again["texts"][0]["rank"], expected);

    let said = place.odyssey(&eval);
    assert_eq!(said.status, Some(0));
    assert!(said.out.contains("prediction rank") && said.out.contains("trimmed mean"), "{}", said.out);
    let without = place.result(&eval.replace(" --rank", ""));
    assert_eq!(without["texts"][0].get("rank"), None);

    let itself = place.result(&format!("compare --before {0} --after {0} --text domain --rank", model.display()));
    assert_eq!(itself["rank"]["change"], 0.0);
    assert_eq!(itself["rank"]["before"], row["rank"]);
}

#[test]
fn a_text_that_has_no_terms_has_a_reason_instead_of_a_rank() {
    let place = Place::with_languages();
    let reason = |line: &str| {
        let result = place.result(line);
        let rank = &result["texts"][0]["rank"];
        assert_eq!(
            (&rank["trimmed_mean"], &rank["mean_log_rank"], &rank["prompts"]),
            (&Value::Null, &Value::Null, &json!(0))
        );
        rank["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason("eval --model model --text test.jsonl --rank").contains("no train split"));
    let ids = reason("eval --model model --text test.jsonl --rank --rank-terms-from train.jsonl");
    assert!(ids.contains("token ids"), "{ids}");
}

#[test]
fn options_and_prompts_that_cannot_be_used_are_refused() {
    let place = Place::with_model();
    let eval = "eval --model model --text test.jsonl";
    place.write("none.jsonl", "\n");
    place.refused(&format!("{eval} --rank --rank-from none.jsonl"), &["none.jsonl", "no prompts"]);
    place.write("broken.jsonl", "{\"keyword\": \"k\", \"prompt\": \"p\", \"target\": \"t\"}\n{\"keyword\": \"k\"}\n");
    place.refused(&format!("{eval} --rank --rank-from broken.jsonl"), &["broken.jsonl: line 2", "prompt"]);
    place.write("empty.jsonl", "{\"keyword\": \"k\", \"prompt\": \" \", \"target\": \"t\"}\n");
    place.refused(&format!("{eval} --rank --rank-from empty.jsonl"), &["line 1", "empty"]);
    place.refused(&format!("{eval} valid.jsonl --rank --rank-prompts p.jsonl"), &["--rank-prompts", "one text"]);
}

const STUDY: &str = r#"
name = "Ranked"

[evaluation]
rank = true

[similarity]
chunk = 32
samples = 30
reference_samples = 60

[[models]]
name = "golden"
path = "model"
reference = "languages/base"

[[domains]]
path = "domain"

[[domains]]
path = "languages/lambda-1"

[[strategies]]
name = "full"
recipe = { steps = 3, batch = 4, lr = 1e-2, validations = 1, valid_tokens = 300 }
"#;

#[machine::needs(test_data)]
#[test]
fn a_study_gives_ranks_before_and_after_with_its_perplexities() {
    let place = Place::with_languages();
    with_domain(&place);
    let model = test_data().canonicalize().unwrap().join("models/wiki-gpt2");
    let study = STUDY.replace("path = \"model\"", &format!("path = {:?}", model.display().to_string()));
    place.write("study.toml", &study);
    let results = place.result("study run study.toml --out study");
    let rows = results["rows"].as_array().unwrap();
    let row = |domain: &str| rows.iter().find(|row| row["domain"] == domain).unwrap();

    let ranked = row("domain");
    assert_has(ranked, &["/rank_before", "/rank_after", "/rank_change", "/rank_change_ci95"]);
    assert_eq!(ranked["rank_prompts"], 24);
    let eval = format!("eval --model {} --text domain --rank --rank-reference languages/base", model.display());
    assert_eq!(place.result(&eval)["texts"][0]["rank"]["trimmed_mean"], ranked["rank_before"]);
    let unranked = row("lambda-1");
    if unranked["rank_before"].is_null() {
        assert_has(unranked, &["/rank_reason"]);
    }
    let csv = String::from_utf8(place.read("study/results.csv")).unwrap();
    assert!(
        csv.lines()
            .next()
            .unwrap()
            .contains("rank_before,rank_after,rank_change,rank_change_ci95_low,rank_change_ci95_high,rank_prompts")
    );
    let page = String::from_utf8(place.read("study/report.html")).unwrap();
    assert!(page.contains("Δ ln rank") && page.contains("mean ln rank"));
    assert_eq!(place.kept("study/results.json"), results, "what is written is what is said");

    place.write("plain.toml", study.replace("rank = true", ""));
    let plain = place.result("study run plain.toml --out plain");
    assert!(plain["rows"].as_array().unwrap().iter().all(|row| row.get("rank_before").is_none()));
    let page = String::from_utf8(place.read("plain/report.html")).unwrap();
    assert!(!page.contains("ln rank"), "nothing is said of ranks where they are off");
    let deltas =
        |results: &Value| results["rows"].as_array().unwrap().iter().map(|r| r["delta"].clone()).collect::<Vec<_>>();
    assert_eq!(deltas(&plain), deltas(&results));
}
