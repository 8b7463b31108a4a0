//! Finding an adapter, and what it can do.

use super::{GpuError, int8_dot};

/// How good a device is, which decides the fragments that kernels are built from. Every kernel runs on [`Tier::C`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Neither f16 arithmetic nor subgroups are needed; subgroups are used where they are there, unless C was forced.
    C,
    /// f16 arithmetic.
    B,
    /// f16 arithmetic and subgroups.
    A,
    /// f16 arithmetic, subgroups, and dot products of bytes in hardware.
    APlus,
}

impl Tier {
    /// Every tier, the best first.
    pub const ALL: [Tier; 4] = [Tier::APlus, Tier::A, Tier::B, Tier::C];

    /// `a+`, `a`, `b` or `c`.
    pub fn name(self) -> &'static str {
        match self {
            Tier::APlus => "a+",
            Tier::A => "a",
            Tier::B => "b",
            Tier::C => "c",
        }
    }

    /// The tier called `name`, in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name().eq_ignore_ascii_case(name))
    }
}

/// The optional features that kernels may use on an open device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Subgroup operations (of any size from 4 to 128).
    pub subgroups: bool,
    /// `f16` in shaders. Kernels read keys and values as such; nothing is computed in it.
    pub f16: bool,
    /// `dot4I8Packed` is worth using: it is one instruction, as far as the adapter's name tells, or [`Tier::APlus`] was forced.
    pub int8_dot: bool,
}

impl Capabilities {
    /// The tier that these features make.
    pub fn tier(self) -> Tier {
        match (self.f16, self.subgroups, self.int8_dot) {
            (true, true, true) => Tier::APlus,
            (true, true, false) => Tier::A,
            (true, false, _) => Tier::B,
            (false, _, _) => Tier::C,
        }
    }

    /// Only what `tier` uses of these features, or the names of those that are missing. Dot products of bytes are not missing here (an old
    /// browser's WGSL may lack them: [`WebAdapter::lacks_dot`]): where
    /// the GPU has no instruction, its driver computes them in several, so whoever forces A+ gets kernels that use them.
    pub(super) fn restrict(self, tier: Tier) -> Result<Self, String> {
        let wanted = Self { f16: tier >= Tier::B, subgroups: tier >= Tier::A, int8_dot: tier == Tier::APlus };
        let missing: Vec<_> = [("shader-f16", wanted.f16 && !self.f16), ("subgroups", wanted.subgroups && !self.subgroups)]
            .into_iter()
            .filter_map(|(name, lacks)| lacks.then_some(name))
            .collect();
        if missing.is_empty() { Ok(wanted) } else { Err(missing.join(" and ")) }
    }
}

/// The limits that plans are made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeviceLimits {
    /// Most bytes of one storage binding (`maxStorageBufferBindingSize`).
    pub binding_bytes: u64,
    /// Most bytes of one buffer (`maxBufferSize`).
    pub buffer_bytes: u64,
    /// Alignment of a storage binding's offset, bytes.
    pub offset_alignment: u32,
    /// Most storage buffers of a kernel (`maxStorageBuffersPerShaderStage`).
    pub storage_buffers: u32,
    /// Most invocations of a workgroup (`maxComputeInvocationsPerWorkgroup`).
    pub workgroup_invocations: u32,
    /// Most bytes of a workgroup's memory (`maxComputeWorkgroupStorageSize`).
    pub workgroup_bytes: u32,
}

impl DeviceLimits {
    pub(super) fn of(limits: &wgpu::Limits) -> Self {
        Self {
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            offset_alignment: limits.min_storage_buffer_offset_alignment,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
        }
    }
}

/// What a device is, for people and for JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeviceInfo {
    /// The adapter's name as the driver or browser gives it.
    pub name: String,
    /// Who made the GPU: `nvidia`, `amd`, `intel`, `apple`, `qualcomm`, `arm`, or what a browser calls another; empty where nobody says.
    pub vendor: String,
    /// `vulkan`, `metal`, `dx12` or `webgpu`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` (a software adapter) or `other`.
    pub kind: String,
    /// The driver and its version, where it is told.
    pub driver: String,
    /// The tier chosen by features: `a+`, `a`, `b` or `c`.
    pub tier: String,
    /// Subgroup operations are there and used.
    pub subgroups: bool,
    /// The least and the most invocations of a subgroup, where the adapter has subgroups.
    pub subgroup_sizes: Option<[u32; 2]>,
    /// `shader-f16` is there and used.
    pub f16: bool,
    /// Dot products of bytes are used: [`Capabilities::int8_dot`].
    pub int8_dot: bool,
    /// Limits that matter here: the adapter's, those in force once it is open.
    pub limits: DeviceLimits,
}

