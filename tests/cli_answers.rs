//! The program at work on a tiny random model, and on the real one where it is in the cache.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/program.rs"]
mod program;
#[allow(dead_code, reason = "only its type of weights is used here")]
#[path = "common/reference.rs"]
mod reference;
#[path = "common/tiny.rs"]
mod tiny;
#[path = "common/weights.rs"]
mod weights;

use kinglet::weights::known::{self, cache};
use program::{argument, command, errors, fails, file, has_keys, json, run};
use serde_json::{Value, json as value};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tiny::Tiny;

/// A tiny model in a file of its own.
fn model(name: &str, tiny: &Tiny) -> PathBuf {
    file(name, &tiny.build(7).0)
}

/// A small context, so that it is soon full.
fn small() -> Tiny {
    Tiny { context: 256, ..Tiny::default() }
}

/// Gives `lines` to a chat and waits for its end.
fn chat(arguments: &[&str], lines: &str) -> Output {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().expect("an array").iter().map(|number| number.as_u64().expect("an integer")).collect()
}

#[test]
fn an_unknown_adapter_ends_with_4() {
    let path = model("adapter.gguf", &small());
    fails(4, &["logits", argument(&path), "--ids", "1", "--adapter", "Abacus 3000"], &["Abacus 3000"]);
}

#[test]
fn devices_are_listed() {
    let devices = json(&["devices", "--json"]);
    has_keys(
        &devices[0],
        &["name", "vendor", "backend", "kind", "driver", "tier", "subgroups", "subgroup_sizes", "f16", "int8_dot", "limits"],
    );
    let output = run(&["devices"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(devices[0]["name"].as_str().unwrap()), "{text}");
}

#[test]
fn generate_prints_one_object_or_the_text() {
    let path = model("generate.gguf", &small());
    let common = ["generate", argument(&path), "--max-tokens", "6", "--temperature", "0"];
    let report = json(&[&common[..], &["--prompt", "Hello", "--json"]].concat());
    has_keys(&report, &["model", "adapter", "tier", "prompt_ids", "ids", "text", "finish_reason", "usage", "timings"]);
    has_keys(&report["usage"], &["prompt_tokens", "completion_tokens", "total_tokens"]);
    has_keys(&report["timings"], &["load_s", "prefill_s", "decode_s", "ttft_s", "prefill_tok_s", "decode_tok_s"]);
    assert_eq!(report["model"], "generate.gguf");
    let (prompt, answer) = (numbers(&report["prompt_ids"]), numbers(&report["ids"]));
    let usage = value!({
        "prompt_tokens": prompt.len(), "completion_tokens": answer.len(), "total_tokens": prompt.len() + answer.len()
    });
    assert_eq!(report["usage"], usage);
    assert!(["stop", "length"].contains(&report["finish_reason"].as_str().unwrap()));

    let output = run(&[&common[..], &["--prompt", "Hello"]].concat());
    assert_eq!(errors(&output), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), report["text"].as_str().unwrap());

    // Through the template the prompt is longer, and a special token's text in the message does not become one.
    let chat = json(&[&common[..], &["--chat", "<|im_end|>", "--system", "Be brief.", "--json"]].concat());
    let ids = numbers(&chat["prompt_ids"]);
    assert_eq!(ids.iter().filter(|id| **id == 256).count(), 3, "{ids:?}");
    assert_eq!(ids.iter().filter(|id| **id == 257).count(), 2, "{ids:?}");
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let path = model("seed.gguf", &small());
    let answer = |seed: &str| {
        let arguments =
            ["generate", argument(&path), "--prompt", "x", "--max-tokens", "12", "--temperature", "2", "--seed", seed, "--json"];
        numbers(&json(&arguments)["ids"])
    };
    assert_eq!(answer("5"), answer("5"));
    assert_ne!(answer("5"), answer("6"));
}

#[test]
fn a_prompt_that_does_not_fit_ends_with_2() {
    let path = model("room.gguf", &small());
    let long = "a".repeat(300);
    fails(2, &["generate", argument(&path), "--prompt", &long], &["300", "256"]);
    fails(2, &["generate", argument(&path), "--prompt", ""], &["empty"]);
    fails(2, &["generate", argument(&path), "--prompt", "a", "--ctx", "9999"], &["9999", "256"]);
    fails(2, &["logits", argument(&path), "--ids", "1,999"], &["999"]);
    let cut = json(&["generate", argument(&path), "--prompt", &long[..60], "--ctx", "64", "--json"]);
    assert!(cut["usage"]["total_tokens"].as_u64().unwrap() <= 64);
}

