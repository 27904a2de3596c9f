//! `odyssey devices`: the devices that were found.

use odyssey::device::{Adapter, DeviceChoice, DeviceName, adapters};
use odyssey::error::Result;
use odyssey::process::bytes;
use serde::Serialize;

use super::common::Common;
use super::output;

/// Adapters and backends found, with the limits and features that matter here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  odyssey devices\n  odyssey devices --json")]
pub struct Args {}

#[derive(Serialize)]
struct Devices<'a> {
    schema: &'static str,
    /// What `--device auto` takes.
    auto: DeviceName,
    cpu: DeviceName,
    adapters: &'a [Adapter],
}

pub fn run(_args: &Args, common: &Common) -> Result<()> {
    let devices = Devices {
        schema: "odyssey.devices/1",
        auto: DeviceChoice::Auto.open()?.name,
        cpu: DeviceChoice::Cpu.open()?.name,
        adapters: adapters(),
    };
    output::result(common, &devices, || {
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let cpu = vec![
            "cpu".into(),
            devices.cpu.adapter.clone(),
            "processor".into(),
            "flex".into(),
            "–".into(),
            "–".into(),
            "–".into(),
        ];
        let rows = devices.adapters.iter().map(|a| {
            vec![
                a.choice.clone(),
                a.name.clone(),
                a.kind.into(),
                format!("{}, {}", a.api, a.driver),
                bytes(a.max_binding_bytes),
                yes(a.f16),
                yes(a.subgroups),
            ]
        });
        let headings = ["--device", "name", "kind", "driver", "largest binding", "f16", "subgroups"];
        format!("{}\n\nauto takes: {}", output::table(&headings, std::iter::once(cpu).chain(rows)), devices.auto)
    })
}
