//! Where things lie: the repository, the user cache, the tools folder, and the programs found on this machine.

use crate::sh;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The user cache: models, vocabularies and tools.
pub fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|v: &OsString| !v.is_empty());
    if let Some(dir) = set("KINGLET_CACHE") {
        return PathBuf::from(dir);
    }
    if let Some(dir) = set("XDG_CACHE_HOME") {
        return PathBuf::from(dir).join("kinglet");
    }
    let home = set("HOME").or_else(|| set("USERPROFILE")).unwrap_or_else(|| ".".into());
    PathBuf::from(home).join(".cache").join("kinglet")
}

/// The folder that `setup` installs programs into.
pub fn dir() -> PathBuf {
    cache().join("tools")
}

/// `PATH` for child processes: the tools folder first.
pub fn path() -> OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let ours = [dir().join("bin"), dir().join("node/node_modules/.bin")];
    std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&old))).unwrap_or(old)
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// `cargo` in the repository's root.
pub fn cargo() -> Command {
    // xtask itself was built by cargo, whose variables must not leak into another build.
    let mut command = sh::cmd("cargo");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST")) {
            command.env_remove(name);
        }
    }
    command
}

/// Chromium or Chrome, whichever is on this machine.
pub fn chromium() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("KINGLET_CHROMIUM") {
        return Some(path.into());
    }
    let mac = Path::new("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
    ["chromium", "google-chrome", "google-chrome-stable", "chrome", "chromium-browser"]
        .iter()
        .filter_map(|name| sh::which(name))
        .find(|path| !is_snap_stub(path))
        .or_else(|| mac.is_file().then(|| mac.to_owned()))
}

/// The WebDriver of that browser.
pub fn chromedriver() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMEDRIVER") {
        return Some(path.into());
    }
    sh::which("chromedriver").filter(|path| !is_snap_stub(path))
}

/// Firefox, also as Debian's extended support release.
pub fn firefox() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("KINGLET_FIREFOX") {
        return Some(path.into());
    }
    let mac = Path::new("/Applications/Firefox.app/Contents/MacOS/firefox");
    ["firefox-esr", "firefox"]
        .iter()
        .filter_map(|name| sh::which(name))
        .find(|path| !is_snap_stub(path))
        .or_else(|| mac.is_file().then(|| mac.to_owned()))
}

/// Ubuntu's `chromium-browser` package is a short shell script that asks for the snap.
fn is_snap_stub(path: &Path) -> bool {
    let small = path.metadata().is_ok_and(|m| m.len() < 10_000);
    small && std::fs::read_to_string(path).is_ok_and(|text| text.contains("snap "))
}

/// The Vulkan loader's manifest for lavapipe, Mesa's CPU driver.
pub fn lavapipe_icd() -> Option<PathBuf> {
    icd("lvp_icd")
}

/// The Vulkan loader's manifest that begins so, for this machine's architecture if there are several.
pub fn icd(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
    folders.iter().find_map(|folder| {
        let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                file.starts_with(name) && file.ends_with(".json")
            })
            .collect();
        // A 64-bit system may hold the 32-bit driver too.
        found.sort_by_key(|path| !path.to_string_lossy().contains(std::env::consts::ARCH));
        found.into_iter().next()
    })
}

/// The Vulkan loader's manifest for SwiftShader, the CPU driver that Chromium ships.
///
/// Chromium's own manifest names the library by a relative path, which some loaders take as relative to the working
/// folder; a copy with the absolute path lies in the tools folder.
pub fn swiftshader_icd() -> Option<PathBuf> {
    let folders = ["/usr/lib/chromium", "/opt/google/chrome", "/usr/lib/chromium-browser"];
    let library = folders.iter().map(|folder| Path::new(folder).join("libvk_swiftshader.so")).find(|path| path.is_file())?;
    let manifest = dir().join("swiftshader_icd.json");
    let text = serde_json::json!({
        "file_format_version": "1.0.0",
        "ICD": { "library_path": library, "api_version": "1.1.0" }
    })
    .to_string();
    if std::fs::read_to_string(&manifest).is_ok_and(|old| old == text) {
        return Some(manifest);
    }
    std::fs::create_dir_all(dir()).ok()?;
    std::fs::write(&manifest, text).ok()?;
    Some(manifest)
}

#[cfg(test)]
mod tests {
    #[test]
    fn tools_come_first_on_the_path() {
        let first = std::env::split_paths(&super::path()).next();
        assert_eq!(first, Some(super::dir().join("bin")));
    }

    #[test]
    fn the_root_holds_the_manifest() {
        assert!(super::root().join("Cargo.toml").is_file());
    }
}
