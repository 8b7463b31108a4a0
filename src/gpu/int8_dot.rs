//! Which GPUs multiply four pairs of bytes and add them up in one instruction, as `dot4I8Packed` does.
//!
//! WGSL has the function in all but the oldest browsers, and a driver without the instruction computes it in a dozen others, so no feature tells. What the
//! adapter says of itself has to: a GPU that is not in these tables is taken to have none. Mesa's own tables name AMD's
//! (`has_accelerated_dot_product`: since RDNA 1 all but Navi 10) and Adreno's (`has_dp4acc`: all 7xx and 8xx); NVIDIA has it since
//! Turing and more, Intel since Gen 12, Arm in Valhall. Names of architectures and groups of ids are those of Dawn (`gpu_info.json`),
//! ids newer than it were not checked against any list. Metal has no such function, whatever the GPU.

/// What a browser calls an adapter: `vendor` and `architecture` of its `GPUAdapterInfo`, such as `nvidia` and `ampere`.
pub fn in_browser(vendor: &str, architecture: &str) -> bool {
    // `gen-12lp` was `gen-12-lp`.
    let architecture = architecture.to_lowercase().replace(['-', ' '], "");
    let any = |names: &[&str]| names.iter().any(|name| architecture.starts_with(name));
    match vendor.to_lowercase().as_str() {
        "nvidia" => any(&["turing", "ampere", "lovelace", "adalovelace", "hopper", "blackwell"]),
        // Of RDNA 1 only Navi 12 and 14.
        "amd" => any(&["rdna2", "rdna3", "rdna4"]),
        "intel" => any(&["gen12", "gen13", "xe"]),
        "qualcomm" => any(&["adreno7", "adreno8"]),
        "arm" => any(&["valhall"]),
        _ => false,
    }
}

/// What the driver says of an adapter: its PCI ids, or what stands for them.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn native(about: &wgpu::AdapterInfo) -> bool {
    let compiled = matches!(about.backend, wgpu::Backend::Vulkan | wgpu::Backend::Dx12);
    compiled && about.device_type != wgpu::DeviceType::Cpu && by_id(about.vendor, about.device)
}

/// In a browser wgpu knows no ids.
#[cfg(target_arch = "wasm32")]
pub(super) fn native(_: &wgpu::AdapterInfo) -> bool {
    false
}

#[cfg(any(test, not(target_arch = "wasm32")))]
fn by_id(vendor: u32, device: u32) -> bool {
    match vendor {
        // NVIDIA since Turing; Tegras have ids of another form.
        0x10de => (0x1e00..0x1_0000).contains(&device),
        // AMD: Navi 14 and 12; RDNA 2; Navi 24, RDNA 3 and 4; and processors with RDNA 2 or 3 among others with GCN 5.
        0x1002 => match device {
            0x7340..=0x734f | 0x7360..=0x736f | 0x73a0..=0x73ff | 0x7420..=0x75ff => true,
            // Van Gogh, Rembrandt, Raphael, Mendocino.
            0x163f | 0x164d | 0x1681 | 0x164e | 0x1506 => true,
            // Phoenix, Hawk Point, Strix, Strix Halo, Krackan.
            0x15bf | 0x15c8 | 0x1900 | 0x1901 | 0x150e | 0x1586 | 0x1114 => true,
            _ => false,
        },
        // Intel: Gen 12 (Alder, Rocket, Tiger, Raptor Lake, DG1), Arc, Meteor and Arrow Lake, Lunar Lake, Panther Lake, Battlemage.
        0x8086 => matches!(device >> 8, 0x46 | 0x4c | 0x49 | 0x9a | 0xa7 | 0x4f | 0x56 | 0x7d | 0x64 | 0xb0 | 0xe2),
        // Qualcomm: the chip's id, Adreno 7xx (two forms) and 8xx.
        0x5143 => matches!(device >> 24, 0x07 | 0x43 | 0x44),
        // Arm: the architecture's major version, Valhall.
        0x13b5 => matches!(device >> 28, 0x9..=0xb),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{by_id, in_browser};

    #[test]
    fn browsers_names_are_known() {
        for (vendor, architecture) in [
            ("nvidia", "turing"),
            ("nvidia", "lovelace"),
            ("NVIDIA", "ada-lovelace"),
            ("amd", "rdna-3"),
            ("intel", "gen-12lp"),
            ("intel", "gen-12-hp"),
            ("intel", "xe-2lpg"),
            ("qualcomm", "adreno-7xx"),
            ("arm", "valhall"),
        ] {
            assert!(in_browser(vendor, architecture), "{vendor} {architecture}");
        }
        for (vendor, architecture) in [
            ("", ""),
            ("nvidia", ""),
            ("nvidia", "pascal"),
            ("amd", "rdna-1"),
            ("amd", "gcn-5"),
            ("intel", "gen-11"),
            ("intel", "gen-9"),
            ("qualcomm", "adreno-6xx"),
            ("arm", "bifrost"),
            ("apple", "metal-3"),
            ("google", "swiftshader"),
            ("mesa", "software"),
            ("intel", "turing"),
        ] {
            assert!(!in_browser(vendor, architecture), "{vendor} {architecture}");
        }
    }

    #[test]
    fn ids_are_known() {
        for (vendor, device, name) in [
            (0x10de, 0x1e04, "RTX 2080 Ti"),
            (0x10de, 0x2684, "RTX 4090"),
            (0x10de, 0x2b85, "RTX 5090"),
            (0x1002, 0x7340, "RX 5500 XT"),
            (0x1002, 0x73bf, "RX 6900 XT"),
            (0x1002, 0x744c, "RX 7900 XTX"),
            (0x1002, 0x15bf, "780M"),
            (0x8086, 0x9a49, "Tiger Lake"),
            (0x8086, 0x56a0, "Arc A770"),
            (0x8086, 0xe20b, "Arc B580"),
            (0x5143, 0x4305_0a01, "Adreno 740"),
            (0x13b5, 0xa867_0000, "Mali-G610"),
        ] {
            assert!(by_id(vendor, device), "{name}");
        }
        for (vendor, device, name) in [
            (0x10de, 0x1b80, "GTX 1080"),
            (0x10de, 0x1db1, "V100"),
            (0x10de, 0x9300_0000, "Tegra"),
            (0x1002, 0x731f, "RX 5700 XT"),
            (0x1002, 0x687f, "Vega 64"),
            (0x1002, 0x1636, "Renoir"),
            (0x8086, 0x8a52, "Ice Lake"),
            (0x8086, 0x4e71, "Jasper Lake"),
            (0x5143, 0x0606_0001, "Adreno 660"),
            (0x13b5, 0x7212_0000, "Mali-G52"),
            (0x106b, 0, "Apple"),
            (0x1_0005, 0, "lavapipe"),
            (0x1ae0, 0xc0de, "SwiftShader"),
        ] {
            assert!(!by_id(vendor, device), "{name}");
        }
    }
}
