//! Repetition penalty (Keskar et al. 2019).

use super::sample::{History, SamplingGpu};
use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// Makes the tokens of the history less likely, in place. Only in plans whose parameters have a penalty. Bindings: logits, sampling, history.
#[derive(Debug, Clone, Copy)]
pub struct Penalty {
    /// Tokens of the vocabulary.
    pub vocab: u32,
}

impl Penalty {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let shader = Source::new()
            .uint("VOCAB", self.vocab)
            .fragment(include_str!("../../shaders/lib/history.wgsl"))
            .fragment(include_str!("../../shaders/lib/sampling.wgsl"))
            .build("penalty", include_str!("../../shaders/penalty.wgsl"), &[Access::ReadWrite, Access::Read, Access::Read]);
        let bytes = size_of::<History>() + size_of::<SamplingGpu>() + 4 * History::LEN;
        Dispatch { shader, grid: Grid::Linear(1), traffic: Traffic { fixed: bytes as u64, ..Default::default() } }
    }
}

/// `logits` after the penalty: once for each distinct token of `recent`, a positive logit divided, another multiplied.
pub fn penalty_reference(logits: &[f32], recent: &[u32], penalty: f32) -> Vec<f32> {
    let mut after = logits.to_vec();
    for (&id, index) in recent.iter().zip(0..) {
        if let Some(logit) = after.get_mut(id as usize)
            && !recent[..index].contains(&id)
        {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
    after
}
