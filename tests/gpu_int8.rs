//! Products with inputs of 8 bits against f64 twins that round the same inputs the same way.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod weights;
}

use common::gpu::{Random, download, open_both, run};
use common::weights::{Matrix, absolute, worst_sum};
use kinglet::gpu::{Buffer, Gpu, Plan, Span};
use kinglet::kernels::{
    Arithmetic, ExpertRows, Finish, Format, GroupChoices, Matmul, MatmulVariant, Matvec, MatvecVariant, Outcome, Step,
    int8_reference, matvec_reference,
};

/// Largest error, relative to the sum of the products' sizes.
const TOLERANCE: f64 = 5e-7;

/// What a kernel must neither read nor write.
const UNTOUCHED: f32 = 1e30;

fn int8_formats() -> Vec<Format> {
    Format::ALL.into_iter().filter(|format| format.has_int8()).collect()
}

/// Random inputs of about `size`. A kernel divides in f32, so that numbers very close to the middle of two steps may go either way: there are none.
fn inputs(random: &mut Random, columns: u32, count: usize, size: f32) -> Vec<f32> {
    let block = columns as usize;
    let mut x = vec![0f32; count];
    for x in x.chunks_exact_mut(block) {
        let largest = size * (0.1 + random.signed().abs());
        for x in x.iter_mut() {
            *x = largest * random.signed();
            while ((f64::from(*x) / f64::from(largest) * 127.0).fract().abs() - 0.5).abs() < 1e-3 {
                *x = largest * random.signed();
            }
        }
        x[random.below(columns.into()) as usize] = if random.below(2) == 0 { largest } else { -largest };
    }
    x
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn matvec(format: Format, rows: u32, k: u32) -> Matvec {
    let finish = Finish::Store { y_stride: rows.next_multiple_of(4), y_first: 0, accumulate: false };
    let variant = MatvecVariant { arithmetic: Arithmetic::Int8, ..MatvecVariant::default() };
    Matvec { format, rows, k, vectors: 1, x_stride: k, norm: None, experts: None, variant, outcome: Outcome::PLAIN, finish }
}

fn matmul(format: Format, rows: u32, k: u32) -> Matmul {
    let finish = Finish::Store { y_stride: rows.next_multiple_of(4), y_first: 0, accumulate: false };
    let variant = MatmulVariant { arithmetic: Arithmetic::Int8, ..MatmulVariant::default() };
    Matmul { format, rows, k, x_stride: k, tile_tokens: 64, experts: None, variant, outcome: Outcome::PLAIN, finish }
}

/// Products of packed rows `x` and their sizes.
fn expected(format: Format, matrix: &Matrix, x: &[f32], [rows, k]: [u32; 2]) -> [Vec<f64>; 2] {
    let x = int8_reference(&wide(x), format.int8_columns() as usize);
    let [rows, k] = [rows, k].map(|n| n as usize);
    [matvec_reference(&matrix.values, &x, rows, k), matvec_reference(&absolute(&matrix.values), &absolute(&x), rows, k)]
}

fn step(gpu: &Gpu, rows: u32) -> Buffer {
    gpu.upload("step", &[Step { position: 11, rows, drawn: 0, token: 0 }]).unwrap()
}

fn check_matvec(gpu: &Gpu, random: &mut Random, kernel: Matvec, x: &[f32]) {
    assert_eq!(kernel.arithmetic(), Arithmetic::Int8);
    let (format, shape) = (kernel.format, [kernel.rows, kernel.k]);
    let matrix = Matrix::random(gpu, random, format, kernel.rows, kernel.k);
    let [expected, sizes] = expected(format, &matrix, x, shape);
    let padded = kernel.rows.next_multiple_of(4) as usize;
    let y = gpu.upload("y", &vec![UNTOUCHED; padded + 4]).unwrap();
    let x = gpu.upload("x", x).unwrap();
    let bindings = [&matrix.quants, &matrix.scales, &x, &step(gpu, 1), &y].map(Buffer::whole);
    let after = run(gpu, &kernel.dispatch(gpu.capabilities()), &bindings, Span { position: 11, rows: 1 }, &y);
    let error = worst_sum(&after[..kernel.rows as usize], &expected, &sizes);
    assert!(error < TOLERANCE, "{kernel:?} on {}: error {error}", gpu.info().name);
    assert!(after[padded..].iter().all(|y| *y == UNTOUCHED), "{kernel:?} wrote outside of its rows");
}

/// Runs `kernel` on the rows `x` in buffers that hold three rows more.
fn check_matmul(gpu: &Gpu, random: &mut Random, kernel: Matmul, x: &[f32]) {
    assert_eq!(kernel.arithmetic(), Arithmetic::Int8);
    let Finish::Store { y_stride, y_first, accumulate } = kernel.finish else { panic!("{kernel:?} does not store") };
    let [rows, k, x_stride, y_stride, y_first] = [kernel.rows, kernel.k, kernel.x_stride, y_stride, y_first].map(|n| n as usize);
    let (tokens, capacity) = (x.len() / k, x.len() / k + 3);
    let matrix = Matrix::random(gpu, random, kernel.format, kernel.rows, kernel.k);
    let [mut expected, mut sizes] = expected(kernel.format, &matrix, x, [kernel.rows, kernel.k]);
    let mut strided = vec![UNTOUCHED; capacity * x_stride];
    strided.chunks_exact_mut(x_stride).zip(x.chunks_exact(k)).for_each(|(to, from)| to[..k].copy_from_slice(from));
    let mut before = vec![UNTOUCHED; capacity * y_stride];
    for (token, y) in before.chunks_exact_mut(y_stride).take(tokens).enumerate() {
        y[y_first..][..rows].copy_from_slice(&random.vector(rows));
        if accumulate {
            for (row, y) in y[y_first..][..rows].iter().enumerate() {
                expected[token * rows + row] += f64::from(*y);
                sizes[token * rows + row] += f64::from(y.abs());
            }
        }
    }
    let (x, y) = (gpu.upload("x", &strided).unwrap(), gpu.upload("y", &before).unwrap());
    let bindings = [&matrix.quants, &matrix.scales, &x, &step(gpu, tokens as u32), &y].map(Buffer::whole);
    // The grid may be larger than the step: the kernel goes by the step.
    let after = run(gpu, &kernel.dispatch(gpu.capabilities()), &bindings, Span { position: 11, rows: capacity as u32 }, &y);
    let after: Vec<_> = after[..capacity * y_stride].chunks_exact(y_stride).collect();
    let actual: Vec<f32> = after.iter().take(tokens).flat_map(|y| y[y_first..][..rows].to_vec()).collect();
    let error = worst_sum(&actual, &expected, &sizes);
    assert!(error < TOLERANCE, "{kernel:?}, {tokens} tokens on {}: error {error}", gpu.info().name);
    for (token, y) in after.iter().enumerate() {
        let padded = if token < tokens { y_first + rows.next_multiple_of(4) } else { y_first };
        assert!(y[..y_first].iter().chain(&y[padded..]).all(|y| *y == UNTOUCHED), "{kernel:?}, {tokens} tokens: wrote outside");
    }
}

/// Columns that a matrix of the format may have, about as many.
fn columns(format: Format, about: u32) -> u32 {
    about.next_multiple_of(format.block_columns().max(32))
}

#[test]
fn one_vector_with_every_format() {
    for gpu in open_both() {
        let mut random = Random(41);
        for format in int8_formats() {
            for _ in 0..3 {
                let rows = [1, 2, 3, 5, 7, 13, 66, 129][random.below(8) as usize];
                let k = columns(format, [32, 64, 96, 288, 544, 1056][random.below(6) as usize]);
                let x = inputs(&mut random, format.int8_columns(), k as usize, 1.0);
                check_matvec(&gpu, &mut random, matvec(format, rows, k), &x);
            }
        }
    }
}

#[test]
fn every_width_of_the_group_and_of_the_workgroup() {
    for gpu in open_both() {
        let mut random = Random(42);
        for format in [Format::Q4_0, Format::Q4_K, Format::Q6_K, Format::Q8_0] {
            for (rows, about) in [(2, 32), (3, 512), (1, 992), (6, 2048), (5, 4096)] {
                let k = columns(format, about);
                let plain = matvec(format, rows, k);
                let workgroup = 32 << random.below(4);
                let variant = MatvecVariant { workgroup, spread: 1 << random.below(3), ..plain.variant };
                let x = inputs(&mut random, format.int8_columns(), k as usize, 1.0);
                check_matvec(&gpu, &mut random, Matvec { variant, ..plain }, &x);
            }
        }
    }
}

#[test]
fn many_rows_with_every_format() {
    for (which, gpu) in open_both().into_iter().enumerate() {
        let mut random = Random(43);
        for format in int8_formats() {
            let all = matches!(format, Format::Q4_0 | Format::Q4_1 | Format::Q4_K | Format::Q6_K);
            for (i, rows) in [[1, 66, 5], [131, 3, 63]][which].into_iter().enumerate().take(if all { 3 } else { 1 }) {
                let k = columns(format, [32, 96, 160, 288][random.below(4) as usize]);
                let tokens = 1 + random.below(140) as usize;
                let y_first = 4 * random.below(3) as u32;
                let y_stride = y_first + u32::next_multiple_of(rows, 4) + 8;
                let finish = Finish::Store { y_stride, y_first, accumulate: i % 2 == 0 };
                let kernel =
                    Matmul { x_stride: k + 4 * (i as u32 % 3), tile_tokens: [32, 64][i % 2], finish, ..matmul(format, rows, k) };
                let x = inputs(&mut random, format.int8_columns(), tokens * k as usize, 1.0);
                check_matmul(&gpu, &mut random, kernel, &x);
            }
        }
    }
}

#[test]
fn zeros_and_inputs_of_every_size() {
    for gpu in open_both() {
        let mut random = Random(44);
        for format in [Format::Q4_0, Format::Q4_K, Format::Q6_K, Format::Q8_0] {
            let k = columns(format, 256);
            let block = format.int8_columns();
            let mut all = Vec::new();
            // The last is below what has a scale of its own: it counts as zero.
            for size in [0.0, 1.0, 1e30, 1e12, 1e-12, 1e-25, 1e-35] {
                let mut x = inputs(&mut random, block, k as usize, 1.0);
                x.iter_mut().for_each(|x| *x *= size);
                check_matvec(&gpu, &mut random, matvec(format, 9, k), &x);
                all.extend(x);
            }
            // A block of zeros, one that is far smaller than its neighbours, and one number alone.
            let mut x = inputs(&mut random, block, k as usize, 1.0);
            x[..block as usize].fill(0.0);
            x[block as usize..2 * block as usize].iter_mut().for_each(|x| *x *= 1e-10);
            x[2 * block as usize + 1..3 * block as usize].fill(0.0);
            check_matvec(&gpu, &mut random, matvec(format, 9, k), &x);
            all.extend(x);
            check_matmul(&gpu, &mut random, matmul(format, 70, k), &all);
        }
    }
}

#[test]
fn experts_of_8_bits() {
    for gpu in open_both() {
        let mut random = Random(45);
        for (format, count, used, rows) in [(Format::Q4_K, 5, 2, 24), (Format::Q8_0, 3, 3, 136), (Format::Q6_K, 9, 1, 8)] {
            let k = columns(format, 96);
            let matrix = Matrix::random(&gpu, &mut random, format, count * rows, k);
            let size = (rows * k) as usize;
            for (of_choices, tokens) in [(false, 1), (true, 1), (false, 33), (true, 70)] {
                let choices = (tokens * used) as usize;
                // A token's experts differ.
                let routing: Vec<[u32; 2]> = (0..tokens)
                    .flat_map(|_| {
                        let first = random.below(count.into()) as u32;
                        (0..used).map(move |choice| [(first + choice) % count, 1f32.to_bits()]).collect::<Vec<_>>()
                    })
                    .collect();
                let x_rows = if of_choices { choices } else { tokens as usize };
                let x = inputs(&mut random, format.int8_columns(), x_rows * k as usize, 1.0);
                let rounded = int8_reference(&wide(&x), format.int8_columns() as usize);
                let product = |choice: usize, weights: &[f64], x: &[f64]| {
                    let row = if of_choices { choice } else { choice / used as usize };
                    let weights = &weights[routing[choice][0] as usize * size..][..size];
                    matvec_reference(weights, &x[row * k as usize..][..k as usize], rows as usize, k as usize)
                };
                let products = |weights: &[f64], x: &[f64]| (0..choices).flat_map(|choice| product(choice, weights, x)).collect();
                let mut expected: Vec<f64> = products(&matrix.values, &rounded);
                let mut sizes: Vec<f64> = products(&absolute(&matrix.values), &absolute(&rounded));

                let experts = Some(ExpertRows { first: 0, count, total: count, used, of_choices, rows: 128 });
                let (span, step) = (Span { position: 11, rows: tokens }, step(&gpu, tokens));
                let (x, routing) = (gpu.upload("x", &x).unwrap(), gpu.upload("choices", &routing).unwrap());
                let y = gpu.upload("y", &vec![UNTOUCHED; choices * rows as usize + 4]).unwrap();
                let mut plan = Plan::default();
                if tokens == 1 {
                    if of_choices {
                        // The products of a token's choices are added up.
                        for sums in [&mut expected, &mut sizes] {
                            *sums = (0..rows as usize).map(|row| sums.iter().skip(row).step_by(rows as usize).sum()).collect();
                        }
                    }
                    let kernel = Matvec { experts, ..matvec(format, rows, k) };
                    let bindings = [&matrix.quants, &matrix.scales, &x, &step, &y, &routing].map(Buffer::whole);
                    plan.push(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings);
                } else {
                    let group = GroupChoices { experts: count, used, rows: 128 };
                    let lists = gpu.buffer("lists", group.bytes()).unwrap();
                    plan.push(&gpu, &group.dispatch(), &[&routing, &step, &lists].map(Buffer::whole));
                    let kernel = Matmul { experts, tile_tokens: if of_choices { 64 } else { 32 }, ..matmul(format, rows, k) };
                    let bindings = [&matrix.quants, &matrix.scales, &x, &step, &y, &lists].map(Buffer::whole);
                    plan.push(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings);
                }
                gpu.run(&plan, span);
                let after: Vec<f32> = download(&gpu, &y);
                let error = worst_sum(&after[..expected.len()], &expected, &sizes);
                let what = format!("{format:?}, {used} of {count} experts of {rows} x {k}, {tokens} tokens, {of_choices}");
                assert!(error < TOLERANCE, "{what} on {}: error {error}", gpu.info().name);
                assert!(after[expected.len()..].iter().all(|y| *y == UNTOUCHED), "{what}: wrote outside");
            }
        }
    }
}

#[test]
fn without_codes_it_is_f32() {
    let [gpu, _] = open_both();
    for format in [Format::F16, Format::IQ4_XS, Format::MXFP4, Format::IQ2_S] {
        assert!(!format.has_int8());
        let (vector, rows) = (matvec(format, 8, 256), matmul(format, 8, 256));
        assert_eq!((vector.arithmetic(), rows.arithmetic()), (Arithmetic::F32, Arithmetic::F32));
        let plain = Matvec { variant: MatvecVariant::default(), ..vector };
        assert_eq!(vector.dispatch(gpu.capabilities()).shader.wgsl, plain.dispatch(gpu.capabilities()).shader.wgsl);
        let plain = Matmul { variant: MatmulVariant::default(), ..rows };
        assert_eq!(rows.dispatch(gpu.capabilities()).shader.wgsl, plain.dispatch(gpu.capabilities()).shader.wgsl);
    }
    let several = Matvec { vectors: 2, ..matvec(Format::Q4_0, 8, 256) };
    assert_eq!(several.arithmetic(), Arithmetic::F32);
    assert_eq!(int8_formats().len(), 19);
}
