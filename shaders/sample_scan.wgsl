// First half of sampling: each workgroup of 64 finds, in its share of the logits, the maximum, its token, and the softmax's sum.

@group(0) @binding(0) var<storage, read> logits: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read_write> partials: array<Partial>;

const WORKGROUP: u32 = 64u;

var<workgroup> keys: array<u32, WORKGROUP>;
var<workgroup> ids: array<u32, WORKGROUP>;
var<workgroup> sums: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  var key = 0u;
  var id = NO_TOKEN + workgroup.x;
  for (var quad = workgroup.x * WORKGROUP + index; quad < QUADS; quad += PARTIALS * WORKGROUP) {
    let bits = logits[quad];
    for (var c = 0u; c < 4u; c++) {
      let other = key_of(bits[c]);
      if (4u * quad + c < VOCAB && (other > key || id >= NO_TOKEN)) {
        key = other;
        id = 4u * quad + c;
      }
    }
  }
  keys[index] = key;
  ids[index] = id;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
    if (index < half) {
      let other = index + half;
      if (keys[other] > keys[index] || (keys[other] == keys[index] && ids[other] < ids[index])) {
        keys[index] = keys[other];
        ids[index] = ids[other];
      }
    }
    workgroupBarrier();
  }
  let peak = half_logit(keys[0]);

  var sum = 0.0;
  if (sampling.temperature > 0.0) {
    for (var quad = workgroup.x * WORKGROUP + index; quad < QUADS; quad += PARTIALS * WORKGROUP) {
      let bits = logits[quad];
      for (var c = 0u; c < 4u; c++) {
        let other = key_of(bits[c]);
        if (4u * quad + c < VOCAB && other > MINUS_INFINITY) {
          sum += relative_weight(half_logit(other) - peak, sampling.temperature);
        }
      }
    }
  }
  sums[index] = sum;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
    if (index < half) {
      sums[index] += sums[index + half];
    }
    workgroupBarrier();
  }
  if (index == 0u) {
    partials[workgroup.x] = Partial(keys[0], ids[0], sums[0]);
  }
}
