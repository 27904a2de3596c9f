// From the logits of positions, one row each: what the softmax is normalised with, or (in place) the loss's gradient.
//
// A workgroup takes a row. Filled in: lanes (of the workgroup), aligned (whether rows are multiples of four numbers),
//   gradient (whether the logits become the gradient, else the row is summed up), steepness (what the gradient by a
//   logit is multiplied by, to be that by the product it is made from: nothing, or a text such as ` * (…)`).

@group(0) @binding(0) var<storage, read_write> logits: array<{{ "vec4<f32>" if aligned else "f32" }}>;
// Each row's target as a column of these logits; beyond them where it lies in another piece of the head.
@group(0) @binding(1) var<storage, read_write> targets: array<u32>;
{% if gradient %}
// ln Z of each row, and what its loss weighs.
@group(0) @binding(2) var<storage, read_write> normaliser: array<f32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;
// rows, columns
@group(0) @binding(4) var<uniform> size: vec4<u32>;
{% else %}
// Of each row: the largest logit, the sum of e^(logit − largest), the target's logit (0 if it lies elsewhere), 0.
@group(0) @binding(2) var<storage, read_write> found: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> size: vec4<u32>;

var<workgroup> parts: array<f32, {{ lanes }}>;
{% endif %}

{% set width = 4 if aligned else 1 %}
{% set number = "vec4<f32>" if aligned else "f32" %}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let row = group.y * 65535u + group.x;
    // All invocations of a workgroup leave together.
    if row >= size.x { return; }
    let columns = size.y / {{ width }}u;
    let start = row * columns;
    let column = targets[row];
{% if gradient %}
    let normal = normaliser[row];
    let weight = weights[row];
    for (var i = lane; i < columns; i += {{ lanes }}u) {
        let logit = logits[start + i];
        var p = exp(logit - normal);
{% if aligned %}
        p -= select(vec4<f32>(0.0), vec4<f32>(1.0), vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u) == vec4<u32>(column));
{% else %}
        p -= select(0.0, 1.0, i == column);
{% endif %}
        logits[start + i] = weight * p{{ steepness }};
    }
{% else %}
    var most = {{ number }}(-3.4e38);
    for (var i = lane; i < columns; i += {{ lanes }}u) {
        most = max(most, logits[start + i]);
    }
    parts[lane] = {{ "max(max(most.x, most.y), max(most.z, most.w))" if aligned else "most" }};
    workgroupBarrier();
    var largest = parts[0];
    for (var i = 1u; i < {{ lanes }}u; i++) {
        largest = max(largest, parts[i]);
    }
    workgroupBarrier();
    var sum = {{ number }}(0.0);
    for (var i = lane; i < columns; i += {{ lanes }}u) {
        sum += exp(logits[start + i] - largest);
    }
    parts[lane] = {{ "(sum.x + sum.y) + (sum.z + sum.w)" if aligned else "sum" }};
    workgroupBarrier();
    if lane == 0u {
        var total = 0.0;
        for (var i = 0u; i < {{ lanes }}u; i++) {
            total += parts[i];
        }
        var of_target = 0.0;
        if column < size.y {
            of_target = {{ "logits[start + column / 4u][column % 4u]" if aligned else "logits[start + column]" }};
        }
        found[row] = vec4<f32>(largest, total, of_target, 0.0);
    }
{% endif %}
}
