//! Documents from a column of an Apache Parquet file.

use std::io::{BufRead, Read};
use std::path::Path;

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::collector::{Collector, NULL};
use super::document::Document;
use super::format::Compression;
use super::parquet_footer::{FOOTER, PAGE, look_through};
use super::pipe;
use super::source::{self, LONGEST};
use super::watch::Watch;
use crate::error::{Error, Result};
use crate::files;
use crate::guard;
use crate::message::Message;
use crate::spool::SpoolWriter;

/// Rows decoded at a time.
const BATCH: usize = 256;

/// Hands the documents of a file, open as `reader`, to `documents`: the values of its column `field`. Pages are read one at a
/// time; a file that is compressed as a whole is decompressed first, because it is read from its end, and so is a pipe.
pub(super) fn read(
    path: &Path,
    compression: Compression,
    mut reader: Box<dyn BufRead + '_>,
    field: &str,
    watch: &Watch<'_>,
    documents: &mut Collector,
) -> Result<()> {
    if compression == Compression::None && !pipe::is_pipe(path) {
        return read_from(path, field, files::open(path)?, &files::open(path)?, Some(watch), documents);
    }
    let failed = |e| source::fault(path, compression, e);
    let mut whole = SpoolWriter::default();
    loop {
        let bytes = reader.fill_buf().map_err(failed)?;
        whole.extend_from_slice(bytes)?;
        let read = bytes.len();
        reader.consume(read);
        if whole.len() as u64 > LONGEST {
            let cure = "unpack it first; parquet compresses its columns itself";
            return Err(Error::file(path, "holds more than 1 GiB when it is decompressed", cure));
        }
        if read == 0 {
            break;
        }
    }
    let bytes = Bytes::from_owner(whole.finish()?);
    if files::is_pointer_line(bytes.split_inclusive(|&b| b == b'\n').next().unwrap_or_default(), b"oid ") {
        return Err(files::pointer(path.display()));
    }
    read_from(path, field, bytes.clone(), &bytes, None, documents)
}

/// `twin` reads the same file again, for a look at its headers. Reading is told to `watch`, if it is not already.
fn read_from<R: ChunkReader + 'static>(
    path: &Path,
    field: &str,
    reader: R,
    twin: &R,
    watch: Option<&Watch<'_>>,
    documents: &mut Collector,
) -> Result<()> {
    // The library does not check everything: some malformed files make it panic.
    let read = || {
        check_footer(twin).map_err(|e| damaged(path, e))?;
        let column = Column::open(path, field, reader)?;
        column.check_pages(twin).map_err(|e| damaged(path, e))?;
        column.read(watch, documents)
    };
    guard::without_panic(read).unwrap_or_else(|| Err(damaged(path, "its parts do not fit together")))
}

/// Checks the footer, which stands before its length and "PAR1". If there is none, the library reports it.
fn check_footer(reader: &impl ChunkReader) -> Result<(), ParquetError> {
    const TAIL: u64 = 8;
    let Some(end) = reader.len().checked_sub(TAIL) else { return Ok(()) };
    let tail = reader.get_bytes(end, 4)?;
    let length = tail.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
    if let Some(start) = end.checked_sub(length) {
        look_through(&mut reader.get_read(start)?.take(length), FOOTER)?;
    }
    Ok(())
}

fn damaged(path: &Path, fault: impl std::fmt::Display) -> Error {
    Error::file(
        path,
        format!("not a whole parquet file that can be read ({fault})"),
        "download it again, or write it again with snappy, zstd or gzip columns, or as .jsonl",
    )
}

/// Whether the bytes of a column may be text: some are numbers or binary formats, whose bytes may be UTF-8 by chance. Old
/// writers say nothing of them.
fn holds_text(column: &ColumnDescriptor) -> bool {
    let converted = [ConvertedType::NONE, ConvertedType::UTF8, ConvertedType::ENUM, ConvertedType::JSON];
    let logical = [LogicalType::String, LogicalType::Enum, LogicalType::Json];
    converted.contains(&column.converted_type())
        && column.logical_type_ref().is_none_or(|stated| logical.contains(stated))
}

/// The column of an open file that holds the text.
struct Column<'a> {
    path: &'a Path,
    field: &'a str,
    file: Box<dyn FileReader>,
    index: usize,
    /// Whether rows may be null.
    optional: bool,
}

