// The gradient of attention.wgsl by its keys and values. A lane holds one key with its value; the queries that look at it,
// of every head that shares it, are handed round, two at a time.
//
// Filled in and laid out as there; δ comes from attention_of_queries.wgsl.

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> normaliser: array<f32>;
@group(0) @binding(5) var<storage, read_write> delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> of_k: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> of_v: array<vec4<f32>>;
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
    let batch = group.y / kv_heads;
    let kv_head = group.y % kv_heads;
    let members = heads / kv_heads;
    let tile = group.x * {{ lanes }}u;
    let key = tile + lane;
    let token = min(key, time - 1u);
    let of_key = at(size.k, batch, kv_head, token);
    let of_value = at(size.v, batch, kv_head, token);
{% for d in range(vectors) %}
    let k{{ d }} = k[of_key + {{ d }}u] * {{ scale }};
    let v{{ d }} = v[of_value + {{ d }}u];
    var of_k{{ d }} = vec4<f32>(0.0);
    var of_v{{ d }} = vec4<f32>(0.0);
{% endfor %}
    let end = min(time, tile + {{ lanes - 1 }}u + window);
    for (var member = 0u; member < members; member += 1u) {
    let head = kv_head * members + member;
    for (var query = tile; query < end; query += 2u) {
        let mine = (batch * time + min(query + lane % 2u, time - 1u)) * heads + head;
        let ln_z = normaliser[mine];
        let mean = delta[mine];
{% for j in range(2) %}
        let token{{ j }} = min(query + {{ j }}u, time - 1u);
        let of_query{{ j }} = at(size.q, batch, head, token{{ j }});
        let row{{ j }} = ((batch * time + token{{ j }}) * heads + head) * {{ vectors }}u;
{% for i in range(loads) %}
        let q{{ j }}_{{ i }} = q[of_query{{ j }} + min(lane + {{ i * lanes }}u, {{ vectors - 1 }}u)];
        let g{{ j }}_{{ i }} = gradient[row{{ j }} + min(lane + {{ i * lanes }}u, {{ vectors - 1 }}u)];
{% endfor %}
        var score{{ j }} = vec4<f32>(0.0);
        var of_p{{ j }} = vec4<f32>(0.0);
{% endfor %}
{% for d in range(vectors) %}{% for j in range(2) %}
        score{{ j }} = fma(k{{ d }}, subgroupShuffle(q{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), score{{ j }});
{% endfor %}{% endfor %}
{% for d in range(vectors) %}{% for j in range(2) %}
        of_p{{ j }} = fma(v{{ d }}, subgroupShuffle(g{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), of_p{{ j }});
{% endfor %}{% endfor %}
{% for j in range(2) %}
        let seen{{ j }} = key <= query + {{ j }}u && key + window > query + {{ j }}u && query + {{ j }}u < time;
        let bent{{ j }} = bent(dot(score{{ j }}, vec4<f32>(1.0)));
        let exponent{{ j }} = bent{{ j }} - subgroupShuffle(ln_z, {{ j }}u);
        let p{{ j }} = select(0.0, exp(select(-1e30, exponent{{ j }}, seen{{ j }})), seen{{ j }});
        let of_score{{ j }} = dot(of_p{{ j }}, vec4<f32>(1.0)) - subgroupShuffle(mean, {{ j }}u);
        let slope{{ j }} = select(0.0, p{{ j }} * of_score{{ j }} * {{ scale }} * steepness(bent{{ j }}), seen{{ j }});
{% endfor %}
{% for d in range(vectors) %}{% for j in range(2) %}
        of_k{{ d }} = fma(vec4<f32>(slope{{ j }}), subgroupShuffle(q{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), of_k{{ d }});
        of_v{{ d }} = fma(vec4<f32>(p{{ j }}), subgroupShuffle(g{{ j }}_{{ d // lanes }}, {{ d % lanes }}u), of_v{{ d }});
{% endfor %}{% endfor %}
    }
    }
    if key < time {
        let first = at(size.first, batch, kv_head, key);
        let second = at(size.second, batch, kv_head, key);
{% for d in range(vectors) %}
        of_k[first + {{ d }}u] = of_k{{ d }};
        of_v[second + {{ d }}u] = of_v{{ d }};
{% endfor %}
    }
}
