//! The personal access token: checked when it is read, shown nowhere.

use std::fmt;

/// A personal access token of Airtable's. Appears in no log, error or `Debug`.
#[derive(Clone)]
pub struct Token(String);

/// Why a text is no usable token. Never says the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// One of the old API keys.
    #[error(
        "AIRTABLE_API_KEY is an API key (`key…`); Airtable ended those in February 2024. Make a personal access token (`pat…`) at https://airtable.com/create/tokens and set that"
    )]
    ApiKey,
    /// Something else.
    #[error(
        "AIRTABLE_API_KEY is no personal access token: expected `pat…`, as made at https://airtable.com/create/tokens"
    )]
    NotAToken,
}

impl Token {
    /// Checks a text from the configuration.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        // A token goes into a header: anything but visible ASCII could not be sent.
        if text.starts_with("pat") && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else if text.starts_with("key") {
            Err(BadToken::ApiKey)
        } else {
            Err(BadToken::NotAToken)
        }
    }

    /// The value of the `Authorization` header.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
