package Argon::Retry;

use 5.030;
use strict;
use warnings;

our $VERSION = '0.1.0';

use constant {
    RETRIES  => 10,
    BASE     => 0.025,    # ceiling of the first delay's random part; it doubles with each
    CAP      => 5,
    HINT_MAX => 60,       # a manager that advises more is broken, not busy
};

# Seconds after the rejection number $tries (from 0) of a task, with the manager's advice: that, and
# on top of it a random part, so that clients that were refused together do not come back together.
sub delay {
    my ($tries, $hint) = @_;
    $hint = HINT_MAX if $hint > HINT_MAX;
    return $hint + rand ceiling($tries);
}

sub ceiling {
    my ($tries) = @_;
    my $most = BASE * 2**($tries > 20 ? 20 : $tries);
    return $most < CAP ? $most : CAP;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Retry - how long a rejected task waits

=head1 FUNCTIONS

=over

=item delay($tries, $hint)

Seconds until the next try, after C<$tries> earlier ones, when the manager advised C<$hint> seconds: the advice, and
a random part that grows from 25 ms to 5 s.

=item ceiling($tries)

The most that the random part can be.

=back

=cut
