//! Which variant each of a model's products, and its attention, runs as on a device: from a table, or measured by [`super::tuner`].

use super::config::ModelConfig;
use super::weights::Weights;
use crate::gpu::{Capabilities, DeviceInfo, Gpu};
use crate::kernels::{Arithmetic, AttentionVariant, Format, KvType, MatmulVariant, MatvecVariant, Tiling, Variants};
use serde::{Deserialize, Serialize};

/// A product's sizes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProductShape {
    /// Weight format, by GGUF's name.
    pub format: String,
    /// Rows, of the part of the matrix that is in one binding.
    pub rows: u32,
    /// Columns.
    pub columns: u32,
}

/// What attention of many rows depends on most.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// How the cache is stored.
    pub kv_type: String,
}

/// Variants for products and attention of all sizes, and others for some.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tuning {
    /// For all that are not among `shapes`.
    pub start: Variants,
    /// Of attention that is not among `attention_tilings`; `None`, as in what is stored, for the table's.
    #[serde(skip)]
    pub attention: Option<AttentionVariant>,
    /// Products that were measured.
    pub shapes: Vec<(ProductShape, Variants)>,
    /// Attention of many rows that was measured.
    #[serde(default)]
    pub attention_tilings: Vec<(AttentionShape, Tiling)>,
}

/// Where a model's [`Tuning`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TunedBy {
    /// The fixed table of starting points: nothing was measured.
    #[default]
    Table,
    /// An earlier measurement on this device.
    Stored,
    /// A measurement just now.
    Measured,
}

impl TunedBy {
    /// `table`, `stored` or `measured`.
    pub fn name(self) -> &'static str {
        match self {
            TunedBy::Table => "table",
            TunedBy::Stored => "stored",
            TunedBy::Measured => "measured",
        }
    }
}

/// On which devices products and attention are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Measure {
    /// On none.
    #[default]
    Never,
    /// On GPUs. A software GPU shares the CPU with everything else and takes a hundred times as long, and its row of the table was measured once
    /// for all.
    Gpus,
    /// On all, software GPUs too.
    Everywhere,
}

/// How a model is to be tuned.
#[derive(Debug, Clone, Default)]
pub struct TuningOptions {
    /// What was measured before on this device with these kernels ([`Tuning::key`]).
    pub stored: Option<Tuning>,
    /// Whether what is not in it is measured.
    pub measure: Measure,
    /// Products of inputs in f32 only.
    pub exact: bool,
}

/// Invocations side by side that can always exchange values.
fn shared_lanes(info: &DeviceInfo) -> u32 {
    match info.subgroup_sizes {
        Some([least, _]) if least >= 8 => 8,
        _ => 4,
    }
}

impl Tuning {
    /// The starting points for a device. Products of 8 bits are among them on a software GPU only, which has them only if [`crate::gpu::Tier::APlus`] was
    /// forced: elsewhere a measurement has to show that they are quicker.
    pub fn table(info: &DeviceInfo, capabilities: Capabilities) -> Self {
        let software = info.kind == "cpu";
        let tiling = match info.vendor.as_str() {
            _ if !capabilities.subgroups => Tiling::Shared,
            _ if software => Tiling::Rows { lanes: shared_lanes(info) },
            // Lanes of four exchange values in the multiplication's own instruction (AMD: DPP; Intel: regions).
            "amd" | "intel" => Tiling::Rows { lanes: 4 },
            // A shuffle is as slow as a load from workgroup memory there, or nobody knows.
            _ => Tiling::Shared,
        };
        let workgroup = match info.vendor.as_str() {
            "nvidia" => 128,
            _ => 64,
        };
        let arithmetic = match software {
            true if capabilities.int8_dot => Arithmetic::Int8,
            // SwiftShader, whose subgroups are of 4 lanes, shifts one of them after the other.
            true if tiling == (Tiling::Rows { lanes: 4 }) => Arithmetic::Unshifted,
            _ => Arithmetic::F32,
        };
        let start = Variants {
            // Two cores are busy with any number of workgroups, and pay for every reduction.
            matvec: MatvecVariant { workgroup, spread: if software { 1 } else { 0 }, arithmetic },
            matmul: MatmulVariant {
                tiling,
                arithmetic,
                subgroup: info.subgroup_sizes.map_or(64, |[_, most]| most.min(64)),
                // Lavapipe's registers are the stack in any case.
                quads: if software && tiling == (Tiling::Rows { lanes: 8 }) { 2 } else { 1 },
            },
        };
        let attention = AttentionVariant {
            tiling: match tiling {
                Tiling::Rows { .. } => Tiling::Rows { lanes: shared_lanes(info) },
                Tiling::Shared => Tiling::Shared,
            },
            run: if software { 2 } else { 1 },
        };
        Self { start, attention: Some(attention), ..Self::default() }
    }

