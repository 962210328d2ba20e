"""python -m ktl.report OUT RUN [RUN...]: a report from a process of its own, whose memory ends with it."""

from __future__ import annotations

import sys
from pathlib import Path

from ktl.report.page import write_report

if __name__ == "__main__":
    write_report([Path(run) for run in sys.argv[2:]], Path(sys.argv[1]))
