//! Where a model's weights come from: safetensors files, or random numbers for a new base.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burn::module::Param;
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::Mmap;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::device::diagnosis::f16_fault;
use crate::error::{Error, Result};
use crate::files;

/// What a kernel can bind at once by WebGPU's default limit, and on software adapters: 128 MiB.
pub const LARGEST_PIECE: usize = 1 << 27;

/// What numbers are held or computed in: a model's matrices, the products with them, an optimiser's moments. Vectors
/// (norms, biases) are always held in f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits: 4 bytes a weight
    #[default]
    F32,
    /// 16 bits with the range of f32: exactly what most models are published in
    Bf16,
    /// 16 bits with a finer grain and a range to ±65,504
    F16,
}

impl Precision {
    /// Bytes of a weight.
    pub fn bytes(self) -> usize {
        self.dtype().size()
    }

    fn dtype(self) -> DType {
        self.float().into()
    }

    /// The type of tensors of such numbers.
    pub(crate) fn float(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }

    /// Whether it is f32, where nothing needs saying.
    pub(crate) fn is_f32(&self) -> bool {
        *self == Self::F32
    }

    /// Whether `device` has such numbers, asked for by this `option`.
    ///
    /// # Errors
    /// It has not; the message says what it has.
    pub fn check(self, option: &str, device: &Device) -> Result<()> {
        self.check_for(option, device, false)
    }

    /// The same for numbers that are computed with, and not only held.
    pub fn check_computed(self, option: &str, device: &Device) -> Result<()> {
        self.check_for(option, device, true)
    }

    fn check_for(self, option: &str, device: &Device, computed: bool) -> Result<()> {
        if self == Self::F32 {
            return Ok(());
        }
        if device.supports_dtype(self.dtype()) {
            let fault = if self == Self::F16 { f16_fault(device, computed) } else { None };
            return fault.map_or(Ok(()), |fault| {
                let fault = format!("odyssey doctor found the f16 of this device's driver wrong: {fault}");
                Err(Error::input(format!("{option} f16"), fault, format!("use {option} f32")))
            });
        }
        let others = [Self::Bf16, Self::F16].into_iter().filter(|other| device.supports_dtype(other.dtype()));
        let cure = others.fold(format!("use {option} f32"), |cure, other| format!("{cure} or {other}"));
        Err(Error::input(format!("{option} {self}"), "this device has no numbers of that kind", cure))
    }

    /// `values`, converted and shaped.
    ///
    /// # Errors
    /// A number that is finite, but not in this precision.
    fn data(self, values: impl Iterator<Item = f32>, shape: Vec<usize>) -> std::result::Result<TensorData, String> {
        Ok(match self {
            Self::F32 => TensorData::new(values.collect::<Vec<f32>>(), shape),
            Self::Bf16 => TensorData::new(values.map(bf16::from_f32).collect::<Vec<_>>(), shape),
            Self::F16 => {
                let mut too_large = None;
                let narrow = |value: f32| {
                    let narrowed = f16::from_f32(value);
                    too_large = too_large.or((value.is_finite() && narrowed.is_infinite()).then_some(value));
                    narrowed
                };
                let values: Vec<f16> = values.map(narrow).collect();
                match too_large {
                    Some(value) => return Err(format!("holds {value:e}, which f16 does not reach")),
                    None => TensorData::new(values, shape),
                }
            }
        })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// Gives weights by their published name.
pub trait WeightSource {
    /// Whether there is a weight of this name.
    fn has(&self, name: &str) -> bool;

    /// Some rows of a weight, row-major, in `precision`. The whole weight must have this shape; of a vector the rows are
    /// its elements.
    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, precision: Precision) -> Result<TensorData>;

    /// What matrices are held in.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// Bytes of the largest piece that a token table may be cut into, in f32, as it is computed with.
    fn largest_piece(&self) -> usize {
        LARGEST_PIECE
    }
}

impl dyn WeightSource + '_ {
    /// The weight as a parameter on `device`.
    pub fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Param<Tensor<D>>> {
        self.rows(name, shape, 0..shape.first().copied().unwrap_or(0), device)
    }

