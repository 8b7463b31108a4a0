// Reading a staged run of GGUF bytes, whose blocks are aligned to 2 bytes at best, and to none where a scale is one byte.

struct Chunk {
  // First quad of the matrix that this run holds.
  first_quad: u32,
  // From one quad of the run to the next, in quads of the matrix.
  quad_step: u32,
  // Rows in this run.
  rows: u32,
  // Points of 16 bits that a format's codes stand for, two a word.
  grid: array<u32>,
}

@group(0) @binding(0) var<storage, read> staged: array<u32>;
@group(0) @binding(1) var<storage, read> chunk: Chunk;
@group(0) @binding(2) var<storage, read_write> quants: array<vec4<u32>>;

fn byte_at(offset: u32) -> u32 {
  return (staged[offset / 4u] >> (8u * (offset % 4u))) & 0xffu;
}

// The 16 bits at an even byte offset.
fn half_at(offset: u32) -> u32 {
  return (staged[offset / 4u] >> (8u * (offset & 2u))) & 0xffffu;
}

// The 32 bits at an even byte offset.
fn word_at(offset: u32) -> u32 {
  return half_at(offset) | (half_at(offset + 2u) << 16u);
}

fn grid(i: u32) -> u32 {
  return (chunk.grid[i / 2u] >> (16u * (i % 2u))) & 0xffffu;
}

// Which quad and block of the run this invocation handles.
fn place(workgroup: vec3<u32>, workgroups: vec3<u32>, index: u32) -> vec2<u32> {
  let i = (workgroup.y * workgroups.x + workgroup.x) * 64u + index;
  return vec2<u32>(i / BLOCKS, i % BLOCKS);
}

// The row of the run that becomes its row `row`. Where ROPE_DIMS > 0, the run is heads of HEAD_ROWS rows in which row i of the first ROPE_DIMS
// turns with row i + ROPE_DIMS / 2: these two become neighbours.
fn source_row(row: u32) -> u32 {
  if (ROPE_DIMS == 0u) {
    return row;
  }
  let element = row % HEAD_ROWS;
  if (element >= ROPE_DIMS) {
    return row;
  }
  return row - element + element / 2u + (element % 2u) * (ROPE_DIMS / 2u);
}
