//! The dispatches of a mixture of experts. The router's choice stays on the GPU, and only the chosen experts' weights are read: in decode each
//! choice has workgroups of its own; in prefill token rows are listed by expert, and each expert has tiles for its list.

use super::arena::CHUNK;
use super::block::{Input, product};
use super::config::Experts;
use super::plan::{Planner, Width, residual_partials};
use super::weights::{ExpertWeights, NormWeights};
use super::workspace::Routing;
use crate::gpu::{Binding, Buffer, Plan};
use crate::kernels::{ExpertRows, Finish, GroupChoices, Matvec, Outcome, Route, SumChoices};
use crate::weights::{Matrix, Shard};

impl Experts {
    /// Floats of a row of the router's logits: a quad for each four experts, and one for the shared expert's gate.
    pub(super) fn logits_stride(&self) -> u32 {
        self.count.next_multiple_of(4) + 4
    }
}

impl<'a> Planner<'a> {
    /// The router, the choice, and all experts up to their hidden rows, which are weighted.
    pub(super) fn experts_up(&self, plan: &mut Plan, width: Width, weights: &ExpertWeights, input: Input<'_>) {
        let (Some(experts), Some(routing)) = (self.config.experts, &self.space.activations.routing) else {
            return debug_assert!(false, "no room for experts");
        };
        let (sequence, stride) = (&self.space.sequence, experts.logits_stride());
        let bias = weights.router.bias.as_ref();
        let outcome = Outcome { bias: bias.is_some(), ..Outcome::PLAIN };
        self.store(plan, width, input, &weights.router.matrix, outcome, [stride, 0], &routing.logits, bias);
        let shared_at = experts.count.next_multiple_of(4);
        if let Some(gate) = &weights.shared_gate {
            self.store(plan, width, input, gate, Outcome::PLAIN, [stride, shared_at], &routing.logits, None);
        }
        let route = Route {
            experts: experts.count,
            used: experts.used,
            stride,
            normalized: experts.normalized,
            scale: experts.scale,
            shared_at: weights.shared_gate.as_ref().map(|_| shared_at),
        };
        let bindings = [&routing.logits, &routing.choices, &routing.shared_weights].map(Binding::from);
        plan.push(self.gpu, &route.dispatch(self.gpu.capabilities()), &bindings);
        if width.tile().is_some() {
            let group = GroupChoices { experts: experts.count, used: experts.used, rows: CHUNK };
            plan.push(self.gpu, &group.dispatch(), &[&routing.choices, sequence, &routing.lists].map(Binding::from));
        }
        if let Some(shared) = &weights.shared {
            let weighted = weights.shared_gate.as_ref().map(|_| &routing.shared_weights);
            self.up(plan, width, &shared.up, input, experts.shared, &routing.shared_hidden, weighted);
        }
        for shard in &weights.gate_up.shards {
            let finish =
                Finish::Gated { activation: self.config.activation, weighted: true, y_stride: experts.feed_forward, first: 0 };
            let matvec = self.of_experts(&weights.gate_up, shard, 2 * experts.feed_forward, false, Outcome::PLAIN, finish);
            self.routed(plan, width, input, matvec, shard, &[sequence, &self.space.activations.hidden]);
        }
    }

