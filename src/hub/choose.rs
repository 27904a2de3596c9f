//! Which files of a repository are used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::name::{Kind, Name, is_readable, matches};
use super::remote::{Entry, Remote, Trouble};
use crate::error::{Error, Result};
use crate::files;
use crate::model::COMPANIONS;
use crate::progress::Monitor;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What a sentence encoder has beside a model's files. The first of them says that it is one; the folder of the last is
/// looked into for its sake.
const OF_ENCODER: [&str; 4] =
    ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json"];

/// Weights in formats that are not read.
const OTHER_WEIGHTS: [&str; 5] =
    ["pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack", "rust_model.ot"];

/// What the hub lists of a commit, as far as the name and the patterns could mean it.
pub(super) fn listing(
    remote: &Remote,
    name: &Name,
    commit: &str,
    patterns: &[String],
    monitor: &mut dyn Monitor,
) -> Result<Vec<Entry>, Trouble> {
    if patterns.is_empty() {
        return match name.kind {
            Kind::Model => of_model_and_pooling(remote, name, commit, monitor),
            // The folder it is in, in case it is a file.
            Kind::Dataset => remote.files(name, commit, folder_of(&name.inside), true, monitor),
        };
    }
    let folders: BTreeSet<&str> = patterns.iter().map(|pattern| folder_of(before_wildcard(pattern))).collect();
    let mut entries = BTreeMap::new();
    for folder in folders {
        for entry in remote.files(name, commit, folder, true, monitor)? {
            entries.insert(entry.path.clone(), entry);
        }
    }
    Ok(entries.into_values().collect())
}

/// The files of a model, and those of its pooling where it is a sentence encoder.
fn of_model_and_pooling(
    remote: &Remote,
    name: &Name,
    commit: &str,
    monitor: &mut dyn Monitor,
) -> Result<Vec<Entry>, Trouble> {
    let mut entries = remote.files(name, commit, "", false, monitor)?;
    let [modules, .., pooling] = OF_ENCODER;
    if entries.iter().any(|entry| entry.path == modules) {
        match remote.files(name, commit, folder_of(pooling), false, monitor) {
            Ok(more) => entries.extend(more),
            // An encoder without this folder says so itself when it is read.
            Err(Trouble::Refused { status: 404, .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(entries)
}

/// Whether a file of a model is used where it is there.
fn is_companion(path: &str) -> bool {
    COMPANIONS.contains(&path) || OF_ENCODER.contains(&path)
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn before_wildcard(pattern: &str) -> &str {
    pattern.split(['*', '?']).next().unwrap_or_default()
}

/// The files to fetch; for a model in shards its index, whose shards come after it.
pub(super) fn first(name: &Name, entries: &[Entry], patterns: &[String]) -> Result<Vec<Entry>> {
    let paths = entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>();
    let chosen: Vec<&str> = match (name.kind, patterns) {
        (_, [_, ..]) => of_patterns(name, &paths, patterns)?,
        (Kind::Model, []) => of_model(name, &paths)?,
        (Kind::Dataset, []) => of_dataset(name, &paths)?,
    };
    Ok(entries.iter().filter(|entry| chosen.contains(&entry.path.as_str())).cloned().collect())
}

fn of_patterns<'a>(name: &Name, paths: &[&'a str], patterns: &[String]) -> Result<Vec<&'a str>> {
    for pattern in patterns {
        if !paths.iter().any(|path| matches(pattern, path)) {
            return Err(nothing(name, &format!("no file that fits {pattern:?}"), paths));
        }
    }
    Ok(paths.iter().filter(|path| patterns.iter().any(|pattern| matches(pattern, path))).copied().collect())
}

fn of_model<'a>(name: &Name, paths: &[&'a str]) -> Result<Vec<&'a str>> {
    if !paths.contains(&CONFIG) {
        return Err(nothing(name, "no config.json, so it is no model that is read here", paths));
    }
    let weights = [WEIGHTS, INDEX].into_iter().find(|weights| paths.contains(weights));
    let Some(weights) = weights else {
        let repository = &name.repository;
        return Err(match paths.iter().find(|path| OTHER_WEIGHTS.contains(path)) {
            Some(other) => Error::input(
                name,
                format!("has its weights on the hub as {other} only, and what is read is safetensors"),
                format!(
                    "convert it once, python -c \"from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; \
                     M.from_pretrained('{repository}').save_pretrained('DIR'); \
                     T.from_pretrained('{repository}').save_pretrained('DIR')\", and name DIR"
                ),
            ),
            None => nothing(name, "no model.safetensors and no model.safetensors.index.json", paths),
        });
    };
    Ok(paths.iter().filter(|path| [CONFIG, weights].contains(path) || is_companion(path)).copied().collect())
}

