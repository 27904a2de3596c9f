//! Tokenising a long text piece by piece: the tokens are those of the whole text, the memory is that of a few pieces.
//!
//! A tokenizer needs some 400 bytes for each token while it works, and one that takes a text for a single word (as
//! SentencePiece does) has no place where a text can be cut safely. So pieces overlap. Near its ends a piece may have
//! other tokens than the whole text. Further inside, where only nearby text matters, two neighbours have the same
//! tokens. They are joined in the middle of the longest run of equal tokens, which must be long. If they never agree
//! (for example because the overlap is one endless word), the first piece is made longer until they do.

use std::collections::VecDeque;
use std::ops::Range;

use super::tokenizer::{Encoded, Tokenizer};
use crate::error::{Error, Result};
use crate::message::Message;

/// Bytes that neighbours share.
const OVERLAP: usize = 1 << 12;
/// Bytes over which neighbours must agree.
const AGREEMENT: usize = 1 << 10;
/// Pieces of an endless word that are aligned one after the other before several at once are tried again.
const ALIGNED: usize = 64;
/// Bytes of the longest piece: more of one word take more memory than a laptop has.
const LONGEST_PIECE: usize = 1 << 24;

impl Tokenizer {
    /// Tokenises a text in pieces of `piece` bytes, some of them in parallel, and hands the tokens to `take` part by part:
    /// the ids and starts that [`Tokenizer::encode`] gives for the whole text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and `take`'s; a tokenizer whose tokens at the start of a text depend on text far
    /// behind it, so that pieces are impossible.
    pub fn encode_in_pieces(
        &self,
        text: &str,
        piece: usize,
        mut take: impl FnMut(&[u32], &[u64]) -> Result<()>,
    ) -> Result<()> {
        let piece = piece.max(2 * OVERLAP);
        // The tokens of the previous piece from the start of this one on.
        let mut before = Encoded::default();
        let mut at = piece_from(text, 0, piece);
        let mut current = self.encode_range(text, &at)?;
        let mut ahead = VecDeque::new();
        // Pieces that will have to be aligned, most likely, because the one before had to be.
        let mut aligned = 0;
        while at.end < text.len() {
            if ahead.is_empty() && aligned == 0 {
                ahead = self.encode_ahead(text, at.end, piece)?;
            }
            let next_at = next_piece(text, at.end, piece);
            let overlap = current.starts.partition_point(|&start| start < next_at.start as u64);
            let tail = Encoded { ids: current.ids[overlap..].to_vec(), starts: current.starts[overlap..].to_vec() };
            if let Some(joined) = ahead.pop_front().and_then(|next| tail.joined_with(&next)) {
                take(&current.ids[..overlap], &current.starts[..overlap])?;
                (before, current, at) = (tail, joined, next_at);
            } else if let Some(next) = self.encode_aligned(text, &current, &at, piece)? {
                aligned = if aligned == 0 { ALIGNED } else { aligned - 1 };
                ahead.clear();
                take(&current.ids[..next.overlap], &current.starts[..next.overlap])?;
                (before, current, at) = (next.tail, next.joined, next.at);
            } else {
                // This piece ends badly: a longer one ends elsewhere.
                ahead.clear();
                if std::mem::take(&mut aligned) > 0 {
                    continue;
                }
                if 2 * at.len() > LONGEST_PIECE {
                    return Err(self.no_pieces(at.len()));
                }
                at = piece_from(text, at.start, 2 * at.len());
                let longer = self.encode_range(text, &at)?;
                current = match at.start {
                    0 => longer,
                    _ => before.joined_with(&longer).ok_or_else(|| self.no_pieces(piece))?,
                };
            }
        }
        take(&current.ids, &current.starts)
    }

    /// The piece after `current`, begun where one of its tokens begins: inside an endless word, which is cut from its start
    /// on, both then agree. `None` where they do not agree even so.
    fn encode_aligned(
        &self,
        text: &str,
        current: &Encoded,
        at: &Range<usize>,
        piece: usize,
    ) -> Result<Option<Aligned>> {
        let latest = (at.end - OVERLAP) as u64;
        let overlap = current.starts.partition_point(|&start| start <= latest).saturating_sub(1);
        let Some(&start) = current.starts.get(overlap).filter(|&&start| start > at.start as u64) else {
            return Ok(None);
        };
        // The first of the tokens that share a character.
        let overlap = current.starts.partition_point(|&other| other < start);
        let next_at = piece_from(text, start as usize, piece);
        if next_at.end <= at.end || !text.is_char_boundary(start as usize) {
            return Ok(None);
        }
        let tail = Encoded { ids: current.ids[overlap..].to_vec(), starts: current.starts[overlap..].to_vec() };
        let next = self.encode_range(text, &next_at)?;
        Ok(tail.joined_with(&next).map(|joined| Aligned { joined, tail, at: next_at, overlap }))
    }

