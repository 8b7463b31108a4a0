//! Q4_K: 256 numbers in eight runs of 32, each `scale · q - minimum` with q in 0..=15; scales and minima are 6-bit multiples of two f16.
//!
//! Where a run's line through its numbers lies best is searched: a range a little wider or narrower than the numbers' own decides which q
//! each gets, and for these q weighted least squares give scale and minimum. Large numbers weigh more, as products feel them more.

use super::blocks::nibbles;
use half::f16;

const RUN: usize = 32;
const LEVELS: f32 = 15.0;
/// Largest multiple of the block's scale and minimum.
const MOST: f32 = 63.0;

/// `scale · q - minimum`
#[derive(Clone, Copy, Default)]
struct Line {
    scale: f32,
    minimum: f32,
}

impl Line {
    fn nearest(self, number: f32) -> f32 {
        if self.scale > 0.0 { ((number + self.minimum) / self.scale).round().clamp(0.0, LEVELS) } else { 0.0 }
    }

    fn error(self, run: &[f32; RUN], weights: &[f32; RUN]) -> f32 {
        let errors = run.iter().zip(weights).map(|(number, weight)| {
            let off = self.scale * self.nearest(*number) - self.minimum - number;
            weight * off * off
        });
        errors.sum()
    }

    /// The best line for what each number becomes on this one.
    fn fitted(self, run: &[f32; RUN], weights: &[f32; RUN]) -> Self {
        let [mut w, mut q, mut qq, mut x, mut qx] = [0.0_f32; 5];
        for (number, weight) in run.iter().zip(weights) {
            let level = self.nearest(*number);
            w += weight;
            q += weight * level;
            qq += weight * level * level;
            x += weight * number;
            qx += weight * level * number;
        }
        let spread = w * qq - q * q;
        let minimum = (q * qx - qq * x) / spread;
        match minimum >= 0.0 {
            true => Self { scale: (w * qx - q * x) / spread, minimum },
            // Minima have no sign; nor is there a spread if all numbers become the same.
            false => Self { scale: if qq > 0.0 { qx / qq } else { self.scale }, minimum: 0.0 },
        }
    }

    fn of(run: &[f32; RUN]) -> Self {
        let rms = (run.iter().map(|number| number * number).sum::<f32>() / RUN as f32).sqrt();
        let weights = run.map(|number| rms + number.abs());
        let least = run.iter().fold(0.0_f32, |least, number| least.min(*number));
        let most = run.iter().fold(0.0_f32, |most, number| most.max(*number));
        if most <= least {
            return Self::default();
        }
        let mut best = Self { scale: (most - least) / LEVELS, minimum: -least };
        let mut error = best.error(run, &weights);
        for step in 0..20 {
            let levels = LEVELS - 1.0 + 0.1 * step as f32;
            let line = Self { scale: (most - least) / levels, minimum: -least }.fitted(run, &weights);
            let its = line.error(run, &weights);
            if its < error {
                (best, error) = (line, its);
            }
        }
        best
    }
}

pub(super) fn q4_k(block: &[f32; 8 * RUN], out: &mut Vec<u8>) {
    let runs = block.as_chunks::<RUN>().0;
    let mut lines = [Line::default(); 8];
    lines.iter_mut().zip(runs).for_each(|(line, run)| *line = Line::of(run));
    let of_block = |part: fn(&Line) -> f32| {
        let d = f16::from_f32(lines.iter().map(part).fold(0.0, f32::max) / MOST);
        let inverse = if d > f16::ZERO { 1.0 / d.to_f32() } else { 0.0 };
        (d, lines.each_ref().map(|line| (part(line) * inverse).round().clamp(0.0, MOST) as u8))
    };
    let (scale, scales) = of_block(|line| line.scale);
    let (minimum, minima) = of_block(|line| line.minimum);
    out.extend(scale.to_le_bytes());
    out.extend(minimum.to_le_bytes());
    // The last four multiples have their upper two bits above the first four.
    for multiples in [&scales, &minima] {
        out.extend((0..4).map(|run| multiples[run] | multiples[run + 4] >> 4 << 6));
    }
    out.extend((4..8).map(|run| scales[run] & 15 | minima[run] << 4));
    let mut levels = [0_u8; 8 * RUN];
    for (run, (levels, numbers)) in levels.as_chunks_mut::<RUN>().0.iter_mut().zip(runs).enumerate() {
        let line = Line { scale: scale.to_f32() * f32::from(scales[run]), minimum: minimum.to_f32() * f32::from(minima[run]) };
        *levels = numbers.map(|number| line.nearest(number) as u8);
    }
    levels.as_chunks::<{ 2 * RUN }>().0.iter().for_each(|pair| out.extend(nibbles(pair)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::convert::blocks::q4_0;
    use crate::weights::dequant::dequantized;
    use crate::weights::types::TensorType;

    /// Sums of uniform numbers, nearly normal.
    fn numbers(seed: u32) -> [f32; 256] {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        std::array::from_fn(|_| (0..12).map(|_| uniform()).sum())
    }

    fn made(block: &[f32; 256]) -> (Vec<u8>, Vec<f32>) {
        let mut out = Vec::new();
        q4_k(block, &mut out);
        assert_eq!(out.len(), 144);
        let read = dequantized(TensorType::Q4_K, &out, 256).unwrap();
        (out, read)
    }

    fn rms(a: &[f32], b: &[f32]) -> f64 {
        (a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
    }

    #[test]
    fn it_is_nearer_than_q4_0() {
        let [mut k, mut zero] = [0.0; 2];
        for seed in 0..64 {
            let mut block = numbers(seed);
            // Runs of several magnitudes, some off centre, as rows of weights have them.
            for (run, numbers) in block.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let (factor, shift) = (0.5 + 0.1 * run as f32, 0.2 * (run % 3) as f32);
                numbers.iter_mut().for_each(|number| *number = factor * (*number + shift));
            }
            k += rms(&block, &made(&block).1).powi(2);
            let mut out = Vec::new();
            block.as_chunks::<32>().0.iter().for_each(|block| q4_0(block, &mut out));
            zero += rms(&block, &dequantized(TensorType::Q4_0, &out, 256).unwrap()).powi(2);
        }
        let ratio = (k / zero).sqrt();
        assert!(ratio < 0.86, "Q4_K's error is {ratio} of Q4_0's");
    }

    #[test]
    fn what_it_can_say_it_says() {
        for seed in 0..16 {
            let (_, once) = made(&numbers(seed));
            let (_, twice) = made(&once.clone().try_into().unwrap());
            let off = rms(&once, &twice);
            assert!(off < 0.02, "{off} away from numbers that were Q4_K's own");
        }
        for number in [0.0, 1.0, -3.0, 1e-20, 65504.0, -65504.0] {
            let (_, read) = made(&[number; 256]);
            assert!(read.iter().all(|read| (read - number).abs() <= number.abs() / 100.0 + 1e-9), "{number} became {}", read[0]);
        }
    }

    #[test]
    fn no_number_is_too_strange() {
        for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE] {
            for at in [0, 100, 255] {
                let mut block = numbers(3);
                block[at] = strange;
                let mut out = Vec::new();
                q4_k(&block, &mut out);
                assert_eq!(out.len(), 144);
            }
        }
    }
}
