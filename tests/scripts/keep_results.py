"""Copies the results that version 0.1.0 of the program wrote, which this version must still read.

    keep_results.py COMMITTED INTO

`old_results.py` made them with that version, which is gone. Their checksums show that nobody changed them since.
"""

import hashlib
import sys
from pathlib import Path

SHA256 = {
    "ablation.csv": "b28757055c78ed238c412474b8f4b58d4f4d94d4fa5e165aa8107c9e549cf63f",
    "domains.csv": "0e98362b743ba45eafead7bdeb428ec53ace933bcaa6c5a5a80c1ebd3b4ce01b",
    "results.csv": "f09fc8fad1ae1b7cb72b4747cdb3048a10e1ec1e2270a3751c5713c3f4547b86",
    "similarity.json": "99186c1ac763661750cd6d65632bb596b93e309533a8af5daed22c8c58721ed5",
    "study.json": "3bff28451603d5205b996bbfc7102847b6b5fd0f58e1610b9e9fb682920a18a4",
}

committed, into = (Path(path) / "results" for path in sys.argv[1:])
into.mkdir(parents=True)
for name, expected in SHA256.items():
    content = (committed / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        sys.exit(f"{committed / name}: was changed; it must stay as version 0.1.0 wrote it")
    (into / name).write_bytes(content)
