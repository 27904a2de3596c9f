//! What the keys of a `config.json` mean: no key is passed over in silence.
//!
//! A key is either read by its family, or known not to change the computation ([`HARMLESS`]), or one that does change it
//! in some other family ([`SPECIAL`]: refused unless it is off), or another family's name for what this one reads
//! ([`SYNONYMS`]: refused where the own name is missing). All others are named in a warning; transformers keeps them
//! without using them.

use serde_json::Value;

use super::config_file::ConfigFile;
use crate::error::{Error, Result};
use crate::notice::warn_once;

/// The values of a [`Special`] key that change nothing.
#[derive(Clone, Copy)]
enum Neutral {
    /// Absent, null, false, 0, or empty.
    Off,
    /// Such, or a factor of 1.
    One,
    /// Absent, null or true.
    True,
}
use Neutral::{Off, One, True};

/// A key that alters the computation in some architecture, and the `model_type`s here that look at it themselves. For all
/// others any value but the neutral ones is refused by name.
type Special = (&'static str, &'static [&'static str], Neutral);

const ROTARY: &[&str] = &["llama", "mistral", "qwen2", "qwen3", "olmo", "olmo2", "gpt_neox"];

const SPECIAL: &[Special] = &[
    // Numbers that stand for others.
    ("quantization_config", &[], Off),
    ("quantization", &[], Off),
    ("quant_config", &[], Off),
    ("compression_config", &[], Off),
    ("sparsity_config", &[], Off),
    // Which tokens see which, and by what measure.
    ("sliding_window", &["mistral", "qwen2", "qwen3"], Off),
    ("sliding_window_size", &[], Off),
    ("sliding_window_pattern", &[], Off),
    ("interleaved_sliding_window", &[], Off),
    ("attention_window", &[], Off),
    ("window_size", &[], Off),
    ("local_attention", &[], Off),
    ("attention_layers", &[], Off),
    ("attention_types", &[], Off),
    ("attention_chunk_size", &[], Off),
    ("attn_temperature_tuning", &[], Off),
    ("attn_logit_softcapping", &[], Off),
    ("attn_logit_softcap", &[], Off),
    ("attention_logit_cap", &[], Off),
    ("final_logit_softcapping", &[], Off),
    ("final_logits_softcap", &[], Off),
    ("logit_softcapping", &[], Off),
    ("logits_soft_cap", &[], Off),
    ("logit_cap", &[], Off),
    ("query_pre_attn_scalar", &[], Off),
    ("attention_multiplier", &[], Off),
    ("attention_scale", &[], Off),
    ("attn_scale", &[], Off),
    ("softmax_scale", &[], Off),
    ("scale_attn_weights", &["gpt2"], True),
    ("scale_attn_by_inverse_layer_idx", &["gpt2"], Off),
    ("use_qk_norm", &[], Off),
    ("qk_norm", &[], Off),
    ("qk_layernorm", &[], Off),
    ("qk_layer_norm", &[], Off),
    ("use_qk_layernorm", &[], Off),
    ("query_key_norm", &[], Off),
    ("attention_layer_norm", &[], Off),
    ("clip_qkv", &["olmo"], Off),
    ("attn_config", &[], Off),
    ("multi_query", &[], Off),
    ("multi_query_attention", &[], Off),
    ("new_decoder_architecture", &[], Off),
    ("kv_lora_rank", &[], Off),
    ("q_lora_rank", &[], Off),
    ("num_kv_shared_layers", &[], Off),
    ("attention_sink", &[], Off),
    ("attention_sinks", &[], Off),
    ("is_causal", &[], True),
    ("causal", &[], True),
    ("bidirectional", &[], Off),
    ("use_bidirectional_attention", &[], Off),
    ("prefix_lm", &[], Off),
    ("is_encoder_decoder", &[], Off),
    ("add_cross_attention", &[], Off),
    ("pruned_heads", &[], Off),
    // Positions.
    ("alibi", &[], Off),
    ("use_alibi", &[], Off),
    ("rope_scaling", ROTARY, Off),
    ("rope_parameters", ROTARY, Off),
    ("partial_rotary_factor", ROTARY, One),
    ("rotary_pct", &["gpt_neox"], One),
    ("rotary_percentage", &[], One),
    ("rope_pct", &[], One),
    ("rotary_dim", &[], Off),
    ("rope_interleaved", &[], Off),
    ("rotary_interleaved", &[], Off),
    ("no_rope_layers", &[], Off),
    ("no_rope_layer_interval", &[], Off),
    ("nope_layer_interval", &[], Off),
    ("use_mrope", &[], Off),
    ("use_dynamic_ntk", &[], Off),
    ("use_logn_attn", &[], Off),
    // The order and kind of the blocks' parts.
    ("parallel_attn", &[], Off),
    ("parallel_attention", &[], Off),
    ("parallel_residual", &[], Off),
    ("use_parallel_residual", &["gpt_neox"], Off),
    ("do_layer_norm_before", &[], True),
    ("layer_types", &["llama", "mistral", "qwen2", "qwen3", "olmo", "olmo2"], Off),
    ("layers_block_type", &[], Off),
    ("hybrid_override_pattern", &[], Off),
    ("block_configs", &[], Off),
    ("per_layer_config", &[], Off),
    ("num_key_value_heads_per_layer", &[], Off),
    ("num_experts", &[], Off),
    ("num_local_experts", &[], Off),
    ("n_routed_experts", &[], Off),
    ("moe_num_experts", &[], Off),
    ("mlp_only_layers", &[], Off),
    // Factors.
    ("embedding_multiplier", &[], One),
    ("embedding_scale", &[], One),
    ("scale_emb", &[], One),
    ("scale_embedding", &[], Off),
    ("scale_embeddings", &[], Off),
    ("normalize_embedding", &[], Off),
    ("normalize_embeddings", &[], Off),
    ("residual_multiplier", &[], One),
    ("residual_scale", &[], One),
    ("scale_depth", &[], One),
    ("logit_scale", &[], One),
    ("logits_scale", &[], One),
    ("logits_scaling", &[], One),
    ("lm_head_multiplier", &[], One),
    ("key_multiplier", &[], One),
    ("mlp_multipliers", &[], Off),
    ("attention_in_multiplier", &[], One),
    ("attention_out_multiplier", &[], One),
    ("use_mup", &[], Off),
    ("mup_width_scale", &[], One),
    // Models within a model.
    ("text_config", &[], Off),
    ("language_config", &[], Off),
    ("llm_config", &[], Off),
    ("vision_config", &[], Off),
    ("audio_config", &[], Off),
];

/// Names for one thing in different families. Of each line a family reads the names that [`own`] lists.
const SYNONYMS: &[&[&str]] = &[
    &[
        "rms_norm_eps",
        "layer_norm_eps",
        "layer_norm_epsilon",
        "norm_eps",
        "norm_epsilon",
        "rms_norm_epsilon",
        "rms_eps",
        "layernorm_epsilon",
    ],
    &["hidden_act", "activation_function", "hidden_activation", "activation", "mlp_hidden_act"],
    &[
        "tie_word_embeddings",
        "tie_embeddings",
        "tie_weights",
        "weight_tying",
        "tie_lm_head",
        "tied_embeddings",
        "share_embeddings",
        "tie_embedding_weights",
    ],
    &["rope_theta", "rotary_emb_base", "rope_base", "rotary_base", "rope_freq_base", "rope_embedding_base", "theta"],
    &["head_dim", "attention_head_dim", "kv_channels", "head_size", "dim_head", "attention_key_size"],
    &["num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "n_kv_head", "multi_query_group_num"],
    &["n_inner", "intermediate_size", "ffn_hidden_size", "ffn_dim"],
];

/// Keys that every transformers configuration may have and that say nothing about the logits: what a run was trained with,
/// how text is generated, what files are called, numbers of heads for other tasks.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "_num_labels",
    "architectures", // looked at by itself, as the next
    "auto_map",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "attn_pdrop",
    "bad_words_ids",
    "bf16",
    "begin_suppress_tokens",
    "bos_token",
    "bos_token_id",
    "chat_template",
    "chunk_size_feed_forward",
    "custom_pipelines",
    "classifier_dropout",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "embedding_dropout",
    "encoder_no_repeat_ngram_size",
    "eos_token",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "fp16",
    "fp32",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "min_length",
    "model_max_length",
    "model_type",
    "n_ctx",
    "n_special",
    "name_or_path",
    "neuron",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token",
    "pad_token_id",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp", // slices the same product
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn", // a matter of precision
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "scale_attention_softmax_in_fp32",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_last_hidden_states",
    "tokenizer_class",
    "tokenizer_file",
    "tokenizer_name",
    "tokenizer_path",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "transformers_weights",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_flash_attn",
    "use_return_dict",
    "vocab_file",
];

const GPT2: &[&str] = &[
    "vocab_size",
    "n_positions",
    "n_embd",
    "n_layer",
    "n_head",
    "n_inner",
    "activation_function",
    "layer_norm_epsilon",
    "tie_word_embeddings",
    // Its names in all other families, which transformers understands here too.
    "hidden_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
];

const LLAMA: &[&str] = &[
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "hidden_act",
    "rms_norm_eps",
    "rope_theta",
    "original_max_position_embeddings",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
];

const QWEN: &[&str] = &["use_sliding_window", "max_window_layers"];

const GPT_NEOX: &[&str] = &[
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "rotary_emb_base",
    "original_max_position_embeddings",
    "tie_word_embeddings",
    "attention_bias",
];

/// The keys that the family reads, beside those that [`SPECIAL`] says it looks at.
fn own(model_type: &str) -> [&'static [&'static str]; 2] {
    match model_type {
        "gpt2" => [GPT2, &[]],
        "gpt_neox" => [GPT_NEOX, &[]],
        "qwen2" | "qwen3" => [LLAMA, QWEN],
        _ => [LLAMA, &[]],
    }
}

/// What the class of a family is called in `architectures`, before `ForCausalLM` and the like.
fn class(model_type: &str) -> &'static str {
    match model_type {
        "gpt2" => "gpt2",
        "gpt_neox" => "gptneox",
        "mistral" => "mistral",
        "qwen2" => "qwen2",
        "qwen3" => "qwen3",
        "olmo" => "olmo",
        "olmo2" => "olmo2",
        _ => "llama",
    }
}

