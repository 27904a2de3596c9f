//! Where to compute: the CPU backend, a GPU, or a software adapter.
//!
//! The choice is made here from wgpu's own list of adapters, never by a default deeper down: `auto` takes a real GPU
//! if there is one and otherwise the CPU backend, because a software adapter is several times slower than it.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use burn::tensor::{Device, DeviceKind};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What `--device` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// A real GPU if there is one, otherwise the CPU backend.
    #[default]
    Auto,
    /// The n-th real GPU, discrete ones first.
    Gpu(usize),
    /// A software adapter (lavapipe, WARP).
    Software,
    /// The CPU backend.
    Cpu,
    /// The adapter whose name contains this, whatever its kind.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu(0)),
            "software" => Ok(Self::Software),
            "cpu" => Ok(Self::Cpu),
            "" => Err(Error::input("--device", "is empty", "use auto, gpu, gpu:N, software, cpu or an adapter's name")),
            name => match name.strip_prefix("gpu:") {
                Some(index) => index.parse().map(Self::Gpu).map_err(|_| {
                    Error::input(
                        format!("--device {name}"),
                        format!("{index:?} is not a number"),
                        "use gpu:0, gpu:1, …",
                    )
                }),
                None => Ok(Self::Name(name.to_owned())),
            },
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu(index) => write!(f, "gpu:{index}"),
            Self::Software => f.write_str("software"),
            Self::Cpu => f.write_str("cpu"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

/// The device a result was computed on, recorded in every result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceName {
    /// "cpu (flex)", or "wgpu (vulkan)" and the like.
    pub backend: String,
    /// The adapter's name; the processor for the CPU backend.
    pub adapter: String,
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.backend, self.adapter)
    }
}

/// A device ready to compute on, and its name.
#[derive(Debug, Clone)]
pub struct ChosenDevice {
    /// The device, without autodiff.
    pub device: Device,
    /// What it is called in results.
    pub name: DeviceName,
}

/// A graphics adapter that wgpu found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Adapter {
    /// What `--device` calls it: `gpu:0`, `software`.
    pub choice: String,
    /// Its name.
    pub name: String,
    /// "discrete GPU", "integrated GPU", "virtual GPU", "software" or "other".
    pub kind: &'static str,
    /// "vulkan", "metal" or "dx12".
    pub api: String,
    /// The driver and its version.
    pub driver: String,
    /// Largest piece of memory one kernel can see at once, bytes: larger weights must be split.
    pub max_binding_bytes: u64,
    /// Largest single buffer, bytes.
    pub max_buffer_bytes: u64,
    /// Whether kernels may compute in 16-bit floats.
    pub f16: bool,
    /// Whether kernels may use subgroup operations.
    pub subgroups: bool,
    #[serde(skip)]
    device_kind: DeviceKind,
    #[serde(skip)]
    real: bool,
}

/// The adapters of this machine, real GPUs first. Empty without a graphics driver; never an error.
pub fn adapters() -> &'static [Adapter] {
    // Asked once: graphics loaders dislike instances that come and go on several threads.
    static ADAPTERS: OnceLock<Vec<Adapter>> = OnceLock::new();
    ADAPTERS.get_or_init(enumerate)
}

