//! Markdown to HTML that is safe to put into the page, whatever a model writes.
//!
//! Raw HTML becomes text. Links keep `http`, `https` and `mailto` only. Images become links, so that an answer fetches nothing.

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html::push_html};

/// The HTML of every top-level block, in order. While text is appended to `markdown`, all blocks but the last two keep their HTML
/// (the last may yet join the one before it), so that a streamed answer touches only its end.
pub fn blocks(markdown: &str) -> Vec<String> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut blocks = Vec::new();
    let mut block: Vec<Event> = Vec::new();
    let mut filter = Filter::default();
    let mut depth = 0usize;
    for event in Parser::new_ext(markdown, options) {
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
        filter.push(event, &mut block);
        if depth == 0 {
            let mut html = String::new();
            push_html(&mut html, block.drain(..));
            blocks.push(html);
        }
    }
    blocks
}

/// Rewrites what a model must not decide: raw HTML, where links lead, what is fetched, how big a heading is.
#[derive(Default)]
struct Filter {
    /// Text of the closing tag of every open link and image; empty for one that was dropped.
    links: Vec<&'static str>,
    /// How many of `links` opened an `<a>`: anchors cannot nest.
    anchors: usize,
}

impl Filter {
    fn push<'a>(&mut self, event: Event<'a>, out: &mut Vec<Event<'a>>) {
        match event {
            Event::Html(raw) | Event::InlineHtml(raw) => out.push(Event::Text(raw)),
            // The block's paragraph-less text needs an element of its own.
            Event::Start(Tag::HtmlBlock) => out.push(Event::Html("<p>".into())),
            Event::End(TagEnd::HtmlBlock) => out.push(Event::Html("</p>\n".into())),
            Event::Start(Tag::Link { link_type, dest_url, .. }) => self.open_link(link_type, &dest_url, "</a>", out),
            Event::Start(Tag::Image { link_type, dest_url, .. }) => self.open_link(link_type, &dest_url, " (image)</a>", out),
            Event::End(TagEnd::Link | TagEnd::Image) => {
                let close = self.links.pop().unwrap_or_default();
                if !close.is_empty() {
                    self.anchors -= 1;
                    out.push(Event::Html(close.into()));
                }
            }
            Event::Start(Tag::Heading { level, .. }) => {
                out.push(Event::Start(Tag::Heading { level: lower(level), id: None, classes: Vec::new(), attrs: Vec::new() }));
            }
            Event::End(TagEnd::Heading(level)) => out.push(Event::End(TagEnd::Heading(lower(level)))),
            Event::Start(Tag::CodeBlock(kind)) => {
                out.push(Event::Html(code_head(&kind).into()));
            }
            Event::End(TagEnd::CodeBlock) => out.push(Event::Html("</code></pre></div>\n".into())),
            // A table too wide for the screen scrolls by itself.
            Event::Start(Tag::Table(align)) => {
                out.push(Event::Html("<div class=\"table\" tabindex=\"0\">".into()));
                out.push(Event::Start(Tag::Table(align)));
            }
            Event::End(TagEnd::Table) => {
                out.push(Event::End(TagEnd::Table));
                out.push(Event::Html("</div>\n".into()));
            }
            // Models write verse and lists of facts line by line and mean it.
            Event::SoftBreak => out.push(Event::HardBreak),
            other => out.push(other),
        }
    }

    fn open_link<'a>(&mut self, kind: LinkType, url: &CowStr<'a>, close: &'static str, out: &mut Vec<Event<'a>>) {
        let url = if kind == LinkType::Email { format!("mailto:{url}") } else { url.to_string() };
        if self.anchors > 0 || !is_safe(&url) {
            self.links.push("");
            return;
        }
        self.links.push(close);
        self.anchors += 1;
        let tag = format!("<a href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">", escape(&url));
        out.push(Event::Html(tag.into()));
    }
}

