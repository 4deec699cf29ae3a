-- Rule: one VirtualHost, only the modules that a test needs, every s2s option from Server + Policy; what is not set is the release's default.
-- prosody-trixie-opportunistic.example: prosody 13.0 (trixie), encryption offered, authentication either, certificate ca, timers short

data_path = "/var/lib/prosody"
certificates = "/etc/prosody/certs" -- indexed at start whatever we do; the host's certificate is set below
-- debug: which of dialback and EXTERNAL was used, and what was wrong with a certificate, are told at this level only.
log = { { to = "stdout", levels = { min = "debug" } } }

-- posix, presence, message, iq, offline, c2s, s2s, s2s_auth_certs load by themselves. Left out on purpose: s2s_bidi, limits (its
-- shapers would slow s2s down), smacks, register_limits.
modules_enabled = {
	"roster", "saslauth", "disco", "ping", "register_ibr",
	"tls", -- without it there is no STARTTLS at all
	"dialback", -- with s2s_secure_auth it is taken only on streams where the peer's certificate verified
}
storage = "memory" -- every phase starts cold
authentication = "internal_plain"
allow_registration = true
c2s_require_encryption = false
allow_unencrypted_plain_auth = true -- client encryption is not what is measured

s2s_require_encryption = false
s2s_secure_auth = false

-- Bounded, so that a failure shows in seconds; slack for a loaded machine. Stock: s2s_timeout 90, connect_timeout 20, ssl_handshake_timeout 60, dns_timeout 15.
s2s_timeout = 10
s2s_close_timeout = 2
dns_timeout = 4 -- 0.11 only
network_settings = { connect_timeout = 4, ssl_handshake_timeout = 8 } -- epoll (from 0.12 on) only

-- libunbound: take the name server from /etc/resolv.conf and nothing from /etc/hosts, as by default.
unbound = { resolvconf = true, hoststxt = false }

ssl = {
	certificate = "/etc/testbed/cert.pem";
	key = "/etc/testbed/key.pem";
	cafile = "/etc/testbed/ca.pem";
	capath = false; -- else the system's anchors, /etc/ssl/certs, would be trusted as well
	options = {
	};
};

VirtualHost "prosody-trixie-opportunistic.example"
