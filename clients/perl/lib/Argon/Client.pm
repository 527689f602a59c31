package Argon::Client;

use 5.030;
use strict;
use warnings;

use Argon qw(:priorities);
use Argon::Code;
use Argon::Deferred;
use Argon::Error;
use Argon::JSON;
use Argon::Keys;
use Argon::Retry;
use Argon::Session;
use Argon::Status;
use Argon::Wire qw(NO_LIMIT NANOS PLAIN JSON);
use Argon::Wire::Native;
use Carp qw(croak);
use Encode ();
use Exporter qw(import);
use File::Basename qw(basename);
use List::Util qw(min);
use Scalar::Util qw(refaddr reftype weaken);
use Sys::Hostname qw(hostname);

our $VERSION     = '0.1.0';
our @EXPORT_OK   = @Argon::EXPORT_OK;
our %EXPORT_TAGS = %Argon::EXPORT_TAGS;
# Wrong use is the fault of who calls from outside.
our @CARP_NOT = qw(Argon::Wire Argon::Simple);

use constant {
    LOOK_EVERY  => 0.02,     # submissions in a row look for answers this often
    LOOK_AFTER  => 64,       # or after this many
    GAP         => 0.25,     # seconds without a look that are our own silence
    FAREWELL    => 1,        # how long the last words may take
    STATUS_TIME => 10,
    TELL_AFTER  => 5,        # seconds without a manager until somebody who waits is told
    TELL_EVERY  => 60,
};

my %OPTION = map { $_ => 1 } qw(
    host port addresses key name in_flight max_tasks max_bytes max_tries connect_timeout
);
my %TASK_OPTION = map { $_ => 1 } qw(
    priority max_tries max_attempts at_most_once deadline max_wait time_limit
);
my %clients;    # To say goodbye when the program ends.

sub new {
    my ($class, %options) = @_;
    for my $option (sort keys %options) {
        croak "Argon::Client->new: there is no option $option" if !$OPTION{$option};
    }
    my $self = bless {
        addresses       => _addresses(\%options),
        keys            => _keys($options{key}),
        name            => $options{name} // _own_name(),
        in_flight       => _positive(\%options, in_flight => 1_000),
        max_tasks       => _positive(\%options, max_tasks => 10_000),
        max_bytes       => _positive(\%options, max_bytes => 256 << 20),
        max_tries       => $options{max_tries} // Argon::Retry::RETRIES,
        connect_timeout => exists $options{connect_timeout} ? $options{connect_timeout} : 10,
        queued          => {},
    }, $class;
    $self->_begin;
    $clients{ refaddr $self } = $self;
    weaken $clients{ refaddr $self };
    return $self;
}

sub _keys {
    my ($given) = @_;
    my @keys = eval { Argon::Keys->of($given) };
    croak 'Argon::Client->new: ', $@ =~ s/\n\z//r if !@keys;
    return $keys[0];
}

# Who this process is, in the manager's status.
sub _own_name {
    my $user = getpwuid($<) // $<;
    my $name = sprintf '%s@%s:%d %s', $user, hostname(), $$, basename($0);
    $name = eval { Encode::decode('UTF-8', $name, Encode::FB_CROAK) } // $name;
    $name =~ s/\p{Cc}//g;
    # Of any letters, these have less than 255 bytes.
    return substr $name, 0, 63;
}

sub _positive {
    my ($options, $name, $default) = @_;
    my $value = $options->{$name} // $default;
    croak "Argon::Client->new: $name must be a positive whole number" if $value !~ /\A[1-9][0-9]*\z/;
    return $value;
}

sub _addresses {
    my ($options) = @_;
    my $given = $options->{addresses};
    if (!defined $given) {
        croak 'Argon::Client->new: a host and a port are needed, or addresses'
            if !defined $options->{host} || !defined $options->{port};
        return [_checked($options->{host}, $options->{port})];
    }
    croak 'Argon::Client->new: either host and port, or addresses, not both'
        if defined $options->{host} || defined $options->{port};
    my @texts = ref $given ? @$given : split /\s*,\s*/, $given;
    croak 'Argon::Client->new: addresses are needed' if !@texts;
    return [map { _checked(split_address($_)) } @texts];
}

