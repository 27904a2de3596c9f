//! Where to compute: the CPU backend, a GPU, or a software card.
//!
//! The choice is made here from wgpu's own list of adapters, never by a default of a library below: `auto` takes a real
//! GPU if there is one and otherwise the CPU backend, because a software card is several times slower than it.

mod batch;
pub mod diagnosis;
pub mod faults;
mod hush;
pub mod limits;
pub mod precision;
pub mod read_back;

pub use batch::batch_size;

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use burn::tensor::wgpu::{WgpuBackend, WgpuInitError};
use burn::tensor::{Device, DeviceKind};
use serde::{Deserialize, Serialize};

use crate::error::{DeviceFault, Error, Result};
use crate::message::Message;
use crate::notice;
use limits::{Bound, FreeMemory};

/// The device that `--device` names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// A real GPU if there is one, otherwise the CPU backend.
    #[default]
    Auto,
    /// The n-th real GPU, discrete ones first.
    Gpu(usize),
    /// A software card (lavapipe, WARP).
    Software,
    /// The CPU backend.
    Cpu,
    /// The card whose name contains this, whatever its kind.
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
            "" => Err(Error::key("device", "is empty", "use auto, gpu, gpu:N, software, cpu or a card's name")),
            name => match name.strip_prefix("gpu:") {
                Some(index) => index.parse().map(Self::Gpu).map_err(|_| {
                    Error::setting("device", name, format!("{index:?} is not a number"), "use gpu:0, gpu:1, …")
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
    /// The card's name; the processor for the CPU backend. Files call it `adapter`.
    #[serde(rename = "adapter")]
    pub card: String,
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.backend, self.card)
    }
}

/// A device ready to compute on, and its name.
#[derive(Debug, Clone)]
pub struct ChosenDevice {
    /// The device, without autodiff.
    pub device: Device,
    /// Its name in results.
    pub name: DeviceName,
    /// Its driver and the driver's version; empty for the CPU backend.
    pub driver: String,
    /// Bytes that a kernel can see at once; `None` for the CPU backend, which has no such limit.
    pub largest_binding: Option<u64>,
    memory: Memory,
}

/// Which memory a device uses.
#[derive(Debug, Clone, Copy)]
enum Memory {
    /// The system's.
    System,
    /// Its own, so many bytes.
    Own(u64),
    /// Its own, of unknown size.
    Unknown,
}

impl ChosenDevice {
    /// What is free for a run: of the memory that the system has and lets this process take, or the whole of a card's own.
    /// `None` where nobody says.
    pub fn free_memory(&self) -> Option<FreeMemory> {
        match self.memory {
            Memory::System => FreeMemory::now(),
            Memory::Own(bytes) => Some(FreeMemory { bytes, bound_by: Bound::Card }),
            Memory::Unknown => None,
        }
    }
}

/// A card: an adapter that wgpu found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Card {
    /// Its name for `--device`: `gpu:0`, `software`.
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
    /// Memory of its own, bytes; absent where it shares the system's, or does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_memory_bytes: Option<u64>,
    /// Whether kernels may compute in 16-bit floats.
    pub f16: bool,
    /// Whether kernels may use subgroup operations.
    pub subgroups: bool,
    #[serde(skip)]
    device_kind: DeviceKind,
    /// The connection, opened at the first use.
    #[serde(skip)]
    opened: OnceLock<Device>,
    /// The connection that replaced it after it was lost.
    #[serde(skip)]
    fresh: OnceLock<Device>,
}

impl Card {
    /// Its name in errors.
    fn label(&self) -> String {
        format!("{} ({})", self.choice, self.name)
    }

    /// The device of this card.
    fn open(&self) -> Result<Device> {
        if let Some(device) = self.fresh.get().or(self.opened.get()) {
            return Ok(device.clone());
        }
        let device = match faults::open(self.device_kind.clone(), WgpuBackend::Auto) {
            Ok(device) => device,
            // Another thread opened it meanwhile.
            Err(WgpuInitError::Registration { .. }) => Device::wgpu(self.device_kind.clone()),
            Err(error) => {
                let fault = format!("cannot be opened: {error}");
                return Err(Error::Device { device: self.label(), kind: DeviceFault::Other, fault: fault.into() });
            }
        };
        Ok(self.opened.get_or_init(|| device).clone())
    }

