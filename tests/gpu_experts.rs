//! Mixtures of experts against their `f64` twins: the choice, its lists, and products with chosen experts only.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod weights;
}

use common::gpu::{Random, download, open_both, run, worst};
use common::weights::Matrix;
use kinglet::gpu::{Binding, Buffer, Gpu, Plan, Span};
use kinglet::kernels::{
    Activation, DeferredNorm, ExpertRows, Finish, Format, GroupChoices, Matmul, Matvec, Outcome, Route, Step, SumChoices,
    gated_reference, matvec_reference,
};

/// What a kernel must neither read nor write.
const UNTOUCHED: f32 = 1e30;
const UNTOUCHED_WORD: u32 = 0xdead_beef;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn step(gpu: &Gpu, rows: u32) -> Buffer {
    gpu.upload("step", &[Step { position: 4, rows, drawn: 0, token: 0 }]).unwrap()
}

/// What the kernel chose for rows of logits, (expert, weight), and the weights of the shared expert.
fn choose(gpu: &Gpu, kernel: Route, logits: &[f32]) -> (Vec<(u32, f32)>, Vec<f32>) {
    let rows = logits.len() / kernel.stride as usize;
    let count = rows * kernel.used as usize;
    let choices = gpu.upload("choices", &vec![[UNTOUCHED_WORD; 2]; count + 3]).unwrap();
    let shared = gpu.upload("shared", &vec![[UNTOUCHED_WORD; 2]; rows + 1]).unwrap();
    let logits = gpu.upload("logits", logits).unwrap();
    let mut plan = Plan::default();
    plan.push(gpu, &kernel.dispatch(gpu.capabilities()), &[&logits, &choices, &shared].map(Buffer::whole));
    gpu.run(&plan, Span { position: 0, rows: rows as u32 });
    let choices: Vec<[u32; 2]> = download(gpu, &choices);
    assert!(choices[count..count + 3].iter().all(|choice| *choice == [UNTOUCHED_WORD; 2]), "{kernel:?} wrote outside");
    let shared: Vec<[u32; 2]> = download(gpu, &shared);
    let written = if kernel.shared_at.is_some() { rows } else { 0 };
    assert!(shared[written..=rows].iter().all(|shared| *shared == [UNTOUCHED_WORD; 2]), "{kernel:?} wrote outside");
    let choices = choices[..count].iter().map(|[expert, weight]| (*expert, f32::from_bits(*weight))).collect();
    (choices, shared[..written].iter().map(|[_, weight]| f32::from_bits(*weight)).collect())
}

#[test]
fn routes_of_every_count() {
    for gpu in open_both() {
        let mut random = Random(31);
        for (experts, used) in [(1, 1), (5, 1), (5, 5), (8, 2), (63, 4), (64, 64), (65, 6), (128, 8), (200, 11)] {
            for (normalized, scale, shared) in [(true, 2.5, experts % 2 == 1), (false, 0.5, experts % 2 == 0)] {
                let stride = u32::next_multiple_of(experts, 4) + 4;
                let shared_at = shared.then_some(stride - 4);
                let kernel = Route { experts, used, stride, normalized, scale, shared_at };
                // What stands between the experts and the gate must not be chosen.
                let mut logits: Vec<f32> = random.vector(7 * stride as usize).iter().map(|x| 6.0 * x).collect();
                logits.chunks_exact_mut(stride as usize).for_each(|row| row[experts as usize..stride as usize - 4].fill(UNTOUCHED));
                // Ties: a row of equal logits, one of two numbers, and one where the greatest comes twice.
                logits[..experts as usize].fill(-3.5);
                for i in 0..experts as usize {
                    logits[stride as usize + i] = f32::from(i % 3 == 1);
                }
                let row = &mut logits[2 * stride as usize..];
                row[0] = 9.0;
                row[experts as usize - 1] = 9.0;

                let (chosen, shared) = choose(&gpu, kernel, &logits);
                let expected = kernel.reference(&wide(&logits));
                let experts: Vec<u32> = chosen.iter().map(|choice| choice.0).collect();
                assert_eq!(experts, expected.iter().map(|choice| choice.0).collect::<Vec<_>>(), "{kernel:?}");
                let weights: Vec<f32> = chosen.iter().map(|choice| choice.1).collect();
                for (i, (weight, (_, expected))) in weights.iter().zip(&expected).enumerate() {
                    let error = (f64::from(*weight) - expected).abs() / expected;
                    assert!(error < 3e-6, "{kernel:?}, choice {i}: {weight} instead of {expected}");
                }
                for (row, weight) in logits.chunks_exact(stride as usize).zip(&shared) {
                    let expected = 1.0 / (1.0 + f64::from(-row[stride as usize - 4]).exp());
                    assert!((f64::from(*weight) - expected).abs() < 1e-6, "{kernel:?}: {weight} instead of {expected}");
                }
            }
        }
    }
}

