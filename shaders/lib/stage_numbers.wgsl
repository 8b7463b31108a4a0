// Keys are staged as f32, with the functions of stage_words.wgsl.

const STAGED: u32 = 2u;

fn stage(unit: u32, at: u32) {
  let values = key_unit(unit);
  scratch[at] = bitcast<vec4<u32>>(values[0]);
  scratch[at + 1u] = bitcast<vec4<u32>>(values[1]);
}

fn staged(at: u32) -> mat2x4<f32> {
  return mat2x4<f32>(bitcast<vec4<f32>>(scratch[at]), bitcast<vec4<f32>>(scratch[at + 1u]));
}
