//! The browser's worker.

fn main() {
    #[cfg(target_arch = "wasm32")]
    kinglet::web::start();
}
