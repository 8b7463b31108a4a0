//! Good files are read whole; each way of being bad has its own error.

use super::tests_support::{GgufWriter, Tensor, array, kind, kitchen_sink, string};
use super::*;

fn done(bytes: &[u8]) -> Gguf {
    match Gguf::parse(bytes, Some(bytes.len() as u64)) {
        Ok(Parse::Done(gguf)) => gguf,
        other => panic!("{other:?}"),
    }
}

fn error(writer: &GgufWriter) -> GgufError {
    let bytes = writer.bytes();
    let error = Gguf::parse(&bytes, Some(bytes.len() as u64)).expect_err("a bad file");
    // An error is for a person: it must be one that can be shown.
    assert!(error.to_string().len() < 600, "{error}");
    error
}

fn place(error: &GgufError) -> String {
    match error {
        GgufError::Truncated { place, .. }
        | GgufError::HeaderTooLarge { place, .. }
        | GgufError::EmptyName { place, .. }
        | GgufError::NameTooLong { place, .. }
        | GgufError::NotUtf8 { place, .. } => place.to_string(),
        other => panic!("{other:?}"),
    }
}

fn tensor(dims: &[u64], kind: u32, bytes: usize) -> GgufWriter {
    GgufWriter::new().tensor("t", dims, kind, vec![0; bytes])
}

#[test]
fn every_value_type_in_both_versions() {
    for version in [2, 3] {
        let writer = kitchen_sink(version);
        let bytes = writer.bytes();
        let gguf = done(&bytes);
        assert_eq!(gguf.version, version);
        assert_eq!(gguf.alignment, 64);
        assert_eq!(gguf.data_offset as usize, writer.header().len().next_multiple_of(64));
        let m = &gguf.metadata;
        assert_eq!(m.len(), writer.entries.len());
        assert_eq!(m.iter().next().unwrap().0, "general.architecture");
        assert_eq!(m.string("general.architecture").unwrap(), Some("llama"));
        for (key, value) in [("a.u8", 200), ("a.u16", 60_000), ("llama.block_count", 2), ("a.u64", 1 << 40)] {
            assert_eq!(m.u64(key).unwrap(), Some(value));
        }
        assert_eq!(m.i32("a.i8").unwrap(), Some(-3));
        assert_eq!(m.i32("a.i16").unwrap(), Some(-30_000));
        assert_eq!(m.get("a.i64"), Some(&Value::I64(-(1 << 40))));
        assert_eq!(m.f32("a.f32").unwrap(), Some(1.5));
        assert_eq!(m.f32("a.f64").unwrap(), Some(-2.5));
        assert_eq!(m.bool("a.bool").unwrap(), Some(true));
        let tokens = m.strings("tokenizer.ggml.tokens").unwrap().unwrap();
        assert_eq!(tokens, ["<s>", "", "é", "🐦"]);
        assert_eq!(m.f32s("a.f64s").unwrap(), Some(vec![1.0, 2.0]));
        assert_eq!(m.i32s("a.i8s").unwrap(), Some(vec![-1, 2]));
        assert_eq!(m.u32s("a.u64s").unwrap(), Some(vec![7]));
        let nested = Array::Array(vec![Array::I32(vec![1, 2]), Array::String(vec!["x".into()]), Array::Bool(vec![])]);
        assert_eq!(m.get("a.nested"), Some(&Value::Array(nested)));

        assert_eq!(gguf.tensors.len(), 4);
        for (info, written) in gguf.tensors.iter().zip(&writer.tensors) {
            let at = info.offset as usize;
            assert_eq!(info.offset % 64, 0);
            assert_eq!(bytes[at..at + info.bytes as usize], written.data);
        }
        let q = gguf.tensor("blk.0.attn_q.weight").unwrap();
        assert_eq!((q.kind, q.columns(), q.rows()), (TensorType::Q4_1, 32, 2));
        assert_eq!(q.row_bytes(), 20);
        let embedding = gguf.tensor("token_embd.weight").unwrap();
        assert_eq!((embedding.columns(), embedding.rows(), embedding.bytes), (3, 4, 24));
        assert_eq!(gguf.tensor("absent"), None);
    }
}

