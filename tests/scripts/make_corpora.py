"""Writes tests/fixtures/corpora: the same documents as other programs write them (gzip, zstd, tar, pyarrow, polars).

    python tests/scripts/make_corpora.py tests/fixtures/corpora
"""

import io
import json
import os
import subprocess
import sys
import tarfile

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

os.chdir(sys.argv[1])

# Line breaks, characters beyond ASCII, repetitions (dictionary pages), a long one, and enough for several pages.
DOCUMENTS = [
    "The first document.\nIt has two lines.",
    "Zwölf Boxkämpfer jagen Viktor.",
    "the same again",
    "the same again",
    "日本語 and 🙂",
    "x" * 700,
] + [f"number {i} of many" for i in range(300)]


def column(values, type=None):
    return pa.table({"url": ["u"] * len(values), "text": pa.array(values, type)})


def main():
    with open("documents.json", "w", encoding="utf-8") as out:
        json.dump(DOCUMENTS, out, ensure_ascii=False, indent=0)

    table = column(DOCUMENTS)
    pq.write_table(table, "snappy.parquet", compression="snappy", row_group_size=100)
    pq.write_table(table, "gzip.parquet", compression="gzip", data_page_version="2.0", data_page_size=1024)
    plain = {"text": "DELTA_BYTE_ARRAY", "url": "PLAIN"}
    pq.write_table(table, "delta.parquet", compression="none", use_dictionary=False, column_encoding=plain)
    required = pa.schema([("url", pa.string()), pa.field("text", pa.string(), nullable=False)])
    pq.write_table(table.cast(required), "required.parquet", compression="zstd", use_dictionary=False)
    pl.DataFrame({"text": DOCUMENTS}).write_parquet("polars.parquet")

    pq.write_table(table, "brotli.parquet", compression="brotli")
    pq.write_table(column(["a", None, "c"]), "null.parquet")
    pq.write_table(column([1, 2]), "numbers.parquet")
    pq.write_table(column([["a"], ["b"]]), "lists.parquet")
    pq.write_table(column(["a", "b"]).rename_columns(["text.url", "body"]), "no_text.parquet")
    pq.write_table(column([b"a", b"caf\xe9"], pa.binary()), "not_utf8.parquet")

    text = "\n\n".join(DOCUMENTS).encode() + b"\n"
    half = text.index(b"number 100")
    gzip = lambda part: subprocess.run(["gzip", "-nc"], input=part, capture_output=True, check=True).stdout
    with open("two_members.txt.gz", "wb") as out:
        out.write(gzip(text[:half]) + gzip(text[half:]))
    lines = "".join(json.dumps({"text": d}) + "\n" for d in DOCUMENTS).encode()
    with open("lines.jsonl.zst", "wb") as out:
        subprocess.run(["zstd", "-qc"], input=lines, stdout=out, check=True)

    os.makedirs("cs.CL")
    for split, part in [("train", text), ("valid", b"valid one\n"), ("test", b"test one\n")]:
        with open(f"cs.CL/{split}.txt", "wb") as out:
            out.write(part)
    subprocess.run("tar -czf cs.CL.tar.gz cs.CL && rm -r cs.CL", shell=True, check=True)
    # Python's own: extended headers for times with fractions and for a name of more than 100 bytes.
    with tarfile.open("python.tgz", "w:gz") as archive:
        for split, part in [("test", b"test one\n"), ("train", text), ("valid", b"valid one\n")]:
            member = tarfile.TarInfo(f"{'long_' * 24}/{split}.txt")
            member.size, member.mtime = len(part), 1234567890.5
            archive.addfile(member, io.BytesIO(part))


main()
