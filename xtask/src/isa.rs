//! `cargo xtask isa`: what Mesa's compiler for AMD makes of every kernel that a model ships with. No card is needed, and nothing runs on one.

use crate::plan::{Code, Compiled, Plan};
use crate::{model, setup, sh, tools};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Desktop RDNA 2 and the RDNA 3 of an AMD 780M.
pub const FAMILIES: [&str; 2] = ["navi21", "gfx1103_r1"];

/// Registers of an invocation and bytes of workgroup memory that a kernel may take.
const MOST_VGPRS: u32 = 96;
/// Above tier C, whose kernels by rows keep no tile in workgroup memory: as many waves fit as with 16 KiB a workgroup.
const MOST_VGPRS_ABOVE_C: u32 = 128;
const MOST_LDS: u32 = 16 << 10;

/// A model's kernels as one kind of device gets them.
pub struct Variant {
    pub plan: Plan,
    pub folder: PathBuf,
}

/// Tier C, the best tier of this machine's software GPU, which has subgroups, and A+, whose products are of 8 bits.
const TIERS: [Option<&str>; 3] = [Some("c"), None, Some("a+")];

/// Whose kernels: the compiler is AMD's.
const MAKER: &str = "amd";

/// Where the decode step is unless asked otherwise.
pub const POSITION: u32 = 128;

pub struct Options {
    pub model: String,
    pub update: bool,
}

/// Prints the table, its change against the committed one and what is over the limits; false if something is.
pub fn run(options: &Options) -> Result<bool> {
    setup::setup(setup::Needs { gpu: true, ..setup::Needs::MODEL })?;
    if radv().is_none() {
        bail!("Mesa's RADV is not here: install its Vulkan drivers (mesa-vulkan-drivers)");
    }
    let checked = check(&options.model)?;
    println!("{}", checked.table);
    let committed = tools::root().join("benches/isa.txt");
    if options.update {
        std::fs::write(&committed, &checked.table)?;
    } else {
        let changes = changes(&std::fs::read_to_string(&committed).unwrap_or_default(), &checked.table);
        println!("Rows changed against benches/isa.txt: {}", changes.len());
        changes.iter().for_each(|change| println!("{change}"));
    }
    checked.violations.iter().for_each(|violation| println!("over the limit: {violation}"));
    Ok(checked.violations.is_empty())
}

/// The driver's manifest, where Mesa has it.
pub fn radv() -> Option<PathBuf> {
    tools::icd("radeon_icd")
}

pub struct Checked {
    pub table: String,
    pub violations: Vec<String>,
    /// Kernels held to the limits.
    pub kernels: u64,
}

/// Compiles the model's kernels for all families and holds them to the limits.
pub fn check(name: &str) -> Result<Checked> {
    let variants = variants(name, POSITION, MAKER)?;
    let mut table =
        String::from("What Mesa's compiler for AMD makes of the kernels. `cargo xtask isa --update` writes this file.\n\n");
    table += EXPLANATION;
    let mut checked = Checked { table: String::new(), violations: Vec::new(), kernels: 0 };
    for family in FAMILIES {
        let mut seen = BTreeSet::new();
        for variant in &variants {
            let compiled = compile(variant, family)?;
            let plan = &variant.plan;
            let what = format!("{family}, tier {}", plan.tier);
            let _ = writeln!(table, "\n{what}: {} ({})", plan.model, compiled.device);
            let _ = writeln!(table, "{}", header());
            for (index, (shader, code)) in plan.shaders.iter().zip(&compiled.shaders).enumerate() {
                // What the better tier shares with C is shown once.
                let text = std::fs::read_to_string(variant.folder.join(&shader.file))?;
                if !seen.insert(text) {
                    continue;
                }
                checked.kernels += 1;
                let _ = writeln!(table, "{}", row(&shader.kernel, steps(plan, index), code, &shader.constants));
                checked
                    .violations
                    .extend(violations(code, plan.tier == "c").map(|why| format!("{what}: {}: {why}", shader.kernel)));
            }
        }
    }
    formats(&mut table, &mut checked)?;
    checked.table = table;
    Ok(checked)
}

