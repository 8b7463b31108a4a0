//! One layer's attention on a device, against its `f64` twin.

use super::gpu::{Random, download, run, tilings};
use super::kv_blocks;
use kinglet::gpu::{Buffer, Gpu, Plan, Span};
use kinglet::kernels::{Attention, KvType, Step};

/// What a kernel must not write.
pub const UNTOUCHED: f32 = 1e30;

/// A layer's queries, keys and values, every position in its own place. What lies beyond the last position is NaN, which spoils every result
/// that reads it.
pub struct Case {
    pub kernel: Attention,
    pub span: Span,
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    /// Positions beyond the span's that were written before one went back: in a ring they lie where older ones would.
    pub stale: u32,
    /// The products that make up a score are exact, and so is their sum.
    pub exact_scores: bool,
}

impl Case {
    pub fn random(random: &mut Random, kernel: Attention, span: Span) -> Self {
        let row = (kernel.heads * kernel.head_dim) as usize;
        let cache = (kernel.kv_heads * kernel.context * kernel.head_dim) as usize;
        let q = random.vector(span.rows as usize * row);
        Self { kernel, span, q, k: random.vector(cache), v: random.vector(cache), stale: 0, exact_scores: false }
    }

    /// Scores that rise or fall from position to position, exactly.
    pub fn sloping(random: &mut Random, kernel: Attention, span: Span, slope: f32) -> Self {
        let mut case = Self::random(random, Attention { scale: 1.0, ..kernel }, span);
        case.q.fill(0.5);
        let (row, context) = (kernel.head_dim as usize, kernel.context as usize);
        case.k.chunks_exact_mut(row).enumerate().for_each(|(i, k)| k.fill((i % context) as f32 * slope));
        case.exact_scores = true;
        case
    }

    /// The device's caches. Here every position stays in its place, rounded as there.
    pub fn caches(&mut self, gpu: &Gpu) -> [Buffer; 2] {
        self.segment(gpu, self.kernel)
    }

    /// The same of a segment, which is what `kernel` is for.
    fn segment(&mut self, gpu: &Gpu, kernel: Attention) -> [Buffer; 2] {
        let written = (self.span.position + self.span.rows + self.stale) as usize;
        let row = self.kernel.head_dim as usize;
        let [head, slots] = [kernel.context, kernel.capacity].map(|positions| positions as usize * row);
        let first = kernel.first as usize;
        let end = if kernel.window > 0 { written } else { written.min(first + kernel.capacity as usize) };
        [&mut self.k, &mut self.v].map(|cache| {
            match self.kernel.kv_type {
                KvType::F32 => {}
                KvType::F16 => cache.iter_mut().for_each(|x| *x = half::f16::from_f32(*x).to_f32()),
                blocks => *cache = kv_blocks::read(blocks, row, &kv_blocks::written(blocks, row, cache)),
            }
            let mut ring = Vec::new();
            for cache in cache.chunks_exact_mut(head) {
                cache[written * row..].fill(f32::NAN);
                let mut kept = vec![f32::NAN; slots];
                for (position, values) in cache.chunks_exact(row).enumerate().take(end).skip(first) {
                    kept[(position - first) * row % slots..][..row].copy_from_slice(values);
                }
                ring.extend(kept);
            }
            match self.kernel.kv_type {
                KvType::F32 => gpu.upload("cache", &ring).unwrap(),
                KvType::F16 => {
                    let halves: Vec<u16> = ring.iter().map(|&x| half::f16::from_f32(x).to_bits()).collect();
                    gpu.upload("cache", &halves).unwrap()
                }
                blocks => gpu.upload("cache", &kv_blocks::written(blocks, row, &ring)).unwrap(),
            }
        })
    }

    /// Compares with the twin; `y` may be longer, its rest untouched.
    ///
    /// With u = 2^-24: a weight is off, relatively, by the error of its score (an f32 dot product's, so some u times the sum of the
    /// products' magnitudes) and by exp's, which WGSL allows 3 + 2|x| units; such errors move the result by as large a part of the
    /// largest value. A sum of n terms in a row is off by n u at worst; roundings of both signs and partial sums leave far less, so
    /// that a sixteenth of it is allowed.
    pub fn compare(&self, gpu: &Gpu, what: &str, y: &[f32]) {
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let expected = self.kernel.reference(&q, &k, &v, self.span.position as usize);
        let largest = |x: &[f64]| x.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let products = f64::from(self.kernel.scale) * f64::from(self.kernel.head_dim) * largest(&q) * largest(&k);
        let seen = f64::from(self.span.position + self.span.rows);
        // A soft cap's tanh is made of an exponential, a difference and a quotient of numbers below 2; a slope of an exponential, and what it
        // takes away matters less the more it is.
        let bends = 8.0 * f64::from(self.kernel.soft_cap) + if self.kernel.alibi > 0.0 { 32.0 } else { 0.0 };
        let units = 16.0 + if self.exact_scores { 0.0 } else { products } + seen / 16.0 + bends;
        let tolerance = units * 2f64.powi(-24) * largest(&v);
        for (i, (actual, expected)) in y.iter().zip(&expected).enumerate() {
            let error = (f64::from(*actual) - expected).abs();
            assert!(
                error <= tolerance,
                "{what} of {:?} at {:?} on {}, element {i}: {actual} instead of {expected}, tolerance {tolerance}",
                self.kernel,
                self.span,
                gpu.info().name
            );
        }
        assert!(y.len() >= expected.len() && y[expected.len()..].iter().all(|y| *y == UNTOUCHED), "{what} wrote beyond its rows");
    }