    /// Whether it is hardware.
    pub fn is_real(&self) -> bool {
        self.kind != SOFTWARE
    }

    /// Its name in results.
    pub fn device_name(&self) -> DeviceName {
        DeviceName { backend: format!("wgpu ({})", self.api), card: self.name.clone() }
    }
}

/// The kind of a card that computes on the processor.
const SOFTWARE: &str = "software";

/// The cards of this machine, real GPUs first. Empty without a graphics driver; never an error.
pub fn cards() -> &'static [Card] {
    // Asked once: graphics loaders fail if instances are created and dropped on several threads.
    static CARDS: OnceLock<Vec<Card>> = OnceLock::new();
    CARDS.get_or_init(|| hush::hushed(enumerate))
}

fn enumerate() -> Vec<Card> {
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

    // burn counts every kind of card from zero, in the order of enumeration.
    let (mut discrete, mut integrated, mut virtual_gpu) = (0.., 0.., 0..);
    let mut found: Vec<(u8, Card)> = Vec::new();
    for adapter in chosen.into_iter().flatten() {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let (rank, kind, device_kind) = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => (0, "discrete GPU", DeviceKind::DiscreteGpu(discrete.next().unwrap_or(0))),
            wgpu::DeviceType::IntegratedGpu => {
                (1, "integrated GPU", DeviceKind::IntegratedGpu(integrated.next().unwrap_or(0)))
            }
            wgpu::DeviceType::VirtualGpu => (2, "virtual GPU", DeviceKind::VirtualGpu(virtual_gpu.next().unwrap_or(0))),
            wgpu::DeviceType::Cpu => (4, SOFTWARE, DeviceKind::Cpu),
            wgpu::DeviceType::Other => (3, "other", DeviceKind::DefaultDevice),
        };
        found.push((
            rank,
            Card {
                choice: String::new(),
                name: info.name,
                kind,
                api: info.backend.to_str().to_owned(),
                driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
                max_binding_bytes: limits.max_storage_buffer_binding_size,
                max_buffer_bytes: limits.max_buffer_size,
                own_memory_bytes: own_memory(adapter),
                f16: features.contains(wgpu::Features::SHADER_F16),
                subgroups: features.contains(wgpu::Features::SUBGROUP),
                device_kind,
                opened: OnceLock::new(),
                fresh: OnceLock::new(),
            },
        ));
    }
    found.sort_by_key(|(rank, _)| *rank);
    let mut cards: Vec<Card> = found.into_iter().map(|(_, card)| card).collect();
    let mut gpus = 0..;
    for card in &mut cards {
        card.choice = if card.is_real() { format!("gpu:{}", gpus.next().unwrap_or(0)) } else { SOFTWARE.into() };
    }
    cards
}

/// Memory of a discrete card, bytes; `None` where it shares the system's, or its API does not say.
fn own_memory(adapter: &wgpu::Adapter) -> Option<u64> {
    if adapter.get_info().device_type != wgpu::DeviceType::DiscreteGpu {
        return None;
    }
    #[cfg(not(target_vendor = "apple"))]
    {
        // SAFETY: the adapter is only asked for its properties, and not kept.
        let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
        let instance = vulkan.shared_instance().raw_instance();
        // SAFETY: the physical device belongs to this instance, which is alive.
        let memory = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
        const DEVICE_LOCAL: u32 = 1; // VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
        let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
        heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
    }
    #[cfg(target_vendor = "apple")]
    None
}

/// The card that `auto` takes: the first real GPU without a fault by `found_wrong`. A warning names the fault of
/// each one that is passed over.
pub fn automatic(cards: &[Card], found_wrong: impl Fn(&Card) -> Option<String>) -> Option<&Card> {
    cards.iter().filter(|card| card.is_real()).find(|card| {
        let fault = found_wrong(card);
        if let Some(fault) = &fault {
            let Card { choice, name, .. } = card;
            tracing::warn!("{choice} ({name}) is passed over, odyssey doctor found it wrong: {fault}");
        }
        fault.is_none()
    })
}

