//! Every kernel's text in representative permutations: valid by naga, and within the limits of tier C.
//!
//! With `KINGLET_DUMP_WGSL=directory` the texts that browsers get are written there, for a check by Tint.

use kinglet::gpu::{Access, Capabilities, Shader};
use kinglet::kernels::{
    Activation, Arithmetic, Attention, DeferredNorm, Embed, ExpertRows, Finish, Format, Gated, GroupChoices, HeadNorm,
    HeadNormOver, Heads, KvType, LastRow, Matmul, MatmulVariant, Matvec, MatvecVariant, Next, Norm, NormKind, NormTarget, Outcome,
    Reorder, Repack, RopeKv, Route, SamplePick, SumChoices, Tiling, Weigh,
};

const TIER_C: Capabilities = Capabilities { subgroups: false, f16: false, int8_dot: false };
const SUBGROUPS: Capabilities = Capabilities { subgroups: true, f16: false, int8_dot: false };
const HALF: Capabilities = Capabilities { subgroups: true, f16: true, int8_dot: false };

const TILINGS: [Tiling; 3] = [Tiling::Shared, Tiling::Rows { lanes: 4 }, Tiling::Rows { lanes: 8 }];

const ACTIVATIONS: [Activation; 4] = [Activation::Identity, Activation::Silu, Activation::Gelu, Activation::ReluSquared];

/// A product in every kernel that may end so.
fn products(shaders: &mut Vec<Shader>, format: Format, finish: Finish) {
    outcomes(shaders, format, Outcome::PLAIN, finish);
}

fn outcomes(shaders: &mut Vec<Shader>, format: Format, outcome: Outcome, finish: Finish) {
    let (rows, k) = (576, 1536);
    let row_alone = matches!(finish, Finish::Residual { .. } | Finish::Logits { .. });
    if !row_alone {
        for tile_tokens in [32, 64] {
            let matmul =
                Matmul { format, rows, k, x_stride: k, tile_tokens, experts: None, variant: Default::default(), outcome, finish };
            shaders.push(matmul.dispatch(TIER_C).shader);
            for (lanes, quads, arithmetic) in [
                (4, 1, Arithmetic::F32),
                (8, 1, Arithmetic::F32),
                (4, 2, Arithmetic::F32),
                (8, 2, Arithmetic::F32),
                (4, 1, Arithmetic::Unshifted),
            ] {
                let variant = MatmulVariant { tiling: Tiling::Rows { lanes }, arithmetic, subgroup: 4 * lanes, quads };
                shaders.push(Matmul { variant, ..matmul }.dispatch(SUBGROUPS).shader);
            }
        }
    }
    for vectors in if row_alone { vec![1] } else { vec![1, 8] } {
        for norm in [None, Some(DeferredNorm { epsilon: 1e-5, partials: 9 })] {
            for capabilities in [TIER_C, SUBGROUPS] {
                shaders.push(
                    Matvec {
                        format,
                        rows,
                        k,
                        vectors,
                        x_stride: k,
                        norm,
                        experts: None,
                        variant: Default::default(),
                        outcome,
                        finish,
                    }
                    .dispatch(capabilities)
                    .shader,
                );
            }
        }
    }
}

fn matrices(shaders: &mut Vec<Shader>) {
    for format in Format::ALL {
        let (rows, k) = (576, 1536);
        for reorder in [None, Some(Reorder { head_rows: 64, rope_dims: 32 })] {
            shaders.push(Repack { from: format, format, k, reorder }.shader());
        }
        for from in Format::ALL.into_iter().filter(|from| *from != format && format.holds(*from).is_some()) {
            shaders.push(Repack { from, format, k, reorder: None }.shader());
        }
        shaders.push(Embed { format, first_row: 0, rows, k, y_stride: k, scale: 1.0, positions: false }.dispatch().shader);
        products(shaders, format, Finish::Store { y_stride: rows, y_first: 0, accumulate: false });
        let next = Next::Embed { format, k, scale: 1.0, norm_partials: 9 };
        shaders.push(SamplePick { vocab: 49_152, partials: 768, next }.dispatch().shader);
    }
    let format = Format::Q4_0;
    products(shaders, format, Finish::Store { y_stride: 640, y_first: 64, accumulate: true });
    products(shaders, format, Finish::Gated { activation: Activation::Silu, weighted: false, y_stride: 288, first: 0 });
    products(shaders, format, Finish::Residual { k: 576, first: 0, weighted_stride: 640, partial_first: 0 });
    products(shaders, format, Finish::Logits { vocab: 576, first: 0, partial_first: 0 });
}

