//! A file's metadata: an ordered list of keys with typed values.

use super::GgufError;

/// One metadata value, as the file types it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is the type that it is named after")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// An array value: all elements have one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is the type that it is named after")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
}

impl Value {
    /// The type's name for messages, such as `u32` or `array of string`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::Array(array) => array.type_name(),
        }
    }

    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }
}

impl Array {
    /// The type's name for messages, such as `array of i32`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "array of u8",
            Self::I8(_) => "array of i8",
            Self::U16(_) => "array of u16",
            Self::I16(_) => "array of i16",
            Self::U32(_) => "array of u32",
            Self::I32(_) => "array of i32",
            Self::U64(_) => "array of u64",
            Self::I64(_) => "array of i64",
            Self::F32(_) => "array of f32",
            Self::F64(_) => "array of f64",
            Self::Bool(_) => "array of bool",
            Self::String(_) => "array of string",
            Self::Array(_) => "array of array",
        }
    }

    /// How many elements the array has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Array(v) => v.len(),
        }
    }

    /// Whether the array has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements through `convert`, which says `Err(value)` for one that does not fit; `None` if not integers.
    fn integers<T>(&self, convert: impl Fn(i128) -> Option<T>) -> Option<Result<Vec<T>, i128>> {
        fn all<S: Copy + Into<i128>, T>(from: &[S], convert: impl Fn(i128) -> Option<T>) -> Result<Vec<T>, i128> {
            from.iter().map(|&v| convert(v.into()).ok_or(v.into())).collect()
        }
        Some(match self {
            Self::U8(v) => all(v, convert),
            Self::I8(v) => all(v, convert),
            Self::U16(v) => all(v, convert),
            Self::I16(v) => all(v, convert),
            Self::U32(v) => all(v, convert),
            Self::I32(v) => all(v, convert),
            Self::U64(v) => all(v, convert),
            Self::I64(v) => all(v, convert),
            _ => return None,
        })
    }
}

/// A file's metadata in the file's order. Typed getters answer `Ok(None)` for a key that is absent and an error
/// naming the key for one of the wrong type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    /// Positions in `entries`, sorted by key.
    by_key: Vec<u32>,
}

impl Metadata {
    /// Metadata from entries made elsewhere (tests, converters).
    ///
    /// # Errors
    /// `DuplicateKey` with both positions in `entries` for offsets.
    pub fn from_entries(entries: Vec<(String, Value)>) -> Result<Self, GgufError> {
        Self::build(entries, |position| position as u64)
    }

    /// `offset` tells where in the file the entry at a position began.
    pub(super) fn build(entries: Vec<(String, Value)>, offset: impl Fn(usize) -> u64) -> Result<Self, GgufError> {
        let by_key = super::sorted_positions(&entries, |(key, _)| key).map_err(|(first, again)| GgufError::DuplicateKey {
            key: entries[again].0.clone(),
            offset: offset(again),
            first: offset(first),
        })?;
        Ok(Self { entries, by_key })
    }

    /// The value of `key`, whatever its type.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.by_key.binary_search_by(|&position| self.entries[position as usize].0.as_str().cmp(key)).ok()?;
        Some(&self.entries[self.by_key[at] as usize].1)
    }

    /// All keys and values in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A string.
    ///
    /// # Errors
    /// `WrongType` naming the key.
    pub fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(key, "string", other)),
        }
    }

    /// An integer of any type whose value fits.
    ///
    /// # Errors
    /// `WrongType` or `OutOfRange` naming the key.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.integer(key, "u64")
    }

    /// An integer of any type whose value fits.
    ///
    /// # Errors
    /// `WrongType` or `OutOfRange` naming the key.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.integer(key, "u32")
    }

    /// An integer of any type whose value fits.
    ///
    /// # Errors
    /// `WrongType` or `OutOfRange` naming the key.
    pub fn i32(&self, key: &str) -> Result<Option<i32>, GgufError> {
        self.integer(key, "i32")
    }

    fn integer<T: TryFrom<i128>>(&self, key: &str, expected: &'static str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let integer = value.integer().ok_or_else(|| wrong_type(key, expected, value))?;
        match T::try_from(integer) {
            Ok(fits) => Ok(Some(fits)),
            Err(_) => Err(out_of_range(key, integer, expected)),
        }
    }

    /// A floating-point number (`F64` is rounded).
    ///
    /// # Errors
    /// `WrongType` naming the key.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(number)) => Ok(Some(*number)),
            Some(Value::F64(number)) => Ok(Some(*number as f32)),
            Some(other) => Err(wrong_type(key, "f32", other)),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// `WrongType` naming the key.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(other) => Err(wrong_type(key, "bool", other)),
        }
    }

    /// An array of strings.
    ///
    /// # Errors
    /// `WrongType` naming the key.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::String(strings))) => Ok(Some(strings)),
            Some(other) => Err(wrong_type(key, "array of string", other)),
        }
    }

    /// An array of floating-point numbers (`F64` is rounded).
    ///
    /// # Errors
    /// `WrongType` naming the key.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::F32(numbers))) => Ok(Some(numbers.clone())),
            Some(Value::Array(Array::F64(numbers))) => Ok(Some(numbers.iter().map(|&number| number as f32).collect())),
            Some(other) => Err(wrong_type(key, "array of f32", other)),
        }
    }

    /// An array of integers of any type whose values all fit.
    ///
    /// # Errors
    /// `WrongType` or `OutOfRange` naming the key.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, GgufError> {
        self.integers(key, "array of i32")
    }

    /// An array of integers of any type whose values all fit.
    ///
    /// # Errors
    /// `WrongType` or `OutOfRange` naming the key.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>, GgufError> {
        self.integers(key, "array of u32")
    }

    fn integers<T: TryFrom<i128>>(&self, key: &str, expected: &'static str) -> Result<Option<Vec<T>>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let converted = match value {
            Value::Array(array) => array.integers(|integer| T::try_from(integer).ok()),
            _ => None,
        };
        match converted {
            None => Err(wrong_type(key, expected, value)),
            Some(Ok(integers)) => Ok(Some(integers)),
            Some(Err(integer)) => Err(out_of_range(key, integer, expected)),
        }
    }
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> GgufError {
    GgufError::WrongType { key: key.to_owned(), expected, found: found.type_name() }
}

fn out_of_range(key: &str, value: i128, expected: &'static str) -> GgufError {
    GgufError::OutOfRange { key: key.to_owned(), value, expected }
}
