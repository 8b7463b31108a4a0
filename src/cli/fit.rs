//! What a model costs, and whether it fits a device: the last part of `kinglet inspect`.

use super::args::InspectArgs;
use super::exit::Failure;
use super::output::{self, bytes};
use kinglet::engine::{Cost, Error};
use kinglet::gpu::{DeviceInfo, GpuError};
use kinglet::model::ModelConfig;
use kinglet::weights::gguf::TensorInfo;
use serde::Serialize;

/// What it takes, and whether there is so much.
#[derive(Serialize)]
pub struct Fit {
    kv_type: &'static str,
    #[serde(flatten)]
    cost: Cost,
    weight_bytes: u64,
    total_bytes: u64,
    /// The LM head is the embedding.
    tied: bool,
    /// The device that was asked about.
    device: Option<String>,
    /// The memory that was asked about.
    budget_bytes: Option<u64>,
    /// Whether it fits; nothing if nothing was asked.
    fits: Option<bool>,
    /// Why it does not, and what is not known.
    notes: Vec<String>,
}

/// The device that was asked for, by its number or a part of its name.
pub fn device(args: &InspectArgs) -> Result<Option<DeviceInfo>, Failure> {
    let Some(wanted) = &args.device else { return Ok(None) };
    let devices = pollster::block_on(kinglet::gpu::devices());
    let named = |device: &&DeviceInfo| device.name.to_lowercase().contains(&wanted.to_lowercase());
    let found = match wanted.parse::<usize>() {
        Ok(number) => devices.get(number),
        Err(_) => devices.iter().find(named),
    };
    let available = || devices.iter().enumerate().map(|(number, device)| format!("{number}: {}", device.name)).collect::<Vec<_>>();
    match found {
        Some(device) => Ok(Some(device.clone())),
        None => Err(GpuError::UnknownAdapter { wanted: wanted.clone(), available: available().join(", ") }.into()),
    }
}

/// What the model costs with these arguments.
pub fn fit(args: &InspectArgs, device: Option<&DeviceInfo>, config: &ModelConfig, tensors: &[TensorInfo]) -> Result<Fit, Failure> {
    let context = match args.ctx {
        Some(wanted) if wanted > config.context => return Err(Error::ContextTooLarge { wanted, trained: config.context }.into()),
        Some(wanted) => wanted,
        None => config.default_context(),
    };
    let kv_type = args.kv_type.get();
    let cost = Cost::of(config, tensors, context, kv_type);
    let binding = device.map_or(u64::MAX, |device| device.limits.binding_bytes.min(device.limits.buffer_bytes));
    let budget = args.budget.unwrap_or(u64::MAX);
    let mut notes = Vec::new();
    let too_long = cost.context_piece_bytes > binding;
    if too_long {
        let needed = bytes(cost.context_piece_bytes);
        notes.push(format!(
            "what attention keeps in one piece takes {needed}, and the device binds at most {} at once",
            bytes(binding)
        ));
    }
    // Who asks about a context wants all of it; otherwise what matters is whether the model loads.
    let total_bytes = if args.ctx.is_some() { cost.total_bytes() } else { cost.loaded_bytes() };
    let too_large = total_bytes > budget;
    if too_large {
        notes.push(format!("it takes {} more than there is", bytes(total_bytes - budget)));
    }
    if !too_large && cost.total_bytes() > budget {
        notes.push(format!("all of its context would take {} more than there is", bytes(cost.total_bytes() - budget)));
    }
    if too_long || too_large {
        match Cost::largest_context(config, tensors, kv_type, budget, binding) {
            Some(context) => notes.push(format!("it would fit with a context of {context} tokens (--ctx {context})")),
            None => {
                notes.push("it would not fit with any context; a smaller type of weights may (--quantize, or another file)".into())
            }
        }
    }
    if let (Some(_), None) = (device, args.budget) {
        notes.push("how much memory the device has is not told by its driver's interface; give --budget to check that too".into());
    }
    Ok(Fit {
        kv_type: kv_type.name(),
        cost,
        weight_bytes: cost.weight_bytes(),
        total_bytes,
        tied: !tensors.iter().any(|tensor| tensor.name == "output.weight"),
        device: device.map(|device| device.name.clone()),
        budget_bytes: args.budget,
        fits: (device.is_some() || args.budget.is_some()).then_some(!too_long && !too_large),
        notes,
    })
}

/// The costs as a table, and the verdict.
pub fn print(fit: &Fit) -> Result<(), Failure> {
    let Fit { cost, .. } = fit;
    output::line(format_args!("\nOn the GPU"))?;
    let row = |what: &str, size: u64, note: String| output::line(format_args!("    {what:22} {:>12}{note}", bytes(size)));
    let stored = |file: u64, gpu: u64| if file == gpu { String::new() } else { format!("  ({} as read)", bytes(file)) };
    for (what, part) in
        [("embedding", cost.embedding), ("blocks", cost.blocks), ("LM head", cost.head), ("other weights", cost.other)]
    {
        let note =
            if what == "LM head" && fit.tied { "  (the embedding serves)".into() } else { stored(part.file_bytes, part.gpu_bytes) };
        row(what, part.gpu_bytes, note)?;
    }
    let each = format!("  ({} for 1024 tokens, {})", bytes(cost.kv_bytes_per_1k), fit.kv_type);
    row(&format!("KV cache of {}", cost.context), cost.kv_bytes, each)?;
    if cost.kv_reserved_bytes < cost.kv_bytes {
        row("  of this at first", cost.kv_reserved_bytes, "  (the rest as conversations grow)".into())?;
    }
    row("activations", cost.activation_bytes, String::new())?;
    row("staging", cost.staging_bytes, "  (while it loads)".into())?;
    let at_first = fit.total_bytes < cost.total_bytes();
    row(if at_first { "together at first" } else { "together" }, fit.total_bytes, String::new())?;
    if let Some(fits) = fit.fits {
        let place = match (&fit.device, fit.budget_bytes) {
            (Some(device), None) => device.clone(),
            (Some(device), Some(budget)) => format!("{} of {device}", bytes(budget)),
            (None, budget) => bytes(budget.unwrap_or(0)),
        };
        output::line(format_args!("\nIt {} {place}.", if fits { "fits" } else { "does not fit" }))?;
    }
    fit.notes.iter().try_for_each(|note| output::line(format_args!("    {note}")))
}
