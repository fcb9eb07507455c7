//! The history of a run that rests, in few bytes: only what sets it apart from another run that rests in the same place.
//!
//! Runs that wait at the same step have the same facts with other ids, times and texts. The first of them is kept as the base; of each other
//! only the scalars that differ are kept, an id in 16 bytes, a time as its distance. Refused: compressing each history by itself, even with
//! a dictionary, since ids in hexadecimal and times to the nanosecond do not shrink.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use uuid::Uuid;

use crate::model::id::{Digest, RunId};
use crate::model::record::{Beginning, Fact};
use crate::model::time::Timestamp;
use crate::model::value::Tree;

/// So many bases at most. Runs at further places stay as they are.
const BASES: usize = 1_024;

/// The first history at its place.
struct Base {
    tree: Tree,
    /// Not in the tree: facts do not read it back.
    revision: Digest,
    times: Vec<Option<Timestamp>>,
}

/// A history in few bytes.
#[derive(Clone)]
pub(super) struct Packed {
    base: Arc<Base>,
    bytes: Box<[u8]>,
}

/// What the bases are found by.
#[derive(Default)]
pub(super) struct Compactor(Mutex<HashMap<u64, Weak<Base>>>);

impl Compactor {
    /// Packs a run's facts; `None` if they would not come back the same, as those with a secret, or if there are too many bases.
    pub(super) fn pack(&self, run: RunId, facts: &[Fact]) -> Option<Packed> {
        let revision = beginning(facts)?.revision;
        let tree = serde_json::from_str(&serde_json::to_string(facts).ok()?).ok()?;
        let base = self.base(&tree, revision)?;
        let mut writer = Writer { run, bytes: Vec::new(), moved: 0, skipped: 0, place: 0 };
        writer.write(&base, &base.tree, &tree);
        let packed = Packed { base, bytes: writer.bytes.into_boxed_slice() };
        (packed.unpack(run)? == facts).then_some(packed)
    }

    fn base(&self, tree: &Tree, revision: Digest) -> Option<Arc<Base>> {
        let mut hasher = std::hash::DefaultHasher::new();
        revision.hash(&mut hasher);
        hash_shape(tree, &mut hasher);
        let key = hasher.finish();
        let mut bases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = bases.get(&key).and_then(Weak::upgrade) {
            return (base.revision == revision && has_same_shape(&base.tree, tree)).then_some(base);
        }
        if bases.len() >= BASES {
            bases.retain(|_, base| base.strong_count() > 0);
            if bases.len() >= BASES {
                return None;
            }
        }
        let mut times = Vec::new();
        each_scalar(tree, &mut |scalar| times.push(time(scalar)));
        let base = Arc::new(Base { tree: tree.clone(), revision, times });
        bases.insert(key, Arc::downgrade(&base));
        Some(base)
    }
}

impl Packed {
    /// The facts; `None` if the bytes are not what was packed.
    pub(super) fn unpack(&self, run: RunId) -> Option<Vec<Fact>> {
        let mut tree = self.base.tree.clone();
        let mut reader = Reader { run, bytes: &self.bytes, moved: 0, skip: None, place: 0 };
        reader.read(&self.base, &mut tree)?;
        let mut facts: Vec<Fact> = serde_json::from_str(&serde_json::to_string(&tree).ok()?).ok()?;
        if let Some(Fact::Began(beginning)) = facts.first_mut() {
            Arc::make_mut(beginning).revision = self.base.revision;
        }
        Some(facts)
    }

    #[cfg(test)]
    fn size(&self) -> usize {
        self.bytes.len()
    }
}

fn beginning(facts: &[Fact]) -> Option<&Beginning> {
    match facts.first() {
        Some(Fact::Began(beginning)) => Some(beginning),
        _ => None,
    }
}

fn hash_shape(tree: &Tree, hasher: &mut impl Hasher) {
    match tree {
        Tree::List(items) => {
            (1_u8, items.len()).hash(hasher);
            items.iter().for_each(|item| hash_shape(item, hasher));
        }
        Tree::Map(fields) => {
            (2_u8, fields.len()).hash(hasher);
            fields.iter().for_each(|(name, field)| {
                name.hash(hasher);
                hash_shape(field, hasher);
            });
        }
        _ => 0_u8.hash(hasher),
    }
}

/// Whether they differ in nothing but scalars; the order of fields counts.
fn has_same_shape(one: &Tree, other: &Tree) -> bool {
    match (one, other) {
        (Tree::List(one), Tree::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| has_same_shape(one, other))
        }
        (Tree::Map(one), Tree::Map(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|((name, one), (other_name, other))| name == other_name && has_same_shape(one, other))
        }
        (Tree::List(_) | Tree::Map(_), _) | (_, Tree::List(_) | Tree::Map(_)) => false,
        _ => true,
    }
}

fn each_scalar(tree: &Tree, visit: &mut impl FnMut(&Tree)) {
    match tree {
        Tree::List(items) => items.iter().for_each(|item| each_scalar(item, visit)),
        Tree::Map(fields) => fields.values().for_each(|field| each_scalar(field, visit)),
        scalar => visit(scalar),
    }
}

