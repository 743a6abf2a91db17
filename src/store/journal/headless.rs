//! The journal of releases up to 2.4.0, for reading: records one after the other, without a head of
//! the file.
//!
//! It is read once, at the first start of a newer release, and then rewritten.

/// Length and checksum, both `u32`, little-endian.
const HEADER: usize = 8;

/// Contents of every whole record, and what is damaged. A tail that was torn cannot always be told
/// from one that was damaged here; what could be torn counts as torn.
pub(super) fn scan(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
    let (mut records, mut at) = (Vec::new(), 0);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.iter().take(HEADER).all(|byte| *byte == 0) {
            let stray = rest.iter().any(|byte| *byte != 0);
            return (
                records,
                stray.then(|| format!("there is something behind its end at byte {at}")),
            );
        }
        let Some(content) = whole(rest) else {
            let claimed = rest
                .first_chunk::<4>()
                .map_or(0, |len| u32::from_le_bytes(*len) as usize);
            let end = HEADER.saturating_add(claimed);
            let torn = rest
                .get(end.saturating_sub(1)..)
                .is_some_and(|tail| tail.iter().all(|byte| *byte == 0));
            return (
                records,
                (!torn).then(|| format!("the record at byte {at} is not as it was written")),
            );
        };
        records.push(content.to_vec());
        at += HEADER + content.len();
    }
}

fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let content = rest.get(..usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?)?;
    (!content.is_empty() && crc32fast::hash(content) == u32::from_le_bytes([c0, c1, c2, c3]))
        .then_some(content)
}
