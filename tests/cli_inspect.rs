//! `kinglet inspect`: what a model is, what it costs, whether it fits. Only one test needs a GPU.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/program.rs"]
mod program;
#[allow(dead_code, reason = "only its type of weights is used")]
#[path = "common/reference.rs"]
mod reference;
#[path = "common/tiny.rs"]
mod tiny;
#[path = "common/weights.rs"]
mod weights;

use ggufwriter::GgufWriter;
use kinglet::kernels::Format;
use program::{argument, errors, fails, file, json, run};
use std::path::Path;
use tiny::Tiny;

fn saved(name: &str) -> String {
    format!("{}/tests/data/hf/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn each_part_has_its_cost() {
    let tiny = Tiny { formats: [Format::Q8_0, Format::F16, Format::Q4_0], tied: false, ..Tiny::default() };
    let path = file("costs.gguf", &tiny.build(3).0);
    let report = json(&["inspect", argument(&path), "--json"]);
    let cost = &report["cost"];
    // Q4_0: 4 bits a weight, and 2 bytes for 32 of them; rows come in fours.
    let q4_0 = |rows: u64, columns: u64| rows.next_multiple_of(4) * columns / 2 + rows.next_multiple_of(4) * columns / 16;
    assert_eq!(cost["embedding"]["gpu_bytes"], q4_0(301, 96));
    assert_eq!(cost["head"]["gpu_bytes"], q4_0(301, 96));
    assert_eq!(cost["other"]["gpu_bytes"], 4 * 96);
    let q8_0 = (96 + 48) * 96 * 34 / 32;
    let layer = q8_0 + 48 * 96 * 2 + q4_0(96, 96) + 2 * q4_0(160, 96) + q4_0(96, 160) + 2 * 4 * 96;
    assert_eq!(cost["blocks"]["gpu_bytes"], 2 * layer);
    // Two layers, keys and values, two heads of 24, two bytes each.
    assert_eq!(cost["kv_bytes"], 2 * 2 * 2 * 24 * 2 * 512);
    assert_eq!(cost["kv_bytes_per_1k"], 2 * 2 * 2 * 24 * 2 * 1024);
    assert_eq!((cost["context"].as_u64(), cost["tied"].as_bool(), cost["fits"].is_null()), (Some(512), Some(false), true));
    let parts: u64 = ["embedding", "blocks", "head", "other"].iter().map(|part| cost[part]["gpu_bytes"].as_u64().unwrap()).sum();
    assert_eq!(cost["weight_bytes"], parts);
    let rest: u64 = ["kv_bytes", "activation_bytes", "staging_bytes"].iter().map(|part| cost[part].as_u64().unwrap()).sum();
    assert_eq!(cost["total_bytes"], parts + rest);
    assert_eq!(report["parameters"], 2 * 301 * 96 + 2 * (144 * 96 + 48 * 96 + 96 * 96 + 3 * 160 * 96 + 2 * 96) + 96);
    let wider = json(&["inspect", argument(&path), "--json", "--kv-type", "f32", "--ctx", "100"]);
    assert_eq!(wider["cost"]["kv_bytes"], 2 * 2 * 2 * 24 * 4 * 100);
    fails(2, &["inspect", argument(&path), "--ctx", "513"], &["513", "512"]);
}

#[test]
fn a_budget_is_kept_or_not() {
    let tiny = Tiny { context: 1 << 17, ..Tiny::default() };
    let path = file("budget.gguf", &tiny.build(3).0);
    let ask = |budget: &str, context: &str| {
        json(&["inspect", argument(&path), "--json", "--budget", budget, "--ctx", context])["cost"].clone()
    };
    let cost = ask("0.5", "131072");
    assert_eq!((cost["fits"].as_bool(), cost["budget_bytes"].as_u64()), (Some(true), Some(1 << 29)));
    // 48 MiB of keys and values are too many for 32 MiB, but some of them fit.
    let cost = ask("0.03125", "131072");
    assert_eq!(cost["fits"], false);
    let notes = cost["notes"].to_string();
    let fitting = notes.split("--ctx ").nth(1).and_then(|rest| rest.split(')').next()).expect("a context that fits").to_owned();
    assert_eq!(ask("0.03125", &fitting)["fits"], true, "{notes}");
    let one_more = (fitting.parse::<u32>().expect("a number") + 1).to_string();
    assert_eq!(ask("0.03125", &one_more)["fits"], false, "{notes}");
    assert!(ask("0.001", "131072")["notes"].to_string().contains("any context"));
    assert!(text(&["inspect", argument(&path), "--budget", "1"]).contains("It fits 1.00 GiB."));
    assert!(text(&["inspect", argument(&path), "--budget", "0.001"]).contains("does not fit"));
    for budget in ["0", "much", "inf", "-1"] {
        fails(2, &["inspect", argument(&path), &format!("--budget={budget}")], &["budget"]);
    }
}

#[test]
fn other_layouts_are_told_apart() {
    let report = json(&["inspect", &saved("llama"), "--json"]);
    assert_eq!((&report["file"], &report["format"]), (&"llama".into(), &"Hugging Face model with 3 files of weights".into()));
    assert_eq!(report["unsupported"], serde_json::json!([]));
    assert_eq!((&report["tokenizer"]["model"], &report["template"]), (&"tokenizer.json".into(), &"file".into()));
    assert_eq!(report["tensor_types"][1]["type"], "BF16");
    // Any of its files, and the folder in other ways.
    for name in ["llama/config.json", "llama/model-00002-of-00003.safetensors", "llama/", "llama/../llama-bin/pytorch_model.bin"] {
        let same = json(&["inspect", &saved(name), "--json"]);
        assert_eq!((&same["tensor_count"], &same["cost"]), (&report["tensor_count"], &report["cost"]), "{name}");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join("split");
    std::fs::create_dir_all(&folder).expect("a folder");
    let (whole, _) = Tiny::default().file(3);
    for number in 0..2_u16 {
        let mut part = if number == 0 { whole.clone() } else { GgufWriter::new() };
        part.tensors = whole.tensors.iter().skip(usize::from(number)).step_by(2).cloned().collect();
        let part = part.u16("split.no", number).u16("split.count", 2).i32("split.tensors.count", whole.tensors.len() as i32);
        std::fs::write(folder.join(format!("tiny-{:05}-of-00002.gguf", number + 1)), part.bytes()).expect("a part is written");
    }
    let part = folder.join("tiny-00002-of-00002.gguf");
    assert!(text(&["inspect", argument(&part)]).contains("GGUF version 3 in 2 parts"));
    std::fs::remove_file(folder.join("tiny-00001-of-00002.gguf")).expect("a part is removed");
    fails(3, &["inspect", argument(&part)], &["tiny-00001-of-00002.gguf is missing"]);
}

#[test]
fn quantizing_shows_in_the_costs() {
    let path = file("plain.gguf", &Tiny { formats: [Format::F16; 3], ..Tiny::default() }.build(3).0);
    let of = |quantize: &str| json(&["inspect", argument(&path), "--json", "--quantize", quantize]);
    let [plain, q8_0, q4_0] = ["none", "Q8_0", "q4_0"].map(|quantize| of(quantize)["cost"]["weight_bytes"].as_u64().unwrap());
    assert!(q4_0 < q8_0 && q8_0 < plain, "{plain} {q8_0} {q4_0}");
    assert_eq!(of("q8_0")["tensor_types"][1]["type"], "Q8_0");
    fails(2, &["inspect", argument(&path), "--quantize", "q3"], &["q3", "q8_0"]);
}

/// On the GPU that the other tests use too; nothing is loaded.
#[test]
fn a_device_is_asked_for_by_its_number_or_name() {
    let devices = json(&["devices", "--json"]);
    let (name, binding) =
        (devices[0]["name"].as_str().expect("a name"), devices[0]["limits"]["binding_bytes"].as_u64().expect("a limit"));
    let path = file("long-context.gguf", &Tiny { context: 1 << 24, heads: 64, ..Tiny::default() }.build(3).0);
    for device in ["0", name, &name.to_uppercase()] {
        let cost = json(&["inspect", argument(&path), "--json", "--device", device])["cost"].clone();
        assert_eq!((&cost["device"], &cost["fits"]), (&name.into(), &true.into()));
        assert!(cost["notes"].to_string().contains("--budget"), "that nothing is known of its memory is said: {cost}");
    }
    // What attention leaves of 64 heads for every 256 positions must fit one binding; keys and values need not, in segments.
    let most = binding / (64 * 4 * (24 + 4)) * 256;
    if most < 1 << 24 {
        let ask = |context: u64| {
            json(&["inspect", argument(&path), "--json", "--device", "0", "--ctx", &context.to_string()])["cost"].clone()
        };
        assert_eq!((&ask(most)["fits"], &ask(most + 1)["fits"]), (&true.into(), &false.into()));
        assert!(ask(most + 1)["notes"].to_string().contains(&format!("--ctx {most}")), "{}", ask(most + 1));
    }
    fails(4, &["inspect", argument(&path), "--device", "999"], &["999", name]);
}

#[test]
fn what_cannot_run_is_said_and_no_error() {
    let (whole, _) = Tiny::default().file(3);
    let mut file_of = whole.clone();
    file_of.entries[0].2 = ggufwriter_string("abacus");
    let path = file("abacus.gguf", &file_of.bytes());
    let report = json(&["inspect", argument(&path), "--json", "--budget", "1"]);
    assert!(report["cost"].is_null());
    assert!(report["unsupported"].to_string().contains("abacus"));
    assert!(text(&["inspect", argument(&path)]).contains("cannot run this model yet"));
}

/// A string as GGUF has it.
fn ggufwriter_string(text: &str) -> Vec<u8> {
    (text.len() as u64).to_le_bytes().into_iter().chain(text.bytes()).collect()
}