/// Whatever the logits are, experts exist and are chosen once, so that lists have room; and rows keep to themselves.
#[test]
fn logits_that_are_no_numbers_choose_every_expert_once_at_most() {
    for gpu in open_both() {
        for (experts, used) in [(5, 3), (64, 64), (130, 8)] {
            let kernel = Route { experts, used, stride: experts + 6, normalized: true, scale: 1.0, shared_at: None };
            let odd = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -3e38];
            let mut logits = Random(32).vector(6 * kernel.stride as usize);
            for (row, odd) in logits.chunks_exact_mut(kernel.stride as usize).zip(odd) {
                row.iter_mut().step_by(2).for_each(|logit| *logit = odd);
            }
            logits[4 * kernel.stride as usize..][..experts as usize].fill(f32::NAN);
            let (chosen, _) = choose(&gpu, kernel, &logits);
            for (row, chosen) in chosen.chunks_exact(used as usize).enumerate() {
                let mut numbers: Vec<u32> = chosen.iter().map(|choice| choice.0).collect();
                numbers.sort_unstable();
                numbers.dedup();
                let on = &gpu.info().name;
                assert!(numbers.len() == used as usize && *numbers.last().unwrap() < experts, "row {row} on {on}: {chosen:?}");
            }
            let last = kernel.reference(&wide(&logits[5 * kernel.stride as usize..]));
            assert_eq!(
                chosen[5 * used as usize..].iter().map(|c| c.0).collect::<Vec<_>>(),
                last.iter().map(|c| c.0).collect::<Vec<_>>()
            );
        }
    }
}