/// Looks at every key of a configuration of a known `model_type`.
///
/// # Errors
/// A key that changes the computation and is not implemented for this architecture; another family's name for something
/// that this one reads under its own name, which is missing.
pub fn check(file: &ConfigFile, model_type: &str) -> Result<()> {
    refuse_special(file, model_type)?;
    check_positions(file, model_type)?;
    let reads = |key: &str| own(model_type).iter().any(|keys| keys.contains(&key));
    refuse_synonyms(file, reads)?;
    check_classes(file, model_type);
    let special = |key: &str| key == "position_embedding_type" || SPECIAL.iter().any(|(name, ..)| *name == key);
    let unknown: Vec<&str> = (file.json().iter())
        .filter(|(key, value)| !(reads(key) || special(key) || HARMLESS.contains(&key.as_str()) || is_off(value)))
        .map(|(key, _)| key.as_str())
        .collect();
    if !unknown.is_empty() {
        let place = file.path().display();
        let unknown = unknown.join(", ");
        warn_once(format!(
            "{place}: architecture {model_type:?} has no use for {unknown}: not looked at, as in transformers"
        ));
    }
    Ok(())
}

fn refuse_special(file: &ConfigFile, model_type: &str) -> Result<()> {
    for (key, families, neutral) in SPECIAL {
        let Some(value) = file.get(key) else { continue };
        let neutral = match neutral {
            Off => is_off(value),
            One => is_off(value) || value.as_f64() == Some(1.0),
            True => *value == Value::Bool(true),
        };
        // Of layers that are all alike nothing needs saying.
        let alike = *key == "layer_types"
            && value.as_array().is_some_and(|types| types.iter().all(|layer| layer == "full_attention"));
        if !(neutral || alike || families.contains(&model_type)) {
            return Err(special_refusal(file, key));
        }
    }
    Ok(())
}

