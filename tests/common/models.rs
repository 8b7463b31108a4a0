//! Finding real models in the user's cache.

use kinglet::weights::known::{self, cache};
use std::path::PathBuf;

/// The file of a known model, or `None` with a word on stderr: the test is skipped. With `KINGLET_REQUIRE_MODELS=1` a missing model fails
/// the test, so that nothing is skipped where everything was set up.
pub fn path(name: &str) -> Option<PathBuf> {
    let model = known::find(name).expect("a known model");
    let path = cache::models().map(|folder| folder.join(model.file));
    if let Some(path) = path.filter(|path| path.is_file()) {
        return Some(path);
    }
    let missing = format!("{} is not in the cache; `cargo xtask model {name}` fetches it", model.file);
    let required = std::env::var("KINGLET_REQUIRE_MODELS").is_ok_and(|value| value == "1");
    assert!(!required, "{missing}");
    eprintln!("skipped: {missing}");
    None
}
