// A tile of a kernel matrix from the products of its vectors: an RBF kernel, a mixture of four, or the distance.
//
// Filled in: lanes (of a workgroup), each (vectors of four columns that an invocation takes, one after the other),
//   terms (how many exponentials there are; 0 for the distance), aligned (whether columns are a multiple of four).

{% set number = "vec4<f32>" if aligned else "f32" %}
@group(0) @binding(0) var<storage, read_write> products: array<{{ number }}>;
// Squared lengths of the rows' and of the columns' vectors.
@group(0) @binding(1) var<storage, read_write> of_rows: array<f32>;
@group(0) @binding(2) var<storage, read_write> of_columns: array<{{ number }}>;
@group(0) @binding(3) var<storage, read_write> tile: array<{{ number }}>;

struct Constants {
    rows: u32,
    // Columns, or vectors of four of them.
    columns: u32,
    // Whether row i and column i are one vector: it is not paired with itself.
    diagonal: u32,
    // What every value is less.
    middle: f32,
    // Of each term, what the squared distance is multiplied with; for the distance, what it is multiplied with.
    factors: vec4<f32>,
}
@group(0) @binding(4) var<uniform> constants: Constants;

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let row = group.y;
    let square = of_rows[row];
    let start = group.x * {{ lanes * each }}u + local.x;
    for (var i = start; i < min(start + {{ lanes * each }}u, constants.columns); i += {{ lanes }}u) {
        let at = row * constants.columns + i;
        let squared = max(square + of_columns[i] - 2.0 * products[at], {{ number }}(0.0));
{% if terms == 0 %}
        var value = sqrt(squared) * constants.factors.x;
{% else %}
        var value = exp(squared * constants.factors.x);
{% for term in range(1, terms) %}
        value += exp(squared * constants.factors[{{ term }}]);
{% endfor %}
        value *= {{ 1.0 / terms }};
{% endif %}
        value -= {{ number }}(constants.middle);
        if constants.diagonal == 1u {
{% if aligned %}
            value = select(value, vec4<f32>(0.0), vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u) == vec4<u32>(row));
{% else %}
            value = select(value, 0.0, i == row);
{% endif %}
        }
        tile[at] = value;
    }
}
