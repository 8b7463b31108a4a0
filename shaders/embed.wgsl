// Token embedding: row ids[r] of a (ROWS, K) matrix becomes row r of y, for the step's rows. POSITIONS: learned positions, added to what is
// there; ids is a Step, which begins with the position of row 0.
// Each invocation brings one unit of 8 columns. A matrix split into shards has one dispatch a shard; this one holds rows from FIRST_ROW.

@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let unit = workgroup.x * 64u + index;
  let token = workgroup.y;
  let id = select(ids[token], ids[0] + token, POSITIONS);
  if (unit >= UNITS || id < FIRST_ROW || id >= FIRST_ROW + ROWS) {
    return;
  }
  let values = row_unit(id - FIRST_ROW, unit);
  let at = token * Y_STRIDE + 2u * unit;
  if (POSITIONS) {
    y[at] += values[0];
    y[at + 1u] += values[1];
  } else {
    y[at] = values[0];
    y[at + 1u] = values[1];
  }
}
