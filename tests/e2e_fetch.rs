//! Models from web servers that misbehave, loaded by the package in a real browser; and what templates learn of the user's clock.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/gpu.rs"]
mod gpu;
#[allow(dead_code, reason = "only its type of weights is used here")]
#[path = "common/reference.rs"]
mod reference;
#[path = "../src/weights/known/testserver.rs"]
mod testserver;
#[path = "common/tiny.rs"]
mod tiny;
#[path = "common/webdriver.rs"]
mod webdriver;
#[path = "common/weights.rs"]
mod weights;

use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use testserver::{Reply, Request, TestServer};
use tiny::Tiny;
use webdriver::{Browser, Setup};

const MINUTES: Duration = Duration::from_secs(10 * 60);
/// Where connections break: in the weights, past the first piece that a header is looked for in.
const CUT: usize = 300_000;

/// A file of the built package.
fn package(folder: &Path, path: &str) -> Reply {
    let Ok(body) = std::fs::read(folder.join(path)) else { return Reply::status("404 Not Found") };
    let kind = match path.rsplit('.').next() {
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "application/json",
    };
    Reply { head: format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}", body.len()), body }
}

/// Serves the package under `/npm/`, and as `/models/CASE` what `model` answers to the CASE's n-th request.
fn serve(setup: &Setup, model: impl Fn(&str, usize, &Request) -> Reply + Send + Sync + 'static) -> TestServer {
    let folder = setup.npm.clone();
    let counts = Mutex::new(HashMap::<String, usize>::new());
    TestServer::start(move |_, request| {
        if let Some(path) = request.path.strip_prefix("/npm/") {
            return package(&folder, path);
        }
        let Some(case) = request.path.strip_prefix("/models/") else { return Reply::status("404 Not Found") };
        let number = {
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(case.to_owned()).or_default();
            *count += 1;
            *count - 1
        };
        model(case, number, request)
    })
}

/// Loads every case's model in turn and asks it; by case `{text, prompt_tokens}` or `{error, message}`.
fn ask(setup: &Setup, server: &TestServer, cases: &[&str]) -> Value {
    let browser = Browser::open(setup);
    // A page without a script of its own, of the same origin.
    browser.go(&server.url("/npm/package.json"));
    let cases = serde_json::to_string(cases).unwrap();
    browser.run(&format!(
        "window.result = null;
         (async () => {{
           const {{ Kinglet }} = await import('/npm/index.js');
           const ask = async (name) => {{
             try {{
               const engine = await Kinglet.load('/models/' + name);
               const messages = [{{ role: 'user', content: 'a' }}];
               const hours = [new Date().getHours()];
               const reply = await engine.chat.completions.create({{ messages, temperature: 0, max_tokens: 12, ignore_eos: true }});
               hours.push(new Date().getHours());
               await engine.unload();
               return {{ text: reply.choices[0].message.content, prompt_tokens: reply.usage.prompt_tokens, hours }};
             }} catch (error) {{ return {{ error: error.name, message: error.message }}; }}
           }};
           const result = {{}};
           for (const name of {cases}) result[name] = await ask(name);
           window.result = result;
         }})().catch((error) => {{ window.result = {{ failed: error.message }}; }});"
    ));
    let result = browser.wait("the models", MINUTES, "return window.result");
    assert!(result["failed"].is_null(), "{result}");
    result
}

