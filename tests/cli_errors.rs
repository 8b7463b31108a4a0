//! How the program ends when something is wrong: exit codes and messages. Nothing here needs a GPU.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/program.rs"]
mod program;

use ggufwriter::{GgufWriter, kitchen_sink};
use program::{argument, command, errors, fails, file, json, run};
use std::io::Read;

#[test]
fn bad_arguments_end_with_2() {
    let model = file("arguments.gguf", &kitchen_sink(3).bytes());
    let model = argument(&model);
    fails(2, &[], &["Usage"]);
    fails(2, &["sing"], &["sing"]);
    fails(2, &["generate", model], &["--prompt", "--chat"]);
    fails(2, &["generate", model, "--prompt", "a", "--chat", "b"], &["--chat"]);
    fails(2, &["generate", model, "--prompt", "a", "--system", "b"], &["--system"]);
    fails(2, &["generate", model, "--prompt", "a", "--temperature", "warm"], &["warm"]);
    fails(2, &["generate", model, "--prompt", "a", "--temperature", "nan"], &["temperature"]);
    fails(2, &["generate", model, "--prompt", "a", "--top-p", "7"], &["top_p"]);
    fails(2, &["generate", model, "--prompt", "a", "--max-tokens", "0"], &["--max-tokens"]);
    fails(2, &["generate", model, "--prompt", "a", "--tier", "z"], &["--tier"]);
    fails(2, &["generate", model, "--prompt", "a", "--kv-type", "f8"], &["--kv-type"]);
    fails(2, &["logits", model, "--ids", "1,two"], &["two"]);
    fails(2, &["bench", model, "--runs", "0"], &["--runs"]);
    fails(2, &["perplexity", model], &["--file"]);
    fails(2, &["perplexity", model, "--file", "/there/is/no/such/file"], &["/there/is/no/such/file"]);
    fails(2, &["pull", "no-such-model"], &["no-such-model", "smollm2-135m"]);
}

#[test]
fn help_and_version_end_with_0() {
    for arguments in [&["--help"][..], &["--version"], &["generate", "--help"]] {
        let output = run(arguments);
        assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""));
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn bad_model_files_end_with_3() {
    let whole = kitchen_sink(3).bytes();
    let cases = [
        ("empty.gguf", Vec::new(), "empty.gguf"),
        ("text.gguf", b"Once upon a time there was a file.".repeat(99), "GGUF"),
        ("header.gguf", whole[..300].to_vec(), "header.gguf"),
        ("architecture.gguf", GgufWriter::new().string("general.architecture", "abacus").bytes(), "abacus"),
        ("keys.gguf", whole, "llama."),
    ];
    for (name, bytes, word) in cases {
        let path = file(name, &bytes);
        fails(3, &["logits", argument(&path), "--ids", "1"], &["kinglet: ", word]);
    }
    fails(3, &["inspect", "/there/is/no/such/file.gguf"], &["/there/is/no/such/file.gguf", "smollm2-135m"]);
    fails(3, &["inspect", env!("CARGO_MANIFEST_DIR")], &["config.json"]);
}

#[test]
fn a_server_that_is_not_there_ends_with_1() {
    // Port 9 is discard: nothing listens there on any machine that runs tests.
    fails(1, &["inspect", "http://127.0.0.1:9/model.gguf"], &["model.gguf"]);
}

#[test]
fn inspect_describes_what_it_cannot_run() {
    let path = file("inspect.gguf", &kitchen_sink(2).bytes());
    let report = json(&["inspect", argument(&path), "--json"]);
    assert_eq!(report["file"], "inspect.gguf");
    assert_eq!((report["version"].as_u64(), report["alignment"].as_u64()), (Some(2), Some(64)));
    assert_eq!(report["metadata"]["a.i64"], -(1_i64 << 40));
    assert_eq!(report["metadata"]["tokenizer.ggml.tokens"][3], "🐦");
    assert_eq!(report["tensor_count"], 4);
    assert_eq!(report["tensors"][1]["type"], "Q4_1");
    assert_eq!(report["tensor_types"][0]["type"], "F32");
    assert!(report["config"].is_null());
    assert!(!report["unsupported"].as_array().unwrap().is_empty());

    let output = run(&["inspect", argument(&path)]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Kinglet cannot run this model yet"), "{text}");
}

#[test]
fn long_arrays_are_shortened() {
    let numbers: Vec<f32> = (0..10_000).map(|n| n as f32).collect();
    let path = file("long.gguf", &GgufWriter::new().f32s("long", &numbers).bytes());
    let report = json(&["inspect", argument(&path), "--json"]);
    assert_eq!(report["metadata"]["long"]["length"], 10_000);
    assert_eq!(report["metadata"]["long"]["first"].as_array().unwrap().len(), 8);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // More than a pipe holds, so that the program is still writing when the pipe is closed.
    let names: Vec<String> = (0..20_000).map(|n| format!("key.{n}")).collect();
    let writer = names.iter().fold(GgufWriter::new(), |writer, name| writer.u32(name, 1));
    let path = file("wide.gguf", &writer.bytes());
    let mut child = command(&["inspect", argument(&path)]).spawn().unwrap();
    let mut some = [0; 64];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_ends_with_1() {
    let path = file("full.gguf", &kitchen_sink(3).bytes());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&["inspect", argument(&path)]).stdout(full).output().unwrap();
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("stdout") && told.contains("No space left"), "{told}");
}
