//! Files that lie beside each other on the web.

/// The address of a folder: what names a file in it stands between the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    base: String,
    /// `?download=true` and the like, kept for every file.
    query: String,
}

impl Address {
    /// The folder of `url`, and the name of the file that it names; `None` if it ends in `/` and names the folder itself. Pages of
    /// huggingface.co stand for the files that they show.
    #[must_use]
    pub fn of(url: &str) -> (Self, Option<String>) {
        let url = &hub(url).unwrap_or_else(|| url.to_owned());
        let end = url.find(['?', '#']).unwrap_or(url.len());
        let (path, rest) = url.split_at(end);
        let query = rest.split('#').next().unwrap_or_default().to_owned();
        let host = path.find("://").map_or(0, |scheme| scheme + 3);
        match path.rfind('/').filter(|slash| *slash >= host) {
            Some(slash) => {
                let (base, name) = path.split_at(slash + 1);
                let name = Some(name.to_owned()).filter(|name| !name.is_empty());
                (Self { base: base.to_owned(), query }, name)
            }
            None => (Self { base: format!("{path}/"), query }, None),
        }
    }

    /// The address of a file in the folder; `name` may hold folders of its own.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        format!("{}{name}{}", self.base, self.query)
    }

    /// What the folder is called: the last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        let path = self.base.trim_end_matches('/');
        // On huggingface.co the model's name stands before the revision.
        let path = path.rsplit_once("/resolve/").map_or(path, |(model, _)| model);
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// Where the files are that a page of huggingface.co shows: of a model, or of a folder or file in one. `None` for all other addresses.
fn hub(url: &str) -> Option<String> {
    const HUB: &str = "https://huggingface.co/";
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (path, rest) = url.strip_prefix(HUB)?.split_at(end.checked_sub(HUB.len())?);
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let (owner, model) = (parts.next()?, parts.next()?);
    let (revision, inside) = match parts.next() {
        None => ("main", None),
        Some("tree") => (parts.next()?, None),
        Some("blob") => (parts.next()?, Some(parts.by_ref().collect::<Vec<_>>().join("/"))),
        Some(_) => return None,
    };
    let mut folder: String = parts.map(|part| format!("{part}/")).collect();
    folder += &inside.unwrap_or_default();
    Some(format!("{HUB}{owner}/{model}/resolve/{revision}/{folder}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn neighbours_keep_the_query() {
        let (folder, name) = Address::of("https://x.org/a/b/m-00001-of-00002.gguf?download=true#top");
        assert_eq!(name.as_deref(), Some("m-00001-of-00002.gguf"));
        assert_eq!(folder.file("m-00002-of-00002.gguf"), "https://x.org/a/b/m-00002-of-00002.gguf?download=true");
        assert_eq!(folder.name(), "b");
        let (folder, name) = Address::of("https://x.org/a/?token=a/b");
        assert_eq!((name, folder.file("config.json")), (None, "https://x.org/a/config.json?token=a/b".into()));
        for (page, file) in [
            ("https://huggingface.co/a/b", "https://huggingface.co/a/b/resolve/main/"),
            ("https://huggingface.co/a/b/", "https://huggingface.co/a/b/resolve/main/"),
            ("https://huggingface.co/a/b/tree/v2/c", "https://huggingface.co/a/b/resolve/v2/c/"),
            ("https://huggingface.co/a/b/blob/main/c/m.gguf?x=1", "https://huggingface.co/a/b/resolve/main/c/m.gguf?x=1"),
            ("https://huggingface.co/a/b/resolve/main/m.gguf", "https://huggingface.co/a/b/resolve/main/m.gguf"),
        ] {
            let (folder, name) = Address::of(page);
            assert_eq!(folder.file(&name.unwrap_or_default()), file, "{page}");
        }
        let (folder, name) = Address::of("http://x.org");
        assert_eq!((name, folder.file("config.json")), (None, "http://x.org/config.json".into()));
    }
}
