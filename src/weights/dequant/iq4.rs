//! Four bits for 16 uneven steps.

use super::{each_of, half_at};

const STEPS: [f32; 16] = [-127., -104., -83., -65., -49., -35., -22., -10., 1., 13., 25., 38., 53., 69., 89., 113.];

fn step(bytes: &[u8], i: usize) -> f32 {
    STEPS[usize::from(bytes[i % 16] >> (i / 16 * 4) & 15)]
}

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    each_of(out, |i| d * step(&block[2..], i));
}

pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (of, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let scale = block[4 + of / 2] >> (of % 2 * 4) & 15 | (block[2 + of / 4] >> (of % 4 * 2) & 3) << 4;
        each_of(out, |i| d * (f32::from(scale) - 32.0) * step(&block[8 + 16 * of..], i));
    }
}
