//! Which tensor of the files is which weight of the model.
//!
//! A model asks for its weights by the names that transformers publishes. Training frames leave their own words in the
//! names (`module.`, `_orig_mod.`), and a model without its head is saved without the name of its body (`model.`): such
//! files are read where all names then fit. Nothing is left out that config.json calls for, and nothing is left over
//! unsaid.

use std::collections::BTreeMap;

use super::Architecture;

/// What a family calls its parts in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightNames {
    /// What transformers puts before the weights of all but the head.
    pub body: &'static str,
    /// The token table.
    pub table: &'static str,
    /// The output head, where it is no part of the body.
    pub head: &'static str,
}

impl WeightNames {
    /// GPT-2.
    pub const GPT2: Self = Self { body: "transformer.", table: "transformer.wte.weight", head: "lm_head.weight" };
    /// LLaMA and what is made like it, OLMo too.
    pub const LLAMA: Self = Self { body: "model.", table: "model.embed_tokens.weight", head: "lm_head.weight" };
    /// GPT-NeoX.
    pub const GPT_NEOX: Self = Self { body: "gpt_neox.", table: "gpt_neox.embed_in.weight", head: "embed_out.weight" };

    /// Those of a family.
    pub fn of(architecture: &Architecture) -> Self {
        match architecture {
            Architecture::Gpt2(_) => Self::GPT2,
            Architecture::Llama(_) | Architecture::Olmo(_) => Self::LLAMA,
            Architecture::GptNeox(_) => Self::GPT_NEOX,
        }
    }
}

/// What the head is called inside transformers, whatever a family calls it in files.
const USUAL_HEAD: &str = "lm_head.weight";

/// What torch.compile, FSDP, activation checkpointing and DeepSpeed put into names, at any place.
const WRAPPERS: &[&str] = &["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];

/// What wrappers and saved training states put before names, and the families' own words for their bodies.
const BEFORE: &[&str] = &["base_model", "model", "module", "state_dict", "transformer", "gpt_neox"];

/// `name` without what wrappers put into it.
pub(super) fn unwrapped(name: &str) -> String {
    name.split('.').filter(|part| !WRAPPERS.contains(part)).collect::<Vec<_>>().join(".")
}

/// The one of `paths` that the adapter's layer `name` means, whatever wrappers have put before it. `body` is what paths
/// begin with.
pub(super) fn find_layer<'a>(name: &str, paths: impl Iterator<Item = &'a str>, body: &str) -> Option<&'a str> {
    let name = unwrapped(name);
    let mut rest = name.as_str();
    let mut endings = vec![rest];
    while let Some((_, after)) = rest.split_once('.').filter(|(first, _)| BEFORE.contains(first)) {
        rest = after;
        endings.push(rest);
    }
    let means = |path: &&str| endings.iter().any(|ending| ending == path || Some(*ending) == path.strip_prefix(body));
    paths.into_iter().find(means)
}

/// Where the weights of a model lie.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fitted {
    /// The file's name of each weight that has another one there.
    pub names: BTreeMap<String, String>,
    /// What the file puts before the names of the body, where that is not the usual.
    pub prefix: Option<String>,
    /// The file's name of a head of its own.
    pub head: Option<String>,
}

/// Why names do not fit.
#[derive(Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A weight is not there, and how many more; what the file puts before those that are, where that is not the usual.
    Missing {
        /// Its published name.
        weight: String,
        /// How many others are missing.
        more: usize,
        /// What the file puts before the names that fit.
        prefix: Option<String>,
    },
    /// The file holds several whole models, whose names begin so.
    Several(Vec<String>),
    /// Not one name fits. The file has, for instance, this one.
    Nothing(Option<String>),
}

/// Finds the weights of the names `called`, those of a family's `parts`, among the names `stored`.
pub fn fit(called: &[String], parts: WeightNames, stored: &[&str]) -> Result<Fitted, Misfit> {
    let file = Stored::new(stored);
    let bodies: Vec<&str> = called.iter().filter_map(|name| name.strip_prefix(parts.body)).collect();
    let tied = !called.iter().any(|name| name == parts.head);
    // By a name in the middle, where layers are; by the next one if the file lacks it.
    let (first, last) = bodies.split_at(bodies.len() / 2);
    let found = last.iter().chain(first).map(|name| file.prefixes(name)).find(|prefixes| !prefixes.is_empty());
    let candidates = found.unwrap_or_default();
    let fitted: Vec<(Fitted, Vec<String>)> =
        candidates.iter().map(|prefix| file.fit_with(prefix, called, parts, tied)).collect();
    let usual = |prefix: &String| prefix == parts.body;
    let whole: Vec<usize> = (0..fitted.len()).filter(|&at| fitted[at].1.is_empty()).collect();
    let chosen = match whole.as_slice() {
        [] => None,
        [one] => Some(*one),
        several => match several.iter().find(|&&at| usual(&candidates[at])) {
            Some(at) => Some(*at),
            None => return Err(Misfit::Several(several.iter().map(|&at| candidates[at].clone()).collect())),
        },
    };
    let mut fitted = fitted;
    if let Some(at) = chosen {
        return Ok(fitted.swap_remove(at).0);
    }
    let best = fitted.into_iter().min_by_key(|(_, missing)| missing.len());
    match best {
        Some((Fitted { prefix, .. }, missing)) if missing.len() < called.len() => {
            let more = missing.len() - 1;
            let weight = missing.into_iter().next().unwrap_or_default();
            Err(Misfit::Missing { weight, more, prefix })
        }
        _ => Err(Misfit::Nothing(stored.first().map(|&name| name.to_owned()))),
    }
}

