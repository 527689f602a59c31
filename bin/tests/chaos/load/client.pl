#!/usr/bin/env perl

# A client that submits without end; ../load.rs says by which rules and what it writes.

use 5.030;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib", "$FindBin::RealBin/../../../../clients/perl/lib";

use Argon::Client;
use Chaos::Entry qw(append now);

my @SPANS = (5, 20, 60, 150, 300, 20, 60, 1_200);
my %ASKED = (5 => 'error', 7 => 'deadline', 11 => 'cancel');
my ($manager, $name, $record, $stop, $in_flight) = @ARGV;

my $client = Argon::Client->new(addresses => $manager, name => $name, connect_timeout => undef);
my @under_way;
my $number = 0;
while (1) {
    my $stopping = -e $stop;
    push @under_way, submit($number++) while !$stopping && @under_way < $in_flight;
    $client->pump(0.01);
    my @rest;
    for my $task (@under_way) {
        if ($task->[1]->is_finished) { ended(@$task) } else { push @rest, $task }
    }
    @under_way = @rest;
    last if $stopping && !@under_way;
}
append($record, 'finished');
$client->shutdown;

sub submit {
    my ($number) = @_;
    my ($task, $once) = ("$name-$number", $number % 4 < 2);
    my $asked = $ASKED{ $number % 16 } // 'result';
    append($record, 'submitted', $task, now(), $once ? 'once' : 'again', $asked);
    my $deferred = $client->submit(
        'perl:Chaos::Entry', [$task, $SPANS[$number % 8], $asked],
        at_most_once => $once,
        $asked eq 'deadline' ? (deadline => 1.5) : (),
    );
    if ($asked eq 'cancel') {
        $client->pump(0.01);
        $deferred->cancel;
    }
    return [$task, $deferred];
}

sub ended {
    my ($task, $deferred) = @_;
    my $run = eval { $deferred->() };
    my $error = $@;
    my $word = !$error ? 'completed' : ref $error ? word($error) : 'other';
    append($record, 'outcome', $task, now(), $word, ($error ? "$error" : $run) =~ tr/\t\n/  /r);
    return;
}

# An outcome without a result in one word.
sub word {
    my ($error) = @_;
    my $outcome = $error->outcome;
    return "$outcome-unrun" if $outcome =~ /\A(?:expired|cancelled)\z/ && !$error->may_have_run;
    return $outcome if $outcome ne 'failed';
    return 'crashed' if $error->kind eq 'crashed';
    return $error->message eq 'as asked' || $error->message eq "as asked\n" ? 'raised' : 'other';
}