#[test]
fn getters_say_which_key_is_wrong() {
    let m = done(&kitchen_sink(3).bytes()).metadata;
    assert_eq!(m.u32("absent").unwrap(), None);
    assert_eq!(m.strings("absent").unwrap(), None);
    let wrong = [
        m.string("a.u8").unwrap_err(),
        m.u64("general.architecture").unwrap_err(),
        m.f32("a.u8").unwrap_err(),
        m.bool("a.u8").unwrap_err(),
        m.strings("a.u8s").unwrap_err(),
        m.f32s("a.u8s").unwrap_err(),
        m.u32s("a.f64s").unwrap_err(),
        m.u32s("a.u8").unwrap_err(),
    ];
    for error in wrong {
        assert!(matches!(error, GgufError::WrongType { .. }), "{error}");
    }
    for error in [m.u64("a.i8").unwrap_err(), m.u32("a.u64").unwrap_err(), m.u32s("a.i8s").unwrap_err()] {
        assert!(matches!(error, GgufError::OutOfRange { .. }), "{error}");
    }
    let text = m.u32("a.u64").unwrap_err().to_string();
    assert_eq!(text, "metadata key `a.u64` holds 1099511627776, which does not fit u32");
}

#[test]
fn grows_by_prefixes_to_the_same_result() {
    let bytes = kitchen_sink(3).bytes();
    let whole = done(&bytes);
    for file_len in [None, Some(bytes.len() as u64)] {
        let mut length = 0;
        loop {
            match Gguf::parse(&bytes[..length], file_len).unwrap() {
                Parse::Done(gguf) => break assert_eq!(gguf, whole),
                Parse::NeedMore { at_least } => {
                    assert!(at_least > length as u64);
                    assert!(file_len.is_none_or(|end| at_least <= end));
                    length += 1;
                }
            }
        }
    }
}

#[test]
fn prefixes_double() {
    let tokens: Vec<String> = (0..200_000).map(|i| format!("token{i}")).collect();
    let bytes = GgufWriter::new().strings("tokens", &tokens).bytes();
    let (mut length, mut calls) = (0_u64, 0);
    while let Parse::NeedMore { at_least } = Gguf::parse(&bytes[..length as usize], Some(bytes.len() as u64)).unwrap() {
        length = at_least;
        calls += 1;
    }
    assert!(calls <= 6, "{calls} calls for {} bytes", bytes.len());
}

#[test]
fn a_vocabulary_file_has_no_data() {
    let bytes = GgufWriter::new().string("general.architecture", "llama").header();
    let gguf = done(&bytes);
    assert!(gguf.tensors.is_empty());
    assert!(gguf.data_offset >= bytes.len() as u64);
}

#[test]
fn the_quantization_is_the_type_of_most_weights_not_of_most_tensors() {
    let writer = GgufWriter::new().f32_tensor("a", &[2], &[0.0; 2]).f32_tensor("b", &[3, 1], &[0.0; 3]);
    let gguf = done(&writer.tensor("c", &[32, 2], 3, vec![0; 40]).bytes());
    assert_eq!((gguf.parameters(), gguf.quantization()), (69, Some(TensorType::Q4_1)));
    let none = done(&GgufWriter::new().bytes());
    assert_eq!((none.parameters(), none.quantization()), (0, None));
}

#[test]
fn a_tensor_without_dimensions_is_one_number() {
    let gguf = done(&tensor(&[], 0, 4).bytes());
    assert_eq!((gguf.tensors[0].columns(), gguf.tensors[0].rows()), (1, 1));
    assert_eq!(gguf.tensors[0].bytes, 4);
}

