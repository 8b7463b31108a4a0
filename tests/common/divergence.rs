//! How far an engine's next ids are from a reference's: tests/oracle/kl_reference.py.

/// `tests/golden/smollm2-kl.bin`: of every position the log-probabilities of its likeliest ids and, last, of all others together.
pub struct Reference {
    pub ids: Vec<u32>,
    kept: Vec<Vec<u32>>,
    logprobs: Vec<Vec<f64>>,
}

/// What one position differs by.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// KL(reference ‖ engine) in nats with the others as one outcome. Merging outcomes can only lose divergence (the data-processing
    /// inequality), so this is a lower bound of the whole.
    pub kl: f64,
    /// Mean absolute difference of the likeliest ids' log-probabilities.
    pub logprob: f64,
}

impl Reference {
    pub fn parse(bytes: &[u8]) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (count, kept) = (u32_at(0) as usize, u32_at(4) as usize);
        let (ids, rest) = bytes[8..].split_at(2 * count);
        let (ids_kept, logprobs) = rest.split_at(2 * count * kept);
        assert_eq!(logprobs.len(), 4 * count * (kept + 1));
        let short = |two: &[u8]| u32::from(u16::from_le_bytes(two.try_into().unwrap()));
        let float = |four: &[u8]| f64::from(f32::from_le_bytes(four.try_into().unwrap()));
        Self {
            ids: ids.chunks(2).map(short).collect(),
            kept: ids_kept.chunks(2 * kept).map(|row| row.chunks(2).map(short).collect()).collect(),
            logprobs: logprobs.chunks(4 * (kept + 1)).map(|row| row.chunks(4).map(float).collect()).collect(),
        }
    }

    /// What `logits` after the ids up to and with `position` differ by.
    pub fn difference(&self, position: usize, logits: &[f32]) -> Difference {
        let most = logits.iter().fold(f64::NEG_INFINITY, |most, logit| most.max(f64::from(*logit)));
        let mut shares: Vec<f64> = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).collect();
        let sum: f64 = shares.iter().sum();
        let mut found: Vec<f64> = Vec::new();
        for id in &self.kept[position] {
            found.push(shares[*id as usize] / sum);
            shares[*id as usize] = 0.0;
        }
        found.push(shares.iter().sum::<f64>() / sum);
        let expected = &self.logprobs[position];
        // Rounded to f32 they do not quite sum up to 1, which would show as divergence of either sign.
        let whole: f64 = expected.iter().map(|logprob| logprob.exp()).sum();
        let kl = expected.iter().zip(&found).map(|(p, q)| p.exp() / whole * (p - whole.ln() - q.ln())).sum();
        let kept = self.kept[position].len();
        let logprob = expected[..kept].iter().zip(&found).map(|(p, q)| (p - q.ln()).abs()).sum::<f64>() / kept as f64;
        Difference { kl, logprob }
    }
}
