//! The example page of the npm package, from a plain static server, in a real browser; and the module's promises about several requests.

#[path = "common/models.rs"]
mod models;
#[path = "common/webdriver.rs"]
mod webdriver;

use std::time::Duration;
use webdriver::{Browser, Setup, serve_package};

const MINUTES: Duration = Duration::from_secs(20 * 60);

#[test]
fn the_example_page_answers() {
    let (Some(setup), Some(model)) = (Setup::from_env(), models::path("smollm2-135m")) else { return };
    let browser = Browser::open(&setup);
    browser.go(&format!("{}/web/example/", serve_package(&setup, &model)));
    browser.wait("the model", MINUTES, "return document.querySelector('#status')?.textContent.startsWith('Ready') ?? false");
    browser.run("document.querySelector('form button').click()");
    let begun = "return document.querySelector('#answer').textContent.length > 40";
    browser.wait("the answer", MINUTES, begun);
    let text = browser.run("return document.querySelector('#answer').textContent");
    assert!(text.as_str().unwrap().starts_with("Gravity is a fundamental concept in physics"), "{text}");
    browser.screenshot("example.png");
}

#[test]
fn requests_are_answered_one_by_one_and_can_be_aborted() {
    let (Some(setup), Some(model)) = (Setup::from_env(), models::path("smollm2-135m")) else { return };
    let browser = Browser::open(&setup);
    // A page without a script of its own, of the same origin.
    browser.go(&format!("{}/web/npm/package.json", serve_package(&setup, &model)));
    browser.run(
        "window.result = null;
         (async () => {
           const { Kinglet } = await import('/web/npm/dist/index.js');
           const engine = await Kinglet.load('/models/SmolLM2-135M-Instruct.Q4_1.gguf', { context: 512 });
           const ask = (content, more = {}, options = {}) => engine.chat.completions.create(
             { messages: [{ role: 'user', content }], temperature: 0, max_tokens: 6, ...more }, options);
           const [a, b] = await Promise.all([ask('What is gravity?'), ask('Name a fruit.')]);
           const again = await ask('What is gravity?');
           const control = new AbortController();
           let pieces = 0, aborted = '';
           try {
             const stream = await ask('Tell a long story.', { stream: true, max_tokens: 200 }, { signal: control.signal });
             for await (const chunk of stream) if (chunk.choices[0]?.delta.content && ++pieces == 3) control.abort();
           } catch (error) { aborted = error.name; }
           const after = await ask('What is gravity?');
           let refused = '';
           try { await ask('x', { temperature: -1 }); } catch (error) { refused = error.name; }
           const messages = [{ role: 'user', content: 'word '.repeat(600) }, { role: 'assistant', content: 'Yes.' },
             { role: 'user', content: 'What is gravity?' }];
           let full = '';
           try { await ask('', { messages, stream: true }); } catch (error) { full = error.name; }
           const late = await ask('', { messages, truncation: 'auto' });
           let dropped = null;
           for await (const chunk of await ask('', { messages, truncation: 'auto', stream: true })) dropped = chunk.dropped_messages ?? dropped;
           const text = (reply) => reply.choices[0].message.content;
           window.result = { a: text(a), b: text(b), again: text(again), after: text(after), usage: a.usage, reason: a.choices[0].finish_reason,
             object: a.object, pieces, aborted, refused, full, late: text(late), dropped: [a.dropped_messages, late.dropped_messages, dropped],
             info: engine.info };
           await engine.unload();
         })().catch((error) => { window.result = { failed: `${error.name}: ${error.message}` }; });",
    );
    let result = browser.wait("the requests", MINUTES, "return window.result");
    assert!(result["failed"].is_null(), "{result}");
    assert!(result["a"].as_str().unwrap().starts_with("Gravity is a"), "{result}");
    assert_eq!(result["a"], result["again"], "another request in between changes nothing");
    assert_eq!(result["a"], result["after"], "an aborted request in between changes nothing");
    assert_ne!(result["a"], result["b"]);
    assert_eq!((&result["object"], &result["reason"]), (&"chat.completion".into(), &"length".into()));
    assert_eq!(result["usage"]["prompt_tokens"], 34);
    assert_eq!(result["usage"]["completion_tokens"], 6);
    assert_eq!(result["usage"]["total_tokens"], 40);
    assert_eq!(result["aborted"], "AbortError");
    let pieces = result["pieces"].as_u64().unwrap();
    assert!((3..=5).contains(&pieces), "{pieces} pieces came although the third asked to stop");
    assert_eq!(result["refused"], "InvalidRequestError");
    assert_eq!(result["full"], "ContextWindowSizeExceededError", "before there is a stream");
    assert_eq!((&result["late"], &result["dropped"]), (&result["a"], &serde_json::json!([0, 2, 2])));
    let info = &result["info"];
    assert_eq!((&info["quantization"], &info["parameters"]), (&"Q4_1".into(), &134_515_008.into()), "{info}");
    // Chromium's SwiftShader has them.
    assert_eq!((&info["tier"], &info["subgroups"]), (&"c".into(), &true.into()), "{info}");
    let heap = info["wasmPeakBytes"].as_f64().unwrap();
    eprintln!("peak WASM heap {:.1} MiB", heap / f64::from(1 << 20));
    assert!(heap < 64.0 * f64::from(1 << 20), "the model must not lie in WASM memory: {heap}");
}
