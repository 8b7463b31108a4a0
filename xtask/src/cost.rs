//! How many instructions a kernel runs: its code tells what a turn of each loop costs, the plan how many turns there must be.

use crate::plan::{Code, Dispatch, Loop};

impl Code {
    /// Instructions of one turn of the loop over the weights, for each weight that an invocation loads in it: inner loops with the turns that the
    /// code names, what comes before and after the loop left out. `None` for kernels that multiply with no weights.
    pub fn instructions_per_weight(&self) -> Option<f64> {
        let quants = self.quants?;
        let outermost = |mut at: usize| {
            while let Some(parent) = self.loops[at].parent.filter(|parent| *parent > 0) {
                at = parent;
            }
            at
        };
        let bytes = |one: &Loop| one.loads.get(&quants.binding).copied().unwrap_or_default();
        let reading = (1..self.loops.len()).filter(|at| bytes(&self.loops[*at]) > 0).map(outermost);
        let best = reading.max_by_key(|at| self.turn(*at, &|one| bytes(one).into()) as u64)?;
        let weights = self.turn(best, &|one| bytes(one).into()) * 8.0 / f64::from(quants.bits);
        Some(self.turn(best, &|one| one.instructions.into()) / weights)
    }

    /// The sum of `what` over one turn of a loop with all its inner ones.
    fn turn(&self, at: usize, what: &dyn Fn(&Loop) -> f64) -> f64 {
        let inner = self.loops.iter().enumerate().filter(|(_, one)| one.parent == Some(at));
        what(&self.loops[at]) + inner.map(|(inner, one)| f64::from(one.turns.unwrap_or(1)) * self.turn(inner, what)).sum::<f64>()
    }

    /// Instructions that all invocations of a dispatch run together, idle lanes included.
    ///
    /// A loop without a number of turns runs as often as it must for all invocations together to load the bytes that the kernel reads: the
    /// weights, where the loop loads any, else what the kernel declares. One that loads nothing counts once in each turn of the loop around it.
    pub fn instructions_of(&self, dispatch: &Dispatch) -> f64 {
        let waves = dispatch.groups.iter().product::<u64>() as f64 * f64::from(self.workgroup.div_ceil(self.subgroup.max(1)));
        let lanes = waves * f64::from(self.subgroup);
        let mut runs: Vec<f64> = Vec::new();
        for one in &self.loops {
            let around = one.parent.map_or(1.0, |parent| runs[parent]);
            let weights = self.quants.and_then(|quants| {
                let bound = *dispatch.bindings.get(quants.binding as usize)?;
                // A kernel that looks rows up reads less than is bound.
                let all = bound <= dispatch.bytes;
                let loaded = one.loads.get(&quants.binding).filter(|_| all)?;
                Some((bound, f64::from(*loaded) * f64::from(quants.stored_bits) / f64::from(quants.bits)))
            });
            let any = (dispatch.bytes, f64::from(one.loads.values().sum::<u32>()));
            let (bytes, loaded) = weights.unwrap_or(any);
            runs.push(match one.turns {
                _ if one.parent.is_none() => 1.0,
                Some(turns) => around * f64::from(turns),
                None if loaded > 0.0 => (bytes as f64 / (lanes * loaded)).max(around),
                None => around,
            });
        }
        lanes * self.loops.iter().zip(&runs).map(|(one, runs)| f64::from(one.instructions) * runs).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Code, Dispatch, Loop, Quants};

    fn one(parent: Option<usize>, instructions: u32, turns: Option<u32>, loads: &[(u32, u32)]) -> Loop {
        Loop { parent, instructions, turns, loads: loads.iter().copied().collect() }
    }

    fn code(loops: Vec<Loop>) -> Code {
        Code { workgroup: 64, subgroup: 64, quants: Some(Quants { binding: 0, bits: 4, stored_bits: 4 }), loops, ..Code::default() }
    }

    #[test]
    fn a_matvec_turns_until_its_weights_are_read() {
        // 64 bytes are 128 weights.
        let code =
            code(vec![one(None, 40, None, &[(3, 16)]), one(Some(0), 320, None, &[(0, 64), (2, 128)]), one(Some(0), 5, None, &[])]);
        assert_eq!(code.instructions_per_weight(), Some(2.5));
        // 2 × 64 lanes need 10 turns for 81,920 bytes.
        let dispatch = Dispatch { shader: 0, groups: [2, 1, 1], bytes: 90_000, bindings: vec![81_920, 1, 1, 1] };
        assert_eq!(code.instructions_of(&dispatch), 128.0 * (40.0 + 10.0 * 320.0 + 5.0));
        // As many bytes of weights of two bits, each byte loaded twice, are twice as many turns.
        let code = Code { quants: Some(Quants { binding: 0, bits: 4, stored_bits: 2 }), ..code };
        assert_eq!(code.instructions_of(&dispatch), 128.0 * (40.0 + 20.0 * 320.0 + 5.0));
    }

    #[test]
    fn a_loop_beside_the_weights_turns_as_is_known() {
        // A norm's partial sums: without a number they would seem to take all declared bytes.
        let mut code =
            code(vec![one(None, 40, None, &[]), one(Some(0), 320, None, &[(0, 64)]), one(Some(0), 18, Some(3), &[(2, 16)])]);
        let dispatch = Dispatch { shader: 0, groups: [2, 1, 1], bytes: 90_000, bindings: vec![81_920, 1, 2592] };
        assert_eq!(code.instructions_of(&dispatch), 128.0 * (40.0 + 10.0 * 320.0 + 3.0 * 18.0));
        code.loops[2].turns = None;
        assert!(code.instructions_of(&dispatch) > 128.0 * (40.0 + 10.0 * 320.0 + 40.0 * 18.0));
    }

    #[test]
    fn a_matmul_turns_as_its_code_says() {
        // 16 bytes are 32 weights; the inner loop multiplies them.
        let code = code(vec![one(None, 100, None, &[]), one(Some(0), 256, Some(18), &[(0, 16)]), one(Some(1), 48, Some(32), &[])]);
        assert_eq!(code.instructions_per_weight(), Some((256.0 + 32.0 * 48.0) / 32.0));
        let dispatch = Dispatch { shader: 0, groups: [3, 8, 1], bytes: 1 << 20, bindings: vec![1 << 19] };
        assert_eq!(code.instructions_of(&dispatch), 64.0 * 24.0 * (100.0 + 18.0 * (256.0 + 32.0 * 48.0)));
    }

    #[test]
    fn a_lookup_is_no_product() {
        let code = code(vec![one(None, 100, None, &[(0, 32)])]);
        assert_eq!(code.instructions_per_weight(), None);
        let dispatch = Dispatch { shader: 0, groups: [1, 1, 1], bytes: 600, bindings: vec![1 << 24] };
        assert_eq!(code.instructions_of(&dispatch), 64.0 * 100.0);
    }

    #[test]
    fn other_loops_turn_until_the_declared_bytes_are_read() {
        let mut code = code(vec![one(None, 10, None, &[]), one(Some(0), 20, None, &[(1, 16)])]);
        code.quants = None;
        // 64 lanes × 16 bytes × 4 turns.
        let dispatch = Dispatch { shader: 0, groups: [1, 1, 1], bytes: 4096, bindings: vec![4096, 64] };
        assert_eq!(code.instructions_of(&dispatch), 64.0 * (10.0 + 4.0 * 20.0));
    }
}
