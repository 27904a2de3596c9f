//! The file in which a study keeps a reference corpus's features and token counts between tasks.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::files::{self, Array};
use crate::similarity::{CorpusSample, Features};

/// A reference's features and token counts as safetensors; why features are missing stands in the metadata.
pub(super) fn write_sample(path: &Path, sample: &CorpusSample) -> Result<()> {
    let (ids, counts): (Vec<u32>, Vec<u64>) = sample.unigrams.iter().unzip();
    let rate = [sample.newline_rate];
    let mut arrays = vec![
        Array::of("ids", Dtype::U32, vec![ids.len()], bytemuck::cast_slice(&ids)),
        Array::of("counts", Dtype::U64, vec![counts.len()], bytemuck::cast_slice(&counts)),
        Array::of("newline_rate", Dtype::F64, vec![1], bytemuck::cast_slice(&rate)),
    ];
    let mut no_features = String::new();
    match &sample.features {
        Ok(f) => arrays.push(Array::of(
            "features",
            Dtype::F32,
            vec![f.samples, f.dimension],
            bytemuck::cast_slice(&f.values),
        )),
        Err(reason) => no_features.clone_from(reason),
    }
    files::write_safetensors(path, arrays, ("no_features", no_features))
}

/// Reads what [`write_sample`] wrote.
///
/// # Errors
/// A file that is no such sample.
pub(super) fn read_sample(path: &Path) -> Result<CorpusSample> {
    let broken = |e: String| {
        Error::file(path, format!("not a sample of a corpus: {e}"), "remove its folder and run the study again")
    };
    let bytes = std::fs::read(path).map_err(|e| Error::reading(path, e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?;
    let array = |name: &str, dtype: Dtype| match tensors.tensor(name) {
        Ok(view) if view.dtype() == dtype => Ok(view),
        Ok(view) => Err(broken(format!("{name} has type {:?}", view.dtype()))),
        Err(e) => Err(broken(e.to_string())),
    };
    let ids: Vec<u32> = bytemuck::pod_collect_to_vec(array("ids", Dtype::U32)?.data());
    let counts: Vec<u64> = bytemuck::pod_collect_to_vec(array("counts", Dtype::U64)?.data());
    let rate: Vec<f64> = bytemuck::pod_collect_to_vec(array("newline_rate", Dtype::F64)?.data());
    let features = if tensors.names().contains(&"features") {
        let view = array("features", Dtype::F32)?;
        match *view.shape() {
            [samples, dimension] => {
                Features::new(samples, dimension, bytemuck::pod_collect_to_vec(view.data())).map_err(|e| e.to_string())
            }
            _ => return Err(broken("features are no matrix".into())),
        }
    } else {
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
        let reason = header.metadata().as_ref().and_then(|metadata| metadata.get("no_features"));
        Err(reason.ok_or_else(|| broken("has neither features nor a reason".into()))?.clone())
    };
    Ok(CorpusSample {
        features,
        unigrams: ids.into_iter().zip(counts).collect(),
        newline_rate: rate.first().copied().unwrap_or(0.0),
    })
}
