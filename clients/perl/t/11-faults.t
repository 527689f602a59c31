# What goes wrong around a client, with the real program: every task ends once, and rightly.
use 5.030;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Local::Cluster;
use Test::More;
use Time::HiRes ();

argon();

subtest 'a worker is killed amid 2,000 tasks' => sub {
    my ($manager, $port) = manager();
    my @workers = map { perl_worker($port, '--workers', 2, '--name', "w$_", '--allow-eval') } 1 .. 2;
    my $client = client($port);
    until_true('two workers', sub { $client->server_status->{workers} == 2 });
    my @deferred = map {
        my $n = $_;
        $client->defer(sub { select undef, undef, undef, 0.001; $n * $n });
    } 1 .. 2_000;
    my @results = map { $_->() } @deferred[0 .. 299];
    stop($workers[0]);
    until_true('it is gone', sub { $client->server_status->{workers} == 1 });
    my $left = grep { !$_->is_finished } @deferred;
    cmp_ok($left, '>', 500, "in the middle: $left are left");
    push @results, map { $_->() } @deferred[300 .. 1_999];
    is_deeply(\@results, [map { $_ * $_ } 1 .. 2_000], 'all results are right, in order');
    is($client->pending, 0, 'and nothing is left');
    stop($_) for @workers, $manager;
};

subtest 'the manager is killed and comes back' => sub {
    my $port = free_port();
    my ($manager) = manager($port);
    my $worker = perl_worker($port, '--workers', 2);
    my $client = client($port);
    is($client->process('My::Task::Trial', ['echo', 1]), 1, 'all is well');
    my @deferred = map { $client->defer('My::Task::Trial', ['sleep', 0.002]) } 1 .. 600;
    $_->() for @deferred[0 .. 49];
    stop($manager);
    ($manager) = manager($port);
    my @results = map { $_->() } @deferred;
    is_deeply(\@results, [('slept') x 600], 'all results are right');
    stop($_) for $worker, $manager;
};

subtest 'the manager is killed while nobody looks' => sub {
    my $port = free_port();
    my ($manager) = manager($port);
    my $worker = perl_worker($port, '--workers', 1);
    my $client = client($port);
    my @deferred = map { $client->defer('My::Task::Trial', ['echo', $_]) } 1 .. 20;
    stop($manager);
    ($manager) = manager($port);
    is_deeply([map { $_->() } @deferred], [1 .. 20], 'all results are right');
    stop($_) for $worker, $manager;
};

subtest 'a client that is away for longer than the lease' => sub {
    my ($manager, $port) = manager(undef, '--lease', '200ms', '--reconnect-grace', '50ms');
    my $worker = perl_worker($port, '--workers', 1);
    my $client = client($port);
    my $observer = client($port);
    my $connections = sub { $client->{session}->link->{connection} };
    my $deferred = $client->defer('My::Task::Trial', ['count']);
    my $before = $connections->();
    until_true('the manager has given it up', sub {
        my ($me) = grep { $_->{peer} == $client->{session}->link->{peer} }
            @{ $observer->server_status->{client_list} };
        $me && !$me->{connected};
    });
    is($deferred->(), 1, 'its result is there');
    cmp_ok($connections->(), '>', $before, 'on a new connection');
    is($client->process('My::Task::Trial', ['count']), 2, 'and it ran once');
    stop($_) for $worker, $manager;
};

subtest 'two managers' => sub {
    my @ports = (free_port(), free_port());
    my @managers = map { (manager($_))[0] } @ports;
    my $addresses = join ',', map { "127.0.0.1:$_" } @ports;
    my $worker = worker($ports[0], '--manager', "127.0.0.1:$ports[1]", '--workers', 2, '--',
        $^X, "$FindBin::Bin/../bin/argon-pool", '-I', "$FindBin::Bin/lib");
    my $client = Argon::Client->new(addresses => $addresses);
    my @deferred = map { $client->defer('My::Task::Trial', ['sleep', 0.002]) } 1 .. 300;
    $_->() for @deferred[0 .. 9];
    stop($managers[0]);
    is_deeply([map { $_->() } @deferred], [('slept') x 300], 'the second takes over');
    stop($_) for $worker, $managers[1];
};

subtest 'a full manager' => sub {
    my ($manager, $port) = manager(undef, '--queue-size', 5);
    my $worker = perl_worker($port, '--workers', 1);
    my $client = client($port);
    until_true('a worker', sub { $client->server_status->{workers} == 1 });
    my @deferred = map { $client->defer('My::Task::Trial', ['sleep', 0.002]) } 1 .. 300;
    is_deeply([map { $_->() } @deferred], [('slept') x 300], 'takes them all in the end');
    my %status = $client->server_status;
    my ($row) = grep { $_->{finished} >= 300 } @{ $status{client_list} };
    ok($row, 'by its own count') and note("$row->{rejected} rejections for 300 tasks");
    cmp_ok($status{manager}{rejected}, '<', 300, 'without a rejection for each');
    stop($_) for $worker, $manager;
};

subtest 'a worker that serves clients itself' => sub {
    my $port = free_port();
    my ($worker) = Local::Cluster::_start(argon(), 'worker', '--port', $port, '--workers', 1, '--',
        $^X, "$FindBin::Bin/../bin/argon-pool", '-I', "$FindBin::Bin/lib");
    my $client = client($port);
    is($client->process('My::Task::Trial', ['echo', 'alone']), 'alone', 'is a manager to them');
    stop($worker);
};

subtest 'an alarm' => sub {
    my ($manager, $port) = manager();
    my $worker = perl_worker($port, '--workers', 1);
    my $client = client($port);
    my $deferred = $client->defer('My::Task::Trial', ['sleep', 0.5]);
    local $SIG{ALRM} = sub { die "enough\n" };
    Time::HiRes::alarm(0.1);
    ok(!eval { $deferred->(); 1 }, 'interrupts the waiting');
    is($@, "enough\n", 'with its own words');
    is($deferred->(), 'slept', 'and the task goes on');
    stop($_) for $worker, $manager;
};

done_testing;