    /// The starting points for GPUs of a maker, with or without products of 8 bits, for instruments that plan where there is none.
    pub fn of_maker(vendor: &str, int8: bool) -> Self {
        let subgroup_sizes = match vendor {
            "amd" => Some([32, 64]),
            "intel" => Some([8, 32]),
            _ => None,
        };
        let info = DeviceInfo { vendor: vendor.into(), kind: "discrete".into(), subgroup_sizes, ..DeviceInfo::default() };
        let mut tuning = Self::table(&info, Capabilities { subgroups: true, f16: true, int8_dot: int8 });
        if int8 {
            tuning.start.matvec.arithmetic = Arithmetic::Int8;
            tuning.start.matmul.arithmetic = Arithmetic::Int8;
        }
        tuning
    }

    /// What a stored tuning is valid for: this adapter with its driver or browser, what is used of it, these kernels, and whether 8 bits may be chosen.
    pub fn key(gpu: &Gpu, exact: bool) -> String {
        let DeviceInfo { backend, name, vendor, driver, subgroup_sizes, .. } = gpu.info();
        let used = (gpu.capabilities(), subgroup_sizes);
        let exact = if exact { " | exact" } else { "" };
        format!("{backend} | {name} | {vendor} | {driver} | {used:?} | {:016x}{exact}", super::tuner::kernel_set())
    }

    /// Without what this device or this version cannot run, whoever stored it.
    pub fn checked(mut self, info: &DeviceInfo, capabilities: Capabilities) -> Self {
        let table = Self::table(info, capabilities);
        let (start, attention) = (table.start, table.attention.unwrap_or_default());
        let arithmetic = |arithmetic| arithmetic != Arithmetic::Int8 || capabilities.int8_dot;
        let least = info.subgroup_sizes.map_or(4, |[least, _]| least);
        let tiling = |tiling| match tiling {
            Tiling::Shared => true,
            Tiling::Rows { lanes } => capabilities.subgroups && (lanes == 4 || lanes == 8 && least >= 8),
        };
        self.attention_tilings.retain(|(_, measured)| tiling(*measured));
        let wanted = self.attention.unwrap_or(attention);
        self.attention = Some(AttentionVariant {
            tiling: if tiling(wanted.tiling) { wanted.tiling } else { attention.tiling },
            run: if matches!(wanted.run, 1 | 2) { wanted.run } else { attention.run },
        });
        for Variants { matvec, matmul } in self.shapes.iter_mut().map(|(_, variants)| variants).chain([&mut self.start]) {
            let spread = matvec.spread == 0 || matvec.spread.is_power_of_two();
            let workgroup = (32..=256).contains(&matvec.workgroup) && matvec.workgroup.is_power_of_two();
            if !(spread && workgroup && arithmetic(matvec.arithmetic)) {
                *matvec = start.matvec;
            }
            let subgroup = (4..=64).contains(&matmul.subgroup) && matmul.subgroup.is_power_of_two();
            if !(tiling(matmul.tiling) && subgroup && matches!(matmul.quads, 1 | 2) && arithmetic(matmul.arithmetic)) {
                *matmul = start.matmul;
            }
        }
        self
    }

    /// The variant of a model's attention.
    pub fn attention_of(&self, config: &ModelConfig, kv_type: KvType) -> AttentionVariant {
        let (shape, start) = (AttentionShape::new(config, kv_type), self.attention.unwrap_or_default());
        let measured = self.attention_tilings.iter().find(|(known, _)| *known == shape);
        AttentionVariant { tiling: measured.map_or(start.tiling, |(_, tiling)| *tiling), ..start }
    }

    /// The variants of a product.
    pub fn of(&self, shape: &ProductShape) -> Variants {
        self.shapes.iter().find(|(known, _)| known == shape).map_or(self.start, |(_, variants)| *variants)
    }

    /// As [`TuningOptions::exact`] wants it.
    pub fn exact(mut self) -> Self {
        for Variants { matvec, matmul } in self.shapes.iter_mut().map(|(_, variants)| variants).chain([&mut self.start]) {
            for arithmetic in [&mut matvec.arithmetic, &mut matmul.arithmetic] {
                if *arithmetic == Arithmetic::Int8 {
                    *arithmetic = Arithmetic::F32;
                }
            }
        }
        self
    }

    /// Sets the variants of all of a model's products.
    pub fn apply(&self, weights: &mut Weights) {
        weights.each_matrix(true, &mut |matrix| {
            let (format, columns) = (matrix.format, matrix.columns);
            matrix.shards.iter_mut().for_each(|shard| shard.variants = self.of(&ProductShape::new(format, shard.rows, columns)));
        });
    }
}

