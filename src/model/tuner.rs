//! Self-tuning: runs the candidates for each of a model's products on the device and keeps the quickest.
//!
//! A candidate is timed by the GPU's own timestamps where there are any, else by the clock. Within the budget the products that a step spends
//! most bytes on come first; what is left keeps the starting point.

use super::tuning::{Measure, ProductShape, TunedBy, Tuning, TuningOptions};
use super::weights::Weights;
use crate::gpu::{Capabilities, Gpu, GpuError, Plan, Span};
use crate::kernels::{Arithmetic, Finish, Format, Matmul, MatmulVariant, Matvec, MatvecVariant, Outcome, Step, Tiling};
use crate::weights::Shard;

/// Seconds of GPU time that measuring may take.
const BUDGET_S: f64 = 0.3;
/// Token rows that matmuls are measured with.
const TOKENS: u32 = 256;
/// A candidate replaces the starting point only if it is quicker by more than chance.
const GAIN: f64 = 0.97;

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
    let f32 = |tiling| MatmulVariant { tiling, arithmetic: Arithmetic::F32 };
    let rows = [4, 8].into_iter().filter(|lanes| capabilities.subgroups && *lanes <= least_subgroup.max(4));
    let mut all = vec![start, f32(Tiling::Shared)];
    all.extend(rows.map(|lanes| f32(Tiling::Rows { lanes })));
    if int8 && format.has_int8() {
        all.push(MatmulVariant { tiling: Tiling::Shared, arithmetic: Arithmetic::Int8 });
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

/// A number that changes with the kernels: what was measured with others says nothing of these (FNV-1a over the texts of all candidates).
pub(super) fn kernel_set() -> u64 {
    let all = Capabilities { subgroups: true, f16: false, int8_dot: true };
    let format = Format::Q4_0;
    let mut texts: Vec<String> = Vec::new();
    texts.extend(
        matvecs(MatvecVariant::default(), format, true).into_iter().map(|v| matvec(format, 64, 256, v).dispatch(all).shader.wgsl),
    );
    let matmuls = matmuls(MatmulVariant::default(), format, all, 8, true);
    texts.extend(matmuls.into_iter().map(|v| matmul(format, 64, 256, v).dispatch(all).shader.wgsl));
    let bytes = texts.iter().flat_map(|text| text.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn matvec(format: Format, rows: u32, k: u32, variant: MatvecVariant) -> Matvec {
    let finish = Finish::Store { y_stride: rows.next_multiple_of(4), y_first: 0, accumulate: false };
    Matvec { format, rows, k, vectors: 1, x_stride: k, norm: None, experts: None, variant, outcome: Outcome::PLAIN, finish }
}

fn matmul(format: Format, rows: u32, k: u32, variant: MatmulVariant) -> Matmul {
    let finish = Finish::Store { y_stride: rows.next_multiple_of(4), y_first: 0, accumulate: false };
    Matmul { format, rows, k, x_stride: k, tile_tokens: 64, experts: None, variant, outcome: Outcome::PLAIN, finish }
}

/// One of a model's products.
struct Product {
    format: Format,
    columns: u32,
    shard: Shard,
    /// Bytes that a step reads for all products of this shape.
    bytes: u64,
    /// It is a product of prefill too.
    many: bool,
}

/// The products of different shapes, those that read most first.
fn products(weights: &mut Weights) -> Vec<(ProductShape, Product)> {
    let mut found: Vec<(ProductShape, Product)> = Vec::new();
    let head = weights.head().rows;
    weights.each_matrix(&mut |matrix| {
        let (format, columns) = (matrix.format, matrix.columns);
        for shard in &matrix.shards {
            let shape = ProductShape::new(format, shard.rows, columns);
            let bytes = shard.quants.bytes();
            match found.iter_mut().find(|(known, _)| *known == shape) {
                Some((_, product)) => product.bytes += bytes,
                None => {
                    // Only the prompt's last row reaches the LM head.
                    let many = matrix.rows != head;
                    found.push((shape, Product { format, columns, shard: shard.clone(), bytes, many }));
                }
            }
        }
    });
    found.sort_by_key(|(_, product)| std::cmp::Reverse(product.bytes));
    found
}

/// The tuning of a model as `options` want it, and where it comes from.
///
/// # Errors
/// The failure that the device reported.
pub(super) async fn tune(gpu: &Gpu, weights: &mut Weights, options: TuningOptions) -> Result<(Tuning, TunedBy), GpuError> {
    let table = Tuning::table(gpu.info(), gpu.capabilities());
    let (mut tuning, mut tuned_by) = match options.stored {
        Some(stored) => (stored, TunedBy::Stored),
        None => (table, TunedBy::Table),
    };
    // What is measured may be of 8 bits: where that is not wanted, what is known has to do.
    let measures = match options.measure {
        Measure::Never => false,
        Measure::Gpus => gpu.info().kind != "cpu",
        Measure::Everywhere => true,
    };
    if measures && !options.exact && measure(gpu, weights, &mut tuning).await? {
        tuned_by = TunedBy::Measured;
    }
    Ok((if options.exact { tuning.exact() } else { tuning }, tuned_by))
}

/// Adds to `tuning` what it does not know of the model's products. Returns whether anything was measured.
///
/// # Errors
/// The failure that the device reported.
pub(super) async fn measure(gpu: &Gpu, weights: &mut Weights, tuning: &mut Tuning) -> Result<bool, GpuError> {
    let mut unknown = products(weights);
    unknown.retain(|(shape, _)| tuning.shapes.iter().all(|(known, _)| known != shape));
    let (Some(rows), Some(columns)) =
        (unknown.iter().map(|(_, product)| product.shard.rows).max(), unknown.iter().map(|(_, product)| product.columns).max())
    else {
        return Ok(false);
    };
    let widest = unknown.iter().filter(|(_, product)| product.many).map(|(_, product)| product.shard.rows).max().unwrap_or(1);
    let x = gpu.buffer("tuning: inputs", 4 * u64::from(TOKENS) * u64::from(columns))?;
    let y = gpu.buffer(
        "tuning: outputs",
        4 * u64::from(rows.next_multiple_of(4)).max(u64::from(TOKENS) * u64::from(widest.next_multiple_of(4))),
    )?;
    let step = gpu.upload("tuning: step", &[Step { position: 0, rows: TOKENS, drawn: 0, token: 0 }])?;
    let capabilities = gpu.capabilities();
    let int8 = capabilities.int8_dot;
    let least_subgroup = gpu.info().subgroup_sizes.map_or(4, |[least, _]| least);
    let mut spent = 0.0;
    for (shape, Product { format, columns, shard, many, .. }) in unknown {
        let mut variants = tuning.start;
        let bindings = [shard.quants.clone(), shard.scales.clone(), x.whole(), step.whole(), y.whole()];
        let candidates = matvecs(tuning.start.matvec, format, int8).into_iter().map(|variant| {
            let mut plan = Plan::default();
            plan.push(gpu, &matvec(format, shard.rows, columns, variant).dispatch(capabilities), &bindings);
            (variant, plan)
        });
        let best = quickest(gpu, candidates.collect(), 1, 8, &mut spent).await?;
        variants.matvec = best.unwrap_or(variants.matvec);
        if many {
            let candidates = matmuls(tuning.start.matmul, format, capabilities, least_subgroup, int8).into_iter().map(|variant| {
                let mut plan = Plan::default();
                plan.push(gpu, &matmul(format, shard.rows, columns, variant).dispatch(capabilities), &bindings);
                (variant, plan)
            });
            let best = quickest(gpu, candidates.collect(), TOKENS, 1, &mut spent).await?;
            variants.matmul = best.unwrap_or(variants.matmul);
        }
        tuning.shapes.push((shape, variants));
    }
    Ok(true)
}

/// The quickest of the candidates, or the first unless another is quicker for sure; `None` once the budget is spent.
async fn quickest<T>(
    gpu: &Gpu,
    candidates: Vec<(T, Plan)>,
    rows: u32,
    repeats: u32,
    spent: &mut f64,
) -> Result<Option<T>, GpuError> {
    let span = Span { position: 0, rows };
    let mut best: Option<(T, f64)> = None;
    for (variant, plan) in candidates {
        if *spent > BUDGET_S {
            break;
        }
        // The first run pays for what drivers put off.
        let mut least = f64::INFINITY;
        for run in 0..3 {
            let time = gpu.time(&plan, span, if run == 0 { 1 } else { repeats }).await?;
            *spent += time;
            if run > 0 {
                least = least.min(time);
            }
        }
        let bar = best.as_ref().map_or(f64::INFINITY, |(_, time)| time * GAIN);
        if least < bar {
            best = Some((variant, least));
        }
    }
    Ok(best.map(|(variant, _)| variant))
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
            assert_eq!((some.len(), some[0]), (if int8 { 4 } else { 3 }, MatmulVariant::default()));
        }
        // Subgroups of 4 do not share among 8.
        assert_eq!(matmuls(MatmulVariant::default(), Format::Q4_K, all, 4, true).len(), 3);
        assert_eq!(matmuls(MatmulVariant::default(), Format::F16, Capabilities::default(), 4, true).len(), 1);
    }

    #[test]
    fn kernel_sets_do_not_change_by_themselves() {
        assert_eq!(kernel_set(), kernel_set());
    }
}
