//! `audit`: the record as people read it, newest first, page after page.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::kill::throttle_name;
use super::known::KnownThrottles;
use super::service::{Output, ServiceArgs, failed};
use super::terminal::{columns, fit, print, tell};
use super::words::who;
use crate::client::{ApiClient, AuditPage, AuditRow, ClientError};
use crate::domain::text::{cut, shown_json};
use crate::domain::throttle::ThrottleName;
use crate::run::RunError;
use crate::source::rest::{MOMENT, moment};

/// Rows asked for at once: the most that a page has.
const PAGE: usize = 200;

/// `echo-phoenix audit`
#[derive(Args)]
pub(super) struct AuditArgs {
    /// Only what concerned this throttle
    #[arg(long, value_name = "NAME", value_parser = throttle_name)]
    throttle: Option<ThrottleName>,
    /// Only entries from then on: 2026-01-31T12:00:00Z, or a date (UTC)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    service: ServiceArgs,
}

fn since(text: &str) -> Result<Timestamp, String> {
    moment(text).ok_or_else(|| format!("expected {MOMENT}"))
}

pub(super) async fn audit(args: AuditArgs) -> Result<(), RunError> {
    let client = args.service.client()?;
    let mut filter = format!("/v1/audit?limit={PAGE}");
    filter += &args
        .throttle
        .as_ref()
        .map(|name| format!("&throttle={name}"))
        .unwrap_or_default();
    filter += &args
        .since
        .map(|since| format!("&since={since}"))
        .unwrap_or_default();
    if let Some(name) = &args.throttle {
        exists(&client, name).await?;
    }
    let (mut cursor, mut written) = (String::new(), 0);
    loop {
        let (items, page) = ask(&client, &format!("{filter}{cursor}"))
            .await
            .map_err(|error| failed(&client, &error))?;
        match args.output {
            Output::Json => print(&rows(&items, written == 0))?,
            Output::Text => print(&table(&page.items, written == 0, columns()))?,
        }
        written += items.len();
        let Some(next) = page.next_cursor else { break };
        cursor = format!("&cursor={next}");
    }
    match args.output {
        Output::Json => print(if written == 0 { "[]\n" } else { "\n]\n" }),
        Output::Text if written == 0 => {
            tell!("Nothing is on record there.");
            Ok(())
        }
        Output::Text => Ok(()),
    }
}

/// That there is such a throttle, or was: what concerned all is found under every name, a misspelt
/// one too.
async fn exists(client: &ApiClient, name: &ThrottleName) -> Result<(), RunError> {
    let known = KnownThrottles::look(client).await;
    let filter = format!("/v1/audit?limit={PAGE}&throttle={name}");
    let (mut cursor, mut lacks) = (String::new(), known.lacks_throttle(name));
    while lacks {
        let (_, page) = ask(client, &format!("{filter}{cursor}"))
            .await
            .map_err(|error| failed(client, &error))?;
        lacks = !page
            .items
            .iter()
            .any(|entry| entry.throttle == name.as_str());
        let Some(next) = page.next_cursor.filter(|_| lacks) else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    if !lacks {
        return Ok(());
    }
    let meant = known
        .meant(name)
        .map(|meant| format!("\n  - Did you mean {meant}?"))
        .unwrap_or_default();
    Err(RunError::Failed(format!(
        "there is no throttle `{name}`, and none of that name is on record there{meant}\n  - `echo-phoenix status` lists the \
         throttles there are."
    )))
}

/// A page, as it came and as people read it.
async fn ask(client: &ApiClient, path: &str) -> Result<(Vec<Value>, AuditPage), ClientError> {
    let answer = client.get(path).await?;
    let page = client.typed("/v1/audit", &answer)?;
    let items = answer
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    Ok((items, page))
}

/// Elements of one array that goes over all pages.
fn rows(items: &[Value], first: bool) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        text += if first && index == 0 { "[\n" } else { ",\n" };
        text += &shown_json(&item.to_string());
    }
    text
}

