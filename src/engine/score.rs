//! Reading logits back: for `kinglet logits`, perplexity and tests; never on the way of an answer.

use super::{Engine, Error};

/// How well a model predicts a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perplexity {
    /// Tokens of the text.
    pub tokens: usize,
    /// Mean negative log likelihood of tokens 1 to the end, in nats.
    pub mean_nll: f64,
}

impl Perplexity {
    /// exp(mean NLL).
    pub fn ppl(self) -> f64 {
        self.mean_nll.exp()
    }
}

impl Engine {
    /// Runs `ids` from an empty cache and hands the logits of every position to `row`, in order.
    ///
    /// # Errors
    /// Ids that are empty, too many or outside the vocabulary; a device that failed.
    pub async fn logits(&mut self, ids: &[u32], row: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        self.last_logits(ids, ids.len(), row).await
    }

    /// As [`Engine::logits`], of the last `count` positions only; what comes before them is run as a prompt is.
    ///
    /// # Errors
    /// As [`Engine::logits`].
    pub async fn last_logits(&mut self, ids: &[u32], count: usize, row: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        self.check_prompt(ids)?;
        let context = self.context();
        if ids.len() > context as usize {
            return Err(Error::ContextExceeded { prompt: ids.len(), context });
        }
        self.model.reserve(ids.len() as u32).await?;
        self.cached.clear();
        let mut position = 0;
        let scored = ids.len().saturating_sub(count);
        while position < scored {
            let rows = self.model.chunk_at(position as u32).min(scored - position);
            self.model.prefill(&ids[position..][..rows], position as u32);
            position += rows;
        }
        while position < ids.len() {
            let rows = self.model.scored_rows().min(self.model.chunk_at(position as u32)).min(ids.len() - position);
            let chunk = &ids[position..][..rows];
            let logits = self.model.score(chunk, position as u32).await?;
            for (i, logits) in logits.chunks_exact(self.config().vocab as usize).enumerate() {
                row(position + i, logits);
            }
            position += chunk.len();
        }
        self.cached.extend_from_slice(ids);
        Ok(())
    }

    /// The perplexity of `ids` in one context: each token's negative log likelihood given all before it, in f64.
    ///
    /// # Errors
    /// As [`Engine::logits`].
    pub async fn perplexity(&mut self, ids: &[u32]) -> Result<Perplexity, Error> {
        let mut sum = 0.0;
        self.logits(ids, &mut |position, logits| {
            if let Some(&next) = ids.get(position + 1) {
                sum += negative_log_likelihood(logits, next);
            }
        })
        .await?;
        Ok(Perplexity { tokens: ids.len(), mean_nll: sum / (ids.len().max(2) - 1) as f64 })
    }
}

/// −log softmax(logits)\[id\], in f64.
pub fn negative_log_likelihood(logits: &[f32], id: u32) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, logit| most.max(*logit));
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    sum.ln() - f64::from(logits[id as usize] - most)
}
