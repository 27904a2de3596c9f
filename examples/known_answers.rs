//! Holds what a study found against what is true of the synthetic corpora it ran on.
//!
//!     odyssey synth ginc --out ginc
//!     cd ginc
//!     odyssey pretrain pretrain.toml --out model
//!     odyssey study run study.toml --out study
//!     cd ..
//!     cargo run --release --example known_answers -- ginc ginc/study

use std::path::PathBuf;

use odyssey::error::{Error, Result};
use odyssey::files;
use odyssey::similarity::Measure;
use odyssey::stats::spearman;
use odyssey::study;
use odyssey::synth::Known;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [corpora, folder] = &arguments[..] else {
        return Err(Error::input("the command line", "not two arguments", "give the folder of synth and the study's"));
    };
    let results = study::collect(folder)?;

    // All in nats per token: the least loss possible, how far above it the model is before and after, and the KL rate to
    // what wrote the base's corpus. Nothing is above the floor by less than nothing, but for sampling error.
    println!(
        "{:<12} {:>8} {:>14} {:>13} {:>8} {:>8}",
        "domain", "floor", "above, before", "above, after", "gain", "KL"
    );
    let mut known_rates = Vec::new();
    for row in &results.rows {
        let known: Known = files::read_json(&corpora.join(&row.domain).join("known.json"))?;
        let [before, after] = [row.zero_shot_ppl, row.adapted_ppl].map(|ppl| ppl.ln() - known.entropy_rate);
        let kl = known.kl_to_base.map_or("–".to_owned(), |kl| format!("{kl:.4}"));
        let (domain, floor) = (&row.domain, known.entropy_rate);
        println!("{domain:<12} {floor:>8.4} {before:>14.4} {after:>13.4} {:>+8.4} {kl:>8}", -row.delta);
        known_rates.extend(known.kl_to_base.map(|kl| (kl, row)));
    }

    println!("\nrank correlation (Spearman's ρ) with the KL rate over {} rows:", known_rates.len());
    let rates: Vec<f64> = known_rates.iter().map(|(kl, _)| *kl).collect();
    let show = |name: &str, values: Vec<f64>| match spearman(&rates, &values) {
        Ok(rho) => println!("{name:<32} {:+.3}", rho.statistic),
        Err(why) => println!("{name:<32} – ({why})"),
    };
    show("gain of adaptation", known_rates.iter().map(|(_, row)| -row.delta).collect());
    for measure in Measure::shown() {
        show(measure.label(), known_rates.iter().filter_map(|(_, row)| row.similarity.get(measure)).collect());
    }
    Ok(())
}