fn lanes(shaders: &mut Vec<Shader>) {
    let wgsl = format!("const WORKGROUP: u32 = 64u;\n{}", include_str!("../shaders/lanes.wgsl"));
    shaders.push(Shader { name: "lanes", wgsl, bindings: vec![Access::ReadWrite], subgroups: true });
}

fn attention(shaders: &mut Vec<Shader>) {
    for kv_type in KvType::ALL {
        for (heads, kv_heads, head_dim) in [(9, 3, 64), (14, 2, 64), (32, 8, 128), (8, 1, 256), (4, 4, 80), (4, 4, 96_u32)] {
            if !head_dim.is_multiple_of(kv_type.block()) {
                continue;
            }
            let context = 4096;
            let attention = Attention {
                heads,
                kv_heads,
                head_dim,
                context,
                capacity: context,
                first: 0,
                window: 0,
                run: 1,
                kv_type,
                scale: 0.125,
                soft_cap: 0.0,
                alibi: 0.0,
            };
            shaders.push(attention.merge().shader);
            let segment = Attention { first: 1024, capacity: 2048, ..attention };
            for tiling in TILINGS {
                let capabilities = if tiling == Tiling::Shared { HALF } else { SUBGROUPS };
                shaders.push(attention.prefill(capabilities, tiling).shader);
                shaders.push(segment.prefill(capabilities, tiling).shader);
                shaders.push(segment.prefill_more(capabilities, tiling).shader);
            }
            for capabilities in [TIER_C, SUBGROUPS, HALF] {
                shaders.push(attention.prefill(capabilities, Tiling::Shared).shader);
                shaders.push(attention.decode_short(capabilities).shader);
                shaders.push(attention.decode(capabilities).shader);
                shaders.push(Attention { run: 2, ..attention }.decode(capabilities).shader);
                shaders.push(segment.decode(capabilities).shader);
            }
            let (rope_dims, attention_factor) = (head_dim / 2, 1.0);
            let rope = RopeKv {
                heads,
                kv_heads,
                head_dim,
                rope_dims,
                attention_factor,
                temperature: None,
                context,
                capacity: context,
                first: 0,
                kv_type,
            };
            if kv_type.is_plain() {
                products(shaders, Format::Q8_0, Finish::RopeKv { heads: rope, first: 0 });
            }
            for capabilities in [TIER_C, SUBGROUPS] {
                shaders.push(Heads { rope, clamp: 0.0, norm: None }.dispatch(capabilities).shader);
            }
        }
    }
}

/// What a product's values go through, before each of the places that they go to.
fn endings(shaders: &mut Vec<Shader>) {
    let format = Format::Q4_1;
    let store = Finish::Store { y_stride: 576, y_first: 0, accumulate: false };
    for activation in ACTIVATIONS {
        for bias in [false, true] {
            let outcome = Outcome { bias, scale: 0.22, soft_cap: if bias { 0.0 } else { 30.0 }, activation };
            outcomes(shaders, format, outcome, store);
        }
        for weighted in [false, true] {
            products(shaders, format, Finish::Gated { activation, weighted, y_stride: 288, first: 0 });
        }
        shaders.push(Gated { activation, k: 1536, x_stride: 3072, up_first: 1536 }.dispatch().shader);
    }
    let all = Outcome { bias: true, scale: 0.5, soft_cap: 30.0, activation: Activation::Identity };
    outcomes(shaders, format, all, Finish::Residual { k: 1152, first: 576, weighted_stride: 0, partial_first: 9 });
    outcomes(shaders, format, all, Finish::Logits { vocab: 1000, first: 576, partial_first: 9 });
    for kv_type in KvType::PLAIN {
        outcomes(shaders, format, Outcome { bias: true, ..Outcome::PLAIN }, Finish::RopeKv { heads: ring(kv_type), first: 64 });
    }
    for positions in [false, true] {
        shaders.push(Embed { format, first_row: 64, rows: 512, k: 576, y_stride: 576, scale: 24.0, positions }.dispatch().shader);
    }
}

/// Queries, keys and values of a layer with a window, whose queries grow with the position.
fn ring(kv_type: KvType) -> RopeKv {
    let temperature = Some((0.1, 8192));
    let (context, capacity) = (32_768, 1280);
    RopeKv {
        heads: 8,
        kv_heads: 4,
        head_dim: 64,
        rope_dims: 32,
        attention_factor: 1.1,
        temperature,
        context,
        capacity,
        first: 0,
        kv_type,
    }
}

