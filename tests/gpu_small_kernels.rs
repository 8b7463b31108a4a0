//! Embedding, RMSNorm and SwiGLU against their `f64` twins.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod weights;
}

use common::gpu::{Random, download, open_both, run, worst};
use common::weights::{Matrix, SORTS};
use kinglet::gpu::Span;
use kinglet::kernels::{
    Activation, Embed, Format, Gated, LastRow, Norm, NormKind, NormTarget, Step, Weigh, embed_reference, gated_reference,
    rms_norm_reference,
};

/// What a kernel must neither read nor write.
const UNTOUCHED: f32 = 1e30;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

#[test]
fn embed() {
    for gpu in open_both() {
        let mut random = Random(6);
        for format in SORTS {
            for (rows, blocks, scale) in [(1, 1, 1.0), (3, 1, 1.0), (7, 3, 24.0), (130, 19, 0.5)] {
                let k = blocks * format.block_columns();
                let y_stride = k + 4;
                let matrix = Matrix::random(&gpu, &mut random, format, rows, k);
                let ids: Vec<u32> = (0..9).map(|_| random.below(u64::from(rows)) as u32).collect();
                let y = gpu.upload("y", &vec![UNTOUCHED; 9 * y_stride as usize]).unwrap();
                let ids_buffer = gpu.upload("ids", &ids).unwrap();
                let kernel = Embed { format, first_row: 0, rows, k, y_stride, scale, positions: false };
                let bindings = [&matrix.quants, &matrix.scales, &ids_buffer, &y].map(|buffer| buffer.whole());
                let after = run(&gpu, &kernel.dispatch(), &bindings, Span { position: 0, rows: 9 }, &y);
                let expected = embed_reference(&matrix.values, &ids, k as usize, f64::from(scale));
                for (token, y) in after[..9 * y_stride as usize].chunks_exact(y_stride as usize).enumerate() {
                    for column in 0..k as usize {
                        let expected = expected[token * k as usize + column] as f32;
                        // At most one rounding where the factor is a power of two: the reference's own bits.
                        let near = if scale.log2().fract() == 0.0 { 0.0 } else { expected.abs() * f32::EPSILON };
                        assert!(
                            (y[column] - expected).abs() <= near,
                            "{kernel:?}: token {token}, column {column}: {} {expected}",
                            y[column]
                        );
                    }
                    assert!(y[k as usize..].iter().all(|y| *y == UNTOUCHED), "{kernel:?} wrote outside of its row");
                }
            }
        }
    }
}

#[test]
fn embed_in_shards() {
    let [gpu, _] = open_both();
    let mut random = Random(7);
    let (k, ids) = (64, [9u32, 0, 7, 8, 12, 3, 500]);
    // Rows 0 to 7 and 8 to 12; ids beyond both leave their row alone.
    let shards = [(0, 8), (8, 5)].map(|(first, rows)| (first, rows, Matrix::random(&gpu, &mut random, Format::Q8_0, rows, k)));
    let y = gpu.upload("y", &vec![UNTOUCHED; ids.len() * k as usize]).unwrap();
    let ids_buffer = gpu.upload("ids", &ids).unwrap();
    let mut after = Vec::new();
    for (first_row, rows, matrix) in &shards {
        let kernel =
            Embed { format: Format::Q8_0, first_row: *first_row, rows: *rows, k, y_stride: k, scale: 1.0, positions: false };
        let bindings = [&matrix.quants, &matrix.scales, &ids_buffer, &y].map(|buffer| buffer.whole());
        after = run(&gpu, &kernel.dispatch(), &bindings, Span { position: 0, rows: ids.len() as u32 }, &y);
    }
    let table: Vec<f64> = shards.iter().flat_map(|(_, _, matrix)| matrix.values.clone()).collect();
    let known = ids.len() - 1;
    let expected = embed_reference(&table, &ids[..known], k as usize, 1.0);
    assert_eq!(worst(&after[..known * k as usize], &expected), 0.0);
    assert!(after[known * k as usize..].iter().all(|y| *y == UNTOUCHED));
}

#[test]
fn rms_norm() {
    for gpu in open_both() {
        let mut random = Random(8);
        for (k, rows, size, workgroup) in [
            (4, 1, 1.0, 64),
            (12, 3, 1e-3, 8),
            (64, 5, 1.0, 4),
            (260, 2, 100.0, 32),
            (576, 7, 1.0, 16),
            (4096, 1, 1e4, 64),
            (4096, 2, 1.0, 4),
        ] {
            let capacity = rows + 2;
            let x: Vec<f32> = random.vector((capacity * k) as usize).iter().map(|x| x * size).collect();
            let weight = random.vector(k as usize);
            let y = gpu.upload("y", &vec![UNTOUCHED; (capacity * k) as usize]).unwrap();
            let kernel = Norm { kind: NormKind::Rms, k, epsilon: 1e-5, bias: false, target: NormTarget::Rows, workgroup };
            let inputs = [gpu.upload("x", &x).unwrap(), gpu.upload("weight", &weight).unwrap()];
            let bindings = [&inputs[0], &inputs[1], &y].map(|buffer| buffer.whole());
            let after = run(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings, Span { position: 3, rows }, &y);
            let expected = rms_norm_reference(&wide(&x[..(rows * k) as usize]), &wide(&weight), 1e-5f32.into());
            let error = worst(&after[..expected.len()], &expected);
            assert!(error < 1e-6, "{kernel:?}, {rows} rows on {}: error {error}", gpu.info().name);
            assert!(after[expected.len()..(capacity * k) as usize].iter().all(|y| *y == UNTOUCHED), "{kernel:?} wrote outside");
        }
    }
}