/// The products of every weight format, most of which no model here has. Matvec of several columns is shown, but not held to the limits: no plan
/// has it yet.
fn formats(table: &mut String, checked: &mut Checked) -> Result<()> {
    let folder = tools::target().join("isa").join("formats");
    let _ = std::fs::remove_dir_all(&folder);
    let mut dump = tools::cargo();
    dump.args(["test", "--quiet", "--test", "shaders_validate", "dump_every_format"]).env("KINGLET_DUMP_FORMATS", &folder);
    sh::run(&mut dump)?;
    for family in FAMILIES {
        let compiled = compile_folder(&folder, family)?;
        let _ = writeln!(table, "\n{family}, tier c: every format at 4096 x 4096 ({})\n{}", compiled.device, header());
        for code in &compiled.shaders {
            let name = code.file.trim_end_matches(".wgsl");
            let (kernel, format) = name.split_once(' ').unwrap_or((name, ""));
            let _ = writeln!(table, "{}", row(kernel, String::new(), code, format));
            if kernel != "matvec_many" {
                checked.kernels += 1;
                // It needs subgroups.
                let tier_c = kernel != "matmul_rows";
                checked.violations.extend(violations(code, tier_c).map(|why| format!("{family}: {name}: {why}")));
            }
        }
    }
    Ok(())
}

/// Has the program write its shaders in every variant, with kernels chosen as for a maker's GPUs. The model is a file or a known
/// one; the decode step is at `position`.
pub fn variants(model: &str, position: u32, maker: &str) -> Result<Vec<Variant>> {
    let path = Path::new(model);
    let path = if path.is_file() { path.canonicalize()? } else { model::fetch_model(model)? };
    build()?;
    TIERS.iter().map(|tier| dump(&path, *tier, position, maker)).collect()
}

fn dump(model: &Path, tier: Option<&str>, position: u32, maker: &str) -> Result<Variant> {
    let folder = tools::target().join("isa").join(maker).join(tier.unwrap_or("best"));
    let _ = std::fs::remove_dir_all(&folder);
    let mut kinglet = sh::cmd(program("kinglet"));
    kinglet.arg("shaders").arg(model).arg("--dir").arg(&folder).args(["--position", &position.to_string()]);
    if let Some(tier) = tier {
        kinglet.args(["--tier", tier]);
    }
    kinglet.args(["--maker", maker]);
    if let Some(icd) = tools::lavapipe_icd() {
        vulkan(&mut kinglet, &icd);
    }
    sh::output(&mut kinglet)?;
    let plan = std::fs::read(folder.join("plan.json"))?;
    Ok(Variant { plan: serde_json::from_slice(&plan).context("plan.json")?, folder })
}

/// What the compiler for one family makes of a variant's shaders.
pub fn compile(variant: &Variant, family: &str) -> Result<Compiled> {
    let compiled = compile_folder(&variant.folder, family)?;
    if !compiled.shaders.iter().map(|code| &code.file).eq(variant.plan.shaders.iter().map(|shader| &shader.file)) {
        bail!("{family}: not every shader was compiled");
    }
    Ok(compiled)
}

fn compile_folder(folder: &Path, family: &str) -> Result<Compiled> {
    let icd = radv().context("Mesa's RADV is not here")?;
    let mut isa = sh::cmd(program("isa"));
    isa.arg(folder).env("RADV_FORCE_FAMILY", family);
    vulkan(&mut isa, &icd);
    Ok(serde_json::from_str(&sh::output(&mut isa)?)?)
}

fn vulkan(command: &mut std::process::Command, icd: &Path) {
    // The second name is the one of newer Vulkan loaders.
    command.env("VK_ICD_FILENAMES", icd).env("VK_DRIVER_FILES", icd);
}

fn build() -> Result<()> {
    let mut cargo = tools::cargo();
    // With a test among the targets the dependencies are built as they are for the tests, and so only once.
    cargo.args(["build", "--quiet", "--workspace", "--bin", "kinglet", "--bin", "isa", "--test", "shaders_validate"]);
    sh::run(&mut cargo)
}

