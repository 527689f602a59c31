package Argon::Simple;

use 5.030;
use strict;
use warnings;

use Argon::Client;
use Carp qw(croak);
use Exporter qw(import);

our $VERSION   = '0.1.0';
our @EXPORT    = qw(connect process task);
our @EXPORT_OK = qw(client);
our @CARP_NOT  = qw(Argon::Client);

my (%clients, $current);

sub connect {
    my $address = shift;
    my $port = @_ % 2 ? shift : undef;
    my %options = @_;
    my $key = delete $options{key};
    croak 'connect takes "host:port", or a host and a port, and key => FILE' if !defined $address || %options;
    if (defined $port) {
        $address = $address =~ /:/ && $address !~ /^\[/ ? "[$address]:$port" : "$address:$port";
    }
    my $which = join "\0", $address, ref $key ? @$key : $key // ();
    return $current = $clients{$which} //= Argon::Client->new(addresses => $address, key => $key);
}

sub client {
    return $current // croak 'there is no connection; call connect first';
}

sub process(&@) {
    my ($code, @args) = @_;
    return _started(client()->defer($code, \@args));
}

sub task {
    my ($class, @args) = @_;
    return _started(client()->defer($class, \@args));
}

sub _started {
    my ($deferred) = @_;
    return $deferred if !(caller 1)[5];
    return ($deferred, sub { $deferred->is_finished });
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Simple - runs functions on other machines, with little typing

=head1 SYNOPSIS

    use Argon::Simple;

    connect 'mgrhost:8000';

    my $result = process { $_[0] * $_[1] } 4, 7;
    print $result->(), "\n";    # 28

    my ($answer, $is_finished) = process { $_[0] * $_[1] } 4, 7;
    do { select undef, undef, undef, 0.01 } until $is_finished->();

    my $task = task 'My::Task::Class', 4, 7;
    print $task->(), "\n";

=head1 DESCRIPTION

For programs that use one manager: connect once, then C<process> and C<task> from anywhere in the program. See
L<Argon::Client> for what happens underneath, and L<Argon::Code> for what code can be shipped.

=head1 FUNCTIONS

The first three are exported.

=over

=item connect($host_and_port, %options), connect($host, $port, %options)

Sets the manager that C<process> and C<task> use, and returns its L<Argon::Client>: for the same address always the
same one. The only option is C<key>, a key file or several in an array reference, as for
L<Argon::Client>. The connection is made at first use. Several addresses, separated by commas, are tried in turn.

It hides perl's own C<connect> in the package that imports it; that is still there as C<CORE::connect>.

=item process { code } @args

Ships the code and runs it on a worker with C<@args>. In scalar context returns an L<Argon::Deferred>: a code
reference that waits for the result and returns it, or dies as the code did. In list context returns in addition
a code reference that tells whether the task has ended, without waiting.

    print process { 1 } ;      # list context: two references
    my $r = process { 1 };     # scalar context: one

Workers refuse code unless they were started with C<--allow-eval>.

=item task $class, @args

The same with C<< $class->new(@args)->run >>, where the worker has that class on its include path.

=item client

The client that was connected last.

=back

=cut
