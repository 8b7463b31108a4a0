//! Shaders and their compiled pipelines.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// How a kernel uses one of its bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

/// A complete WGSL program of one entry point `main`, without the header that differs between targets.
#[derive(Debug, Clone)]
pub struct Shader {
    /// The kernel's name.
    pub name: &'static str,
    /// `enable f16;` where it is used, constants, fragments and kernel, in that order.
    pub wgsl: String,
    /// Group 0's bindings, all storage buffers, in order.
    pub bindings: Vec<Access>,
    /// The text uses subgroup operations.
    pub subgroups: bool,
}

impl Shader {
    /// The text for a browser, or (`web: false`) for wgpu's own front end, which rejects the directive that browsers require.
    pub fn text(&self, web: bool) -> String {
        let header = if self.subgroups && web { "enable subgroups;\n" } else { "" };
        format!("{header}{}", self.wgsl)
    }
}

/// A compiled shader and the layout of its bindings.
#[derive(Debug)]
pub struct Pipeline {
    name: &'static str,
    wgsl: Rc<str>,
    raw: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl Pipeline {
    /// The kernel's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its text, as [`Shader::wgsl`].
    pub fn wgsl(&self) -> &str {
        &self.wgsl
    }

    /// The constants at the beginning of its text, as `QUADS=144 BLOCKS=18`: what tells two pipelines of one kernel apart.
    pub fn constants(&self) -> String {
        let constant = |line: &str| {
            let (name, value) = line.strip_prefix("const ")?.strip_suffix(';')?.split_once(" = ")?;
            let number = value.starts_with(|first: char| first.is_ascii_digit() || first == '-');
            let value = if number { value.trim_end_matches(['u', 'f']) } else { value };
            Some(format!("{}={value}", name.split(':').next()?))
        };
        let lines = self.wgsl.lines().skip_while(|line| line.starts_with("enable "));
        lines.map_while(constant).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn raw(&self) -> &wgpu::ComputePipeline {
        &self.raw
    }

    pub(super) fn layout(&self) -> &wgpu::BindGroupLayout {
        &self.layout
    }
}

#[derive(Default)]
pub(super) struct PipelineCache(RefCell<HashMap<Rc<str>, Rc<Pipeline>>>);

impl PipelineCache {
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// All of them, by name and text.
    pub(super) fn all(&self) -> Vec<Rc<Pipeline>> {
        let mut all: Vec<_> = self.0.borrow().values().cloned().collect();
        all.sort_by(|a, b| (a.name, &a.wgsl).cmp(&(b.name, &b.wgsl)));
        all
    }

    pub(super) fn get(&self, device: &wgpu::Device, shader: &Shader) -> Rc<Pipeline> {
        if let Some(pipeline) = self.0.borrow().get(shader.wgsl.as_str()) {
            return pipeline.clone();
        }
        let pipeline = Rc::new(compile(device, shader));
        self.0.borrow_mut().insert(pipeline.wgsl.clone(), pipeline.clone());
        pipeline
    }
}

fn compile(device: &wgpu::Device, shader: &Shader) -> Pipeline {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(shader.name),
        source: wgpu::ShaderSource::Wgsl(shader.text(cfg!(target_arch = "wasm32")).into()),
    };
    // wgpu counts the turns of every loop, lest one be endless: up to a third more instructions where weights are read.
    let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
    // SAFETY: every loop in `shaders/` is a `for` that ends: its counter goes by a constant, or by halves or doubles, towards a bound that is
    // fixed before the loop and, where it depends on the step, below 2^31. All other checks, those of memory among them, stay.
    #[allow(unsafe_code, reason = "the texts are our own")]
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    let entries: Vec<_> = shader
        .bindings
        .iter()
        .enumerate()
        .map(|(index, access)| wgpu::BindGroupLayoutEntry {
            binding: index as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: *access == Access::Read },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(shader.name), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(shader.name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(shader.name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        // Kernels write workgroup memory before they read it.
        compilation_options: wgpu::PipelineCompilationOptions { zero_initialize_workgroup_memory: false, ..Default::default() },
        cache: None,
    });
    Pipeline { name: shader.name, wgsl: shader.wgsl.as_str().into(), raw, layout }
}
