package My::Task::Trial;

# A task for each thing that a task can do to its runtime.

use strict;
use warnings;

package My::Task::Trial::Error { use overload '""' => sub { "an error with $_[0]{code}" } }
package My::Task::Trial::Plain { sub message { 'what it says' } }

my $ran = 0;
our $STATE = 0;

my %DO = (
    args     => sub { [@_] },
    bytes    => sub { \"\x00\xff" },
    echo     => sub { $_[0] },
    print    => sub { print "on standard output\n"; print STDERR "on standard error\n"; 1 },
    read     => sub { scalar <STDIN> },
    string   => sub { die "boom\n" },
    place    => sub { die 'boom' },
    object   => sub { die bless { code => 5 }, 'My::Task::Trial::Error' },
    plain    => sub { die bless {}, 'My::Task::Trial::Plain' },
    data     => sub { die { code => 5 } },
    code     => sub { sub { } },
    count    => sub { ++$ran },
    pid      => sub { $$ },
    context  => sub { wantarray ? 'list' : 'scalar' },
    handled  => sub { eval { die "inner\n" }; 'survived' },
    rethrown => sub { eval { deeper() }; die $@ },
    sleep    => sub { select undef, undef, undef, $_[0]; 'slept' },
    kill     => sub { kill 'KILL', $$ },
    exit     => sub { exit 3 },
    once     => sub { my ($file) = @_; return 'again' if -e $file; open my $f, '>', $file; kill 'KILL', $$ },
    fork     => sub { my $pid = fork; return 'child' if !$pid; waitpid $pid, 0; 'parent' },
    large    => sub { 'x' x $_[0] },
);

sub deeper { die "deep\n" }

sub new { my ($class, $what, @args) = @_; return bless { what => $what, args => \@args }, $class }

sub run {
    my ($self) = @_;
    return $DO{ $self->{what} }->(@{ $self->{args} });
}

1;
