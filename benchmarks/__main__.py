"""`python -m benchmarks render`: writes the documents' tables anew from results/, and says which pages changed."""

from __future__ import annotations

import argparse

from benchmarks.lib.documents import ROOT, pages, rendered


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", choices=["render"])
    parser.parse_args()
    for page in pages():
        before = page.read_text()
        if (after := rendered(before)) != before:
            page.write_text(after)
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
