package Argon::JSON;

use 5.030;
use strict;
use warnings;

use B ();
use JSON::PP ();
use Math::BigInt ();
use Scalar::Util qw(blessed reftype);

our $VERSION = '0.1.0';

# Deeper than this is most likely a structure that contains itself.
use constant DEPTH_MAX => 512;
# Integers of fewer digits are perl's own, with every digit.
use constant WIDE => 19;

my %ESCAPE = (
    '"' => '\"', '\\' => '\\\\', "\n" => '\n', "\r" => '\r', "\t" => '\t', "\f" => '\f',
    "\b" => '\b',
);
my $decoder = JSON::PP->new->utf8->allow_nonref->max_depth(DEPTH_MAX);
# Wide integers are handed to the decoder as objects with this key, which no sender can know.
my $WIDE = join '-', 'integer', map { int rand 2**31 } 1 .. 4;
my $wide_decoder = JSON::PP->new->utf8->allow_nonref->max_depth(DEPTH_MAX + 1)
    ->filter_json_single_key_object($WIDE => \&_integer);

# UTF-8 bytes of a value; dies, naming what, if JSON has no such thing.
sub encode {
    my ($value) = @_;
    my $text = _text($value, 0);
    utf8::encode($text);
    return $text;
}

sub _text {
    no warnings 'recursion';
    my ($value, $depth) = @_;
    return 'null' if !defined $value;
    my $kind = ref $value;
    if (!$kind) {
        # As perl itself sees it: what was used as a number only is one.
        my $flags = B::svref_2object(\$value)->FLAGS;
        return _number($value)
            if $flags & (B::SVp_IOK | B::SVp_NOK) && !($flags & B::SVp_POK);
        return _string($value);
    }
    die 'a structure that is too deep, or contains itself' if $depth >= DEPTH_MAX;
    return '[' . join(',', map { _text($_, $depth + 1) } @$value) . ']' if $kind eq 'ARRAY';
    return '{' . join(',', map { _string($_) . ':' . _text($value->{$_}, $depth + 1) }
            sort keys %$value) . '}' if $kind eq 'HASH';
    if (blessed $value) {
        return $value ? 'true' : 'false' if $value->isa('JSON::PP::Boolean');
        return _big($value) if $value->isa('Math::BigInt') && !$value->isa('Math::BigFloat');
        die "an object of $kind";
    }
    die $kind eq 'CODE' ? 'a code reference' : 'a reference to ' . lc(reftype $value);
}

sub _string {
    my ($string) = @_;
    $string =~ s/(["\\\x00-\x1f\x7f])/$ESCAPE{$1} \/\/ sprintf '\\u%04x', ord $1/ge
        if $string =~ /["\\\x00-\x1f\x7f]/;
    return qq("$string");
}

sub _number {
    my ($number) = @_;
    die "the number $number" if $number - $number != 0;    # Infinite, or none at all.
    my $text = "$number";
    return $text if $text == $number;
    return sprintf '%.17g', $number;
}

sub _big {
    my ($integer) = @_;
    die "the number $integer" if $integer->is_nan || $integer->is_inf;
    return $integer->bstr;
}

# A number if perl has one that keeps every digit.
sub _integer {
    my ($digits) = @_;
    # Two sums: one that was looked at as a string would be a string from then on.
    my $text = 0 + $digits;
    return "$text" eq $digits ? 0 + $digits : Math::BigInt->new($digits);
}

# The same JSON with objects for wide integers; what is no JSON stays none.
sub _wrap {
    my ($bytes) = @_;
    my $wrapped = '';
    pos($bytes) = 0;
    while (pos($bytes) < length $bytes) {
        my $start = pos $bytes;
        if ($bytes =~ /\G"/gc) {
            1 while $bytes =~ /\G[^"\\]++/gc || $bytes =~ /\G\\./gcs;
            $bytes =~ /\G["\\]/gc;
        } elsif ($bytes =~ /\G[0-9.eE+-]++/gc) {
            my $number = substr $bytes, $start, pos($bytes) - $start;
            if ($number =~ /\A-?[1-9][0-9]*\z/ && length $number >= WIDE) {
                $wrapped .= qq({"$WIDE":"$number"});
                next;
            }
        } else {
            $bytes =~ /\G[^"0-9.eE+-]++/gc;
        }
        $wrapped .= substr $bytes, $start, pos($bytes) - $start;
    }
    return $wrapped;
}

sub decode {
    my ($bytes) = @_;
    # Most values are small; JSON::PP is slow even for those.
    return $bytes + 0 if $bytes =~ /\A-?(?:0|[1-9][0-9]{0,14})\z/ && $bytes ne '-0';
    return undef if $bytes eq 'null';
    return $1 if $bytes =~ /\A"([^"\\\x00-\x1f\x80-\xff]*)"\z/;
    return $decoder->decode($bytes) if $bytes !~ /[0-9]{${\WIDE}}/;
    return $wide_decoder->decode(_wrap($bytes));
}

1;

__END__

=encoding utf8

=head1 NAME

Argon::JSON - values to and from JSON

=head1 SYNOPSIS

    my $bytes = Argon::JSON::encode([4, 'seven', { eleven => undef }]);
    my $value = Argon::JSON::decode($bytes);

=head1 DESCRIPTION

What arguments and results are made of: numbers, strings, arrays, hashes, C<undef> (null), and true and
false as L<JSON::PP> has them. A scalar is a number if it has never been a string. Floating point
numbers keep every digit. Integers that perl has no number for, of more than 19 digits for instance, are
L<Math::BigInt>, which can be sent too. A string of bytes arrives as the same string of bytes in Perl, where each
is a character; other languages see those characters.

=head1 FUNCTIONS

=over

=item encode($value)

UTF-8. Dies if there is something in the value that JSON does not have (an object, code, a reference
to a scalar, an infinite number), with words that fit after "cannot send".

=item decode($bytes)

The value.

=back

=cut
