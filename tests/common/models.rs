//! Finding real models in the user's cache.

use kinglet::weights::known::{self, KnownModel, cache};
use std::path::PathBuf;

#[allow(dead_code, reason = "for the default model")]
/// The file of a known model, or `None` with a word on stderr: the test is skipped. With `KINGLET_REQUIRE_MODELS=1` a missing model fails
/// the test, so that nothing is skipped where everything was set up.
pub fn path(name: &str) -> Option<PathBuf> {
    let model = known::find(name).expect("a known model");
    let path = cache::models().map(|folder| folder.join(model.file));
    if let Some(path) = path.filter(|path| path.is_file()) {
        return Some(path);
    }
    let missing = missing(model);
    let required = std::env::var("KINGLET_REQUIRE_MODELS").is_ok_and(|value| value == "1");
    assert!(!required, "{missing}");
    eprintln!("skipped: {missing}");
    None
}

/// As [`path`], for a model that can only be had as long as others keep it: without it the test is always skipped.
#[allow(dead_code, reason = "for real models other than the default")]
pub fn optional(name: &str) -> Option<PathBuf> {
    let model = known::TEST_MODELS.iter().find(|model| model.name == name).expect("a known model");
    let path = cache::models().map(|folder| folder.join(model.file)).filter(|path| path.is_file());
    if path.is_none() {
        eprintln!("skipped: {}", missing(model));
    }
    path
}

fn missing(model: &KnownModel) -> String {
    format!("{} is not in the cache; `cargo xtask model {}` fetches it", model.file, model.name)
}
