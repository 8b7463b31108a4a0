//! Where measured tunings are kept: a file for each device, driver and set of kernels in the user's cache.

use super::output::note;
use kinglet::gpu::Gpu;
use kinglet::model::{TunedBy, Tuning};
use kinglet::weights::known::cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

#[derive(Serialize, Deserialize)]
struct File {
    /// [`Tuning::key`]
    key: String,
    tuning: Tuning,
}

fn path(key: &str) -> Option<PathBuf> {
    let name: String = Sha256::digest(key)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    Some(cache::folder()?.join("tuning").join(format!("{name}.json")))
}

/// What was measured on this device before. A file that cannot be read is as good as none.
pub fn stored(gpu: &Gpu, exact: bool) -> Option<Tuning> {
    let key = Tuning::key(gpu, exact);
    let file: File = serde_json::from_slice(&std::fs::read(path(&key)?).ok()?).ok()?;
    (file.key == key).then_some(file.tuning)
}

/// Keeps what was measured just now. Where that fails, the next load measures again.
pub fn keep(gpu: &Gpu, exact: bool, tuning: &Tuning, by: TunedBy) {
    if by != TunedBy::Measured {
        return;
    }
    let key = Tuning::key(gpu, exact);
    let Some(path) = path(&key) else { return };
    let written = serde_json::to_vec(&File { key, tuning: tuning.clone() }).map_err(std::io::Error::from).and_then(|json| {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        // Another program may read it meanwhile.
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&fresh, json)?;
        std::fs::rename(&fresh, &path)
    });
    if let Err(error) = written {
        note(format_args!("What was measured of this GPU cannot be kept in {}: {error}", path.display()));
    }
}
