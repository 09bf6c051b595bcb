//! The status page: one document with its style and script inside, which the browser may load nothing beside. It holds no
//! data: its script asks the admin API like anybody else, with the token that its reader types in.
#![forbid(unsafe_code)]

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::http::Answer;

const DOCUMENT: &str = include_str!("page/status.html");
const STYLE: &str = include_str!("page/status.css");
const SCRIPT: &str = include_str!("page/status.js");

/// The assembled document, and what a browser may do with it.
#[derive(Debug)]
pub(super) struct Page {
    html: String,
    policy: String,
}

impl Page {
    pub(super) fn new() -> Self {
        let html = DOCUMENT
            .replace("/* status.css */", STYLE)
            .replace("/* status.js */", SCRIPT);
        // What is inside runs by its hash; nothing that data might smuggle in does.
        let policy = format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT),
        );
        Self { html, policy }
    }

    pub(super) fn answer(&self) -> Answer {
        Answer::new(200, "text/html; charset=utf-8", self.html.clone())
            .with("Content-Security-Policy", &self.policy)
    }
}

/// Content Security Policy Level 3, §2.3.1: of the element's content, byte by byte.
fn hash(content: &str) -> String {
    let digest = digest(&SHA256, content.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_style_and_script_and_names_nothing_beyond() {
        let page = Page::new();
        assert!(page.html.contains(&format!("<style>{STYLE}</style>")));
        assert!(page.html.contains(&format!("<script>{SCRIPT}</script>")));
        for outside in ["src=\"http", "href=\"http", "@import", "url(http", "//cdn"] {
            assert!(!page.html.contains(outside), "{outside}");
        }
        // Text that came from elsewhere is never taken for markup.
        for risky in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!SCRIPT.contains(risky), "{risky}");
        }
    }
}
