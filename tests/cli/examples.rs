//! The files under `examples/` are what their comments say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use odyssey::pretrain::PretrainConfig;
use odyssey::recipe::Decay;
use odyssey::study::StudyConfig;
use odyssey::synth::{Sizes, Splits, write_family};
use odyssey::text::Tokenizer;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn published() -> StudyConfig {
    toml::from_str(&std::fs::read_to_string(example("odyssey2024.toml")).unwrap()).unwrap()
}

/// The top-level domains of M2D2 by the names of its archives (`m2d2_split_names.py` of its repository), spelling
/// included.
const WIKI: [&str; 11] = [
    "Culture_and_the_arts",
    "General_referece",
    "Health_and_fitness",
    "History_and_events",
    "Human_activites",
    "Mathematics_and_logic",
    "Natural_and_physical_sciences",
    "Philosophy_and_thinking",
    "Religion_and_belief_systems",
    "Society_and_social_sciences",
    "Technology_and_applied_sciences",
];
const S2ORC: [&str; 13] = [
    "Art",
    "Philosophy",
    "astro-ph_l1",
    "cond-mat_l1",
    "cs_l1",
    "econ_l1",
    "eess_l1",
    "math_l1",
    "nlin_l1",
    "physics_l1",
    "q-bio_l1",
    "q-fin_l1",
    "stat_l1",
];

#[test]
fn the_published_study_has_five_models_and_ten_domains_of_either_group_by_their_published_names() {
    let study = published();
    let models: Vec<&str> = study.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(models, ["gpt2", "gpt2-large", "gpt2-xl", "OLMo-1B", "LLaMA-7B"]);

    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for domain in &study.domains {
        assert_eq!(domain.path, Path::new("m2d2").join(&domain.name));
        groups.entry(&domain.group).or_default().insert(&domain.name);
    }
    assert_eq!(study.domains.len(), 20);
    assert_eq!(groups.keys().copied().collect::<Vec<_>>(), ["s2orc", "wiki"]);
    for (group, names) in [("wiki", &WIKI[..]), ("s2orc", &S2ORC[..])] {
        assert_eq!(groups[group].len(), 10, "{group}");
        assert!(groups[group].iter().all(|name| names.contains(name)), "{group}: {:?}", groups[group]);
    }
}

#[test]
fn the_published_study_runs_both_arms_over_three_seeds_on_batches_of_16_windows_of_1024() {
    let study = published();
    assert_eq!(study.seeds.len(), 3);
    let arms: Vec<_> = study
        .strategies
        .iter()
        .map(|arm| (arm.name.as_str(), arm.recipe.lr, arm.recipe.decay, arm.recipe.schedule(1000).warmup))
        .collect();
    assert_eq!(arms, [("paper-like", 5e-5, Decay::Constant, 0), ("tuned", 1e-5, Decay::Cosine, 10)]);
    for arm in &study.strategies {
        assert_eq!((arm.recipe.batch, arm.recipe.context, arm.recipe.epochs), (16, Some(1024), 1), "{}", arm.name);
        arm.recipe.check(1024).unwrap(); // GPT-2's longest window
    }
}

#[test]
fn a_study_whose_paths_are_not_there_is_refused_by_the_first_of_them() {
    // A copy, so that what somebody put beside the original does not matter.
    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("odyssey2024.toml");
    std::fs::copy(example("odyssey2024.toml"), &copy).unwrap();
    let refused = |path: &str| {
        let error = StudyConfig::read(&copy).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let missing = scratch.path().join(path);
        let expected = format!("{}: names {}, which does not exist", copy.display(), missing.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    };
    refused("models/gpt2");
    std::fs::create_dir_all(scratch.path().join("models/gpt2")).unwrap();
    refused("references/openwebtext");
}

#[test]
fn the_local_study_and_its_base_read_what_synth_writes() {
    let scratch = tempfile::tempdir().unwrap();
    let beside = |name: &str| scratch.path().join(name);
    std::fs::create_dir(beside("examples")).unwrap();
    for name in ["pretrain.toml", "local.toml"] {
        std::fs::copy(example(name), beside("examples").join(name)).unwrap();
    }
    // As `odyssey synth languages` does, but small.
    let splits = Splits { train: 500, valid: 500, test: 500 };
    let lambdas = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0];
    write_family(&beside("languages"), 42, &lambdas, Sizes { base: splits, domain: splits }).unwrap();

    let base = PretrainConfig::read(&beside("examples/pretrain.toml")).unwrap();
    let tokenizer = Tokenizer::from_file(&base.tokenizer).unwrap();
    assert_eq!(base.model["vocab_size"], tokenizer.vocabulary_size());
    assert_eq!(base.model["eos_token_id"], tokenizer.id_of("<|endoftext|>").unwrap());
    assert!(base.corpus.join("train.txt").is_file());

    // All that is missing now is what `odyssey pretrain` makes.
    let error = StudyConfig::read(&beside("examples/local.toml")).unwrap_err();
    assert!(error.to_string().contains("/base, which does not exist"), "{error}");
    std::fs::create_dir(beside("base")).unwrap();
    StudyConfig::read(&beside("examples/local.toml")).unwrap();
}
