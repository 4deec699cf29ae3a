"""Comparing what was judged: run with run, run with known failures, many runs of one scenario. Pure but for reading a file.

Rule: everything here works on the dict of ``derived/verdicts.json`` and answers with a plain JSON document, from which
``report/`` draws; nothing here measures, judges or prints. Cells are met by their id, never by their position.
"""
