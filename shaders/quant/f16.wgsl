// F16: a unit is four vec4 (component = row), each word two columns, the lower one in its lower half.

fn two_columns(q: vec4<u32>) -> array<vec4<f32>, 2> {
  let a = unpack2x16float(q.x);
  let b = unpack2x16float(q.y);
  let c = unpack2x16float(q.z);
  let d = unpack2x16float(q.w);
  return array<vec4<f32>, 2>(vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y));
}

fn unit_quants(unit: u32) -> Unit {
  let a = two_columns(quants[4u * unit]);
  let b = two_columns(quants[4u * unit + 1u]);
  let c = two_columns(quants[4u * unit + 2u]);
  let d = two_columns(quants[4u * unit + 3u]);
  return Unit(mat4x4<f32>(a[0], a[1], b[0], b[1]), mat4x4<f32>(c[0], c[1], d[0], d[1]));
}
