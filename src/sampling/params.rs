//! Sampling parameters.

use crate::kernels::SamplingGpu;

/// How to choose the next token. The steps come in this order: repetition penalty, temperature, top-k, top-p, min-p, draw.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SamplingParams {
    /// Divides the logits, 0 to 100: below 1 the probable becomes more so. 0, and anything below 10⁻⁶, always takes the most probable
    /// token. Default 0.8.
    pub temperature: f32,
    /// Only the `top_k` most probable tokens; 0 is off. Default 40.
    pub top_k: u32,
    /// Only the most probable tokens that together have this probability, 0 to 1 and always at least one token; 1 is off. Default 0.95.
    pub top_p: f32,
    /// Only tokens at least this probable relative to the most probable one, 0 to 1; 0 is off. Default 0.05.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of the last 64 tokens, 0.01 to 100; 1 is off. Default 1.
    pub repeat_penalty: f32,
    /// The same seed gives the same answer on the same device. Default 0.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.0, seed: 0 }
    }
}

/// A parameter outside of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {value}, but must be a number from {least} to {most}")]
pub struct SamplingError {
    /// The parameter's name.
    pub field: &'static str,
    /// What it was.
    pub value: f32,
    /// The least allowed value.
    pub least: f32,
    /// The greatest allowed value.
    pub most: f32,
}

/// Below this temperature every draw takes the most probable token.
const GREEDY: f32 = 1e-6;

impl SamplingParams {
    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Every draw takes the most probable token: the seed, top-k, top-p and min-p do not matter.
    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY
    }

    /// Whether every parameter is in its range.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repeat_penalty", self.repeat_penalty, 0.01, 100.0),
        ];
        match ranges.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((field, value, least, most)) => Err(SamplingError { field, value, least, most }),
            None => Ok(()),
        }
    }

    /// The form in which the kernels read valid parameters.
    pub fn gpu(&self) -> SamplingGpu {
        let half_reach = f64::from(self.temperature) * f64::from(self.min_p).ln() / 2.0;
        SamplingGpu {
            temperature: if self.is_greedy() { 0.0 } else { self.temperature },
            top_k: self.top_k,
            // 0 means off, so that no mass at all is asked for as the least that there is.
            top_p: if self.top_p >= 1.0 { 0 } else { ((f64::from(self.top_p) * 2f64.powi(32)) as u32).max(1) },
            min_p_reach: if self.min_p > 0.0 { half_reach as f32 } else { f32::MIN },
            repeat_penalty: self.repeat_penalty,
            seed_low: self.seed as u32,
            seed_high: (self.seed >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SamplingParams;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(SamplingParams::default().validate(), Ok(()));
        assert!(SamplingParams::greedy().is_greedy());
    }

    #[test]
    fn an_error_names_the_field_and_its_range() {
        let wrong = |change: fn(&mut SamplingParams)| {
            let mut params = SamplingParams::default();
            change(&mut params);
            params.validate().map_err(|error| error.to_string())
        };
        assert_eq!(wrong(|p| p.temperature = -0.5), Err("temperature is -0.5, but must be a number from 0 to 100".into()));
        assert_eq!(wrong(|p| p.top_p = f32::NAN), Err("top_p is NaN, but must be a number from 0 to 1".into()));
        assert_eq!(wrong(|p| p.min_p = 1.5), Err("min_p is 1.5, but must be a number from 0 to 1".into()));
        assert_eq!(wrong(|p| p.repeat_penalty = 0.0), Err("repeat_penalty is 0, but must be a number from 0.01 to 100".into()));
        assert_eq!(wrong(|p| p.temperature = f32::INFINITY), Err("temperature is inf, but must be a number from 0 to 100".into()));
    }

    #[test]
    fn off_is_off_in_the_gpu_form() {
        let gpu =
            SamplingParams { temperature: 1e-9, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed: 1 << 32 | 5 }.gpu();
        assert_eq!((gpu.temperature, gpu.top_k, gpu.top_p, gpu.min_p_reach), (0.0, 0, 0, f32::MIN));
        assert_eq!((gpu.seed_low, gpu.seed_high), (5, 1));
        assert_eq!(SamplingParams { top_p: 0.0, ..Default::default() }.gpu().top_p, 1);
        assert_eq!(SamplingParams { top_p: 0.5, ..Default::default() }.gpu().top_p, 1 << 31);
    }
}
