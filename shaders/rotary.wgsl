// Rotary positions: rows of {{ channels * width }} channels from [batch·time, heads] to [batch·heads, time], or back. One
// invocation turns {{ width }} pair{{ "s" if width > 1 }} of a row, or copies as many of the channels that stay as they are.
//
// Filled in: channels of a row and half of those that are turned, both in widths; width (1 or 4); back: whether rows go from
//   [batch·heads, time] to [batch·time, heads] and are turned by the negative angles; lanes (of a workgroup).
{% set number = "vec4<f32>" if width == 4 else "f32" %}

@group(0) @binding(0) var<storage, read_write> x: array<{{ number }}>;
@group(0) @binding(1) var<storage, read_write> cosines: array<{{ number }}>;
@group(0) @binding(2) var<storage, read_write> sines: array<{{ number }}>;
@group(0) @binding(3) var<storage, read_write> turned: array<{{ number }}>;
// Rows, time, heads, workgroups along x.
@group(0) @binding(4) var<uniform> size: vec4<u32>;

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = (group.y * size.w + group.x) * {{ lanes }}u + local.x;
    let row = index / {{ channels - half }}u;
    let i = index % {{ channels - half }}u;
    let time = size.y;
    let heads = size.z;
    if row >= size.x {
        return;
    }
{% if back %}
    let token = row / heads;
    let position = token % time;
    let from_row = (token / time * heads + row % heads) * time + position;
{% else %}
    let head = row / time;
    let position = row % time;
    let from_row = (head / heads * time + position) * heads + head % heads;
{% endif %}
    let source = from_row * {{ channels }}u + i;
    let written = row * {{ channels }}u + i;
    if i < {{ half }}u {
        let first = x[source];
        let second = x[source + {{ half }}u];
        let cosine = cosines[position * {{ half }}u + i];
        let sine = {{ "-" if back }}sines[position * {{ half }}u + i];
        turned[written] = first * cosine - second * sine;
        turned[written + {{ half }}u] = second * cosine + first * sine;
    } else {
        turned[written + {{ half }}u] = x[source + {{ half }}u];
    }
}
