"""Pure: a Record -> Verdicts, by ordered tables. Reads nothing but the record, starts nothing, changes nothing.

`evidence` sorts the observations by cell, `rules` holds the tables of causes and faults, `judge` goes through the planned cells.
"""

from testbed.verdict.judge import judge

__all__ = ["judge"]
