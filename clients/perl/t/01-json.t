# Values survive the way through JSON, and what JSON does not have is named.
use 5.030;
use strict;
use warnings;
use utf8;

use Argon::JSON;
use JSON::PP ();
use Math::BigInt;
use Test::More;

my $judge = JSON::PP->new->utf8->canonical->allow_nonref;
my @values = (
    undef, 0, 1, -7, 12_345_678_901, 9_223_372_036_854_775_807, 18_446_744_073_709_551_615,
    0.1, 0.1 + 0.2, 1e300, -2.5e-10, 1 / 3, '', '0', '007', '1e5', 'plain', "tab\tnewline\n",
    'quote " and \\ and /', "\x00\x01\x1f\x7f", "caf\x{e9}", "\x{263a}", "\x{1f600}", [], {},
    [1, [2, [3, 'x']], undef], { a => 1, 'b"' => [{}], "\x{e9}" => { c => undef } },
    JSON::PP::true(), JSON::PP::false(), ['1', 1],
);
for my $value (@values) {
    my $bytes = Argon::JSON::encode($value);
    unlike($bytes, qr/[^\x00-\xff]/, "bytes: $bytes");
    is_deeply($judge->decode($bytes), $value, "others read $bytes") if !is_float($value);
    is_deeply(Argon::JSON::decode($bytes), $value, "$bytes comes back");
    is_deeply(Argon::JSON::decode($judge->encode($value)), $value, "what others write of $bytes")
        if !is_float($value);
}
sub is_float { defined $_[0] && !ref $_[0] && $_[0] =~ /\d[.e]\d/ }

is(Argon::JSON::encode([4, '7']), '[4,"7"]', 'numbers are numbers and strings are strings');
my $string = '12';
my $sum = $string + 1;
is(Argon::JSON::encode([$string, $sum]), '["12",13]', 'also when a string was used as a number');
cmp_ok(Argon::JSON::decode(Argon::JSON::encode(0.1 + 0.2)), '==', 0.1 + 0.2, 'every digit');
is(Argon::JSON::decode('"caf\u00e9"'), "caf\x{e9}", 'escapes');
ok(!ref Argon::JSON::decode('12'), 'a number alone');

# Integers keep every digit and stay integers, wherever they stand.
for my $digits (
    '999999999999999999', '9223372036854775808', '18446744073709551615', '18446744073709551616',
    '-9223372036854775808', '-9223372036854775809', '-12345678901234567890',
    '123456789012345678901234567890',
    ) {
    my $value = Argon::JSON::decode($digits);
    is(Argon::JSON::encode($value), $digits, "$digits goes back as it came");
    cmp_ok(Math::BigInt->new($value), '==', Math::BigInt->new($digits), 'with its value');
    is(Argon::JSON::encode(Argon::JSON::decode(qq([{"$digits":"$digits","x":$digits},1.5]))),
        qq([{"$digits":"$digits","x":$digits},1.5]), 'beside strings that look like it');
}
isa_ok(Argon::JSON::decode('[18446744073709551616]')->[0], 'Math::BigInt');
is(Argon::JSON::encode(Math::BigInt->new('-1' . '0' x 30)), '-1' . '0' x 30, 'and can be sent');
is(Argon::JSON::decode('["\\\\\"",12345678901234567890123]')->[0], '\\"', 'escapes do not hide them');
is(Argon::JSON::decode('1' . '0' x 25 . '.5'), 1e25, 'a fraction is a float');
for my $bad ('[1234567890123456789012', '[01234567890123456789012]', '"12345678901234567890', '12345678901234567890-') {
    ok(!eval { Argon::JSON::decode($bad); 1 }, "no JSON: $bad");
}
is_deeply(Argon::JSON::decode('["' . '\\n' x 100_000 . '",12345678901234567890]'),
    ["\n" x 100_000, 12345678901234567890], 'however many escapes');

my $cycle = [];
push @$cycle, $cycle;
for (
    [sub { }, qr/^a code reference/], [\'x', qr/^a reference to scalar/],
    [bless({}, 'My::Thing'), qr/^an object of My::Thing/], [qr/x/, qr/^an object of Regexp/],
    [9**9**9, qr/^the number Inf/i], [Math::BigInt->bnan, qr/^the number NaN/], [-sin(9**9**9), qr/^the number -?nan/i],
    [$cycle, qr/too deep/], [[\*STDOUT], qr/^a reference to glob/],
    ) {
    my ($value, $words) = @$_;
    ok(!eval { Argon::JSON::encode([$value]); 1 }, 'there is no JSON for that');
    like($@, $words, 'and the reason says what it is');
}
@$cycle = ();
for my $bad ('', '{', '[1,]', "\"\xff\"", 'nul', '01', '"a' . "\n" . '"') {
    ok(!eval { Argon::JSON::decode($bad); 1 }, 'no JSON: ' . $judge->encode($bad));
}

# A thousand values at random, against a slow and obvious judge.
srand 1;
my $random;
$random = sub {
    my ($depth) = @_;
    my $pick = int rand($depth > 3 ? 4 : 6);
    return undef if $pick == 0;
    return int(rand 2_000_000) - 1_000_000 if $pick == 1;
    return join '', map { chr int rand(rand() < 0.1 ? 0xd000 : 256) } 1 .. rand 12 if $pick < 4;
    return [map { $random->($depth + 1) } 1 .. rand 5] if $pick == 4;
    return { map { ("k$_" => $random->($depth + 1)) } 1 .. rand 5 };
};
my $wrong = 0;
for (1 .. 1_000) {
    my $value = $random->(0);
    my $bytes = Argon::JSON::encode($value);
    my $same = $judge->encode($judge->decode($bytes)) eq $judge->encode($value)
        && $judge->encode(Argon::JSON::decode($bytes)) eq $judge->encode($value);
    $wrong++ if !$same;
}
is($wrong, 0, 'a thousand random values');

done_testing;
