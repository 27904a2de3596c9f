// Causal attention for software cards: softmax(q·kᵀ/√D)·v over the keys that a query may look at, without the scores
// of more than two keys at a time.
//
// A lane holds one query with its sums; rows of keys and values are loaded once, four numbers to a lane, and handed round
// (see matmul.wgsl for what costs there).
//
// Filled in: lanes (of a subgroup), vectors (of four channels: D / 4), scale (1 / √D).
// Rows of q, k, v and the result lie as attention_rows.wgsl says; ln Z is [B, T, H].

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> attended: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> normaliser: array<f32>;
@group(0) @binding(5) var<uniform> size: Sizes;

{% include "attention_rows" %}

{% set loads = (vectors + lanes - 1) // lanes %}
@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let time = size.time;
    let heads = size.heads;
    let kv_heads = size.kv_heads;
    let window = size.window;
    let batch = group.y / heads;
    let head = group.y % heads;
    let kv_head = head / (heads / kv_heads);
    let tile = group.x * {{ lanes }}u;
    let query = tile + lane;
    let token = min(query, time - 1u);
    let of_query = at(size.q, batch, head, token);
{% for d in range(vectors) %}
    let q{{ d }} = q[of_query + {{ d }}u] * {{ scale }};
    var sum{{ d }} = vec4<f32>(0.0);
{% endfor %}
    // Hidden scores are less than any other, but numbers, so that differences are numbers too.
    var largest = -1e30;
    var total = 0.0;
    let oldest = max(tile + 1u, window) - window;
    let end = min(tile + {{ lanes }}u, time);
    for (var key = oldest; key < end; key += 2u) {
{% for j in range(2) %}
        let of_key{{ j }} = at(size.k, batch, kv_head, min(key + {{ j }}u, time - 1u));
        let of_value{{ j }} = at(size.v, batch, kv_head, min(key + {{ j }}u, time - 1u));
{% for i in range(loads) %}
        let k{{ j }}_{{ i }} = k[of_key{{ j }} + min(lane + {{ i * lanes }}u, {{ vectors - 1 }}u)];
        let v{{ j }}_{{ i }} = v[of_value{{ j }} + min(lane + {{ i * lanes }}u, {{ vectors - 1 }}u)];
{% endfor %}
        var score{{ j }} = vec4<f32>(0.0);
{% endfor %}
{% for d in range(vectors) %}{% for j in range(2) %}
        score{{ j }} = fma(q{{ d }}, subgroupShuffle(k{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), score{{ j }});
{% endfor %}{% endfor %}
{% for j in range(2) %}
        let seen{{ j }} = key + {{ j }}u <= query && key + {{ j }}u + window > query;
        let x{{ j }} = select(-1e30, bent(dot(score{{ j }}, vec4<f32>(1.0))), seen{{ j }});
{% endfor %}
        let most = max(largest, max(x0, x1));
        let shrink = exp(largest - most);
        largest = most;
{% for j in range(2) %}
        let p{{ j }} = select(0.0, exp(x{{ j }} - most), seen{{ j }});
{% endfor %}
        total = total * shrink + (p0 + p1);
{% for d in range(vectors) %}
        sum{{ d }} *= shrink;
{% for j in range(2) %}
        sum{{ d }} = fma(vec4<f32>(p{{ j }}), subgroupShuffle(v{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), sum{{ d }});
{% endfor %}
{% endfor %}
    }
    if query < time {
        let share = 1.0 / total;
        let into = at(size.first, batch, head, query);
{% for d in range(vectors) %}
        attended[into + {{ d }}u] = sum{{ d }} * share;
{% endfor %}
        normaliser[(batch * time + query) * heads + head] = largest + log(total);
    }
}
