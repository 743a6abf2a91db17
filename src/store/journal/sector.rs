//! The form of the journal, pure: a file head and records, cut into sectors that each check
//! themselves.
//!
//! A disk writes a sector whole or not at all, so a write that broke off leaves whole sectors and
//! old ones, never a mixture; whatever else is found is damage. Knows no file and no meaning of a
//! record.

use std::collections::BTreeMap;

/// Bytes of a sector: the smallest that a disk writes at once.
pub(super) const SECTOR: usize = 512;
/// Of which content, in a sector of a record.
pub(super) const CONTENT: usize = SECTOR - HEADER;

/// Mark, number, index, count, length, zeros, checksum.
const HEADER: usize = 24;
const HEAD_MARK: &[u8; 8] = b"ECHOJRNL";
const RECORD_MARK: &[u8; 4] = b"EJR2";
const VERSION: u32 = 2;
/// Where the checksum of a sector stands: it covers all other bytes of it.
const SUM: usize = 20;

/// What the first sector says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JournalHeader {
    /// Records up to this number are settled: their sectors are free.
    pub(super) settled: u64,
    /// Number of the newest record: how many there ever were.
    pub(super) ever: u64,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Content of the records that are not settled, oldest first.
    pub(super) records: Vec<Vec<u8>>,
    /// Content of those that are settled and not written over yet, oldest first, as far as they are
    /// whole.
    pub(super) settled: Vec<Vec<u8>>,
    pub(super) head: JournalHeader,
    /// The first sector behind the last record.
    pub(super) next: usize,
    /// Sectors to be zeroed before they are used again: a write broke off there.
    pub(super) torn: Option<std::ops::Range<usize>>,
    /// What is not as it was written.
    pub(super) faults: Vec<String>,
}

impl Scanned {
    /// Takes in the records that are not settled: those that are whole, the last one if its write
    /// broke off, and what is damaged.
    fn judge(&mut self, records: &Records<'_>) {
        let newest = records.keys().next_back().copied();
        for (number, parts) in records {
            let first = parts.first().map_or(1, |(at, _)| *at);
            let count = parts.first().map_or(1, |(_, part)| part.count);
            if let Some(content) = content(parts) {
                self.next = self.next.max(first + count);
                self.records.push(content);
            } else if in_order(parts)
                && Some(*number) == newest
                && *number > self.head.ever
                && self.faults.is_empty()
            {
                // The write of the last one broke off: nobody was told that it is kept.
                self.torn = Some(first..first + count);
            } else {
                self.next = self.next.max(first + count);
                self.faults.push(format!("record {number} is not whole"));
            }
        }
    }
}

impl JournalHeader {
    /// As a sector.
    pub(super) fn sector(self) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, HEAD_MARK);
        put(&mut sector, 8, &VERSION.to_le_bytes());
        put(&mut sector, 24, &self.settled.to_le_bytes());
        put(&mut sector, 32, &self.ever.to_le_bytes());
        sealed(sector)
    }

    fn of(sector: &[u8]) -> Option<Self> {
        let fits = sector.get(..8)? == HEAD_MARK
            && is_whole(sector)
            && number::<4>(sector, 8)? == u64::from(VERSION);
        let head = Self {
            settled: number::<8>(sector, 24)?,
            ever: number::<8>(sector, 32)?,
        };
        (fits && head.settled <= head.ever).then_some(head)
    }
}

/// Sectors of a record with so much content.
fn count_of(content: usize) -> usize {
    content.div_ceil(CONTENT).max(1)
}

/// Bytes of a record with so much content.
pub(super) fn bytes_of(content: usize) -> usize {
    count_of(content) * SECTOR
}

/// The sectors of one record; none if it is longer than any journal.
pub(super) fn record(number: u64, content: &[u8]) -> Option<Vec<u8>> {
    let count = u16::try_from(count_of(content.len())).ok()?;
    let mut all = Vec::with_capacity(usize::from(count) * SECTOR);
    for index in 0..count {
        let from = usize::from(index) * CONTENT;
        let piece = content.get(from..content.len().min(from + CONTENT))?;
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, RECORD_MARK);
        put(&mut sector, 4, &number.to_le_bytes());
        put(&mut sector, 12, &index.to_le_bytes());
        put(&mut sector, 14, &count.to_le_bytes());
        put(
            &mut sector,
            16,
            &u16::try_from(piece.len()).ok()?.to_le_bytes(),
        );
        put(&mut sector, HEADER, piece);
        all.extend_from_slice(&sealed(sector));
    }
    Some(all)
}

