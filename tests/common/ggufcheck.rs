//! What must hold for any bytes at all that are read as a GGUF file. The including crate has `gguf` in scope.

use super::gguf::{Gguf, GgufError, Parse};

/// Reads `bytes` in several ways and panics where they contradict each other or break a promise of the reader.
pub fn check(bytes: &[u8]) {
    let len = bytes.len() as u64;
    let whole = Gguf::parse(bytes, Some(len));
    // NaN is not equal to itself, but its text is.
    let text = format!("{whole:?}");
    match &whole {
        Ok(Parse::Done(gguf)) => {
            sound(gguf, len);
            assert_eq!(text, format!("{:?}", Gguf::parse(bytes, None)));
        }
        Ok(Parse::NeedMore { .. }) => panic!("more bytes wanted than there are"),
        Err(error) => shown(error),
    }

    if len < 4 {
        // Too short for the magic: truncated as far as one can see, or not GGUF once the wrong byte is seen.
        return;
    }
    for cut in [1, 8, 24, len / 3, len / 2, len.saturating_sub(1)] {
        let cut = cut.min(len);
        let prefix = &bytes[..cut as usize];
        match Gguf::parse(prefix, Some(len)) {
            Ok(Parse::NeedMore { at_least }) => assert!(cut < at_least && at_least <= len),
            // The first byte is enough to see it, though more are shown where there are more.
            Err(GgufError::NotGguf { .. }) => {
                assert!(matches!(whole, Err(GgufError::NotGguf { .. })));
            }
            other => assert_eq!(text, format!("{other:?}"), "cut at {cut}"),
        }
        match Gguf::parse(prefix, None) {
            Ok(Parse::NeedMore { at_least }) => assert!(cut < at_least),
            Ok(Parse::Done(_)) => {}
            Err(error) => shown(&error),
        }
    }
}

/// Errors are for people: short, and without control characters of the file's.
fn shown(error: &GgufError) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 2000, "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn sound(gguf: &Gguf, len: u64) {
    assert!(gguf.version == 2 || gguf.version == 3);
    assert_eq!(gguf.data_offset % gguf.alignment, 0);
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for tensor in &gguf.tensors {
        assert!((1..=4).contains(&tensor.dims.len()));
        assert_eq!(tensor.offset % gguf.alignment, 0);
        assert!(tensor.offset >= gguf.data_offset);
        let blocks = tensor.columns() / tensor.kind.block_elements();
        let row = blocks * tensor.kind.block_bytes();
        assert_eq!(row, tensor.row_bytes());
        assert_eq!(row.checked_mul(tensor.rows()), Some(tensor.bytes));
        assert!(tensor.bytes > 0 && tensor.offset + tensor.bytes <= len);
        assert!(gguf.tensor(&tensor.name).is_some());
        spans.push((tensor.offset, tensor.offset + tensor.bytes));
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    for (key, value) in gguf.metadata.iter() {
        let found = gguf.metadata.get(key).expect("a key that was listed");
        assert!(std::ptr::eq(found, value));
        let _ = gguf.metadata.u64(key);
        let _ = gguf.metadata.f32(key);
        let _ = gguf.metadata.i32s(key);
    }
}
