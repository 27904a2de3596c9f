// How many invocations run as one: what a device names are the least and the most there may be.

@group(0) @binding(0) var<storage, read_write> found: array<u32>;
@group(0) @binding(1) var<uniform> size: vec4<u32>;

@compute @workgroup_size(128, 1, 1)
fn main(@builtin(subgroup_size) lanes: u32, @builtin(local_invocation_index) index: u32) {
    if index < size.x {
        found[index] = lanes;
    }
}
