//! The real page in a real browser with the real model: what a user sees, held against the native program and the golden.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/golden.rs"]
mod golden;
#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/models.rs"]
mod models;
#[allow(dead_code, reason = "only its type of weights is used here")]
#[path = "common/reference.rs"]
mod reference;
#[path = "common/tiny.rs"]
mod tiny;
#[path = "common/webdriver.rs"]
mod webdriver;
#[path = "common/weights.rs"]
mod weights;

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tiny::Tiny;
use webdriver::{Browser, Setup, serve};

const MINUTES: Duration = Duration::from_secs(20 * 60);
const TEXT: &str = "return document.querySelector('[data-testid=message-text]')?.innerText ?? ''";

/// What the native program answers on the adapter that the browser uses too.
fn native_text(model: &std::path::Path, tokens: usize) -> Option<String> {
    let icd = std::env::var_os("KINGLET_SWIFTSHADER_ICD")?;
    let output = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["generate", &model.to_string_lossy(), "--chat", "What is gravity?", "--temperature", "0", "--json"])
        .args(["--max-tokens", &tokens.to_string()])
        .env("VK_ICD_FILENAMES", &icd)
        .env("VK_DRIVER_FILES", &icd)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    Some(reply["text"].as_str().unwrap().to_owned())
}

fn send(browser: &Browser, text: &str) {
    browser.run(&format!(
        "const box = document.querySelector('[data-testid=composer]');
         Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(box, '{text}');
         box.dispatchEvent(new Event('input', {{ bubbles: true }}));"
    ));
    browser.wait(
        "the send button",
        MINUTES,
        "const send = document.querySelector('[data-testid=send]'); return send && !send.disabled",
    );
    browser.run("document.querySelector('[data-testid=send]').click()");
}

#[test]
fn the_page_loads_the_model_and_answers_like_the_native_program() {
    let (Some(setup), Some(model)) = (Setup::from_env(), models::path("smollm2-135m")) else { return };
    let native = native_text(&model, 40);
    let folder = model.parent().unwrap().to_path_buf();
    let address = serve(&[("/models/", folder), ("/", setup.dist.clone())]);
    let browser = Browser::open(&setup);
    browser.go(&format!("{address}/?temperature=0"));
    browser.wait("the load button", MINUTES, "return !!document.querySelector('[data-testid=load-button]')");
    browser.run("document.querySelector('[data-testid=load-button]').click()");
    browser.wait(
        "the progress bar",
        MINUTES,
        "return !!document.querySelector('[data-testid=progress]') || document.body.dataset.state == 'ready'",
    );
    browser.wait("the model", MINUTES, "return document.body.dataset.state == 'ready'");
    send(&browser, "What is gravity?");

    let golden = golden::text();
    let wanted = golden.len().max(native.as_ref().map_or(0, String::len));
    let enough = format!(
        "const text = document.querySelector('[data-testid=message-text]')?.innerText ?? ''; return text.length > {}",
        wanted + 8
    );
    browser.wait("the answer", MINUTES, &enough);
    let shot = browser.screenshot("answering.png");
    eprintln!("screenshot: {}", shot.display());
    // Stop ends the answer and keeps what is there.
    browser.run("document.querySelector('[data-testid=stop]').click()");
    browser.wait("the end of the answer", MINUTES, "return document.body.dataset.state == 'ready'");
    let text = browser.run(TEXT).as_str().unwrap().to_owned();
    assert!(text.starts_with(&golden), "the page says {text:?}, the golden {golden:?}");
    match native {
        Some(native) => assert!(text.starts_with(native.trim_end()), "the page says {text:?}, the native program {native:?}"),
        None => eprintln!("not compared with the native program: KINGLET_SWIFTSHADER_ICD is not set"),
    }
    let rate = browser.run("return document.querySelector('[data-testid=tok-per-s]')?.innerText ?? ''");
    assert!(rate.as_str().unwrap().contains("tok"), "tokens per second: {rate}");
    let facts = browser.run("return document.querySelector('[data-testid=facts]')?.innerText ?? ''");
    eprintln!("in the browser: {rate}; {facts}");
    for fact in ["135 M Q4_1", "tier C, subgroups", "on the GPU"] {
        assert!(facts.as_str().unwrap().contains(fact), "no {fact:?} in {facts}");
    }
    browser.screenshot("answered.png");
}

/// With a tiny random model, whose context is soon full.
#[test]
fn a_conversation_that_outgrows_the_context_goes_on_and_says_so() {
    let Some(setup) = Setup::from_env() else { return };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("e2e_small");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("small.gguf"), Tiny { context: 256, ..Tiny::default() }.build(7).0).unwrap();
    let address = serve(&[("/models/", folder), ("/", setup.dist.clone())]);
    let browser = Browser::open(&setup);
    browser.go(&format!("{address}/?temperature=0&model=/models/small.gguf&autoload=1"));
    browser.wait("the model", MINUTES, "return document.body.dataset.state == 'ready'");
    let mut told = String::new();
    for turn in 1..=12 {
        send(&browser, "Tell me more about the weather in the mountains.");
        let answered = format!(
            "return document.body.dataset.state == 'ready' && document.querySelectorAll('[data-testid=message-assistant]').length == {turn}"
        );
        browser.wait("an answer", MINUTES, &answered);
        told = browser
            .run("return [...document.querySelectorAll('[data-testid=tok-per-s]')].pop().innerText")
            .as_str()
            .unwrap()
            .into();
        assert!(told.contains("tok"), "an answer and no error: {told:?}");
        if told.contains("forgotten") {
            break;
        }
    }
    browser.screenshot("forgotten.png");
    assert!(told.contains("messages are forgotten"), "{told}");
    let problems = browser.run("return document.querySelectorAll('[data-testid=problem]').length");
    assert_eq!(problems, 0);
}

#[test]
fn a_missing_model_is_said_plainly() {
    let Some(setup) = Setup::from_env() else { return };
    let address = serve(&[("/", setup.dist.clone())]);
    let browser = Browser::open(&setup);
    browser.go(&format!("{address}/?model=/models/nothing.gguf&autoload=1"));
    browser.wait("the error", MINUTES, "return document.body.dataset.state == 'error'");
    let problem = browser.run("return document.querySelector('[data-testid=problem]')?.innerText ?? ''");
    assert!(problem.as_str().unwrap().contains("nothing.gguf"), "{problem}");
}
