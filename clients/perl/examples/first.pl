#!/usr/bin/env perl
# First steps: first.pl HOST PORT
#
#     argon manager --port 8000
#     argon worker --manager localhost:8000 --allow-eval -- perl -Ilib bin/argon-pool -I examples/lib
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";

my ($host, $port) = @ARGV;

use Argon::Client;
my $client = Argon::Client->new(host => $host, port => $port);
my $result = $client->process(sub { my ($x, $y) = @_; return $x + $y; }, [4, 7]);
print "$result\n";
my $deferred = $client->defer(sub { my ($x, $y) = @_; return $x + $y; }, [4, 7]);
print $deferred->(), "\n";

use Argon::Simple;
connect "$host:$port";
my $r = process { $_[0] * $_[1] } 4, 7;
print $r->(), "\n";
my ($res, $is_finished) = process { $_[0] * $_[1] } 4, 7;
do { select undef, undef, undef, 0.01 } until $is_finished->();
print $res->(), "\n";
my $t = task 'My::Task::Class', 'argon', 7;
print $t->(), "\n";

# What dies there dies here, with its own message.
eval { $client->process(sub { die "no luck with $_[0]\n" }, [7]) } or print $@;

# Functions of other languages go by their names.
print "$_\n" for map { $client->call($_, [4, 7]) } @ARGV[2 .. $#ARGV];
