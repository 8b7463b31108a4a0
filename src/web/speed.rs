//! How fast bytes arrive, and how often that is told.

use std::collections::VecDeque;

/// The speed is that of the last seconds, so that a stall shows and a fast start is forgotten.
const WINDOW_MS: f64 = 3000.0;
/// Progress is told this often at most.
const INTERVAL_MS: f64 = 100.0;

/// Speed over a sliding window. Times are milliseconds of any clock that only goes forward.
#[derive(Debug, Default)]
pub struct Speed {
    marks: VecDeque<(f64, u64)>,
    told: Option<f64>,
    rate: f64,
}

impl Speed {
    /// `loaded` bytes had come by `now`; `true` when it is time to tell.
    pub fn mark(&mut self, now: f64, loaded: u64) -> bool {
        self.marks.push_back((now, loaded));
        while self.marks.len() > 2 && self.marks[1].0 < now - WINDOW_MS {
            self.marks.pop_front();
        }
        if self.told.is_some_and(|told| now - told < INTERVAL_MS) {
            return false;
        }
        self.told = Some(now);
        if let Some(&(since, before)) = self.marks.front()
            && now > since
        {
            self.rate = loaded.saturating_sub(before) as f64 * 1e3 / (now - since);
        }
        true
    }

    /// Bytes per second when it was last time to tell.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let mut speed = Speed::default();
        assert!(speed.mark(0.0, 0));
        assert!(!speed.mark(50.0, 500));
        assert!(speed.mark(1000.0, 5000));
        assert_eq!(speed.rate(), 5000.0);
        for second in 2..=10 {
            speed.mark(f64::from(second) * 1000.0, 5000);
        }
        assert_eq!(speed.rate(), 0.0);
    }

    #[test]
    fn a_count_that_goes_back_is_no_speed() {
        let mut speed = Speed::default();
        speed.mark(0.0, 100);
        speed.mark(1000.0, 50);
        assert_eq!(speed.rate(), 0.0);
    }
}
