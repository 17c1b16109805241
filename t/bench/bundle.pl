#!/usr/bin/perl
# bundle.pl CONFIG ROOTFS CGROUP: the config.json that crisp wrote for a container, made to run
# by hand: on a plain folder as its root, in a cgroup of its own.  All else is as it was; the pod
# that it was written for must live, its namespaces and files are used.
use strict;
use warnings;
use JSON::PP;

my ($file, $rootfs, $cgroup) = @ARGV;
open my $in, '<', $file or die "bundle.pl: $file: $!\n";
my $config = decode_json(do { local $/; <$in> });
$config->{root}{path} = $rootfs;
$config->{linux}{cgroupsPath} = $cgroup;
print JSON::PP->new->canonical->encode($config), "\n";
