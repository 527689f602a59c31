package Argon::Link;

use 5.030;
use strict;
use warnings;

use Argon::Wire qw(take_frame HEADER_MAX NANOS NO_LIMIT);
use Argon::Wire::Native;
use IO::Handle;
use Errno qw(EINPROGRESS EINTR EWOULDBLOCK EAGAIN);
use List::Util qw(max min);
use Scalar::Util qw(weaken);
use Socket qw(
    getaddrinfo SOCK_STREAM IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_ERROR
);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

our $VERSION = '0.1.0';

use constant {
    HANDSHAKE      => 1.5,
    LEASE          => 2,
    LEASE_MIN      => 0.02,     # whatever the manager says, so that it cannot have us ping without rest
    LEASE_MAX      => 3_600,    # nor wait for ever for one that is gone
    PAYLOAD_MAX    => 1 << 30,  # bytes, whatever the manager says that it takes
    PINGS          => 4,        # a lease
    DELAY_FIRST    => 0.02,
    DELAY_MAX      => 1,
    STEADY         => 1,        # a connection that lived this long was a good one
    GREETING_MAX   => 4_096,
    READ_BYTES     => 262_144,
    READS          => 16,       # in one turn
    OUT_BYTES_MAX  => 1 << 20,  # beyond it nothing new is written for now
};

