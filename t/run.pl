#!/usr/bin/perl
# run.pl SUITE...: run test programs and count their points.
#
# Unit tests and those on fake plugins mostly wait: two run at a time.  Real engines have the host
# to themselves.
#
# A SUITE is VARIANT:FILE, run with BUILD=<the variant's folder>.  Prints what fails, and at the
# end one line, "N passed, M failed", where a program that dies, hangs or breaks its own plan
# is one more failed point, and so is one during which a device of the host changed hands.
# Skipped points are neither.
use strict;
use warnings;
use File::Temp;
use TAP::Harness;

my %folder = (dev => 'build', asan => 'build-asan');
my $limit = $ENV{TEST_TIMEOUT} // 900;

sub command {
	my (undef, $suite) = @_;
	my ($variant, $file) = $suite =~ /^(\w+):(.*)/;
	my @program = -x $file ? ("./$file") : ('sh', $file);
	return ['env', "BUILD=$folder{$variant}", 'timeout', '-k', '10', $limit, @program];
}

my $harness = TAP::Harness->new({
	exec => \&command,
	merge => 1,
	failures => 1,
	comments => 1,
	timer => 1,
	color => 0,
	jobs => 2,
	rules => { seq => [{ par => ['*:build*/t/unit/*', '*:t/int/*', '*:tools/*'] }, { seq => '**' }] },
});

# Every container's output to /dev/null hangs on whose it is: say during which program it went.
my $devices = File::Temp->new;
my $taken = 0;
system('t/leak/leakcheck', 'snapshot', "$devices") == 0 or die "leakcheck\n";
$harness->callback(after_test => sub {
	my ($test) = @_;
	my $leaks = `t/leak/leakcheck compare $devices` or return;
	print "$test->[0]: $leaks";
	$taken++;
	system('t/leak/leakcheck', 'snapshot', "$devices");
});
my $all = $harness->runtests(@ARGV);

my ($passed, $failed, $skipped) = (0, $taken, 0);
for my $parser ($all->parsers($all->descriptions)) {
	my $bad = $parser->failed;
	$passed += $parser->passed - $parser->skipped;
	$skipped += $parser->skipped;
	$bad ||= 1 if $parser->exit || $parser->parse_errors;
	$failed += $bad;
}
print "skipped: $skipped\n" if $skipped;
print "$passed passed, $failed failed\n";
exit($failed || !$passed ? 1 : 0);
