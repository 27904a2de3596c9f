//! Tensors that files hold and no model uses.

use crate::message::Message;

/// What is no weight, though files of any family hold it: rotation tables, numbers of positions, what a kernel library keeps
/// of itself. What only one family has is among its names.
pub(super) fn is_buffer(name: &str) -> bool {
    let ends = [
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
pub(super) fn cure_of_unused(left: &[String]) -> Message {
    if left.iter().any(|name| name.contains(".lora_") || name.contains(".base_layer.")) {
        return "merge the adapter among them into the base with peft's merge_and_unload, and save that".into();
    }
    if left.iter().any(|name| [".qweight", ".scales", ".absmax", ".weight_scale"].iter().any(|end| name.contains(end)))
    {
        return "take the weights as they were before they were quantized".into();
    }
    let saved_with = "use the config.json these weights were saved with";
    let cure = Message::new(saved_with);
    match left.first().and_then(|name| part_of(name)) {
        Some(part) => {
            cure.then("; where they are for another use, leave them out: ").set("ignore_tensors", format!("{part}.*"))
        }
        None => cure,
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
