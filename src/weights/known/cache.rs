//! Where downloaded files are kept.

use std::ffi::OsString;
use std::path::PathBuf;

/// The user's cache folder for Kinglet: `$KINGLET_CACHE`, or `$XDG_CACHE_HOME/kinglet`, or `~/.cache/kinglet`
/// (`%LOCALAPPDATA%\kinglet` where there is no home folder). `None` where the environment names none of them.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    folder_from(|name| std::env::var_os(name))
}

/// The folder below [`folder`] that model files are in.
#[must_use]
pub fn models() -> Option<PathBuf> {
    Some(folder()?.join("models"))
}

fn folder_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(own) = path("KINGLET_CACHE") {
        return Some(own);
    }
    // The XDG specification has a relative path be ignored.
    if let Some(xdg) = path("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
        return Some(xdg.join("kinglet"));
    }
    if let Some(home) = path("HOME") {
        return Some(home.join(".cache").join("kinglet"));
    }
    Some(path("LOCALAPPDATA")?.join("kinglet"))
}

#[cfg(test)]
mod tests {
    use super::folder_from;
    use std::path::PathBuf;

    #[test]
    fn the_first_that_is_set_wins() {
        let with = |set: &[(&str, &str)]| {
            folder_from(|name| {
                let (_, value) = set.iter().find(|(key, _)| *key == name)?;
                Some((*value).into())
            })
        };
        let all = [("KINGLET_CACHE", "/k"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(with(&all), Some(PathBuf::from("/k")));
        assert_eq!(with(&all[1..]), Some(PathBuf::from("/x/kinglet")));
        assert_eq!(with(&all[2..]), Some(PathBuf::from("/h/.cache/kinglet")));
        let odd = [("KINGLET_CACHE", ""), ("XDG_CACHE_HOME", "relative"), ("HOME", "/h")];
        assert_eq!(with(&odd), Some(PathBuf::from("/h/.cache/kinglet")));
        assert_eq!(with(&[]), None);
    }
}
