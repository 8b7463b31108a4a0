//! A model on a web server.

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, ReadableStreamDefaultReader, RequestCache, RequestInit, Response, WorkerGlobalScope};

use super::reason;
use crate::weights::source::{Chunk, Source, SourceError};

/// A dropped connection is opened again at most this often without a byte having come in between.
const RETRIES: u32 = 5;
/// The wait before the first of these; it doubles.
const FIRST_WAIT_MS: i32 = 500;
/// A jump forward of at most this many bytes reads on instead of opening a new range.
const SKIP: u64 = 1 << 20;

/// Reads a URL through one open response as long as reads ascend, and through a `Range` request after a jump or a dropped connection.
#[derive(Debug)]
pub struct FetchSource {
    url: String,
    name: String,
    len: Option<u64>,
    state: State,
    signal: AbortSignal,
    open: Option<Open>,
}

/// What tells one state of a file from another, where the server shows it: one that changes in mid-load would give a broken model.
#[derive(Debug, Default)]
struct State {
    tag: Option<String>,
    modified: Option<String>,
}

impl State {
    fn of(response: &Response) -> Self {
        Self { tag: header(response, "etag"), modified: header(response, "last-modified") }
    }

    /// What differs, as far as both sides know. With equal tags the date does not matter: mirrors disagree about it.
    fn difference(&self, now: &Self) -> Option<&'static str> {
        match (&self.tag, &now.tag, &self.modified, &now.modified) {
            (Some(before), Some(now), ..) => (opaque(before) != opaque(now)).then_some("the server's ETag"),
            (.., Some(before), Some(now)) => (before != now).then_some("its date"),
            _ => None,
        }
    }
}

/// An ETag without the mark of a weak one, which a server may put on one answer and not on the next.
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// A response whose body is being read.
#[derive(Debug)]
struct Open {
    reader: ReadableStreamDefaultReader,
    /// Offset in the file of the next byte.
    at: u64,
    /// What came and was not asked for yet.
    rest: Option<Uint8Array>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Awaited, so that a rejection is not reported as unhandled; there is nothing to do about it.
        let cancelled = JsFuture::from(self.reader.cancel());
        wasm_bindgen_futures::spawn_local(async move { drop(cancelled.await) });
    }
}

impl FetchSource {
    /// Opens `url`, which must be absolute. Raising `signal` ends whatever is being waited for.
    ///
    /// # Errors
    /// [`SourceError::Open`] if there is no answer, or none with the file in it.
    pub async fn open(url: &str, signal: AbortSignal) -> Result<Self, SourceError> {
        Self::find(url, signal)
            .await?
            .ok_or_else(|| SourceError::Open { name: url.to_owned(), reason: "the server says that there is no such file".into() })
    }

