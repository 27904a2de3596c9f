//! Checks the headers of parquet files before the library reads them. Values without bytes can be repeated a thousand
//! million times there, and the library would process each of them.
//!
//! The format is Thrift's compact protocol. The library assumes the expected type of a known field and ignores the type
//! in the file. So known fields must have their expected types; otherwise the library and this check would read
//! different headers.

use std::io::{self, Read};

/// How deep structures may stand in each other; a footer needs seven.
const DEEPEST: u32 = 24;

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Bool,
    Byte,
    /// Whole numbers of all sizes are written in the same way.
    Number(u8),
    Double,
    Binary,
    List(&'static Shape),
    /// A structure's fields from 1 on; further fields are unknown and are skipped by their own type.
    Fields(&'static [Shape]),
    /// A field that the library does not know: its own type is used.
    Unknown,
}

use Shape::{Binary, Bool, Byte, Double, Fields, List, Number, Unknown};

const I16: Shape = Number(4);
const I32: Shape = Number(5);
const I64: Shape = Number(6);
const EMPTY: Shape = Fields(&[]);

const STATISTICS: Shape = Fields(&[Binary, Binary, I64, I64, Binary, Binary, Bool, Bool]);

/// The header of a page, `PageHeader` in parquet.thrift.
pub(super) const PAGE: Shape = Fields(&[
    I32,
    I32,
    I32,
    I32,
    Fields(&[I32, I32, I32, I32, STATISTICS]),
    EMPTY,
    Fields(&[I32, I32, Bool]),
    Fields(&[I32, I32, I32, I32, I32, I32, Bool, STATISTICS]),
]);

const PAIR: Shape = Fields(&[Binary, Binary]);
const UNIT: Shape = Fields(&[EMPTY, EMPTY, EMPTY]);
const TIME: Shape = Fields(&[Bool, UNIT]);
const LOGICAL_TYPE: Shape = Fields(&[
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    Fields(&[I32, I32]),
    EMPTY,
    TIME,
    TIME,
    EMPTY,
    Fields(&[Byte, Bool]),
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    Fields(&[Byte]),
    Fields(&[Binary]),
    Fields(&[Binary, I32]),
]);
const BOX: Shape = Fields(&[Double, Double, Double, Double, Double, Double, Double, Double]);
const COLUMN: Shape = Fields(&[
    I32,
    List(&I32),
    List(&Binary),
    I32,
    I64,
    I64,
    I64,
    List(&PAIR),
    I64,
    I64,
    I64,
    STATISTICS,
    List(&Fields(&[I32, I32, I32])),
    I64,
    I32,
    Fields(&[I64, List(&I64), List(&I64)]),
    Fields(&[BOX, List(&I32)]),
]);
const CHUNK: Shape = Fields(&[Binary, I64, COLUMN, I64, I32, I64, I32, Unknown, Binary]);

/// The footer of a file, `FileMetaData` in parquet.thrift.
pub(super) const FOOTER: Shape = Fields(&[
    I32,
    List(&Fields(&[I32, I32, I32, Binary, I32, I32, I32, I32, I32, LOGICAL_TYPE])),
    I64,
    List(&Fields(&[List(&CHUNK), I64, I64, List(&Fields(&[I32, Bool, Bool])), I64, I64, I16])),
    List(&PAIR),
    Binary,
    List(&Fields(&[EMPTY, EMPTY])),
    Unknown,
    Binary,
]);

/// Goes through one structure of this shape and returns the number in its field 3, if it has one: in a page header, the
/// bytes of the page.
///
/// Takes time in proportion to the bytes read: every element of a list must take at least one.
pub(super) fn look_through(input: &mut impl Read, shape: Shape) -> io::Result<Option<i64>> {
    Look { input }.structure(shape, 0)
}

struct Look<'a, R> {
    input: &'a mut R,
}

impl Shape {
    /// Whether a value with this type in the file may have this shape.
    fn is(self, kind: u8) -> bool {
        match self {
            Bool => matches!(kind, 1 | 2),
            Byte => kind == 3,
            Number(of) => kind == of,
            Double => kind == 7,
            Binary => kind == 8,
            List(_) => kind == 9,
            Fields(_) => kind == 12,
            Unknown => true,
        }
    }
}

impl<R: Read> Look<'_, R> {
    fn structure(&mut self, shape: Shape, depth: u32) -> io::Result<Option<i64>> {
        if depth > DEEPEST {
            return Err(odd("structures nested too deep"));
        }
        let fields = match shape {
            Fields(fields) => fields,
            _ => &[],
        };
        let mut id = 0_i64;
        let mut third = None;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(third);
            }
            id = match head >> 4 {
                0 => self.number()?,
                step => id + i64::from(step),
            };
            // The library holds them in 16 bits.
            let Some(field) = usize::try_from(id).ok().filter(|id| (1..=0x7fff).contains(id)) else {
                return Err(odd("a field of a number that no field has"));
            };
            let value = self.value(head & 15, fields.get(field - 1).copied().unwrap_or(Unknown), depth)?;
            third = if id == 3 { value } else { third };
        }
    }

    /// Goes through a value of this type and returns it if it is a whole number.
    fn value(&mut self, kind: u8, shape: Shape, depth: u32) -> io::Result<Option<i64>> {
        if !shape.is(kind) {
            return Err(odd("a field of another type than it should have"));
        }
        match kind {
            1 | 2 => {} // true and false, in the type
            3 => self.skip(1)?,
            4..=6 => return self.number().map(Some),
            7 => self.skip(8)?,
            8 => {
                let length = self.varint()?;
                self.skip(length)?;
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                let kind = head & 15;
                if matches!(kind, 0..=2) && count > 0 {
                    return Err(odd("a list of what takes no space"));
                }
                let element = if let List(element) = shape { *element } else { Unknown };
                for _ in 0..count {
                    self.value(kind, element, depth + 1)?;
                }
            }
            12 => drop(self.structure(shape, depth + 1)?),
            _ => return Err(odd("a type that no header has")),
        }
        Ok(None)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(odd("a number without end"))
    }

    /// Zigzag: 0, -1, 1, -2, …
    fn number(&mut self) -> io::Result<i64> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        match io::copy(&mut self.input.by_ref().take(count), &mut io::sink())? {
            skipped if skipped == count => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