fn norms(shaders: &mut Vec<Shader>, capabilities: Capabilities) {
    use NormTarget::{Prepared, Residual, Rows};
    for kind in [NormKind::Rms, NormKind::Layer] {
        for bias in [false, true] {
            for target in [Rows, Residual { scale: 0.22 }, Prepared { scale: 1.0 }] {
                shaders.push(Norm { kind, k: 576, epsilon: 1e-5, bias, target, workgroup: 32 }.dispatch(capabilities).shader);
            }
        }
        for over in [HeadNormOver::Head, HeadNormOver::OwnHead, HeadNormOver::All] {
            for (kv_type, clamp) in KvType::ALL.into_iter().zip([0.0, 8.0, 0.0, 8.0]) {
                let norm = Some(HeadNorm { kind, epsilon: 1e-6, over });
                shaders.push(Heads { rope: ring(kv_type), clamp, norm }.dispatch(capabilities).shader);
            }
        }
    }
    shaders.push(Heads { rope: ring(KvType::F16), clamp: 8.0, norm: None }.dispatch(capabilities).shader);
    shaders.push(LastRow { k: 576, queries: 576 }.dispatch().shader);
    shaders.push(Weigh { k: 576, partials: 9 }.dispatch(capabilities).shader);
}

/// Windows, rings, soft caps and ALiBi, alone and together.
fn scores(shaders: &mut Vec<Shader>) {
    for kv_type in KvType::ALL {
        for (window, capacity, soft_cap, alibi) in [
            (0, 32_768, 50.0, 0.0),
            (0, 32_768, 0.0, 8.0),
            (1024, 1280, 0.0, 0.0),
            (4096, 4352, 50.0, 0.0),
            (1, 257, 30.0, 8.0),
            (4096, 32_768, 0.0, 8.0),
        ] {
            let (heads, kv_heads, head_dim, context, scale) = (12, 4, 64, 32_768, 0.125);
            let attention = Attention {
                heads,
                kv_heads,
                head_dim,
                context,
                capacity,
                first: 0,
                window,
                run: 1,
                kv_type,
                scale,
                soft_cap,
                alibi,
            };
            shaders.push(attention.merge().shader);
            shaders.extend(TILINGS.map(|tiling| attention.prefill(SUBGROUPS, tiling).shader));
            for capabilities in [TIER_C, SUBGROUPS, HALF] {
                shaders.push(attention.decode_short(capabilities).shader);
                shaders.push(attention.decode(capabilities).shader);
            }
        }
    }
}

fn experts(shaders: &mut Vec<Shader>) {
    for (count, used, shared_at) in [(8, 2, None), (60, 4, Some(60)), (2048, 2048, None)] {
        for normalized in [false, true] {
            let route = Route { experts: count, used, stride: count + 4, normalized, scale: 2.5, shared_at };
            for capabilities in [TIER_C, SUBGROUPS] {
                shaders.push(route.dispatch(capabilities).shader);
            }
        }
        shaders.push(GroupChoices { experts: count, used, rows: 256 }.dispatch().shader);
        shaders.push(SumChoices { k: 576, used, scale: 0.22 }.dispatch().shader);
    }
    let (rows, k) = (576, 512);
    let gated = Finish::Gated { activation: Activation::Silu, weighted: true, y_stride: rows / 2, first: 0 };
    let store = |accumulate| Finish::Store { y_stride: rows, y_first: 0, accumulate };
    let residual = Finish::Residual { k: rows, first: 0, weighted_stride: 0, partial_first: 0 };
    for format in [Format::F32, Format::Q4_K, Format::MXFP4] {
        for (first, of_choices, finish) in [(0, false, gated), (24, false, gated), (0, true, store(true)), (24, true, residual)] {
            let experts = Some(ExpertRows { first, count: 40, total: 60, used: 4, of_choices, rows: 256 });
            let outcome = Outcome { scale: 0.22, ..Outcome::PLAIN };
            for norm in [None, Some(DeferredNorm { epsilon: 1e-5, partials: 9 })].into_iter().take(if of_choices { 1 } else { 2 }) {
                for capabilities in [TIER_C, SUBGROUPS] {
                    let matvec = Matvec {
                        format,
                        rows,
                        k,
                        vectors: 1,
                        x_stride: k,
                        norm,
                        experts,
                        variant: Default::default(),
                        outcome,
                        finish,
                    };
                    shaders.push(matvec.dispatch(capabilities).shader);
                }
            }
            let finish = if of_choices { store(false) } else { finish };
            for tile_tokens in [32, 64] {
                shaders.push(
                    Matmul { format, rows, k, x_stride: k, tile_tokens, experts, variant: Default::default(), outcome, finish }
                        .dispatch(TIER_C)
                        .shader,
                );
            }
        }
    }
}