#[test]
fn a_server_that_misbehaves_costs_an_error_at_most() {
    let Some(setup) = Setup::from_env() else { return };
    let file = Tiny::default().build(7).0;
    assert!(file.len() > 2 * CUT, "{} bytes are too few for what is cut here", file.len());
    let server = serve(&setup, move |case, number, request| {
        let (whole, part) = (Reply::whole(&file, "\"a\""), Reply::part(request, &file, "\"a\""));
        let short = &file[..file.len() - 1000];
        match (case, number) {
            ("whole", _) => part,
            // A server that knows no ranges.
            ("no-ranges", _) => whole,
            ("no-ranges-cut", _) => whole.cut(CUT),
            // A connection that breaks, and a server that is busy for a moment.
            ("cut", 0) => part.cut(CUT),
            ("cut", 1) => Reply::status("503 Service Unavailable"),
            ("cut", 2) => part.cut(0),
            ("cut", _) => part,
            // Another file at the same address in mid-load: by its tag, its date, its length.
            ("changed" | "changed-length" | "gone" | "dying", 0) => part.cut(CUT),
            ("changed", _) => Reply::part(request, &file, "\"b\""),
            ("changed-date", _) => {
                let reply = if number == 0 { part.cut(CUT) } else { part };
                let date = format!("Last-Modified: Tue, 0{} Feb 2022 00:00:00 GMT", number + 1);
                Reply { head: reply.head.replace("ETag: \"a\"", &date), ..reply }
            }
            ("changed-length", _) => Reply::part(request, short, "\"a\""),
            ("gone", _) | ("404", _) => Reply::status("404 Not Found"),
            ("dying", _) | ("500", _) => Reply::status("500 Internal Server Error"),
            // Files that end too early, with and without a word about their length.
            ("truncated", _) => Reply::part(request, short, "\"a\""),
            ("truncated-untold", _) => Reply { head: "HTTP/1.1 200 OK".into(), body: short.to_vec() },
            _ => Reply::status("404 Not Found"),
        }
    });
    let good = ["whole", "no-ranges", "cut"];
    let bad = [
        ("no-ranges-cut", "SourceError", "cannot send a part of a file"),
        ("changed", "SourceError", "changed while it was being read (the server's ETag)"),
        ("changed-date", "SourceError", "changed while it was being read (its date)"),
        ("changed-length", "SourceError", "changed while it was being read (its length)"),
        ("gone", "SourceError", "status 404"),
        ("dying", "SourceError", "status 500"),
        ("404", "SourceError", "/models/404: there is no such file"),
        ("500", "SourceError", "status 500"),
        ("truncated", "GgufError", "but the file ends at"),
        ("truncated-untold", "SourceError", "is the download complete?"),
    ];
    let cases: Vec<&str> = good.into_iter().chain(bad.map(|(case, ..)| case)).collect();
    let result = ask(&setup, &server, &cases);
    let text = result["whole"]["text"].as_str().unwrap_or_default();
    assert!(!text.is_empty(), "{result}");
    for case in good {
        assert_eq!(result[case]["text"], text, "{case}: {}", result[case]);
    }
    for (case, name, word) in bad {
        let message = result[case]["message"].as_str().unwrap_or_default();
        assert_eq!(result[case]["error"], name, "{case}: {}", result[case]);
        assert!(message.contains(word), "{case}: no {word:?} in {message:?}");
    }
    for case in ["gone", "dying", "404", "500"] {
        let url = server.url(&format!("/models/{case}"));
        assert!(result[case]["message"].as_str().unwrap().contains(&url), "{case}: no {url} in {}", result[case]);
    }

    let starts = |case: &str| -> Vec<Option<usize>> {
        let path = format!("/models/{case}");
        server.requests().iter().filter(|request| request.path == path).map(Request::start).collect()
    };
    assert_eq!((starts("whole"), starts("no-ranges")), (vec![None], vec![None]), "one request each");
    let cut = starts("cut");
    assert_eq!((cut.len(), cut[0]), (4, None), "{cut:?}");
    // A stream that breaks drops what was not taken from it yet: on a slow machine that may be all.
    let next = cut[1];
    assert!(next.is_none_or(|next| (1..=CUT).contains(&next)), "{next:?}");
    assert_eq!(cut[1..], [next; 3], "nothing came in between");
    let requests = server.requests();
    let again = requests.iter().filter(|request| request.path == "/models/cut").skip(1);
    assert!(
        again.clone().all(|request| request.header("cache-control") == Some("no-cache")),
        "past the browser's cache: {again:?}"
    );
    assert_eq!(starts("404").len(), 1);
}

#[test]
fn templates_learn_the_users_local_time() {
    let Some(setup) = Setup::from_env() else { return };
    // As many letters as it is hours, each a token, and then the message's one.
    let template = "{{ 'x' * (strftime_now('%H') | int) }}{{ messages[0].content }}";
    let file = Tiny { template: Some(template), ..Tiny::default() }.build(7).0;
    let server = serve(&setup, move |_, _, request| Reply::part(request, &file, "\"a\""));
    let result = ask(&setup, &server, &["clock"]);
    let tokens = result["clock"]["prompt_tokens"].as_u64().unwrap_or_else(|| panic!("{result}"));
    let hours = result["clock"]["hours"].as_array().unwrap();
    assert!(hours.contains(&(tokens - 1).into()), "{tokens} tokens at {hours:?} o'clock");
}