    /// The same of some rows only.
    pub fn rows<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        rows: Range<usize>,
        device: &Device,
    ) -> Result<Param<Tensor<D>>> {
        let precision = if D > 1 { self.precision() } else { Precision::F32 };
        let data = self.read(name, &shape, rows, precision)?;
        Ok(Param::from_tensor(Tensor::from_data(data, (device, precision.dtype()))))
    }
}

/// `shape` with this many rows.
fn with_rows(shape: &[usize], rows: usize) -> Vec<usize> {
    std::iter::once(rows).chain(shape.iter().skip(1).copied()).collect()
}

/// The safetensors files of a model folder: `model.safetensors`, or shards with `model.safetensors.index.json`.
///
/// Files are mapped, and tensors converted one at a time: loading takes the weights as held plus one tensor.
pub struct WeightFiles {
    folder: PathBuf,
    shards: Vec<(PathBuf, Mmap)>,
    /// The shard that holds each tensor, by name.
    tensors: BTreeMap<String, usize>,
    /// Tensors not yet asked for.
    unread: BTreeSet<String>,
    precision: Precision,
    largest_piece: usize,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Opens the files of `folder` and reads their headers.
    pub fn open(folder: &Path) -> Result<Self> {
        let (single, index) = (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
        let mut opened = Self {
            folder: folder.to_owned(),
            shards: Vec::new(),
            tensors: BTreeMap::new(),
            unread: BTreeSet::new(),
            precision: Precision::F32,
            largest_piece: LARGEST_PIECE,
        };
        if single.exists() {
            opened.add_shard(single)?;
        } else if index.exists() {
            let ShardIndex { weight_map } = files::read_json(&index)?;
            let mut names: Vec<&String> = weight_map.values().collect();
            names.sort();
            names.dedup();
            for name in names {
                // Only plain file names: an index must not reach outside its folder.
                if Path::new(name).components().count() != 1 || Path::new(name).file_name().is_none() {
                    return Err(Error::file(
                        &index,
                        format!("names the shard {name:?}, not a file beside it"),
                        "restore the file",
                    ));
                }
                opened.add_shard(folder.join(name))?;
            }
            let missing = weight_map.iter().find(|(tensor, shard)| {
                let holder = opened.tensors.get(*tensor).map(|&holder| &opened.shards[holder].0);
                holder.and_then(|path| path.file_name()).is_none_or(|name| name != shard.as_str())
            });
            if let Some((tensor, shard)) = missing {
                return Err(Error::file(
                    &index,
                    format!("promises {tensor:?} in {shard}, where it is not"),
                    "fetch the shards again",
                ));
            }
        } else {
            return Err(Error::file(
                folder,
                "holds neither model.safetensors nor model.safetensors.index.json",
                "save the model with transformers' save_pretrained",
            ));
        }
        Ok(opened)
    }

    /// Holds matrices in `precision`.
    pub fn held_in(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Cuts token tables into pieces of at most so many bytes, for devices that bind less at once than usual.
    pub fn with_largest_piece(mut self, bytes: usize) -> Self {
        self.largest_piece = bytes;
        self
    }

    fn add_shard(&mut self, path: PathBuf) -> Result<()> {
        let file = File::open(&path).map_err(|e| Error::reading(&path, e))?;
        // SAFETY: the map is read-only, and files are replaced by rename, never changed in place, by this program.
        // Another program that shortens the file meanwhile can end this one, as with every mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::reading(&path, e))?;
        let shard = self.shards.len();
        for name in parse(&path, &map)?.names() {
            self.unread.insert(name.to_owned());
            if self.tensors.insert(name.to_owned(), shard).is_some() {
                return Err(Error::file(
                    &path,
                    format!("holds {name:?}, which another shard holds too"),
                    "fetch the shards again",
                ));
            }
        }
        self.shards.push((path, map));
        Ok(())
    }

    /// Expects the tensors of these names to be there for another use.
    pub fn pass_over(&mut self, unused: impl Fn(&str) -> bool) {
        self.unread.retain(|name| !unused(name));
    }

    /// Checks that nothing is left over, apart from what is known to carry no weights.
    pub fn finish(self, tied_head: bool) -> Result<()> {
        let left: Vec<String> = self
            .unread
            .into_iter()
            .filter(|name| {
                // Causal masks in old GPT-2 and GPT-NeoX files, rotation tables in old LLaMA and GPT-NeoX files; a tied
                // head's copy.
                let buffer = [
                    ".attn.bias",
                    ".attn.masked_bias",
                    ".attention.bias",
                    ".attention.masked_bias",
                    "rotary_emb.inv_freq",
                ]
                .iter()
                .any(|end| name.ends_with(end));
                !(buffer || tied_head && ["lm_head.weight", "embed_out.weight"].contains(&name.as_str()))
            })
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let shown = left.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        Err(Error::file(
            &self.folder,
            format!("holds {} tensors that config.json has no place for: {shown}", left.len()),
            "use the config.json these weights were saved with",
        ))
    }
}

/// A hash of the configuration and weight files of a model folder, by their names and contents.
pub fn hash_folder(folder: &Path) -> Result<String> {
    let hashes = weight_files(folder)?
        .iter()
        .map(|path| Ok(format!("{:?} {}", path.file_name(), files::hash_file(path)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(files::hash_bytes(hashes.join("\n").as_bytes()))
}

/// The configuration and weight files of a model folder with their sizes and times of change: files that agree in these are
/// taken for the same, since hashing them anew takes long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(Vec<(PathBuf, u64, Option<SystemTime>)>);

impl Stamps {
    /// Of the files as they are now.
    ///
    /// # Errors
    /// The folder or a file of it cannot be asked.
    pub fn of(folder: &Path) -> Result<Self> {
        let stamp = |path: PathBuf| {
            let metadata = path.metadata().map_err(|e| Error::reading(&path, e))?;
            Ok((path, metadata.len(), metadata.modified().ok()))
        };
        weight_files(folder)?.into_iter().map(stamp).collect::<Result<_>>().map(Self)
    }

    /// The hash of the files, which must still be as they were.
    ///
    /// # Errors
    /// [`Error::Input`] where they were changed since; as [`hash_folder`].
    pub fn hash(&self, folder: &Path) -> Result<String> {
        let hash = hash_folder(folder)?;
        match Self::of(folder)? == *self {
            true => Ok(hash),
            false => {
                Err(Error::file(folder, "was changed while it was in use", "leave the model as it is, and start again"))
            }
        }
    }
}

/// The files of a model's folder that [`hash_folder`] hashes, sorted by name.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|e| Error::reading(folder, e))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name == "config.json")
                || path.extension().is_some_and(|e| e == "safetensors")
        })
        .collect();
    names.sort();
    Ok(names)
}

pub(super) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| Error::file(path, format!("not a whole safetensors file ({e})"), "fetch or save it again"))
}

