// Weights come in quads of 4 consecutive output rows and in units of 8 consecutive columns: one unit is 8 columns of 4 rows.
// lo holds columns 0 to 3, hi 4 to 7, without scale and offset, in the form that lib/columns*.wgsl say.
struct Unit {
  lo: Columns,
  hi: Columns,
}

// weight = scale * quant + offset, for each of the 4 rows of a block.
struct Scales {
  scale: vec4<f32>,
  offset: vec4<f32>,
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
