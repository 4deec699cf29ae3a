"""Pure: a Record -> Verdicts, by ordered tables. Reads nothing but the record, starts nothing, changes nothing.

`evidence` sorts the observations by cell, `weigh` says which attempt decides, `rules` holds the tables of causes and faults,
`verdict` goes through the planned cells, `explain` finds the words.
"""
