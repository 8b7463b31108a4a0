//! Key/value caches in blocks: the words that rows become, and the rows that words mean.

use kinglet::kernels::KvType;

/// Numbers of a block.
const BLOCK: usize = 32;

fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |largest: f32, x| if x.abs() > largest.abs() { *x } else { largest })
}

/// Codes and words of codes of `rows` numbers.
fn code_words(kv_type: KvType, numbers: usize) -> usize {
    match kv_type {
        KvType::Q8_0 => numbers / 4,
        KvType::Q4_0 => numbers / 8,
        other => panic!("{other:?} has no blocks"),
    }
}

/// The scale of a block, before it is rounded to f16.
pub fn scale(kv_type: KvType, block: &[f32]) -> f32 {
    if kv_type == KvType::Q8_0 { largest(block).abs() / 127.0 } else { largest(block) / -8.0 }
}

/// A cache's words: the codes of all rows of `dim` numbers, then their scales, each row's beginning with a word. NaN rows have NaN scales.
pub fn written(kv_type: KvType, dim: usize, numbers: &[f32]) -> Vec<u32> {
    let bits = if kv_type == KvType::Q8_0 { 8 } else { 4 };
    let mut words = vec![0_u32; code_words(kv_type, numbers.len())];
    let mut scales = Vec::new();
    for (row, values) in numbers.chunks_exact(dim).enumerate() {
        let mut own: Vec<u16> = Vec::new();
        for (block, values) in values.chunks_exact(BLOCK).enumerate() {
            let d = scale(kv_type, values);
            let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
            for (i, x) in values.iter().enumerate() {
                let code = match kv_type {
                    KvType::Q8_0 => u32::from(((x * inverse).round() as i8).cast_unsigned()),
                    _ => u32::from(((x * inverse + 8.5) as u8).min(15)),
                };
                let at = bits * (row * dim + block * BLOCK + i);
                words[at / 32] |= code << (at % 32);
            }
            let d = if values.iter().any(|x| x.is_nan()) { f32::NAN } else { d };
            own.push(half::f16::from_f32(d).to_bits());
        }
        own.resize(own.len().next_multiple_of(2), 0);
        scales.extend(own.chunks_exact(2).map(|two| u32::from(two[0]) | u32::from(two[1]) << 16));
    }
    words.extend(scales);
    words
}

/// What a cache's words mean.
pub fn read(kv_type: KvType, dim: usize, words: &[u32]) -> Vec<f32> {
    let (bits, row_scales) = (if kv_type == KvType::Q8_0 { 8 } else { 4 }, dim.div_ceil(2 * BLOCK));
    let rows = words.len() / (code_words(kv_type, dim) + row_scales);
    let scales = code_words(kv_type, rows * dim);
    (0..rows * dim)
        .map(|i| {
            let (row, block) = (i / dim, i % dim / BLOCK);
            let halves = words[scales + row * row_scales + block / 2];
            let d = half::f16::from_bits((halves >> (16 * (block % 2))) as u16).to_f32();
            let code = words[bits * i / 32] >> (bits * i % 32);
            match kv_type {
                KvType::Q8_0 => d * f32::from((code as u8).cast_signed()),
                _ => d * ((code & 15) as f32 - 8.0),
            }
        })
        .collect()
}
