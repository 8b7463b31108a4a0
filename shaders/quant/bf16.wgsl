// BF16 (the upper half of an f32): a unit is four vec4 (component = row), each word two columns, the lower one in its lower half.

fn lower_column(q: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(q << vec4<u32>(16u));
}

fn upper_column(q: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(q & vec4<u32>(0xffff0000u));
}

fn unit_quants(unit: u32) -> Unit {
  let a = quants[4u * unit];
  let b = quants[4u * unit + 1u];
  let c = quants[4u * unit + 2u];
  let d = quants[4u * unit + 3u];
  return Unit(
    mat4x4<f32>(lower_column(a), upper_column(a), lower_column(b), upper_column(b)),
    mat4x4<f32>(lower_column(c), upper_column(c), lower_column(d), upper_column(d)),
  );
}
