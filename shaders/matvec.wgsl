// y = W x for COLUMNS vectors at once: (ROWS, K) times (K, COLUMNS), both vectors' sets stored one vector after the other.
// GROUP invocations share a quad of rows and split its blocks among them; a block's weights stay unscaled until its sum is complete.
// ACCUMULATE adds to y instead of replacing it: the residual stream.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

fn kernel(index: u32, subgroup: u32, workgroup: vec3<u32>, workgroups: vec3<u32>) {
  let lane = index % GROUP;
  let quad = (workgroup.y * workgroups.x + workgroup.x) * (WORKGROUP / GROUP) + index / GROUP;
  var sums = array<vec4<f32>, COLUMNS>();
  if (quad < QUADS) {
    for (var block = lane; block < BLOCKS; block += GROUP) {
      // Chromium zeroes a variable without an initializer once, not in every turn of the loop.
      var products = array<vec4<f32>, COLUMNS>();
      var inputs = array<vec4<f32>, COLUMNS>();
      for (var i = 0u; i < UNITS_PER_BLOCK; i++) {
        let unit = block * UNITS_PER_BLOCK + i;
        let w = unit_quants(quad * (BLOCKS * UNITS_PER_BLOCK) + unit);
        for (var column = 0u; column < COLUMNS; column++) {
          let x_lo = x[column * X_STRIDE + 2u * unit];
          let x_hi = x[column * X_STRIDE + 2u * unit + 1u];
          products[column] += w.lo * x_lo + w.hi * x_hi;
          if (HAS_OFFSET) {
            inputs[column] += x_lo + x_hi;
          }
        }
      }
      let scales = block_scales(quad * BLOCKS + block);
      for (var column = 0u; column < COLUMNS; column++) {
        sums[column] += scales.scale * products[column];
        if (HAS_OFFSET) {
          sums[column] += scales.offset * dot(inputs[column], vec4<f32>(1.0));
        }
      }
    }
  }
  for (var column = 0u; column < COLUMNS; column++) {
    let total = group_sum4(sums[column], index, subgroup);
    if (lane == 0u && quad < QUADS) {
      let at = column * Y_STRIDE + Y_FIRST + quad;
      if (ACCUMULATE) {
        y[at] += total;
      } else {
        y[at] = total;
      }
    }
  }
}
