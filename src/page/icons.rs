//! The logo and the icons, drawn here: the page fetches no fonts and no images.

use leptos::prelude::*;

/// The kinglet: a goldcrest, the small round bird with a crown.
#[component]
pub fn Logo(#[prop(optional)] class: &'static str) -> impl IntoView {
    view! { <span class=format!("logo {class}") aria-hidden="true" inner_html=include_str!("../../web/icons/kinglet.svg")></span> }
}

/// Line icons on a grid of 24.
#[derive(Clone, Copy)]
pub enum Icon {
    Alert,
    Close,
    Copy,
    File,
    Lock,
    NewChat,
    Redo,
    Send,
    Sliders,
    Stop,
    Swap,
}

impl Icon {
    pub fn view(self) -> impl IntoView {
        let path = match self {
            Self::Alert => {
                "M12 8.5v4.5M12 16.6v.1M10.4 4.2 2.9 17.4A1.8 1.8 0 0 0 4.5 20h15a1.8 1.8 0 0 0 1.6-2.6L13.6 4.2a1.8 1.8 0 0 0-3.2 0Z"
            }
            Self::Close => "M6 6l12 12M18 6 6 18",
            Self::Copy => "M9 9h10v11H9zM15 9V4H5v11h4",
            Self::File => "M14 3H6v18h12V7zM14 3v4h4M12 17v-6M9.5 13.2 12 10.7l2.5 2.5",
            Self::Lock => "M6.5 11h11v9h-11zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
            Self::NewChat => "M12 5H5v14h14v-7M18.4 3.6a1.7 1.7 0 0 1 2.4 2.4L12.5 14.3 9 15l.7-3.5z",
            Self::Redo => "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4v5h-5",
            Self::Send => "M12 19V5M5.5 11.5 12 5l6.5 6.5",
            Self::Sliders => "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.8v4.4M9 14.8v4.4",
            Self::Stop => "M7.5 7.5h9v9h-9z",
            Self::Swap => "M7 4 3.5 7.5 7 11M3.5 7.5H17M17 13l3.5 3.5L17 20M20.5 16.5H7",
        };
        view! {
            <svg class="glyph" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=path/></svg>
        }
    }
}
