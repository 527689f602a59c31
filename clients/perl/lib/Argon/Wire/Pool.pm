package Argon::Wire::Pool;

use 5.030;
use strict;
use warnings;

use Argon::Wire qw(:all);
use Exporter qw(import);

our $VERSION   = '0.1.0';
our @EXPORT_OK = qw(ready run completed failed decode CAPABILITIES_MAX);

use constant CAPABILITIES_MAX => 512;

sub ready {
    my ($capabilities) = @_;
    return frame(PLAIN, pack('V a4 v v', 0, MAGIC, MAJOR, MINOR) . w_list(\&w_name, $capabilities), '');
}

sub run {
    my ($id, $name, $content, $payload) = @_;
    return frame($content, pack('V Q<', 1, $id) . w_name($name), $payload);
}

sub completed {
    my ($id, $ran, $content, $payload) = @_;
    return pack('V C V Q< Q<', 21 + length $payload, $content, 2, $id, $ran) . $payload;
}

sub failed {
    my ($id, $ran, $error, $content, $payload) = @_;
    return frame($content, pack('V Q< Q<', 3, $id, $ran) . w_error($error), $payload);
}

sub decode {
    my ($content, $body) = @_;
    reading($body);
    my $tag = r_u32();
    my $message
        = $tag == 0 ? _ready()
        : $tag == 1 ? { type => 'run', id => r_u64(), name => r_name() }
        : $tag == 2 ? { type => 'completed', id => r_u64(), ran => r_u64() }
        : $tag == 3 ? { type => 'failed', id => r_u64(), ran => r_u64(), error => r_error() }
        :             die "an unknown message of the pool protocol\n";
    @$message{qw(content payload)} = ($content, $tag == 0 ? '' : r_rest());
    return $message;
}

sub _ready {
    for my $byte (split //, MAGIC) {
        die "no Ready\n" if r_u8() != ord $byte;
    }
    return { type => 'ready', version => [r_u16(), r_u16()], capabilities => r_list(\&r_name) };
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Wire::Pool - the messages of Argon's pool protocol

=head1 SYNOPSIS

    use Argon::Wire::Pool;

    print {$pipe} Argon::Wire::Pool::ready(['perl:*']);
    my $message = Argon::Wire::Pool::decode($content, $body);

=head1 DESCRIPTION

The four messages that a worker and its pool processes exchange, as F<docs/pool-protocol.md> of Argon
describes them.

=head1 FUNCTIONS

=over

=item ready(\@capabilities), run($id, $name, $content, $payload), completed($id, $ran, $content, $payload), failed($id, $ran, \%error, $content, $payload)

Whole frames. Times are in nanoseconds.

=item decode($content, $body)

A hash with C<type> (C<ready>, C<run>, C<completed> or C<failed>), the fields of the message, and its
C<content> and C<payload>. Dies if the body makes no sense.

=back

=cut
