#!/usr/bin/perl
# steps.pl LOG: from the debug log of a crispd, how long each step of each operation took, as
# lines "OPERATION STEP TIMES MEAN_MS".  A step ends where the operation's next line stands; the
# log has milliseconds, which even out in the mean.
use strict;
use warnings;
use Time::Local;

my (%open, %sum, %n, @order);

sub value {
	my ($line, $key) = @_;
	return $line =~ /(?:^| )$key=(?:"((?:[^"\\]|\\.)*)"|(\S+))/ ? $1 // $2 : undef;
}

sub millis {
	my ($ts) = @_;
	my ($y, $mo, $d, $h, $m, $s) = $ts =~ /(\d+)-(\d+)-(\d+)T(\d+):(\d+):([\d.]+)Z/ or return undef;
	return (timegm(0, $m, $h, $d, $mo - 1, $y) + $s) * 1000;
}

sub close_step {
	my ($key, $now) = @_;
	my $step = delete $open{$key} or return;
	my $name = "$step->{op}\t$step->{step}";
	push @order, $name unless exists $sum{$name};
	$sum{$name} += $now - $step->{at};
	$n{$name}++;
}

while (my $line = <>) {
	my $msg = value($line, 'msg') // next;
	next unless $msg eq 'step' || $msg eq 'operation ended';
	my ($op, $id) = (value($line, 'op'), value($line, 'id') // '');
	my $now = millis(value($line, 'ts') // next) // next;
	close_step("$op/$id", $now);
	$open{"$op/$id"} = { op => $op, step => value($line, 'step'), at => $now } if $msg eq 'step';
}
# An operation's steps together, though another may have run some of them within it.
my %rank;
$rank{ (split /\t/)[0] } //= keys %rank for @order;
printf "%s\t%d\t%.2f\n", $_, $n{$_}, $sum{$_} / $n{$_}
	for sort { $rank{ (split /\t/, $a)[0] } <=> $rank{ (split /\t/, $b)[0] } } @order;