/// Whether a file is of this form: its head is, or any of its sectors.
pub(super) fn is_of_this_form(bytes: &[u8]) -> bool {
    JournalHeader::of(bytes.get(..SECTOR).unwrap_or_default()).is_some()
        || bytes.starts_with(HEAD_MARK)
        || bytes
            .chunks(SECTOR)
            .any(|sector| Part::of(sector).is_some())
}

/// Records by their numbers: the sectors of each, with where they stand.
type Records<'a> = BTreeMap<u64, Vec<(usize, Part<'a>)>>;

/// One sector of a record.
struct Part<'a> {
    number: u64,
    index: usize,
    count: usize,
    content: &'a [u8],
}

impl<'a> Part<'a> {
    fn of(sector: &'a [u8]) -> Option<Self> {
        if sector.get(..4)? != RECORD_MARK || !is_whole(sector) {
            return None;
        }
        let small = |at| number::<2>(sector, at).and_then(|value| usize::try_from(value).ok());
        let content = sector.get(HEADER..HEADER + small(16)?)?;
        Some(Self {
            number: number::<8>(sector, 4)?,
            index: small(12)?,
            count: small(14)?,
            content,
        })
    }
}

/// Everything that a file of this form holds; whatever is damaged is read past.
pub(super) fn scan(bytes: &[u8], size: usize) -> Scanned {
    let mut found = Scanned {
        next: 1,
        ..Scanned::default()
    };
    if bytes.len() != size {
        found
            .faults
            .push(format!("it has {} bytes and not {size}", bytes.len()));
    }
    let head = JournalHeader::of(bytes.get(..SECTOR).unwrap_or_default());
    if head.is_none() {
        found
            .faults
            .push("its head is not as it was written".to_owned());
    }
    // Without a head nothing counts as settled: what the ledger has changes nothing when it comes
    // again.
    found.head = head.unwrap_or_default();
    let (mut records, mut settled) = (Records::new(), Records::new());
    for (at, sector) in bytes.chunks(SECTOR).enumerate().skip(1) {
        match Part::of(sector) {
            Some(part) if part.number > found.head.settled => {
                records.entry(part.number).or_default().push((at, part))
            }
            Some(part) => settled.entry(part.number).or_default().push((at, part)), // free
            None if *sector == [0; SECTOR] => {}
            None => found
                .faults
                .push(format!("sector {at} is not as it was written")),
        }
    }
    found.settled = settled
        .values()
        .filter_map(|parts| content(parts))
        .collect();
    found.judge(&records);
    let JournalHeader { settled, ever } = found.head;
    if head.is_some() && !(settled + 1..=ever).all(|number| records.contains_key(&number)) {
        found
            .faults
            .push(format!("records are missing: {ever} were written"));
    }
    // One that was torn never was: its number goes to the next.
    let newest = records.keys().next_back().copied().unwrap_or_default();
    found.head.ever = if found.torn.is_some() {
        newest.saturating_sub(1)
    } else {
        found.head.ever.max(newest)
    };
    found
}

/// The content of a record, if all of it is there, in its order.
fn content(parts: &[(usize, Part<'_>)]) -> Option<Vec<u8>> {
    let count = parts.first().map(|(_, part)| part.count)?;
    (in_order(parts) && parts.len() == count).then(|| {
        parts
            .iter()
            .flat_map(|(_, part)| part.content)
            .copied()
            .collect()
    })
}

/// Whether these stand one behind the other, from the first of their record on.
fn in_order(parts: &[(usize, Part<'_>)]) -> bool {
    let first = parts.first().map_or(1, |(at, _)| *at);
    parts
        .iter()
        .enumerate()
        .all(|(i, (at, part))| *at == first + i && part.index == i)
}

fn put(sector: &mut [u8; SECTOR], at: usize, bytes: &[u8]) {
    sector
        .iter_mut()
        .skip(at)
        .zip(bytes)
        .for_each(|(place, byte)| *place = *byte);
}

/// Puts the checksum in.
fn sealed(mut sector: [u8; SECTOR]) -> [u8; SECTOR] {
    let sum = sum(&sector).to_le_bytes();
    put(&mut sector, SUM, &sum);
    sector
}

fn sum(sector: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(sector.get(..SUM).unwrap_or_default());
    hasher.update(sector.get(SUM + 4..).unwrap_or_default());
    hasher.finalize()
}

fn is_whole(sector: &[u8]) -> bool {
    sector.len() == SECTOR && number::<4>(sector, SUM) == Some(u64::from(sum(sector)))
}

/// A little-endian number of so many bytes.
fn number<const BYTES: usize>(sector: &[u8], at: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes
        .iter_mut()
        .zip(sector.get(at..at + BYTES)?)
        .for_each(|(place, byte)| *place = *byte);
    Some(u64::from_le_bytes(bytes))
}