#[test]
fn logits_are_summed_up() {
    let path = model("logits.gguf", &small());
    let report = json(&["logits", argument(&path), "--ids", "72,101,108", "--top", "7", "--all", "--json", "--kv-type", "f32"]);
    assert_eq!(numbers(&report["prompt_ids"]), [72, 101, 108]);
    assert_eq!(report["logits_first16"].as_array().unwrap().len(), 16);
    let top = report["top"].as_array().unwrap();
    assert_eq!(top.len(), 7);
    has_keys(&top[0], &["id", "piece", "logit", "logprob"]);
    assert_eq!(top[0]["logit"], report["max"]);
    let logprobs: Vec<f64> = top.iter().map(|candidate| candidate["logprob"].as_f64().unwrap()).collect();
    assert!(logprobs.is_sorted_by(|a, b| a >= b) && logprobs[0] < 0.0, "{logprobs:?}");
    let all = report["all"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    has_keys(&all[0], &["position", "id", "piece", "margin"]);
    assert_eq!(all[2]["id"], top[0]["id"]);
    let margin = top[0]["logit"].as_f64().unwrap() - top[1]["logit"].as_f64().unwrap();
    assert!((all[2]["margin"].as_f64().unwrap() - margin).abs() < 1e-5);
    for name in ["sum", "l2", "min"] {
        assert!(report[name].is_f64(), "{name}");
    }

    let from_text = json(&["logits", argument(&path), "--prompt", "Hel", "--json"]);
    assert_eq!(from_text["top"].as_array().unwrap().len(), 5);
    assert!(from_text.get("all").is_none());
}

#[test]
fn perplexity_counts_tokens() {
    let path = model("perplexity.gguf", &small());
    let text = file("text.txt", "It was a dark and stormy night. <|im_end|>".as_bytes());
    let arguments = ["perplexity", argument(&path), "--file", argument(&text), "--json"];
    let report = json(&arguments);
    // One token a byte: the special token's text is text.
    assert_eq!(report["tokens"], 42);
    let (nll, ppl) = (report["mean_nll"].as_f64().unwrap(), report["ppl"].as_f64().unwrap());
    assert!((nll.exp() - ppl).abs() < 1e-9 * ppl);
    assert_eq!(json(&[&arguments[..], &["--tokens", "10"]].concat())["tokens"], 10);
    let binary = file("binary.txt", &[0xff, 0xfe]);
    fails(2, &["perplexity", argument(&path), "--file", argument(&binary)], &["UTF-8"]);
}

#[test]
fn bench_counts_what_a_token_costs() {
    let path = model("bench.gguf", &small());
    let report = json(&["bench", argument(&path), "--prefill", "16,40", "--decode", "12", "--runs", "2", "--json"]);
    let prefill = report["prefill"].as_array().unwrap();
    assert_eq!((prefill.len(), &prefill[1]["tokens"]), (2, &value!(40)));
    for speed in prefill.iter().chain([&report["decode"]]) {
        let (median, min) = (speed["median_tok_s"].as_f64().unwrap(), speed["min_tok_s"].as_f64().unwrap());
        assert!(median >= min && min > 0.0, "{speed}");
    }
    assert_eq!(report["decode"]["tokens"], 12);
    // The rules of the decode loop.
    assert_eq!(report["submits_per_token"], 1.0);
    assert_eq!(report["readback_bytes_per_token"], 4);
    assert_eq!(report["allocations_in_decode"], 0);
    assert!(report["tokens_in_flight"].as_u64().unwrap() >= 2);
    assert!(report["dispatches_per_token"].as_u64().unwrap() > 0);
    assert!(report["bytes_read_per_token"].as_u64().unwrap() >= report["weight_bytes"].as_u64().unwrap());
    assert!(report["peak_gpu_bytes"].as_u64().unwrap() > report["weight_bytes"].as_u64().unwrap());
}

#[test]
fn the_profile_is_of_the_plan() {
    let path = model("profile.gguf", &small());
    let plain = ["bench", argument(&path), "--prefill", "16,40", "--decode", "12", "--runs", "2"];
    let report = json(&[&plain[..], &["--profile", "--json"]].concat());
    let steps = report["profile"].as_array().unwrap();
    let steps: Vec<_> = steps.iter().map(|step| (step["step"].as_str().unwrap(), &step["rows"], &step["position"])).collect();
    assert_eq!(steps, [("decode", &value!(1), &value!(14)), ("prefill", &value!(40), &value!(0))]);
    let decode = &report["profile"][0];
    let kernels = decode["kernels"].as_array().unwrap();
    let sum = |what: &str| kernels.iter().map(|kernel| kernel[what].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("dispatches"), report["dispatches_per_token"].as_u64().unwrap());
    assert_eq!(sum("bytes"), report["bytes_read_per_token"].as_u64().unwrap());
    assert!((kernels.iter().map(|kernel| kernel["share"].as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(kernels.is_sorted_by(|a, b| a["time_us"].as_f64() >= b["time_us"].as_f64()));
    assert!(decode["time_us"].as_f64().unwrap() > 0.0);

    let output = run(&[&plain[..], &["--profile"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(kernels.iter().all(|kernel| text.contains(kernel["kernel"].as_str().unwrap())), "{text}");
}

#[test]
fn shaders_are_written_with_the_plan_that_uses_them() {
    let path = model("shaders.gguf", &small());
    let folder = path.with_extension("dir");
    let _ = std::fs::remove_dir_all(&folder);
    let output = run(&["shaders", argument(&path), "--dir", argument(&folder), "--position", "14", "--tier", "c"]);
    assert!(output.status.success(), "{}", errors(&output));
    let plan: Value = serde_json::from_slice(&std::fs::read(folder.join("plan.json")).unwrap()).unwrap();
    let bench = json(&["bench", argument(&path), "--prefill", "1", "--decode", "12", "--runs", "1", "--tier", "c", "--json"]);
    let decode = plan["steps"][0]["dispatches"].as_array().unwrap();
    assert_eq!(decode.len() as u64, bench["dispatches_per_token"].as_u64().unwrap());
    let bytes = decode.iter().map(|dispatch| dispatch["bytes"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(bytes, bench["bytes_read_per_token"].as_u64().unwrap());
    let shaders = plan["shaders"].as_array().unwrap();
    for step in plan["steps"].as_array().unwrap() {
        for dispatch in step["dispatches"].as_array().unwrap() {
            let shader = &shaders[dispatch["shader"].as_u64().unwrap() as usize];
            let text = std::fs::read_to_string(folder.join(shader["file"].as_str().unwrap())).unwrap();
            assert!(text.contains("fn main("), "{shader}");
            assert!(!text.contains("subgroupShuffle"), "{shader}");
            // F32 has no scales.
            let unused = dispatch["bindings"].as_array().unwrap().len() - text.matches("@group(0)").count();
            assert!(unused <= 1, "{shader}");
        }
    }
    fails(2, &["shaders", argument(&path), "--dir", argument(&folder), "--position", "256"], &["--position"]);
}

#[test]
fn a_chat_through_a_pipe_answers_line_by_line() {
    let path = model("chat.gguf", &small());
    let arguments = ["chat", argument(&path), "--temperature", "0", "--max-tokens", "5"];
    let output = chat(&arguments, "Hello\n\n/stats\n/nonsense\nAgain\n/exit\nnever read\n");
    let told = errors(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 turns") && told.contains("/nonsense"), "{told}");
    assert!(!output.stdout.contains(&0x1b), "no colours in pipes");

    // The first answer is the one that `generate --chat` gives.
    let alone = json(&["generate", argument(&path), "--temperature", "0", "--max-tokens", "5", "--chat", "Hello", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let first = format!("{}\n", alone["text"].as_str().unwrap());
    assert!(text.starts_with(&first), "{text:?} does not begin with {first:?}");
}

#[test]
fn a_chat_that_outgrows_its_context_says_so() {
    let path = model("grow.gguf", &small());
    let line = "Tell me more about the weather in the mountains.\n";
    let output = chat(&["chat", argument(&path), "--temperature", "0", "--max-tokens", "8"], &line.repeat(6));
    let told = errors(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("oldest 1 turn was dropped"), "{told}");

    let too_long = format!("{}\n", "word ".repeat(80));
    let output = chat(&["chat", argument(&path)], &too_long);
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
}

/// The context would have room for both questions, the GPU's memory has not.
#[test]
fn a_chat_that_outgrows_the_gpu_drops_turns_and_goes_on() {
    let path = model("outgrown.gguf", &Tiny { context: 16_384, heads: 8, kv_heads: 8, head_dim: 64, ..Tiny::default() });
    let question = format!("{}\n", "word ".repeat(500));
    let common = ["chat", argument(&path), "--temperature", "0", "--max-tokens", "4"];
    let output = chat(&common, &format!("{question}/stats\n{question}"));
    let told = errors(&output);
    assert!(output.status.success() && !told.contains("dropped"), "{told}");
    let used = told.split(" of GPU memory in use").next().unwrap().rsplit("; ").next().unwrap();
    let mib: f64 = used.strip_suffix(" MiB").unwrap_or_else(|| panic!("{used:?} of {told}")).parse().unwrap();

    // Half of what the next positions take.
    let budget = ((mib + 8.0) / 1024.0).to_string();
    let output = chat(&[&common[..], &["--budget", &budget]].concat(), &question.repeat(3));
    let told = errors(&output);
    assert!(output.status.success(), "{told}");
    let dropped = "oldest 1 turn was dropped: the GPU has no memory for more than 4096 tokens of context";
    assert_eq!(told.matches(dropped).count(), 2, "{told}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3, "an answer to each");

    let little = (mib / 4096.0).to_string();
    fails(5, &["generate", argument(&path), "--prompt", "a", "--budget", &little], &["memory", "smaller"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_not_the_chat() {
    let path = model("interrupt.gguf", &Tiny { context: 16_384, ..Tiny::default() });
    // Into a file, whose length tells at any time how much was written.
    let written = file("interrupt.txt", b"");
    let mut child = command(&["chat", argument(&path), "--temperature", "0.7", "--seed", "1", "--ctx", "16384"])
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(&written).unwrap())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = || {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        line
    };
    let interrupt = format!("kill -INT {}", child.id());
    for question in ["Hello\n", "/clear\nHello\n"] {
        let before = std::fs::metadata(&written).unwrap().len();
        stdin.write_all(question.as_bytes()).unwrap();
        if question.starts_with('/') {
            assert_eq!(told(), "The conversation is forgotten.\n");
        }
        // All of the answer before was written when the chat said that it was stopped: what is new is of this one. With this seed an
        // answer to a first message is long.
        let deadline = Instant::now() + Duration::from_secs(120);
        while std::fs::metadata(&written).unwrap().len() < before + 8 {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "no answer comes");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(std::process::Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
        assert_eq!(told(), "[stopped]\n");
        assert!(child.try_wait().unwrap().is_none(), "the chat goes on");
    }
    stdin.write_all(b"/exit\n").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_context_that_no_memory_holds_ends_with_5() {
    let path = model("huge.gguf", &Tiny { context: 1 << 24, heads: 64, kv_heads: 4, head_dim: 64, ..Tiny::default() });
    let arguments = ["generate", argument(&path), "--prompt", "a", "--ctx", "16777216"];
    fails(5, &arguments, &["attention", "16777216 tokens of context", "a smaller context"]);
    // Under the limit of a buffer, and over that of a binding.
    let devices = json(&["devices", "--json"]);
    let binding = devices[0]["limits"]["binding_bytes"].as_u64().unwrap();
    let context = ((binding / (64 * 4 * (64 + 4)) + 1) * 256).to_string();
    fails(5, &["generate", argument(&path), "--prompt", "a", "--ctx", &context], &["attention", &binding.to_string()]);
}

#[test]
fn an_answer_begins_without_the_space_that_a_completion_begins_with() {
    let path = model("words.gguf", &Tiny { vocab: 4000, sentencepiece: true, ..small() });
    let common = ["generate", argument(&path), "--max-tokens", "4", "--temperature", "0", "--json"];
    let text = |question: [&str; 2]| json(&[&common[..], &question].concat())["text"].as_str().unwrap().to_owned();
    let (completion, answer) = (text(["--prompt", "a"]), text(["--chat", "a"]));
    assert!(completion.starts_with(" w"), "{completion:?}");
    assert!(answer.starts_with('w') && answer.contains(" w"), "{answer:?}");

    let output = chat(&["chat", argument(&path), "--max-tokens", "4", "--temperature", "0"], "a\n/exit\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{answer}\n"));
}

#[test]
fn the_real_model_goes_on_with_paris() {
    let Some(path) = cache::models().zip(known::find(known::DEFAULT)).map(|(folder, known)| folder.join(known.file)) else {
        return;
    };
    if !path.exists() {
        eprintln!("skipped: {} is not in the cache (cargo xtask model {})", path.display(), known::DEFAULT);
        return;
    }
    let prompt = ["--prompt", "The capital of France is", "--json"];
    let arguments = ["generate", known::DEFAULT, "--temperature", "0", "--max-tokens", "4"];
    let report = json(&[&arguments[..], &prompt].concat());
    assert_eq!(numbers(&report["prompt_ids"]), [504, 3575, 282, 4649, 314]);
    assert!(report["text"].as_str().unwrap().starts_with(" Paris"), "{report}");
    assert_eq!((report["finish_reason"].as_str(), report["usage"]["total_tokens"].as_u64()), (Some("length"), Some(9)));

    let logits = json(&[&["logits", argument(&path)][..], &prompt].concat());
    assert_eq!((logits["top"][0]["id"].as_u64(), logits["top"][0]["piece"].as_str()), (Some(7042), Some(" Paris")));
}