#[test]
fn magic_and_version() {
    let mut writer = GgufWriter::new();
    writer.magic = *b"<!DO";
    assert!(matches!(error(&writer), GgufError::NotGguf { .. }));
    assert!(matches!(Gguf::parse(b"<", None), Err(GgufError::NotGguf { .. })));
    assert!(matches!(Gguf::parse(b"GGU", None), Ok(Parse::NeedMore { .. })));
    assert!(matches!(
        Gguf::parse(b"", Some(0)),
        Err(GgufError::Truncated { place: Place::Header, offset: 0, needed: 4, file_len: 0 })
    ));
    for version in [0, 1, 4, 0x0103_0000 + 1] {
        let error = error(&GgufWriter::new().version(version));
        assert_eq!(error, GgufError::UnsupportedVersion { version });
    }
    for version in [2_u32, 3] {
        let error = error(&GgufWriter::new().version(version.swap_bytes()));
        assert_eq!(error, GgufError::BigEndian);
    }
}

#[test]
fn absurd_counts() {
    for count in [1, 1000, 1 << 32, 1 << 63, u64::MAX] {
        let mut writer = GgufWriter::new();
        writer.entry_count = Some(count);
        assert_eq!(place(&error(&writer)), "the header");
        let mut writer = GgufWriter::new();
        writer.tensor_count = Some(count);
        assert_eq!(place(&error(&writer)), "the header");
    }
    // Of a file of unknown length, a size that a header could have is asked for, but only a little at a time.
    let mut writer = GgufWriter::new();
    writer.entry_count = Some(1 << 20);
    let bytes = writer.bytes();
    let at_least = FIRST_PREFIX_BYTES;
    assert_eq!(Gguf::parse(&bytes, None).unwrap(), Parse::NeedMore { at_least });
    writer.entry_count = Some(1 << 63);
    assert!(matches!(Gguf::parse(&writer.bytes(), None), Err(GgufError::HeaderTooLarge { place: Place::Header, offset: 24, .. })));
}

#[test]
fn absurd_string_lengths() {
    for length in [100_000_u64, 1 << 40, 1 << 63, u64::MAX] {
        let writer = GgufWriter::new().raw("k", kind::STRING, &length.to_le_bytes());
        let error = error(&writer);
        assert_eq!(place(&error), "metadata key `k`");
        assert!(matches!(error, GgufError::Truncated { offset: 45, .. }), "{error:?}");
    }
}

#[test]
fn absurd_array_lengths() {
    for element in 0..=12 {
        for count in [100_000, 1 << 61, 1 << 62, 1 << 63, u64::MAX] {
            let writer = GgufWriter::new().raw("k", kind::ARRAY, &array(element, count, &[]));
            let error = error(&writer);
            assert_eq!(place(&error), "metadata key `k`");
            assert!(matches!(error, GgufError::Truncated { offset: 49, .. }), "{error:?}");
        }
    }
}

#[test]
fn keys() {
    let entry = |key: &[u8]| error(&GgufWriter::new().raw(key, kind::U8, &[1]));
    assert!(matches!(entry(b""), GgufError::EmptyName { place: Place::Entry(0), offset: 24 }));
    assert!(matches!(entry(&[b'k'; 65_536]), GgufError::NameTooLong { length: 65_536, .. }));
    done(&GgufWriter::new().raw([b'k'; 65_535], kind::U8, &[1]).bytes());
    assert!(matches!(entry(b"ab\xFF"), GgufError::NotUtf8 { place: Place::Entry(0), offset: 34 }));
    let twice = GgufWriter::new().u8("k", 1).u8("l", 1).u8("k", 2);
    assert_eq!(error(&twice), GgufError::DuplicateKey { key: "k".into(), offset: 52, first: 24 });
    // A key that is long and full of control characters is shown short and escaped.
    let long = "\u{1b}[31m".repeat(100);
    let text = error(&GgufWriter::new().u8(&long, 1).u8(&long, 1)).to_string();
    assert!(!text.contains('\u{1b}') && text.len() < 400, "{text}");
}

