package Argon::Wire::Pool;

use 5.030;
use strict;
use warnings;

use Argon::Wire qw(:all);
use Exporter qw(import);
use List::Util qw(sum0);

our $VERSION   = '0.1.0';
our @EXPORT_OK = qw(ready run run_many completed completed_many failed decode
    CAPABILITIES_MAX MINOR_RUNS RUN_TASKS_MAX RUN_BYTES_MAX);

use constant {
    CAPABILITIES_MAX => 512,
    # The minor version that has runs, and their bounds.
    MINOR_RUNS       => 1,
    RUN_TASKS_MAX    => 1_024,
    RUN_BYTES_MAX    => 30_720,
};

sub ready {
    my ($capabilities, $minor) = @_;
    return frame(PLAIN, pack('V a4 v v', 0, MAGIC, MAJOR, $minor // MINOR_RUNS) . w_list(\&w_name, $capabilities), '');
}

sub run {
    my ($id, $name, $content, $payload) = @_;
    return frame($content, pack('V Q<', 1, $id) . w_name($name), $payload);
}

sub completed {
    my ($id, $ran, $content, $payload) = @_;
    return pack('V C V Q< Q<', 21 + length $payload, $content, 2, $id, $ran) . $payload;
}

# What runs would say whose ids follow that of the first.
sub run_many {
    my ($id, $name, $content, $payloads) = @_;
    my $sizes = pack 'Q< V*', scalar @$payloads, map { length } @$payloads;
    return frame($content, pack('V Q<', 4, $id) . w_name($name) . $sizes, join '', @$payloads);
}

# What completed ones would say whose ids follow that of the first: of each how long it ran, and its result.
sub completed_many {
    my ($id, $content, $rans, $payloads) = @_;
    my @answers = map { ($rans->[$_], length $payloads->[$_]) } 0 .. $#$payloads;
    my $payload = join '', @$payloads;
    return pack('V C V Q< Q< V*', 21 + 8 * @$payloads + length $payload, $content, 5, $id,
        scalar @$payloads, @answers) . $payload;
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
        : $tag == 4 ? { type => 'run_many', id => r_u64(), name => r_name(), sizes => _numbers(1) }
        : $tag == 5 ? _completed_many()
        :             die "an unknown message of the pool protocol\n";
    @$message{qw(content payload)} = ($content, $tag == 0 ? '' : r_rest());
    _cut($message) if $tag > 3;
    return $message;
}

sub _completed_many {
    my ($id, $numbers) = (r_u64(), _numbers(2));
    my @even = map { 2 * $_ } 0 .. @$numbers / 2 - 1;
    return {
        type  => 'completed_many', id => $id,
        rans  => [@$numbers[@even]],
        sizes => [@$numbers[map { $_ + 1 } @even]],
    };
}

# A list of so many numbers each. Taken at once; the length is found wanting before anything is made of a
# count that is a lie.
sub _numbers {
    my ($each) = @_;
    my $count = r_u64();
    die "a run of $count\n" if $count < 2 || $count > RUN_TASKS_MAX;
    return [unpack 'V*', r_bytes(4 * $each * $count)];
}

# The payloads of a run. Dies if its sizes are others.
sub _cut {
    my ($message) = @_;
    my ($sizes, $bytes) = ($message->{sizes}, length $message->{payload});
    die "a run with payloads of other sizes\n" if sum0(@$sizes) != $bytes;
    die "a run of $bytes bytes\n" if $bytes > RUN_BYTES_MAX;
    die "a run with ids that there are not\n" if $message->{id} > NO_LIMIT - $#$sizes;
    $message->{payloads} = [unpack join('', map { "a$_" } @$sizes), $message->{payload}];
    return;
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

The six messages that a worker and its pool processes exchange, as F<docs/pool-protocol.md> of Argon
describes them.

=head1 FUNCTIONS

=over

=item ready(\@capabilities, $minor), run($id, $name, $content, $payload), completed($id, $ran, $content, $payload), failed($id, $ran, \%error, $content, $payload)

Whole frames. Times are in nanoseconds. The minor version is that which has runs, if none is given.

=item run_many($id, $name, $content, \@payloads), completed_many($id, $content, \@rans, \@payloads)

Frames that say what several of those would whose ids rise by one from C<$id>.

=item decode($content, $body)

A hash with C<type> (C<ready>, C<run>, C<completed>, C<failed>, C<run_many> or C<completed_many>), the fields of
the message, and its C<content> and C<payload>; of those that say several, also C<payloads>. Dies if the body makes no sense.

=back

=cut
