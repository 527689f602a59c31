package Argon::Window;

use 5.030;
use strict;
use warnings;

our $VERSION = '0.1.0';

use constant {
    FIRST       => 64,
    OUTCOMES    => 16,    # fewest between two widenings after a refusal
    QUIET       => 2,     # seconds without a refusal after which it widens without outcomes
};

sub new {
    my ($class, $max) = @_;
    my $self = bless { max => $max, sent => 0 }, $class;
    return $self->restart;
}

# Another manager, or another life of it: nothing is known of it.
sub restart {
    my ($self) = @_;
    my $first = $self->{max} < FIRST ? $self->{max} : FIRST;
    @$self{qw(size fresh outcomes round pause refused_at mark)}
        = ($first, 1, 0, $self->{sent}, 0, 0, undef);
    return $self;
}

sub size { return $_[0]{size} }

# Until when nothing is sent.
sub paused_until { return $_[0]{pause} }

# Whether a task may be sent with $held at the manager, of which $lesser are less important. An
# important one must not wait behind its own client's backlog.
sub admits {
    my ($self, $held, $lesser) = @_;
    return 1 if $held < $self->{size};
    my $beyond = $self->{size} >> 3;
    return $lesser > 0 && $held < $self->{size} + ($beyond > 4 ? $beyond : 4);
}

sub on_sent { return ++$_[0]{sent} }

# The number of the task that went out last.
sub last_sent { return $_[0]{sent} }

# A task that the manager had taken has ended.
sub on_outcome {
    my ($self) = @_;
    $self->{pause} = 0;
    if ($self->{fresh}) {
        $self->{size}++ if $self->{size} < $self->{max};
        return;
    }
    my $needed = $self->{size} > OUTCOMES ? $self->{size} : OUTCOMES;
    return if ++$self->{outcomes} < $needed;
    $self->{outcomes} = 0;
    $self->{size}++ if $self->{size} < $self->{max};
    return;
}

# The manager has taken in all that was sent until the last call with $sent, and refused nothing
# more of it than is known.
sub on_confirmed {
    my ($self, $now, $confirmed, $sent, $limiting) = @_;
    my $mark = $self->{mark};
    $self->{mark} = $sent if !defined $mark || $mark <= $confirmed;
    return if !$limiting || !defined $mark || $mark > $confirmed;
    my $step = $self->{fresh} ? $self->{size} : $now - $self->{refused_at} >= QUIET ? 1 : 0;
    $self->{size} += $step;
    $self->{size} = $self->{max} if $self->{size} > $self->{max};
    return;
}

# Task $number was refused for want of room; $held others are there. It narrows once for all that
# was sent before the last narrowing, to no more than the manager keeps.
sub on_refused {
    my ($self, $now, $number, $held, $delay) = @_;
    @$self{qw(refused_at fresh)} = ($now, 0);
    if ($number > $self->{round}) {
        @$self{qw(round outcomes)} = ($self->{sent}, 0);
        $self->{size} >>= 1;
    }
    $self->{size} = $held if $held < $self->{size};
    $self->{size} = 1 if $self->{size} < 1;
    # With nothing there, no outcome will say that there is room.
    $self->{pause} = $now + $delay if !$held && $now + $delay > $self->{pause};
    return;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Window - how many tasks a client has at its manager at once

=head1 DESCRIPTION

As many as the manager accepts, and no more than the client wants. It begins with 64, widens while nothing is
refused, narrows to what the manager keeps when something is, and then widens slowly, so that a client
of an overloaded manager has a task refused now and then, and not every one. It touches no task.

=head1 METHODS

=over

=item new($max), restart, size

A window; nothing is known any more; how wide it is.

=item admits($held, $lesser), paused_until

Whether one more may go out; until when none may.

=item on_sent, on_outcome, on_confirmed($now, $confirmed, $sent, $limiting), on_refused($now, $number, $held, $delay)

What has happened. C<on_sent> numbers the tasks.

=item last_sent

The number of the task that went out last.

=back

=cut
