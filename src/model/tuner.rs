//! Self-tuning: runs the candidates for each of a model's products, and for its attention, on the device and keeps the quickest.
//!
//! A candidate is timed by the GPU's own timestamps where there are any, else by the clock. Within the budget the products that a step spends
//! most bytes on come first; what is left waits for the next load.

use super::block::attention;
use super::cache::Segment;
use super::config::ModelConfig;
use super::tuning::{AttentionShape, Measure, ProductShape, TunedBy, Tuning, TuningOptions};
use super::weights::Weights;
use crate::gpu::{Buffer, Capabilities, Dispatch, Gpu, GpuError, Plan, Span};
use crate::kernels::{
    Arithmetic, Attention, Finish, Format, KvType, Matmul, MatmulVariant, Matvec, MatvecVariant, Outcome, Step, Tiling,
};
use crate::weights::Shard;
use web_time::Instant;

/// Seconds of GPU time that measuring may take.
const BUDGET_S: f64 = 0.3;
/// Seconds after which nothing more is begun, whatever they went to: compiling candidates takes time too.
const PATIENCE_S: f64 = 3.0;
/// Token rows that matmuls and attention are measured with.
const TOKENS: u32 = 256;
/// Positions before the rows that attention is measured with: they are a prompt's second chunk.
const BEFORE: u32 = 256;
/// Seconds that the runs which are compared take at least, by timestamps, which browsers round to 100 µs,
const STAMPED_S: f64 = 1.5e-3;
/// and by the clock, which the system disturbs.
const CLOCKED_S: f64 = 8e-3;
const MOST_REPEATS: u32 = 512;
/// A candidate replaces another only if it is quicker by more than chance.
const GAIN: f64 = 0.95;

/// The candidates for a matvec, `start` first.
fn matvecs(start: MatvecVariant, format: Format, int8: bool) -> Vec<MatvecVariant> {
    let spread = [(32, 1), (64, 1), (64, 2), (64, 4), (128, 2), (256, 4)];
    let of = |arithmetic| move |(workgroup, spread)| MatvecVariant { workgroup, spread, arithmetic };
    let int8 = (int8 && format.has_int8()).then(|| [(64, 1), (64, 2)].map(of(Arithmetic::Int8)));
    let all = spread.map(of(Arithmetic::F32)).into_iter().chain(int8.into_iter().flatten());
    std::iter::once(start).chain(all.filter(|candidate| *candidate != start)).collect()
}

/// The candidates for a matmul, `start` first.
fn matmuls(
    start: MatmulVariant,
    format: Format,
    capabilities: Capabilities,
    least_subgroup: u32,
    int8: bool,
) -> Vec<MatmulVariant> {
    let f32 = |tiling| MatmulVariant { tiling, arithmetic: Arithmetic::F32, ..start };
    let rows = [4, 8].into_iter().filter(|lanes| capabilities.subgroups && *lanes <= least_subgroup.max(4));
    let mut all = vec![start, f32(Tiling::Shared)];
    all.extend(rows.clone().map(|lanes| MatmulVariant { quads: 1, ..f32(Tiling::Rows { lanes }) }));
    all.extend(rows.max().map(|lanes| MatmulVariant { quads: 2, ..f32(Tiling::Rows { lanes }) }));
    if int8 && format.has_int8() {
        all.push(MatmulVariant { tiling: Tiling::Shared, arithmetic: Arithmetic::Int8, ..start });
    }
    let mut seen = Vec::new();
    all.retain(|candidate| {
        !seen.contains(candidate) && {
            seen.push(*candidate);
            true
        }
    });
    all
}

/// The candidates for attention of many rows, `start` first.
fn attentions(start: Tiling, capabilities: Capabilities, least_subgroup: u32) -> Vec<Tiling> {
    let rows = [4, 8].into_iter().filter(|lanes| capabilities.subgroups && *lanes <= least_subgroup.max(4));
    let all = std::iter::once(Tiling::Shared).chain(rows.map(|lanes| Tiling::Rows { lanes }));
    std::iter::once(start).chain(all.filter(|candidate| *candidate != start)).collect()
}

/// Raised when candidates or the rules that shape products change.
const RULES: u64 = 3;

