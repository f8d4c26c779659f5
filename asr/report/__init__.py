"""One self-contained HTML page of scored systems: errors, alignments, sound, spectrograms, training curves.

    >>> from asr.report import write_report  # doctest: +SKIP
    >>> write_report(["exp/fsdd/crnn_seed1", "exp/fsdd/crnn_seed2"], "report.html")  # doctest: +SKIP
"""

from asr.report.page import Report, write_report

__all__ = ["Report", "write_report"]
