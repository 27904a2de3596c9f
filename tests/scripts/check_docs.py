#!/usr/bin/env python3
"""Checks the documentation: links between pages resolve, every page is in the book, headings that are linked exist.

    python3 tests/scripts/check_docs.py
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))


def text(page):
    """The page without its code blocks, whose brackets are no links."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)


def anchors(page):
    """The names of a page's headings, as GitHub and mdBook make them."""
    for heading in re.findall(r"^#+ (.*)$", text(page), re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        yield re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


faults = []
for page in PAGES:
    for link in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        name = page.relative_to(ROOT)
        if not target.exists():
            faults.append(f"{name}: {link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in set(anchors(target)):
            faults.append(f"{name}: {link}: no such heading")
summary = text(ROOT / "docs" / "SUMMARY.md")
for page in (ROOT / "docs").rglob("*.md"):
    name = page.relative_to(ROOT / "docs").as_posix()
    if name != "SUMMARY.md" and f"({name})" not in summary:
        faults.append(f"docs/SUMMARY.md: lacks {name}")
print("\n".join(faults) or f"{len(PAGES)} pages, all links resolve")
sys.exit(bool(faults))
