//! `kinglet devices`: the GPUs of this machine.

use super::args::DevicesArgs;
use super::exit::Failure;
use super::output;
use kinglet::gpu::{DeviceInfo, GpuError};

/// Prints every adapter, best first: the first is used unless another one is chosen.
pub fn run(args: &DevicesArgs) -> Result<(), Failure> {
    let devices = pollster::block_on(kinglet::gpu::devices());
    if devices.is_empty() {
        return Err(GpuError::NoAdapter { reason: "no adapter answered".into() }.into());
    }
    if args.json {
        return output::json(&devices);
    }
    for (number, device) in devices.iter().enumerate() {
        let limits = &device.limits;
        output::line(format_args!("{number}: {} ({}, {}, tier {})", device.name, device.backend, device.kind, device.tier))?;
        output::line(format_args!(
            "    driver {}; bindings up to {}, buffers up to {}; workgroups up to {} invocations and {}; {} storage buffers",
            device.driver,
            output::bytes(limits.binding_bytes),
            output::bytes(limits.buffer_bytes),
            limits.workgroup_invocations,
            output::bytes(limits.workgroup_bytes.into()),
            limits.storage_buffers,
        ))?;
        output::line(format_args!("    {}", features(device)))?;
    }
    Ok(())
}

/// What the tier was decided by.
fn features(device: &DeviceInfo) -> String {
    let subgroups = match device.subgroup_sizes {
        Some([least, most]) if least == most => format!("subgroups of {least}"),
        Some([least, most]) => format!("subgroups of {least} to {most}"),
        None => "no subgroups".into(),
    };
    let f16 = if device.f16 { "f16" } else { "no f16" };
    let int8 =
        if device.int8_dot { "int8 dot products in hardware" } else { "no int8 dot products in hardware as far as is known" };
    format!("{f16}; {subgroups}; {int8}")
}