    /// The pieces after one that ends at `end`, as many as there are threads.
    fn encode_ahead(&self, text: &str, mut end: usize, piece: usize) -> Result<VecDeque<Encoded>> {
        let mut ranges = Vec::new();
        while ranges.len() < rayon::current_num_threads() && end < text.len() {
            let range = next_piece(text, end, piece);
            end = range.end;
            ranges.push(range);
        }
        let mut encoded = self.encode(&ranges.iter().map(|range| &text[range.clone()]).collect::<Vec<_>>())?;
        encoded.iter_mut().zip(&ranges).for_each(|(encoded, range)| encoded.shift(range.start));
        Ok(encoded.into())
    }

    /// A part of the text by itself; starts are those in the whole.
    fn encode_range(&self, text: &str, range: &Range<usize>) -> Result<Encoded> {
        let mut encoded = self.encode_one(&text[range.clone()])?;
        encoded.shift(range.start);
        Ok(encoded)
    }

    fn no_pieces(&self, piece: usize) -> Error {
        let fault = format!("cuts the start of a text by what stands {piece} bytes and more behind it");
        Error::file(
            self.path(),
            fault,
            Message::new("divide the text into shorter documents and leave ").key("join").then(" out"),
        )
    }
}

/// Two neighbours put together, the second of which begins with a token of the first.
struct Aligned {
    /// Both from the start of the second on.
    joined: Encoded,
    /// What the first had from there on.
    tail: Encoded,
    /// The second piece.
    at: Range<usize>,
    /// Tokens of the first before it.
    overlap: usize,
}

/// The piece of this many bytes from `start` on, or the rest.
fn piece_from(text: &str, start: usize, bytes: usize) -> Range<usize> {
    start..text.floor_char_boundary(start + bytes)
}

/// The piece after one that ends at `end`.
fn next_piece(text: &str, end: usize, bytes: usize) -> Range<usize> {
    piece_from(text, text.floor_char_boundary(end - OVERLAP), bytes)
}

impl Encoded {
    /// Counts starts from so many bytes before.
    fn shift(&mut self, bytes: usize) {
        self.starts.iter_mut().for_each(|start| *start += bytes as u64);
    }

    /// Itself up to the middle of the longest run of tokens that both have, and `next` from there on; `None` where that run
    /// is too short.
    fn joined_with(&self, next: &Self) -> Option<Self> {
        let (mut i, mut j) = (0, 0);
        let mut run = None;
        let mut longest = (0, 0, 0); // bytes, and where the run begins in both
        while i < self.ids.len() && j < next.ids.len() {
            let (ours, theirs) = (self.starts[i], next.starts[j]);
            let (end_i, end_j) = (self.end_of_group(i), next.end_of_group(j));
            if ours == theirs && self.ids[i..end_i] == next.ids[j..end_j] {
                let (first_i, first_j) = *run.get_or_insert((i, j));
                longest = longest.max((ours - self.starts[first_i], first_i, first_j));
            } else {
                run = None;
            }
            if ours <= theirs {
                i = end_i;
            }
            if theirs <= ours {
                j = end_j;
            }
        }
        let (bytes, i, j) = longest;
        if bytes < AGREEMENT as u64 {
            return None;
        }
        let middle = self.starts[i] + bytes / 2;
        let tokens = self.starts[i..].partition_point(|&start| start < middle);
        Some(Self {
            ids: [&self.ids[..i + tokens], &next.ids[j + tokens..]].concat(),
            starts: [&self.starts[..i + tokens], &next.starts[j + tokens..]].concat(),
        })
    }

    /// One past the last of the tokens that share a character with the token at `index`.
    fn end_of_group(&self, index: usize) -> usize {
        let start = self.starts[index];
        index + self.starts[index..].iter().take_while(|&&other| other == start).count()
    }
}
