//! The chat page: a Leptos app that talks to the engine's worker by messages and knows nothing of the GPU.

mod app;
mod chat;
mod format;
mod help;
mod icons;
mod load;
mod markdown;
mod message;
mod settings;
mod state;
mod worker;

fn main() {
    leptos::mount::mount_to_body(app::Page);
}
