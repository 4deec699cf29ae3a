# A hostile server: what root in a server's container tries. Says of each thing whether it could; none must be.
# Arguments: the host's addresses, and peers' addresses, each with commas between.
use strict; use warnings; use Socket qw(:all); use Fcntl; use Errno;
my ($host, $peers) = @ARGV;
$| = 1;
sub said { print "$_[0]: ", ($_[1] ? "COULD" : "could not"), "\n" }
said("raw IPv4 socket", socket(my $a, AF_INET, SOCK_RAW, 255));
said("raw ICMPv6 socket", socket(my $b, AF_INET6, SOCK_RAW, 58));
said("packet socket", socket(my $c, 17, SOCK_RAW, 0));
said("transparent socket", do { socket(my $s, AF_INET, SOCK_STREAM, 0); setsockopt($s, 0, 19, pack("i", 1)) }); # IP_TRANSPARENT
said("interface down", do { socket(my $s, AF_INET, SOCK_DGRAM, 0); my $r = pack("a16s", "eth0", 0); ioctl($s, 0x8914, $r) }); # SIOCSIFFLAGS
said("hardware address", do { socket(my $s, AF_INET, SOCK_DGRAM, 0); my $r = pack("a16SC6", "eth0", 1, 2, 0x42, 1, 2, 3, 4); ioctl($s, 0x8924, $r) });
said("mount", system("mount -t tmpfs none /mnt 2>/dev/null") == 0);
said("user namespace", system("unshare -U true 2>/dev/null") == 0);
said("device", system("mknod /tmp/disk b 8 0 2>/dev/null") == 0);
said("kernel's parameters", open(my $k, ">", "/proc/sys/kernel/core_pattern"));
said("clock", system("date -s '2001-01-01' >/dev/null 2>&1") == 0);
said("engine's socket", -e "/var/run/docker.sock" || -e "/run/docker.sock");
# every way at once: what is dropped takes its time
my @ways;
for my $to (map({ my $h = $_; map { ["host", $h, $_] } (22, 53, 80, $ARGV[2]) } split /,/, $host),
            map({ my $p = $_; map { ["peer", $p, $_] } (5222, 5223, 5269, 53, 7777) } split /,/, $peers), ["outside", "8.8.8.8", 53]) {
  my ($what, $address, $port) = @$to; my $six = $address =~ /:/;
  socket(my $s, $six ? AF_INET6 : AF_INET, SOCK_STREAM, 0) or next;
  fcntl($s, F_SETFL, O_NONBLOCK);
  connect($s, $six ? pack_sockaddr_in6($port, inet_pton(AF_INET6, $address)) : pack_sockaddr_in($port, inet_aton($address)));
  push @ways, ["$what $address:$port", $s];
}
sleep 4;
said($_->[0], defined getpeername($_->[1])) for @ways;
# what kills nobody but its own: memory, then processes
my $pid = fork;
if (!$pid) { my @all; push @all, "x" x 67108864 for 1 .. 32; exit 7 }
waitpid($pid, 0);
said("2 GB of memory", $? >> 8 == 7);
my ($forks, @children) = (0);
while ($forks < 5000) { my $child = fork; last unless defined $child; if (!$child) { sleep 60; exit 0 } push @children, $child; $forks++ }
kill 9, @children;
said("5000 processes", $forks >= 5000);
