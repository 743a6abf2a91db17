//! `GET /docs`: a page to read the API, and to try it where the reader lets it, and `GET
//! /openapi.json`, which it shows.
//!
//! Everything the page needs is in the binary, and its policy lets it load nothing else.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::answer::ProblemResponse;
use super::refusal::table;

/// What the page may load: this service's own files, images that are written out in its style
/// sheet, nothing else. Inline styles are React's; scripts are files only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page: name, type, whether it is compressed, content.
type Asset = (&'static str, &'static str, bool, &'static [u8]);

const PAGE: Asset = (
    "page.html",
    "text/html; charset=utf-8",
    false,
    include_bytes!("docs/page.html"),
);
const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const ASSETS: [Asset; 3] = [
    ("start.js", JS, false, include_bytes!("docs/start.js")),
    (
        "swagger-ui-bundle.js",
        JS,
        true,
        include_bytes!("docs/swagger-ui-bundle.js.gz"),
    ),
    (
        "swagger-ui.css",
        CSS,
        true,
        include_bytes!("docs/swagger-ui.css.gz"),
    ),
];

/// `GET /docs`
pub(super) async fn page() -> Response {
    file(&PAGE)
}

/// `GET /docs/{file}`
pub(super) async fn asset(name: Result<Path<String>, PathRejection>) -> Response {
    let name = name.map(|Path(name)| name).unwrap_or_default(); // what is no UTF-8 is no name of ours
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some(asset) => file(asset),
        None => ProblemResponse::of(&table::NO_FILE).into_response(),
    }
}

/// `GET /openapi.json`: this text.
pub(super) fn description(text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

fn file((_, kind, compressed, content): &Asset) -> Response {
    let headers = [
        (header::CONTENT_TYPE, *kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    let mut response = (headers, *content).into_response();
    if *compressed {
        response.headers_mut().insert(
            header::CONTENT_ENCODING,
            header::HeaderValue::from_static("gzip"),
        );
    }
    response
}