#[test]
fn weigh() {
    for gpu in open_both() {
        let mut random = Random(10);
        for (k, partials) in [(8, 1), (64, 3), (264, 70), (576, 9)] {
            let [x, weight] = [2 * k, k].map(|n| random.vector(n as usize));
            let length = (k + 4 * partials) as usize;
            let weighted = gpu.upload("weighted", &vec![UNTOUCHED; length + 4]).unwrap();
            let inputs = [gpu.upload("x", &x).unwrap(), gpu.upload("weight", &weight).unwrap()];
            let bindings = [&inputs[0], &inputs[1], &weighted].map(|buffer| buffer.whole());
            let kernel = Weigh { k, partials };
            let after = run(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings, Span { position: 3, rows: 1 }, &weighted);
            let row = &x[..k as usize];
            let expected: Vec<f32> = row.iter().zip(&weight).map(|(x, w)| x * w).collect();
            assert_eq!(after[..k as usize], expected, "{kernel:?}");
            let squares: f64 = wide(row).iter().map(|x| x * x).sum();
            let sum: f64 = wide(&after[k as usize..length]).iter().sum();
            assert!((sum - squares).abs() < 1e-6 * squares, "{kernel:?}: {sum} instead of {squares}");
            assert!(after[length..].iter().all(|y| *y == UNTOUCHED), "{kernel:?} wrote outside");
        }
    }
}

#[test]
fn last_row() {
    let [gpu, _] = open_both();
    let mut random = Random(12);
    for (k, queries, rows) in [(8, 4, 1), (64, 1032, 2), (1028, 64, 7)] {
        let [x, q] = [k, queries].map(|n| random.vector((n * (rows + 1)) as usize));
        let [residual, moved] = [&x, &q].map(|values| gpu.upload("rows", values).unwrap());
        let step = gpu.upload("step", &[Step { position: 5, rows, drawn: 3, token: 9 }]).unwrap();
        let kernel = LastRow { k, queries };
        let bindings = [&residual, &moved, &step].map(|buffer| buffer.whole());
        let after = run(&gpu, &kernel.dispatch(), &bindings, Span { position: 5, rows }, &residual);
        for (after, before, n) in [(after, x, k), (download(&gpu, &moved), q, queries)] {
            let n = n as usize;
            assert_eq!(after[..n], before[(rows as usize - 1) * n..][..n], "{kernel:?}");
            assert_eq!(after[n..], before[n..], "{kernel:?} wrote more than row 0");
        }
        let step: Vec<Step> = download(&gpu, &step);
        assert_eq!(step, [Step { position: 4 + rows, rows: 1, drawn: 3, token: 9 }]);
    }
}

#[test]
fn swiglu() {
    let [gpu, _] = open_both();
    let mut random = Random(9);
    for (k, rows, gap) in [(4, 1, 0), (12, 3, 4), (260, 2, 0), (1536, 5, 8)] {
        let (up_first, x_stride) = (k + gap, 2 * k + 2 * gap);
        let mut x: Vec<f32> = random.vector((rows * x_stride) as usize).iter().map(|x| x * 20.0).collect();
        // Far from zero silu is 0 or its argument, never NaN.
        x[0] = 200.0;
        x[1] = -200.0;
        let y = gpu.upload("y", &vec![UNTOUCHED; ((rows + 1) * k) as usize]).unwrap();
        let kernel = Gated { activation: Activation::Silu, k, x_stride, up_first };
        let bindings = [gpu.upload("x", &x).unwrap().whole(), y.whole()];
        let after = run(&gpu, &kernel.dispatch(), &bindings, Span { position: 0, rows }, &y);
        let expected: Vec<f64> = x
            .chunks_exact(x_stride as usize)
            .flat_map(|row| {
                gated_reference(Activation::Silu, &wide(&row[..k as usize]), &wide(&row[up_first as usize..][..k as usize]))
            })
            .collect();
        let error = worst(&after[..expected.len()], &expected);
        assert!(error < 2e-6, "{kernel:?}, {rows} rows: error {error}");
        assert!(after[expected.len()..((rows + 1) * k) as usize].iter().all(|y| *y == UNTOUCHED), "{kernel:?} wrote outside");
    }
}
