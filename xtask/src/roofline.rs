//! `cargo xtask roofline`: tokens per second that a model should reach on GPUs that nobody here owns, so that a change of dispatches, bytes or
//! instructions can be judged for them. A model of a GPU in four numbers: its predictions are upper ends, good for comparing.

use crate::devices::{DEVICES, Device, NOTES};
use crate::isa;
use crate::plan::{Compiled, Dispatch, Plan, Step};
use crate::setup;
use anyhow::{Context, Result};

/// Parts of the stated bandwidth and of the peak arithmetic that a good kernel reaches.
const BANDWIDTH_EFFICIENCY: f64 = 0.8;
const ALU_EFFICIENCY: f64 = 0.6;

/// Makers with rows of their own in the table of kernels to start with, and all others.
const MAKERS: [&str; 3] = ["amd", "nvidia", "other"];

/// Where the instructions are counted: the RDNA 3 of a 780M.
const FAMILY: &str = isa::FAMILIES[1];

/// Prints the counters of the model's steps and the prediction for each device and tier.
pub fn run(name: &str, position: u32) -> Result<()> {
    setup::setup(setup::Needs { gpu: true, ..setup::Needs::MODEL })?;
    for maker in MAKERS {
        for variant in isa::variants(name, position, maker)? {
            let code = isa::radv().map(|_| isa::compile(&variant, FAMILY)).transpose()?;
            print(&variant.plan, code.as_ref(), maker)?;
        }
    }
    println!("\nAssumptions");
    println!(
        "  a dispatch takes max(bytes / (bandwidth · {BANDWIDTH_EFFICIENCY}), instructions / (peak · {ALU_EFFICIENCY})) and its own cost besides;"
    );
    println!(
        "  one with fewer workgroups than the GPU has cores has only that part of bandwidth and peak; caches hold nothing between dispatches;"
    );
    println!(
        "  a token takes as long as its step, unless steps in flight cannot hide the readback: (step + readback) / steps in flight."
    );
    println!(
        "  Kernels are those of the table for the device's maker, before anything is measured on it; tier A+ has 8 bits everywhere."
    );
    println!("  Prefill is a chunk without the LM head. Encoding on the CPU goes on meanwhile and is not counted.");
    NOTES.lines().for_each(|line| println!("  {line}"));
    for device in DEVICES {
        println!("  {}: {}", device.name, device.source);
    }
    Ok(())
}

/// What one dispatch asks of a GPU.
#[derive(Debug, Clone, Copy)]
struct Work {
    groups: u64,
    bytes: f64,
    /// Of all lanes, as AMD's code has them.
    instructions: f64,
}

fn work(step: &Step, code: Option<&Compiled>) -> Vec<Work> {
    let work = |dispatch: &Dispatch| Work {
        groups: dispatch.groups.iter().product(),
        bytes: dispatch.bytes as f64,
        instructions: code.map_or(0.0, |code| code.shaders[dispatch.shader].instructions_of(dispatch)),
    };
    step.dispatches.iter().map(work).collect()
}

/// Where a step's time goes, in seconds.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Time {
    total: f64,
    /// Of dispatches that wait for memory.
    memory: f64,
    /// Of dispatches that wait for arithmetic.
    alu: f64,
    /// Of dispatching.
    dispatch: f64,
}

impl Device {
    fn time(&self, work: &[Work]) -> Time {
        let mut time = Time::default();
        for work in work {
            let part = (work.groups as f64 / f64::from(self.cores)).min(1.0);
            let memory = work.bytes / (self.gb_s * 1e9 * BANDWIDTH_EFFICIENCY * part);
            let alu = work.instructions * self.per_amd_instruction / (self.tera_instructions * 1e12 * ALU_EFFICIENCY * part);
            if memory >= alu {
                time.memory += memory;
            } else {
                time.alu += alu;
            }
            time.dispatch += self.dispatch_us * 1e-6;
        }
        time.total = time.memory + time.alu + time.dispatch;
        time
    }

    /// Seconds from one token to the next.
    fn token(&self, step: f64, in_flight: u32) -> f64 {
        step.max((step + self.readback_ms * 1e-3) / f64::from(in_flight.max(1)))
    }
}

