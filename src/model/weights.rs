//! Where a model's weights come from: safetensors files, or random numbers for a new base.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::Mmap;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::files;

/// What a kernel can bind at once by WebGPU's default limit, and on software adapters: 128 MiB.
pub const LARGEST_PIECE: usize = 1 << 27;

/// Gives weights by their published name.
pub trait WeightSource {
    /// Whether there is a weight of this name.
    fn has(&self, name: &str) -> bool;

    /// The values of a weight, row-major, which must have this shape.
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;

    /// Bytes of the largest piece that a token table may be held in.
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
        let values = self.values(name, &shape)?;
        Ok(Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device)))
    }
}

/// The safetensors files of a model folder: `model.safetensors`, or shards with `model.safetensors.index.json`.
///
/// Files are mapped, and tensors converted one at a time: loading takes the weights as held plus one tensor.
pub struct WeightFiles {
    folder: PathBuf,
    shards: Vec<(PathBuf, Mmap)>,
    /// Tensors not yet asked for, by name, with the shard that holds them.
    remaining: BTreeMap<String, usize>,
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
            remaining: BTreeMap::new(),
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
            if let Some((tensor, shard)) = weight_map.iter().find(|(tensor, _)| !opened.remaining.contains_key(*tensor))
            {
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
            if self.remaining.insert(name.to_owned(), shard).is_some() {
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

    /// Checks that nothing is left over, apart from what is known to carry no weights.
    pub fn finish(self, tied_head: bool) -> Result<()> {
        let left: Vec<String> = self
            .remaining
            .into_keys()
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
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|e| Error::reading(folder, e))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name == "config.json")
                || path.extension().is_some_and(|e| e == "safetensors")
        })
        .collect();
    names.sort();
    let hashes = names
        .iter()
        .map(|path| Ok(format!("{:?} {}", path.file_name(), files::hash_file(path)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(files::hash_bytes(hashes.join("\n").as_bytes()))
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| Error::file(path, format!("not a whole safetensors file ({e})"), "fetch or save it again"))
}

impl WeightSource for WeightFiles {
    fn largest_piece(&self) -> usize {
        self.largest_piece
    }

    fn has(&self, name: &str) -> bool {
        self.remaining.contains_key(name)
    }

    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some(shard) = self.remaining.remove(name) else {
            return Err(Error::file(
                &self.folder,
                format!("has no tensor {name:?}, which config.json calls for"),
                "use the config.json these weights were saved with",
            ));
        };
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
        to_f32(path, name, &view)
    }
}

/// A tensor's values in f32; 16-bit ones are exact there.
fn to_f32(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
    let bytes = view.data();
    // Mapped data need not be aligned for its type, so numbers are put together from bytes.
    match view.dtype() {
        Dtype::F32 => Ok(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F16 => Ok(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
        Dtype::BF16 => Ok(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
        other => Err(Error::file(
            path,
            format!("tensor {name:?} has type {other:?}; weights are read as F32, F16 or BF16"),
            "convert the model with transformers, for example with .float().save_pretrained(…)",
        )),
    }
}

/// Random weights for a base trained from scratch: GPT-2's scheme, N(0, 0.02²), the projections that write into the
/// residual stream scaled by 1/√(2·layers), norms 1 and biases 0.
pub struct RandomWeights {
    rng: ChaCha8Rng,
    residual_scale: f32,
}

impl RandomWeights {
    /// Weights drawn from `seed` for a model of `layers` blocks.
    pub fn new(seed: u64, layers: usize) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), residual_scale: (2.0 * layers as f32).powf(-0.5) }
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

    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let count = shape.iter().product();
        if name.ends_with(".bias") {
            return Ok(vec![0.0; count]);
        }
        if shape.len() == 1 {
            return Ok(vec![1.0; count]); // the weight of a norm
        }
        let writes_residual =
            ["c_proj.weight", "o_proj.weight", "down_proj.weight", "attention.dense.weight", "dense_4h_to_h.weight"]
                .iter()
                .any(|end| name.ends_with(end));
        let deviation = if writes_residual { 0.02 * self.residual_scale } else { 0.02 };
        Ok((0..count).map(|_| deviation * self.normal()).collect())
    }
}