/// The names of a file, by what they are without wrappers' words.
struct Stored<'a> {
    by_unwrapped: BTreeMap<String, &'a str>,
}

impl<'a> Stored<'a> {
    fn new(stored: &[&'a str]) -> Self {
        let mut by_unwrapped = BTreeMap::new();
        for &name in stored {
            let bare = unwrapped(name);
            // A name without such words is meant before one with them.
            if bare == name || !by_unwrapped.contains_key(&bare) {
                by_unwrapped.insert(bare, name);
            }
        }
        Self { by_unwrapped }
    }

    /// What stands before the name `of` a weight of the body.
    fn prefixes(&self, of: &str) -> Vec<String> {
        let before = |name: &String| {
            name.strip_suffix(of).filter(|before| before.is_empty() || before.ends_with('.')).map(str::to_owned)
        };
        self.by_unwrapped.keys().filter_map(before).collect()
    }

    /// The weights with this `prefix` instead of the usual, and those that are missing then.
    fn fit_with(&self, prefix: &str, called: &[String], parts: WeightNames, tied: bool) -> (Fitted, Vec<String>) {
        let outer = prefix.strip_suffix(parts.body).unwrap_or(prefix);
        let heads = [parts.head, USUAL_HEAD].map(|head| [outer, prefix, ""].map(|before| format!("{before}{head}")));
        let head = heads.iter().flatten().find_map(|name| self.get(name));
        let mut found = Fitted { head: head.map(str::to_owned), ..Fitted::default() };
        let mut missing = Vec::new();
        for name in called {
            let stored = match name.strip_prefix(parts.body) {
                Some(rest) => self.get(&format!("{prefix}{rest}")),
                None => head,
            };
            // Of two tied tensors a file may keep either one.
            let stored = stored.or(head.filter(|_| tied && name == parts.table));
            match stored {
                Some(stored) if stored == name => {}
                Some(stored) => {
                    found.names.insert(name.clone(), stored.to_owned());
                }
                None => missing.push(name.clone()),
            }
        }
        if tied && found.names.get(parts.table) == found.head.as_ref() {
            found.head = None; // it is the table already
        }
        let wrapped =
            found.names.iter().find(|(_, stored)| !stored.ends_with(parts.head) && !stored.ends_with(USUAL_HEAD));
        found.prefix = wrapped.map(|(name, stored)| {
            let rest = name.strip_prefix(parts.body).unwrap_or(name);
            stored.strip_suffix(rest).unwrap_or(prefix).to_owned()
        });
        (found, missing)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.by_unwrapped.get(name).copied()
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What is no weight, though files hold it: causal masks in old GPT-2 and GPT-NeoX files, rotation tables in old LLaMA and
/// GPT-NeoX files, numbers of positions, what a kernel library keeps of itself.
pub(super) fn is_buffer(name: &str) -> bool {
    let ends = [
        ".attn.bias",
        ".attn.masked_bias",
        ".attention.bias",
        ".attention.masked_bias",
        "rotary_emb.inv_freq",
        "rotary_emb.original_inv_freq",
        "rotary_emb.cos_cached",
        "rotary_emb.sin_cached",
        "position_ids",
        "._extra_state",
    ];
    ends.iter().any(|end| name.ends_with(end))
}

/// What can be done about tensors that the model does not use.
pub(super) fn cure_of_unused(left: &[String]) -> String {
    if left.iter().any(|name| name.contains(".lora_") || name.contains(".base_layer.")) {
        return "merge the adapter among them into the base with peft's merge_and_unload, and save that".to_owned();
    }
    if left.iter().any(|name| [".qweight", ".scales", ".absmax", ".weight_scale"].iter().any(|end| name.contains(end)))
    {
        return "take the weights as they were before they were quantized".to_owned();
    }
    let saved_with = "use the config.json these weights were saved with";
    match left.first().and_then(|name| part_of(name)) {
        Some(part) => {
            format!("{saved_with}; where they are for another use, leave them out: --ignore-tensors '{part}.*'")
        }
        None => saved_with.to_owned(),
    }
}

/// The part of a larger whole that a tensor of this `name` belongs to; `None` where it looks like a layer of the model.
fn part_of(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let outer = parts.iter().take_while(|part| ["model", "transformer", "gpt_neox", "module"].contains(part)).count();
    let own = parts.get(outer).filter(|part| !["layers", "h"].contains(part))?;
    let before = parts[..outer].iter().map(|part| format!("{part}."));
    (parts.len() > outer + 1).then(|| format!("{}{own}", before.collect::<String>()))
}
