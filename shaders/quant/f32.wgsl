// F32: a unit is eight vec4 (component = row), one a column.

fn column(index: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(quants[index]);
}

fn unit_quants(unit: u32) -> Unit {
  let first = 8u * unit;
  return Unit(
    mat4x4<f32>(column(first), column(first + 1u), column(first + 2u), column(first + 3u)),
    mat4x4<f32>(column(first + 4u), column(first + 5u), column(first + 6u), column(first + 7u)),
  );
}