/// A model in parts, and one as transformers saves it: by URL and as files that were picked.
#[test]
fn models_of_several_files_load_by_address_and_as_picked_files() {
    let Some(setup) = Setup::from_env() else { return };
    let (file, _) = Tiny { template: Some("{{ messages[0].content }}"), ..Tiny::default() }.file(7);
    let mut files = HashMap::from([("whole.gguf".to_owned(), file.bytes())]);
    // More parts than a browser has connections to one server.
    const PARTS: usize = 9;
    for number in 0..PARTS {
        let mut part = if number == 0 { file.clone() } else { ggufwriter::GgufWriter::new() };
        let run = file.tensors.len().div_ceil(PARTS);
        part.tensors = file.tensors.iter().skip(number * run).take(run).cloned().collect();
        let part = part
            .u16("split.no", number as u16)
            .u16("split.count", PARTS as u16)
            .i32("split.tensors.count", file.tensors.len() as i32);
        files.insert(format!("part-{:05}-of-{PARTS:05}.gguf", number + 1), part.bytes());
    }
    for folder in ["llama", "llama-bin"] {
        let saved = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hf").join(folder);
        for entry in std::fs::read_dir(saved).expect("the saved model") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            files.insert(format!("{folder}/{name}"), std::fs::read(&path).expect("a file"));
        }
    }
    let mut names: Vec<String> = files.keys().cloned().collect();
    names.sort();
    let server = serve(&setup, move |case, _, request| match files.get(case) {
        Some(file) => Reply::part(request, file, "\"a\""),
        None => Reply::status("404 Not Found"),
    });
    let browser = Browser::open(&setup);
    browser.go(&server.url("/npm/package.json"));
    let names = serde_json::to_string(&names).unwrap();
    browser.run(&format!(
        "window.result = null;
         (async () => {{
           const {{ Kinglet }} = await import('/npm/index.js');
           const ask = async (source, options) => {{
             try {{
               let last;
               const engine = await Kinglet.load(source, {{ onProgress: (p) => {{ if (p.phase == 'weights') last = p; }}, ...options }});
               const messages = [{{ role: 'user', content: 'abc' }}];
               const reply = await engine.chat.completions.create({{ messages, temperature: 0, max_tokens: 12, ignore_eos: true }});
               const {{ model, quantization }} = engine.info;
               await engine.unload();
               return {{ text: reply.choices[0].message.content, model, quantization, complete: last.loaded == last.total }};
             }} catch (error) {{ return {{ error: error.name, message: error.message }}; }}
           }};
           const names = {names};
           const pick = (wanted) => Promise.all(names.filter(wanted).map(async (name) =>
             new File([await (await fetch('/models/' + name)).blob()], name.split('/').at(-1))));
           window.result = {{
             whole: await ask('/models/whole.gguf'),
             parts: await ask('/models/part-00002-of-00009.gguf'),
             partsPicked: await ask(await pick((name) => name.startsWith('part-'))),
             partMissing: await ask(await pick((name) => name.startsWith('part-') && !name.includes('-00004-'))),
             partAlone: await ask(await pick((name) => name.startsWith('part-00003'))),
             folder: await ask('/models/llama/'),
             folderPicked: await ask(await pick((name) => name.startsWith('llama/'))),
             pickled: await ask('/models/llama-bin/'),
             quantized: await ask('/models/whole.gguf', {{ quantize: 'q8_0' }}),
             nothing: await ask('/models/none/'),
           }};
         }})().catch((error) => {{ window.result = {{ failed: error.message }}; }});"
    ));
    let result = browser.wait("the models", MINUTES, "return window.result");
    let text = |case: &str| result[case]["text"].as_str().unwrap_or_else(|| panic!("{case}: {result}")).to_owned();
    assert_eq!((text("parts"), text("partsPicked")), (text("whole"), text("whole")));
    assert_eq!((text("folderPicked"), text("pickled")), (text("folder"), text("folder")));
    for case in ["whole", "parts", "partsPicked", "folder", "folderPicked", "quantized"] {
        assert_eq!(result[case]["complete"], true, "{case}: {result}");
    }
    assert_eq!((&result["parts"]["model"], &result["folder"]["model"]), (&"part".into(), &"llama".into()));
    assert_eq!((&result["folder"]["quantization"], &result["quantized"]["quantization"]), (&"BF16".into(), &"Q8_0".into()));
    let fails = |case: &str, word: &str| {
        assert_eq!(result[case]["error"], "ModelFilesError", "{case}: {result}");
        assert!(result[case]["message"].as_str().is_some_and(|message| message.contains(word)), "{case}: {result}");
    };
    fails("partMissing", "part-00004-of-00009.gguf is missing");
    fails("partAlone", "part-00001-of-00009.gguf is missing");
    fails("nothing", "config.json");
}
