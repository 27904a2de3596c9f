//! Kernels and devices: every kernel against its plain form, and what happens when a device fails.

mod attention;
#[path = "../common/cli.rs"]
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod device_faults;
mod doctor;
#[path = "../common/encoder.rs"]
mod encoder;
mod functions;
#[path = "../common/golden.rs"]
mod golden;
mod graphics_card;
mod host;
mod shaders;
mod software;
