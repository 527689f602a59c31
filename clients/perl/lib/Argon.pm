package Argon;

use 5.030;
use strict;
use warnings;

use Exporter qw(import);

our $VERSION = '0.1.0';

# How important a task is: 0 is the most, 7 the least.
our $PRI_HIGH   = 2;
our $PRI_NORMAL = 4;
our $PRI_LOW    = 6;
Internals::SvREADONLY($_, 1) for $PRI_HIGH, $PRI_NORMAL, $PRI_LOW;

our @EXPORT_OK   = qw($PRI_HIGH $PRI_NORMAL $PRI_LOW);
our %EXPORT_TAGS = (priorities => \@EXPORT_OK);

1;

__END__

=encoding utf8

=head1 NAME

Argon - runs functions on other machines, from Perl

=head1 SYNOPSIS

    use Argon qw(:priorities);
    use Argon::Client;

    my $client = Argon::Client->new(host => 'mgrhost', port => 8000);
    my $result = $client->process('My::Task', [4, 7], $PRI_HIGH);

=head1 DESCRIPTION

Argon spreads tasks over machines and stays responsive when too many arrive. A manager (C<argon manager>) queues
tasks, workers (C<argon worker>) run them in pools of processes, and clients send them and get the results. This
distribution has what Perl needs of it:

=over

=item L<Argon::Client>

The client: C<process>, C<defer>, C<queue> and C<collect>, C<server_status>.

=item L<Argon::Simple>

The same with less typing, for programs that use one manager.

=item L<argon-pool>, L<Argon::Pool>

The runtime: what a worker's processes run so that tasks can be in Perl.

=back

The C<argon> program itself is not part of it.

=head2 From nothing to a result

    argon manager --port 8000
    argon worker --manager localhost:8000 --allow-eval -- argon-pool

    perl -MArgon::Simple -e 'connect "localhost:8000"; my $r = process { $_[0] ** 2 } 12; print $r->(), "\n"'

=head1 PRIORITIES

C<$PRI_HIGH>, C<$PRI_NORMAL> and C<$PRI_LOW> are exported on request, one by one or as C<:priorities>. They are numbers
from 0 (most important) to 7, and so may be whatever is between.

=head1 SECURITY

Whoever reaches a manager that has no key can run tasks, and with C<--allow-eval> any code, and whoever is in between
can read and change what is said. Give all a key:

    argon keygen > argon.key
    argon keygen --from argon.key --role submit --name alice > alice.key
    argon manager --host 0.0.0.0 --port 8000 --key argon.key
    argon worker --manager mgrhost:8000 --key argon.key -- argon-pool

    my $client = Argon::Client->new(host => 'mgrhost', port => 8000, key => 'alice.key');

Connections are then TLS 1.3, and both sides show a key. C<ARGON_KEY> in the environment does for C<key>. Without keys,
connect over the loopback interface, or through a tunnel (C<ssh -L 8000:localhost:8000 mgrhost>).

=head1 REQUIREMENTS

Perl 5.30 or later with 64-bit integers. No other modules, but with a key L<Net::SSLeay> (Debian and Ubuntu:
C<libnet-ssleay-perl>, which C<libio-socket-ssl-perl> brings too).

=cut