fn program(name: &str) -> PathBuf {
    tools::target().join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The steps that use a shader: `d`ecode, `p`refill.
fn steps(plan: &Plan, shader: usize) -> String {
    let uses = plan.steps.iter().filter(|step| step.dispatches.iter().any(|dispatch| dispatch.shader == shader));
    uses.map(|step| &step.step[..1]).collect()
}

const EXPLANATION: &str = "\
step      d: in a decode step, p: in a prefill chunk, none: in loading, in short contexts, around prompts, or where all rows' logits are wanted
i/weight  instructions of one turn of the loop over the weights, inner loops included, for each weight that an invocation loads in it
          (in matmul that weight then serves a whole tile of rows); scales and inputs are paid by the weights, prologue and epilogue are not
The last tables have the products of every weight format, matvec_many with 8 vectors; no plan has matvec_many yet, and no limit holds for it.
Compiled as browsers do: indices kept in bounds, buffers checked by the driver, loops not bounded.
";

fn header() -> String {
    format!(
        "{:<18} {:<4} {:>5} {:>5} {:>6} {:>6} {:>6} {:>8} {:>6}  {}",
        "kernel", "step", "vgpr", "sgpr", "spills", "lds", "instr", "i/weight", "code", "constants"
    )
}

fn row(kernel: &str, steps: String, code: &Code, constants: &str) -> String {
    let per_weight = code.instructions_per_weight().map_or("-".to_owned(), |count| format!("{count:.2}"));
    let spills = code.spilled_vgprs + code.spilled_sgprs;
    let row = format!(
        "{kernel:<18} {steps:<4} {:>5} {:>5} {spills:>6} {:>6} {:>6} {per_weight:>8} {:>6}  {constants}",
        code.vgprs, code.sgprs, code.lds_bytes, code.instructions, code.code_bytes
    );
    row.trim_end().to_owned()
}

fn violations(code: &Code, tier_c: bool) -> impl Iterator<Item = String> {
    let most_vgprs = if tier_c { MOST_VGPRS } else { MOST_VGPRS_ABOVE_C };
    let spills = code.spilled_vgprs + code.spilled_sgprs;
    let over = [
        (spills > 0 || code.scratch_bytes > 0, format!("{spills} registers and {} bytes are spilled", code.scratch_bytes)),
        (code.vgprs > most_vgprs, format!("{} VGPRs, and {most_vgprs} are allowed", code.vgprs)),
        (tier_c && code.lds_bytes > MOST_LDS, format!("{} bytes of workgroup memory, and tier C has {MOST_LDS}", code.lds_bytes)),
    ];
    over.into_iter().filter_map(|(is_over, why)| is_over.then_some(why))
}

/// Rows that only one of two tables has, by section.
fn changes(committed: &str, now: &str) -> Vec<String> {
    let rows = |text: &str| {
        let mut section = None;
        let mut rows = Vec::new();
        for line in text.lines() {
            match line.split_once(": ") {
                Some((head, _)) if head.contains(", tier ") => section = Some(head.to_owned()),
                _ => rows.extend(section.clone().map(|section| (section, line.to_owned()))),
            }
        }
        rows
    };
    let (old, new) = (rows(committed), rows(now));
    let gone = old.iter().filter(|row| !new.contains(row)).map(|row| (row, '-'));
    let come = new.iter().filter(|row| !old.contains(row)).map(|row| (row, '+'));
    let mut changed: Vec<_> = gone.chain(come).collect();
    // The kernel's name begins the row: what it was stands above what it is.
    let kernel = |row: &str| row.split(' ').next().unwrap_or_default().to_owned();
    changed.sort_by_key(|((section, row), _)| (section.clone(), kernel(row)));
    changed.iter().map(|((section, row), sign)| format!("{sign} {section}: {row}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{changes, violations};
    use crate::plan::Code;

    #[test]
    fn changes_are_told_by_section() {
        let table =
            |vgprs: &str| format!("Words: about\n\nx, tier c: m (Mesa 1)\nkernel vgpr\na {vgprs}\nb 3\n\ny, tier c: m\na 1\n");
        assert!(changes(&table("1"), &table("1").replace("Mesa 1", "Mesa 2")).is_empty());
        assert_eq!(changes(&table("1"), &table("2")), ["- x, tier c: a 1", "+ x, tier c: a 2"]);
    }

    #[test]
    fn limits_hold() {
        let fine = Code { vgprs: 96, lds_bytes: 16_384, ..Code::default() };
        assert_eq!(violations(&fine, true).count(), 0);
        let count = |code: Code, tier_c| violations(&code, tier_c).count();
        for (vgprs, tier_c, over) in [(97, true, 1), (97, false, 0), (128, false, 0), (129, false, 1)] {
            assert_eq!(count(Code { vgprs, ..fine.clone() }, tier_c), over);
        }
        assert_eq!(count(Code { lds_bytes: 16_896, ..fine.clone() }, true), 1);
        assert_eq!(count(Code { lds_bytes: 16_896, ..fine.clone() }, false), 0);
        assert_eq!(count(Code { spilled_sgprs: 1, ..fine.clone() }, true), 1);
        assert_eq!(count(Code { spilled_vgprs: 4, vgprs: 128, ..fine }, true), 2);
    }
}
