//! Putting a shader's text together from its fragments.

use crate::gpu::{Access, Capabilities, Shader};
use std::fmt::Write;

/// The GPU's view of a step, as `lib/step.wgsl` has it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Step {
    /// Position of row 0 in the sequence.
    pub position: u32,
    /// Token rows of the step.
    pub rows: u32,
    /// Tokens drawn so far in this answer.
    pub drawn: u32,
    /// The token drawn last.
    pub token: u32,
}

impl Step {
    /// Byte offset of [`Step::token`].
    pub const TOKEN_OFFSET: u64 = 12;
}

/// A shader in the making: constants first, then fragments.
pub(super) struct Source {
    constants: String,
    fragments: Vec<&'static str>,
    subgroups: bool,
    f16: bool,
}

impl Source {
    pub(super) fn new() -> Self {
        Self { constants: String::new(), fragments: Vec::new(), subgroups: false, f16: false }
    }

    pub(super) fn uint(mut self, name: &str, value: u32) -> Self {
        let _ = writeln!(self.constants, "const {name}: u32 = {value}u;");
        self
    }

    /// A finite `f32` constant, written with all its digits.
    pub(super) fn float(mut self, name: &str, value: f32) -> Self {
        let _ = writeln!(self.constants, "const {name}: f32 = {value:?}f;");
        self
    }

    pub(super) fn flag(mut self, name: &str, value: bool) -> Self {
        let _ = writeln!(self.constants, "const {name}: bool = {value};");
        self
    }

    pub(super) fn fragment(mut self, text: &'static str) -> Self {
        self.fragments.push(text);
        self
    }

    pub(super) fn step(self) -> Self {
        self.fragment(include_str!("../../shaders/lib/step.wgsl"))
    }

    /// A step, how to draw, and what came before, in one structure.
    pub(super) fn sequence(self) -> Self {
        self.step()
            .fragment(include_str!("../../shaders/lib/sampling.wgsl"))
            .fragment(include_str!("../../shaders/lib/sequence.wgsl"))
    }

    /// The text uses subgroup operations.
    pub(super) fn subgroups(mut self) -> Self {
        self.subgroups = true;
        self
    }

    /// The text uses `f16`.
    pub(super) fn f16(mut self) -> Self {
        self.f16 = true;
        self
    }

    /// The reduction over `group` consecutive invocations of workgroups of `workgroup`, and the entry point.
    pub(super) fn reduce(mut self, workgroup: u32, group: u32, capabilities: Capabilities) -> Self {
        debug_assert!(group.is_power_of_two() && workgroup.is_multiple_of(group));
        self.subgroups = capabilities.subgroups;
        let fragment = match capabilities.subgroups {
            true => include_str!("../../shaders/lib/reduce_subgroup.wgsl"),
            false => include_str!("../../shaders/lib/reduce_shared.wgsl"),
        };
        self.uint("WORKGROUP", workgroup).uint("GROUP", group).fragment(fragment)
    }

    pub(super) fn build(self, name: &'static str, kernel: &'static str, bindings: &[Access]) -> Shader {
        let mut wgsl = if self.f16 { "enable f16;\n" } else { "" }.to_owned() + &self.constants;
        for fragment in self.fragments.iter().chain([&kernel]).filter(|fragment| !fragment.is_empty()) {
            wgsl.push('\n');
            wgsl.push_str(fragment);
        }
        Shader { name, wgsl, bindings: bindings.to_vec(), subgroups: self.subgroups }
    }
}
