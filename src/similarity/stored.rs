//! A reference corpus's sample as a file of a study, for the tasks that compare domains with it.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::counts::NGrams;
use super::{CorpusSample, Counts, Features};
use crate::error::{Error, Result};
use crate::files::{self, Array};

/// Writes features and counts as safetensors; why features are missing stands in the metadata. Parts of the counts are not
/// kept, since domains are compared with the whole.
pub fn write(path: &Path, sample: &CorpusSample) -> Result<()> {
    let Counts { unigrams, newlines, ngrams, .. } = &sample.counts;
    let (ids, counts): (Vec<u32>, Vec<u64>) = unigrams.iter().unzip();
    let newlines = [*newlines];
    let levels = ngrams.each_ref().map(|n| n.level);
    let hashes = ngrams.each_ref().map(|n| n.hashes().collect::<Vec<u64>>());
    let caveats = sample.features.as_ref().map_or(String::new(), |features| features.caveats.join("\n"));
    let mut arrays = vec![
        Array::of("ids", Dtype::U32, vec![ids.len()], bytemuck::cast_slice(&ids)),
        Array::of("counts", Dtype::U64, vec![counts.len()], bytemuck::cast_slice(&counts)),
        Array::of("newlines", Dtype::U64, vec![1], bytemuck::cast_slice(&newlines)),
        Array::of("levels", Dtype::U32, vec![2], bytemuck::cast_slice(&levels)),
        Array::of("bigrams", Dtype::U64, vec![hashes[0].len()], bytemuck::cast_slice(&hashes[0])),
        Array::of("trigrams", Dtype::U64, vec![hashes[1].len()], bytemuck::cast_slice(&hashes[1])),
    ];
    let mut no_features = String::new();
    match &sample.features {
        Ok(f) => {
            let shape = vec![f.samples, f.dimension];
            arrays.push(Array::of("features", Dtype::F32, shape, bytemuck::cast_slice(&f.values)));
            arrays.push(Array::of("documents", Dtype::U32, vec![f.samples], bytemuck::cast_slice(f.documents())));
        }
        Err(reason) => no_features.clone_from(reason),
    }
    if !caveats.is_empty() {
        arrays.push(Array::of("caveats", Dtype::U8, vec![caveats.len()], caveats.as_bytes()));
    }
    files::write_safetensors(path, arrays, ("no_features", no_features))
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// [`Error::Input`] for anything else.
pub fn read(path: &Path) -> Result<CorpusSample> {
    let broken = |e: String| {
        Error::file(path, format!("not a sample of a corpus: {e}"), "remove its folder and run the study again")
    };
    let bytes = crate::files::read(path)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?;
    let array = |name: &str, dtype: Dtype| match tensors.tensor(name) {
        Ok(view) if view.dtype() == dtype => Ok(view),
        Ok(view) => Err(broken(format!("{name} has type {:?}", view.dtype()))),
        Err(e) => Err(broken(e.to_string())),
    };
    let small = |name: &str| -> Result<Vec<u32>> { Ok(bytemuck::pod_collect_to_vec(array(name, Dtype::U32)?.data())) };
    let large = |name: &str| -> Result<Vec<u64>> { Ok(bytemuck::pod_collect_to_vec(array(name, Dtype::U64)?.data())) };
    let (ids, counts) = (small("ids")?, large("counts")?);
    let (&[of_bigrams, of_trigrams], &[newlines]) = (&small("levels")?[..], &large("newlines")?[..]) else {
        return Err(broken("its levels or its newlines are not as many as there must be".into()));
    };
    if ids.len() != counts.len() {
        return Err(broken(format!("{} ids have {} counts", ids.len(), counts.len())));
    }
    let ngrams = |name: &str, level: u32| -> Result<NGrams> {
        Ok(NGrams { level, entries: large(name)?.into_iter().map(|hash| (hash, 0, 1)).collect() })
    };
    let caveats = match tensors.names().contains(&"caveats") {
        true => String::from_utf8_lossy(array("caveats", Dtype::U8)?.data()).lines().map(str::to_owned).collect(),
        false => Vec::new(),
    };
    let features = if tensors.names().contains(&"features") {
        let view = array("features", Dtype::F32)?;
        let [samples, dimension] = *view.shape() else { return Err(broken("features are not a matrix".into())) };
        Features::new(samples, dimension, bytemuck::pod_collect_to_vec(view.data()))
            .and_then(|features| features.of_documents(small("documents")?))
            .map(|features| features.with_caveats(caveats))
            .map_err(|e| e.to_string())
    } else {
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
        let reason = header.metadata().as_ref().and_then(|metadata| metadata.get("no_features"));
        Err(reason.ok_or_else(|| broken("has neither features nor a reason".into()))?.clone())
    };
    Ok(CorpusSample {
        features,
        counts: Counts {
            unigrams: ids.into_iter().zip(counts).collect(),
            newlines,
            ngrams: [ngrams("bigrams", of_bigrams)?, ngrams("trigrams", of_trigrams)?],
            parts: Vec::new(),
        },
    })
}
