// What was chosen: an expert and the bits of its weight, USED of them for each token row.
@group(0) @binding(ROUTING_BINDING) var<storage, read> routing: array<vec2<u32>>;
