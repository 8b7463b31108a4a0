//! A file on a web server, read as one stream that survives dropped connections.

use std::io::Read;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode, header};

/// How patient a stream is.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// How often in a row it may fail before it gives up; [`Retry::progress`] bytes begin a new row.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles with each further one.
    pub wait: Duration,
    /// Bytes that count as progress.
    pub progress: u64,
    /// How long a connection may stay silent.
    pub silence: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 6, wait: Duration::from_millis(300), progress: 1 << 20, silence: Duration::from_secs(60) }
    }
}

/// Why a file could not be read from a web server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum HttpError {
    #[error("{url}: the server answered {status}{}", hint(*status))]
    Status { url: String, status: u16 },

    #[error("{url}: the connection failed at byte {offset}, {attempts} times in a row: {reason}")]
    Connection { url: String, offset: u64, attempts: u32, reason: String },

    #[error(
        "{url}: the server cannot send a part of a file, which is needed at byte {offset}; use another server or download the file first"
    )]
    RangeUnsupported { url: String, offset: u64 },

    #[error("{url}: the file changed on the server while it was being read ({what}); begin again")]
    Changed { url: String, what: String },

    #[error("{url}: {needed} bytes are needed at byte {offset}, but the file ends at {len}")]
    Truncated { url: String, offset: u64, needed: u64, len: u64 },

    #[error("{url}: {reason}")]
    BadReply { url: String, reason: String },
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => " (the file needs a login or a licence to be accepted; download it by hand)",
        404 | 410 => " (there is no such file)",
        _ => "",
    }
}

/// What tells one state of the file from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Identity {
    total: Option<u64>,
    etag: Option<String>,
    modified: Option<String>,
}

impl Identity {
    /// Says what differs, as far as both sides know.
    fn difference(&self, now: &Self) -> Option<String> {
        fn differ<T: PartialEq + std::fmt::Display>(what: &str, before: Option<&T>, now: Option<&T>) -> Option<String> {
            let (before, now) = (before?, now?);
            (before != now).then(|| format!("{what} was {before}, is {now}"))
        }
        let by_tag = differ("ETag", self.etag.as_ref(), now.etag.as_ref());
        let by_length = differ("length", self.total.as_ref(), now.total.as_ref());
        by_length.or(by_tag).or_else(|| {
            // With equal tags the date does not matter: mirrors often disagree about it.
            if self.etag.is_some() && self.etag == now.etag {
                return None;
            }
            let (before, now) = (self.modified.as_ref(), now.modified.as_ref());
            differ("Last-Modified", before, now)
        })
    }

    fn learn(&mut self, now: Self) {
        self.total = self.total.or(now.total);
        self.etag = self.etag.take().or(now.etag);
        self.modified = self.modified.take().or(now.modified);
    }
}

/// A reading position in a file on a web server. One connection serves reads in ascending order; a dropped one is
/// opened again at the next byte, and only if the server still has the same file.
pub struct RangeStream {
    agent: ureq::Agent,
    url: String,
    retry: Retry,
    identity: Identity,
    /// Whether the server sends parts; `None` before the first reply.
    ranges: Option<bool>,
    body: Option<Box<dyn Read + Send + Sync>>,
    position: u64,
    failures: u32,
    last_failure: u64,
}

impl std::fmt::Debug for RangeStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RangeStream")
            .field("url", &self.url)
            .field("position", &self.position)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// A jump ahead of no more than this is read over instead of asked for anew.
const READ_OVER: u64 = 256 << 10;

