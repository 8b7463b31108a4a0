//! A file on a web server, natively.

use super::{Chunk, Source, SourceError, check_range};
use crate::weights::known::http::{HttpError, RangeStream, Retry};

/// How much is set aside at once for a file whose length the server does not say.
const STEP: usize = 1 << 20;

/// A file behind an `http` or `https` URL. One connection serves reads in ascending order; a dropped one is opened
/// again where it broke. A server that cannot send parts of a file serves ascending reads from 0 only.
#[derive(Debug)]
pub struct HttpSource {
    name: String,
    stream: RangeStream,
}

impl HttpSource {
    /// Opens `url` and learns the file's length.
    ///
    /// # Errors
    /// As for reading: the server's refusal, or a connection that failed too often.
    pub fn open(url: &str) -> Result<Self, SourceError> {
        Self::open_with(url, Retry::default())
    }

    /// As [`HttpSource::open`], with another patience.
    ///
    /// # Errors
    /// As [`HttpSource::open`].
    pub fn open_with(url: &str, retry: Retry) -> Result<Self, SourceError> {
        let name = name_of(url);
        let stream = RangeStream::open(url, 0, None, retry).map_err(|error| source_error(&name, 0, error))?;
        Ok(Self { name, stream })
    }

    /// As [`HttpSource::open_with`], but `None` where the server says that there is no such file.
    ///
    /// # Errors
    /// As [`HttpSource::open`].
    pub fn find(url: &str, retry: Retry) -> Result<Option<Self>, SourceError> {
        let name = name_of(url);
        match RangeStream::open(url, 0, None, retry) {
            Ok(stream) => Ok(Some(Self { name, stream })),
            Err(HttpError::Status { status: 404 | 410, .. }) => Ok(None),
            Err(error) => Err(source_error(&name, 0, error)),
        }
    }

    fn fill(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, HttpError> {
        self.stream.seek(offset)?;
        // With a known length the range was checked; without one, memory follows what really comes.
        let step = if self.stream.total().is_some() { len } else { STEP };
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let start = bytes.len();
            bytes.resize(len.min(start + step), 0);
            self.stream.read_exact(&mut bytes[start..])?;
        }
        Ok(bytes)
    }
}

impl Source for HttpSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> Option<u64> {
        self.stream.total()
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        if let Some(end) = self.stream.total() {
            check_range(&self.name, offset, len, end)?;
        }
        let bytes = self.fill(offset, len).map_err(|error| source_error(&self.name, offset, error))?;
        Ok(Chunk::Bytes(bytes))
    }
}

fn name_of(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(url).to_owned()
}

fn source_error(name: &str, offset: u64, error: HttpError) -> SourceError {
    let name = name.to_owned();
    match error {
        HttpError::Truncated { offset, needed, len, .. } => SourceError::Truncated { name, offset, needed, len },
        HttpError::Changed { what, .. } => SourceError::Changed { name, what },
        HttpError::RangeUnsupported { offset, .. } => SourceError::RangeUnsupported { name, offset },
        HttpError::Status { .. } if offset == 0 => SourceError::Open { reason: error.to_string(), name },
        HttpError::Connection { offset, .. } => SourceError::Failed { reason: error.to_string(), name, offset },
        HttpError::Status { .. } | HttpError::BadReply { .. } => SourceError::Failed { reason: error.to_string(), name, offset },
    }
}
