//! The driver's compiler, asked through `VK_KHR_pipeline_executable_properties`.

use crate::shader::Shader;
use anyhow::{Context, Result, bail};
use ash::{khr, vk};
use serde::Serialize;
use std::ffi::CStr;

const EXTENSION: &CStr = khr::pipeline_executable_properties::NAME;

/// A device of the driver, which has none: enough to compile for.
pub struct Driver {
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    name: String,
    // The loaded library and the instance outlive the device.
    _instance: ash::Instance,
    _entry: ash::Entry,
}

/// What the compiler says of its work.
#[derive(Debug, Default, Serialize)]
pub struct Code {
    pub subgroup: u32,
    pub vgprs: u64,
    pub sgprs: u64,
    pub spilled_vgprs: u64,
    pub spilled_sgprs: u64,
    pub scratch_bytes: u64,
    pub lds_bytes: u64,
    pub instructions: u64,
    pub code_bytes: u64,
}

impl Code {
    fn add(&mut self, name: &str, value: u64) {
        match name {
            "VGPRs" => self.vgprs = value,
            "SGPRs" => self.sgprs = value,
            "Spilled VGPRs" => self.spilled_vgprs = value,
            "Spilled SGPRs" => self.spilled_sgprs = value,
            "Scratch size" => self.scratch_bytes = value,
            "LDS size" => self.lds_bytes = value,
            "Instructions" => self.instructions = value,
            "Code size" => self.code_bytes = value,
            _ => {}
        }
    }
}

impl Driver {
    /// The first device with a compiler that tells.
    pub fn open() -> Result<Self> {
        // SAFETY: the loader's library does nothing but load.
        let entry = unsafe { ash::Entry::load() }.context("there is no Vulkan loader")?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        // SAFETY: the structures live until the call returns, here and below.
        let instance = unsafe { entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&application), None) }
            .context("no Vulkan driver answers")?;
        // SAFETY: as above.
        let physical = unsafe { instance.enumerate_physical_devices() }?;
        for physical in physical {
            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            // SAFETY: the handle was just enumerated.
            unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
            let text = |name: Result<&CStr, _>| name.unwrap_or_default().to_string_lossy().into_owned();
            let card = text(properties.properties.device_name_as_c_str());
            let name = format!("{card}, {}", text(driver.driver_info_as_c_str()));
            if let Ok(device) = device(&instance, physical) {
                let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
                return Ok(Self { device, executables, name, _instance: instance, _entry: entry });
            }
        }
        bail!("no Vulkan driver here has {}", EXTENSION.to_string_lossy())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compiles one shader; also returns its assembly.
    pub fn compile(&self, shader: &Shader) -> Result<(Code, String)> {
        let entries: Vec<_> = shader
            .bindings
            .iter()
            .map(|binding| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(*binding)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        // SAFETY: naga validated the module and wrote the SPIR-V; the handles are this device's and live long enough. They are not destroyed:
        // the program ends soon.
        let pipeline = unsafe {
            let set =
                self.device.create_descriptor_set_layout(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&entries), None)?;
            let sets = [set];
            let layout = self.device.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None)?;
            let module = self.device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&shader.spirv), None)?;
            let stage =
                vk::PipelineShaderStageCreateInfo::default().stage(vk::ShaderStageFlags::COMPUTE).module(module).name(c"main");
            let create = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).flags(flags);
            self.device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None)
        }
        .map_err(|(_, error)| error)?;
        let pipeline = *pipeline.first().context("the driver made no pipeline")?;
        self.look(pipeline)
    }

    fn look(&self, pipeline: vk::Pipeline) -> Result<(Code, String)> {
        let mut code = Code::default();
        let mut assembly = String::new();
        // SAFETY: the pipeline is this device's and was made with both capture flags; the second call of each pair gets room for as much as the
        // first one asked for.
        unsafe {
            let executables =
                self.executables.get_pipeline_executable_properties(&vk::PipelineInfoKHR::default().pipeline(pipeline))?;
            let executable = executables.first().context("the driver shows no executable")?;
            code.subgroup = executable.subgroup_size;
            let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
            for statistic in self.executables.get_pipeline_executable_statistics(&info)? {
                if statistic.format == vk::PipelineExecutableStatisticFormatKHR::UINT64 {
                    code.add(&statistic.name_as_c_str().unwrap_or_default().to_string_lossy(), statistic.value.u64);
                }
            }
            let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
            let mut count = 0;
            get(self.device.handle(), &info, &mut count, std::ptr::null_mut()).result()?;
            let mut shown = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            get(self.device.handle(), &info, &mut count, shown.as_mut_ptr()).result()?;
            let mut texts: Vec<Vec<u8>> = shown.iter().map(|one| vec![0; one.data_size]).collect();
            for (one, text) in shown.iter_mut().zip(&mut texts) {
                one.p_data = text.as_mut_ptr().cast();
            }
            get(self.device.handle(), &info, &mut count, shown.as_mut_ptr()).result()?;
            for (one, text) in shown.iter().zip(&texts) {
                if one.name_as_c_str().is_ok_and(|name| name == c"Assembly") {
                    assembly = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
                }
            }
        }
        Ok((code, assembly))
    }
}

/// A device with what the shaders may use, and with the checks of buffers that WebGPU's implementations ask for.
fn device(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Result<ash::Device> {
    // SAFETY: the handle was enumerated from this instance; the structures live until the call returns.
    unsafe {
        let family = instance
            .get_physical_device_queue_family_properties(physical)
            .iter()
            .position(|family| family.queue_flags.contains(vk::QueueFlags::COMPUTE))
            .context("no compute queue")?;
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family as u32).queue_priorities(&[1.0])];
        let extensions = [EXTENSION.as_ptr(), ash::ext::robustness2::NAME.as_ptr()];
        let core = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true);
        let mut executable = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
        let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
        let mut v11 = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default().shader_float16(true).shader_int8(true);
        let mut v13 = vk::PhysicalDeviceVulkan13Features::default()
            .subgroup_size_control(true)
            .compute_full_subgroups(true)
            .shader_integer_dot_product(true);
        let create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .enabled_features(&core)
            .push_next(&mut executable)
            .push_next(&mut robust)
            .push_next(&mut v11)
            .push_next(&mut v12)
            .push_next(&mut v13);
        Ok(instance.create_device(physical, &create, None)?)
    }
}