#[test]
fn values() {
    let value = |kind, value: &[u8]| error(&GgufWriter::new().raw("k", kind, value));
    assert_eq!(value(13, &[]), GgufError::UnknownValueType { key: "k".into(), offset: 33, id: 13 });
    assert_eq!(value(kind::ARRAY, &array(99, 0, &[])), GgufError::UnknownValueType { key: "k".into(), offset: 37, id: 99 });
    assert_eq!(value(kind::BOOL, &[2]), GgufError::InvalidBool { key: "k".into(), offset: 37, value: 2 });
    assert_eq!(
        value(kind::ARRAY, &array(kind::BOOL, 2, &[1, 255])),
        GgufError::InvalidBool { key: "k".into(), offset: 50, value: 255 }
    );
    assert!(matches!(value(kind::STRING, &string([0xC3, 0x28])), GgufError::NotUtf8 { place: Place::Key(_), offset: 45 }));
    let lone_surrogate = string([0xED, 0xA0, 0x80]);
    assert!(matches!(
        value(kind::ARRAY, &array(kind::STRING, 1, &lone_surrogate)),
        GgufError::NotUtf8 { place: Place::Key(_), offset: 57 }
    ));
    let mut deep = array(kind::U8, 0, &[]);
    for _ in 0..20 {
        deep = array(kind::ARRAY, 1, &deep);
    }
    assert!(matches!(value(kind::ARRAY, &deep), GgufError::NestedTooDeep { .. }));
}

#[test]
fn alignments() {
    for good in [1_u32, 2, 8, 24, 32, 64, 4096] {
        let gguf = done(&GgufWriter::new().aligned(good).f32_tensor("t", &[1], &[1.0]).bytes());
        assert_eq!(gguf.alignment, u64::from(good));
        assert_eq!(gguf.tensors[0].offset % gguf.alignment, 0);
    }
    for bad in [0_u64, 3, 12, u64::MAX] {
        let writer = GgufWriter::new().u64("general.alignment", bad);
        assert_eq!(error(&writer), GgufError::BadAlignment { offset: 24, value: bad });
    }
    let huge = GgufWriter::new().u64("general.alignment", 1 << 63);
    assert_eq!(done(&huge.bytes()).data_offset, 1 << 63);
    let past = GgufWriter::new().u64("general.alignment", u64::MAX - 7);
    assert_eq!(done(&past.bytes()).data_offset, u64::MAX - 7);
    let text = GgufWriter::new().string("general.alignment", "32");
    assert!(matches!(error(&text), GgufError::WrongType { .. }));
}

#[test]
fn tensor_names() {
    let named = |name: &str| GgufWriter::new().tensor(name, &[1], 0, vec![0; 4]);
    assert!(matches!(error(&named("")), GgufError::EmptyName { place: Place::TensorEntry(0), offset: 24 }));
    assert!(matches!(error(&named(&"n".repeat(65))), GgufError::NameTooLong { .. }));
    done(&named(&"n".repeat(64)).bytes());
    let twice = tensor(&[1], 0, 4).tensor("t", &[1], 0, vec![0; 4]);
    assert_eq!(error(&twice), GgufError::DuplicateTensor { name: "t".into(), offset: 57, first: 24 });
    let mut bad = named("n");
    bad.tensors[0].name = vec![0xFF];
    assert!(matches!(error(&bad), GgufError::NotUtf8 { place: Place::TensorEntry(0), offset: 32 }));
}

