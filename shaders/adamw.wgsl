// One step of AdamW for every number of a weight, from one pass: as torch.optim.AdamW.
//
// Filled in: lanes (of a workgroup), each (numbers or vectors that an invocation takes, one after the other), aligned
//   (whether they are vectors of four).

{% set number = "vec4<f32>" if aligned else "f32" %}
@group(0) @binding(0) var<storage, read_write> weight: array<{{ number }}>;
@group(0) @binding(1) var<storage, read_write> first: array<{{ number }}>;
@group(0) @binding(2) var<storage, read_write> second: array<{{ number }}>;
@group(0) @binding(3) var<storage, read_write> gradient: array<{{ number }}>;
@group(0) @binding(4) var<storage, read_write> new_weight: array<{{ number }}>;
@group(0) @binding(5) var<storage, read_write> new_first: array<{{ number }}>;
@group(0) @binding(6) var<storage, read_write> new_second: array<{{ number }}>;

struct Step {
    count: u32,
    // What the gradient is multiplied with.
    factor: f32,
    // Decay of the moments, and 1 less it.
    beta1: f32,
    beta2: f32,
    add1: f32,
    add2: f32,
    epsilon: f32,
    // The rate over the first moment's bias correction; 1 over the second's; what the weight is multiplied with.
    rate: f32,
    correction: f32,
    keep: f32,
}
@group(0) @binding(7) var<uniform> step: Step;

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let start = (group.y * 65535u + group.x) * {{ lanes * each }}u + local.x;
    for (var i = start; i < min(start + {{ lanes * each }}u, step.count); i += {{ lanes }}u) {
        let g = gradient[i] * step.factor;
        let m = first[i] * step.beta1 + g * step.add1;
        let v = second[i] * step.beta2 + g * g * step.add2;
        new_first[i] = m;
        new_second[i] = v;
        new_weight[i] = weight[i] * step.keep - m * step.rate / (sqrt(v / step.correction) + step.epsilon);
    }
}
