// Layer norm and RMS norm of rows, and their gradients: x̂ = (x − mean) / deviation, y = x̂·weight + bias.
//
// Filled in: pass
//     forward: y, and mean and 1/deviation of every row; one workgroup for a row,
//     input: the gradient by x; one workgroup for a row,
//     weights: the gradients by weight and bias, summed over {{ rows_at_once }} rows; one invocation for a column of them,
//   weight, bias: whether there are these, or gradients by these are wanted,
//   centred: whether the mean is taken off (layer norm) or counts as 0 (RMS norm), epsilon: what is added to the variance,
//   width (1 or 4, which divides the channels), lanes (of a workgroup), shuffles: whether that is a subgroup, rows_at_once.
{% set number = "vec4<f32>" if width == 4 else "f32" %}
{% if pass == "forward" %}
{% set names = ["x"] + (["weight"] if weight else []) + (["bias"] if bias else []) + ["y", "moments"] %}
{% elif pass == "input" %}
{% set names = ["x", "gradient", "moments"] + (["weight"] if weight else []) + ["of_x"] %}
{% else %}
{% set names = ["gradient"] + (["x", "moments", "of_weight"] if weight else []) + (["of_bias"] if bias else []) %}
{% endif %}

{% for name in names %}
@group(0) @binding({{ loop.index0 }}) var<storage, read_write> {{ name }}: array<{{ "vec2<f32>" if name == "moments" else number }}>;
{% endfor %}
// Rows, channels (or fours of them), nothing, workgroups along x.
@group(0) @binding({{ names|length }}) var<uniform> size: vec4<u32>;

alias Number = {{ number }};

fn added(x: Number) -> f32 {
    return {{ "x.x + x.y + x.z + x.w" if width == 4 else "x" }};
}
{% if pass != "weights" %}
{% if shuffles %}

fn total(of_lane: vec2<f32>, lane: u32) -> vec2<f32> {
    return vec2<f32>(subgroupAdd(of_lane.x), subgroupAdd(of_lane.y));
}
{% else %}

var<workgroup> parts: array<vec2<f32>, {{ lanes }}>;

fn total(of_lane: vec2<f32>, lane: u32) -> vec2<f32> {
    workgroupBarrier();
    parts[lane] = of_lane;
    for (var half = {{ lanes // 2 }}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            parts[lane] += parts[lane + half];
        }
    }
    workgroupBarrier();
    return parts[0];
}
{% endif %}
{% endif %}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = group.y * size.w + group.x;
    let lane = local.x;
    let across = size.y;
{% if pass == "weights" %}
    let groups_across = (across + {{ lanes - 1 }}u) / {{ lanes }}u;
    let part = index / groups_across;
    let column = index % groups_across * {{ lanes }}u + lane;
    if part * {{ rows_at_once }}u >= size.x || column >= across {
        return;
    }
    var of_weights = Number(0.0);
    var of_biases = Number(0.0);
    let end = min(size.x, (part + 1u) * {{ rows_at_once }}u);
    for (var row = part * {{ rows_at_once }}u; row < end; row += 1u) {
        let g = gradient[row * across + column];
{% if weight %}
        let moment = moments[row];
        of_weights += g * ((x[row * across + column] - moment.x) * moment.y);
{% endif %}
        of_biases += g;
    }
{% if weight %}
    of_weight[part * across + column] = of_weights;
{% endif %}
{% if bias %}
    of_bias[part * across + column] = of_biases;
{% endif %}
{% else %}
    if index >= size.x {
        return;
    }
    let start = index * across;
    let channels = f32(across * {{ width }}u);
{% if pass == "forward" %}
{% if centred %}
    var sum = Number(0.0);
    for (var i = lane; i < across; i += {{ lanes }}u) {
        sum += x[start + i];
    }
    let mean = total(vec2<f32>(added(sum), 0.0), lane).x / channels;
{% else %}
    let mean = 0.0;
{% endif %}
    var squares = Number(0.0);
    for (var i = lane; i < across; i += {{ lanes }}u) {
        let off = x[start + i] - mean;
        squares += off * off;
    }
    let variance = total(vec2<f32>(added(squares), 0.0), lane).x / channels;
    let inverse = 1.0 / sqrt(variance + {{ epsilon }});
    if lane == 0u {
        moments[index] = vec2<f32>(mean, inverse);
    }
    for (var i = lane; i < across; i += {{ lanes }}u) {
        y[start + i] = (x[start + i] - mean) * inverse{{ " * weight[i]" if weight }}{{ " + bias[i]" if bias }};
    }
{% else %}
    let moment = moments[index];
    var all = Number(0.0);
    var along = Number(0.0);
    for (var i = lane; i < across; i += {{ lanes }}u) {
        let h = gradient[start + i]{{ " * weight[i]" if weight }};
        all += h;
        along += h * ((x[start + i] - moment.x) * moment.y);
    }
    let means = total(vec2<f32>(added(all), added(along)), lane) / channels;
    for (var i = lane; i < across; i += {{ lanes }}u) {
        let h = gradient[start + i]{{ " * weight[i]" if weight }};
        of_x[start + i] = moment.y * (h{{ " - means.x" if centred }} - (x[start + i] - moment.x) * moment.y * means.y);
    }
{% endif %}
{% endif %}
}
