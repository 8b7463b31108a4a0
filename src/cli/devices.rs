//! `kinglet devices`: the GPUs of this machine.

use super::args::DevicesArgs;
use super::exit::Failure;
use super::output;
use kinglet::gpu::GpuError;

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
        let has = |what, has| if has { what } else { "" };
        output::line(format_args!("{number}: {} ({}, {}, tier {})", device.name, device.backend, device.kind, device.tier))?;
        output::line(format_args!(
            "    driver {}; bindings up to {}, buffers up to {}{}{}",
            device.driver,
            output::bytes(device.limits.binding_bytes),
            output::bytes(device.limits.buffer_bytes),
            has("; subgroups", device.subgroups),
            has("; f16", device.f16),
        ))?;
    }
    Ok(())
}
