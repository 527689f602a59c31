package Argon::Wire;

use 5.030;
use strict;
use warnings;

use Carp qw(croak);
use Config;
use Exporter qw(import);

our $VERSION = '0.1.0';
our @EXPORT_OK = qw(
    frame take_frame reading
    MAGIC MAJOR MINOR HEADER_MAX NO_LIMIT NANOS
    PLAIN JSON BINCODE PICKLE BUILT_IN
    w_name w_text w_list r_u8 r_u16 r_u32 r_i32 r_u64 r_bool r_name r_text r_list r_rest r_bytes
    w_error r_error w_cause r_cause
);
our @CARP_NOT = qw(Argon::Client);
our %EXPORT_TAGS = (all => \@EXPORT_OK);

BEGIN { $Config{ivsize} >= 8 or die "Argon needs a perl with 64-bit integers\n" }

use constant {
    MAGIC      => 'ARGN',
    MAJOR      => 1,
    MINOR      => 0,
    HEADER_MAX => 262_144,
    NO_LIMIT   => ~0,
    NANOS      => 1_000_000_000,
};

# What a payload is.
use constant { PLAIN => 0, JSON => 1, BINCODE => 2, PICKLE => 3, BUILT_IN => 4 };

# Kinds of errors and causes of crashes, by tag.
our @KINDS = qw(
    raised exit signal time_limit memory_limit crashed unknown_task bad_payload result_too_large
    unavailable
);
our @CAUSES = qw(exit signal not_started protocol memory);
my %KIND_TAG  = map { $KINDS[$_]  => $_ } 0 .. $#KINDS;
my %CAUSE_TAG = map { $CAUSES[$_] => $_ } 0 .. $#CAUSES;

# A whole frame.
sub frame {
    my ($content, $header, $payload) = @_;
    return pack('VC', 1 + length($header) + length($payload), $content) . $header . $payload;
}

# The frame that begins at $_[1] in the buffer $_[0]: its content, and its body (header and
# payload), or nothing if it is not complete; $_[1] moves behind it. Dies if it is longer than $_[2].
sub take_frame {
    my $have = length($_[0]) - $_[1];
    return if $have < 4;
    my $length = unpack('V', substr($_[0], $_[1], 4));
    die "a frame without content\n" if $length < 1;
    die "a frame of $length bytes, where at most $_[2] are allowed\n" if $length > $_[2];
    return if $have < 4 + $length;
    my $content = ord(substr($_[0], $_[1] + 4, 1));
    my $body    = substr($_[0], $_[1] + 5, $length - 1);
    $_[1] += 4 + $length;
    return ($content, $body);
}

# Reading: one cursor at a time, over the body of one frame. Every read checks its bounds, so a
# count that is a lie is found before anything is made of it.
my ($bytes, $at);

sub reading { ($bytes, $at) = ($_[0], 0); return }

sub _take {
    my ($count) = @_;
    die "a header that ends too early\n" if $count > length($bytes) - $at;
    $at += $count;
    return substr($bytes, $at - $count, $count);
}

# So many bytes.
sub r_bytes { return _take($_[0]) }

sub r_u8  { ord(_take(1)) }
sub r_u16 { unpack('v',  _take(2)) }
sub r_u32 { unpack('V',  _take(4)) }
sub r_i32 { unpack('l<', _take(4)) }
sub r_u64 { unpack('Q<', _take(8)) }

sub r_bool {
    my $byte = r_u8();
    die "a bool that is neither 0 nor 1\n" if $byte > 1;
    return $byte;
}

sub _characters {
    my ($text) = @_;
    utf8::decode($text) or die "text that is not UTF-8\n" if $text =~ /[^\x00-\x7f]/;
    return $text;
}

sub r_name {
    my $name = _characters(_take(r_u8()));
    die "a name that is none\n" if $name eq '' || $name =~ /\p{Cc}/;
    return $name;
}

sub r_text { return _characters(_take(r_u64())) }