/// Random choices, each row's experts different, of which `nobody` is never one and `all` always.
fn choices(random: &mut Random, rows: u32, experts: u32, used: u32, all: Option<u32>, nobody: Option<u32>) -> Vec<[u32; 2]> {
    (0..rows)
        .flat_map(|_| {
            let mut numbers: Vec<u32> = (0..experts).filter(|expert| Some(*expert) != all && Some(*expert) != nobody).collect();
            let mut chosen: Vec<u32> = all.into_iter().collect();
            while chosen.len() < used as usize {
                chosen.push(numbers.swap_remove(random.below(numbers.len() as u64) as usize));
            }
            let first = random.below(u64::from(used)) as usize;
            chosen.swap(0, first);
            chosen.into_iter().map(|expert| [expert, (0.1 + random.signed().abs()).to_bits()]).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn choices_are_listed_by_expert_in_order() {
    for gpu in open_both() {
        let mut random = Random(33);
        for (rows, experts, used, all, nobody) in [
            (1, 5, 2, None, None),
            (2, 8, 8, None, None),
            (31, 7, 3, Some(6), Some(0)),
            (64, 3, 1, Some(1), None),
            (65, 200, 8, None, Some(199)),
            (256, 16, 4, Some(0), Some(15)),
        ] {
            let kernel = GroupChoices { experts, used, rows: 256 };
            let routing = choices(&mut random, rows, experts, used, all, nobody);
            // Older choices lie behind the step's.
            let mut stored = routing.clone();
            stored.extend(vec![[0, 0]; 9]);
            let lists = gpu.upload("lists", &vec![UNTOUCHED_WORD; kernel.bytes() as usize / 4]).unwrap();
            let mut plan = Plan::default();
            let routing_buffer = gpu.upload("choices", &stored).unwrap();
            plan.push(&gpu, &kernel.dispatch(), &[&routing_buffer, &step(&gpu, rows), &lists].map(Buffer::whole));
            gpu.run(&plan, Span { position: 4, rows });
            let lists: Vec<u32> = download(&gpu, &lists);
            for (expert, list) in lists.chunks_exact(257).take(experts as usize).enumerate() {
                let expected: Vec<u32> =
                    (0..).zip(&routing).filter(|(_, choice)| choice[0] == expert as u32).map(|(number, _)| number).collect();
                assert_eq!(list[0] as usize, expected.len(), "{kernel:?}, {rows} rows, expert {expert}");
                assert_eq!(list[1..=expected.len()], expected, "{kernel:?}, {rows} rows, expert {expert}");
                assert!(list[1 + expected.len()..].iter().all(|word| *word == UNTOUCHED_WORD), "{kernel:?} wrote outside");
            }
        }
    }
}

#[test]
fn choices_are_added_up() {
    let [gpu, _] = open_both();
    let mut random = Random(34);
    for (k, used, rows, scale) in [(4, 1, 1, 1.0), (12, 3, 5, 0.25), (260, 8, 3, 1.0), (576, 2, 33, -2.0)] {
        let kernel = SumChoices { k, used, scale };
        let x = random.vector((rows * used * k) as usize);
        let mut before = random.vector(((rows + 1) * k) as usize);
        before[(rows * k) as usize..].fill(UNTOUCHED);
        let y = gpu.upload("y", &before).unwrap();
        let bindings = [&gpu.upload("x", &x).unwrap(), &y].map(Buffer::whole);
        let after = run(&gpu, &kernel.dispatch(), &bindings, Span { position: 0, rows }, &y);
        let expected: Vec<f64> = (0..(rows * k) as usize)
            .map(|i| {
                let (row, column) = (i / k as usize, i % k as usize);
                let sum: f64 = (0..used as usize).map(|c| f64::from(x[(row * used as usize + c) * k as usize + column])).sum();
                f64::from(before[i]) + f64::from(scale) * sum
            })
            .collect();
        let error = worst(&after[..expected.len()], &expected);
        assert!(error < 1e-6, "{kernel:?}: error {error}");
        assert!(after[expected.len()..before.len()].iter().all(|y| *y == UNTOUCHED), "{kernel:?} wrote outside");
    }
}

/// Experts in two shards; the second is larger.
struct Shards {
    matrices: Vec<(u32, u32, Matrix)>,
    /// The same in f64, (experts, rows, k).
    values: Vec<f64>,
}

impl Shards {
    fn random(gpu: &Gpu, random: &mut Random, format: Format, experts: u32, rows: u32, k: u32) -> Self {
        let split = experts / 3;
        let matrices: Vec<_> = [(0, split), (split, experts - split)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(first, count)| (first, count, Matrix::random(gpu, random, format, count * rows, k)))
            .collect();
        let values = matrices.iter().flat_map(|(_, _, matrix)| matrix.values.clone()).collect();
        Self { matrices, values }
    }

    /// Products of choice number `choice` of `routing`, which reads row `choice` or its token's row of x.
    fn product(&self, [rows, k]: [u32; 2], x: &[f32], routing: &[[u32; 2]], choice: usize, x_row: usize) -> Vec<f64> {
        let size = (rows * k) as usize;
        let expert = routing[choice][0] as usize;
        matvec_reference(
            &self.values[expert * size..][..size],
            &wide(&x[x_row * k as usize..][..k as usize]),
            rows as usize,
            k as usize,
        )
    }
}

/// The gate's and up's products of a row of such, as their quads take turns.
fn gated(product: &[f64], weight: f32) -> Vec<f64> {
    let pick = |first: usize| product.chunks_exact(8).flat_map(|eight| eight[first..first + 4].to_vec()).collect::<Vec<_>>();
    gated_reference(Activation::Silu, &pick(0), &pick(4)).into_iter().map(|y| y * f64::from(weight)).collect()
}

const FORMATS: [Format; 4] = [Format::F32, Format::Q8_0, Format::Q4_1, Format::Q4_K];

#[test]
fn one_token_through_its_experts() {
    for gpu in open_both() {
        let mut random = Random(35);
        for (format, (experts, used)) in FORMATS.into_iter().zip([(5, 2), (3, 3), (9, 1), (17, 6)]) {
            for (rows, blocks) in [(24, 3), (136, 1)] {
                let k = blocks * format.block_columns().max(32);
                let shards = Shards::random(&gpu, &mut random, format, experts, rows, k);
                let routing = choices(&mut random, 1, experts, used, None, None);
                let x = random.vector((used * k) as usize);
                let routing_buffer = gpu.upload("choices", &routing).unwrap();
                let step = step(&gpu, 1);
                let span = Span { position: 4, rows: 1 };

                // Up: all choices read the same row, whose norm was put off.
                let mut normed = x[..k as usize].to_vec();
                normed.extend([1.0, 2.0, 3.0, 0.5, 0.25, 0.0, 0.0, 0.25]);
                let norm = Some(DeferredNorm { epsilon: 0.5, partials: 2 });
                let factor = 1.0 / (7.0 / f64::from(k) + 0.5).sqrt();
                let x_buffer = gpu.upload("x", &normed).unwrap();
                let hidden = gpu.upload("hidden", &vec![UNTOUCHED; (used * rows / 2 + 4) as usize]).unwrap();
                let finish = Finish::Gated { activation: Activation::Silu, weighted: true, y_stride: rows / 2, first: 0 };
                let mut plan = Plan::default();
                for (first, count, matrix) in &shards.matrices {
                    let experts =
                        Some(ExpertRows { first: *first, count: *count, total: experts, used, of_choices: false, rows: 256 });
                    let kernel = Matvec {
                        format,
                        rows,
                        k,
                        vectors: 1,
                        x_stride: k,
                        norm,
                        experts,
                        variant: Default::default(),
                        outcome: Outcome::PLAIN,
                        finish,
                    };
                    let bindings = [&matrix.quants, &matrix.scales, &x_buffer, &step, &hidden, &routing_buffer].map(Buffer::whole);
                    plan.push(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings);
                }
                gpu.run(&plan, span);
                let after: Vec<f32> = download(&gpu, &hidden);
                let expected: Vec<f64> = (0..used as usize)
                    .flat_map(|choice| {
                        let product = shards.product([rows, k], &x, &routing, choice, 0);
                        let product: Vec<f64> = product.iter().map(|y| factor * y).collect();
                        gated(&product, f32::from_bits(routing[choice][1]))
                    })
                    .collect();
                let what = format!("{format:?}, {used} of {experts} experts of {rows} x {k} on {}", gpu.info().name);
                let error = worst(&after[..expected.len()], &expected);
                assert!(error < 5e-6, "up, {what}: error {error}");
                assert!(after[expected.len()..].iter().all(|y| *y == UNTOUCHED), "up, {what}: wrote outside");

                // Down: each choice reads its own row, and the products are added up on top of what is there.
                let x_buffer = gpu.upload("x", &x).unwrap();
                let before = random.vector(rows as usize);
                let y = gpu.upload("y", &before).unwrap();
                let weight = random.vector(rows as usize);
                let weight_buffer = gpu.upload("weight", &weight).unwrap();
                let weighted = gpu.upload("weighted", &vec![f32::NAN; (rows + 64) as usize]).unwrap();
                let outcome = Outcome { scale: 0.5, ..Outcome::PLAIN };
                let mut plan = Plan::default();
                let mut partials = 0;
                for (index, (first, count, matrix)) in shards.matrices.iter().enumerate() {
                    let experts =
                        Some(ExpertRows { first: *first, count: *count, total: experts, used, of_choices: true, rows: 256 });
                    let last = index + 1 == shards.matrices.len();
                    let finish = match last {
                        true => Finish::Residual { k: rows, first: 0, weighted_stride: 0, partial_first: 0 },
                        false => Finish::Store { y_stride: rows, y_first: 0, accumulate: true },
                    };
                    let kernel = Matvec {
                        format,
                        rows,
                        k,
                        vectors: 1,
                        x_stride: k,
                        norm: None,
                        experts,
                        variant: Default::default(),
                        outcome,
                        finish,
                    };
                    partials = kernel.workgroups();
                    let mut bindings: Vec<Binding> =
                        [&matrix.quants, &matrix.scales, &x_buffer, &step, &y].map(Buffer::whole).into();
                    if last {
                        bindings.extend([&weight_buffer, &weighted].map(Buffer::whole));
                    }
                    bindings.push(routing_buffer.whole());
                    plan.push(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings);
                }
                gpu.run(&plan, span);
                let after: Vec<f32> = download(&gpu, &y);
                let mut expected = wide(&before);
                for choice in 0..used as usize {
                    let product = shards.product([rows, k], &x, &routing, choice, choice);
                    expected.iter_mut().zip(product).for_each(|(y, product)| *y += 0.5 * product);
                }
                let error = worst(&after[..rows as usize], &expected);
                assert!(error < 2e-6, "down, {what}: error {error}");
                let prepared: Vec<f32> = download(&gpu, &weighted);
                let rows = rows as usize;
                let expected: Vec<f64> = after[..rows].iter().zip(&weight).map(|(y, w)| f64::from(*y) * f64::from(*w)).collect();
                assert!(worst(&prepared[..rows], &expected) < 1e-6, "{what}: the next norm's row");
                let squares: f64 = wide(&after[..rows]).iter().map(|y| y * y).sum();
                let sum: f64 = wide(&prepared[rows..rows + 4 * partials as usize]).iter().sum();
                assert!((sum - squares).abs() < 1e-6 * squares, "{what}: {sum} instead of {squares}");
            }
        }
    }
}

#[test]
fn many_tokens_through_their_experts() {
    for gpu in open_both() {
        let mut random = Random(36);
        let shapes = [(5, 2, 1, None, None), (3, 2, 40, Some(2), Some(0)), (9, 1, 100, Some(4), None), (17, 6, 33, None, Some(16))];
        for (i, (format, (experts, used, tokens, all, nobody))) in FORMATS.into_iter().zip(shapes).enumerate() {
            for (rows, blocks, tile_tokens) in [(8, 1, 32), (72, 2, 64)] {
                let k = blocks * format.block_columns().max(40).next_multiple_of(format.block_columns());
                let shards = Shards::random(&gpu, &mut random, format, experts, rows, k);
                let routing = choices(&mut random, tokens, experts, used, all, nobody);
                let capacity = 128;
                let group = GroupChoices { experts, used, rows: capacity };
                let (step, lists) = (step(&gpu, tokens), gpu.buffer("lists", group.bytes()).unwrap());
                let routing_buffer = gpu.upload("choices", &routing).unwrap();
                let x = random.vector((tokens * used * k) as usize);
                let x_buffer = gpu.upload("x", &x).unwrap();
                for of_choices in [false, true] {
                    let width = if of_choices { rows + 4 } else { rows / 2 };
                    let y = gpu.upload("y", &vec![UNTOUCHED; (tokens * used * width + 4) as usize]).unwrap();
                    let finish = match of_choices {
                        true => Finish::Store { y_stride: width, y_first: 4, accumulate: false },
                        false => Finish::Gated { activation: Activation::Silu, weighted: true, y_stride: width, first: 0 },
                    };
                    let mut plan = Plan::default();
                    plan.push(&gpu, &group.dispatch(), &[&routing_buffer, &step, &lists].map(Buffer::whole));
                    for (first, count, matrix) in &shards.matrices {
                        let experts =
                            Some(ExpertRows { first: *first, count: *count, total: experts, used, of_choices, rows: capacity });
                        let kernel = Matmul {
                            format,
                            rows,
                            k,
                            x_stride: k,
                            tile_tokens,
                            experts,
                            variant: Default::default(),
                            outcome: Outcome::PLAIN,
                            finish,
                        };
                        let mut bindings = vec![&matrix.quants, &matrix.scales, &x_buffer, &step, &y];
                        if !of_choices {
                            bindings.push(&routing_buffer);
                        }
                        bindings.push(&lists);
                        let bindings: Vec<Binding> = bindings.into_iter().map(Buffer::whole).collect();
                        plan.push(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings);
                    }
                    gpu.run(&plan, Span { position: 4, rows: tokens });
                    let mut after: Vec<f32> = download(&gpu, &y);
                    let what = format!("{format:?}, {used} of {experts} experts of {rows} x {k}, {tokens} tokens, shape {i}");
                    let (mut actual, mut expected) = (Vec::new(), Vec::new());
                    for choice in 0..(tokens * used) as usize {
                        let x_row = if of_choices { choice } else { choice / used as usize };
                        let product = shards.product([rows, k], &x, &routing, choice, x_row);
                        let own = &mut after[choice * width as usize..][..width as usize];
                        let own = if of_choices { &mut own[4..] } else { own };
                        actual.extend_from_slice(own);
                        own.fill(UNTOUCHED);
                        expected.extend(if of_choices { product } else { gated(&product, f32::from_bits(routing[choice][1])) });
                    }
                    let error = worst(&actual, &expected);
                    assert!(error < 5e-6, "{what} on {}: error {error}", gpu.info().name);
                    assert!(after.iter().all(|y| *y == UNTOUCHED), "{what}: wrote outside");
                }
            }
        }
    }
}