/// Columns and their heads; why comes last, since it may be long.
/// Columns that a time takes.
const WHEN: usize = 20;
const HEADS: [&str; 6] = ["SEQ", "WHEN", "WHO", "WHAT", "THROTTLE", "CHANGE"];

/// A page as a table; each page is as wide as it needs. On a terminal of so many columns an entry
/// is one line and none of its words takes most of it, so that nothing stands where another entry
/// would begin; `-o json` has the whole of it.
fn table(entries: &[AuditRow], first: bool, columns: Option<usize>) -> String {
    let most = columns.map_or(usize::MAX, |columns| (columns / 4).max(WHEN));
    let cells: Vec<[String; 6]> = entries.iter().map(|entry| cells(entry, most)).collect();
    let width = |column: usize| {
        let longest = cells
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default();
        longest.max(HEADS[column].len())
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |row: &[String; 6], why: &str| {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}  "));
        format!("{}{why}", padded.collect::<String>())
            .trim_end()
            .to_owned()
            + "\n"
    };
    let mut text = String::new();
    if first && !entries.is_empty() {
        text += &line(&HEADS.map(str::to_owned), "WHY");
    }
    for (row, entry) in cells.iter().zip(entries) {
        text += &line(row, &entry.reason);
    }
    columns.map_or(text.clone(), |columns| fit(&text, columns))
}

/// The cells of an entry, none longer than `most` but where the name of a key is: that is whole,
/// whatever its bearer says.
fn cells(entry: &AuditRow, most: usize) -> [String; 6] {
    let at = entry.at.parse::<Timestamp>();
    let when = at.map_or_else(
        |_| entry.at.clone(),
        |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    );
    let by = cut(
        who(&entry.operator, &entry.actor),
        most.max(entry.actor.chars().count() + 1),
    );
    let throttle = if entry.throttle.is_empty() {
        "all"
    } else {
        &entry.throttle
    };
    let change = match (entry.before.as_str(), entry.after.as_str()) {
        ("", after) => after.to_owned(),
        (before, "") => before.to_owned(),
        (before, after) => format!("{before} -> {after}"),
    };
    let [seq, when, what, throttle, change] = [
        entry.seq.to_string(),
        when,
        entry.action.clone(),
        throttle.to_owned(),
        change,
    ]
    .map(|cell| cut(cell, most));
    [seq, when, by, what, throttle, change]
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::client::AuditRow;

    #[test]
    fn on_a_terminal_an_entry_is_one_line_and_no_word_pushes_the_others_out() {
        let entry = |operator: &str, reason: &str| AuditRow {
            seq: 7,
            at: "2026-01-14T21:32:07Z".to_owned(),
            actor: "ECHO_API_KEY".to_owned(),
            operator: operator.to_owned(),
            action: "kill".to_owned(),
            throttle: String::new(),
            before: String::new(),
            after: String::new(),
            reason: reason.to_owned(),
        };
        let long = format!("dana{}8  2026", " ".repeat(240));
        let entries = [entry(&long, &long), entry("kim", "double charges")];
        let told = table(&entries, true, Some(100));
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 3, "{told}");
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= 100 && !line.contains("8  2026")),
            "{told}"
        );
        assert!(
            lines[1].contains('…') && lines[2].ends_with("double charges"),
            "{told}"
        );
        assert!(
            lines[1].contains("  ECHO_API_KEY: dana"),
            "whose key it was comes first: {told}"
        );
        assert!(
            table(&entries, true, None).contains("8  2026"),
            "a file has all of it"
        );
        let key = "k".repeat(64);
        let told = table(
            &[AuditRow {
                actor: key.clone(),
                ..entry(&long, &long)
            }],
            true,
            Some(100),
        );
        assert!(
            told.contains(&format!("  {key}…")),
            "it is never cut: {told}"
        );
    }
}