/// A number that changes with the kernels: what was measured with others says nothing of these (FNV-1a over texts of every format and of every
/// type of cache).
pub(super) fn kernel_set() -> u64 {
    let all = Capabilities { subgroups: true, f16: false, int8_dot: true };
    let texts = Format::ALL.into_iter().flat_map(|format| {
        let vector = |arithmetic| matvec(format, 64, 1024, MatvecVariant { arithmetic, ..MatvecVariant::default() }).dispatch(all);
        let rows = matmuls(MatmulVariant::default(), format, all, 8, true);
        let rows = rows.into_iter().map(|variant| matmul(format, 64, 1024, variant).dispatch(all));
        let dispatches: Vec<_> = [vector(Arithmetic::F32), vector(Arithmetic::Int8)].into_iter().chain(rows).collect();
        dispatches.into_iter().map(|dispatch| dispatch.shader.wgsl)
    });
    let of = |kv_type| Attention {
        heads: 8,
        kv_heads: 4,
        head_dim: 64,
        context: 512,
        capacity: 512,
        first: 0,
        window: 0,
        run: 1,
        kv_type,
        scale: 1.0,
        soft_cap: 0.0,
        alibi: 0.0,
    };
    let attentions = attentions(Tiling::Shared, all, 8)
        .into_iter()
        .flat_map(|tiling| [(tiling, all), (tiling, Capabilities { f16: true, ..all })])
        .flat_map(|(tiling, features)| KvType::ALL.map(|kv_type| of(kv_type).prefill(features, tiling).shader.wgsl));
    texts.chain(attentions).fold(0xcbf2_9ce4_8422_2325 ^ RULES, |hash, text| {
        text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    })
}

fn matvec(format: Format, rows: u32, k: u32, variant: MatvecVariant) -> Matvec {
    let finish = Finish::Store { y_stride: rows.next_multiple_of(4), y_first: 0, accumulate: false };
    Matvec { format, rows, k, vectors: 1, x_stride: k, norm: None, experts: None, variant, outcome: Outcome::PLAIN, finish }
}

fn matmul(format: Format, rows: u32, k: u32, variant: MatmulVariant) -> Matmul {
    let finish = Finish::Store { y_stride: rows.next_multiple_of(4), y_first: 0, accumulate: false };
    Matmul { format, rows, k, x_stride: k, tile_tokens: 64, experts: None, variant, outcome: Outcome::PLAIN, finish }
}

/// A model's products of one shape.
struct Product {
    format: Format,
    columns: u32,
    /// Of several layers: one after the other they come from memory, as in a step, and not from a cache.
    shards: Vec<Shard>,
    /// Bytes that a step reads for all of them.
    bytes: u64,
    /// They are products of prefill too.
    many: bool,
}

/// Matrices that one plan goes through at most.
const MOST_SHARDS: usize = 32;

/// The products of different shapes, those that read most first. What is multiplied with the matrices of several experts has other workgroups and
/// other tilings than measuring them whole would have: it keeps the starting point.
fn products(weights: &mut Weights) -> Vec<(ProductShape, Product)> {
    let mut found: Vec<(ProductShape, Product)> = Vec::new();
    let head = weights.head().rows;
    weights.each_matrix(false, &mut |matrix| {
        let (format, columns) = (matrix.format, matrix.columns);
        for shard in &matrix.shards {
            let shape = ProductShape::new(format, shard.rows, columns);
            let bytes = shard.quants.bytes();
            let at = found.iter().position(|(known, _)| *known == shape).unwrap_or_else(|| {
                // Only the prompt's last row reaches the LM head.
                let many = matrix.rows != head;
                found.push((shape, Product { format, columns, shards: Vec::new(), bytes: 0, many }));
                found.len() - 1
            });
            let product = &mut found[at].1;
            product.bytes += bytes;
            if product.shards.len() < MOST_SHARDS {
                product.shards.push(shard.clone());
            }
        }
    });
    found.sort_by_key(|(_, product)| std::cmp::Reverse(product.bytes));
    found
}

