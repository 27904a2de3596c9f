// Sums of squares: of all numbers that a workgroup takes one, at `sums[offset + its index]`.
//
// Filled in: lanes (of a workgroup), shuffles (whether that is a subgroup), each (numbers or vectors that an invocation
//   takes, one after the other), aligned (whether they are vectors of four).

@group(0) @binding(0) var<storage, read_write> x: array<{{ "vec4<f32>" if aligned else "f32" }}>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
// Numbers or vectors, offset
@group(0) @binding(2) var<uniform> size: vec4<u32>;
{% if not shuffles %}

var<workgroup> parts: array<f32, {{ lanes }}>;
{% endif %}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = group.y * 65535u + group.x;
    let lane = local.x;
    let start = index * {{ lanes * each }}u;
    if start >= size.x {
        return;
    }
    var sum = {{ "vec4<f32>(0.0)" if aligned else "0.0" }};
    for (var i = start + lane; i < min(start + {{ lanes * each }}u, size.x); i += {{ lanes }}u) {
        sum += x[i] * x[i];
    }
    let of_lane = {{ "sum.x + sum.y + sum.z + sum.w" if aligned else "sum" }};
{% if shuffles %}
    let total = subgroupAdd(of_lane);
{% else %}
    parts[lane] = of_lane;
    for (var half = {{ lanes // 2 }}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            parts[lane] += parts[lane + half];
        }
    }
    let total = parts[0]; // what the first invocation wrote itself
{% endif %}
    if lane == 0u {
        sums[size.y + index] = total;
    }
}