impl WeightSource for WeightFiles {
    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn largest_piece(&self) -> usize {
        self.largest_piece
    }

    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, precision: Precision) -> Result<TensorData> {
        let Some(&shard) = self.tensors.get(name) else {
            return Err(Error::file(
                &self.folder,
                format!("has no tensor {name:?}, which config.json calls for"),
                "use the config.json these weights were saved with",
            ));
        };
        self.unread.remove(name);
        let (path, map) = &self.shards[shard];
        let tensors = parse(path, map)?;
        let view =
            tensors.tensor(name).map_err(|e| Error::file(path, format!("tensor {name:?}: {e}"), "fetch it again"))?;
        if view.shape() != shape {
            return Err(Error::file(
                path,
                format!("tensor {name:?} has shape {:?}, but config.json calls for {shape:?}", view.shape()),
                "use the config.json these weights were saved with",
            ));
        }
        let bytes_of_row = view.data().len() / shape.first().copied().unwrap_or(1).max(1);
        let bytes = &view.data()[rows.start * bytes_of_row..rows.end * bytes_of_row];
        let data = convert(path, name, view.dtype(), bytes, with_rows(shape, rows.len()), precision);
        forget(map, bytes);
        data
    }
}

/// Numbers of a file in the precision they are held in. 16-bit ones are exact in f32.
pub(super) fn convert(
    path: &Path,
    name: &str,
    dtype: Dtype,
    bytes: &[u8],
    shape: Vec<usize>,
    precision: Precision,
) -> Result<TensorData> {
    // Mapped data need not be aligned for its type, so numbers are put together from bytes.
    let data = match dtype {
        Dtype::F32 => precision.data(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)), shape),
        Dtype::F16 => precision.data(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()), shape),
        Dtype::BF16 => precision.data(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()), shape),
        other => {
            return Err(Error::file(
                path,
                format!("tensor {name:?} has type {other:?}; weights are read as F32, F16 or BF16"),
                "convert the model with transformers, for example with .float().save_pretrained(…)",
            ));
        }
    };
    data.map_err(|fault| Error::file(path, format!("tensor {name:?} {fault}"), "hold the weights with --dtype bf16"))
}

