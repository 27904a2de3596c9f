// Causal attention for software adapters: softmax(q·kᵀ/√D)·v over the keys that a query may look at, without the scores
// of more than two keys at a time.
//
// A lane holds one query with its sums; rows of keys and values are loaded once, four numbers to a lane, and handed round
// (see matmul.wgsl for what costs there).
//
// Filled in: lanes (of a subgroup), vectors (of four channels: D / 4), scale (1 / √D).
// q and the result are [B, T, H, D], k and v [B, T, K, D], ln Z is [B, T, H].

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> attended: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> normaliser: array<f32>;
// T, H, K, and how many of the latest tokens a query sees
@group(0) @binding(5) var<uniform> size: vec4<u32>;

{% set loads = (vectors + lanes - 1) // lanes %}
@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let time = size.x;
    let heads = size.y;
    let kv_heads = size.z;
    let window = size.w;
    let batch = group.y / heads;
    let head = group.y % heads;
    let kv_head = head / (heads / kv_heads);
    let tile = group.x * {{ lanes }}u;
    let query = tile + lane;
    let row = (batch * time + min(query, time - 1u)) * heads + head;
{% for d in range(vectors) %}
    let q{{ d }} = q[row * {{ vectors }}u + {{ d }}u] * {{ scale }};
    var sum{{ d }} = vec4<f32>(0.0);
{% endfor %}
    // Hidden scores are less than any other, but numbers, so that differences are numbers too.
    var largest = -1e30;
    var total = 0.0;
    let oldest = max(tile + 1u, window) - window;
    let end = min(tile + {{ lanes }}u, time);
    for (var key = oldest; key < end; key += 2u) {
{% for j in range(2) %}
        let row{{ j }} = ((batch * time + min(key + {{ j }}u, time - 1u)) * kv_heads + kv_head) * {{ vectors }}u;
{% for i in range(loads) %}
        let k{{ j }}_{{ i }} = k[row{{ j }} + min(lane + {{ i * lanes }}u, {{ vectors - 1 }}u)];
        let v{{ j }}_{{ i }} = v[row{{ j }} + min(lane + {{ i * lanes }}u, {{ vectors - 1 }}u)];
{% endfor %}
        var score{{ j }} = vec4<f32>(0.0);
{% endfor %}
{% for d in range(vectors) %}{% for j in range(2) %}
        score{{ j }} = fma(q{{ d }}, subgroupShuffle(k{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), score{{ j }});
{% endfor %}{% endfor %}
{% for j in range(2) %}
        let seen{{ j }} = key + {{ j }}u <= query && key + {{ j }}u + window > query;
        let x{{ j }} = select(-1e30, dot(score{{ j }}, vec4<f32>(1.0)), seen{{ j }});
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
{% for d in range(vectors) %}
        attended[row * {{ vectors }}u + {{ d }}u] = sum{{ d }} * share;
{% endfor %}
        normaliser[row] = largest + log(total);
    }
}
