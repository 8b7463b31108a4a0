//! Every kernel's text in representative permutations: valid by naga, and within the limits of tier C.
//!
//! With `KINGLET_DUMP_WGSL=directory` the texts that browsers get are written there, for a check by Tint.

use kinglet::gpu::{Access, Capabilities, Shader};
use kinglet::kernels::{
    Attention, DeferredNorm, Embed, Finish, Format, KvType, Matmul, Matvec, Next, Reorder, Repack, RmsNorm, RopeKv, SamplePick,
    Swiglu, Weigh,
};

const TIER_C: Capabilities = Capabilities { subgroups: false, f16: false };
const SUBGROUPS: Capabilities = Capabilities { subgroups: true, f16: false };

/// A product in every kernel that may end so.
fn products(shaders: &mut Vec<Shader>, format: Format, finish: Finish) {
    let (rows, k) = (576, 1536);
    let row_alone = matches!(finish, Finish::Residual { .. } | Finish::Logits { .. });
    if !row_alone {
        for tile_tokens in [32, 64] {
            shaders.push(Matmul { format, rows, k, x_stride: k, tile_tokens, finish }.dispatch().shader);
        }
    }
    for vectors in if row_alone { vec![1] } else { vec![1, 8] } {
        for norm in [None, Some(DeferredNorm { epsilon: 1e-5, partials: 9 })] {
            for capabilities in [TIER_C, SUBGROUPS] {
                shaders.push(Matvec { format, rows, k, vectors, x_stride: k, norm, finish }.dispatch(capabilities).shader);
            }
        }
    }
}

fn matrices(shaders: &mut Vec<Shader>) {
    for format in Format::ALL {
        let (rows, k) = (576, 1536);
        for reorder in [None, Some(Reorder { head_rows: 64, rope_dims: 32 })] {
            shaders.push(Repack { format, k, reorder }.shader());
        }
        shaders.push(Embed { format, first_row: 0, rows, k, y_stride: k, scale: 1.0 }.dispatch().shader);
        products(shaders, format, Finish::Store { y_stride: rows, y_first: 0, accumulate: false });
        let next = Next::Embed { format, k, scale: 1.0, norm_partials: 9 };
        shaders.push(SamplePick { vocab: 49_152, partials: 768, next }.dispatch().shader);
    }
    let format = Format::Q4_0;
    products(shaders, format, Finish::Store { y_stride: 640, y_first: 64, accumulate: true });
    products(shaders, format, Finish::Swiglu { y_stride: 288, first: 0 });
    products(shaders, format, Finish::Residual { k: 576, first: 0, weighted_stride: 640, partial_first: 0 });
    products(shaders, format, Finish::Logits { vocab: 576, first: 0, partial_first: 0 });
}

fn attention(shaders: &mut Vec<Shader>) {
    for kv_type in KvType::ALL {
        for (heads, kv_heads, head_dim) in [(9, 3, 64), (14, 2, 64), (32, 8, 128), (8, 1, 256), (4, 4, 80)] {
            let context = 4096;
            let attention = Attention { heads, kv_heads, head_dim, context, kv_type, scale: 0.125 };
            shaders.push(attention.prefill().shader);
            for capabilities in [TIER_C, SUBGROUPS] {
                shaders.push(attention.decode_short(capabilities).shader);
                shaders.push(attention.decode(capabilities).shader);
                shaders.push(attention.merge(capabilities).shader);
            }
            let (rope_dims, attention_factor) = (head_dim / 2, 1.0);
            let rope = RopeKv { heads, kv_heads, head_dim, rope_dims, attention_factor, context, kv_type, first: 0 };
            products(shaders, Format::Q8_0, Finish::RopeKv(rope));
        }
    }
}

fn all() -> Vec<Shader> {
    let mut shaders = Vec::new();
    matrices(&mut shaders);
    attention(&mut shaders);
    for capabilities in [TIER_C, SUBGROUPS] {
        shaders.push(RmsNorm { k: 576, epsilon: 1e-5 }.dispatch(capabilities).shader);
        shaders.push(Weigh { k: 576, partials: 9 }.dispatch(capabilities).shader);
    }
    shaders.push(Swiglu { k: 1536, x_stride: 3072, up_first: 1536 }.dispatch().shader);
    for vocab in [1, 49_152, 262_144] {
        shaders.push(SamplePick { vocab, partials: vocab.div_ceil(64), next: Next::Id }.dispatch().shader);
    }
    shaders
}

fn validate(shader: &Shader) -> naga::Module {
    let text = shader.text(false);
    let module =
        naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(&text)));
    // Only what a browser without any optional feature has (unpack2x16float is part of WGSL), and subgroups if the kernel says so.
    let mut capabilities = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(naga::valid::Capabilities::SUBGROUP, shader.subgroups);
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
        let matvec = |vectors| Matvec { format, rows, k, vectors, x_stride: k, norm: None, finish }.dispatch(TIER_C).shader;
        let matmul = Matmul { format, rows, k, x_stride: k, tile_tokens: 64, finish }.dispatch().shader;
        for (kernel, shader) in [("matvec", matvec(1)), ("matvec_many", matvec(8)), ("matmul", matmul)] {
            std::fs::write(directory.join(format!("{kernel} {}.wgsl", format.name())), shader.text(false)).unwrap();
        }
    }
}
