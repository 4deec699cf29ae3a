"""The trials of a release: every setting that its image.yaml declares. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.contract.claims import Claim, Status
from testbed.model import Encryption, ForwardSecrecy, Implementation, Policy, Server, Settings
from testbed.plan.catalog import Catalog, Image
from testbed.plan.certificates import PROFILES
from testbed.plan.policy import DIMENSIONS, PRESETS, make_policy

BOTH = ("external", "dialback")
"""Both proofs of a domain, best first."""


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
        mechanisms: list[str] = [m for m in BOTH if m in self.image.spec.mechanisms and m in wanted]
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
