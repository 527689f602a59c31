# Subs as source: what runs elsewhere is what was written here, or is refused with a reason.
package Local::Clean;
sub evaluate { no strict; no warnings; eval $_[0] }

package main;

use 5.030;
use strict;
use warnings;
use feature qw(signatures);
no warnings 'experimental::signatures';

use Argon::Code;
use Argon::JSON;
use Test::More;

# What a pool does: from JSON, with nothing of ours in sight.
sub ship {
    my ($code, @args) = @_;
    my $bytes = Argon::JSON::encode(Argon::Code::pack_code($code));
    my $shipped = Argon::JSON::decode($bytes);
    my $factory = Local::Clean::evaluate(Argon::Code::factory($shipped));
    die "it does not compile: $@\n$shipped->{code}\n" if !$factory;
    return $factory->($shipped->{with} // {})->(@args);
}

is(ship(sub { my ($x, $y) = @_; return $x + $y; }, 4, 7), 11, 'the code of the manual');
is(ship(sub { $_[0] * $_[1] }, 4, 7), 28, 'and of Argon::Simple');
is(ship(sub ($x, $y = 3) { $x * $y }, 5), 15, 'a signature');
eval { ship(sub ($x) { $x }) };
like($@, qr/Too few arguments/, 'which is checked');
is(ship(sub { state $n = 5; return fc('ABC') . $n }), 'abc5', 'features');
is(ship(sub { my $in = sub { $_[0] + 1 }; $in->($_[0]) }, 1), 2, 'a sub inside');
is(ship(sub { "caf\x{e9} \x{263a}" }), "caf\x{e9} \x{263a}", 'characters');
is(ship(sub { join ',', map { $_ * 2 } grep { $_ % 2 } @_ }, 1, 2, 3), '2,6', 'map and grep');
is(ship(sub { local $_ = shift; tr/a-z/A-Z/; s/B/-/g; $_ }, 'abc'), 'A-C', 'tr and s');
ok(!eval { ship(sub { my $name = 'x'; no warnings; return $$name }); 1 }, 'strict travels');
like($@, qr/strict refs/, 'and says so');
is(ship(sub { no strict 'refs'; my $n = 'main::there'; $$n = 6; ${'main::there'} }), 6,
    'and so does its absence');
{
    my @warned;
    local $SIG{__WARN__} = sub { push @warned, @_ };
    ship(sub { my $nothing; return "x$nothing" });
    like("@warned", qr/uninitialized/, 'warnings travel');
    @warned = ();
    ship(sub { no warnings; my $nothing; return "x$nothing" });
    is("@warned", '', 'and so does their absence');
}
eval { ship(sub { die 'boom' }) };
my $line = __LINE__ - 1;
like($@, qr/\Aboom at \Q${\__FILE__}\E line $line\.\n\z/, 'errors name the place here');
{
    package Other;
    our $there = 4;
    our @list = (1, 2);
    main::is(main::ship(sub { $there + @list + (__PACKAGE__ eq 'Other' ? 1 : 0) }), 7,
        'its package, and what it knows by our');
}

my ($scalar, @array, %hash) = (5, 1, 2);
%hash = (a => [1, { b => undef }]);
is(ship(sub { $scalar + $array[1] + $hash{a}[0] }), 8, 'what it closes over');
is(ship(sub { my $in = sub { $scalar + @array }; $in->() }), 7, 'also two subs deep');
is(ship(sub { $scalar++; push @array, 9; "$scalar@array" }), '61 2 9', 'of which it gets copies');
is("$scalar@array", '51 2', 'so that nothing changes here');
is_deeply([map { my $n = $_; ship(sub { $n ** 2 }) } 1 .. 4], [1, 4, 9, 16],
    'subs of one source and different values');
my @subs = map { my $n = $_; sub { $n } } 1 .. 3;
undef @subs[0, 1];
is(ship($subs[2]), 3, 'also when others of them are gone');
my $many = 0;
for my $n (1 .. 200) {
    my $made = Local::Clean::evaluate("sub { $n }");
    $many++ if ship($made) == $n;
    $made = Local::Clean::evaluate("my \$v = $n; sub { \$v + $n }");
    $many++ if ship($made) == 2 * $n;
}
is($many, 400, 'subs that come and go do not pass for each other');

my $object = bless {}, 'My::Thing';
my $code = sub { 1 };
my $pattern = qr/x/;
my @deep = ([\*STDOUT]);
my $loop; $loop = sub { $loop->() };
my sub lexical { 1 }
for (
    [sub { $object->x },     qr/it uses \$object .* an object of My::Thing; pass/],
    [sub { $code->() },      qr/it uses \$code .* a code reference/],
    [sub { $_[0] =~ $pattern }, qr/it uses \$pattern .* an object of Regexp/],
    [sub { @deep },          qr/it uses \@deep .* a reference to glob/],
    [$loop,                  qr/it uses \$loop .* a code reference/],
    [sub { lexical() },      qr/it uses the sub &lexical/],
    [sub { sub { $object } }, qr/it uses \$object/],
    [\&Internals::SvREADONLY, qr/.*written in C/],
    ) {
    my ($sub, $words) = @$_;
    ok(!eval { Argon::Code::pack_code($sub); 1 }, 'cannot be shipped');
    like($@, qr/\Acannot ship this sub: $words/, 'for a reason that helps');
}
undef $loop;

ok(!eval { Argon::Code::factory({ code => 'sub { }', with => { '$x; system(1)' => 1 } }); 1 },
    'names of variables are looked at');

# Nothing that a closure holds lives on because it was shipped.
{
    my $gone = 0;
    { package Local::Guard; sub new { bless [$_[1]] } sub DESTROY { ${ $_[0][0] }++ } }
    {
        my $guard = Local::Guard->new(\$gone);
        my $held = 1;
        my $sub = sub { $held };
        Argon::Code::pack_code($sub);
        my $other = sub { $guard };
        eval { Argon::Code::pack_code($other) };
    }
    is($gone, 1, 'values are let go');
}

done_testing;