fn print(plan: &Plan, code: Option<&Compiled>, maker: &str) -> Result<()> {
    let step = |name: &str| plan.steps.iter().find(|step| step.step == name).with_context(|| format!("plan.json has no {name}"));
    let (decode, prefill) = (step("decode")?, step("prefill")?);
    println!("\n{}, tier {}{}", plan.model, plan.tier, if plan.subgroups { " with subgroups" } else { "" });
    let works = [decode, prefill].map(|step| work(step, code));
    for (step, work) in [decode, prefill].iter().zip(&works) {
        println!(
            "  {:8} position {:>4}, rows {:>3}: {:>4} dispatches, {:>7.1} MB read, {:>7.3} G instructions of AMD's",
            step.step,
            step.position,
            step.rows,
            work.len(),
            work.iter().map(|work| work.bytes).sum::<f64>() / 1e6,
            work.iter().map(|work| work.instructions).sum::<f64>() / 1e9,
        );
    }
    if code.is_none() {
        println!(
            "  Mesa's RADV is not here: instructions are not counted, so that all numbers are what memory and dispatches allow."
        );
    }
    println!(
        "  {:<26} {:>12} {:>7} {:>7} {:>9} {:>12} {:>13} {:>7} {:>7} {:>9}",
        "", "decode tok/s", "memory", "alu", "dispatch", "at 1 flying", "prefill tok/s", "memory", "alu", "dispatch"
    );
    for device in DEVICES.iter().filter(|device| device.maker == maker) {
        let [one, many] = [device.time(&works[0]), device.time(&works[1])];
        let shares = |time: Time| [time.memory, time.alu, time.dispatch].map(|part| 100.0 * part / time.total);
        let ([m, a, d], [pm, pa, pd]) = (shares(one), shares(many));
        println!(
            "  {:<26} {:>12.0} {m:>6.0}% {a:>6.0}% {d:>8.0}% {:>12.0} {:>13.0} {pm:>6.0}% {pa:>6.0}% {pd:>8.0}%",
            device.name,
            1.0 / device.token(one.total, plan.tokens_in_flight),
            1.0 / device.token(one.total, 1),
            f64::from(prefill.rows) / many.total,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ALU_EFFICIENCY, BANDWIDTH_EFFICIENCY, DEVICES, Device, Time, Work};

    /// 1 GB/s and 10⁹ instructions per second of what a good kernel reaches.
    fn device() -> Device {
        Device {
            gb_s: 1.0 / BANDWIDTH_EFFICIENCY,
            tera_instructions: 1e-3 / ALU_EFFICIENCY,
            cores: 4,
            per_amd_instruction: 2.0,
            dispatch_us: 1000.0,
            readback_ms: 30.0,
            ..DEVICES[0]
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_dispatch_waits_for_the_slower_of_memory_and_arithmetic() {
        let memory = Work { groups: 4, bytes: 10e6, instructions: 4e6 };
        let alu = Work { groups: 100, bytes: 10e6, instructions: 6e6 };
        let Time { total, memory, alu, dispatch } = device().time(&[memory, alu]);
        assert!(close(memory, 0.010) && close(alu, 0.012) && close(dispatch, 0.002) && close(total, 0.024));
    }

    #[test]
    fn a_small_grid_has_a_part_of_the_device() {
        let time = device().time(&[Work { groups: 1, bytes: 10e6, instructions: 0.0 }]);
        assert!(close(time.memory, 0.040), "{time:?}");
    }

    #[test]
    fn steps_in_flight_hide_the_readback() {
        // A step of 10 ms, a readback of 30 ms.
        assert!(close(device().token(0.010, 1), 0.040));
        assert!(close(device().token(0.010, 2), 0.020));
        assert!(close(device().token(0.010, 4), 0.010));
        assert!(close(device().token(0.010, 8), 0.010));
    }

    #[test]
    fn every_device_is_plausible() {
        for device in DEVICES {
            assert!(device.gb_s > 10.0 && device.tera_instructions > 0.1 && device.cores > 0, "{device:?}");
            assert!(device.per_amd_instruction >= 1.0 && device.dispatch_us > 0.0 && device.readback_ms > 0.0, "{device:?}");
            assert!(device.source.len() > 20 && super::MAKERS.contains(&device.maker), "{device:?}");
        }
    }
}
