//! RoPE's frequencies, computed once in f64.

use super::config::{Rope, RopeScaling};
use std::f64::consts::PI;

/// Radians per position of each pair, `dims / 2` of them. `factors` (tensor `rope_freqs.weight`, Llama 3.1, or LongRoPE's) divide them one by one.
pub fn frequencies(rope: &Rope, factors: Option<&[f32]>) -> Vec<f64> {
    let dims = f64::from(rope.dims);
    (0..rope.dims / 2)
        .map(|pair| {
            let pair_f = f64::from(pair);
            let factor = factors.and_then(|factors| factors.get(pair as usize)).map_or(1.0, |factor| f64::from(*factor));
            let plain = rope.base.powf(-2.0 * pair_f / dims) / factor;
            match rope.scaling {
                RopeScaling::None | RopeScaling::Long { .. } => plain,
                RopeScaling::Linear { factor } => plain / factor,
                RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, .. } => {
                    // The pair that makes `turns` turns over the original context.
                    let pair_of = |turns: f64| dims * (original_context / (turns * 2.0 * PI)).ln() / (2.0 * rope.base.ln());
                    let low = pair_of(beta_fast).floor().max(0.0);
                    let high = pair_of(beta_slow).ceil().min(dims - 1.0);
                    let stretched = ((pair_f - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    plain / factor * stretched + plain * (1.0 - stretched)
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RopeLayout;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope { dims: 64, layout: RopeLayout::HalfSplit, base: 10_000.0, scaling, attention_factor: 1.0 }
    }

    #[test]
    fn plain_frequencies_fall_geometrically() {
        let plain = frequencies(&rope(RopeScaling::None), None);
        assert_eq!(plain.len(), 32);
        assert_eq!(plain[0], 1.0);
        assert!((plain[16] - 0.01).abs() < 1e-15);
    }

    #[test]
    fn linear_scaling_and_factors_divide() {
        let factors: Vec<f32> = (0..32).map(|i| 1.0 + i as f32).collect();
        let plain = frequencies(&rope(RopeScaling::None), None);
        let linear = frequencies(&rope(RopeScaling::Linear { factor: 4.0 }), None);
        let by_tensor = frequencies(&rope(RopeScaling::None), Some(&factors));
        for i in 0..32 {
            assert!((linear[i] * 4.0 - plain[i]).abs() < 1e-15);
            assert!((by_tensor[i] * (1.0 + i as f64) - plain[i]).abs() < 1e-15);
        }
    }

    #[test]
    fn yarn_keeps_the_fast_and_stretches_the_slow() {
        let yarn = RopeScaling::Yarn { factor: 4.0, original_context: 4096.0, beta_fast: 32.0, beta_slow: 1.0 };
        let plain = frequencies(&rope(RopeScaling::None), None);
        let scaled = frequencies(&rope(yarn), None);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[31] * 4.0 - plain[31]).abs() < 1e-15);
        assert!(scaled.iter().zip(&plain).all(|(s, p)| *s <= p * (1.0 + 1e-12) && *s >= p / 4.0 * (1.0 - 1e-12)));
    }
}
