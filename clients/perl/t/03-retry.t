# Delays grow, are jittered and follow the manager's advice; the window follows its answers.
use 5.030;
use strict;
use warnings;

use Argon::Retry;
use Argon::Window;
use Test::More;

is(Argon::Retry::RETRIES, 10, 'ten retries');
for my $tries (0 .. 12) {
    my @delays = map { Argon::Retry::delay($tries, 0.5) } 1 .. 200;
    my $most = Argon::Retry::ceiling($tries);
    is((scalar grep { $_ < 0.5 || $_ > 0.5 + $most } @delays), 0, "try $tries: within bounds");
    my %different = map { $_ => 1 } @delays;
    cmp_ok(scalar keys %different, '>', 100, "try $tries: jittered");
    cmp_ok($most, '>', Argon::Retry::ceiling($tries - 1), "try $tries: grows")
        if $tries && $tries < 8;
}
is(Argon::Retry::ceiling(1_000), Argon::Retry::CAP, 'to a bound');
cmp_ok(Argon::Retry::delay(0, 1e9), '<=', 60.025, 'advice of a year is not followed');

my $window = Argon::Window->new(1_000);
is($window->size, 64, 'it begins small');
ok($window->admits(63, 0) && !$window->admits(64, 0), 'and that is what it admits');
ok($window->admits(64, 1), 'a more important task may go beyond it');
ok(!$window->admits(72, 1), 'a little');
$window->on_sent for 1 .. 64;
$window->on_confirmed(0, 0, 64, 1);
is($window->size, 64, 'nothing is known yet');
$window->on_confirmed(0, 64, 64, 1);
is($window->size, 128, 'what is taken in and not refused widens it');
$window->on_outcome for 1 .. 10;
is($window->size, 138, 'and so do outcomes');
$window->on_outcome for 1 .. 5_000;
is($window->size, 1_000, 'to its bound');
$window->on_refused(10, 60, 500, 0.1);
is($window->size, 500, 'a refusal narrows it');
$window->on_refused(10, 61, 499, 0.1);
is($window->size, 499, 'once for all that was sent before');
$window->on_refused(10, 62, 20, 0.1);
is($window->size, 20, 'to what the manager keeps');
is($window->paused_until, 0, 'which goes on');
$window->on_outcome for 1 .. 19;
is($window->size, 20, 'now it widens slowly');
$window->on_outcome;
is($window->size, 21, 'by one a window');
$window->on_refused(20, 63, 0, 0.5);
is($window->size, 1, 'with nothing there, one');
is($window->paused_until, 20.5, 'after a pause');
$window->on_outcome;
is($window->paused_until, 0, 'which an outcome ends');
$window->restart;
is($window->size, 64, 'another manager is another matter');
is(Argon::Window->new(3)->size, 3, 'never more than is wanted');

done_testing;
