//! Every kernel's text in representative permutations: valid by naga, and within the limits of tier C.
//!
//! With `KINGLET_DUMP_WGSL=directory` the texts that browsers get are written there, for a check by Tint.

use kinglet::gpu::{Access, Capabilities, Shader};
use kinglet::kernels::{
    Attention, Embed, Format, KvType, Matmul, Matvec, Penalty, Repack, RmsNorm, RopeKv, RopeLayout, SamplePick, SampleScan, Swiglu,
};

const TIER_C: Capabilities = Capabilities { subgroups: false, f16: false };
const SUBGROUPS: Capabilities = Capabilities { subgroups: true, f16: false };

fn matrices(shaders: &mut Vec<Shader>) {
    for format in Format::ALL {
        let (rows, k) = (576, 1536);
        shaders.push(Repack { format, k }.shader());
        shaders.push(Embed { format, first_row: 0, rows, k, y_stride: k, scale: 1.0 }.dispatch().shader);
        for accumulate in [false, true] {
            shaders.push(Matmul { format, rows, k, x_stride: k, y_stride: rows, y_first: 0, accumulate }.dispatch().shader);
            for (vectors, capabilities) in [(1, TIER_C), (1, SUBGROUPS), (8, TIER_C), (8, SUBGROUPS)] {
                let kernel = Matvec { format, rows, k, vectors, x_stride: k, y_stride: rows, y_first: 0, accumulate };
                shaders.push(kernel.dispatch(capabilities).shader);
            }
        }
    }
}

fn attention(shaders: &mut Vec<Shader>) {
    for kv_type in KvType::ALL {
        for (heads, kv_heads, head_dim) in [(9, 3, 64), (14, 2, 64), (32, 8, 128), (8, 1, 256), (4, 4, 80)] {
            let attention = Attention { heads, kv_heads, head_dim, context: 4096, kv_type, scale: 0.125 };
            shaders.push(attention.prefill().shader);
            for capabilities in [TIER_C, SUBGROUPS] {
                shaders.push(attention.decode(capabilities).shader);
                shaders.push(attention.merge(capabilities).shader);
            }
            for layout in [RopeLayout::Interleaved, RopeLayout::HalfSplit] {
                let q_size = heads * head_dim;
                let kv_size = kv_heads * head_dim;
                let rope = RopeKv {
                    heads,
                    kv_heads,
                    head_dim,
                    rope_dims: head_dim,
                    layout,
                    attention_factor: 1.0,
                    context: 4096,
                    kv_type,
                    qkv_stride: q_size + 2 * kv_size,
                    q_first: 0,
                    k_first: q_size,
                    v_first: q_size + kv_size,
                };
                shaders.push(rope.dispatch().shader);
            }
        }
    }
}

fn all() -> Vec<Shader> {
    let mut shaders = Vec::new();
    matrices(&mut shaders);
    attention(&mut shaders);
    for last_row in [false, true] {
        for capabilities in [TIER_C, SUBGROUPS] {
            shaders.push(RmsNorm { k: 576, epsilon: 1e-5, last_row }.dispatch(capabilities).shader);
        }
    }
    shaders.push(Swiglu { k: 1536, x_stride: 3072, up_first: 1536 }.dispatch().shader);
    for vocab in [1, 49_152, 262_144] {
        shaders.push(Penalty { vocab }.dispatch().shader);
        shaders.push(SampleScan { vocab }.dispatch().shader);
        shaders.push(SamplePick { vocab }.dispatch().shader);
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
