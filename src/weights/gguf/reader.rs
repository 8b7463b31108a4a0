//! A cursor over a prefix of the file that tells apart "not there yet" and "cannot be there".

use super::{GgufError, MAX_HEADER_BYTES, Place};

/// Why reading stopped.
pub(super) enum Stop {
    /// The prefix ends before what is needed; the file may go on.
    NeedMore,
    /// The file is wrong.
    Wrong(GgufError),
}

impl From<GgufError> for Stop {
    fn from(error: GgufError) -> Self {
        Self::Wrong(error)
    }
}

/// A [`Place`] that borrows its name: made for every read, turned into an owned one only for an error.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Header,
    Entry(u64),
    Key(&'a str),
    TensorEntry(u64),
    Tensor(&'a str),
}

impl At<'_> {
    pub(super) fn place(self) -> Place {
        match self {
            Self::Header => Place::Header,
            Self::Entry(number) => Place::Entry(number),
            Self::Key(key) => Place::Key(key.to_owned()),
            Self::TensorEntry(number) => Place::TensorEntry(number),
            Self::Tensor(name) => Place::Tensor(name.to_owned()),
        }
    }
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    file_len: Option<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], file_len: Option<u64>) -> Self {
        Self { bytes, position: 0, file_len }
    }

    /// Bytes from the start of the file.
    pub(super) fn position(&self) -> u64 {
        self.position as u64
    }

    /// Checks that `needed` bytes are in the prefix, and that they can be in the file at all.
    pub(super) fn ensure(&self, needed: u64, at: At<'_>) -> Result<(), Stop> {
        let present = (self.bytes.len() - self.position) as u64;
        if needed <= present {
            return Ok(());
        }
        let offset = self.position();
        let end = offset.checked_add(needed);
        if let Some(file_len) = self.file_len
            && end.is_none_or(|end| end > file_len)
        {
            return Err(Stop::Wrong(GgufError::Truncated { place: at.place(), offset, needed, file_len }));
        }
        if end.is_none_or(|end| end > MAX_HEADER_BYTES) {
            return Err(Stop::Wrong(GgufError::HeaderTooLarge { place: at.place(), offset, needed, limit: MAX_HEADER_BYTES }));
        }
        Err(Stop::NeedMore)
    }

    /// Checks that `count` items of at least `smallest` bytes each are in the prefix, and gives the count as a
    /// capacity, which is then no more than the bytes that are present.
    pub(super) fn ensure_items(&self, count: u64, smallest: u64, at: At<'_>) -> Result<usize, Stop> {
        // A saturated product is past every limit that `ensure` knows.
        self.ensure(count.saturating_mul(smallest), at)?;
        Ok(count as usize)
    }

    pub(super) fn take(&mut self, length: u64, at: At<'_>) -> Result<&'a [u8], Stop> {
        self.ensure(length, at)?;
        let end = self.position + length as usize;
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, at: At<'_>) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, at)?);
        Ok(bytes)
    }

    pub(super) fn u8(&mut self, at: At<'_>) -> Result<u8, Stop> {
        Ok(self.array::<1>(at)?[0])
    }

    pub(super) fn u32(&mut self, at: At<'_>) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    pub(super) fn u64(&mut self, at: At<'_>) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }

    /// A string: u64 length, then UTF-8 without a terminator.
    pub(super) fn string(&mut self, at: At<'_>) -> Result<&'a str, Stop> {
        let length = self.u64(at)?;
        self.text(length, at)
    }

    /// A key or a tensor's name: a string that is not empty and at most `limit` bytes long.
    pub(super) fn name(&mut self, limit: u64, at: At<'_>) -> Result<&'a str, Stop> {
        let offset = self.position();
        let length = self.u64(at)?;
        let place = || at.place();
        if length == 0 {
            let place = place();
            return Err(GgufError::EmptyName { place, offset }.into());
        }
        if length > limit {
            return Err(GgufError::NameTooLong { place: place(), offset, length, limit }.into());
        }
        self.text(length, at)
    }

    fn text(&mut self, length: u64, at: At<'_>) -> Result<&'a str, Stop> {
        let offset = self.position();
        let bytes = self.take(length, at)?;
        std::str::from_utf8(bytes)
            .map_err(|error| Stop::Wrong(GgufError::NotUtf8 { place: at.place(), offset: offset + error.valid_up_to() as u64 }))
    }
}