/// The time that a text is, if it would be written the same.
fn time(scalar: &Tree) -> Option<Timestamp> {
    let text = scalar.as_text().filter(|text| text.len() >= 20 && text.ends_with('Z'))?;
    let time = Timestamp::deserialize(StrDeserializer::<serde::de::value::Error>::new(text)).ok()?;
    (time_text(time)? == text).then_some(time)
}

fn time_text(time: Timestamp) -> Option<String> {
    match serde_json::to_value(time).ok()? {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    }
}

/// The id that a text is, if it would be written the same.
fn id(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36)?;
    (id.to_string() == text).then_some(id)
}

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
/// Eight bytes follow.
const FLOAT: u8 = 3;
/// A number in as few bytes as it needs follows.
const NATURAL: u8 = 4;
/// The same, for one below zero.
const NEGATIVE: u8 = 5;
/// The length and the text follow.
const TEXT: u8 = 6;
/// Sixteen bytes follow.
const ID: u8 = 7;
/// The run's own id.
const RUN: u8 = 8;
/// How much further the time is from that of the base than the time before it was.
const TIME: u8 = 9;

struct Writer {
    run: RunId,
    bytes: Vec<u8>,
    /// How far the last time was from that of the base.
    moved: i128,
    /// So many scalars were the same since the last that was not.
    skipped: u64,
    place: usize,
}

impl Writer {
    fn write(&mut self, base: &Base, known: &Tree, tree: &Tree) {
        match (known, tree) {
            (Tree::List(known), Tree::List(items)) => known.iter().zip(items).for_each(|(known, item)| self.write(base, known, item)),
            (Tree::Map(known), Tree::Map(fields)) => {
                known.values().zip(fields.values()).for_each(|(known, field)| self.write(base, known, field));
            }
            (known, scalar) => {
                if known == scalar {
                    self.skipped += 1;
                } else {
                    let skipped = std::mem::take(&mut self.skipped);
                    self.natural(skipped);
                    let known = base.times.get(self.place).copied().flatten();
                    self.scalar(known, scalar);
                }
                self.place += 1;
            }
        }
    }

    fn scalar(&mut self, known: Option<Timestamp>, scalar: &Tree) {
        match scalar {
            Tree::Bool(truth) => self.bytes.push(if *truth { TRUE } else { FALSE }),
            Tree::Int(number) => {
                self.bytes.push(if *number < 0 { NEGATIVE } else { NATURAL });
                self.natural(number.unsigned_abs());
            }
            Tree::Float(number) => {
                self.bytes.push(FLOAT);
                self.bytes.extend(number.to_le_bytes());
            }
            Tree::Text(text) => self.text(known, text, scalar),
            // The shapes agree, and what comes from JSON holds no secret.
            Tree::Null | Tree::List(_) | Tree::Map(_) | Tree::Secret(_) => self.bytes.push(NULL),
        }
    }

    fn text(&mut self, known: Option<Timestamp>, text: &str, scalar: &Tree) {
        if let (Some(known), Some(time)) = (known, time(scalar)) {
            let moved = i128::from(time.as_nanos()) - i128::from(known.as_nanos());
            let further = moved - std::mem::replace(&mut self.moved, moved);
            // The sign in the last bit; two times are less than 2^65 apart, and what does not fit is written as text.
            if let Ok(zigzag) = u64::try_from(if further < 0 { -2 * further - 1 } else { 2 * further }) {
                self.bytes.push(TIME);
                return self.natural(zigzag);
            }
            self.moved -= further;
        }
        match id(text) {
            Some(id) if id == self.run.as_uuid() => self.bytes.push(RUN),
            Some(id) => {
                self.bytes.push(ID);
                self.bytes.extend(id.as_bytes());
            }
            None => {
                self.bytes.push(TEXT);
                self.natural(text.len() as u64);
                self.bytes.extend(text.as_bytes());
            }
        }
    }

    /// Seven bits a byte, the lowest first.
    fn natural(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

struct Reader<'a> {
    run: RunId,
    bytes: &'a [u8],
    moved: i128,
    /// So many scalars are those of the base before the next is not; `None` before that is read.
    skip: Option<u64>,
    place: usize,
}

impl Reader<'_> {
    fn read(&mut self, base: &Base, tree: &mut Tree) -> Option<()> {
        match tree {
            Tree::List(items) => items.iter_mut().try_for_each(|item| self.read(base, item)),
            Tree::Map(fields) => fields.values_mut().try_for_each(|field| self.read(base, field)),
            scalar => {
                let place = self.place;
                self.place += 1;
                let skip = match self.skip {
                    Some(skip) => skip,
                    None if self.bytes.is_empty() => u64::MAX,
                    None => self.natural()?,
                };
                if skip > 0 {
                    self.skip = Some(skip - 1);
                    return Some(());
                }
                self.skip = None;
                *scalar = self.scalar(base.times.get(place).copied().flatten())?;
                Some(())
            }
        }
    }