    /// As [`Self::open`], but `None` where the server says that there is no such file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn find(url: &str, signal: AbortSignal) -> Result<Option<Self>, SourceError> {
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(url).to_owned();
        let mut source = Self { url: url.to_owned(), name, len: None, state: State::default(), signal, open: None };
        let response = match source.fetch(0, RequestCache::Default).await {
            Ok(response) => response,
            Err(Failure::Status(404 | 410)) => return Ok(None),
            Err(failure) => {
                let reason = match failure {
                    Failure::Network(reason) => {
                        format!("{reason} (is the address right, and does its server allow other sites to read it?)")
                    }
                    Failure::Status(status) => format!("the server answered with status {status}"),
                };
                return Err(SourceError::Open { name: source.url, reason });
            }
        };
        source.len = length(&response);
        source.state = State::of(&response);
        source.open = Some(source.body(&response, 0)?);
        Ok(Some(source))
    }

    async fn fetch(&self, offset: u64, cache: RequestCache) -> Result<Response, Failure> {
        let init = RequestInit::new();
        init.set_signal(Some(&self.signal));
        init.set_cache(cache);
        let headers = web_sys::Headers::new().map_err(|error| Failure::Network(reason(&error)))?;
        if offset > 0 {
            headers.set("Range", &format!("bytes={offset}-")).map_err(|error| Failure::Network(reason(&error)))?;
        }
        init.set_headers(&headers);
        let scope = js_sys::global().unchecked_into::<WorkerGlobalScope>();
        let response = JsFuture::from(scope.fetch_with_str_and_init(&self.url, &init)).await;
        let response: Response = response.map_err(|error| Failure::Network(reason(&error)))?.unchecked_into();
        if response.ok() { Ok(response) } else { Err(Failure::Status(response.status())) }
    }

    fn body(&self, response: &Response, at: u64) -> Result<Open, SourceError> {
        let body = response.body().ok_or_else(|| self.failed(at, "the server's answer is empty"))?;
        Ok(Open { reader: body.get_reader().unchecked_into(), at, rest: None })
    }

    fn failed(&self, offset: u64, reason: impl Into<String>) -> SourceError {
        SourceError::Failed { name: self.name.clone(), offset, reason: reason.into() }
    }

    /// Waits before the next attempt; an abort ends the wait within a quarter of a second.
    async fn pause(&self, milliseconds: i32) {
        const SLICE_MS: i32 = 250;
        for _ in 0..milliseconds / SLICE_MS {
            if self.signal.aborted() {
                return;
            }
            sleep(SLICE_MS).await;
        }
    }

    /// A new response that begins at `offset`.
    async fn reopen(&mut self, offset: u64) -> Result<(), Reopen> {
        self.open = None;
        // Past the browser's cache: what it kept of a broken answer may be of another state of the file than the server's.
        let cache = if offset == 0 { RequestCache::Reload } else { RequestCache::NoStore };
        let response = self.fetch(offset, cache).await.map_err(|failure| match failure {
            Failure::Network(reason) => Reopen::Again(reason),
            // Nothing is there any more, where there was something.
            Failure::Status(416) => Reopen::Never(self.changed("its length")),
            Failure::Status(status) => {
                let reason = format!("{} was answered with status {status}", self.url);
                if matches!(status, 408 | 429 | 500..) { Reopen::Again(reason) } else { Reopen::Never(self.failed(offset, reason)) }
            }
        })?;
        // Whatever is wrong with the answer, dropping this ends its download.
        let open = self.body(&response, offset).map_err(Reopen::Never)?;
        if let Some(what) = self.state.difference(&State::of(&response)) {
            return Err(Reopen::Never(self.changed(what)));
        }
        if offset > 0 && response.status() != 206 {
            return Err(Reopen::Never(SourceError::RangeUnsupported { name: self.name.clone(), offset }));
        }
        if let (Some(before), Some(rest)) = (self.len, length(&response))
            && before != offset.saturating_add(rest)
        {
            return Err(Reopen::Never(self.changed("its length")));
        }
        let start = header(&response, "content-range").and_then(|range| range_start(&range));
        if start.is_some_and(|start| start != offset) {
            return Err(Reopen::Never(self.failed(offset, "the server sent another part of the file than was asked for")));
        }
        self.open = Some(open);
        Ok(())
    }

    fn changed(&self, what: &str) -> SourceError {
        SourceError::Changed { name: self.name.clone(), what: what.into() }
    }

    /// The next bytes of the open response at its position, at most `most`; `None` where it ends.
    async fn next(&mut self, most: u64) -> Result<Option<Uint8Array>, String> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let chunk = match open.rest.take() {
            Some(rest) => rest,
            None => {
                let result = JsFuture::from(open.reader.read()).await.map_err(|error| reason(&error))?;
                let field = |name: &str| Reflect::get(&result, &name.into()).unwrap_or(JsValue::UNDEFINED);
                if field("done").is_truthy() {
                    return Ok(None);
                }
                field("value").unchecked_into()
            }
        };
        let taken = u64::from(chunk.length()).min(most) as u32;
        if taken < chunk.length() {
            open.rest = Some(chunk.subarray(taken, chunk.length()));
        }
        open.at += u64::from(taken);
        Ok(Some(chunk.subarray(0, taken)))
    }

    /// Whether the open response comes to `offset` soon by itself.
    fn rides(&self, offset: u64) -> bool {
        self.open.as_ref().is_some_and(|open| open.at <= offset && offset - open.at <= SKIP)
    }
}

