//! The per-token file: every later step reads it instead of asking the model again.
//!
//! A safetensors file with `ids` u32, `nll` f32 (NaN where not scored), `document` u32, `byte` u64 and `window` u32,
//! all `[n]`; its metadata holds the evaluation's JSON under "eval".

use std::path::Path;

use bytemuck::Pod;
use safetensors::{Dtype, SafeTensors};

use super::{EvalResult, ScoredStream};
use crate::error::{Error, Result};
use crate::files::{self, Array};

/// Writes `scored` and the result it belongs to, whole.
pub fn write(path: &Path, scored: &ScoredStream, result: &EvalResult) -> Result<()> {
    let array = |name, dtype, bytes| Array { name, dtype, shape: vec![scored.ids.len()], bytes };
    let arrays = [
        array("ids", Dtype::U32, bytemuck::cast_slice(&scored.ids)),
        array("nll", Dtype::F32, bytemuck::cast_slice(&scored.nll)),
        array("document", Dtype::U32, bytemuck::cast_slice(&scored.document)),
        array("byte", Dtype::U64, bytemuck::cast_slice(&scored.byte)),
        array("window", Dtype::U32, bytemuck::cast_slice(&scored.window)),
    ];
    let json = serde_json::to_string(result).map_err(|e| Error::writing(path, e.into()))?;
    files::write_safetensors(path, arrays, ("eval", json))
}

/// Reads a per-token file back.
///
/// # Errors
/// Not such a file, or arrays that do not fit together.
pub fn read(path: &Path) -> Result<(ScoredStream, EvalResult)> {
    let broken = |fault: String| Error::file(path, fault, "write it again with `odyssey eval --per-token`");
    let bytes = std::fs::read(path).map_err(|e| Error::reading(path, e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(format!("not a safetensors file: {e}")))?;
    let json = header.metadata().as_ref().and_then(|m| m.get("eval"));
    let json = json.ok_or_else(|| broken("no per-token file of this program: its metadata has no \"eval\"".into()))?;
    let result = serde_json::from_str(json).map_err(|e| broken(format!("its metadata is not readable: {e}")))?;

    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(format!("not a safetensors file: {e}")))?;
    let scored = ScoredStream {
        ids: array(&tensors, "ids", Dtype::U32).map_err(broken)?,
        nll: array(&tensors, "nll", Dtype::F32).map_err(broken)?,
        document: array(&tensors, "document", Dtype::U32).map_err(broken)?,
        byte: array(&tensors, "byte", Dtype::U64).map_err(broken)?,
        window: array(&tensors, "window", Dtype::U32).map_err(broken)?,
    };
    let n = scored.ids.len();
    if [scored.nll.len(), scored.document.len(), scored.byte.len(), scored.window.len()].iter().any(|&len| len != n) {
        return Err(broken("its arrays differ in length".into()));
    }
    Ok((scored, result))
}

fn array<T: Pod>(tensors: &SafeTensors<'_>, name: &str, dtype: Dtype) -> Result<Vec<T>, String> {
    let view = tensors.tensor(name).map_err(|_| format!("has no array {name:?}"))?;
    if view.dtype() != dtype {
        return Err(format!("its array {name:?} has type {:?}, not {dtype:?}", view.dtype()));
    }
    Ok(bytemuck::pod_collect_to_vec(view.data()))
}
