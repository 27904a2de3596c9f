// Causal attention and its gradients for graphics cards, as attention.wgsl computes them: a workgroup takes a tile of
// queries (or of keys) and walks over the tiles of keys (or of queries) that have to do with it, which all its invocations
// read from the memory they share.
//
// Filled in: pass
//     forward: the result and ln Z of every query,
//     queries: the gradient by queries, and δ of every query,
//     keys: the gradients by keys and values, from δ,
//   tile (queries and keys at a time; 16 or 32), vectors (of four channels: D / 4), scale (1 / √D).
// Rows of queries, keys, values and results lie as attention_rows.wgsl says; ∂L/∂result is [B, T, H, D], ln Z and δ [B, T, H].
{% set each = tile // 16 %}
{% set columns = (vectors + 15) // 16 %}
{# A row of a tile begins where another bank of the memory does. #}
{% set stride = vectors + 1 %}
{% set names = {
    "forward": ["q", "k", "v", "attended", "normaliser"],
    "queries": ["q", "k", "v", "attended", "gradient", "normaliser", "of_q", "delta"],
    "keys": ["q", "k", "v", "gradient", "normaliser", "delta", "of_k", "of_v"],
}[pass] %}

{% for name in names %}
@group(0) @binding({{ loop.index0 }}) var<storage, read_write> {{ name }}: array<{{ "f32" if name in ["normaliser", "delta"] else "vec4<f32>" }}>;
{% endfor %}
@group(0) @binding({{ names|length }}) var<uniform> size: Sizes;

{% include "attention_rows" %}

{% if pass == "forward" %}
var<workgroup> queries: array<vec4<f32>, {{ tile * stride }}>;
// Keys, and after their scores have been made the values.
var<workgroup> others: array<vec4<f32>, {{ tile * stride }}>;
var<workgroup> weights: array<f32, {{ tile * (tile + 1) }}>;
{% else %}
// Keys and values of a tile, or queries and their gradients.
var<workgroup> first: array<vec4<f32>, {{ tile * stride }}>;
var<workgroup> second: array<vec4<f32>, {{ tile * stride }}>;
// ∂L/∂score, and of the pass over keys the probabilities: a row for each row of the result.
var<workgroup> slopes: array<f32, {{ tile * (tile + 1) }}>;
{% if pass == "keys" %}
var<workgroup> weights: array<f32, {{ tile * (tile + 1) }}>;
{% endif %}
{% endif %}

{% macro fill(shared, name, start, head, factor="") %}
        for (var i = index; i < {{ tile * vectors }}u; i += 256u) {
            let token = min({{ start }} + i / {{ vectors }}u, time - 1u);
{% if name == "gradient" %}
            let row = ((batch * time + token) * heads + {{ head }}) * {{ vectors }}u;
{% else %}
            let row = at(size.{{ name }}, batch, {{ head }}, token);
{% endif %}
            {{ shared }}[i / {{ vectors }}u * {{ stride }}u + i % {{ vectors }}u] = {{ name }}[row + i % {{ vectors }}u]{{ factor }};
        }
{% endmacro %}

@compute @workgroup_size(16, 16, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let time = size.time;
    let heads = size.heads;
    let kv_heads = size.kv_heads;
    let window = size.window;
    let begin = group.x * {{ tile }}u;
{% if pass == "keys" %}
    let batch = group.y / kv_heads;
    let kv_head = group.y % kv_heads;
{% else %}
    let batch = group.y / heads;
    let head = group.y % heads;
    let kv_head = head / (heads / kv_heads);
{% endif %}
{% if pass == "forward" %}
{{ fill("queries", "q", "begin", "head", " * " ~ scale) }}
{% endif %}
    // An invocation's rows of the result are every sixteenth, and so are its vectors of them and its columns of the scores.
{% for i in range(each) %}
    let mine{{ i }} = begin + local.y + {{ 16 * i }}u;
    let token{{ i }} = min(mine{{ i }}, time - 1u);
{% if pass == "keys" %}
    let of_a{{ i }} = at(size.k, batch, kv_head, token{{ i }});
    let of_b{{ i }} = at(size.v, batch, kv_head, token{{ i }});
{% elif pass == "queries" %}
    let row{{ i }} = (batch * time + token{{ i }}) * heads + head;
    let of_a{{ i }} = at(size.q, batch, head, token{{ i }});
    let of_b{{ i }} = row{{ i }} * {{ vectors }}u;
{% endif %}
{% if pass == "forward" %}
    // Hidden scores are less than any other, but numbers, so that differences are numbers too.
    var largest{{ i }} = -1e30;
    var total{{ i }} = 0.0;
{% elif pass == "queries" %}
    var mean{{ i }} = 0.0;
    for (var d = 0u; d < {{ vectors }}u; d += 1u) {
        mean{{ i }} += dot(gradient[of_b{{ i }} + d], attended[of_b{{ i }} + d]);
    }
    let ln_z{{ i }} = normaliser[row{{ i }}];
{% endif %}
{% for c in range(columns) %}
    var sum{{ i }}_{{ c }} = vec4<f32>(0.0);
{% if pass == "keys" %}
    var of_value{{ i }}_{{ c }} = vec4<f32>(0.0);
{% endif %}
{% endfor %}
{% endfor %}
{% if pass == "keys" %}
    let members = heads / kv_heads;
    let end = min(time, begin + {{ tile - 1 }}u + window);
    for (var member = 0u; member < members; member += 1u) {
    let head = kv_head * members + member;
    for (var start = begin; start < end; start += {{ tile }}u) {
{% else %}
    let end = min(begin + {{ tile }}u, time);
    for (var start = max(begin + 1u, window) - window; start < end; start += {{ tile }}u) {
{% endif %}
        workgroupBarrier(); // what is overwritten has been read
{% if pass == "forward" %}
{{ fill("others", "k", "start", "kv_head") }}
{% elif pass == "queries" %}
{{ fill("first", "k", "start", "kv_head") }}
{{ fill("second", "v", "start", "kv_head") }}
{% else %}
{{ fill("first", "q", "start", "head") }}
{{ fill("second", "gradient", "start", "head") }}
{% endif %}
        workgroupBarrier();
{% for i in range(each) %}{% for j in range(each) %}
        var score{{ i }}_{{ j }} = 0.0;
{% if pass != "forward" %}
        var of_p{{ i }}_{{ j }} = 0.0;
{% endif %}
{% endfor %}{% endfor %}
        for (var d = 0u; d < {{ vectors }}u; d += 1u) {
{% if pass == "forward" %}
{% for j in range(each) %}
            let other{{ j }} = others[(local.x + {{ 16 * j }}u) * {{ stride }}u + d];
{% endfor %}
{% for i in range(each) %}
            let query{{ i }} = queries[(local.y + {{ 16 * i }}u) * {{ stride }}u + d];
{% for j in range(each) %}
            score{{ i }}_{{ j }} += dot(query{{ i }}, other{{ j }});
{% endfor %}
{% endfor %}
{% else %}
{% for j in range(each) %}
            let first{{ j }} = first[(local.x + {{ 16 * j }}u) * {{ stride }}u + d];
            let second{{ j }} = second[(local.x + {{ 16 * j }}u) * {{ stride }}u + d];
{% endfor %}
{% for i in range(each) %}
            let a{{ i }} = {{ "k" if pass == "keys" else "q" }}[of_a{{ i }} + d];
            let b{{ i }} = {{ "v" if pass == "keys" else "gradient" }}[of_b{{ i }} + d];
{% for j in range(each) %}
            score{{ i }}_{{ j }} += dot(a{{ i }}, first{{ j }});
            of_p{{ i }}_{{ j }} += dot(b{{ i }}, second{{ j }});
{% endfor %}
{% endfor %}
{% endif %}
        }
{% for j in range(each) %}
        let theirs{{ j }} = start + local.x + {{ 16 * j }}u;
{% if pass == "keys" %}
        let query{{ j }} = (batch * time + min(theirs{{ j }}, time - 1u)) * heads + head;
        let ln_z{{ j }} = normaliser[query{{ j }}];
        let mean{{ j }} = delta[query{{ j }}];
{% endif %}
{% endfor %}
{% for i in range(each) %}{% for j in range(each) %}
{% set at = "(local.y + " ~ 16 * i ~ "u) * " ~ (tile + 1) ~ "u + local.x + " ~ 16 * j ~ "u" %}
{% set ij = i ~ "_" ~ j %}
        let bent{{ ij }} = bent(score{{ ij }}{{ "" if pass == "forward" else " * " ~ scale }});
{% if pass == "keys" %}
        let seen{{ ij }} = mine{{ i }} <= theirs{{ j }} && mine{{ i }} + window > theirs{{ j }} && theirs{{ j }} < time;
        let p{{ ij }} = select(0.0, exp(select(-1e30, bent{{ ij }} - ln_z{{ j }}, seen{{ ij }})), seen{{ ij }});
        weights[{{ at }}] = p{{ ij }};
        slopes[{{ at }}] = select(0.0, p{{ ij }} * (of_p{{ ij }} - mean{{ j }}) * {{ scale }} * steepness(bent{{ ij }}), seen{{ ij }});
{% else %}
        let seen{{ ij }} = theirs{{ j }} <= mine{{ i }} && theirs{{ j }} + window > mine{{ i }};
{% if pass == "forward" %}
        weights[{{ at }}] = select(-1e30, bent{{ ij }}, seen{{ ij }});
{% else %}
        let p{{ ij }} = exp(select(-1e30, bent{{ ij }} - ln_z{{ i }}, seen{{ ij }}));
        slopes[{{ at }}] = select(0.0, p{{ ij }} * (of_p{{ ij }} - mean{{ i }}) * {{ scale }} * steepness(bent{{ ij }}), seen{{ ij }});
{% endif %}
{% endif %}
{% endfor %}{% endfor %}
        workgroupBarrier();
{% if pass == "forward" %}
{% for i in range(each) %}
        var most{{ i }} = largest{{ i }};
        for (var t = 0u; t < {{ tile }}u; t += 1u) {
            most{{ i }} = max(most{{ i }}, weights[(local.y + {{ 16 * i }}u) * {{ tile + 1 }}u + t]);
        }
{% endfor %}
{{ fill("others", "v", "start", "kv_head") }}
        workgroupBarrier();
{% for i in range(each) %}
{% for j in range(each) %}
        weights[(local.y + {{ 16 * i }}u) * {{ tile + 1 }}u + local.x + {{ 16 * j }}u] = select(0.0, exp(bent{{ i }}_{{ j }} - most{{ i }}), seen{{ i }}_{{ j }});
{% endfor %}
        let shrink{{ i }} = exp(largest{{ i }} - most{{ i }});
        largest{{ i }} = most{{ i }};
        total{{ i }} *= shrink{{ i }};
{% for c in range(columns) %}
        sum{{ i }}_{{ c }} *= shrink{{ i }};
{% endfor %}
{% endfor %}
        workgroupBarrier();
{% endif %}
        for (var t = 0u; t < {{ tile }}u; t += 1u) {
{% for c in range(columns) %}
            // Vectors beyond the last are computed like it and not stored.
            let channel{{ c }} = t * {{ stride }}u + min(local.x + {{ 16 * c }}u, {{ vectors - 1 }}u);
{% if pass == "forward" %}
            let other{{ c }} = others[channel{{ c }}];
{% else %}
            let first{{ c }} = first[channel{{ c }}];
{% if pass == "keys" %}
            let second{{ c }} = second[channel{{ c }}];
{% endif %}
{% endif %}
{% endfor %}
{% for i in range(each) %}
{% set at = "(local.y + " ~ 16 * i ~ "u) * " ~ (tile + 1) ~ "u + t" %}
{% if pass == "forward" %}
            let p{{ i }} = weights[{{ at }}];
            total{{ i }} += p{{ i }};
{% for c in range(columns) %}
            sum{{ i }}_{{ c }} += p{{ i }} * other{{ c }};
{% endfor %}
{% else %}
            let slope{{ i }} = slopes[{{ at }}];
{% if pass == "keys" %}
            let p{{ i }} = weights[{{ at }}];
{% endif %}
{% for c in range(columns) %}
            sum{{ i }}_{{ c }} += slope{{ i }} * first{{ c }};
{% if pass == "keys" %}
            of_value{{ i }}_{{ c }} += p{{ i }} * second{{ c }};
{% endif %}
{% endfor %}
{% endif %}
{% endfor %}
        }
    }
{% if pass == "keys" %}
    }
{% endif %}
{% for i in range(each) %}
    if mine{{ i }} < time {
        let into_first{{ i }} = at(size.first, batch, {{ "kv_head" if pass == "keys" else "head" }}, mine{{ i }});
{% if pass == "keys" %}
        let into_second{{ i }} = at(size.second, batch, kv_head, mine{{ i }});
{% endif %}
{% for c in range(columns) %}
        if local.x + {{ 16 * c }}u < {{ vectors }}u {
            let column = local.x + {{ 16 * c }}u;
{% if pass == "forward" %}
            attended[into_first{{ i }} + column] = sum{{ i }}_{{ c }} / total{{ i }};
{% elif pass == "queries" %}
            of_q[into_first{{ i }} + column] = sum{{ i }}_{{ c }};
{% else %}
            of_k[into_first{{ i }} + column] = sum{{ i }}_{{ c }};
            of_v[into_second{{ i }} + column] = of_value{{ i }}_{{ c }};
{% endif %}
        }
{% endfor %}
{% if pass == "forward" %}
        if local.x == 0u { normaliser[(batch * time + mine{{ i }}) * heads + head] = largest{{ i }} + log(total{{ i }}); }
{% elif pass == "queries" %}
        if local.x == 0u { delta[row{{ i }}] = mean{{ i }}; }
{% endif %}
    }
{% endfor %}
}
