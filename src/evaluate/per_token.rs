//! The per-token file: later steps read it instead of running the model again.
//!
//! A safetensors file with `ids` u32, `nll` f32 (NaN where not scored), `document` u32, `byte` u64 and `window` u32,
//! all `[n]`; its metadata holds the evaluation's JSON under "eval". The array `sha256` is a checksum of all that; files of
//! older versions have none.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytemuck::Pod;
use safetensors::{Dtype, SafeTensors};

use super::result::EvalResult;
use super::scored::ScoredStream;
use crate::error::{Error, Result};
use crate::files::{self, Array, Sealed, Unsealed};
use crate::message::{Message, Setting};

/// The key of the metadata.
const EVAL: &str = "eval";

/// The arrays, their checksum apart.
const ARRAYS: [&str; 5] = ["ids", "nll", "document", "byte", "window"];

/// The most that safetensors allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// A text may have up to this many documents more than tokens, because some documents become no token.
const MOST_EMPTY: usize = 1 << 16;

/// Writes `scored` and the result it belongs to, whole.
pub fn write(path: &Path, scored: &ScoredStream, result: &EvalResult) -> Result<()> {
    let byte: Vec<u64> = scored.byte.iter().map(|&byte| byte.into()).collect();
    let array = |name, dtype, bytes| Array::of(name, dtype, vec![scored.ids.len()], bytes);
    let arrays = [
        array("ids", Dtype::U32, bytemuck::cast_slice(&scored.ids)),
        array("nll", Dtype::F32, bytemuck::cast_slice(&scored.nll)),
        array("document", Dtype::U32, bytemuck::cast_slice(&scored.document)),
        array("byte", Dtype::U64, bytemuck::cast_slice(&byte)),
        array("window", Dtype::U32, bytemuck::cast_slice(&scored.window)),
    ];
    let json = serde_json::to_string(result).map_err(|e| Error::writing(path, e.into()))?;
    files::write_sealed(path, arrays, (EVAL, json))
}

/// Whether a file is one that [`write`] wrote.
pub fn is_in(path: &Path) -> bool {
    let Ok(map) = File::open(path).and_then(|mut file| header(&mut file)) else { return false };
    let eval = map.get("__metadata__").and_then(|metadata| metadata.get("eval")).and_then(|text| text.as_str());
    eval.is_some_and(|eval| eval.contains("odyssey.eval/"))
}

/// The header of a safetensors file: its length in eight bytes, then JSON.
fn header(file: &mut File) -> std::io::Result<serde_json::Value> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let mut text = Vec::new();
    file.take(u64::from_le_bytes(length).min(LONGEST_HEADER)).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Reads a per-token file back. One without a checksum, as older versions wrote it, is taken as it is, with a warning.
///
/// # Errors
/// Not such a file, one that was changed or cut since it was written, or arrays that do not fit together.
pub fn read(path: &Path) -> Result<(ScoredStream, EvalResult)> {
    let (scored, result, sealed) = open(path)?;
    if !sealed {
        tracing::warn!("{}: has no checksum, as older versions wrote it; it is taken as it is", path.display());
    }
    Ok((scored, result))
}

/// The same of a file in a folder of results, whose list of checksums covers it.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_kept(path: &Path) -> Result<(ScoredStream, EvalResult)> {
    open(path).map(|(scored, result, _)| (scored, result))
}

/// Also says whether it has a checksum, which is then right.
fn open(path: &Path) -> Result<(ScoredStream, EvalResult, bool)> {
    let broken = |fault: String| {
        let again = Message::new("write it again with ").command("eval", [Setting::new("per_token", "FILE")]);
        Error::file(path, fault, again)
    };
    let (json, sealed) = match Sealed::open(path, EVAL)? {
        Ok(sealed) => (sealed.metadata, true),
        Err(Unsealed::WithoutSeal(json)) => (json, false),
        Err(Unsealed::OtherKind) => {
            return Err(broken("no per-token file of this program: its metadata has no \"eval\"".into()));
        }
        Err(Unsealed::Damaged(fault)) => return Err(broken(fault)),
    };
    let bytes = files::read(path)?;
    let result: EvalResult =
        serde_json::from_str(&json).map_err(|e| broken(format!("its metadata is not readable: {e}")))?;

    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(format!("not a safetensors file: {e}")))?;
    if !sealed && let Some(other) = tensors.names().into_iter().find(|name| !ARRAYS.contains(name)) {
        return Err(broken(format!("it has an array {other:?}, which no version of this program wrote")));
    }
    let byte: Vec<u64> = array(&tensors, "byte", Dtype::U64).map_err(broken)?;
    let byte: Result<Vec<u32>, _> = byte.into_iter().map(u32::try_from).collect();
    let byte = byte.map_err(|_| broken("its array \"byte\" has a document of more than 4 GiB".into()))?;
    let scored = ScoredStream {
        ids: array(&tensors, "ids", Dtype::U32).map_err(broken)?.into(),
        nll: array(&tensors, "nll", Dtype::F32).map_err(broken)?,
        document: array(&tensors, "document", Dtype::U32).map_err(broken)?.into(),
        byte: byte.into(),
        window: array(&tensors, "window", Dtype::U32).map_err(broken)?,
    };
    let n = scored.ids.len();
    if [scored.nll.len(), scored.document.len(), scored.byte.len(), scored.window.len()].iter().any(|&len| len != n) {
        return Err(broken("its arrays differ in length".into()));
    }
    // Tables for resampling are as long as the largest index. A window scores at least one token, and few documents
    // become no token, so a much larger index is a fault.
    let documents = result.texts.first().map_or(0, |text| text.documents).min(n.max(MOST_EMPTY));
    if scored.document.last().is_some_and(|&last| last as usize >= documents)
        || !scored.document.is_sorted()
        || scored.window.iter().any(|&window| window as usize >= n)
    {
        return Err(broken("its documents or windows are not those of its text".into()));
    }
    if scored.nll.iter().any(|nll| nll.is_infinite()) {
        return Err(broken("it holds a loss that is infinite".into()));
    }
    Ok((scored, result, sealed))
}

fn array<T: Pod>(tensors: &SafeTensors<'_>, name: &str, dtype: Dtype) -> Result<Vec<T>, String> {
    let view = tensors.tensor(name).map_err(|_| format!("has no array {name:?}"))?;
    if view.dtype() != dtype {
        return Err(format!("its array {name:?} has type {:?}, not {dtype:?}", view.dtype()));
    }
    Ok(bytemuck::pod_collect_to_vec(view.data()))
}
