// A matmul over the token rows that chose an expert: group.wgsl counted and listed their choices, each `token * USED + choice`.
// Rows of y are choices; rows of x are too if X_OF_CHOICES, else token rows. This shard holds EXPERTS experts from FIRST_EXPERT on.
@group(0) @binding(LISTS_BINDING) var<storage, read> lists: array<u32>;

fn list_of(expert: u32) -> u32 {
  return (FIRST_EXPERT + expert) * (LIST_ROWS + 1u);
}

fn row_count(expert: u32) -> u32 {
  return lists[list_of(expert)];
}

fn y_row(expert: u32, row: u32) -> u32 {
  return lists[list_of(expert) + 1u + row];
}

fn x_row(expert: u32, row: u32) -> u32 {
  let choice = y_row(expert, row);
  return select(choice / USED, choice, X_OF_CHOICES);
}

fn first_quad_of(expert: u32) -> u32 {
  return expert * QUADS;
}