impl Source for FetchSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> Option<u64> {
        self.len
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        let truncated = |name: &str, end| SourceError::Truncated { name: name.to_owned(), offset, needed: len as u64, len: end };
        let end = offset.saturating_add(len as u64);
        if let Some(total) = self.len
            && end > total
        {
            return Err(truncated(&self.name, total));
        }
        let too_long =
            || SourceError::Failed { name: self.name.clone(), offset, reason: format!("{len} bytes at once are too many") };
        let bytes = Uint8Array::new_with_length(u32::try_from(len).map_err(|_| too_long())?);
        let mut at = offset;
        let mut attempts = 0;
        let mut trouble = String::new();
        while at < end {
            if !self.rides(at) {
                if attempts > RETRIES {
                    return Err(self.failed(at, format!("the connection was lost {attempts} times: {trouble}")));
                }
                if attempts > 0 {
                    self.pause(FIRST_WAIT_MS << (attempts - 1)).await;
                }
                match self.reopen(at).await {
                    Ok(()) => {}
                    Err(Reopen::Never(error)) => return Err(error),
                    Err(Reopen::Again(_)) if self.signal.aborted() => return Err(self.failed(at, "it was aborted")),
                    Err(Reopen::Again(reason)) => {
                        trouble = reason;
                        attempts += 1;
                        continue;
                    }
                }
            }
            let position = self.open.as_ref().map_or(at, |open| open.at);
            let most = if position < at { at - position } else { end - at };
            match self.next(most).await {
                Ok(Some(chunk)) => {
                    attempts = 0;
                    if position == at {
                        bytes.set(&chunk, (at - offset) as u32);
                        at += u64::from(chunk.length());
                    }
                }
                Ok(None) if self.len.is_none() => return Err(truncated(&self.name, position)),
                Ok(None) => self.lost(&mut attempts, &mut trouble, "the server ended the answer early".into()),
                Err(_) if self.signal.aborted() => return Err(self.failed(at, "it was aborted")),
                Err(reason) => self.lost(&mut attempts, &mut trouble, reason),
            }
        }
        Ok(Chunk::Js(bytes))
    }

    fn release(&mut self) {
        self.open = None;
    }
}

impl FetchSource {
    fn lost(&mut self, attempts: &mut u32, trouble: &mut String, reason: String) {
        self.open = None;
        *attempts += 1;
        *trouble = reason;
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

/// How many bytes of the file a response holds, where that is told.
fn length(response: &Response) -> Option<u64> {
    // With a content encoding the length is that of what is sent, not of the file.
    let plain = header(response, "content-encoding").is_none_or(|encoding| encoding == "identity");
    header(response, "content-length").filter(|_| plain)?.parse().ok()
}

/// `START` of `bytes START-END/TOTAL`.
fn range_start(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes")?.split('-').next()?.trim().parse().ok()
}

/// Why there is no response.
enum Failure {
    /// Nothing answered, or the browser hid the answer.
    Network(String),
    /// An answer without the file.
    Status(u16),
}

/// Why a range could not be opened.
enum Reopen {
    /// It may work later.
    Again(String),
    /// It will not.
    Never(SourceError),
}

async fn sleep(milliseconds: i32) {
    let wait = Promise::new(&mut |resolve, _| {
        let scope = js_sys::global().unchecked_into::<WorkerGlobalScope>();
        // Where no timer can be set, the wait is over at once.
        if scope.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, milliseconds).is_err() {
            let _ = resolve.call0(&JsValue::UNDEFINED);
        }
    });
    let _ = JsFuture::from(wait).await;
}
