"""The network between the servers loses packets, or delays them.

What comes of it may be undecided, or a failure that is laid on the network; nothing that is decided is wrong.
"""

from __future__ import annotations

import functools

from fault import End, Fault, Stage
from harness import Case

LOSS = """
import nftables, sys
n = nftables.Nftables()
code, _, error = n.cmd('''
table bridge {table} {{
    chain forward {{
        type filter hook forward priority -10; policy accept;
        {drops}
    }}
}}''')
sys.exit(error if code else 0)
"""
UNDO = "import nftables; nftables.Nftables().cmd('delete table bridge {table}')"


def lose(percent: int, case: Case) -> None:
    """So many of a hundred packets that cross the mesh are dropped: those of servers, clients and name server alike."""
    name = next(iter(case.until("the run's network", lambda: case.footprint.networks)))
    pools = case.bench.engine.client.api.inspect_network(name)["IPAM"]["Config"]
    # by address: a kernel may lack the bridge's own names in rules (NFT_BRIDGE_META)
    drops = "; ".join(
        f"{'ip6' if ':' in pool['Subnet'] else 'ip'} saddr {pool['Subnet']} numgen random mod 100 < {percent} counter drop"
        for pool in pools
    )
    table = f"s2s_fault_{name.removeprefix('s2s-testbed-')}"
    case.bench.on_host(LOSS.format(table=table, drops=drops))
    case.undo.append(lambda: case.bench.on_host(UNDO.format(table=table)))


FAULTS = tuple(
    Fault(
        f"loss-of-{percent}-percent", f"{percent}% of the packets between all containers are dropped", Stage.PARTS,
        functools.partial(lose, percent), End.EITHER, bound=400, surprises=True,
    )
    for percent in (1, 5, 20)
)  # fmt: skip
