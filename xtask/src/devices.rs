//! GPUs that predictions are made for, with where each number comes from. Nobody here owns one: they are makers' figures and estimates.

/// What a prediction needs to know of a GPU.
#[derive(Debug, Clone, Copy)]
pub struct Device {
    pub name: &'static str,
    /// A maker with the same row in the table of kernels to start with (`src/model/tuning.rs`).
    pub maker: &'static str,
    /// Bytes per second from memory, in GB/s, as the maker states it.
    pub gb_s: f64,
    /// Lane instructions per second, in 10¹²: lanes of f32 arithmetic times clock.
    pub tera_instructions: f64,
    /// Cores that a workgroup runs on one of.
    pub cores: u32,
    /// Instructions of this GPU for one of AMD's, for the same kernel.
    pub per_amd_instruction: f64,
    /// What a dispatch costs besides its work: barrier, launch and drain, in µs.
    pub dispatch_us: f64,
    /// From the end of a step until its token is known to the CPU, in ms.
    pub readback_ms: f64,
    pub source: &'static str,
}

pub const DEVICES: [Device; 6] = [
    Device {
        name: "Apple M3 (10 cores)",
        maker: "other",
        gb_s: 100.0,
        tera_instructions: 1.77,
        cores: 10,
        per_amd_instruction: 1.45,
        dispatch_us: 5.0,
        readback_ms: 3.0,
        source: "Apple's specification: 100 GB/s, 10 cores; 128 lanes a core at 1.38 GHz, as commonly measured",
    },
    Device {
        name: "AMD 780M",
        maker: "amd",
        gb_s: 89.6,
        tera_instructions: 2.07,
        cores: 12,
        per_amd_instruction: 1.0,
        dispatch_us: 5.0,
        readback_ms: 3.0,
        source: "AMD's specification: 12 CUs, 2.7 GHz, DDR5-5600 on 128 bits; 64 lanes a CU, no dual issue",
    },
    Device {
        name: "NVIDIA RTX 4090",
        maker: "nvidia",
        gb_s: 1008.0,
        tera_instructions: 41.3,
        cores: 128,
        per_amd_instruction: 1.65,
        dispatch_us: 3.0,
        readback_ms: 2.5,
        source: "NVIDIA's Ada whitepaper: 1008 GB/s, 128 SMs of 128 lanes at 2.52 GHz",
    },
    Device {
        name: "Adreno 750",
        maker: "other",
        gb_s: 77.0,
        tera_instructions: 1.39,
        cores: 6,
        per_amd_instruction: 1.65,
        dispatch_us: 10.0,
        readback_ms: 5.0,
        source: "LPDDR5X-9600 on 64 bits (Snapdragon 8 Gen 3); 1536 lanes at 0.9 GHz, not the maker's words",
    },
    Device {
        name: "Mali Immortalis-G720 MC12",
        maker: "other",
        gb_s: 77.0,
        tera_instructions: 2.0,
        cores: 12,
        per_amd_instruction: 1.65,
        dispatch_us: 10.0,
        readback_ms: 5.0,
        source: "LPDDR5T-9600 on 64 bits (Dimensity 9300); Arm: 128 FMA lanes a core; 1.3 GHz; instructions taken to be as Adreno's",
    },
    Device {
        name: "Intel Xe-LPG (8 Xe-cores)",
        maker: "amd",
        gb_s: 119.5,
        tera_instructions: 2.3,
        cores: 8,
        per_amd_instruction: 1.2,
        dispatch_us: 5.0,
        readback_ms: 3.0,
        source: "Intel ARK, Core Ultra 7 155H: LPDDR5x-7467 on 128 bits, 8 Xe-cores of 128 lanes at 2.25 GHz; instructions estimated",
    },
];

/// Where the numbers that are no specification come from.
pub const NOTES: &str = "\
instructions: counted in what Mesa's compiler makes for AMD's gfx1103_r1 (cargo xtask isa). Other makers' code is taken to have more of them: 1.65
  for each of AMD's on NVIDIA and Adreno, as one Q4_0 matvec had when compiled by NVK and turnip too; 1.45 on Apple and 1.2 on Intel by estimate.
dispatch: 2 to 10 µs for barrier, launch and drain, an estimate from published decode times of WebGPU engines; phones are at the upper end.
readback: mapAsync of 4 bytes took 2.3 to 7 ms in Chromium with one step in flight, measured on a software GPU.";
