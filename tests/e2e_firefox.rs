//! The package in a real Firefox, whose WebGPU is wgpu's and shares nothing with Chromium's.

#[path = "common/firefox.rs"]
mod firefox;
#[path = "common/golden.rs"]
mod golden;
#[path = "common/models.rs"]
mod models;
#[path = "common/webdriver.rs"]
mod webdriver;

use firefox::Firefox;
use std::time::Duration;
use webdriver::{Setup, serve_package};

const MINUTES: Duration = Duration::from_secs(20 * 60);

#[test]
fn the_example_page_answers() {
    let (Some(setup), Some(model)) = (Setup::from_env(), models::path("smollm2-135m")) else { return };
    let Some(mut browser) = Firefox::open() else { return };
    browser.go(&format!("{}/web/example/", serve_package(&setup, &model)));
    let begins = |word| format!("return document.querySelector('#status')?.textContent.startsWith('{word}') ?? false");
    browser.wait("the model", MINUTES, &begins("Ready"));
    browser.run("document.querySelector('form button').click()");
    browser.wait("the answer", MINUTES, &begins("Done"));
    let text = browser.run("return document.querySelector('#answer').textContent");
    let golden = golden::text();
    assert!(golden.len() >= 40, "{golden}");
    assert!(text.as_str().unwrap().starts_with(&golden), "{text} is not {golden}");
}

/// Firefox looks for finished work when something is submitted, and otherwise every 100 ms.
#[test]
fn waiting_goes_on_submitting() {
    let (Some(setup), Some(model)) = (Setup::from_env(), models::path("smollm2-135m")) else { return };
    let Some(mut browser) = Firefox::open() else { return };
    // A page without a script of its own, of the same origin.
    browser.go(&format!("{}/web/example/?model=none", serve_package(&setup, &model)));
    browser.run(
        "window.result = null;
         (async () => {
           const counting = `const submits = { work: 0, empty: 0 };
             const submit = GPUQueue.prototype.submit;
             GPUQueue.prototype.submit = function (list) { submits[list.length ? 'work' : 'empty']++; return submit.call(this, list); };
             new BroadcastChannel('submits').onmessage = ({ target }) => target.postMessage(submits);`;
           const Plain = Worker;
           window.Worker = function (url, options) {
             const script = `${counting}\\nawait import(${JSON.stringify(String(url))});`;
             return new Plain(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })), options);
           };
           const { Kinglet } = await import('/web/npm/dist/index.js');
           const engine = await Kinglet.load('/models/SmolLM2-135M-Instruct.Q4_1.gguf');
           const channel = new BroadcastChannel('submits');
           const submits = () => new Promise((done) => { channel.onmessage = ({ data }) => done(data); channel.postMessage(''); });
           const before = await submits();
           await engine.chat.completions.create({ messages: [{ role: 'user', content: 'What is gravity?' }], max_tokens: 1 });
           const after = await submits();
           window.result = { work: after.work - before.work, empty: after.empty - before.empty };
         })().catch((error) => { window.result = { failed: `${error.name}: ${error.message}` }; });",
    );
    let submits = browser.wait("the answer", MINUTES, "return window.result");
    eprintln!("{submits}");
    assert!(submits["failed"].is_null(), "{submits}");
    assert_eq!(submits["work"], 1, "a short prompt and its first token are one submit");
    // One is the kick; the rest is the pulse, for as long as a software GPU needs for 34 tokens.
    assert!(submits["empty"].as_u64().unwrap() >= 5, "{submits}");
}
