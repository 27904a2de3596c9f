//! Kernels in WGSL among burn's own: templates of `shaders/`, filled in for a device and launched on burn's buffers.
//!
//! A kernel goes through the same queue as burn's (cubecl accepts the text of a kernel instead of compiling one
//! itself), so nothing has to be flushed between the two. [`super`] gives the reasons for this choice.

use std::sync::{Mutex, PoisonError};
use std::{env, fmt};

use burn::backend::Cube;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::cubecl::ir::UIntKind;
use burn_cubecl::cubecl::ir::metadata::Info;
use burn_cubecl::cubecl::ir::settings::Dim3;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::cubecl::server::{KernelArguments, MetadataBindingInfo};
use burn_cubecl::cubecl::wgpu::{WgpuDevice, WgpuDeviceKind};
use burn_cubecl::kernel::into_contiguous;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::error::{Error, Result};

/// The templates by name.
const SHADERS: &[(&str, &str)] = &[
    ("activation", include_str!("../../shaders/activation.wgsl")),
    ("adamw", include_str!("../../shaders/adamw.wgsl")),
    ("attention", include_str!("../../shaders/attention.wgsl")),
    ("attention_of_keys", include_str!("../../shaders/attention_of_keys.wgsl")),
    ("attention_of_queries", include_str!("../../shaders/attention_of_queries.wgsl")),
    ("attention_rows", include_str!("../../shaders/attention_rows.wgsl")),
    ("attention_tiled", include_str!("../../shaders/attention_tiled.wgsl")),
    ("cross_entropy", include_str!("../../shaders/cross_entropy.wgsl")),
    ("gram", include_str!("../../shaders/gram.wgsl")),
    ("matmul", include_str!("../../shaders/matmul.wgsl")),
    ("norm", include_str!("../../shaders/norm.wgsl")),
    ("rotary", include_str!("../../shaders/rotary.wgsl")),
    ("squares", include_str!("../../shaders/squares.wgsl")),
    ("subgroup", include_str!("../../shaders/subgroup.wgsl")),
];

/// The abilities of a device that kernels are specialised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ability {
    /// Whether it is a software card: there a "subgroup" is one vector of the processor, and loads cost more than
    /// arithmetic.
    pub software: bool,
    /// Invocations of a software card that can exchange values among themselves; 1 where they cannot.
    pub subgroup: u32,
    /// Invocations that a workgroup may have.
    pub workgroup: u32,
    /// Memory that a workgroup may share, in bytes.
    pub workgroup_memory: u32,
}

/// With this variable in the environment a software card gets the kernels of a graphics card, so that tests run them
/// on a machine without one.
const AS_GRAPHICS_CARD: &str = "ODYSSEY_AS_GRAPHICS_CARD";

impl Ability {
    /// Whether it is a software card whose invocations can exchange values, in groups that divide a kernel's tiles.
    pub(super) fn shuffles(&self) -> bool {
        self.software && matches!(self.subgroup, 4 | 8 | 16)
    }

    /// Invocations of a workgroup that suit it: a vector of the processor, or what graphics cards run at once.
    pub(super) fn lanes(&self) -> u32 {
        if self.shuffles() { self.subgroup } else { 64 }
    }
}

/// A tensor on a wgpu device, row-major.
pub(super) struct Buffer(CubeTensor);

impl Buffer {
    /// The tensor's buffer; copied first where its rows do not follow one another.
    pub(super) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        Self(into_contiguous(tensor.try_into_primitive::<Cube>().expect("it lies on a wgpu device")))
    }

    /// The buffer of a tensor `[.., .., .., D]` whose rows of D numbers follow one another, D a multiple of 4, with how many
    /// vectors of four lie from one to the next along the other dimensions; copied first where they are not so.
    pub(super) fn of_rows(tensor: Tensor<4>) -> (Self, [u32; 3]) {
        let tensor = tensor.try_into_primitive::<Cube>().expect("it lies on a wgpu device");
        let suits = |tensor: &CubeTensor| match tensor.meta.strides()[..] {
            [a, b, c, 1] => [a, b, c].iter().all(|stride| stride.is_multiple_of(4)),
            _ => false,
        };
        let tensor = if suits(&tensor) { tensor } else { into_contiguous(tensor) };
        let strides = tensor.meta.strides();
        let strides = [0, 1, 2].map(|dimension| (strides[dimension] / 4) as u32);
        (Self(tensor), strides)
    }

    /// A new one beside it, of another shape, with nothing in it yet.
    pub(super) fn beside(&self, shape: impl Into<Shape>) -> Self {
        let CubeTensor { client, device, .. } = &self.0;
        let shape = shape.into();
        let handle = client.empty(shape.num_elements() * size_of::<f32>());
        Self(CubeTensor::new_contiguous(client.clone(), device.clone(), shape, handle, DType::F32))
    }

    /// A new tensor on the same device with these words; kernels decide their meaning.
    pub(super) fn with(&self, words: &[u32]) -> Self {
        let CubeTensor { client, device, .. } = &self.0;
        let handle = client.create_from_slice(bytemuck::cast_slice(words));
        Self(CubeTensor::new_contiguous(client.clone(), device.clone(), [words.len()].into(), handle, DType::U32))
    }

    /// A tensor again.
    pub(super) fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_primitive::<Cube>(self.0)
    }
}