    pub fn prefill(&mut self, gpu: &Gpu) {
        let [k, v] = self.caches(gpu);
        let q = gpu.upload("q", &self.q).unwrap();
        let step = step(gpu, self.span);
        for tiling in tilings(gpu) {
            // A new one each time, so that nobody finds what another wrote.
            let y = gpu.upload("y", &vec![UNTOUCHED; self.q.len() + 8]).unwrap();
            let bindings = [&q, &k, &v, &y, &step].map(Buffer::whole);
            let actual = run(gpu, &self.kernel.prefill(gpu.capabilities(), tiling), &bindings, self.span, &y);
            self.compare(gpu, &format!("prefill by {tiling:?}"), &actual);
        }
    }

    /// Both ways with the cache in segments that end so.
    pub fn in_segments(&mut self, gpu: &Gpu, ends: &[u32]) {
        let mut first = 0;
        let segments: Vec<_> = ends
            .iter()
            .map(|end| {
                let kernel = Attention { first, capacity: end - first, ..self.kernel };
                first = *end;
                (kernel, self.segment(gpu, kernel))
            })
            .collect();
        // Those that the span's rows see, the last of which has them.
        let seen = segments.iter().take_while(|(kernel, _)| kernel.first <= self.span.position).count();
        let untouched = vec![UNTOUCHED; self.q.len() + 8];
        let [q, y] = [&self.q, &untouched].map(|data| gpu.upload("rows", data).unwrap());
        let [carried, partials] = [self.kernel.carried_bytes(self.span.rows), self.kernel.partials_bytes()]
            .map(|bytes| gpu.upload("carried", &vec![f32::NAN; bytes as usize / 4]).unwrap());
        let step = step(gpu, self.span);
        let capabilities = gpu.capabilities();
        for tiling in tilings(gpu) {
            let mut plan = Plan::default();
            for (i, (kernel, [k, v])) in segments[..seen].iter().enumerate() {
                let more = i + 1 < seen;
                let dispatch = if more { kernel.prefill_more(capabilities, tiling) } else { kernel.prefill(capabilities, tiling) };
                let bindings = [&q, k, v, &y, &step, &carried].map(Buffer::whole);
                plan.push(gpu, &dispatch, &bindings[..if seen > 1 { 6 } else { 5 }]);
            }
            gpu.write(&y, 0, bytemuck::cast_slice(&untouched));
            gpu.run(&plan, self.span);
            self.compare(gpu, &format!("prefill in segments by {tiling:?}"), &download(gpu, &y));
        }
        if self.span.rows > 1 {
            return;
        }
        let mut plan = Plan::default();
        for (kernel, [k, v]) in &segments[..seen] {
            plan.push(gpu, &kernel.decode(capabilities), &[&q, k, v, &partials, &step].map(Buffer::whole));
        }
        let y = gpu.upload("y", &vec![UNTOUCHED; self.q.len() + 8]).unwrap();
        plan.push(gpu, &segments[0].0.merge(), &[&partials, &y, &step].map(Buffer::whole));
        gpu.run(&plan, self.span);
        self.compare(gpu, "decode in segments", &download(gpu, &y));
    }

    pub fn decode(&mut self, gpu: &Gpu) {
        let [k, v] = self.caches(gpu);
        let q = gpu.upload("q", &self.q).unwrap();
        let y = gpu.upload("y", &vec![UNTOUCHED; self.q.len() + 8]).unwrap();
        let partials = gpu.upload("partials", &vec![f32::NAN; self.kernel.partials_bytes() as usize / 4]).unwrap();
        let step = step(gpu, self.span);
        for run in [1, 2] {
            let kernel = Attention { run, ..self.kernel };
            let mut plan = Plan::default();
            plan.push(gpu, &kernel.decode(gpu.capabilities()), &[&q, &k, &v, &partials, &step].map(Buffer::whole));
            plan.push(gpu, &kernel.merge(), &[&partials, &y, &step].map(Buffer::whole));
            gpu.run(&plan, self.span);
            self.compare(gpu, &format!("decode in parts of {run}"), &download(gpu, &y));
        }
        if self.span.position < Attention::SHORT_CONTEXT {
            let y = gpu.upload("y", &vec![UNTOUCHED; self.q.len() + 8]).unwrap();
            let bindings = [&q, &k, &v, &y, &step].map(Buffer::whole);
            let actual = run(gpu, &self.kernel.decode_short(gpu.capabilities()), &bindings, self.span, &y);
            self.compare(gpu, "decode of a short context", &actual);
        }
    }
}

pub fn step(gpu: &Gpu, span: Span) -> Buffer {
    gpu.upload("step", &[Step { position: span.position, rows: span.rows, drawn: 0, token: 0 }]).unwrap()
}

pub fn kernel([heads, kv_heads, head_dim]: [u32; 3], context: u32, kv_type: KvType) -> Attention {
    let scale = (head_dim as f32).sqrt().recip();
    Attention {
        heads,
        kv_heads,
        head_dim,
        context,
        capacity: context,
        first: 0,
        window: 0,
        run: 1,
        kv_type,
        scale,
        soft_cap: 0.0,
        alibi: 0.0,
    }
}

/// A window in a ring as long as a chunk of 256 rows needs.
pub fn windowed(window: u32, shape: [u32; 3], context: u32, kv_type: KvType) -> Attention {
    Attention { window, capacity: context.min(window + 256), ..kernel(shape, context, kv_type) }
}
