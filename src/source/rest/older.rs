//! What a command becomes for a service of an earlier version, by what that one refused of it.
//! Pure.

use serde_json::{Value, json};

use crate::domain::level::Level;
use crate::domain::observation::Signals;

/// The same command without the fields that the service does not know, and with the measurement
/// that it cannot do without: one that says nothing for or against a move. None where something
/// else is wrong with it.
///
/// `errors` is what the service's 422 lists, `level` what is in force there as far as anybody
/// knows.
#[must_use]
pub fn older(body: &Value, errors: &Value, level: Level) -> Option<Value> {
    let mut next = body.clone();
    let members = next.as_object_mut()?;
    for error in errors.as_array()? {
        let (field, expected) = (
            error.get("field")?.as_str()?,
            error.get("expected")?.as_str()?,
        );
        if expected.contains("no such field") {
            members.remove(field)?;
        } else if field == "current_state"
            && !members.contains_key(field)
            && members.contains_key("target_throttle")
        {
            members.insert(field.to_owned(), json!(Signals::calm(level)));
        } else {
            return None;
        }
    }
    (next != *body).then_some(next)
}
