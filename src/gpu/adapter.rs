//! Finding an adapter, and what it can do.

use super::GpuError;

/// How good a device is, which decides the fragments that kernels are built from. Every kernel runs on [`Tier::C`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Neither f16 arithmetic nor subgroups are needed; subgroups are used where they are there, unless C was forced.
    C,
    /// f16 arithmetic.
    B,
    /// f16 arithmetic and subgroups.
    A,
}

impl Tier {
    /// `a`, `b` or `c`.
    pub fn name(self) -> &'static str {
        match self {
            Tier::A => "a",
            Tier::B => "b",
            Tier::C => "c",
        }
    }

    /// The tier called `name`, in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "a" | "A" => Some(Tier::A),
            "b" | "B" => Some(Tier::B),
            "c" | "C" => Some(Tier::C),
            _ => None,
        }
    }
}

/// The optional features that kernels may use on an open device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Subgroup operations (of any size from 4 to 128).
    pub subgroups: bool,
    /// `f16` arithmetic in shaders. No kernel uses it yet; it counts for the tier.
    pub f16: bool,
}

impl Capabilities {
    /// The tier that these features make.
    pub fn tier(self) -> Tier {
        match (self.f16, self.subgroups) {
            (true, true) => Tier::A,
            (true, false) => Tier::B,
            (false, _) => Tier::C,
        }
    }

    /// Only what `tier` uses of these features, or the names of those that are missing.
    pub(super) fn restrict(self, tier: Tier) -> Result<Self, String> {
        let wanted = match tier {
            Tier::A => Self { subgroups: true, f16: true },
            Tier::B => Self { subgroups: false, f16: true },
            Tier::C => Self { subgroups: false, f16: false },
        };
        let missing: Vec<_> = [("shader-f16", wanted.f16 && !self.f16), ("subgroups", wanted.subgroups && !self.subgroups)]
            .into_iter()
            .filter_map(|(name, lacks)| lacks.then_some(name))
            .collect();
        if missing.is_empty() { Ok(wanted) } else { Err(missing.join(" and ")) }
    }
}

/// The limits that plans are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DeviceLimits {
    /// Most bytes of one storage binding (`maxStorageBufferBindingSize`).
    pub binding_bytes: u64,
    /// Most bytes of one buffer (`maxBufferSize`).
    pub buffer_bytes: u64,
    /// Alignment of a storage binding's offset, bytes.
    pub offset_alignment: u32,
}

/// What a device is, for people and for JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeviceInfo {
    /// The adapter's name as the driver or browser gives it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `webgpu`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` (a software adapter) or `other`.
    pub kind: String,
    /// The driver and its version, where it is told.
    pub driver: String,
    /// The tier chosen by features: `a`, `b` or `c`.
    pub tier: String,
    /// Subgroup operations are there and used.
    pub subgroups: bool,
    /// `shader-f16` is there.
    pub f16: bool,
    /// Limits that matter here.
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
    found(&instance(), false).await.into_iter().map(|found| found.info).collect()
}

pub(super) async fn choose(instance: &wgpu::Instance, choice: &AdapterChoice, web_subgroups: bool) -> Result<Found, GpuError> {
    let mut all = found(instance, web_subgroups).await;
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
    chosen.settle(choice.tier)?;
    Ok(chosen)
}

impl Found {
    /// Keeps of the features only those that the open `device` has: a browser's `subgroups` are asked for behind wgpu's back, which can
    /// fail in silence.
    pub(super) fn confirmed(mut self, device: &wgpu::Device, tier: Option<Tier>) -> Result<Self, GpuError> {
        self.capabilities.subgroups &= has_subgroups(device);
        self.settle(tier)?;
        Ok(self)
    }

    /// Uses only what `tier` allows, if one is forced, and says so in the info.
    fn settle(&mut self, tier: Option<Tier>) -> Result<(), GpuError> {
        if let Some(tier) = tier {
            self.capabilities = self.capabilities.restrict(tier).map_err(|missing| GpuError::TierUnavailable {
                tier: tier.name(),
                missing,
                adapter: self.info.name.clone(),
            })?;
        }
        self.info.tier = tier.unwrap_or(self.capabilities.tier()).name().into();
        self.info.subgroups = self.capabilities.subgroups;
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

async fn found(instance: &wgpu::Instance, web_subgroups: bool) -> Vec<Found> {
    adapters(instance).await.into_iter().map(|adapter| describe(adapter, web_subgroups)).collect()
}

fn describe(adapter: wgpu::Adapter, web_subgroups: bool) -> Found {
    let features = adapter.features();
    let capabilities = Capabilities {
        // wgpu cannot see the browser's subgroups: whoever holds the JS adapter says so.
        subgroups: features.contains(wgpu::Features::SUBGROUP) || web_subgroups,
        f16: features.contains(wgpu::Features::SHADER_F16),
    };
    let limits = adapter.limits();
    let about = adapter.get_info();
    let name = if about.name.is_empty() { about.driver.clone() } else { about.name.clone() };
    let info = DeviceInfo {
        name: if name.is_empty() { "WebGPU adapter".into() } else { name },
        backend: match about.backend {
            wgpu::Backend::BrowserWebGpu => "webgpu".into(),
            other => other.to_str().to_lowercase(),
        },
        kind: match about.device_type {
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
        f16: capabilities.f16,
        limits: DeviceLimits {
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            offset_alignment: limits.min_storage_buffer_offset_alignment,
        },
    };
    Found { adapter, info, capabilities }
}