/// The card behind a device; `None` for the CPU backend.
pub(crate) fn card_of(device: &Device) -> Option<&'static Card> {
    let device = device.clone().inner();
    if device == Device::flex() {
        return None;
    }
    cards().iter().find(|card| Device::wgpu(card.device_kind.clone()) == device || card.fresh.get() == Some(&device))
}

/// Tokens that a kernel of `device` can sum over; `None` if there is no limit.
///
/// llvmpipe, the usual software card, ends every loop of a kernel after 65,532 rounds and silently leaves out the
/// rest. The gradients of biases and norms are sums over a micro-batch's tokens.
pub(crate) fn most_tokens(device: &Device) -> Option<usize> {
    const ROUNDS: usize = 65_532;
    let of_llvmpipe = |card: &&Card| card.driver.contains("llvmpipe") || card.name.contains("llvmpipe");
    card_of(device).filter(of_llvmpipe).map(|_| ROUNDS - 1)
}

impl DeviceChoice {
    /// Finds the device to compute on. `auto` passes over cards that `odyssey doctor` found wrong; if it is named
    /// explicitly, it is used with a warning.
    ///
    /// # Errors
    /// There is no such card (the message lists the cards), or it cannot be opened.
    pub fn open(&self) -> Result<ChosenDevice> {
        if *self == Self::Auto {
            let found_wrong = |card: &Card| diagnosis::found_wrong(&card.device_name(), &card.driver);
            return automatic(cards(), found_wrong).map_or_else(|| Ok(cpu()), wgpu_device);
        }
        let chosen = self.find()?;
        if let Some(fault) = diagnosis::found_wrong(&chosen.name, &chosen.driver) {
            let words = format!(": odyssey doctor found {} wrong: {fault}", chosen.name);
            notice::warn(Message::default().set("device", self).then(words));
        }
        Ok(chosen)
    }

    /// Finds the device, without regard to its diagnosis.
    ///
    /// # Errors
    /// As [`DeviceChoice::open`].
    pub fn find(&self) -> Result<ChosenDevice> {
        match self {
            Self::Cpu => Ok(cpu()),
            Self::Auto => cards().iter().find(|card| card.is_real()).map_or_else(|| Ok(cpu()), wgpu_device),
            Self::Gpu(index) => {
                let card = cards().iter().filter(|card| card.is_real()).nth(*index);
                card.map_or_else(|| Err(self.missing("no such GPU was found")), wgpu_device)
            }
            Self::Software => {
                let card = cards().iter().find(|card| !card.is_real());
                let missing = "no software card was found (on Debian or Ubuntu: apt install mesa-vulkan-drivers)";
                card.map_or_else(|| Err(self.missing(missing)), wgpu_device)
            }
            Self::Name(name) => {
                let wanted = name.to_lowercase();
                let mut matching = cards().iter().filter(|card| card.name.to_lowercase().contains(&wanted));
                match (matching.next(), matching.next()) {
                    (Some(card), None) => wgpu_device(card),
                    (Some(_), Some(_)) => Err(self.missing("several cards have this in their name")),
                    (None, _) => Err(self.missing("no card has this in its name")),
                }
            }
        }
    }

    fn missing(&self, fault: &str) -> Error {
        let there: Vec<String> = cards().iter().map(Card::label).collect();
        let there = if there.is_empty() { "cpu alone".to_owned() } else { format!("cpu, {}", there.join(", ")) };
        Error::setting("device", self, fault, format!("this machine has: {there}"))
    }
}

fn cpu() -> ChosenDevice {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = format!("{} processor, {threads} threads", std::env::consts::ARCH);
    ChosenDevice {
        device: Device::flex(),
        name: DeviceName { backend: "cpu (flex)".into(), card: processor },
        driver: String::new(),
        largest_binding: None,
        memory: Memory::System,
    }
}

fn wgpu_device(card: &Card) -> Result<ChosenDevice> {
    Ok(ChosenDevice {
        device: card.open()?,
        name: card.device_name(),
        driver: card.driver.clone(),
        largest_binding: Some(card.max_binding_bytes),
        memory: match card.own_memory_bytes {
            Some(bytes) => Memory::Own(bytes),
            None if matches!(card.device_kind, DeviceKind::DiscreteGpu(_)) => Memory::Unknown,
            None => Memory::System,
        },
    })
}