/// The tuning of a model as `options` want it, and where it comes from. Nothing more is measured once `stop` says so.
///
/// # Errors
/// The failure that the device reported.
pub async fn tune(
    gpu: &Gpu,
    config: &ModelConfig,
    kv_type: KvType,
    weights: &mut Weights,
    options: TuningOptions,
    stop: &dyn Fn() -> bool,
) -> Result<(Tuning, TunedBy), GpuError> {
    let (info, capabilities) = (gpu.info(), gpu.capabilities());
    let (mut tuning, mut tuned_by) = match options.stored {
        Some(stored) => (stored.checked(info, capabilities), TunedBy::Stored),
        None => (Tuning::table(info, capabilities), TunedBy::Table),
    };
    if options.exact {
        tuning = tuning.exact();
    }
    let measures = match options.measure {
        Measure::Never => false,
        Measure::Gpus => info.kind != "cpu",
        Measure::Everywhere => true,
    };
    if !measures {
        return Ok((tuning, tuned_by));
    }
    let mut products = products(weights);
    products.retain(|(shape, _)| tuning.shapes.iter().all(|(known, _)| known != shape));
    let shape = AttentionShape::new(config, kv_type);
    let least_subgroup = info.subgroup_sizes.map_or(4, |[least, _]| least);
    let tilings = attentions(tuning.attention_of(config, kv_type).tiling, capabilities, least_subgroup);
    let attention = tilings.len() > 1 && tuning.attention_tilings.iter().all(|(known, _)| *known != shape);
    if products.is_empty() && !attention {
        return Ok((tuning, tuned_by));
    }
    let mut watch = Stopwatch::new(gpu, stop).await?;
    let int8 = capabilities.int8_dot && !options.exact;
    let some = measure_products(&mut watch, products, &mut tuning, int8).await?;
    if some {
        tuned_by = TunedBy::Measured;
    }
    // Where all products are known, this is what the load brings.
    let must = !some;
    if attention
        && !stop()
        && (must || !watch.is_over())
        && let Some(best) = measure_attention(&mut watch, tilings, &measured_attention(config, kv_type), must).await?
    {
        tuning.attention_tilings.push((shape, best));
        tuned_by = TunedBy::Measured;
    }
    Ok((tuning, tuned_by))
}

/// Adds to `tuning` what there is time for. Returns whether anything was measured.
async fn measure_products(
    watch: &mut Stopwatch<'_>,
    mut products: Vec<(ProductShape, Product)>,
    tuning: &mut Tuning,
    int8: bool,
) -> Result<bool, GpuError> {
    let gpu = watch.gpu;
    let limits = gpu.limits();
    let limit = limits.binding_bytes.min(limits.buffer_bytes);
    let outputs = |product: &Product, tokens: u32| {
        let rows = product.shards.first().map_or(0, |shard| shard.rows);
        4 * u64::from(tokens) * u64::from(rows.next_multiple_of(4))
    };
    for (_, product) in &mut products {
        product.many &= outputs(product, TOKENS) <= limit;
    }
    let Some(columns) = products.iter().map(|(_, product)| product.columns).max() else { return Ok(false) };
    let most = products.iter().map(|(_, product)| outputs(product, if product.many { TOKENS } else { 1 })).max().unwrap_or(0);
    let inputs = 4 * u64::from(TOKENS) * u64::from(columns);
    let Some([x, y]) = room(gpu, [("tuning: inputs", inputs), ("tuning: outputs", most)]).await? else { return Ok(false) };
    let step = gpu.upload("tuning: step", &[Step { position: 0, rows: TOKENS, drawn: 0, token: 0 }])?;
    let capabilities = gpu.capabilities();
    let least_subgroup = gpu.info().subgroup_sizes.map_or(4, |[least, _]| least);
    let mut measured = false;
    for (shape, Product { format, columns, shards, many, .. }) in products {
        let mut variants = tuning.start;
        let push = |plan: &mut Plan, shard: &Shard, dispatch: &Dispatch| {
            plan.push(gpu, dispatch, &[shard.quants.clone(), shard.scales.clone(), x.whole(), step.whole(), y.whole()]);
        };
        let of_one = |variant: &MatvecVariant| {
            let mut plan = Plan::default();
            shards
                .iter()
                .for_each(|shard| push(&mut plan, shard, &matvec(format, shard.rows, columns, *variant).dispatch(capabilities)));
            plan
        };
        let span = |rows| Span { position: 0, rows };
        // The first shape is measured whatever it takes, so that every load brings something.
        let Some(best) = watch.quickest(matvecs(tuning.start.matvec, format, int8), &of_one, span(1), !measured).await? else {
            break;
        };
        variants.matvec = best;
        if many {
            let of_many = |variant: &MatmulVariant| {
                let mut plan = Plan::default();
                let shard = shards.first();
                shard.iter().for_each(|shard| {
                    push(&mut plan, shard, &matmul(format, shard.rows, columns, *variant).dispatch(capabilities))
                });
                plan
            };
            let candidates = matmuls(tuning.start.matmul, format, capabilities, least_subgroup, int8);
            let Some(best) = watch.quickest(candidates, &of_many, span(TOKENS), !measured).await? else { break };
            variants.matmul = best;
        }
        tuning.shapes.push((shape, variants));
        measured = true;
    }
    Ok(measured)
}