/// Which adapter to open.
#[derive(Debug, Clone, Default)]
pub struct AdapterChoice {
    /// A part of the adapter's name, in any case (native only; browsers offer one adapter).
    pub name: Option<String>,
    /// Use only what this tier allows.
    pub tier: Option<Tier>,
}

/// What wgpu cannot see of a browser's adapter, but who holds the JS object can.
#[derive(Debug, Clone, Default)]
pub struct WebAdapter {
    /// Its description, or vendor, architecture and device.
    pub name: Option<String>,
    /// `vendor` of its `GPUAdapterInfo`.
    pub vendor: Option<String>,
    /// `subgroupMinSize` and `subgroupMaxSize`.
    pub subgroup_sizes: Option<[u32; 2]>,
    /// Devices will have `subgroups`. They are used if the open device then really has them.
    pub subgroups: bool,
    /// Its name says that it has dot products of bytes in hardware.
    pub int8_dot: bool,
    /// Its WGSL lacks `dot4I8Packed` (`packed_4x8_integer_dot_product`).
    pub lacks_dot: bool,
    /// It computes on the CPU.
    pub software: bool,
}

/// The maker of a PCI or Khronos vendor id, as browsers call it.
fn vendor(id: u32) -> &'static str {
    match id {
        0x10de => "nvidia",
        0x1002 | 0x1022 => "amd",
        0x8086 => "intel",
        0x106b => "apple",
        0x5143 => "qualcomm",
        0x13b5 => "arm",
        _ => "",
    }
}

/// A found adapter and what it offers.
pub(super) struct Found {
    pub(super) adapter: wgpu::Adapter,
    pub(super) info: DeviceInfo,
    pub(super) capabilities: Capabilities,
}

pub(super) fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12 | wgpu::Backends::BROWSER_WEBGPU;
    wgpu::Instance::new(descriptor)
}

/// Every adapter of this machine (in a browser: the one that it offers), best first.
pub async fn devices() -> Vec<DeviceInfo> {
    found(&instance(), &WebAdapter::default()).await.into_iter().map(|found| found.info).collect()
}

pub(super) async fn choose(instance: &wgpu::Instance, choice: &AdapterChoice, web: &WebAdapter) -> Result<Found, GpuError> {
    let mut all = found(instance, web).await;
    if all.is_empty() {
        return Err(GpuError::NoAdapter { reason: "no adapter answered".into() });
    }
    let index = match &choice.name {
        None => 0,
        Some(wanted) => {
            let lower = wanted.to_lowercase();
            all.iter().position(|found| found.info.name.to_lowercase().contains(&lower)).ok_or_else(|| {
                GpuError::UnknownAdapter {
                    wanted: wanted.clone(),
                    available: all.iter().map(|found| found.info.name.as_str()).collect::<Vec<_>>().join(", "),
                }
            })?
        }
    };
    let mut chosen = all.swap_remove(index);
    if web.lacks_dot && choice.tier == Some(Tier::APlus) {
        let missing = "packed_4x8_integer_dot_product".into();
        return Err(GpuError::TierUnavailable { tier: Tier::APlus.name(), missing, adapter: chosen.info.name });
    }
    chosen.settle(choice.tier)?;
    Ok(chosen)
}

impl Found {
    /// Keeps of the features only those that the open `device` has: a browser's `subgroups` are asked for behind wgpu's back, which can
    /// fail in silence.
    pub(super) fn confirmed(mut self, device: &wgpu::Device, tier: Option<Tier>) -> Result<Self, GpuError> {
        self.capabilities.subgroups &= has_subgroups(device);
        self.info.limits = DeviceLimits::of(&device.limits());
        self.settle(tier)?;
        Ok(self)
    }