const MATVEC_INT8: MatvecVariant = MatvecVariant { workgroup: 64, spread: 1, arithmetic: Arithmetic::Int8 };
const MATMUL_INT8: MatmulVariant = MatmulVariant { tiling: Tiling::Shared, arithmetic: Arithmetic::Int8, subgroup: 64, quads: 1 };

/// Products with inputs of 8 bits: of every format that has them, before every ending, and of experts.
fn int8(shaders: &mut Vec<Shader>) {
    let (rows, k) = (576, 1536);
    let store = Finish::Store { y_stride: rows, y_first: 0, accumulate: true };
    let gated = Finish::Gated { activation: Activation::Silu, weighted: false, y_stride: rows / 2, first: 0 };
    let weighted = Finish::Gated { activation: Activation::Silu, weighted: true, y_stride: rows / 2, first: 0 };
    let rope = Finish::RopeKv { heads: ring(KvType::F16), first: 64 };
    let residual = Finish::Residual { k: 576, first: 0, weighted_stride: 640, partial_first: 0 };
    let logits = Finish::Logits { vocab: 576, first: 0, partial_first: 0 };
    let experts = |of_choices| Some(ExpertRows { first: 24, count: 40, total: 60, used: 4, of_choices, rows: 256 });
    let outcome = Outcome { bias: true, ..Outcome::PLAIN };
    for format in Format::ALL.into_iter().filter(|format| format.has_int8()) {
        let all = matches!(format, Format::Q4_0 | Format::Q6_K | Format::Q8_0);
        let endings = [
            (store, None),
            (gated, None),
            (rope, None),
            (weighted, experts(false)),
            (store, experts(true)),
            (residual, None),
            (logits, None),
        ];
        for (finish, experts) in endings.into_iter().take(if all { 7 } else { 1 }) {
            for capabilities in [TIER_C, SUBGROUPS] {
                let norm = Some(DeferredNorm { epsilon: 1e-5, partials: 9 });
                let matvec =
                    Matvec { format, rows, k, vectors: 1, x_stride: k, norm, experts, variant: MATVEC_INT8, outcome, finish };
                assert_eq!(matvec.arithmetic(), Arithmetic::Int8);
                shaders.push(matvec.dispatch(capabilities).shader);
            }
            if matches!(finish, Finish::Residual { .. } | Finish::Logits { .. }) {
                continue;
            }
            for tile_tokens in [32, 64] {
                let matmul = Matmul { format, rows, k, x_stride: k, tile_tokens, experts, variant: MATMUL_INT8, outcome, finish };
                assert_eq!(matmul.arithmetic(), Arithmetic::Int8);
                shaders.push(matmul.dispatch(TIER_C).shader);
            }
        }
    }
}

fn all() -> Vec<Shader> {
    let mut shaders = Vec::new();
    int8(&mut shaders);
    matrices(&mut shaders);
    attention(&mut shaders);
    lanes(&mut shaders);
    endings(&mut shaders);
    scores(&mut shaders);
    experts(&mut shaders);
    for capabilities in [TIER_C, SUBGROUPS] {
        norms(&mut shaders, capabilities);
    }
    for vocab in [1, 49_152, 262_144] {
        shaders.push(SamplePick { vocab, partials: vocab.div_ceil(64), next: Next::Id }.dispatch().shader);
    }
    shaders
}

fn validate(shader: &Shader) -> naga::Module {
    let text = shader.text(false);
    let module =
        naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(&text)));
    // Only what a browser without any optional feature has (unpack2x16float is part of WGSL), and what the kernel says it uses.
    let mut capabilities = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(naga::valid::Capabilities::SUBGROUP, shader.subgroups);
    capabilities.set(naga::valid::Capabilities::SHADER_FLOAT16, shader.wgsl.starts_with("enable f16;"));
    let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
    if shader.subgroups {
        validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE).subgroup_operations(naga::valid::SubgroupOperationSet::all());
    }
    if let Err(error) = validator.validate(&module) {
        panic!("{}: {}", shader.name, error.emit_to_string(&text));
    }
    module
}

