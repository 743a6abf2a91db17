//! Heads as they are typed: which tables there are, and what of a hash is enough.
//!
//! Pure text; what a head is, and how it is printed, is the domain's.

use std::str::FromStr;

use super::chain::GENESIS;
use super::sqlite::schema::{AUDIT_LOG, CHAINED};
use crate::domain::chain_head::{ChainHead, METRIC_BITS};

/// Digits of a hash that are enough to know it by: those of a metric.
const PREFIX: usize = METRIC_BITS / 4;

impl ChainHead {
    /// Whether it is the audit log's, which is printed without the table's name.
    pub fn is_audit(&self) -> bool {
        self.table == AUDIT_LOG.name
    }
}

/// `SEQ:HASH` is the audit log's head, `TABLE=SEQ:HASH` any table's.
impl FromStr for ChainHead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            let tables = CHAINED.map(|table| table.name).join(", ");
            format!(
                "expected SEQ:HASH as `verify` prints it (12 digits of the hash or more), or TABLE=SEQ:HASH; tables: {tables}"
            )
        };
        let (table, head) = match text.split_once('=') {
            None => (AUDIT_LOG.name, text),
            Some((name, head)) => (
                CHAINED
                    .iter()
                    .find(|table| table.name == name)
                    .ok_or_else(expected)?
                    .name,
                head,
            ),
        };
        let (seq, hash) = head.split_once(':').ok_or_else(expected)?;
        let digits = seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq: i64 = seq.parse().ok().filter(|_| digits).ok_or_else(expected)?;
        let hash = hash.to_ascii_lowercase();
        let length = PREFIX..=GENESIS.len();
        let is_hash =
            length.contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hash || (seq == 0 && !GENESIS.starts_with(&hash)) {
            Err(expected())
        } else {
            Ok(Self { table, seq, hash })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let hash = "0123456789ab".repeat(6)[..64].to_owned();
        for table in CHAINED {
            let head = ChainHead {
                table: table.name,
                seq: 42,
                hash: hash.clone(),
            };
            assert_eq!(head.to_string().parse(), Ok(head.clone()));
            assert_eq!(head.hash48(), 0x0123_4567_89ab);
        }
        assert_eq!(
            format!("7:{hash}")
                .parse::<ChainHead>()
                .map(|head| (head.table, head.seq)),
            Ok(("audit_log", 7))
        );
        assert_eq!(
            format!("7:{}", hash.to_uppercase())
                .parse::<ChainHead>()
                .map(|head| head.hash),
            Ok(hash.clone())
        );
        assert_eq!(
            format!("7:{}", &hash[..12])
                .parse::<ChainHead>()
                .map(|head| head.hash),
            Ok(hash[..12].to_owned())
        );
        let (short, long) = (&hash[..11], format!("{hash}0"));
        for wrong in [
            "",
            "7",
            "7:",
            &hash,
            &format!("7:{short}"),
            &format!("7:{long}"),
            &format!("+7:{hash}"),
            &format!("-1:{hash}"),
            &format!(":{hash}"),
            &format!("0:{hash}"),
            &format!("outbox=7:{hash}"),
            &format!("7:{}g", &hash[1..]),
        ] {
            assert!(wrong.parse::<ChainHead>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_value_of_a_metric_is_exact_in_a_double() {
        let head = ChainHead {
            table: AUDIT_LOG.name,
            seq: 1,
            hash: "f".repeat(64),
        };
        assert_eq!(head.hash48(), (1 << 48) - 1);
        #[allow(
            clippy::cast_precision_loss,
            reason = "that nothing is lost is what is tested"
        )]
        let double = head.hash48() as f64;
        assert_eq!(format!("{double}"), "281474976710655");
    }
}