impl AttentionShape {
    /// A model's.
    pub fn new(config: &ModelConfig, kv_type: KvType) -> Self {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *config;
        Self { heads, kv_heads, head_dim, kv_type: kv_type.name().into() }
    }
}

impl ProductShape {
    /// With the format's name.
    pub fn new(format: Format, rows: u32, columns: u32) -> Self {
        Self { format: format.name().into(), rows, columns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::llama;

    fn int8() -> Variants {
        let matvec = MatvecVariant { arithmetic: Arithmetic::Int8, spread: 2, ..MatvecVariant::default() };
        Variants { matvec, matmul: MatmulVariant { arithmetic: Arithmetic::Int8, ..MatmulVariant::default() } }
    }

    #[test]
    fn a_shape_has_what_was_measured_for_it() {
        let [known, other] = [576, 577].map(|rows| ProductShape::new(Format::Q4_0, rows, 64));
        let tuning = Tuning { shapes: vec![(known.clone(), int8())], ..Tuning::default() };
        assert_eq!((tuning.of(&known), tuning.of(&other)), (int8(), Variants::default()));
        let text = serde_json::to_string(&tuning).unwrap();
        assert_eq!(serde_json::from_str::<Tuning>(&text).unwrap(), tuning);
    }

    #[test]
    fn what_a_device_cannot_run_is_not_taken_from_a_store() {
        let info = DeviceInfo { subgroup_sizes: Some([4, 32]), ..DeviceInfo::default() };
        let (none, all) = (Capabilities::default(), Capabilities { subgroups: true, f16: true, int8_dot: true });
        let of = |start: Variants, capabilities| {
            let shapes = vec![(ProductShape::new(Format::Q4_0, 8, 64), start)];
            let checked = Tuning { start, shapes, ..Tuning::default() }.checked(&info, capabilities);
            assert_eq!(checked.shapes[0].1, checked.start);
            checked.start
        };
        assert_eq!((of(int8(), all), of(int8(), none)), (int8(), Tuning::table(&info, none).start));
        let rows = |lanes| {
            let matmul = MatmulVariant { tiling: Tiling::Rows { lanes }, ..MatmulVariant::default() };
            Variants { matmul, ..Tuning::table(&info, none).start }
        };
        assert_eq!(of(rows(4), all), rows(4));
        for (variants, capabilities) in [(rows(8), all), (rows(5), all), (rows(4), none)] {
            assert_eq!(of(variants, capabilities).matmul.tiling, Tiling::Shared);
        }
        let rows = |lanes| Tiling::Rows { lanes };
        for (wanted, expected) in [((rows(4), 2), (rows(4), 2)), ((rows(8), 2), (Tiling::Shared, 2)), ((rows(4), 0), (rows(4), 1))]
        {
            let attention = Some(AttentionVariant { tiling: wanted.0, run: wanted.1 });
            let checked = Tuning { attention, ..Tuning::default() }.checked(&info, all).attention.unwrap();
            assert_eq!((checked.tiling, checked.run), expected);
        }
        assert_eq!(Tuning::default().checked(&info, all).attention, Tuning::table(&info, all).attention);
        let config = llama(2, 576, 1536, 9, 3, 49_152);
        for (measured, expected) in [(rows(4), rows(4)), (rows(8), Tiling::Shared)] {
            let attention_tilings = vec![(AttentionShape::new(&config, KvType::F16), measured)];
            let checked = Tuning { attention_tilings, ..Tuning::default() }.checked(&info, all);
            assert_eq!(checked.attention_of(&config, KvType::F16).tiling, expected);
            assert_eq!(checked.attention_of(&config, KvType::F32).tiling, Tiling::Shared, "that was not measured");
        }
        for (workgroup, spread) in [(0, 1), (48, 1), (512, 1), (64, 3)] {
            let matvec = MatvecVariant { workgroup, spread, ..MatvecVariant::default() };
            assert_eq!(of(Variants { matvec, ..Variants::default() }, all).matvec, Tuning::table(&info, all).start.matvec);
        }
    }

    #[test]
    fn exact_is_f32_everywhere_and_nothing_else() {
        let shape = ProductShape::new(Format::Q4_0, 8, 64);
        let tuning = Tuning { start: int8(), shapes: vec![(shape.clone(), int8())], ..Tuning::default() }.exact();
        for variants in [tuning.start, tuning.of(&shape)] {
            assert_eq!((variants.matvec.arithmetic, variants.matmul.arithmetic), (Arithmetic::F32, Arithmetic::F32));
            assert_eq!(variants.matvec.spread, 2);
        }
    }
}