/// Attention as it is measured: that of layer 0 in a prompt's second chunk.
fn measured_attention(config: &ModelConfig, kv_type: KvType) -> Attention {
    let positions = BEFORE + TOKENS;
    attention(config, 0, positions, Segment { first: 0, positions }, kv_type)
}

/// The quickest tiling, if there is time and room to measure.
async fn measure_attention(
    watch: &mut Stopwatch<'_>,
    tilings: Vec<Tiling>,
    attention: &Attention,
    must: bool,
) -> Result<Option<Tiling>, GpuError> {
    let gpu = watch.gpu;
    let Attention { heads, kv_heads, head_dim, capacity, kv_type, .. } = *attention;
    let rows = 4 * u64::from(TOKENS) * u64::from(heads * head_dim);
    let cache = kv_type.bytes(capacity, kv_heads, head_dim);
    let sizes = [
        ("tuning: queries", rows),
        ("tuning: keys", cache),
        ("tuning: values", cache),
        ("tuning: attended", rows),
        ("tuning: carried", attention.carried_bytes(TOKENS)),
    ];
    let Some([q, k, v, y, carried]) = room(gpu, sizes).await? else { return Ok(None) };
    let step = gpu.upload("tuning: step", &[Step { position: BEFORE, rows: TOKENS, drawn: 0, token: 0 }])?;
    let bindings = [&q, &k, &v, &y, &step, &carried].map(Buffer::whole);
    let plan_of = |tiling: &Tiling| {
        let mut plan = Plan::default();
        plan.push(gpu, &attention.prefill(gpu.capabilities(), *tiling), &bindings[..5]);
        plan
    };
    let best = watch.quickest(tilings, &plan_of, Span { position: BEFORE, rows: TOKENS }, must).await?;
    let Some(best) = best else { return Ok(None) };
    // With a cache of several segments its kernels are a little different: a device that refuses those must not be left with them.
    let others = gpu.attempt(async || {
        let later = Attention { first: BEFORE, capacity: capacity - BEFORE, ..*attention };
        for kernel in [attention.prefill_more(gpu.capabilities(), best), later.prefill(gpu.capabilities(), best)] {
            Plan::default().push(gpu, &kernel, &bindings);
        }
        Ok(())
    });
    Ok(Some(unless_refused(others.await)?.map_or(Tiling::Shared, |()| best)))
}

/// Buffers to measure with. Where there is no room for them, there is nothing wrong with the model.
async fn room<const N: usize>(gpu: &Gpu, sizes: [(&str, u64); N]) -> Result<Option<[Buffer; N]>, GpuError> {
    let all = async || sizes.iter().map(|(what, bytes)| gpu.buffer(what, *bytes)).collect::<Result<Vec<_>, _>>();
    Ok(unless_refused(gpu.attempt(all).await)?.and_then(|buffers| buffers.try_into().ok()))
}

/// What the device refused is nothing.
fn unless_refused<T>(result: Result<T, GpuError>) -> Result<Option<T>, GpuError> {
    match result {
        Err(error) if error.is_refusal() => Ok(None),
        result => result.map(Some),
    }
}

/// Times candidates within the budget.
struct Stopwatch<'a> {
    gpu: &'a Gpu,
    stop: &'a dyn Fn() -> bool,
    /// What a submit takes besides its work, where the clock has to do.
    idle: f64,
    spent: f64,
    begun: Instant,
}