sub _checked {
    my ($host, $port) = @_;
    croak "the port must be a number from 1 to 65535, not \"$port\""
        if $port !~ /\A[0-9]{1,5}\z/ || $port < 1 || $port > 65_535;
    # An IPv6 address may come in the brackets that it needs before a port.
    $host =~ s/\A\[(.*)\]\z/$1/s;
    croak 'the host is missing' if $host eq '';
    return [$host, $port];
}

# The host and the port of "host:port", "[::1]:port".
sub split_address {
    my ($address) = @_;
    return ($1, $2) if $address =~ /\A\[([0-9A-Fa-f:.%\w]+)\]:([0-9]+)\z/;
    return ($1, $2) if $address =~ /\A([^:\s]+):([0-9]+)\z/;
    croak "\"$address\" is not HOST:PORT; write it like 127.0.0.1:8000";
}

sub _begin {
    my ($self) = @_;
    @$self{qw(pid looked unread dialled_at)} = ($$, Argon::Link::now(), 0, undef);
    $self->{session} = Argon::Session->new(
        addresses => $self->{addresses}, name => $self->{name}, keys => $self->{keys},
        in_flight => $self->{in_flight}, retries => $self->{max_tries},
    );
    return;
}

# Who waits while no manager can be reached is told why, now and then.
sub _tell_of_absence {
    my ($self, $now) = @_;
    my $since = $self->{dialled_at} // return;
    my $at = $self->{told_at};
    return if $now < (defined $at && $at >= $since ? $at + TELL_EVERY : $since + TELL_AFTER);
    $self->{told_at} = $now;
    my $problem = $self->{session}->link->problem // 'no answer';
    warn "argon: cannot reach a manager ($problem); still trying\n";
    return;
}

# The connection of a process is not for the children that it forks: they get their own.
sub _mine {
    my ($self) = @_;
    return if $self->{pid} == $$;
    my $old = $self->{session};
    $old->link->stop;
    $old->abandon('the task belongs to the process that has submitted it');
    $self->_begin;
    return;
}

sub connect {
    my ($self) = @_;
    $self->_mine;
    $self->_unreachable;    # What was so earlier does not matter now.
    until ($self->{session}->link->is_up) {
        $self->_turn(Argon::Link::now() + 1);
        my $problem = $self->_unreachable // next;
        Argon::Error->throw(outcome => 'not_connected', message => $problem);
    }
    return $self;
}

sub submit {
    my ($self, $name, $args, %options) = @_;
    for my $option (sort keys %options) {
        croak "a task has no option $option" if !$TASK_OPTION{$option};
    }
    my ($content, $payload) = _payload($args);
    return $self->_submit($name, $content, $payload, %options);
}

# Arguments as bytes: an array, positional and named ones in a hash, a reference to bytes, or nothing.
sub _payload {
    my ($args) = @_;
    return (PLAIN, '') if !defined $args;
    my $kind = ref $args;
    if ($kind eq 'SCALAR') {
        my $bytes = $$args;
        utf8::downgrade($bytes, 1) or croak 'cannot send bytes that are wider than bytes';
        return (PLAIN, $bytes);
    }
    croak 'arguments are an array reference, a hash reference with args and kwargs, or a '
        . 'reference to bytes' if $kind ne 'ARRAY' && $kind ne 'HASH';
    return (JSON, _json($args, 'the arguments'));
}

sub _json {
    my ($value, $what) = @_;
    my $bytes = eval { Argon::JSON::encode($value) };
    croak "cannot send $what: they hold ", $@ =~ s/ at \S+ line \d+\.?\n\z//r if !defined $bytes;
    return $bytes;
}

