// Columns 8 unit to 8 unit + 7 of one row of a matrix, times SCALE.
fn row_unit(row: u32, unit: u32) -> mat2x4<f32> {
  let at = (row / 4u) * UNITS + unit;
  let w = unit_quants(at);
  let scales = block_scales(at / UNITS_PER_BLOCK);
  let r = row % 4u;
  let lo = SCALE * (scales.scale[r] * transpose(w.lo)[r] + scales.offset[r]);
  return mat2x4<f32>(lo, SCALE * (scales.scale[r] * transpose(w.hi)[r] + scales.offset[r]));
}
