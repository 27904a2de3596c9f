//! What the adaptations of a study take of memory.

use super::config::{DomainEntry, ModelEntry, StrategyEntry, StudyConfig};
use crate::device::ChosenDevice;
use crate::error::Result;
use crate::memory::{MemoryPlan, Work};
use crate::model::{ModelConfig, Precision};
use crate::recipe::Packing;
use crate::text::{Domain, Split, Tokenizer};

/// What training a model of the study by one of its strategies needs, with the windows that the study's texts have. They are
/// read where it depends on them.
///
/// # Errors
/// As [`MemoryPlan::new`]; texts that cannot be read.
pub fn training_memory(
    config: &StudyConfig,
    model: &ModelEntry,
    strategy: &StrategyEntry,
    device: &ChosenDevice,
) -> Result<MemoryPlan> {
    let base = ModelConfig::read(&model.path)?;
    // A study holds every model in f32.
    let work = Work::training(&strategy.recipe, &base, Precision::F32)?;
    MemoryPlan::for_texts(&base, work, device, false, |most| {
        let tokenizer = Tokenizer::find(&model.path)?;
        let by_document = strategy.recipe.packing == Packing::Document;
        let domains = config.domains.iter().map(|DomainEntry { path, .. }| path).chain([&model.reference]);
        let mut longest = 1;
        for path in domains.filter(|path| path.exists()) {
            if longest >= most {
                break;
            }
            let domain = Domain::open(path, config.text.read())?;
            for split in [Split::Train, Split::Valid] {
                let corpus = domain.split(split)?;
                let options = config.text.stream();
                let tokens = base.longest_reading(&corpus, tokenizer.as_ref(), by_document, most, &options)?;
                longest = longest.max(tokens);
            }
        }
        Ok(longest)
    })
}
