//! Writes GGUF files for tests: good ones of any content, and, through the raw fields, bad ones too.
//!
//! ```ignore
//! #[path = "common/ggufwriter.rs"]
//! mod ggufwriter;
//! let bytes = GgufWriter::new()
//!     .string("general.architecture", "llama")
//!     .u32("llama.block_count", 1)
//!     .f32_tensor("output_norm.weight", &[64], &weights)
//!     .bytes();
//! ```
#![allow(dead_code, reason = "every test uses its own part")]

/// Value type ids of the format.
pub mod kind {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// A string as the format writes it: u64 length, then the bytes.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

/// An array's body: element type, count, elements.
pub fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

/// One line of the tensor table with its data. All fields can be set to nonsense.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: Vec<u8>,
    /// GGUF order, `dims[0]` contiguous.
    pub dims: Vec<u64>,
    /// ggml type id.
    pub kind: u32,
    pub data: Vec<u8>,
    /// Written in place of the true offset.
    pub offset: Option<u64>,
    /// Written in place of the true number of dimensions.
    pub dimensions: Option<u32>,
}

/// Builds one file.
#[derive(Clone, Debug)]
pub struct GgufWriter {
    pub magic: [u8; 4],
    pub version: u32,
    /// Used for padding; not written as metadata by itself.
    pub alignment: u64,
    /// Keys, type ids and encoded values.
    pub entries: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub tensors: Vec<Tensor>,
    /// Written in place of the true counts.
    pub tensor_count: Option<u64>,
    pub entry_count: Option<u64>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! scalars {
    ($($name:ident: $type:ty = $kind:ident;)*) => {$(
        pub fn $name(self, key: &str, value: $type) -> Self {
            self.raw(key, kind::$kind, &value.to_le_bytes())
        }
    )*};
}

macro_rules! arrays {
    ($($name:ident: $type:ty = $kind:ident;)*) => {$(
        pub fn $name(self, key: &str, values: &[$type]) -> Self {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.raw(key, kind::ARRAY, &array(kind::$kind, values.len() as u64, &bytes))
        }
    )*};
}

impl GgufWriter {
    /// An empty version 3 file.
    pub fn new() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            alignment: 32,
            entries: Vec::new(),
            tensors: Vec::new(),
            tensor_count: None,
            entry_count: None,
        }
    }

    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets the alignment and writes `general.alignment`.
    pub fn aligned(mut self, alignment: u32) -> Self {
        self.alignment = alignment.into();
        self.u32("general.alignment", alignment)
    }

    /// A metadata entry from encoded bytes.
    pub fn raw(mut self, key: impl AsRef<[u8]>, kind: u32, value: &[u8]) -> Self {
        self.entries.push((key.as_ref().to_vec(), kind, value.to_vec()));
        self
    }

    scalars! {
        u8: u8 = U8; i8: i8 = I8; u16: u16 = U16; i16: i16 = I16; u32: u32 = U32; i32: i32 = I32;
        u64: u64 = U64; i64: i64 = I64; f32: f32 = F32; f64: f64 = F64;
    }

    arrays! {
        u8s: u8 = U8; i8s: i8 = I8; u16s: u16 = U16; i16s: i16 = I16; u32s: u32 = U32; i32s: i32 = I32;
        u64s: u64 = U64; i64s: i64 = I64; f32s: f32 = F32; f64s: f64 = F64;
    }

    pub fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, kind::BOOL, &[value.into()])
    }

    pub fn string(self, key: &str, value: &str) -> Self {
        self.raw(key, kind::STRING, &string(value))
    }

    pub fn bools(self, key: &str, values: &[bool]) -> Self {
        let bytes: Vec<u8> = values.iter().map(|&value| value.into()).collect();
        self.raw(key, kind::ARRAY, &array(kind::BOOL, values.len() as u64, &bytes))
    }

    pub fn strings<S: AsRef<str>>(self, key: &str, values: &[S]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| string(v.as_ref())).collect();
        self.raw(key, kind::ARRAY, &array(kind::STRING, values.len() as u64, &bytes))
    }

    /// A tensor with `data` as it belongs in the file; `kind` is ggml's type id.
    pub fn tensor(mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) -> Self {
        self.tensors.push(Tensor { name: name.into(), dims: dims.to_vec(), kind, data, offset: None, dimensions: None });
        self
    }

    pub fn f32_tensor(self, name: &str, dims: &[u64], numbers: &[f32]) -> Self {
        let data = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.tensor(name, dims, 0, data)
    }

    /// Everything before the data: as long as the header is, without the padding that follows.
    pub fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        let tensors = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        out.extend(tensors.to_le_bytes());
        let entries = self.entry_count.unwrap_or(self.entries.len() as u64);
        out.extend(entries.to_le_bytes());
        for (key, kind, value) in &self.entries {
            out.extend(string(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        let mut place = 0_u64;
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            let dimensions = tensor.dimensions.unwrap_or(tensor.dims.len() as u32);
            out.extend(dimensions.to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|size| size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(place).to_le_bytes());
            place = (place + tensor.data.len() as u64).next_multiple_of(self.alignment);
        }
        out
    }

    /// The whole file, the data padded as the format wants it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        let pad = |out: &mut Vec<u8>| {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
        };
        pad(&mut out);
        for tensor in &self.tensors {
            out.extend(&tensor.data);
            pad(&mut out);
        }
        out
    }
}

/// A file with every value type, nested arrays and several tensor types: what property tests mutilate.
pub fn kitchen_sink(version: u32) -> GgufWriter {
    let nested =
        [array(kind::I32, 2, &[1, 0, 0, 0, 2, 0, 0, 0]), array(kind::STRING, 1, &string("x")), array(kind::BOOL, 0, &[])].concat();
    GgufWriter::new()
        .version(version)
        .string("general.architecture", "llama")
        .u8("a.u8", 200)
        .i8("a.i8", -3)
        .u16("a.u16", 60_000)
        .i16("a.i16", -30_000)
        .u32("llama.block_count", 2)
        .i32("a.i32", -5)
        .u64("a.u64", 1 << 40)
        .i64("a.i64", -(1 << 40))
        .f32("a.f32", 1.5)
        .f64("a.f64", -2.5)
        .bool("a.bool", true)
        .aligned(64)
        .strings("tokenizer.ggml.tokens", &["<s>", "", "é", "🐦"])
        .f32s("tokenizer.ggml.scores", &[0.0, -1.0, 2.0, 0.5])
        .f64s("a.f64s", &[1.0, 2.0])
        .i32s("tokenizer.ggml.token_type", &[3, 1, 1, 1])
        .u8s("a.u8s", &[1, 2, 3])
        .i8s("a.i8s", &[-1, 2])
        .u16s("a.u16s", &[1, 2])
        .i16s("a.i16s", &[-1, 2])
        .u32s("a.u32s", &[7, 8])
        .u64s("a.u64s", &[7])
        .i64s("a.i64s", &[-7])
        .bools("a.bools", &[true, false])
        .raw("a.nested", kind::ARRAY, &array(kind::ARRAY, 3, &nested))
        .f32_tensor("output_norm.weight", &[4], &[1.0, 2.0, 3.0, 4.0])
        .tensor("blk.0.attn_q.weight", &[32, 2], 3, vec![7; 40])
        .tensor("blk.0.ffn_up.weight", &[64, 1], 8, vec![9; 68])
        .tensor("token_embd.weight", &[3, 2, 1, 2], 1, vec![5; 24])
}
