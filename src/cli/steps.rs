//! One decode step and one prefill chunk, recorded: what `bench --profile` times and `shaders` writes down.

use super::exit::Failure;
use kinglet::engine::Engine;
use kinglet::gpu::Ran;
use kinglet::sampling::SamplingParams;
use pollster::block_on;

/// Which step is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The greedy draw of the token after `position` tokens, at least one.
    Decode {
        /// Tokens before.
        position: u32,
    },
    /// A chunk of the prompt that is not its last: no LM head, no draw.
    Prefill {
        /// Tokens of the chunk.
        rows: u32,
    },
}

impl Step {
    /// `decode` or `prefill`.
    pub fn name(self) -> &'static str {
        match self {
            Step::Decode { .. } => "decode",
            Step::Prefill { .. } => "prefill",
        }
    }

    /// Position of its first row, and its rows.
    pub fn span(self) -> (u32, u32) {
        match self {
            Step::Decode { position } => (position, 1),
            Step::Prefill { rows } => (0, rows),
        }
    }

    /// The largest prefill chunk of at most `rows` tokens.
    pub fn prefill(engine: &Engine, rows: u32) -> Self {
        Step::Prefill { rows: rows.min(engine.model().chunk() as u32) }
    }

    /// Runs it once and returns its dispatches in order. The tokens are the same one over and over: no kernel is quicker or slower for it.
    pub fn record(self, engine: &mut Engine) -> Result<Vec<Ran>, Failure> {
        let gpu = engine.gpu().clone();
        let model = engine.model_mut();
        let (position, rows) = self.span();
        let ids = vec![0; rows as usize];
        block_on(model.reserve(position + rows))?;
        model.begin(&SamplingParams::greedy(), &ids);
        match self {
            Step::Decode { .. } => {
                // The GPU counts positions itself: this takes it there.
                let before = model.prefill_and_draw(&ids, position - 1);
                block_on(model.token(before))?;
                gpu.start_recording();
                let drawn = model.decode(position);
                block_on(model.token(drawn))?;
            }
            Step::Prefill { .. } => {
                gpu.start_recording();
                model.prefill(&ids, position);
                block_on(gpu.idle())?;
            }
        }
        Ok(block_on(gpu.finish_recording())?.concat())
    }
}
