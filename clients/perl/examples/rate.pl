#!/usr/bin/env perl
# Tasks a second through one client: rate.pl HOST:PORT [TASK [COUNT [IN_FLIGHT]]]
# TASK is noop, of the built-in runtime, unless something else is named.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Argon::Client;
use Time::HiRes qw(time);

my ($address, $task, $count, $in_flight) = @ARGV;
$address   //= 'localhost:8000';
$task      //= 'noop';
$count     //= 20_000;
$in_flight //= 1_000;

my $client = Argon::Client->new(addresses => $address, in_flight => $in_flight);
my $args = $task =~ /^perl:/ ? [] : undef;
$client->call($task, $args) for 1 .. 10;
my $start = time;
my @window;
for (1 .. $count) {
    push @window, $client->submit($task, $args);
    shift(@window)->() if @window >= $in_flight;
}
$_->() for @window;
my $took = time - $start;
printf "%d tasks in %.2f s: %.0f a second\n", $count, $took, $count / $took;
