//! Pickled models, good and hostile.

use super::pickle;
use super::tests::*;
use super::*;
use crate::weights::files::open_model;
use crate::weights::files::tests::{Memory, run};

/// A model that torch pickled, made by `tests/oracle/hf_tiny.py`.
const PICKLED: &[u8] = include_bytes!("../../../tests/data/hf/llama-bin/pytorch_model.bin");

fn saved(folder: &str) -> Memory {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hf").join(folder);
    let files = std::fs::read_dir(path).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
    });
    Memory(files.collect())
}

#[test]
fn what_torch_pickled_is_what_was_saved_as_safetensors() {
    let mut pickled = opened(&saved("llama-bin"), Quantize::None);
    let mut safe = opened(&saved("llama"), Quantize::None);
    let mut names: Vec<String> = pickled.gguf.tensors.iter().map(|tensor| tensor.name.clone()).collect();
    assert_eq!(names.len(), safe.gguf.tensors.len());
    names.sort();
    for name in names {
        let (a, b) = (tensor(&mut pickled, &name), tensor(&mut safe, &name));
        assert_eq!((a.0.kind, &a.0.dims), (b.0.kind, &b.0.dims), "{name}");
        assert!(a.1 == b.1, "{name}");
    }
    assert_eq!(pickled.gguf.metadata.u32("llama.block_count"), safe.gguf.metadata.u32("llama.block_count"));
    // Safetensors are taken where both are there.
    let mut both = saved("llama");
    both.0.insert("pytorch_model.bin".into(), b"not looked at".to_vec());
    assert_eq!(opened(&both, Quantize::None).layout, Layout::HuggingFace(3));
}

/// A program that names what it must not: nothing of it is run.
fn hostile(module: &str, name: &str) -> Vec<u8> {
    let command = "touch /tmp/kinglet-was-here";
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    [b"\x80\x02c", format!("{module}\n{name}\n").as_bytes(), &text(command), b"\x85R."].concat()
}

#[test]
fn a_hostile_pickle_is_refused_by_name() {
    for (module, name) in
        [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("torch.storage", "_load_from_bytes"), ("torch", "load")]
    {
        let error = pickle::state_dict(&hostile(module, name)).unwrap_err();
        assert!(error.contains(&format!("{module}.{name}")), "{error}");
    }
    // By the stack instead of by the instruction's own text, and by older instructions.
    let by_stack = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.";
    assert!(pickle::state_dict(by_stack).unwrap_err().contains("os.system"));
    for program in
        [&b"(ios\nsystem\n."[..], b"(cos\nsystem\nX\x02\0\0\0ido.", b"cos\nsystem\n)\x81.", b"\x82\x01.", b"Pos.system\n."]
    {
        assert!(pickle::state_dict(program).is_err());
    }
    // In a whole model.
    let mut archive = PICKLED.to_vec();
    let at = archive.windows(18).position(|text| text == b"_rebuild_tensor_v2").unwrap();
    archive[at] = b'X';
    let mut files = saved("llama-bin");
    files.0.insert("pytorch_model.bin".into(), archive);
    fails(&files, &["pytorch_model.bin", "torch._utils.Xrebuild_tensor_v2", "never runs it"]);
    assert!(!std::path::Path::new("/tmp/kinglet-was-here").exists());
}

#[test]
fn pickles_that_ask_for_much_are_given_little() {
    // Deeper than any stack, referring to itself, without end, and with more values than there is room for.
    let deep = [b"\x80\x02)".to_vec(), vec![0x85; 900_000], b".".to_vec()].concat();
    assert_eq!(pickle::state_dict(&deep), Err("it is no state_dict".into()));
    assert_eq!(pickle::state_dict(b"\x80\x02]q\x00h\x00a."), Err("it is no state_dict".into()));
    assert!(pickle::state_dict(&vec![b'}'; 2 << 20]).unwrap_err().contains("more than"));
    assert!(pickle::state_dict(b"\x80\x02}X\xff\xff\xff\xffa.").is_err());
    assert!(pickle::state_dict(b"").is_err());
    assert!(pickle::state_dict(b"0.").is_err());
    assert!(pickle::state_dict(b"(0.").is_err());
    assert!(pickle::state_dict(b"}q\x01(h\x01h\x01u.").is_err());
    assert_eq!(pickle::state_dict(b"\x80\x02}."), Ok(Vec::new()));
}

#[test]
fn a_tensor_must_fit_its_storage_and_lie_row_by_row() {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let program = |offset: u8, shape: [u8; 2], strides: [u8; 2]| {
        [
            b"\x80\x02}".to_vec(),
            text("t"),
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text("0"),
            text("cpu"),
            vec![b'K', 12, b't', b'Q', b'K', offset],
            vec![
                b'K', shape[0], b'K', shape[1], 0x86, b'K', strides[0], b'K', strides[1], 0x86, 0x89, b'}', b't', b'R', b's', b'.',
            ],
        ]
        .concat()
    };
    let good = pickle::state_dict(&program(2, [2, 5], [5, 1])).unwrap();
    assert_eq!((good[0].1.offset, &good[0].1.shape, good[0].1.dtype), (2, &vec![2, 5], "F32"));
    assert!(pickle::state_dict(&program(0, [1, 5], [99, 1])).is_ok(), "the stride of a single row means nothing");
    assert!(pickle::state_dict(&program(3, [2, 5], [5, 1])).unwrap_err().contains("does not fit"));
    assert!(pickle::state_dict(&program(0, [2, 5], [1, 2])).unwrap_err().contains("row by row"));
    assert!(pickle::state_dict(&program(0, [3, 5], [5, 1])).unwrap_err().contains("does not fit"));
}

#[test]
fn no_mutation_of_a_pickled_file_does_harm() {
    let good = saved("llama-bin");
    let mut state = 7_u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for round in 0..3000 {
        let mut files = good.clone();
        let bytes = files.0.get_mut("pytorch_model.bin").unwrap();
        for _ in 0..=random(4) {
            // The program, or the table of contents.
            let at =
                if round % 2 == 0 { random(2200.min(bytes.len())) } else { bytes.len() - 1 - random(2000.min(bytes.len() - 1)) };
            match random(8) {
                0 if round % 7 == 0 => bytes.truncate(at.max(1)),
                _ => bytes[at] = random(256) as u8,
            }
        }
        if let Ok(mut opened) = run(open_model(&mut files, None, "tiny", Quantize::None)) {
            for tensor in opened.gguf.tensors.clone() {
                let _ = run(opened.source.read(tensor.offset, tensor.bytes as usize));
            }
        }
    }
}
