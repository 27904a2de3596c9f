//! A look through parquet's own headers before its library reads them: what takes no bytes may repeat there a thousand
//! million times, which the library goes through one by one.
//!
//! The format is Thrift's compact protocol; only its shape is looked at.

use std::io::{self, Read};

/// How deep structures may stand in each other; a footer needs seven.
const DEEPEST: u32 = 24;

/// Goes through one structure and returns the number in its field 3, if it has one: in a page header, the bytes of the page.
///
/// Takes time in proportion to the bytes read: every element of a list must take at least one.
pub(super) fn look_through(input: &mut impl Read) -> io::Result<Option<i64>> {
    Look { input }.structure(0)
}

struct Look<'a, R> {
    input: &'a mut R,
}

impl<R: Read> Look<'_, R> {
    fn structure(&mut self, depth: u32) -> io::Result<Option<i64>> {
        if depth > DEEPEST {
            return Err(odd("structures nested too deep"));
        }
        let mut id = 0_i64;
        let mut third = None;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(third);
            }
            id = match head >> 4 {
                0 => self.number()?,
                step => id.saturating_add(i64::from(step)),
            };
            let value = self.value(head & 15, depth)?;
            third = if id == 3 { value } else { third };
        }
    }

    /// Goes through a value of this type and returns it if it is a whole number.
    fn value(&mut self, kind: u8, depth: u32) -> io::Result<Option<i64>> {
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
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
            }
            12 => drop(self.structure(depth + 1)?),
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
