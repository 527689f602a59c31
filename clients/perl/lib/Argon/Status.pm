package Argon::Status;

use 5.030;
use strict;
use warnings;

use Argon::Wire qw(NANOS);
use Argon::Wire::Native;

our $VERSION = '0.1.0';

use constant PAGES_MAX => 512;

sub new {
    my ($class) = @_;
    return bless {}, $class;
}

# What to send first. Whatever was heard before is forgotten.
sub first {
    my ($self) = @_;
    %$self = (workers => [], clients => [], running => []);
    return $self->_question('status_query', 0);
}

sub _question {
    my ($self, $type, $page) = @_;
    $self->{page} = $page;
    return Argon::Wire::Native::encode({ type => $type, page => $page });
}

# Takes in an answer. Returns what to send next, or nothing if that was the last.
sub take {
    my ($self, $message) = @_;
    my $next = $self->{page} + 1;
    if ($message->{type} eq 'status') {
        $self->{status} //= $message;
        push @{ $self->{$_} }, @{ $message->{$_} } for qw(workers clients);
        return $self->_question($message->{more} && $next < PAGES_MAX ? ('status_query', $next) : ('running_query', 0));
    }
    push @{ $self->{running} }, @{ $message->{tasks} };
    return $self->_question('running_query', $next) if $message->{more} && $next < PAGES_MAX;
    $self->{report} = $self->_report;
    return;
}

sub report { return $_[0]{report} }

sub _report {
    my ($self) = @_;
    my $manager = $self->{status}{manager};
    # Idle workers have an entry too: it shows who is there.
    my %pending = map { $_->{name} => {} } @{ $self->{workers} };
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
        groups            => $self->{status}{groups},
    };
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Status - what a manager says about itself

=head1 DESCRIPTION

The questions of C<server_status> of L<Argon::Client>, and what is made of the answers: page after page of the status, then
of what runs where.

=head1 METHODS

=over

=item new, first, take(\%message)

A report to be made; what to send first, also once more after a new connection; takes in an answer and returns what to
send next, or nothing.

=item report

The report, when all is there.

=back

=cut