/// The refusal of a key of [`SPECIAL`].
fn special_refusal(file: &ConfigFile, key: &str) -> Error {
    let why = "changes the computation and is not implemented for this architecture";
    let cure = match key {
        "quantization_config" | "quantization" | "quant_config" | "compression_config" | "sparsity_config" => {
            "take the model's weights as they were before, or load it with transformers, call dequantize() and save it"
        }
        "text_config" | "language_config" | "llm_config" | "vision_config" | "audio_config" => {
            "save its language model alone with transformers"
        }
        _ => "choose a model without this setting; where the file has it by mistake, take the key out",
    };
    file.refusal_with(key, why, cure)
}

/// GPT-2 learns its positions, all others rotate: anything else that the file says is refused.
fn check_positions(file: &ConfigFile, model_type: &str) -> Result<()> {
    let key = "position_embedding_type";
    let Some(value) = file.get(key) else { return Ok(()) };
    let words: &[&str] = if model_type == "gpt2" { &["absolute", "learned"] } else { &["rope", "rotary"] };
    match value.as_str() {
        Some(text) if words.iter().any(|word| text.contains(word)) => Ok(()),
        _ => Err(special_refusal(file, key)),
    }
}

fn refuse_synonyms(file: &ConfigFile, reads: impl Fn(&str) -> bool) -> Result<()> {
    for names in SYNONYMS {
        let Some(own) = names.iter().find(|name| reads(name)) else { continue };
        let inside = |key| file.get(key).is_some_and(|nested| nested.get("rope_theta").is_some());
        let said = names.iter().any(|name| reads(name) && file.json().contains_key(*name))
            || names.contains(&"rope_theta") && ["rope_scaling", "rope_parameters"].into_iter().any(inside);
        let other = names.iter().find(|name| !reads(name) && file.get(name).is_some());
        if let (false, Some(other)) = (said, other) {
            let why = format!("this architecture reads `{own}`, which is missing");
            let cure = format!("call the key `{own}`, or take it out where `{own}` has its usual value");
            return Err(file.refusal_with(other, &why, &cure));
        }
    }
    Ok(())
}

/// Says where `architectures` or `auto_map` name something else than what is computed, which is what transformers computes.
fn check_classes(file: &ConfigFile, model_type: &str) {
    let place = file.path().display();
    let fits = |name: &str| {
        let after = name.to_lowercase().strip_prefix(class(model_type)).map(str::to_owned);
        let kinds = ["", "for", "lmhead", "model", "doubleheads", "pretrained"];
        after
            .is_some_and(|after| kinds.iter().any(|kind| after == *kind || !kind.is_empty() && after.starts_with(kind)))
    };
    let named = file.get("architectures").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in named.filter(|name| !fits(name)) {
        warn_once(format!(
            "{place}: `architectures` is {name:?}, but `model_type` {model_type:?}: computed as the latter, as transformers \
             does"
        ));
    }
    if file.get("auto_map").is_some_and(|map| !is_off(map)) {
        warn_once(format!(
            "{place}: `auto_map` names code that comes with the model; it is not run, as transformers does not unless told \
             to: the model is computed as {model_type:?}"
        ));
    }
}

/// Whether a value says that something is not there.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Bool(true) => false,
    }
}
