# Argon::Simple, as far as it goes without a cluster.
use 5.030;
use strict;
use warnings;

use Argon::Simple;
use FindBin;
use lib "$FindBin::Bin/lib";
use Local::FakeManager;
use Test::More;

ok(!eval { my $r = process { 1 }; 1 }, 'nothing goes before connect');
like($@, qr/call connect first at \Q$0\E/, 'and that is said');
ok(!eval { task 'T'; 1 }, 'for tasks too');

my $manager = Local::FakeManager->new;
my $port = $manager->port;
my $client = connect '127.0.0.1', $port;
isa_ok($client, 'Argon::Client', 'what connect returns');
is((connect "127.0.0.1:$port"), $client, 'the same address, the same client');
isnt((connect '127.0.0.1:1'), $client, 'another address, another');
is((connect '127.0.0.1', $port), $client, 'and back');
is(Argon::Simple::client(), $client, 'which is the one');
for my $bad ([], ['nowhere'], [1, 2, 3]) {
    ok(!eval { connect(@$bad); 1 }, 'no address');
}
is(Argon::Simple::client(), $client, 'and changes nothing');
is((connect '::1', 5), (connect '[::1]:5'), 'version 6 too');
connect '127.0.0.1', $port;

$manager->welcome($client);
my $result = process { $_[0] * $_[1] } 4, 7;
like($manager->hear($client, 'submit')->{payload}, qr/"args":\[4,7\]/, 'arguments follow the block');
my ($other, $is_finished) = process { 1 };
is(ref $is_finished, 'CODE', 'two in list context');
ok(!$is_finished->(), 'not yet');
$manager->completed($_, 28 + $_) for 0, 1;
$manager->hear($client, 'ack_outcomes');
until ($is_finished->()) { $manager->look }
is($result->(), 28, 'one result');
is($other->(), 29, 'and the other');
my @task = task 'My::Class', a => 1;
is(scalar @task, 2, 'tasks do as blocks do');
is($manager->hear($client, 'submit')->{name}, 'perl:My::Class', 'by class');

# The builtin is not gone.
socket my $socket, Socket::PF_INET(), Socket::SOCK_STREAM(), 0 or die "socket: $!";
ok(CORE::connect($socket, Socket::pack_sockaddr_in($port, Socket::INADDR_LOOPBACK())),
    'the builtin is CORE::connect');

done_testing;
