//! The safetensors files of a model folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::super::numbers::Numbers;
use super::super::weight_formats::no_weights;
use super::super::weight_names::matches;
use super::leftovers::{cure_of_unused, is_buffer};
use super::source::{WeightSource, with_rows};
use crate::device::precision::Precision;
use crate::error::{Error, Result};
use crate::files;
use crate::kernels::table::LARGEST_PIECE;
use crate::message::Message;
use crate::notice::warn_once;
use crate::safetensors_file::SafetensorsFile;

/// The safetensors files of a model folder: `model.safetensors`, or shards with `model.safetensors.index.json`.
///
/// Tensors are read and converted a stretch at a time: loading takes the weights as held and little more.
pub struct WeightFiles {
    folder: PathBuf,
    shards: Vec<SafetensorsFile>,
    /// The shard that holds each tensor, by name.
    tensors: BTreeMap<String, usize>,
    /// Tensors that were not read yet.
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
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that holds the tensor `name`.
    pub(crate) fn file_of(&self, name: &str) -> &Path {
        self.tensors.get(name).map_or(self.folder.as_path(), |&shard| self.shards[shard].path())
    }

    /// Marks the tensors with these names as known but not used.
    pub fn pass_over(&mut self, unused: impl Fn(&str) -> bool) {
        self.unread.retain(|name| !unused(name));
    }

    /// Checks that the files did not change while they were read, and that nothing is left over, except for tensors
    /// that are known not to be weights.
    pub fn finish(self, tied_head: bool) -> Result<()> {
        self.check_unchanged()?;
        self.check_nothing_left(tied_head)
    }

    /// Checks that the files are still what they were when they were opened.
    ///
    /// # Errors
    /// Somebody wrote to one of them.
    pub fn check_unchanged(&self) -> Result<()> {
        self.shards.iter().try_for_each(SafetensorsFile::check_unchanged)
    }

    /// Checks that every tensor was read or passed over, except for those that are known not to be weights.
    ///
    /// # Errors
    /// The first of those that are left over, and what can be done.
    pub fn check_nothing_left(&self, tied_head: bool) -> Result<()> {
        let is_left = |name: &&String| {
            let head = ["lm_head.weight", "embed_out.weight"].contains(&name.as_str());
            !(is_buffer(name) || tied_head && head)
        };
        let left: Vec<String> = self.unread.iter().filter(is_left).cloned().collect();
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

pub(crate) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
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
pub(crate) fn convert(
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
    Error::file(path, format!("tensor {name:?} {fault}"), Message::new("hold the weights with ").set("dtype", "bf16"))
}