#[test]
fn tensor_shapes() {
    for dimensions in [5, 1000, u32::MAX] {
        let mut writer = tensor(&[1], 0, 4);
        writer.tensors[0].dimensions = Some(dimensions);
        let tensor = "t".into();
        assert_eq!(error(&writer), GgufError::TooManyDimensions { tensor, offset: 33, dimensions });
    }
    assert_eq!(error(&tensor(&[1, 0], 0, 0)), GgufError::ZeroDimension { tensor: "t".into(), offset: 45, dimension: 1 });
    for dims in [
        &[1 << 63][..],
        &[1 << 32, 1 << 32],
        &[u64::MAX, u64::MAX, u64::MAX, u64::MAX],
        &[1 << 62],
        &[1, 1 << 16, 1 << 16, 1 << 31],
    ] {
        let error = error(&tensor(dims, 0, 0));
        assert!(matches!(error, GgufError::SizeOverflow { offset: 24, .. }), "{error}");
    }
    for (columns, kind) in [(31, 2), (33, 8), (16, 3), (128, 12), (255, 14), (32, 40)] {
        let error = error(&tensor(&[columns, 2], kind, 0));
        assert!(matches!(error, GgufError::RowNotWholeBlocks { .. }), "{error}");
    }
    for (id, word) in [(4, "Q4_2"), (31, "Q4_0_4_4"), (43, "unknown"), (u32::MAX, "unknown")] {
        let error = error(&tensor(&[32], id, 0));
        assert!(matches!(error, GgufError::UnknownTensorType { offset: 45, .. }));
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn tensor_places() {
    let at = |offset: u64| {
        let mut writer = tensor(&[8], 0, 32).tensor("u", &[8], 0, vec![0; 32]);
        writer.tensors[1].offset = Some(offset);
        writer
    };
    done(&at(32).bytes());
    assert!(matches!(error(&at(33)), GgufError::MisalignedTensor { relative: 33, alignment: 32, .. }));
    assert!(matches!(error(&at(0)), GgufError::OverlappingTensors { .. }));
    for past in [64, 1 << 40, 1 << 63] {
        let error = error(&at(past));
        assert!(matches!(error, GgufError::TensorPastEnd { .. }), "{error}");
    }
    assert!(matches!(error(&at(u64::MAX - 31)), GgufError::SizeOverflow { .. }));
    // One that begins inside another, though neither begins at the same place.
    let mut inside = GgufWriter::new().tensor("b", &[16], 0, vec![0; 64]).tensor("a", &[8], 0, vec![0; 32]);
    inside.tensors[1].offset = Some(32);
    let GgufError::OverlappingTensors { tensor, other, .. } = error(&inside) else {
        panic!("not overlapping");
    };
    assert_eq!((tensor.as_str(), other.as_str()), ("a", "b"));
}

#[test]
fn data_cut_off_by_one_byte_is_found_from_the_header_alone() {
    let mut writer = tensor(&[8], 0, 32);
    writer.alignment = 32;
    let bytes = writer.bytes();
    let header = writer.header();
    let file_len = bytes.len() as u64;
    assert!(matches!(Gguf::parse(&header, Some(file_len)), Ok(Parse::Done(_))));
    assert!(matches!(Gguf::parse(&header, Some(file_len - 1)), Err(GgufError::TensorPastEnd { bytes: 32, .. })));
    assert!(matches!(Gguf::parse(&header, None), Ok(Parse::Done(_))));
}

#[test]
fn bytes_past_the_stated_end_do_not_count() {
    let bytes = kitchen_sink(3).bytes();
    assert!(matches!(Gguf::parse(&bytes, Some(100)), Err(GgufError::Truncated { file_len: 100, .. })));
}

#[test]
fn raw_tensors_reach_the_table_as_written() {
    let mut writer = GgufWriter::new();
    writer.tensors.push(Tensor {
        name: b"t".to_vec(),
        dims: vec![256],
        kind: 12,
        data: vec![0; 144],
        offset: None,
        dimensions: None,
    });
    assert_eq!(done(&writer.bytes()).tensors[0].kind, TensorType::Q4_K);
}
