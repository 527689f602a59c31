package Argon::Status;

use 5.030;
use strict;
use warnings;

use Argon::Error;
use Argon::Link;
use Argon::Wire qw(NANOS);
use Argon::Wire::Native;

our $VERSION = '0.1.0';

use constant LOOK_EVERY => 0.05;

# Asks the first manager that answers, as an observer. $tick is called now and then.
sub ask {
    my ($addresses, $name, $seconds, $tick) = @_;
    my $self = bless {}, __PACKAGE__;
    my $link = $self->{link}
        = Argon::Link->new(addresses => $addresses, role => 'observer', name => $name, owner => $self);
    my $until = Argon::Link::now() + $seconds;
    while (!$self->{done}) {
        my $now = Argon::Link::now();
        if ($now >= $until || $self->{refused}) {
            my $problem = $link->problem // $link->address . ': no answer';
            Argon::Error->throw(
                outcome => 'not_connected', message => "cannot reach a manager: $problem");
        }
        my $wake = $link->step($now);
        $wake = $now + LOOK_EVERY if $wake > $now + LOOK_EVERY;
        $link->turn($now, $wake);
        $tick->();
    }
    $link->send(Argon::Wire::Native::encode({ type => 'goodbye' }));
    $link->flush;
    $link->stop;
    return $self->_report;
}

sub on_up {
    my ($self) = @_;
    @$self{qw(status workers clients running)} = (undef, [], [], []);
    $self->_ask('status_query', 0);
    return;
}

sub _ask {
    my ($self, $type, $page) = @_;
    $self->{page} = $page;
    $self->{link}->send(Argon::Wire::Native::encode({ type => $type, page => $page }));
    return;
}

sub on_down { return }
sub on_confirmed { return }

sub on_refused {
    my ($self, $reason) = @_;
    $self->{refused} = $reason;
    return;
}

sub on_message {
    my ($self, $now, $message) = @_;
    my $next = $self->{page} + 1;
    if ($message->{type} eq 'status') {
        $self->{status} //= $message;
        push @{ $self->{$_} }, @{ $message->{$_} } for qw(workers clients);
        return $self->_ask($message->{more} ? ('status_query', $next) : ('running_query', 0));
    }
    die "it said $message->{type}, which is not for observers\n" if $message->{type} ne 'running';
    push @{ $self->{running} }, @{ $message->{tasks} };
    return $self->_ask('running_query', $next) if $message->{more};
    $self->{done} = 1;
    return;
}

sub _report {
    my ($self) = @_;
    my $manager = $self->{status}{manager};
    my %pending;
    for my $row (@{ $self->{running} }) {
        $pending{ $row->{worker} }{ sprintf '%016x-%d', @$row{qw(peer seq)} } = $row->{age} / NANOS;
    }
    my $free = $manager->{capacity} - $manager->{assigned};
    return {
        workers          => $manager->{workers},
        total_capacity   => $manager->{capacity},
        current_capacity => $free > 0 ? $free : 0,
        queue_length     => $manager->{queued},
        pending          => \%pending,
        manager          => $manager,
        worker_list      => $self->{workers},
        client_list      => $self->{clients},
        kinds            => $self->{status}{kinds},
    };
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Status - what a manager says about itself

=head1 DESCRIPTION

For C<server_status> of L<Argon::Client>. Only observers may ask, so this has a connection of its own, for as long as
the answer takes.

=head1 FUNCTIONS

=over

=item ask(\@addresses, $name, $seconds, $tick)

The report. Dies with an L<Argon::Error> if nobody answers in time. C<$tick> is called at least every 50 ms.

=item on_up, on_down, on_message, on_confirmed, on_refused

What the L<Argon::Link> says.

=back

=cut
