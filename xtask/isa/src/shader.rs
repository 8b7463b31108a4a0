//! From WGSL to SPIR-V, and what the text itself tells.

use crate::turns::{self, Counted};
use anyhow::{Context, Result, anyhow};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Function, GlobalVariable, Handle, Literal, Module, Statement};
use serde::Serialize;

/// A compiled text.
pub struct Shader {
    pub spirv: Vec<u32>,
    /// Bindings of group 0, all of them storage buffers.
    pub bindings: Vec<u32>,
    pub facts: Facts,
    /// Loops whose turns its constants tell.
    pub counted: Vec<Counted>,
}

/// What the table needs to know of it.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// Invocations of a workgroup.
    pub workgroup: u32,
    /// Bytes of workgroup variables.
    pub workgroup_bytes: u32,
    /// The binding that holds quantized weights, and bits of one of them there, scales not counted.
    pub quants: Option<Quants>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quants {
    pub binding: u32,
    /// As it is loaded: units that share a word load it each.
    pub bits: u32,
    /// As it is stored.
    pub stored_bits: u32,
}

/// Weights that one call of a format's `unit_quants` returns: 8 columns of 4 rows.
const UNIT_WEIGHTS: u32 = 32;

impl Shader {
    pub fn new(text: &str) -> Result<Self> {
        let module = naga::front::wgsl::parse_str(text).map_err(|error| anyhow!("{}", error.emit_to_string(text)))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|error| anyhow!("{}", error.emit_to_string(text)))?;
        // As the browsers compile: indices are held in bounds, buffers are the driver's to check, loops are left as they are.
        let options = spv::Options {
            lang_version: (1, 5),
            flags: spv::WriterFlags::empty(),
            bounds_check_policies: BoundsCheckPolicies {
                index: BoundsCheckPolicy::Restrict,
                buffer: BoundsCheckPolicy::Unchecked,
                image_load: BoundsCheckPolicy::Unchecked,
                binding_array: BoundsCheckPolicy::Unchecked,
            },
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: std::env::var_os("ISA_LOOP_BOUNDS").is_some(),
            ..spv::Options::default()
        };
        let entry = module.entry_points.first().context("there is no entry point")?;
        let pipeline = spv::PipelineOptions { shader_stage: entry.stage, entry_point: entry.name.clone() };
        let spirv = spv::write_vec(&module, &info, &options, Some(&pipeline))?;
        let globals = || module.global_variables.iter();
        let mut bindings: Vec<u32> = globals().filter_map(|(_, global)| Some(global.binding?.binding)).collect();
        bindings.sort_unstable();
        let shared = globals().filter(|(_, global)| global.space == AddressSpace::WorkGroup);
        let workgroup_bytes = shared.map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx())).sum();
        let facts = Facts { workgroup: entry.workgroup_size.iter().product(), workgroup_bytes, quants: quants(&module) };
        let counted = turns::counted(&module, &info);
        Ok(Self { spirv, bindings, facts, counted })
    }
}

/// A kernel reads weights through `unit_quants` from `quants`; how much it reads there tells how wide a weight is.
fn quants(module: &Module) -> Option<Quants> {
    let (handle, quants) = module.global_variables.iter().find(|(_, global)| global.name.as_deref() == Some("quants"))?;
    let (_, unit) = module.functions.iter().find(|(_, function)| function.name.as_deref() == Some("unit_quants"))?;
    let bits = 8 * bytes_loaded(module, unit, handle);
    let stored_bits = constant(module, "BITS")?;
    Some(Quants { binding: quants.binding?.binding, bits: bits / UNIT_WEIGHTS, stored_bits })
}

/// The value of a `u32` constant.
fn constant(module: &Module, name: &str) -> Option<u32> {
    let (_, constant) = module.constants.iter().find(|(_, constant)| constant.name.as_deref() == Some(name))?;
    match module.global_expressions[constant.init] {
        Expression::Literal(Literal::U32(value)) => Some(value),
        _ => None,
    }
}

/// Bytes that a function without loops loads from a global array.
fn bytes_loaded(module: &Module, function: &Function, from: Handle<GlobalVariable>) -> u32 {
    let global = |pointer: Handle<Expression>| match function.expressions[pointer] {
        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
            matches!(function.expressions[base], Expression::GlobalVariable(variable) if variable == from)
        }
        _ => false,
    };
    let element = match module.types[module.global_variables[from].ty].inner {
        naga::TypeInner::Array { stride, .. } => stride,
        _ => 0,
    };
    let own = function
        .expressions
        .iter()
        .filter(|(_, expression)| matches!(expression, Expression::Load { pointer } if global(*pointer)))
        .count() as u32
        * element;
    own + calls(&function.body).iter().map(|callee| bytes_loaded(module, &module.functions[*callee], from)).sum::<u32>()
}

fn calls(block: &naga::Block) -> Vec<Handle<Function>> {
    block
        .iter()
        .flat_map(|statement| match statement {
            Statement::Call { function, .. } => vec![*function],
            Statement::Block(block) => calls(block),
            Statement::If { accept, reject, .. } => [calls(accept), calls(reject)].concat(),
            _ => Vec::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Quants, Shader};

    #[test]
    fn a_weights_width_is_what_a_unit_reads() {
        let text = "
            const BITS: u32 = 6u;
            @group(0) @binding(3) var<storage, read> quants: array<vec4<u32>>;
            @group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;
            var<workgroup> tile: array<vec4<f32>, 16>;
            fn part(at: u32) -> vec4<u32> { return quants[at]; }
            fn unit_quants(unit: u32) -> vec4<u32> { return part(2u * unit) + quants[2u * unit + 1u]; }
            @compute @workgroup_size(32, 2) fn main(@builtin(local_invocation_index) i: u32) {
                tile[i % 16u] = vec4<f32>(1.0);
                y[i] = unit_quants(i);
            }";
        let shader = Shader::new(text).expect("it compiles");
        assert_eq!(shader.facts.quants, Some(Quants { binding: 3, bits: 8, stored_bits: 6 }));
        assert_eq!((shader.facts.workgroup, shader.facts.workgroup_bytes), (64, 256));
        assert_eq!(shader.bindings, [1, 3]);
    }
}
