//! The table of contents of a zip archive (APPNOTE.TXT, with zip64), as torch.save writes it: nothing in it is compressed.

use super::HfError;
use crate::weights::files::OpenError;
use crate::weights::source::Source;

/// Larger than any checkpoint's; bounds what is read into memory.
const MAX_DIRECTORY_BYTES: u64 = 32 << 20;
/// The end record, the longest comment behind it, and the two records of zip64 before it.
const END_BYTES: u64 = 22 + 65_535 + 20 + 56;

/// One file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    /// Where its header is.
    header: u64,
    pub bytes: u64,
    stored: bool,
}

/// Little-endian numbers in a record.
struct Record<'a>(&'a [u8]);

impl Record<'_> {
    fn number<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk::<N>().copied()
    }

    fn u16(&self, at: usize) -> Option<u64> {
        self.number(at).map(|bytes| u16::from_le_bytes(bytes).into())
    }

    fn u32(&self, at: usize) -> Option<u64> {
        self.number(at).map(|bytes| u32::from_le_bytes(bytes).into())
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.number(at).map(u64::from_le_bytes)
    }
}

fn wrong(file: &str, problem: &str) -> OpenError {
    HfError::Weights { file: file.to_owned(), problem: problem.to_owned() }.into()
}

/// The archive's files in its order.
pub(super) async fn entries(source: &mut impl Source) -> Result<Vec<Entry>, OpenError> {
    let file = source.name().to_owned();
    let len = source.len().ok_or_else(|| wrong(&file, "its length is not known, which is needed to find its contents"))?;
    let tail_at = len.saturating_sub(END_BYTES);
    let tail = source.read(tail_at, (len - tail_at) as usize).await?.to_vec();
    let (offset, bytes) = directory(&tail).ok_or_else(|| {
        wrong(
            &file,
            "it is no zip archive, or the download is not complete; files of torch before 1.6 are none: load it there, and save it as safetensors",
        )
    })?;
    if bytes > MAX_DIRECTORY_BYTES || offset.checked_add(bytes).is_none_or(|end| end > len) {
        return Err(wrong(&file, "its table of contents is damaged"));
    }
    let table = source.read(offset, bytes as usize).await?.to_vec();
    parse(&table).ok_or_else(|| wrong(&file, "its table of contents is damaged"))
}

/// Where the table of contents is, from the end of the archive.
fn directory(tail: &[u8]) -> Option<(u64, u64)> {
    let end = tail.windows(4).rposition(|four| four == b"PK\x05\x06")?;
    let record = Record(tail.get(end..)?);
    let (bytes, offset) = (record.u32(12)?, record.u32(16)?);
    if bytes != u64::from(u32::MAX) && offset != u64::from(u32::MAX) {
        return Some((offset, bytes));
    }
    // The record of zip64 stands before its locator, which stands before the end record.
    let big = tail.get(..end)?.windows(4).rposition(|four| four == b"PK\x06\x06")?;
    let record = Record(tail.get(big..)?);
    Some((record.u64(48)?, record.u64(40)?))
}

fn parse(table: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut rest = table;
    while rest.starts_with(b"PK\x01\x02") {
        let record = Record(rest);
        let (name, extra, comment) = (record.u16(28)? as usize, record.u16(30)? as usize, record.u16(32)? as usize);
        let [mut bytes, mut packed, mut header] = [record.u32(24)?, record.u32(20)?, record.u32(42)?];
        let text = rest.get(46..46 + name)?;
        let mut fields = rest.get(46 + name..46 + name + extra)?;
        while let (Some(id), Some(size)) = (Record(fields).u16(0), Record(fields).u16(2)) {
            let field = Record(fields.get(4..4 + size as usize)?);
            if id == 1 {
                // Only what did not fit its place above, in this order.
                let mut at = 0;
                for value in [&mut bytes, &mut packed, &mut header] {
                    if *value == u64::from(u32::MAX) {
                        *value = field.u64(at)?;
                        at += 8;
                    }
                }
            }
            fields = fields.get(4 + size as usize..)?;
        }
        let stored = record.u16(10)? == 0 && packed == bytes;
        entries.push(Entry { name: String::from_utf8_lossy(text).into_owned(), header, bytes, stored });
        rest = rest.get(46 + name + extra + comment..)?;
    }
    Some(entries)
}

impl Entry {
    /// Where its bytes are in the archive: `bytes` of them.
    pub async fn offset(&self, source: &mut impl Source) -> Result<u64, OpenError> {
        let file = source.name().to_owned();
        if !self.stored {
            return Err(wrong(&file, &format!("{} in it is compressed, which torch never does", self.name)));
        }
        let header = source.read(self.header, 30).await?.to_vec();
        let record = Record(&header);
        let lengths = record.u16(26).zip(record.u16(28)).filter(|_| header.starts_with(b"PK\x03\x04"));
        let place = lengths.and_then(|(name, extra)| self.header.checked_add(30 + name + extra));
        let end = place.and_then(|place| place.checked_add(self.bytes));
        match place.filter(|_| end.zip(source.len()).is_some_and(|(end, len)| end <= len)) {
            Some(place) => Ok(place),
            None => Err(wrong(&file, &format!("the place of {} in it is damaged", self.name))),
        }
    }
}