sub _submit {
    my ($self, $name, $content, $payload, %options) = @_;
    $self->_mine;
    my $priority = $options{priority} // $PRI_NORMAL;
    croak 'a priority is a number from 0 to 7' if $priority !~ /\A[0-7]\z/;
    my $attempts = $options{max_attempts} // 3;
    croak 'max_attempts must be from 1 to 16' if $attempts !~ /\A[0-9]+\z/ || $attempts < 1 || $attempts > 16;
    my %task = (
        name         => $name,
        content      => $content,
        payload      => $payload,
        priority     => $priority,
        max_attempts => $attempts,
        at_most_once => $options{at_most_once} ? 1 : 0,
        max_tries    => $options{max_tries},
        deadline     => $options{deadline},
        max_wait     => _nanos($options{max_wait}),
        time_limit   => _nanos($options{time_limit}),
    );
    Argon::Wire::w_name($name);
    my $session = $self->{session};
    # The first use opens the connection, and learns here that there is nobody.
    $self->connect if !$session->ever_up;
    my $limit = $session->payload_max;
    Argon::Error->throw(
        outcome => 'rejected', reason => 'too_large', retries => 0,
        message => 'an argument of ' . length($payload) . " bytes, where at most $limit are allowed",
    ) if length $payload > $limit;
    $self->_turn(Argon::Link::now() + 1)
        while $session->held >= $self->{max_tasks}
        || $session->held && $session->held_bytes + length $payload > $self->{max_bytes};
    my $now = Argon::Link::now();
    my $seq = $session->submit($now, \%task);
    $task{id} = sprintf '%016x-%d', $session->link->{peer}, $seq;
    if (++$self->{unread} >= LOOK_AFTER || $now - $self->{looked} > LOOK_EVERY
        || !$session->link->is_up) {
        $self->pump;
    } else {
        $self->_guarded(sub {
            $session->step($now);
            $session->link->flush if $session->link->is_up;
        });
    }
    return Argon::Deferred->new($self, \%task);
}

sub _nanos {
    my ($seconds) = @_;
    return NO_LIMIT if !defined $seconds;
    my $nanos = $seconds * NANOS;
    return $nanos >= 2**63 ? NO_LIMIT : $nanos < 0 ? 0 : int $nanos;
}