fn of_dataset<'a>(name: &Name, paths: &[&'a str]) -> Result<Vec<&'a str>> {
    let inside = &name.inside;
    if let Some(file) = paths.iter().find(|path| *path == inside) {
        return Ok(vec![file]);
    }
    let below = format!("{inside}/");
    let is_below = |path: &str| inside.is_empty() || path.starts_with(&below);
    let chosen: Vec<&str> = paths.iter().filter(|path| is_below(path) && is_readable(path)).copied().collect();
    if chosen.is_empty() {
        let what = if inside.is_empty() {
            "no file that corpora are read from (.txt, .jsonl, .parquet, .tar.gz)".to_owned()
        } else {
            format!("neither a file {inside} nor texts below it")
        };
        return Err(nothing(name, &what, paths));
    }
    Ok(chosen)
}

/// The error for a repository that lacks something; it names some of what is there.
fn nothing(name: &Name, what: &str, paths: &[&str]) -> Error {
    let shown: Vec<&str> = paths.iter().take(8).copied().collect();
    let cure = match shown.as_slice() {
        [] => "name another".to_owned(),
        _ if paths.len() > shown.len() => format!("it has {}, … ({} files)", shown.join(", "), paths.len()),
        _ => format!("it has {}", shown.join(", ")),
    };
    Error::input(name, format!("has {what} on the hub"), cure)
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Whether this file of a model says which other files hold the weights.
pub(super) fn is_index(name: &Name, path: &str) -> bool {
    name.kind == Kind::Model && path == INDEX
}

/// The shards that an index names.
pub(super) fn shards(name: &Name, index: &Path, entries: &[Entry]) -> Result<Vec<Entry>> {
    let ShardIndex { weight_map } = files::read_json(index)?;
    let shards: BTreeSet<String> = weight_map.into_values().collect();
    shards
        .into_iter()
        .map(|shard| {
            let entry = entries.iter().find(|entry| entry.path == shard);
            entry.cloned().ok_or_else(|| {
                let fault = format!("its {INDEX} on the hub names {shard:?}, which it does not have");
                Error::input(name, fault, "try another revision with @REVISION")
            })
        })
        .collect()
}

/// The files of a snapshot that a name means, if it has all that are needed; those that are missing otherwise.
pub(super) fn of_present(
    name: &Name,
    folder: &Path,
    present: Vec<String>,
    patterns: &[String],
) -> Result<Vec<String>, Vec<String>> {
    let paths: Vec<&str> = present.iter().map(String::as_str).collect();
    if !patterns.is_empty() {
        let missing: Vec<String> =
            patterns.iter().filter(|pattern| !paths.iter().any(|path| matches(pattern, path))).cloned().collect();
        let fits = |path: &&str| patterns.iter().any(|pattern| matches(pattern, path));
        return if missing.is_empty() {
            Ok(paths.into_iter().filter(fits).map(str::to_owned).collect())
        } else {
            Err(missing)
        };
    }
    if name.kind == Kind::Dataset {
        let missing = || if name.inside.is_empty() { Vec::new() } else { vec![name.inside.clone()] };
        let chosen = of_dataset(name, &paths).map_err(|_| missing())?;
        return Ok(chosen.into_iter().map(str::to_owned).collect());
    }
    let mut missing = Vec::new();
    let mut chosen: Vec<String> =
        paths.iter().filter(|path| is_companion(path)).map(|path| (*path).to_owned()).collect();
    let mut need = |path: &str| match paths.contains(&path) {
        true => chosen.push(path.to_owned()),
        false => missing.push(path.to_owned()),
    };
    need(CONFIG);
    if !paths.contains(&WEIGHTS) && paths.contains(&INDEX) {
        need(INDEX);
        let shards = files::read_json(&folder.join(INDEX)).map(|ShardIndex { weight_map }| weight_map);
        shards.unwrap_or_default().into_values().collect::<BTreeSet<String>>().iter().for_each(|shard| need(shard));
    } else {
        need(WEIGHTS);
    }
    if missing.is_empty() {
        chosen.sort();
        Ok(chosen)
    } else {
        Err(missing)
    }
}