my %WORDS = (
    key_required => 'it wants a key, and this client has none; give one that comes from its own (key => FILE, or '
        . 'ARGON_KEY)',
    not_allowed  => q(this client's key does not have the role `submit`; whoever holds the cluster's key can make )
        . 'one that has (argon keygen --from KEY --role submit)',
    other_holder => q(its session belongs to another key's holder),
);

# How a connection may end, in words.
use constant CUT => qr/^(?:the connection is closed|Connection reset by peer|Broken pipe)/;
# From dialling to the manager's welcome; `opening` is when keys are shown.
use constant SHAKING => qr/^(?:connecting|opening|greeting)$/;

# A write to a connection that is gone is an error and no signal, where the system can do that.
use constant QUIETLY => eval { Socket::MSG_NOSIGNAL() } // 0;

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# `owner` is told: on_up($welcome), on_down($why), on_message($message), on_refused($reason).
sub new {
    my ($class, %options) = @_;
    my $self = bless {
        addresses  => $options{addresses},
        name       => $options{name},
        keys       => $options{keys},
        peer       => _random_id(),
        owner      => $options{owner},
        state      => 'waiting',
        until      => 0,
        address    => 0,
        failures   => 0,
        connection => 0,
        session    => undef,
        lease      => LEASE,
        problem    => undef,
        has_runs   => 0,
    }, $class;
    weaken $self->{owner};
    $self->_clear;
    return $self;
}

sub _random_id {
    if (open my $random, '<:raw', '/dev/urandom') {
        my $bytes = '';
        return unpack 'Q', $bytes if (sysread($random, $bytes, 8) // 0) == 8;
    }
    return int(rand 2**32) << 32 | int(rand 2**32);
}

sub _clear {
    my ($self) = @_;
    @$self{qw(inbox at out wire tls)} = ('', 0, '', '', undef);
    @$self{qw(received sent marks confirmed nonce targets)} = (0, 0, [], 0, 0, []);
    return;
}

sub is_up   { return $_[0]{state} eq 'up' }

sub address {
    my ($self) = @_;
    my ($host, $port) = @{ $self->{addresses}[ $self->{address} ] };
    return $host =~ /:/ ? "[$host]:$port" : "$host:$port";
}

# Whether the manager understands messages that speak of many tasks.
sub has_runs { return $_[0]{has_runs} }

sub problem { return $_[0]{problem} }
sub lease   { return $_[0]{lease} }
sub session { return $_[0]{session} }

# Bytes that wait to be written.
sub unsent { return length($_[0]{out}) + length $_[0]{wire} }

# Whether more may be queued for writing.
sub has_room { return $_[0]->unsent < OUT_BYTES_MAX }

# Queues a message, as bytes, and counts it.
sub send {
    my ($self, $frame) = @_;
    return 0 if $self->{state} ne 'up';
    $self->{out} .= $frame;
    $self->{sent}++;
    return 1;
}

# Does what is due, and tells when to come back at the latest.
sub step {
    my ($self, $now) = @_;
    my $state = $self->{state};
    if ($state eq 'waiting') {
        $self->_dial($now) if $self->{until} <= $now;
    } elsif ($state =~ SHAKING) {
        $self->_fail($now, 'no answer within ' . HANDSHAKE . ' s') if $self->{until} <= $now;
    } elsif ($state eq 'up') {
        my $quiet = $self->silent_at;
        if ($quiet <= $now) {
            $self->down($now, 'the manager is silent');
        } elsif ($self->{ping_at} <= $now) {
            $self->ping($now);
        }
    }
    return $self->due;
}

# When something is next to be done.
sub due {
    my ($self) = @_;
    return $self->{until} if $self->{state} ne 'up';
    my $quiet = $self->silent_at;
    return $quiet < $self->{ping_at} ? $quiet : $self->{ping_at};
}

# When the manager counts as silent: a lease after it was heard, or after something was sent that
# it says it has not taken in.
sub silent_at {
    my ($self) = @_;
    my $since = $self->{heard};
    my $mark  = $self->{marks}[0];
    $since = $mark->[1] if $mark && $mark->[1] < $since;
    return $since + $self->{lease};
}

sub ping {
    my ($self, $now) = @_;
    $self->{ping_at} = $now + $self->{lease} / PINGS;
    my $marks = $self->{marks};
    push @$marks, [$self->{sent}, $now]
        if $self->{sent} > (@$marks ? $marks->[-1][0] : $self->{confirmed});
    $self->{out} .= Argon::Wire::Native::encode(
        { type => 'ping', nonce => ++$self->{nonce}, received => $self->{received} });
    return;
}

# Nobody has looked at the connection for a while: that is our silence and not the manager's.
sub forgive {
    my ($self, $now) = @_;
    $self->_progressed($now);
    $self->{ping_at} = $now if defined $self->{ping_at};
    $self->{until} = $now + HANDSHAKE if $self->{state} =~ SHAKING;
    return;
}

# The manager lives, and what was sent has still time to get there.
sub _progressed {
    my ($self, $now) = @_;
    $self->{heard} = $now;
    $_->[1] = $now for @{ $self->{marks} };
    return;
}

sub _dial {
    my ($self, $now) = @_;
    $self->_clear;
    my ($host, $port) = @{ $self->{addresses}[ $self->{address} ] };
    $self->{state} = 'connecting';
    $self->{until} = $now + HANDSHAKE;
    my ($error, @found)
        = getaddrinfo($host, $port, { socktype => SOCK_STREAM, protocol => IPPROTO_TCP });
    return $self->_fail($now, "$host: $error") if !@found;
    $self->{targets} = \@found;
    return $self->_dial_next($now, "$host: no address");
}

# The next of the addresses that the host's name stands for.
sub _dial_next {
    my ($self, $now, $problem) = @_;
    while (my $target = shift @{ $self->{targets} }) {
        undef $self->{socket};
        if (!socket my $socket, $target->{family}, SOCK_STREAM, IPPROTO_TCP) {
            $problem = "$!";
        } else {
            $socket->blocking(0);
            setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
            $self->{socket} = $socket;
            return if connect($socket, $target->{addr}) || $! == EINPROGRESS || $! == EINTR;
            $problem = "$!";
        }
    }
    return $self->_fail($now, $problem);
}

# A try that came to nothing: the next manager of the list, and a rest after all of them.
sub _fail {
    my ($self, $now, $problem) = @_;
    $self->{problem} = $self->address . ": $problem";
    close delete $self->{socket} if $self->{socket};
    my $rounds = int(++$self->{failures} / @{ $self->{addresses} });
    $self->{address} = ($self->{address} + 1) % @{ $self->{addresses} };
    $self->{state} = 'waiting';
    $self->{until} = $now;
    if ($self->{failures} % @{ $self->{addresses} } == 0) {
        my $most = DELAY_FIRST * 2**($rounds > 10 ? 10 : $rounds);
        $most = DELAY_MAX if $most > DELAY_MAX;
        $self->{until} += $most / 2 + rand $most / 2;
    }
    return;
}

# A connection that was up is no more; it is dialled again, at once if it was a good one.
sub down {
    my ($self, $now, $why) = @_;
    return if $self->{state} eq 'stopped';
    my $was_up = $self->{state} eq 'up';
    my $steady = $was_up && $now - $self->{since} >= STEADY;
    if ($steady || !$was_up) {
        $self->{problem} = $self->address . ": $why";
        close delete $self->{socket} if $self->{socket};
        @$self{qw(state until)} = ('waiting', $now);
        $self->{failures} = 0 if $steady;
    } else {
        $self->_fail($now, $why);
    }
    $self->_clear;
    $self->{owner}->on_down($why) if $was_up;
    return;
}

# Leaves this manager for the next of the list.
sub move_on {
    my ($self, $now) = @_;
    $self->_write;
    my $next = ($self->{address} + 1) % @{ $self->{addresses} };
    $self->down($now, 'it has no workers');
    @$self{qw(address until failures)} = ($next, $now, 0);
    return;
}

# Closes for good, or for another process without a word.
sub stop {
    my ($self) = @_;
    close delete $self->{socket} if $self->{socket};
    $self->{state} = 'stopped';
    $self->_clear;
    return;
}

# Waits at most until $wake for something to read or write, and does that.
sub turn {
    my ($self, $now, $wake) = @_;
    my $socket = $self->{socket};
    my $wait = $wake - $now;
    $wait = 0 if $wait < 0;
    if (!$socket) {
        select undef, undef, undef, $wait if $wait > 0;
        return;
    }
    my $number = fileno $socket;
    my ($reads, $writes) = ('', '');
    vec($reads, $number, 1) = 1;
    vec($writes, $number, 1) = 1 if $self->{state} eq 'connecting' || $self->unsent;
    my $ready = select $reads, $writes, undef, $wait;
    return if $ready <= 0;
    $now = now();
    if ($self->{state} eq 'connecting') {
        $self->_connected($now);
        return;
    }
    $self->flush if vec $writes, $number, 1;
    $self->_read($now) if vec($reads, $number, 1) && $self->{socket};
    return;
}

sub _connected {
    my ($self, $now) = @_;
    my $error = unpack 'i', getsockopt $self->{socket}, SOL_SOCKET, SO_ERROR;
    if ($error) {
        local $! = $error;
        return $self->_dial_next($now, "$!");
    }
    return $self->_greet if !$self->{keys};
    $self->{state} = 'opening';
    $self->{tls} = $self->{keys}->open;
    $self->{wire} = $self->{tls}->take;
    return $self->flush;
}

# What the connection is open for.
sub _greet {
    my ($self) = @_;
    $self->{state} = 'greeting';
    $self->{out} = Argon::Wire::Native::encode({
        type => 'hello', role => 'client', peer => $self->{peer},
        connection => ++$self->{connection}, session => $self->{session}, name => $self->{name},
    });
    return $self->flush;
}

# Writes as much as goes without waiting.
sub flush {
    my ($self) = @_;
    my $now = now();
    my $error = $self->_write or return;
    # What the manager said last may be there still, a refusal for instance.
    $self->_read($now) if $self->{socket};
    return $self->_gone($now, $error) if $self->{socket};
    return;
}

sub _write {
    my ($self) = @_;
    my ($tls, $ready) = ($self->{tls}, $self->{tls} ? 'wire' : 'out');
    while (1) {
        # A little at a time is encrypted, as it goes: many messages make one record.
        $self->{wire} = $tls->send(\$self->{out}) if $tls && !length $self->{wire} && length $self->{out};
        last if !length $self->{$ready};
        local $SIG{PIPE} = 'IGNORE' if !QUIETLY;
        my $wrote = CORE::send $self->{socket}, $self->{$ready}, QUIETLY;
        if (!defined $wrote) {
            next if $! == EINTR;
            return $! == EAGAIN || $! == EWOULDBLOCK ? undef : "$!";
        }
        substr($self->{$ready}, 0, $wrote, '');
    }
    return;
}

sub _read {
    my ($self, $now) = @_;
    for (1 .. READS) {
        my $tls = $self->{tls};
        my $got = $tls
            ? sysread $self->{socket}, my $sealed, READ_BYTES
            : sysread $self->{socket}, $self->{inbox}, READ_BYTES, length $self->{inbox};
        if (!defined $got) {
            next if $! == EINTR;
            return if $! == EAGAIN || $! == EWOULDBLOCK;
            return $self->_gone($now, "$!");
        }
        return $self->_gone($now, 'the connection is closed') if !$got;
        $self->{heard} = $now;
        if ($tls) {
            $self->_unseal($now, $sealed) or return;
        }
        eval { $self->_take($now); 1 } or return $self->_broken($now, $@);
        return if !$self->{socket} || $got < READ_BYTES;
    }
    return;
}

# Takes in bytes of TLS. Returns whether there is somebody to listen to still.
sub _unseal {
    my ($self, $now, $sealed) = @_;
    my $tls = $self->{tls};
    my $said = eval { $tls->receive($sealed) };
    if (!defined $said) {
        $self->_gone($now, $@ =~ s/\n\z//r);
        return 0;
    }
    $self->{inbox} .= $said;
    # TLS has words of its own to answer.
    $self->{wire} .= $tls->take;
    $self->_greet if $self->{state} eq 'opening' && $tls->is_ready;
    return $self->{socket} && $self->{tls} && $self->{tls} == $tls;
}

# What was said makes no sense. Errors that are no words of ours are for who called us.
sub _broken {
    my ($self, $now, $error) = @_;
    $self->_gone($now, "the manager broke the protocol: $error" =~ s/\n\z//r);
    die $error if ref $error || $error =~ / line \d+\.?\n\z/;
    return;
}

sub _gone {
    my ($self, $now, $why) = @_;
    # While keys are shown, it matters who has ended it, and when; how is all the same.
    $why = $self->{tls}->cut if $self->{state} eq 'opening' && $why =~ CUT;
    return $self->{state} eq 'up' ? $self->down($now, $why) : $self->_fail($now, $why);
}

# Takes in all frames that are complete.
sub _take {
    my ($self, $now) = @_;
    my $socket = $self->{socket};
    while (1) {
        my $limit
            = $self->{state} eq 'up' ? 1 + HEADER_MAX + $self->{payload_max} : GREETING_MAX;
        my ($content, $body) = take_frame($self->{inbox}, $self->{at}, $limit);
        last if !defined $body;
        $self->_hear($now, Argon::Wire::Native::decode($content, $body));
        return if !$self->{socket} || $self->{socket} != $socket;
    }
    substr($self->{inbox}, 0, $self->{at}, '');
    $self->{at} = 0;
    return;
}

sub _hear {
    my ($self, $now, $message) = @_;
    my $type = $message->{type};
    return $self->_greeted($now, $message) if $self->{state} ne 'up';
    if ($type eq 'pong') {
        my $count = $message->{received};
        die "it has counted $count messages of $self->{sent}\n" if $count > $self->{sent};
        $self->{confirmed} = $count if $count > $self->{confirmed};
        my $marks = $self->{marks};
        shift @$marks while @$marks && $marks->[0][0] <= $count;
        $self->{owner}->on_confirmed($now);
        return;
    }
    # Our frame waits at the manager: what was sent is late for a reason.
    return $self->_progressed($now) if $type eq 'paused';
    $self->{received}++;
    $self->{owner}->on_message($now, $message);
    return;
}

sub _greeted {
    my ($self, $now, $message) = @_;
    if ($message->{type} eq 'refuse') {
        my $reason = $message->{reason};
        my $words = "refused: $reason" =~ s/_/ /gr;
        $words .= ": $WORDS{$reason}" if $WORDS{$reason};
        $words .= ': it speaks version ' . join '.', @{ $message->{version} } if $reason eq 'version';
        $self->_fail($now, $words);
        $self->{owner}->on_refused($reason);
        return;
    }
    die "it said $message->{type} instead of Welcome\n" if $message->{type} ne 'welcome';
    my ($major, $minor) = @{ $message->{version} };
    die "it speaks version $major.$minor\n" if $major != Argon::Wire::Native::MAJOR;
    $self->{has_runs} = $minor >= Argon::Wire::Native::RUNS_MINOR;
    my $epoch = $message->{epoch};
    # What it says of another's life does not hold for ours.
    my $resumed = $message->{resumed} && defined $self->{session} && $self->{session} == $epoch;
    @$self{qw(state session payload_max)} = ('up', $epoch, min($message->{payload_max}, PAYLOAD_MAX));
    my $lease = $message->{lease} == NO_LIMIT ? LEASE : $message->{lease} / NANOS;
    $self->{lease} = max(LEASE_MIN, min($lease, LEASE_MAX));
    @$self{qw(since heard ping_at)} = ($now, $now, $now + $self->{lease} / PINGS);
    $self->{problem} = undef;
    $self->{owner}->on_up($now, { %$message, resumed => $resumed, payload_max => $self->{payload_max} });
    return;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Link - the connection of a client to its manager

=head1 DESCRIPTION

Dials the first manager of a list that answers, greets it, sends heartbeats, notices silence, and comes back for
ever: at once, then with delays that double up to a second. It is told the time, and keeps no thread or timer, so it
is alive only while it is called. L<Argon::Client> is what programs use.

=head1 METHODS

=over

=item new(addresses => [[$host, $port], ...], name => $name, keys => $keys, owner => $object)

With C<keys>, an L<Argon::Keys>, connections are TLS.

The owner is told of what happens: C<on_up($now, \%welcome)>, C<on_down($why)>, C<on_message($now, \%message)>,
C<on_confirmed($now)> and C<on_refused($reason)>. It is held weakly.

=item step($now), due

Does what is due; tells when the next thing is.

=item turn($now, $wake)

Waits for the socket, until C<$wake> at the latest, reads and writes.

=item send($frame), flush, has_room, unsent, ping($now)

Queues a message that counts; writes what goes without waiting; whether the queue has room, and how many bytes are
in it; asks for a sign of life.

=item forgive($now)

Says that nobody looked at the connection for a while, so that the manager is not thought silent.

=item down($now, $why), move_on($now), stop

Drops the connection and dials again; goes to the next manager; closes for good.

=item is_up, has_runs, address, problem, lease, session, silent_at, now

What is known.

=back

=cut
