//! The kernel's type information (BTF): where a structure keeps a field.
//!
//! Reads the format of `/sys/kernel/btf/vmlinux` in place, without building a
//! type for every one of its hundred thousand entries.

use std::collections::{HashMap, HashSet};

const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Types may point at each other in circles in malformed data.
const MAX_DEPTH: usize = 32;

/// BTF data and where each of its types begins.
#[derive(Debug)]
pub(crate) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset in `types` of type id `i + 1`; id 0 is `void`.
    starts: Vec<u32>,
    /// Structures by name.
    structures: HashMap<&'a [u8], u32>,
}

/// Where a field is within its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldOffset {
    /// From the start of the structure.
    pub(crate) bits: u32,
    /// `true` for a bit field.
    pub(crate) is_bit_field: bool,
}

struct Type<'a> {
    kind: u32,
    flag: bool,
    /// Size, or the id of the type it refers to.
    size_or_type: u32,
    name: u32,
    items: &'a [u8],
    count: usize,
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn type_at(types: &[u8], at: usize) -> Option<(Type<'_>, usize)> {
    let name = u32_at(types, at)?;
    let info = u32_at(types, at.checked_add(4)?)?;
    let size_or_type = u32_at(types, at.checked_add(8)?)?;
    let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
    let length = match kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count * 12,
        KIND_ENUM | KIND_FUNC_PROTO => count * 8,
        _ => 0,
    };
    let items = at.checked_add(12)?;
    let end = items.checked_add(length)?;
    Some((
        Type {
            kind,
            flag: info >> 31 == 1,
            size_or_type,
            name,
            items: types.get(items..end)?,
            count,
        },
        end,
    ))
}

