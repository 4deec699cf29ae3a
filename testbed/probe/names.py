"""Asks DNS where a domain is served, as a federating server does (RFC 6120 §3.2, XEP-0368), and nothing else."""

from __future__ import annotations

import contextlib
import ipaddress

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.resolver

from testbed.model import InputError
from testbed.probe.seen import Names, Srv, Target

S2S_PORT = 5269
SERVICES = {"starttls": "_xmpp-server._tcp", "direct_tls": "_xmpps-server._tcp"}


class Resolver:
    """A resolver with bounded patience: the system's, or one that the user named."""

    def __init__(self, server: str | None, timeout: float) -> None:
        """``server`` is ``IP`` or ``IP:PORT``. Raises InputError for another form, or if the system has none."""
        try:
            self._ask = dns.asyncresolver.Resolver(configure=server is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise InputError(
                f"this system names no resolver: {error}", hint="give one: --resolver 192.0.2.53, or --connect HOST:PORT"
            ) from None
        if server is not None:
            host, port = split_address(server, 53, "--resolver")
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise InputError(
                    "--resolver takes an address, not a name", value=server, hint="--resolver 192.0.2.53, or [2001:db8::53]:53"
                ) from None
            self._ask.nameservers, self._ask.port = [host], port
        self._ask.lifetime, self._ask.timeout = timeout, min(timeout, 3.0)
        self._ask.use_edns(0, 0, 1232)
        # AD in the question asks for AD in the answer, without the signatures (RFC 6840 §5.7)
        self._ask.flags = dns.flags.RD | dns.flags.AD

    async def locate(self, domain: str) -> Names:
        """Where a domain is served; never raises for what DNS says."""
        names, name, records = Names(), ascii_name(domain), []
        signed: list[bool] = []
        for kind, service in SERVICES.items():
            try:
                answer = await self._ask.resolve(f"{service}.{name}.", "SRV")
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                setattr(names, kind, Srv.NONE)
                continue
            except dns.exception.DNSException as error:
                names.problem = f"no answer to the question for {service}.{name}: {_said(error)}"
                continue
            signed.append(bool(answer.response.flags & dns.flags.AD))
            hosts = [(r.priority, r.weight, r.target, r.port) for r in answer]
            if all(target == dns.name.root for _, _, target, _ in hosts):
                setattr(names, kind, Srv.REFUSED)
                continue
            setattr(names, kind, Srv.RECORDS)
            records += [
                Target(target.to_text(omit_final_dot=True), port, kind == "direct_tls", priority, weight)
                for priority, weight, target, port in hosts
                if target != dns.name.root
            ]
        names.authenticated = all(signed) if signed else None
        # Within a priority a server draws by weight; a probe that draws would not say the same thing twice.
        names.targets = sorted(records, key=lambda t: (t.priority, -(t.weight or 0), t.direct_tls, t.host))
        if Srv.REFUSED in (names.starttls, names.direct_tls) and not names.targets:
            names.problem, names.definite = 'its SRV record says that there is no such service (target ".")', True
        elif names.starttls is Srv.NONE and names.direct_tls in (Srv.NONE, Srv.RECORDS):
            await self._fall_back(names, name)
        return names

    async def _fall_back(self, names: Names, name: str) -> None:
        """Without an SRV record for STARTTLS: the domain's own address."""
        addresses, problem, definite = await self.addresses(name)
        if addresses:
            names.fallback = True
            names.targets.append(Target(name, S2S_PORT, False))
        elif not names.targets:
            names.problem, names.definite = f"no SRV record; {problem}", definite

    async def addresses(self, host: str) -> tuple[list[str], str | None, bool]:
        """IPv6 and IPv4 addresses of a host (or itself, if it is one); if there are none, why, and whether that is definite."""
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))], None, True
        addresses: list[str] = []
        reasons: list[str] = []
        definite = True
        for kind in ("AAAA", "A"):
            try:
                addresses += [r.address for r in await self._ask.resolve(f"{host}.", kind)]
            except dns.resolver.NXDOMAIN:
                return [], f"{host} does not exist", definite
            except dns.resolver.NoAnswer:
                reasons.append(f"no {kind} record")
            except dns.exception.DNSException as error:
                reasons.append(f"no answer to the question for {kind}: {_said(error)}")
                definite = False
        return addresses, f"{host}: " + ", ".join(reasons) if reasons else None, definite

    async def tlsa(self, target: Target) -> int | None:
        """How many TLSA records there are at a target (RFC 7673); None if that is not known."""
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(target.host)
            return None
        try:
            return len(await self._ask.resolve(f"_{target.port}._tcp.{target.host}.", "TLSA"))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return 0
        except dns.exception.DNSException:
            return None


def ascii_name(domain: str) -> str:
    """The domain as DNS and certificates write it (A-labels). Raises InputError."""
    try:
        name = dns.name.from_unicode(domain, idna_codec=dns.name.IDNA_2008_UTS_46)
        return name.to_text(omit_final_dot=True).lower()
    except (dns.exception.DNSException, UnicodeError) as error:
        raise InputError(f"`{domain}` is no domain name: {error}", value=domain, hint="write it as im.example.org") from None


def split_address(text: str, port: int | None, option: str) -> tuple[str, int]:
    """``HOST:PORT``, ``[IPV6]:PORT``, or without the port where there is a default. Raises InputError."""
    host, number = text, ""
    if text.startswith("["):
        host, _, number = text[1:].partition("]")
        number = number.removeprefix(":")
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
    if not number and port is not None:
        return host, port
    if not host or not number.isdigit() or not 0 < int(number) < 65536:
        raise InputError(f"{option} takes HOST:PORT", value=text, hint="192.0.2.7:5269, [2001:db8::7]:5269, or xmpp.example:5269")
    return host, int(number)


def _said(error: dns.exception.DNSException) -> str:
    """The library's error in few words."""
    if isinstance(error, dns.exception.Timeout):
        return "none in time"
    if isinstance(error, dns.resolver.NoNameservers):
        codes = {str(part) for _, _, _, part, *_ in error.kwargs.get("errors", ())}
        return f"the resolver says {', '.join(sorted(codes)) or 'no'}"
    return type(error).__name__