sub defer {
    my ($self, $task, $args, $priority, $max_tries) = @_;
    $args //= [];
    croak 'arguments are an array reference' if ref $args ne 'ARRAY';
    my @options = (priority => $priority, max_tries => $max_tries);
    if (ref $task && reftype $task eq 'CODE') {
        my $shipped = eval { Argon::Code::pack_code($task) } // croak $@ =~ s/\n\z//r;
        $shipped->{args} = $args;
        return $self->_submit('perl:eval', JSON, _json($shipped, 'the arguments'), @options);
    }
    croak 'a task is a code reference or the name of a class'
        if ref $task || ($task // '') !~ /\A[A-Za-z_]\w*(?:::\w+)*\z/;
    return $self->_submit("perl:$task", JSON, _json($args, 'the arguments'), @options);
}

sub process {
    my $self = shift;
    return $self->defer(@_)->();
}

sub call {
    my $self = shift;
    return $self->submit(@_)->();
}

sub queue {
    my $self = shift;
    croak "$self->{max_tasks} results wait to be collected; collect some of them first"
        if keys %{ $self->{queued} } >= $self->{max_tasks};
    my $deferred = $self->defer(@_);
    $self->{queued}{ $deferred->id } = $deferred;
    return $deferred->id;
}

sub collect {
    my ($self, $id) = @_;
    my $deferred = $self->{queued}{ $id // '' }
        // croak 'there is no task ' . ($id // 'without an id') . ' to collect';
    my @result = eval { $deferred->() };
    my $error = $@;
    # What interrupted the waiting, an alarm for instance, does not end the task.
    delete $self->{queued}{$id} if $deferred->is_finished;
    die $error if !@result;
    return $result[0];
}

sub pump {
    my ($self, $seconds) = @_;
    $self->_mine;
    my $until = Argon::Link::now() + ($seconds // 0);
    $self->_turn($until);
    $self->_turn($until) while $seconds && Argon::Link::now() < $until;
    return $self->{session}->held;
}

sub pending { return $_[0]{pid} == $$ ? $_[0]{session}->held : 0 }

# One look at everything: does what is due, waits for the socket until $until at most.
sub _turn {
    my ($self, $until) = @_;
    $self->_guarded(sub {
        my $session = $self->{session};
        my $link = $session->link;
        my $now = Argon::Link::now();
        if ($now - $self->{looked} > GAP) {
            # What has come meanwhile is read before anything is concluded from silence.
            $link->forgive($now);
            $link->turn($now, $now);
            $now = Argon::Link::now();
        }
        $link->turn($now, min($session->step($now), $until));
        $now = Argon::Link::now();
        # What this brought is answered at once.
        $session->step($now);
        $link->flush if $link->is_up;
        @$self{qw(looked unread)} = ($now, 0);
    });
    $self->_give_up_if_unreachable;
    return;
}

# Whatever breaks in here (the handler of a signal may die) leaves the connection in a state that
# nobody knows. It is dropped; resuming puts everything right.
sub _guarded {
    my ($self, $do) = @_;
    croak 'this client is in use already; signal handlers cannot use it' if $self->{busy};
    local $self->{busy} = 1;
    return if eval { $do->(); 1 };
    my $error = $@;
    $self->{session}->link->down(Argon::Link::now(), 'interrupted');
    die $error;
}

# Why no manager can be reached, if that has become clear since the last call.
sub _unreachable {
    my ($self) = @_;
    return delete $self->{unreachable};
}

sub _give_up_if_unreachable {
    my ($self) = @_;
    my ($session, $now) = ($self->{session}, Argon::Link::now());
    my $link = $session->link;
    return $self->{dialled_at} = undef if $link->is_up;
    $self->{dialled_at} //= $now;
    my $limit = $self->{connect_timeout};
    my $late = !$session->ever_up && defined $limit && $now - $self->{dialled_at} >= $limit;
    return $self->_tell_of_absence($now) if !$late && !defined $session->refused;
    my $problem = 'cannot reach a manager: ' . ($link->problem // $link->address . ': no answer');
    $session->abandon($problem);
    @$self{qw(unreachable dialled_at)} = ($problem, undef);
    return;
}

sub _wait_for {
    my ($self, $task) = @_;
    return $task if $task->{outcome};
    $self->_mine;
    $self->_turn(Argon::Link::now() + 1) until $task->{outcome};
    return $task;
}

sub _cancel {
    my ($self, $task) = @_;
    $self->_mine;
    return if $task->{outcome};
    $self->{session}->cancel($task);
    $self->pump;
    return;
}

sub server_status {
    my ($self) = @_;
    $self->_mine;
    $self->connect if !$self->{session}->ever_up;
    my $status = Argon::Status->new;
    $self->_guarded(sub { $self->{session}->ask($status) });
    my $until = Argon::Link::now() + STATUS_TIME;
    until ($status->report) {
        my $now = Argon::Link::now();
        last if $now >= $until;
        $self->_turn($until);
    }
    $self->{session}->ask(undef);
    my $report = $status->report // Argon::Error->throw(
        outcome => 'not_connected',
        message => 'the manager does not answer: ' . ($self->{session}->link->problem // 'it is busy'),
    );
    return wantarray ? %$report : $report;
}

sub shutdown {
    my ($self) = @_;
    return if $self->{pid} != $$;
    my $session = $self->{session};
    my $link = $session->link;
    my $now = Argon::Link::now();
    if ($link->is_up) {
        $session->step($now);
        $link->send(Argon::Wire::Native::encode({ type => 'goodbye' }));
        my $until = $now + FAREWELL;
        while ($link->is_up && $link->unsent && ($now = Argon::Link::now()) < $until) {
            $link->turn($now, $until);
        }
    }
    $link->stop;
    $session->abandon('the client was shut down');
    $self->_begin;
    return;
}

sub disconnect { goto &shutdown }

sub DESTROY {
    my ($self) = @_;
    delete $clients{ refaddr $self };
    local ($@, $!, $?);
    eval { $self->shutdown } if $self->{session} && ${^GLOBAL_PHASE} ne 'DESTRUCT';
    return;
}

END {
    local ($@, $!, $?);
    eval { $_->shutdown } for grep { defined } values %clients;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Client - sends tasks to Argon and gets their results

=head1 SYNOPSIS

    use Argon::Client;

    my $client = Argon::Client->new(host => 'mgrhost', port => 8000);

    # Wait for the result
    my $result = $client->process(sub { my ($x, $y) = @_; return $x + $y }, [4, 7]);

    # Get it later
    my $deferred = $client->defer('My::Task', [4, 7]);
    print $deferred->();

    # Many at once
    my @deferred = map { $client->defer(sub { $_[0] ** 2 }, [$_]) } 1 .. 1_000;
    my @squares  = map { $_->() } @deferred;

    # Any task of any language
    my $root = $client->call('python:math:sqrt', [2], deadline => 10);

    $client->shutdown;

=head1 DESCRIPTION

All tasks of a client share one connection, which is made at first use. If it is lost, or the manager is
restarted, the client comes back and resumes: its callers notice only the delay. Each task ends exactly once, with
its result or with an L<Argon::Error>.

There are no threads and no children: a client works only while it is called. See L</A CLIENT THAT IS BUSY>.

Without a C<key> the connection is not encrypted; see L<Argon/SECURITY>.

=head1 CONSTRUCTOR

=head2 new(%options)

=over

=item host, port

Where the manager is; or a worker that serves clients itself. A name, or an address as C<127.0.0.1>, C<::1> or C<[::1]>.

=item addresses

Instead of these, several managers: C<'a:8000,b:8000'>, or an array reference. The first that answers is used, and the
next when it is gone, or has no workers.

=item key

The path of a key file (C<argon keygen>), or an array reference with several: the first is shown to the manager, and a
manager whose key comes from the authority of any of them is trusted. Without it, C<ARGON_KEY> in the environment names
them, with commas between; an empty array reference is no key, whatever the environment says. With a key, connections
are TLS 1.3, which takes L<Net::SSLeay>. The files are read again for each new connection; if they cannot be used by
then, those that were there before are, with a warning. Dies if they cannot be used now, and says which and why.

=item connect_timeout

Seconds until the first use dies with C<not_connected> if no manager answers; 10 if it is not given, for ever
if it is C<undef>. Once there was a connection, a manager that goes away is waited for without end; give tasks a
C<deadline> if that is not wanted. A client that waits says so by C<warn>, with the reason: after 5 seconds, then once
a minute.

=item max_tries

How often a task that the manager has rejected for want of room is submitted again, with growing, jittered delays
that follow the manager's advice; 10. A task may say otherwise.

=item in_flight

Most tasks at the manager at once; 1,000. More wait here. It begins with fewer, and takes less than it may
from a manager that is full.

=item max_tasks, max_bytes

Most tasks without an outcome, and bytes of their arguments, that are held here; 10,000 and 256 MiB. Submitting
more waits until some have ended.

=item name

What status shows; C<perl-> and the process id.

=back

=head1 TASKS

=head2 process($task, \@args, $priority, $max_tries)

Runs a task and returns its result, or dies with what it died with.

=over

=item $task

A code reference: its source is shipped, as L<Argon::Code> says, and run with C<@args>. Workers refuse that unless they
were started with C<--allow-eval>. Or the name of a class that is on the include path of the workers:
C<< $task->new(@args)->run >>.

=item \@args

Numbers, strings, C<undef>, and arrays and hashes of those; none if it is left out. See L<Argon::JSON>.

=item $priority

C<$PRI_HIGH>, C<$PRI_NORMAL> (if left out) or C<$PRI_LOW>, or a number from 0 (most important) to 7. They can be imported
from here with C<:priorities>.

=item $max_tries

As C<max_tries> of C<new>.

=back

=head2 defer($task, \@args, $priority, $max_tries)

Sends a task off and returns an L<Argon::Deferred>: a code reference that waits for the result and returns it,
or dies.

=head2 queue($task, \@args, $priority, $max_tries)

Sends a task off and returns its id.

=head2 collect($id)

Waits for the result of a queued task and returns it, or dies. Each can be collected once. Results wait for as
long as the client lives; no more than C<max_tasks> of them.

=head2 submit($name, $args, %options)

Any task by its full name: C<perl:My::Task>, C<python:module:function>, or what a Rust program calls it. Returns an
L<Argon::Deferred>. C<$args> is an array reference of arguments; a hash reference with C<args> and C<kwargs>; a reference
to a string, which is sent as bytes; or C<undef>. A result of bytes is returned as a string of bytes.

Options, all in seconds where they are times:

=over

=item priority, max_tries

As above.

=item deadline

The task ends as C<expired> if it has not ended by then.

=item max_wait

It is rejected when it has not started by then.

=item time_limit

It is killed when one attempt has run this long.

=item max_attempts

How often it may be started when workers are lost or crash under it, 1 to 16; 3.

=item at_most_once

It is never started twice, and ends as C<lost> if its worker is lost.

=back

=head2 call($name, $args, %options)

C<submit> that waits for the result.

=head1 OTHER METHODS

=head2 connect

Makes the connection now. Dies as C<connect_timeout> says.

=head2 pump($seconds)

Takes in what has come, answers the manager's heartbeats, and sends what waits; for C<$seconds>, or without waiting. Returns
how many tasks have not ended.

=head2 pending

How many tasks have not ended, without looking.

=head2 server_status

A hash (in scalar context a reference to it):

=over

=item workers, total_capacity, current_capacity, queue_length

How many workers there are, how many tasks they run at once, how many of those places are free, and how many tasks
wait.

=item pending

What is with which worker since how many seconds: C<< { $worker => { $id => $age } } >>. Ids are those of C<queue> and
of C<id> of L<Argon::Deferred>. A worker that has nothing to do has an empty hash.

=item manager, worker_list, client_list, groups

All that the manager says of itself, its workers and its clients; times in nanoseconds. C<groups> says what the
workers can run. The rows of workers and clients say in C<holder> whose key they came with, if it says so. With a key
that does not have the role C<observe>, there are only C<groups>, C<manager> and the sums.

=back

Dies if no manager answers within 10 seconds.

=head2 shutdown, disconnect

Leaves the manager. Tasks that have not ended are dropped there, or killed if they run, and die here. It also happens
when the program ends or the client is destroyed. Using the client again connects it again.

=head2 split_address($address)

A function: host and port of C<host:port> or C<[::1]:port>.

=head1 ERRORS

Tasks that have no result die with an L<Argon::Error>, which as a string is the message. If the task died, that
is its message to the letter, with the file and line of the code that it was shipped from. Wrong use dies at once, from
the caller's point of view. That a sub cannot be shipped is said with the variable that is the reason.

=head1 A CLIENT THAT IS BUSY

A manager that hears nothing from a client for a lease (2 seconds) closes the connection. It keeps the client's
tasks and results for 30 seconds. A program that computes for longer than the lease between two calls of its client
therefore finds the connection closed. The next call connects again and resumes, and no task runs twice and
nothing is lost; it costs a few round trips.

After more than 30 seconds the manager has given the client up: tasks that waited are dropped, tasks that ran are killed, and
results that were not fetched are forgotten. The next call submits them all again. Tasks then may run twice, except
those marked C<at_most_once>, which end as C<lost> if they may have started.

So call C<< $client->pump >> now and then in long computations. It takes microseconds if there is nothing to do.

    for my $row (@rows) {
        compute($row);
        $client->pump;
    }

=head1 SIGNALS AND FORKS

A handler of a signal may die while the client waits, as with C<alarm>. The connection is then dropped, and the
next call resumes; tasks are not affected. A handler cannot use the client while it is in use.

After C<fork> the child has a client of its own, with a connection of its own when it is first used. Tasks that the parent has
submitted stay with the parent; in the child their deferreds die.

=cut
