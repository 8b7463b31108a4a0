// Inputs rounded to 8 bits: a block of 16 or 32 columns shares a scale, its largest magnitude / 127.

// Every byte 1: the sum of a word's four numbers as a product.
const ONES: u32 = 0x01010101u;

// Whole offsets are added to the codes, in integers: scale * (sum of codes * inputs + CODE_OFFSET * sum of inputs). Others meet the sum of the
// inputs in f32.
const CODE_OFFSET: i32 = select(0, i32(OFFSET), OFFSET == floor(OFFSET));
const ADDS_OFFSET: bool = HAS_OFFSET && CODE_OFFSET == 0;

// Blocks of smaller numbers share the scale of this one: what is 0 stays 0, and nothing is divided by it.
const LEAST: f32 = 1e-30;

fn largest_of(magnitudes: vec4<f32>) -> f32 {
  return max(max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w)), LEAST);
}

// Four numbers times `inverse`, which brings them into -127..127, rounded to the nearest integer (ties to even), in the bytes of a word.
fn packed(numbers: vec4<f32>, inverse: f32) -> u32 {
  // 1.5 * 2^23 + 128 rounds, and leaves the integer plus 128 in the lowest bits. The bits above it are the same for all numbers; summed up as
  // bytes they are 0x8b400000, which the third number's 29888 more, two bytes up, takes back.
  let bits = bitcast<vec4<u32>>(numbers * inverse + vec4<f32>(12583040.0, 12583040.0, 12612928.0, 12583040.0));
  return ((((((bits.w << 8u) + bits.z) << 8u) + bits.y) << 8u) + bits.x) ^ 0x80808080u;
}

fn total(sums: vec4<i32>) -> i32 {
  return sums.x + sums.y + sums.z + sums.w;
}

// The products of four columns of 4 rows with four inputs.
fn dots(codes: vec4<u32>, inputs: u32) -> vec4<i32> {
  return vec4<i32>(
    dot4I8Packed(codes.x, inputs),
    dot4I8Packed(codes.y, inputs),
    dot4I8Packed(codes.z, inputs),
    dot4I8Packed(codes.w, inputs),
  );
}