impl<'a> Column<'a> {
    fn open(path: &'a Path, field: &'a str, reader: impl ChunkReader + 'static) -> Result<Self> {
        let file = SerializedFileReader::new(reader).map_err(|e| damaged(path, e))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let Some(index) = schema.columns().iter().position(|column| column.path().parts() == [field]) else {
            let names: Vec<String> = schema.columns().iter().take(12).map(|column| column.path().string()).collect();
            return Err(Error::file(
                path,
                format!("has no column `{field}`; its columns are {}", names.join(", ")),
                Message::new("say which column holds the text (").set("text_field", "NAME").then("), or rename it"),
            ));
        };
        let column = schema.column(index);
        let is_flat = column.max_rep_level() == 0 && column.max_def_level() <= 1;
        if column.physical_type() != Type::BYTE_ARRAY || !is_flat || !holds_text(&column) {
            let fault = format!("its column `{field}` does not hold strings");
            return Err(Error::file(path, fault, "convert the column to strings, or name another column"));
        }
        let optional = column.max_def_level() == 1;
        Ok(Self { path, field, optional, file: Box::new(file), index })
    }

    /// Checks the page headers of the column, one after the other.
    fn check_pages(&self, reader: &impl ChunkReader) -> Result<(), ParquetError> {
        let outside = || ParquetError::General("a column that is not inside the file".to_owned());
        for group in self.file.metadata().row_groups() {
            let column = group.columns().get(self.index).ok_or_else(outside)?;
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let start = u64::try_from(start).map_err(|_| outside())?;
            let length = u64::try_from(column.compressed_size()).map_err(|_| outside())?;
            let end = start.checked_add(length).filter(|&end| end <= reader.len()).ok_or_else(outside)?;
            let mut at = start;
            while at < end {
                let mut header = reader.get_read(at)?.take(end - at);
                let page =
                    look_through(&mut header, PAGE)?.and_then(|page| u64::try_from(page).ok()).ok_or_else(outside)?;
                let after = at + (end - at - header.limit());
                at = after.checked_add(page).filter(|&at| at <= end).ok_or_else(outside)?;
            }
        }
        Ok(())
    }

    fn read(&self, watch: Option<&Watch<'_>>, documents: &mut Collector) -> Result<()> {
        let broken = |e: ParquetError| damaged(self.path, e);
        let mut rows = 0;
        for group in 0..self.file.num_row_groups() {
            let group = self.file.get_row_group(group).map_err(broken)?;
            let promised = group.metadata().num_rows();
            let before = rows;
            match group.get_column_reader(self.index).map_err(broken)? {
                ColumnReader::ByteArrayColumnReader(reader) => {
                    self.read_group(reader, promised, &mut rows, watch, documents)?;
                }
                _ => return Err(damaged(self.path, "its row groups differ from its schema")),
            }
            if i64::try_from(rows - before) != Ok(promised) {
                return Err(damaged(self.path, format!("a row group does not hold the {promised} rows it promises")));
            }
            let bytes = group.metadata().compressed_size().try_into().unwrap_or(0);
            self.tell(watch, bytes)?;
        }
        Ok(())
    }

    fn tell(&self, watch: Option<&Watch<'_>>, bytes: u64) -> Result<()> {
        watch.map_or(Ok(()), |watch| watch.advance(bytes)).map_err(|e| Error::reading(self.path, e))
    }

    /// Takes a document from every row of a row group, up to the first batch that goes beyond the rows it promises: a few
    /// bytes can repeat a value without end. `rows` counts them over all row groups.
    fn read_group(
        &self,
        mut reader: ColumnReaderImpl<ByteArrayType>,
        promised: i64,
        rows: &mut usize,
        watch: Option<&Watch<'_>>,
        documents: &mut Collector,
    ) -> Result<()> {
        let most = rows.saturating_add(usize::try_from(promised).unwrap_or(0));
        let mut values: Vec<ByteArray> = Vec::with_capacity(BATCH);
        let mut levels: Vec<i16> = Vec::with_capacity(BATCH);
        loop {
            values.clear();
            levels.clear();
            let levels_wanted = self.optional.then_some(&mut levels);
            let (read, ..) =
                reader.read_records(BATCH, levels_wanted, None, &mut values).map_err(|e| damaged(self.path, e))?;
            if read == 0 || *rows > most {
                return Ok(());
            }
            let row = |index: usize| format!("{}: row {}", self.path.display(), *rows + index + 1);
            // Null rows have a level and no value.
            let is_null = |index: usize| self.optional && levels.get(index).is_some_and(|&level| level == 0);
            let mut present = values.iter();
            for index in 0..read {
                if is_null(index) {
                    documents.leave_out(NULL, || row(index));
                    continue;
                }
                let Some(value) = present.next() else {
                    return Err(damaged(self.path, "it has fewer values than rows"));
                };
                if value.len() as u64 > LONGEST {
                    return Err(Error::input(
                        row(index),
                        "this document is longer than 1 GiB, the longest that is read",
                        "divide it",
                    ));
                }
                let text = str::from_utf8(value.data()).map_err(|e| {
                    let fault = format!("not UTF-8 at byte {} of `{}`", e.valid_up_to(), self.field);
                    Error::input(row(index), fault, "save the column as strings in UTF-8")
                })?;
                documents.push(Document::Text(text), || row(index))?;
            }
            *rows += read;
            self.tell(watch, 0)?;
        }
    }
}
