"""The trials of a release: every setting that its image.yaml declares, and what a server so set is asked. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.contract.claims import Claim, Status
from testbed.contract.protocol import CLEAR_PEER, Probe
from testbed.model import TLS_VERSIONS, Authentication, Encryption, ForwardSecrecy, Implementation, Policy, Server, Settings
from testbed.plan.catalog import Catalog, Image
from testbed.plan.policy import DIMENSIONS, PRESETS, make_policy
from testbed.plan.profiles import PROFILES

EPHEMERAL, STATIC = "ECDHE+AES:DHE+AES", "kRSA+AES"
"""OpenSSL's names for suites with and without forward secrecy (TLS 1.2 and below)."""
BOTH = ("external", "dialback")
"""Both proofs of a domain, best first."""
BAD_PEERS = ("self-signed", "expired", "untrusted-ca", "wrong-host")
"""Certificate profiles with which a peer must not be let in where certificates are demanded."""
PEER_PROFILES = ("ca", *BAD_PEERS)
"""What the prober can show."""


@dataclass(frozen=True)
class Trial:
    """One server under one setting."""

    server: Server
    image: Image
    settings: Settings

    @property
    def policy(self) -> Policy:
        """The policy that the server in effect shows: what is claimed of it."""
        return self.image.effective(self.settings.policy, self.server.implementation.release)

    @property
    def name(self) -> str:
        """The setting, as a user writes it."""
        return f"{self.settings.policy.name}, {self.settings.certificate}" if self.speaks_tls else self.settings.policy.name

    @property
    def speaks_tls(self) -> bool:
        """False where no certificate is shown."""
        return self.settings.policy.encryption is not Encryption.NONE

    @property
    def forward_secrecy(self) -> ForwardSecrecy:
        """What is claimed of key exchanges: `any` (nothing) where the range of TLS versions is what is tried."""
        narrowed = self.settings.policy.tls_min or self.settings.policy.tls_max
        return ForwardSecrecy.ANY if narrowed else self.policy.forward_secrecy

    @property
    def proofs(self) -> list[str]:
        """How a peer proves its domain here, best first."""
        wanted = self.policy.authentication.mechanisms
        mechanisms: list[str] = [m for m in ("external", "dialback") if m in self.image.spec.mechanisms and m in wanted]
        # Without EXTERNAL in the software, the certificate is looked at and dialback names the domain.
        return mechanisms or ["dialback"]


def policies() -> list[Policy]:
    """Every setting that an implementation may declare: the ladder, and the values of each further dimension upon it."""
    further = [d for d in DIMENSIONS if d.default != "by preset"]
    changes = [{d.name: value} for d in further for value in d.values if value != d.default]
    return [*PRESETS.values(), *(make_policy("encrypted", change) for change in changes)]


def trials(catalog: Catalog, wanted: Iterable[Implementation]) -> tuple[list[Trial], dict[Implementation, list[Claim]]]:
    """The trials of every release, and the claims that it does not make.

    The certificate profiles are spread over the trials: which certificate is shown does not depend on the other dimensions.
    """
    planned: list[Trial] = []
    unclaimed: dict[Implementation, list[Claim]] = {}
    for implementation in sorted(set(wanted)):
        image = catalog.image(implementation)
        profiles = [name for name in PROFILES if name != "ca"]
        unclaimed[implementation] = []
        for policy in policies():
            if reason := image.unsupported(policy, implementation.release):
                unclaimed[implementation].append(Claim(policy.name, "can be set", Status.UNDECLARED, reason))
                continue
            varied = policy.name not in PRESETS and bool(profiles)
            settings = Settings(policy, profiles.pop(0) if varied else "ca")
            number = len(planned)
            server = Server(f"s{number}.check.example", implementation, policy, settings.certificate, number)
            planned.append(Trial(server, image, settings))
        unclaimed[implementation] += [
            Claim(f"certificate {name}", "can be shown", Status.FAILED, "no setting with TLS was left to show it in")
            for name in profiles
        ]
    return planned, unclaimed


# --- probes: what a trial's server is asked ---------------------------------------------------------------------------


def probes(trial: Trial) -> dict[str, Probe]:
    """Name -> probe, in the order in which they are made."""
    wanted = {"clear": Probe(peer=CLEAR_PEER, prove=["dialback"])}
    if not trial.speaks_tls:
        return wanted
    proofs, policy = trial.proofs, trial.policy
    strict = policy.authentication is Authentication.EXTERNAL
    # COMPAT: one implementation drops streams of TLS 1.3 by the luck of record lengths, which its image.yaml tells as a quirk
    again = ("1.3", "1.2") if policy.tls_range[0] < "1.3" else ("1.3", "1.3")
    wanted["good"] = Probe(tls=True, certificate="ca", prove=proofs, again=again)
    wanted["nothing"] = Probe(tls=True, prove=BOTH if strict else proofs)
    if strict:
        wanted |= {f"bad {p}": Probe(tls=True, certificate=p, prove=BOTH) for p in BAD_PEERS}
    if policy.tls_min or policy.tls_max:
        wanted |= {f"tls {v}": Probe(tls=True, low=v, high=v) for v in TLS_VERSIONS}
    if trial.forward_secrecy is not ForwardSecrecy.ANY:
        wanted["ephemeral"] = Probe(tls=True, high="1.2", ciphers=EPHEMERAL)
        wanted["static"] = Probe(tls=True, high="1.2", ciphers=STATIC)
        wanted["both"] = Probe(tls=True, high="1.2", ciphers=f"{STATIC}:{EPHEMERAL}")
        wanted["tls 1.3"] = Probe(tls=True, low="1.3", high="1.3")
    return wanted