impl<'a> Stopwatch<'a> {
    async fn new(gpu: &'a Gpu, stop: &'a dyn Fn() -> bool) -> Result<Self, GpuError> {
        let mut watch = Self { gpu, stop, idle: 0.0, spent: 0.0, begun: Instant::now() };
        if !gpu.has_timestamps() {
            let mut idle = f64::INFINITY;
            for _ in 0..3 {
                idle = idle.min(gpu.time(&Plan::default(), Span { position: 0, rows: 1 }, 1).await?);
            }
            watch.idle = idle;
        }
        Ok(watch)
    }

    fn is_over(&self) -> bool {
        self.spent > BUDGET_S || self.begun.elapsed().as_secs_f64() > PATIENCE_S
    }

    /// Seconds of `repeats` runs.
    async fn time(&mut self, plan: &Plan, span: Span, repeats: u32) -> Result<f64, GpuError> {
        let time = (self.gpu.time(plan, span, repeats).await? - self.idle).max(0.0);
        self.spent += time;
        Ok(time)
    }

    /// Runs that take long enough to be compared.
    async fn repeats(&mut self, plan: &Plan, span: Span) -> Result<u32, GpuError> {
        let enough = if self.gpu.has_timestamps() { STAMPED_S } else { CLOCKED_S };
        let mut repeats = 1;
        while repeats < MOST_REPEATS && self.time(plan, span, repeats).await? < enough {
            repeats *= 2;
        }
        Ok(repeats)
    }

    /// The quickest of the candidates, or the first unless another is quicker for sure. `None` if there is no time to try all, unless they `must` be
    /// tried. A candidate that the device refuses is no candidate.
    async fn quickest<T>(
        &mut self,
        candidates: Vec<T>,
        plan_of: &dyn Fn(&T) -> Plan,
        span: Span,
        must: bool,
    ) -> Result<Option<T>, GpuError> {
        let gpu = self.gpu;
        let mut best: Option<(T, f64)> = None;
        let mut repeats = None;
        for variant in candidates {
            if (self.stop)() || self.is_over() && !must {
                return Ok(None);
            }
            let timed = gpu.attempt(async || {
                let plan = plan_of(&variant);
                // The first run pays for what drivers put off.
                self.time(&plan, span, 1).await?;
                let repeats = match repeats {
                    Some(repeats) => repeats,
                    None => *repeats.insert(self.repeats(&plan, span).await?),
                };
                let first = self.time(&plan, span, repeats).await?;
                Ok(first.min(self.time(&plan, span, repeats).await?))
            });
            if let Some(time) = unless_refused(timed.await)?
                && best.as_ref().is_none_or(|(_, least)| time < least * GAIN)
            {
                best = Some((variant, time));
            }
        }
        Ok(best.map(|(variant, _)| variant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_few_and_different() {
        let all = Capabilities { subgroups: true, f16: true, int8_dot: true };
        for int8 in [false, true] {
            let some = matvecs(MatvecVariant::default(), Format::Q4_K, int8);
            assert_eq!((some.len(), some[0]), (if int8 { 8 } else { 6 }, MatvecVariant::default()));
            let some = matmuls(MatmulVariant::default(), Format::Q4_K, all, 32, int8);
            assert_eq!((some.len(), some[0]), (if int8 { 5 } else { 4 }, MatmulVariant::default()));
        }
        // Subgroups of 4 do not share among 8.
        assert_eq!(matmuls(MatmulVariant::default(), Format::Q4_K, all, 4, true).len(), 4);
        assert_eq!(matmuls(MatmulVariant::default(), Format::F16, Capabilities::default(), 4, true).len(), 1);
    }

    #[test]
    fn attention_has_candidates_where_lanes_can_exchange() {
        let rows = |lanes| Tiling::Rows { lanes };
        let all = Capabilities { subgroups: true, f16: true, int8_dot: true };
        assert_eq!(attentions(rows(8), all, 32), [rows(8), Tiling::Shared, rows(4)]);
        assert_eq!(attentions(Tiling::Shared, all, 4), [Tiling::Shared, rows(4)]);
        assert_eq!(attentions(Tiling::Shared, Capabilities::default(), 32), [Tiling::Shared]);
    }

    #[test]
    fn kernel_sets_do_not_change_by_themselves() {
        assert_eq!(kernel_set(), kernel_set());
    }
}
