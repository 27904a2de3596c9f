//! The table of strategies. A strategy is a file of this folder and a line of the table.
//!
//! Its settings are one key of the recipe: a key of TOML and JSON, options of the command line with their `--help`, fields
//! of the application's form and lines of the reference all come from the settings' type.

mod table;
mod weights;

use table::strategies;

use crate::error::{Error, Result};
use crate::model::LoraSettings;
use crate::recipe::strategy::Strategy;

strategies! {
    // What is trained. A run has exactly one of these: the recipe's `strategy`.
    trained {
        /// All weights, plain cross-entropy.
        #[default]
        Full: full,
        /// Low-rank adapters beside the frozen weights, plain cross-entropy; writes a folder that peft reads.
        Lora: lora { lora: LoraSettings },
    }
    // What is added. A run has as many as its recipe names, in this order.
    added {
        freeze: Freeze,
        replay: Replay,
        lfr: Lfr,
        stm: Stm,
        flow: Flow,
        slm: Slm,
        tlt: Tlt,
        kd: Kd,
        l2_sp: L2Sp,
        recadam: RecAdam,
        ema: Ema,
        lawa: Lawa,
        wise_ft: WiseFt,
    }
}

fn refuse_others(trained: Trainable, belongs_to: Trainable) -> Result<()> {
    let name = |trainable: Trainable| {
        clap::ValueEnum::to_possible_value(&trainable).map_or_else(String::new, |value| value.get_name().to_owned())
    };
    if trained == belongs_to {
        return Ok(());
    }
    let [is, needed] = [trained, belongs_to].map(name);
    let cure = format!("use {needed}, or leave them out");
    Err(Error::key("strategy", format!("is {is}, but {needed} settings are given"), cure))
}