/// Lets the system drop these mapped `bytes` from memory: a file that was read once does not count beside the weights
/// as held.
fn forget(map: &Mmap, bytes: &[u8]) {
    #[cfg(unix)]
    {
        let start = bytes.as_ptr() as usize - map.as_ptr() as usize;
        // SAFETY: of a read-only map of a file, dropped pages are read from the file again when they are asked for.
        let advised = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, bytes.len()) };
        if let Err(e) = advised {
            tracing::debug!("the system keeps a file's pages in memory: {e}");
        }
    }
    #[cfg(not(unix))]
    let _ = (map, bytes);
}

/// Only notes which weights a model asks for: what it will need, before anything is read.
#[derive(Debug, Default)]
pub struct Shapes {
    /// Names and shapes, in the order they are asked for.
    pub found: Vec<(String, Vec<usize>)>,
}

impl WeightSource for Shapes {
    fn has(&self, _name: &str) -> bool {
        false
    }

    fn read(&mut self, name: &str, shape: &[usize], _rows: Range<usize>, precision: Precision) -> Result<TensorData> {
        // A table in pieces asks once for each.
        if self.found.last().is_none_or(|(last, _)| last != name) {
            self.found.push((name.to_owned(), shape.to_vec()));
        }
        precision.data(std::iter::empty(), vec![0; shape.len()]).map_err(Error::Numeric)
    }
}

/// Random weights for a base trained from scratch: GPT-2's scheme, N(0, 0.02²), the projections that write into the
/// residual stream scaled by 1/√(2·layers), norms 1 and biases 0.
pub struct RandomWeights {
    rng: ChaCha8Rng,
    residual_scale: f32,
    precision: Precision,
}

impl RandomWeights {
    /// Weights drawn from `seed` for a model of `layers` blocks.
    pub fn new(seed: u64, layers: usize) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            residual_scale: (2.0 * layers as f32).powf(-0.5),
            precision: Precision::F32,
        }
    }

    /// Holds matrices in `precision`.
    pub fn held_in(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// A standard normal number (Box–Muller).
    fn normal(&mut self) -> f32 {
        let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) * 2f64.powi(-53);
        let (u, v) = (unit(self.rng.next_u64()), unit(self.rng.next_u64()));
        ((-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()) as f32
    }
}

impl WeightSource for RandomWeights {
    fn has(&self, _name: &str) -> bool {
        false
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn read(&mut self, name: &str, shape: &[usize], rows: Range<usize>, precision: Precision) -> Result<TensorData> {
        let shape = with_rows(shape, rows.len());
        let count = shape.iter().product();
        let writes_residual =
            ["c_proj.weight", "o_proj.weight", "down_proj.weight", "attention.dense.weight", "dense_4h_to_h.weight"]
                .iter()
                .any(|end| name.ends_with(end));
        let deviation = if writes_residual { 0.02 * self.residual_scale } else { 0.02 };
        let is_norm = shape.len() == 1;
        let value = |_| match name {
            _ if name.ends_with(".bias") => 0.0,
            _ if is_norm => 1.0,
            _ => deviation * self.normal(),
        };
        precision.data((0..count).map(value), shape).map_err(Error::Numeric)
    }
}