/// The abilities of the device of `tensor`; `None` if it is not a wgpu device, or if the tensor is not in f32.
pub(super) fn ability<const D: usize>(tensor: &Tensor<D>) -> Option<Ability> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    let tensor = match tensor.is_autodiff() {
        true => tensor.clone().inner(),
        false => tensor.clone(),
    };
    let buffer = Buffer(tensor.try_into_primitive::<Cube>().ok()?);
    let burn_cubecl::CubeDevice::Wgpu(device) = &buffer.0.device else { return None };
    // Called before every operation; a process has only one or two devices.
    static KNOWN: Mutex<Vec<(WgpuDevice, Ability)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, ability)) = known.iter().find(|(of, _)| of == device) {
        return Some(*ability);
    }
    let hardware = &buffer.0.client.properties().hardware;
    let software = matches!(device.kind, WgpuDeviceKind::Cpu) && env::var_os(AS_GRAPHICS_CARD).is_none();
    let ability = Ability {
        software,
        subgroup: if software { subgroup(&buffer) } else { 1 },
        workgroup: hardware.max_units_per_cube,
        workgroup_memory: hardware.max_shared_memory_size as u32,
    };
    known.push((device.clone(), ability));
    Some(ability)
}

/// Asks the device itself, by a kernel: llvmpipe reports "4 to 128", but its real subgroup size is the vector length of
/// the processor.
fn subgroup(beside: &Buffer) -> u32 {
    let found = beside.beside([4]);
    Kernel::new("subgroup", context! {}, [128, 1, 1]).launch([1, 1, 1], &[&found], &[4]);
    let CubeTensor { client, handle, .. } = found.0;
    let read = client.read_one(handle).ok(); // a device that cannot run it has no subgroups
    read.and_then(|bytes| bytes.first_chunk().map(|&word| u32::from_le_bytes(word))).unwrap_or(1)
}

/// The text of a kernel: the template `name` with `values` filled in.
///
/// # Errors
/// There is no such template, or it needs a value that is missing.
pub fn text(name: &str, values: &Value) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let filled = (SHADERS.iter())
        .try_for_each(|(name, text)| environment.add_template(name, text))
        .and_then(|()| environment.get_template(name)?.render(values));
    filled.map_err(|error| Error::numeric(format!("kernel {name}: {error:#}")))
}

/// A kernel filled in.
#[derive(Clone)]
pub(super) struct Kernel {
    name: &'static str,
    values: Value,
    workgroup: [u32; 3],
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.values)
    }
}

impl Kernel {
    /// The template `name` with `values`, in which `workgroup` is what the template declares as its workgroup's size.
    pub(super) fn new(name: &'static str, values: Value, workgroup: [u32; 3]) -> Self {
        Self { name, values, workgroup }
    }

    /// Runs it over so many `groups`, with `buffers` bound in order and `constants`, words, as the uniform after them.
    pub(super) fn launch(self, groups: [u32; 3], buffers: &[&Buffer], constants: &[u32]) {
        let Some(Buffer(first)) = buffers.first() else { return };
        // A uniform's size is a multiple of four words.
        let mut words = constants.to_vec();
        words.resize(constants.len().next_multiple_of(4), 0);
        let pairs = words.chunks_exact(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32);
        let arguments = KernelArguments::new()
            .with_buffers(buffers.iter().map(|Buffer(tensor)| tensor.handle.clone().binding()).collect())
            .with_info(MetadataBindingInfo::custom(pairs.collect()));
        let [x, y, z] = groups;
        first.client.launch(Box::new(self), CubeCount::Static(x, y, z), arguments);
    }
}

/// So many workgroups along two axes, as none may have more than 65535: the index of a workgroup is `group.y * 65535 +
/// group.x`, and it may be larger than the last valid index.
pub(super) fn groups(count: usize) -> [u32; 3] {
    const MOST: usize = 65535;
    [count.min(MOST) as u32, count.div_ceil(MOST).max(1) as u32, 1]
}

impl KernelMetadata for Kernel {
    fn id(&self) -> KernelId {
        let [x, y, z] = self.workgroup;
        KernelId::new::<Self>().info(format!("{self:?}")).mode(ExecutionMode::Unchecked).cube_dim(Dim3 { x, y, z })
    }

    fn address_type(&self) -> ElemType {
        ElemType::UInt(UIntKind::U32)
    }
}

impl CubeKernel for Kernel {
    /// Stands for the text: cubecl needs only the size of the workgroup from it.
    fn define(&self) -> KernelDefinition {
        let [x, y, z] = self.workgroup;
        let settings = KernelSettings::new(Dim3 { x, y, z }, ExecutionMode::Unchecked, AddressType::U32);
        KernelDefinition { body: Scope::root(settings.clone()), settings, info: Info::default() }
    }

    fn source(&self) -> Option<PrecompiledSource> {
        // A template that cannot be filled in is a kernel that does not compile, which the device reports.
        let source = text(self.name, &self.values).unwrap_or_else(|error| error.to_string());
        Some(PrecompiledSource { source, entrypoint_name: "main".to_owned(), lang: "wgsl" })
    }
}
