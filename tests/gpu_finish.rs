//! What products end with: SwiGLU, and the residual stream with a norm that the next product completes.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod weights;
}

use common::gpu::{Random, download, open_both, run, worst};
use common::weights::{Matrix, SORTS, repack_into};
use kinglet::gpu::{Buffer, Gpu, Plan, Span};
use kinglet::kernels::{
    Activation, DeferredNorm, Finish, Format, Matmul, Matvec, Outcome, Step, gated_reference, matvec_reference, rms_norm_reference,
};

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn step(gpu: &Gpu, rows: u32) -> Buffer {
    gpu.upload("step", &[Step { position: 4, rows, drawn: 0, token: 0 }]).unwrap()
}

#[test]
fn swiglu_of_interleaved_matrices() {
    for gpu in open_both() {
        let mut random = Random(41);
        for format in SORTS {
            for (ff, blocks, tokens) in [(8, 1, 1), (36, 3, 2), (96, 2, 70)] {
                let k = blocks * format.block_columns();
                let planes = format.planes(2 * ff, k);
                let both = [gpu.buffer("quants", planes.quants).unwrap(), gpu.buffer("scales", planes.scales).unwrap()];
                let [gate, up] = [0, 1].map(|first| {
                    let bytes = random.weights(format, ff, k);
                    repack_into(&gpu, &both, format, &bytes, [ff, k, u32::MAX], [first, 2], None);
                    common::weights::dequantize(format, &bytes).into_iter().map(f64::from).collect::<Vec<_>>()
                });
                let x = random.vector((tokens * k) as usize);
                let [gate, up] = [gate, up].map(|w| matvec_reference(&w, &wide(&x), ff as usize, k as usize));
                let expected = gated_reference(Activation::Silu, &gate, &up);
                let x = gpu.upload("x", &x).unwrap();
                let y = gpu.buffer("y", 4 * u64::from(tokens * ff)).unwrap();
                let finish = Finish::Gated { activation: Activation::Silu, weighted: false, y_stride: ff, first: 0 };
                let rows = 2 * ff;
                let dispatch = match tokens {
                    1..=8 => Matvec {
                        format,
                        rows,
                        k,
                        vectors: tokens,
                        x_stride: k,
                        norm: None,
                        experts: None,
                        variant: Default::default(),
                        outcome: Outcome::PLAIN,
                        finish,
                    }
                    .dispatch(gpu.capabilities()),
                    _ => Matmul {
                        format,
                        rows,
                        k,
                        x_stride: k,
                        tile_tokens: 64,
                        experts: None,
                        variant: Default::default(),
                        outcome: Outcome::PLAIN,
                        finish,
                    }
                    .dispatch(gpu.capabilities()),
                };
                let bindings = [&both[0], &both[1], &x, &step(&gpu, tokens), &y].map(Buffer::whole);
                let after = run(&gpu, &dispatch, &bindings, Span { position: 4, rows: tokens }, &y);
                let error = worst(&after[..expected.len()], &expected);
                assert!(error < 5e-6, "{format:?}, {ff} x {k}, {tokens} tokens: error {error}");
            }
        }
    }
}

/// Two products in a row: the first ends on the residual stream, in two shards, the second begins with its norm.
#[test]
fn a_norm_deferred_across_products() {
    for gpu in open_both() {
        let mut random = Random(42);
        for (k, embedding, split, rows) in [(32, 64, 0, 12), (96, 576, 256, 52), (1536, 576, 0, 960), (160, 1056, 512, 20)] {
            let format = Format::Q8_0;
            let shards = [(0, split), (split, embedding - split)]
                .map(|(first, rows)| (first, rows, (rows > 0).then(|| Matrix::random(&gpu, &mut random, format, rows, k))));
            let after = Matrix::random(&gpu, &mut random, format, rows, embedding);
            let [x, before, weight] = [k, embedding, embedding].map(|n| random.vector(n as usize));
            // A residual stream much larger than one, as models have.
            let before: Vec<f32> = before.iter().map(|x| 100.0 * x).collect();
            let w: Vec<f64> = shards.iter().flat_map(|(_, _, matrix)| matrix.iter().flat_map(|m| m.values.clone())).collect();
            let mut expected_residual = matvec_reference(&w, &wide(&x), embedding as usize, k as usize);
            expected_residual.iter_mut().zip(&before).for_each(|(y, before)| *y += f64::from(*before));
            let normed = rms_norm_reference(&expected_residual, &wide(&weight), 1e-5f32.into());
            let expected = matvec_reference(&after.values, &normed, rows as usize, embedding as usize);

            let product = |rows, partial_first, first| {
                let finish = Finish::Residual { k: embedding, first, weighted_stride: 0, partial_first };
                Matvec {
                    format,
                    rows,
                    k,
                    vectors: 1,
                    x_stride: k,
                    norm: None,
                    experts: None,
                    variant: Default::default(),
                    outcome: Outcome::PLAIN,
                    finish,
                }
            };
            let partials: u32 = shards.iter().filter(|s| s.1 > 0).map(|&(_, rows, _)| product(rows, 0, 0).workgroups()).sum();
            let residual = gpu.upload("residual", &before).unwrap();
            let weighted = gpu.upload("weighted", &vec![f32::NAN; (embedding + 4 * partials) as usize]).unwrap();
            let [x, weight] = [gpu.upload("x", &x).unwrap(), gpu.upload("weight", &weight).unwrap()];
            let (step, y) = (step(&gpu, 1), gpu.buffer("y", 4 * u64::from(rows)).unwrap());
            let mut plan = Plan::default();
            let mut partial_first = 0;
            for (first, rows, matrix) in &shards {
                let Some(matrix) = matrix else { continue };
                let kernel = product(*rows, partial_first, *first);
                let bindings = [&matrix.quants, &matrix.scales, &x, &step, &residual, &weight, &weighted].map(Buffer::whole);
                plan.push(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings);
                partial_first += kernel.workgroups();
            }
            let norm = Some(DeferredNorm { epsilon: 1e-5, partials });
            let finish = Finish::Store { y_stride: rows, y_first: 0, accumulate: false };
            let second = Matvec {
                format,
                rows,
                k: embedding,
                vectors: 1,
                x_stride: embedding,
                norm,
                experts: None,
                variant: Default::default(),
                outcome: Outcome::PLAIN,
                finish,
            };
            let bindings = [&after.quants, &after.scales, &weighted, &step, &y].map(Buffer::whole);
            plan.push(&gpu, &second.dispatch(gpu.capabilities()), &bindings);
            gpu.run(&plan, Span { position: 4, rows: 1 });
            let actual: Vec<f32> = download(&gpu, &residual);
            let error = worst(&actual[..embedding as usize], &expected_residual);
            assert!(error < 1e-6, "residual of {k} -> {embedding}: error {error}");
            let actual: Vec<f32> = download(&gpu, &y);
            let error = worst(&actual[..rows as usize], &expected);
            assert!(error < 3e-6, "{k} -> {embedding} -> {rows} on {}: error {error}", gpu.info().name);
        }
    }
}
