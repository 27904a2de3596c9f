// The gradient of attention.wgsl by its queries. A lane holds one query, as there, and makes the probabilities again from
// ln Z: with g = ∂L/∂result and δ = g · result, ∂L/∂score = p · (g · v − δ).
//
// Filled in and laid out as there; δ is [B, T, H].

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> attended: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> gradient: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> normaliser: array<f32>;
@group(0) @binding(6) var<storage, read_write> of_q: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
@group(0) @binding(8) var<uniform> size: Sizes;

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
    let row = (batch * time + token) * heads + head;
    var products = vec4<f32>(0.0);
{% for d in range(vectors) %}
    let q{{ d }} = q[of_query + {{ d }}u] * {{ scale }};
    let g{{ d }} = gradient[row * {{ vectors }}u + {{ d }}u];
    products = fma(g{{ d }}, attended[row * {{ vectors }}u + {{ d }}u], products);
    var sum{{ d }} = vec4<f32>(0.0);
{% endfor %}
    let mean = dot(products, vec4<f32>(1.0));
    let ln_z = normaliser[row];
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
        var of_p{{ j }} = vec4<f32>(0.0);
{% endfor %}
{% for d in range(vectors) %}{% for j in range(2) %}
        score{{ j }} = fma(q{{ d }}, subgroupShuffle(k{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), score{{ j }});
{% endfor %}{% endfor %}
{% for d in range(vectors) %}{% for j in range(2) %}
        of_p{{ j }} = fma(g{{ d }}, subgroupShuffle(v{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), of_p{{ j }});
{% endfor %}{% endfor %}
{% for j in range(2) %}
        let seen{{ j }} = key + {{ j }}u <= query && key + {{ j }}u + window > query;
        let bent{{ j }} = bent(dot(score{{ j }}, vec4<f32>(1.0)));
        let p{{ j }} = exp(select(-1e30, bent{{ j }} - ln_z, seen{{ j }}));
        let slope{{ j }} = select(0.0, p{{ j }} * (dot(of_p{{ j }}, vec4<f32>(1.0)) - mean) * {{ scale }} * steepness(bent{{ j }}), seen{{ j }});
{% endfor %}
{% for d in range(vectors) %}{% for j in range(2) %}
        sum{{ d }} = fma(vec4<f32>(slope{{ j }}), subgroupShuffle(k{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), sum{{ d }});
{% endfor %}{% endfor %}
    }
    if query < time {
        let into = at(size.first, batch, head, query);
{% for d in range(vectors) %}
        of_q[into + {{ d }}u] = sum{{ d }};
{% endfor %}
        delta[row] = mean;
    }
}
