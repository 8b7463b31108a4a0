//! In a real browser: kernels against their f64 twins, one by one.
#![cfg(target_arch = "wasm32")]

#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/weights.rs"]
mod weights;

use gpu::{Random, worst};
use kinglet::gpu::{Binding, Dispatch, Gpu, GpuOptions, Plan, Span};
use kinglet::kernels::{
    Attention, Finish, Format, KvType, Matmul, MatmulVariant, Matvec, Norm, NormKind, NormTarget, Outcome, Step, Tiling,
    matvec_reference, rms_norm_reference,
};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use weights::Matrix;

wasm_bindgen_test_configure!(run_in_dedicated_worker);

async fn open() -> Gpu {
    Gpu::open(GpuOptions::default()).await.expect("WebGPU in the worker")
}

/// Runs dispatches in order and returns what the last binding list's output holds.
async fn run(gpu: &Gpu, steps: &[(Dispatch, Vec<Binding>)], span: Span, output: &kinglet::gpu::Buffer) -> Vec<f32> {
    let mut plan = Plan::default();
    for (dispatch, bindings) in steps {
        plan.push(gpu, dispatch, bindings);
    }
    gpu.run(&plan, span);
    gpu.download(output, 0..output.size()).await.unwrap()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

#[wasm_bindgen_test]
async fn products_of_every_format() {
    let gpu = open().await;
    let mut random = Random(1);
    let rows = 28u32;
    for format in Format::ALL {
        let k = 3 * format.block_columns();
        let w = Matrix::random(&gpu, &mut random, format, rows, k);
        for vectors in [1u32, 3] {
            let x = random.vector((vectors * k) as usize);
            let expected = matvec_reference(&w.values, &wide(&x), rows as usize, k as usize);
            let x = gpu.upload("x", &x).unwrap();
            let y = gpu.buffer("y", 4 * u64::from(vectors * rows)).unwrap();
            let span = Span { position: 0, rows: vectors };
            let finish = Finish::Store { y_stride: rows, y_first: 0, accumulate: false };
            let shape = Matvec {
                format,
                rows,
                k,
                vectors,
                x_stride: k,
                norm: None,
                experts: None,
                variant: Default::default(),
                outcome: Outcome::PLAIN,
                finish,
            };
            let step = gpu.upload("step", &[Step { position: 0, rows: vectors, drawn: 0, token: 0 }]).unwrap();
            let bindings = [&w.quants, &w.scales, &x, &step, &y].map(Binding::from).to_vec();
            let actual = run(&gpu, &[(shape.dispatch(gpu.capabilities()), bindings.clone())], span, &y).await;
            let off = worst(&actual[..expected.len()], &expected);
            assert!(off < 1e-5, "matvec {format:?} x {vectors} off by {off}");
            let shape = Matmul {
                format,
                rows,
                k,
                x_stride: k,
                tile_tokens: 64,
                experts: None,
                variant: Default::default(),
                outcome: Outcome::PLAIN,
                finish,
            };
            for tiling in [Tiling::Shared, Tiling::Rows { lanes: 4 }] {
                let shape = Matmul { variant: MatmulVariant { tiling, ..Default::default() }, ..shape };
                let actual = run(&gpu, &[(shape.dispatch(gpu.capabilities()), bindings.clone())], span, &y).await;
                let off = worst(&actual[..expected.len()], &expected);
                assert!(off < 1e-5, "matmul {format:?} x {vectors}, {tiling:?}, off by {off}");
            }
        }
    }
}

#[wasm_bindgen_test]
async fn norm_of_every_row() {
    let gpu = open().await;
    let mut random = Random(2);
    let (k, rows) = (100usize, 3u32);
    let (x, weight) = (random.vector(k * rows as usize), random.vector(k));
    let expected = rms_norm_reference(&wide(&x), &wide(&weight), 1e-5);
    let [x, weight] = [x, weight].map(|values| gpu.upload("values", &values).unwrap());
    let y = gpu.buffer("y", x.size()).unwrap();
    let norm =
        Norm { kind: NormKind::Rms, k: k as u32, epsilon: 1e-5, bias: false, target: NormTarget::Rows, workgroup: Norm::ONE_ROW };
    let bindings = [&x, &weight, &y].map(Binding::from).to_vec();
    let actual = run(&gpu, &[(norm.dispatch(gpu.capabilities()), bindings)], Span { position: 0, rows }, &y).await;
    let off = worst(&actual[..expected.len()], &expected);
    assert!(off < 1e-5, "off by {off}");
}

#[wasm_bindgen_test]
async fn attention_of_one_row_and_of_many() {
    let gpu = open().await;
    let mut random = Random(3);
    for (heads, kv_heads, head_dim, position) in [(4u32, 2u32, 24u32, 0u32), (9, 3, 64, 5), (9, 3, 64, 200), (8, 1, 128, 300)] {
        let context = 512u32;
        let attention = Attention {
            heads,
            kv_heads,
            head_dim,
            context,
            capacity: context,
            first: 0,
            window: 0,
            run: 1,
            kv_type: KvType::F32,
            scale: 0.2,
            soft_cap: 0.0,
            alibi: 0.0,
        };
        // Several tiles of rows, of which the last has only begun.
        let rows = 70;
        let q = random.vector((rows * heads * head_dim) as usize);
        let [k, v] = [0; 2].map(|_| random.vector((kv_heads * context * head_dim) as usize));
        let expected = attention.reference(&wide(&q), &wide(&k), &wide(&v), position as usize);
        let [q, k, v] = [q, k, v].map(|values| gpu.upload("values", &values).unwrap());
        let partials = gpu.buffer("partials", attention.partials_bytes()).unwrap();
        let least = gpu.info().subgroup_sizes.map_or(0, |[least, _]| least);
        let lanes = [4, 8].into_iter().filter(|lanes| *lanes <= least).map(|lanes| Tiling::Rows { lanes });
        for tiling in [Tiling::Shared].into_iter().chain(lanes) {
            let (span, y) = (Span { position, rows }, gpu.buffer("y", q.size()).unwrap());
            let step = gpu.upload("step", &[Step { position, rows, drawn: 0, token: 0 }]).unwrap();
            let bindings = [&q, &k, &v, &y, &step].map(Binding::from).to_vec();
            let actual = run(&gpu, &[(attention.prefill(gpu.capabilities(), tiling), bindings)], span, &y).await;
            let off = worst(&actual[..expected.len()], &expected);
            assert!(off < 1e-5, "prefill {attention:?} by {tiling:?} at {position} off by {off}");
        }
        let (span, y) = (Span { position, rows: 1 }, gpu.buffer("y", q.size()).unwrap());
        let step = gpu.upload("step", &[Step { position, rows: 1, drawn: 0, token: 0 }]).unwrap();
        let expected = &expected[..(heads * head_dim) as usize];
        let steps = [
            (attention.decode(gpu.capabilities()), [&q, &k, &v, &partials, &step].map(Binding::from).to_vec()),
            (attention.merge(), [&partials, &y, &step].map(Binding::from).to_vec()),
        ];
        let actual = run(&gpu, &steps, span, &y).await;
        let off = worst(&actual[..expected.len()], expected);
        assert!(off < 1e-5, "decode {attention:?} at {position} off by {off}");
    }
}
