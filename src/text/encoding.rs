//! Text in UTF-8, or in UTF-16 that says so by its first two bytes; other encodings are refused.

use std::io::{self, BufRead, Read};

use crate::error::Error;

/// Bytes at the start of a text that are looked at.
const SAMPLE: usize = 4096;

/// What the first bytes of a text say about its encoding.
enum Encoding {
    Utf8,
    /// UTF-16 behind its mark; whether the high byte comes first.
    Utf16 {
        big: bool,
    },
    /// Something else, by name.
    Other(&'static str),
}

/// The text of `reader` in UTF-8.
///
/// # Errors
/// The reader's, and `InvalidData` with a sentence for a text in another encoding.
pub(super) fn decoded<'a>(mut reader: Box<dyn BufRead + 'a>) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut start = Vec::new();
    (&mut reader).take(SAMPLE as u64).read_to_end(&mut start)?;
    let encoding = Encoding::of(&start);
    let mark = if matches!(encoding, Encoding::Utf16 { .. }) { 2 } else { 0 };
    let whole = io::Cursor::new(start.split_off(mark)).chain(reader);
    match encoding {
        Encoding::Utf8 => Ok(Box::new(whole)),
        Encoding::Utf16 { big } => {
            Ok(Box::new(io::BufReader::new(Utf16 { inner: whole, big, half: None, out: vec![] })))
        }
        Encoding::Other(name) => Err(other(name)),
    }
}

/// Why a text is not read: its encoding, by name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OtherEncoding(String);

fn other(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, OtherEncoding(name.to_owned()))
}

/// The error for a text in another encoding, where that is why reading failed.
pub(super) fn encoding_fault(place: &str, source: &io::Error) -> Option<Error> {
    let name = source.get_ref()?.downcast_ref::<OtherEncoding>()?;
    let fault = format!("holds {name}, expected text in UTF-8 (or in UTF-16 with its byte-order mark)");
    let cure = "save it as UTF-8, for example with `iconv -f utf-16le -t utf-8 FILE > NEW_FILE`";
    Some(Error::input(place, fault, cure))
}

impl Encoding {
    fn of(start: &[u8]) -> Self {
        match start {
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Self::Other("text in UTF-32"),
            [0xff, 0xfe, ..] => return Self::Utf16 { big: false },
            [0xfe, 0xff, ..] => return Self::Utf16 { big: true },
            _ => {}
        }
        // In the text of most languages UTF-16 has a zero in every other byte, which UTF-8 never has.
        let zeros = |offset: usize| start.iter().skip(offset).step_by(2).filter(|&&byte| byte == 0).count();
        let half = start.len() / 2;
        match (zeros(0), zeros(1)) {
            (even, odd) if half >= 2 && odd > half / 2 && even * 8 < odd => {
                Self::Other("text in UTF-16 without its mark")
            }
            (even, odd) if half >= 2 && even > half / 2 && odd * 8 < even => {
                Self::Other("text in UTF-16 (big-endian) without its mark")
            }
            _ if start.get(257..262) == Some(b"ustar") => Self::Other("a tar archive"),
            _ => Self::Utf8,
        }
    }
}

/// UTF-16 read as UTF-8.
struct Utf16<R> {
    inner: R,
    big: bool,
    /// The first half of a pair.
    half: Option<u16>,
    /// UTF-8 that was not asked for yet.
    out: Vec<u8>,
}

impl<R: Read> Utf16<R> {
    /// Decodes some more; whether there was any.
    fn decode(&mut self) -> io::Result<bool> {
        let mut bytes = Vec::new();
        if (&mut self.inner).take(SAMPLE as u64).read_to_end(&mut bytes)? == 0 {
            return match self.half {
                Some(_) => Err(other("UTF-16 that ends in the middle of a character")),
                None => Ok(false),
            };
        }
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(other("UTF-16 of an odd number of bytes"));
        }
        let units =
            pairs.iter().map(|&pair| if self.big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) });
        let mut units: Vec<u16> = self.half.take().into_iter().chain(units).collect();
        if units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
            self.half = units.pop();
        }
        let text: Result<String, _> = char::decode_utf16(units).collect();
        self.out = text.map_err(|_| other("UTF-16 with half a character in it"))?.into_bytes();
        Ok(true)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.out.is_empty() {
            if !self.decode()? {
                return Ok(0);
            }
        }
        let count = self.out.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.out[..count]);
        self.out.drain(..count);
        Ok(count)
    }
}