sub r_list {
    my ($element, $most) = @_;
    my $count = r_u64();
    die "a list that is longer than its frame\n" if $count > length($bytes) - $at;
    die "a list of $count, where at most $most are allowed\n" if $count > ($most // $count);
    return [map { scalar $element->() } 1 .. $count];
}

# What is left: the payload.
sub r_rest { return substr($bytes, $at) }

sub w_name {
    my ($name) = @_;
    croak 'a name must have 1 to 255 bytes of UTF-8 without control characters'
        if !defined $name || ref $name || $name eq '' || $name =~ /\p{Cc}/;
    utf8::encode($name);
    croak 'a name must have at most 255 bytes' if length $name > 255;
    return pack('C/a*', $name);
}

sub w_text {
    my ($text) = @_;
    utf8::encode($text);
    return pack('Q</a*', $text);
}

sub w_list {
    my ($element, $list) = @_;
    return join '', pack('Q<', scalar @$list), map { $element->($_) } @$list;
}

sub w_cause {
    my ($cause) = @_;
    my $tag = $CAUSE_TAG{ $cause->{cause} } // croak "no cause $cause->{cause}";
    return pack('V', $tag) . ($tag < 2 ? pack('l<', $cause->{code}) : '');
}

sub r_cause {
    my $tag = r_u32();
    my $cause = $CAUSES[$tag] // die "an unknown cause\n";
    return { cause => $cause, $tag < 2 ? (code => r_i32()) : () };
}

# An error: kind, what the kind has with it, and three texts.
sub w_error {
    my ($error) = @_;
    my $tag = $KIND_TAG{ $error->{kind} } // croak "no kind of error $error->{kind}";
    my $with
        = $tag == 0 ? w_text($error->{type})
        : $tag < 3  ? pack('l<', $error->{code})
        : $tag == 5 ? w_cause($error)
        :             '';
    return pack('V', $tag) . $with . join '', map { w_text($error->{$_} // '') }
        qw(message backtrace stderr);
}

sub r_error {
    my $tag  = r_u32();
    my $kind = $KINDS[$tag] // die "an unknown kind of error\n";
    my %error = (
        kind => $kind,
          $tag == 0 ? (type => r_text())
        : $tag < 3  ? (code => r_i32())
        : $tag == 5 ? %{ r_cause() }
        :             ()
    );
    $error{$_} = r_text() for qw(message backtrace stderr);
    return \%error;
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::Wire - frames and values that both of Argon's protocols share

=head1 SYNOPSIS

    use Argon::Wire qw(:all);

    my $frame = frame(PLAIN, pack('V', 5), '');
    my ($content, $body) = take_frame($buffer, $position, $limit);
    reading($body);
    my $tag = r_u32();

=head1 DESCRIPTION

A frame is a length (u32, little-endian), one byte that says what the payload holds, a header and the
payload. The header is made of little-endian integers of fixed size, bools, names, texts and
lists, as F<docs/protocol.md> of Argon describes. L<Argon::Wire::Native> and L<Argon::Wire::Pool>
have the messages. Programs that use Argon need none of these.

=head1 FUNCTIONS

All are exported on request, together as C<:all>.

=over

=item frame($content, $header, $payload)

The bytes of a whole frame.

=item take_frame($buffer, $position, $limit)

The content and the body of the frame that begins at C<$position>, which moves behind it; nothing if
the frame is not complete. Dies if the frame is longer than C<$limit>.

=item reading($body)

Begins to read a body. The functions C<r_u8>, C<r_u16>, C<r_u32>, C<r_i32>, C<r_u64>, C<r_bool>,
C<r_name>, C<r_text>, C<r_list($element, $most)>, C<r_cause>, C<r_error> C<r_bytes($count)> and C<r_rest> (all that is left: the payload)
read on from there. They die if the body is too short or makes no sense.

=item w_name, w_text, w_list($element, $list), w_cause, w_error

The bytes of a value.

=back

=head1 CONSTANTS

C<MAGIC>, C<MAJOR> and C<MINOR> of the handshake, C<HEADER_MAX>, C<NO_LIMIT> (a duration without
end), C<NANOS> in a second, and what a payload can be: C<PLAIN>, C<JSON>, C<BINCODE>, C<PICKLE>,
C<BUILT_IN>.

=cut
