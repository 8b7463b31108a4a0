// The choices of all token rows by expert, one workgroup an expert: how many there are, and behind that which, in rising order.

@group(0) @binding(0) var<storage, read> routing: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read_write> lists: array<u32>;

const WORKGROUP: u32 = 64u;

var<workgroup> counts: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let expert = workgroup.x;
  let choices = step.rows * USED;
  // Each invocation looks through a run of choices: first it counts its own, then it knows where they go.
  let run = (choices + WORKGROUP - 1u) / WORKGROUP;
  let first = index * run;
  let end = min(first + run, choices);
  var count = 0u;
  for (var choice = first; choice < end; choice++) {
    count += select(0u, 1u, routing[choice].x == expert);
  }
  counts[index] = count;
  workgroupBarrier();
  var before = 0u;
  var all = 0u;
  for (var i = 0u; i < WORKGROUP; i++) {
    before += select(0u, counts[i], i < index);
    all += counts[i];
  }
  let list = expert * (LIST_ROWS + 1u);
  if (index == 0u) {
    lists[list] = all;
  }
  for (var choice = first; choice < end; choice++) {
    if (routing[choice].x == expert) {
      lists[list + 1u + before] = choice;
      before++;
    }
  }
}
