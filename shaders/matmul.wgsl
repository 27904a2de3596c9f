// C = A·B in f32 for software cards: C is [m, n], row-major.
//
// Such a card runs the invocations of a subgroup as one vector of the processor. A load costs ten times an addition
// there, whether all lanes read one address or each its own, while passing a value from one lane to all is almost free. So
// every lane loads other numbers of A, four at a time, and they are handed round; a lane's columns of B are its own. A
// subgroup computes {{ rows }} rows by {{ vectors * 4 * lanes }} columns in registers.
//
// Filled in: lanes (of a subgroup), rows (a multiple of lanes), vectors (of four columns for each lane),
//   a_transposed: A is held as [k, m]; b_transposed: B is held as [n, k],
//   a_aligned, b_aligned, c_aligned: whether rows, as they are held, are multiples of four numbers,
//   biased: whether a bias is added,
//   down: whether workgroups that follow each other go down C's rows and not along its columns. The shorter way is the
//   faster: what the longer side needs of A or B is then read once, and the rest stays in the processor's caches.
// Everything is unrolled: an array with a running index would lie in memory.

@group(0) @binding(0) var<storage, read_write> a: array<{{ "vec4<f32>" if a_aligned else "f32" }}>;
@group(0) @binding(1) var<storage, read_write> b: array<{{ "vec4<f32>" if b_aligned else "f32" }}>;
@group(0) @binding(2) var<storage, read_write> c: array<{{ "vec4<f32>" if c_aligned else "f32" }}>;
{% if biased %}
// Added to every row.
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;
{% endif %}
// m, n, k
@group(0) @binding({{ 4 if biased else 3 }}) var<uniform> size: vec4<u32>;

{% macro load(name, aligned, row, column, stride, limit) %}
{% if aligned %}
{{ name }}[({{ row }}) * ({{ stride }} / 4u) + ({{ column }}) / 4u]
{%- else %}
load_{{ name }}({{ row }}, {{ column }}, {{ stride }})
{%- endif %}
{% endmacro %}
{% for name, aligned in [("a", a_aligned), ("b", b_aligned)] %}
{% if not aligned %}
// Four numbers of a row that need not begin at a multiple of four; beyond its end, 0.
fn load_{{ name }}(row: u32, column: u32, stride: u32) -> vec4<f32> {
    let start = row * stride;
    let last = stride - 1u;
    return vec4<f32>(
        {{ name }}[start + min(column, last)],
        select(0.0, {{ name }}[start + min(column + 1u, last)], column + 1u < stride),
        select(0.0, {{ name }}[start + min(column + 2u, last)], column + 2u < stride),
        select(0.0, {{ name }}[start + min(column + 3u, last)], column + 3u < stride),
    );
}
{% endif %}
{% endfor %}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let m = size.x;
    let n = size.y;
    let depth = size.z;
    let row = group.{{ "x" if down else "y" }} * {{ rows }}u;
{% for v in range(vectors) %}
    let column{{ v }} = (group.{{ "y" if down else "x" }} * {{ vectors * lanes }}u + {{ v * lanes }}u + lane) * 4u;
    // Columns beyond the last are computed like it and not stored.
    let at{{ v }} = min(column{{ v }}, (n - 1u) / 4u * 4u);
{% endfor %}
{% for v in range(vectors) %}
{% if biased %}
    let sum_{{ v }} = vec4<f32>({% for j in range(4) %}bias[min(at{{ v }} + {{ j }}u, n - 1u)]{{ ", " if not loop.last }}{% endfor %});
{% else %}
    let sum_{{ v }} = vec4<f32>(0.0);
{% endif %}
{% for i in range(rows) %}
    var sum{{ i }}_{{ v }} = sum_{{ v }};
{% endfor %}
{% endfor %}
    for (var k = 0u; k < depth; k += 4u) {
{% if a_transposed %}
        // A lane holds one of four k, of four neighbouring rows of C.
        let mine = min(k + lane % 4u, depth - 1u);
        let counts = f32(k + lane % 4u < depth);
{% for h in range(rows // lanes) %}
        let a{{ h }} = counts * {{ load("a", a_aligned, "mine", "min(row + " ~ h * lanes ~ "u + lane / 4u * 4u, (m - 1u) / 4u * 4u)", "m") }};
{% endfor %}
{% else %}
{% for h in range(rows // lanes) %}
        // A lane holds four k of one row of C.
        let a{{ h }} = {{ load("a", a_aligned, "min(row + " ~ h * lanes ~ "u + lane, m - 1u)", "k", "depth") }};
{% endfor %}
{% endif %}
{% if b_transposed %}
{% for v in range(vectors) %}{% for j in range(4) %}
        let b{{ v }}_{{ j }} = {{ load("b", b_aligned, "min(at" ~ v ~ " + " ~ j ~ "u, n - 1u)", "k", "depth") }};
{% endfor %}{% endfor %}
{% endif %}
{% for u in range(4) %}{% for v in range(vectors) %}
{% if b_transposed %}
        let y{{ u }}_{{ v }} = vec4<f32>({% for j in range(4) %}b{{ v }}_{{ j }}[{{ u }}]{{ ", " if not loop.last }}{% endfor %});
{% else %}
        let y{{ u }}_{{ v }} = {{ load("b", b_aligned, "min(k + " ~ u ~ "u, depth - 1u)", "at" ~ v, "n") }};
{% endif %}
{% endfor %}{% endfor %}
        // Row by row: a row's sums stay in registers for all k of this round.
{% for i in range(rows) %}
        {
{% for u in range(4) %}
{% if a_transposed %}
            let x{{ u }} = vec4<f32>(subgroupShuffle(a{{ i // lanes }}[{{ i % 4 }}], {{ u + i % lanes // 4 * 4 }}u));
{% else %}
            let x{{ u }} = vec4<f32>(subgroupShuffle(a{{ i // lanes }}[{{ u }}], {{ i % lanes }}u));
{% endif %}
{% for v in range(vectors) %}
            sum{{ i }}_{{ v }} = fma(x{{ u }}, y{{ u }}_{{ v }}, sum{{ i }}_{{ v }});
{% endfor %}
{% endfor %}
        }
{% endfor %}
    }
{% for v in range(vectors) %}
    if column{{ v }} < n {
{% for i in range(rows) %}
        if row + {{ i }}u < m {
{% if c_aligned %}
            c[(row + {{ i }}u) * (n / 4u) + column{{ v }} / 4u] = sum{{ i }}_{{ v }};
{% else %}
{% for j in range(4) %}
            if column{{ v }} + {{ j }}u < n { c[(row + {{ i }}u) * n + column{{ v }} + {{ j }}u] = sum{{ i }}_{{ v }}[{{ j }}]; }
{% endfor %}
{% endif %}
        }
{% endfor %}
    }
{% endfor %}
}
