#!/usr/bin/perl
# report.pl [--engine E] [--peer P] [--pods N] [--many N] [--rounds N] [--steps FILE] SAMPLES: the
# table and the budgets.  SAMPLES has lines "SIDE METRIC VALUE", nanoseconds or bytes.
use strict;
use warnings;
use Getopt::Long;
use List::Util qw(sum max);
use POSIX qw(uname strftime);

my %o = (engine => '', peer => '', pods => 0, many => 0, rounds => 0, steps => '');
GetOptions(\%o, map { "$_=s" } keys %o) && @ARGV or die "report.pl: see the top of it\n";
my %v;
while (<>) {
	my ($side, $metric, $value) = split;
	push @{ $v{$side}{$metric} }, $value;
}

sub quantile {
	my ($side, $metric, $q) = @_;
	my @s = sort { $a <=> $b } @{ $v{$side}{$metric} // [] } or return undef;
	my $i = int($q * @s + 0.9999999) - 1;
	return $s[$i < 0 ? 0 : $i];
}
sub median { return quantile(@_, 0.5) }
sub last_of { my ($side, $metric) = @_; my $l = $v{$side}{$metric} or return undef; return $l->[-1]; }
sub ms { return defined $_[0] ? sprintf('%.1f', $_[0] / 1e6) : '-' }
sub per_second {
	my ($side, $metric) = @_;
	my $t = median($side, $metric);
	return $t ? $o{pods} / $t * 1e9 : undef;
}

my @sides = ('bare', 'crisp', $o{peer} ? 'containerd' : ());
sub row {
	my ($name, $unit, $format, $of, $more) = @_;	# more: is better
	my @n = map { $of->($_) } @sides;
	my ($mine, $peer) = ($n[1], $n[2]);
	my $ratio = $mine && $peer ? sprintf('%.1f', $more ? $mine / $peer : $peer / $mine) : '';
	printf "%-34s %-5s" . ' %11s' x @sides . " %9s\n", $name, $unit,
		(map { defined $_ ? sprintf($format, $_) : '-' } @n), $ratio;
}
sub time_row {
	my ($name, $metric, $q) = @_;
	row($name, 'ms', '%.1f', sub { my $t = quantile($_[0], $metric, $q); defined $t ? $t / 1e6 : undef });
}

# -- the table --

my (undef, $node, $release, undef, $machine) = uname();
my $cpus = grep { /^processor/ } do { open my $f, '<', '/proc/cpuinfo' or die; <$f> };
my $load = do { open my $f, '<', '/proc/loadavg' or die; (split ' ', <$f>)[0] };
my $revision = `git rev-parse --short HEAD 2>/dev/null` || '?';
chomp $revision;
print strftime('%Y-%m-%d', gmtime), ": Linux $release $machine, $cpus CPUs, load $load; crisp $revision, ",
	"$o{engine}", $o{peer} ? ", $o{peer}" : '', "\n\n";
# The last column says how many times better crisp is than the peer.
printf "%-34s %-5s" . ' %11s' x @sides . " %9s\n", '', '', @sides, $o{peer} ? 'crisp, x' : '';
time_row('pod up, p10', 'up', 0.1);
time_row('pod up, p50', 'up', 0.5);
time_row('pod up, p99', 'up', 0.99);
time_row('  RunPodSandbox', 'up.run', 0.5);
time_row('  CreateContainer (bare: create)', 'up.create', 0.5);
time_row('  StartContainer (bare: start)', 'up.start', 0.5);
time_row('pod down, p10', 'down', 0.1);
time_row('pod down, p50', 'down', 0.5);
time_row('pod down, p99', 'down', 0.99);
row('  StopPodSandbox (bare: kill)', 'ms', '%.1f',
	sub { my $t = median($_[0], $_[0] eq 'bare' ? 'down.kill' : 'down.stop'); $t && $t / 1e6 });
row('  RemovePodSandbox (bare: delete)', 'ms', '%.1f',
	sub { my $t = median($_[0], $_[0] eq 'bare' ? 'down.delete' : 'down.remove'); $t && $t / 1e6 });
row('pods up per second, 8 in flight', '1/s', '%.1f', sub { per_second($_[0], 'up8.wall') }, 1);
time_row('  each of them, p50', 'up8', 0.5);
time_row('  each of them, p99', 'up8', 0.99);
row('pods down per second, 8 in flight', '1/s', '%.1f', sub { per_second($_[0], 'down8.wall') }, 1);
time_row('ExecSync, p50', 'exec', 0.5);
time_row('ExecSync, p99', 'exec', 0.99);
row("ListContainers at $o{pods}, p50", 'ms', '%.2f', sub { my $t = median($_[0], 'list'); $t && $t / 1e6 });
row("ListContainers at $o{pods}, p99", 'ms', '%.2f',
	sub { my $t = quantile($_[0], 'list', 0.99); $t && $t / 1e6 });
row('PSS idle', 'MB', '%.2f', sub { my $b = last_of($_[0], 'pss.idle'); $b && $b / 1e6 });
row("PSS with $o{pods} pods", 'MB', '%.2f', sub { my $b = last_of($_[0], 'pss.pods'); $b && $b / 1e6 });
row('  a pod', 'kB', '%.0f', sub {
	my ($i, $p) = map { last_of($_[0], $_) } 'pss.idle', 'pss.pods';
	return $i && $p && $o{pods} ? ($p - $i) / $o{pods} / 1e3 : undef;
});
row('  processes', '', '%d', sub { last_of($_[0], 'pss.pods.processes') });
row('PSS after all pods have gone', 'MB', '%.2f', sub { my $b = last_of($_[0], 'pss.after'); $b && $b / 1e6 });

# -- the budgets --

sub budget {
	my ($name, $have, $limit, $unit, $format) = @_;
	return printf "%-6s %s: not measured\n", '?', $name unless defined $have && defined $limit;
	my $verdict = $have <= $limit ? 'met' : 'MISSED';
	my $by = $have <= $limit ? '' : sprintf(", by $format %s", $have - $limit, $unit);
	printf "%-6s %s: $format, at most $format %s%s\n", $verdict, $name, $have, $limit, $unit, $by;
}
sub above {
	my ($m, $q) = @_;
	my ($c, $b) = map { quantile($_, $m, $q) } 'crisp', 'bare';
	return $c && $b ? ($c - $b) / 1e6 : undef;
}

print "\nbudgets\n";
for my $what ('up', 'down') {
	budget("pod $what, p50 above the bare CLI", above($what, 0.5), 10, 'ms', '%.1f');
	budget("pod $what, p10 above the bare CLI", above($what, 0.1), 10, 'ms', '%.1f');
}
my ($few, $many) = (median('few', 'up'), median('many', 'up'));
budget("pod up beside $o{many} pods against beside 1", $few && $many ? $many / $few : undef, 1.2, 'times', '%.2f');
budget('PSS idle', defined last_of('crisp', 'pss.idle') ? last_of('crisp', 'pss.idle') / 1e6 : undef, 2, 'MB', '%.2f');
my ($idle, $with) = map { last_of('crisp', $_) } 'pss.idle', 'pss.pods';
budget('PSS a pod', $idle && $with ? ($with - $idle) / $o{pods} / 1e3 : undef, 25, 'kB', '%.1f');
my ($p1, $p1000) = map { last_of('crisp', $_) } 'pss.few', 'pss.many';
budget("PSS a pod, of $o{many}", $p1 && $p1000 ? ($p1000 - $p1) / ($o{many} || 1) / 1e3 : undef, 25, 'kB', '%.1f');
my $lag = max grep { defined } last_of('crisp', 'lag'), last_of('crisp', 'lag.many');
budget('loop lag, p99', defined $lag ? $lag / 1e6 : undef, 10, 'ms', '%.2f');

# -- the steps --

exit 0 unless $o{steps} && -s $o{steps};
print "\nwhere crisp's time goes: mean of each step of each operation, ms\n";
open my $f, '<', $o{steps} or die "report.pl: $o{steps}: $!\n";
my (%total, @rows);
while (<$f>) {
	chomp;
	my ($op, $step, $n, $mean) = split /\t/;
	push @rows, [$op, $step, $n, $mean];
	$total{$op} += $mean;
}
my $last = '';
for my $r (@rows) {
	printf "  %-42s %6s %7.1f\n", $r->[0], '', $total{ $r->[0] } if $r->[0] ne $last;
	printf "    %-40s x%-5d %7.1f\n", @$r[1 .. 3];
	$last = $r->[0];
}
