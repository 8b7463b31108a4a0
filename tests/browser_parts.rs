//! The parts of the page and of the browser's worker that need no browser bring their tests with them; here they run natively.
#![allow(dead_code, reason = "only the tests inside are wanted")]

#[path = "../src/page/format.rs"]
mod format;
#[path = "../src/page/markdown.rs"]
mod markdown;
#[path = "../src/web/queue.rs"]
mod queue;
#[path = "../src/web/speed.rs"]
mod speed;
