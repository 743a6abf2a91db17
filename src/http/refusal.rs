//! What is answered with no: every refusal in one table, from which both the answers and
//! docs/errors.md are made.
//!
//! A problem cannot be made but from a row of the table, so there is none that the reference does
//! not list.

pub(super) mod table;

use std::fmt::{Display, Write as _};

use axum::http::StatusCode;
use strum::VariantArray as _;

use crate::decide::verdict::{Reason, Verdict};
use crate::gate::dialect::{Dialect, retry_after};

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// It gets the same answer until what it says was mended.
    No,
    /// As it is, at once or soon; a command under its `Idempotency-Key`.
    Yes,
    /// As it is, once the seconds of `Retry-After` are over.
    Later,
}

impl Retry {
    fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Later => "after `Retry-After`",
        }
    }
}

/// One way to be refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The status.
    pub(super) status: StatusCode,
    /// `detail`, word for word but for what stands in braces.
    pub(super) words: &'static str,
    /// When it is answered.
    when: &'static str,
    /// What to do.
    way_out: &'static str,
    again: Retry,
}

impl Refusal {
    /// The words, with these values in place of what stands in braces under their names.
    pub(super) fn fill(&self, values: &[(&str, &dyn Display)]) -> String {
        let mut parts = self.words.split('{');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap_or(("", part));
            if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
                let _ = write!(text, "{value}"); // a String takes everything
            }
            text.push_str(rest);
        }
        text
    }
}

/// The reference of all refusals, as Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "Whatever is refused over HTTP is an RFC 9457 problem, `application/problem+json`, with `detail`, `status` and `title`; some bear more,\n\
         which the table names. What stands in braces is filled in. What went wrong inside is in the log, under the `request-id` that\n\
         every answer bears, and never in the answer. **Again**: whether the same request may simply be sent again; a command should then\n\
         bear the same `Idempotency-Key`, so that it is done once.\n\n\
         | status | `detail` | when | what to do | again |\n|---|---|---|---|---|\n",
    );
    let mut all: Vec<_> = table::ALL.iter().collect();
    all.sort_by_key(|one| one.status.as_u16());
    for one in all {
        let (status, again) = (one.status.as_u16(), one.again.as_str());
        let words = if one.words.contains('`') {
            format!("`` {} ``", one.words)
        } else {
            format!("`{}`", one.words)
        };
        let _ = writeln!(
            text,
            "| {status} | {words} | {} | {} | {again} |",
            one.when, one.way_out
        );
    }
    text.push_str(
        "\nNot 2xx and no problem: `/health` answers its usual body with 503 while the ledger is not available, `/readyz` 503 `not ready` \
         while the\ngate does not know all there is. Before any route is looked for, a head that is no HTTP is answered by a bare 400, one \
         of more than 256\nheaders or of more than 64 KiB by a bare 431, and one that takes more than 10 s by the end of the connection. The two bare answers have no\nbody, no `cache-control` and no `x-content-type-options`, which all others bear.\n\n## Verdicts\n\n\
         A refusal by the gate, at `/authz/DIALECT/THROTTLE`, is no error of the request that asked: it says so in `echo-decision: deny`,\n\
         `echo-reason` and `Retry-After`, in the status that the asking proxy understands. nginx can hand on no status of ours but 401 and\n\
         403, so the one for its client travels in `echo-status`. `POST /v1/decide` always answers 200.\n\
         At a full stop, and to a caller with a key, who is refused until the hour ends, `Retry-After` is 30 to 120 s whatever the reason.\n\n\
         | `echo-reason` | when | Envoy | nginx | Traefik, Caddy | `Retry-After` |\n|---|---|---|---|---|---|\n",
    );
    for reason in Reason::VARIANTS.iter().copied() {
        let Some(when) = denied(reason) else { continue };
        let verdict = Verdict {
            admitted: false,
            reason,
            generation: 0,
        };
        let said = [Dialect::Envoy, Dialect::Nginx, Dialect::Forward].map(|dialect| {
            let spoken = dialect.says(&verdict);
            let inner = spoken
                .echo_status
                .map(|status| format!(", `echo-status: {status}`"))
                .unwrap_or_default();
            format!("{}{inner}", spoken.status)
        });
        let waits = (0..10_000).map(|number| retry_after(&verdict, true, number));
        let (least, most) = waits.fold((u32::MAX, 0), |(least, most), wait| {
            (least.min(wait), most.max(wait))
        });
        let _ = writeln!(
            text,
            "| `{}` | {when} | {} | {least} to {most} s |",
            reason.as_str(),
            said.join(" | ")
        );
    }
    text
}

/// When a request is denied for this reason; none if it never is.
fn denied(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::None => "the rest of an opening that is under way",
        Reason::Target => "the declared level",
        Reason::Errors => "the control law, because of failed requests",
        Reason::Latency => "the control law, because of latency",
        Reason::Order => "the control law, because of the order parameter",
        Reason::Kill => "a kill; nothing but what is on an allow-list is admitted",
        Reason::Unknown => "there is no such throttle",
        Reason::Stale => "the gate has not heard for too long what holds",
        Reason::AllowList => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{reference, table};

    #[test]
    fn what_stands_in_braces_is_filled_in_once_and_whatever_was_filled_in_is_left_alone() {
        let filled =
            table::ROLE.fill(&[("path", &"/kill"), ("key", &"{role}"), ("role", &"breaker")]);
        assert_eq!(
            filled,
            "POST /kill needs the role breaker, which the key {role} has not."
        );
    }

    #[test]
    fn every_row_says_another_thing_and_stands_in_one_line_of_the_reference() {
        let text = reference();
        for (index, one) in table::ALL.iter().enumerate() {
            assert!(one.status.is_client_error() || one.status.is_server_error());
            let rows = text.lines().filter(|line| line.contains(one.words)).count();
            assert_eq!(rows, 1, "{}", one.words);
            let again = table::ALL[index + 1..]
                .iter()
                .any(|other| other.words == one.words);
            assert!(!again, "{} stands there twice", one.words);
            assert!(one.status.canonical_reason().is_some());
            assert!(
                !one.words.contains('|')
                    && one.words.matches('{').count() == one.words.matches('}').count()
            );
        }
    }
}
