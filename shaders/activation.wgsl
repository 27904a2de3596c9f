// The nonlinearities of src/kernels/activation.rs: one invocation for each {{ "four elements" if width == 4 else "element" }}.
//
// Filled in: function (gelu_by_erf, gelu_by_tanh or swiglu), back (whether it is the gradient by the inputs), width (1 or 4,
//   which divides the number of elements), lanes (of a workgroup).
{% set number = "vec4<f32>" if width == 4 else "f32" %}
{% set inputs = ["gate", "up"] if function == "swiglu" else ["x"] %}
{% set read = inputs + ["gradient"] if back else inputs %}
{% set written = inputs if back else ["y"] %}

{% for name in read %}
@group(0) @binding({{ loop.index0 }}) var<storage, read_write> {{ name }}: array<{{ number }}>;
{% endfor %}
{% for name in written %}
@group(0) @binding({{ read|length + loop.index0 }}) var<storage, read_write> of_{{ name }}: array<{{ number }}>;
{% endfor %}
// Elements (or fours of them), nothing, nothing, workgroups along x.
@group(0) @binding({{ read|length + written|length }}) var<uniform> size: vec4<u32>;

alias Number = {{ number }};

// e^−|x| and σ(x).
fn falling(x: Number) -> Number {
    return exp(max(-abs(x), Number(-87.0)));
}

fn sigmoid(x: Number, falling: Number) -> Number {
    return select(Number(1.0), falling, x < Number(0.0)) / (1.0 + falling);
}
{% if function == "gelu_by_erf" %}

// As in src/kernels/vectors.rs.
fn erf(x: Number) -> Number {
    let t = min(abs(x), Number(4.0));
    let s = t * t;
    var near = Number(-5.967617e-4);
{% for coefficient in ["4.9911942e-3", "-2.6768135e-2", "1.12819925e-1", "-3.7612534e-1", "1.2837917e-1"] %}
    near = near * s + {{ coefficient }};
{% endfor %}
    var far = (-1.7285347e-5 * t + 3.8319713e-4) * s + (-3.8839644e-3 * t + 2.4254622e-2);
{% for coefficient in ["-1.06777877e-1", "-6.348467e-1", "-1.2871751e-1"] %}
    far = far * t + {{ coefficient }};
{% endfor %}
    return sign(x) * select(near * t + t, 1.0 - exp(far * t - t), t > Number(0.9277344));
}
{% endif %}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let i = (group.y * size.w + group.x) * {{ lanes }}u + local.x;
    if i >= size.x {
        return;
    }
{% if function == "swiglu" %}
    let g = gate[i];
    let e = falling(g);
    let share = sigmoid(g, e);
{% if back %}
    let passed = gradient[i];
    of_gate[i] = passed * up[i] * (share + g * e / ((1.0 + e) * (1.0 + e)));
    of_up[i] = passed * g * share;
{% else %}
    of_y[i] = g * share * up[i];
{% endif %}
{% else %}
    let whole = x[i];
    // Beyond ±20 it is x or 0, and the cube could be too large for f32.
    let near = clamp(whole, Number(-20.0), Number(20.0));
{% if function == "gelu_by_erf" %}
    let share = 0.5 + 0.5 * erf(near * 0.70710678);
{% if back %}
    of_x[i] = gradient[i] * (share + near * 0.39894228 * exp(max(-0.5 * near * near, Number(-87.0))));
{% else %}
    of_y[i] = whole * share;
{% endif %}
{% else %}
    let cubic = near * near * 0.0713548163;
    let steep = near * (cubic + 1.5957691216);
    let e = falling(steep);
    let share = sigmoid(steep, e);
{% if back %}
    of_x[i] = gradient[i] * (share + near * e / ((1.0 + e) * (1.0 + e)) * (3.0 * cubic + 1.5957691216));
{% else %}
    of_y[i] = whole * share;
{% endif %}
{% endif %}
{% endif %}
}
