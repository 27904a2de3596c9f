// What the attention kernels share: their sizes, where queries, keys, values and results lie, and the cap of the scores.
//
// Filled in: cap (scores s become cap · tanh(s / cap); none where they stay as they are).

// Where the rows of a tensor lie, in vectors: that of batch b, head h and token t at offset + b·batch + h·head + t·time.
struct Rows {
    offset: u32,
    batch: u32,
    head: u32,
    time: u32,
}

struct Sizes {
    time: u32,
    heads: u32,
    kv_heads: u32,
    // How many of the latest tokens a query sees.
    window: u32,
    q: Rows,
    k: Rows,
    v: Rows,
    // Of the results.
    first: Rows,
    second: Rows,
}

fn at(rows: Rows, batch: u32, head: u32, token: u32) -> u32 {
    return rows.offset + batch * rows.batch + head * rows.head + token * rows.time;
}

// A score as the softmax takes it.
fn bent(score: f32) -> f32 {
{% if cap %}
    return {{ cap }} * tanh(clamp(score / {{ cap }}, -15.0, 15.0));
{% else %}
    return score;
{% endif %}
}

// How steeply that rises with what it is made from.
fn steepness(bent_score: f32) -> f32 {
{% if cap %}
    let share = bent_score / {{ cap }};
    return 1.0 - share * share;
{% else %}
    return 1.0;
{% endif %}
}