    /// Uses only what `tier` allows, if one is forced, and says so in the info.
    pub(super) fn settle(&mut self, tier: Option<Tier>) -> Result<(), GpuError> {
        if let Some(tier) = tier {
            self.capabilities = self.capabilities.restrict(tier).map_err(|missing| GpuError::TierUnavailable {
                tier: tier.name(),
                missing,
                adapter: self.info.name.clone(),
            })?;
        }
        self.info.tier = tier.unwrap_or(self.capabilities.tier()).name().into();
        let Capabilities { subgroups, f16, int8_dot } = self.capabilities;
        let subgroup_sizes = self.info.subgroup_sizes.filter(|_| subgroups);
        self.info = DeviceInfo { subgroups, subgroup_sizes, f16, int8_dot, ..self.info.clone() };
        Ok(())
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn has_subgroups(device: &wgpu::Device) -> bool {
    device.features().contains(wgpu::Features::SUBGROUP)
}

#[cfg(target_arch = "wasm32")]
fn has_subgroups(device: &wgpu::Device) -> bool {
    device.as_webgpu().is_some_and(|device| device.features().has("subgroups"))
}

#[cfg(not(target_arch = "wasm32"))]
async fn adapters(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    // A real GPU before a software one, a discrete one first.
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

#[cfg(target_arch = "wasm32")]
async fn adapters(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let options = wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    instance.request_adapter(&options).await.into_iter().collect()
}

async fn found(instance: &wgpu::Instance, web: &WebAdapter) -> Vec<Found> {
    adapters(instance).await.into_iter().map(|adapter| describe(adapter, web)).collect()
}

fn describe(adapter: wgpu::Adapter, web: &WebAdapter) -> Found {
    let features = adapter.features();
    let about = adapter.get_info();
    let capabilities = Capabilities {
        subgroups: features.contains(wgpu::Features::SUBGROUP) || web.subgroups,
        f16: features.contains(wgpu::Features::SHADER_F16),
        int8_dot: int8_dot::native(&about) || web.int8_dot,
    };
    let names = [web.name.clone().unwrap_or_default(), about.name.clone(), about.driver.clone()];
    let name = names.into_iter().find(|name| !name.is_empty());
    let info = DeviceInfo {
        name: name.unwrap_or_else(|| "WebGPU adapter".into()),
        vendor: web.vendor.clone().unwrap_or_else(|| vendor(about.vendor).into()),
        backend: match about.backend {
            wgpu::Backend::BrowserWebGpu => "webgpu".into(),
            other => other.to_str().to_lowercase(),
        },
        kind: match about.device_type {
            _ if web.software => "cpu",
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        }
        .into(),
        driver: format!("{} {}", about.driver, about.driver_info).trim().to_owned(),
        tier: capabilities.tier().name().into(),
        subgroups: capabilities.subgroups,
        subgroup_sizes: web
            .subgroup_sizes
            .or((about.subgroup_max_size > 0).then_some([about.subgroup_min_size, about.subgroup_max_size]))
            .filter(|_| capabilities.subgroups),
        f16: capabilities.f16,
        int8_dot: capabilities.int8_dot,
        limits: DeviceLimits::of(&adapter.limits()),
    };
    Found { adapter, info, capabilities }
}

#[cfg(test)]
mod tests {
    use super::{Capabilities, Tier};

    #[test]
    fn a_tier_is_what_its_own_capabilities_make() {
        let all = Capabilities { subgroups: true, f16: true, int8_dot: true };
        for tier in Tier::ALL {
            assert_eq!(all.restrict(tier).map(Capabilities::tier), Ok(tier));
            assert_eq!(Tier::from_name(&tier.name().to_uppercase()), Some(tier));
        }
        assert_eq!(all.restrict(Tier::C), Ok(Capabilities::default()));
        assert_eq!(Tier::from_name("d"), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let subgroups = Capabilities { subgroups: true, ..Capabilities::default() };
        assert_eq!(subgroups.tier(), Tier::C);
        assert_eq!(subgroups.restrict(Tier::B), Err("shader-f16".into()));
        assert_eq!(Capabilities::default().restrict(Tier::A), Err("shader-f16 and subgroups".into()));
    }

    #[test]
    fn a_plus_may_be_forced_where_dot_products_are_emulated() {
        let plain = Capabilities { subgroups: true, f16: true, int8_dot: false };
        assert_eq!(plain.tier(), Tier::A);
        assert_eq!(plain.restrict(Tier::APlus), Ok(Capabilities { int8_dot: true, ..plain }));
    }
}