    /// What the experts add to the residual stream; for one row `next_norm` is prepared if it can wait.
    pub(super) fn experts_down(
        &self,
        plan: &mut Plan,
        width: Width,
        weights: &ExpertWeights,
        next_norm: Option<&NormWeights>,
    ) -> Option<u32> {
        let space = self.space;
        let buffers = &space.activations;
        let (Some(experts), Some(routing)) = (self.config.experts, &buffers.routing) else { return None };
        let (k, scale) = (self.config.embedding, self.config.residual_scale);
        if let Some(shared) = &weights.shared {
            self.onto_residual(plan, width, &shared.down, &routing.shared_hidden, None, None);
        }
        let input = Input { x: &buffers.hidden, norm: None };
        let last = weights.down.shards.len() - 1;
        if width.tile().is_some() {
            for shard in &weights.down.shards {
                let finish = Finish::Store { y_stride: k, y_first: 0, accumulate: false };
                let matvec = self.of_experts(&weights.down, shard, k, true, Outcome::PLAIN, finish);
                self.routed(plan, width, input, matvec, shard, &[&space.sequence, &routing.outputs]);
            }
            let sum = SumChoices { k, used: experts.used, scale };
            plan.push(self.gpu, &sum.dispatch(), &[&routing.outputs, &buffers.residual].map(Binding::from));
            return None;
        }
        let outcome = Outcome { scale, ..Outcome::PLAIN };
        for (index, shard) in weights.down.shards.iter().enumerate() {
            match next_norm.filter(|norm| index == last && self.can_wait(norm)) {
                Some(next) => {
                    let weighted_stride = (buffers.weighted.size() / 4) as u32;
                    let finish = Finish::Residual { k, first: 0, weighted_stride, partial_first: 0 };
                    let matvec = self.of_experts(&weights.down, shard, k, true, outcome, finish);
                    let bindings = [&space.sequence, &buffers.residual, &next.weight, &buffers.weighted];
                    self.routed(plan, width, input, matvec, shard, &bindings);
                }
                None => {
                    let finish = Finish::Store { y_stride: k, y_first: 0, accumulate: true };
                    let matvec = self.of_experts(&weights.down, shard, k, true, outcome, finish);
                    self.routed(plan, width, input, matvec, shard, &[&space.sequence, &buffers.residual]);
                }
            }
        }
        next_norm.filter(|norm| self.can_wait(norm)).map(|_| expert_partials(&weights.down, k))
    }

    /// One shard's product with the matrices of chosen experts, of `rows` rows each.
    fn of_experts(&self, matrix: &Matrix, shard: &Shard, rows: u32, of_choices: bool, outcome: Outcome, finish: Finish) -> Matvec {
        let [used, total] = self.config.experts.map_or([1, 1], |experts| [experts.used, experts.count]);
        let (first, count) = (shard.first_row / rows, shard.rows / rows);
        let experts = ExpertRows { first, count, total, used, of_choices, rows: CHUNK };
        Matvec { rows, experts: Some(experts), ..product(matrix, shard, outcome, finish) }
    }

    /// Bindings: those of the finish.
    fn routed(&self, plan: &mut Plan, width: Width, input: Input<'_>, matvec: Matvec, shard: &Shard, bindings: &[&Buffer]) {
        let Some(Routing { choices, lists, .. }) = &self.space.activations.routing else { return };
        let weighted = matches!(matvec.finish, Finish::Gated { weighted: true, .. });
        let more = match width.tile() {
            None => vec![choices],
            Some(_) if weighted => vec![choices, lists],
            Some(_) => vec![lists],
        };
        self.product(plan, width, input, matvec, shard, bindings, &more);
    }
}

/// Partial sums of squares that the experts' last product leaves behind the residual stream.
pub(super) fn expert_partials(down: &Matrix, embedding: u32) -> u32 {
    let [shard, ..] = &down.shards[..] else { return 1 };
    let finish = Finish::Residual { k: embedding, first: 0, weighted_stride: 0, partial_first: 0 };
    Matvec { rows: embedding, ..product(down, shard, Outcome::PLAIN, finish) }.workgroups()
}

/// As [`residual_partials`] of a whole feed-forward network.
pub(super) fn feed_forward_partials(feed_forward: &super::weights::FeedForward, embedding: u32) -> u32 {
    use super::weights::FeedForward;
    match feed_forward {
        FeedForward::Dense(dense) => residual_partials(&dense.down.matrix),
        FeedForward::Experts(experts) => expert_partials(&experts.down, embedding),
    }
}
