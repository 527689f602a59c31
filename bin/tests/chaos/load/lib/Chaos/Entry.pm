package Chaos::Entry;

# The task of the chaos test, for the Perl runtime; ../../../load.rs says what it writes.

use 5.030;
use strict;
use warnings;

use Exporter qw(import);
use Fcntl qw(O_WRONLY O_APPEND O_CREAT);
use Time::HiRes qw(CLOCK_REALTIME);

our @EXPORT_OK = qw(append now);

# Nanoseconds; a float holds them to some hundreds of them.
sub now { return sprintf '%.0f', 1e9 * Time::HiRes::clock_gettime(CLOCK_REALTIME) }

# One line at once, after whatever others append.
sub append {
    my ($path, @fields) = @_;
    sysopen my $file, $path, O_WRONLY | O_APPEND | O_CREAT or die "$path: $!\n";
    my $line = join("\t", @fields) . "\n";
    syswrite($file, $line) == length $line or die "$path: $!\n";
    close $file or die "$path: $!\n";
    return;
}

sub new { my ($class, @args) = @_; return bless [@args], $class }

sub run {
    my ($task, $span_ms, $asked) = @{ $_[0] };
    my ($started, $ledger) = (now(), $ENV{CHAOS_LEDGER});
    my $run = "$ENV{CHAOS_WORKER}/$$/$started";
    append($ledger, 'start', $task, $started, $run);
    select undef, undef, undef, $span_ms / 1000;
    append($ledger, 'end', $task, now(), $run);
    die "as asked\n" if $asked eq 'error';
    return $run;
}

1;
