#!/usr/bin/env perl
# Squares 1,000 numbers on the cluster: squares.pl HOST:PORT
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Argon::Simple;

connect shift // 'localhost:8000';
my @tasks = map { scalar process { $_[0] ** 2 } $_ } 1 .. 1_000;
print $_->(), "\n" for @tasks;
