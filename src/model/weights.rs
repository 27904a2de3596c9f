//! Where a model's weights come from: safetensors files, or random numbers for a new base.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burn::module::Param;
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::numbers::Numbers;
use super::weight_formats::no_weights;
use super::weight_names::{cure_of_unused, is_buffer, matches};
use crate::device::diagnosis::f16_fault;
use crate::error::{Error, Result};
use crate::files;
use crate::notice::warn_once;
use crate::safetensors_file::SafetensorsFile;

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
/// Tensors are read and converted a stretch at a time: loading takes the weights as held and little more.
pub struct WeightFiles {
    folder: PathBuf,
    shards: Vec<SafetensorsFile>,
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
                let shard = folder.join(name);
                if !shard.exists() {
                    return Err(Error::file(
                        &index,
                        format!("names {name}, which is not there"),
                        "fetch that shard, too",
                    ));
                }
                opened.add_shard(shard)?;
            }
            let missing = weight_map.iter().find(|(tensor, shard)| {
                let holder = opened.tensors.get(*tensor).map(|&holder| &opened.shards[holder]);
                holder.and_then(|file| file.path().file_name()).is_none_or(|name| name != shard.as_str())
            });
            if let Some((tensor, shard)) = missing {
                return Err(Error::file(
                    &index,
                    format!("promises {tensor:?} in {shard}, where it is not"),
                    "fetch the shards again",
                ));
            }
        } else {
            return Err(no_weights(folder));
        }
        Ok(opened)
    }

    /// Whether `folder` has such files.
    pub fn are_in(folder: &Path) -> bool {
        ["model.safetensors", "model.safetensors.index.json"].iter().any(|name| folder.join(name).exists())
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
        let file = SafetensorsFile::open(&path)?.map_err(|fault| not_whole(&path, fault))?;
        let shard = self.shards.len();
        for name in file.names() {
            self.unread.insert(name.clone());
            if let Some(twice) = self.tensors.insert(name.clone(), shard).map(|_| name) {
                return Err(Error::file(
                    &path,
                    format!("holds {twice:?}, which another shard holds too"),
                    "fetch the shards again",
                ));
            }
        }
        self.shards.push(file);
        Ok(())
    }

    /// Leaves out the tensors whose names fit one of these `patterns`, in which `*` stands for anything. A pattern that
    /// fits none is named in a warning.
    pub fn ignoring(mut self, patterns: &[String]) -> Self {
        for pattern in patterns {
            let before = self.tensors.len();
            self.tensors.retain(|name, _| !matches(pattern, name));
            self.unread.retain(|name| !matches(pattern, name));
            if self.tensors.len() == before {
                warn_once(format!("{}: no tensor's name fits {pattern:?}", self.folder.display()));
            }
        }
        self
    }

    /// The names of all tensors, in order.
    pub fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    /// The folder that they are in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that holds the tensor `name`.
    pub(super) fn file_of(&self, name: &str) -> &Path {
        self.tensors.get(name).map_or(self.folder.as_path(), |&shard| self.shards[shard].path())
    }

    /// Expects the tensors of these names to be there for another use.
    pub fn pass_over(&mut self, unused: impl Fn(&str) -> bool) {
        self.unread.retain(|name| !unused(name));
    }

    /// Checks that the files did not change while they were read, and that nothing is left over, apart from what is known
    /// to carry no weights.
    pub fn finish(self, tied_head: bool) -> Result<()> {
        self.shards.iter().try_for_each(SafetensorsFile::check_unchanged)?;
        let left: Vec<String> = self
            .unread
            .into_iter()
            .filter(|name| {
                let head = ["lm_head.weight", "embed_out.weight"].contains(&name.as_str());
                !(is_buffer(name) || tied_head && head)
            })
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let plural = if left.len() == 1 { "" } else { "s" };
        let shown = left.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        Err(Error::file(
            &self.folder,
            format!("holds {} tensor{plural} that config.json has no place for: {shown}", left.len()),
            cure_of_unused(&left),
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
    SafeTensors::deserialize(bytes).map_err(|e| not_whole(path, e.to_string()))
}

fn not_whole(path: &Path, fault: String) -> Error {
    Error::file(path, format!("not a whole safetensors file ({fault})"), "fetch or save it again")
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
        let file = &mut self.shards[shard];
        let path = file.path().to_owned();
        let Some(info) = file.info(name) else {
            return Err(Error::file(&path, format!("has no tensor {name:?}"), "fetch it again"));
        };
        if info.shape != shape {
            return Err(Error::file(
                &path,
                format!("tensor {name:?} has shape {:?}, but config.json calls for {shape:?}", info.shape),
                "use the config.json these weights were saved with",
            ));
        }
        let (dtype, (first, last)) = (info.dtype, info.data_offsets);
        let bytes_of_row = (last - first) / shape.first().copied().unwrap_or(1).max(1);
        let bytes = rows.start * bytes_of_row..rows.end * bytes_of_row;
        let shape = with_rows(shape, rows.len());
        let mut numbers = Numbers::new(precision, shape.iter().product());
        check_type(&path, name, dtype)?;
        file.stretches(name, bytes, |stretch| numbers.extend(dtype, stretch))?;
        numbers.finish(shape).map_err(|fault| too_large(&path, name, &fault))
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
    check_type(path, name, dtype)?;
    let mut numbers = Numbers::new(precision, shape.iter().product());
    numbers.extend(dtype, bytes);
    numbers.finish(shape).map_err(|fault| too_large(path, name, &fault))
}

/// Refuses what are no numbers that weights can be.
fn check_type(path: &Path, name: &str, dtype: Dtype) -> Result<()> {
    if matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Ok(());
    }
    Err(Error::file(
        path,
        format!("tensor {name:?} has type {dtype:?}; weights are read as F32, F16 or BF16"),
        "convert the model with transformers, for example with .float().save_pretrained(…)",
    ))
}

fn too_large(path: &Path, name: &str, fault: &str) -> Error {
    Error::file(path, format!("tensor {name:?} {fault}"), "hold the weights with --dtype bf16")
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
        Numbers::new(precision, 0).finish(vec![0; shape.len()]).map_err(Error::Numeric)
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
        let mut numbers = Numbers::new(precision, count);
        numbers.push((0..count).map(value));
        numbers.finish(shape).map_err(Error::Numeric)
    }
}