impl RangeStream {
    /// Opens `url` at byte `offset`. `validator` is the [`RangeStream::validator`] of an earlier stream whose bytes
    /// before `offset` are kept: where the server has another file now, that is `Changed`.
    ///
    /// # Errors
    /// [`HttpError`], after the retries that `retry` allows.
    pub fn open(url: &str, offset: u64, validator: Option<&str>, retry: Retry) -> Result<Self, HttpError> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(retry.silence))
            .timeout_recv_response(Some(retry.silence))
            .timeout_per_read(Some(retry.silence))
            .user_agent(concat!("kinglet/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .build();
        let mut stream = Self {
            agent: config.new_agent(),
            url: url.to_owned(),
            retry,
            identity: Identity::default(),
            ranges: None,
            body: None,
            position: offset,
            failures: 0,
            last_failure: offset,
        };
        match validator {
            Some(tag) if tag.contains('"') => stream.identity.etag = Some(tag.to_owned()),
            Some(date) => stream.identity.modified = Some(date.to_owned()),
            None => {}
        }
        stream.connect()?;
        Ok(stream)
    }

    /// The file's length, where the server says it.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.identity.total
    }

    /// What to give [`RangeStream::open`] to go on later: the file's ETag or date.
    #[must_use]
    pub fn validator(&self) -> Option<&str> {
        let Identity { etag, modified, .. } = &self.identity;
        etag.as_deref().or(modified.as_deref())
    }

    /// The next byte that will be read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes to `offset`: on the open connection where that is near ahead, else on a new one.
    ///
    /// # Errors
    /// `RangeUnsupported` where the server cannot, and whatever reading can give.
    pub fn seek(&mut self, offset: u64) -> Result<(), HttpError> {
        let ahead = offset.checked_sub(self.position);
        let near = self.body.is_some() && ahead.is_some_and(|gap| gap <= READ_OVER);
        let only_stream = self.ranges == Some(false) && ahead.is_some();
        if near || only_stream {
            let mut sink = [0; 16 << 10];
            while self.position < offset {
                let step = (offset - self.position).min(sink.len() as u64) as usize;
                self.read_exact(&mut sink[..step])?;
            }
        } else if self.ranges == Some(false) && offset != 0 {
            return Err(self.unsupported(offset));
        } else {
            self.body = None;
            self.position = offset;
        }
        Ok(())
    }

    /// Fills `out` with the next bytes.
    ///
    /// # Errors
    /// `Truncated` where the file ends before, and any other [`HttpError`].
    pub fn read_exact(&mut self, out: &mut [u8]) -> Result<(), HttpError> {
        let mut filled = 0;
        while filled < out.len() {
            match self.read(&mut out[filled..])? {
                0 => {
                    return Err(HttpError::Truncated {
                        url: self.url.clone(),
                        offset: self.position,
                        needed: (out.len() - filled) as u64,
                        len: self.identity.total.unwrap_or(self.position),
                    });
                }
                read => filled += read,
            }
        }
        Ok(())
    }

    /// Reads some of the next bytes; 0 at the end of the file only.
    ///
    /// # Errors
    /// [`HttpError`], after the retries that the stream allows.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, HttpError> {
        // A server that sends more than it said must not be believed.
        let room = match self.identity.total {
            Some(total) => total.saturating_sub(self.position),
            None => u64::MAX,
        };
        let wanted = (out.len() as u64).min(room) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        loop {
            if self.body.is_none() {
                self.connect()?;
            }
            let Some(body) = self.body.as_mut() else {
                continue;
            };
            let reason = match body.read(&mut out[..wanted]) {
                Ok(0) if self.identity.total.is_none() => {
                    self.identity.total = Some(self.position);
                    return Ok(0);
                }
                Ok(0) => "the server closed the connection early".to_owned(),
                Ok(read) => {
                    self.position += read as u64;
                    return Ok(read);
                }
                Err(error) => error.to_string(),
            };
            self.body = None;
            self.failed(reason)?;
        }
    }

    /// Counts a failure and waits, or gives up.
    fn failed(&mut self, reason: String) -> Result<(), HttpError> {
        if self.position.abs_diff(self.last_failure) >= self.retry.progress {
            self.failures = 0;
        }
        self.last_failure = self.position;
        self.failures += 1;
        if self.failures >= self.retry.attempts {
            return Err(HttpError::Connection { url: self.url.clone(), offset: self.position, attempts: self.failures, reason });
        }
        let doublings = (self.failures - 1).min(10);
        std::thread::sleep(self.retry.wait * 2_u32.pow(doublings));
        Ok(())
    }

    /// Opens a connection at the position, trying again where that may help.
    fn connect(&mut self) -> Result<(), HttpError> {
        loop {
            let mut request = self.agent.get(&self.url).header(header::RANGE, format!("bytes={}-", self.position));
            // Weak tags are not allowed there; the reply's headers are compared in any case.
            let strong = self.validator().filter(|tag| !tag.starts_with("W/"));
            if let Some(validator) = strong.filter(|_| self.position > 0) {
                request = request.header(header::IF_RANGE, validator);
            }
            match request.call() {
                Ok(response) => {
                    let status = response.status();
                    let again = status.is_server_error()
                        || status == StatusCode::TOO_MANY_REQUESTS
                        || status == StatusCode::REQUEST_TIMEOUT;
                    if !again {
                        return self.accept(response);
                    }
                    self.failed(format!("the server answered {}", status.as_u16()))?;
                }
                Err(error) if self.lasting(&error) => {
                    let url = self.url.clone();
                    let reason = error.to_string();
                    return Err(HttpError::BadReply { url, reason });
                }
                Err(error) => self.failed(error.to_string())?,
            }
        }
    }

    /// Checks that a reply is the wanted part of the same file.
    fn accept(&mut self, response: Response<ureq::Body>) -> Result<(), HttpError> {
        let status = response.status();
        let headers = response.headers();
        let text = |name| Some(headers.get::<header::HeaderName>(name)?.to_str().ok()?.to_owned());
        let mut now = Identity { total: None, etag: text(header::ETAG), modified: text(header::LAST_MODIFIED) };
        let bad = |reason: String| {
            let url = self.url.clone();
            Err(HttpError::BadReply { url, reason })
        };
        if status == StatusCode::PARTIAL_CONTENT {
            let Some((start, total)) = content_range(headers) else {
                return bad("a partial reply without a good Content-Range header".to_owned());
            };
            if start != self.position {
                let asked = self.position;
                return bad(format!("asked for byte {asked}, got byte {start}"));
            }
            now.total = total;
        } else if status == StatusCode::OK {
            now.total = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
            now.total = unsatisfied_range(headers);
        } else {
            let url = self.url.clone();
            let status = status.as_u16();
            return Err(HttpError::Status { url, status });
        }

        if let Some(what) = self.identity.difference(&now) {
            let url = self.url.clone();
            return Err(HttpError::Changed { url, what });
        }
        let end = now.total.or(self.identity.total);
        self.identity.learn(now);
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            // At the very end there is nothing left to ask for, and an empty file has no range at all.
            if end == Some(self.position) {
                self.body = Some(Box::new(std::io::empty()));
                return Ok(());
            }
            return Err(HttpError::Truncated {
                url: self.url.clone(),
                offset: self.position,
                needed: 1,
                len: end.unwrap_or(self.position),
            });
        }
        if status == StatusCode::OK && self.position > 0 {
            self.ranges = Some(false);
            return Err(self.unsupported(self.position));
        }
        self.ranges = Some(status == StatusCode::PARTIAL_CONTENT);
        let body = response.into_body().into_with_config().limit(u64::MAX);
        self.body = Some(Box::new(body.reader()));
        Ok(())
    }

    /// Errors that trying again cannot mend. A name that was found once may be found again.
    fn lasting(&self, error: &ureq::Error) -> bool {
        match error {
            ureq::Error::HostNotFound => self.ranges.is_none(),
            ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::InvalidProxyUrl
            | ureq::Error::TooManyRedirects
            | ureq::Error::RequireHttpsOnly(_) => true,
            _ => false,
        }
    }

    fn unsupported(&self, offset: u64) -> HttpError {
        let url = self.url.clone();
        HttpError::RangeUnsupported { url, offset }
    }
}

/// `bytes START-END/TOTAL`, where the total may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    let fits = start <= end && total.is_none_or(|total| end < total);
    fits.then_some((start, total))
}

/// `bytes */TOTAL`
fn unsatisfied_range(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    value.trim().strip_prefix("bytes")?.trim().strip_prefix("*/")?.parse().ok()
}
