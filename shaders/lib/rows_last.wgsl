// A norm of the step's last row.
@group(0) @binding(3) var<storage, read> step: Step;

fn source_row(row: u32) -> u32 {
  return step.rows - 1u;
}
