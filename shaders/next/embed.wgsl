// After a draw: the token's row of the embedding matrix becomes the residual stream, and the first RMSNorm is prepared, as weigh.wgsl does.

@group(0) @binding(5) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> residual: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> weighted: array<vec4<f32>>;

var<workgroup> embed_squares: array<vec4<f32>, WORKGROUP>;

fn hand_over(index: u32, token: u32) {
  var squares = vec4<f32>(0.0);
  for (var unit = index; unit < UNITS; unit += WORKGROUP) {
    let values = row_unit(token, unit);
    for (var half = 0u; half < 2u; half++) {
      let quad = 2u * unit + half;
      let value = values[half];
      residual[quad] = value;
      weighted[quad] = value * norm_weight[quad];
      squares += value * value;
    }
  }
  embed_squares[index] = squares;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
    if (index < half) {
      embed_squares[index] += embed_squares[index + half];
    }
    workgroupBarrier();
  }
  for (var i = index; i < NORM_PARTIALS; i += WORKGROUP) {
    weighted[2u * UNITS + i] = select(vec4<f32>(0.0), embed_squares[0], i == 0u);
  }
}