fn enumerate() -> Vec<Adapter> {
    // As burn's runtime does it: the first graphics API that has a real GPU, else the first that has anything. The
    // same card under two APIs would otherwise be listed twice.
    let apis = [wgpu::Backends::METAL, wgpu::Backends::VULKAN, wgpu::Backends::DX12];
    let lists: Vec<Vec<wgpu::Adapter>> = apis
        .into_iter()
        .map(|api| {
            let descriptor =
                wgpu::InstanceDescriptor { backends: api, ..wgpu::InstanceDescriptor::new_without_display_handle() };
            pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(api))
        })
        .collect();
    let real = |adapter: &wgpu::Adapter| adapter.get_info().device_type != wgpu::DeviceType::Cpu;
    let chosen = lists.iter().find(|list| list.iter().any(real)).or(lists.iter().find(|list| !list.is_empty()));

    // burn counts every kind of adapter from zero, in the order of enumeration.
    let (mut discrete, mut integrated, mut virtual_gpu) = (0.., 0.., 0..);
    let mut found: Vec<(u8, Adapter)> = Vec::new();
    for adapter in chosen.into_iter().flatten() {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let (rank, kind, device_kind) = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => (0, "discrete GPU", DeviceKind::DiscreteGpu(discrete.next().unwrap_or(0))),
            wgpu::DeviceType::IntegratedGpu => {
                (1, "integrated GPU", DeviceKind::IntegratedGpu(integrated.next().unwrap_or(0)))
            }
            wgpu::DeviceType::VirtualGpu => (2, "virtual GPU", DeviceKind::VirtualGpu(virtual_gpu.next().unwrap_or(0))),
            wgpu::DeviceType::Cpu => (4, "software", DeviceKind::Cpu),
            wgpu::DeviceType::Other => (3, "other", DeviceKind::DefaultDevice),
        };
        found.push((
            rank,
            Adapter {
                choice: String::new(),
                name: info.name,
                kind,
                api: info.backend.to_str().to_owned(),
                driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
                max_binding_bytes: limits.max_storage_buffer_binding_size,
                max_buffer_bytes: limits.max_buffer_size,
                f16: features.contains(wgpu::Features::SHADER_F16),
                subgroups: features.contains(wgpu::Features::SUBGROUP),
                device_kind,
                real: info.device_type != wgpu::DeviceType::Cpu,
            },
        ));
    }
    found.sort_by_key(|(rank, _)| *rank);
    let mut adapters: Vec<Adapter> = found.into_iter().map(|(_, adapter)| adapter).collect();
    let mut gpus = 0..;
    for adapter in &mut adapters {
        adapter.choice = if adapter.real { format!("gpu:{}", gpus.next().unwrap_or(0)) } else { "software".into() };
    }
    adapters
}

impl DeviceChoice {
    /// Finds the device.
    ///
    /// # Errors
    /// There is no such adapter; the message lists what there is.
    pub fn open(&self) -> Result<ChosenDevice> {
        match self {
            Self::Cpu => Ok(cpu()),
            Self::Auto => Ok(adapters().iter().find(|a| a.real).map_or_else(cpu, wgpu_device)),
            Self::Gpu(index) => {
                let adapter = adapters().iter().filter(|a| a.real).nth(*index);
                adapter.map(wgpu_device).ok_or_else(|| self.missing("no such GPU was found"))
            }
            Self::Software => {
                let adapter = adapters().iter().find(|a| !a.real);
                adapter.map(wgpu_device).ok_or_else(|| {
                    self.missing("no software adapter was found (on Debian or Ubuntu: apt install mesa-vulkan-drivers)")
                })
            }
            Self::Name(name) => {
                let wanted = name.to_lowercase();
                let mut matching = adapters().iter().filter(|a| a.name.to_lowercase().contains(&wanted));
                match (matching.next(), matching.next()) {
                    (Some(adapter), None) => Ok(wgpu_device(adapter)),
                    (Some(_), Some(_)) => Err(self.missing("several adapters have this in their name")),
                    (None, _) => Err(self.missing("no adapter has this in its name")),
                }
            }
        }
    }

    fn missing(&self, fault: &str) -> Error {
        let there: Vec<String> = adapters().iter().map(|a| format!("{} ({})", a.choice, a.name)).collect();
        let there = if there.is_empty() { "cpu alone".to_owned() } else { format!("cpu, {}", there.join(", ")) };
        Error::input(format!("--device {self}"), fault, format!("this machine has: {there}"))
    }
}

fn cpu() -> ChosenDevice {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let adapter = format!("{} processor, {threads} threads", std::env::consts::ARCH);
    ChosenDevice { device: Device::flex(), name: DeviceName { backend: "cpu (flex)".into(), adapter } }
}

fn wgpu_device(adapter: &Adapter) -> ChosenDevice {
    let name = DeviceName { backend: format!("wgpu ({})", adapter.api), adapter: adapter.name.clone() };
    ChosenDevice { device: Device::wgpu(adapter.device_kind.clone()), name }
}
