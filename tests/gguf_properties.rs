//! Files cut off at every byte and changed in every byte: never a panic, always more wanted or a typed error, and
//! never more memory than the bytes that are there justify.
#![cfg(feature = "engine")]

#[path = "common/ggufcheck.rs"]
mod ggufcheck;
#[path = "common/ggufwriter.rs"]
mod ggufwriter;
use kinglet::weights::gguf;

use gguf::{Gguf, GgufError, Parse};
use ggufwriter::{GgufWriter, array, kind, kitchen_sink, string};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what the current thread holds (less than nothing where it frees what others made), and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn held(change: impl FnOnce(isize) -> isize) {
    // A thread that ends has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(change(held.get()));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held(|held| held + layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        held(|held| held - layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Reads a prefix and checks the memory that it took.
fn parse(prefix: &[u8], file_len: Option<u64>) -> Result<Parse, GgufError> {
    let before = HELD.get();
    PEAK.set(before);
    let outcome = Gguf::parse(prefix, file_len);
    let peak = PEAK.get() - before;
    let allowed = 12 * prefix.len().cast_signed() + 1024;
    assert!(peak <= allowed, "{peak} bytes held for a prefix of {}: {outcome:?}", prefix.len());
    outcome
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

#[test]
fn cut_off_at_every_byte() {
    for version in [2, 3] {
        let writer = kitchen_sink(version);
        let (bytes, header) = (writer.bytes(), writer.header().len());
        let len = bytes.len() as u64;
        for cut in 0..bytes.len() {
            let prefix = &bytes[..cut];
            // The rest is still to come.
            match parse(prefix, Some(len)) {
                Ok(Parse::NeedMore { at_least }) => {
                    assert!(cut < header && cut < at_least as usize && at_least <= len);
                }
                Ok(Parse::Done(_)) => assert!(cut >= header),
                Err(error) => panic!("cut at {cut}: {error}"),
            }
            // How much is to come is not known.
            let needs_more = matches!(parse(prefix, None), Ok(Parse::NeedMore { .. }));
            assert_eq!(needs_more, cut < header);
            // Nothing is to come.
            match parse(prefix, Some(cut as u64)) {
                Err(GgufError::Truncated { offset, needed, file_len, .. }) => {
                    assert!(cut < header && file_len == cut as u64);
                    assert!(offset <= file_len && offset + needed > file_len);
                }
                Err(GgufError::TensorPastEnd { .. }) => assert!(cut >= header),
                // The padding after the last tensor may be missing.
                Ok(Parse::Done(_)) => assert!(bytes.len() - cut < 64),
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
    }
}

#[test]
fn changed_in_every_byte() {
    let writer = kitchen_sink(3);
    let bytes = writer.bytes();
    let len = bytes.len() as u64;
    for at in 0..writer.header().len() {
        for change in [0x01, 0x20, 0x80, 0xFF] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let outcome = parse(&changed, Some(len));
            assert!(!matches!(outcome, Ok(Parse::NeedMore { .. })), "byte {at}");
            let _ = parse(&changed, None);
            ggufcheck::check(&changed);
        }
    }
}

#[test]
fn changed_at_random() {
    let files = [kitchen_sink(2).bytes(), kitchen_sink(3).bytes()];
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let numbers = [0, 1, 2, 7, 8, 31, 255, 1 << 16, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX];
    for _ in 0..4000 {
        let mut bytes = files[random.below(2)].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() - 8);
            match random.below(4) {
                0 => bytes[at] = random.next() as u8,
                1 => {
                    let number = numbers[random.below(numbers.len())];
                    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
                }
                2 => {
                    let end = (at + random.below(40)).min(bytes.len() - 8);
                    bytes.drain(at..end);
                }
                _ => {
                    let end = (at + random.below(40)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        let _ = parse(&bytes, Some(bytes.len() as u64));
        let _ = parse(&bytes, None);
        let _ = parse(&bytes, Some(u64::MAX));
        ggufcheck::check(&bytes);
    }
}

/// The shapes whose Rust form is largest compared with their bytes in the file.
#[test]
fn memory_follows_the_bytes() {
    let many = 20_000_u64;
    let strings = array(kind::STRING, many, &vec![0; many as usize * 8]);
    let empty = array(kind::U8, 0, &[]);
    let arrays = array(kind::ARRAY, many, &empty.repeat(many as usize));
    let mut entries = GgufWriter::new();
    let mut tensors = GgufWriter::new();
    for number in 0..many {
        entries = entries.u8(&format!("{number:x}"), 1);
        tensors = tensors.tensor(&format!("{number:x}"), &[1], 24, vec![0]);
    }
    let short = [string("a"), string("b")].concat().repeat(many as usize / 2);
    for writer in [
        GgufWriter::new().raw("k", kind::ARRAY, &strings),
        GgufWriter::new().raw("k", kind::ARRAY, &array(kind::STRING, many, &short)),
        GgufWriter::new().raw("k", kind::ARRAY, &arrays),
        entries,
        tensors,
    ] {
        let (header, bytes) = (writer.header(), writer.bytes());
        let outcome = parse(&header, Some(bytes.len() as u64));
        assert!(matches!(outcome, Ok(Parse::Done(_))));
        // A count that is too large by one finds nothing more, with no more memory.
        for cut in [header.len() / 2, header.len() - 1] {
            let outcome = parse(&header[..cut], Some(bytes.len() as u64));
            assert!(matches!(outcome, Ok(Parse::NeedMore { .. })));
        }
    }
}

/// Many names that are all equal but the last must not make the search for duplicates slow.
#[test]
fn many_keys_are_quick() {
    let mut writer = GgufWriter::new();
    for number in 0..100_000 {
        writer = writer.u8(&format!("key{number}"), 1);
    }
    let bytes = writer.bytes();
    let start = std::time::Instant::now();
    assert!(matches!(parse(&bytes, None), Ok(Parse::Done(_))));
    assert!(start.elapsed().as_secs() < 5);
}