#[test]
fn every_kernel_is_valid() {
    for shader in all() {
        validate(&shader);
    }
}

/// Chromium zeroes a variable without an initializer once and not in every turn of a loop, so that all have one.
#[test]
fn every_variable_is_initialized() {
    for shader in all() {
        let bare =
            shader.wgsl.lines().find(|line| line.starts_with(' ') && line.trim_start().starts_with("var ") && !line.contains('='));
        assert_eq!(bare, None, "{}", shader.name);
    }
}

#[test]
fn every_kernel_fits_tier_c() {
    for shader in all() {
        let module = validate(&shader);
        let [entry] = &module.entry_points[..] else { panic!("{}: more than one entry point", shader.name) };
        assert_eq!(entry.name, "main", "{}", shader.name);
        assert!(entry.workgroup_size.iter().product::<u32>() <= 256, "{}: {:?}", shader.name, entry.workgroup_size);
        assert!(shader.bindings.len() <= 8, "{}: {} bindings", shader.name, shader.bindings.len());
        let mut workgroup_bytes = 0;
        for (_, variable) in module.global_variables.iter() {
            let name = variable.name.as_deref().unwrap_or_default();
            match variable.space {
                naga::AddressSpace::WorkGroup => {
                    workgroup_bytes += module.types[variable.ty].inner.size(module.to_ctx()).next_multiple_of(16);
                }
                naga::AddressSpace::Storage { access } => {
                    let binding = variable.binding.as_ref().map(|place| place.binding as usize);
                    let declared = binding.and_then(|binding| shader.bindings.get(binding));
                    let in_text = if access.contains(naga::StorageAccess::STORE) { Access::ReadWrite } else { Access::Read };
                    assert_eq!(declared, Some(&in_text), "{}: the binding of {name}", shader.name);
                }
                _ => {}
            }
        }
        assert!(workgroup_bytes <= 16_384, "{}: {workgroup_bytes} bytes of workgroup memory", shader.name);
    }
}

#[test]
fn dump_for_other_compilers() {
    let Some(directory) = std::env::var_os("KINGLET_DUMP_WGSL") else { return };
    let directory = std::path::PathBuf::from(directory);
    std::fs::create_dir_all(&directory).unwrap();
    for (number, shader) in all().iter().enumerate() {
        std::fs::write(directory.join(format!("{}-{number}.wgsl", shader.name)), shader.text(true)).unwrap();
    }
}

/// With `KINGLET_DUMP_FORMATS=directory`: the products of every format, named after it, for `cargo xtask isa`.
#[test]
fn dump_every_format() {
    let Some(directory) = std::env::var_os("KINGLET_DUMP_FORMATS") else { return };
    let directory = std::path::PathBuf::from(directory);
    std::fs::create_dir_all(&directory).unwrap();
    let (rows, k) = (4096, 4096);
    let finish = Finish::Store { y_stride: rows, y_first: 0, accumulate: false };
    for format in Format::ALL {
        let matvec = |vectors, variant| {
            Matvec { format, rows, k, vectors, x_stride: k, norm: None, experts: None, variant, outcome: Outcome::PLAIN, finish }
                .dispatch(TIER_C)
                .shader
        };
        let matmul = |variant| {
            Matmul { format, rows, k, x_stride: k, tile_tokens: 64, experts: None, variant, outcome: Outcome::PLAIN, finish }
                .dispatch(if variant.tiling == Tiling::Shared { TIER_C } else { SUBGROUPS })
                .shader
        };
        let mut products = vec![
            ("matvec", matvec(1, MatvecVariant::default())),
            ("matvec_many", matvec(8, MatvecVariant::default())),
            ("matmul", matmul(MatmulVariant::default())),
        ];
        let rows_tiling = MatmulVariant { tiling: Tiling::Rows { lanes: 4 }, ..MatmulVariant::default() };
        products.push(("matmul_rows", matmul(rows_tiling)));
        if format.has_int8() {
            products.extend([("matvec_int8", matvec(1, MATVEC_INT8)), ("matmul_int8", matmul(MATMUL_INT8))]);
        }
        for (kernel, shader) in products {
            std::fs::write(directory.join(format!("{kernel} {}.wgsl", format.name())), shader.text(false)).unwrap();
        }
    }
}
