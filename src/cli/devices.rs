//! `odyssey devices`: the devices that were found.

use odyssey::device::{Card, DeviceChoice, DeviceName, cards};
use odyssey::error::Result;
use odyssey::process::bytes;
use serde::Serialize;

use super::common::Common;
use super::output;

/// The processor and the cards found, with the limits and features that matter here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  odyssey devices\n  odyssey devices --json")]
pub struct Args {}

#[derive(Serialize)]
struct Devices<'a> {
    schema: &'static str,
    /// What `--device auto` takes.
    auto: DeviceName,
    cpu: DeviceName,
    #[serde(rename = "adapters")]
    cards: &'a [Card],
}

pub fn run(_args: &Args, common: &Common) -> Result<()> {
    let devices = Devices {
        schema: "odyssey.devices/1",
        auto: DeviceChoice::Auto.open()?.name,
        cpu: DeviceChoice::Cpu.open()?.name,
        cards: cards(),
    };
    output::result(common, &devices, || {
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let cpu = vec![
            "cpu".into(),
            devices.cpu.card.clone(),
            "processor".into(),
            "flex".into(),
            "–".into(),
            "–".into(),
            "–".into(),
        ];
        let rows = devices.cards.iter().map(|card| {
            vec![
                card.choice.clone(),
                card.name.clone(),
                card.kind.into(),
                format!("{}, {}", card.api, card.driver),
                bytes(card.max_binding_bytes),
                yes(card.f16),
                yes(card.subgroups),
            ]
        });
        let headings = ["--device", "name", "kind", "driver", "largest binding", "f16", "subgroups"];
        format!("{}\n\nauto takes: {}", output::table(&headings, std::iter::once(cpu).chain(rows)), devices.auto)
    })
}