    fn scalar(&mut self, known: Option<Timestamp>) -> Option<Tree> {
        Some(match self.take(1)?[..] {
            [NULL] => Tree::Null,
            [FALSE] => Tree::Bool(false),
            [TRUE] => Tree::Bool(true),
            [FLOAT] => Tree::Float(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            [NATURAL] => Tree::Int(i64::try_from(self.natural()?).ok()?),
            [NEGATIVE] => Tree::Int(0_i64.checked_sub_unsigned(self.natural()?)?),
            [TEXT] => {
                let length = usize::try_from(self.natural()?).ok()?;
                Tree::Text(std::str::from_utf8(self.take(length)?).ok()?.to_owned())
            }
            [ID] => Tree::Text(Uuid::from_slice(self.take(16)?).ok()?.to_string()),
            [RUN] => Tree::Text(self.run.to_string()),
            [TIME] => {
                let zigzag = i128::from(self.natural()?);
                self.moved += if zigzag % 2 == 0 { zigzag / 2 } else { -(zigzag + 1) / 2 };
                let nanos = u64::try_from(i128::from(known?.as_nanos()) + self.moved).ok()?;
                Tree::Text(time_text(Timestamp::from_nanos(nanos))?)
            }
            _ => return None,
        })
    }

    fn natural(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::conformance::began;
    use crate::model::record::{LaneId, StepNumber};
    use crate::model::value::Value;

    fn waiting(run: u128, at: u64, matching: Value) -> Vec<Fact> {
        let at = Timestamp::from_nanos(at);
        let first = Fact::Began(Arc::new(Beginning { run: id(run), at, ..began(1, None) }));
        let due = at + std::time::Duration::from_secs(3_600);
        let matching = vec![("request".to_owned(), matching)];
        vec![first, Fact::WaitBegan { lane: LaneId(0), step: StepNumber(0), matching, at, due }]
    }

    fn id(run: u128) -> RunId {
        RunId::new(Uuid::from_u128(run))
    }

    #[test]
    fn another_run_at_the_same_place_takes_few_bytes() {
        let compactor = Compactor::default();
        let text = |run: u128| Value::string(Uuid::from_u128(run).to_string());
        let first = compactor.pack(id(7), &waiting(7, 1_795_269_619_954_695_032, text(7))).expect("it can be packed");
        assert_eq!(first.size(), 0, "it is the base");
        let facts = waiting(8, 1_795_269_720_000_000_001, text(8));
        let second = compactor.pack(id(8), &facts).expect("it can be packed");
        assert!(second.size() <= 40, "{}", second.size());
        drop(first);
        assert_eq!(second.unpack(id(8)), Some(facts));
    }

    #[test]
    fn what_would_not_come_back_is_not_packed() {
        let compactor = Compactor::default();
        assert!(compactor.pack(id(7), &waiting(7, 1, Value::from(Tree::Float(f64::NAN)))).is_none());
        assert!(compactor.pack(id(7), &[]).is_none());
    }

    #[test]
    fn there_are_only_so_many_bases_and_those_that_nobody_needs_go() {
        let compactor = Compactor::default();
        let of_shape = |number: usize| Value::map([(format!("field{number}").as_str(), Value::null())]);
        let pack = |number: usize| compactor.pack(id(7), &waiting(7, 1, of_shape(number)));
        let mut all: Vec<Packed> = (0..BASES).map(|number| pack(number).expect("there is room")).collect();
        assert!(pack(BASES).is_none());
        all.pop();
        assert!(pack(BASES).is_some());
    }

    fn scalar() -> impl Strategy<Value = Tree> {
        prop_oneof![
            Just(Tree::Null),
            any::<bool>().prop_map(Tree::Bool),
            any::<i64>().prop_map(Tree::Int),
            any::<i32>().prop_map(|number| Tree::Float(f64::from(number) / 4.0)),
            ".{0,12}".prop_map(Tree::Text),
            any::<u128>().prop_map(|id| Tree::Text(Uuid::from_u128(id).to_string())),
            any::<u64>().prop_map(|nanos| Tree::Text(time_text(Timestamp::from_nanos(nanos)).expect("a time is text"))),
        ]
    }

    proptest! {
        #[test]
        fn whatever_differs_comes_back_in_its_order(pairs in prop::collection::vec((scalar(), scalar()), 1..12)) {
            let names = ["z", "b", "k", "a", "y", "c", "x", "d", "w", "e", "v", "f"];
            let value = |scalars: Vec<Tree>| {
                Value::from(Tree::Map(names.iter().map(|name| (*name).to_owned()).zip(scalars).collect()))
            };
            let (first, second): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let compactor = Compactor::default();
            // Kept, since it is the base only as long as somebody needs it.
            let base = compactor.pack(id(7), &waiting(7, 5, value(first)));
            prop_assert!(base.is_some());
            let facts = waiting(8, 9, value(second));
            let back = compactor.pack(id(8), &facts).and_then(|packed| packed.unpack(id(8)));
            prop_assert_eq!(serde_json::to_string(&back).ok(), serde_json::to_string(&facts).ok());
            prop_assert_eq!(back, Some(facts));
        }
    }
}