impl<'a> Btf<'a> {
    /// Indexes BTF data; `None` when it is not little-endian BTF or is cut short.
    pub(crate) fn parse(data: &'a [u8]) -> Option<Self> {
        if u16::from_le_bytes(data.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = u32_at(data, 4)? as usize;
        let section = |at: usize| {
            let start = header.checked_add(u32_at(data, at)? as usize)?;
            data.get(start..start.checked_add(u32_at(data, at + 4)? as usize)?)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut btf = Self {
            types,
            strings,
            starts: Vec::with_capacity(types.len() / 20),
            structures: HashMap::new(),
        };
        let mut at = 0;
        while at < types.len() {
            let (found, end) = type_at(types, at)?;
            btf.starts.push(u32::try_from(at).ok()?);
            if found.kind == KIND_STRUCT && found.name != 0 {
                let id = u32::try_from(btf.starts.len()).ok()?;
                btf.structures.entry(btf.string(found.name)?).or_insert(id);
            }
            at = end;
        }
        Some(btf)
    }

    fn string(&self, at: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(at as usize..)?;
        rest.split(|&byte| byte == 0).next()
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        let start = *self.starts.get(id.checked_sub(1)? as usize)?;
        Some(type_at(self.types, start as usize)?.0)
    }

    /// Follows typedefs, qualifiers and arrays to the type that has members.
    fn resolve(&self, mut id: u32) -> Option<Type<'a>> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            id = match found.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    found.size_or_type
                }
                KIND_ARRAY => u32_at(found.items, 0)?,
                _ => return Some(found),
            };
        }
        None
    }

    /// Where `structure` keeps the field at `path` (`a.b.c`; an array stands for
    /// its first element; members of anonymous structures and unions need not be
    /// spelled out). `None` when there is no such structure or field.
    pub(crate) fn field(&self, structure: &str, path: &str) -> Option<FieldOffset> {
        let id = *self.structures.get(structure.as_bytes())?;
        let mut at = FieldOffset {
            bits: 0,
            is_bit_field: false,
        };
        let mut holder = self.get(id)?;
        for (depth, name) in path.split('.').enumerate() {
            if depth > 0 && at.is_bit_field {
                return None;
            }
            let (offset, member) = self.member(&holder, name.as_bytes(), 0, &mut HashSet::new())?;
            at = FieldOffset {
                bits: at.bits.checked_add(offset.bits)?,
                is_bit_field: offset.is_bit_field,
            };
            // A pointer or an integer has no members; the next part, if any, fails.
            holder = self.resolve(member)?;
        }
        Some(at)
    }

    /// How many parameters each of some functions has; those that are there.
    pub(crate) fn parameters<'n>(&self, functions: &[&'n str]) -> HashMap<&'n str, usize> {
        let mut found = HashMap::new();
        for &start in &self.starts {
            let Some((function, _)) = type_at(self.types, start as usize) else {
                continue;
            };
            if function.kind != KIND_FUNC {
                continue;
            }
            let Some(name) = self.string(function.name) else {
                continue;
            };
            let wanted = functions.iter().find(|wanted| wanted.as_bytes() == name);
            if let Some(&wanted) = wanted
                && let Some(prototype) = self.get(function.size_or_type)
                && prototype.kind == KIND_FUNC_PROTO
            {
                found.insert(wanted, prototype.count);
            }
        }
        found
    }

    /// The number that an enumeration gives a name; `None` when there is no such.
    pub(crate) fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let is = |at: u32, name: &str| self.string(at) == Some(name.as_bytes());
        let found = self.starts.iter().find_map(|&start| {
            let (found, _) = type_at(self.types, start as usize)?;
            (found.kind == KIND_ENUM && found.count > 0 && is(found.name, enumeration))
                .then_some(found)
        })?;
        (0..found.count).find_map(|i| {
            let at = u32_at(found.items, i * 8)?;
            is(at, name).then(|| u32_at(found.items, i * 8 + 4))?
        })
    }

    /// Looks into each anonymous type once, `seen`: in data that is not a kernel's they can
    /// hold each other.
    fn member(
        &self,
        holder: &Type<'a>,
        name: &[u8],
        depth: usize,
        seen: &mut HashSet<u32>,
    ) -> Option<(FieldOffset, u32)> {
        if name.is_empty() || depth > MAX_DEPTH || !matches!(holder.kind, KIND_STRUCT | KIND_UNION)
        {
            return None;
        }
        (0..holder.count).find_map(|i| {
            let member = u32_at(holder.items, i * 12)?;
            let id = u32_at(holder.items, i * 12 + 4)?;
            let raw = u32_at(holder.items, i * 12 + 8)?;
            // With the flag set, the top byte is the width of a bit field.
            let (bits, width) = if holder.flag {
                (raw & 0x00ff_ffff, raw >> 24)
            } else {
                (raw, 0)
            };
            let found = self.string(member)?;
            if found == name {
                let is_bit_field = width != 0;
                return Some((FieldOffset { bits, is_bit_field }, id));
            }
            if !found.is_empty() || !seen.insert(id) {
                return None;
            }
            let (inner, id) = self.member(&self.resolve(id)?, name, depth + 1, seen)?;
            let bits = bits.checked_add(inner.bits)?;
            Some((FieldOffset { bits, ..inner }, id))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `struct outer { int a; struct { short b; char flag:1; }; struct inner in[2]; int *p; }`
    /// `struct inner { int c; int d; }`, `int f(int a, int b)` and
    /// `enum list { a = 0, b = 7 }`, as `pahole` would encode them.
    fn sample() -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut name = |text: &str| {
            let at = u32::try_from(strings.len()).unwrap();
            strings.extend(text.bytes().chain([0]));
            at
        };
        let [int, outer, a, b, flag, inner, list, p, c, d, f, e] = [
            "int", "outer", "a", "b", "flag", "inner", "in", "p", "c", "d", "f", "e",
        ]
        .map(&mut name);
        let bit_fields = 1 << 31;
        let words: Vec<u32> = [
            vec![int, KIND_INT << 24, 4, 32],                         // 1
            vec![inner, KIND_STRUCT << 24 | 2, 8, c, 1, 0, d, 1, 32], // 2
            vec![0, KIND_ARRAY << 24, 0, 2, 1, 2],                    // 3
            vec![0, 2 << 24, 1],                                      // 4, a pointer
            vec![
                0,
                KIND_STRUCT << 24 | 2 | bit_fields,
                4,
                b,
                1,
                0,
                flag,
                1,
                1 << 24 | 17,
            ], // 5
            vec![
                outer,
                KIND_STRUCT << 24 | 4,
                32,
                a,
                1,
                0,
                0,
                5,
                32,
                list,
                3,
                64,
                p,
                4,
                192,
            ], // 6
            vec![0, KIND_FUNC_PROTO << 24 | 2, 1, a, 1, b, 1],        // 7
            vec![f, KIND_FUNC << 24, 7],                              // 8
            vec![e, KIND_ENUM << 24, 4],                              // 9, a declaration
            vec![e, KIND_ENUM << 24 | 2, 4, a, 0, b, 7],              // 10
        ]
        .concat();
        encoded(&words, &strings)
    }

    fn encoded(words: &[u32], strings: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut data = MAGIC.to_le_bytes().to_vec();
        data.extend([1, 0]);
        for word in [24, 0, types.len(), types.len(), strings.len()] {
            data.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    fn at(bits: u32) -> Option<FieldOffset> {
        Some(FieldOffset {
            bits,
            is_bit_field: false,
        })
    }

    #[test]
    fn structures_that_hold_themselves_twice_are_looked_into_once() {
        let anonymous = [0, KIND_STRUCT << 24 | 2, 8, 0, 1, 0, 0, 1, 32];
        let named = [1, KIND_STRUCT << 24 | 1, 8, 0, 1, 0];
        let data = encoded(&[&anonymous[..], &named].concat(), b"\0outer\0");
        // Without a limit this takes as long as there are ways through 32 levels.
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.field("outer", "a"), None);
    }

    #[test]
    fn fields_are_found_through_arrays_and_anonymous_structures() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.field("outer", "a"), at(0));
        assert_eq!(btf.field("outer", "b"), at(32));
        assert_eq!(btf.field("outer", "in.d"), at(96));
        assert_eq!(btf.field("outer", "p"), at(192));
        assert_eq!(btf.field("inner", "d"), at(32));
        assert_eq!(
            btf.field("outer", "flag"),
            Some(FieldOffset {
                bits: 49,
                is_bit_field: true
            })
        );
    }

    #[test]
    fn a_field_that_is_not_there_is_not_invented() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        for (structure, path) in [
            ("outer", "x"),
            ("absent", "a"),
            ("outer", "p.c"),
            ("outer", "a.c"),
            ("outer", "flag.c"),
            ("outer", ""),
            ("int", "a"),
        ] {
            assert_eq!(btf.field(structure, path), None, "{structure}.{path}");
        }
    }

    #[test]
    fn parameters_of_a_function_are_counted() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        let found = btf.parameters(&["f", "absent", "inner"]);
        assert_eq!(found, HashMap::from([("f", 2)]));
    }

    #[test]
    fn an_enumerator_is_found_by_its_name() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.enumerator("e", "a"), Some(0));
        assert_eq!(btf.enumerator("e", "b"), Some(7));
        assert_eq!(btf.enumerator("e", "c"), None);
        assert_eq!(btf.enumerator("outer", "a"), None);
    }

    proptest! {
        #[test]
        fn damaged_data_never_panics(cut in 0usize..400, at in 0usize..400, byte: u8) {
            let mut data = sample();
            let length = data.len();
            data[at % length] = byte;
            data.truncate(cut);
            if let Some(btf) = Btf::parse(&data) {
                let _ = btf.field("outer", "in.d");
                let _ = btf.field("outer", "flag");
                let _ = btf.parameters(&["f"]);
                let _ = btf.enumerator("e", "b");
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut data: Vec<u8>) {
            if let Some(start) = data.get_mut(..2) {
                start.copy_from_slice(&MAGIC.to_le_bytes());
            }
            if let Some(btf) = Btf::parse(&data) {
                let _ = btf.field("sock", "sk");
            }
        }
    }
}
