package Argon::Deferred;

use 5.030;
use strict;
use warnings;

use Argon::Error;
use Argon::JSON;
use Argon::Wire qw(PLAIN JSON);
use Scalar::Util qw(refaddr);

our $VERSION = '0.1.0';

my %parts;    # By address: an object that is a code reference has no room for fields.

my @CONTENTS = ('bytes', 'JSON', 'bincode, between Rust programs', 'a Python pickle',
    'for the built-in tasks');

sub new {
    my ($class, $client, $task) = @_;
    my $self = bless sub { _result($client->_wait_for($task)) }, $class;
    $parts{ refaddr $self } = [$client, $task];
    return $self;
}

sub DESTROY {
    my ($self) = @_;
    delete $parts{ refaddr $self };
    return;
}

sub is_finished {
    my ($self) = @_;
    my ($client, $task) = @{ $parts{ refaddr $self } };
    $client->pump if !$task->{outcome};
    return $task->{outcome} ? 1 : 0;
}

sub cancel {
    my ($self) = @_;
    my ($client, $task) = @{ $parts{ refaddr $self } };
    return $client->_cancel($task);
}

sub id { return $parts{ refaddr $_[0] }[1]{id} }

sub _result {
    my ($task) = @_;
    my $end = $task->{outcome};
    die _error($end) if $end->{outcome} ne 'completed';
    return $end->{payload} if $end->{content} == PLAIN;
    return Argon::JSON::decode($end->{payload}) if $end->{content} == JSON;
    my $what = $CONTENTS[ $end->{content} ] // 'nothing that is known';
    Argon::Error->throw(
        outcome      => 'unusable',
        may_have_run => 1,
        message      => "the result is content $end->{content} ($what), but Perl reads bytes and JSON",
    );
}

my %MESSAGE = (
    expired   => 'the task has expired',
    cancelled => 'the task was cancelled',
    lost      => 'the task is lost: it may have run',
);
my %REASON = (
    queue_full       => 'the queue is full',
    queue_bytes_full => 'the queue is full of large tasks',
    displaced        => 'more important tasks took its place',
    client_full      => 'this client has too many tasks there',
    in_flight_full   => 'too many tasks are at workers',
    too_slow         => 'it could not have started in time',
    draining         => 'the manager is about to leave',
    no_workers       => 'there are no workers',
    too_large        => 'it is larger than the manager takes (--max-payload of argon manager and worker)',
    no_runner        => 'no worker runs tasks of that name',
);
my %KIND = (
    time_limit       => 'the task ran out of time',
    memory_limit     => 'the task took more memory than it may',
    crashed          => 'the process that ran the task has crashed',
    unknown_task     => 'no task of that name',
    bad_payload      => 'the task cannot read its arguments',
    result_too_large => 'the result is too large',
);

# What to die with for an outcome that is no result.
sub _error {
    my ($end) = @_;
    my $outcome = $end->{outcome};
    my %fields = map { $_ => $end->{$_} }
        grep { defined $end->{$_} } qw(outcome worker history may_have_run reason retries similar);
    if ($outcome eq 'failed') {
        my $error = $end->{error};
        my $message = $error->{message} ne '' ? $error->{message} : _failure($error);
        my $detail = $end->{content} == JSON ? eval { Argon::JSON::decode($end->{payload}) } : undef;
        return Argon::Error->new(%fields, %$error, message => $message, detail => $detail,
            may_have_run => 1);
    }
    my $message = $end->{message} // $MESSAGE{$outcome};
    if ($outcome eq 'rejected') {
        $message = "the manager does not take the task: $REASON{ $end->{reason} }";
        $message .= ", after $end->{retries} more tries" if $end->{retries};
        $message .= '; there is ' . join ', ', @{ $end->{similar} } if @{ $end->{similar} };
    }
    return Argon::Error->new(%fields, message => $message,
        $outcome eq 'lost' ? (may_have_run => 1) : ());
}

sub _failure {
    my ($error) = @_;
    my $kind = $error->{kind};
    return "the command ended with code $error->{code}" if $kind eq 'exit';
    return "the command was ended by signal $error->{code}" if $kind eq 'signal';
    return $KIND{$kind} // "$error->{type}";
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Deferred - the result of a task, when it is there

=head1 SYNOPSIS

    my $deferred = $client->defer('My::Task', [4, 7]);
    do_something_else() until $deferred->is_finished;
    print $deferred->();

=head1 DESCRIPTION

A code reference. Calling it waits for the end of the task and returns the result, or dies with an
L<Argon::Error>; calling it again says the same again. If it is dropped, the task goes on and its result is thrown
away.

=head1 METHODS

=over

=item is_finished

Whether the task has ended. Does not wait, but takes in what has come.

=item cancel

Asks for the end of the task. Calling the reference then dies, unless the task has ended before it was stopped.

=item id

What C<queue> returns and C<server_status> shows: the client and the number of the task.

=item new

For L<Argon::Client>.

=back

=cut