/// Whether a link may lead there: an absolute `http`, `https` or `mailto` URL without blanks or control characters.
fn is_safe(url: &str) -> bool {
    let starts_with = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    ["http://", "https://", "mailto:"].into_iter().any(starts_with) && !url.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// An answer's headings stand below the page's own.
fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H3,
        HeadingLevel::H2 => HeadingLevel::H4,
        HeadingLevel::H3 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

fn code_head(kind: &CodeBlockKind) -> String {
    let language = match kind {
        CodeBlockKind::Fenced(info) => info.split([' ', ',', '{']).next().unwrap_or_default(),
        CodeBlockKind::Indented => "",
    };
    let language: String = language.chars().take(24).collect();
    let label = if language.is_empty() { "code".into() } else { escape(&language) };
    format!(
        "<div class=\"code\"><div class=\"code-head\"><span>{label}</span>\
         <button type=\"button\" data-copy>Copy</button></div><pre tabindex=\"0\"><code>"
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(markdown: &str) -> String {
        blocks(markdown).concat()
    }

    /// Names of the tags and attributes in `html`, which must be well formed.
    fn tags(html: &str) -> Vec<String> {
        html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or("").to_lowercase()).collect()
    }

    #[test]
    fn ordinary_markdown_is_rendered() {
        assert_eq!(html("Hi *there*, **you**."), "<p>Hi <em>there</em>, <strong>you</strong>.</p>\n");
        assert_eq!(html("# Big\n## Less"), "<h3>Big</h3>\n<h4>Less</h4>\n");
        assert_eq!(html("- a\n- b"), "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n");
        assert!(html("|a|b|\n|-|-|\n|1|2|").contains("<th>a</th>"));
        assert!(html("~~no~~").contains("<del>no</del>"));
        assert!(html("`a < b`").contains("<code>a &lt; b</code>"));
    }

    #[test]
    fn code_blocks_have_a_label_and_a_copy_button() {
        let code = html("```rust\nlet a = \"<b>\";\n```");
        assert!(code.contains("<span>rust</span>") && code.contains("data-copy"), "{code}");
        assert!(code.contains("&lt;b&gt;") && code.ends_with(";\n</code></pre></div>\n"), "{code}");
        assert!(html("```\nx\n```").contains("<span>code</span>"));
        assert!(html("```rust\nunfinished").contains("unfinished"));
    }

    #[test]
    fn good_links_open_outside_and_say_no_referrer() {
        assert_eq!(
            html("[a](https://example.org/?a=1&b=\"2\")"),
            "<p><a href=\"https://example.org/?a=1&amp;b=&quot;2&quot;\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">a</a></p>\n"
        );
        assert!(html("<ada@example.org>").contains("href=\"mailto:ada@example.org\""));
        assert!(html("<https://example.org>").contains("href=\"https://example.org\""));
        assert!(html("[a](HTTPS://EXAMPLE.ORG)").contains("href=\"HTTPS://EXAMPLE.ORG\""));
    }

    #[test]
    fn bad_links_keep_their_text_and_lead_nowhere() {
        for url in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "&#106;avascript:alert(1)",
            "java&#10;script:alert(1)",
            "&#1;javascript:alert(1)",
            "<  javascript:alert(1)>",
            "data:text/html,<script>alert(1)</script>",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://x/1",
            "//evil.example",
            "/relative",
            "#here",
            "https:evil",
            "<https://a b>",
        ] {
            let html = html(&format!("[text]({url})"));
            assert!(!html.contains("<a "), "{url}: {html}");
            assert!(html.contains("text"), "{url}: {html}");
        }
        assert!(!html("[x]: javascript:alert(1)\n\n[x]").contains("<a "));
        assert!(!html("<javascript:alert(1)>").contains("<a "));
    }

    #[test]
    fn a_link_cannot_break_out_of_its_attribute() {
        let html = html("[a](https://x/\"onmouseover=\"alert(1)) [b](<https://x/'\"><script>>)");
        for tag in tags(&html) {
            assert!(!tag.contains("onmouseover") || tag.contains("&quot;onmouseover"), "{html}");
            assert!(!tag.starts_with("script"), "{html}");
        }
    }

    #[test]
    fn images_are_links_and_fetch_nothing() {
        let image = html("![a cat](https://example.org/cat.png \"title\")");
        assert!(!image.contains("<img"), "{image}");
        assert!(image.contains("href=\"https://example.org/cat.png\"") && image.contains(">a cat (image)</a>"), "{image}");
        let nested = html("[![alt](https://a/i.png)](https://b/)");
        assert_eq!(nested.matches("<a ").count(), 1, "{nested}");
        assert_eq!(nested.matches("</a>").count(), 1, "{nested}");
        assert!(!html("![x](data:image/svg+xml,<svg onload=alert(1)>)").contains("<a "));
        assert!(!html("![[a](https://x)](javascript:1)").contains("javascript"));
    }

    #[test]
    fn raw_html_is_text() {
        for raw in [
            "<script>alert(1)</script>",
            "a <b onclick=alert(1)>b</b>",
            "<img src=x onerror=alert(1)>",
            "<div>\n<iframe src=https://x></iframe>\n\n</div>",
            "<!-- c --><style>*{display:none}</style>",
            "<svg/onload=alert(1)>",
            "<a href=\"javascript:alert(1)\">x</a>",
            "- <script>alert(1)</script>",
            "> <object data=x>",
            "|<img src=x>|\n|-|\n|<script>|",
            "# <img src=x onerror=alert(1)>",
            "<details open ontoggle=alert(1)>",
            "<![CDATA[<script>]]>",
            "<?php echo 1 ?>",
        ] {
            for tag in tags(&html(raw)) {
                let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or("");
                let known = [
                    "p",
                    "ul",
                    "li",
                    "blockquote",
                    "h3",
                    "div",
                    "table",
                    "thead",
                    "tbody",
                    "tr",
                    "th",
                    "td",
                    "pre",
                    "code",
                    "br",
                    "",
                ];
                assert!(known.contains(&name), "{raw}: <{tag}>");
                assert!(!tag.contains("on") || !tag.contains('='), "{raw}: <{tag}>");
            }
        }
        assert_eq!(html("<b>x</b>"), "<p>&lt;b&gt;x&lt;/b&gt;</p>\n");
    }

    #[test]
    fn a_code_fences_language_cannot_carry_markup() {
        let code = html("```<img/src=x/onerror=alert(1)>\nx\n```");
        assert!(!code.contains("<img"), "{code}");
        let code = html("```\"><script>alert(1)</script>\nx\n```");
        assert!(!code.contains("<script"), "{code}");
    }

    #[test]
    fn headings_take_no_attributes() {
        let heading = html("# a {#id .class onclick=alert(1)}");
        assert!(heading.starts_with("<h3>a {#id"), "{heading}");
    }

    #[test]
    fn earlier_blocks_stay_as_they_are_while_text_is_appended() {
        let text = "First *one*.\n\n- a\n- b\n\n```rust\nfn main() {}\n```\n\n| a |\n|---|\n| 1 |\n\nLast.";
        let mut before: Vec<String> = Vec::new();
        for (end, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let now = blocks(&text[..end]);
            let stable = before.len().saturating_sub(2);
            assert_eq!(now[..stable], before[..stable], "{end}");
            before = now;
        }
        assert_eq!(before.len(), 5);
    }

    #[test]
    fn deep_nesting_and_long_runs_end() {
        for hostile in
            ["> ".repeat(5000), "[".repeat(20_000), "*a ".repeat(20_000), "![".repeat(5000), "<".repeat(20_000), "`".repeat(9999)]
        {
            blocks(&hostile);
        }
    }
}
